"""OneTrainer's bundles: words of a LoRA's own, with trained vectors (textual inversion)."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any

import torch

from avatar_pipeline.diffusion.lora.insert import offload_again
from avatar_pipeline.diffusion.lora.settings import LayerFault

# The text encoder, by what OneTrainer and others call its vectors.
ENCODERS = {
    "string_to_params": "text_encoder",
    "string_to_param": "text_encoder",
    "emb_params": "text_encoder",
    "clip_l": "text_encoder",
    "clip_g": "text_encoder_2",
    "t5": "text_encoder_2",
    "t5xxl": "text_encoder_2",
}


def add_words(
    pipeline: Any, family: str, words: Mapping[str, Mapping[str, torch.Tensor]]
) -> Callable[[], None]:
    """Teach the pipeline's text encoders words, each with vectors (n, width) by the encoder's name
    in the file; return what makes them forget.

    A word stands for all of its vectors, in diffusers' way: the tokens word, word_1, word_2 ...
    Raises LayerFault for vectors that do not fit, and for a word that an encoder knows already.
    """
    undo: list[Callable[[], None]] = []

    def forget() -> None:
        for step in reversed(undo):
            step()

    try:
        for name, vectors in _by_encoder(pipeline, family, words).items():
            undo.append(_add(pipeline, name, vectors))
    except BaseException:
        forget()
        raise
    return forget


def _by_encoder(
    pipeline: Any, family: str, words: Mapping[str, Mapping[str, torch.Tensor]]
) -> dict[str, dict[str, torch.Tensor]]:
    found: dict[str, dict[str, torch.Tensor]] = {}
    for word, vectors in words.items():
        for called, tensor in vectors.items():
            name = ENCODERS.get(called, "")
            encoder = getattr(pipeline, name, None) if name else None
            width = encoder.get_input_embeddings().weight.shape[1] if encoder is not None else 0
            if encoder is None or tensor.shape[-1] != width:
                raise LayerFault(
                    f"its vectors of the word {word!r} are for an encoder {called} of width "
                    f"{tensor.shape[-1]}, which the model has not"
                )
            found.setdefault(name, {})[word] = tensor.reshape(-1, width)
    return found


def _add(pipeline: Any, name: str, words: Mapping[str, torch.Tensor]) -> Callable[[], None]:
    tokenizer = getattr(pipeline, name.replace("text_encoder", "tokenizer"))
    encoder = getattr(pipeline, name)
    vectors = {
        f"{word}_{place}" if place else word: vector
        for word, several in words.items()
        for place, vector in enumerate(several)
    }
    known = [token for token in vectors if token in tokenizer.get_vocab()]
    if known:
        raise LayerFault(
            f"it has a vector for the word {known[0]!r}, which the model knows already"
        )
    before, size = encoder.get_input_embeddings(), encoder.config.vocab_size
    written = tokenizer.backend_tokenizer.to_str()

    def forget() -> None:
        from tokenizers import Tokenizer

        tokenizer._tokenizer = Tokenizer.from_str(written)
        encoder.set_input_embeddings(before)
        encoder.config.vocab_size = size
        offload_again(encoder)

    tokenizer.add_tokens(list(vectors))
    rows = before.weight.shape[0]
    first = max(rows, len(tokenizer))
    table = before.weight.new_zeros(first, before.weight.shape[1])
    table[:rows] = before.weight.data
    for token, vector in vectors.items():
        table[tokenizer.convert_tokens_to_ids(token)] = vector.to(table)
    extended = torch.nn.Embedding.from_pretrained(table, freeze=True)
    encoder.set_input_embeddings(extended)
    offload_again(encoder)
    return forget

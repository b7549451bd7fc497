"""The embedded model's own words: a byte-pair tokenizer made from its captions, and a small CLIP
text encoder.
"""

from __future__ import annotations

import json
import random
from collections.abc import Iterator

from tokenizers import Regex, Tokenizer, decoders, models, normalizers, pre_tokenizers, trainers
from transformers import CLIPTextConfig, CLIPTextModel, CLIPTokenizer

from avatar_pipeline.bundled_model import captions
from avatar_pipeline.bundled_model.hair_recolour import COLOURS
from avatar_pipeline.bundled_model.people_attributes import PERSONS

# The full-body template of the pipeline is about 110 tokens long with a description; CLIP's usual
# 77 would cut it.
MAX_TOKENS = 112
VOCABULARY = 1200
HIDDEN = 192

# Words that users write and the captions lack; with them in the vocabulary they stay one token
# each.
EXTRA = (
    "Professional full-body half-body headshot studio portrait photograph of a person. Standing "
    "pose, facing camera, centered in frame. "
    "Neutral gray or beige studio background with professional lighting. Natural relaxed pose "
    "with arms at sides or casually positioned. "
    "Sharp focus, high quality, photorealistic. Full body visible from head to toe. Casual to "
    "semi-formal attire appropriate for the "
    "character. Direct eye contact with camera or slight angle. Clean composition, no distracting "
    "elements. Head and shoulders visible. "
    "blue green brown hazel gray eyes blond blonde red gray white hair young old middle aged "
    "elderly child beard mustache glasses "
    "athletic slim average build tall short round oval face warm smile latin african asian "
    "american european indian arab"
)


def corpus(seed: int, count: int = 4000) -> Iterator[str]:
    """Yield captions over all attributes, the pipeline's template words, and all numbers up to
    99.
    """
    rng = random.Random(seed)
    people = list(PERSONS.values())
    tables = (
        captions.EXPRESSIONS,
        captions.VIEWS,
        captions.LIGHTS,
        captions.BACKGROUNDS,
        captions.LEADS,
    )
    for _ in range(count):
        shows = captions.Picture(*(rng.choice(tuple(table)) for table in tables))
        yield captions.caption(rng.choice(people), shows, rng).text
    for _ in range(50):
        yield EXTRA
        yield " ".join((*captions.UNKNOWN, *COLOURS))
        yield " ".join(str(number) for number in range(100))


def make_tokenizer(seed: int) -> CLIPTokenizer:
    """Train a byte-level BPE in CLIP's form (lower case, `</w>` ends a word) on `corpus`."""
    bpe = Tokenizer(models.BPE(unk_token="<|endoftext|>", end_of_word_suffix="</w>"))
    bpe.normalizer = normalizers.Sequence(
        [normalizers.NFC(), normalizers.Replace(Regex(r"\s+"), " "), normalizers.Lowercase()]
    )
    words = Regex(
        r"<\|startoftext\|>|<\|endoftext\|>|'s|'t|'re|'ve|'m|'ll|'d|[\p{L}]+|[\p{N}]|[^\s\p{L}\p{N}]+"
    )
    bpe.pre_tokenizer = pre_tokenizers.Sequence(
        [
            pre_tokenizers.Split(words, behavior="removed", invert=True),
            pre_tokenizers.ByteLevel(add_prefix_space=False),
        ]
    )
    bpe.decoder = decoders.ByteLevel()
    alphabet = sorted(pre_tokenizers.ByteLevel.alphabet())
    trainer = trainers.BpeTrainer(
        vocab_size=VOCABULARY,
        initial_alphabet=alphabet,
        end_of_word_suffix="</w>",
        special_tokens=[],
        show_progress=False,
    )
    bpe.train_from_iterator(corpus(seed), trainer)
    trained = json.loads(bpe.to_str())["model"]
    merges = [
        tuple(merge) if isinstance(merge, list) else tuple(merge.split())
        for merge in trained["merges"]
    ]
    pieces = [
        *alphabet,
        *(letter + "</w>" for letter in alphabet),
        *("".join(merge) for merge in merges),
    ]
    vocabulary: dict[str, int] = {}
    for piece in (*pieces, "<|startoftext|>", "<|endoftext|>"):
        vocabulary.setdefault(piece, len(vocabulary))
    return CLIPTokenizer(vocab=vocabulary, merges=merges, model_max_length=MAX_TOKENS)


def make_text_encoder(tokenizer: CLIPTokenizer) -> CLIPTextModel:
    """Return an untrained two-layer CLIP text encoder for `tokenizer`."""
    return CLIPTextModel(
        CLIPTextConfig(
            vocab_size=len(tokenizer),
            hidden_size=HIDDEN,
            intermediate_size=2 * HIDDEN,
            num_hidden_layers=2,
            num_attention_heads=4,
            max_position_embeddings=MAX_TOKENS,
            projection_dim=HIDDEN,
            bos_token_id=tokenizer.bos_token_id,
            eos_token_id=tokenizer.eos_token_id,
            pad_token_id=tokenizer.pad_token_id,
        )
    )

"""The IP-Adapter that takes a face-identity input: loaded, installed for a while, steered step by
step.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from contextlib import contextmanager, nullcontext
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
from PIL import Image

from avatar_pipeline.core.errors import GenerationError, ModelError

if TYPE_CHECKING:
    import torch
from avatar_pipeline.diffusion.identity import Identity
from avatar_pipeline.diffusion.identity_weights import read_weights, take_lora

FACE_LORA = "face_identity"  # name of the LoRA that published FaceID adapters bring along


@dataclass(frozen=True, eq=False)
class IdentityAdapter:
    """A loaded adapter, which leaves the denoiser alone except while it is `installed`.

    Left in, it would ask for an embedding at every call, LoRA training's too, and pictures without
    an identity would go another way through the attention layers. denoiser: the pipeline's part
    that it belongs to. processors: all of that part's attention processors, by name. projection:
    embedding -> tokens. lora: weights of the LoRA that came with it, by name; empty when there was
    none.
    encoder: looks at the face for it, with the size of the picture it wants; None where the
    embedding is taken.
    """

    file: Path
    denoiser: str
    processors: dict[str, Any]
    projection: Any
    lora: dict[str, torch.Tensor]
    encoder: Any = None

    @property
    def takes_several(self) -> bool:
        """Whether a batch may show several faces."""
        return self.encoder is None

    def arguments(self, identities: Sequence[Identity], guided: bool) -> dict[str, Any]:
        """The pipeline's arguments for a batch's identities, one for each picture.

        For FaceID (1, 1, 1, D), or (2, 1, 1, D) for guidance, of the first: the pipeline repeats it
        for each picture, and `installed` knows the others. For FLUX (1, 1, D), and a black
        picture's for no face. Raises GenerationError for an embedding that is not the adapter's
        length, or not finite, and for a missing face.
        """
        import torch

        if self.encoder is not None:
            face = identities[0].face
            if face is None:
                raise GenerationError(
                    f"identity: {self.file} looks at the face itself. Give a "
                    "picture of it (Identity.face)."
                )
            black = Image.new("RGB", face.size)
            somebody, without = (self._look(each)[None] for each in (face, black))
            return {
                "ip_adapter_image_embeds": [somebody],
                "negative_ip_adapter_image_embeds": [without],
            }
        first = self._embeddings(identities)[:1]
        return {
            "ip_adapter_image_embeds": [
                torch.cat([torch.zeros_like(first), first]) if guided else first
            ]
        }

    def _embeddings(self, identities: Sequence[Identity]) -> torch.Tensor:
        """(N, 1, 1, D) embeddings, checked."""
        import torch

        weights = self.projection.image_projection_layers[0].ff.net[0].proj.weight
        length = weights.shape[1]
        for identity in identities:
            if identity.embedding.shape != (length,) or not np.isfinite(identity.embedding).all():
                raise GenerationError(
                    f"identity: the embedding has the shape {identity.embedding.shape}, and "
                    f"{self.file} takes {length} finite numbers. "
                    "Measure the face with the analyzer that the adapter was trained on (the "
                    "preset's identity_analyzer)."
                )
        stacked = np.stack([identity.embedding for identity in identities])
        return torch.from_numpy(stacked)[:, None, None].to(weights.device, weights.dtype)

    @contextmanager
    def installed(
        self, pipeline: Any, scale: float, identities: Sequence[Identity]
    ) -> Iterator[None]:
        """The denoiser takes a batch's identities, at `scale`, while the block runs."""
        from avatar_pipeline.diffusion.folding import unfolded

        denoiser = getattr(pipeline, self.denoiser)
        for module in (
            *(part for part in self.processors.values() if hasattr(part, "to_k_ip")),
            self.projection,
        ):
            # memory plans move the denoiser about, and know nothing of these
            module.to(pipeline._execution_device)
        # PEFT computes only what is folded in, of the LoRAs at a layer
        beside_folded = unfolded(denoiser) if self.lora else nullcontext()
        several = self.takes_several and len(identities) > 1
        with beside_folded, _restored(denoiser), self._each(identities, several):
            denoiser.set_attn_processor(dict(self.processors))
            denoiser.encoder_hid_proj = self.projection
            denoiser.config.encoder_hid_dim_type = "ip_image_proj"
            beside = _active(denoiser)
            try:
                if self.lora:
                    pipeline.load_lora_weights(dict(self.lora), adapter_name=FACE_LORA)
                self.set_scale(pipeline, scale, beside)
                yield
            finally:
                if self.lora and beside:
                    pipeline.delete_adapters(FACE_LORA)
                    pipeline.set_adapters(beside)
                elif self.lora:
                    pipeline.unload_lora_weights()

    @contextmanager
    def _each(self, identities: Sequence[Identity], several: bool) -> Iterator[None]:
        """Each picture gets its own identity: diffusers' pipelines take one for all, and hand it,
        repeated, to the projection.
        """
        if not several:
            yield
            return
        import torch

        own = self._embeddings(identities)

        def swap(module: Any, arguments: tuple[Any, ...]) -> tuple[Any, ...]:
            (repeated,) = arguments[0]
            guided = len(repeated) == 2 * len(own)
            embeddings = torch.cat([torch.zeros_like(own), own]) if guided else own
            return ([embeddings.to(repeated.dtype)], *arguments[1:])

        hook = self.projection.register_forward_pre_hook(swap)
        try:
            yield
        finally:
            hook.remove()

    def set_scale(self, pipeline: Any, scale: float, beside: list[str] | None = None) -> None:
        """Change the scale of the installed adapter. Its LoRA is on or off, as in the demos of
        IP-Adapter FaceID, beside other LoRAs.
        """
        for processor in self.processors.values():
            if hasattr(processor, "to_k_ip"):
                processor.scale = [scale]
        if self.lora:
            others = [
                name
                for name in (beside or _active(getattr(pipeline, self.denoiser)))
                if name != FACE_LORA
            ]
            pipeline.set_adapters([*others, FACE_LORA], [*[1.0] * len(others), float(scale > 0)])

    def _look(self, face: Image.Image) -> torch.Tensor:
        """(1, D) CLIP embedding of a face."""
        import torch
        from transformers import CLIPImageProcessor

        size = self.encoder.config.image_size
        looked = CLIPImageProcessor(
            size={"shortest_edge": size}, crop_size={"height": size, "width": size}
        )
        pixels = looked(face.convert("RGB"), return_tensors="pt").pixel_values
        with torch.no_grad():
            found: torch.Tensor = self.encoder(
                pixels.to(self.encoder.device, self.encoder.dtype)
            ).image_embeds
        return found.to(self.projection.image_projection_layers[0].image_embeds.weight.dtype)


def load_adapter(pipeline: Any, model: Path, name: str) -> IdentityAdapter:
    """Load the file `name` of the model folder `model` with the pipeline's own loader; FLUX's image
    encoder lies beside it.

    Raises ModelError when something is missing, is no safetensors file, or does not fit the
    pipeline's denoiser.
    """
    from safetensors import SafetensorError

    file = model / name
    if not file.is_file():
        raise ModelError(
            f"{file} is missing: the model cannot draw a given face without it. "
            "Put the IP-Adapter (FaceID form) trained for this model there, or draw without an "
            "identity (identity_scale: 0)."
        )
    if file.suffix != ".safetensors":
        raise ModelError(
            f"{file} is no safetensors file. Convert it with scripts/convert_ip_adapter.py."
        )
    part = "unet" if hasattr(pipeline, "unet") else "transformer"
    denoiser = getattr(pipeline, part)
    with _restored(denoiser):
        try:
            weights = read_weights(file)
            lora = take_lora(denoiser, weights)
            if part == "unet":
                pipeline.load_ip_adapter(
                    weights, subfolder="", weight_name=file.name, image_encoder_folder=None
                )
                encoder = None
            else:
                pipeline.load_ip_adapter(
                    weights, weight_name=file.name, image_encoder_pretrained_model_name_or_path=None
                )
                encoder = _load_encoder(file.parent / "image_encoder", denoiser)
        except (SafetensorError, OSError, ValueError, RuntimeError, KeyError) as error:
            raise ModelError(
                f"the identity adapter {file} does not fit the model in {model}: {error}. Fetch "
                "or train it again."
            ) from error
        return IdentityAdapter(
            file, part, dict(denoiser.attn_processors), denoiser.encoder_hid_proj, lora, encoder
        )


def _load_encoder(folder: Path, denoiser: Any) -> Any:
    from transformers import CLIPVisionModelWithProjection

    if not folder.is_dir():
        raise ModelError(
            f"{folder} is missing: FLUX's identity adapter looks at faces through CLIP. Put the "
            "image encoder there."
        )
    encoder = CLIPVisionModelWithProjection.from_pretrained(
        folder, dtype=denoiser.dtype, local_files_only=True, use_safetensors=True
    )
    return encoder.to(denoiser.device).eval()


def _active(denoiser: Any) -> list[str]:
    """Names of the LoRAs in use."""
    return list(denoiser.active_adapters()) if getattr(denoiser, "peft_config", None) else []


@contextmanager
def _restored(denoiser: Any) -> Iterator[None]:
    """Put the denoiser's own attention processors back after the block, whatever happens in it."""
    plain = dict(denoiser.attn_processors)
    try:
        yield
    finally:
        denoiser.set_attn_processor(plain)
        denoiser.encoder_hid_proj = None
        denoiser.config.encoder_hid_dim_type = None

"""The face-identity input: who is drawn, given as a face analyzer's embedding (IP-Adapter in its FaceID form, through diffusers)."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from avatar_pipeline.errors import GenerationError, ModelError

if TYPE_CHECKING:
    import torch

LARGEST_SCALE = 1.5  # beyond it the identity drowns the prompt


@dataclass(frozen=True, eq=False)
class Identity:
    """Whose face to draw.

    embedding: (D,) float32 of the analyzer that the preset names in `identity_analyzer`, as it gives it. scale: 0 (draws as without an
    identity) to 1.5. Raises GenerationError for another scale.
    """

    embedding: np.ndarray
    scale: float

    def __post_init__(self) -> None:
        if not 0 <= self.scale <= LARGEST_SCALE:
            raise GenerationError(f"identity_scale: {self.scale} is out of range. Give 0 (no identity) to {LARGEST_SCALE}.")


@dataclass(frozen=True, eq=False)
class IdentityAdapter:
    """A loaded adapter, which leaves the U-Net alone except while it is `installed`.

    Left in, it would ask for an embedding at every call, LoRA training's too, and pictures without an identity would go another way
    through the attention layers. processors: all of the U-Net's attention processors, by name. projection: embedding -> 4 tokens.
    """

    file: Path
    processors: dict[str, Any]
    projection: Any

    def embeds(self, identity: Identity, guided: bool) -> torch.Tensor:
        """What the pipeline takes: (1, 1, 1, D), or (2, 1, 1, D) for guidance, where zeros stand for nobody and come first.

        Raises GenerationError for an embedding that is not the adapter's length, or not finite.
        """
        import torch

        weights = self.projection.image_projection_layers[0].ff.net[0].proj.weight
        length = weights.shape[1]
        if identity.embedding.shape != (length,) or not np.isfinite(identity.embedding).all():
            raise GenerationError(
                f"identity: the embedding has the shape {identity.embedding.shape}, and {self.file} takes {length} finite numbers. "
                "Measure the face with the analyzer that the adapter was trained on (the preset's identity_analyzer)."
            )
        somebody = torch.from_numpy(identity.embedding)[None, None, None].to(weights.device, weights.dtype)
        return torch.cat([torch.zeros_like(somebody), somebody]) if guided else somebody

    @contextmanager
    def installed(self, unet: Any, scale: float) -> Iterator[None]:
        """The U-Net takes identities, at `scale`, while the block runs."""
        with _restored(unet):
            unet.set_attn_processor(dict(self.processors))
            unet.encoder_hid_proj = self.projection
            unet.config.encoder_hid_dim_type = "ip_image_proj"
            for processor in self.processors.values():
                if hasattr(processor, "to_k_ip"):
                    processor.scale = [scale]
            yield


def load_adapter(pipeline: Any, model: Path, name: str) -> IdentityAdapter:
    """Load the file `name` of the model folder `model` with the pipeline's own loader.

    Raises ModelError when the file is missing or does not fit the pipeline's U-Net.
    """
    from safetensors import SafetensorError

    file = model / name
    if not file.is_file():
        raise ModelError(
            f"{file} is missing: the model cannot draw a given face without it. "
            "Put the IP-Adapter (FaceID form) trained for this model there, or draw without an identity (identity_scale: 0)."
        )
    unet = pipeline.unet
    with _restored(unet):
        try:
            pipeline.load_ip_adapter(
                str(model), subfolder=str(file.parent.relative_to(model)), weight_name=file.name, image_encoder_folder=None
            )
        except (SafetensorError, OSError, ValueError, RuntimeError, KeyError) as error:
            raise ModelError(
                f"the identity adapter {file} does not fit the model in {model}: {error}. Fetch or train it again."
            ) from error
        return IdentityAdapter(file, dict(unet.attn_processors), unet.encoder_hid_proj)


@contextmanager
def _restored(unet: Any) -> Iterator[None]:
    """Put the U-Net's own attention processors back after the block, whatever happens in it."""
    plain = dict(unet.attn_processors)
    try:
        yield
    finally:
        unet.set_attn_processor(plain)
        unet.encoder_hid_proj = None
        unet.config.encoder_hid_dim_type = None

"""A training set as tensors: latents and text embeddings computed once, so that text encoders and
autoencoder are not needed again.
"""

from __future__ import annotations

import math
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass

import numpy as np
import torch
from PIL import Image, ImageOps

from avatar_pipeline.diffusion.preset_types import Preset
from avatar_pipeline.diffusion.session import PipelineSession
from avatar_pipeline.diffusion.text_encoding import encode, encode_nothing, token_count
from avatar_pipeline.diffusion.training.checkpoint import below

Box = tuple[float, float, float, float]  # left, top, right, bottom in pixels
# a bucket's tensors, and its groups of tensors
IMAGE_TENSORS, EMBED_TENSORS = ("latents", "faces", "frames"), ("captions", "empty")


@dataclass(frozen=True, eq=False)
class Bucket:
    """Pictures of one size, whose captions take equally many tokens.

    latents: (N, C, h, w) float32. faces: (N, h, w) bool, cells that show the face. frames: (N, 4)
    int64, height and width of each picture before it was scaled, and top and left of its crop in
    the scaled picture. captions: text embeddings by the names that the denoiser takes, each (N,
    ...). empty: what takes the place of a dropped caption, each (1, ...).
    """

    latents: torch.Tensor
    faces: torch.Tensor
    frames: torch.Tensor
    captions: Mapping[str, torch.Tensor]
    empty: Mapping[str, torch.Tensor]

    def tensors(self) -> dict[str, torch.Tensor]:
        """Return all of it by name."""
        found = {name: getattr(self, name) for name in IMAGE_TENSORS}
        return found | {
            f"{kind}.{name}": value
            for kind in EMBED_TENSORS
            for name, value in getattr(self, kind).items()
        }


@dataclass(frozen=True, eq=False)
class LoraDataset:
    """A training set in buckets: a batch comes out of one of them."""

    buckets: tuple[Bucket, ...]

    def to(self, device: str) -> LoraDataset:
        """Return the same on a device."""
        return from_tensors({name: value.to(device) for name, value in self.tensors().items()})

    def tensors(self) -> dict[str, torch.Tensor]:
        """Return all of it by name, for a file; `from_tensors` reads it back."""
        return {
            f"{number}.{name}": value.cpu().contiguous()
            for number, bucket in enumerate(self.buckets)
            for name, value in bucket.tensors().items()
        }


def from_tensors(tensors: Mapping[str, torch.Tensor]) -> LoraDataset:
    """Return a data set from what `LoraDataset.tensors` gave."""
    buckets = []
    for number in range(len({name.partition(".")[0] for name in tensors})):
        found = below(tensors, str(number))
        captions, empty = (below(found, kind) for kind in EMBED_TENSORS)
        buckets.append(Bucket(found["latents"], found["faces"], found["frames"], captions, empty))
    return LoraDataset(tuple(buckets))


def encode_dataset(
    session: PipelineSession,
    images: Sequence[Image.Image],
    captions: Sequence[str],
    faces: Sequence[Box | None] | None = None,
) -> LoraDataset:
    """Encode pictures and their captions, these as prompts are encoded for drawing.

    faces: where each picture's face is; by default, pictures of a head shot's size show it where
    the preset frames heads, and others do not say. Each picture goes to the bucket whose aspect
    ratio is nearest to its own, scaled and cropped to fill it. Raises GenerationError for a caption
    that the model cannot read whole.
    """
    preset, family, pipeline = session.preset, session.family, session.pipeline
    boxes: Sequence[Box | None] = faces if faces is not None else [None] * len(images)
    # One by one: in a batch the matrix products of another shape may round another way, and a
    # caption would depend on its company.
    prompt_embeds = [encode(session, caption) for caption in captions]
    grouped: dict[tuple[int, int, int], list[int]] = {}
    for index, image in enumerate(images):
        key = (*bucket_size(preset, image.width, image.height), token_count(prompt_embeds[index]))
        grouped.setdefault(key, []).append(index)
    buckets = []
    with torch.no_grad(), whole_pictures(session):
        for (width, height, tokens), members in sorted(grouped.items()):
            latents, masks, frames = [], [], []
            for index in members:
                image, box, corner = _fill(images[index], width, height, boxes[index])
                latents.append(family.encode_pixels(pipeline, _pixels(image)))
                rows, columns = latents[-1].shape[2:]
                if box is not None:
                    masks.append(boxed_face(box, rows, columns, width, height))
                elif faces is None and (width, height) == (preset.width, preset.height):
                    masks.append(framed_face(preset, rows, columns))
                else:
                    masks.append(torch.zeros(rows, columns, dtype=torch.bool))
                frames.append((images[index].height, images[index].width, *corner))
            buckets.append(
                Bucket(
                    torch.cat(latents),
                    torch.stack(masks).to(latents[0].device),
                    torch.tensor(frames),
                    {
                        name: torch.cat([prompt_embeds[index][name].float() for index in members])
                        for name in prompt_embeds[0]
                    },
                    {
                        name: value.float()
                        for name, value in encode_nothing(session, tokens).items()
                    },
                )
            )
    return LoraDataset(tuple(buckets))


@contextmanager
def whole_pictures(session: PipelineSession) -> Iterator[None]:
    """Let the autoencoder take pictures whole while the block runs: in tiles, which a plan for
    little memory has, latents come out otherwise.

    On a card, the denoiser makes room meanwhile where the plan leaves all parts there.
    """
    vae, plan = session.pipeline.vae, session.plan
    if plan is None or not plan.tiling:
        yield
        return
    away = plan.offload == "none" and session.device.kind != "cpu"
    if away:
        session.denoiser.to("cpu")
    vae.disable_tiling()
    try:
        yield
    finally:
        vae.enable_tiling()
        if away:
            session.denoiser.to(session.device.where)


def bucket_size(preset: Preset, width: int, height: int) -> tuple[int, int]:
    """Width and height at which a picture of `width` x `height` pixels is trained on: about a head
    shot's number of pixels, in the nearest of eleven aspect ratios from 1:2 to 2:1 (those of
    diffusers' trainers).
    """
    from diffusers.training_utils import find_nearest_bucket, generate_aspect_ratio_buckets

    if (width, height) == (preset.width, preset.height):
        return width, height
    side = round(math.sqrt(preset.width * preset.height))
    sizes = generate_aspect_ratio_buckets(side, preset.size_multiple)
    best = sizes[find_nearest_bucket(height, width, sizes)]
    return best[1], best[0]


def framed_face(preset: Preset, height: int, width: int) -> torch.Tensor:
    """(height, width) bool, the latent cells that show the face of a framed head.

    The face is where the preset frames heads: an ellipse from the hairline to the chin, in
    inter-eye distances 1.15 to each side, and 1.15 above to 2.25 below the eyes.
    """
    between = preset.head_inter_eye * width
    y, x = torch.meshgrid(torch.arange(height) + 0.5, torch.arange(width) + 0.5, indexing="ij")
    down = (y - preset.head_eye_y * height) / between - 0.55
    return ((x - width / 2) / between / 1.15) ** 2 + (down / 1.7) ** 2 < 1


def boxed_face(box: Box, rows: int, columns: int, width: int, height: int) -> torch.Tensor:
    """(rows, columns) bool, the latent cells that show the face in `box`, of a picture of `width` x
    `height` pixels.

    The ellipse that fills the box: a detector's box ends at the hairline and the chin.
    """
    left, top, right, bottom = box
    y, x = torch.meshgrid(
        (torch.arange(rows) + 0.5) / rows, (torch.arange(columns) + 0.5) / columns, indexing="ij"
    )
    across = (x * width - (left + right) / 2) / max((right - left) / 2, 1)
    down = (y * height - (top + bottom) / 2) / max((bottom - top) / 2, 1)
    return across**2 + down**2 < 1


def face_weights(faces: torch.Tensor, weight: float) -> torch.Tensor:
    """Weights in the loss of latent cells (..., h, w) bool, 1 on average: those of the face have
    `weight` times the others'.
    """
    weights = torch.where(faces, weight, 1.0)
    return weights / weights.mean((-2, -1), keepdim=True)


def _fill(
    image: Image.Image, width: int, height: int, box: Box | None
) -> tuple[Image.Image, Box | None, tuple[int, int]]:
    """Return the picture scaled and cropped to fill `width` x `height`, its middle kept; where the
    box is then; top and left of the crop.
    """
    if image.size == (width, height):
        return image, box, (0, 0)
    scale = max(width / image.width, height / image.height)
    left, top = (image.width * scale - width) / 2, (image.height * scale - height) / 2
    moved = None
    if box is not None:
        moved = (
            box[0] * scale - left,
            box[1] * scale - top,
            box[2] * scale - left,
            box[3] * scale - top,
        )
    return (
        ImageOps.fit(image, (width, height), Image.Resampling.LANCZOS),
        moved,
        (round(top), round(left)),
    )


def _pixels(image: Image.Image) -> torch.Tensor:
    """(1, 3, H, W) float32 in [-1, 1]."""
    return torch.from_numpy(np.asarray(image, dtype=np.float32) / 127.5 - 1).permute(2, 0, 1)[None]

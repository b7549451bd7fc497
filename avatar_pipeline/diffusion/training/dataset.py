"""A training set as tensors: latents and text embeddings computed once, so that text encoders and autoencoder are not needed again."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, fields

import numpy as np
import torch
from PIL import Image, ImageOps

from avatar_pipeline.diffusion.presets import Preset
from avatar_pipeline.diffusion.session import GpuSession

Box = tuple[float, float, float, float]  # left, top, right, bottom in pixels


@dataclass(frozen=True, eq=False)
class Bucket:
    """Pictures of one size. latents: (N, C, h, w) float32. faces: (N, h, w) bool, cells that show the face. members: (N,) int64,
    their places among the captions.
    """

    latents: torch.Tensor
    faces: torch.Tensor
    members: torch.Tensor


@dataclass(frozen=True, eq=False)
class LoraDataset:
    """captions: text embeddings by the names that the denoiser takes, each (N, ...). empty: the same of the empty caption, (1, ...)."""

    buckets: tuple[Bucket, ...]
    captions: Mapping[str, torch.Tensor]
    empty: Mapping[str, torch.Tensor]

    @property
    def count(self) -> int:
        """Number of pictures."""
        return sum(len(bucket.members) for bucket in self.buckets)

    def to(self, device: str) -> LoraDataset:
        """The same on a device; what is drawn from, the members, stays where it is."""
        buckets = tuple(Bucket(b.latents.to(device), b.faces.to(device), b.members) for b in self.buckets)
        move = {name: value.to(device) for name, value in self.captions.items()}
        return LoraDataset(buckets, move, {name: value.to(device) for name, value in self.empty.items()})

    def tensors(self) -> dict[str, torch.Tensor]:
        """All of it by name, for a file; `from_tensors` reads it back."""
        found = {f"captions.{name}": value for name, value in self.captions.items()}
        found |= {f"empty.{name}": value for name, value in self.empty.items()}
        for number, bucket in enumerate(self.buckets):
            found |= {f"bucket.{number}.{field.name}": getattr(bucket, field.name) for field in fields(Bucket)}
        return {name: value.cpu().contiguous() for name, value in found.items()}


def from_tensors(tensors: Mapping[str, torch.Tensor]) -> LoraDataset:
    """A data set from what `LoraDataset.tensors` gave."""

    def below(prefix: str) -> dict[str, torch.Tensor]:
        return {name.removeprefix(prefix): value for name, value in tensors.items() if name.startswith(prefix)}

    numbers = sorted({int(name.split(".")[1]) for name in tensors if name.startswith("bucket.")})
    return LoraDataset(tuple(Bucket(**below(f"bucket.{number}.")) for number in numbers), below("captions."), below("empty."))


def encode_dataset(
    session: GpuSession, images: Sequence[Image.Image], captions: Sequence[str], faces: Sequence[Box | None] | None = None
) -> LoraDataset:
    """Encode pictures and their captions.

    faces: where each picture's face is; by default, pictures of a head shot's size show it where the preset frames heads,
    and others do not say. Each picture goes to the bucket whose aspect ratio is nearest to its own, scaled and cropped to fill it.
    """
    preset, family, pipeline = session.preset, session.family, session.pipeline
    boxes: Sequence[Box | None] = faces if faces is not None else [None] * len(images)
    grouped: dict[tuple[int, int], list[int]] = {}
    for index, image in enumerate(images):
        grouped.setdefault(bucket_size(preset, image.width, image.height), []).append(index)
    buckets = []
    with torch.no_grad():
        for (width, height), members in sorted(grouped.items()):
            latents, masks = [], []
            for index in members:
                image, box = _fill(images[index], width, height, boxes[index])
                pixels = torch.from_numpy(np.asarray(image, dtype=np.float32) / 127.5 - 1).permute(2, 0, 1)[None]
                latents.append(family.encode_pixels(pipeline, pixels))
                rows, columns = latents[-1].shape[2:]
                if box is not None:
                    masks.append(boxed_face(box, rows, columns, width, height))
                elif faces is None and (width, height) == (preset.width, preset.height):
                    masks.append(framed_face(preset, rows, columns))
                else:
                    masks.append(torch.zeros(rows, columns, dtype=torch.bool))
            device = latents[0].device
            buckets.append(Bucket(torch.cat(latents), torch.stack(masks).to(device), torch.tensor(members)))
        # One by one: in a batch the matrix products of another shape may round another way, and a caption would depend on its company.
        words = [family.encode_prompts(pipeline, [text]) for text in (*captions, "")]
    encoded = {name: torch.cat([word[name].float() for word in words]) for name in words[0]}
    return LoraDataset(
        tuple(buckets),
        {name: value[:-1] for name, value in encoded.items()},
        {name: value[-1:] for name, value in encoded.items()},
    )


def bucket_size(preset: Preset, width: int, height: int) -> tuple[int, int]:
    """Width and height at which a picture of `width` x `height` pixels is trained on: about a head shot's number of pixels, in the
    nearest of eleven aspect ratios from 1:2 to 2:1 (those of diffusers' trainers).
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

    The face is where the preset frames heads: an ellipse from the hairline to the chin, in inter-eye distances 1.15 to each side, and 1.15
    above to 2.25 below the eyes.
    """
    between = preset.head_inter_eye * width
    y, x = torch.meshgrid(torch.arange(height) + 0.5, torch.arange(width) + 0.5, indexing="ij")
    down = (y - preset.head_eye_y * height) / between - 0.55
    return ((x - width / 2) / between / 1.15) ** 2 + (down / 1.7) ** 2 < 1


def boxed_face(box: Box, rows: int, columns: int, width: int, height: int) -> torch.Tensor:
    """(rows, columns) bool, the latent cells that show the face in `box`, of a picture of `width` x `height` pixels.

    The ellipse that fills the box: a detector's box ends at the hairline and the chin.
    """
    left, top, right, bottom = box
    y, x = torch.meshgrid((torch.arange(rows) + 0.5) / rows, (torch.arange(columns) + 0.5) / columns, indexing="ij")
    across = (x * width - (left + right) / 2) / max((right - left) / 2, 1)
    down = (y * height - (top + bottom) / 2) / max((bottom - top) / 2, 1)
    return across**2 + down**2 < 1


def face_weights(faces: torch.Tensor, weight: float) -> torch.Tensor:
    """Weights in the loss of latent cells (..., h, w) bool, 1 on average: those of the face have `weight` times the others'."""
    weights = torch.where(faces, weight, 1.0)
    return weights / weights.mean((-2, -1), keepdim=True)


def _fill(image: Image.Image, width: int, height: int, box: Box | None) -> tuple[Image.Image, Box | None]:
    """The picture scaled and cropped to fill `width` x `height`, its middle kept, and where the box is then."""
    if image.size == (width, height):
        return image, box
    scale = max(width / image.width, height / image.height)
    left, top = (image.width * scale - width) / 2, (image.height * scale - height) / 2
    moved = None
    if box is not None:
        moved = (box[0] * scale - left, box[1] * scale - top, box[2] * scale - left, box[3] * scale - top)
    return ImageOps.fit(image, (width, height), Image.Resampling.LANCZOS), moved

"""From training pictures to what the denoiser trains on: latents of every variation, with captions'
facts and identities.
"""

from __future__ import annotations

import random
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import torch
from tqdm import tqdm

from avatar_pipeline.bundled_model.augment import vary
from avatar_pipeline.bundled_model.captions import Picture
from avatar_pipeline.bundled_model.dataset import Sample
from avatar_pipeline.bundled_model.people_attributes import Person
from avatar_pipeline.bundled_model.train_autoencoder import to_tensor
from avatar_pipeline.diffusion.patch_autoencoder import PatchAutoencoder

VARIATIONS = 6  # of each picture: two plain (mirrored or not), four with other light, walls or hair


@dataclass
class Latents:
    """Pictures of one size. latents: (N, 80, h, w) float16. embeddings: (N, 128) float32. weights:
    (N,), how often each is drawn.
    """

    latents: torch.Tensor
    embeddings: torch.Tensor
    people: list[Person]
    shows: list[Picture]
    weights: torch.Tensor


def encode(
    groups: Sequence[tuple[float, Sequence[Sample]]], code: PatchAutoencoder, seed: int
) -> Latents:
    """Return latents of VARIATIONS of each sample. A group is drawn as often as its share (of 1)
    says, however many samples it has.

    Every other variation of a photograph gets the embedding of another photograph of the same
    person: an identity is what they have in common.
    """
    rng = random.Random(seed)
    latents, embeddings, people, shows, weights = [], [], [], [], []
    same: dict[str, list[Sample]] = {}
    for _, group in groups:
        for sample in group:
            same.setdefault(sample.name or sample.origin, []).append(sample)
    for share, group in groups:
        total = sum(sample.weight for sample in group) * VARIATIONS
        for sample in tqdm(group, desc="variations", unit="picture"):
            for number in range(VARIATIONS):
                varied = vary(sample, rng, plain=number < 2)
                with torch.no_grad():
                    latents.append(
                        code.encode(to_tensor(varied.image[None]), return_dict=False)[0][0].half()
                    )
                witness = rng.choice(same[sample.name or sample.origin]) if number % 2 else sample
                embeddings.append(torch.from_numpy(np.asarray(witness.embedding, np.float32)))
                people.append(varied.person)
                shows.append(varied.shows)
                weights.append(share * sample.weight / total)
    return Latents(
        torch.stack(latents), torch.stack(embeddings), people, shows, torch.tensor(weights)
    )

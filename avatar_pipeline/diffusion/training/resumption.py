"""What a training was asked for, in a form that a person can compare: why a checkpoint is not gone
on from.
"""

from __future__ import annotations

import hashlib
from collections import Counter
from collections.abc import Mapping
from importlib.metadata import version
from typing import TYPE_CHECKING, Any

import torch

from avatar_pipeline.core.words import count
from avatar_pipeline.diffusion.preset_records import recorded_preset
from avatar_pipeline.diffusion.training.checkpoint import CODE_VERSION, unpack
from avatar_pipeline.diffusion.training.types import TrainingJob

if TYPE_CHECKING:
    from avatar_pipeline.diffusion.training.dataset import LoraDataset

LIBRARIES = ("torch", "diffusers", "peft")
LONGEST_VALUE = 40  # characters of a value in a message


def asked(job: TrainingJob) -> dict[str, Any]:
    """Return what a job asks for, as JSON can hold it: it is kept in the checkpoint."""
    device = job.session.device
    return {
        "settings": job.hyperparameters.model_dump(mode="json"),
        "facts": dict(job.facts),
        "seed": job.seed,
        "preset": recorded_preset(job.session.preset),
        "model": job.session.model_sha256,
        "device": [device.kind, str(device.dtype), str(device.autocast)],
        "libraries": {name: version(name) for name in LIBRARIES},
        "code": CODE_VERSION,
        "pictures": _digests(job.dataset, "latents"),
        "captions": _digests(job.dataset, "captions"),
        "class pictures": _digests(job.prior, "latents") if job.prior else [],
    }


def why_not_used(data: bytes, job: TrainingJob) -> str:
    """Return why a checkpoint of another key is not gone on from, in words: how far it was, and
    what is not as it was then.
    """
    found = unpack(None, data)
    if found is None:
        return "the checkpoint that was left is damaged or none of this version"
    state = found[1]
    where = f"the checkpoint of step {state.get('step', 0)} is not used"
    before = state.get("asked")
    if not before:
        return f"{where}: it is of an earlier version, which did not record what it was asked for"
    reasons = _differences(before, asked(job)) or ["what it was asked for has changed"]
    return f"{where}, as {'; '.join(reasons)}"


def _differences(old: Mapping[str, Any], new: Mapping[str, Any]) -> list[str]:
    reasons = []
    for group in ("settings", "facts", "preset", "libraries"):
        before, now = dict(old.get(group, {})), dict(new[group])
        reasons += [
            _change(name, before.get(name), now.get(name))
            for name in dict.fromkeys([*before, *now])
            if before.get(name) != now.get(name)
        ]
    for name, label in (
        ("pictures", "training picture"),
        ("class pictures", "class picture"),
        ("captions", "caption"),
    ):
        before_, now_ = Counter(old.get(name, [])), Counter(new[name])
        more, less = (now_ - before_).total(), (before_ - now_).total()
        changes = [f"{count(more, label)} {'is' if more == 1 else 'are'} new"] * bool(more)
        changes += [f"{count(less, label)} {'is' if less == 1 else 'are'} gone"] * bool(less)
        if changes:
            numbers = f"{before_.total()} were there, {now_.total()} are"
            reasons.append(f"{' and '.join(changes)} ({numbers})")
    for name, label in (
        ("seed", "the seed"),
        ("model", "the base model"),
        ("device", "the device"),
        ("code", "the training's code version"),
    ):
        if old.get(name) != new[name]:
            reasons.append(f"{label} was {_shown(old.get(name))} and is {_shown(new[name])}")
    return reasons


def _change(name: str, before: Any, now: Any) -> str:
    if isinstance(before, list) and isinstance(now, list):
        return f"{name} are others ({len(before)} were there, {len(now)} are)"
    return f"{name} was {_shown(before)} and is {_shown(now)}"


def _shown(value: Any) -> str:
    text = ", ".join(map(str, value)) if isinstance(value, list) else str(value)
    return text if len(text) <= LONGEST_VALUE else f"{text[: LONGEST_VALUE - 3]}..."


def _digests(dataset: LoraDataset, kind: str) -> list[str]:
    """Return a short digest of each picture's latents, or of its caption, in a settled order."""
    digests = []
    for bucket in dataset.buckets:
        parts: list[torch.Tensor] = (
            [bucket.latents]
            if kind == "latents"
            else [value for _, value in sorted(bucket.captions.items())]
        )
        for index in range(len(bucket.latents)):
            digest = hashlib.blake2b(digest_size=8)
            for part in parts:
                row = part[index].detach().cpu().contiguous()
                digest.update(row.reshape(-1).view(torch.uint8).numpy().data)
            digests.append(digest.hexdigest())
    return sorted(digests)

"""What this machine has, what is missing, and the command that fixes it."""

from __future__ import annotations

import shutil
import sys
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path

from avatar_pipeline.actors.manifest import library_versions
from avatar_pipeline.actors.store import ActorStore
from avatar_pipeline.content_credentials import keys
from avatar_pipeline.core.errors import AvatarPipelineError, ModelError
from avatar_pipeline.core.locks import state_of
from avatar_pipeline.diffusion.device import choose_device, free_memory_gib, lock_path
from avatar_pipeline.diffusion.licences import licence_accepted
from avatar_pipeline.diffusion.memory import inference_plan
from avatar_pipeline.diffusion.model_choice import hub_id, training_preset
from avatar_pipeline.diffusion.offload import has_nf4
from avatar_pipeline.diffusion.overrides import preset_by_name
from avatar_pipeline.diffusion.preset_types import Preset
from avatar_pipeline.diffusion.presets import PRESETS
from avatar_pipeline.diffusion.training_memory import training_plan
from avatar_pipeline.diffusion.weights import check_model_folder, locate_model
from avatar_pipeline.faces.analyzers import get_analyzer
from avatar_pipeline.faces.analyzers.types import LICENCES

LARGER = "a device with more free memory, or a smaller preset"


@dataclass(frozen=True)
class Finding:
    """One line of the report. needed: whether the pipeline works without it. fix: what to do,
    empty when all is well.
    """

    what: str
    state: str
    licence: str = ""
    fix: str = ""
    needed: bool = True


def examine(store: ActorStore) -> list[Finding]:
    """Check everything that a run may use. Takes some seconds: models are really opened."""
    findings = [Finding("Python", sys.version.split()[0])]
    findings += [_attempt("device", _device, licence="", fix="make install")]
    findings += [
        _attempt(
            "device lock",
            _device_lock,
            fix="set AVATAR_LOCKS to a folder that all who use the device may write in",
        )
    ]
    for name in PRESETS:
        findings += _model(name)
    findings.append(
        _attempt(
            "face analyzer dlib",
            lambda: get_analyzer("dlib").name + ": models present",
            licence=LICENCES["dlib"],
            fix="make install",
        )
    )
    findings.append(
        _attempt(
            "face analyzer insightface",
            lambda: get_analyzer("insightface").name + ": pack present",
            licence=LICENCES["insightface"],
            fix="",
            needed=False,
        )
    )
    findings.append(
        _attempt(
            "content credentials",
            _credentials,
            fix="avatar-pipeline credentials show prints more",
            needed=False,
        )
    )
    findings.append(
        _attempt(
            "actors",
            lambda: ", ".join(store.names()) or "none",
            fix="avatar-pipeline new-actor NAME ...",
        )
    )
    findings += [
        Finding(f"library {name}", version) for name, version in library_versions().items()
    ]
    findings.append(Finding("free disk", f"{shutil.disk_usage(Path.cwd()).free / 2**30:.0f} GiB"))
    return findings


def _model(name: str) -> list[Finding]:
    """Check a preset's weights and licence, and what of it fits this machine's free memory."""
    needed = name == "embedded"
    fetch = f"avatar-pipeline fetch {name}"
    try:
        preset = preset_by_name(name)
    except ModelError as error:
        return [
            Finding(
                f"model {name}",
                str(error),
                PRESETS[name].licence,
                "correct the environment variable",
                needed,
            )
        ]
    if hub_id(preset.model) is None:
        fix = (
            "git checkout -- avatar_pipeline/bundled_model/model"
            if needed
            else f"put the model into {preset.model}"
        )
    else:
        fix = fetch
    weights = _attempt(
        f"model {name}", lambda: _weights(preset), licence=preset.licence, fix=fix, needed=needed
    )
    if not licence_accepted(preset):
        state = f"{weights.state}; licence not accepted: {preset.accept}"
        weights = Finding(weights.what, state, weights.licence, f"{fetch} --accept-licence", needed)
    return [
        weights,
        *_training_base(preset),
        _attempt(f"memory {name}", lambda: f"drawing: {_plan(preset)}", fix=LARGER, needed=needed),
        _attempt(
            f"memory {name}",
            lambda: f"training: {_training_plan(preset)}",
            fix=LARGER,
            needed=needed,
        ),
    ]


def _training_base(preset: Preset) -> list[Finding]:
    """Check the weights that LoRAs are trained on, where they are not those that draw."""
    trained = training_preset(preset)
    if trained == preset:
        return []
    fix = (
        f"put the model into {trained.model}"
        if hub_id(trained.model) is None
        else f"avatar-pipeline fetch {preset.name}"
    )
    base = _attempt(
        f"model {preset.name}, base to train on",
        lambda: _weights(trained),
        licence=trained.licence,
        fix=fix,
        needed=False,
    )
    return [base]


def _credentials() -> str:
    """Check what images are signed with. Nothing is made: that is for the first picture."""
    if not keys.exist():
        return "none yet; a self-signed pair is made when the first picture is signed"
    found = keys.current()
    kind = "self-signed" if found.self_signed else "issued by an authority"
    return f"signed by {found.signer}, {kind}, until {found.until:%Y-%m-%d}"


def _weights(preset: Preset) -> str:
    check_model_folder(locate_model(preset), preset)
    return " revision ".join([preset.model_id, *([preset.revision] if preset.revision else [])])


def _plan(preset: Preset) -> str:
    """Check the memory plan for drawing in what is free now. Raises ModelError with the numbers
    when nothing fits.
    """
    device = choose_device("auto")
    return inference_plan(
        preset, free_memory_gib(device), cpu=device.cpu_precision, nf4=has_nf4(device.kind)
    ).describe()


def _training_plan(preset: Preset) -> str:
    """Check the same for training with the preset's defaults."""
    device, rank, batch = choose_device("auto"), preset.lora.rank, preset.lora.batch_size
    plan = training_plan(
        preset,
        free_memory_gib(device),
        rank=rank,
        batch_size=batch,
        cpu=device.cpu_precision,
        nf4=has_nf4(device.kind),
    )
    return f"{plan.describe()} (rank {rank}, batch {batch})"


def _device() -> str:
    device = choose_device("auto")
    lower = f", heavy layers in {device.autocast}" if device.autocast else ""
    return f"{device.kind}: {device.name}, {device.dtype}{lower}".replace("torch.", "")


def _device_lock() -> str:
    """Check where it is, and that it can be taken: processes that see another file compute at the
    same time.
    """
    path = lock_path(choose_device("auto"))
    return f"{path}: {state_of(path)}"


def _attempt(
    what: str, check: Callable[[], str], *, licence: str = "", fix: str = "", needed: bool = True
) -> Finding:
    """Run a check; what is missing becomes a finding with the error's first sentence and the
    command that fixes it.
    """
    try:
        return Finding(what, check(), licence)
    except (AvatarPipelineError, ImportError) as error:
        # the command stands in `fix`, once
        state = str(error).partition(" Fetch them: ")[0]
        return Finding(what, f"missing: {state}", licence, fix or "see the message", needed)


def conclusion(findings: Sequence[Finding]) -> str:
    """Return the closing line: whether the pipeline works here, and which optional things are not
    there.
    """
    missing, optional = (
        list(dict.fromkeys(each.what for each in findings if each.fix and each.needed is needed))
        for needed in (True, False)
    )
    if missing:
        return f"What is needed and missing: {', '.join(missing)}. The lines above say what to do."
    without = f" Optional, and not there: {', '.join(optional)}." if optional else ""
    return f"All that is needed is there.{without}"

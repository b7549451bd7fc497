"""What this machine has, what is missing, and the command that mends it."""

from __future__ import annotations

import shutil
import sys
from collections.abc import Callable
from dataclasses import dataclass
from functools import partial
from pathlib import Path

from avatar_pipeline.actors.store import ActorStore
from avatar_pipeline.diffusion.device import choose_device
from avatar_pipeline.diffusion.presets import PRESETS, Preset
from avatar_pipeline.diffusion.weights import check_model_folder
from avatar_pipeline.errors import AvatarPipelineError
from avatar_pipeline.faces.analyzer import get_analyzer
from avatar_pipeline.provenance.manifest import library_versions


@dataclass(frozen=True)
class Finding:
    """One line of the report. needed: whether the pipeline works without it. mend: what to do, empty when all is well."""

    what: str
    state: str
    licence: str = ""
    mend: str = ""
    needed: bool = True


def examine(store: ActorStore) -> list[Finding]:
    """Look at everything that a run may use. Takes some seconds: models are really opened."""
    findings = [Finding("Python", sys.version.split()[0])]
    findings += [_attempt("device", _device, licence="", mend="make install")]
    for preset in PRESETS.values():
        findings.append(
            _attempt(
                f"model {preset.name}",
                partial(_model, preset),
                licence=preset.licence,
                mend="git checkout -- avatar_pipeline/embedded/model" if preset.name == "embedded" else "see the README, Models",
                needed=preset.name == "embedded",
            )
        )
    findings.append(
        _attempt(
            "face analyzer dlib",
            lambda: get_analyzer("dlib").name + ": models present",
            licence="dlib: Boost; its 68-point predictor excludes commercial use",
            mend="make install",
        )
    )
    findings.append(
        _attempt(
            "face analyzer insightface",
            lambda: get_analyzer("insightface").name + ": pack present",
            licence="code MIT; weights for non-commercial research only",
            mend="",
            needed=False,
        )
    )
    findings.append(_attempt("actors", lambda: ", ".join(store.names()) or "none", mend="avatar-pipeline new-actor NAME ..."))
    findings += [Finding(f"library {name}", version) for name, version in library_versions().items()]
    findings.append(Finding("free disk", f"{shutil.disk_usage(Path.cwd()).free / 2**30:.0f} GiB"))
    return findings


def _model(preset: Preset) -> str:
    check_model_folder(Path(preset.model))
    return f"{preset.model_id} revision {preset.revision}"


def _device() -> str:
    device = choose_device("auto")
    lower = f", heavy layers in {device.autocast}" if device.autocast else ""
    return f"{device.kind}: {device.name}, {device.dtype}{lower}".replace("torch.", "")


def _attempt(what: str, look: Callable[[], str], *, licence: str = "", mend: str = "", needed: bool = True) -> Finding:
    """Look; what is missing becomes a finding with the error's first sentence and the command that mends it."""
    try:
        return Finding(what, look(), licence)
    except (AvatarPipelineError, ImportError) as error:
        return Finding(what, f"missing: {error}", licence, mend or "see the message", needed)

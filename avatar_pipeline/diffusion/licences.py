"""Licences that a user has to accept before a model is fetched or used, and the record that this
was done.
"""

from __future__ import annotations

import os
from collections.abc import Mapping
from pathlib import Path

from avatar_pipeline.core.clock import utc_now
from avatar_pipeline.core.errors import ModelError
from avatar_pipeline.core.home import home_folder, read_record, write_json
from avatar_pipeline.diffusion.preset_types import Preset

VARIABLE = "AVATAR_ACCEPT_LICENCES"


def licence_accepted(preset: Preset, environ: Mapping[str, str] = os.environ) -> bool:
    """Whether the preset's licence asks for nothing, or has been accepted: on record, or in the
    environment (for CI).
    """
    if not preset.accept:
        return True
    if preset.name in [name.strip() for name in environ.get(VARIABLE, "").split(",")]:
        return True
    # Another text than the one accepted would need another consent.
    return _read().get(preset.name, {}).get("licence") == preset.licence


def require_licence(preset: Preset) -> None:
    """Raise ModelError when the preset's licence has not been accepted."""
    if not licence_accepted(preset):
        raise ModelError(
            f"the licence of preset {preset.name} has not been accepted: {preset.licence}, "
            f"{preset.accept}. Read it, and if you agree: "
            f"avatar-pipeline fetch {preset.name} --accept-licence (or {VARIABLE}={preset.name} "
            "in the environment)."
        )


def accept_licence(preset: Preset) -> Path:
    """Put the acceptance on record in the project's home, with its time. Returns the record's
    file.
    """
    write_json(
        record(),
        {
            **_read(),
            preset.name: {"licence": preset.licence, "terms": preset.accept, "accepted": utc_now()},
        },
    )
    return record()


def record() -> Path:
    """The file with the licences accepted on this machine."""
    return home_folder() / "licences.json"


def _read() -> dict[str, dict[str, str]]:
    return read_record(record(), "Delete it, and accept the licences again.")

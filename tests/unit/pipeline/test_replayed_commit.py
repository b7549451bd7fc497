"""A replay uses the commit of the model that the manifest records, whatever is on record since."""

from __future__ import annotations

from pathlib import Path

import pytest

from avatar_pipeline.actors.manifest import Manifest
from avatar_pipeline.diffusion.overrides import preset_by_name
from avatar_pipeline.diffusion.preset_records import model_location, preset_values
from avatar_pipeline.diffusion.preset_types import Preset
from avatar_pipeline.diffusion.presets import get_preset
from avatar_pipeline.diffusion.revisions import record_revision
from avatar_pipeline.pipeline.models import Models
from avatar_pipeline.pipeline.replay import recorded_preset

LATER = "89abcdef" * 5


@pytest.fixture(autouse=True)
def home(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("DAGSTER_HOME", str(tmp_path))


def manifest(preset: Preset) -> Manifest:
    """As a run with the preset writes it."""
    return Manifest(
        actor="anna",
        asset="base_image",
        code_version="1",
        root_seed=1,
        preset=preset.name,
        preset_values=preset_values(preset),
        model=model_location(preset),
        model_id=preset.model_id,
        model_revision=preset.revision,
    )


def test_a_version_of_the_tables_commit_keeps_it_when_another_is_put_on_record() -> None:
    table = get_preset("sdxl")
    before = manifest(preset_by_name("sdxl"))
    assert before.model == ""
    record_revision(table.model, LATER)
    assert preset_by_name("sdxl").revision == LATER
    assert recorded_preset(before, Models()).revision == table.revision


def test_a_version_of_the_commit_on_record_keeps_it_when_there_is_none_any_more(
    tmp_path: Path,
) -> None:
    klein = get_preset("flux2-klein")
    assert klein.base is not None
    record_revision(klein.model, LATER)
    record_revision(klein.base.model, LATER)
    after = manifest(preset_by_name("flux2-klein"))
    (tmp_path / "revisions.json").unlink()
    replayed = recorded_preset(after, Models())
    assert replayed.revision == LATER
    assert replayed.base is not None and replayed.base.revision == LATER


def test_the_bundled_model_is_not_asked_for_by_commit() -> None:
    embedded = get_preset("embedded")
    assert recorded_preset(manifest(embedded), Models()) == embedded

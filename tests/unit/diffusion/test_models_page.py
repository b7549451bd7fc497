"""docs/models.md says what the code says."""

from __future__ import annotations

from avatar_pipeline.diffusion.override_fields import Overrides
from avatar_pipeline.diffusion.presets import PRESETS
from scripts.memory_table import DOCUMENT, tables, written


def test_the_tables_are_those_of_the_code() -> None:
    text = DOCUMENT.read_text(encoding="utf-8")
    for name, table in tables().items():
        assert written(text, name) == table, f"{name}: run python -m scripts.memory_table"


def test_every_commit_of_a_preset_with_two_models_has_its_source() -> None:
    text = DOCUMENT.read_text(encoding="utf-8")
    for preset in PRESETS.values():
        for model, revision in (
            [(preset.model_id, preset.revision), (preset.base.model_id, preset.base.revision)]
            if preset.base
            else []
        ):
            assert f"| {model} | `{revision}` | " in text


def test_every_field_that_may_be_overridden_is_named() -> None:
    text = DOCUMENT.read_text(encoding="utf-8")
    assert [field for field in Overrides.model_fields if f"`{field}`" not in text] == []

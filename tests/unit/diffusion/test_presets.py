"""The table of presets, and what overrides it: the run, the environment, actor.yaml, in this
order.
"""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest

from avatar_pipeline.core.errors import ModelError
from avatar_pipeline.diffusion.model_choice import training_preset
from avatar_pipeline.diffusion.override_fields import BASE_FIELDS, Overrides
from avatar_pipeline.diffusion.overrides import check_values, preset_by_name, resolve_preset
from avatar_pipeline.diffusion.preset_records import model_location, preset_values
from avatar_pipeline.diffusion.preset_types import Preset
from avatar_pipeline.diffusion.presets import PRESETS, get_preset

ACTOR = "actor.yaml of anna"


def resolve(
    preset: str = "sdxl",
    values: dict[str, Any] | None = None,
    environ: dict[str, str] | None = None,
    **run: Any,
) -> Preset:
    return resolve_preset(preset, values or {}, ACTOR, environ=environ or {}, **run)


def test_without_overrides_it_is_the_table() -> None:
    for name, preset in PRESETS.items():
        assert resolve(name) == preset
        assert preset_by_name(name, {}) == preset
        assert model_location(preset) == ""


@pytest.mark.parametrize("name", PRESETS)
def test_every_value_of_the_table_is_one_that_may_be_given(name: str) -> None:
    values = preset_values(PRESETS[name])
    left_out = set() if PRESETS[name].base else set(BASE_FIELDS)
    assert set(values) == set(Overrides.model_fields) - {"model", "revision"} - left_out
    assert resolve(name, values) == PRESETS[name]
    assert all(
        width % PRESETS[name].size_multiple == height % PRESETS[name].size_multiple == 0
        for width, height in PRESETS[name].sizes.values()
    )


def test_the_base_may_draw_with_its_own_steps_and_guidance() -> None:
    base = resolve("flux2-klein", {"draw_with": "base"})
    assert (base.model_id, base.steps, base.guidance_scale) == (
        "black-forest-labs/FLUX.2-klein-base-4B",
        50,
        4.0,
    )
    assert training_preset(base) == base
    assert resolve("flux2-klein", {"draw_with": "base", "steps": 28}).steps == 28
    trained = training_preset(PRESETS["z-image"])
    assert (trained.model_id, trained.steps, trained.guidance_scale) == (
        "Tongyi-MAI/Z-Image",
        50,
        5.0,
    )
    assert training_preset(PRESETS["sdxl"]) is PRESETS["sdxl"]


def test_the_base_to_train_on_may_lie_elsewhere(tmp_path: Path) -> None:
    preset = resolve("z-image", {"training_model": str(tmp_path)})
    assert preset.model_id == "Tongyi-MAI/Z-Image-Turbo"
    trained = training_preset(preset)
    assert (trained.model, trained.model_id) == (str(tmp_path), f"local:{tmp_path.name}")
    drawn = resolve("z-image", {"training_model": str(tmp_path), "draw_with": "base"})
    assert drawn.model == str(tmp_path)
    for field, value in (("draw_with", "base"), ("training_model", str(tmp_path))):
        with pytest.raises(ModelError, match=rf"{field}: preset sdxl .*actor\.yaml of anna"):
            resolve("sdxl", {field: value})


def test_the_seeds_settings_are_the_defaults_of_flux() -> None:
    dev, schnell = PRESETS["flux-dev"], PRESETS["flux-schnell"]
    assert (dev.sizes["full_body"], dev.steps, dev.guidance_scale, dev.scheduler) == (
        (1024, 1536),
        25,
        3.5,
        "euler_simple",
    )
    assert schnell.steps == 4


def test_the_run_beats_the_environment_which_beats_the_actor_which_beats_the_table() -> None:
    actor, environ = {"steps": 40}, {"AVATAR_PRESET_SDXL_STEPS": "50"}
    assert resolve().steps == 30
    assert resolve(values=actor).steps == 40
    assert resolve(values=actor, environ=environ).steps == 50
    assert resolve(values=actor, environ=environ, run_values={"steps": 60}).steps == 60
    assert resolve(values=actor, environ=environ, run_values={"steps": None}).steps == 50


def test_the_preset_itself_too_and_an_actors_values_belong_to_the_actors_preset() -> None:
    assert resolve(environ={"AVATAR_PRESET": "flux-schnell"}).name == "flux-schnell"
    assert resolve(environ={"AVATAR_PRESET": "flux-schnell"}, run_preset="sd15").name == "sd15"
    assert resolve(values={"steps": 99}, run_preset="sd15").steps == PRESETS["sd15"].steps
    assert resolve("sdxl", {"steps": 99}, run_preset="sdxl").steps == 99


def test_a_folder_does_not_claim_the_hub_id(tmp_path: Path) -> None:
    folder = tmp_path / "my-sdxl"
    folder.mkdir()
    preset = resolve(environ={"AVATAR_MODEL_SDXL": str(folder)})
    assert (preset.model, preset.model_id, preset.revision) == (str(folder), "local:my-sdxl", "")
    assert model_location(preset) == str(folder)
    assert get_preset("sdxl").licence == preset.licence


def test_another_hub_model_needs_a_revision() -> None:
    preset = resolve(values={"model": "someone/finetune", "revision": "abc123"})
    assert (preset.model_id, preset.revision, model_location(preset)) == (
        "someone/finetune",
        "abc123",
        "someone/finetune@abc123",
    )
    assert resolve(run_values={"model": "someone/finetune@abc123"}) == preset
    with pytest.raises(
        ModelError,
        match=r"'someone/finetune' has no "
        r"revision.*OWNER/NAME@REVISION.*actor\.yaml of anna",
    ):
        resolve(values={"model": "someone/finetune"})
    later = resolve(values={"revision": "abc123"})
    assert (later.model_id, later.revision) == (PRESETS["sdxl"].model_id, "abc123")


@pytest.mark.parametrize(
    ("where", "values"),
    [
        ("actor.yaml of anna", {"values": {"steps": 0}}),
        (
            "the environment variable AVATAR_PRESET_SDXL_STEPS",
            {"environ": {"AVATAR_PRESET_SDXL_STEPS": "0"}},
        ),
        ("the run's configuration", {"run_values": {"steps": 0}}),
    ],
)
def test_an_error_says_where_the_value_comes_from_and_what_is_allowed(
    where: str, values: dict[str, Any]
) -> None:
    with pytest.raises(ModelError) as caught:
        resolve(**values)
    assert "steps = 0 is not usable" in str(caught.value)
    assert "greater than or equal to 1" in str(caught.value)
    assert where in str(caught.value)


@pytest.mark.parametrize(
    ("values", "words"),
    [
        ({"step": 3}, "'step' is nothing that can be overridden.*steps"),
        ({"licence": "none"}, "'licence' is nothing that can be overridden"),
        ({"scheduler": "euler"}, "scheduler = 'euler' is not usable.*dpmpp_2m_karras"),
        ({"dtype": "int8"}, "dtype = 'int8'"),
        ({"steps": "many"}, "steps = 'many'"),
        ({"sizes": {"headshot": [1000, 1024]}}, "sizes: headshot.*multiples of 32"),
        ({"sizes": {"full_body": [1024, 1024]}}, "Give a headshot"),
        ({"sizes": {"sitting": [1024, 1024]}}, "sizes = "),
        ({"largest": 512}, "largest: headshot"),
        ({"lora_rank": 1000}, "lora_rank = 1000.*less than or equal to 256"),
    ],
)
def test_what_is_not_usable(values: dict[str, Any], words: str) -> None:
    with pytest.raises(ModelError, match=words):
        check_values("sdxl", values, ACTOR)


@pytest.mark.parametrize(
    ("variable", "words"),
    [
        ("AVATAR_PRESET_SDLX_STEPS", "names no preset"),
        ("AVATAR_PRESET_SDXL_STEP", "names no field"),
        ("AVATAR_MODEL_FLUX", "names no preset"),
    ],
)
def test_a_misspelt_variable_is_an_error_and_not_ignored(variable: str, words: str) -> None:
    with pytest.raises(ModelError, match=f"{variable} {words}.*FLUX_DEV"):
        resolve("embedded", environ={variable: "3"})


def test_two_variables_for_one_model_are_an_error() -> None:
    with pytest.raises(ModelError, match="both give model"):
        resolve(environ={"AVATAR_MODEL_SDXL": "/a", "AVATAR_PRESET_SDXL_MODEL": "/b"})


def test_values_are_read_as_yaml_and_names_as_they_are() -> None:
    environ = {
        "AVATAR_PRESET_FLUX_DEV_SIZES": "{headshot: [512, 512]}",
        "AVATAR_PRESET_FLUX_DEV_LORA_TARGETS": "[to_q, to_v]",
        "AVATAR_PRESET_FLUX_DEV_MODEL": "someone/finetune@123456",
        "AVATAR_PRESET_SDXL_STEPS": "0",  # of another preset: not looked at
    }
    preset = resolve("flux-dev", environ=environ)
    assert (preset.sizes, preset.lora.targets, preset.revision) == (
        {"headshot": (512, 512)},
        ("to_q", "to_v"),
        "123456",
    )


def test_an_unknown_preset_says_who_wants_it() -> None:
    with pytest.raises(ModelError, match=r"'sd3' does not exist.*embedded.*AVATAR_PRESET"):
        resolve(environ={"AVATAR_PRESET": "sd3"})
    with pytest.raises(ModelError, match="the run's configuration"):
        resolve(run_preset="sd3")

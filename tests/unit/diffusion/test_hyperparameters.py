"""One declaration of LoRA hyperparameters: what each preset trains with, and that a checkpoint's
fingerprint is what it was under the former names.
"""

from __future__ import annotations

import pytest

from avatar_pipeline.core.errors import GenerationError
from avatar_pipeline.diffusion.hyperparameters import (
    DECIDED_BY_PRESET,
    LoraHyperparameters,
    override_name,
)
from avatar_pipeline.diffusion.override_fields import Overrides
from avatar_pipeline.diffusion.preset_records import recorded_preset
from avatar_pipeline.diffusion.presets import PRESETS, get_preset
from avatar_pipeline.pipeline.assets.lora.settings import Settings
from avatar_pipeline.pipeline.settings import describe_range

ATTENTION = ["to_q", "to_k", "to_v", "to_out.0"]
CONVOLUTIONS = ["proj_in", "proj_out", "conv1", "conv2", "conv_shortcut"]
BOTH_STREAMS = [*ATTENTION, "add_k_proj", "add_q_proj", "add_v_proj", "to_add_out"]

# What every preset leaves as it is, under the names of the first release.
COMMON = {
    "caption_dropout": 0.1,
    "accumulation": 1,
    "patience": 0,
    "prior_weight": 0.0,
    "optimizer": "adamw",
    "rslora": False,
    "dora": False,
    "gradient_checkpointing": False,
    "quantise": "none",
    "compile": False,
    "processes": 1,
}
COLUMNS = (
    *("rank", "alpha", "learning_rate", "steps", "batch_size", "targets", "face_weight"),
    *("min_snr", "ema", "evaluate_every"),
    *("timestep_mean", "timestep_spread", "timestep_uniform"),
)
FLUX = (16, 16, 1e-4, 1200, 1, BOTH_STREAMS, 1.0, 0.0, 0.99, 75, 0.0, 1.0, 0.0)
TABLE = {
    "embedded": (16, 16, 2e-3, 250, 4, ATTENTION + CONVOLUTIONS, 3.0, 0.0, 0.95, 50, 1.5, 1.3, 0.3),
    "sd15": (16, 16, 1e-4, 800, 4, ATTENTION, 1.0, 5.0, 0.0, 75, 0.0, 1.0, 1.0),
    "sdxl": (32, 32, 1e-4, 1200, 4, ATTENTION, 1.0, 5.0, 0.0, 75, 0.0, 1.0, 1.0),
    "flux-dev": FLUX,
    "flux-schnell": FLUX,
}


@pytest.mark.parametrize("name", TABLE)
def test_a_checkpoint_is_bound_to_the_same_hyperparameters_as_before_the_rename(name: str) -> None:
    recorded = PRESETS[name].lora.recorded()
    own = dict(zip(COLUMNS, TABLE[name], strict=True))
    assert {**recorded, "targets": list(recorded["targets"])} == {**COMMON, **own}
    # 16 and 16.0 are equal, and their JSON is not
    assert {key: type(value) for key, value in recorded.items() if key != "targets"} == {
        key: type(value) for key, value in {**COMMON, **own}.items() if key != "targets"
    }


def test_a_checkpoint_is_bound_to_the_same_preset_as_before_the_rename() -> None:
    recorded = recorded_preset(get_preset("sd15"))
    assert list(recorded) == [
        *("name", "family", "model", "model_id", "revision", "licence", "parameters", "sizes"),
        *("size_multiple", "largest", "steps", "guidance_scale", "accept", "dtype", "scheduler"),
        *("flow_shift", "head_inter_eye", "head_eye_y", "identity_adapter", "identity_analyzer"),
        *("identity_unit", "lora_rank", "lora_alpha", "lora_learning_rate", "lora_steps"),
        *("lora_batch_size", "lora_targets", "lora_face_weight", "lora_min_snr", "lora_ema"),
        *("lora_evaluate_every", "timestep_mean", "timestep_spread", "timestep_uniform"),
    ]
    assert (recorded["lora_steps"], recorded["lora_min_snr"], recorded["steps"]) == (800, 5.0, 25)


def test_ranges_and_meanings_are_those_of_the_one_declaration() -> None:
    for name, field in LoraHyperparameters.model_fields.items():
        override = Overrides.model_fields.get(override_name(name))
        assert (override is not None) == (name in DECIDED_BY_PRESET)
        for twin in (override, Settings.model_fields.get(name)):
            if twin is not None:
                assert (twin.metadata, twin.description) == (field.metadata, field.description)
    assert describe_range(Settings.model_fields["learning_rate"]) == "> 0, <= 10"
    assert describe_range(Overrides.model_fields["lora_snr_gamma"]) == ">= 0, <= 100"


def test_settings_say_all_that_the_model_does_not_decide() -> None:
    open_ = {name for name, value in Settings().model_dump().items() if value is None}
    assert open_ == {
        *("rank", "alpha", "learning_rate", "max_train_steps", "batch_size", "face_weight"),
        *("snr_gamma", "ema", "evaluate_every", "gradient_checkpointing", "quantization"),
    }


def test_what_is_given_beats_the_preset_and_none_is_not_given() -> None:
    lora = get_preset("sdxl").lora
    assert lora.with_values({"rank": None, "ema": 0.0}) == lora
    changed = lora.with_values({"rank": 8, "use_dora": True})
    assert changed.model_dump() == {**lora.model_dump(), "rank": 8, "use_dora": True}
    assert lora.with_values({"optimizer": "prodigy"}).learning_rate == 1.0
    asked = {"optimizer": "prodigy", "learning_rate": 0.5}
    assert lora.with_values(asked).learning_rate == 0.5
    with pytest.raises(GenerationError, match="batch_size: 4 .* by 3 processes"):
        lora.with_values({"processes": 3})

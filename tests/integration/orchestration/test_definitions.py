"""The Dagster entry point: it loads fast, imports nothing heavy, and says what it should."""

from __future__ import annotations

import json
import subprocess
import sys

import dagster as dg
import pytest

from avatar_pipeline.actors.spec import ActorSpec
from avatar_pipeline.orchestration.assets.config import config_class
from avatar_pipeline.orchestration.definitions import defs
from avatar_pipeline.orchestration.inputs import ACTORS
from avatar_pipeline.pipeline.registry import STAGES
from avatar_pipeline.pipeline.settings import resolve_settings

HEAVY = (
    "torch",
    "diffusers",
    "transformers",
    "peft",
    "insightface",
    "onnxruntime",
    "cv2",
    "dlib",
    "scipy",
    "matplotlib",
    "pandas",
    "sqlalchemy",
    "c2pa",
    "cryptography",
    "dicebear",
)

LOAD = f"""
import json, sys
import avatar_pipeline.definitions
print(json.dumps([name for name in {HEAVY!r} if name in sys.modules]))
"""


def test_loading_is_light() -> None:
    """How long it takes: benchmarks/side_by_side.py."""
    done = subprocess.run(
        [sys.executable, "-c", LOAD], capture_output=True, text=True, timeout=120, check=True
    )
    assert json.loads(done.stdout.splitlines()[-1]) == []


def test_everything_resolves() -> None:
    dg.Definitions.validate_loadable(defs)


def test_the_asset_graph() -> None:
    graph = defs.resolve_asset_graph()
    found = {
        node.key.to_user_string(): sorted(parent.to_user_string() for parent in node.parent_keys)
        for node in graph.asset_nodes
    }
    assert found == {
        "actor_spec": [],
        "actor_photos": [],
        "base_model": [],
        "photo_intake": ["actor_photos", "actor_spec"],
        "base_image": ["actor_photos", "actor_spec", "base_model", "photo_intake"],
        "face_validation": ["actor_spec", "base_image"],
        "training_variations": [
            "actor_spec",
            "base_image",
            "base_model",
            "face_validation",
            "photo_intake",
        ],
        "lora": ["actor_spec", "base_model", "training_variations"],
        "validated_avatar": [
            "actor_spec",
            "base_image",
            "base_model",
            "lora",
            "photo_intake",
            "training_variations",
        ],
        "liveportrait_export": [
            "actor_spec",
            "base_image",
            "photo_intake",
            "training_variations",
            "validated_avatar",
        ],
        "service/draw": ["base_model", "lora"],
        "service/face_swap": ["liveportrait_export", "validated_avatar"],
        "service/make_base_image": ["base_image"],
        "service/portrait": [],
    }
    assert all(
        node.partitions_def == ACTORS for node in graph.asset_nodes if node.group_name != "service"
    )
    for name, stage in STAGES.items():
        node = graph.get(dg.AssetKey(name))
        assert node.code_version == stage.code_version
        assert node.pools == ({"gpu"} if stage.model else set())
        assert node.description


def test_checks_belong_to_a_partition_and_block() -> None:
    graph = defs.resolve_asset_graph()
    specs = [graph.get_check_spec(key) for key in graph.asset_check_keys]
    checked = {"photo_intake", "face_validation", "validated_avatar", "liveportrait_export"}
    assert {spec.asset_key.to_user_string() for spec in specs} == checked
    assert all(spec.blocking and spec.partitions_def is not None for spec in specs)


@pytest.mark.parametrize("name", STAGES)
def test_every_setting_is_an_optional_field_that_is_described(name: str) -> None:
    stage = STAGES[name]
    config = config_class(stage)()
    assert set(stage.settings.model_fields) <= set(type(config).model_fields)
    for field, info in type(config).model_fields.items():
        assert getattr(config, field) is None
        assert info.description
    spec = ActorSpec(name="anna", description="european 25 year old male", likeness="synthetic")
    assert resolve_settings(stage, spec, {}) == stage.settings()

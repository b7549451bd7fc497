"""The tools of a run: each model is loaded once, whoever asks; presets are resolved; manifests and
replays know what was used.
"""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
import yaml

from avatar_pipeline.actors.manifest import Manifest
from avatar_pipeline.actors.name import ActorName
from avatar_pipeline.actors.spec import ActorSpec
from avatar_pipeline.actors.store import ActorStore
from avatar_pipeline.core.errors import ActorError, ModelError
from avatar_pipeline.diffusion.loading import load_pipeline
from avatar_pipeline.diffusion.preset_types import Preset
from avatar_pipeline.diffusion.presets import get_preset
from avatar_pipeline.pipeline.context import RunContext
from avatar_pipeline.pipeline.materialize import materialize
from avatar_pipeline.pipeline.models import Models
from avatar_pipeline.pipeline.registry import STAGES
from avatar_pipeline.pipeline.replay import replay
from avatar_pipeline.pipeline.settings import resolve_settings
from avatar_pipeline.pipeline.stage import StageResult
from avatar_pipeline.pipeline.versions import spec_version


def actor(name: str, **fields: Any) -> ActorSpec:
    return ActorSpec(
        name=ActorName(name),
        description="european 38 year old female with short curly dark hair",
        likeness="synthetic",
        **fields,
    )


@pytest.fixture
def loads(monkeypatch: pytest.MonkeyPatch) -> list[str]:
    """The presets whose weights were really loaded, in order."""
    loaded: list[str] = []

    def load(preset: Preset, *rest: Any) -> Any:
        loaded.append(preset.name)
        return load_pipeline(preset, *rest)

    monkeypatch.setattr("avatar_pipeline.diffusion.loaded.load_pipeline", load)
    return loaded


@pytest.fixture
def tools() -> Iterator[RunContext]:
    tools = RunContext(models=Models("cpu"))
    yield tools
    tools.models.close()


def test_ten_actors_load_the_model_once(tools: RunContext, loads: list[str]) -> None:
    pipelines = {
        id(tools.session(actor(f"actor{i}", model={"steps": 10 + i})).pipeline) for i in range(10)
    }
    assert len(pipelines) == 1
    assert loads == ["embedded"]
    # each with its own numbers
    assert tools.session(actor("actor3", model={"steps": 13})).preset.steps == 13
    assert (
        tools.session(actor("plain")).image_pipeline.unet
        is tools.session(actor("other", model={"lora_rank": 4})).pipeline.unet
    )
    assert loads == ["embedded"]


def test_other_weights_or_another_sampler_are_loaded_of_their_own(
    tools: RunContext, loads: list[str]
) -> None:
    first = tools.session(actor("one")).pipeline
    second = tools.session(actor("two", model={"scheduler": "dpmpp_2m_karras"})).pipeline
    assert first is not second
    assert (
        type(first.scheduler).__name__
        == type(second.scheduler).__name__
        == "DPMSolverMultistepScheduler"
    )
    assert (
        first.scheduler.config.use_karras_sigmas,
        second.scheduler.config.use_karras_sigmas,
    ) == (False, True)
    assert loads == ["embedded", "embedded"]


def test_close_frees_every_session(loads: list[str]) -> None:
    import gc
    import weakref

    tools = RunContext(models=Models("cpu"))
    unet = weakref.ref(tools.session(actor("one")).pipeline.unet)
    shared = tools.session(actor("two", model={"steps": 3}))
    assert shared.pipeline.unet is unet()
    tools.models.close()
    gc.collect()
    assert unet() is None
    _ = tools.session(actor("one")).pipeline
    assert loads == ["embedded", "embedded"]
    tools.models.close()


def test_the_runs_choice_beats_the_actors(monkeypatch: pytest.MonkeyPatch) -> None:
    spec = actor("one", preset="sdxl", model={"steps": 40, "lora_rank": 8})
    monkeypatch.setenv("AVATAR_PRESET_SDXL_LORA_RANK", "16")
    chosen = Models("cpu", overrides={"steps": 50}).preset(spec)
    assert (chosen.name, chosen.steps, chosen.lora.rank) == ("sdxl", 50, 16)
    assert Models("cpu", preset="sd15").preset(spec) == get_preset("sd15")
    with pytest.raises(ModelError, match="steps = 0.*the run's configuration"):
        Models("cpu", overrides={"steps": 0}).preset(spec)


def write_actor(root: Path, name: str, **fields: Any) -> None:
    content = {
        "description": "european 38 year old female with short curly dark hair",
        "likeness": "synthetic",
        "seed": 5,
        **fields,
    }
    (root / name).mkdir(parents=True, exist_ok=True)
    (root / name / "actor.yaml").write_text(yaml.safe_dump(content))


@pytest.mark.parametrize(
    ("fields", "words"),
    [
        (
            {"preset": "sd3"},
            "preset.*no such preset; choose one of embedded, sd15, sdxl, "
            "flux-dev, flux-schnell.*'sd3'",
        ),
        ({"model": {"step": 3}}, "'step' is nothing that can be overridden"),
        ({"model": {"steps": 3000}}, r"steps = 3000 is not usable.*actor\.yaml \(model: steps\)"),
        ({"model": "/models/sdxl"}, "model.*dictionary"),
    ],
)
def test_a_wrong_actor_yaml_fails_when_it_is_read(
    tmp_path: Path, fields: dict[str, Any], words: str
) -> None:
    write_actor(tmp_path, "anna", **fields)
    with pytest.raises(ActorError, match=words) as caught:
        ActorStore(tmp_path).spec(ActorName("anna"))
    assert str(tmp_path / "anna" / "actor.yaml") in str(caught.value)


def test_a_spec_without_the_field_keeps_its_version() -> None:
    import json

    from avatar_pipeline.core.digests import sha256_bytes

    spec = actor("one")
    before = {
        name: value
        for name, value in spec.model_dump(mode="json").items()
        if name not in ("model", "aliases")
    }
    assert spec_version(spec) == sha256_bytes(json.dumps(before, sort_keys=True).encode())
    assert spec_version(actor("one", model={"steps": 3})) != spec_version(spec)
    assert spec_version(actor("one", aliases=["Number One"])) == spec_version(spec)


def test_a_replay_uses_the_values_of_the_manifest(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A stage that tells the preset it was given, in the place of base_image; nothing is drawn."""
    store = ActorStore(tmp_path)
    write_actor(tmp_path, "anna", framing="headshot", model={"steps": 7})
    seen: list[tuple[int, float]] = []

    def run(inputs: Any, settings: Any, context: RunContext) -> StageResult:
        session = context.session(inputs.spec)
        _ = session.pipeline
        seen.append((session.preset.steps, session.preset.guidance_scale))
        return StageResult(files={"anna_base.png": str(session.preset.steps).encode()})

    from dataclasses import replace

    stage = replace(STAGES["base_image"], run=run, upstream=(), photos=False)
    monkeypatch.setitem(STAGES, "base_image", stage)
    tools = RunContext(models=Models("cpu"))
    spec = store.spec(ActorName("anna"))
    product = materialize(store, stage, spec, resolve_settings(stage, spec, {}), tools)
    made: Manifest = store.publish(product.manifest, product.result.files)
    assert (made.preset, made.preset_values["steps"], made.model, made.model_id) == (
        "embedded",
        7,
        "",
        "avatar_pipeline/embedded",
    )
    assert len(made.memory_plans) == 1
    assert "all on the device" in made.memory_plans[0]

    write_actor(tmp_path, "anna", framing="headshot", model={"steps": 9})
    monkeypatch.setenv("AVATAR_PRESET_EMBEDDED_GUIDANCE_SCALE", "8")
    recorded, again = replay(store, ActorName("anna"), "base_image", tools)
    assert again.digest == recorded.digest
    assert seen == [(7, 3.0), (7, 3.0)]
    assert tools.preset(store.spec(ActorName("anna"))).steps == 9  # afterwards as before
    tools.models.close()


def test_a_manifest_says_where_an_overriding_model_lay(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    import shutil

    from avatar_pipeline.diffusion.presets import EMBEDDED_MODEL
    from avatar_pipeline.pipeline.materialize import _device
    from avatar_pipeline.pipeline.replay import recorded_preset

    shutil.copytree(EMBEDDED_MODEL, tmp_path / "own")
    tools = RunContext(models=Models("cpu", model=str(tmp_path / "own")))
    spec = actor("anna")
    with _device(True, spec, tools) as used:
        pass
    assert (used["model_id"], used["model_revision"]) == ("local:own", "")
    manifest = Manifest(
        actor="anna",
        asset="base_image",
        code_version="1",
        root_seed=1,
        preset="embedded",
        model=str(tmp_path / "own"),
    )
    fresh = Models("cpu")
    assert recorded_preset(manifest, fresh).model == str(tmp_path / "own")
    monkeypatch.setenv("AVATAR_MODEL_EMBEDDED", str(tmp_path))
    assert recorded_preset(manifest, fresh).model == str(tmp_path)
    assert recorded_preset(manifest, tools.models).model == str(tmp_path / "own")

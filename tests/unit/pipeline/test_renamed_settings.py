"""Settings under their former names are read wherever they may be written, with one warning; what
was made before the rename is neither stale nor made again.
"""

from __future__ import annotations

import json
import logging
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
import yaml

from avatar_pipeline.actors.manifest import Manifest
from avatar_pipeline.actors.store import ActorStore
from avatar_pipeline.cli._shared import parse_settings
from avatar_pipeline.core.errors import GenerationError, ModelError
from avatar_pipeline.core.renamed import (
    LORA_SETTINGS,
    PRESET_FIELDS,
    SETTINGS,
    forget_warnings,
    with_former_names,
)
from avatar_pipeline.diffusion.override_fields import Overrides
from avatar_pipeline.diffusion.overrides import resolve_preset
from avatar_pipeline.history.diff import compare
from avatar_pipeline.history.versions import changes
from avatar_pipeline.orchestration.assets.config import config_class, overrides
from avatar_pipeline.pipeline.assets.lora.settings import Settings
from avatar_pipeline.pipeline.context import RunContext
from avatar_pipeline.pipeline.materialize import MaterializeOptions, Product, materialize
from avatar_pipeline.pipeline.models import Models
from avatar_pipeline.pipeline.registry import STAGES
from avatar_pipeline.pipeline.replay import replay
from avatar_pipeline.pipeline.reuse import reuse_current
from avatar_pipeline.pipeline.settings import resolve_settings
from avatar_pipeline.pipeline.stage import Inputs, Stage, StageResult
from avatar_pipeline.pipeline.staleness import stale_assets
from avatar_pipeline.pipeline.versions import person_version, spec_version
from tests.support.chains import add_actor

NAME = "anna"
VALUES: dict[str, Any] = {
    "steps": 40,
    "accumulation": 2,
    "min_snr": 4.0,
    "rslora": True,
    "dora": True,
    "prior_weight": 0.5,
    "prior_pictures": 3,
    "quantise": "fp8",
    "probes": 2,
    "lora_steps": 30,
    "lora_min_snr": 3.0,
}


@pytest.fixture(autouse=True)
def warnings_again() -> Iterator[None]:
    """Each test starts as a process does: nothing has been warned of."""
    forget_warnings()
    yield
    forget_warnings()


@pytest.fixture
def store(tmp_path: Path) -> ActorStore:
    store = ActorStore(tmp_path)
    add_actor(store, NAME)
    return store


def say(store: ActorStore, **content: Any) -> None:
    """Add to the actor's actor.yaml."""
    path = Path(store.actor_dir(NAME).path) / "actor.yaml"
    path.write_text(yaml.safe_dump({**yaml.safe_load(path.read_text()), **content}))


def warned(caplog: pytest.LogCaptureFixture) -> list[str]:
    return [
        record.getMessage()
        for record in caplog.records
        if record.name == "avatar_pipeline.core.renamed" and record.levelno == logging.WARNING
    ]


def assert_one_warning(caplog: pytest.LogCaptureFixture, former: str, present: str) -> None:
    (line,) = warned(caplog)
    assert f"{former!r} is now {present!r}" in line


def test_the_table_names_settings_that_there_are() -> None:
    for asset, renamed in SETTINGS.items():
        fields = STAGES[asset].settings.model_fields
        assert set(renamed.values()) <= set(fields)
        assert not set(renamed) & set(fields)
    assert set(PRESET_FIELDS.values()) <= set(Overrides.model_fields)
    assert not set(PRESET_FIELDS) & set(Overrides.model_fields)
    assert set(VALUES) == {*LORA_SETTINGS, *PRESET_FIELDS}


@pytest.mark.parametrize(("former", "present"), LORA_SETTINGS.items())
def test_a_stages_setting_in_actor_yaml(
    store: ActorStore, caplog: pytest.LogCaptureFixture, former: str, present: str
) -> None:
    say(store, settings={"lora": {former: VALUES[former]}})
    for _ in range(2):
        found = resolve_settings(STAGES["lora"], store.spec(NAME), {})
        assert getattr(found, present) == VALUES[former]
    assert_one_warning(caplog, former, present)


@pytest.mark.parametrize(("former", "present"), LORA_SETTINGS.items())
def test_a_stages_setting_in_the_runs_configuration(
    store: ActorStore, caplog: pytest.LogCaptureFixture, former: str, present: str
) -> None:
    config = config_class(STAGES["lora"])(**{former: VALUES[former]})
    for _ in range(2):
        found = resolve_settings(STAGES["lora"], store.spec(NAME), overrides(config))
        assert getattr(found, present) == VALUES[former]
    assert_one_warning(caplog, former, present)


@pytest.mark.parametrize(("former", "present"), LORA_SETTINGS.items())
def test_a_stages_setting_on_the_command_line(
    caplog: pytest.LogCaptureFixture, former: str, present: str
) -> None:
    text = yaml.safe_dump(VALUES[former]).splitlines()[0]
    for _ in range(2):
        assert parse_settings([f"lora.{former}={text}"], STAGES) == {
            "lora": {present: VALUES[former]}
        }
    assert_one_warning(caplog, former, present)


@pytest.mark.parametrize(("former", "present"), [*LORA_SETTINGS.items(), *PRESET_FIELDS.items()])
def test_a_setting_in_a_stored_manifest(
    caplog: pytest.LogCaptureFixture, former: str, present: str
) -> None:
    kind = "preset_values" if former in PRESET_FIELDS else "settings"
    manifest = Manifest(actor=NAME, asset="lora", code_version="5", root_seed=1)
    stored = manifest.model_copy(update={kind: {former: VALUES[former]}}).to_json()
    for _ in range(2):
        read = Manifest.from_json(stored)
        assert getattr(read, kind) == {present: VALUES[former]}
    assert_one_warning(caplog, former, present)
    # the setting of another asset that has the same name is another setting
    other = manifest.model_copy(update={"asset": "base_image", "settings": {"steps": 9}})
    assert Manifest.from_json(other.to_json()).settings == {"steps": 9}


@pytest.mark.parametrize(("former", "present"), PRESET_FIELDS.items())
@pytest.mark.parametrize("way", ["actor.yaml", "the run's configuration", "environment"])
def test_a_presets_field(
    store: ActorStore,
    caplog: pytest.LogCaptureFixture,
    way: str,
    former: str,
    present: str,
) -> None:
    given = {former: VALUES[former]}
    say(store, model=given if way == "actor.yaml" else {})
    variable = f"AVATAR_PRESET_EMBEDDED_{former.upper()}"
    for _ in range(2):
        spec = store.spec(NAME)
        preset = resolve_preset(
            spec.preset,
            spec.model,
            "actor.yaml of anna",
            run_values=given if way == "the run's configuration" else {},
            environ={variable: str(VALUES[former])} if way == "environment" else {},
        )
        assert getattr(preset.lora, present.removeprefix("lora_")) == VALUES[former]
    assert_one_warning(caplog, former, present)


def test_a_former_name_beside_its_present_one_is_refused(store: ActorStore) -> None:
    say(store, settings={"lora": {"steps": 40, "max_train_steps": 50}})
    with pytest.raises(GenerationError, match="no setting 'steps'.*actor.yaml of anna"):
        resolve_settings(STAGES["lora"], store.spec(NAME), {})
    both = {
        f"AVATAR_PRESET_EMBEDDED_{name}": "3" for name in ("LORA_STEPS", "LORA_MAX_TRAIN_STEPS")
    }
    with pytest.raises(ModelError, match="both give lora_max_train_steps"):
        resolve_preset("embedded", {}, "", environ=both)


def test_the_present_name_in_a_run_beats_the_former_one_in_actor_yaml(store: ActorStore) -> None:
    say(store, settings={"lora": {"steps": 40}})
    found = resolve_settings(STAGES["lora"], store.spec(NAME), {"max_train_steps": 50})
    assert found.max_train_steps == 50  # type: ignore[attr-defined]
    say(store, settings={"lora": {"max_train_steps": 40}})
    found = resolve_settings(STAGES["lora"], store.spec(NAME), {"steps": 50})
    assert found.max_train_steps == 50  # type: ignore[attr-defined]


def test_an_actors_version_does_not_depend_on_which_names_it_uses(store: ActorStore) -> None:
    """The version of actor.yaml is an input of every asset: another one would make all stale."""
    versions = set()
    for settings, model in (
        ({"steps": 40, "quantise": "fp8"}, {"lora_steps": 30, "steps": 9}),
        ({"max_train_steps": 40, "quantization": "fp8"}, {"lora_max_train_steps": 30, "steps": 9}),
    ):
        say(store, settings={"lora": settings, "base_image": {"steps": 5}}, model=model)
        spec = store.spec(NAME)
        versions.add((spec_version(spec), person_version(spec)))
    # as the first release computed them, of the names that it had
    assert versions == {
        (
            "eb5c7fee7c432def494bee56314ca12f5db56c1a25ed24d85187ac225d63ceb0",
            "f5e85857608b608c7fd094607b4712d0e998190132cf8612b56477420189eab3",
        )
    }


def made_before_the_rename(store: ActorStore) -> None:
    """Give every stored manifest the former names, as the first release wrote them."""
    for path in Path(store.actor_dir(NAME).path).rglob("manifest.json"):
        stored = json.loads(path.read_text())
        renamed = SETTINGS.get(stored["asset"], {})
        stored["settings"] = with_former_names(stored["settings"], renamed)
        stored["preset_values"] = with_former_names(stored["preset_values"], PRESET_FIELDS)
        path.write_text(json.dumps(stored, indent=2))


def train(inputs: Inputs, settings: Settings, *_: Any) -> StageResult:
    return StageResult(files={f"{NAME}.safetensors": str(settings.max_train_steps).encode()})


def export(inputs: Inputs, *_: Any) -> StageResult:
    return StageResult(files={"said.json": json.dumps(inputs.provenance()).encode()})


LORA = Stage("lora", "5", Settings, train, scopes=("embed",), model=False)
EXPORT = Stage(
    "liveportrait_export",
    "3",
    STAGES["liveportrait_export"].settings,
    export,
    scopes=("embed",),
    upstream=("lora",),
    model=False,
)


def context(log: list[str] | None = None) -> RunContext:
    return RunContext(models=Models("cpu"), log=(log if log is not None else []).append)


def make(store: ActorStore, stage: Stage) -> Product:
    spec = store.spec(NAME)
    settings = resolve_settings(stage, spec, {})
    product = materialize(store, stage, spec, settings, context(), MaterializeOptions(seed=7))
    store.publish(product.manifest, product.result.files)
    return product


def test_what_was_made_before_the_rename_is_kept_and_replayed_and_has_not_changed(
    store: ActorStore, monkeypatch: pytest.MonkeyPatch
) -> None:
    for stage in (LORA, EXPORT):
        monkeypatch.setitem(STAGES, stage.name, stage)
    say(store, settings={"lora": {"steps": 40, "probes": 2}}, model={"lora_steps": 30})
    made = {stage.name: make(store, stage) for stage in (LORA, EXPORT)}
    stages = {stage.name: stage for stage in (LORA, EXPORT)}
    new = store.current(NAME, "lora")
    made_before_the_rename(store)
    text = (Path(store.actor_dir(NAME).path) / "lora" / "manifest.json").read_text()
    assert '"steps": 40' in text and '"lora_steps": 30' in text and "max_train" not in text

    old = store.current(NAME, "lora")
    assert compare(store, old, new).values.keys() <= {"costs"}
    assert changes(old, new) == ["nothing that is recorded"]
    for names in ("former", "present"):
        if names == "present":
            say(
                store,
                settings={"lora": {"max_train_steps": 40, "validation_images": 2}},
                model={"lora_max_train_steps": 30},
            )
        spec = store.spec(NAME)
        assert stale_assets(store, NAME, {"actor_spec": spec_version(spec)}, stages) == {}
        for stage in (LORA, EXPORT):
            settings, log = resolve_settings(stage, spec, {}), list[str]()
            kept = reuse_current(store, stage, spec, settings, context(log), seed=7)
            assert kept is not None, log
            assert kept.digest == made[stage.name].digest
            recorded, again = replay(store, NAME, stage.name, context())
            assert again.digest == recorded.digest
    say(store, settings={"lora": {"max_train_steps": 41, "validation_images": 2}})
    settings, log = resolve_settings(LORA, store.spec(NAME), {}), list[str]()
    assert reuse_current(store, LORA, store.spec(NAME), settings, context(log), seed=7) is None
    assert log == ["made again, as the settings changed"]


def test_an_export_says_the_names_that_it_always_said(
    store: ActorStore, monkeypatch: pytest.MonkeyPatch
) -> None:
    """It is a file with a digest, which a rename must not change."""
    for stage in (LORA, EXPORT):
        monkeypatch.setitem(STAGES, stage.name, stage)
    make(store, LORA)
    said = json.loads(make(store, EXPORT).result.files["said.json"])["lora"]
    assert list(said["settings"]) == [
        *("rank", "alpha", "learning_rate", "steps", "batch_size", "accumulation"),
        *("evaluate_every", "patience", "caption_dropout", "face_weight", "min_snr", "ema"),
        *("optimizer", "rslora", "dora", "prior_weight", "prior_pictures"),
        *("gradient_checkpointing", "quantise", "compile", "processes", "probes"),
        "final_renders",
    ]
    assert list(said["preset_values"]) == [
        *("steps", "guidance_scale", "scheduler", "flow_shift", "dtype", "sizes", "largest"),
        *("head_inter_eye", "head_eye_y", "lora_rank", "lora_alpha", "lora_learning_rate"),
        *("lora_steps", "lora_batch_size", "lora_targets", "lora_face_weight", "lora_min_snr"),
        *(
            "lora_ema",
            "lora_evaluate_every",
            "timestep_mean",
            "timestep_spread",
            "timestep_uniform",
        ),
        *("identity_adapter", "identity_analyzer", "identity_unit"),
    ]

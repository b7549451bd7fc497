"""The lora stage on the embedded model: its files, and that a killed run goes on to the very same
ones.
"""

from __future__ import annotations

import csv
import io
import resource
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from PIL import Image

from avatar_pipeline.actors.manifest import Manifest
from avatar_pipeline.actors.name import ActorName
from avatar_pipeline.actors.spec import ActorSpec
from avatar_pipeline.actors.store import ActorStore
from avatar_pipeline.bundled_model.dataset import FRAMING
from avatar_pipeline.core.errors import StoreError
from avatar_pipeline.core.openpeople import emotion_tiles
from avatar_pipeline.core.seeds import derive_seed
from avatar_pipeline.diffusion.presets import get_preset
from avatar_pipeline.diffusion.prompts import TRIGGER
from avatar_pipeline.diffusion.session import PipelineSession, open_session
from avatar_pipeline.diffusion.training.files import read
from avatar_pipeline.diffusion.training_memory import training_plans
from avatar_pipeline.faces.analyzers.types import FaceAnalyzer
from avatar_pipeline.faces.framing import frame_head
from avatar_pipeline.imaging.images import open_image
from avatar_pipeline.pipeline.assets.lora import run as lora
from avatar_pipeline.pipeline.assets.lora.hyperparameters import as_planned, hyperparameters_of
from avatar_pipeline.pipeline.assets.lora.settings import Settings
from avatar_pipeline.pipeline.assets.lora.validation_images import cost, render
from avatar_pipeline.pipeline.identity_score import embeddings, score
from avatar_pipeline.pipeline.stage import StageResult
from avatar_pipeline.pipeline.training_set import Member, read_training_set, write_members
from tests.support.given import context_of, inputs_of

NAME = "somebody"
SETTINGS = {
    "max_train_steps": 4,
    "evaluate_every": 2,
    "validation_images": 1,
    "final_renders": 1,
    "ema": 0.9,
}


@pytest.fixture(scope="module")
def session() -> Iterator[PipelineSession]:
    # half the steps: the faces in the pictures are still found
    session = open_session(replace(get_preset("embedded"), steps=6))
    yield session
    session.close()


@pytest.fixture(scope="module")
def spec() -> ActorSpec:
    return ActorSpec(
        name=ActorName(NAME),
        description="european 40 year old female with long brown hair",
        likeness="synthetic",
    )


@pytest.fixture(scope="module")
def variations(analyzer: FaceAnalyzer) -> dict[str, bytes]:
    """A training set of framed heads, two of them held out."""
    heads = []
    for tile in list(emotion_tiles("P005").values())[:6]:
        pixels = np.asarray(tile)
        head, _ = frame_head(pixels, analyzer.analyze(pixels)[0].landmarks68, FRAMING)
        heads.append(Image.fromarray(head))
    members = [
        Member(str(i), "photograph", head, f"photograph of {TRIGGER}, smiling", None)
        for i, head in enumerate(heads)
    ]
    return write_members(members[:4], members[4:])


class Remembered:
    """Checkpoints in memory. stop_at: raise Killed when so many have been saved."""

    def __init__(self, stop_at: int = 0) -> None:
        self.kept: bytes | None = None
        self.saves, self.stop_at = 0, stop_at

    def load(self) -> bytes | None:
        return self.kept

    def save(self, data: bytes) -> None:
        self.kept = data
        self.saves += 1
        if self.saves == self.stop_at:
            raise Killed

    def clear(self) -> None:
        self.kept = None


class Killed(Exception):
    """Stands for whatever ends the run."""


def run(
    spec: ActorSpec,
    variations: dict[str, bytes],
    session: PipelineSession,
    analyzer: FaceAnalyzer,
    checkpoints: Remembered | None = None,
    log: list[str] | None = None,
    **changes: Any,
) -> StageResult:
    settings = Settings(**(SETTINGS | changes))
    lines = log if log is not None else []
    return lora.run(
        inputs_of(spec, {"training_variations": variations}, seed=3, checkpoints=checkpoints),
        settings,
        context_of(analyzer, replace(session, log=lines.append), log=lines.append),
    )


def test_a_run_that_was_killed_goes_on_to_the_same_files(
    spec: ActorSpec, variations: dict[str, bytes], session: PipelineSession, analyzer: FaceAnalyzer
) -> None:
    whole = run(spec, variations, session, analyzer)
    # every score is against the held-out pictures, not against those that were trained on
    data = read_training_set(variations)
    _, faces = render(spec, session, analyzer, [whole.seeds["final_0"]])
    assert (
        whole.metrics["distance_before"]
        == score(faces, embeddings(data.held_out, analyzer), analyzer).distance
    )
    assert (
        whole.metrics["distance_before"]
        != score(faces, embeddings(data.images, analyzer), analyzer).distance
    )
    assert whole.seeds == {
        "training": derive_seed(3, "lora.training"),
        "probe_0": derive_seed(3, "lora.probe"),
        "final_0": derive_seed(3, "lora.final"),
    }
    assert (whole.metrics["training_images"], whole.metrics["held_out_images"]) == (4, 2)
    rows = list(csv.DictReader(io.StringIO(whole.files["evaluations.csv"].decode())))
    best = min(rows, key=lambda row: cost(float(row["distance"]), float(row["face_rate"])))
    assert whole.metrics["best_step"] == int(best["step"])
    checkpoints = Remembered(stop_at=1)
    with pytest.raises(Killed):
        run(spec, variations, session, analyzer, checkpoints)
    log: list[str] = []
    resumed = run(spec, variations, session, analyzer, checkpoints, log)
    assert any("going on after step 2 of 4" in line for line in log)
    assert resumed.files == whole.files
    assert resumed.metrics == whole.metrics
    # other prompts draw other probes: a checkpoint of theirs would mix them
    other = spec.model_copy(update={"description": "european 60 year old male"})
    log.clear()
    run(other, variations, session, analyzer, checkpoints, log)
    assert not any("going on" in line for line in log)

    assert set(whole.files) == {
        f"{NAME}.safetensors",
        f"{NAME}_kohya.safetensors",
        "curves.png",
        "probes.jpg",
        "comparison.jpg",
        "history.csv",
        "evaluations.csv",
    }
    history = list(csv.DictReader(io.StringIO(whole.files["history.csv"].decode())))
    assert [row["step"] for row in history] == ["1", "2", "3", "4"]
    assert all(float(row["gradient_norm"]) > 0 for row in history)
    # warming up
    assert 0 < float(history[0]["learning_rate"]) < float(history[1]["learning_rate"]) <= 2e-3
    told = read(whole.files[f"{NAME}.safetensors"])[1]
    assert told["avatar_pipeline.base_sha256"] == session.model_sha256
    assert told["avatar_pipeline.step"] == str(whole.metrics["best_step"])
    kohya = read(whole.files[f"{NAME}_kohya.safetensors"])[1]
    assert (kohya["ss_num_train_images"], kohya["modelspec.trigger_phrase"]) == ("4", TRIGGER)
    assert "modelspec.prediction_type" not in kohya  # the embedded model predicts rectified flow
    # two evaluations of one probe
    assert open_image(whole.files["probes.jpg"], name="probes").size == (208, 440)


def test_class_pictures_are_drawn_once_and_used(
    spec: ActorSpec, variations: dict[str, bytes], session: PipelineSession, analyzer: FaceAnalyzer
) -> None:
    plain = run(spec, variations, session, analyzer, max_train_steps=2)
    kept = run(
        spec,
        variations,
        session,
        analyzer,
        max_train_steps=2,
        prior_loss_weight=1.0,
        num_class_images=2,
    )
    assert {name for name in kept.seeds if name.startswith("class_")} == {"class_0", "class_1"}
    assert kept.files[f"{NAME}.safetensors"] != plain.files[f"{NAME}.safetensors"]
    assert read(kept.files[f"{NAME}_kohya.safetensors"])[1]["ss_num_reg_images"] == "2"


def test_a_full_disk_while_storing_a_lora_keeps_the_old_one(tmp_path: Path) -> None:
    (tmp_path / NAME).mkdir()
    (tmp_path / NAME / "actor.yaml").write_text("description: somebody\nlikeness: synthetic\n")
    store = ActorStore(tmp_path)
    manifest = Manifest(
        actor=NAME,
        asset="lora",
        code_version="4",
        root_seed=1,
        device="cpu",
        seconds=1.0,
        settings={},
    )
    old = store.publish(manifest, {f"{NAME}.safetensors": b"old", "curves.png": b"curves"})
    store.checkpoint(NAME, "lora").save(b"state")
    soft, hard = resource.getrlimit(resource.RLIMIT_FSIZE)
    # writing past it fails, as on a full disk
    resource.setrlimit(resource.RLIMIT_FSIZE, (100_000, hard))
    try:
        with pytest.raises(
            StoreError,
            match=r"somebody\.safetensors cannot be written: .*Free "
            r"space",
        ):
            store.publish(
                manifest, {f"{NAME}.safetensors": b"new" * 50_000, "curves.png": b"curves"}
            )
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, (soft, hard))
    assert store.current(NAME, "lora") == old
    assert store.read_all(old)[f"{NAME}.safetensors"] == b"old"
    assert (tmp_path / NAME / "lora" / f"{NAME}.safetensors").read_bytes() == b"old"
    assert not list(tmp_path.rglob("*.tmp"))
    # the training is not lost: the next run stores it
    assert store.checkpoint(NAME, "lora").load() == b"state"
    store.publish(manifest, {f"{NAME}.safetensors": b"new"})
    assert store.checkpoint(NAME, "lora").load() is None


class Short(Remembered):
    """Checkpoints whose first one does not fit into the memory."""

    def save(self, data: bytes) -> None:
        super().save(data)
        if self.saves == 1:
            raise MemoryError("cannot allocate memory")


def test_a_shortage_of_memory_in_training_steps_down_once(
    spec: ActorSpec, variations: dict[str, bytes], session: PipelineSession, analyzer: FaceAnalyzer
) -> None:
    held = len(session.plan_history)
    made = run(spec, variations, session, analyzer, Short())
    assert [
        line
        for line in session.plan_history[held:]
        if "gradient checkpointing on, base model stored as none" in line
    ]
    assert made.metrics["steps"] == 4
    assert made.files[f"{NAME}.safetensors"]


@pytest.mark.parametrize(
    ("fits", "asked", "planned"),
    [
        (0, {}, (False, "none")),
        (1, {}, (True, "none")),
        (2, {}, (True, "fp8")),
        (1, {"quantization": "fp8", "gradient_checkpointing": False}, (False, "fp8")),
    ],
)
def test_what_settings_leave_open_is_as_the_memory_allows(
    fits: int,
    asked: dict[str, Any],
    planned: tuple[bool, str],
    session: PipelineSession,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """`fits`: the first plan that fits the memory, by its number."""
    lora = session.preset.lora
    plans = training_plans(
        session.preset,
        0.0,
        rank=lora.rank,
        batch_size=lora.batch_size,
        cpu=session.device.cpu_precision,
    )
    free = [plan.needs_gib for plan in plans][fits] + 0.01
    parts = [part for part in session.pipeline.components.values() if hasattr(part, "parameters")]
    held = (
        sum(
            weight.numel() * weight.element_size() for part in parts for weight in part.parameters()
        )
        / 2**30
    )
    monkeypatch.setattr(
        "avatar_pipeline.diffusion.loaded.free_memory_gib", lambda device: free - held
    )
    settings = Settings(**asked)
    found = as_planned(hyperparameters_of(settings, session), settings, session)
    assert (found.gradient_checkpointing, found.quantization) == planned

"""Consent that ends in the middle of a training ends the training, at a step."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from avatar_pipeline.actors.manifest import Manifest
from avatar_pipeline.actors.store import ActorStore
from avatar_pipeline.bundled_model.dataset import FRAMING
from avatar_pipeline.core.errors import ActorError
from avatar_pipeline.core.openpeople import emotion_tiles
from avatar_pipeline.faces.analyzers.types import FaceAnalyzer
from avatar_pipeline.faces.framing import frame_head
from avatar_pipeline.pipeline.assets.lora.settings import Settings
from avatar_pipeline.pipeline.context import RunContext
from avatar_pipeline.pipeline.materialize import materialize
from avatar_pipeline.pipeline.models import Models
from avatar_pipeline.pipeline.registry import STAGES
from avatar_pipeline.pipeline.training_set import Member, write_members
from tests.support.people import NAME

STEPS = 4


def test_a_training_ends_when_consent_does(
    granted: Path, store: ActorStore, analyzer: FaceAnalyzer, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Expired first, which leaves a checkpoint; then revoked, from when on not even that is
    stored.
    """
    monkeypatch.setattr("avatar_pipeline.actors.consent.standing.CHECK_INTERVAL_S", 0.0)
    heads = []
    for tile in list(emotion_tiles("P002").values())[:2]:
        pixels = np.asarray(tile)
        head, _ = frame_head(pixels, analyzer.analyze(pixels)[0].landmarks68, FRAMING)
        heads.append(
            Member("photo", "photograph", Image.fromarray(head), "photograph of a person", None)
        )
    spec = store.spec(NAME)
    variations = Manifest(actor=NAME, asset="training_variations", code_version="3", root_seed=1)
    store.publish(variations, write_members(heads[:1], heads[1:]))
    record, steps = granted / "consent.yaml", []
    good = record.read_text()
    settings = Settings(
        max_train_steps=STEPS, evaluate_every=1, validation_images=1, final_renders=1
    )

    tools = RunContext(models=Models("cpu"))

    def train(after: int, text: str) -> str:
        """Train, and write this record at the evaluation after a step; why it ended."""

        def log(line: str) -> None:
            steps.append(line)
            if f"step {after} of {STEPS}" in line:
                record.write_text(text)

        with pytest.raises(ActorError) as caught:
            materialize(store, STAGES["lora"], spec, settings, replace(tools, log=log))
        return str(caught.value)

    expired = train(
        1, good.replace("granted: 20", "granted: 19").replace("expires: 20", "expires: 19")
    )
    assert "consent expired on" in expired
    assert not any(f"step 2 of {STEPS}" in line for line in steps), "it went on without consent"
    assert not store.has(NAME, "lora")
    assert store.checkpoint(NAME, "lora").load() is not None, (
        "with a renewed consent it goes on from there"
    )

    record.write_text(good)
    steps.clear()
    revoked = train(2, f"{good}revoked_at: 2026-11-21\n")
    assert "was revoked" in revoked
    assert any("going on after step 1" in line for line in steps)
    assert not any(f"step 3 of {STEPS}" in line for line in steps)
    tools.models.close()
    with pytest.raises(ActorError, match="was revoked"):
        store.checkpoint(NAME, "lora").save(b"state")
    with pytest.raises(ActorError, match="was revoked"):
        store.publish(variations, {"0001.png": b"a picture"})

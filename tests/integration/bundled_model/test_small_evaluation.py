"""One small evaluation of the model that ships, and the photographs that it is held against."""

import json
from pathlib import Path

from PIL import Image

from avatar_pipeline.bundled_model import evaluate
from avatar_pipeline.bundled_model.evaluation import (
    card,
    grid,
    lora,
    reconstruction,
    sizes,
    subjects,
)
from avatar_pipeline.bundled_model.evaluation.studio import GeneratedImage
from avatar_pipeline.bundled_model.people_attributes import TRAINED
from avatar_pipeline.faces.analyzers.types import FaceAnalyzer

CARD = f"# Card\n\n## Measured\n\n{card.BEGIN}\nold\n{card.END}\n\n## Limits\n"


def test_the_held_out_photographs_are_drawn_by_the_seed_alone(analyzer: FaceAnalyzer) -> None:
    photographs = lora.frontal_photographs(analyzer, "P005")
    shown, held_out = lora.split(photographs, 5)
    assert len(shown) == lora.TRAINING_PHOTOGRAPHS
    assert len(held_out) >= 3
    names = [photograph.sample.origin for photograph in (*shown, *held_out)]
    assert len(set(names)) == len(photographs)
    assert lora.split(photographs[::-1], 5)[1] == held_out
    assert {"P005/character_sheet", "P005/studio_posture"} <= set(names)
    assert "P005" not in TRAINED


def test_a_standing_person_has_a_face(analyzer: FaceAnalyzer) -> None:
    picture = reconstruction.held_out_bodies(analyzer)[0]
    assert picture.shape == (768, 512, 3)
    request = subjects.Request("", 0, "full_body")
    assert sizes.face_of_body(GeneratedImage(request, Image.fromarray(picture), []), analyzer)
    assert not sizes.face_of_body(
        GeneratedImage(request, Image.new("RGB", (512, 768)), []), analyzer
    )


def test_a_small_evaluation_of_the_model_that_ships(tmp_path: Path) -> None:
    path = tmp_path / "CARD.md"
    path.write_text(CARD)
    common = ["--pictures", "2", "--card", str(path), "--images", str(tmp_path)]
    evaluate.main(["--only", "disk", *common])
    evaluate.main(["--only", "faces,speed,samples", *common])
    kept = json.loads((tmp_path / "evaluation.json").read_text())
    assert [row["key"] for row in kept["rows"]] == ["faces", "speed", "disk"]
    assert kept["rows"][0]["numbers"]["pictures"] == 2
    assert all(row["model"] == kept["model"] for row in kept["rows"])
    assert "size on disk" in path.read_text()
    assert Image.open(tmp_path / "embedded-samples.jpg").width > grid.WIDTH

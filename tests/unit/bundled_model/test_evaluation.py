"""The evaluation of the embedded model: its statistics, its table in the card, and one small run on
the model that ships.
"""

import json
import random
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from avatar_pipeline.bundled_model import evaluate
from avatar_pipeline.bundled_model.evaluation import (
    card,
    copies,
    grid,
    sharpness,
    steering,
    subjects,
)
from avatar_pipeline.bundled_model.evaluation.rows import Row, table
from avatar_pipeline.bundled_model.evaluation.statistics import (
    auc,
    leave_one_out,
    nearest_label,
    nearest_of_same,
    pairwise,
    psnr,
    share,
)
from avatar_pipeline.core.errors import StoreError
from avatar_pipeline.faces.analyzers.head_model import HEAD

ROW = Row(
    "disk",
    "size on disk",
    "<= 32 MB",
    "30.0 MB",
    True,
    "all files",
    {"bytes": 30_000_000},
    0.1,
    "a" * 64,
)
FACTS = {
    "model": "a" * 64,
    "machine": {"processor": "some CPU", "threads": 2, "system": "Linux", "device": "cpu"},
    "versions": {"torch": "2.13"},
}
CARD = f"# Card\n\n## Measured\n\n{card.BEGIN}\nold\n{card.END}\n\n## Limits\n"


@pytest.mark.parametrize(
    ("positive", "negative", "expected"),
    [
        ([3, 4], [1, 2], 1.0),
        ([1, 2], [3, 4], 0.0),
        ([1, 1], [1, 1], 0.5),
        ([1, 3], [2, 2], 0.5),
        ([2, 3], [2, 1], 0.875),
        ([], [1], 0.0),
        ([1], [], 0.0),
    ],
)
def test_auc_is_the_share_of_pairs_in_order(
    positive: list[float], negative: list[float], expected: float
) -> None:
    assert auc(positive, negative) == pytest.approx(expected)


def test_auc_counts_every_pair() -> None:
    rng = np.random.default_rng(0)
    a, b = rng.integers(0, 9, 40), rng.integers(0, 7, 31)
    pairs = [(x > y) + 0.5 * (x == y) for x in a for y in b]
    assert auc(list(a), list(b)) == pytest.approx(np.mean(pairs))


def test_shares() -> None:
    assert share([]) == 0
    assert share([True, False, True, True]) == 0.75
    assert type(share(list(np.array([1.0, 3.0]) < 2))) is float


def test_nearest_neighbours() -> None:
    references = np.array([[0.0, 0], [1, 0], [10, 0], [11, 0]])
    labels, people = ["near", "near", "far", "far"], ["a", "b", "c", "c"]
    assert nearest_label(np.array([[0.4, 1], [9, 9]]), references, labels) == ["near", "far"]
    assert pairwise(references[:1], references)[0].tolist() == [0, 1, 10, 11]
    # Without their own person's pictures, both of c are nearest to b.
    assert leave_one_out(references, labels, people) == 0.5
    assert nearest_of_same(references, people).tolist() == [np.inf, np.inf, 1, 1]


def test_psnr() -> None:
    black = np.zeros((4, 4, 3), np.uint8)
    assert psnr(black, black) == float("inf")
    assert psnr(black, black + 255) == pytest.approx(0)
    assert psnr(black, black + 1) == pytest.approx(48.13, abs=0.01)


def test_a_row_survives_json() -> None:
    row = Row(
        "a",
        "b",
        "c",
        "d",
        False,
        "e",
        {"x": float("inf"), "y": [1.0, float("nan")], "z": {"k": 1}},
        2.0,
        "m",
    )
    again = Row.from_json(
        json.loads(json.dumps({**row.to_json(), "of a later version": 1}, allow_nan=False))
    )
    assert again.numbers == {"x": None, "y": [1.0, None], "z": {"k": 1}}
    assert (again.key, again.met, again.seconds) == ("a", False, 2.0)


def test_the_table_says_what_is_met_and_what_is_of_another_model() -> None:
    lines = table(
        [
            ROW,
            Row("x", "a|b", ">= 1", "0", False, "how", model="a" * 64),
            Row("y", "old", "", "9", True, ""),
        ],
        "a" * 64,
    )
    assert "| size on disk | <= 32 MB | 30.0 MB | yes | all files |" in lines
    assert "| a\\|b | >= 1 | 0 | **no** | how |" in lines
    assert "measured on another model" in lines.splitlines()[-1]
    assert "yes" not in lines.splitlines()[-1]


def test_the_card_changes_between_its_markers_only_and_writing_twice_changes_nothing() -> None:
    once = card.replace_block(CARD, "new\n")
    assert once.startswith("# Card\n\n## Measured\n")
    assert once.endswith("## Limits\n")
    assert "new" in once
    assert "old" not in once
    assert card.replace_block(once, "new\n") == once


@pytest.mark.parametrize(
    "text",
    [
        "no markers",
        card.BEGIN,
        f"{card.END}\n{card.BEGIN}",
        f"{card.BEGIN}\n{card.BEGIN}\n{card.END}\n",
    ],
)
def test_a_card_without_its_markers_is_refused(text: str) -> None:
    with pytest.raises(StoreError, match="measured: begin"):
        card.replace_block(text, "new")


def test_numbers_are_kept_beside_the_card(tmp_path: Path) -> None:
    path = tmp_path / "CARD.md"
    path.write_text(CARD)
    card.write(path, [ROW], FACTS)
    assert card.read_rows(tmp_path / "evaluation.json") == {"disk": ROW}
    assert "some CPU" in path.read_text()
    first = path.read_text()
    card.write(path, [ROW], FACTS)
    assert path.read_text() == first


def test_nothing_is_written_for_a_card_without_markers(tmp_path: Path) -> None:
    path = tmp_path / "CARD.md"
    path.write_text("nothing")
    with pytest.raises(StoreError):
        card.write(path, [ROW], FACTS)
    assert not (tmp_path / "evaluation.json").exists()


def test_a_damaged_evaluation_is_named(tmp_path: Path) -> None:
    (tmp_path / "evaluation.json").write_text("{}")
    with pytest.raises(StoreError, match="evaluation.json"):
        card.read_rows(tmp_path / "evaluation.json")
    assert card.read_rows(tmp_path / "missing.json") == {}


def test_prompts_are_the_same_each_time_and_cover_all_attributes() -> None:
    requests = subjects.all_attributes(200, 1)
    assert requests == subjects.all_attributes(200, 1)
    # fewer pictures are the first of the many
    assert requests[:50] == subjects.all_attributes(50, 1)
    text = "\n".join(request.prompt for request in requests)
    for words in (
        *subjects.ETHNICITIES,
        *subjects.COLOURS,
        "female",
        " male",
        "head turned left",
        "smiling",
        "outdoors",
        "dim light",
    ):
        assert words in text
    assert len({request.seed for request in requests}) == 200


def test_no_prompt_describes_the_person_who_looks_like_an_actress() -> None:
    rng = random.Random(3)
    drawn = [subjects.draw_subject(rng) for _ in range(3000)]
    assert not any(
        s.sex == "female" and s.ethnicity == "european" and "long wavy brown hair" in str(s)
        for s in drawn
    )
    assert any("long wavy brown hair" in str(s) for s in drawn)


def test_sex_and_hair_prompts_are_balanced() -> None:
    asked = [subject for subject, _ in subjects.sex_and_hair(3, 1)]
    assert len(asked) == 54
    assert sum(subject.sex == "male" for subject in asked) == 27
    assert {
        colour: sum(s.colour == colour for s in asked) for colour in subjects.COLOURS
    } == dict.fromkeys(subjects.COLOURS, 18)


@pytest.mark.parametrize(
    ("yaw", "view"), [(0, "front"), (-3, "front"), (14, "right"), (-14, "left")]
)
def test_views(yaw: float, view: str) -> None:
    assert steering.view_of(yaw) == view


def test_grain_is_seen_and_shading_is_not() -> None:
    rng = np.random.default_rng(1)
    shading = np.repeat(np.tile(np.linspace(90, 150, 512), (512, 1))[..., None], 3, axis=2)
    grainy = shading + rng.normal(0, 4, (512, 512, 1))
    assert sharpness.wall_grain(shading.astype(np.uint8)) < 0.5
    assert sharpness.wall_grain(grainy.astype(np.uint8)) > 3


def test_a_blurred_face_is_less_sharp() -> None:
    import cv2

    points = (HEAD[:, :2] * 150 + 256).astype(np.float32)
    image = np.random.default_rng(1).integers(0, 255, (512, 512, 3), dtype=np.uint8)
    blurred = cv2.GaussianBlur(image, (0, 0), 2)
    assert sharpness.laplacian_variance(blurred, points) < 0.1 * sharpness.laplacian_variance(
        image, points
    )


def test_thumbnails_are_apart_by_their_difference_in_levels() -> None:
    black = np.zeros((64, 64, 3), np.uint8)
    assert pairwise(*[copies.thumbnails([picture]) for picture in (black, black + 10)])[
        0, 0
    ] == pytest.approx(10)


def test_the_strip_shows_both_rows_beside_the_photograph() -> None:
    picture = Image.new("RGB", (64, 64), (200, 0, 0))
    strip = grid.lora_strip(
        [("P005", np.asarray(picture), [picture] * 2, [picture] * 2, ["neutral", "smiling"])] * 2
    )
    assert strip.width > 3 * grid.WIDTH
    assert strip.height > 4 * grid.WIDTH


def test_an_unknown_measure_is_named(capsys: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(SystemExit):
        evaluate.main(["--only", "beauty"])
    assert "beauty" in capsys.readouterr().err


def test_a_trial_run_does_not_touch_the_model_card(capsys: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(SystemExit):
        evaluate.main(["--only", "disk", "--pictures", "2"])
    assert "--card" in capsys.readouterr().err

"""Rows: expression, view, and sex of the prompt, found again in the picture."""

from __future__ import annotations

import random
from collections.abc import Mapping, Sequence

import numpy as np

from avatar_pipeline.bundled_model import captions, dataset
from avatar_pipeline.bundled_model.evaluation import hair_colour
from avatar_pipeline.bundled_model.evaluation.rows import Row
from avatar_pipeline.bundled_model.evaluation.statistics import (
    auc,
    leave_one_out,
    nearest_label,
    share,
)
from avatar_pipeline.bundled_model.evaluation.studio import SEED, GeneratedImage, Studio
from avatar_pipeline.bundled_model.evaluation.subjects import (
    NEUTRAL,
    SEXES,
    SMILING,
    SURPRISED,
    draw_subject,
    head_shot,
    sex_and_hair,
)
from avatar_pipeline.bundled_model.people_attributes import PERSONS
from avatar_pipeline.faces.analyzers.types import Face
from avatar_pipeline.faces.landmark_measurements import inter_eye_distance, mouth_opening

SUBJECTS = 24  # each asked for with three expressions and three views, with the same seed
ROUNDS = 3  # times 18 combinations of sex, hair colour and age
MIN_AUC, MIN_RECOVERED = 0.9, 0.9
EXPRESSIONS = {"neutral": NEUTRAL, "smiling": SMILING, "surprised": SURPRISED}


def mouth_width(face: Face) -> float:
    """Return the width of the mouth as a share of the distance between the eyes."""
    points = face.landmarks68
    return float(np.linalg.norm(points[48] - points[54])) / inter_eye_distance(points)


def view_of(yaw: float) -> str:
    """Return the view that a yaw in degrees shows, with the limit up to which training pictures are
    captioned as frontal.
    """
    if abs(yaw) <= dataset.FRONTAL_YAW:
        return "front"
    return "right" if yaw > 0 else "left"


def expressions(studio: Studio) -> dict[str, list[GeneratedImage]]:
    """Return the same subjects and seeds, frontal and before the grey wall, neutral, smiling and
    surprised.
    """
    subjects = _subjects(studio)
    return {
        key: studio.draw(
            [head_shot(who, seed, words, captions.VIEWS["front"][0]) for who, seed in subjects],
            f"{key} head shots",
        )
        for key, words in EXPRESSIONS.items()
    }


def expression_aucs(drawn: Mapping[str, Sequence[GeneratedImage]]) -> dict[str, float]:
    """Return the AUC of the mouth's width, smiling against neutral, and of its opening, surprised
    against neutral; pictures without a face are left out (the rows about faces count them).
    """
    faces = {
        key: [drawing.face for drawing in drawings if drawing.face]
        for key, drawings in drawn.items()
    }
    return {
        "smiling": auc(
            [mouth_width(face) for face in faces["smiling"]],
            [mouth_width(face) for face in faces["neutral"]],
        ),
        "surprised": auc(
            [mouth_opening(face.landmarks68) for face in faces["surprised"]],
            [mouth_opening(face.landmarks68) for face in faces["neutral"]],
        ),
    }


def measure_expression(studio: Studio) -> list[Row]:
    """Measure whether smiles are wider and surprise opens the mouth."""
    drawn = expressions(studio)
    aucs = expression_aucs(drawn)
    return [
        Row(
            "expression",
            "smiling vs neutral: mouth width; surprised vs neutral: mouth opening",
            f"AUC >= {MIN_AUC} each",
            f"{aucs['smiling']:.2f}; {aucs['surprised']:.2f}",
            min(aucs.values()) >= MIN_AUC,
            f"{len(drawn['neutral'])} subjects, the same seeds for each expression; width of the "
            "mouth over the distance between the "
            "eyes, gap of the inner lips over the width of the mouth",
            {**aucs, "subjects": len(drawn["neutral"])},
        )
    ]


def measure_view(studio: Studio) -> list[Row]:
    """Measure, by the head's yaw, whether the view is the one asked for."""
    subjects = _subjects(studio)
    right: dict[str, float] = {}
    yaws: dict[str, list[float | None]] = {}
    for key in ("front", "left", "right"):
        requests = [head_shot(who, seed, NEUTRAL, captions.VIEWS[key][0]) for who, seed in subjects]
        drawn = studio.draw(requests, f"{captions.VIEWS[key][0]}")
        yaws[key] = [round(d.face.pose.yaw, 1) if d.face else None for d in drawn]
        right[key] = share([yaw is not None and view_of(yaw) == key for yaw in yaws[key]])
    mean = float(np.mean(list(right.values())))
    return [
        Row(
            "view",
            "left / right / front view of the prompt recovered by head yaw",
            f">= {MIN_RECOVERED:.0%}",
            f"{mean:.0%} (left {right['left']:.0%}, right {right['right']:.0%}, front "
            f"{right['front']:.0%})",
            mean >= MIN_RECOVERED,
            f"{len(subjects)} subjects in each view; frontal up to {dataset.FRONTAL_YAW:g} "
            "degrees; "
            "no face counts as wrong",
            {"mean": mean, **right, "yaws": yaws},
        )
    ]


def measure_sex_and_hair(studio: Studio) -> list[Row]:
    """Measure sex by the nearest training face, hair colour by the nearest training hair."""
    asked = sex_and_hair(ROUNDS, SEED)
    asked = asked[: studio.count(len(asked))]
    drawn = studio.draw([wanted for _, wanted in asked], "sexes and hair colours")
    people = [photograph.person for photograph in studio.trained]
    sexes = [PERSONS[name].sex for name in people]
    pairs = list(zip(asked, drawn, strict=True))
    right_sex = [
        drawing.face is not None
        and nearest_label(drawing.face.embedding[None], studio.embeddings, sexes)[0] == subject.sex
        for (subject, _), drawing in pairs
    ]
    references = hair_colour.references(studio.trained)
    seen: dict[str, list[str]] = {subject.colour: [] for subject, _ in asked}
    for (subject, _), drawing in pairs:
        seen[subject.colour].append(hair_colour.classify(drawing, references))
    right_hair = [colour == found for colour, all_found in seen.items() for found in all_found]
    sex, hair = share(right_sex), share(right_hair)
    return [
        Row(
            "sex_hair",
            "sex / hair colour of the prompt recovered",
            f">= {MIN_RECOVERED:.0%} each",
            f"{sex:.0%} / {hair:.0%}",
            min(sex, hair) >= MIN_RECOVERED,
            f"{len(drawn)} neutral head shots, sex x hair (black, brown, light brown) x age; "
            "nearest neighbour on the training "
            "photographs' embeddings, and on the median Lab colour of their hair; no face counts "
            "as wrong",
            {
                "sex": sex,
                "hair": hair,
                "hair_found": {
                    colour: {name: found.count(name) for name in sorted(set(found))}
                    for colour, found in seen.items()
                },
                "sex_of_unseen_training_people": leave_one_out(studio.embeddings, sexes, people),
                "hair_of_unseen_training_photographs": references.accuracy(),
            },
        )
    ]


def _subjects(studio: Studio) -> list[tuple[str, int]]:
    """Return descriptions over all attributes, women and men in turn, each with a seed."""
    rng = random.Random(SEED + 1)
    return [
        (str(draw_subject(rng, SEXES[i % 2])), rng.getrandbits(32))
        for i in range(studio.count(SUBJECTS))
    ]

"""Would one send this portrait? What leaves is compared with the person's own best photograph, and
what was made up next to the head counts.
"""

from __future__ import annotations

import numpy as np

from avatar_pipeline.faces.analyzers.types import Face
from avatar_pipeline.faces.check import Check, Rule
from avatar_pipeline.portrait.comparison import detail

RULES: dict[str, Rule] = {
    rule.name: rule
    for rule in (
        Rule(
            # by eye, on a dozen of openpeople's pictures, cut closer and closer: from 3 % on the
            # arc that closes the hair shows, from 10 % on the head has another shape
            "invented_head",
            "share",
            "head and hair outside of the avatar (portrait/border.py); proposal",
            high=0.03,
            error_high=0.10,
            hint="{value} of head and hair lie outside of the avatar and were continued: give "
            "photographs with more room around the head, or draw more candidates.",
        ),
        Rule(
            "as_sharp",
            "ratio",
            "sharpness at LivePortrait's 512 crop, against the best photograph; proposal",
            low=0.4,
            error_low=0.05,
            hint="The face has {value} of the detail that the best photograph has: use that "
            "(validated_avatar: source: photograph), or a larger base model.",
        ),
        Rule(
            "as_clean",
            "ratio",
            "noise at LivePortrait's 512 crop, against the best photograph; proposal",
            high=2.0,
            error_high=8.0,
            hint="The face has {value} times the grain of the best photograph: train the LoRA "
            "longer, or use the photograph (validated_avatar: source: photograph).",
        ),
    )
}
LEAST_NOISE = 1.0  # grey levels: less is no grain, and no basis of a ratio


def beside_photograph(
    invented_head: float,
    portrait: tuple[np.ndarray, Face] | None,
    photograph: tuple[np.ndarray, Face] | None,
) -> list[Check]:
    """Return the checks of a portrait. portrait, photograph: pixels (H, W, 3) uint8 and face; None
    where there is no face, or no photograph.
    """
    made_up = RULES["invented_head"].judge(round(invented_head, 4))
    if portrait is None or photograph is None:
        why = "There is no photograph of the person to compare with."
        return [made_up, RULES["as_sharp"].skip(why), RULES["as_clean"].skip(why)]
    (sharp, grain), (usual_sharp, usual_grain) = detail(*portrait), detail(*photograph)
    return [
        made_up,
        RULES["as_sharp"].judge(sharp / max(usual_sharp, 1e-6)),
        RULES["as_clean"].judge(max(grain, LEAST_NOISE) / max(usual_grain, LEAST_NOISE)),
    ]

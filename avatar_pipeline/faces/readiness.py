"""Is a picture ready for LivePortrait? Every check that a picture and its faces allow, with value,
verdict and hint.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace

import numpy as np

from avatar_pipeline.core.errors import PhotoError
from avatar_pipeline.faces.analyzers.types import Face, FaceAnalyzer
from avatar_pipeline.faces.check import Check, Verdict
from avatar_pipeline.faces.crop import black_share, load_scale, source_crop
from avatar_pipeline.faces.expressions import SMILE, mouth_lift
from avatar_pipeline.faces.identity import compare
from avatar_pipeline.faces.landmark_measurements import (
    eye_openness,
    inter_eye_distance,
    iris_contrast,
    iris_height,
    lid_opening,
    lip_opening,
    mouth_opening,
)
from avatar_pipeline.faces.measurements import (
    align_face,
    align_landmarks,
    background_unrest,
    blockiness,
    dynamic_range,
    exposure,
    face_mask,
    illumination_uniformity,
    luminance,
    noise,
    sharpness,
)
from avatar_pipeline.faces.quality import quality
from avatar_pipeline.faces.rules import RULES, identity_rule
from avatar_pipeline.imaging.images import file_facts

# Lids and lips are measured on a few pixels only: not below this inter-eye distance, nor on a face
# turned further than this, where the far half is hidden (proposals; openpeople's full-body
# pictures, at 29 px, still read within 0.05 of the portraits).
EXPRESSION_INTER_EYE = 24.0
EXPRESSION_YAW = 30.0
# Below this inter-eye distance a nearly closed eye is a warning and no error.
SURE_EYES_INTER_EYE = 90.0

# Where no iris is seen the eyes are closed, whatever the landmarks say: the opening is then at most
# the iris's height and 0.10, which makes a height under 0.10 a finding. Only on faces that are
# large and sharp enough to show an iris: the limits are those at which open eyes still do
# (benchmarks/readiness.py; blurred by 1 % of the inter-eye distance, the median sharpness is
# 0.017), and that look into the camera: heads turned by 15 degrees hide the far iris.
IRIS_MARGIN, IRIS_INTER_EYE, IRIS_SHARPNESS, IRIS_YAW = 0.10, 60.0, 0.015, 12.0

# A smile narrows the eyes: an opening below the limit is no fault while both irises are seen as
# clearly as in no closed eye of openpeople's tiles, nor in one that was warped shut on a smiling
# face (contrast up to 0.43; benchmarks/readiness.py). Below that they look alike.
SMILING_IRIS, SMILING_CONTRAST = 0.08, 0.5
LAUGHTER = (
    "The face smiles, which narrows the eyes: whether they are narrow or closed cannot be seen "
    "here."
)

_FACE_CHECKS = (
    "confident_face",
    "single_face",
    "face_pixels",
    "inter_eye",
    "min_face",
    "crop_inside",
    "centered_x",
    "centered_y",
    "yaw",
    "pitch",
    "roll",
    "eyes_open",
    "mouth_closed",
    "sharpness",
    "noise",
    "compression",
    "exposure_dark",
    "exposure_bright",
    "luminance_mean",
    "illumination",
    "dynamic_range",
    "background",
)

# What cv2.imread of LivePortrait's requirements (opencv-python 4.10) reads, whatever its depth and
# colours: it gives 8-bit BGR of them. Its newer versions read AVIF, lying down where the container
# turns it, and the first frame of an animated WebP.
LOADED = ("JPEG", "PNG", "WEBP")
NOT_LOADED = (
    "LivePortrait's cv2.imread does not read {kind}: give it the portrait that "
    "the pipeline exports (a JPG), or save the file as a JPG or PNG."
)

_SEVERITY: tuple[Verdict, ...] = ("not_assessed", "pass", "warn", "error")


def assess(
    image: np.ndarray,
    faces: Sequence[Face],
    *,
    analyzer: FaceAnalyzer | None = None,
    references: Sequence[np.ndarray] = (),
    data: bytes | None = None,
) -> list[Check]:
    """Return all readiness checks of a picture, in a fixed order.

    Checks that need a face are not assessed without one.

    Args:
        image: RGB uint8 (H, W, 3).
        faces: What the analyzer found in it, largest first.
        analyzer: Compares with `references`; identity is not assessed without.
        references: The embeddings of the person's reference photographs.
        data: The file's bytes; decodable and alpha are not assessed without.
    """
    height, width = image.shape[:2]
    checks = _file_checks(data)
    checks.append(RULES["resolution"].judge(min(width, height)))
    checks.append(RULES["face_found"].judge(len(faces)))
    if faces:
        checks += _face_checks(image, faces)
    else:
        checks += [RULES[name].skip("No face was found.") for name in _FACE_CHECKS]
    checks.append(
        RULES["occlusion"].skip(
            "No analyzer here sees glasses, hats or hands before the face: look for them."
        )
    )
    checks.append(_identity_check(faces, analyzer, references))
    return checks


def worst(checks: Sequence[Check]) -> Verdict:
    """Return the most severe verdict: error over warn over pass.

    Args:
        checks: Any number; not_assessed is returned only when none was assessed.
    """
    return max((check.verdict for check in checks), key=_SEVERITY.index, default="not_assessed")


def reload_check(before: Sequence[Check], after: Sequence[Check]) -> Check:
    """Compare, check by check, the verdicts of the exported bytes with those of the picture.

    Checks that were not assessed on one of the two are left out.

    Args:
        before: Checks of the picture that the bytes were made from.
        after: Checks of the exported bytes.

    Returns:
        The check `reload`, which passes when no verdict differs. It is an error when an error came
        or went, and a warning when only warnings did: a value beside a limit crosses it with the
        slightest compression.
    """
    first = {check.name: check.verdict for check in before if check.verdict != "not_assessed"}
    changed = [
        c.name
        for c in after
        if c.name in first and c.verdict not in ("not_assessed", first[c.name])
    ]
    check = RULES["reload"].judge(float(not changed))
    if not changed:
        return check
    check = replace(check, hint=f"{check.hint} Changed: {', '.join(changed)}.")
    errors = [c.name for c in after if c.name in changed and "error" in (c.verdict, first[c.name])]
    if errors:
        return check
    return replace(check, verdict="warn", threshold=f"{check.threshold}; no error for warnings")


def pixel_checks(width: int, height: int, face: Face) -> list[Check]:
    """Return the checks of how many pixels a face has in a picture of this size: face_pixels,
    inter_eye and min_face.
    """
    return [RULES[name].judge(value) for name, value in _pixels(width, height, face).items()]


def _pixels(width: int, height: int, face: Face) -> dict[str, float]:
    # sizes are those after LivePortrait's reduction to 1280 pixels
    scale = load_scale(width, height)
    x0, y0, x1, y1 = (float(edge) for edge in face.box)
    turned = max(float(np.cos(np.radians(face.pose.yaw))), 0.1)
    return {
        "face_pixels": source_crop(face.landmarks).face_size * scale,
        "inter_eye": inter_eye_distance(face.landmarks68) * scale / turned,
        "min_face": min(x1 - x0, y1 - y0),
    }


def _file_checks(data: bytes | None) -> list[Check]:
    decodable, alpha = RULES["decodable"], RULES["alpha"]
    if data is None:
        return [
            rule.skip("Only the decoded picture was given, not its file.")
            for rule in (decodable, alpha)
        ]
    try:
        facts = file_facts(data, name="The file")
    except PhotoError as error:
        return [
            replace(decodable.judge(0), hint=str(error)),
            alpha.skip("The file could not be read."),
        ]
    animated = facts.kind == "WEBP" and facts.moves
    found = decodable.judge(float(facts.kind in LOADED and not animated))
    if found.verdict == "error":
        kind = "animated WebP" if animated else facts.kind
        found = replace(found, hint=NOT_LOADED.format(kind=kind))
    return [found, alpha.judge(float(facts.opaque))]


def _face_checks(image: np.ndarray, faces: Sequence[Face]) -> list[Check]:
    height, width = image.shape[:2]
    face = faces[0]
    crop = source_crop(face.landmarks)
    x0, y0, x1, y1 = (float(edge) for edge in face.box)
    pixels = _pixels(width, height, face)
    between_eyes = pixels["inter_eye"]

    aligned, points = align_face(image, face.landmarks68), align_landmarks(face.landmarks68)
    mask, light = face_mask(points), luminance(aligned)
    dark, bright = exposure(light, mask)
    values = {
        "confident_face": float(face.score >= max(other.score for other in faces)),
        "single_face": faces[1].area / face.area if len(faces) > 1 else 0.0,
        **pixels,
        "crop_inside": black_share(crop, width, height),
        "centered_x": (x0 + x1) / 2 / width,
        "centered_y": (y0 + y1) / 2 / height,
        "yaw": face.pose.yaw,
        "pitch": face.pose.pitch,
        "roll": face.pose.roll,
        "sharpness": sharpness(aligned, mask),
        "noise": noise(image, face.landmarks68),
        "compression": blockiness(image, face.box),
        "exposure_dark": dark,
        "exposure_bright": bright,
        "luminance_mean": float(light[mask].mean() / 255),
        "illumination": illumination_uniformity(light, points),
        "dynamic_range": dynamic_range(light, mask),
    }
    found = {
        name: replace(RULES[name].judge(value), quality=quality(name, value))
        for name, value in values.items()
    }
    found |= {
        check.name: check
        for check in _expression_checks(image, face, between_eyes, values["sharpness"])
    }
    found["background"] = _background_check(image, face)
    return [found[name] for name in _FACE_CHECKS]


def _background_check(image: np.ndarray, face: Face) -> Check:
    rule = RULES["background"]
    unrest = background_unrest(image, face.landmarks68)
    return (
        rule.skip("The head fills the picture: there is no background to look at.")
        if unrest is None
        else rule.judge(unrest)
    )


def _expression_checks(
    image: np.ndarray, face: Face, between_eyes: float, sharp: float
) -> list[Check]:
    eyes, mouth = RULES["eyes_open"], RULES["mouth_closed"]
    if between_eyes < EXPRESSION_INTER_EYE:
        return [rule.skip("The face is too small for that.") for rule in (eyes, mouth)]
    if abs(face.pose.yaw) > EXPRESSION_YAW:
        return [rule.skip("The head is turned too far for that.") for rule in (eyes, mouth)]
    points = face.landmarks68
    seen = opening = eye_openness(points)
    irises = 0.0, 0.0
    if (
        between_eyes >= IRIS_INTER_EYE
        and sharp >= IRIS_SHARPNESS
        and abs(face.pose.yaw) <= IRIS_YAW
    ):
        irises = iris_height(image, points), iris_contrast(image, points)
        seen = min(opening, IRIS_MARGIN + irises[0])
    lids = replace(
        eyes.judge(seen),
        quality=quality("eyes_open", lid_opening(points) * seen / max(opening, 1e-6)),
    )
    if lids.verdict != "pass" and mouth_lift(points) > SMILE:
        lids = _narrowed(lids, *irises)
    if lids.verdict == "error" and between_eyes < SURE_EYES_INTER_EYE:
        lids = replace(
            lids,
            verdict="warn",
            threshold=f"{eyes.threshold}; no error below {SURE_EYES_INTER_EYE:g} px between the "
            f"eyes, here {between_eyes:.0f}",
        )
    return [
        lids,
        replace(
            mouth.judge(mouth_opening(points)), quality=quality("mouth_closed", lip_opening(points))
        ),
    ]


def _narrowed(lids: Check, height: float, contrast: float) -> Check:
    """Return the check of a smiling face's eyes, which are narrow or closed: a pass where both
    irises are surely seen, else a warning that says what cannot be seen.
    """
    if height >= SMILING_IRIS and contrast >= SMILING_CONTRAST:
        return replace(lids, verdict="pass", hint="")
    return replace(lids, verdict="warn", hint=f"{lids.hint} {LAUGHTER}")


def _identity_check(
    faces: Sequence[Face], analyzer: FaceAnalyzer | None, references: Sequence[np.ndarray]
) -> Check:
    if analyzer is None or not references:
        check = identity_rule(np.inf, np.inf).skip(
            "No photographs of the person were given to compare with."
        )
        return replace(check, threshold="the analyzer's")
    rule = identity_rule(analyzer.same_person, analyzer.uncertain)
    if not faces:
        return rule.skip("No face was found.")
    return rule.judge(compare(analyzer, faces[0].embedding, references).median)

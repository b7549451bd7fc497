"""One face into another picture, and who the result looks like.

The target keeps its hair, outline, pose, light and expression; the source gives brows, eyes, nose, lips and skin.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Protocol

import numpy as np

from avatar_pipeline.errors import PhotoError
from avatar_pipeline.faces.analyzer import Face, FaceAnalyzer
from avatar_pipeline.faces.measures import eye_openness, inter_eye_distance, mouth_opening
from avatar_pipeline.stages.face_swap.geometry import INNER_LIPS, all_points, backward_map, destination
from avatar_pipeline.stages.face_swap.light import blend, relight
from avatar_pipeline.stages.face_swap.skin import features, outline, skin

# Degrees between the two heads, in yaw or pitch: from the first the far cheek is stretched (a warning), from the second it cannot be made up
# from what the source shows (refused). dlib reads a head turned by 45 degrees as 32 to 39.
TURNED, TOO_FAR = 14.0, 32.0
SMALLEST = 24.0  # pixels between the eyes, in either picture: below, landmarks are guesses
ENLARGED = 2.0  # how much larger the target's face may be than the source's before the result looks blurred
WORK_SIDE = 1280  # pixels: a larger face is painted at this size and enlarged; openpeople's portraits are below it
BLINK = 0.16  # the target's eye aspect ratio below which its lids are shut, and its own eyes stay

Painter = Callable[[np.ndarray, np.ndarray], np.ndarray]
"""(target RGB uint8, its (68, 2) landmarks) -> the target with the source's face, RGB uint8."""


class Swapper(Protocol):
    """A method of painting one person's face into pictures."""

    name: str

    def bind(self, image: np.ndarray, face: Face) -> Painter:
        """The painter for the person of `face` in the RGB uint8 picture `image`."""


@dataclass(frozen=True, eq=False)
class SwapResult:
    """A swapped picture and what the analyzer says of it.

    image: (H, W, 3) RGB uint8, the target's size. to_source, to_target: the analyzer's distances of the result's face to the two faces that
    went in; None when no face is found in the result. faces: found in the result. closer_to_source: to_source < to_target.
    method: "landmarks" or "inswapper". warnings: in words, what may look wrong and why.
    """

    image: np.ndarray
    to_source: float | None
    to_target: float | None
    faces: int
    closer_to_source: bool
    method: str
    warnings: list[str]


def swap_face(source: np.ndarray, target: np.ndarray, analyzer: FaceAnalyzer, swapper: Swapper | None = None) -> SwapResult:
    """Paint the largest face of `source` over the largest face of `target`, both (H, W, 3) RGB uint8.

    Raises PhotoError, naming `source_face` or `target`, when there is no face in it, when the face is too small, and when the two heads
    are turned too differently for one to be made into the other.
    """
    face, notes = find_one(source, analyzer, "source_face")
    there, more = find_one(target, analyzer, "target")
    notes = [*notes, *more, *_fit(face, there)]
    swapper = swapper or LandmarkSwapper()
    image = swapper.bind(source, face)(target, there.landmarks68)
    found = analyzer.analyze(image)
    if not found:
        return SwapResult(image, None, None, 0, False, swapper.name, [*notes, "No face is found in the result."])
    # The face that was painted, of several: the one nearest to where it was.
    result = min(found, key=lambda one: float(np.linalg.norm(one.landmarks68 - there.landmarks68, axis=1).mean()))
    to_source = analyzer.distance(result.embedding, face.embedding)
    to_target = analyzer.distance(result.embedding, there.embedding)
    if to_source >= to_target:
        notes.append(
            f"The result looks more like the target's person ({to_target:.2f}) than like the source's ({to_source:.2f}): hair and "
            "outline are the target's. Choose a target of a person more like the source."
        )
    return SwapResult(image, to_source, to_target, len(found), to_source < to_target, swapper.name, notes)


def find_one(image: np.ndarray, analyzer: FaceAnalyzer, name: str) -> tuple[Face, list[str]]:
    """The largest face of a picture, and notes in words. Raises PhotoError, with the field's name, for none or one too small."""
    faces = analyzer.analyze(image)
    if not faces:
        raise PhotoError(f"{name}: no face was found. Give a picture in which one person looks towards the camera.")
    between = inter_eye_distance(faces[0].landmarks68)
    if between < SMALLEST:
        raise PhotoError(
            f"{name}: the face is too small, {between:.0f} pixels between the eyes, at least {SMALLEST:.0f}. "
            "Give a larger picture, or one from closer by."
        )
    several = f"{name}: {len(faces)} faces were found, and the largest was taken."
    return faces[0], [several] if len(faces) > 1 else []


def _fit(source: Face, target: Face) -> list[str]:
    """What may look wrong, in words. Raises PhotoError when the heads are turned too differently."""
    notes = []
    for axis in ("yaw", "pitch"):
        a, b = getattr(source.pose, axis), getattr(target.pose, axis)
        apart = abs(a - b)
        if apart > TOO_FAR:
            raise PhotoError(
                f"target: its head is turned by {b:.0f} degrees ({axis}) and the one in source_face by {a:.0f}; a side of the face "
                "that one shows and the other hides cannot be made up. Give two pictures with the head turned alike."
            )
        if apart > TURNED:
            notes.append(f"The heads are turned differently ({axis} {a:.0f} and {b:.0f} degrees): one cheek may look stretched.")
    sizes = [inter_eye_distance(face.landmarks68) for face in (source, target)]
    if sizes[1] > ENLARGED * sizes[0]:
        notes.append(
            f"The face in source_face is {sizes[1] / sizes[0]:.1f} times smaller than the target's, so the result is less sharp."
        )
    openings = [mouth_opening(face.landmarks68) for face in (source, target)]
    if openings[1] > 0.2 and openings[0] < 0.1:
        notes.append("The target's mouth is open and the source's shut: what is seen inside the mouth is the target's.")
    if openings[0] > 0.2 and openings[1] < 0.1:
        notes.append("The source's mouth is open and the target's shut: its lips are brought together, which may look stiff.")
    return notes


@dataclass(frozen=True)
class Window:
    """The part of a picture that is worked on."""

    rows: slice
    columns: slice


def window(image: np.ndarray, landmarks: np.ndarray) -> Window:
    """The face with its forehead and 0.6 inter-eye distances around, inside the picture."""
    points = all_points(landmarks)
    margin = 0.6 * inter_eye_distance(landmarks)
    low = np.maximum(np.floor(points.min(axis=0) - margin), 0).astype(int)
    high = np.minimum(np.ceil(points.max(axis=0) + margin), image.shape[1::-1]).astype(int)
    return Window(slice(int(low[1]), int(high[1])), slice(int(low[0]), int(high[0])))


def paste(target: np.ndarray, part: Window, painted: np.ndarray, mask: np.ndarray) -> np.ndarray:
    """A copy of `target` with `painted` (h, w, 3) float32 blended into the window; where the mask (h, w) is 0 no pixel changes."""
    back = target[part.rows, part.columns].astype(np.float32)
    mixed = blend(painted, back, mask)
    # Wide bands reach beyond the mask: what lies clearly outside is the target's own.
    inside = np.clip(mask * 4, 0, 1)[..., None]
    result = target.copy()
    result[part.rows, part.columns] = (back + inside * (mixed - back)).round().clip(0, 255).astype(np.uint8)
    return result


class LandmarkSwapper:
    """Warp, relight and blend by landmarks; needs no model but the analyzer's."""

    name = "landmarks"

    def bind(self, image: np.ndarray, face: Face) -> Painter:
        """The painter for this face; what depends on the source alone is computed once."""
        part = window(image, face.landmarks68)
        face_pixels = np.ascontiguousarray(image[part.rows, part.columns])
        points = all_points(face.landmarks68) - (part.columns.start, part.rows.start)
        between = inter_eye_distance(face.landmarks68)
        size = (face_pixels.shape[1], face_pixels.shape[0])
        # A beard belongs to the source's face; hair on its forehead and temples does not.
        lower = np.zeros(size[::-1], np.float32)
        lower[max(0, round(float(points[33, 1]))) :] = 1
        shown = np.maximum.reduce([skin(face_pixels, points, between), features(points, size, between), lower])
        shown *= outline(points, size)
        opening, openness = mouth_opening(face.landmarks68), eye_openness(face.landmarks68)

        def paint(target: np.ndarray, landmarks: np.ndarray) -> np.ndarray:
            return _paint(target, landmarks, face_pixels, points, shown, between, opening, openness)

        return paint


def _paint(
    target: np.ndarray,
    landmarks: np.ndarray,
    face: np.ndarray,
    face_points: np.ndarray,
    face_shown: np.ndarray,
    face_between: float,
    face_opening: float,
    face_openness: float,
) -> np.ndarray:
    import cv2

    part = window(target, landmarks)
    view = np.ascontiguousarray(target[part.rows, part.columns])
    there = all_points(landmarks) - (part.columns.start, part.rows.start)
    full = (view.shape[1], view.shape[0])
    scale = min(1.0, WORK_SIDE / max(full))
    if scale < 1:
        small = (round(full[0] * scale), round(full[1] * scale))
        view = cv2.resize(view, small, interpolation=cv2.INTER_AREA)
        there = there * (np.array(small) / full)
    size = (view.shape[1], view.shape[0])
    between = inter_eye_distance(there[:68].astype(np.float32))
    shrink = between / face_between
    if shrink < 0.8:  # remap does not average
        small = (max(8, round(face.shape[1] * shrink)), max(8, round(face.shape[0] * shrink)))
        ratio = np.array(small) / (face.shape[1], face.shape[0])
        face, face_shown = (cv2.resize(array, small, interpolation=cv2.INTER_AREA) for array in (face, face_shown))
        face_points = (face_points + 0.5) * ratio - 0.5

    to = destination(face_points, there)
    field = backward_map(to, face_points, size, 0.02 * between)
    warped = cv2.remap(face, field[..., 0], field[..., 1], cv2.INTER_CUBIC, borderMode=cv2.BORDER_REPLICATE).astype(np.float32)
    shown = cv2.remap(face_shown, field[..., 0], field[..., 1], cv2.INTER_LINEAR, borderValue=0)

    own = skin(view, there, between)
    hull = outline(there, size, 0.07 * between)
    free = np.maximum(own, features(there, size, between) * features(to, size, between))
    lit = relight(warped, view.astype(np.float32), own * hull * shown * (1 - features(there, size, between)), between)
    mask = cv2.GaussianBlur(hull, (0, 0), 0.06 * between) * hull * free * shown
    mask *= 1 - _inside_mouth(to, size, between, mouth_opening(there[:68]), face_opening)
    if eye_openness(there[:68]) < BLINK <= face_openness:
        mask *= 1 - _eyes(there, size, between)
    mask = mask.astype(np.float32)
    if scale < 1:
        lit, mask = (cv2.resize(array, full, interpolation=cv2.INTER_CUBIC) for array in (lit, mask))
    return paste(target, part, lit, np.clip(mask, 0, 1))


def _inside_mouth(points: np.ndarray, size: tuple[int, int], between: float, opening: float, own: float) -> np.ndarray:
    """(H, W) float32: where the target's teeth and tongue stay, because its mouth is open further than the source's."""
    import cv2

    share = float(np.clip((opening - max(own, 0.06)) / 0.12, 0, 1))
    mask = np.zeros((size[1], size[0]), np.uint8)
    cv2.fillPoly(mask, [points[INNER_LIPS].round().astype(np.int32)], 255, cv2.LINE_AA)
    softened: np.ndarray = cv2.GaussianBlur(mask.astype(np.float32) / 255, (0, 0), max(0.015 * between, 0.5))
    return softened * share


def _eyes(points: np.ndarray, size: tuple[int, int], between: float) -> np.ndarray:
    """(H, W) float32: both eyes with their lids."""
    import cv2

    mask = np.zeros((size[1], size[0]), np.uint8)
    for eye in (points[36:42], points[42:48]):
        cv2.fillConvexPoly(mask, cv2.convexHull(eye.round().astype(np.int32)), 255)
    reach = max(1, round(0.1 * between))
    mask = cv2.dilate(mask, cv2.getStructuringElement(cv2.MORPH_ELLIPSE, (2 * reach + 1,) * 2))
    softened: np.ndarray = cv2.GaussianBlur(mask.astype(np.float32) / 255, (0, 0), max(0.06 * between, 0.5))
    return softened

"""One photograph looked at: is it usable by itself, and what the choice among all photographs needs
to know of it.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from PIL import Image

from avatar_pipeline.actors.photos import Photo
from avatar_pipeline.core.errors import PhotoError
from avatar_pipeline.diffusion.preset_types import Preset
from avatar_pipeline.faces.analyzers.types import Face, FaceAnalyzer
from avatar_pipeline.faces.check import Check
from avatar_pipeline.faces.expressions import Expression, expressions
from avatar_pipeline.faces.landmark_measurements import inter_eye_distance
from avatar_pipeline.faces.measurements import align_face, align_landmarks, face_mask
from avatar_pipeline.faces.readiness import assess
from avatar_pipeline.faces.rules import RULES
from avatar_pipeline.imaging.decode import orientation_of
from avatar_pipeline.imaging.images import open_image, resize_to_fit
from avatar_pipeline.pipeline.face_selection import face_fault
from avatar_pipeline.pipeline.head_crops import frame

# Rejected, not only warned about: half of the sharpness that the readiness table asks for. On
# openpeople's portraits this is a blur of 3 % of the inter-eye distance, three pixels of a head
# shot; a face of 32 px between the eyes still has twice as much.
TOO_BLURRED = RULES["sharpness"].low / 2
# Mean linear luminance and share of burnt-out skin. Openpeople's portraits (0.16 and more) reach
# the first at a fifth of their grey levels, where less than 4 bits of contrast are left; the second
# means that half of the face is one white patch.
TOO_DARK, TOO_BRIGHT = 0.02, 0.5

HASH, PATTERN = 16, 64  # pixels a side of what near-duplicates are compared by
THUMBNAIL = 320  # pixels


@dataclass(frozen=True, eq=False)
class Portrait:
    """A photograph with one clear face. The decoded original is not kept: twenty of them would fill
    a gigabyte.

    head: the head framed as the preset draws head shots, RGB. inter_eye: pixels in the photograph.
    expressions: empty for neutral.
    checks: the readiness checks of the whole photograph; they are notes here, and what the base
    image is chosen by.
    warmth: red to blue of the face in linear light, which the light's colour changes and an
    expression does not.
    hash: (HASH * HASH,) bool, of the whole picture. pattern: (PATTERN, PATTERN) float32, of the
    aligned face, contrast evened out.
    size: of the file in bytes.
    """

    head: Image.Image
    face: Face
    inter_eye: float
    expressions: tuple[Expression, ...]
    checks: list[Check]
    warmth: float
    hash: np.ndarray
    pattern: np.ndarray
    size: int

    def measured(self, check: str) -> float:
        """The value of a readiness check; not a number where it was not assessed."""
        value = next(found.value for found in self.checks if found.name == check)
        return float("nan") if value is None else value

    @property
    def rank(self) -> tuple[int, int, float]:
        """How good a base image it would be, smaller is better: errors, warnings, degrees that the
        head is turned by.
        """
        verdicts = [check.verdict for check in self.checks]
        return (
            verdicts.count("error"),
            verdicts.count("warn"),
            abs(self.face.pose.yaw) + abs(self.face.pose.pitch),
        )


@dataclass(frozen=True, eq=False)
class PhotoAnalysis:
    """One photograph looked at. fault: why it cannot be used, whatever the others are like;
    thumbnail: None when it cannot be read.
    """

    name: str
    fault: str | None
    thumbnail: Image.Image | None = None
    portrait: Portrait | None = None
    notes: tuple[str, ...] = ()


def analyze(photo: Photo, analyzer: FaceAnalyzer, preset: Preset) -> PhotoAnalysis:
    """Open and analyze one photograph, once."""
    if photo.problem:
        return PhotoAnalysis(photo.name, photo.problem)
    try:
        image = open_image(photo.data, name=photo.name)
    except PhotoError as error:
        return PhotoAnalysis(photo.name, str(error))
    orientation = orientation_of(photo.data)
    notes = [] if orientation == 1 else [f"turned upright (EXIF orientation {orientation})"]
    notes += [f"its caption: {photo.caption}"] if photo.caption else []
    thumbnail = resize_to_fit(image, THUMBNAIL)
    pixels = np.asarray(image)
    faces = analyzer.analyze(pixels)
    fault = face_fault(faces)
    if fault:
        return PhotoAnalysis(photo.name, fault, thumbnail, notes=tuple(notes))
    face = faces[0]
    if len(faces) > 1:
        notes.append(f"{len(faces) - 1} much smaller faces beside the person's")
    checks = assess(pixels, [face])
    aligned = align_face(pixels, face.landmarks68)
    portrait = Portrait(
        head=frame(photo.name, image, face, preset).image,
        face=face,
        inter_eye=inter_eye_distance(face.landmarks68),
        expressions=expressions(face.landmarks68),
        checks=checks,
        warmth=_warmth(aligned, face),
        hash=_hash(image),
        pattern=_pattern(aligned),
        size=len(photo.data),
    )
    notes += [check.hint for check in checks if check.verdict in ("warn", "error")]
    return PhotoAnalysis(photo.name, _too_poor(portrait), thumbnail, portrait, tuple(notes))


def _too_poor(portrait: Portrait) -> str | None:
    """Why the face's picture is too poor to learn from; None when it is not."""
    if portrait.measured("sharpness") < TOO_BLURRED:
        return (
            f"the face is blurred: sharpness {portrait.measured('sharpness'):.4f}, at least "
            f"{TOO_BLURRED:.4f} is needed"
        )
    if portrait.measured("luminance_mean") < TOO_DARK:
        return (
            f"the face is nearly black: mean luminance {portrait.measured('luminance_mean'):.3f}, "
            f"at least {TOO_DARK} is needed"
        )
    if portrait.measured("exposure_bright") > TOO_BRIGHT:
        return (
            f"{portrait.measured('exposure_bright'):.0%} of the face is burnt out: at most "
            f"{TOO_BRIGHT:.0%} can be used"
        )
    return None


def _hash(image: Image.Image) -> np.ndarray:
    """The difference hash (Krawetz 2013): whether each cell of a coarse grey picture is brighter
    than its left neighbour.
    """
    grey = np.asarray(image.convert("L").resize((HASH + 1, HASH), Image.Resampling.LANCZOS)).astype(
        np.int16
    )
    return np.asarray(grey[:, 1:] > grey[:, :-1]).ravel()


def _warmth(aligned: np.ndarray, face: Face) -> float:
    # about sRGB's curve
    mean = np.mean((aligned[face_mask(align_landmarks(face.landmarks68))] / 255) ** 2.2, axis=0)
    return float(mean[0] / max(mean[2], 1e-6))


def _pattern(aligned: np.ndarray) -> np.ndarray:
    import cv2

    grey = cv2.cvtColor(aligned, cv2.COLOR_RGB2GRAY)
    small = cv2.resize(grey, (PATTERN, PATTERN), interpolation=cv2.INTER_AREA).astype(np.float32)
    return np.asarray((small - small.mean()) / max(float(small.std()), 1.0))

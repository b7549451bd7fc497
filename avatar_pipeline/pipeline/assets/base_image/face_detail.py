"""The face detail pass: a face that is small in its picture is drawn again at the size the model
draws faces best, and put back.

In a full body of 512x768 there are some 27 pixels between the eyes, fewer than two cells of the
embedded model's latents: it can place a face there, but not draw one. Cut out, enlarged to a head
shot and redrawn over itself, the face gets its eyes and mouth; shrunk again it fits where it was.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from PIL import Image

from avatar_pipeline.core.seeds import derive_seed
from avatar_pipeline.diffusion.identity import identity_at
from avatar_pipeline.diffusion.sampling import Sampling, image_to_image
from avatar_pipeline.diffusion.session import PipelineSession, identity_fault
from avatar_pipeline.faces.analyzers.types import Face, FaceAnalyzer
from avatar_pipeline.faces.framing import Framing, eyes_and_mouth, frame_head, similarity
from avatar_pipeline.faces.landmark_measurements import inter_eye_distance
from avatar_pipeline.imaging.compose import paste_warped
from avatar_pipeline.pipeline.face_selection import DOMINANT, SMALLEST_INTER_EYE
from avatar_pipeline.pipeline.head_crops import BLURRED

# At 0.4 crooked eyes and the grain of the small face shine through; at 0.6 it is somebody else.
STRENGTH = 0.5
IDENTITY_SCALE = 0.8  # as training_variations steers with
TRIES = 3
# Eyes and mouth of the redrawn face may lie this far from where they were, in distances between the
# eyes: twice dlib's own scatter.
MOVED = 0.12
# How much farther than a recogniser's own limit a redrawn face may be from one of fewer than
# SMALLEST_INTER_EYE pixels, of which it can say little: faces redrawn in full bodies of the
# embedded model are 0.52 to 0.70 (10 to 90 %) from before, and other people's 0.58 to 0.77.
UNREADABLE = 1.25
# Half axes of the ellipse that is put back, its centre below the eyes, and how softly it ends; in
# distances between the eyes.
HALF_WIDTH, HALF_HEIGHT, BELOW, FEATHER = 1.05, 1.55, 0.4, 0.22
# Standard deviation of the blur under which a small face is looked for again, in shorter sides of
# the picture: 1 pixel of 512. What hides a face of a few latent cells from a detector is grain.
SMOOTHED = 1 / 512


@dataclass(frozen=True, eq=False)
class Detail:
    """What the pass did.

    image: the picture, the same one when nothing was done. done: in words. before, after: pixels
    between the eyes in the picture and as redrawn, None where no face was found. distance: of the
    face put back to the one before. heads: the cut-out head before and after, as head shots. seeds:
    of every try.
    """

    image: Image.Image
    done: str
    seeds: dict[str, int]
    before: float | None = None
    after: float | None = None
    distance: float | None = None
    heads: tuple[Image.Image, Image.Image] | None = None

    @property
    def metrics(self) -> dict[str, float | int | str | bool | None]:
        """For the manifest."""
        return {
            "face_detail": self.done,
            "inter_eye": self.before,
            "inter_eye_redrawn": self.after,
            "face_detail_distance": self.distance,
        }


def detail_face(
    image: Image.Image,
    prompt: str,
    root_seed: int,
    steps: int,
    guidance_scale: float,
    session: PipelineSession,
    analyzer: FaceAnalyzer,
) -> Detail:
    """Redraw the face of `image` when it is small; a LoRA that the session uses is used here too.

    prompt: of a head shot of the person. Nothing is done to a picture without exactly one dominant
    face, to a face that is large enough,
    and when no redrawn face passes: one face, the same person, at the same place.
    """
    pixels = np.asarray(image)
    faces = find_faces(pixels, analyzer)
    if not faces:
        return Detail(image, "no face found", {})
    if len(faces) > 1 and faces[0].area < DOMINANT * faces[1].area:
        return Detail(image, f"{len(faces)} faces, none of them dominant", {})
    face, before = faces[0], inter_eye_distance(faces[0].landmarks68)
    preset = session.preset
    framing = Framing(
        preset.width,
        preset.height,
        preset.head_inter_eye,
        preset.head_eye_y * preset.height / preset.width,
    )
    native = framing.inter_eye * framing.width
    if native / before <= BLURRED:
        return Detail(image, "not needed", {}, before)
    if session.family.drawn_steps(steps, STRENGTH) < 1:
        return Detail(
            image, f"left out: {steps} steps are too few to draw over anything", {}, before
        )

    head = Image.fromarray(frame_head(pixels, face.landmarks68, framing)[0])
    scale = IDENTITY_SCALE if identity_fault(session, analyzer.name) is None else 0.0
    identity = identity_at(scale, face.embedding, head, preset)
    seeds: dict[str, int] = {}
    reason = ""
    for index in range(TRIES):
        seed = seeds[f"detail_{index}"] = derive_seed(root_seed, "base_image.detail", index)
        redrawn = image_to_image(
            session,
            head,
            prompt,
            seed,
            STRENGTH,
            Sampling(steps, guidance_scale, identity=identity),
        )
        found = analyzer.analyze(np.asarray(redrawn))
        reason = _fault(found, face, framing, analyzer)
        if reason:
            continue
        put_back = _put_back(pixels, np.asarray(head), np.asarray(redrawn), face, framing)
        if len(find_faces(put_back, analyzer)) != 1:
            reason = "it was not found again in the picture"
            continue
        distance = analyzer.distance(found[0].embedding, face.embedding)
        after = inter_eye_distance(found[0].landmarks68)
        return Detail(
            Image.fromarray(put_back), "redrawn", seeds, before, after, distance, (head, redrawn)
        )
    return Detail(
        image, f"kept as it was: none of {TRIES} redrawn faces passes, {reason}", seeds, before
    )


def find_faces(image: np.ndarray, analyzer: FaceAnalyzer) -> list[Face]:
    """The faces of an RGB uint8 (H, W, 3) picture; where there seems to be none, those that show
    when its grain is smoothed.
    """
    import cv2

    return analyzer.analyze(image) or analyzer.analyze(
        cv2.GaussianBlur(image, (0, 0), SMOOTHED * min(image.shape[:2]))
    )


def _fault(found: Sequence[Face], face: Face, framing: Framing, analyzer: FaceAnalyzer) -> str:
    """Why a redrawn head cannot be put back; empty when it can."""
    if len(found) != 1:
        return f"{len(found)} faces in it"
    moved = np.linalg.norm(eyes_and_mouth(found[0].landmarks68) - framing.targets(), axis=1).max()
    share = float(moved) / (framing.inter_eye * framing.width)
    if share > MOVED:
        return f"it moved by {share:.2f} distances between the eyes"
    distance = analyzer.distance(found[0].embedding, face.embedding)
    readable = inter_eye_distance(face.landmarks68) >= SMALLEST_INTER_EYE
    if distance > analyzer.same_person * (1 if readable else UNREADABLE):
        return f"it became another person (distance {distance:.2f})"
    return ""


def _put_back(
    pixels: np.ndarray, head: np.ndarray, redrawn: np.ndarray, face: Face, framing: Framing
) -> np.ndarray:
    """The picture with the redrawn face, in the colours of the one before."""
    import cv2

    matrix = similarity(eyes_and_mouth(face.landmarks68), framing.targets())
    eyes = framing.inter_eye * framing.width
    center = (framing.width / 2, framing.eye_y * framing.width + BELOW * eyes)
    y, x = np.mgrid[: framing.height, : framing.width].astype(np.float32)
    inside = ((x - center[0]) / (HALF_WIDTH * eyes)) ** 2 + (
        (y - center[1]) / (HALF_HEIGHT * eyes)
    ) ** 2 < 1
    mask = cv2.GaussianBlur(inside.astype(np.float32), (0, 0), FEATHER * eyes)
    return paste_warped(pixels, _recoloured(redrawn, head, inside), mask, matrix)


def _recoloured(image: np.ndarray, like: np.ndarray, where: np.ndarray) -> np.ndarray:
    """`image` with the mean and spread that `like` has in each CIELAB channel in the area `where`;
    all RGB uint8 but the bool mask.
    """
    import cv2

    lab, wanted = (
        cv2.cvtColor(picture.astype(np.float32) / 255, cv2.COLOR_RGB2LAB)
        for picture in (image, like)
    )
    for channel in range(3):
        values, target = lab[..., channel], wanted[..., channel][where]
        mean, spread = values[where].mean(), max(float(values[where].std()), 1e-3)
        # A soft face has less contrast than the sharp one to come: its spread is a floor for none,
        # and no reason to wash that one out.
        gain = float(np.clip(target.std() / spread, 0.9, 1.1))
        lab[..., channel] = (values - mean) * gain + target.mean()
    return (cv2.cvtColor(lab, cv2.COLOR_LAB2RGB) * 255).round().clip(0, 255).astype(np.uint8)

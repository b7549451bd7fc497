"""What a frame needs and the picture lacks, continued so that nothing shows where it ended.

No model: outside of the picture stands a smooth field, which the wall's colours give where the wall
goes on, and the person's where the outline of the person, continued straight, says so. At the
picture's edge the field takes on the edge's own pixels and loses them with the distance; grain is
added, as strong as the picture's. Limits: a patterned wall goes on as if out of focus, and hair
that the picture cuts off is closed by an arc in the colour of hair: how much of a head is made that
way is what the check `invented_head` says.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from avatar_pipeline.cutout.person_mask import person_mask
from avatar_pipeline.portrait.grain import grain_beside, unit_noise

SMALL = 192  # pixels a side at which wall, person and outline are continued
OUTLINE_REACH = 8  # small pixels over which the outline's direction is taken
HAIR_ARC = 0.45  # height of the arc that closes hair, in half its width at the picture's edge
HAIR_BAND = 8.0  # small pixels above the chin over which clothes turn into hair
OUTLINE_SMOOTH = 5.0  # small pixels: an arc has no corner
BODY_FADE, BODY_BLUR = 0.12, 0.03  # shares of the side: from where on hair is blurred, and how
CLOTHES_BLUR = 0.8  # deviation of the blur of clothes, in distances from the picture
BLURS = (0.02, 0.05, 0.12)  # shares of the side: what lies between is mixed of two
SOFT_EDGE = 3.0  # small pixels over which the continued person's edge is soft
# shares of the frame's side: over these distances the edge's pixels are lost, and blurred
FADE, BLUR_BEGINS, BLUR_ENDS = 0.035, 0.006, 0.05


@dataclass(frozen=True, eq=False)
class Place:
    """Where the pixels of a frame lie in the picture that it was cut from.

    picture: (S, S, 2) float32, pixel indices in the picture; nearest: the same, moved to the
    picture's nearest pixel. distance: (S, S) float32, between both, in pixels of the frame; 0
    inside.
    """

    picture: np.ndarray
    nearest: np.ndarray
    distance: np.ndarray

    @property
    def outside(self) -> np.ndarray:
        """(S, S) bool: where the picture does not reach."""
        return self.distance > 0.5

    @classmethod
    def of(cls, matrix: np.ndarray, side: int, width: int, height: int) -> Place:
        """matrix: (2, 3), from pixel indices of the picture to those of the frame, a similarity."""
        y, x = np.mgrid[:side, :side].astype(np.float32)
        back = np.linalg.inv(matrix[:, :2]).astype(np.float32)
        places = np.stack([x - matrix[0, 2], y - matrix[1, 2]], axis=-1).astype(np.float32) @ back.T
        limits = np.array([width - 1, height - 1], np.float32)
        nearest = np.clip(places, 0, limits)
        scale = float(np.sqrt(abs(np.linalg.det(matrix[:, :2]))))
        distance = np.linalg.norm(places - nearest, axis=-1) * scale
        return cls(places, nearest, distance.astype(np.float32))


def continue_border(
    image: np.ndarray, framed: np.ndarray, place: Place, matrix: np.ndarray, landmarks: np.ndarray
) -> tuple[np.ndarray, np.ndarray]:
    """Return the frame with everything outside of the picture continued, and (S, S) bool: where the
    person was.

    image: (H, W, 3) uint8, the picture. framed: (S, S, 3) uint8, the frame cut from it by `matrix`
    ((2, 3), pixel indices), its border repeated. place: where the frame's pixels
    lie in the picture. landmarks: (68, 2) float32 of the face, in the
    picture. Pixels inside of the picture stay as they are.
    """
    side = framed.shape[0]
    if not place.outside.any():
        return framed, np.zeros((side, side), bool)
    small, alpha = _small_field(image, matrix, landmarks, side)
    made = _blend(framed.astype(np.float32), _enlarged(small, side), place, matrix)
    result = framed.copy()
    result[place.outside] = made.round().clip(0, 255).astype(np.uint8)
    return result, (_enlarged(alpha, side) > 0.5) & place.outside


def head_area(landmarks: np.ndarray, side: int) -> np.ndarray:
    """Return (side, side) bool: head and hair, as an ellipse about the face of (68, 2) landmarks in
    pixels of the frame.
    """
    import cv2

    eyes = landmarks[36:48].mean(axis=0)
    chin = landmarks[8]
    high = float(np.linalg.norm(chin - eyes))
    axis = (chin - eyes) / max(high, 1e-6)
    middle = eyes - axis * 0.05 * high
    angle = float(np.degrees(np.arctan2(axis[1], axis[0]))) - 90
    area = np.zeros((side, side), np.uint8)
    half = (round(1.05 * high), round(1.35 * high))
    cv2.ellipse(area, (round(middle[0]), round(middle[1])), half, angle, 0, 360, 1, -1)
    return area.astype(bool)


def _small_field(
    image: np.ndarray, matrix: np.ndarray, landmarks: np.ndarray, side: int
) -> tuple[np.ndarray, np.ndarray]:
    """Return (SMALL, SMALL, 3) float32: colours of wall and person, continued over the frame; and
    (SMALL, SMALL) float32: how much of a pixel is the person, 0 to 1.
    """

    import cv2

    shrunk = matrix * (SMALL / side)
    scale = float(np.sqrt(abs(np.linalg.det(shrunk[:, :2]))))
    part, shrunk, moved = _part(image, shrunk, landmarks, scale)
    height, width = part.shape[:2]
    mask = person_mask(part, [moved])
    outline = _signed_distance(mask)
    place = Place.of(shrunk, SMALL, width, height)

    person = _continued_outline(outline, place, moved)
    alpha = np.clip(person / SOFT_EDGE + 0.5, 0, 1)
    pixels = _sampled(part, place.nearest).astype(np.float32)
    known = _sampled(outline, place.nearest)
    inside = place.distance <= 0.5
    near = _in_frame(place.nearest, shrunk)
    wall = _wall(pixels, inside & (known < -3), 2 * near - _indices(SMALL))
    body = _spread(pixels, inside & (known > 2), (1.5, 5.0, 15.0))
    if wall is None or body is None:
        return pixels if wall is None else wall, alpha
    # clothes and hair go on in the colours that they have at the edge, the softer the farther
    edge = _sampled(body, near)
    soft = np.clip(place.distance / (SMALL * BODY_FADE), 0, 1)[..., None]
    hair = edge * (1 - soft) + cv2.GaussianBlur(edge, (0, 0), SMALL * BODY_BLUR) * soft
    share = _above_chin(place, moved)[..., None]
    body = share * hair + (1 - share) * _blurred_with_distance(edge, place.distance)
    return alpha[..., None] * body + (1 - alpha[..., None]) * wall, alpha


def _above_chin(place: Place, landmarks: np.ndarray) -> np.ndarray:
    """Return (S, S) float32, 0 to 1: how far above the chin the picture's nearest pixel lies."""
    down = landmarks[8] - landmarks[27]
    down = down / max(float(np.linalg.norm(down)), 1e-6)
    above: np.ndarray = np.clip(((landmarks[8] - place.nearest) @ down) / HAIR_BAND, 0, 1)
    return above


def _blurred_with_distance(edge: np.ndarray, distance: np.ndarray) -> np.ndarray:
    """Return the colours of the edge, blurred the more the farther away: stripes dissolve."""
    wanted = distance[..., None] * (CLOTHES_BLUR / SMALL)
    result, before = edge, 0.0
    for blur in BLURS:
        blurred = _blurred(edge, blur * SMALL, 2)
        share = np.clip((wanted - before) / (blur - before), 0, 1)
        result, before = result * (1 - share) + blurred * share, blur
    return result


def _sampled(picture: np.ndarray, where: np.ndarray) -> np.ndarray:
    """Return the picture's values at (S, S, 2) float32 places, its border repeated."""
    import cv2

    found: np.ndarray = cv2.remap(
        picture, where, None, cv2.INTER_LINEAR, borderMode=cv2.BORDER_REPLICATE
    )
    return found


def _part(
    image: np.ndarray, matrix: np.ndarray, landmarks: np.ndarray, scale: float
) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Return what the small frame sees of the picture at its scale, and matrix and landmarks."""
    import cv2

    ends = np.array([(0, 0), (SMALL, 0), (SMALL, SMALL), (0, SMALL)], np.float64)
    corners = (ends - matrix[:, 2]) @ np.linalg.inv(matrix[:, :2]).T
    limits = np.array([image.shape[1], image.shape[0]])
    low = np.clip(np.floor(corners.min(axis=0)), 0, limits - 2).astype(int)
    high = np.clip(np.ceil(corners.max(axis=0)), low + 2, limits).astype(int)
    cut = image[low[1] : high[1], low[0] : high[0]]
    size = np.maximum(np.round((high - low) * scale), 8).astype(int)
    way = cv2.INTER_AREA if scale < 1 else cv2.INTER_CUBIC
    part = cv2.resize(cut, (int(size[0]), int(size[1])), interpolation=way)
    ratio = size / (high - low)  # pixels of the part a pixel of the picture
    linear = matrix[:, :2] / ratio
    # middles of pixels: index i of the part lies at (i + 0.5) / ratio - 0.5 + low in the picture
    shift = matrix[:, 2] + matrix[:, :2] @ (0.5 / ratio - 0.5 + low)
    moved = ((landmarks - low + 0.5) * ratio - 0.5).astype(np.float32)
    return part, np.hstack([linear, shift[:, None]]), moved


def _signed_distance(mask: np.ndarray) -> np.ndarray:
    """Return (H, W) float32: how deep inside of the person a pixel lies; negative outside."""
    import cv2

    framed = np.pad(mask, 1, mode="edge")  # a picture's edge is no outline
    inner = cv2.distanceTransform(framed, cv2.DIST_L2, 5)
    outer = cv2.distanceTransform(1 - framed, cv2.DIST_L2, 5)
    return cv2.GaussianBlur(inner - outer, (0, 0), 1.5)[1:-1, 1:-1]


def _continued_outline(outline: np.ndarray, place: Place, landmarks: np.ndarray) -> np.ndarray:
    """Return the signed distance over the frame: outside of the picture it goes on as it changed
    towards the edge; above the chin it ends in an arc.
    """
    import cv2

    away = place.picture - place.nearest
    length = np.linalg.norm(away, axis=-1, keepdims=True)
    direction = away / np.maximum(length, 1e-6)
    at_edge = _sampled(outline, place.nearest)
    before = _sampled(outline, place.nearest - direction * OUTLINE_REACH)
    slope = np.clip((at_edge - before) / OUTLINE_REACH, -1, 1)
    distance = length[..., 0]
    # Shoulders and clothes go on straight. Hair does not: it ends in an arc, above all and beside.
    hair = _above_chin(place, landmarks)
    reach = float(at_edge[(hair > 0) & (distance > 0.5)].max(initial=0.0))
    if reach > 0:
        slope = slope + hair * (np.minimum(slope, 0) - slope)
        arc = distance**2 / (HAIR_ARC**2 * max(reach, 4.0))
        return cv2.GaussianBlur(at_edge + slope * distance - hair * arc, (0, 0), OUTLINE_SMOOTH)
    result: np.ndarray = at_edge + slope * distance
    return result


def _wall(pixels: np.ndarray, known: np.ndarray, mirrored: np.ndarray) -> np.ndarray | None:
    """Return (S, S, 3) float32: the wall as a slope of light, and what it differs from that. None
    where hardly any wall is known.

    mirrored: (S, S, 2) float32, the place in the frame that a place outside of the picture mirrors.
    """
    if known.mean() < 0.004:
        return None
    side = pixels.shape[0]
    y, x = (np.mgrid[:side, :side] / side - 0.5).astype(np.float32)
    terms = np.stack([np.ones_like(x), x, y, x * x, x * y, y * y], axis=-1)
    places, colours = terms[known], pixels[known]
    # curved terms are held back: they run away where there is nothing to hold them
    hold = np.diag([0, 1e-3, 1e-3, 0.3, 0.3, 0.3]) * len(places)
    keep = np.ones(len(places), bool)
    for _ in range(3):  # what stands before the wall is left out
        a, b = places[keep], colours[keep]
        factors = np.linalg.solve(a.T @ a + hold, a.T @ b)
        error = np.abs(colours - places @ factors).mean(axis=1)
        keep = error <= max(2.5 * float(np.median(error)), 2.0)
    # on a plain wall what differs is no wall: hair that the outline missed, a shadow
    error = np.abs(pixels - terms @ factors).mean(axis=-1)
    known = known & (error <= max(4 * float(np.median(error[known])), 6.0))
    low, high = np.percentile(colours[keep], (2, 98), axis=0)
    slope = np.clip(terms @ factors, low - 12, high + 12)
    rest = _spread(pixels - slope, known, (1.0, 4.0, 12.0))
    assert rest is not None
    return slope + _sampled(rest, mirrored.astype(np.float32))


def _spread(values: np.ndarray, known: np.ndarray, reaches: tuple[float, ...]) -> np.ndarray | None:
    """Return the values smoothed where they are known, and spread from there: near with the first
    reach, farther with the next. None where nothing is known.
    """
    import cv2

    if not known.any():
        return None
    weight = known.astype(np.float32)
    result: np.ndarray | None = None
    for reach in reversed(reaches):
        around = cv2.GaussianBlur(weight, (0, 0), reach)
        sums = cv2.GaussianBlur(values * weight[..., None], (0, 0), reach)
        found = sums / np.maximum(around, 1e-4)[..., None]
        sure = np.clip(around * 4, 0, 1)[..., None]
        result = found * np.clip(around / 1e-3, 0, 1)[..., None] if result is None else (
            sure * found + (1 - sure) * result
        )  # fmt: skip
    return result


def _enlarged(field: np.ndarray, side: int) -> np.ndarray:
    import cv2

    large: np.ndarray = cv2.resize(field, (side, side), interpolation=cv2.INTER_LINEAR)
    return large


def _blend(framed: np.ndarray, field: np.ndarray, place: Place, matrix: np.ndarray) -> np.ndarray:
    """Return (N, 3) float32 for the N pixels outside of the picture: the field, with the edge's own
    pixels where it begins, and the picture's grain.
    """
    import cv2

    side, outside = framed.shape[0], place.outside
    near = _in_frame(place.nearest, matrix)
    at_edge = cv2.remap(field, near, None, cv2.INTER_LINEAR, borderMode=cv2.BORDER_REPLICATE)
    excess = framed - at_edge
    middle = _blurred(excess, side * BLUR_BEGINS, 2)[outside]
    far = _blurred(excess, side * BLUR_ENDS / 3, 8)[outside]
    share = place.distance[outside][:, None] / side
    to_middle = np.clip(share / BLUR_BEGINS - 0.5, 0, 1)
    to_far = np.clip((share - BLUR_BEGINS) / (BLUR_ENDS - BLUR_BEGINS), 0, 1)
    kept = excess[outside] * (1 - to_middle) + middle * to_middle
    kept = (kept * (1 - to_far) + far * to_far) * np.exp(-share / FADE)
    grain = unit_noise(side)[outside] * grain_beside(framed, outside)
    return field[outside] + kept + grain * to_middle


def _blurred(picture: np.ndarray, sigma: float, reduction: int) -> np.ndarray:
    """Return the picture blurred by a Gaussian of `sigma` pixels, computed at a fraction of its
    size.
    """
    import cv2

    side = picture.shape[0]
    size = (side // reduction, side // reduction)
    small = cv2.resize(picture, size, interpolation=cv2.INTER_AREA)
    return _enlarged(cv2.GaussianBlur(small, (0, 0), sigma / reduction), side)


def _in_frame(places: np.ndarray, matrix: np.ndarray) -> np.ndarray:
    """Return where places of the picture lie in the frame, (S, S, 2) float32."""
    return (places @ matrix[:, :2].T + matrix[:, 2]).astype(np.float32)


def _indices(side: int) -> np.ndarray:
    y, x = np.mgrid[:side, :side].astype(np.float32)
    return np.stack([x, y], axis=-1)

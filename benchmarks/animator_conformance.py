"""The animators' own cropping functions beside ours, on the same boxes and landmarks.

    python benchmarks/animator_conformance.py FOLDER [--write tests/unit/faces/animator_cuts.json]

FOLDER holds checkouts of the animators' repositories by their names (LivePortrait, Sonic, ...); of
each, only the functions that cut and resize are taken out of their files and run: on a picture
whose pixels say where they are, so that what comes back shows what was cut. Prints for each
animator the largest distance between both, in pixels of the network's input; --write records what
theirs gave, with file, commit and date, for tests/unit/faces/test_animator_cuts.py. Needs
torchvision beside this project.
"""

from __future__ import annotations

import ast
import contextlib
import json
import math
import subprocess
import typing
from collections.abc import Callable
from pathlib import Path
from typing import Any

import cv2
import numpy as np
from _common import command_line
from PIL import Image

from avatar_pipeline.faces.animators import cuts
from avatar_pipeline.faces.animators.profiles import ANIMATORS

SIZES = ((512, 512), (640, 960), (1280, 720), (1000, 1500), (1536, 1536), (2400, 1800), (375, 500))
CASES = 21
LOW, HIGH = 8, 247  # grey levels at the ends of the ramps
Run = Callable[[Path, dict[str, Any]], np.ndarray]


def main() -> None:
    """Entry point."""
    parser = command_line(__doc__)
    parser.add_argument("folder", type=Path)
    parser.add_argument("--write", type=Path)
    asked = parser.parse_args()
    cases = [case(number) for number in range(CASES)]
    recorded: dict[str, Any] = {"cases": cases, "animators": {}}
    for name, (repository, theirs, ours) in ANIMATORS_RUN.items():
        folder = asked.folder / repository
        found = [fit(theirs(folder, one), one) for one in cases]
        worst = max(
            distance(ours(one), corners, size)
            for one, (corners, size) in zip(cases, found, strict=True)
        )
        print(f"{name}: {worst:.3f} px")
        profile = ANIMATORS[name]
        recorded["animators"][name] = {
            "file": profile.code,
            "commit": commit(folder),
            "date": profile.date,
            "cuts": [
                {"corners": np.round(corners, 3).tolist(), "size": list(size)}
                for corners, size in found
            ],
        }
    if asked.write:
        asked.write.write_text(json.dumps(recorded) + "\n", encoding="utf-8")


def case(number: int) -> dict[str, Any]:
    """A picture's size, and a face in it: box and 68 landmarks, some near an edge."""
    random = np.random.default_rng(number)
    width, height = SIZES[number % len(SIZES)]
    face = min(width, height) * random.uniform(0.15, 0.5)
    middle = np.array([width, height]) * random.uniform(0.3, 0.7, 2)
    angle = random.uniform(-0.3, 0.3)
    points = MEAN_FACE @ np.array(
        [(math.cos(angle), math.sin(angle)), (-math.sin(angle), math.cos(angle))]
    )
    landmarks = np.round(middle + points * face + random.normal(0, 0.01 * face, (68, 2)), 2)
    low, high = landmarks.min(axis=0), landmarks.max(axis=0)
    box = [round(float(v), 2) for v in (low[0], low[1] - 0.25 * (high[1] - low[1]), *high)]
    return {"width": width, "height": height, "box": box, "landmarks": landmarks.tolist()}


def _mean_face() -> np.ndarray:
    """(68, 2): jaw, brows, nose, eyes and mouth of a schematic face, one wide, about its middle."""
    jaw = [(-0.5 * math.cos(t), 0.62 * math.sin(t) - 0.1) for t in np.linspace(0, math.pi, 17)]
    brows = [(x, -0.28 - 0.05 * math.sin(k)) for k, x in enumerate(np.linspace(-0.4, -0.1, 5))]
    brows += [(x, -0.28 - 0.05 * math.sin(k)) for k, x in enumerate(np.linspace(0.1, 0.4, 5))]
    nose = [(0.0, y) for y in np.linspace(-0.15, 0.1, 4)]
    nose += [(x, 0.15) for x in np.linspace(-0.1, 0.1, 5)]

    def ring(x: float, y: float, a: float, b: float, count: int) -> list[tuple[float, float]]:
        turns = np.linspace(math.pi, -math.pi, count, endpoint=False)
        return [(x + a * math.cos(t), y - b * math.sin(t)) for t in turns]

    eyes = ring(-0.22, -0.15, 0.09, 0.04, 6) + ring(0.22, -0.15, 0.09, 0.04, 6)
    mouth = ring(0, 0.28, 0.17, 0.08, 12) + ring(0, 0.28, 0.12, 0.03, 8)
    return np.array(jaw + brows + nose + eyes + mouth)


MEAN_FACE = _mean_face()


def picture(one: dict[str, Any]) -> np.ndarray:
    """(H, W, 3) uint8: red grows across, green down, blue is full: what is no picture is black.

    Levels are rounded up or down by chance, so that on average they say the place exactly, and stay
    away from 0 and 255, where filters that overshoot would be cut off.
    """
    width, height = one["width"], one["height"]
    chance = np.random.default_rng(0).random((height, width, 2))
    pixels = np.full((height, width, 3), 255, np.uint8)
    across = LOW + (np.arange(width) + 0.5) * (HIGH - LOW) / width
    down = LOW + (np.arange(height) + 0.5) * (HIGH - LOW) / height
    pixels[..., 0] = np.floor(across + chance[..., 0])
    pixels[..., 1] = np.floor(down[:, None] + chance[..., 1])
    return pixels


def exact_picture(one: dict[str, Any]) -> np.ndarray:
    """(H, W, 3) float32, the same without rounding: for what OpenCV alone cuts, whose arithmetic of
    whole levels would move it by up to a pixel.
    """
    width, height = one["width"], one["height"]
    pixels = np.full((height, width, 3), 255, np.float32)
    pixels[..., 0] = LOW + (np.arange(width) + 0.5) * (HIGH - LOW) / width
    pixels[..., 1] = (LOW + (np.arange(height) + 0.5) * (HIGH - LOW) / height)[:, None]
    return pixels


def fit(out: np.ndarray, one: dict[str, Any]) -> tuple[np.ndarray, tuple[int, int]]:
    """Return where in the picture the corners of what came out lie, (4, 2), and its size."""
    height, width = out.shape[:2]
    inside = out[..., 2] > 250
    inside[:2], inside[-2:], inside[:, :2], inside[:, -2:] = (False,) * 4
    # neither the ends of the ramp, where filters repeat its last value, nor what is beside bars
    inside &= cv2.erode(inside.astype(np.uint8), np.ones((9, 9), np.uint8)).astype(bool)
    y, x = np.nonzero(inside)
    places = np.column_stack([x + 0.5, y + 0.5, np.ones(len(x))])
    share = (out[y, x, :2].astype(np.float64) - LOW) / (HIGH - LOW)
    seen = share * (one["width"], one["height"])
    solved, *_ = np.linalg.lstsq(places, seen, rcond=None)
    ends = np.array([(0, 0, 1), (width, 0, 1), (width, height, 1), (0, height, 1)], np.float64)
    return ends @ solved, (width, height)


def distance(ours: cuts.Cut, corners: np.ndarray, size: tuple[int, int]) -> float:
    """Return the largest distance of two corners, in pixels of the network's input."""
    assert (ours.width, ours.height) == size, (ours.width, ours.height, size)
    across, down = ours.scales()
    return float(np.linalg.norm((ours.corners - corners), axis=1).max() * max(across, down))


def commit(folder: Path) -> str:
    """The commit of a checkout; "not a checkout" where there is none."""
    said = subprocess.run(
        ["git", "-C", str(folder), "rev-parse", "HEAD"], capture_output=True, text=True, check=False
    )
    return said.stdout.strip() or "not a checkout"


def taken(file: Path, names: tuple[str, ...], **known: Any) -> dict[str, Any]:
    """Run these functions, classes and constants of a file, and nothing else of it."""
    tree = ast.parse(file.read_text(encoding="utf-8"))
    kept = [
        node
        for node in ast.walk(tree)
        if (isinstance(node, ast.FunctionDef | ast.ClassDef) and node.name in names)
        or (isinstance(node, ast.Assign) and getattr(node.targets[0], "id", "") in names)
    ]
    for node in kept:
        if isinstance(node, ast.FunctionDef):
            node.decorator_list = []
    scope = {"np": np, "cv2": cv2, "math": math, "Image": Image, "typing": typing} | known
    module = ast.Module(body=kept, type_ignores=[])
    exec(compile(module, str(file), "exec"), scope)
    return scope


def torchvision_transforms() -> Any:
    """torchvision.transforms. A build for another torch has no operators, of which the transforms
    need none, but it asks for this one when it is imported.
    """
    import torch

    for name in ("nms", "qnms"):
        with contextlib.suppress(RuntimeError):
            torch.library.define(f"torchvision::{name}", "(Tensor a, Tensor b, float c) -> Tensor")
    from torchvision import transforms

    return transforms


def landmarks_of(one: dict[str, Any]) -> np.ndarray:
    return np.array(one["landmarks"], np.float32)


def in_loaded(one: dict[str, Any], loaded: np.ndarray) -> np.ndarray:
    """The landmarks where a detector finds them in the picture as it was resized, not yet
    trimmed.
    """
    ratio = np.array(loaded.shape[1::-1]) / (one["width"], one["height"])
    return ((landmarks_of(one) + 0.5) * ratio - 0.5).astype(np.float32)


def liveportrait(folder: Path, one: dict[str, Any]) -> np.ndarray:
    io = taken(folder / "src/utils/io.py", ("resize_to_limit",))
    crop = taken(folder / "src/utils/crop.py", CROP, DTYPE=np.float32, **SINES)
    loaded = io["resize_to_limit"](exact_picture(one), max_dim=1280, division=2)
    points = in_loaded(one, io["resize_to_limit"](exact_picture(one), max_dim=1280, division=1))
    cut = crop["crop_image"](loaded, points, dsize=512, scale=2.3, vx_ratio=0, vy_ratio=-0.125)
    return np.asarray(cut["img_crop"])


def faster_liveportrait(folder: Path, one: dict[str, Any]) -> np.ndarray:
    io = taken(folder / "src/utils/utils.py", ("resize_to_limit",))
    crop = taken(folder / "src/utils/crop.py", CROP, DTYPE=np.float32, **SINES)
    loaded = io["resize_to_limit"](exact_picture(one), 1280, 2)
    points = in_loaded(one, io["resize_to_limit"](exact_picture(one), 1280, 1))
    cut = crop["crop_image"](loaded, points, dsize=512, scale=2.3, vx_ratio=0, vy_ratio=-0.125)
    return np.asarray(cut["img_crop"])


def ditto(folder: Path, one: dict[str, Any]) -> np.ndarray:
    loader = taken(folder / "core/atomic_components/loader.py", ("check_resize",))
    crop = taken(folder / "core/utils/crop.py", CROP, DTYPE=np.float32, **SINES)
    high, wide, reduced = loader["check_resize"](one["height"], one["width"], 1920)
    loaded = cv2.resize(exact_picture(one), (wide, high)) if reduced else exact_picture(one)
    cut = crop["crop_image"](
        loaded, in_loaded(one, loaded), dsize=512, scale=2.3, vx_ratio=0, vy_ratio=-0.125,
        flag_do_rot=True, pt_crop_flag=False,
    )  # fmt: skip
    return np.asarray(cut["img_crop"])


def hunyuan(folder: Path, one: dict[str, Any]) -> np.ndarray:
    code = taken(folder / "src/dataset/test_preprocess.py", ("process_bbox", "crop_resize_img"))
    box = code["process_bbox"](one["box"], 1.0, one["height"], one["width"])
    return np.asarray(code["crop_resize_img"](Image.fromarray(picture(one)), box, 512))


def sonic(folder: Path, one: dict[str, Any]) -> np.ndarray:
    code = taken(folder / "src/dataset/test_preprocess.py", ("process_bbox",))
    x0, y0, x1, y1 = code["process_bbox"](one["box"], 0.5, one["height"], one["width"])
    cut = picture(one)[y0:y1, x0:x1]
    # image_audio_to_tensor: the shorter side to 512, both to multiples of 64
    scale = 512 / min(cut.shape[:2])
    size = [round(side * scale / 64) * 64 for side in (cut.shape[1], cut.shape[0])]
    return np.asarray(Image.fromarray(cut).resize(size, Image.Resampling.LANCZOS))


def flash_head(folder: Path, one: dict[str, Any]) -> np.ndarray:
    code = taken(folder / "flash_head/utils/facecrop.py", ("get_scaled_bbox",))
    image = Image.fromarray(picture(one))
    cut = code["get_scaled_bbox"](one["box"], one["width"], one["height"], 2.0, image)
    return np.asarray(cut.resize((512, 512)))


def persona_live(folder: Path, one: dict[str, Any]) -> np.ndarray:
    transforms = torchvision_transforms()
    assert "transforms.Resize((height, width))" in (folder / "inference_offline.py").read_text()
    return np.asarray(transforms.Resize((512, 512))(Image.fromarray(picture(one))))


def fantasy(folder: Path, one: dict[str, Any]) -> np.ndarray:
    text = (folder / "infer.py").read_text()
    assert "scale = args.max_size / max(width, height)" in text
    scale = 720 / max(one["width"], one["height"])
    size = [int(one["width"] * scale), int(one["height"] * scale)]
    return np.asarray(Image.fromarray(picture(one)).resize(size, Image.Resampling.LANCZOS))


def echo_mimic(folder: Path, one: dict[str, Any]) -> np.ndarray:
    code = taken(folder / "infer_flash.py", ("get_sample_size",))
    image = Image.fromarray(picture(one))
    height, width = code["get_sample_size"](image, [768, 768])
    return np.asarray(image.resize([width, height], resample=Image.Resampling.LANCZOS))


def infinite_talk(folder: Path, one: dict[str, Any]) -> np.ndarray:
    import torch

    transforms = torchvision_transforms()
    code = taken(
        folder / "wan/multitalk.py", ("resize_and_centercrop",), torch=torch, transforms=transforms
    )
    known = taken(folder / "wan/utils/multitalk_utils.py", ("ASPECT_RATIO_627",))
    buckets = known["ASPECT_RATIO_627"]
    ratio = one["height"] / one["width"]
    nearest = sorted(buckets, key=lambda x: abs(float(x) - ratio))[0]
    cut = code["resize_and_centercrop"](Image.fromarray(picture(one)), buckets[nearest][0])
    return np.moveaxis(cut.numpy().reshape(3, *cut.shape[-2:]), 0, -1)


def longcat(folder: Path, one: dict[str, Any]) -> np.ndarray:
    from diffusers.video_processor import VideoProcessor

    code = taken(folder / "longcat_video/utils/bukcet_config.py", BUCKET_NAMES)
    buckets = code["get_bucket_config"]("480p", 16)
    ratio = one["height"] / one["width"]
    nearest = sorted(buckets, key=lambda x: abs(float(x) - ratio))[0]
    height, width = buckets[nearest][0]
    image = Image.fromarray(picture(one))
    cut = VideoProcessor(vae_scale_factor=8).preprocess(image, height, width, resize_mode="crop")
    return np.moveaxis(((cut[0].numpy() + 1) * 127.5).round().clip(0, 255), 0, -1)


def speech_to_video(folder: Path, one: dict[str, Any]) -> np.ndarray:
    transforms = torchvision_transforms()
    code = taken(folder / "wan/speech2video.py", ("get_size_less_than_area",))
    height, width = code["get_size_less_than_area"](
        None, one["height"], one["width"], target_area=1024 * 704
    )
    resize, crop = transforms.Resize(min(height, width)), transforms.CenterCrop((height, width))
    return np.asarray(crop(resize(Image.fromarray(picture(one)))))


def wan_animate(folder: Path, one: dict[str, Any]) -> np.ndarray:
    names = ("calculate_new_size", "resize_by_area", "padding_resize")
    code = taken(folder / "wan/modules/animate/preprocess/utils.py", names)
    return np.asarray(code["resize_by_area"](picture(one), 1280 * 720, divisor=16))


def muse_talk(folder: Path, one: dict[str, Any]) -> np.ndarray:
    text = (folder / "musetalk/utils/preprocessing.py").read_text()
    begin = text.index("half_face_coord =", text.index("def get_landmark_and_bbox"))
    end = text.index("x1, y1, x2, y2 = f_landmark", begin)
    block = "\n".join(line.strip() for line in text[begin:end].splitlines())
    block = block.replace("if upperbondrange != 0:\n", "if upperbondrange != 0:\n ")
    scope: dict[str, Any] = {
        "np": np, "face_land_mark": landmarks_of(one).astype(np.int32), "upperbondrange": 0,
        "average_range_minus": [], "average_range_plus": [],
    }  # fmt: skip
    exec(block, scope)
    x0, y0, x1, y1 = scope["f_landmark"]
    return cv2.resize(
        exact_picture(one)[y0:y1, x0:x1], (256, 256), interpolation=cv2.INTER_LANCZOS4
    )


def latent_sync(folder: Path, one: dict[str, Any]) -> np.ndarray:
    import torch

    code = taken(
        folder / "latentsync/utils/affine_transform.py",
        ("transformation_from_points", "AlignRestore"),
        torch=torch,
    )
    align = code["AlignRestore"](resolution=512, dtype=torch.float32)
    matrix, _ = align.transformation_from_points(brows_and_nose(one), align.face_template)
    # kornia's warp_affine maps the middles of pixels, as OpenCV's does
    face = cv2.warpAffine(exact_picture(one), matrix, align.face_size, flags=cv2.INTER_LINEAR)
    return cv2.resize(face, (512, 512), interpolation=cv2.INTER_LANCZOS4)


def brows_and_nose(one: dict[str, Any]) -> np.ndarray:
    from avatar_pipeline.faces.landmark_measurements import brows_and_nose as middles

    return np.round(middles(landmarks_of(one)))


CROP = (
    "crop_image", "parse_rect_from_landmark", "parse_pt2_from_pt_x", "parse_pt2_from_pt68",
    "parse_pt2_from_pt106", "parse_pt2_from_pt203", "_estimate_similar_transform_from_pts",
    "_transform_img", "_transform_pts", "CV2_INTERP",
)  # fmt: skip
SINES = {"sin": math.sin, "cos": math.cos, "acos": math.acos, "degrees": math.degrees}
BUCKET_NAMES = tuple(
    ["get_bucket_config"]
    + [f"ASPECT_RATIO_{a}{b}" for a in (627, 960) for b in ("", "_F64", "_F128", "_F256")]
)


def _sizes(one: dict[str, Any]) -> tuple[int, int]:
    return one["width"], one["height"]


def _box(one: dict[str, Any]) -> cuts.Box:
    x0, y0, x1, y1 = one["box"]
    return x0, y0, x1, y1


def _cut(name: str) -> Callable[[dict[str, Any]], cuts.Cut]:
    """Ours, of a profile that needs no face, or takes landmarks as they are."""

    class Found:
        def __init__(self, one: dict[str, Any]) -> None:
            self.landmarks = self.landmarks68 = landmarks_of(one)

    return lambda one: ANIMATORS[name].cut(*_sizes(one), Found(one))  # type: ignore[arg-type]


ANIMATORS_RUN: dict[str, tuple[str, Run, Callable[[dict[str, Any]], cuts.Cut]]] = {
    "liveportrait": ("LivePortrait", liveportrait, _cut("liveportrait")),
    "fasterliveportrait": (
        "FasterLivePortrait",
        faster_liveportrait,
        _cut("fasterliveportrait"),
    ),
    "ditto": ("ditto-talkinghead", ditto, _cut("ditto")),
    "hunyuanportrait": (
        "HunyuanPortrait",
        hunyuan,
        lambda one: cuts.rectangle(cuts.grown_box(_box(one), 1.0, *_sizes(one)), 512, 512),
    ),
    "sonic": (
        "Sonic",
        sonic,
        lambda one: cuts.rectangle(cuts.grown_box(_box(one), 0.5, *_sizes(one)), 512, 512),
    ),
    "flashhead": (
        "SoulX-FlashHead",
        flash_head,
        lambda one: cuts.rectangle(cuts.clipped_square(_box(one), 2.0, *_sizes(one)), 512, 512),
    ),
    "personalive": ("PersonaLive", persona_live, _cut("personalive")),
    "fantasyportrait": ("fantasy-portrait", fantasy, _cut("fantasyportrait")),
    "echomimic": ("echomimic_v3", echo_mimic, _cut("echomimic")),
    "infinitetalk": ("InfiniteTalk", infinite_talk, _cut("infinitetalk")),
    "multitalk": ("MultiTalk", infinite_talk, _cut("multitalk")),
    "longcat": ("LongCat-Video", longcat, _cut("longcat")),
    "wan-s2v": ("Wan2.2", speech_to_video, _cut("wan-s2v")),
    "wan-animate": ("Wan2.2", wan_animate, _cut("wan-animate")),
    "musetalk": ("MuseTalk", muse_talk, _cut("musetalk")),
    "latentsync": ("LatentSync", latent_sync, _cut("latentsync")),
}

if __name__ == "__main__":
    main()

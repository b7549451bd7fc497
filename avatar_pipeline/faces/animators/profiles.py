"""The animators as a table: how each finds the face, what it cuts, what it wants of the picture,
and where that was read.

"read": in the animator's code at that commit. A commit stands for the newest one that was read, not
for the first that does so.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Literal

import numpy as np

from avatar_pipeline.faces.analyzers.types import Face
from avatar_pipeline.faces.animators import cuts
from avatar_pipeline.faces.animators.boxes import detector_box, mediapipe_box
from avatar_pipeline.faces.animators.buckets import BUCKETS_480, LONGCAT_480
from avatar_pipeline.faces.animators.cuts import Cut
from avatar_pipeline.faces.landmark_measurements import brows_and_nose

Frame = Literal["face", "whole"]


@dataclass(frozen=True)
class Animator:
    """One animator, and what it does with a source picture.

    name: as it is given to --for. title: its own spelling. finds: the detector. cut: returns what
    its network is given of a picture of this width and height. cut_words, into: the same in words.
    frame: "face" where a square around the head is what it wants, "whole" where the picture's own
    frame is animated. wants: what its authors or users ask for. code, commit, date: where this was
    read. cuts_head: whether the cut itself is around the head; False where it takes the whole
    picture, whatever that shows. needs_face: whether it fails where it finds none. fills: whether
    it adds bars on purpose, so that what lies outside is no fault.
    """

    name: str
    title: str
    licence: str
    finds: str
    cut: Callable[[int, int, Face], Cut]
    cut_words: str
    into: str
    frame: Frame
    wants: str
    code: str
    commit: str
    date: str
    cuts_head: bool = True
    needs_face: bool = True
    fills: bool = False


def _grown(share: float, side: int) -> Callable[[int, int, Face], Cut]:
    def cut(width: int, height: int, face: Face) -> Cut:
        box = cuts.grown_box(detector_box(face.landmarks68), share, width, height)
        return cuts.rectangle(box, side, side)

    return cut


def _flash_head(width: int, height: int, face: Face) -> Cut:
    box = cuts.clipped_square(mediapipe_box(face.landmarks68), 2.0, width, height)
    return cuts.rectangle(box, 512, 512)


def _live_portrait(width: int, height: int, face: Face) -> Cut:
    return cuts.rotated_square(face.landmarks, cuts.reduced_to(width, height, 1280))


def _ditto(width: int, height: int, face: Face) -> Cut:
    return cuts.rotated_square(face.landmarks, cuts.reduced_to_even(width, height, 1920))


def _echo_mimic(width: int, height: int, face: Face) -> Cut:
    return cuts.whole(width, height, *cuts.within_area(width, height, 768 * 768, 16))


def _fantasy_portrait(width: int, height: int, face: Face) -> Cut:
    scale = 720 / max(width, height)
    return cuts.whole(width, height, int(width * scale), int(height * scale))


def _infinite_talk(width: int, height: int, face: Face) -> Cut:
    return cuts.covering(width, height, *cuts.bucketed(width, height, BUCKETS_480))


def _longcat(width: int, height: int, face: Face) -> Cut:
    return cuts.covering_by_halves(width, height, *cuts.bucketed(width, height, LONGCAT_480))


def _speech_to_video(width: int, height: int, face: Face) -> Cut:
    size = cuts.within_padded_area(width, height, 1024 * 704)
    return cuts.short_side_covering(width, height, *size)


def _muse_talk(width: int, height: int, face: Face) -> Cut:
    return cuts.rectangle(cuts.lower_face(face.landmarks68), 256, 256)


def _latent_sync(width: int, height: int, face: Face) -> Cut:
    return cuts.three_points(np.round(brows_and_nose(face.landmarks68)), 512)


_TABLE = (
    Animator(
        "liveportrait",
        "LivePortrait",
        "MIT; InsightFace's models: non-commercial",
        "InsightFace buffalo_l, largest box, 106 landmarks",
        _live_portrait,
        "square 2.3 x the landmarks' box, up 1/8, turned upright; black outside",
        "512, network 256; picture first to at most 1280",
        "face",
        "closed mouth, eyes open, facing the camera, head not small",
        "src/utils/cropper.py, crop.py; src/config/argument_config.py",
        "1986663be3b6",
        "2025-06-14",
    ),
    Animator(
        "fasterliveportrait",
        "FasterLivePortrait",
        "MIT; InsightFace's models: non-commercial",
        "InsightFace or MediaPipe",
        _live_portrait,
        "as LivePortrait",
        "512, network 256; picture first to at most 1280",
        "face",
        "as LivePortrait",
        "src/pipelines/faster_live_portrait_pipeline.py; configs/*.yaml",
        "8aad36021775",
        "2025-06-29",
    ),
    Animator(
        "ditto",
        "Ditto",
        "Apache-2.0",
        "InsightFace, then 106 and 203 landmarks",
        _ditto,
        "as LivePortrait, by 203 landmarks",
        "512, network 256; picture first to at most 1920",
        "face",
        "as LivePortrait",
        "core/atomic_components/source2info.py, loader.py",
        "e9191cf6cf8c",
        "2025-07-11",
    ),
    Animator(
        "hunyuanportrait",
        "HunyuanPortrait",
        "Tencent Hunyuan",
        "YOLOv5-face, largest box",
        _grown(1.0, 512),
        "box and its own size on each side, clipped, then a square of the shorter side",
        "512",
        "face",
        "room of a face's size on every side",
        "src/dataset/test_preprocess.py",
        "48bae74f79b1",
        "2025-12-08",
    ),
    Animator(
        "sonic",
        "Sonic",
        "CC BY-NC-SA 4.0",
        "YOLOv5-face, largest box",
        _grown(0.5, 512),
        "with --crop: box and half its size on each side, clipped, then a square",
        "shorter side 512, sides multiples of 64",
        "face",
        "room of half a face on every side",
        "sonic.py, demo.py; src/dataset/test_preprocess.py",
        "51a74aec29e1",
        "2025-06-27",
    ),
    Animator(
        "flashhead",
        "SoulX-FlashHead",
        "Apache-2.0",
        "MediaPipe face detection, the first",
        _flash_head,
        "with use_face_crop: square of two face widths, 55 % above the middle; clipped, then "
        "stretched to a square",
        "512",
        "face",
        "room of half a face's width beside it: what is missing distorts the face",
        "flash_head/utils/facecrop.py",
        "12467cef31a9",
        "2026-04-15",
    ),
    Animator(
        "personalive",
        "PersonaLive",
        "Apache-2.0",
        "MediaPipe face mesh",
        lambda width, height, face: cuts.whole(width, height, 512, 512),
        "whole picture, stretched to a square; face patch of 1.1 x the mesh",
        "512",
        "face",
        "a square picture: any other is distorted",
        "inference_offline.py; src/utils/util.py",
        "32f401d20538",
        "2025-12-31",
        cuts_head=False,
    ),
    Animator(
        "fantasyportrait",
        "FantasyPortrait",
        "Apache-2.0",
        "none in the source picture",
        _fantasy_portrait,
        "whole picture",
        "longer side 720",
        "whole",
        "the frame that the video shall have",
        "infer.py",
        "4df229cab407",
        "2025-08-20",
        needs_face=False,
    ),
    Animator(
        "echomimic",
        "EchoMimic V3",
        "Apache-2.0",
        "RetinaFace, for a mask",
        _echo_mimic,
        "whole picture",
        "at most 768 x 768 in area, sides multiples of 16; never enlarged",
        "whole",
        "at least 768 x 768 in area",
        "app.py, infer_flash.py",
        "7e89489ca51c",
        "2026-03-18",
    ),
    Animator(
        "infinitetalk",
        "InfiniteTalk",
        "Apache-2.0",
        "none",
        _infinite_talk,
        "the middle of the picture, in the nearest of 15 shapes",
        "480P: such as 640 x 640, 576 x 704",
        "whole",
        "nothing important at the edges",
        "wan/multitalk.py; wan/utils/multitalk_utils.py",
        "0107cd96421b",
        "2025-08-25",
        needs_face=False,
    ),
    Animator(
        "multitalk",
        "MultiTalk",
        "Apache-2.0",
        "none",
        _infinite_talk,
        "as InfiniteTalk",
        "480P: such as 640 x 640, 576 x 704",
        "whole",
        "nothing important at the edges",
        "wan/multitalk.py",
        "c1ad84009b99",
        "2026-05-22",
        needs_face=False,
    ),
    Animator(
        "longcat",
        "LongCat-Video-Avatar",
        "MIT",
        "none",
        _longcat,
        "the middle of the picture, in the nearest of 26 shapes",
        "480P: such as 640 x 608, 608 x 640",
        "whole",
        "nothing important at the edges",
        "longcat_video/pipeline_longcat_video_avatar.py; utils/bukcet_config.py",
        "6b3f4b8582a8",
        "2026-05-27",
        needs_face=False,
    ),
    Animator(
        "wan-s2v",
        "Wan2.2-S2V",
        "Apache-2.0",
        "none",
        _speech_to_video,
        "the middle of the picture, sides multiples of 64",
        "at most 1024 x 704 in area",
        "whole",
        "the frame that the video shall have",
        "wan/speech2video.py",
        "42bf4cfaa384",
        "2026-03-17",
        needs_face=False,
    ),
    Animator(
        "wan-animate",
        "Wan2.2-Animate",
        "Apache-2.0",
        "YOLOv10 and ViTPose",
        lambda width, height, face: cuts.padded(width, height, 1280 * 720, 16),
        "whole picture, black bars to sides of multiples of 16",
        "1280 x 720 in area",
        "whole",
        "for retargeting: frontal, half or full body, limbs stretched and in the picture",
        "wan/modules/animate/preprocess/utils.py, UserGuider.md",
        "42bf4cfaa384",
        "2026-03-17",
        fills=True,
    ),
    Animator(
        "musetalk",
        "MuseTalk 1.5",
        "MIT",
        "S3FD, DWPose landmarks",
        _muse_talk,
        "lower face: as far above the nose's middle as the chin is below; stretched to a square",
        "256; the rest of the picture stays",
        "whole",
        "a face not much larger than 256 pixels, or its lower half gets soft",
        "musetalk/utils/preprocessing.py",
        "0a89dec45a01",
        "2025-09-26",
    ),
    Animator(
        "latentsync",
        "LatentSync 1.6",
        "Apache-2.0",
        "InsightFace 106",
        _latent_sync,
        "brows and nose to fixed places, stretched to a square",
        "512; the rest of the picture stays",
        "whole",
        "a frontal face",
        "latentsync/utils/affine_transform.py, image_processor.py",
        "a229c3948406",
        "2025-06-20",
    ),
)

ANIMATORS: dict[str, Animator] = {animator.name: animator for animator in _TABLE}

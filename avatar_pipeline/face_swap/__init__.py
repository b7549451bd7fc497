"""Face swap: one person's face in another person's picture, by landmarks, or by InsightFace's
inswapper when it is on disk.
"""

from avatar_pipeline.face_swap.base import Painter, Swapper
from avatar_pipeline.face_swap.inswapper import InSwapper, get_swapper, inswapper_file
from avatar_pipeline.face_swap.landmarks import LandmarkSwapper
from avatar_pipeline.face_swap.swap import SwapResult, find_one, swap_face

__all__ = [
    "InSwapper",
    "LandmarkSwapper",
    "Painter",
    "SwapResult",
    "Swapper",
    "find_one",
    "get_swapper",
    "inswapper_file",
    "swap_face",
]

"""dlib's frontal face detector, loaded from a file of dlib's own format: as dlib ships it, or with
another cell size or fewer scales.

dlib itself unpacks the same filters for half a second in each process, and offers no call for cells
or scales. Both make the search for small faces cheaper: cells of 4 px see faces of 40 px without
magnifying the picture, and a limit to the scales leaves out those that were searched already.
"""

from __future__ import annotations

import tempfile
from pathlib import Path
from typing import Any

FILTERS = Path(__file__).with_name("frontal_faces.svm")
WINDOW_CELLS = 10  # a face is 10 x 10 cells
CELL = 8  # pixels, as dlib trained it
SCALES = 1000  # dlib's limit: all of them


def frontal(*, cell: int = CELL, scales: int = SCALES) -> Any:
    """Return dlib's frontal face detector (dlib.fhog_object_detector) with `cell` pixels a cell,
    searching at most `scales` sizes of the picture, each 5/6 of the one before.

    The smallest face it sees has 10 cells a side. Loading takes milliseconds.
    """
    import dlib

    filters = FILTERS.read_bytes().removeprefix(_head(CELL, SCALES))
    with tempfile.TemporaryDirectory() as place:
        file = Path(place) / FILTERS.name
        file.write_bytes(_head(cell, scales) + filters)
        return dlib.fhog_object_detector(str(file))


def _head(cell: int, scales: int) -> bytes:
    """Return how a stored detector begins: version 2 of the detector, version 1 of the scanner, an
    empty feature map, cell size, padding, the window's width and height, most scales, and the least
    width and height of a scale (dlib/image_processing/scan_fhog_pyramid.h).
    """
    window, least = WINDOW_CELLS * cell, 8 * cell
    return b"".join(map(_integer, (2, 1, 0, 0, cell, 0, window, window, scales, least, least)))


def _integer(value: int) -> bytes:
    """Return a number of 0 or more as dlib stores it: how many bytes, then these, the least
    significant first.
    """
    size = max(1, (value.bit_length() + 7) // 8)
    return bytes([size]) + value.to_bytes(size, "little")

"""The film in a video file: which of its streams that is, and its frames as pictures.

What a file may say of them is heeded, since players do: cover pictures are no film, interlaced
fields are put together, pixels that are not square are made so, and pictures are turned and
mirrored as the display matrix says.
"""

from __future__ import annotations

import struct
from collections.abc import Iterator
from fractions import Fraction
from typing import Any

import numpy as np

from avatar_pipeline.core.errors import PhotoError
from avatar_pipeline.face_swap import video_colours

CODECS = (
    "h264",
    "hevc",
    "vp8",
    "vp9",
    "av1",
    "libdav1d",
    "mpeg4",
    "mjpeg",
    "prores",
    "libvpx",
    "libvpx-vp9",
)
# FFmpeg's dispositions of streams of pictures that are no film: covers, thumbnails, still images
DEFAULT, ATTACHED, THUMBNAILS, STILL = 0x1, 0x400, 0x800, 0x100000
# FFmpeg's own decoders of VP8 and VP9 leave the alpha of WebM away
WITH_ALPHA = {"vp8": "libvpx", "vp9": "libvpx-vp9"}
DOLBY_VISION = ("dvh1", "dvhe", "dav1")  # tags of streams whose colours only its own players know
MOST_STRETCHED = 4  # width to height of a pixel; beyond, a file's claim is not believed
OBLIQUE = 0.02  # sine of an angle from which a matrix is none of a quarter turn


def find_film(streams: Any) -> tuple[Any, list[str]]:
    """Return the stream of PyAV's `streams` that is the film, and in words what was passed over.

    Of several it is the one that the file marks as the one to play, or the first. Raises PhotoError
    when there is none, or when its codec or colours are not read.
    """
    films = [s for s in streams.video if not int(s.disposition) & (ATTACHED | THUMBNAILS | STILL)]
    if not films:
        covers = " and a cover picture" if streams.video else ""
        raise unusable(f"has no picture, only sound{covers}. Give a video.")
    film = max(films, key=lambda stream: (int(stream.disposition) & DEFAULT, -stream.index))
    codec = film.codec_context.name
    if codec not in CODECS:
        raise unusable(f"is encoded as {codec}, which is not read. Export it as MP4 with H.264.")
    if _text(film.codec_context.codec_tag).lower() in DOLBY_VISION:
        raise unusable(
            "is Dolby Vision without ordinary colours below it, which is not read. Export it as an "
            "ordinary MP4 (SDR, BT.709)."
        )
    notes = []
    if len(films) > 1:
        notes.append(
            f"It has {len(films)} films: number {films.index(film) + 1} was taken, "
            f"{film.width}x{film.height}, which a player shows."
        )
    return film, notes


class Film:
    """Decodes a stream. notes: what became of the pictures, in words, each once."""

    def __init__(self, stream: Any, pixels: int) -> None:
        """pixels: that a picture has at most."""
        self.notes: list[str] = []
        self._stream, self._pixels = stream, pixels
        self._fields: _Fields | None = None
        stream.thread_type = "AUTO"
        self._decoder: Any = None
        name = stream.codec_context.name
        if name in WITH_ALPHA and stream.metadata.get("alpha_mode") == "1":
            import av

            self._decoder = av.CodecContext.create(WITH_ALPHA[name], "r")
        shape = stream.sample_aspect_ratio or Fraction(1)
        believed = Fraction(1, MOST_STRETCHED) <= shape <= MOST_STRETCHED
        self._shape = shape if believed else Fraction(1)

    def frames(self, packet: Any) -> Iterator[Any]:
        """Yield the decoded frames of a packet, whole ones; of the last packet also what is held
        back.
        """
        decoded = packet.decode() if self._decoder is None else self._decoder.decode(packet)
        for frame in decoded:
            if self._fields is None and frame.interlaced_frame:
                self._fields = _Fields(frame)
                self._note("It is interlaced: each frame's two fields were put together.")
            yield from (frame,) if self._fields is None else self._fields.put(frame)
        if self._fields is not None and packet.size == 0:
            yield from self._fields.rest()

    def picture(self, frame: Any) -> np.ndarray:
        """Return a frame as it is to be shown: (height, width, 3) uint8 RGB of BT.709, upright,
        of square pixels. Raises PhotoError when it has too many.
        """
        width, height = frame.width, frame.height
        if self._shape > 1:
            width = round(width * self._shape)
        elif self._shape < 1:
            height = round(height / self._shape)
        if width * height > self._pixels:
            raise too_large(width, height, self._pixels)
        if (width, height) != (frame.width, frame.height):
            self._note(
                f"Its pixels are not square: the {frame.width}x{frame.height} of its frames are "
                f"written as {width}x{height} square ones."
            )
        image, notes = video_colours.rgb(frame, (width, height))
        for note in notes:
            self._note(note)
        return self._turned(image, frame)

    def _turned(self, image: np.ndarray, frame: Any) -> np.ndarray:
        """Return a picture turned and mirrored as the frame's display matrix says."""
        matrix = frame.side_data.get("DISPLAYMATRIX")
        if matrix is None:
            return image
        a, b, _, c, d = struct.unpack("=9i", bytes(matrix)[:36])[:5]
        straight, across = abs(a) + abs(d), abs(b) + abs(c)
        if min(straight, across) > OBLIQUE * max(straight, across):
            self._note("It is to be shown turned obliquely: it was turned by quarters only.")
        if across > straight:
            image, x, y = image.swapaxes(0, 1), c, b
        else:
            x, y = a, d
        image = image[:, ::-1] if x < 0 else image
        return np.ascontiguousarray(image[::-1] if y < 0 else image)

    def _note(self, words: str) -> None:
        if words not in self.notes:
            self.notes.append(words)


class _Fields:
    """Puts the two fields of interlaced frames together (bwdif, a frame for each frame)."""

    def __init__(self, frame: Any) -> None:
        import av

        self._like = (frame.width, frame.height, frame.format.name)
        self._time_base: Fraction = frame.time_base
        self._graph = av.filter.Graph()
        nodes = (
            self._graph.add_buffer(
                width=frame.width,
                height=frame.height,
                format=frame.format,
                time_base=frame.time_base,
            ),
            self._graph.add("bwdif", "mode=send_frame:deint=interlaced"),
            self._graph.add("buffersink"),
        )
        self._graph.link_nodes(*nodes).configure()

    def put(self, frame: Any) -> Iterator[Any]:
        """Yield what is ready after one more frame. One of another size goes as it is."""
        if (frame.width, frame.height, frame.format.name) != self._like:
            yield frame
            return
        self._graph.push(frame)
        yield from self._ready()

    def rest(self) -> Iterator[Any]:
        """Yield what was held back."""
        self._graph.push(None)
        yield from self._ready()

    def _ready(self) -> Iterator[Any]:
        import av

        while True:
            try:
                frame = self._graph.pull()
            except (av.BlockingIOError, av.EOFError):
                return
            if frame.pts is not None:  # the filter counts in halves
                frame.pts = round(frame.pts * frame.time_base / self._time_base)
                frame.time_base = self._time_base
            yield frame


def _text(tag: Any) -> str:
    return tag.decode("latin-1") if isinstance(tag, bytes) else str(tag)


def unusable(words: str) -> PhotoError:
    """Return what a video is refused with: "target_video " and `words`."""
    return PhotoError(f"target_video {words}", code="invalid_video", field="target_video")


def too_large(width: int, height: int, pixels: int) -> PhotoError:
    """Return what a video of too large pictures is refused with."""
    return unusable(
        f"is too large: {width}x{height} pixels, at most {pixels / 1e6:.1f} megapixels "
        "(1920x1080). Scale it down."
    )

"""Face swap in a video, frame by frame.

The threat: a video comes from anywhere. A small file may claim hours, change its size midway, be
cut off, be a playlist that makes the reader open other files or addresses, or use one of hundreds
of rarely tested formats.
The mechanism: the bytes are read through memory or one ordinary file opened here, by one of two
demuxers (MP4/MOV, Matroska/WebM) chosen by the file's first bytes and never by guessing, so that no
playlist is followed; only the CODECS of video_film.py are decoded; what the file claims (size,
length) is checked before the first frame and what it turns out to be at every frame; the result
appears whole or not at all.
Its limits: demuxers and decoders are native code (FFmpeg through PyAV); a flaw in those is not
caught here. Time is bounded by frames and pixels only.
"""

from __future__ import annotations

import io
import secrets
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from avatar_pipeline.core.errors import Cancelled, PhotoError
from avatar_pipeline.face_swap.base import Swapper
from avatar_pipeline.face_swap.landmarks import LandmarkSwapper
from avatar_pipeline.face_swap.swap import MAX_ANGLE, MIN_INTER_EYE, find_one
from avatar_pipeline.face_swap.tracking import FaceTracker
from avatar_pipeline.face_swap.video_file import VideoWriter
from avatar_pipeline.face_swap.video_film import Film, find_film, too_large, unusable
from avatar_pipeline.faces.analyzers.types import Face, FaceAnalyzer
from avatar_pipeline.faces.landmark_measurements import inter_eye_distance

if TYPE_CHECKING:
    from av.container import InputContainer

IDENTITY_EVERY_FRAMES = (
    # swapped frames between two whose identity is measured: looking again takes as long as looking
    # the first time
    10
)


@dataclass(frozen=True)
class VideoLimits:
    """What a video may be at most: seconds, frames, pixels of a frame, bytes of the file."""

    seconds: float = 30.0
    frames: int = 1800
    pixels: int = 1920 * 1088
    bytes: int = 128 * 1024 * 1024


@dataclass(frozen=True)
class VideoResult:
    """What was done. frames: written. swapped: of these. without_face: frames in which none was
    found, as they were.

    left: frames with a face that is too small, or turned too far from the source's, as they were.
    width, height: of the written picture, upright. seconds: from the first to the last frame.
    sound: "copied", "encoded as AAC", "none" or "left away: ...". to_source,
    to_target: median distances of the swapped faces to the source's and to the frame's own, over
    every tenth swapped frame, None without any. warnings: in words.
    """

    frames: int
    swapped: int
    without_face: int
    left: int
    width: int
    height: int
    seconds: float
    sound: str
    method: str
    to_source: float | None
    to_target: float | None
    warnings: list[str]


@dataclass(frozen=True)
class VideoHooks:
    """progress: gets the frames done and how many there are, None when the file does not say.
    should_cancel: asked before each frame.
    """

    progress: Callable[[int, int | None], None] | None = None
    should_cancel: Callable[[], bool] | None = None


def swap_video(
    source: np.ndarray,
    video: bytes | Path,
    analyzer: FaceAnalyzer,
    swapper: Swapper | None,
    output: Path,
    hooks: VideoHooks | None = None,
    limits: VideoLimits | None = None,
) -> VideoResult:
    """Write `video` (MP4, MOV or WebM) to `output`, an H.264 MP4, with the largest face of `source`
    (RGB uint8) in place of its main face.

    Times, upright size and sound are kept; a picture that the
    file says to show rotated is written upright, an odd size gets one row or column more. Raises
    PhotoError (`source_face: ...`, `target_video: ...`), Cancelled, or OSError of the disk; then
    there is no output.
    """
    limits, hooks = limits or VideoLimits(), hooks or VideoHooks()
    swapper = swapper or LandmarkSwapper()
    face, notes = find_one(source, analyzer, "source_face")
    state = _State(analyzer, face, swapper.bind(source, face), notes)
    temporary = output.parent / f".{output.name}.{secrets.token_hex(4)}.tmp"
    try:
        with _opened(video, limits) as container:
            should_cancel = hooks.should_cancel or (lambda: False)
            result = _convert(
                container, temporary, state, limits, swapper.name, hooks.progress, should_cancel
            )
        temporary.replace(output)
    finally:
        temporary.unlink(missing_ok=True)
    return result


class _State:
    """What is carried from frame to frame."""

    def __init__(
        self,
        analyzer: FaceAnalyzer,
        source: Face,
        paint: Callable[..., np.ndarray],
        notes: list[str],
    ) -> None:
        self.analyzer, self.source, self.paint, self.notes = analyzer, source, paint, notes
        self.tracker = FaceTracker()
        self.swapped = self.without = self.left = 0
        self.to_source: list[float] = []
        self.to_target: list[float] = []

    def frame(self, image: np.ndarray, time: float) -> np.ndarray:
        """Return the frame, swapped where that can be done."""
        faces = self.analyzer.analyze(image)
        face = self.tracker.choose(faces)
        if face is None:
            self.without += 1
            return image
        landmarks = self.tracker.smooth(face.landmarks68, time)
        apart = max(
            abs(face.pose.yaw - self.source.pose.yaw), abs(face.pose.pitch - self.source.pose.pitch)
        )
        if inter_eye_distance(landmarks) < MIN_INTER_EYE or apart > MAX_ANGLE:
            self.left += 1
            return image
        painted = self.paint(image, landmarks)
        if self.swapped % IDENTITY_EVERY_FRAMES == 0:
            found = self.analyzer.analyze(painted)
            if found:
                near = min(
                    found,
                    key=lambda one: float(
                        np.linalg.norm(one.landmarks68 - landmarks, axis=1).mean()
                    ),
                )
                self.to_source.append(self.analyzer.distance(near.embedding, self.source.embedding))
                self.to_target.append(self.analyzer.distance(near.embedding, face.embedding))
        self.swapped += 1
        return painted


def _opened(video: bytes | Path, limits: VideoLimits) -> InputContainer:
    """Return the container, by its first bytes."""
    import av

    if isinstance(video, Path):
        if not video.is_file():
            raise unusable("is not there, or is no ordinary file. Give a video.")
        if video.stat().st_size > limits.bytes:
            raise _too_long(limits)
        file: Any = video.open("rb")
    else:
        if len(video) > limits.bytes:
            raise _too_long(limits)
        file = io.BytesIO(video)
    head = file.read(12)
    if not head:
        raise unusable("is no video that can be read: it is empty. Give a video.")
    file.seek(0)
    if head[4:8] in (b"ftyp", b"moov", b"wide", b"mdat"):
        kind = "mov"
    elif head[:4] == b"\x1a\x45\xdf\xa3":
        kind = "matroska"
    else:
        raise unusable(
            "is no video that can be read: it is neither MP4, MOV nor WebM. Export it as MP4."
        )
    try:
        return av.open(file, "r", format=kind, io_open=_no_other_file)
    except av.FFmpegError as error:
        raise _damaged(error, 0) from None


def _no_other_file(*_: Any) -> Any:
    raise unusable("refers to other files. Export it as one MP4 file.")


def _convert(
    source: InputContainer,
    path: Path,
    state: _State,
    limits: VideoLimits,
    method: str,
    progress: Callable[[int, int | None], None] | None,
    cancelled: Callable[[], bool],
) -> VideoResult:
    import av

    stream, passed = find_film(source.streams)
    _check_claims(source, stream, limits)
    film = Film(stream, limits.pixels)
    sound = source.streams.audio[0] if source.streams.audio else None
    count, first, last = 0, 0.0, 0.0
    writer: VideoWriter | None = None
    # sound that comes before the first picture: the header names the picture's size
    waiting: list[Any] = []
    try:
        with av.open(str(path), "w", format="mp4", options={"movflags": "+faststart"}) as target:
            for packet in source.demux([stream] if sound is None else [stream, sound]):
                if packet.stream is sound:
                    waiting.append(packet)
                else:
                    for frame in film.frames(packet):
                        if cancelled():
                            raise Cancelled(
                                f"cancelled after frame {count} of the video. Nothing was stored; "
                                "run it again when you want it."
                            )
                        time = float(frame.time) if frame.time is not None else last
                        image = film.picture(frame)
                        if writer is None:
                            first = time
                            writer = VideoWriter(target, stream, sound, image.shape)
                        _check(frame, image, count + 1, time - first, writer, limits)
                        writer.picture(state.frame(image, time), frame.pts)
                        count, last = count + 1, time
                        if progress is not None:
                            progress(count, stream.frames or None)
                if writer is not None:
                    for early in waiting:
                        writer.sound(early, first + limits.seconds)
                    waiting.clear()
            if writer is None:
                raise unusable("has no picture that can be decoded. Export it again as MP4.")
            writer.finish()
    except av.FFmpegError as error:
        raise _damaged(error, count) from None
    changes = [*passed, *film.notes, *writer.notes]
    notes = [*state.notes, *(f"target_video: {words[:1].lower()}{words[1:]}" for words in changes)]
    if not state.swapped:
        notes.append(
            "No frame was swapped: no face was found that is large enough and turned "
            "like the source's."
        )
    height, width = image.shape[:2]
    return VideoResult(
        frames=count,
        swapped=state.swapped,
        without_face=state.without,
        left=state.left,
        width=width,
        height=height,
        seconds=last - first,
        sound=writer.how,
        method=method,
        to_source=float(np.median(state.to_source)) if state.to_source else None,
        to_target=float(np.median(state.to_target)) if state.to_target else None,
        warnings=notes,
    )


def _check_claims(source: InputContainer, stream: Any, limits: VideoLimits) -> None:
    """Check the limits on what the file claims."""
    if stream.width * stream.height > limits.pixels:
        raise too_large(stream.width, stream.height, limits.pixels)
    claimed = source.duration / 1_000_000 if source.duration else 0.0  # av.time_base: microseconds
    if claimed > limits.seconds + 0.5 or stream.frames > limits.frames:
        raise unusable(
            f"is too long: {claimed:.1f} seconds, {stream.frames} frames; {_at_most(limits)}"
        )


def _check(
    frame: Any, image: np.ndarray, count: int, time: float, writer: VideoWriter, limits: VideoLimits
) -> None:
    """Check the limits on what the video turns out to be, which need not be what it claims."""
    if frame.width * frame.height > limits.pixels:
        raise too_large(frame.width, frame.height, limits.pixels)
    if image.shape != writer.shape:
        raise unusable(
            f"changes its picture's size at frame {count}. Export it again as MP4, with one size."
        )
    if count > limits.frames or time > limits.seconds + 0.5:
        raise unusable(f"is too long; {_at_most(limits)}")


def _at_most(limits: VideoLimits) -> str:
    return f"at most {limits.seconds:g} seconds and {limits.frames} frames. Cut it."


def _too_long(limits: VideoLimits) -> PhotoError:
    return unusable(
        f"is too long: more than {limits.bytes // 2**20} MiB. Cut it, or export it smaller."
    )


def _damaged(error: Exception, count: int) -> PhotoError:
    where = f"after frame {count}" if count else "from its start"
    # FFmpeg's message names the file it was given, which is ours: only its reason is passed on.
    reason = getattr(error, "strerror", None) or type(error).__name__
    return unusable(f"is damaged or cut off {where} ({reason}). Copy it again from its source.")

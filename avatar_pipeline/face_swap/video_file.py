"""An MP4 that browsers play: H.264 with the frames' own times, and the sound of the original."""

from __future__ import annotations

import math
from fractions import Fraction
from typing import Any

import numpy as np

# sound that MP4 holds and browsers play as it is; other sound is encoded as AAC
COPIED = ("aac", "mp3", "opus")
# and every pcm_*; sound of other kinds is left away
DECODED = ("vorbis", "flac", "alac", "ac3", "eac3", "mp2")
QUALITY = "18"  # x264's constant rate factor: differences to the frames are hardly seen
JITTER = Fraction(2, 1000)  # seconds by which times of a constant frame rate are rounded
MILLISECOND = Fraction(1, 1000)  # the time base of Matroska and WebM
MOST_FRAMES_A_SECOND = 1_000_000  # numerator of a rate; its times fit MP4's ticks of 32 bits
BT709, LIMITED = 1, 1


class FrameTimes:
    """When each frame is shown, in a time base that holds the film's own times exactly.

    Matroska and WebM round times to milliseconds: where they name a frame rate and a time is its
    nearest millisecond, the exact one is written. time_base: seconds.
    """

    def __init__(self, stream: Any) -> None:
        self.rate: Fraction = stream.average_rate or stream.guessed_rate or Fraction(25)
        self._given: Fraction = stream.time_base
        self.time_base = self._given
        self._first: int | None = None
        self._last: int | None = None
        self._steps: list[Fraction] = []
        # the rate whose times were rounded; None where none was
        self._nominal: Fraction | None = None
        rate = stream.guessed_rate
        if self._given == MILLISECOND and rate and rate.numerator <= MOST_FRAMES_A_SECOND:
            self.time_base = Fraction(1, math.lcm(1000, rate.numerator))
            self._nominal = rate

    def next(self, pts: int | None) -> int:
        """Return the time of the next frame, in `time_base`. pts: the file's own, in its own."""
        if pts is not None and self._first is None:
            self._first = pts
        time = self._exact(pts) if pts is not None else None
        if self._last is not None and (time is None or time <= self._last):
            time = self._last + 1  # a file may have two frames at a time; an encoder takes none
        found = time or 0
        if self._last is not None:
            self._steps.append((found - self._last) * self.time_base)
        self._last = found
        return found

    def _exact(self, pts: int) -> int:
        assert self._first is not None
        ticks = pts * self._given / self.time_base
        if self._nominal is None:
            return int(ticks)
        passed = (pts - self._first) * self._given
        on_grid = round(passed * self._nominal) / self._nominal
        if abs(on_grid - passed) <= self._given:
            return int((self._first * self._given + on_grid) / self.time_base)
        return int(ticks)

    @property
    def note(self) -> str | None:
        """Return in words that the frame rate varies; None when it does not."""
        if not self._steps or max(self._steps) - min(self._steps) <= min(2 * self._given, JITTER):
            return None
        return (
            f"Its frame rate varies: {float(min(self._steps)):.3f} to "
            f"{float(max(self._steps)):.3f} seconds from frame to frame. Each frame keeps its time."
        )


class VideoWriter:
    """Writes into an open container of PyAV. shape: of its pictures. how: what became of the
    sound.
    """

    def __init__(self, target: Any, stream: Any, sound: Any, shape: tuple[int, ...]) -> None:
        self.shape = shape
        self._target = target
        self._times = FrameTimes(stream)
        height, width = shape[:2]
        self._video = target.add_stream(
            "libx264", rate=self._times.rate, options={"crf": QUALITY, "preset": "veryfast"}
        )
        # H.264's colours have half the size
        self._video.width, self._video.height = width + width % 2, height + height % 2
        self._video.pix_fmt = "yuv420p"
        context = self._video.codec_context
        context.time_base = self._times.time_base
        context.thread_count = 2
        context.colorspace, context.color_primaries, context.color_trc, context.color_range = (
            BT709,
            BT709,
            BT709,
            LIMITED,
        )
        self._resampler: Any = None
        self._audio: Any = None
        self.how = "none"
        if sound is None:
            return
        name = sound.codec_context.name
        if name.removesuffix("float") in COPIED:
            self._audio = target.add_stream_from_template(sound)
            self.how = "copied"
        elif name in DECODED or name.startswith("pcm_"):
            import av

            self._audio = target.add_stream("aac", rate=sound.rate)
            layout = "mono" if sound.channels == 1 else "stereo"
            self._audio.layout = layout
            self._resampler = av.AudioResampler("fltp", layout, sound.rate, frame_size=1024)
            self.how = "encoded as AAC"
        else:
            self.how = f"left away: {name} cannot be put into MP4"

    def picture(self, image: np.ndarray, pts: int | None) -> None:
        """Write an RGB uint8 picture of `shape`, at `pts` in the original's time base."""
        import av

        height, width = image.shape[:2]
        if height % 2 or width % 2:
            image = np.pad(image, ((0, height % 2), (0, width % 2), (0, 0)), mode="edge")
        frame = av.VideoFrame.from_ndarray(np.ascontiguousarray(image), format="rgb24")
        frame = frame.reformat(format="yuv420p", dst_colorspace=BT709, dst_color_range=LIMITED)
        frame.colorspace, frame.color_range = BT709, LIMITED
        frame.pts = self._times.next(pts)
        frame.time_base = self._video.codec_context.time_base
        self._target.mux(self._video.encode(frame))

    @property
    def notes(self) -> list[str]:
        """Return what is to be said about the frames' times."""
        return [self._times.note] if self._times.note else []

    def sound(self, packet: Any, until: float) -> None:
        """Write a packet of the original's sound; what lies beyond `until` seconds is left away."""
        if self._audio is None or (
            packet.pts is not None and float(packet.pts * packet.time_base) > until
        ):
            return
        if self._resampler is None:
            if packet.dts is not None:  # the last one of a file is empty
                packet.stream = self._audio
                self._target.mux(packet)
            return
        for frame in packet.decode():
            for part in self._resampler.resample(frame):
                self._target.mux(self._audio.encode(part))

    def finish(self) -> None:
        """Write what encoders still hold back."""
        self._target.mux(self._video.encode(None))
        if self._resampler is not None:
            for part in self._resampler.resample(None):
                self._target.mux(self._audio.encode(part))
            self._target.mux(self._audio.encode(None))

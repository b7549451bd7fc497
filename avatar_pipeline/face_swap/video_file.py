"""An MP4 that browsers play: H.264 with the frames' own times, and the sound of the original."""

from __future__ import annotations

from typing import Any

import numpy as np

# sound that MP4 holds and browsers play as it is; other sound is encoded as AAC
COPIED = ("aac", "mp3", "opus")
# and every pcm_*; sound of other kinds is left away
DECODED = ("vorbis", "flac", "alac", "ac3", "eac3", "mp2")
QUALITY = "18"  # x264's constant rate factor: differences to the frames are hardly seen
HD = 720  # rows from which an untagged video is taken for BT.709, as players do
BT709, UNSPECIFIED, LIMITED = 1, 2, 1


class VideoWriter:
    """Writes into an open container of PyAV. shape: of its pictures. how: what became of the
    sound.
    """

    def __init__(self, target: Any, stream: Any, sound: Any, shape: tuple[int, ...]) -> None:
        self.shape = shape
        self._target = target
        self._last: int | None = None
        height, width = shape[:2]
        rate = stream.average_rate or stream.guessed_rate or 25
        self._video = target.add_stream(
            "libx264", rate=rate, options={"crf": QUALITY, "preset": "veryfast"}
        )
        # H.264's colours have half the size
        self._video.width, self._video.height = width + width % 2, height + height % 2
        self._video.pix_fmt = "yuv420p"
        context = self._video.codec_context
        context.time_base = stream.time_base
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
        if self._last is not None and (pts is None or pts <= self._last):
            pts = self._last + 1  # a file may have two frames at a time; an encoder takes none such
        self._last = frame.pts = pts if pts is not None else 0
        frame.time_base = self._video.codec_context.time_base
        self._target.mux(self._video.encode(frame))

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


def upright(frame: Any) -> np.ndarray:
    """Return the RGB uint8 picture of a decoded frame, as it is to be shown: turned as the file
    says, a multiple of 90 degrees.
    """
    tagged = frame.colorspace != UNSPECIFIED
    colours = {} if tagged else {"src_colorspace": "itu709" if frame.height >= HD else "itu601"}
    image: np.ndarray = frame.to_ndarray(format="rgb24", **colours)
    return np.ascontiguousarray(np.rot90(image, round(frame.rotation / 90) % 4))

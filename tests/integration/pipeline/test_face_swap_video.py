"""Face swap in videos: what is kept of the video, what is swapped, and what is refused."""

from __future__ import annotations

import io
from fractions import Fraction
from functools import cache
from pathlib import Path
from typing import Any

import av
import numpy as np
import pytest

from avatar_pipeline.core.errors import Cancelled, PhotoError
from avatar_pipeline.core.openpeople import emotion_tiles
from avatar_pipeline.face_swap.tracking import FaceTracker
from avatar_pipeline.face_swap.video import VideoHooks, VideoLimits, swap_video

SIZE = (384, 256)
WALL = np.full((SIZE[1], SIZE[0], 3), 128, np.uint8)


@cache
def portrait(person: str, emotion: str = "neutral") -> np.ndarray:
    return np.asarray(emotion_tiles(person)[emotion].resize(SIZE))


def make_video(
    pictures: list[np.ndarray],
    kind: str = "mp4",
    codec: str = "libx264",
    sound: str | None = "aac",
    times: list[int] | None = None,
    rotation: int = 0,
) -> bytes:
    """A video of 25 frames a second, or of frames at `times` in hundredths of a second, with a
    tone.
    """
    buffer = io.BytesIO()
    with av.open(buffer, "w", format=kind) as container:
        video: Any = container.add_stream(codec, rate=25)
        video.height, video.width = pictures[0].shape[:2]
        video.pix_fmt = "yuv420p"
        video.codec_context.time_base = Fraction(1, 100)
        if rotation:
            video.set_display_rotation(rotation)
        audio: Any = container.add_stream(sound, rate=48000) if sound else None
        if audio is not None:
            audio.layout = "mono"
        for number, picture in enumerate(pictures):
            frame = av.VideoFrame.from_ndarray(picture, format="rgb24")
            frame.pts, frame.time_base = (
                (times or [4 * n for n in range(len(pictures))])[number],
                Fraction(1, 100),
            )
            container.mux(video.encode(frame))
        container.mux(video.encode(None))
        if audio is not None:
            wave = (0.2 * np.sin(np.arange(len(pictures) * 1920) / 17)).astype(np.float32)
            tone = av.AudioFrame.from_ndarray(wave[None], format="fltp", layout="mono")
            tone.rate, tone.pts = 48000, 0
            resampler = av.AudioResampler(
                audio.codec_context.format.name,
                "mono",
                48000,
                frame_size=960 if sound == "libopus" else 1024,
            )
            for part in (*resampler.resample(tone), *resampler.resample(None)):
                container.mux(audio.encode(part))
            container.mux(audio.encode(None))
    return buffer.getvalue()


def frames_of(data: bytes | Path) -> tuple[list[np.ndarray], list[float]]:
    with av.open(io.BytesIO(data) if isinstance(data, bytes) else str(data)) as container:
        found = [
            (frame.to_ndarray(format="rgb24"), float(frame.time))
            for frame in container.decode(video=0)
        ]
    return [image for image, _ in found], [time for _, time in found]


def sound_of(data: bytes | Path) -> tuple[str, list[bytes]]:
    with av.open(io.BytesIO(data) if isinstance(data, bytes) else str(data)) as container:
        stream = container.streams.audio[0]
        return stream.codec_context.name, [
            bytes(packet) for packet in container.demux(stream) if packet.size
        ]


def test_frames_times_size_and_sound_are_kept_and_faces_swapped(analyzer, tmp_path):
    happy, neutral = portrait("P008", "happy"), portrait("P008")
    times = [0, 4, 8, 20, 24, 40]
    video = make_video([neutral, happy, WALL, neutral, happy, neutral], times=times)
    seen: list[tuple[int, int | None]] = []
    result = swap_video(
        portrait("P003"),
        video,
        analyzer,
        None,
        tmp_path / "out.mp4",
        VideoHooks(progress=lambda done, total: seen.append((done, total))),
    )
    assert (result.frames, result.swapped, result.without_face, result.left) == (6, 5, 1, 0)
    assert result.to_source is not None and result.to_target is not None
    assert result.to_source < result.to_target
    assert (result.width, result.height, result.sound, result.method) == (
        *SIZE,
        "copied",
        "landmarks",
    )
    assert seen == [(n, 6) for n in range(1, 7)]
    images, written = frames_of(tmp_path / "out.mp4")
    before, original = frames_of(video)
    assert written == pytest.approx(original)
    assert written == pytest.approx([time / 100 for time in times])
    assert sound_of(tmp_path / "out.mp4") == sound_of(video)
    assert np.abs(images[2].astype(int) - before[2]).mean() < 3  # the wall
    # above the head: colours survive both conversions
    assert np.abs(images[0][:20].astype(int) - before[0][:20]).mean() < 3
    swapped = analyzer.analyze(images[1])[0].embedding
    assert analyzer.distance(
        swapped, analyzer.analyze(portrait("P003", "happy"))[0].embedding
    ) < analyzer.distance(swapped, analyzer.analyze(happy)[0].embedding)
    with av.open(str(tmp_path / "out.mp4")) as container:
        stream = container.streams.video[0]
        assert (stream.codec_context.name, stream.pix_fmt) == ("h264", "yuv420p")
    data = (tmp_path / "out.mp4").read_bytes()
    # a browser can start before the end has arrived
    assert data.index(b"moov") < data.index(b"mdat")
    assert [path.name for path in tmp_path.iterdir()] == ["out.mp4"]


def test_webm_from_a_file_and_mov_with_raw_sound(analyzer, tmp_path):
    webm = tmp_path / "in.webm"
    webm.write_bytes(make_video([portrait("P008")] * 2, "webm", "libvpx-vp9", "libopus"))
    result = swap_video(portrait("P003"), webm, analyzer, None, tmp_path / "out.mp4")
    assert (result.swapped, result.sound, sound_of(tmp_path / "out.mp4")[0]) == (
        2,
        "copied",
        "opus",
    )
    mov = make_video([portrait("P008")] * 2, "mov", "libx264", "pcm_s16le")
    result = swap_video(portrait("P003"), mov, analyzer, None, tmp_path / "out.mp4")
    assert (result.swapped, result.sound, sound_of(tmp_path / "out.mp4")[0]) == (
        2,
        "encoded as AAC",
        "aac",
    )


@pytest.mark.parametrize("rotation", [90, -90, 180])
def test_a_video_of_a_phone_lying_down_comes_out_upright(analyzer, tmp_path, rotation):
    lying = np.ascontiguousarray(np.rot90(portrait("P008"), -rotation // 90))
    video = make_video([lying] * 2, sound=None, rotation=rotation)
    result = swap_video(portrait("P003"), video, analyzer, None, tmp_path / "out.mp4")
    assert (result.swapped, result.width, result.height, result.sound) == (2, *SIZE, "none")
    assert len(analyzer.analyze(frames_of(tmp_path / "out.mp4")[0][0])) == 1


def test_an_odd_size_gets_one_row_and_column_more(analyzer, tmp_path):
    odd = np.pad(portrait("P008"), ((0, 1), (0, 1), (0, 0)), mode="edge")
    buffer = io.BytesIO()
    with av.open(buffer, "w", format="webm") as container:
        stream: Any = container.add_stream("libvpx-vp9", rate=25)
        stream.width, stream.height, stream.pix_fmt = odd.shape[1], odd.shape[0], "yuv420p"
        container.mux(stream.encode(av.VideoFrame.from_ndarray(odd, format="rgb24")))
        container.mux(stream.encode(None))
    result = swap_video(portrait("P003"), buffer.getvalue(), analyzer, None, tmp_path / "out.mp4")
    assert (result.width, result.height) == (SIZE[0] + 1, SIZE[1] + 1)
    assert frames_of(tmp_path / "out.mp4")[0][0].shape[:2] == (SIZE[1] + 2, SIZE[0] + 2)


PLAYLIST = b"#EXTM3U\n#EXT-X-TARGETDURATION:1\n#EXTINF:1,\nfile:///etc/passwd\n#EXT-X-ENDLIST\n"


@pytest.mark.parametrize(
    "data", [b"", b"this is no video at all", PLAYLIST, b"RIFF\0\0\0\0AVI LIST"]
)
def test_what_is_no_video_is_refused(analyzer, tmp_path, data):
    with pytest.raises(PhotoError, match=r"^target_video is no video that can be read"):
        swap_video(portrait("P003"), data, analyzer, None, tmp_path / "out.mp4")
    assert not list(tmp_path.iterdir())


@pytest.mark.parametrize("cut", [40, 2000, -2000])
def test_a_damaged_video_is_refused_and_leaves_nothing(analyzer, tmp_path, cut):
    video = make_video([portrait("P008"), portrait("P008", "happy")] * 3)
    with pytest.raises(PhotoError, match=r"^target_video is damaged or cut off") as caught:
        swap_video(portrait("P003"), video[:cut], analyzer, None, tmp_path / "out.mp4")
    assert "tmp" not in str(caught.value)
    assert not list(tmp_path.iterdir())


def test_too_long_too_large_and_sound_alone(analyzer, tmp_path):
    video, output = make_video([WALL] * 30, sound=None), tmp_path / "out.mp4"
    source = portrait("P003")
    with pytest.raises(
        PhotoError,
        match=r"too long: 1\.2 seconds, 30 frames; at most 0\.5 "
        r"seconds",
    ):
        swap_video(source, video, analyzer, None, output, limits=VideoLimits(seconds=0.5))
    with pytest.raises(PhotoError, match=r"too long: .*at most 30 seconds and 20 frames"):
        swap_video(source, video, analyzer, None, output, limits=VideoLimits(frames=20))
    with pytest.raises(PhotoError, match=r"too large: 384x256 pixels"):
        swap_video(source, video, analyzer, None, output, limits=VideoLimits(pixels=10_000))
    with pytest.raises(PhotoError, match=r"too long: more than 0 MiB"):
        swap_video(source, video, analyzer, None, output, limits=VideoLimits(bytes=100))
    # WebM need not say how many frames there are: then they are counted.
    webm = make_video([WALL] * 12, "webm", "libvpx-vp9", None)
    with pytest.raises(PhotoError, match=r"too long; at most 30 seconds and 5 frames"):
        swap_video(source, webm, analyzer, None, output, limits=VideoLimits(frames=5))
    buffer = io.BytesIO()
    with av.open(buffer, "w", format="mp4") as container:
        audio: Any = container.add_stream("aac", rate=48000)
        frame = av.AudioFrame.from_ndarray(
            np.zeros((2, 1024), np.float32), format="fltp", layout="stereo"
        )
        frame.rate = 48000
        container.mux(audio.encode(frame))
        container.mux(audio.encode(None))
    with pytest.raises(PhotoError, match="has no picture, only sound"):
        swap_video(source, buffer.getvalue(), analyzer, None, output)
    assert not list(tmp_path.iterdir())


def test_cancelled_between_frames_nothing_is_stored_and_a_faceless_source_is_named(
    analyzer, tmp_path
):
    video = make_video([portrait("P008")] * 4, sound=None)
    done: list[int] = []
    with pytest.raises(Cancelled, match="after frame 2"):
        swap_video(
            portrait("P003"),
            video,
            analyzer,
            None,
            tmp_path / "out.mp4",
            VideoHooks(
                progress=lambda number, total: done.append(number),
                should_cancel=lambda: len(done) == 2,
            ),
        )
    with pytest.raises(PhotoError, match=r"^source_face: no face"):
        swap_video(WALL, video, analyzer, None, tmp_path / "out.mp4")
    assert not list(tmp_path.iterdir())


def test_smoothing_calms_a_trembling_face_and_follows_a_moving_one(analyzer):
    face = analyzer.analyze(portrait("P008"))[0]
    rng = np.random.default_rng(0)
    steady, still = FaceTracker(), []
    for number in range(50):
        steady.choose([face])
        noisy = (face.landmarks68 + rng.normal(0, 1, (68, 2))).astype(np.float32)
        still.append(steady.smooth(noisy, number / 25))
    tremble = np.std(np.diff(np.array(still[10:]), axis=0))
    assert tremble < 0.5 * np.sqrt(2)  # of raw landmarks: the square root of 2
    steady = FaceTracker()
    for number in range(25):
        steady.choose([face])
        moved = (face.landmarks68 + np.array([6 * number, 0])).astype(np.float32)
        smoothed = steady.smooth(moved, number / 25)
    assert np.abs(smoothed - moved).max() < 6  # lags behind by less than a frame's movement
    elsewhere = (moved + np.array([200, 0])).astype(np.float32)
    assert np.array_equal(steady.smooth(elsewhere, 2.0), elsewhere)  # a cut

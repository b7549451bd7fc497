"""What videos say of their pictures: HDR, range, matrix, fields, alpha, shape of a pixel, mirrored
and turned; which stream is the film; when each frame is shown.
"""

from __future__ import annotations

import io
from collections.abc import Callable, Sequence
from fractions import Fraction
from pathlib import Path
from typing import Any

import av
import numpy as np
import pytest

from avatar_pipeline.core.errors import PhotoError
from avatar_pipeline.core.openpeople import emotion_tiles
from avatar_pipeline.face_swap.video import VideoResult, swap_video

SIZE = (192, 128)
RATE = Fraction(30000, 1001)
BT709, BT601, BT2020 = 1, 5, 9
PQ, HLG = 16, 18
# Patches of one brightness each, in cd/m2 of an HDR display.
NITS = np.array([1.0, 10.0, 26.0, 50.0, 85.0, 150.0, 203.0, 400.0, 900.0])


@pytest.fixture(scope="module")
def source() -> np.ndarray:
    return np.asarray(emotion_tiles("P003")["neutral"].resize((384, 256)))


Swap = Callable[[bytes], tuple[VideoResult, list[np.ndarray], list[float]]]


@pytest.fixture
def swap(analyzer: Any, source: np.ndarray, tmp_path: Path) -> Swap:
    """Swap into a video and read the result: what is said of it, its frames and their times."""

    def run(video: bytes) -> tuple[VideoResult, list[np.ndarray], list[float]]:
        result = swap_video(source, video, analyzer, None, tmp_path / "out.mp4")
        with av.open(str(tmp_path / "out.mp4")) as container:
            frames = list(container.decode(video=0))
        return (
            result,
            [frame.to_ndarray(format="rgb24") for frame in frames],
            [float(frame.time) for frame in frames],
        )

    return run


def refused(swap: Swap, video: bytes) -> str:
    with pytest.raises(PhotoError) as caught:
        swap(video)
    assert caught.value.field == "target_video"
    return str(caught.value)


def striped(top: Sequence[int], bottom: Sequence[int], size: tuple[int, int] = SIZE) -> np.ndarray:
    """A picture of two colours: the upper left quarter, and the rest."""
    picture = np.full((size[1], size[0], 3), bottom, np.uint8)
    picture[: size[1] // 2, : size[0] // 2] = top
    return picture


def add_film(
    container: Any,
    codec: str = "libx264",
    pix_fmt: str = "yuv420p",
    size: tuple[int, int] = SIZE,
    rate: Fraction | int = 25,
    options: dict[str, str] | None = None,
    tags: tuple[int, int, int, int] = (BT709, 1, 1, 1),
) -> Any:
    """A stream of video. tags: matrix, range, transfer function, primaries."""
    stream = container.add_stream(codec, rate=rate, options=options or {})
    stream.width, stream.height = size
    stream.pix_fmt = pix_fmt
    context = stream.codec_context
    context.colorspace, context.color_range, context.color_trc, context.color_primaries = tags
    return stream


def write(container: Any, stream: Any, frames: Sequence[Any], times: Sequence[int]) -> None:
    """Encode frames at multiples of the stream's frame duration."""
    for frame, time in zip(frames, times, strict=True):
        frame.pts, frame.time_base = time, 1 / stream.codec_context.framerate
        container.mux(stream.encode(frame))
    container.mux(stream.encode(None))


def film(
    pictures: Sequence[np.ndarray | av.VideoFrame],
    kind: str = "mp4",
    times: Sequence[int] | None = None,
    prepare: Callable[[Any], None] = lambda stream: None,
    **how: Any,
) -> bytes:
    """A video of these pictures, RGB or ready frames."""
    buffer = io.BytesIO()
    tags = how.get("tags", (BT709, 1, 1, 1))
    with av.open(buffer, "w", format=kind) as container:
        stream = add_film(container, **how)
        prepare(stream)
        frames = []
        for picture in pictures:
            frame = picture
            if isinstance(frame, np.ndarray):
                frame = av.VideoFrame.from_ndarray(frame, format="rgb24").reformat(
                    format=stream.pix_fmt, dst_colorspace=tags[0], dst_color_range=tags[1]
                )
            frame.colorspace, frame.color_range = tags[:2]
            frame.color_trc, frame.color_primaries = tags[2:]
            frames.append(frame)
        write(container, stream, frames, times or range(len(frames)))
    return buffer.getvalue()


def pq(nits: np.ndarray) -> np.ndarray:
    """The signal of SMPTE ST 2084."""
    power = (nits / 10_000) ** 0.1593017578125
    signal: np.ndarray = ((0.8359375 + 18.8515625 * power) / (1 + 18.6875 * power)) ** 78.84375
    return signal


def hlg(nits: np.ndarray) -> np.ndarray:
    """The signal of BT.2100's HLG for greys of a display of 1000 cd/m2."""
    scene = (nits / 1000) ** (1 / 1.2)
    return np.where(
        scene <= 1 / 12,
        np.sqrt(3 * scene),
        0.17883277 * np.log(np.maximum(12 * scene - 0.28466892, 1e-9)) + 0.55991073,
    )


def hdr_frame(signal: np.ndarray) -> av.VideoFrame:
    """Grey patches of 16 columns each, 10 bit, limited range."""
    frame = av.VideoFrame(16 * len(signal), 64, "yuv420p10le")
    row = np.repeat(np.round(64 + 876 * signal), 16).astype("<u2")
    for plane, values in zip(
        frame.planes, (row, row[::2] * 0 + 512, row[::2] * 0 + 512), strict=True
    ):
        padded = np.zeros((plane.height, plane.line_size // 2), "<u2")
        padded[:, : len(values)] = values
        plane.update(padded.tobytes())
    return frame


@pytest.mark.parametrize(
    ("curve", "signal", "name"), [(PQ, pq(NITS), "PQ"), (HLG, hlg(NITS), "HLG")]
)
def test_hdr_is_tone_mapped_and_said(swap: Swap, curve: int, signal: np.ndarray, name: str) -> None:
    video = film(
        [hdr_frame(signal)] * 2,
        pix_fmt="yuv420p10le",
        size=(16 * len(NITS), 64),
        options={"crf": "8"},
        tags=(BT2020, 1, curve, BT2020),
    )
    result, images, _ = swap(video)
    (said,) = [words for words in result.warnings if name in words]
    assert "tone-mapped to BT.709" in said
    greys = images[0][32, 8::16].mean(axis=1)
    # below 90 cd/m2 as on an SDR display with a white of 203 (BT.2408), whose gamma is 2.4
    assert greys[:5] == pytest.approx(255 * (NITS[:5] / 203) ** (1 / 2.4), abs=4)
    # what is brighter goes up to white, and not flat
    assert 205 < greys[6] < 245 and greys[-1] >= 250
    assert (np.diff(greys[:-1]) > 3).all()
    assert np.ptp(images[0][32, 8::16].astype(int), axis=1).max() <= 4, "grey stays grey"


def test_a_wide_gamut_without_hdr_is_converted(swap: Swap) -> None:
    """BT.709's red, as BT.2020 says it."""
    linear = np.linalg.inv(
        [
            [1.660491, -0.587641, -0.072850],
            [-0.124550, 1.132900, -0.008349],
            [-0.018151, -0.100579, 1.118730],
        ]
    ) @ np.array([0.5, 0.05, 0.05])
    red = np.round(255 * linear ** (1 / 2.4)).astype(int)
    video = film([striped(red, red)], tags=(BT2020, 1, 1, BT2020))
    result, images, _ = swap(video)
    wanted = 255 * np.array([0.5, 0.05, 0.05]) ** (1 / 2.4)
    assert images[0].mean(axis=(0, 1)) == pytest.approx(wanted, abs=6)
    assert any("wide gamut" in words for words in result.warnings)


@pytest.mark.parametrize("matrix", [BT709, BT601, BT2020])
@pytest.mark.parametrize("full", [False, True])
def test_range_and_matrix_are_heeded_and_nothing_is_said(
    swap: Swap, matrix: int, full: bool
) -> None:
    picture = striped((200, 120, 80), (30, 90, 160))
    result, images, _ = swap(film([picture], tags=(matrix, 2 if full else 1, 1, 1)))
    assert np.abs(images[0].astype(int) - picture).mean() < 5
    assert [words for words in result.warnings if not words.startswith("No frame")] == []


def test_ten_bits_of_an_ordinary_film_are_read(swap: Swap) -> None:
    picture = striped((200, 120, 80), (30, 90, 160))
    result, images, _ = swap(film([picture], pix_fmt="yuv420p10le"))
    assert np.abs(images[0].astype(int) - picture).mean() < 5
    assert len(result.warnings) == 1  # no face


def test_colours_of_an_unknown_curve_are_refused(swap: Swap) -> None:
    words = refused(swap, film([striped((9, 9, 9), (99, 99, 99))], tags=(BT709, 1, 8, 1)))
    assert "linear light" in words and "Export it" in words


def with_cover(cover_first: bool, film_too: bool = True) -> bytes:
    """A film and a cover picture, as music shops and download tools write them."""
    buffer = io.BytesIO()
    with av.open(buffer, "w", format="mp4") as container:

        def cover() -> Any:
            stream = container.add_stream("mjpeg", rate=1)
            stream.width, stream.height, stream.pix_fmt = 64, 64, "yuvj420p"
            stream.disposition = av.stream.Disposition.attached_pic
            return stream

        streams = [cover()] if cover_first else []
        if film_too:
            streams.append(add_film(container))
        if not cover_first:
            streams.append(cover())
        if not film_too:
            audio = container.add_stream("aac", rate=48000)
            tone = av.AudioFrame.from_ndarray(
                np.zeros((2, 1024), np.float32), format="fltp", layout="stereo"
            )
            tone.rate = 48000
            container.mux(audio.encode(tone))
            container.mux(audio.encode(None))
        for stream in streams:
            size, count = (SIZE, 5) if stream.codec_context.name == "libx264" else ((64, 64), 1)
            picture = striped((200, 120, 80), (30, 90, 160), size)
            frame = av.VideoFrame.from_ndarray(picture, format="rgb24")
            for number in range(count):
                frame = frame.reformat(format=stream.pix_fmt)
                frame.pts, frame.time_base = number, 1 / stream.codec_context.framerate
                container.mux(stream.encode(frame))
            container.mux(stream.encode(None))
    return cover_ahead(buffer.getvalue()) if cover_first else buffer.getvalue()


def boxes(data: bytes) -> list[tuple[bytes, bytes]]:
    """The boxes of a piece of MP4, in order: kind, and the whole box."""
    found = []
    while data:
        length = int.from_bytes(data[:4], "big")
        found.append((data[4:8], data[:length]))
        data = data[length:]
    return found


def cover_ahead(video: bytes) -> bytes:
    """The same file with its cover (in udta) before its tracks, as some programs write it. moov
    comes last, so that no offset changes.
    """
    *front, (kind, moov) = boxes(video)
    assert kind == b"moov"
    inner = sorted(boxes(moov[8:]), key=lambda box: (box[0] != b"mvhd", box[0] != b"udta"))
    return b"".join([*(box for _, box in front), moov[:8], *(box for _, box in inner)])


@pytest.mark.parametrize("cover_first", [True, False])
def test_a_cover_picture_is_no_film(swap: Swap, cover_first: bool) -> None:
    result, _, _ = swap(with_cover(cover_first))
    assert (result.frames, result.width, result.height) == (5, *SIZE)


def test_a_cover_picture_alone_is_refused(swap: Swap) -> None:
    words = refused(swap, with_cover(True, film_too=False))
    assert "only sound and a cover picture" in words


@pytest.mark.parametrize("marked", [None, 1])
def test_of_several_films_the_one_is_taken_that_is_to_be_played(
    swap: Swap, marked: int | None
) -> None:
    buffer = io.BytesIO()
    with av.open(buffer, "w", format="matroska") as container:
        streams = [add_film(container, size=SIZE), add_film(container, size=(96, 64))]
        for number, stream in enumerate(streams):
            is_default = marked in (None, number)
            stream.disposition = av.stream.Disposition.default if is_default else 0
        for stream in streams:
            picture = striped((9, 9, 9), (99, 99, 99), (stream.width, stream.height))
            frame = av.VideoFrame.from_ndarray(picture, format="rgb24").reformat(format="yuv420p")
            write(container, stream, [frame] * 1, [0])
    result, _, _ = swap(buffer.getvalue())
    assert (result.width, result.height) == ((96, 64) if marked == 1 else SIZE)
    (said,) = [words for words in result.warnings if "2 films" in words]
    assert f"number {2 if marked else 1} was taken" in said


@pytest.mark.parametrize("kind", ["mp4", "mov", "webm"])
def test_a_frame_rate_of_30000_1001_is_kept_exactly(swap: Swap, tmp_path: Path, kind: str) -> None:
    """WebM has whole milliseconds only: 0, 33, 67, 100."""
    pictures = [striped((9, 9, 9), (99, 99, 99), (96, 64))] * 31
    codec = "libvpx-vp9" if kind == "webm" else "libx264"
    options = {"cpu-used": "8", "deadline": "realtime"} if kind == "webm" else {}
    video = film(pictures, kind, size=(96, 64), rate=RATE, codec=codec, options=options)
    result, _, _ = swap(video)
    with av.open(str(tmp_path / "out.mp4")) as container:
        stream = container.streams.video[0]
        assert stream.average_rate == stream.base_rate == RATE
        times = [frame.pts * frame.time_base for frame in container.decode(stream)]
    assert times == [number / RATE for number in range(31)]
    assert not any("frame rate" in words for words in result.warnings)


@pytest.mark.parametrize("kind", ["mp4", "webm"])
def test_a_frame_rate_that_varies_is_said_and_kept(swap: Swap, kind: str) -> None:
    steps = [0, 1, 2, 9, 10, 30]
    codec = "libvpx-vp9" if kind == "webm" else "libx264"
    video = film([striped((9, 9, 9), (99, 99, 99))] * 6, kind, steps, codec=codec)
    result, _, times = swap(video)
    assert times == pytest.approx([step / 25 for step in steps], abs=1e-6)
    (said,) = [words for words in result.warnings if "frame rate varies" in words]
    assert "0.040 to 0.800 seconds" in said


def matrix(a: int, b: int, c: int, d: int) -> Callable[[Any], None]:
    one = 1 << 16
    return lambda stream: stream.set_display_matrix(
        [a * one, b * one, 0, c * one, d * one, 0, 0, 0, 1 << 30]
    )


@pytest.mark.parametrize("quarters", range(4))
@pytest.mark.parametrize("mirrored", [False, True])
def test_the_display_matrix_turns_and_mirrors(swap: Swap, quarters: int, mirrored: bool) -> None:
    """A point (x, y) of the file is shown at (a x + c y, b x + d y), y downwards."""
    right = striped((220, 40, 40), (40, 60, 200))  # as it is to be seen
    stored = right[:, ::-1] if mirrored else right
    stored = np.ascontiguousarray(np.rot90(stored, quarters))
    cosine, sine = ((1, 0), (0, 1), (-1, 0), (0, -1))[quarters]
    x = -1 if mirrored else 1
    video = film(
        [stored],
        size=(stored.shape[1], stored.shape[0]),
        prepare=matrix(x * cosine, sine, -x * sine, cosine),
    )
    result, images, _ = swap(video)
    assert (result.width, result.height) == SIZE
    assert np.abs(images[0].astype(int) - right).mean() < 4


def test_pixels_that_are_not_square_are_made_so(swap: Swap) -> None:
    """A DVD's 720x576 of 16:9, at a quarter of its size."""

    def shape(stream: Any) -> None:
        stream.codec_context.sample_aspect_ratio = Fraction(64, 45)

    result, images, _ = swap(
        film([striped((9, 9, 9), (99, 99, 99), (180, 144))], size=(180, 144), prepare=shape)
    )
    assert (result.width, result.height, images[0].shape) == (256, 144, (144, 256, 3))
    assert any("not square" in words for words in result.warnings)


def test_fields_of_interlaced_frames_are_put_together(swap: Swap) -> None:
    """A bar that moves between the two fields of a frame: its edge is a comb in the file."""

    def woven(number: int) -> np.ndarray:
        picture = np.full((128, 192, 3), 40, np.uint8)
        picture[::2, 40 + 24 * number : 70 + 24 * number] = 220
        picture[1::2, 52 + 24 * number : 82 + 24 * number] = 220
        return picture

    def comb(image: np.ndarray) -> float:
        rows = image[16:112, :, 1].astype(int)
        return float(np.abs(rows[1:] - rows[:-1]).mean())

    pictures = [woven(number) for number in range(5)]
    video = film(
        pictures, options={"flags": "+ildct+ilme", "x264-params": "tff=1:interlaced=1", "crf": "8"}
    )
    result, images, times = swap(video)
    assert (result.frames, len(images)) == (5, 5)
    assert times == pytest.approx([number / 25 for number in range(5)])
    assert any("interlaced" in words for words in result.warnings)
    for image, picture in zip(images[1:4], pictures[1:4], strict=True):
        assert comb(image) < 0.3 * comb(picture)


def test_what_is_transparent_is_laid_on_white(swap: Swap) -> None:
    picture = np.zeros((128, 192, 4), np.uint8)
    picture[..., 3] = 255
    picture[:64] = (200, 120, 80, 0)
    picture[64:, :96] = (200, 120, 80, 255)
    for kind, codec, pix_fmt in (
        ("webm", "libvpx-vp9", "yuva420p"),
        ("mov", "prores_ks", "yuva444p10le"),
    ):
        frame = av.VideoFrame.from_ndarray(picture, format="rgba").reformat(format=pix_fmt)
        video = film([frame], kind, codec=codec, pix_fmt=pix_fmt, tags=(BT601, 1, 1, 1))
        result, images, _ = swap(video)
        assert images[0][:56].mean() > 250, codec
        assert images[0][72:, :88].mean(axis=(0, 1)) == pytest.approx((200, 120, 80), abs=6)
        assert any("laid on white" in words for words in result.warnings)


@pytest.mark.parametrize("kind", ["mp4", "webm"])
def test_a_film_without_a_frame_is_refused_and_one_of_one_frame_is_none_the_less_a_film(
    swap: Swap, kind: str
) -> None:
    codec = "libvpx-vp9" if kind == "webm" else "libx264"
    picture = striped((9, 9, 9), (99, 99, 99))
    result, _, times = swap(film([picture], kind, codec=codec))
    assert (result.frames, result.seconds, times) == (1, 0.0, [0.0])
    buffer = io.BytesIO()
    with av.open(buffer, "w", format=kind) as container:
        add_film(container, codec)
        container.start_encoding()
    assert "target_video" in refused(swap, buffer.getvalue())
    assert "it is empty" in refused(swap, b"")

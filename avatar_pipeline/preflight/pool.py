"""Many pictures on all cores: a process each, with one loaded analyzer and one thread, so that they
do not fight for cores.

A process and not a thread: dlib holds the interpreter's lock, and a flaw in a native decoder takes
its process along.
"""

from __future__ import annotations

import multiprocessing
import os
import signal
from collections.abc import Iterator, Sequence
from concurrent.futures import Future, ProcessPoolExecutor, as_completed
from concurrent.futures.process import BrokenProcessPool
from contextlib import contextmanager

from avatar_pipeline.core.errors import ModelError
from avatar_pipeline.faces.analyzers import get_analyzer
from avatar_pipeline.faces.analyzers.types import FaceAnalyzer
from avatar_pipeline.preflight.examine import PictureReport, examine
from avatar_pipeline.preflight.find import Picture

# A further process is started for each 8 pictures: starting one takes about as long as looking at
# that many.
PICTURES_PER_PROCESS = 8
THREAD_VARIABLES = ("OMP_NUM_THREADS", "OPENBLAS_NUM_THREADS", "MKL_NUM_THREADS")

_analyzer: FaceAnalyzer | ModelError | None = None  # of a worker process


def cores() -> int:
    """Return how many cores this process may use."""
    return len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1


def examine_all(
    pictures: Sequence[Picture],
    *,
    analyzer: str = "dlib",
    jobs: int | None = None,
    draw: bool = False,
    animators: Sequence[str] = (),
) -> Iterator[PictureReport]:
    """Examine every picture; results come as they are ready, in any order.

    Args:
        pictures: The files.
        analyzer: "dlib" or "insightface".
        jobs: How many processes; by default one a core, but no more than the pictures are worth.
            With 1 all runs in this process.
        draw: Whether to make drawings too.
        animators: The names of those to replay beside LivePortrait.

    Raises:
        ModelError: The analyzer cannot be loaded.
    """
    jobs = jobs or min(cores(), -(-len(pictures) // PICTURES_PER_PROCESS))
    if jobs == 1:
        loaded = get_analyzer(analyzer)
        for picture in pictures:
            yield examine(picture, loaded, draw=draw, animators=animators)
        return
    left = list(pictures)
    while left:
        for done in _together(left, analyzer, jobs, draw, animators):
            left.remove(done.picture)
            yield done
        # Whatever is left was under way or waiting when a process died. Work is begun in order, so
        # the first few are the suspects: they go one by one, to know which it was, and the rest
        # together again.
        suspects, left = left[:jobs], left[jobs:]
        for picture in suspects:
            yield next(_together([picture], analyzer, 1, draw, animators), None) or PictureReport(
                picture,
                "unreadable",
                problem=f"{picture.shown} ended the process that looked at it: its decoder "
                "failed, or memory ran out. "
                "Save the photograph again with another program, or remove the file.",
            )


def _together(
    pictures: Sequence[Picture], analyzer: str, jobs: int, draw: bool, animators: Sequence[str]
) -> Iterator[PictureReport]:
    """Yield results as they are ready; those that were under way when a process died are
    missing.
    """
    with _one_thread_each():
        # a fork would copy locks that other threads hold
        context = multiprocessing.get_context("spawn")
        pool = ProcessPoolExecutor(
            jobs, mp_context=context, initializer=_start, initargs=(analyzer,)
        )
        try:
            waiting: list[Future[PictureReport]] = [
                pool.submit(_examine, picture, draw, animators) for picture in pictures
            ]
            for future in as_completed(waiting):
                try:
                    yield future.result()
                except BrokenProcessPool:
                    continue
        finally:
            pool.shutdown(cancel_futures=True)


def _start(analyzer: str) -> None:
    global _analyzer
    import cv2

    signal.signal(signal.SIGINT, signal.SIG_IGN)  # Ctrl-C is the parent's to handle
    cv2.setNumThreads(1)
    try:
        _analyzer = get_analyzer(analyzer)
    except ModelError as error:  # an initializer that raises would look like a process that died
        _analyzer = error


def _examine(picture: Picture, draw: bool, animators: Sequence[str]) -> PictureReport:
    assert _analyzer is not None
    if isinstance(_analyzer, ModelError):
        raise _analyzer
    return examine(picture, _analyzer, draw=draw, animators=animators)


@contextmanager
def _one_thread_each() -> Iterator[None]:
    """Give one thread to each process started meanwhile: libraries read these variables when they
    are loaded.
    """
    before = {name: os.environ.get(name) for name in THREAD_VARIABLES}
    os.environ.update(dict.fromkeys(THREAD_VARIABLES, "1"))
    try:
        yield
    finally:
        for name, value in before.items():
            if value is None:
                del os.environ[name]
            else:
                os.environ[name] = value

"""How far a drawing is, for people: lines in the log, now and then a preview, and the place where a
drawing can be called off.
"""

from __future__ import annotations

import time
from collections.abc import Callable

from PIL import Image

from avatar_pipeline.core.errors import Cancelled
from avatar_pipeline.diffusion.callbacks import Step

# A picture of the embedded model takes half a second, one of FLUX on a small card minutes: the
# first says nothing, the second enough.
LINE_EVERY = 5.0  # seconds
PREVIEW_EVERY = 10.0
# for somebody who waits before a page: a preview takes some hundredths of a second
LIVE_EVERY = 1.0


class Progress:
    """A watcher of drawings.

    log: takes one line. show: takes a small RGB picture and what it is, or is None where nobody can
    look. cancelled: whether to stop.
    stepped: is told every step, its number and of how many. live: takes a preview about every
    second, while somebody waits for the picture.
    """

    def __init__(
        self,
        log: Callable[[str], None],
        show: Callable[[Image.Image, str], None] | None,
        cancelled: Callable[[], bool],
        stepped: Callable[[int, int], None] | None = None,
        live: Callable[[Image.Image], None] | None = None,
    ) -> None:
        self.log = log
        self.show = show
        self.cancelled = cancelled
        self.stepped = stepped
        self.live = live
        self._line = self._preview = self._live = time.monotonic()

    def __call__(self, step: Step) -> None:
        """Report a step. Raises Cancelled when somebody asked for it."""
        if self.cancelled():
            raise Cancelled(
                f"cancelled after step {step.number} of {step.total}. Nothing was stored; run it "
                "again when you want it."
            )
        if self.stepped is not None:
            self.stepped(step.number, step.total)
        if step.number == 1:
            self._line = time.monotonic()  # a short drawing has no lines
        now = time.monotonic()
        if self.live is not None and now - self._live >= LIVE_EVERY:
            self.live(step.preview())
            self._live = time.monotonic()
        text = f"step {step.number} of {step.total}, {step.seconds:.0f} s"
        if self.show is not None and now - self._preview >= PREVIEW_EVERY:
            self.show(step.preview(), text)
            self._line = self._preview = time.monotonic()
        elif now - self._line >= LINE_EVERY:
            self.log(text)
            self._line = now

"""How far a drawing is, for people: lines in the log, now and then a preview; and the place where a
drawing is cancelled.
"""

from __future__ import annotations

import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass

from PIL import Image

from avatar_pipeline.core.errors import Cancelled
from avatar_pipeline.diffusion.callbacks import Step

# A picture of the bundled model takes half a second, one of FLUX on a small card minutes: the first
# logs nothing, the second enough.
LOG_INTERVAL_S = 5.0
PREVIEW_INTERVAL_S = 10.0
# for a person who waits before a page: a preview takes some hundredths of a second
LIVE_PREVIEW_INTERVAL_S = 1.0


@dataclass(frozen=True)
class Preview:
    """Where previews go. show: takes a small RGB image and what it is. every: seconds between two.

    logs: whether `show` logs the text, too.
    """

    show: Callable[[Image.Image, str], None]
    every: float = PREVIEW_INTERVAL_S
    logs: bool = False


class Progress:
    """Reports the steps of drawings. It keeps times only; `RunContext.session` makes one each time.

    log, previews, should_cancel, check_consent, on_step: as in RunContext.
    """

    def __init__(
        self,
        log: Callable[[str], None],
        previews: Sequence[Preview] = (),
        *,
        should_cancel: Callable[[], bool] = lambda: False,
        check_consent: Callable[[], None] = lambda: None,
        on_step: Callable[[int, int], None] | None = None,
    ) -> None:
        self.log = log
        self.previews = previews
        self.should_cancel = should_cancel
        self.check_consent = check_consent
        self.on_step = on_step
        self._logged = time.monotonic()
        self._shown = [self._logged] * len(previews)

    def __call__(self, step: Step) -> None:
        """Report a step. Raises Cancelled on request, and what `check_consent` raises."""
        if self.should_cancel():
            raise Cancelled(
                f"cancelled after step {step.number} of {step.total}. Nothing was stored; run it "
                "again when you want it."
            )
        self.check_consent()
        if self.on_step is not None:
            self.on_step(step.number, step.total)
        if step.number == 1:
            self._logged = time.monotonic()  # a short drawing has no lines
        text = f"step {step.number} of {step.total}, {step.seconds:.0f} s"
        logged = False
        for index, preview in enumerate(self.previews):
            if time.monotonic() - self._shown[index] >= preview.every:
                preview.show(step.preview(), text)
                self._shown[index] = time.monotonic()
                logged = logged or preview.logs
        now = time.monotonic()
        if logged:
            self._logged = now
        elif now - self._logged >= LOG_INTERVAL_S:
            self.log(text)
            self._logged = now

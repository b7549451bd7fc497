"""What the worker tells the server of a job while it is at work: how far it is, and a preview."""

from __future__ import annotations

import time
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

from PIL import Image

from avatar_pipeline.core.errors import Cancelled

PROGRESS_INTERVAL_S = 0.2  # seconds between two messages about progress
PREVIEW_INTERVAL_S = 1.0  # and two previews of a task that gives them by itself


class ProgressReporter:
    """Passes on how far a job is: numbers and words through the pipe (send), previews as a file in
    the job's folder. people: whom it shows.
    """

    def __init__(
        self,
        send: Callable[[dict[str, Any]], None],
        job_id: str,
        folder: Path,
        cancelled: Callable[[], bool],
        people: Sequence[str],
    ) -> None:
        self.send, self.job_id, self.folder, self.cancelled, self.people = (
            send,
            job_id,
            folder,
            cancelled,
            people,
        )
        self.reported = self.shown = time.monotonic()
        self.previews = 0
        self.share, self.doing = 0.0, ""

    def progress(self, share: float, what: str, preview: Image.Image | None) -> None:
        """Report how far a task is. Raises Cancelled when the job's end was asked for:
        between two steps of any task.
        """
        if self.cancelled():
            raise Cancelled(f"cancelled while {what or 'at work'}. Nothing was stored.")
        self.share, self.doing = share, what
        if preview is not None and time.monotonic() - self.shown >= PREVIEW_INTERVAL_S:
            self.preview(preview)
        elif time.monotonic() - self.reported >= PROGRESS_INTERVAL_S:
            self._report()

    def preview(self, picture: Image.Image) -> None:
        """Show what is being drawn. A disk that does not take it costs the preview, not the job."""
        from upath import UPath

        from avatar_pipeline.actors.files import write_atomic
        from avatar_pipeline.actors.handed_out import note
        from avatar_pipeline.content_credentials.xmp import with_source_type
        from avatar_pipeline.core.digests import sha256_bytes
        from avatar_pipeline.core.errors import StoreError
        from avatar_pipeline.imaging.images import encode_jpeg
        from avatar_pipeline.service.jobs.job import PREVIEW

        try:
            shown = with_source_type(
                encode_jpeg(picture.convert("RGB")), "trainedAlgorithmicMedia"
            )  # gone in a second: not signed
            for name in self.people:
                note(name, [sha256_bytes(shown)])
            write_atomic(UPath(self.folder / PREVIEW), shown)
        except StoreError:
            return
        self.previews += 1
        self.shown = time.monotonic()
        self._report()

    def _report(self) -> None:
        self.reported = time.monotonic()
        self.send(
            {
                "job": self.job_id,
                "event": "progress",
                "share": self.share,
                "doing": self.doing,
                "previews": self.previews,
            }
        )

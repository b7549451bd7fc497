"""Pictures of several requests in one batch: what happens to one of them is its own affair."""

from __future__ import annotations

import queue
import threading
from pathlib import Path
from typing import Any

from PIL import Image

from avatar_pipeline.actors.store import ActorStore
from avatar_pipeline.core.errors import AvatarPipelineError, Cancelled, ConsentRequired
from avatar_pipeline.pipeline.context import RunContext
from avatar_pipeline.pipeline.models import Models
from avatar_pipeline.tasks import draw, draw_params
from avatar_pipeline.tasks.draw_together import Batch, PictureOrder, draw_all
from avatar_pipeline.tasks.task import TaskRequest, TaskResult

PROMPT = "headshot portrait photograph of a 30 year old man, neutral gray studio background"
FIELDS = {"prompt": PROMPT, "width": 256, "height": 256, "steps": 2}


class Requests:
    """Requests that are done in threads of their own, and drawn by the test's thread."""

    def __init__(self, folder: Path, count: int) -> None:
        self.store, self.models = ActorStore(folder), Models("cpu")
        self.inbox: queue.Queue[list[PictureOrder]] = queue.Queue()
        self.batch = Batch(count, self.inbox.put)
        self.ends: dict[int, TaskResult | AvatarPipelineError] = {}
        self.progress: dict[int, list[float]] = {}
        self._threads: list[threading.Thread] = []

    def request(self, fields: dict[str, Any], **more: Any) -> TaskRequest:
        params = draw_params.Params(**{**FIELDS, **fields})
        context = RunContext(models=self.models, **more)
        return TaskRequest(params, {}, {}, self.store, context, lambda *_: None, lambda *_: "")

    def start(self, fields: dict[str, Any], *, raises: AvatarPipelineError | None = None) -> None:
        number = len(self._threads)
        shares = self.progress.setdefault(number, [])

        def progress(share: float, what: str, preview: Image.Image | None) -> None:
            shares.append(share)
            if raises is not None:
                raise raises

        def work() -> None:
            place = self.batch.place()
            given = self.request(fields)
            asked = TaskRequest(**{**vars(given), "progress": progress, "draw": place.draw})
            try:
                self.ends[number] = draw.run(asked)
            except AvatarPipelineError as error:
                self.ends[number] = error
            finally:
                place.leave()

        self._threads.append(threading.Thread(target=work))
        self._threads[-1].start()

    def drawn(self) -> list[int]:
        """Draw the one batch; how many pictures its orders say were drawn together."""
        orders = self.inbox.get(timeout=60)
        draw_all(orders)
        for thread in self._threads:
            thread.join()
        assert self.inbox.empty()
        return sorted(order.together for order in orders)


def test_one_is_cancelled_one_fails_and_the_others_have_their_own_pixels(tmp_path: Path) -> None:
    requests = Requests(tmp_path, 5)
    requests.start({"seed": 1})
    requests.start({"seed": 2}, raises=Cancelled("cancelled while drawing."))
    requests.start({"seed": 3}, raises=ConsentRequired("no consent any more."))
    requests.start({"seed": 4, "prompt": PROMPT.replace("man", "woman")})
    requests.start({"seed": 5, "actor": "missing"})  # ends before it orders a picture
    assert requests.drawn() == [4, 4, 4, 4]
    assert isinstance(requests.ends[1], Cancelled)
    assert isinstance(requests.ends[2], ConsentRequired)
    assert isinstance(requests.ends[4], AvatarPipelineError)
    assert requests.progress[0] == [0.5, 1.0, 1.0] and requests.progress[1] == [0.5]
    asked: dict[int, dict[str, Any]] = {
        0: {"seed": 1},
        3: {"seed": 4, "prompt": PROMPT.replace("man", "woman")},
    }
    for number, fields in asked.items():
        together, alone = requests.ends[number], draw.run(requests.request(fields))
        assert isinstance(together, TaskResult) and together.drawn_together == 4
        assert together.files == alone.files and together.facts == alone.facts


def test_pictures_of_other_sizes_are_drawn_apart(tmp_path: Path) -> None:
    requests = Requests(tmp_path, 3)
    for fields in ({"seed": 1}, {"seed": 2}, {"seed": 3, "height": 512}):
        requests.start(fields)
    assert requests.drawn() == [1, 2, 2]


def test_a_batch_that_nobody_waits_for_ends_at_its_next_step(tmp_path: Path) -> None:
    requests = Requests(tmp_path, 2)
    for seed in (1, 2):
        requests.start({"seed": seed, "steps": 50}, raises=Cancelled("cancelled."))
    requests.drawn()
    assert [len(shares) for shares in requests.progress.values()] == [1, 1]
    assert all(isinstance(end, Cancelled) for end in requests.ends.values())

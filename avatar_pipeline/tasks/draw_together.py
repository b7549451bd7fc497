"""Pictures of several requests in one batch. Each keeps its own seed, progress, end and errors, and
has the pixels that it would have alone.
"""

from __future__ import annotations

import threading
from collections.abc import Callable, Sequence
from concurrent.futures import Future
from dataclasses import dataclass, field, replace

from PIL import Image

from avatar_pipeline.actors.store import ActorStore
from avatar_pipeline.diffusion.batches import same_alone
from avatar_pipeline.diffusion.callbacks import Step
from avatar_pipeline.diffusion.sampling import Sampling, text_to_images
from avatar_pipeline.diffusion.session import PipelineSession
from avatar_pipeline.tasks.likeness import Likeness


@dataclass(eq=False)
class PictureOrder:
    """One picture to be drawn. session: whose on_step sees the steps, and ends this picture alone
    by raising. size: pixels, as text_to_image takes it.

    picture: is set when it is drawn, or with the error that ended it. together: how many were drawn
    in the same batch, itself among them.
    """

    likeness: Likeness
    session: PipelineSession
    store: ActorStore
    prompt: str
    seed: int
    size: tuple[int, int]
    sampling: Sampling
    picture: Future[Image.Image] = field(default_factory=Future)
    together: int = 1

    def joins(self, other: PictureOrder) -> bool:
        """Return whether both can be in one batch: one model, LoRA, size and way of sampling, on a
        device where that changes no pixel.
        """
        return (
            self.session.loaded is other.session.loaded
            and self.session.preset == other.session.preset
            and self.likeness.made_from == other.likeness.made_from
            and (self.size, self.sampling) == (other.size, other.sampling)
            and same_alone(self.session, self.size)
        )


class _AllEndedError(Exception):
    """The last picture of the batch has ended before it was drawn."""


def draw_all(orders: Sequence[PictureOrder]) -> None:
    """Draw the pictures, in as few batches as they fit into, and set `picture` of each. Raises
    nothing: an error is set as that of the picture it belongs to.
    """
    left = list(orders)
    while left:
        first, *others = left
        batch = [first, *[order for order in others if order.joins(first)]]
        left = [order for order in left if order not in batch]
        _draw_batch(batch)


def _draw_batch(orders: Sequence[PictureOrder]) -> None:
    first = orders[0]

    def on_step(step: Step) -> None:
        for order in orders:
            if not order.picture.done() and order.session.on_step is not None:
                try:
                    order.session.on_step(step)
                except Exception as error:  # cancelled, or consent has ended: that one's alone
                    order.picture.set_exception(error)
        if all(order.picture.done() for order in orders):
            raise _AllEndedError

    session = replace(first.session, on_step=on_step)
    for order in orders:
        order.together = len(orders)
    try:
        with (
            session.device_lock("requests to the service"),
            first.likeness.drawing(session, first.store),
        ):
            images = text_to_images(
                session,
                [order.prompt for order in orders],
                [order.seed for order in orders],
                first.size,
                first.sampling,
            )
    except _AllEndedError:
        return
    except Exception as error:
        left = [order for order in orders if not order.picture.done()]
        for order in left:
            if len(orders) == 1:
                order.picture.set_exception(error)
            else:  # which of them it belongs to shows when each is drawn by itself
                _draw_batch([order])
        return
    for order, image in zip(orders, images, strict=True):
        if order.picture.done():
            continue
        try:
            order.likeness.require(order.store)
            order.picture.set_result(image)
        except Exception as error:
            order.picture.set_exception(error)


class Batch:
    """Where the requests of one batch meet. hand_over: is given the orders, once each of the
    `requests` has ordered its picture or left, and is expected to have `draw_all` draw them in the
    thread that holds the models; and later each further order by itself.
    """

    def __init__(self, requests: int, hand_over: Callable[[list[PictureOrder]], None]) -> None:
        self._hand_over = hand_over
        self._awaited = requests
        self._orders: list[PictureOrder] = []
        self._lock = threading.Lock()

    def place(self, drawn: Callable[[], None] = lambda: None) -> Place:
        """Return the place of one request. drawn: is called when a picture of it is drawn, or is
        not drawn any more.
        """
        return Place(self, drawn)

    def arrive(self, order: PictureOrder | None) -> None:
        """Take a request's first order; None: it has none."""
        with self._lock:
            self._awaited -= 1
            if order is not None:
                self._orders.append(order)
            if self._awaited or not self._orders:
                return
        self._hand_over(self._orders)

    def draw_alone(self, order: PictureOrder) -> None:
        """Have a further picture of a request drawn."""
        self._hand_over([order])


class Place:
    """One request's place in a batch: used by the thread that does this request."""

    def __init__(self, batch: Batch, drawn: Callable[[], None]) -> None:
        self._batch = batch
        self._drawn = drawn
        self._arrived = False

    def draw(self, order: PictureOrder) -> Image.Image:
        """Return the picture, drawn together with those of the batch. Raises what ended it."""
        order.picture.add_done_callback(lambda picture: self._drawn())
        if self._arrived:
            self._batch.draw_alone(order)
        else:
            self._arrived = True
            self._batch.arrive(order)
        return order.picture.result()

    def leave(self) -> None:
        """Say that the request has ended: the others do not wait for it."""
        if not self._arrived:
            self._arrived = True
            self._batch.arrive(None)

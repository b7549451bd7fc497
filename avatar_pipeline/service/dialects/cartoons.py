"""Avatar Generation API: GET /generate-image and GET /health. No job: a cartoon is drawn inside the
server, in some milliseconds.
"""

from __future__ import annotations

import asyncio
import threading
from collections import OrderedDict
from concurrent.futures import Future, ThreadPoolExecutor
from typing import Annotated, Any, Literal, NamedTuple

from fastapi import APIRouter, Query, Request
from fastapi.responses import Response
from pydantic import BaseModel

import avatar_pipeline
from avatar_pipeline.cartoons.attributes import Size
from avatar_pipeline.cartoons.signed import Cartoon, Renderer, credited_cartoon
from avatar_pipeline.core.seeds import SEED_LIMIT, draw_seed
from avatar_pipeline.service.dialects.agent import AgentError
from avatar_pipeline.service.dialects.dialect import Dialect
from avatar_pipeline.service.errors import Unavailable

router = APIRouter(tags=["Avatar Generation API"])

MOST_KEPT = 32  # cartoons that were announced and not fetched yet, of some 20 kB each
RETRY_AFTER_S = 1  # seconds, in which a core draws and signs about as many as may wait by default


class Wish(NamedTuple):
    """What a request asks for. seed: -1 draws one."""

    seed: int
    size: Size
    renderer: Renderer
    transparent: bool


class CartoonQueue:
    """One thread draws and signs everything, one cartoon after the other. One per app, in
    app.state.cartoons.

    It holds Python's lock most of the time: two would only make each other wait, and the event loop
    with them.
    most: cartoons that may wait for it.
    """

    def __init__(self, most: int) -> None:
        self._most = most
        self._thread = ThreadPoolExecutor(1, "cartoons")
        self._counting = threading.Lock()
        self._asked = 0  # cartoons that wait, and the one that is being drawn
        # by what was asked for: drawn for a HEAD, and given to the GET that follows
        self._kept: OrderedDict[Wish, tuple[int, Cartoon]] = OrderedDict()

    async def announce(self, wish: Wish) -> tuple[int, Cartoon]:
        """Return what `draw` will return for the same wish, and keep it for that."""
        if wish not in self._kept:
            self._kept[wish] = await self._drawn(wish)
            while len(self._kept) > MOST_KEPT:
                self._kept.popitem(last=False)
        return self._kept[wish]

    async def draw(self, wish: Wish) -> tuple[int, Cartoon]:
        """Wait for a cartoon, and return it with its seed. Raises Unavailable at once when as many
        as may wait already, and as `credited_cartoon` does.
        """
        return self._kept.pop(wish, None) or await self._drawn(wish)

    async def _drawn(self, wish: Wish) -> tuple[int, Cartoon]:
        seed = draw_seed() if wish.seed == -1 else wish.seed
        with self._counting:
            if self._asked > self._most:
                raise Unavailable(
                    f"{self._most} cartoons are waiting, which is the most. Ask again later.",
                    retry_after=RETRY_AFTER_S,
                )
            self._asked += 1
        work = self._thread.submit(
            credited_cartoon, seed, wish.size, wish.renderer, wish.transparent
        )
        work.add_done_callback(self._done)
        return seed, await asyncio.wrap_future(work)

    def _done(self, work: Future[Cartoon]) -> None:
        with self._counting:
            self._asked -= 1


RESPONSE_HEADERS = {
    "X-Seed": ("the seed that was used; the same one gives the same pixels", "integer"),
    "X-Renderer": (
        "gan: the trained generator; dicebear: the baseline, drawn by DiceBear and not by a model",
        "string",
    ),
    "X-Model": ("what drew it, with the first twelve digits of its sha256", "string"),
    "X-Code": ("the code that drew it", "string"),
    "Content-Disposition": ("inline, with a file name", "string"),
}
PNG: dict[int | str, dict[str, Any]] = {
    200: {
        "description": "The cartoon: RGB on white, or RGBA with straight alpha; signed (C2PA).",
        "content": {"image/png": {"schema": {"type": "string", "format": "binary"}}},
        "headers": {
            name: {"description": words, "schema": {"type": kind}}
            for name, (words, kind) in RESPONSE_HEADERS.items()
        },
    }
}


class Health(BaseModel):
    """What GET /health answers."""

    message: Literal["okay"] = "okay"


@router.head("/health", include_in_schema=False)
@router.get("/health", summary="Whether the server runs")
async def health() -> Health:
    """Answers at once, whatever the worker and the queue are doing; needs no token."""
    return Health()


@router.head("/generate-image", include_in_schema=False)
@router.head("/api/generate-image", include_in_schema=False)
@router.get("/generate-image", response_class=Response, responses=PNG, summary="A cartoon avatar")
@router.get(
    "/api/generate-image",
    response_class=Response,
    responses=PNG,
    summary="A cartoon avatar: /generate-image under another name",
)
async def generate_image(
    request: Request,
    transparent: Annotated[
        bool, Query(description="whether the background is transparent; else it is white")
    ] = False,
    size: Annotated[Size, Query(description="small: 96x96 pixels, large: 128x128")] = "small",
    seed: Annotated[
        int,
        Query(
            ge=-1,
            lt=SEED_LIMIT,
            description="the same seed gives the same cartoon; -1 draws one, told in X-Seed",
            examples=[7],
        ),
    ] = -1,
    renderer: Annotated[
        Renderer,
        Query(
            description="gan: the trained generator; dicebear: the baseline, the same seed's "
            "attributes drawn by DiceBear"
        ),
    ] = "gan",
) -> Response:
    """Draws a cartoon avatar and answers with the PNG itself. Who it shows does not exist: a seed
    stands for a head with its hair, an expression, colours, and sometimes a beard, glasses or a
    mask.

    HEAD draws as well, for its length: that cartoon is kept for the next GET of the same address,
    which then draws nothing.
    """
    wish = Wish(seed, size, renderer, transparent)
    queue: CartoonQueue = request.app.state.cartoons
    used, made = await (queue.announce(wish) if request.method == "HEAD" else queue.draw(wish))
    return Response(
        made.png,
        media_type="image/png",
        headers={
            "X-Seed": str(used),
            "X-Renderer": renderer,
            "X-Model": f"{made.origin.model} {made.origin.model_sha256[:12]}",
            "X-Code": f"avatar_pipeline {avatar_pipeline.__version__}",
            "Content-Disposition": f'inline; filename="cartoon-{used}.png"',
            # A seed's cartoon is the same until other weights come; a drawn seed's address shows
            # another one each time.
            "Cache-Control": "no-store" if seed == -1 else "private, max-age=3600",
        },
    )


DIALECT: Dialect = Dialect(
    name="cartoons",
    router=router,
    prefixes=(
        "/generate-image",
        "/api/generate-image",
        "/health",
    ),
    error=AgentError,
)

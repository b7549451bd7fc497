"""The drawing of the chain on an actor's page: one box for each asset, arrows between them."""

from __future__ import annotations

from typing import Any

from PIL import Image

from avatar_pipeline.actors.store import ActorStore
from avatar_pipeline.history.images import loaders
from avatar_pipeline.pipeline.registry import STAGES
from avatar_pipeline.report.facts import AssetFacts
from avatar_pipeline.report.images import Inline, inline

THUMBNAIL = 200  # pixels, longer side
WORDS = {
    "pass": "made",
    "warn": "made",
    "stale": "out of date",
    "missing": "not made yet",
    "damaged": "damaged",
    "error": "error",
}


def _arcs() -> list[dict[str, str]]:
    """Return the arrows between assets that are not neighbours, as SVG paths.

    Boxes are 100 wide; an arc goes from the middle of one to the middle of another.
    """
    names = list(STAGES)
    found = []
    for target, stage in enumerate(STAGES.values()):
        sources = sorted(
            names.index(parent) for parent in stage.upstream if target - names.index(parent) > 1
        )
        for place, source in enumerate(sources):
            x0, x1 = source * 100 + 58, target * 100 + 42 - 10 * (len(sources) - 1 - place)
            top = 42 - 8.6 * (target - source) + 2 * place
            found.append(
                {
                    "line": f"M{x0} 45 C{x0} {top:.1f} {x1} {top:.1f} {x1} 40",
                    "head": f"M{x1 - 2.6} 40 L{x1 + 2.6} 40 L{x1} 45.5 Z",
                }
            )
    return found


ARCS = _arcs()


def box(store: ActorStore, asset: AssetFacts) -> dict[str, Any]:
    """Return what the template needs to draw an asset's box, and the arrow from its neighbour."""
    thumb = Inline("", asset.name)
    if asset.manifest is not None:
        found = loaders(store, asset.manifest)
        if found:
            name, load = next(iter(found.items()))
            thumb = inline(lambda: _square(load()), f"{name} of {asset.name}", THUMBNAIL, 75)
    # in the drawing, an arrow from the neighbour stands for what it reads, dotted where it only
    # waits for it
    names = list(STAGES)
    place = names.index(asset.name)
    waits = place > 0 and names[place - 1] not in asset.stage.upstream
    word = (
        asset.verdict
        if asset.verdict and asset.state in ("pass", "warn", "skipped")
        else WORDS[asset.state]
    )
    return {
        "facts": asset,
        "thumb": thumb,
        "waits": waits,
        "word": word,
        "reads": ", ".join(asset.stage.upstream),
    }


def _square(image: Image.Image) -> Image.Image:
    """Return the upper square of a high image, the left one of a wide one."""
    side = min(image.size)
    return image.crop((0, 0, side, side))

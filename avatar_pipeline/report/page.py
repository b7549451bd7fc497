"""One actor's page, and the index of all: facts and pictures poured into templates.

The threat: descriptions, file names and hints come from outside, and the page is opened in a
browser and passed on. The mechanism: every text is escaped by the templates, there is no script,
and the page's own policy lets the browser load nothing but data URIs.
"""

from __future__ import annotations

import base64
import hashlib
from collections import Counter
from collections.abc import Callable, Sequence
from functools import lru_cache, partial
from importlib.resources import files
from typing import Any

from jinja2 import Environment, PackageLoader
from markupsafe import Markup, escape
from PIL import Image

from avatar_pipeline import __version__
from avatar_pipeline.actors.manifest import Manifest
from avatar_pipeline.actors.store import ActorStore
from avatar_pipeline.core.clock import utc_now
from avatar_pipeline.core.errors import AvatarPipelineError
from avatar_pipeline.history.images import loaders, read_picture
from avatar_pipeline.history.versions import show
from avatar_pipeline.pipeline.registry import STAGES
from avatar_pipeline.report.facts import (
    STATES,
    ActorFacts,
    AssetFacts,
    by_severity,
    licences,
    missing_of,
    report_of,
    rows_of,
)
from avatar_pipeline.report.inline import Inline, inline

THUMBNAIL, PORTRAIT, SHEET, FACE = 200, 640, 1120, 640  # pixels, longer side
SMALL = 104  # of the index: twice what it is shown at
SHOWN_VERSIONS = 6  # of an asset's history; the command tells the others
CAPTIONS = {
    "curves": "Loss, and identity distance to the held-out pictures, by step",
    "comparison": "The same seeds without and with the LoRA",
    "probes": "Probes: the same prompts and seeds at each evaluation",
    "training_set": "What the LoRA is trained on",
    "held_out_set": "Held out: never trained on, the avatar is measured against them",
}
WORDS = {
    "pass": "made",
    "warn": "made",
    "stale": "out of date",
    "missing": "not made yet",
    "damaged": "damaged",
    "error": "error",
}


@lru_cache(maxsize=1)
def _templates() -> tuple[Environment, str, str]:
    """The templates, the style, and what the page's policy names it by."""
    environment = Environment(
        loader=PackageLoader("avatar_pipeline.report", "."),
        autoescape=True,
        trim_blocks=True,
    )
    environment.filters["breakable"] = lambda name: escape(name).replace("_", Markup("_<wbr>"))
    style = (files(__package__) / "style.css").read_text(encoding="utf-8")
    return (
        environment,
        style,
        base64.b64encode(hashlib.sha256(style.encode()).digest()).decode("ascii"),
    )


@lru_cache(maxsize=1)
def templates_state() -> str:
    """The sha256 of the program's version and the templates: with another, pages are written
    anew.
    """
    state = hashlib.sha256(__version__.encode())
    for name in ("base.html", "actor.html", "style.css"):
        state.update((files(__package__) / name).read_bytes())
    return state.hexdigest()


def _render(template: str, fingerprint: str, **values: Any) -> str:
    environment, style, style_hash = _templates()
    shared = {
        "style": Markup(style),
        "style_hash": style_hash,
        "made": utc_now(),
        "fingerprint": fingerprint,
    }
    return environment.get_template(template).render(**shared, **values)


def actor_page(store: ActorStore, facts: ActorFacts, price: float, fingerprint: str) -> str:
    """The page of one actor. price: of an hour of the device, in any currency; 0 leaves costs out.

    What cannot be read is told on the page, and the rest is shown all the same.
    """
    troubles = [facts.problem] if facts.problem else []
    troubles += [f"{asset.name}: {reason}" for asset in facts.assets for reason in asset.reasons]
    troubles += [
        f"{history.asset}: {problem}"
        for history in facts.histories
        for name, problem in history.damaged.items()
        if name != "manifest.json"  # already told as the asset's state
    ]

    def tried(read: Callable[[], Any], otherwise: Any) -> Any:
        """What can be read; what cannot is told."""
        try:
            return read()
        except (AvatarPipelineError, ValueError, KeyError, OSError) as error:
            if str(error) not in troubles:
                troubles.append(str(error))
            return otherwise

    made = {manifest.asset: manifest for manifest in facts.made}
    reports = {asset: tried(partial(report_of, store, made.get(asset)), {}) for asset in STAGES}
    checks = [
        (f"Checks of {asset}", *_checks(reports[asset]["checks"]))
        for asset in ("liveportrait_export", "face_validation")
        if reports[asset].get("checks")
    ]
    intake = tried(lambda: rows_of(store, made.get("photo_intake"), "intake.csv"), [])
    evaluations = tried(lambda: rows_of(store, made.get("lora"), "evaluations.csv"), [])
    values: dict[str, Any] = {
        "facts": facts,
        "portrait": _portrait(store, facts, PORTRAIT, f"Portrait of {facts.name}"),
        "chips": _chips(facts),
        "figures": _figures(facts, price),
        "sources": _sources(facts),
        "arcs": ARCS,
        "boxes": [_box(store, asset) for asset in facts.assets],
        "checks": checks,
        "candidates": tried(
            lambda: rows_of(store, made.get("validated_avatar"), "candidates.csv"), []
        ),
        "evaluations": [
            {
                "step": row.get("step", ""),
                "distance": _rounded(row.get("distance", "")),
                "faces": _rounded(row.get("face_rate", "")),
            }
            for row in evaluations
        ],
        "best_step": str(made["lora"].metrics.get("best_step")) if "lora" in made else "",
        "pictures": _pictures(store, made),
        "missing": tried(lambda: missing_of(store, made.get("photo_intake")), []),
        "rejected_photographs": [row for row in intake if row.get("decision") == "rejected"],
        "rejected": tried(
            lambda: rows_of(store, made.get("training_variations"), "rejected.csv"), []
        ),
        "times": _times(facts, price),
        "totals": _totals(facts, price),
        "price": f"{price:g}" if price else "",
        "histories": [history for history in facts.histories if history.versions],
        "shown_versions": SHOWN_VERSIONS,
        "licences": licences(
            facts.made, {report["analyzer"] for report in reports.values() if "analyzer" in report}
        ),
    }
    return _render("actor.html", fingerprint, troubles=troubles, **values)


def index_page(
    store: ActorStore, actors: Sequence[ActorFacts], pages: dict[str, str], price: float
) -> str:
    """The index. pages: the file of each actor's page; an actor that has none is listed without
    link and picture.
    """
    rows = []
    for facts in actors:
        shown = facts.name in pages
        words = (
            facts.problem.splitlines()[0]
            if facts.problem
            else facts.spec.description
            if facts.spec
            else ""
        )
        rows.append(
            {
                "facts": facts,
                "page": pages.get(facts.name, ""),
                "thumb": _portrait(store, facts, SMALL, f"Portrait of {facts.name}")
                if shown
                else Inline("", ""),
                "words": words if len(words) <= 160 else words[:157] + "...",
                "cost": _cost(facts.device_seconds, price) if facts.made else "-",
            }
        )
    counted = Counter(facts.summary[0] for facts in actors)
    labels = {
        "pass": "complete",
        "warn": "complete with warnings",
        **{state: text for state, text in STATES.items() if text},
    }
    counts = [(labels[state], counted[state]) for state in labels if counted[state]]
    return _render("index.html", "", rows=rows, counts=counts, price=f"{price:g}" if price else "")


def _arcs() -> list[dict[str, str]]:
    """The arrows between assets that are not neighbours: boxes are 100 wide, an arc from the middle
    of one to the middle of another.
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


def _box(store: ActorStore, asset: AssetFacts) -> dict[str, Any]:
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
        asset.verdict if asset.verdict and asset.state in ("pass", "warn") else WORDS[asset.state]
    )
    return {
        "facts": asset,
        "thumb": thumb,
        "waits": waits,
        "word": word,
        "reads": ", ".join(asset.stage.upstream),
    }


def _square(image: Image.Image) -> Image.Image:
    """The upper square of a high picture, the left one of a wide one."""
    side = min(image.size)
    return image.crop((0, 0, side, side))


def _portrait(store: ActorStore, facts: ActorFacts, longest: int, alt: str) -> Inline:
    """The picture that stands for an actor: the newest in the chain that there is."""
    for asset, file in (
        ("liveportrait_export", "{}.jpg"),
        ("validated_avatar", "{}_avatar.png"),
        ("base_image", "{}_base.png"),
    ):
        for manifest in facts.made:
            name = file.format(facts.name)
            if manifest.asset == asset and name in manifest.files:
                return inline(partial(read_picture, store, manifest, name), alt, longest, 82)
    return Inline("", alt)


def _pictures(store: ActorStore, made: dict[str, Manifest]) -> dict[str, list[tuple[Inline, str]]]:
    """(picture, caption) by section."""

    def shown(
        asset: str, names: Sequence[str], caption: str = "", longest: int = SHEET
    ) -> list[tuple[Inline, str]]:
        found = loaders(store, made[asset]) if asset in made else {}
        captions = {name: CAPTIONS.get(name, caption) for name in names}
        return [
            (inline(found[name], captions[name], longest), captions[name])
            for name in names
            if name in found
        ]

    return {
        "lora": shown("lora", ("curves", "comparison", "probes")),
        "photo_intake": shown(
            "photo_intake", ("contact_sheet",), "Every photograph: used, held out or rejected"
        ),
        "training_variations": shown("training_variations", ("training_set", "held_out_set")),
        "validated_avatar": shown(
            "validated_avatar", ("contact_sheet",), "All candidates, the best first"
        ),
        "face": shown(
            "face_validation", ("annotated",), "Base image, with what was found in it", FACE
        )
        + shown("validated_avatar", ("avatar",), "The validated avatar", FACE)
        + shown("liveportrait_export", ("portrait",), "The portrait for LivePortrait", FACE),
    }


def _checks(found: list[dict[str, Any]]) -> tuple[list[dict[str, Any]], list[dict[str, Any]]]:
    """Checks as rows of a table: those that do not pass, the worst first, and those that do."""
    rows = []
    for check in by_severity(found):
        kind = check.get("unit", "")
        unit = "" if kind in ("yes/no", "share", "ratio", "") else f" {kind}"
        value = check.get("value")
        if kind == "yes/no":
            shown, limit = "" if value is None else "yes" if value else "no", ""
        else:
            shown, limit = (
                "" if value is None else f"{value:.3g}{unit}",
                f"{check.get('threshold', '')}{unit}",
            )
        rows.append({**check, "shown": shown, "limit": limit})
    return [row for row in rows if row["verdict"] != "pass"], [
        row for row in rows if row["verdict"] == "pass"
    ]


def _chips(facts: ActorFacts) -> list[str]:
    if facts.spec is None:
        return []
    spec = facts.spec
    photos = {"none": "from a description", "folder": "from photographs"}.get(
        spec.photos, f"photographs: {spec.photos}"
    )
    return [
        f"{spec.likeness} person",
        photos,
        spec.framing.replace("_", " "),
        f"preset {spec.preset}",
    ]


def _figures(facts: ActorFacts, price: float) -> list[tuple[str, str, str]]:
    """(name, value, more) of what people ask first."""
    limit = facts.metric("validated_avatar", "max_distance")
    distance = "-" if facts.distance is None else f"{facts.distance:.3f}"
    seeds = list(dict.fromkeys(str(manifest.root_seed) for manifest in facts.made))
    memory = max((manifest.peak_memory_mb for manifest in facts.made), default=0.0)
    versions = sum(len(history.versions) for history in facts.histories)
    figures = [
        ("Identity distance", distance, f"limit {limit:.3f}" if isinstance(limit, float) else ""),
        ("Root seed", ", ".join(seeds) or "-", ""),
        ("Time", f"{facts.seconds:.0f} s", f"{facts.device_seconds:.0f} s on the device"),
        ("Peak memory", f"{memory / 1024:.1f} GiB" if memory else "-", ""),
        ("Versions kept", str(versions), ""),
        ("Last made", facts.last_made or "-", ""),
    ]
    return (
        [*figures, ("Cost", _cost(facts.device_seconds, price), f"at {price:g} an hour")]
        if price
        else figures
    )


def _sources(facts: ActorFacts) -> list[str]:
    found = ["actor.yaml"]
    photographs = facts.metric("photo_intake", "photographs")
    if facts.spec is not None and facts.spec.has_photographs:
        found.append(f"{photographs} photographs" if photographs else "photographs")
    models = list(dict.fromkeys(manifest.model_id for manifest in facts.made if manifest.model_id))
    return found + [f"model {model}" for model in models]


def _times(facts: ActorFacts, price: float) -> list[dict[str, str]]:
    longest = max((manifest.seconds for manifest in facts.made), default=0.0) or 1.0
    return [
        {
            "asset": manifest.asset,
            **_row(
                manifest.seconds, manifest.seconds if STAGES[manifest.asset].model else 0.0, price
            ),
            "share": f"{100 * manifest.seconds / longest:.1f}",
            "memory": f"{manifest.peak_memory_mb / 1024:.2f} GiB"
            if manifest.peak_memory_mb
            else "",
            "device": manifest.device,
        }
        for manifest in facts.made
    ]


def _totals(facts: ActorFacts, price: float) -> list[dict[str, str]]:
    every = [version.manifest for history in facts.histories for version in history.versions]
    device = sum(manifest.seconds for manifest in every if STAGES[manifest.asset].model)
    return [
        {"asset": "current versions", **_row(facts.seconds, facts.device_seconds, price)},
        {
            "asset": "all versions kept",
            **_row(sum(manifest.seconds for manifest in every), device, price),
        },
    ]


def _row(seconds: float, device: float, price: float) -> dict[str, str]:
    return {
        "seconds": f"{seconds:.1f}",
        "device_seconds": f"{device:.1f}" if device else "",
        "cost": _cost(device, price) if device else "",
    }


def _cost(seconds: float, price: float) -> str:
    """Money, with digits enough to tell small sums apart."""
    cost = seconds / 3600 * price
    return f"{cost:.2f}" if cost >= 1 else f"{cost:.4f}"


def _rounded(text: str) -> str:
    try:
        return show(float(text))
    except ValueError:
        return text

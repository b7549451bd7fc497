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

from avatar_pipeline import __version__
from avatar_pipeline.actors.store import ActorStore
from avatar_pipeline.core.clock import utc_now
from avatar_pipeline.core.errors import AvatarPipelineError
from avatar_pipeline.pipeline.registry import STAGES
from avatar_pipeline.report.chain_diagram import ARCS, box
from avatar_pipeline.report.facts import (
    STATES,
    ActorFacts,
    licences,
    missing_of,
    report_of,
    rows_of,
)
from avatar_pipeline.report.images import Inline, portrait, sections
from avatar_pipeline.report.tables import (
    check_rows,
    chips,
    cost,
    figures,
    rounded,
    sources,
    time_rows,
    total_rows,
)

PORTRAIT, SMALL = 640, 104  # pixels, longer side; SMALL is of the index, twice what it is shown at
SHOWN_VERSIONS = 6  # of an asset's history; the command lists the others


@lru_cache(maxsize=1)
def _templates() -> tuple[Environment, str, str]:
    """Return the templates, the style, and what the page's policy names it by."""
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
    """Return the sha256 of the program's version and the templates: with another, pages are written
    again.
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
    """Return the page of one actor. price: of an hour of the device, in any currency; 0 leaves
    costs out.

    What cannot be read is listed on the page, and the rest is shown all the same.
    """
    troubles = [facts.problem] if facts.problem else []
    troubles += [f"{asset.name}: {reason}" for asset in facts.assets for reason in asset.reasons]
    troubles += [
        f"{history.asset}: {problem}"
        for history in facts.histories
        for name, problem in history.damaged.items()
        if name != "manifest.json"  # already listed as the asset's state
    ]

    def tried(read: Callable[[], Any], otherwise: Any) -> Any:
        """Return what can be read; what cannot is listed on the page."""
        try:
            return read()
        except (AvatarPipelineError, ValueError, KeyError, OSError) as error:
            if str(error) not in troubles:
                troubles.append(str(error))
            return otherwise

    made = {manifest.asset: manifest for manifest in facts.made}
    reports = {asset: tried(partial(report_of, store, made.get(asset)), {}) for asset in STAGES}
    checks = [
        (f"Checks of {asset}", *check_rows(reports[asset]["checks"]))
        for asset in ("liveportrait_export", "face_validation")
        if reports[asset].get("checks")
    ]
    intake = tried(lambda: rows_of(store, made.get("photo_intake"), "intake.csv"), [])
    evaluations = tried(lambda: rows_of(store, made.get("lora"), "evaluations.csv"), [])
    values: dict[str, Any] = {
        "facts": facts,
        "portrait": portrait(store, facts, PORTRAIT, f"Portrait of {facts.name}"),
        "chips": chips(facts),
        "figures": figures(facts, price),
        "sources": sources(facts),
        "arcs": ARCS,
        "boxes": [box(store, asset) for asset in facts.assets],
        "checks": checks,
        "candidates": tried(
            lambda: rows_of(store, made.get("validated_avatar"), "candidates.csv"), []
        ),
        "evaluations": [
            {
                "step": row.get("step", ""),
                "distance": rounded(row.get("distance", "")),
                "faces": rounded(row.get("face_rate", "")),
            }
            for row in evaluations
        ],
        "best_step": str(made["lora"].metrics.get("best_step", "")) if "lora" in made else "",
        "pictures": sections(store, made),
        "missing": tried(lambda: missing_of(store, made.get("photo_intake")), []),
        "rejected_photographs": [row for row in intake if row.get("decision") == "rejected"],
        "rejected": tried(
            lambda: rows_of(store, made.get("training_variations"), "rejected.csv"), []
        ),
        "times": time_rows(facts, price),
        "totals": total_rows(facts, price),
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
    """Return the index. pages: the file of each actor's page; an actor that has none is listed
    without link and picture.
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
                "thumb": portrait(store, facts, SMALL, f"Portrait of {facts.name}")
                if shown
                else Inline("", ""),
                "words": words if len(words) <= 160 else words[:157] + "...",
                "cost": cost(facts.device_seconds, price) if facts.made else "-",
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

"""Facts of an actor as the words and the rows of its page's tables."""

from __future__ import annotations

from typing import Any

from avatar_pipeline.history.versions import format_value
from avatar_pipeline.pipeline.registry import STAGES
from avatar_pipeline.report.facts import ActorFacts, by_severity


def check_rows(found: list[dict[str, Any]]) -> tuple[list[dict[str, Any]], list[dict[str, Any]]]:
    """Return the checks as rows of a table: those that do not pass, the worst first, and those that
    do.
    """
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


def chips(facts: ActorFacts) -> list[str]:
    """Return what an actor is, in a few short labels; none without a specification."""
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


def figures(facts: ActorFacts, price: float) -> list[tuple[str, str, str]]:
    """Return (name, value, more) of what people ask first. price: of an hour of the device, 0
    leaves costs out.
    """
    limit = facts.metric("validated_avatar", "max_distance")
    distance = "-" if facts.distance is None else f"{facts.distance:.3f}"
    seeds = list(dict.fromkeys(str(manifest.root_seed) for manifest in facts.made))
    memory = max((manifest.peak_memory_mb for manifest in facts.made), default=0.0)
    versions = sum(len(history.versions) for history in facts.histories)
    found = [
        ("Identity distance", distance, f"limit {limit:.3f}" if isinstance(limit, float) else ""),
        ("Root seed", ", ".join(seeds) or "-", ""),
        ("Time", f"{facts.seconds:.0f} s", f"{facts.device_seconds:.0f} s on the device"),
        ("Peak memory", f"{memory / 1024:.1f} GiB" if memory else "-", ""),
        ("Versions kept", str(versions), ""),
        ("Last made", facts.last_made or "-", ""),
    ]
    return (
        [*found, ("Cost", cost(facts.device_seconds, price), f"at {price:g} an hour")]
        if price
        else found
    )


def sources(facts: ActorFacts) -> list[str]:
    """Return what the actor is made from, in words."""
    found = ["actor.yaml"]
    photographs = facts.metric("photo_intake", "photographs")
    if facts.spec is not None and facts.spec.has_photographs:
        found.append(f"{photographs} photographs" if photographs else "photographs")
    models = list(dict.fromkeys(manifest.model_id for manifest in facts.made if manifest.model_id))
    return found + [f"model {model}" for model in models]


def time_rows(facts: ActorFacts, price: float) -> list[dict[str, str]]:
    """Return a row for each current version: seconds, costs, memory, device."""
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


def total_rows(facts: ActorFacts, price: float) -> list[dict[str, str]]:
    """Return the sums over the current versions, and over all that are kept."""
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
        "cost": cost(device, price) if device else "",
    }


def cost(seconds: float, price: float) -> str:
    """Return the price of `seconds`, with digits enough to distinguish small sums."""
    amount = seconds / 3600 * price
    return f"{amount:.2f}" if amount >= 1 else f"{amount:.4f}"


def rounded(text: str) -> str:
    """Return a number of a CSV to few digits; other text as it is."""
    try:
        return format_value(float(text))
    except ValueError:
        return text

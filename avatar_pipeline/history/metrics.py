"""The figures of a materialization under the same names for every asset, and as Prometheus text.

Dagster plots them over time (numeric metadata of each materialization); Prometheus reads them from
a file (node_exporter's textfile collector). Without `per_actor`, Prometheus gets one set of series
for each asset however many actors there are; with it one for each
actor and asset: 7 assets of 10,000 actors are 70,000 series of each figure, more than one metric
should have.
"""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime

from avatar_pipeline.actors.manifest import Manifest
from avatar_pipeline.actors.store import ActorStore
from avatar_pipeline.core.errors import AvatarPipelineError
from avatar_pipeline.pipeline.registry import STAGES

# By figure, its help text in Prometheus.
HELP = {
    "seconds": "Seconds that the stage took, without waiting.",
    "waited_pool_seconds": "Seconds that the step waited for a slot of its pool.",
    "waited_actor_seconds": "Seconds that the stage waited for another run of the same actor.",
    "waited_device_seconds": "Seconds that the stage waited for the device.",
    "peak_memory_mb": "Peak memory in MiB: of the card, or of the process on a CPU.",
    "identity_distance": "Distance to the person's own pictures: less is more alike (lora, "
    "validated_avatar, liveportrait_export).",
    "rejected": "Pictures that were rejected (photo_intake, training_variations, "
    "validated_avatar).",
    "checks_failed": "Checks with an error.",
    "checks_warned": "Checks with a warning.",
    "age_seconds": "Seconds since the current version was made.",
}
QUANTILES = (0.5, 0.95, 1.0)


def figures(manifest: Manifest) -> dict[str, float]:
    """Return the figures of one version, by name; what does not apply to its asset is left out."""
    found: dict[str, float] = {
        "seconds": manifest.seconds,
        "peak_memory_mb": manifest.peak_memory_mb,
    }
    found |= {
        f"waited_{name}_seconds": seconds for name, seconds in manifest.waited_seconds.items()
    }
    metrics = manifest.metrics
    for value in (metrics.get("distance_after"), metrics.get("distance")):
        if isinstance(value, int | float):
            found["identity_distance"] = float(value)
            break
    candidates, passed, rejected = (
        metrics.get("candidates"),
        metrics.get("passed"),
        metrics.get("rejected"),
    )
    if isinstance(rejected, int):
        found["rejected"] = rejected
    elif isinstance(candidates, int) and isinstance(passed, int):
        found["rejected"] = candidates - passed
    if manifest.checks:
        verdicts = list(manifest.verdicts.values())
        found |= {"checks_failed": verdicts.count("error"), "checks_warned": verdicts.count("warn")}
    return found


@dataclass(frozen=True)
class Gauge:
    """One metric: its name, help, and values by labels."""

    name: str
    help: str
    labels: tuple[str, ...]
    values: Mapping[tuple[str, ...], float]


def store_gauges(
    store: ActorStore, actors: Sequence[str], *, per_actor: bool = False
) -> list[Gauge]:
    """Return the figures of the current versions of these actors. A manifest that cannot be read
    counts as damaged, and ends nothing.
    """
    now = datetime.now(UTC)
    found: dict[str, dict[tuple[str, ...], float]] = defaultdict(dict)
    versions: dict[tuple[str, ...], float] = dict.fromkeys(((asset,) for asset in STAGES), 0.0)
    damaged = dict(versions)
    for actor in actors:
        for asset in STAGES:
            try:
                if not store.has(actor, asset):
                    continue
                manifest = store.current(actor, asset)
            except AvatarPipelineError:
                damaged[(asset,)] += 1
                continue
            versions[(asset,)] += 1
            age = (now - datetime.fromisoformat(manifest.created)).total_seconds()
            for name, value in {**figures(manifest), "age_seconds": age}.items():
                found[name][(actor, asset)] = value
    gauges = [
        Gauge("avatar_pipeline_actors", "Actors in the store.", (), {(): float(len(actors))}),
        Gauge(
            "avatar_pipeline_versions_current", "Actors that have this asset.", ("asset",), versions
        ),
        Gauge(
            "avatar_pipeline_manifests_damaged",
            "Actors whose manifest of this asset cannot be read.",
            ("asset",),
            damaged,
        ),
    ]
    for name, text in HELP.items():
        if per_actor:
            gauges.append(Gauge(f"avatar_pipeline_{name}", text, ("actor", "asset"), found[name]))
        else:
            values = _quantiles(found[name])
            gauges.append(
                Gauge(
                    f"avatar_pipeline_{name}",
                    f"{text} Over all actors.",
                    ("asset", "quantile"),
                    values,
                )
            )
    return gauges


def _quantiles(values: Mapping[tuple[str, ...], float]) -> dict[tuple[str, ...], float]:
    """Return by asset and quantile, over all actors: the nearest rank, so that each is a value that
    occurs.
    """
    by_asset: dict[str, list[float]] = defaultdict(list)
    for (_, asset), value in values.items():
        by_asset[asset].append(value)
    return {
        (asset, f"{quantile:g}"): sorted(own)[round(quantile * (len(own) - 1))]
        for asset, own in by_asset.items()
        for quantile in QUANTILES
    }


def prometheus_text(gauges: Iterable[Gauge]) -> str:
    """Return the gauges in Prometheus' text format, version 0.0.4."""
    from prometheus_client import CollectorRegistry, generate_latest
    from prometheus_client import Gauge as PrometheusGauge

    registry = CollectorRegistry()  # an own one: the default would add figures of this process
    for gauge in gauges:
        series = PrometheusGauge(gauge.name, gauge.help, gauge.labels, registry=registry)
        for labels, value in gauge.values.items():
            (series.labels(*labels) if labels else series).set(value)
    return generate_latest(registry).decode()

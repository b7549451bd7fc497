"""What the pages show, read from the store: nothing is made, nothing is written, and what is
damaged is marked as damaged.
"""

from __future__ import annotations

import csv
import io
import json
from dataclasses import dataclass, field
from typing import Any

from avatar_pipeline.actors.consent.standing import require_consent
from avatar_pipeline.actors.manifest import Manifest
from avatar_pipeline.actors.photos import photographs
from avatar_pipeline.actors.spec import ActorSpec
from avatar_pipeline.actors.store import ActorStore
from avatar_pipeline.core.digests import short
from avatar_pipeline.core.errors import AvatarPipelineError, StoreError
from avatar_pipeline.diffusion.presets import PRESETS
from avatar_pipeline.faces.analyzers.types import LICENCES
from avatar_pipeline.history.versions import EXTERNAL, AssetHistory, asset_history, verdict_of
from avatar_pipeline.pipeline.registry import STAGES
from avatar_pipeline.pipeline.stage import PHOTOS, SPEC, Stage
from avatar_pipeline.pipeline.versions import photos_version, spec_version

# The state of an asset, in the order of how much it asks for a person.
STATES = {
    "damaged": "damaged",
    "error": "failed its checks",
    "stale": "out of date",
    "missing": "not made yet",
    "warn": "",
    "pass": "",
    "skipped": "",
}
SEVERITY = ("error", "warn", "not_assessed", "pass")


@dataclass(frozen=True)
class AssetFacts:
    """One asset of an actor. manifest: its current version. state: a key of STATES. reasons: why it
    is stale or damaged, in words.
    """

    stage: Stage
    manifest: Manifest | None
    state: str
    verdict: str
    reasons: list[str]

    @property
    def name(self) -> str:
        """The asset's name."""
        return self.stage.name


@dataclass(frozen=True)
class ActorFacts:
    """One actor. problem: why its actor.yaml, or its consent, cannot be used; then there is no
    spec, or there are no pictures.
    """

    name: str
    spec: ActorSpec | None
    problem: str
    assets: list[AssetFacts]
    histories: list[AssetHistory] = field(default_factory=list)

    @property
    def made(self) -> list[Manifest]:
        """The current versions, in the order of the chain."""
        return [asset.manifest for asset in self.assets if asset.manifest is not None]

    @property
    def seconds(self) -> float:
        """Seconds that the current versions took."""
        return sum(manifest.seconds for manifest in self.made)

    @property
    def device_seconds(self) -> float:
        """Seconds in which their stages held the device (the GPU, where there is one)."""
        return sum(manifest.seconds for manifest in self.made if STAGES[manifest.asset].model)

    @property
    def last_made(self) -> str:
        """When the newest current version was made, UTC, to the minute."""
        return max((manifest.created for manifest in self.made), default="")[:16].replace("T", " ")

    def metric(self, asset: str, name: str) -> Any:
        """Return a metric of an asset's current version, None where there is none."""
        return next(
            (manifest.metrics.get(name) for manifest in self.made if manifest.asset == asset), None
        )

    @property
    def distance(self) -> float | None:
        """The identity distance of the portrait, of the avatar where there is none yet."""
        found = [
            self.metric(asset, "distance") for asset in ("liveportrait_export", "validated_avatar")
        ]
        return next((value for value in found if isinstance(value, float)), None)

    @property
    def summary(self) -> tuple[str, str]:
        """The actor in one word (a key of STATES) and in a few."""
        if self.spec is None:
            return "damaged", "actor.yaml cannot be used"
        if self.problem:
            return "error", "no valid consent"
        worst = min((asset.state for asset in self.assets), key=list(STATES).index)
        if not self.made and worst == "missing":
            return "missing", "nothing made yet"
        names = [asset.name for asset in self.assets if asset.state == worst]
        if worst in ("damaged", "error", "stale", "missing"):
            return (
                worst,
                f"{STATES[worst]}: {names[0] if len(names) == 1 else f'{len(names)} assets'}",
            )
        return worst, "complete, with warnings" if worst == "warn" else "complete"


def actor_facts(store: ActorStore, name: str, histories: bool = True) -> ActorFacts:
    """Return everything about one actor. histories: also of all older versions, and whether its
    photographs changed.

    Raises ActorError for a name that no actor can have.
    """
    try:
        spec: ActorSpec | None = store.spec(name)
        problem = ""
    except AvatarPipelineError as error:
        spec, problem = None, str(error)
    if spec is not None:
        try:
            require_consent(spec, store.actor_dir(name), "generate")
        except AvatarPipelineError as error:
            problem = str(error)
    outside = {SPEC: spec_version(spec)} if spec else {}
    if histories and spec is not None and not problem:
        outside |= _photographs(store, spec)
    current: dict[str, Manifest] = {}
    assets = []
    # Who it is cannot be read, nor who would have to consent: nothing of the actor is shown.
    for stage in STAGES.values() if spec is not None else ():
        facts = _asset(
            store,
            name,
            stage,
            {**outside, **{asset: manifest.digest for asset, manifest in current.items()}},
        )
        if facts.manifest is not None:
            current[stage.name] = facts.manifest
        assets.append(facts)
    found = (
        [asset_history(store, name, asset) for asset in STAGES]
        if histories and spec is not None
        else []
    )
    return ActorFacts(name, spec, problem, assets, found)


def _asset(store: ActorStore, name: str, stage: Stage, present: dict[str, str]) -> AssetFacts:
    """Return the state of one asset. present: the versions that its inputs have now, as far as they
    are known.
    """
    try:
        manifest = store.current(name, stage.name)
    except StoreError as error:
        if (store.actor_dir(name) / stage.name / "manifest.json").is_file():
            return AssetFacts(stage, None, "damaged", "", [str(error)])
        return AssetFacts(stage, None, "missing", "", [])
    except AvatarPipelineError:  # never made, and actor.yaml is no help
        return AssetFacts(stage, None, "missing", "", [])
    reasons = []
    if not store.manifest_file(name, stage.name, manifest.digest).is_file():
        reasons.append(f"version {short(manifest.digest)}, to which it points, is not in the store")
        return AssetFacts(stage, manifest, "damaged", verdict_of(manifest), reasons)
    if manifest.code_version != stage.code_version:
        reasons.append(
            f"made by code version {manifest.code_version}, which is {stage.code_version} now"
        )
    for parent, digest in manifest.inputs.items():
        if parent in present and present[parent] != digest:
            text = (
                f"{EXTERNAL[parent]} changed"
                if parent in EXTERNAL
                else f"made from {parent} {short(digest)}; the current one is "
                f"{short(present[parent])}"
            )
            reasons.append(text)
    verdict = verdict_of(manifest)
    state = (
        "error"
        if verdict == "error"
        else "stale"
        if reasons
        else "skipped"
        if manifest.skipped
        else "warn"
        if "warning" in verdict
        else "pass"
    )
    return AssetFacts(stage, manifest, state, verdict, reasons)


def _photographs(store: ActorStore, spec: ActorSpec) -> dict[str, str]:
    """Return the version of the photographs as they are now; nothing where they cannot be read, or
    were never copied.
    """
    try:
        if spec.has_photographs and not photographs(store.actor_dir(spec.name) / "photos"):
            return {}
        return {PHOTOS: photos_version(store.photos(spec.name))}
    except (AvatarPipelineError, OSError):
        return {}


def report_of(store: ActorStore, manifest: Manifest | None) -> dict[str, Any]:
    """Return the report that a version of face_validation or liveportrait_export holds; empty
    without one.

    Raises StoreError when it is missing or was altered.
    """
    if manifest is None:
        return {}
    file = {"face_validation": "report.json", "liveportrait_export": f"{manifest.actor}.json"}.get(
        manifest.asset
    )
    found: dict[str, Any] = json.loads(store.read(manifest, file)) if file in manifest.files else {}
    return found


def by_severity(checks: list[dict[str, Any]]) -> list[dict[str, Any]]:
    """Return checks of a report, the worst first."""
    return sorted(
        checks,
        key=lambda check: SEVERITY.index(check["verdict"]) if check["verdict"] in SEVERITY else 0,
    )


def rows_of(store: ActorStore, manifest: Manifest | None, file: str) -> list[dict[str, str]]:
    """Return the rows of one CSV of a version; none without the version or the file. Raises
    StoreError when it was altered.
    """
    if manifest is None or file not in manifest.files:
        return []
    return list(csv.DictReader(io.StringIO(store.read(manifest, file).decode())))


def missing_of(store: ActorStore, manifest: Manifest | None) -> list[str]:
    """Return what photo_intake found missing among the photographs. Raises StoreError when its
    report was altered.
    """
    if manifest is None or "coverage.json" not in manifest.files:
        return []
    missing = json.loads(store.read(manifest, "coverage.json")).get("missing", [])
    return [str(text) for text in missing]


def licences(manifests: list[Manifest], analyzers: set[str]) -> list[tuple[str, str]]:
    """Return (what, its licence) for the models and the analyzers that made these versions."""
    found: dict[str, str] = {}
    for manifest in manifests:
        if manifest.model_id:
            preset = PRESETS.get(manifest.preset)
            own = preset is not None and preset.model_id == manifest.model_id
            unknown = "not known here: it is not the preset's own model"
            found[f"model {manifest.model_id} {manifest.model_revision}"] = (
                preset.licence if preset is not None and own else unknown
            )
    found |= {
        f"face analyzer {name}": LICENCES.get(name, "not known here") for name in sorted(analyzers)
    }
    return list(found.items())

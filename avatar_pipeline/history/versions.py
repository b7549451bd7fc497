"""Every version of an actor's assets: which is current, how it came about, and what changed against
the version before.
"""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Any

from avatar_pipeline.actors.manifest import Manifest
from avatar_pipeline.actors.store import ActorStore
from avatar_pipeline.core.digests import SHORT_DIGEST, short
from avatar_pipeline.core.errors import AvatarPipelineError, StoreError
from avatar_pipeline.core.words import count
from avatar_pipeline.history.restorations import Restoration, restorations
from avatar_pipeline.pipeline.registry import STAGES
from avatar_pipeline.pipeline.stage import MODEL, PHOTOS, SPEC

EXTERNAL = {SPEC: "actor.yaml", PHOTOS: "the photographs", MODEL: "the base model"}


@dataclass(frozen=True)
class Version:
    """One version of an asset. changes: in words, against the version made before it. restored:
    when it was made current again.
    """

    manifest: Manifest
    current: bool
    changes: list[str]
    restored: list[Restoration] = field(default_factory=list)

    @property
    def verdict(self) -> str:
        """ "pass", "error", "2 warnings", "skipped: why"; empty when the version holds none."""
        return verdict_of(self.manifest)

    def as_json(self) -> dict[str, Any]:
        """Return what `history --json` prints of it."""
        manifest = self.manifest
        return {
            "asset": manifest.asset,
            "digest": manifest.digest,
            "created": manifest.created,
            "current": self.current,
            "root_seed": manifest.root_seed,
            "code_version": manifest.code_version,
            "changes": self.changes,
            "metrics": manifest.metrics,
            "verdict": self.verdict,
            "seconds": round(manifest.seconds, 3),
            "run_id": manifest.run_id,
            "restored": [entry.model_dump() for entry in self.restored],
        }


@dataclass(frozen=True)
class AssetHistory:
    """All versions of an asset, newest first. damaged: what is wrong with versions, or the pointer,
    that cannot be read, by name.
    """

    asset: str
    versions: list[Version]
    damaged: dict[str, str]

    @property
    def current(self) -> Version | None:
        """The current version, None when there is none or it is unknown."""
        return next((version for version in self.versions if version.current), None)


def asset_history(store: ActorStore, name: str, asset: str) -> AssetHistory:
    """Return the history of one asset; empty when it was never made."""
    manifests, damaged = store.readable_versions(name, asset)
    current = ""
    try:
        current = store.current(name, asset).digest
    except AvatarPipelineError as error:  # of actor.yaml too, where there is no version
        if manifests or damaged:
            damaged["manifest.json"] = str(error)
    try:
        entries = restorations(store, name, asset)
    except StoreError as error:
        entries, damaged["restored.json"] = [], str(error)
    older: list[Manifest | None] = [*manifests, None][1:]
    versions = [
        Version(
            manifest,
            manifest.digest == current,
            changes(before, manifest),
            [entry for entry in entries if entry.digest == manifest.digest and entry.finished],
        )
        for manifest, before in zip(manifests, older, strict=True)
    ]
    return AssetHistory(asset, versions, damaged)


def actor_history(store: ActorStore, name: str, asset: str = "") -> list[AssetHistory]:
    """Return the histories of all assets of an actor that were ever made, or of one, in the order
    of the chain.

    Raises ActorError for an unknown actor, StoreError for an unknown asset or when nothing was made
    yet.
    """
    spec = store.spec(name)
    if asset:
        require_asset(asset)
    found = [asset_history(store, spec.name, each) for each in STAGES if not asset or each == asset]
    found = [history for history in found if history.versions or history.damaged]
    if not found:
        raise StoreError(
            f"{name} has {f'no {asset}' if asset else 'nothing'} yet. Make it: "
            f"avatar-pipeline run {name}"
        )
    return found


def require_asset(asset: str) -> None:
    """Raise StoreError when there is no such asset."""
    if asset not in STAGES:
        raise StoreError(f"There is no asset {asset!r}. Assets: {', '.join(STAGES)}.")


def find_version(store: ActorStore, name: str, asset: str, digest: str) -> Manifest:
    """Return the version whose digest begins with `digest`. Raises StoreError when there is none,
    or more than one.
    """
    store.spec(name)
    require_asset(asset)
    manifests, damaged = store.readable_versions(name, asset)
    found = [
        manifest for manifest in manifests if digest and manifest.digest.startswith(digest.lower())
    ]
    if len(found) == 1:
        return found[0]
    if found:
        known = ", ".join(manifest.digest[: len(digest) + 6] for manifest in found)
        raise StoreError(
            f"{digest!r} stands for {len(found)} versions of {name}'s {asset}: "
            f"{known}. Give more digits."
        )
    spoilt = next(
        (
            problem
            for folder, problem in damaged.items()
            if digest and folder.startswith(digest.lower())
        ),
        "",
    )
    if spoilt:
        raise StoreError(spoilt)
    known = ", ".join(short(manifest.digest) for manifest in manifests) or "none"
    raise StoreError(
        f"{name}'s {asset} has no version {digest!r}. Versions, newest first: {known}."
    )


def verdict_of(manifest: Manifest) -> str:
    """Return "pass", "error" or "2 warnings": of a version's checks, or from the counts that older
    manifests hold; "skipped: " and why for one whose stage did nothing; empty without any.
    """
    if manifest.skipped:
        return f"skipped: {manifest.skipped}"
    verdicts = list(manifest.verdicts.values())
    errors, warnings = verdicts.count("error"), verdicts.count("warn")
    if not verdicts:
        counts = [manifest.metrics.get(name) for name in ("errors", "warnings")]
        if not all(isinstance(count, int) for count in counts):
            return ""
        errors, warnings = (int(count or 0) for count in counts)
    if errors:
        return "error"
    return count(warnings, "warning") if warnings else "pass"


def main_metrics(manifest: Manifest) -> dict[str, Any]:
    """Return the few metrics by which a version is judged."""
    names = [
        name
        for name in (STAGES[manifest.asset].headline_metrics if manifest.asset in STAGES else ())
        if manifest.metrics.get(name) is not None
    ]
    return {name: manifest.metrics[name] for name in names or list(manifest.metrics)[:3]}


def changes(old: Manifest | None, new: Manifest) -> list[str]:
    """Return what changed since the version before, in words, causes first."""
    if old is None:
        return ["first version"]
    lines = []
    for name in dict.fromkeys([*old.inputs, *new.inputs]):
        before, now = old.inputs.get(name, ""), new.inputs.get(name, "")
        if before != now:
            label = EXTERNAL.get(name, name)
            lines.append(f"{label} {short(before) or 'none'} -> {short(now) or 'none'}")
    lines += [
        f"{name} {format_value(before)} -> {format_value(now)}"
        for name, before, now in differing(old.settings, new.settings)
    ]
    if old.root_seed != new.root_seed:
        lines.append(f"seed {old.root_seed} -> {new.root_seed}")
    facts = (
        "code_version",
        "preset",
        "model",
        "model_id",
        "model_revision",
        "model_sha256",
        "device",
    )
    for name in facts:
        before, now = getattr(old, name), getattr(new, name)
        if before != now:
            shorter = SHORT_DIGEST if name == "model_sha256" else 60
            lines.append(
                f"{name.replace('_', ' ')} {before[:shorter] or 'none'} -> "
                f"{now[:shorter] or 'none'}"
            )
    values = differing(old.preset_values, new.preset_values) if old.preset == new.preset else []
    lines += [
        f"preset's {name} {format_value(before)} -> {format_value(now)}"
        for name, before, now in values
    ]
    lines += [
        f"{name} {before} -> {now}" for name, before, now in differing(old.libraries, new.libraries)
    ]
    return lines or ["nothing that is recorded"]


def differing(old: Any, new: Any) -> list[tuple[str, Any, Any]]:
    """Return (name, old, new) of every key of two dicts whose values differ; None where one has no
    such key.
    """
    names = dict.fromkeys([*old, *new])
    return [
        (name, old.get(name), new.get(name)) for name in names if old.get(name) != new.get(name)
    ]


def format_value(value: Any) -> str:
    """Return a value as people read it: four significant digits, None as a dash."""
    if value is None:
        return "-"
    if isinstance(value, bool):
        return "yes" if value else "no"
    return f"{value:.4g}" if isinstance(value, float) else str(value)


def files_by_sha256(store: ActorStore, wanted: set[str]) -> dict[str, list[str]]:
    """Return which stored files have these contents: sha256 -> "file of actor's asset, version
    ...". Damaged manifests are passed over.
    """
    found: dict[str, list[str]] = {}
    for name in store.names():
        for asset in STAGES:
            versions, _ = store.readable_versions(name, asset)
            for manifest in versions:
                for file, entry in manifest.files.items():
                    if entry.sha256 in wanted:
                        said = f"{file} of {name}'s {asset}, version {short(manifest.digest)}"
                        found.setdefault(entry.sha256, []).append(said)
    return found

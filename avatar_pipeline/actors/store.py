"""The actor store: every actor's files, every version of them, each with the manifest that records
where it comes from.

    {root}/{actor}/actor.yaml, photos/               what people provide
    {root}/{actor}/{asset}/                          the current version, for people to look at
    {root}/{actor}/versions/{asset}/{digest}/        every version; what the pipeline reads
    {root}/{actor}/versions/{asset}/restored.json    which older versions were made current again
    {root}/{actor}/versions/names.json               what a renamed actor was called before
    {root}/{actor}/.checkpoints/{asset}.safetensors  the state of a stage that is under way, gone
    once its asset is published
    {root}/.revocations/{actor}.{moment}.json        receipts of revoked consents
    {root}/.locks/{actor}.lock                       held while publishing (on disks only)
    {root}/.locks/{actor}.turn.lock                  held while a stage runs; beside it .json: whose

A version exists if and only if its manifest.json exists, which is written last; then the asset's
own folder, whose manifest.json names which version is the current one, is exchanged whole. A writer
that is killed leaves the old state, and temporary files that the next publish removes.

The limits: an object store has no lock here, and two runs of one actor both do the work. Two
machines that publish the same asset at one moment leave sound versions and the later one's pointer,
but may mix the files of {asset}/, which the pipeline never reads.
"""

from __future__ import annotations

import logging
import re
import shutil
from collections.abc import Callable, Iterator, Mapping
from contextlib import AbstractContextManager, contextmanager
from pathlib import Path

from upath import UPath

from avatar_pipeline.actors.actor_locks import ActorLocks
from avatar_pipeline.actors.checkpoints import FOLDER, CheckpointFile
from avatar_pipeline.actors.consent.revoked import refuse_revoked
from avatar_pipeline.actors.files import (
    TEMPORARY,
    files_below,
    files_in,
    local,
    read_whole,
    shared,
    store_errors,
    sync_folder,
    write_atomic,
)
from avatar_pipeline.actors.former_names import former_names
from avatar_pipeline.actors.manifest import MANIFEST, Manifest
from avatar_pipeline.actors.name import ActorName
from avatar_pipeline.actors.photos import Photo, import_openpeople, load_photos, photographs
from avatar_pipeline.actors.root import ROOT_VARIABLE, data_root
from avatar_pipeline.actors.spec import ActorSpec, load_spec
from avatar_pipeline.actors.stored_version import (
    command,
    digest_of,
    entries_of,
    fill,
    load_manifest,
    put_current,
    remove_leftovers,
    remove_unfinished,
    writing_below,
)
from avatar_pipeline.core.digests import sha256_bytes
from avatar_pipeline.core.errors import ActorError, StoreError

ASSET = re.compile(r"(?!versions$|photos$)[a-z][a-z0-9_]*")
RECEIPT = re.compile(r"([a-z0-9_]+)\.[0-9TZ]+\.json")

logger = logging.getLogger(__name__)


class ActorStore:
    """The actors below one root: a local path or any fsspec URL."""

    def __init__(self, root: UPath | Path | str | None = None) -> None:
        root = shared(data_root() if root is None else root)
        path = local(root)
        self.root: UPath = root if path is None else UPath(path.resolve())
        self.locks = ActorLocks(self.root, self.spec)

    def actor_dir(self, name: str) -> UPath:
        """Return the actor's folder, whether it exists or not. Raises ActorError for a bad name, or
        a link that leads out.
        """
        folder = self.root / ActorName(name)
        if not folder.resolve().is_relative_to(self.root.resolve()):
            raise ActorError(
                f"{folder} leads out of {self.root}. Replace the link by a real folder."
            )
        return folder

    def names(self) -> list[ActorName]:
        """Return the actors, sorted: every folder with an actor.yaml. Raises StoreError when the
        root is missing.
        """
        with store_errors(self.root):
            return self._names()

    def _names(self) -> list[ActorName]:
        if not self.root.is_dir():
            raise StoreError(
                f"There is no folder {self.root}. Run from a checkout, or set {ROOT_VARIABLE} to "
                "the folder of the actors."
            )
        names = []
        for folder in self.root.iterdir():
            if not (folder / "actor.yaml").is_file():
                continue
            try:
                names.append(ActorName(folder.name))
            except ActorError as error:
                logger.warning("%s is left out: %s", folder, error)
        return sorted(names)

    def spec(self, name: str) -> ActorSpec:
        """Return the actor's validated actor.yaml. Raises ActorError for an unknown actor or a bad
        file.
        """
        path = self.actor_dir(name) / "actor.yaml"
        with store_errors(path):
            there = path.is_file()
        if not there:
            known = ", ".join(self.names()) or "none"
            raise ActorError(
                f"There is no actor {name!r}: {path} is missing. Actors: {known}. Make one: "
                f"avatar-pipeline new-actor {name}"
            )
        spec = load_spec(path, ActorName(name))
        return spec.called_first(former_names(path.parent).first)

    def photos(self, name: str) -> list[Photo]:
        """Return the actor's photographs, as `load_photos` gives them, consent checked first.

        The pictures of a synthetic person (photos: openpeople:...) are copied into photos/ at the
        first call.
        """
        spec = self.spec(name)
        folder = self.actor_dir(name)
        if spec.photos.startswith("openpeople:") and not photographs(folder / "photos"):
            with self.locks.write(spec.name):
                remove_leftovers(folder, ".photos.*.tmp")
                import_openpeople(spec.photos.removeprefix("openpeople:"), folder / "photos")
        return load_photos(folder, spec)

    def publish(self, manifest: Manifest, files: Mapping[str, bytes]) -> Manifest:
        """Store one materialization and make it the current version; returns the manifest with
        `digest` and `files` filled in.

        files: contents by relative name, such as "held_out/0001.png". The same contents again make
        no second version: their manifest is replaced, since the newest materialization is the one
        whose inputs and settings hold. Raises ActorError when the actor's consent was revoked;
        StoreError for a name that cannot be stored, when the disk is full, read-only or gone, or
        when another process keeps publishing for two minutes. What was stored before is then as it
        was.
        """
        name = ActorName(manifest.actor)
        entries = entries_of(name, manifest.asset, files)
        digest = digest_of(entries)
        text = manifest.model_copy(update={"digest": digest, "files": entries}).to_json()
        current = self._asset_dir(name, manifest.asset)
        with self.locks.write(name), writing_below(current):
            refuse_revoked(current.parent, manifest.asset)
            for folder, depth in (
                (current.parent, ""),
                (current, "**/"),
                (self._versions_dir(name, manifest.asset), "**/"),
            ):
                remove_leftovers(folder, depth + TEMPORARY)
            version = self._versions_dir(name, manifest.asset) / digest
            fill(version, files)
            write_atomic(version / MANIFEST, text.encode())
            for folder in (version, version.parent, version.parent.parent):
                sync_folder(folder)
            put_current(current, {**files, MANIFEST: text.encode()})
            remove_unfinished(self._versions_dir(name, manifest.asset))
            self.checkpoint(name, manifest.asset).clear()
        return Manifest.from_json(text)

    def checkpoint(self, name: str, asset: str) -> CheckpointFile:
        """Return the place for the state of a stage that is under way; `publish` clears it."""
        return CheckpointFile(self._asset_dir(name, asset).parent / FOLDER / f"{asset}.safetensors")

    def has(self, name: str, asset: str) -> bool:
        """Return whether the actor has a current version of the asset."""
        return (self._asset_dir(name, asset) / MANIFEST).is_file()

    def current(self, name: str, asset: str) -> Manifest:
        """Return the manifest of the asset's current version. Raises StoreError when the asset was
        never materialized, or is damaged.
        """
        path = self._asset_dir(name, asset) / MANIFEST
        if not path.is_file():
            self.spec(name)  # an unknown actor is the better explanation
            raise StoreError(
                f"{name} has no {asset} yet. Materialize it first: {command(name, asset)}"
            )
        return load_manifest(path, name, asset)

    def version(self, name: str, asset: str, digest: str) -> Manifest | None:
        """Return the manifest of one version, None when there is none; the others, which may be
        damaged, are not looked at.
        """
        path = self._versions_dir(name, asset) / digest / MANIFEST
        return load_manifest(path, name, asset) if path.is_file() else None

    def versions(self, name: str, asset: str) -> list[Manifest]:
        """Return the manifests of all versions of an asset, newest first."""
        folder = self._versions_dir(name, asset)
        if not folder.is_dir():
            return []
        paths = [version / MANIFEST for version in folder.iterdir()]
        manifests = [load_manifest(path, name, asset) for path in paths if path.is_file()]
        return sorted(
            manifests, key=lambda manifest: (manifest.created, manifest.digest), reverse=True
        )

    def readable_versions(self, name: str, asset: str) -> tuple[list[Manifest], dict[str, str]]:
        """Return as `versions`, but damage hides nothing else: the manifests that can be read, and
        by folder what is wrong with the others.
        """
        folder = self._versions_dir(name, asset)
        manifests, damaged = [], {}
        for version in (
            sorted(folder.iterdir(), key=lambda path: path.name) if folder.is_dir() else ()
        ):
            try:
                if (version / MANIFEST).is_file():
                    manifests.append(load_manifest(version / MANIFEST, name, asset))
            except (StoreError, OSError) as error:
                damaged[version.name] = str(error)
        return sorted(
            manifests, key=lambda manifest: (manifest.created, manifest.digest), reverse=True
        ), damaged

    def manifest_file(self, name: str, asset: str, digest: str) -> UPath:
        """Return where a version's manifest lies, if it is there."""
        return self._versions_dir(name, asset) / digest / MANIFEST

    def restored_file(self, name: str, asset: str) -> UPath:
        """Return where avatar_pipeline.history.restorations keeps what was made current again."""
        return self._versions_dir(name, asset) / "restored.json"

    def actor_lock(
        self, name: str, work: str = "", log: Callable[[str], None] = logger.info
    ) -> AbstractContextManager[float]:
        """Work on this actor alone while the block runs (ActorLocks.work)."""
        return self.locks.work(name, work, log)

    def consent_lock(self, name: str) -> Path | None:
        """Return the lock that a change of an actor's consent record holds; None in an object
        store.
        """
        return self.locks.consent(name)

    @contextmanager
    def writing(self, name: str) -> Iterator[None]:
        """Hold the actor alone: no run works on it, no other process restores or prunes. What
        `make_current` and `remove` want held.
        """
        with self.actor_lock(name, "history", logger.warning), self.locks.write(ActorName(name)):
            yield

    def make_current(self, manifest: Manifest, files: Mapping[str, bytes]) -> None:
        """Make a version that exists the current one. files: its contents, verified (`read_all`).
        Call while `writing`.
        """
        current = self._asset_dir(manifest.actor, manifest.asset)
        refuse_revoked(current.parent, manifest.asset)
        with writing_below(current):
            put_current(current, {**files, MANIFEST: manifest.to_json().encode()})

    def remove(self, name: str, asset: str, digest: str) -> None:
        """Remove a version for good. Call while `writing`, for a version that no manifest refers
        to.

        Its manifest goes first: killed in the middle, the version is gone, and the next publish or
        prune removes the rest of its files.
        """
        folder = self._versions_dir(name, asset) / digest
        (folder / MANIFEST).unlink(missing_ok=True)
        sync_folder(folder)
        for path in files_below(folder).values():
            path.unlink(missing_ok=True)
        if (disk := local(folder)) is not None and disk.is_dir():
            shutil.rmtree(disk)

    def remove_unfinished(self, name: str, asset: str) -> None:
        """Remove what killed writers of an asset's versions left behind. Call while `writing`."""
        if self._versions_dir(name, asset).is_dir():
            remove_leftovers(self._versions_dir(name, asset), f"**/{TEMPORARY}")
            remove_unfinished(self._versions_dir(name, asset))

    def read(self, manifest: Manifest, file: str) -> bytes:
        """Return the content of one file of a version, its sha256 verified. Raises StoreError when
        it is missing or was altered.
        """
        again = f"materialize again: {command(manifest.actor, manifest.asset)}"
        if file not in manifest.files:
            names = ", ".join(manifest.files)
            raise StoreError(
                f"{manifest.asset} of {manifest.actor} has no file {file!r}, only "
                f"{names}. If it should, {again}"
            )
        path = self._versions_dir(manifest.actor, manifest.asset) / manifest.digest / file
        try:
            data = read_whole(path)
        except OSError as error:
            raise StoreError(
                f"{path} is missing or unreadable ({error}). Restore it from a copy, or {again}"
            ) from None
        found = sha256_bytes(data)
        if found != manifest.files[file].sha256:
            recorded = manifest.files[file].sha256
            raise StoreError(
                f"{path} was altered after it was stored: its sha256 is {found}, the manifest "
                f"says {recorded}. "
                f"Restore it from a copy, or {again}"
            )
        return data

    def read_all(self, manifest: Manifest) -> dict[str, bytes]:
        """Return all files of a version by name, verified as `read` does."""
        return {file: self.read(manifest, file) for file in manifest.files}

    def _asset_dir(self, name: str, asset: str) -> UPath:
        if not ASSET.fullmatch(asset):
            raise StoreError(
                f"{asset!r} is not the name of an asset. Use a name such as base_image."
            )
        return self.actor_dir(name) / asset

    def _versions_dir(self, name: str, asset: str) -> UPath:
        return self._asset_dir(name, asset).parent / "versions" / asset

    def receipts_folder(self) -> UPath:
        """Return where receipts of revocations are."""
        return self.root / ".revocations"

    def receipt_files(self) -> list[tuple[str, UPath]]:
        """Return all receipts of revocations, each with the actor's name; temporary files of their
        writers are left out.
        """
        found = [(RECEIPT.fullmatch(path.name), path) for path in files_in(self.receipts_folder())]
        return [(match[1], path) for match, path in found if match]

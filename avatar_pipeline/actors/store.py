"""The actor store: every actor's files, every version of them, each with the manifest that records
where it comes from.

    {root}/{actor}/actor.yaml, photos/               what people provide
    {root}/{actor}/{asset}/                          the current version, for people to look at
    {root}/{actor}/versions/{asset}/{digest}/        every version; what the pipeline reads
    {root}/{actor}/versions/{asset}/restored.json    which older versions were made current again,
    when and by whom
    {root}/{actor}/.checkpoints/{asset}.safetensors  the state of a stage that is under way, gone
    once its asset is published
    {root}/.revocations/{actor}.{moment}.json        receipts of revoked consents, which outlive the
    actor's folder
    {root}/.locks/{actor}.lock                       held while publishing (local and mounted disks
    only)
    {root}/.locks/{actor}.turn.lock                  held while a stage of the actor runs; beside
    it, .json: by whom

A version exists if and only if its manifest.json exists, which is written last; then the asset's
own folder, whose manifest.json names which version is the current one, is exchanged whole. A writer
that is killed leaves the old state, and temporary files that the next publish removes.

The limits: an object store has no lock here. Two runs of one actor are then not kept apart: both do
the work. Two machines that publish the same asset of one actor at the same moment leave sound
versions, and the pointer of the later one, but may mix the files of {asset}/, which the pipeline
never reads.
"""

from __future__ import annotations

import logging
import os
import re
import shutil
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path

from filelock import FileLock, Timeout
from upath import UPath

from avatar_pipeline.actors.checkpoints import FOLDER, CheckpointFile
from avatar_pipeline.actors.consent.record import refuse_revoked
from avatar_pipeline.actors.files import (
    TEMPORARY,
    files_below,
    files_in,
    local,
    put_folder,
    read_whole,
    remove_empty_folders,
    shared,
    store_errors,
    sync_folder,
    unwritable,
    write_atomic,
)
from avatar_pipeline.actors.manifest import FileEntry, Manifest
from avatar_pipeline.actors.name import ActorName
from avatar_pipeline.actors.photos import Photo, import_openpeople, load_photos, photographs
from avatar_pipeline.actors.spec import ActorSpec, load_spec
from avatar_pipeline.core.digests import digest_files, sha256_bytes
from avatar_pipeline.core.errors import ActorError, StoreError
from avatar_pipeline.core.locks import hold, prepare

MANIFEST = "manifest.json"
ROOT_VARIABLE = "AVATAR_DATA"
# publishing a LoRA of some 100 MB to a slow network disk takes a tenth of that
LOCK_SECONDS = 120.0
ASSET = re.compile(r"(?!versions$|photos$)[a-z][a-z0-9_]*")
RECEIPT = re.compile(r"([a-z0-9_]+)\.[0-9TZ]+\.json")
FILE_NAME = re.compile(r"[A-Za-z0-9_][A-Za-z0-9._-]*(/[A-Za-z0-9_][A-Za-z0-9._-]*)*")

logger = logging.getLogger(__name__)


def data_root() -> UPath:
    """Return where the actors lie: the variable AVATAR_DATA (a path, or a URL such as
    s3://bucket/actors), else data/actors.
    """
    chosen = os.environ.get(ROOT_VARIABLE)
    return UPath(chosen) if chosen else UPath(Path(__file__).parents[2] / "data" / "actors")


class ActorStore:
    """The actors below one root: a local path or any fsspec URL."""

    def __init__(self, root: UPath | Path | str | None = None) -> None:
        root = shared(data_root() if root is None else root)
        path = local(root)
        self.root: UPath = root if path is None else UPath(path.resolve())

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
        return load_spec(path, ActorName(name))

    def photos(self, name: str) -> list[Photo]:
        """Return the actor's photographs, as `load_photos` gives them, consent checked first.

        The pictures of a synthetic person (photos: openpeople:...) are copied into photos/ at the
        first call.
        """
        spec = self.spec(name)
        folder = self.actor_dir(name)
        if spec.photos.startswith("openpeople:") and not photographs(folder / "photos"):
            with self._lock(spec.name):
                self._remove_leftovers(folder, ".photos.*.tmp")
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
        for file in files:
            if not FILE_NAME.fullmatch(file) or file == MANIFEST:
                raise StoreError(
                    f"{name}: {file!r} cannot be a file of {manifest.asset}. Use "
                    "letters, digits, '.', '_' and '-'."
                )
        entries = {
            file: FileEntry(sha256=sha256_bytes(files[file]), bytes=len(files[file]))
            for file in sorted(files)
        }
        digest = _digest(entries)
        text = manifest.model_copy(update={"digest": digest, "files": entries}).to_json()
        current = self._asset_dir(name, manifest.asset)
        with self._lock(name), self._written(current):
            refuse_revoked(current.parent, manifest.asset)
            for folder, depth in (
                (current.parent, ""),
                (current, "**/"),
                (self._versions_dir(name, manifest.asset), "**/"),
            ):
                self._remove_leftovers(folder, depth + TEMPORARY)
            version = self._versions_dir(name, manifest.asset) / digest
            _fill(version, files)
            write_atomic(version / MANIFEST, text.encode())
            for folder in (version, version.parent, version.parent.parent):
                sync_folder(folder)
            self._put_current(current, {**files, MANIFEST: text.encode()})
            self._remove_unfinished(name, manifest.asset)
            self.checkpoint(name, manifest.asset).clear()
        return Manifest.from_json(text)

    def _put_current(self, current: UPath, files: Mapping[str, bytes]) -> None:
        """Make these files the current version, all at once on a disk; in an object store the
        manifest comes last.
        """
        path = local(current)
        contents = {file: data for file, data in files.items() if file != MANIFEST}
        if path is not None and not _holds(current, contents):
            put_folder(path, files)
            return
        _fill(current, contents)
        write_atomic(current / MANIFEST, files[MANIFEST])
        sync_folder(current)

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
                f"{name} has no {asset} yet. Materialize it first: {_command(name, asset)}"
            )
        return _load_manifest(path, name, asset)

    def version(self, name: str, asset: str, digest: str) -> Manifest | None:
        """Return the manifest of one version, None when there is none; the others, which may be
        damaged, are not looked at.
        """
        path = self._versions_dir(name, asset) / digest / MANIFEST
        return _load_manifest(path, name, asset) if path.is_file() else None

    def versions(self, name: str, asset: str) -> list[Manifest]:
        """Return the manifests of all versions of an asset, newest first."""
        folder = self._versions_dir(name, asset)
        if not folder.is_dir():
            return []
        paths = [version / MANIFEST for version in folder.iterdir()]
        manifests = [_load_manifest(path, name, asset) for path in paths if path.is_file()]
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
                    manifests.append(_load_manifest(version / MANIFEST, name, asset))
            except (StoreError, OSError) as error:
                damaged[version.name] = str(error)
        return sorted(
            manifests, key=lambda manifest: (manifest.created, manifest.digest), reverse=True
        ), damaged

    def manifest_file(self, name: str, asset: str, digest: str) -> UPath:
        """Return where a version's manifest lies, whether it is there or not."""
        return self._versions_dir(name, asset) / digest / MANIFEST

    def restored_file(self, name: str, asset: str) -> UPath:
        """Return where avatar_pipeline.history.restorations keeps what was made current again."""
        return self._versions_dir(name, asset) / "restored.json"

    @contextmanager
    def writing(self, name: str) -> Iterator[None]:
        """Hold the actor alone: no run works on it, no other process restores or prunes. What
        `make_current` and `remove` want held.
        """
        with self.actor_lock(name, "history", logger.warning), self._lock(ActorName(name)):
            yield

    def make_current(self, manifest: Manifest, files: Mapping[str, bytes]) -> None:
        """Make a version that exists the current one. files: its contents, verified (`read_all`).
        Call while `writing`.
        """
        current = self._asset_dir(manifest.actor, manifest.asset)
        refuse_revoked(current.parent, manifest.asset)
        with self._written(current):
            self._put_current(current, {**files, MANIFEST: manifest.to_json().encode()})

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
            self._remove_leftovers(self._versions_dir(name, asset), f"**/{TEMPORARY}")
            self._remove_unfinished(ActorName(name), asset)

    def read(self, manifest: Manifest, file: str) -> bytes:
        """Return the content of one file of a version, its sha256 verified. Raises StoreError when
        it is missing or was altered.
        """
        again = f"materialize again: {_command(manifest.actor, manifest.asset)}"
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

    @contextmanager
    def actor_lock(
        self, name: str, work: str = "", log: Callable[[str], None] = logger.info
    ) -> Iterator[float]:
        """Work on this actor alone while the block runs; yields the seconds that were waited for
        it.

        work: what for, for those who wait. Stages read, checkpoint and publish within it; a run
        that wants a pool's slot takes that before, and the device after. Raises StoreError when the
        lock cannot be made. An object store has no such lock.
        """
        path = self._lock_path(ActorName(name), "turn.lock")
        if path is None:
            yield 0.0
            return
        with hold(path, f"the actor {name}", work, log) as waited:
            yield waited

    def consent_lock(self, name: str) -> Path | None:
        """Return the lock that a change of an actor's consent record holds; None in an object
        store.
        """
        return self._lock_path(ActorName(name), "consent.lock")

    def _lock_path(self, name: ActorName, suffix: str) -> Path | None:
        """Return a lock outside of the actor's folder, which may be deleted; None in an object
        store.
        """
        root = local(self.root)
        if root is None:
            return None
        if not (root / name / "actor.yaml").is_file():
            self.spec(name)  # says what is missing
        path = root / ".locks" / f"{name}.{suffix}"
        prepare(path)
        return path

    @contextmanager
    def _lock(self, name: ActorName) -> Iterator[None]:
        """Hold the actor's lock of writers, across processes."""
        path = self._lock_path(name, "lock")
        if path is None:
            yield
            return
        lock = FileLock(path, timeout=LOCK_SECONDS)
        try:
            lock.acquire()
        except Timeout:
            raise StoreError(
                f"Another process has been writing to {name} for {LOCK_SECONDS:.0f} s (it holds "
                f"{path}). Wait for it or end it."
            ) from None
        try:
            yield
        finally:
            lock.release()

    @contextmanager
    def _written(self, folder: UPath) -> Iterator[None]:
        """Raise what the disk refuses while the block writes below `folder` as StoreError."""
        try:
            yield
        except OSError as error:
            raise unwritable(error.filename or folder, error) from error

    def _remove_leftovers(self, folder: UPath, pattern: str) -> None:
        """Remove what killed writers left behind. Call with the lock held: then whatever matches is
        a leftover.
        """
        path = local(folder)
        for leftover in list(path.glob(pattern)) if path is not None and path.is_dir() else ():
            shutil.rmtree(leftover) if leftover.is_dir() else leftover.unlink(missing_ok=True)

    def _remove_unfinished(self, name: ActorName, asset: str) -> None:
        """Remove version folders without a manifest. Only where the lock excludes that one is being
        written right now.
        """
        path = local(self._versions_dir(name, asset))
        for version in path.iterdir() if path is not None else ():
            if version.is_dir() and not (version / MANIFEST).is_file():
                shutil.rmtree(version)


def _holds(folder: UPath, files: Mapping[str, bytes]) -> bool:
    """Return whether the folder has exactly these files beside its manifest."""
    present = files_below(folder)
    return present.keys() - {MANIFEST} == files.keys() and all(
        present[file].read_bytes() == data for file, data in files.items()
    )


def _fill(folder: UPath, files: Mapping[str, bytes]) -> None:
    """Give the folder exactly these files, manifest.json left as it is.

    On a disk files that are right already are not written again; in an object store writing costs
    less than comparing.
    """
    present = files_below(folder)
    on_disk = local(folder) is not None
    for file, data in files.items():
        if not on_disk or file not in present or present[file].read_bytes() != data:
            write_atomic(folder / file, data)
    for file, path in present.items():
        if file not in files and file != MANIFEST:
            path.unlink()
    remove_empty_folders(folder)
    for parent in {(folder / file).parent for file in files}:
        sync_folder(parent)


def _load_manifest(path: UPath, name: str, asset: str) -> Manifest:
    """Return a manifest that fits its place, and whose digest is that of its files."""
    try:
        text = read_whole(path)
    except OSError as error:
        raise unwritable(path, error) from error
    manifest = Manifest.from_json(text, name=str(path))
    if (manifest.actor, manifest.asset) != (name, asset):
        raise StoreError(
            f"{path} belongs to {manifest.asset} of {manifest.actor}. Put the right file back: "
            f"{_command(name, asset)}"
        )
    if _digest(manifest.files) != manifest.digest:
        raise StoreError(
            f"{path} was altered: its files do not give its digest. Restore it, or materialize "
            f"again: {_command(name, asset)}"
        )
    return manifest


def _digest(entries: Mapping[str, FileEntry]) -> str:
    return digest_files({file: entry.sha256 for file, entry in entries.items()})


def _command(name: str, asset: str) -> str:
    return (
        f"dagster asset materialize -m avatar_pipeline.definitions --select {asset} --partition "
        f"{name}"
    )

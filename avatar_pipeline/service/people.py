"""Whom a file shows that comes with a request: known by the sha256 of its bytes.

The threat: a picture of a person, fetched while consent held, comes back as the input of another request once it has ended.
The mechanism: of every real person there is a set of digests: the photographs, every file of every version, the drop-in portrait, what was
handed out (actors/handed_out.py: portraits and pictures of this service, its previews, in any generation), and what a revocation deleted
(its receipts). A file with one of them shows that person.
Its limits: a picture that was saved again, scaled, cropped or photographed has other bytes and is not recognised; after a revocation
nothing is left of a face that it could be compared with. Whoever sends such a picture declares consent (consent.py).
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from pathlib import Path
from threading import Lock
from typing import Any, TypeVar

from pydantic import ValidationError
from upath import UPath

from avatar_pipeline.actors import handed_out
from avatar_pipeline.actors.consent import FILE, is_real
from avatar_pipeline.actors.export import drop_in_path
from avatar_pipeline.actors.files import files_below, files_in, local, read_whole
from avatar_pipeline.actors.store import MANIFEST, ActorStore
from avatar_pipeline.consent.receipt import FOLDER as REVOCATIONS
from avatar_pipeline.consent.receipt import Receipt
from avatar_pipeline.errors import StoreError
from avatar_pipeline.provenance.digests import sha256_bytes
from avatar_pipeline.provenance.manifest import Manifest

Result = TypeVar("Result")


class PeopleIndex:
    """What files of real people there are. Files that have not changed since the last question are not read again."""

    def __init__(self, store: ActorStore) -> None:
        self.store = store
        self._read: dict[str, tuple[Any, Any]] = {}  # by path: its state, and what was found in it
        self._lock = Lock()

    def shown_by(self, sha256: str) -> set[str]:
        """The actors, real people, whom a file with this digest shows. Raises StoreError or OSError when that cannot be told."""
        with self._lock:
            found = set((self._once(UPath(handed_out.ledger_file()), _of_ledger) or {}).get(sha256, ()))
            for path in files_in(self.store.root / REVOCATIONS):
                if sha256 in (self._once(path, _of_receipt) or ()):
                    found.add(path.name.split(".")[0])
            for name in self.store.names():
                if name not in found and self._may_be_real(name) and any(sha256 in digests for digests in self._digests(name)):
                    found.add(name)
            return found

    def _may_be_real(self, name: str) -> bool:
        folder = self.store.actor_dir(name)
        return self._once(folder / "actor.yaml", lambda _: is_real(folder)) is not False or (folder / FILE).exists()

    def _digests(self, name: str) -> Iterator[frozenset[str]]:
        for place, path in files_below(self.store.actor_dir(name)).items():
            first, *rest = place.split("/")
            if first == "photos":
                yield self._once(path, _of_file) or frozenset()
            elif first == "versions" and rest[-1:] == [MANIFEST]:
                yield self._once(path, _of_manifest) or frozenset()
        yield self._once(drop_in_path(name), _of_file) or frozenset()

    def _once(self, path: UPath, read: Callable[[UPath], Result]) -> Result | None:
        """What `read` finds in a file, None when there is none."""
        state = _state(path)
        if state is None:
            return None
        known = self._read.get(str(path))
        if known is None or known[0] != state:
            try:
                known = self._read[str(path)] = (state, read(path))
            except FileNotFoundError:
                return None
        result: Result = known[1]
        return result


def _state(path: UPath) -> object:
    """What changes when a file does; None when there is no file."""
    disk = local(path)
    try:
        if disk is None:
            about = path.fs.info(path.path)
            return str(about.get("ETag") or about.get("LastModified")), about.get("size")
        status = disk.stat()
    except FileNotFoundError:
        return None
    return status.st_ino, status.st_mtime_ns, status.st_size


def _of_ledger(_: UPath) -> dict[str, set[str]]:
    return handed_out.actors_by_digest()


def _of_file(path: UPath) -> frozenset[str]:
    return frozenset({sha256_bytes(read_whole(path))})


def _of_manifest(path: UPath) -> frozenset[str]:
    try:
        manifest = Manifest.from_json(read_whole(path), name=str(path))
    except StoreError:  # damaged: its files count as they are
        return frozenset(sha256_bytes(read_whole(file)) for file in files_below(path.parent).values())
    return frozenset(entry.sha256 for entry in manifest.files.values())


def _of_receipt(path: UPath) -> frozenset[str]:
    try:
        receipt = Receipt.model_validate_json(read_whole(path))
    except ValidationError as error:
        raise StoreError(f"{path} cannot be read as a receipt: {error}. Restore it.") from None
    return frozenset(receipt.handed_out) | {
        entry.sha256 for entry in receipt.deleted if entry.sha256 and not _is_input(entry.path)
    }


def _is_input(path: str) -> bool:
    """Whether a deleted file was the input of a service's job: it may show other people, who did not revoke."""
    return Path(path).parent.name == "inputs"

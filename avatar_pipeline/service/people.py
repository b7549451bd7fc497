"""Whom a file shows that comes with a request: known by the sha256 of its bytes.

The threat: a picture of a person, fetched while consent held, comes back as the input of another
request once it has ended.
The mechanism: of every real person there is a set of digests: the photographs, every picture of
every version, the drop-in portrait, what was handed out (actors/handed_out.py: portraits and
pictures of this service, its previews, in any generation), and what a revocation deleted (its
receipts). A file with one of them shows that person. Of files that have not changed only the state
is read again.
Its limits: a picture that was saved again, scaled, cropped or photographed has other bytes and is
not recognised; nor are photographs that were replaced, and an actor whose whole folder is gone, but
for what was handed out. After a revocation nothing is left of a face that it could be compared
with. The client that sends such a picture declares consent (consent.py).
"""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator
from pathlib import Path
from threading import Lock

from pydantic import ValidationError
from upath import UPath

from avatar_pipeline.actors import handed_out
from avatar_pipeline.actors.consent.receipt import Receipt
from avatar_pipeline.actors.consent.record import FILE
from avatar_pipeline.actors.consent.revoked import is_real
from avatar_pipeline.actors.files import files_below, local, read_whole
from avatar_pipeline.actors.manifest import MANIFEST, Manifest
from avatar_pipeline.actors.name import ActorName
from avatar_pipeline.actors.store import ActorStore
from avatar_pipeline.core.digests import sha256_bytes
from avatar_pipeline.core.errors import ActorError, StoreError
from avatar_pipeline.pipeline.exports import drop_in_path

SWEEP_INTERVAL_S = 2.0  # seconds between two sweeps of the actors' folders when nothing has come in
# What of a receipt shows the person: not what jobs were given nor other programs' leftovers, which
# may show others, who did not revoke.
KINDS = ("photograph", "version", "current", "export", "page or sheet")
TEXTS = (".csv", ".json", ".txt")

State = tuple[object, ...]
Digests = frozenset[str]


class PeopleIndex:
    """What files of real people there are, by digest."""

    def __init__(self, store: ActorStore) -> None:
        self.store = store
        self._files: dict[str, tuple[State, Digests]] = {}  # by path
        self._real: dict[str, tuple[State | None, bool]] = {}  # by actor
        self._stored: dict[str, set[str]] = {}  # what is in the store: actors by digest
        self._handed_out: tuple[State | None, dict[str, set[str]]] = (None, {})
        self._swept = float("-inf")
        self._lock = Lock()

    def shown_by(self, sha256: str, *, now: bool = False) -> set[str]:
        """Return the actors, real people, whom a file with this digest shows. now: read the folders
        even when that was done a moment ago.

        Raises StoreError or OSError when it cannot be known.
        """
        with self._lock:
            state = _state(UPath(handed_out.ledger_file()))
            if state != self._handed_out[0]:
                self._handed_out = (
                    state,
                    handed_out.actors_by_digest() if state is not None else {},
                )
            if now or time.monotonic() - self._swept >= SWEEP_INTERVAL_S:
                self._stored = self._sweep()
                self._swept = time.monotonic()
            found = self._handed_out[1].get(sha256, set()) | self._stored.get(sha256, set())
            # Last: a revocation writes its receipt before it deletes a file.
            for name, path in self.store.receipt_files():
                if sha256 in self._once(path, _of_receipt):
                    found.add(name)
            return found

    def _sweep(self) -> dict[str, set[str]]:
        found: dict[str, set[str]] = {}
        for name in self._people():
            for digests in self._digests(name):
                for digest in digests:
                    found.setdefault(digest, set()).add(name)
        return found

    def _people(self) -> Iterator[str]:
        """Yield folders of actors that are, or may be, real people: without an actor.yaml that says
        otherwise.
        """
        # plain paths on a disk: ten thousand actors are asked for
        root: Path | UPath = local(self.store.root) or self.store.root
        for folder in root.iterdir():
            spec, record = _state(folder / "actor.yaml"), _state(folder / FILE)
            known = self._real.get(folder.name)
            if known is not None and known == (spec, False) and record is None:
                continue
            try:
                own = self.store.actor_dir(ActorName(folder.name))
            except ActorError:  # no actor: receipts, locks, a link that leads out
                continue
            known = self._real[folder.name] = (spec, spec is None or is_real(own))
            if known[1] or record is not None:
                yield folder.name

    def _digests(self, name: str) -> Iterator[Digests]:
        for place, path in files_below(self.store.actor_dir(name)).items():
            first, *rest = place.split("/")
            if first == "photos":
                yield self._once(path, _of_file)
            elif first == "versions" and rest[-1:] == [MANIFEST]:
                yield self._once(path, _of_manifest)
        yield self._once(drop_in_path(name), _of_file)

    def _once(self, path: UPath, read: Callable[[UPath], Digests]) -> Digests:
        """Return what `read` finds in a file; nothing when there is none."""
        state = _state(path)
        known = self._files.get(str(path))
        if state is None:
            return frozenset()
        if known is None or known[0] != state:
            try:
                known = self._files[str(path)] = (state, read(path))
            except FileNotFoundError:
                return frozenset()
        return known[1]


def _state(path: UPath | Path) -> State | None:
    """Return what changes when a file does; None when there is no file."""
    try:
        if isinstance(path, UPath) and local(path) is None:
            about = path.fs.info(path.path)
            return str(about.get("ETag") or about.get("LastModified")), about.get("size")
        status = path.stat()
    except (FileNotFoundError, NotADirectoryError):
        return None
    return status.st_ino, status.st_mtime_ns, status.st_size


def _of_file(path: UPath) -> Digests:
    return frozenset({sha256_bytes(read_whole(path))})


def _of_manifest(path: UPath) -> Digests:
    try:
        manifest = Manifest.from_json(read_whole(path), name=str(path))
    except StoreError:  # damaged: its files count as they are
        return frozenset(
            sha256_bytes(read_whole(file)) for file in files_below(path.parent).values()
        )
    # tables and notes may be alike for two actors, and no request can send them
    return frozenset(
        entry.sha256 for name, entry in manifest.files.items() if not name.endswith(TEXTS)
    )


def _of_receipt(path: UPath) -> Digests:
    try:
        receipt = Receipt.model_validate_json(read_whole(path))
    except ValidationError as error:
        raise StoreError(f"{path} cannot be read as a receipt: {error}. Restore it.") from None
    gone = {entry.sha256 for entry in receipt.deleted if entry.sha256 and entry.kind in KINDS}
    return frozenset(receipt.handed_out) | gone

"""Write the pages: one actor's, or the index with all of them, of which only what changed is made
again.
"""

from __future__ import annotations

import hashlib
import re
from collections.abc import Callable
from pathlib import Path

from upath import UPath

from avatar_pipeline.actors.consent.standing import require_consent
from avatar_pipeline.actors.files import write_atomic
from avatar_pipeline.actors.published_copies import refuse_if_revoked, remember
from avatar_pipeline.actors.store import ActorStore
from avatar_pipeline.report.facts import ActorFacts, actor_facts
from avatar_pipeline.report.page import actor_page, index_page, templates_state

STATE = re.compile(rb'<meta name="state" content="([0-9a-f]{64})">')
HEAD_BYTES = 2000  # bytes of a page in which its state stands


def write_actor(store: ActorStore, name: str, folder: Path, price: float = 0.0) -> Path:
    """Write the page of one actor; returns its path.

    Raises ActorError for an unknown actor, and for a real person without a consent that covers
    generating.
    """
    spec = store.spec(name)
    require_consent(spec, store.actor_dir(spec.name), "generate")
    return _write(store, actor_facts(store, spec.name), folder, price)


def write_all(
    store: ActorStore,
    folder: Path,
    price: float = 0.0,
    log: Callable[[str], None] = lambda text: None,
) -> tuple[Path, int]:
    """Write the index, and the page of each actor that is not as it was; returns the index, and how
    many pages were written.

    Pages of real people without a valid consent are removed, and of actors that are gone.
    """
    pages: dict[str, str] = {}
    written = 0
    actors = []
    for name in store.names():
        facts = actor_facts(store, name, histories=False)
        actors.append(facts)
        path = folder / f"{name}.html"
        if facts.spec is not None and facts.problem:  # no consent, no pictures
            path.unlink(missing_ok=True)
            continue
        pages[name] = path.name
        if _state_of(path) != _fingerprint(store, facts, price):
            _write(store, actor_facts(store, name), folder, price)
            log(f"{path.name}")
            written += 1
    index = folder / "index.html"
    for facts in actors:
        if facts.spec is not None and facts.name in pages:  # its portrait is in the index too
            remember(facts.spec, index)
    write_atomic(UPath(index), index_page(store, actors, pages, price).encode())
    for facts in actors:
        if facts.spec is not None and facts.name in pages:
            refuse_if_revoked(store.actor_dir(facts.name), index)
    for page in folder.glob("*.html"):
        if page != index and page.name not in pages.values() and _state_of(page):
            page.unlink()
    return index, written


def _write(store: ActorStore, facts: ActorFacts, folder: Path, price: float) -> Path:
    path = folder / f"{facts.name}.html"
    text = actor_page(store, facts, price, _fingerprint(store, facts, price))
    if facts.spec is not None:
        remember(facts.spec, path)
    write_atomic(UPath(path), text.encode())
    if facts.spec is not None:  # else there is no picture in it
        refuse_if_revoked(store.actor_dir(facts.name), path)
    return path


def _fingerprint(store: ActorStore, facts: ActorFacts, price: float) -> str:
    """Return the sha256 of what a page depends on: manifests, restorations, specification,
    photographs' names, price, program.
    """
    state = hashlib.sha256(
        f"{templates_state()} {price:g} {facts.problem} {facts.spec!r}\n".encode()
    )
    folder = store.actor_dir(facts.name)
    for asset in facts.assets:
        state.update(
            f"{asset.name} {asset.state} {asset.reasons} "
            f"{asset.manifest.to_json() if asset.manifest else ''}\n".encode()
        )
        versions = folder / "versions" / asset.name
        names = sorted(path.name for path in versions.iterdir()) if versions.is_dir() else []
        state.update(" ".join(names).encode())
        restored = store.restored_file(facts.name, asset.name)
        state.update(restored.read_bytes() if restored.is_file() else b"")
    photos = folder / "photos"
    for path in sorted(photos.iterdir(), key=lambda path: path.name) if photos.is_dir() else ():
        status = path.stat()
        state.update(f"{path.name} {status.st_size} {status.st_mtime}\n".encode())
    return state.hexdigest()


def _state_of(page: Path) -> str:
    """Return the state that a page was written for; empty when there is no page, or it is not one
    of these.
    """
    try:
        with page.open("rb") as file:
            found = STATE.search(file.read(HEAD_BYTES))
    except OSError:
        return ""
    return found[1].decode() if found else ""

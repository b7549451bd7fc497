"""Pictures that belong to an actor of the store: looking at a real person's face needs consent, wherever the look comes from.

Its limits: a copy that lies elsewhere is any picture; nothing tells whom it shows.
"""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

from avatar_pipeline.actors.consent import require_consent
from avatar_pipeline.actors.export import exports_root
from avatar_pipeline.actors.files import local
from avatar_pipeline.actors.name import PATTERN
from avatar_pipeline.actors.spec import ActorSpec
from avatar_pipeline.actors.store import ActorStore


def require_consent_to_look(pictures: Sequence[Path]) -> list[ActorSpec]:
    """The actors whose folders, or drop-in portraits, are among the pictures. Raises ActorError where one's consent does not cover
    `embed`.
    """
    store = ActorStore()
    root, exports = local(store.root), local(exports_root())
    names = set()
    for picture in pictures:
        path = picture.resolve()
        if root is not None and path.is_relative_to(root.resolve()):
            names.add(path.relative_to(root.resolve()).parts[0])
        elif exports is not None and path.parent == exports.resolve():
            names.add(path.stem)
    found = []
    for name in sorted(name for name in names if PATTERN.fullmatch(name)):
        if not (store.actor_dir(name) / "actor.yaml").is_file():
            continue
        spec = store.spec(name)
        require_consent(spec, store.actor_dir(name), "embed")
        found.append(spec)
    return found

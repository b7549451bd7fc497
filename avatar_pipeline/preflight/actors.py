"""Pictures that belong to an actor of the store: looking at a real person's face needs consent,
whatever command it is that looks.

Its limits: a copy that lies elsewhere is any picture; nothing identifies whom it shows.
"""

from __future__ import annotations

import os
from collections.abc import Iterable, Sequence
from pathlib import Path

from avatar_pipeline.actors.consent.standing import require_consent
from avatar_pipeline.actors.files import local
from avatar_pipeline.actors.name import PATTERN
from avatar_pipeline.actors.published_copies import refuse_if_revoked
from avatar_pipeline.actors.spec import ActorSpec
from avatar_pipeline.actors.store import ActorStore
from avatar_pipeline.pipeline.exports import exports_root


def require_consent_to_examine(pictures: Sequence[Path]) -> dict[Path, ActorSpec]:
    """Return by picture the actor in whose folder it lies, or whose drop-in portrait it is; the
    others are left out.

    Args:
        pictures: Paths of files, which may be links.

    Raises:
        ActorError: The consent to one of them does not cover `embed`.
    """
    store = ActorStore()
    root, exports = local(store.root), local(exports_root())
    names = {}
    for picture in pictures:
        # Path.resolve raises for a link that leads to itself
        path = Path(os.path.realpath(picture))
        if root is not None and path.is_relative_to(root.resolve()):
            names[picture] = path.relative_to(root.resolve()).parts[0]
        elif exports is not None and path.parent == exports.resolve():
            names[picture] = path.stem
    found: dict[Path, ActorSpec] = {}
    for name in sorted(name for name in set(names.values()) if PATTERN.fullmatch(name)):
        if not (store.actor_dir(name) / "actor.yaml").is_file():
            continue
        spec = store.spec(name)
        require_consent(spec, store.actor_dir(name), "embed")
        found |= {picture: spec for picture, whose in names.items() if whose == name}
    return found


def refuse_if_one_was_revoked(specs: Iterable[ActorSpec], written: Path) -> None:
    """Remove what was written of these actors, and raise ActorError, when consent was revoked
    meanwhile.

    Args:
        specs: The actors whose pictures were examined.
        written: The file or folder of results, removed when one was revoked.
    """
    store = ActorStore()
    for spec in specs:
        refuse_if_revoked(store.actor_dir(spec.name), written)

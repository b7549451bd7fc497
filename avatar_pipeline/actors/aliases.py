"""Which actor a text means: by the actor's name or one of its aliases, such as "Prof. Dr. Uwe
Hahne".
"""

from __future__ import annotations

import logging
import re
from functools import lru_cache

from upath import UPath

from avatar_pipeline.actors.name import ActorName
from avatar_pipeline.actors.spec import ActorSpec
from avatar_pipeline.actors.store import ActorStore
from avatar_pipeline.core.errors import ActorError

logger = logging.getLogger(__name__)


def find_actor(text: str, store: ActorStore) -> ActorName | None:
    """Return the actor whose alias or name stands in the text; of several, the one with the
    longest. None when there is none.

    Whole words count, in upper or lower case. Raises ActorError when two actors have the alias that
    was found.
    """
    lowered = " ".join(text.casefold().split())
    meant: dict[str, set[ActorName]] = {}
    for name in store.names():
        for alias in (name, *_aliases(store, name)):
            # a look at the plain text first: of ten thousand actors nearly none is meant
            if " ".join(alias.casefold().split()) in lowered and _pattern(alias).search(text):
                meant.setdefault(" ".join(alias.casefold().split()), set()).add(name)
    if not meant:
        return None
    longest = max(meant, key=len)
    if len(meant[longest]) > 1:
        names = " and ".join(sorted(meant[longest]))
        raise ActorError(
            f"{longest!r} means {names}. Say which in the field 'actor', or take the "
            "alias from one of them."
        )
    return next(iter(meant[longest]))


def replace_aliases(text: str, spec: ActorSpec, words: str) -> str | None:
    """Return the text with every alias and the name of the actor replaced by `words`; None when it
    holds none of them.

    An article before it goes along: "a" stands in the new words, where they need one.
    """
    found = False
    for alias in sorted((spec.name, *spec.aliases), key=len, reverse=True):
        new, count = _pattern(alias, article=True).subn(lambda match: words, text)
        text, found = new, found or count > 0
        if count:
            break  # what is left could only be found inside the new words
    return text if found else None


@lru_cache(maxsize=4096)
def _pattern(alias: str, article: bool = False) -> re.Pattern[str]:
    words = r"\s+".join(re.escape(word) for word in alias.split())
    before = r"(?:(?:an?|the)\s+)?" if article else ""
    return re.compile(rf"(?<![\w-]){before}{words}(?![\w-])", re.IGNORECASE)


def _aliases(store: ActorStore, name: ActorName) -> tuple[str, ...]:
    path = store.actor_dir(name) / "actor.yaml"
    try:
        stat = path.stat()
        return _read(store, path, name, (stat.st_mtime, stat.st_size))
    except (OSError, ActorError) as error:  # another actor's broken file must not stop this request
        logger.warning("the aliases of %s are left out: %s", name, error)
        return ()


@lru_cache(maxsize=65536)
def _read(
    store: ActorStore, path: UPath, name: ActorName, version: tuple[float, int]
) -> tuple[str, ...]:
    """Return the name and aliases in an actor.yaml. version: of the file, so that it is read again
    when it has changed. Most files have no aliases, and are not parsed.
    """
    return tuple(store.spec(name).aliases) if "aliases" in path.read_text(encoding="utf-8") else ()

"""The migrations of Dagster's databases are read once by a process, not twice for every run.

The cost: on SQLite every run has a database of its own, and to stamp a new one Alembic imports all
of Dagster's migration scripts, once to look up the newest and once more to write it down: about a
third of what Dagster takes for a run of one step.
The mechanism: the scripts that belong to one configuration are kept. Dagster makes a configuration
once for each kind of storage, and uses them under a lock.
"""

from __future__ import annotations

from functools import lru_cache

import alembic.command
from alembic.config import Config
from alembic.script import ScriptDirectory
from dagster._core.storage import sql


class KeptScripts(ScriptDirectory):
    """Migration scripts that are read once for each configuration."""

    @classmethod
    def from_config(cls, config: Config) -> ScriptDirectory:
        """Return the scripts of a configuration."""
        return _scripts(config)


@lru_cache(maxsize=8)
def _scripts(config: Config) -> ScriptDirectory:
    return ScriptDirectory.from_config(config)


def keep_migration_scripts() -> None:
    """Have this process keep the scripts; may be repeated."""
    for module in (sql, alembic.command):
        module.ScriptDirectory = KeptScripts  # type: ignore[attr-defined]

"""The tags in which Dagster keeps an event's data version, code version and inputs."""

from __future__ import annotations

import dagster as dg
from dagster._core.definitions.data_version import (
    CODE_VERSION_TAG as CODE_VERSION_TAG,
)
from dagster._core.definitions.data_version import (
    DATA_VERSION_IS_USER_PROVIDED_TAG as DATA_VERSION_IS_USER_PROVIDED_TAG,
)
from dagster._core.definitions.data_version import (
    DATA_VERSION_TAG as DATA_VERSION_TAG,
)
from dagster._core.definitions.data_version import (
    INPUT_DATA_VERSION_TAG_PREFIX as INPUT_DATA_VERSION_TAG_PREFIX,
)
from dagster._core.definitions.data_version import (
    INPUT_EVENT_POINTER_TAG_PREFIX as INPUT_EVENT_POINTER_TAG_PREFIX,
)
from dagster._core.definitions.data_version import (
    extract_data_version_from_entry,
)


def data_version(entry: dg.EventLogEntry) -> str | None:
    """Return the data version that an event of an asset brought, None when it brought none."""
    version = extract_data_version_from_entry(entry)
    return None if version is None else version.value

"""A product as Dagster metadata: pictures, tables, numbers that plot over time, and the whole
manifest.
"""

from __future__ import annotations

import json
import os
import platform
from collections.abc import Mapping, Sequence
from typing import Any

import dagster as dg

from avatar_pipeline.actors.manifest import Manifest
from avatar_pipeline.history.metrics import figures
from avatar_pipeline.imaging.images import preview_markdown
from avatar_pipeline.pipeline.stage import StageResult


def stage_metadata(
    manifest: Manifest, result: StageResult, folder: str
) -> dict[str, dg.MetadataValue]:
    """Return what the UI shows of one materialization. folder: where its files lie. Pictures come
    first: people look before they read.

    A table is called {name}_table, as a metric may have its name: how many candidates, and which.
    """
    metadata: dict[str, dg.MetadataValue] = {
        name: dg.MetadataValue.md(preview_markdown(image, width=640))
        for name, image in result.previews.items()
    }
    metadata |= {
        f"{name}_table": dg.MetadataValue.table(*_table(rows))
        for name, rows in result.tables.items()
        if rows
    }
    metadata |= {name: _value(value) for name, value in manifest.metrics.items()}
    metadata |= {
        **{name: dg.MetadataValue.float(float(value)) for name, value in figures(manifest).items()},
        **({"skipped": dg.MetadataValue.text(manifest.skipped)} if manifest.skipped else {}),
        "root_seed": dg.MetadataValue.int(manifest.root_seed),
        "digest": dg.MetadataValue.text(manifest.digest),
        "files": dg.MetadataValue.path(folder),
        "manifest": dg.MetadataValue.json(manifest.model_dump(mode="json")),
    }
    if result.warnings:
        metadata["warnings_in_words"] = dg.MetadataValue.md(
            "\n".join(f"- {warning}" for warning in result.warnings)
        )
    return metadata


def machine() -> dict[str, str]:
    """Return where a step runs: `host`, and in a Ray cluster `ray_job` (as its dashboard calls it)
    and `ray_gpus` (numbers of the GPUs lent to this process).

    Read from the environment in which Ray starts a job: no connection to the cluster is needed. On
    a node without real GPUs the numbers are those of its logical ones.
    """
    found = {"host": platform.node()}
    if job := os.environ.get("RAY_JOB_CONFIG_JSON_ENV_VAR"):
        found |= {
            "ray_job": json.loads(job)["metadata"]["job_submission_id"],
            "ray_gpus": os.environ.get("CUDA_VISIBLE_DEVICES", ""),
        }
    return found


def _value(value: Any) -> dg.MetadataValue:
    """Return a metric as the metadata type that Dagster plots or prints best."""
    if isinstance(value, bool):
        return dg.MetadataValue.bool(value)
    if isinstance(value, int):
        return dg.MetadataValue.int(value)
    if isinstance(value, float):
        return dg.MetadataValue.float(value)
    return dg.MetadataValue.null() if value is None else dg.MetadataValue.text(str(value))


def _table(rows: Sequence[Mapping[str, Any]]) -> tuple[list[dg.TableRecord], dg.TableSchema]:
    """Return records of one width and a schema: the columns in order of first appearance, numbers
    marked as such.
    """
    columns = list(dict.fromkeys(name for row in rows for name in row))
    records = [dg.TableRecord({name: _cell(row.get(name)) for name in columns}) for row in rows]
    numeric = {
        name for name in columns if all(isinstance(row.get(name, 0), int | float) for row in rows)
    }
    schema = dg.TableSchema(
        [dg.TableColumn(name, "float" if name in numeric else "string") for name in columns]
    )
    return records, schema


def _cell(value: Any) -> str | int | float | bool:
    if isinstance(value, float):
        return round(value, 4)
    return value if isinstance(value, str | int | bool) else "" if value is None else str(value)

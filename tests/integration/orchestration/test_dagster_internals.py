"""The installed Dagster has every private name that this package imports, in the form that it
relies on. When one of these fails after an upgrade, the module that it names is the place to go.
"""

from __future__ import annotations

import ast
import inspect
from importlib import import_module
from pathlib import Path
from typing import Any

import dagster as dg
import pytest

from avatar_pipeline.core.home import PROJECT
from avatar_pipeline.orchestration import dagster_patches

AUTOMATION = "dagster._core.definitions.declarative_automation.operands.subset_automation_condition"
VERSIONS = "dagster._core.definitions.data_version"
CHECKS = "dagster._core.storage.asset_check_execution_record"
TABLES = "dagster._core.storage.event_log.schema"
REMOTE = "dagster._core.remote_representation.external"
# By module and name: the attributes of a class (a name with parentheses: a method with at least
# these parameters), the parameters of a function, the columns of a table, the value of a constant.
RELIED_ON: dict[tuple[str, str], Any] = {
    ("dagster._core.asset_graph_view.asset_graph_view", "AssetGraphView"): [
        "instance",
        "asset_graph",
        "get_full_subset(key)",
        "compute_subset_with_status(key, status, from_subset)",
        "compute_missing_subset(key, from_subset)",
    ],
    ("dagster._core.asset_graph_view.entity_subset", "EntitySubset"): [
        "size",
        "is_empty",
        "expensively_compute_partition_keys()",
        "compute_union(other)",
        "compute_intersection_with_partition_keys(partition_keys)",
    ],
    (VERSIONS, "CachingStaleStatusResolver"): [
        "__init__(instance, asset_graph, loading_context)",
        "get_status(key, partition_key)",
    ],
    (VERSIONS, "StaleStatus"): ["STALE", "MISSING"],
    (VERSIONS, "CODE_VERSION_TAG"): "dagster/code_version",
    (VERSIONS, "DATA_VERSION_TAG"): "dagster/data_version",
    (VERSIONS, "DATA_VERSION_IS_USER_PROVIDED_TAG"): "dagster/data_version_is_user_provided",
    (VERSIONS, "INPUT_DATA_VERSION_TAG_PREFIX"): "dagster/input_data_version",
    (VERSIONS, "INPUT_EVENT_POINTER_TAG_PREFIX"): "dagster/input_event_pointer",
    (VERSIONS, "extract_data_version_from_entry"): ("entry",),
    (AUTOMATION, "SubsetAutomationCondition"): ["name", "compute_subset(context)"],
    ("dagster._core.event_api", "PartitionKeyFilter"): ["key"],
    (CHECKS, "AssetCheckExecutionRecordStatus"): ["SUCCEEDED", "FAILED"],
    (CHECKS, "AssetCheckExecutionResolvedStatus"): ["FAILED"],
    ("dagster._core.storage.event_log.base", "AssetEventSummaryRecord"): [
        "storage_id",
        "run_id",
        "partition",
    ],
    ("dagster._record", "record"): (),
    (REMOTE, "RemoteRepository"): ["get_sensors()", "get_schedules()"],
    (REMOTE, "RemoteSensor"): [
        "name",
        "description",
        "selector_id",
        "get_remote_origin_id()",
        "get_current_instigator_state(stored_state)",
    ],
    (REMOTE, "RemoteSchedule"): [
        "name",
        "description",
        "selector_id",
        "get_remote_origin_id()",
        "get_current_instigator_state(stored_state)",
    ],
    ("dagster._core.workspace.context", "WorkspaceProcessContext"): [
        "__init__(instance, workspace_load_target, code_server_log_level)",
        "create_request_context()",
    ],
    ("dagster._core.workspace.load_target", "ModuleTarget"): [
        "module_name",
        "attribute",
        "working_directory",
        "location_name",
    ],
    ("dagster._core.instance.ref", "InstanceRef"): ["from_dir(base_dir, overrides)"],
    ("dagster._core.launcher.base", "CheckRunHealthResult"): ["status", "msg"],
    ("dagster._core.launcher.base", "LaunchRunContext"): ["dagster_run"],
    ("dagster._core.launcher.base", "WorkerStatus"): ["RUNNING", "UNKNOWN"],
    ("dagster._core.instance.utils", "RUNLESS_RUN_ID"): "",
    (TABLES, "AssetCheckExecutionsTable"): {"run_id", "partition", "evaluation_event"},
    (TABLES, "AssetEventTagsTable"): {"event_id"},
    (TABLES, "AssetKeyTable"): {
        "id",
        "asset_key",
        "last_run_id",
        "last_materialization",
        "cached_status_data",
    },
    (TABLES, "SqlEventLogStorageTable"): {
        "id",
        "event",
        "asset_key",
        "partition",
        "dagster_event_type",
    },
    ("dagster._core.storage.event_log.sql_event_log", "SqlEventLogStorage"): [
        "index_connection()",
        "run_connection(run_id)",
        "delete_events(run_id)",
    ],
    ("dagster._core.storage.event_log.sqlite.sqlite_event_log", "SqliteEventLogStorage"): [
        "path_for_shard(run_id)"
    ],
    ("dagster._core.storage.event_log.sqlite.sqlite_event_log", "INDEX_SHARD_NAME"): "index",
    ("dagster._core.storage.runs.sqlite.sqlite_run_storage", "SqliteRunStorage"): [
        "from_local(base_dir)"
    ],
    ("dagster._daemon.auto_run_reexecution", "auto_run_reexecution"): [
        "filter_runs_to_should_retry(runs, instance)"
    ],
    ("dagster._core.execution.plan.instance_concurrency_context", "InstanceConcurrencyContext"): [
        "interval_to_next_pending_claim_check()"
    ],
    ("dagster._core.execution.backfill", "BulkActionsFilter"): ["statuses"],
    ("dagster._core.execution.backfill", "BulkActionStatus"): ["REQUESTED", "CANCELING"],
    ("dagster._core.execution.backfill", "PartitionBackfill"): [
        "partition_names",
        "asset_backfill_data",
        "with_status(status)",
    ],
    ("dagster._core.storage.noop_compute_log_manager", "NoOpComputeLogManager"): [],
    ("dagster._core.storage", "sql"): ["ScriptDirectory"],
}


def private_imports() -> set[tuple[str, str]]:
    """Every name that the package imports from a private module of Dagster."""
    found = set()
    for path in (PROJECT / "avatar_pipeline").rglob("*.py"):
        for node in ast.walk(ast.parse(path.read_text())):
            if isinstance(node, ast.ImportFrom) and (node.module or "").startswith("dagster._"):
                found |= {(str(node.module), alias.name) for alias in node.names}
    return found


def parameters(function: Any) -> set[str]:
    return set(inspect.signature(function).parameters)


def test_every_private_import_is_asked_for_here() -> None:
    # the last is named in a configuration, and not imported
    assert private_imports() == {name for name in RELIED_ON if name[1] != "NoOpComputeLogManager"}


@pytest.mark.parametrize(("module", "name"), RELIED_ON, ids=lambda part: part.rsplit(".")[-1])
def test_dagster_has_it_in_the_form_that_is_relied_on(module: str, name: str) -> None:
    found, wanted = getattr(import_module(module), name), RELIED_ON[module, name]
    if isinstance(wanted, str):
        assert found == wanted
    elif isinstance(wanted, tuple):
        assert set(wanted) <= parameters(found)
    elif isinstance(wanted, set):
        assert wanted <= set(found.columns.keys())
    else:
        for attribute in wanted:
            own, _, rest = attribute.partition("(")
            fields = {*dir(found), *getattr(found, "__annotations__", ())}
            assert own in fields, f"{name} has no {own}"
            if rest:
                expected = {each.strip() for each in rest[:-1].split(",") if each.strip()}
                assert expected <= parameters(getattr(found, own)), attribute


def test_sqlites_runs_say_where_their_file_is(tmp_path: Path) -> None:
    """An attribute that is made in __init__, which a class does not show."""
    from dagster._core.storage.runs.sqlite.sqlite_run_storage import SqliteRunStorage

    with dg.DagsterInstance.local_temp(str(tmp_path)) as instance:
        assert isinstance(instance.run_storage, SqliteRunStorage)
        assert str(tmp_path) in instance.run_storage._conn_string


def test_patches_are_applied_by_a_call_and_by_no_import() -> None:
    """Each module is loaded by itself: only `apply` replaces what is Dagster's."""
    import subprocess
    import sys

    code = """
import importlib
from dagster._core.execution.plan.instance_concurrency_context import InstanceConcurrencyContext
from dagster._daemon.auto_run_reexecution import auto_run_reexecution
def patched():
    return [
        InstanceConcurrencyContext.interval_to_next_pending_claim_check.__module__,
        auto_run_reexecution.filter_runs_to_should_retry.__module__,
    ]
own = "avatar_pipeline.orchestration.dagster_patches"
for module in ("slot_polling", "run_retries", "interrupts", "automation", "record_deletion"):
    importlib.import_module(f"{own}.{module}")
print(sum(name.startswith(own) for name in patched()))
from avatar_pipeline.orchestration.dagster_patches import apply
apply(); apply()
print(sum(name.startswith(own) for name in patched()))
apply(daemon=True)
print(sum(name.startswith(own) for name in patched()))
"""
    done = subprocess.run(
        [sys.executable, "-c", code], capture_output=True, text=True, cwd=PROJECT, check=False
    )
    assert done.stdout.split() == ["0", "1", "2"], done.stderr


def test_the_definitions_apply_the_patches(monkeypatch: pytest.MonkeyPatch) -> None:
    import sys

    import avatar_pipeline.orchestration as room

    applied: list[dict[str, Any]] = []
    present = import_module("avatar_pipeline.orchestration.definitions")
    monkeypatch.setattr(room, "definitions", present)  # it comes back afterwards
    monkeypatch.delitem(sys.modules, present.__name__)
    monkeypatch.setattr(dagster_patches, "apply", lambda **options: applied.append(options))
    import_module(present.__name__)
    assert applied == [{}]

"""JSON lines and metrics, as programs read them."""

from __future__ import annotations

import json
import logging
import os
import subprocess
import sys
from datetime import datetime
from pathlib import Path

import dagster as dg
import pytest
from prometheus_client.parser import text_string_to_metric_families

from avatar_pipeline.actors.manifest import Manifest
from avatar_pipeline.actors.store import ActorStore
from avatar_pipeline.core.home import PROJECT
from avatar_pipeline.core.json_log import JsonFormatter
from avatar_pipeline.history.metrics import figures

FIELDS = ["time", "level", "actor", "asset", "run_id", "event", "message"]
DESCRIPTION = "european 38 year old female with short curly dark hair"
# What dagster.yaml says to have such lines of every run of its instance, whoever starts it
# (docs/observability.md).
PYTHON_LOGS = """\
python_logs:
  dagster_handler_config:
    handlers:
      json:
        class: avatar_pipeline.core.json_log.JsonHandler
        level: DEBUG
"""


@pytest.fixture
def world(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    (tmp_path / "actors" / "ann").mkdir(parents=True)
    (tmp_path / "actors" / "ann" / "actor.yaml").write_text(
        f"description: {DESCRIPTION}\nlikeness: synthetic\nphotos: none\nframing: headshot\nseed: "
        "7\n"
    )
    monkeypatch.setenv("AVATAR_DATA", str(tmp_path / "actors"))
    monkeypatch.setenv("AVATAR_EXPORTS", str(tmp_path / "exports"))
    monkeypatch.setenv("DAGSTER_HOME", str(tmp_path / "home"))
    monkeypatch.setenv("DAGSTER_COMPUTE_LOG_TAIL_WAIT_AFTER_FINISH", "1.5")  # docs/observability.md
    return tmp_path


def call(*arguments: str, **environ: str) -> subprocess.CompletedProcess[str]:
    return subprocess.run(
        [sys.executable, "-m", *arguments],
        capture_output=True,
        text=True,
        timeout=300,
        check=False,
        cwd=PROJECT,
        env={**os.environ, **environ},
    )


def json_lines(text: str) -> list[dict[str, object]]:
    return [json.loads(line) for line in text.splitlines() if line.startswith("{")]


def check_lines(lines: list[dict[str, object]]) -> None:
    assert lines
    for line in lines:
        assert [name for name in line if name != "numbers"] == FIELDS
        assert datetime.fromisoformat(str(line["time"])).utcoffset() is not None
        assert line["actor"] == "ann" and len(str(line["run_id"])) == 36
        assert DESCRIPTION not in json.dumps(line)
    made = next(line for line in lines if line["event"] == "ASSET_MATERIALIZATION")
    assert made["asset"] == "photo_intake"
    numbers = made["numbers"]
    assert (
        isinstance(numbers, dict)
        and numbers["seconds"] > 0
        and numbers["waited_actor_seconds"] == 0
    )
    ended = next(line for line in lines if line["event"] == "STEP_SUCCESS")
    assert isinstance(ended["numbers"], dict) and ended["numbers"]["seconds"] > 0


def test_json_lines_and_metrics_of_a_run(world: Path) -> None:
    ran = call("avatar_pipeline", "run", "ann", "--only", "photo_intake", AVATAR_LOG_FORMAT="json")
    assert ran.returncode == 0, ran.stderr
    lines = [json.loads(line) for line in ran.stderr.splitlines()]  # nothing else on stderr
    check_lines(lines)

    file = world / "node_exporter" / "avatar.prom"
    written = call("avatar_pipeline", "metrics", "--per-actor", "--output", str(file))
    assert written.returncode == 0, written.stderr
    assert list(file.parent.iterdir()) == [file]
    samples = {
        (sample.name, tuple(sorted(sample.labels.items()))): sample.value
        for family in text_string_to_metric_families(file.read_text())
        for sample in family.samples
    }
    manifest = ActorStore(world / "actors").current("ann", "photo_intake")
    assert (
        samples["avatar_pipeline_seconds", (("actor", "ann"), ("asset", "photo_intake"))]
        == manifest.seconds
    )
    assert samples["avatar_pipeline_runs", (("state", "success"),)] == 1
    assert samples["avatar_pipeline_versions_current", (("asset", "lora"),)] == 0
    assert DESCRIPTION not in file.read_text()

    (world / "actors" / "ann" / "photo_intake" / "manifest.json").write_text("{")
    printed = call("avatar_pipeline", "metrics")
    families = {family.name: family for family in text_string_to_metric_families(printed.stdout)}
    damaged = {
        sample.labels["asset"]: sample.value
        for sample in families["avatar_pipeline_manifests_damaged"].samples
    }
    assert (damaged["photo_intake"], damaged["lora"]) == (1, 0)


def test_json_lines_of_every_run_of_an_instance(world: Path) -> None:
    (world / "home").mkdir()
    (world / "home" / "dagster.yaml").write_text(PYTHON_LOGS)
    assert call("avatar_pipeline", "register").returncode == 0
    selected = ["--select", "photo_intake", "--partition", "ann"]
    ran = call("dagster", "asset", "materialize", "-m", "avatar_pipeline.definitions", *selected)
    assert ran.returncode == 0, ran.stderr
    check_lines(json_lines(ran.stdout + "\n" + ran.stderr))


def test_an_error_is_its_words_without_a_traceback() -> None:
    @dg.op
    def failing() -> None:
        raise ValueError("the words")

    lines: list[str] = []

    class Keep(logging.Handler):
        def emit(self, record: logging.LogRecord) -> None:
            lines.append(JsonFormatter().format(record))

    @dg.logger
    def keep(context: dg.InitLoggerContext) -> logging.Logger:
        logger = logging.Logger("keep", logging.DEBUG)
        logger.addHandler(Keep())
        return logger

    @dg.job(logger_defs={"keep": keep})
    def job() -> None:
        failing()

    job.execute_in_process(run_config={"loggers": {"keep": {}}}, raise_on_error=False)
    failure = next(line for line in map(json.loads, lines) if line["event"] == "STEP_FAILURE")
    assert failure["message"] == "ValueError: the words"
    assert (failure["actor"], failure["level"]) == (None, "ERROR")


def test_figures_have_one_name_for_all_assets() -> None:
    def made(**fields: object) -> Manifest:
        return Manifest.model_validate(
            {"actor": "a", "asset": "x", "code_version": "1", "root_seed": 1, **fields}
        )

    assert (
        figures(made(metrics={"distance_after": 0.4, "distance_before": 0.6}))["identity_distance"]
        == 0.4
    )
    assert figures(made(metrics={"distance": 0.3, "candidates": 8, "passed": 5})) == {
        "seconds": 0,
        "peak_memory_mb": 0,
        "identity_distance": 0.3,
        "rejected": 3,
    }
    assert figures(made(metrics={"rejected": 2, "distance": None}))["rejected"] == 2
    checks = [
        {"name": name, "verdict": verdict}
        for name, verdict in (("a", "error"), ("b", "warn"), ("c", "pass"))
    ]
    found = figures(made(checks=checks, waited_seconds={"pool": 1.5}))
    assert (found["checks_failed"], found["checks_warned"], found["waited_pool_seconds"]) == (
        1,
        1,
        1.5,
    )

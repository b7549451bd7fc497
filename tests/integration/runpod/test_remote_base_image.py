"""A base image from RunPod through the command line and Dagster: what is sent, stored and said, and
that nothing local takes part.
"""

from __future__ import annotations

import json
import os
import re
import shutil
import signal
import subprocess
import sys
import time
from collections.abc import Callable
from pathlib import Path

import pytest
from filelock import FileLock

from avatar_pipeline.actors.store import ActorStore
from avatar_pipeline.cli.main import main
from avatar_pipeline.core.errors import GenerationError, RemoteError
from avatar_pipeline.core.seeds import derive_seed
from avatar_pipeline.diffusion.device import choose_device, lock_path
from avatar_pipeline.diffusion.prompts import base_prompt
from avatar_pipeline.diffusion.session import PipelineSession
from avatar_pipeline.faces.analyzers.types import FaceAnalyzer
from avatar_pipeline.pipeline.assets import face_validation
from avatar_pipeline.pipeline.assets.base_image.remote import RemoteOptions, remote_base_images
from avatar_pipeline.runpod.endpoint import Timeouts
from avatar_pipeline.runpod.workflow import load_workflow
from tests.support.fake_runpod import BASE64, ENDPOINT, KEY, FakeRunPod, completed, images
from tests.support.given import context_of, inputs_of
from tests.support.workflows import node, sdxl
from tests.support.worlds import empty_home as empty_home

DESCRIPTION = "european 25 year old male with short brown hair and blue eyes"
RUN = (
    "run",
    "anna",
    "--only",
    "photo_intake",
    "--only",
    "base_image",
    "--set",
    "base_image.backend=runpod",
)
Call = Callable[..., tuple[int, str, str]]


@pytest.fixture
def world(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, empty_home: Path) -> Path:
    """A store with one actor of words, anna."""
    for variable, name in (
        ("AVATAR_DATA", "actors"),
        ("AVATAR_EXPORTS", "exports"),
        ("DAGSTER_HOME", "home"),
    ):
        monkeypatch.setenv(variable, str(tmp_path / name))
    (tmp_path / "exports").mkdir()
    shutil.copytree(empty_home, tmp_path / "home", ignore=shutil.ignore_patterns("*.lock"))
    (tmp_path / "actors" / "anna").mkdir(parents=True)
    (tmp_path / "actors" / "anna" / "actor.yaml").write_text(
        f"description: {DESCRIPTION}\nlikeness: synthetic\nseed: 7\n"
    )
    return tmp_path


@pytest.fixture
def call(
    world: Path,
    configured: FakeRunPod,
    capsys: pytest.CaptureFixture[str],
    monkeypatch: pytest.MonkeyPatch,
) -> Call:
    """Run a command in this process, in which no diffusion model can be loaded: exit code, stdout,
    stderr.
    """
    configured.queued = configured.working = 0

    def forbidden(session: PipelineSession) -> None:
        raise AssertionError("a local model was loaded")

    monkeypatch.setattr(PipelineSession, "pipeline", property(forbidden))

    def run(*arguments: str) -> tuple[int, str, str]:
        capsys.readouterr()
        with pytest.raises(SystemExit) as stop:
            main(list(arguments))
        captured = capsys.readouterr()
        assert KEY not in captured.out + captured.err
        return int(stop.value.code or 0), captured.out, captured.err

    return run


def test_a_base_image_through_the_command_line(
    call: Call, configured: FakeRunPod, world: Path, analyzer: FaceAnalyzer
) -> None:
    configured.final = lambda number, sent: (
        {"status": "FAILED", "error": "worker lost"} if number == 2 else completed(images(BASE64))
    )
    with FileLock(lock_path(choose_device("auto"))):  # somebody else computes: no reason to wait
        code, _, err = call(*RUN)
    assert code == 0, err
    store = ActorStore()
    manifest = store.current("anna", "base_image")
    workflow = load_workflow()
    assert manifest.device == f"runpod: {ENDPOINT}"
    assert (manifest.model_id, manifest.model_revision) == (
        "flux1-dev-fp8",
        f"workflow {workflow.sha256[:12]}",
    )
    assert manifest.model_sha256 == ""
    assert "base_model" not in manifest.inputs
    assert manifest.settings["backend"] == "runpod"
    assert manifest.seconds > 0
    assert manifest.metrics["workflow_sha256"] == workflow.sha256
    assert manifest.metrics["job_ids"] == ", ".join(f"candidate_{n} job-{n}-u1" for n in range(4))
    assert manifest.metrics["execution_seconds"] == pytest.approx(4 * 12.345)
    assert (manifest.metrics["candidates"], manifest.metrics["candidates_failed"]) == (3, 1)
    assert manifest.seeds == {f"candidate_{n}": derive_seed(7, "base_image", n) for n in (0, 1, 3)}
    # The log of the run, which goes to stderr, tells the jobs and what failed.
    assert "candidate_0: job job-0-u1 sent to endpoint" in err
    assert "candidate_2 did not come back: Generation failed: worker lost" in err

    sent = [body["input"]["workflow"] for body in configured.sent]
    assert [nodes["9"]["inputs"]["seed"] for nodes in sent] == [
        derive_seed(7, "base_image", n) for n in range(4)
    ]
    assert {nodes["6"]["inputs"]["text"] for nodes in sent} == {
        base_prompt(DESCRIPTION, "full_body")
    }
    assert {(nodes["5"]["inputs"]["width"], nodes["5"]["inputs"]["height"]) for nodes in sent} == {
        (1024, 1536)
    }
    assert {
        (nodes["9"]["inputs"]["steps"], nodes["8"]["inputs"]["guidance"]) for nodes in sent
    } == {(25, 3.5)}

    everything = [path.read_bytes() for path in world.rglob("*") if path.is_file()]
    assert everything
    assert not any(KEY.encode() in content for content in everything)

    report = face_validation.run(
        inputs_of(store.spec("anna"), {"base_image": store.read_all(manifest)}),
        face_validation.Settings(),
        context_of(analyzer),
    )
    verdicts = {check.name: check.verdict for check in report.checks}
    assert verdicts["min_face"] == "pass"
    assert "error" not in verdicts.values()
    code, out, _ = call("lineage", "anna")
    assert "model flux1-dev-fp8 workflow" in out
    assert f"runpod: {ENDPOINT}" in out.replace("\n", " ")


def test_settings_beat_the_documents(call: Call, configured: FakeRunPod) -> None:
    sets = {"candidates": 1, "width": 768, "height": 1024, "steps": 30, "guidance_scale": 2.5}
    code, _, err = call(
        *RUN,
        *(part for name, value in sets.items() for part in ("--set", f"base_image.{name}={value}")),
    )
    assert code == 0, err
    (body,) = configured.sent
    nodes = body["input"]["workflow"]
    assert nodes["5"]["inputs"] == {"width": 768, "height": 1024, "batch_size": 1}
    assert nodes["9"]["inputs"]["steps"] == 30
    assert nodes["8"]["inputs"]["guidance"] == 2.5


def test_one_clear_error_and_nothing_stored(
    call: Call, configured: FakeRunPod, monkeypatch: pytest.MonkeyPatch
) -> None:
    configured.final = lambda number, sent: {"status": "FAILED", "error": "worker lost"}
    code, _, err = call(*RUN)
    assert code == 1
    assert err.count("Error: base_image: ") == 1
    assert "candidate_3: Generation failed: worker lost" in err
    assert ActorStore().versions("anna", "base_image") == []
    monkeypatch.delenv("RUNPOD_API_KEY")
    configured.sent.clear()
    code, _, err = call(*RUN)
    assert code == 1
    assert "Error: base_image: RunPod error: RUNPOD_API_KEY not set, and nothing was sent" in err
    assert configured.sent == []


def test_a_backend_that_does_not_exist(call: Call) -> None:
    code, _, err = call("run", "anna", "--set", "base_image.backend=modal")
    assert code == 1
    assert "backend = 'modal' is not usable" in err
    assert "'local' or 'runpod'" in err


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM])
def test_a_cancelled_run_cancels_its_jobs(
    number: signal.Signals, world: Path, configured: FakeRunPod
) -> None:
    configured.queued = 10**9
    process = subprocess.Popen(
        [sys.executable, "-m", "avatar_pipeline", *RUN, "--set", "base_image.candidates=2"],
        stdout=subprocess.DEVNULL,
        stderr=subprocess.PIPE,
        text=True,
        env=dict(os.environ),
    )
    try:
        end = time.monotonic() + 120
        while len(configured.sent) < 2 or min(configured.asked.values()) < 1:
            assert time.monotonic() < end
            assert process.poll() is None, process.communicate()[1]
            time.sleep(0.05)
        process.send_signal(number)
        _, err = process.communicate(timeout=60)
    finally:
        process.kill()
        process.communicate()
    assert process.returncode != 0
    assert sorted(configured.cancelled) == ["job-0-u1", "job-1-u1"], err


@pytest.mark.parametrize(
    ("framing", "size"),
    [("headshot", (1024, 1024)), ("half_body", (1024, 1536)), ("full_body", (1024, 1536))],
)
def test_seeds_of_ones_own_without_dagster(
    framing: str, size: tuple[int, int], configured: FakeRunPod
) -> None:
    """What a script or a service needs: the seed that was asked for is the one that is sent."""
    drawn = remote_base_images(DESCRIPTION, framing, {"base": 42}, patience=Timeouts(poll=0.01))
    nodes = configured.sent[0]["input"]["workflow"]
    assert nodes["9"]["inputs"]["seed"] == 42
    assert (nodes["5"]["inputs"]["width"], nodes["5"]["inputs"]["height"]) == size
    assert drawn.prompt == nodes["6"]["inputs"]["text"] == base_prompt(DESCRIPTION, framing)
    assert drawn.seeds == {"base": 42}
    assert json.dumps(drawn.facts)


@pytest.mark.parametrize(
    ("width", "height", "words"),
    [(1024, 128, "height: 128"), (4096, 512, "width: 4096")],
)
def test_sizes_that_flux_cannot_draw(
    width: int, height: int, words: str, configured: FakeRunPod
) -> None:
    with pytest.raises(
        GenerationError,
        match=rf"^{words} is not a size that FLUX can draw. Give "
        r"a multiple of 16",
    ):
        remote_base_images(DESCRIPTION, "headshot", {"base": 42}, RemoteOptions(width, height))
    assert configured.sent == []


def test_a_size_that_comfyui_would_round_is_rounded_first_and_said(configured: FakeRunPod) -> None:
    log: list[str] = []
    drawn = remote_base_images(
        DESCRIPTION,
        "headshot",
        {"base": 42},
        RemoteOptions(1000, 1024),
        log=log.append,
        patience=Timeouts(poll=0.01),
    )
    latent = configured.sent[0]["input"]["workflow"]["5"]["inputs"]
    assert (latent["width"], latent["height"]) == (992, 1024)
    said = "width: 1000 is drawn as 992, the next smaller multiple of 16"
    assert [line for line in log if line.startswith(said)]
    assert [line for line in drawn.warnings if line.startswith(said)]


def test_a_workflow_of_ones_own_keeps_its_cfg_and_says_how_it_is_filled(
    configured: FakeRunPod, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    mask = node("SaveImage", filename_prefix="mask", images=["6", 0])
    (tmp_path / "mine.json").write_text(json.dumps({"input": {"workflow": sdxl({"8": mask})}}))
    monkeypatch.setenv("RUNPOD_WORKFLOW", str(tmp_path / "mine.json"))
    drawn = remote_base_images(
        DESCRIPTION,
        "headshot",
        {"base": 42},
        RemoteOptions(1000, 1004),
        patience=Timeouts(poll=0.01),
    )
    nodes = configured.sent[0]["input"]["workflow"]
    assert (nodes["4"]["inputs"]["width"], nodes["4"]["inputs"]["height"]) == (1000, 1000)
    assert nodes["5"]["inputs"]["cfg"] == drawn.facts["guidance_scale"] == 7.5
    assert "node 8 (SaveImage)" in drawn.warnings[0]


def test_a_workflow_that_lacks_a_node_is_refused_before_anything_is_sent(
    configured: FakeRunPod, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (tmp_path / "mine.json").write_text('{"1": {"class_type": "SaveImage", "inputs": {}}}')
    monkeypatch.setenv("RUNPOD_WORKFLOW", str(tmp_path / "mine.json"))
    with pytest.raises(RemoteError, match=re.escape("mine.json must have exactly one sampler")):
        remote_base_images(DESCRIPTION, "headshot", {"base": 42})
    assert configured.sent == []

"""The files of deploy/: read by what will read them, as far as that is installed here."""

from __future__ import annotations

import json
import re
import shutil
import subprocess
import sys
from pathlib import Path
from typing import Any

import dagster as dg
import pytest
import yaml
from dagster._config import process_config

from avatar_pipeline.core.home import PROJECT
from avatar_pipeline.orchestration.definitions import defs
from avatar_pipeline.orchestration.executors import chosen_executor, step_retries
from avatar_pipeline.orchestration.tags import gpu_tags
from avatar_pipeline.pipeline.registry import STAGES

DEPLOY = PROJECT / "deploy"
UNITS = [*sorted((DEPLOY / "gpu-host").glob("*.service")), DEPLOY / "ray" / "ray-node.service"]


def load(path: Path) -> Any:
    return yaml.safe_load(path.read_text())


def test_steps_with_a_model_ask_for_one_gpu() -> None:
    for name, stage in STAGES.items():
        tags = defs.resolve_assets_def(name).op.tags
        assert (
            {key: json.loads(value) for key, value in tags.items()} == gpu_tags()
        ) is stage.model
        assert bool(tags) is stage.model


def test_ray_and_kubernetes_understand_the_tags() -> None:
    ray = pytest.importorskip("dagster_ray.configs")
    job = pytest.importorskip("dagster_k8s.job")
    tags = {key: json.dumps(value) for key, value in gpu_tags().items()}
    assert ray.RayExecutionConfig.from_tags(tags).num_gpus == 1
    assert job.get_user_defined_k8s_config(tags).container_config["resources"]["limits"] == {
        "nvidia.com/gpu": 1
    }


@pytest.mark.parametrize(
    ("name", "module"),
    [("", "dagster"), ("in_process", "dagster"), ("ray", "dagster_ray"), ("k8s", "dagster_k8s")],
)
def test_the_executor_is_chosen(name: str, module: str, monkeypatch: pytest.MonkeyPatch) -> None:
    pytest.importorskip(module)
    monkeypatch.setenv("AVATAR_EXECUTOR", name)
    found = {"": "in_process", "in_process": "in_process", "ray": "ray", "k8s": "k8s"}[name]
    assert chosen_executor().name == found
    assert (step_retries() is None) is (found == "in_process")


def test_an_unknown_executor(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("AVATAR_EXECUTOR", "celery")
    with pytest.raises(
        ValueError, match="AVATAR_EXECUTOR='celery' is not known. Use in_process, ray or k8s"
    ):
        chosen_executor()


def test_a_plain_install_needs_none_of_it() -> None:
    code = (
        "import sys, avatar_pipeline.definitions; "
        "print([name for name in ('ray', 'dagster_ray', 'dagster_k8s', 'dagster_postgres', "
        "'s3fs') if name in sys.modules])"
    )
    done = subprocess.run(
        [sys.executable, "-c", code],
        capture_output=True,
        text=True,
        timeout=120,
        check=True,
        cwd=PROJECT,
    )
    assert done.stdout.strip() == "[]"


@pytest.mark.parametrize("kind", ["gpu-host", "ray"])
def test_dagster_accepts_its_configuration(
    kind: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    pytest.importorskip("dagster_postgres")
    pytest.importorskip("dagster_ray")
    from dagster._core.instance.ref import InstanceRef

    monkeypatch.setenv("RAY_API_SERVER_ADDRESS", "http://head:8265")
    shutil.copyfile(DEPLOY / kind / "dagster.yaml", tmp_path / "dagster.yaml")
    reference = InstanceRef.from_dir(str(tmp_path))
    assert reference.run_launcher is not None
    settings: Any = reference.settings
    assert settings["run_retries"] == {
        "enabled": True,
        "max_retries": settings["run_retries"]["max_retries"],
        "retry_on_asset_or_op_failure": False,
    }
    assert settings["run_monitoring"]["enabled"]
    # a limit would hold for all machines of a cluster together
    assert settings["concurrency"]["pools"].get("default_limit") == (
        1 if kind == "gpu-host" else None
    )


def test_the_ray_launcher_leaves_runs_of_other_processes_alone() -> None:
    pytest.importorskip("dagster_ray")
    from dagster._core.launcher.base import WorkerStatus
    from dagster._core.test_utils import create_run_for_test

    from avatar_pipeline.orchestration.dagster_patches.ray_launcher import (
        LAUNCHED_TAG,
        ClusterRunLauncher,
    )

    launcher = {
        "module": "avatar_pipeline.orchestration.dagster_patches.ray_launcher",
        "class": "ClusterRunLauncher",
        "config": {"ray": {"address": "http://127.0.0.1:9"}},
    }
    with dg.instance_for_test(overrides={"run_launcher": launcher}) as instance:
        assert isinstance(instance.run_launcher, ClusterRunLauncher)
        instance.run_launcher.__dict__["client"] = NoJobs()
        for by_launcher, status in ((False, WorkerStatus.RUNNING), (True, WorkerStatus.UNKNOWN)):
            run = create_run_for_test(instance, status=dg.DagsterRunStatus.STARTED)
            if by_launcher:
                instance.add_run_tags(run.run_id, {LAUNCHED_TAG: run.run_id})
                run = instance.get_run_by_id(run.run_id)
            assert instance.run_launcher.check_run_worker_health(run).status == status


class NoJobs:
    """What Ray's client says of a job that it does not know."""

    def get_job_status(self, job: str) -> None:
        raise RuntimeError(f"Request failed with status code 404: Job {job} does not exist.")


def test_no_secret_lies_in_a_file() -> None:
    for path in DEPLOY.rglob("*"):
        if not path.is_file():
            continue
        for line in path.read_text().splitlines():
            value = re.match(
                r"^#?\s*-?\s*\w*(?:PASSWORD|SECRET|password|secret)\w*\s*[:=]\s*(\S+)", line
            )
            harmless = (
                value is None
                or value[1] in ("false", "dagster-postgresql-secret")
                or value[1].startswith("${")
            )
            assert harmless, f"{path.name}: {line}"


@pytest.mark.skipif(shutil.which("systemd-analyze") is None, reason="systemd is not installed")
def test_systemd_accepts_the_units(tmp_path: Path) -> None:
    programs = tmp_path / "bin"
    programs.mkdir()
    for unit in UNITS:
        text = unit.read_text()
        for program in re.findall(r"/opt/avatar-pipeline/\.venv/bin/(\S+)", text):
            (programs / program).touch(mode=0o755)
        (tmp_path / unit.name).write_text(
            text.replace("/opt/avatar-pipeline/.venv/bin", str(programs))
        )
    units = [str(tmp_path / unit.name) for unit in UNITS]
    done = subprocess.run(
        ["systemd-analyze", "verify", *units],
        capture_output=True,
        text=True,
        timeout=60,
        check=False,
    )
    complaints = [
        line for line in done.stderr.splitlines() if str(tmp_path) in line or ".service:" in line
    ]
    assert (done.returncode, complaints) == (0, [])


def environment(text: str) -> dict[str, str]:
    """What a file of an environment, or a Dockerfile, sets."""
    return dict(re.findall(r"(?:^|ENV |\s)([A-Z_]+)=(\S+)", text, re.MULTILINE))


def test_all_processes_of_a_machine_find_the_lock_of_its_card() -> None:
    """systemd: below the state directory, which alone all units may write in; and where a shell of
    that user has it without a variable.
    """
    home = re.findall(
        r"useradd .*--home-dir (\S+)", (PROJECT / "docs" / "deployment.md").read_text()
    )[0]
    templates = (
        DEPLOY / "gpu-host" / "avatar-pipeline.env.template",
        DEPLOY / "ray" / "ray.env.template",
    )
    folders = {environment(path.read_text()).get("AVATAR_LOCKS") for path in templates}
    assert folders == {f"{home}/.local/state/avatar-pipeline/locks"}
    for unit in UNITS:
        text = unit.read_text()
        assert {
            "EnvironmentFile=/etc/avatar-pipeline.env",
            f"StateDirectory={Path(home).name}",
        } <= set(text.splitlines()), unit.name
        assert "/tmp" not in re.sub("^#.*", "", text, flags=re.MULTILINE), (
            f"{unit.name} shares what PrivateTmp hides from others"
        )

    # containers: one folder that the image's user may write in, shared by all services that run
    # this package's code
    dockerfile = (DEPLOY / "Dockerfile").read_text()
    folder = environment(dockerfile)["AVATAR_LOCKS"]
    assert folder in dockerfile.partition("mkdir -p ")[2].partition("\n")[0].split()
    compose = load(DEPLOY / "compose" / "compose.yaml")
    for name, service in compose["services"].items():
        if name != "postgres":
            assert service["environment"]["AVATAR_LOCKS"] == folder
            assert f"locks:{folder}" in service["volumes"]
    for deployment in load(DEPLOY / "kubernetes" / "values.yaml")["dagster-user-deployments"][
        "deployments"
    ]:
        assert deployment["env"]["AVATAR_LOCKS"] == folder


def test_the_compose_file() -> None:
    """No engine runs it here: that its parts fit together is looked at instead."""
    compose = load(DEPLOY / "compose" / "compose.yaml")
    services, volumes = compose["services"], compose["volumes"]
    assert set(services) == {"postgres", "code", "daemon", "webserver"}
    for service in services.values():
        for volume in service["volumes"]:
            source = volume.split(":")[0]
            assert source in volumes or (DEPLOY / "compose" / source).is_file(), volume
        assert set(service.get("depends_on", {})) <= set(services)
    assert services["webserver"]["ports"] == ["127.0.0.1:3000:3000"]
    devices = {name for name, service in services.items() if "deploy" in service}
    assert devices == {"code"}
    build = services["code"]["build"]
    assert (DEPLOY / "compose" / build["context"] / build["dockerfile"]).is_file()


def test_the_values_for_kubernetes() -> None:
    """Helm is not here to render them: the parts that Dagster reads are given to Dagster as the
    chart's templates do.
    """
    dagster_k8s = pytest.importorskip("dagster_k8s")
    values = load(DEPLOY / "kubernetes" / "values.yaml")
    launcher = values["runLauncher"]["config"]["k8sRunLauncher"]
    snake = lambda name: re.sub(r"(?=[A-Z])", "_", name).lower()  # noqa: E731
    rendered = {
        "service_account_name": "dagster",
        "instance_config_map": "dagster-instance",
        "postgres_password_secret": values["global"]["postgresqlSecretName"],
        "dagster_home": "/opt/dagster/dagster_home",
        "image_pull_policy": launcher["imagePullPolicy"],
        "fail_pod_on_run_failure": launcher["failPodOnRunFailure"],
        "run_k8s_config": {snake(name): value for name, value in launcher["runK8sConfig"].items()},
    }
    accepted = process_config(dagster_k8s.K8sRunLauncher.config_type(), rendered)
    assert accepted.success, accepted.errors
    assert launcher["runK8sConfig"]["containerConfig"]["resources"]["limits"]["nvidia.com/gpu"] == 1
    deployment = values["dagster-user-deployments"]["deployments"][0]
    assert "resources" not in deployment  # they would be the runs', and win over the launcher's
    assert {mount["name"] for mount in deployment["volumeMounts"]} == {
        volume["name"] for volume in deployment["volumes"]
    }
    claims = {
        claim["metadata"]["name"]
        for claim in yaml.safe_load_all((DEPLOY / "kubernetes" / "storage.yaml").read_text())
    }
    assert {
        volume["persistentVolumeClaim"]["claimName"] for volume in deployment["volumes"]
    } <= claims
    monitoring, retries = (
        values["dagsterDaemon"]["runMonitoring"],
        values["dagsterDaemon"]["runRetries"],
    )
    settings = {
        "run_monitoring": {snake(name): value for name, value in monitoring.items()},
        "run_retries": {snake(name): value for name, value in retries.items()},
    }
    with dg.instance_for_test(overrides=settings) as instance:
        assert instance.run_monitoring_enabled
        assert not instance.run_retries_retry_on_asset_or_op_failure

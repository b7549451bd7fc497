"""`avatar-pipeline fetch` against a hub on this machine: what is taken, what is not, and every way
in which it can fail.
"""

from __future__ import annotations

import os
import shutil
import subprocess
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from avatar_pipeline.core.errors import ModelError
from avatar_pipeline.diffusion.weights_digest import file_sha256
from tests.support import tiny_models
from tests.support.fetching import assert_one_error, files_of, run_fetch, run_offline
from tests.support.fetching import snapshot as snapshot_of
from tests.support.hub_server import Hub, serving

REPO, REVISION = "someone/tiny-flux", "0123456789abcdef0123456789abcdef01234567"
Fetch = Callable[..., subprocess.CompletedProcess[str]]


@pytest.fixture(scope="module")
def pipeline(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A tiny FLUX, with what else lies in such repositories."""
    folder = tiny_models.build("flux", tmp_path_factory.mktemp("repository") / "flux")
    for name in (
        "flux1-dev.safetensors",
        "ae.safetensors",
        "README.md",
        "transformer/diffusion_pytorch_model.bin",
        "vae/model.onnx",
    ):
        (folder / name).write_bytes(b"not wanted" * 2000)
    vae = folder / "vae" / "diffusion_pytorch_model.safetensors"
    shutil.copy(vae, vae.with_name("diffusion_pytorch_model.fp16.safetensors"))
    return folder


@pytest.fixture
def hub(pipeline: Path, tmp_path: Path) -> Iterator[Hub]:
    shutil.copytree(pipeline, tmp_path / "hub")
    with serving(Hub(tmp_path / "hub", REPO, REVISION)) as hub:
        yield hub


@pytest.fixture
def fetch(hub: Hub, tmp_path: Path) -> Fetch:
    """Run the command in a process of its own, with a cache and a home of its own."""

    def run(
        *arguments: str, preset: str = "flux-schnell", **environ: str
    ) -> subprocess.CompletedProcess[str]:
        own = {
            "AVATAR_MODEL_FLUX_SCHNELL": f"{REPO}@{REVISION}",
            "AVATAR_MODEL_FLUX_DEV": f"{REPO}@{REVISION}",
        }
        return run_fetch(hub, tmp_path, preset, *arguments, **own | environ)

    return run


def snapshot(tmp_path: Path) -> Path:
    return snapshot_of(tmp_path, REPO, REVISION)


def test_what_the_pipeline_needs_is_fetched_once_and_runs_from_the_cache(
    fetch: Fetch, hub: Hub, tmp_path: Path
) -> None:
    done = fetch()
    assert done.returncode == 0, done.stderr
    assert "Apache-2.0" in done.stdout
    got = files_of(snapshot(tmp_path))
    assert "transformer/diffusion_pytorch_model.safetensors" in got
    assert {name for name in got if name.startswith("vae/")} == {
        "vae/config.json",
        "vae/diffusion_pytorch_model.fp16.safetensors",
    }
    assert not [
        name for name in got if not name.endswith((".safetensors", ".json", ".txt", ".model"))
    ]
    assert not got & {"flux1-dev.safetensors", "ae.safetensors"}

    hub.requests.clear()
    again = fetch()
    assert again.returncode == 0
    assert "0 of" in again.stdout
    assert not [
        request for request in hub.requests if request.startswith("GET") and "/resolve/" in request
    ]

    # A run is offline: the hub is switched off, and the weights' names in the cache are their
    # digests.
    script = """
from avatar_pipeline.diffusion.overrides import preset_by_name
from avatar_pipeline.diffusion.session import open_session
from avatar_pipeline.core.digests import sha256_file
from avatar_pipeline.diffusion.weights_digest import file_sha256
session = open_session(preset_by_name("flux-schnell"), "cpu")
weights = session.model / "transformer" / "diffusion_pytorch_model.safetensors"
assert weights.is_symlink() and file_sha256(weights) == sha256_file(weights) == weights.resolve().name
print(type(session.pipeline).__name__, session.preset.model_id, session.preset.revision, len(session.model_sha256))
"""  # noqa: E501
    ran = run_offline(tmp_path, script, AVATAR_MODEL_FLUX_SCHNELL=f"{REPO}@{REVISION}")
    assert ran.stdout.split() == ["FluxPipeline", REPO, REVISION, "64"], ran.stderr


def test_a_licence_has_to_be_accepted_first_and_is_put_on_record(
    fetch: Fetch, hub: Hub, tmp_path: Path
) -> None:
    assert_one_error(
        fetch(preset="flux-dev"),
        "flux-dev has not been accepted",
        "Non-Commercial",
        "--accept-licence",
    )
    assert hub.requests == []
    done = fetch("--accept-licence", preset="flux-dev")
    assert done.returncode == 0, done.stderr
    record = (tmp_path / "home" / "licences.json").read_text()
    assert "FLUX.1 [dev] Non-Commercial License" in record
    assert "+00:00" in record
    assert fetch(preset="flux-dev").returncode == 0
    assert_one_error(
        fetch(preset="flux-dev", DAGSTER_HOME=str(tmp_path / "other")), "has not been accepted"
    )
    accepted = fetch(
        preset="flux-dev",
        DAGSTER_HOME=str(tmp_path / "other"),
        AVATAR_ACCEPT_LICENCES="sdxl, flux-dev",
    )
    assert accepted.returncode == 0


@pytest.mark.parametrize(
    ("fault", "words"),
    [
        ("gated", ("only to accounts that have accepted its terms", "HF_TOKEN")),
        ("unauthorised", ("someone/tiny-flux", "HF_TOKEN")),
        ("500", ("answered 500", "Wait")),
    ],
)
def test_a_hub_that_refuses(fetch: Fetch, hub: Hub, fault: str, words: tuple[str, ...]) -> None:
    hub.fault["api"] = fault
    assert_one_error(fetch(), *words)


def test_what_is_not_there(fetch: Fetch) -> None:
    missing = fetch(AVATAR_MODEL_FLUX_SCHNELL=f"nobody/nothing@{REVISION}")
    assert_one_error(missing, "no model nobody/nothing", "Correct the id")
    wrong = fetch(AVATAR_MODEL_FLUX_SCHNELL=f"{REPO}@{'f' * 40}")
    assert_one_error(wrong, f"no revision {'f' * 40}")
    assert_one_error(fetch(preset="flux"), "preset 'flux' does not exist", "flux-schnell")


def test_without_a_connection(fetch: Fetch) -> None:
    assert_one_error(
        fetch(HF_ENDPOINT="http://127.0.0.1:9"),
        "connection to the hub failed",
        "fetch flux-schnell",
    )
    assert_one_error(fetch(HF_HUB_OFFLINE="1"), "HF_HUB_OFFLINE", "Unset it")


def test_a_download_that_breaks_off_is_gone_on_with(fetch: Fetch, hub: Hub, tmp_path: Path) -> None:
    hub.fault["transformer/diffusion_pytorch_model.safetensors"] = "cut"
    assert_one_error(fetch(), "What came is kept", "fetch flux-schnell")
    hub.fault.clear()
    hub.requests.clear()
    done = fetch()
    assert done.returncode == 0, done.stderr
    # what had come whole is not asked for again
    assert not [
        request
        for request in hub.requests
        if request.startswith("GET") and "text_encoder_2/model.safetensors" in request
    ]


def test_damaged_bytes_are_noticed_and_deleted(fetch: Fetch, hub: Hub, tmp_path: Path) -> None:
    name = "transformer/diffusion_pytorch_model.safetensors"
    hub.fault[name] = "garbled"
    assert_one_error(fetch(), f"{name} of {REPO} came damaged", "Fetch again")
    assert not (snapshot(tmp_path) / name).exists()
    hub.fault.clear()
    assert fetch().returncode == 0
    # What is damaged later, on the disk, is noticed when it is used, and fetched anew.
    blob = (snapshot(tmp_path) / name).resolve()
    whole = blob.read_bytes()
    for damaged in (whole[:-1] + bytes([whole[-1] ^ 1]), whole[:-10]):
        blob.write_bytes(damaged)
        with pytest.raises(ModelError, match=r"is damaged: its sha256 is .* Fetch it again"):
            file_sha256(snapshot(tmp_path) / name)
        assert fetch().returncode == 0
        assert (snapshot(tmp_path) / name).read_bytes() == whole


def test_another_family_and_pickles_are_refused_before_anything_large_is_fetched(
    fetch: Fetch, hub: Hub
) -> None:
    other = fetch(preset="sdxl", AVATAR_MODEL_SDXL=f"{REPO}@{REVISION}")
    assert_one_error(other, "is a FLUX.1 model", "preset sdxl wants SDXL")
    (hub.folder / "transformer" / "diffusion_pytorch_model.safetensors").unlink()
    assert_one_error(fetch(), "only as a pickle (diffusion_pytorch_model.bin)", "any code")
    assert not [
        request
        for request in hub.requests
        if request.startswith("GET") and ".safetensors" in request
    ]


def test_a_disk_that_is_too_small(fetch: Fetch, tmp_path: Path) -> None:
    (tmp_path / "sitecustomize.py").write_text(
        "import shutil\nold = shutil.disk_usage\nshutil.disk_usage = lambda path: "
        "old(path)._replace(free=1000)\n"
    )
    paths = os.pathsep.join([str(tmp_path), os.environ.get("PYTHONPATH", "")])
    assert_one_error(fetch(PYTHONPATH=paths), "needs 1.0 GiB, and 0.0 GiB are free", "HF_HOME")

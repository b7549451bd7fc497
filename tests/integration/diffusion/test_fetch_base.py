"""`avatar-pipeline fetch` of a preset with two models, and which commit of them is taken."""

from __future__ import annotations

import json
import shutil
import subprocess
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest
from safetensors.numpy import load_file, save_file

from avatar_pipeline.diffusion.presets import get_preset
from tests.support import tiny_models
from tests.support.fetching import assert_one_error, files_of, run_fetch, run_offline, snapshot
from tests.support.hub_server import Hub, serving

KLEIN = get_preset("flux2-klein")
assert KLEIN.base is not None
BASE = KLEIN.base
LATER = "89abcdef" * 5
WHICH = """
from avatar_pipeline.diffusion.model_choice import training_preset
from avatar_pipeline.diffusion.overrides import preset_by_name
from avatar_pipeline.diffusion.preset_records import model_location
from avatar_pipeline.diffusion.session import open_session
from diffusers import Flux2KleinPipeline

def show(preset):
    session = open_session(preset, "cpu")
    assert len(session.model_sha256) == 64
    pipeline = Flux2KleinPipeline.from_pretrained(session.model, local_files_only=True)
    assert pipeline.tokenizer.chat_template
    print(session.preset.model_id, session.preset.revision, pipeline.config.is_distilled)

preset = preset_by_name("flux2-klein")
show(preset)
print(model_location(preset) or "table")
show(training_preset(preset))
"""
Fetch = Callable[..., subprocess.CompletedProcess[str]]


@pytest.fixture(scope="module")
def models(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Tiny pipelines in the place of klein and its base, with the checkpoints in one file that lie
    beside them on the hub.
    """
    root = tmp_path_factory.mktemp("repositories")
    for name, distilled in (("distilled", True), ("base", False)):
        folder = tiny_models.build("flux2", root / name, distilled=distilled)
        (folder / "flux-2-klein-4b.safetensors").write_bytes(b"all in one" * 2000)
        (folder / "README.md").write_text("not needed")
    # text encoder, VAE and tokenizer are the same files, as on the hub
    file = root / "base" / "transformer" / "diffusion_pytorch_model.safetensors"
    save_file({name: 2 * weights for name, weights in load_file(file).items()}, file)
    return root


@pytest.fixture
def hub(models: Path, tmp_path: Path) -> Iterator[Hub]:
    shutil.copytree(models, tmp_path / "hub")
    hub = Hub(tmp_path / "hub" / "distilled", KLEIN.model, KLEIN.revision)
    hub.others[BASE.model] = (tmp_path / "hub" / "base", BASE.revision)
    with serving(hub):
        yield hub


@pytest.fixture
def fetch(hub: Hub, tmp_path: Path) -> Fetch:
    def run(
        *arguments: str, preset: str = "flux2-klein", **environ: str
    ) -> subprocess.CompletedProcess[str]:
        return run_fetch(hub, tmp_path, preset, *arguments, **environ)

    return run


def large(hub: Hub) -> list[str]:
    """The weights that were asked for."""
    return [one for one in hub.requests if one.startswith("GET") and ".safetensors" in one]


def test_both_models_are_fetched_with_their_sizes_first_and_run_without_the_hub(
    fetch: Fetch, hub: Hub, tmp_path: Path
) -> None:
    done = fetch()
    assert done.returncode == 0, done.stderr
    lines = done.stdout.splitlines()
    assert "Apache-2.0 (text encoder Qwen3-4B: Apache-2.0)" in lines[0]
    assert [line.partition(": ")[0] for line in lines[1:3]] == [KLEIN.model, BASE.model]
    assert all("11 of 12 files to fetch" in line for line in lines[1:3])
    assert lines[3].startswith("together ") and "LoRAs are trained on the second" in lines[3]
    twice = lines[4].partition(" are the same in both, and come twice")[0]
    assert set(twice.split(", ")) == {"text_encoder", "vae", "tokenizer"}
    assert lines[5:7] == [f"fetching 1 of 2: {KLEIN.model}", f"fetching 2 of 2: {BASE.model}"]
    for model, revision in ((KLEIN.model, KLEIN.revision), (BASE.model, BASE.revision)):
        got = files_of(snapshot(tmp_path, model, revision))
        assert len(got) == 12
        assert "tokenizer/chat_template.jinja" in got
        assert not got & {"flux-2-klein-4b.safetensors", "README.md"}
    ran = run_offline(tmp_path, WHICH)
    assert ran.stdout.split() == [
        *(KLEIN.model, KLEIN.revision, "True", "table"),
        *(BASE.model, BASE.revision, "False"),
    ], ran.stderr
    hub.requests.clear()
    assert "0 of 12" in fetch().stdout
    assert large(hub) == []


def test_the_base_may_be_left_out_and_is_missed_where_a_lora_is_trained(
    fetch: Fetch, hub: Hub, tmp_path: Path
) -> None:
    done = fetch("--without-training-base")
    assert done.returncode == 0, done.stderr
    assert f"left out: {BASE.model}, which LoRAs of the preset are trained on" in done.stdout
    assert not snapshot(tmp_path, BASE.model, BASE.revision).exists()
    ran = run_offline(tmp_path, WHICH)
    assert ran.stdout.split()[:2] == [KLEIN.model, KLEIN.revision]
    message = ran.stderr.splitlines()[-1]
    assert "flux2-klein (the base, which its LoRAs are trained on) are missing" in message
    assert message.endswith("avatar-pipeline fetch flux2-klein")
    hub.requests.clear()
    assert fetch().returncode == 0
    assert all(f"/{BASE.model}/" in request for request in large(hub))
    assert large(hub)


def test_a_branch_that_moved_on_is_said_and_taken_when_it_is_asked_for(
    fetch: Fetch, hub: Hub, tmp_path: Path
) -> None:
    hub.main = LATER
    done = fetch("--without-training-base")
    assert done.returncode == 0, done.stderr
    (line,) = [line for line in done.stdout.splitlines() if "moved on" in line]
    assert f"{KLEIN.model}: its branch main has moved on to {LATER}" in line
    assert f"{KLEIN.revision} is the preset's, and stays in use" in line
    assert line.endswith("avatar-pipeline fetch flux2-klein --update-revision")
    assert not (tmp_path / "home" / "revisions.json").exists()

    hub.revision = LATER
    done = fetch("--update-revision")
    assert done.returncode == 0, done.stderr
    assert f"{KLEIN.model}: revision {LATER} is on record, and was {KLEIN.revision}" in done.stdout
    assert f"{BASE.model}: revision {BASE.revision} is on record, as before" in done.stdout
    record = json.loads((tmp_path / "home" / "revisions.json").read_text())
    assert {model: entry["revision"] for model, entry in record.items()} == {
        KLEIN.model: LATER,
        BASE.model: BASE.revision,
    }
    # every later run uses it, and a manifest says that it is not the table's
    ran = run_offline(tmp_path, WHICH)
    assert ran.stdout.split()[:4] == [KLEIN.model, LATER, "True", f"{KLEIN.model}@{LATER}"]

    hub.main = "f" * 40
    (line,) = [line for line in fetch().stdout.splitlines() if "moved on" in line]
    assert f"{LATER} is on record, and stays in use" in line


def test_a_commit_that_is_gone_is_one_error_that_names_the_way_out(fetch: Fetch, hub: Hub) -> None:
    hub.revision = LATER
    assert_one_error(
        fetch(),
        f"{KLEIN.model} has no revision {KLEIN.revision}",
        "avatar-pipeline fetch flux2-klein --update-revision",
    )
    assert fetch("--update-revision").returncode == 0
    hub.revision = "f" * 40  # the one on record has gone too
    assert_one_error(fetch(), f"has no revision {LATER}", "--update-revision")


def test_a_model_without_a_commit_is_looked_up_once_and_stays_at_it(
    fetch: Fetch, hub: Hub, tmp_path: Path
) -> None:
    hub.others["someone/tuned"] = (hub.folder, LATER)
    own = {"AVATAR_MODEL_FLUX2_KLEIN": "someone/tuned"}
    ran = run_offline(tmp_path, WHICH, **own)
    assert "'someone/tuned' has no revision" in ran.stderr
    assert "AVATAR_MODEL_FLUX2_KLEIN=someone/tuned avatar-pipeline fetch flux2-klein" in ran.stderr
    done = fetch(**own)
    assert done.returncode == 0, done.stderr
    assert f"someone/tuned: its branch main is at {LATER}, which is on record" in done.stdout
    ran = run_offline(tmp_path, WHICH, **own)
    assert ran.stdout.split()[:4] == ["someone/tuned", LATER, "True", f"someone/tuned@{LATER}"]
    again = fetch(**own)
    assert "on record" not in again.stdout, "it is looked up once"
    # a commit that the user gave is not compared with main
    given = fetch("--update-revision", AVATAR_MODEL_FLUX2_KLEIN=f"someone/tuned@{'a' * 40}")
    assert f"someone/tuned: revision {'a' * 40} is given with the model, and stays" in given.stdout


def test_a_damaged_record_is_an_error_and_not_another_commit(fetch: Fetch, tmp_path: Path) -> None:
    (tmp_path / "home").mkdir()
    (tmp_path / "home" / "revisions.json").write_text("{")
    assert_one_error(fetch(), "revisions.json cannot be read", "Delete it")


@pytest.mark.parametrize(
    ("variable", "model", "words"),
    [
        (
            "AVATAR_MODEL_FLUX2_KLEIN",
            f"{BASE.model}@{BASE.revision}",
            ("is a base model", "Say draw_with: base", KLEIN.model),
        ),
        (
            "AVATAR_PRESET_FLUX2_KLEIN_TRAINING_MODEL",
            f"{KLEIN.model}@{KLEIN.revision}",
            ("is a distilled model", "trained on the base", BASE.model),
        ),
    ],
)
def test_distilled_and_base_in_each_others_place_are_refused_before_anything_large_comes(
    fetch: Fetch, hub: Hub, variable: str, model: str, words: tuple[str, ...]
) -> None:
    assert_one_error(fetch(**{variable: model}), model.partition("@")[0], *words)
    assert large(hub) == []


def test_the_larger_klein_is_accepted_by_hand_and_gated(fetch: Fetch, hub: Hub) -> None:
    assert_one_error(
        fetch(preset="flux2-klein-9b"),
        "flux2-klein-9b has not been accepted",
        "FLUX Non-Commercial License",
        "--accept-licence",
    )
    assert hub.requests == []
    large_klein = get_preset("flux2-klein-9b")
    hub.repo, hub.revision, hub.fault["api"] = large_klein.model, large_klein.revision, "gated"
    assert_one_error(
        fetch("--accept-licence", preset="flux2-klein-9b"),
        f"{large_klein.model} only to accounts that have accepted its terms",
        "HF_TOKEN",
    )

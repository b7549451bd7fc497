"""The command line: what it prints, and that every kind of bad input is one clear error that leaves
the store alone.
"""

from __future__ import annotations

import io
import shutil
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

import pytest
import yaml
from PIL import Image

from avatar_pipeline.actors.store import ActorStore
from avatar_pipeline.cli.main import main
from avatar_pipeline.core.openpeople import asset_path, emotion_tiles
from tests.support.hollow import hollow_model
from tests.support.worlds import empty_home as empty_home

DESCRIPTION = "european 25 year old male with short brown hair and blue eyes"


@pytest.fixture
def world(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, empty_home: Path) -> Path:
    """An empty store, exports folder and Dagster home; returns the folder that holds them."""
    for variable, name in (
        ("AVATAR_DATA", "actors"),
        ("AVATAR_EXPORTS", "exports"),
        ("DAGSTER_HOME", "home"),
    ):
        monkeypatch.setenv(variable, str(tmp_path / name))
    for name in ("actors", "exports"):
        (tmp_path / name).mkdir()
    shutil.copytree(empty_home, tmp_path / "home", ignore=shutil.ignore_patterns("*.lock"))
    return tmp_path


@pytest.fixture
def model(tmp_path: Path) -> str:
    """A folder that looks like a model, for runs that must fail before it is loaded."""
    return str(hollow_model(tmp_path / "model"))


Call = Callable[..., tuple[int, str, str]]


@pytest.fixture
def call(world: Path, capsys: pytest.CaptureFixture[str]) -> Call:
    """Run a command in this process: exit code, stdout, stderr."""

    def run(*arguments: str) -> tuple[int, str, str]:
        capsys.readouterr()
        with pytest.raises(SystemExit) as stop:
            main(list(arguments))
        captured = capsys.readouterr()
        return int(stop.value.code or 0), captured.out, captured.err

    return run


def new_actor(world: Path, name: str, **fields: object) -> Path:
    folder = world / "actors" / name
    folder.mkdir()
    content = {
        "description": DESCRIPTION,
        "likeness": "synthetic",
        "framing": "headshot",
        "seed": 1,
        **fields,
    }
    (folder / "actor.yaml").write_text(yaml.safe_dump(content))
    return folder


def files(world: Path) -> dict[Path, bytes]:
    """Everything stored, to tell whether a failure touched it. Locks are no content."""
    found = [path for part in ("actors", "exports") for path in (world / part).rglob("*")]
    return {path: path.read_bytes() for path in found if path.is_file() and path.suffix != ".lock"}


def assert_one_error(answer: tuple[int, str, str], *words: str) -> None:
    """Exit code 1, no traceback, and one message at the end of stderr with all these words."""
    code, _, err = answer
    assert code == 1
    assert "Traceback" not in err
    assert err.count("Error: ") == 1
    message = err.partition("Error: ")[2]
    for word in words:
        assert word in message


def test_register_is_repeatable_and_makes_the_home(call: Call, world: Path) -> None:
    shutil.rmtree(world / "home")
    new_actor(world, "anna")
    code, out, _ = call("register")
    assert code == 0
    assert out.startswith("1 actor, 1 new")
    assert "telemetry:\n  enabled: false" in (world / "home" / "dagster.yaml").read_text()
    code, out, _ = call("register")
    assert out.startswith("1 actor, 0 new, 0 gone, 0 changed inputs")


def test_a_preset_that_does_not_exist_stops_a_run_before_it_starts(call: Call, world: Path) -> None:
    new_actor(world, "anna")
    assert_one_error(
        call("run", "anna", "--preset", "sd3"),
        "preset 'sd3' does not exist",
        "flux-schnell",
        "the run's configuration",
    )
    assert not (world / "actors" / "anna" / "photo_intake").exists()


def test_new_actor_from_words(call: Call, world: Path) -> None:
    code, out, _ = call("new-actor", "anna", "--description", DESCRIPTION)
    assert code == 0
    assert "warning" not in out
    assert ActorStore().spec("anna").photos == "none"
    assert_one_error(
        call("new-actor", "anna", "--description", DESCRIPTION), "actor.yaml exists", "another name"
    )


def test_new_actor_from_photographs(call: Call, world: Path, tmp_path: Path) -> None:
    (tmp_path / "pictures").mkdir()
    Image.new("RGB", (64, 64)).save(tmp_path / "pictures" / "a.png")
    (tmp_path / "pictures" / "notes.txt").write_text("not a photograph")
    pictures = str(tmp_path / "pictures")
    words = ("new-actor", "anna", "--description", DESCRIPTION, "--photos", pictures)
    assert_one_error(call(*words), "--likeness real", "--likeness synthetic")
    assert files(world) == {}, "nobody said whether a living person is shown"
    code, out, _ = call(*words, "--likeness", "synthetic")
    assert code == 0
    assert [photo.name for photo in ActorStore().photos("anna")] == ["a.png"]
    assert out.splitlines()[-1] == "Next: avatar-pipeline run anna"


def test_on_a_terminal_new_actor_asks_whom_the_photographs_show(
    call: Call, world: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (tmp_path / "pictures").mkdir()
    Image.new("RGB", (64, 64)).save(tmp_path / "pictures" / "a.png")
    terminal = io.StringIO("real\n")
    monkeypatch.setattr(terminal, "isatty", lambda: True)
    monkeypatch.setattr(sys, "stdin", terminal)
    words = ("new-actor", "anna", "--description", DESCRIPTION)
    code, out, _ = call(*words, "--photos", str(tmp_path / "pictures"))
    assert code == 0 and "a living person, whose consent is then needed (real)" in out
    assert ActorStore().spec("anna").likeness == "real"


def test_the_one_missing_command_for_a_real_person_comes_last(
    call: Call, world: Path, tmp_path: Path
) -> None:
    new_actor(world, "bob", likeness="real", photos="folder")
    (tmp_path / "pictures").mkdir()
    Image.new("RGB", (64, 64)).save(tmp_path / "pictures" / "a.png")
    words = ("new-actor", "anna", "--description", DESCRIPTION, "--likeness", "real")
    code, out, _ = call(*words, "--photos", str(tmp_path / "pictures"))
    assert code == 0
    assert out.splitlines()[-1].startswith("Next: avatar-pipeline consent grant anna --subject ")
    assert "10 to 20 photographs" not in out, "they were just copied"
    assert "bob" not in out, "another actor's problem"


def test_photographs_that_were_dropped_in_wait_until_somebody_says_whom_they_show(
    call: Call, world: Path
) -> None:
    for place in ("anna/photos", "bob", "Carl Carlson", "empty"):
        (world / "actors" / place).mkdir(parents=True)
    for place in ("anna/photos", "bob", "Carl Carlson"):
        Image.new("RGB", (64, 64)).save(world / "actors" / place / "a.png")
    code, out, _ = call("register")
    assert code == 0 and out.startswith("0 actors, 0 new")
    lines = {line.split()[0]: line for line in out.splitlines()[1:]}
    assert sorted(lines) == ["Carl", "anna", "bob"]
    for name in ("anna", "bob"):
        assert f"avatar-pipeline new-actor {name}" in lines[name]
        assert "--likeness real" in lines[name] and "--likeness synthetic" in lines[name]
    assert "--photos" not in lines["anna"] and f"--photos {world / 'actors/bob'}" in lines["bob"]
    assert "carl_carlson" in lines["Carl"]
    words = ("new-actor", "anna", "--description", DESCRIPTION)
    assert_one_error(call(*words), "--likeness real", "--likeness synthetic")
    assert call(*words, "--likeness", "synthetic")[0] == 0
    assert ActorStore().spec("anna").photos == "folder"


def test_new_actor_draws_the_root_seed_once_and_writes_it_down(call: Call) -> None:
    for name in ("anna", "bob"):
        assert call("new-actor", name, "--description", DESCRIPTION)[0] == 0
    seeds = {ActorStore().spec(name).seed for name in ("anna", "bob")}
    assert -1 not in seeds and len(seeds) == 2


def test_checks_that_were_not_assessed_are_no_warnings_in_any_table(
    call: Call, world: Path
) -> None:
    new_actor(world, "anna")
    code, out, _ = call("run", "anna", "--only", "photo_intake")
    assert code == 0
    assert "pass" in out and "warning" not in out
    assert "warning" not in call("history", "anna")[1]


def test_what_keeps_an_actor_from_running_is_one_line(call: Call, world: Path) -> None:
    new_actor(world, "anna", likeness="real", photos="folder")
    _, out, _ = call("register")
    (line,) = out.splitlines()[1:]
    assert line.startswith("anna cannot run yet: ") and "avatar-pipeline run anna" in line


def test_a_batch_of_what_is_missing_leaves_out_who_cannot_run_yet(call: Call, world: Path) -> None:
    new_actor(world, "anna", likeness="real", photos="folder")
    code, out, _ = call("batch", "--missing", "--stale")
    assert code == 0
    assert "anna is left out: anna is a real person" in out and "Nothing to make" in out


def test_pages_go_where_git_takes_nothing(
    call: Call, world: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    new_actor(world, "anna")
    monkeypatch.chdir(tmp_path)
    assert call("report")[0] == 0
    assert not (tmp_path / "report").exists()
    assert (tmp_path / "build" / "report" / "anna.html").is_file()
    assert (tmp_path / "build" / "report" / ".gitignore").read_text() == "*\n"


def test_new_actor_warns_of_a_vague_description(call: Call) -> None:
    code, out, _ = call("new-actor", "anna", "--description", "a nice person with a hat")
    assert code == 0
    assert "warning: " in out


@pytest.mark.parametrize(
    ("arguments", "words"),
    [
        (["--description", "person"], ["description"]),
        (["--description", DESCRIPTION, "--likeness", "maybe"], ["likeness"]),
        (
            ["--description", DESCRIPTION, "--photos", "/nowhere/at/all"],
            ["/nowhere/at/all", "photographs"],
        ),
    ],
)
def test_new_actor_refuses_and_leaves_nothing(
    call: Call, world: Path, arguments: list[str], words: list[str]
) -> None:
    assert_one_error(call("new-actor", "anna", *arguments), *words)
    assert files(world) == {}


@pytest.mark.parametrize("name", ["../x", "A", "", "a/b"])
def test_bad_names(call: Call, world: Path, name: str) -> None:
    for command in (["run", name], ["lineage", name], ["replay", name, "base_image"]):
        assert_one_error(call(*command), "is not an actor name", "lower-case")
    assert files(world) == {}


def test_unknown_actor(call: Call, world: Path) -> None:
    new_actor(world, "anna")
    assert_one_error(
        call("run", "nobody"),
        "There is no actor 'nobody'",
        "Actors: anna",
        "avatar-pipeline new-actor nobody",
    )
    assert_one_error(call("lineage", "nobody"), "There is no actor 'nobody'")


def test_nothing_made_yet(call: Call, world: Path) -> None:
    new_actor(world, "anna")
    assert_one_error(call("lineage", "anna"), "anna has nothing yet", "avatar-pipeline run anna")
    assert_one_error(call("replay", "anna", "lora"), "anna has no lora yet")
    assert_one_error(
        call("replay", "anna", "everything"), "There is no asset 'everything'", "base_image"
    )


@pytest.mark.parametrize(
    ("setting", "words"),
    [
        ("base_image.width=7", ["width = 7", ">= 256"]),
        ("base_image.steps=0", ["steps = 0", ">= 1"]),
        ("base_image.speed=1", ["--set", "width"]),
        ("nothing.width=64", ["--set", "base_image"]),
        ("base_image.width", ["--set", "ASSET.SETTING=VALUE"]),
    ],
)
def test_bad_settings(call: Call, world: Path, model: str, setting: str, words: list[str]) -> None:
    new_actor(world, "anna")
    before = files(world)
    assert_one_error(call("run", "anna", "--model", model, "--set", setting), *words)
    assert files(world) == before


@pytest.mark.parametrize(
    ("content", "words"),
    [
        ({"description": "person"}, ["actor.yaml", "description"]),
        ({"framing": "upside_down"}, ["actor.yaml", "framing", "headshot"]),
        ({"colour": "blue"}, ["actor.yaml", "colour", "unknown"]),
        ({"settings": {"base_image": {"width": 7}}}, ["width = 7", "actor.yaml of anna"]),
    ],
)
def test_bad_specification(
    call: Call, world: Path, model: str, content: dict[str, object], words: list[str]
) -> None:
    new_actor(world, "anna", **content)
    before = files(world)
    assert_one_error(call("run", "anna", "--model", model), *words)
    assert files(world) == before


def test_missing_model(call: Call, world: Path) -> None:
    new_actor(world, "anna")
    before = files(world)
    assert_one_error(
        call("run", "anna", "--model", str(world / "no_model")),
        f"{world / 'no_model'}",
        "does not exist",
    )
    assert before.items() <= files(world).items(), (
        "photo_intake needs no model and is kept; nothing else is touched"
    )
    assert not (world / "actors" / "anna" / "base_image").exists()


def empty(folder: Path) -> None:
    pass


def text_file(folder: Path) -> None:
    (folder / "02.jpg").write_text("this is no picture")


def truncated(folder: Path) -> None:
    data = asset_path("P001", "studio_portrait").read_bytes()
    (folder / "02.jpg").write_bytes(data[: len(data) // 2])


def no_face(folder: Path) -> None:
    Image.effect_noise((512, 512), 40).convert("RGB").save(folder / "02.png")


def three_people(folder: Path) -> None:
    group = Image.new("RGB", (1200, 500), "gray")
    for index, person in enumerate(("P001", "P002", "P004")):
        group.paste(emotion_tiles(person)["neutral"].resize((400, 400)), (index * 400, 50))
    group.save(folder / "02.png")


@pytest.mark.parametrize(
    ("spoil", "words"),
    [
        (empty, ["photos", "holds no photographs", "10 to 20 photographs"]),
        (text_file, ["02.jpg", "is not a picture"]),
        (truncated, ["02.jpg", "damaged or cut off"]),
        (no_face, ["02.png", "no face"]),
        (three_people, ["02.png", "face"]),
    ],
)
def test_bad_photographs(
    call: Call, world: Path, model: str, spoil: Callable[[Path], None], words: list[str]
) -> None:
    folder = new_actor(world, "anna", photos="folder") / "photos"
    folder.mkdir()
    spoil(folder)
    before = files(world)
    assert_one_error(call("run", "anna", "--model", model), *words)
    assert files(world) == before


def test_a_real_person_without_consent(call: Call, world: Path, model: str) -> None:
    folder = new_actor(world, "anna", likeness="real", photos="folder")
    code, out, _ = call("register")
    assert code == 0
    assert "anna cannot run yet" in out
    before = files(world)
    assert_one_error(
        call("run", "anna", "--model", model),
        "consent",
        str(folder / "photos"),
        str(folder / "consent.yaml"),
    )
    assert files(world) == before


def test_doctor_tells_what_is_there(call: Call, world: Path) -> None:
    _, out, _ = call("doctor")
    for word in (
        "device",
        "model embedded",
        "face analyzer dlib",
        "face analyzer insightface",
        "non-commercial",
        "library torch",
    ):
        assert word in out
    assert out.count("avatar-pipeline fetch sdxl") <= 1
    closing = out.splitlines()[-1]
    assert closing.startswith("All that is needed is there.") and "insightface" in closing


def test_the_installed_command(world: Path) -> None:
    command = shutil.which("avatar-pipeline", path=str(Path(sys.executable).parent))
    start = [command] if command else [sys.executable, "-m", "avatar_pipeline"]
    done = subprocess.run(
        [*start, "run", "../x"], capture_output=True, text=True, timeout=60, check=False
    )
    assert done.returncode == 1
    assert done.stderr.startswith("Error: '../x' is not an actor name.")
    assert done.stdout == ""

"""Disks that are full, read-only or gone, and damaged files: a clear error, nothing lost, and the
next run works.
"""

from __future__ import annotations

import resource
import shutil
import signal
import subprocess
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path

import dagster as dg
import numpy as np
import pytest
from PIL import Image

from avatar_pipeline.actors.store import ActorStore
from avatar_pipeline.cli.main import main
from avatar_pipeline.orchestration.failures import step_error
from tests.support.small_chain import Materialize, add_actor


def problem(result: dg.ExecuteInProcessResult) -> str:
    """Why the run failed, in the words that the command line prints."""
    assert not result.success
    return step_error(next(event for event in result.all_events if event.is_step_failure))


def contents(folder: Path) -> dict[str, bytes]:
    return {
        str(path.relative_to(folder)): path.read_bytes()
        for path in sorted(folder.rglob("*"))
        if path.is_file()
    }


def mount(*arguments: str) -> bool:
    return subprocess.run(["mount", *arguments], capture_output=True, check=False).returncode == 0


@pytest.fixture(autouse=True)
def registered(instance: dg.DagsterInstance) -> None:
    instance.add_dynamic_partitions("actors", ["red", "noisy"])


@pytest.fixture
def disk(tmp_path: Path) -> Iterator[Path]:
    """A disk of 2 MiB of its own."""
    folder = tmp_path / "disk"
    folder.mkdir()
    if shutil.which("mount") is None or not mount(
        "-t", "tmpfs", "-o", "size=2m", "tmpfs", str(folder)
    ):
        pytest.skip("disks cannot be mounted here")
    yield folder
    subprocess.run(["umount", "-l", str(folder)], check=False)


@pytest.fixture
def small_disk_store(disk: Path, store: ActorStore, monkeypatch: pytest.MonkeyPatch) -> ActorStore:
    """An actor `noisy`, whose pictures do not compress, on that disk."""
    monkeypatch.setenv("AVATAR_DATA", str(disk / "actors"))
    (disk / "actors").mkdir()
    on_disk = ActorStore()
    folder = add_actor(on_disk, "noisy", "red")
    noise = np.random.default_rng(0).integers(0, 255, (256, 256, 3), np.uint8)
    Image.fromarray(noise).save(folder / "photos" / "01.png")
    return on_disk


def test_a_full_disk(small_disk_store: ActorStore, disk: Path, materialize: Materialize) -> None:
    assert materialize("noisy", only=["base_image"], base_image={"width": 64}).success
    old = small_disk_store.current("noisy", "base_image")
    before = contents(disk / "actors" / "noisy")
    filler = (disk / "filler").open("wb", buffering=0)
    with pytest.raises(OSError, match="No space left"), filler:
        while True:
            filler.write(bytes(4096))
    words = problem(materialize("noisy", only=["base_image"], base_image={"width": 256}))
    assert "No space left on device" in words and "noisy" in words
    assert "What was stored before is as it was. Free space there, then run it again." in words
    assert contents(disk / "actors" / "noisy") == before
    (disk / "filler").unlink()
    assert materialize("noisy", only=["base_image"], base_image={"width": 256}).success
    assert [version.digest for version in small_disk_store.versions("noisy", "base_image")][1:] == [
        old.digest
    ]
    assert small_disk_store.read_all(old)


def test_a_read_only_disk(
    small_disk_store: ActorStore, disk: Path, materialize: Materialize, instance: dg.DagsterInstance
) -> None:
    assert materialize("noisy", only=["base_image"]).success
    before = contents(disk)
    assert mount("-o", "remount,ro", str(disk))
    result = materialize("noisy", only=["base_image"], base_image={"width": 32})
    assert (
        "Read-only file system. What was stored before is as it was. Its disk is mounted read-only"
        in problem(result)
    )
    # said before the work, not after it: a stage may take hours
    assert "picture made" not in [entry.user_message for entry in instance.all_logs(result.run_id)]
    assert contents(disk) == before
    assert mount("-o", "remount,rw", str(disk))
    assert materialize("noisy", only=["base_image"], base_image={"width": 32}).success


@contextmanager
def no_file_longer_than(size: int) -> Iterator[None]:
    """Writing past it fails, as past a quota."""
    soft, hard = resource.getrlimit(resource.RLIMIT_FSIZE)
    handler = signal.signal(signal.SIGXFSZ, signal.SIG_IGN)
    resource.setrlimit(resource.RLIMIT_FSIZE, (size, hard))
    try:
        yield
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, (soft, hard))
        signal.signal(signal.SIGXFSZ, handler)


def test_a_store_that_vanishes_in_the_middle(
    store: ActorStore, tmp_path: Path, materialize: Materialize
) -> None:
    assert materialize("red").success
    before = contents(tmp_path / "actors")
    real = ActorStore.photos

    def unmount(self: ActorStore, name: str) -> object:
        found = real(self, name)
        (tmp_path / "actors").rename(tmp_path / "away")
        return found

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(ActorStore, "photos", unmount)
        words = problem(materialize("red", only=["base_image"], base_image={"width": 32}))
    assert "There is no folder" in words and "AVATAR_DATA" in words
    assert not (tmp_path / "actors").exists()  # nothing is made anew on whatever lies below a mount
    words = problem(materialize("red", only=["base_image"]))
    assert "There is no folder" in words
    (tmp_path / "away").rename(tmp_path / "actors")
    kept = {
        name: data
        for name, data in contents(tmp_path / "actors").items()
        if not name.startswith(".locks")
    }
    assert kept == {name: data for name, data in before.items() if not name.startswith(".locks")}
    assert materialize("red", base_image={"width": 32}).success


def test_a_damaged_manifest(store: ActorStore, tmp_path: Path, materialize: Materialize) -> None:
    assert materialize("red", base_image={"width": 32}).success
    old = store.current("red", "base_image")
    assert materialize("red").success
    # An older version: nothing reads it.
    (
        tmp_path / "actors" / "red" / "versions" / "base_image" / old.digest / "manifest.json"
    ).write_text("{")
    assert materialize("red", only=["face_validation"]).success
    # The current one: what reads it says which file and what to do, and that is what mends it.
    current = tmp_path / "actors" / "red" / "base_image" / "manifest.json"
    current.write_bytes(current.read_bytes()[:100])
    words = problem(materialize("red", only=["face_validation"]))
    assert f"{current} is damaged" in words and "materialize the asset again" in words
    assert materialize("red", only=["base_image"]).success
    assert materialize("red", only=["face_validation"]).success


@pytest.fixture
def home(store: ActorStore, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.setenv("DAGSTER_HOME", str(tmp_path / "home"))
    main_code(["register"])
    return tmp_path / "home"


def main_code(arguments: list[str]) -> int:
    with pytest.raises(SystemExit) as ended:
        main(arguments)
    return int(ended.value.code or 0)


def garbage(home: Path) -> None:
    for file in home.rglob("*.db*"):
        file.write_bytes(b"this is no database " * 500)


def bad_yaml(home: Path) -> None:
    (home / "dagster.yaml").write_text("telemetry: [")


def bad_setting(home: Path) -> None:
    (home / "dagster.yaml").write_text("no_such_setting: 1")


@pytest.mark.parametrize(
    ("damage", "said"),
    [
        (garbage, "It is damaged: restore the folder from a copy, or move it away."),
        (bad_yaml, "dagster.yaml"),
        (bad_setting, "no_such_setting"),
    ],
)
def test_a_damaged_dagster_home(
    home: Path,
    store: ActorStore,
    damage: Callable[[Path], None],
    said: str,
    capsys: pytest.CaptureFixture[str],
) -> None:
    damage(home)
    assert main_code(["register"]) == 1
    error = capsys.readouterr().err
    assert said in error and str(home) in error
    assert "Traceback" not in error
    home.rename(home.with_name("damaged"))
    assert main_code(["register"]) == 0  # with a new one; the actors are as they were
    assert "2 actors, 2 new" in capsys.readouterr().out


def test_a_store_that_is_not_there(
    home: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    shutil.rmtree(tmp_path / "actors")
    for command in (
        ["register"],
        ["run", "red"],
        ["lineage", "red"],
        ["metrics"],
        ["replay", "red", "lora"],
    ):
        assert main_code(command) == 1
        assert "There is no folder" in capsys.readouterr().err
    assert not (tmp_path / "actors").exists()


def test_a_checkpoint_of_an_actor_that_is_gone(store: ActorStore, tmp_path: Path) -> None:
    checkpoint = store.checkpoint("red", "lora")
    checkpoint.save(b"1")
    with (
        no_file_longer_than(1000),
        pytest.raises(Exception, match="File too large.*Free space there"),
    ):
        checkpoint.save(bytes(2000))
    assert checkpoint.load() == b"1"
    (tmp_path / "actors").rename(tmp_path / "away")
    with pytest.raises(Exception, match="is gone in the middle of its run. Mount its disk again"):
        checkpoint.save(b"2")
    assert not (tmp_path / "actors").exists()

"""Locks: where that of a device lies, who shares it, and what may stand in its place."""

from __future__ import annotations

import os
import stat
from pathlib import Path
from typing import Any

import pytest

from avatar_pipeline.core.errors import AvatarPipelineError, StoreError
from avatar_pipeline.core.locks import hold, hold_or_refuse
from avatar_pipeline.diffusion.device import choose_device, lock_path, turn
from tests.support.warm import run

WHERE = (
    "from avatar_pipeline.diffusion.device import choose_device, lock_path; "
    "print(lock_path(choose_device('cpu')))"
)
SESSION = ("AVATAR_LOCKS", "TMPDIR", "HOME", "XDG_RUNTIME_DIR", "XDG_STATE_HOME")


def lock_in(**variables: str) -> str:
    """The lock of the CPU in another process of this user, whose session has only these
    variables.
    """
    environment = {
        name: value for name, value in os.environ.items() if name not in SESSION
    } | variables
    done = run(["-c", WHERE], environment)
    assert done.returncode == 0, done.stderr
    return done.stdout.strip()


def test_a_shell_cron_and_a_service_of_one_user_share_the_lock(tmp_path: Path) -> None:
    """As systemd's PrivateTmp, sudo, and a session that has no runtime folder have it."""
    private, shell = str(tmp_path / "private"), str(tmp_path / "shell")
    Path(private).mkdir()
    Path(shell).mkdir()
    found = {
        lock_in(TMPDIR=private, HOME="/"),
        lock_in(TMPDIR=shell, HOME=shell, XDG_RUNTIME_DIR=shell, XDG_STATE_HOME=shell),
    }
    assert len(found) == 1
    assert not found.pop().startswith(str(tmp_path))


def test_a_test_run_has_locks_of_its_own() -> None:
    """Also in one process, without xdist: it does not wait for whatever else computes on this
    machine.
    """
    path = lock_path(choose_device("cpu"))
    assert str(path) != lock_in()
    with turn(choose_device("cpu")):
        assert path.exists()


def test_a_folder_that_is_not_the_same_for_all_is_refused(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("AVATAR_LOCKS", "locks")
    with (
        pytest.raises(StoreError, match="AVATAR_LOCKS=locks is not absolute"),
        turn(choose_device("cpu")),
    ):
        pass


@pytest.mark.parametrize("holding", [hold, hold_or_refuse])
def test_a_link_in_the_place_of_a_lock_is_refused(tmp_path: Path, holding: Any) -> None:
    (tmp_path / "a.lock").symlink_to(tmp_path / "elsewhere")
    with (
        pytest.raises(StoreError, match=r"a\.lock is a symbolic link"),
        holding(tmp_path / "a.lock", "the device", "a test"),
    ):
        pass
    assert not (tmp_path / "elsewhere").exists()


@pytest.mark.parametrize("holding", [hold, hold_or_refuse])
def test_a_link_in_the_place_of_a_note_is_not_written_through(tmp_path: Path, holding: Any) -> None:
    letter = tmp_path / "letter.txt"
    letter.write_text("dear Jane")
    (tmp_path / "a.lock.json").symlink_to(letter)
    with holding(tmp_path / "a.lock", "the device", "a test"):
        assert "a test" in (tmp_path / "a.lock.json").read_text()
        assert letter.read_text() == "dear Jane"
    assert letter.read_text() == "dear Jane"


def test_words_of_a_holder_are_not_read_through_a_link(tmp_path: Path) -> None:
    (tmp_path / "elsewhere.json").write_text(
        '{"work": "something else", "host": "x", "pid": 1, "since": "2026-01-01T00:00:00+00:00"}'
    )
    with hold(tmp_path / "a.lock", "the device"):
        (tmp_path / "a.lock.json").unlink()
        (tmp_path / "a.lock.json").symlink_to(tmp_path / "elsewhere.json")
        with (
            pytest.raises(AvatarPipelineError, match="another process holds it"),
            hold_or_refuse(tmp_path / "a.lock", "the device", ""),
        ):
            pass


@pytest.mark.parametrize(("folder", "file"), [(0o2770, 0o660), (0o755, 0o600), (0o1777, 0o666)])
def test_who_may_write_in_the_folder_may_lock(tmp_path: Path, folder: int, file: int) -> None:
    place = tmp_path / "locks"
    place.mkdir()
    place.chmod(folder)
    before = os.umask(0o077)
    try:
        with hold(place / "a.lock", "the device"):
            modes = {path.name: stat.S_IMODE(path.stat().st_mode) for path in place.iterdir()}
    finally:
        os.umask(before)
    assert modes == {"a.lock": file, "a.lock.json": file}


@pytest.mark.skipif(
    os.geteuid() != 0, reason="only root can make a file that its folder's owner cannot open"
)
def test_a_command_of_root_locks_nobody_out(tmp_path: Path) -> None:
    place = tmp_path / "locks"
    place.mkdir()
    os.chown(place, 1234, 1234)
    with hold(place / "a.lock", "the device"):
        assert {path.stat().st_uid for path in place.iterdir()} == {1234}

"""The unit lane stays in this process."""

from __future__ import annotations

import multiprocessing.process
import os
import subprocess
from collections.abc import Callable, Iterator
from typing import Any, NoReturn

import pytest


@pytest.fixture(autouse=True)
def no_process(request: pytest.FixtureRequest) -> Iterator[None]:
    """Fail a test that starts a process, unless it is marked `child_process`."""
    if request.node.get_closest_marker("child_process"):
        yield
        return
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(subprocess.Popen, "__init__", refuse("subprocess.Popen"))
        patch.setattr(multiprocessing.process.BaseProcess, "start", refuse("Process.start"))
        patch.setattr(os, "fork", refuse("os.fork"))
        yield


def refuse(what: str) -> Callable[..., NoReturn]:
    """Return what stands in the place of a call that starts a process."""

    def call(*arguments: Any, **more: Any) -> NoReturn:
        pytest.fail(f"{what}: a test that starts a process belongs into tests/integration or e2e")

    return call

"""Run a client's own lines in node, where an address without a host is the server's under test, as
in a browser it is the page's.
"""

from __future__ import annotations

import json
import shutil
import subprocess
from pathlib import Path
from typing import Any

import pytest

BEFORE = (
    "const real = globalThis.fetch; globalThis.fetch = (path, options) => real(new URL(path, "
    "{url}), options);\n"
)
CLIENTS = Path(__file__).parent


def run_in_node(script: str, url: str, then: str) -> tuple[Any, list[str], str]:
    """What the JavaScript expression `then` gives after `script`, the lines printed, and stderr;
    skips the test where there is no node.
    """
    if shutil.which("node") is None:
        pytest.skip("there is no node on this machine")
    program = (
        f"{BEFORE.format(url=json.dumps(url))}{script}\nconsole.log('RESULT ' + "
        f"JSON.stringify({then}));"
    )
    done = subprocess.run(
        ["node", "--input-type=module", "-"],
        input=program,
        capture_output=True,
        text=True,
        timeout=180,
    )
    assert done.returncode == 0, done.stderr
    lines = done.stdout.splitlines()
    return (
        json.loads(
            next(line for line in lines if line.startswith("RESULT ")).removeprefix("RESULT ")
        ),
        lines,
        done.stderr,
    )

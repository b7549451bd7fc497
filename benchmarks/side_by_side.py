"""How long two checkouts take to load the definitions, or to run their tests: by turns.

    python benchmarks/side_by_side.py definitions BASE NOW [--times 9]
    python benchmarks/side_by_side.py test BASE NOW [--times 1]
    python benchmarks/side_by_side.py test-fast BASE NOW [--times 1]

BASE and NOW are checkouts with a .venv. `definitions` is a new Python that imports
`avatar_pipeline.definitions` and then says which heavy modules came with it; the others are the
targets of the Makefile, installation aside. Both are compiled to bytecode first: a checkout that
was just changed would pay for that at each start where PYTHONDONTWRITEBYTECODE is set. One line
each, then the ratio of the medians. Do nothing else on the machine meanwhile.
"""

from __future__ import annotations

import compileall
import statistics
import subprocess
import sys
import time
from pathlib import Path

from _common import command_line, machine

LOAD = (
    "import sys, avatar_pipeline.definitions; "
    "print([name for name in ('torch', 'diffusers', 'transformers', 'cv2', 'pandas') "
    "if name in sys.modules])"
)


def main() -> None:
    """Entry point."""
    parser = command_line(__doc__)
    parser.add_argument("what", choices=["definitions", "test", "test-fast"])
    parser.add_argument("base", type=Path)
    parser.add_argument("now", type=Path)
    parser.add_argument("--times", type=int, default=None)
    asked = parser.parse_args()
    load = asked.what == "definitions"
    times = asked.times or (9 if load else 1)
    command = [".venv/bin/python", "-c", LOAD] if load else ["make", asked.what]
    print(machine())
    for checkout in (asked.base, asked.now):
        compileall.compile_dir(checkout / "avatar_pipeline", quiet=1)
    seconds: dict[Path, list[float]] = {asked.base: [], asked.now: []}
    for _ in range(times):
        for checkout, taken in seconds.items():
            began = time.monotonic()
            done = subprocess.run(command, cwd=checkout, capture_output=True, text=True)
            taken.append(time.monotonic() - began)
            last = (done.stdout.strip().splitlines() or [done.stderr.strip()])[-1]
            print(f"{checkout}: {taken[-1]:.2f} s, exit code {done.returncode}, {last}", flush=True)
            if load and done.returncode:
                sys.exit(done.stderr)
    base, now = (statistics.median(taken) for taken in seconds.values())
    print(f"median {base:.2f} s and {now:.2f} s: {now / base:.2f} times")


if __name__ == "__main__":
    main()

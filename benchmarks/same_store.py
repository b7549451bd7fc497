"""Whether a store that BASE made is read, judged and changed by NOW as BASE does it.

    python benchmarks/same_demo.py record BASE DEMO
    python benchmarks/same_store.py record BASE RECORDING --demo DEMO
    python benchmarks/same_store.py check NOW RECORDING [--accept FILE]

BASE and NOW are checkouts with a .venv; DEMO is a recording of the demo. `record` makes a store by
BASE's command line: the demo; an actor from photographs and one from words, whose actor.yaml and
manifests hold the settings under BASE's names, each in several versions; a real person with
consent, and one whose consent was revoked. Then it runs the commands of store_commands.py on a
copy and keeps what they print. `check` runs them by NOW's avatar-pipeline on another copy, prints
what differs, and exits with 1 when something does. FILE holds accepted differences, such as
settings that have another name on purpose (sameness.py says how). What NOW printed is kept in
RECORDING/now.json. Some twelve minutes to record, seven to check, on two cores.

Compared: every command's exit status and output, line by line; the pages, sheets and other files
that commands write (text by lines, pictures by pixels, others by sha256); and after all of them
every file of the store, of each manifest every field. Not compared, as they differ between two
runs of the same code: times and lengths of time, memory, ids of runs, signatures and the numbers
of certificates, the widths of tables. Copies lie where the store was made, as it holds absolute
paths: only one check of a recording can run at a time.
"""

from __future__ import annotations

import argparse
import hashlib
import json
import re
import shutil
import sys
import time
from pathlib import Path
from typing import Any

from PIL import Image
from same_demo import VARIABLE
from sameness import Checkout, Difference, World, accepted, checkout, compare, report, write_json
from store_commands import ACTORS, MADE, commands

STORE = "the store"
TEXTS = (".json", ".yaml", ".csv", ".txt", ".html", ".prom", ".md", "")
PICTURES = (".jpg", ".jpeg", ".png", ".webp")
TURNS = (".lock",)  # files of the locks
# What differs between two runs in what commands print and write, beyond sameness.VARIABLE.
PRINTED = (
    (r"\x1b\[[0-9;]*m", ""), (r"\b[0-9a-f]{8}(-[0-9a-f]{4}){3}-[0-9a-f]{12}\b", "<id>"),
    (r"\brun [0-9a-f]{8}\b", "run <id>"), (r"certificate \d+", "certificate <number>"),
    (r"(serial\W+)\d{20,}", r"\1<number>"), (r"\d+(\.\d+)? (GiB|min|s|h)\b", r"<number> \2"),
    (r"│ +\d+\.\d │", "│ <seconds> │"), (r"\d+ bytes", "<number> bytes"),
    (r"(_seconds(\{[^}]*\})?) [0-9.e+-]+", r"\1 <number>"),
    (r"(_memory_mb(\{[^}]*\})?) [0-9.e+-]+", r"\1 <number>"), (r"[ ─━]{2,}", " "),
    (r"data:[a-z/+]+;base64,[A-Za-z0-9+/=]{100,}", "data:<picture>"),
    (r'("page or sheet",\s+"sha256": ")[0-9a-f]{64}', r"\1<digest>"),
    (r"(?m)^.*\bstep \d+ of \d+, <number> s\n", ""), (r"(?m)│ [0-9a-f]{8} │$", "│ <id> │"),
    (r'("(seconds|peak_memory_mb)": )[0-9.]+', r"\1<number>"), (r"\.\d{24}\.json", ".<time>.json"),
)  # fmt: skip


def main() -> None:
    """Entry point."""
    style = argparse.RawTextHelpFormatter
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=style)
    both = parser.add_subparsers(dest="command", required=True)
    for name in ("record", "check"):
        command = both.add_parser(name)
        command.add_argument("checkout", type=checkout)
        command.add_argument("recording", type=Path)
        if name == "record":
            command.add_argument("--demo", type=Path, required=True, help="of same_demo.py record")
        else:
            command.add_argument("--accept", type=Path, help="accepted differences, TOML")
    given = parser.parse_args()
    folder, code = given.recording.resolve(), given.checkout
    if given.command == "record":
        make(code, folder, given.demo.resolve())
        write_json(folder / "printed.json", run_all(code, folder))
        return
    before = json.loads((folder / "printed.json").read_text())
    now = run_all(code, folder)
    write_json(folder / "now.json", now)
    found: list[Difference] = []
    for name in dict.fromkeys((*before, *now)):
        found += compare(name, before.get(name), now.get(name)) if name != STORE else []
    for name in dict.fromkeys((*before[STORE], *now[STORE])):
        found += compare(f"{STORE}: {name}", before[STORE].get(name), now[STORE].get(name))
    files = len(before[STORE])
    counted = f"{len(before) - 1} commands and {files} files of the store, by {code.commit}"
    sys.exit(1 if report(found, accepted(given.accept), counted) else 0)


def make(code: Checkout, folder: Path, demo: Path) -> None:
    """Make the store in `world`, and keep it as `pristine`."""
    began = time.monotonic()
    for name in ("world", "pristine"):
        shutil.rmtree(folder / name, ignore_errors=True)
    world = World(folder / "world")
    for name in ("actors", "exports", "home"):
        shutil.copytree(demo / name, world.folder / name, dirs_exist_ok=True)
    for name, text in ACTORS.items():
        (world.folder / "actors" / name).mkdir()
        (world.folder / "actors" / name / "actor.yaml").write_text(text)
    (world.folder / "work" / "paper.pdf").write_text("signed")
    for words in MADE:
        done = world.run(code, *words)
        lines = (done.stdout + done.stderr).strip().splitlines()
        seconds = f"{time.monotonic() - began:4.0f} s"
        print(f"{seconds}  exit {done.returncode}  {' '.join(words)}"[:150], flush=True)
        for line in lines[-3:] if done.returncode else []:
            print(f"{'':8}{line}", flush=True)
    shutil.copytree(world.folder, folder / "pristine", symlinks=True)


def run_all(code: Checkout, folder: Path) -> dict[str, Any]:
    """What each command ends with, prints and writes on a copy of the store, and the store then."""
    shutil.rmtree(folder / "world", ignore_errors=True)
    shutil.copytree(folder / "pristine", folder / "world", symlinks=True)
    world = World(folder / "world")
    work, began = world.folder / "work", time.monotonic()
    found: dict[str, Any] = {}
    for number, words in enumerate(commands(world.folder / "actors")):
        old = {path: path.stat().st_mtime_ns for path in work.rglob("*") if path.is_file()}
        done = world.run(code, *words)
        written = {
            path.relative_to(work).as_posix(): content(path, world, code)
            for path in sorted(work.rglob("*"))
            if path.is_file() and old.get(path) != path.stat().st_mtime_ns
        }
        # The same command comes several times, before and after others.
        found[f"{number}: {' '.join(words)}"] = {
            "exit": done.returncode, "printed": steady(done.stdout, world, code),
            "errors": steady(done.stderr, world, code), "written": written,
        }  # fmt: skip
        seconds = f"{time.monotonic() - began:4.0f} s"
        print(f"{seconds}  exit {done.returncode}  {' '.join(words)}", flush=True)
    found[STORE] = store = {}
    for top in ("actors", "exports"):
        for path in sorted((world.folder / top).rglob("*")):
            if path.is_file() and not path.name.endswith(TURNS):
                name = path.relative_to(world.folder).as_posix()
                store[steady(name, world, code)] = content(path, world, code)
    return found


def steady(text: str, world: World, code: Checkout) -> str:
    """A text without what differs between two runs of the same code."""
    text = world.plain(text, code)
    for pattern, name in PRINTED:
        text = re.sub(pattern, name, text)
    return text


def content(path: Path, world: World, code: Checkout) -> Any:
    """What a file holds, as it is compared."""
    if path.suffix in PICTURES:
        with Image.open(path) as image:
            return {"size": list(image.size), "pixels": hashlib.sha256(image.tobytes()).hexdigest()}
    if path.name == "manifest.json":
        value = json.loads(path.read_text())
        return {name: each for name, each in value.items() if name not in VARIABLE}
    if path.suffix in TEXTS:
        return steady(path.read_text(errors="replace"), world, code)
    return hashlib.sha256(path.read_bytes()).hexdigest()


if __name__ == "__main__":
    main()

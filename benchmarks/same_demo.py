"""Whether `make demo` makes the same in two checkouts: seven assets, bit by bit.

    python benchmarks/same_demo.py both BASE NOW
    python benchmarks/same_demo.py record BASE RECORDING
    python benchmarks/same_demo.py check NOW RECORDING [--accept FILE]

BASE and NOW are checkouts with a .venv. In each `avatar-pipeline register` and `avatar-pipeline
run demo` make the actor of BASE's data/actors/demo, in a folder of its own and on one thread
(--threads), one after the other: some seven minutes each on one core. `record` keeps BASE's run
for later checks, for same_store.py and for same_answers.py. --set ASSET.SETTING=VALUE and --only
ASSET go to `run`, for a shorter trial. FILE holds accepted differences (sameness.py says how).

Prints a Markdown table with each asset's digest, the sha256 of its contents, in both; exits with 1
when anything differs. Compared are also the sha256 of every file of every version, every field of
every manifest and of the exported JSON, the pixels of the exported portrait, and what the two
commands print. Not compared: times and lengths of time, memory that was free or used, ids of runs,
and signatures (the portrait's bytes hold one).
"""

from __future__ import annotations

import argparse
import hashlib
import json
import re
import shutil
import sys
import tempfile
import time
from pathlib import Path
from typing import Any

from PIL import Image
from sameness import Checkout, Difference, World, accepted, checkout, compare, report, write_json

# Fields of a manifest that tell when, how fast and in which memory, and of the export's JSON.
VARIABLE = ("created", "run_id", "seconds", "peak_memory_mb", "waited_seconds", "device_since",
            "device_until", "memory_plans", "run")  # fmt: skip
# The same in what is printed.
PRINTED = (
    (r"[0-9a-f]{8}(?=\n)", "<run>"), (r"\d+(\.\d+)? (GiB|MiB|min|s)\b", r"<number> \2"),
    (r"│ +\d+\.\d │", "│ <seconds> │"), (r"[ ─━]{2,}", " "),
)  # fmt: skip


def main() -> None:
    """Entry point."""
    style = argparse.RawTextHelpFormatter
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=style)
    commands = parser.add_subparsers(dest="command", required=True)
    for name, (first, second) in {
        "both": ("base", "now"), "record": ("base", "recording"), "check": ("now", "recording"),
    }.items():  # fmt: skip
        command = commands.add_parser(name)
        for argument in (first, second):
            command.add_argument(argument, type=Path if argument == "recording" else checkout)
        command.add_argument("--threads", type=int, default=1)
        command.add_argument("--set", action="append", default=[], metavar="ASSET.SETTING=VALUE")
        command.add_argument("--only", action="append", default=[], metavar="ASSET")
        command.add_argument("--accept", type=Path, help="accepted differences, TOML")
    given = parser.parse_args()
    options = [word for each in given.set for word in ("--set", each)]
    options += [word for each in given.only for word in ("--only", each)]
    with tempfile.TemporaryDirectory() as name:
        place = Path(name).resolve()
        if given.command == "record":
            shutil.rmtree(given.recording, ignore_errors=True)
            make(given.base, given.base, given.recording.resolve(), given.threads, options)
            return
        if given.command == "both":
            before = make(given.base, given.base, place / "base", given.threads, options)
            now = make(given.now, given.base, place / "now", given.threads, options)
        else:
            before = json.loads((given.recording / "demo.json").read_text())
            before |= made(given.recording)
            specification = given.recording.resolve() / "specification"
            now = make(given.now, Checkout(specification), place / "now", given.threads, options)
    sys.exit(1 if tell(before, now, given.accept) else 0)


def make(code: Checkout, actors: Checkout, place: Path, threads: int, options: list[str]) -> Any:
    """Make the demo; what it made. actors: whose data/actors/demo is made."""
    world, began = World(place, threads), time.monotonic()
    specification = actors.folder / "data" / "actors" / "demo" / "actor.yaml"
    (place / "actors" / "demo").mkdir(exist_ok=True)
    shutil.copy(specification, place / "actors" / "demo")
    kept = place / "specification" / "data" / "actors" / "demo"
    kept.mkdir(parents=True, exist_ok=True)
    shutil.copy(specification, kept)
    printed = world.must(code, "register") + world.must(code, "run", "demo", *options)
    text = world.plain(printed, code)
    for pattern, name in PRINTED:
        text = re.sub(pattern, name, text)
    facts = {
        "commit": code.commit, "seconds": round(time.monotonic() - began), **made(place),
        "printed": "\n".join(line for line in text.splitlines() if "a step" not in line),
    }  # fmt: skip
    write_json(place / "demo.json", facts)
    return facts


def made(place: Path) -> dict[str, Any]:
    """What lies in the store and among the exports."""
    return {"versions": versions(place / "actors" / "demo"), "exports": exports(place / "exports")}


def versions(actor: Path) -> dict[str, Any]:
    """By asset and version: the manifest without what varies, and each file's sha256.

    Versions are numbered from the oldest; a file is read, and not its manifest believed.
    """
    found: dict[str, Any] = {}
    manifests = {path: json.loads(path.read_text()) for path in actor.rglob("manifest.json")}
    for path, manifest in sorted(manifests.items(), key=lambda each: str(each[1]["created"])):
        place = path.parent.relative_to(actor).as_posix()
        versioned = place.replace(manifest["digest"], "DIGEST")
        number = sum(name.startswith(f"{versioned} ") for name in found)
        files = {
            file.relative_to(path.parent).as_posix(): content(file)
            for file in sorted(path.parent.rglob("*"))
            if file.is_file() and file.name != "manifest.json"
        }
        steady = {name: value for name, value in manifest.items() if name not in VARIABLE}
        found[f"{versioned} {number}"] = {"manifest": steady, "files": files}
    return found


def content(file: Path) -> Any:
    """The sha256 of a file; of JSON also its fields, so that one sees which differ."""
    data = file.read_bytes()
    digest = hashlib.sha256(data).hexdigest()
    return {"sha256": digest, "fields": json.loads(data)} if file.suffix == ".json" else digest


def exports(folder: Path) -> dict[str, Any]:
    """Exported pictures by their pixels, JSON by its fields."""
    found: dict[str, Any] = {}
    for path in sorted(folder.iterdir()):
        if path.suffix == ".json":
            value = json.loads(path.read_text())
            found[path.name] = {key: each for key, each in value.items() if key not in VARIABLE}
        elif path.is_file():
            with Image.open(path) as image:
                pixels = hashlib.sha256(image.tobytes()).hexdigest()
                found[path.name] = {"size": list(image.size), "pixels": pixels}
    return found


def tell(before: Any, now: Any, accept: Path | None) -> int:
    """Print the table and the differences; returns how many are not accepted."""
    print(f"| asset | {before['commit']} | {now['commit']} | files | |\n|---|---|---|---|---|")
    for name in dict.fromkeys((*before["versions"], *now["versions"])):
        sides = [facts["versions"].get(name) for facts in (before, now)]
        if not all(sides):
            print(f"| {name} | {bool(sides[0])} | {bool(sides[1])} | | missing |")
        elif "DIGEST" in name or "/" not in name:
            digests = [side["manifest"]["digest"][:16] for side in sides]
            verdict = "same" if sides[0] == sides[1] else "DIFFERENT"
            same = sum(now["files"].get(file) == digest for now in sides[1:]
                       for file, digest in sides[0]["files"].items())  # fmt: skip
            shown = f"{same} of {len(sides[0]['files'])} the same"
            print(f"| {name.removesuffix(' 0')} | {' | '.join(digests)} | {shown} | {verdict} |")
    print(f"\n{before['seconds']} s before, {now['seconds']} s now.")
    found: list[Difference] = []
    for part in ("versions", "exports", "printed"):
        found += compare(part, before[part], now[part])
    files = sum(len(version["files"]) for version in before["versions"].values())
    counted = f"{len(before['versions'])} manifests, {files} files"
    counted += f" and {len(before['exports'])} exports"
    return report(found, accepted(accept), counted)


if __name__ == "__main__":
    main()

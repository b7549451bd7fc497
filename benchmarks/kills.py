"""Kill runs at random moments, and see that nothing is lost: `python benchmarks/kills.py [KILLS]
[--csv FILE] [--seed N] [--quick]`.

One actor's chain is made twice, with two seeds, so that every asset has an older version. Then,
KILLS times, one asset after the other: the store is put back to where the asset has its older
version and what lies upstream is new, a run of this asset alone is started and killed with SIGKILL,
either at a random second of its span or at the moment when it has put a certain number of files
into the store (its checkpoint, a version, the current folder), and the store is looked through:
every version and the current folder of every asset have the files and sha256 that their manifests
tell, no version is missing, the portrait is a whole JPEG. Then the same run is started again: it
must succeed and give the digest of the undisturbed run, and leave no temporary file, no lock, no
slot of a pool and no run that counts as living. Prints a Markdown table and writes a line for every
kill; exits with 1 when one of these failed.

A run is a process of its own, forked from one that has imported the libraries, so that it does not
take seconds to get there.
"""

from __future__ import annotations

import csv
import os
import random
import shutil
import signal
import sys
import tempfile
import time
import warnings
from collections.abc import Callable, Iterator, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path

from _common import command_line, head, machine

ACTOR = "small"
SPECIFICATION = """\
description: indian 40 year old male with long straight light brown hair and an angular jaw
likeness: synthetic
photos: openpeople:P008
framing: headshot
seed: 11
settings:
  training_variations: {variations: 2}
  lora: {max_train_steps: 24, evaluate_every: 12, validation_images: 1, final_renders: 1}
  validated_avatar: {candidates: 3}
"""
# `--quick`: an actor of words only, and the assets that are made in a second or two.
QUICK = """\
description: european 38 year old female with short curly dark hair
likeness: synthetic
framing: headshot
seed: 11
settings:
  base_image: {steps: 4, candidates: 1, face_detail: false}
"""
QUICK_ASSETS = ["photo_intake", "base_image"]
# root seed of the older versions; not every one gives a LoRA of so few steps that draws the person
OLDER = 12
# What is killed of the training is a shorter one; it need not draw the person.
OPTIONS = {"lora": ("--set", "lora.max_train_steps=10", "--set", "lora.evaluate_every=5")}
# between two checkpoints of the training; 60 in real runs, which take minutes
CHECKPOINT_SECONDS = 1.0
ENDED = ", but it had ended"
LONGEST = 300.0  # seconds: an undisturbed run of one asset takes 30 at most


@dataclass
class Kill:
    """What became of one kill. moment: what was waited for. found: what lay there half done.
    seconds: of the next run.
    """

    asset: str
    moment: str
    after_seconds: float
    found: str
    published: bool
    resumed: bool
    seconds: float
    faults: str


class World:
    """A store, a folder of portraits and a Dagster home in one folder."""

    def __init__(self, folder: Path) -> None:
        self.folder, self.actor = folder, folder / "actors" / ACTOR
        self.home = folder / "home"

    def run(self, assets: Sequence[str], log: Path, *options: str) -> int:
        """Start a run of these assets in a process of its own; returns its id."""
        child = os.fork()
        if child:
            return child
        os.setsid()
        os.environ |= {
            "AVATAR_DATA": str(self.folder / "actors"),
            "AVATAR_EXPORTS": str(self.folder / "exports"),
            "DAGSTER_HOME": str(self.home),
        }
        descriptor = os.open(log, os.O_WRONLY | os.O_CREAT | os.O_TRUNC)
        os.dup2(descriptor, 1)
        os.dup2(descriptor, 2)
        code = 1
        try:
            from avatar_pipeline.cli.main import main

            only = [part for asset in assets for part in ("--only", asset)]
            main(["run", ACTOR, *only, *options])
        except SystemExit as done:
            code = int(done.code or 0)
        except BaseException:
            import traceback

            traceback.print_exc()
        finally:
            sys.stdout.flush()
            os._exit(code)

    def digests(self, assets: Sequence[str]) -> dict[str, str]:
        """The current version of each asset."""
        from avatar_pipeline.actors.store import ActorStore

        store = ActorStore(self.folder / "actors")
        return {asset: store.current(ACTOR, asset).digest for asset in assets}

    def faults(self, expected: set[tuple[str, str]]) -> list[str]:
        """What is wrong in the store. expected: the versions (asset, digest) that must be there."""
        from avatar_pipeline.actors.files import TEMPORARY
        from avatar_pipeline.actors.manifest import MANIFEST
        from avatar_pipeline.actors.store import ActorStore
        from avatar_pipeline.core.errors import AvatarPipelineError
        from avatar_pipeline.imaging.images import open_image
        from avatar_pipeline.pipeline.registry import STAGES

        store = ActorStore(self.folder / "actors")
        faults, versions = [], set()
        for asset in STAGES:
            try:
                for version in store.versions(ACTOR, asset):
                    store.read_all(version)
                    versions.add((asset, version.digest))
                folder = self.actor / asset
                if folder.exists():
                    current = store.current(ACTOR, asset)
                    # A temporary file may lie beside them until the next publish; `leftovers` sees
                    # to that.
                    found = [
                        path
                        for path in folder.rglob("*")
                        if path.is_file() and not path.match(TEMPORARY)
                    ]
                    files = {str(path.relative_to(folder)): path.read_bytes() for path in found}
                    files.pop(MANIFEST)
                    if files != store.read_all(current):
                        faults.append(f"{asset}/ is not what its manifest says")
                    if (asset, current.digest) not in versions:
                        faults.append(f"{asset} points to a version that is not there")
            except (AvatarPipelineError, OSError) as error:
                faults.append(str(error))
        faults += [f"lost: {asset} {digest[:12]}" for asset, digest in sorted(expected - versions)]
        portrait = self.folder / "exports" / f"{ACTOR}.jpg"
        if portrait.exists():
            try:
                open_image(portrait.read_bytes(), name=portrait.name).load()
            except (AvatarPipelineError, OSError) as error:
                faults.append(f"the portrait is not whole: {error}")
        return faults

    def leftovers(self) -> list[str]:
        """What a killed run must not leave for good: temporary files, held locks, slots, runs that
        count as living.
        """
        import dagster as dg
        from filelock import FileLock, Timeout

        found = [f"left: {path.name}" for path in self.temporary()]
        found += [f"left: {path.name}" for path in self.actor.glob(".checkpoints/*")]
        for path in (self.folder / "actors" / ".locks").glob("*.lock"):
            try:
                with FileLock(path, timeout=0):
                    pass
            except Timeout:
                found.append(f"held: {path.name}")
        with dg.DagsterInstance.from_config(str(self.home)) as instance:
            storage = instance.event_log_storage
            for pool in storage.get_concurrency_keys():
                info = storage.get_concurrency_info(pool)
                if info.claimed_slots or info.pending_steps:
                    found.append(f"pool {pool} is not free")
            living = instance.get_runs(
                dg.RunsFilter(statuses=[dg.DagsterRunStatus.STARTED, dg.DagsterRunStatus.STARTING])
            )
            found += [f"run {run.run_id[:8]} counts as living" for run in living]
        return found

    def temporary(self) -> Iterator[Path]:
        """Files and folders that are being written, or were when their writer was killed."""
        yield from (
            path
            for place in ("actors", "exports")
            for path in (self.folder / place).rglob(".*.tmp")
        )

    def writes(self) -> int:
        """A number that grows with every file that a run puts into the store: the latest change of
        any of its folders.
        """
        folders = [self.actor, *(path for path in self.actor.rglob("*") if path.is_dir())]
        return max((folder.stat().st_mtime_ns for folder in folders if folder.exists()), default=0)


def wait(
    child: int, until: Callable[[], bool] | None = None, seconds: float = LONGEST
) -> int | None:
    """The exit code of a run; None when `until` came true first, or the seconds are over."""
    end = time.monotonic() + seconds
    while time.monotonic() < end:
        found, status = os.waitpid(child, os.WNOHANG)
        if found:
            return os.waitstatus_to_exitcode(status)
        try:
            if until is not None and until():
                return None
        except FileNotFoundError:  # it was renamed under our eyes
            continue
        time.sleep(0.0002 if until else 0.01)
    return None


def kill(child: int) -> None:
    """End a run and all that it started, at once."""
    os.killpg(child, signal.SIGKILL)
    os.waitpid(child, 0)


def prepare(
    folder: Path, specification: str, assets: Sequence[str]
) -> tuple[dict[str, Path], dict[str, float], dict[str, str]]:
    """Make the chain twice. Returns, by asset, the actor's folder before its second making, the
    seconds that took, and its digest.
    """
    world = World(folder)
    world.actor.mkdir(parents=True)
    (world.actor / "actor.yaml").write_text(specification)
    log = folder / "run.log"
    if wait(world.run(assets, log, "--seed", str(OLDER))) != 0:
        raise SystemExit(f"the older versions could not be made:\n{log.read_text()}")
    before: dict[str, Path] = {}
    spans: dict[str, float] = {}
    digests: dict[str, str] = {}
    for asset in assets:
        before[asset] = folder / "before" / asset
        shutil.copytree(world.actor, before[asset])
        began = time.monotonic()
        if wait(world.run([asset], log, *OPTIONS.get(asset, ()))) != 0:
            raise SystemExit(f"the undisturbed run of {asset} failed:\n{log.read_text()}")
        spans[asset] = time.monotonic() - began
        digests |= world.digests([asset])
        if asset in OPTIONS and wait(world.run([asset], log)) != 0:
            raise SystemExit(f"{asset} with its own settings failed:\n{log.read_text()}")
    return before, spans, digests


def attempt(
    world: World,
    asset: str,
    before: Path,
    span: float,
    changes: int,
    digest: str,
    at_writing: bool,
    rng: random.Random,
    log: Path,
) -> Kill:
    """One kill of a run of one asset, and the next run. changes: to the store, at most, among which
    one is chosen.
    """
    shutil.rmtree(world.actor)
    shutil.copytree(before, world.actor)
    versions = {(path.parent.name, path.name) for path in (world.actor / "versions").glob("*/*")}
    child = world.run([asset], log, *OPTIONS.get(asset, ()))
    began = time.monotonic()
    if at_writing:
        target = rng.randint(1, changes)
        moment, seen, count = f"at change {target} of the store", world.writes(), 0

        def changed() -> bool:
            nonlocal seen, count
            if (now := world.writes()) != seen:
                seen, count = now, count + 1
            return count >= target

        code = wait(child, changed)
    else:
        seconds = rng.uniform(0.0, span)
        moment = f"{seconds / span:.0%} of its span"
        code = wait(child, seconds=seconds)
    after = time.monotonic() - began
    if code is None:
        kill(child)
    else:
        moment += ENDED
    halves = [path.name for path in world.temporary()]
    halves += ["checkpoint" for path in world.actor.glob(".checkpoints/*.safetensors")]
    halves += [
        "version without manifest"
        for path in (world.actor / "versions" / asset).iterdir()
        if not (path / "manifest.json").exists()
    ]
    faults = world.faults(versions)
    published = world.digests([asset])[asset] == digest
    versions |= {(asset, digest)}
    began = time.monotonic()
    again = world.run([asset], log, *OPTIONS.get(asset, ()))
    if (code := wait(again)) is None:  # it would go on writing under the next kill
        kill(again)
    seconds = time.monotonic() - began
    text = log.read_text(errors="replace")
    if code != 0:
        faults.append(f"the next run ended with {code}: {text[-300:]}")
    else:
        faults += world.faults(versions) + world.leftovers()
        if world.digests([asset])[asset] != digest:
            faults.append("the next run gave another digest")
    found = ", ".join(sorted({_kind(name) for name in halves})) or "nothing"
    return Kill(
        asset,
        moment,
        round(after, 2),
        found,
        published,
        "going on after step" in text,
        round(seconds, 2),
        "; ".join(faults),
    )


def _kind(name: str) -> str:
    return name if not name.endswith(".tmp") else "temporary file"


def main(arguments: list[str] | None = None) -> int:
    """Command line. Returns the exit code."""
    parser = command_line(__doc__.splitlines()[0] if __doc__ else "")
    parser.add_argument("kills", type=int, nargs="?", default=70)
    parser.add_argument("--csv", type=Path, help="a line for every kill")
    parser.add_argument("--seed", type=int, default=1)
    parser.add_argument(
        "--quick",
        action="store_true",
        help="only the first assets, of an actor without photographs",
    )
    chosen = parser.parse_args(arguments)
    preload()
    from avatar_pipeline.pipeline.registry import STAGES

    assets = QUICK_ASSETS if chosen.quick else list(STAGES)
    rng = random.Random(chosen.seed)
    began = time.monotonic()
    kills: list[Kill] = []
    with tempfile.TemporaryDirectory() as folder:
        before, spans, digests = prepare(
            Path(folder), QUICK if chosen.quick else SPECIFICATION, assets
        )
        print(f"made twice in {time.monotonic() - began:.0f} s", flush=True)
        world = World(Path(folder))
        changes, log = dict.fromkeys(STAGES, 12), Path(folder) / "run.log"
        while len(kills) < chosen.kills:
            number = len(kills)
            asset = assets[number % len(assets)]
            at_writing = (number // len(assets)) % 2 == 1
            done = attempt(
                world,
                asset,
                before[asset],
                spans[asset],
                changes[asset],
                digests[asset],
                at_writing,
                rng,
                log,
            )
            spans[asset] = min(spans[asset], done.seconds)
            # the machine was faster this time, or fewer files were written: nobody was killed
            if done.moment.endswith(ENDED):
                changes[asset] = max(1, changes[asset] - 3)
                continue
            kills.append(done)
            if chosen.csv:
                write_csv(chosen.csv, kills)  # as they come: it takes half an hour
            facts = f"{done.asset:20} {done.moment:28} {done.found:40}"
            print(
                f"{number + 1:3} {facts} next run {done.seconds:5.1f} s {done.faults}", flush=True
            )
    print(table(kills, assets, spans))
    print(f"\n{len(kills)} kills in {time.monotonic() - began:.0f} s on {machine()}")
    return int(any(done.faults for done in kills))


def write_csv(path: Path, kills: Sequence[Kill]) -> None:
    """A line for every kill so far."""
    with path.open("w", newline="") as file:
        writer = csv.DictWriter(file, list(asdict(kills[0])), lineterminator="\n")
        writer.writeheader()
        writer.writerows(asdict(done) for done in kills)


def table(kills: Sequence[Kill], assets: Sequence[str], spans: dict[str, float]) -> str:
    """Kills by asset, as Markdown."""
    lines = [
        head(
            "asset | kills | while writing | already published | resumed | faults |"
            " undisturbed, s | next run, s (median)"
        ),
    ]
    for asset in assets:
        own = [done for done in kills if done.asset == asset]
        if own:
            seconds = sorted(done.seconds for done in own)[len(own) // 2]
            lines.append(
                f"| {asset} | {len(own)} | {sum(done.found != 'nothing' for done in own)} | "
                f"{sum(done.published for done in own)} | "
                f"{sum(done.resumed for done in own)} | {sum(bool(done.faults) for done in own)} "
                f"| {spans[asset]:.1f} | {seconds:.1f} |"
            )
    halves, published, resumed, faults = (
        sum(done.found != "nothing" for done in kills),
        sum(done.published for done in kills),
        sum(done.resumed for done in kills),
        sum(bool(done.faults) for done in kills),
    )
    lines.append(f"| all | {len(kills)} | {halves} | {published} | {resumed} | {faults} | | |")
    return "\n".join(lines)


def preload() -> None:
    """Import what a run imports, and start no thread: a process forked from one with threads may
    hang.
    """
    os.environ.setdefault("OMP_NUM_THREADS", "1")
    # of fork in processes with threads: there are none of ours
    warnings.simplefilter("ignore", DeprecationWarning)
    import diffusers
    import torch
    import transformers  # noqa: F401
    from diffusers import AutoPipelineForImage2Image, StableDiffusionPipeline  # noqa: F401

    import avatar_pipeline.cli.main
    import avatar_pipeline.diffusion.training.loop as loop
    import avatar_pipeline.embedded.autoencoder
    import avatar_pipeline.orchestration.definitions  # noqa: F401
    from avatar_pipeline.diffusion.training import state  # noqa: F401

    torch.set_num_threads(1)
    defaults = loop.train_lora.__kwdefaults__
    assert defaults is not None and "checkpoint_seconds" in defaults, diffusers.__version__
    defaults["checkpoint_seconds"] = CHECKPOINT_SECONDS


if __name__ == "__main__":
    sys.exit(main())

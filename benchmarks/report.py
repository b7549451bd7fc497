"""How long `avatar-pipeline report` takes for many actors, and how large the index becomes.

    python benchmarks/report.py --chain data/actors/demo --actors 200

The chain of one actor, which must have been made, is copied under as many names; each copy is its
own actor with its own pages. Seconds are the processor's, so that other work on the machine does
not count.
"""

from __future__ import annotations

import json
import shutil
import tempfile
import time
from pathlib import Path

from _common import command_line, head

from avatar_pipeline.actors.store import ActorStore
from avatar_pipeline.report.write import write_all


def copy_actor(chain: Path, root: Path, name: str) -> None:
    """The same files under another name: file names and manifests tell the actor's name, and
    digests depend on file names.
    """
    from avatar_pipeline.core.digests import digest_files

    old = chain.name
    shutil.copytree(
        chain, root / name, ignore=shutil.ignore_patterns("*.safetensors", "photos", "heads")
    )
    (root / name / "actor.yaml").write_text((chain / "actor.yaml").read_text())
    digests: dict[str, str] = {}
    manifests = sorted((root / name / "versions").glob("*/*/manifest.json"))
    for path in manifests:
        manifest = json.loads(path.read_text())
        files = {
            file.replace(f"{old}.", f"{name}.").replace(f"{old}_", f"{name}_"): entry
            for file, entry in manifest["files"].items()
        }
        for before, after in zip(manifest["files"], files, strict=True):
            if before != after and (path.parent / before).exists():
                (path.parent / before).rename(path.parent / after)
        digests[manifest["digest"]] = digest_files(
            {file: entry["sha256"] for file, entry in files.items()}
        )
        path.write_text(
            json.dumps(
                {**manifest, "actor": name, "files": files, "digest": digests[manifest["digest"]]}
            )
        )
    for path in manifests:
        manifest = json.loads(path.read_text())
        manifest["inputs"] = {
            asset: digests.get(digest, digest) for asset, digest in manifest["inputs"].items()
        }
        path.write_text(json.dumps(manifest))
        path.parent.rename(path.parent.with_name(manifest["digest"]))
    for path in (root / name).glob("*/manifest.json"):
        digest = digests[json.loads(path.read_text())["digest"]]
        shutil.copyfile(
            root / name / "versions" / path.parent.name / digest / "manifest.json", path
        )


def main() -> None:
    parser = command_line(__doc__)
    parser.add_argument(
        "--chain", type=Path, required=True, help="folder of an actor whose chain is made"
    )
    parser.add_argument("--actors", type=int, nargs="+", default=[20, 200])
    arguments = parser.parse_args()
    print(
        head(
            "actors | first time, CPU s | nothing changed, CPU s | one actor "
            "changed, CPU s | index, KB | a page, KB"
        ),
        flush=True,
    )
    for count in arguments.actors:
        with tempfile.TemporaryDirectory() as temporary:
            root, pages = Path(temporary) / "actors", Path(temporary) / "pages"
            root.mkdir()
            for number in range(count):
                copy_actor(arguments.chain, root, f"actor_{number:04d}")
            store, seconds = ActorStore(root), []
            for again in range(3):
                if again == 2:
                    with (root / "actor_0000" / "actor.yaml").open("a") as file:
                        file.write("model: {steps: 11}\n")
                begun = time.process_time()
                _, written = write_all(store, pages)
                seconds.append(time.process_time() - begun)
                assert written == [count, 0, 1][again], written
            index = (pages / "index.html").stat().st_size / 1024
            page = sum(path.stat().st_size for path in pages.glob("actor_*.html")) / 1024 / count
            shown = " | ".join(f"{value:.1f}" for value in seconds)
            print(f"| {count} | {shown} | {index:.0f} | {page:.0f} |", flush=True)


if __name__ == "__main__":
    main()

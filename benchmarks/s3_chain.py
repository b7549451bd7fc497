"""One actor's whole chain with its store in an S3 bucket (moto's server), and with the same store
on a disk: seconds and requests.

    python -m benchmarks.s3_chain

The actor is the one of the tests (18 photographs, 24 steps of LoRA). Prints a table, and the assets
that came out differently: none should.
"""

from __future__ import annotations

import os
import subprocess
import sys
import tempfile
import time
from collections import Counter
from pathlib import Path

from _common import head
from upath import UPath

from avatar_pipeline.actors.store import ActorStore
from avatar_pipeline.pipeline.registry import STAGES
from tests.support.deployment.servers import BUCKET, requests_in, s3_server
from tests.support.real_chain import ACTOR, SPECIFICATION


def chain(root: str, exports: str, home: Path) -> tuple[float, dict[str, str]]:
    """Seconds of the command, and the digest of each asset."""
    folder = UPath(root) / ACTOR
    folder.mkdir(parents=True, exist_ok=True)
    (folder / "actor.yaml").write_text(SPECIFICATION)
    variables = {"AVATAR_DATA": root, "AVATAR_EXPORTS": exports, "DAGSTER_HOME": str(home)}
    started = time.perf_counter()
    subprocess.run(
        [sys.executable, "-m", "avatar_pipeline", "run", ACTOR],
        env={**os.environ, **variables},
        check=True,
        capture_output=True,
    )
    seconds = time.perf_counter() - started
    store = ActorStore(root)
    return seconds, {asset: store.current(ACTOR, asset).digest for asset in STAGES}


def main() -> None:
    with tempfile.TemporaryDirectory() as name, s3_server(Path(name)) as environment:
        os.environ.update(environment)
        place = Path(name)
        on_disk, digests = chain(str(place / "actors"), str(place / "exports"), place / "home_disk")
        in_bucket, same = chain(
            f"s3://{BUCKET}/actors", f"s3://{BUCKET}/exports", place / "home_s3"
        )
        kinds = Counter(request.split()[0] for request in requests_in(place))
    print(head("store | seconds | requests"))
    print(f"| disk | {on_disk:.0f} | |")
    print(
        f"| S3 | {in_bucket:.0f} | {sum(kinds.values())}: "
        f"{', '.join(f'{count} {kind}' for kind, count in kinds.most_common())} |"
    )
    print(
        "\nassets that came out differently: "
        f"{[asset for asset in STAGES if digests[asset] != same[asset]]}"
    )


if __name__ == "__main__":
    main()

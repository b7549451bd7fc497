"""Print the digest of every current asset of the store in AVATAR_DATA, by actor/asset."""

from __future__ import annotations

import json
import os

from avatar_pipeline.actors.store import ActorStore
from avatar_pipeline.core.errors import StoreError
from avatar_pipeline.pipeline.registry import STAGES


def main() -> None:
    store = ActorStore(os.environ["AVATAR_DATA"])
    found = {}
    for actor in store.names():
        for asset in STAGES:
            try:
                found[f"{actor}/{asset}"] = store.current(actor, asset).digest
            except StoreError:
                continue  # never made
    print(json.dumps(found))


if __name__ == "__main__":
    main()

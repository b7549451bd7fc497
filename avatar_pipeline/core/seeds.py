"""One root seed for each actor; every stage and sample derives its own, so that adding a sample
never shifts the others.
"""

from __future__ import annotations

import hashlib
import secrets

SEED_LIMIT = 2**32  # what torch, numpy and the services' `seed` fields all accept


def draw_seed() -> int:
    """Return a fresh root seed from the system's randomness, 0 to 2**32 - 1. Record it: it is what
    makes a run repeatable.
    """
    return secrets.randbelow(SEED_LIMIT)


def derive_seed(root: int, stage: str, index: int = 0) -> int:
    """Return the seed of one sample of one stage, 0 to 2**32 - 1: the first four bytes of the
    sha256 of root, stage and index.
    """
    return int.from_bytes(hashlib.sha256(f"{root}/{stage}/{index}".encode()).digest()[:4], "big")

"""Seeds: repeatable, independent of each other, and stable for ever."""

from __future__ import annotations

from avatar_pipeline.core.seeds import SEED_LIMIT, derive_seed, draw_seed


def test_derived_seeds_never_change() -> None:
    # Literal values: whoever changes the derivation breaks the replay of every manifest written so
    # far.
    assert derive_seed(42, "base_image") == derive_seed(42, "base_image", 0) == 978940226
    assert derive_seed(42, "lora", 7) == 4150075830


def test_derived_seeds_differ_by_root_stage_and_index() -> None:
    seeds = {
        derive_seed(root, stage, index)
        for root in (0, 1, 42)
        for stage in ("lora", "base_image")
        for index in range(100)
    }
    assert len(seeds) == 600
    assert all(0 <= seed < SEED_LIMIT for seed in seeds)


def test_drawn_seeds_differ() -> None:
    seeds = {draw_seed() for _ in range(50)}
    assert len(seeds) > 45
    assert SEED_LIMIT == 2**32 and max(seeds) > 2**30, (
        "as large as torch, numpy and the services take them"
    )
    assert all(0 <= seed < SEED_LIMIT for seed in seeds)

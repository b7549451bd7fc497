"""The rows of side_by_side.py: a module each, with a ROW. `inside` is what runs in checkouts."""

from __future__ import annotations

from rows import batch, demo, digests, loading, lora, portraits, preflight, service, tests, trainer
from rows._row import Row

ROWS: dict[str, Row] = {
    row.name: row
    for row in (
        demo.ROW,
        lora.ROW,
        portraits.ROW,
        batch.ROW,
        trainer.ROW,
        service.ROW,
        preflight.ROW,
        digests.ROW,
        loading.ROW,
        tests.ALL,
        tests.FAST,
    )
}
# What is measured when no rows are named: those with a bar.
WITH_BARS = tuple(name for name, row in ROWS.items() if row.bars)

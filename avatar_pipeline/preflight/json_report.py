"""What `preflight --json` prints. docs/preflight.md describes it; a change that breaks a reader
raises FORMAT_VERSION.
"""

from __future__ import annotations

import json
from collections import Counter
from collections.abc import Sequence
from math import isfinite
from pathlib import Path
from typing import Any

from avatar_pipeline.faces.check import Check
from avatar_pipeline.preflight.examine import VERDICTS, PictureReport

FORMAT_VERSION = 1


def to_json(
    results: Sequence[PictureReport], analyzer: str, others: Sequence[tuple[Path, str]] = ()
) -> str:
    """Return one JSON object, ASCII only: a file name that is no text comes with its bytes as lone
    surrogates, as Python reads them.

    Args:
        results: One for each picture, in the order of the output.
        analyzer: The name of the analyzer that found the faces.
        others: What was not examined in the folders, and why.
    """
    counted = Counter(result.verdict for result in results)
    content = {
        "format": FORMAT_VERSION,
        "analyzer": analyzer,
        "summary": {"pictures": len(results)} | {verdict: counted[verdict] for verdict in VERDICTS},
        "pictures": [_picture(result) for result in results],
        "passed_over": [{"file": str(path), "reason": why} for path, why in others],
    }
    return json.dumps(content, indent=1, allow_nan=False)


def _picture(result: PictureReport) -> dict[str, Any]:
    return {
        "file": str(result.picture.path),
        "verdict": result.verdict,
        "score": result.score,
        "problem": result.problem or None,
        "width": result.size[0] if result.size else None,
        "height": result.size[1] if result.size else None,
        "faces": [[round(edge, 1) for edge in box] for box in result.boxes],
        "annotated": str(result.annotated) if result.annotated else None,
        "checks": [_check(check) for check in result.checks],
        "animators": [one.record() for one in result.seen],
    }


def _check(check: Check) -> dict[str, Any]:
    finite = check.value is not None and isfinite(check.value)
    return {
        "name": check.name,
        "value": round(check.value, 6) if check.value is not None and finite else None,
        "unit": check.unit,
        "threshold": check.threshold,
        "verdict": check.verdict,
        "quality": check.quality,
        "hint": check.hint,
        "source": check.source,
    }

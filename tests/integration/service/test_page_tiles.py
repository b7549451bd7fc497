"""The tiles of the page's recent jobs, in a real browser: each says what it is."""

from __future__ import annotations

from datetime import timedelta
from pathlib import Path
from typing import Any

import pytest

from avatar_pipeline.service.jobs.job import Fault, Job, now
from tests.support.browser import browser, chromium
from tests.support.guarded import application

PROMPT = "Professional headshot portrait photograph of a 30 year old woman, frontal view"
JOBS: tuple[tuple[str, dict[str, Any]], ...] = (
    ("generate", {"prompt": PROMPT, "seed": 1}),
    ("generate", {"prompt": PROMPT, "seed": 2, "count": 4}),
    ("generate", {"prompt": PROMPT, "seed": 1, "actor": "anna"}),
    ("face-migration", {"prompt": PROMPT, "seed": 1}),
    ("faceswap", {"format": "jpg"}),
    ("faceswap", {"format": "mp4"}),
    ("faceswap", {"format": "jpg", "actor": "anna"}),
    ("base-image", {"actor": "otto", "description": "european 25 year old male", "seed": 3}),
    ("portrait", {"animators": ["liveportrait", "ditto"]}),
)


def test_every_tile_says_who_or_what_which_kind_and_when(tmp_path: Path) -> None:
    if chromium() is None:
        pytest.skip("no chromium is installed")
    created = now() - timedelta(days=2)
    known = [
        Job(
            id=f"11111111-2222-3333-4444-55555555555{number}",
            kind=kind,
            task="draw",
            params=params,
            created=created,
            state="failed",
            fault=Fault(code="x", message="Failed."),
        )
        for number, (kind, params) in enumerate(JOBS)
    ]
    with application(tmp_path / "service", known) as (url, _), browser(tmp_path / "p") as page:
        page.open(f"{url}/")
        page.until(f"document.querySelectorAll('#history li').length === {len(JOBS)}")
        tiles = page.js("[...document.querySelectorAll('#history .what')].map(w => w.innerText)")
        labels = page.js("[...document.querySelectorAll('#history button')].map(b => b.ariaLabel)")
        times = page.js("[...document.querySelectorAll('#history time')].map(t => t.dateTime)")
    assert len(set(tiles)) == len(set(labels)) == len(JOBS)
    assert len(times) == len(JOBS) and all(time.startswith(f"{created:%Y-%m-%d}") for time in times)
    said = dict(zip([job.id for job in reversed(known)], tiles, strict=True))
    lines = [said[job.id].splitlines() for job in known]
    day = str(created.day)
    assert lines[0][:2] == [PROMPT, "Portrait \u00b7 seed 1"]
    assert lines[1][1] == "Portrait \u00b7 4 pictures \u00b7 seed 2"
    assert lines[2][:3] == ["anna", PROMPT, "Portrait \u00b7 seed 1"]
    assert lines[3][1] == "Portrait with a face \u00b7 seed 1"
    assert lines[4][:2] == ["A face into a picture", "Face swap"]
    assert lines[5][0] == "A face into a video"
    assert lines[8][:2] == ["A photograph for liveportrait, ditto", "Photograph"]
    assert lines[6][0] == "anna"
    assert lines[7][:3] == ["otto", "european 25 year old male", "Base image \u00b7 seed 3"]
    assert all(day in line[-1] and ":" in line[-1] for line in lines), "a date and a time"

"""The report: one HTML file with everything in it, which asks the network for nothing.

The threat: file names and messages come from outside, and the page is opened in a browser and
passed on. The mechanism: every text is escaped, and the page's own policy lets the browser run this
script and no other (by its hash), and load nothing but data URIs.
"""

from __future__ import annotations

import base64
import hashlib
from collections import Counter
from collections.abc import Sequence
from html import escape
from importlib.resources import files

from avatar_pipeline.faces.animators.profiles import ANIMATORS
from avatar_pipeline.faces.check import Check
from avatar_pipeline.preflight.examine import VERDICTS, PictureReport
from avatar_pipeline.preflight.terminal import problem_of, value_of

MAX_FINDINGS_SHOWN = 5  # findings in a picture's row


def to_html(results: Sequence[PictureReport], analyzer: str) -> str:
    """Return the page for these pictures, in this order.

    Args:
        results: Those with `drawings` show them: 60 to 100 kB each.
        analyzer: The name of the analyzer that found the faces.
    """
    page, style, script = (
        (files(__package__) / name).read_text(encoding="utf-8")
        for name in ("page.html", "page.css", "page.js")
    )
    counted = Counter(result.verdict for result in results)
    filters = [_filter("all", len(results), pressed=True)]
    filters += [_filter(verdict, counted[verdict]) for verdict in VERDICTS if counted[verdict]]
    parts = {
        "title": "1 picture" if len(results) == 1 else f"{len(results)} pictures",
        "analyzer": escape(analyzer),
        "style": style,
        "style_hash": _hash(style),
        "script": script,
        "script_hash": _hash(script),
        "filters": "".join(filters),
    }
    for name, text in parts.items():
        page = page.replace("{{" + name + "}}", text)
    # Last, and once: a file may be called "{{script}}.jpg".
    before, _, after = page.partition("{{pictures}}")
    return before + "".join(_picture(place, result) for place, result in enumerate(results)) + after


def _filter(verdict: str, count: int, pressed: bool = False) -> str:
    return (
        f'<button data-verdict="{verdict}" aria-pressed="{str(pressed).lower()}">'
        f'{verdict} <b class="{verdict}">{count}</b></button>'
    )


def _picture(place: int, result: PictureReport) -> str:
    name = escape(result.picture.shown)
    thumbnail = (
        f'<img src="{_jpeg(result.drawings.thumbnail)}" alt="">'
        if result.drawings
        else "<span>?</span>"
    )
    size = (
        f"<small>{result.size[0]} x {result.size[1]}, {_faces(len(result.boxes))}</small>"
        if result.size
        else ""
    )
    chips = [
        f'<span class="chip {check.verdict}">{check.name} {value_of(check, percent=True)}</span>'
        for check in result.findings[:MAX_FINDINGS_SHOWN]
    ]
    if more := len(result.findings) - MAX_FINDINGS_SHOWN:
        chips += [f"and {more} more"] if more > 0 else []
    # An unreadable picture has no score: it sorts below the lowest.
    data = {
        "place": place,
        "is": result.verdict,
        "rank": VERDICTS.index(result.verdict),
        "score": -1 if result.score is None else result.score,
        "findings": sum(1000 if check.verdict == "error" else 1 for check in result.findings),
    }
    attributes = " ".join(f'data-{key}="{value}"' for key, value in data.items())
    return (
        f'<tbody {attributes}>\n<tr class="row"><td class="thumb">{thumbnail}</td>'
        f'<td class="file"><button aria-expanded="true">{name}</button>{size}</td>'
        f'<td class="verdict {result.verdict}">{result.verdict}</td>'
        f'<td class="score">{"" if result.score is None else result.score}</td>'
        f'<td class="findings">{"".join(chips) or escape(problem_of(result))}</td></tr>\n'
        f'<tr class="details"><td colspan="5">{_details(result)}</td></tr>\n</tbody>\n'
    )


def _details(result: PictureReport) -> str:
    if not result.checks:
        return f"<p>{escape(result.problem)}</p>"
    figures = []
    if result.drawings:
        caption = (
            "Found: face, 68 points, axes of the head, and LivePortrait's crop (yellow)"
            if result.boxes
            else "No face found"
        )
        figures.append(_figure(result.drawings.found, caption))
        if result.drawings.seen:
            figures.append(_figure(result.drawings.seen, "What LivePortrait sees"))
        figures += [
            _figure(jpeg, f"What {ANIMATORS[one.animator].title} sees")
            for one, jpeg in zip(result.seen, result.drawings.cuts, strict=True)
        ]
    order = ("error", "warn", "pass", "not_assessed")
    rows = [
        _check(check)
        for check in sorted(result.checks, key=lambda check: order.index(check.verdict))
    ]
    animators = "".join(f'<p class="{one.verdict}">{escape(one.words)}</p>' for one in result.seen)
    head = "".join(
        f"<th>{title}</th>"
        for title in ("Check", "Value", "Limit", "OFIQ", "Verdict", "What to do")
    )
    return (
        f'<div class="drawn">{"".join(figures)}</div>{animators}'
        "<table "
        f'class="checks"><thead><tr>{head}</tr></thead><tbody>{"".join(rows)}</tbody></table>'
    )


def _check(check: Check) -> str:
    unit = "" if check.unit in ("yes/no", "share", "ratio") else f" {escape(check.unit)}"
    limit = "" if check.unit == "yes/no" else escape(check.threshold) + unit
    return (
        f'<tr title="{escape(check.source)}"><td class="name">{check.name}</td><td '
        f'class="number">{value_of(check)}</td>'
        f'<td class="limit">{limit}</td><td '
        f'class="quality">{"" if check.quality is None else check.quality}</td>'
        '<td class="judged"><span class="verdict '
        f'{check.verdict}">{check.verdict.replace("_", " ")}</span></td>'
        f'<td class="hint">{escape(check.hint)}</td></tr>'
    )


def _figure(jpeg: bytes, caption: str) -> str:
    alt = escape(caption)
    return (
        f'<figure><img src="{_jpeg(jpeg)}" alt="{alt}" loading="lazy">'
        f"<figcaption>{alt}</figcaption></figure>"
    )


def _faces(count: int) -> str:
    return {0: "no face", 1: "1 face"}.get(count, f"{count} faces")


def _jpeg(data: bytes) -> str:
    return "data:image/jpeg;base64," + base64.b64encode(data).decode("ascii")


def _hash(text: str) -> str:
    """Return the hash by which a Content-Security-Policy names an inline script or style."""
    return base64.b64encode(hashlib.sha256(text.encode()).digest()).decode("ascii")

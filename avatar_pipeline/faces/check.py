"""A check: one finding about a picture of a face, and the rule that judges a measured value."""

from __future__ import annotations

from dataclasses import dataclass
from math import inf, isfinite
from typing import Literal

Verdict = Literal["pass", "warn", "error", "not_assessed"]


@dataclass(frozen=True)
class Check:
    """One finding. value is None where it could not be measured; hint says what to do about it, and
    is empty for a pass.

    quality: BSI-OFIQ's 0 (worst) to 100 for it, None where there is no such map (see
    faces/quality.py).
    """

    name: str
    value: float | None
    threshold: str
    unit: str
    verdict: Verdict
    source: str
    hint: str
    quality: int | None = None


@dataclass(frozen=True)
class Rule:
    """How one measure is judged. Hints may use {value}, a printable magnitude; hint_high is for a
    value that is too large.
    """

    name: str
    unit: str
    source: str
    hint: str
    low: float = -inf
    high: float = inf
    error_low: float = -inf
    error_high: float = inf
    hint_high: str = ""

    @property
    def threshold(self) -> str:
        """The limits in words, such as ">= 1024 (error < 512)"."""
        passing, failing = (
            _words(self.low, self.high, ">=", "<="),
            _words(self.error_low, self.error_high, "<", ">"),
        )
        if not passing:
            return "for information"
        return f"{passing} (error {failing})" if failing else passing

    def judge(self, value: float) -> Check:
        """Return the check for a measured value in the rule's unit."""
        verdict: Verdict = "pass"
        if not self.low <= value <= self.high:
            verdict = "warn" if self.error_low <= value <= self.error_high else "error"
        hint = self.hint_high if value > self.high and self.hint_high else self.hint
        shown = percent(value) if self.unit.startswith("share") else f"{abs(value):.3g}"
        text = "" if verdict == "pass" else hint.format(value=shown)
        return Check(self.name, float(value), self.threshold, self.unit, verdict, self.source, text)

    def skip(self, why: str) -> Check:
        """Return the check where nothing could be measured, with the reason as its hint."""
        return Check(self.name, None, self.threshold, self.unit, "not_assessed", self.source, why)


def percent(share: float) -> str:
    """Return a share in words: whole percents, and one digit more below one, so that what was found
    never reads as 0 %.
    """
    return f"{share * 100:.1f} %" if 0 < share < 0.01 else f"{share * 100:.0f} %"


def _words(low: float, high: float, below: str, above: str) -> str:
    if isfinite(low) and low == -high and low != 0:
        return f"{'within' if above == '<=' else 'beyond'} {high:g}"
    parts = [f"{below} {low:g}"] if isfinite(low) else []
    parts += [f"{above} {high:g}"] if isfinite(high) else []
    return " and ".join(parts) if below == ">=" else " or ".join(parts)

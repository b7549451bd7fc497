"""What the benchmark scripts share: options, heads of Markdown tables, quantiles, the machine.

Scripts run as `python benchmarks/NAME.py` import it as `_common`, those run as
`python -m benchmarks.NAME` as `benchmarks._common`.
"""

from __future__ import annotations

import argparse
import os
import platform
import re
import sys
from collections.abc import Sequence
from pathlib import Path


def command_line(doc: str | None) -> argparse.ArgumentParser:
    """Return a parser whose help is the script's docstring, line breaks kept."""
    return argparse.ArgumentParser(
        description=doc, formatter_class=argparse.RawDescriptionHelpFormatter
    )


def head(columns: str) -> str:
    """Return the two lines above the rows of a Markdown table. columns: "one | two | three"."""
    return f"| {columns} |\n|{'---|' * (columns.count(' | ') + 1)}"


def quantile(values: Sequence[float], share: float) -> float:
    """Return the value at or below which lies `share` (0 to 1) of them, by nearest rank."""
    return sorted(values)[min(len(values) - 1, int(share * len(values)))]


def machine(device: str = "") -> str:
    """Return the machine in words: device or processor, cores, system, Python, torch where
    loaded.
    """
    versions = f"Python {platform.python_version()}"
    if "torch" in sys.modules:
        versions += f", torch {sys.modules['torch'].__version__}"
    return (
        f"{device or _processor()}, {os.cpu_count()} cores, {platform.system()} "
        f"{platform.machine()}, {versions}"
    )


def _processor() -> str:
    status = Path("/proc/cpuinfo")
    model = re.search(r"model name\s*: (.*)", status.read_text()) if status.exists() else None
    return model[1] if model else platform.processor() or platform.machine()

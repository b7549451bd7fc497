"""Chromium, where there is one: how wide a page really is on a telephone."""

from __future__ import annotations

import json
import re
import shutil
import subprocess
from html import escape
from pathlib import Path

import pytest

CHROMIUM = (
    shutil.which("chromium") or shutil.which("chromium-browser") or shutil.which("google-chrome")
)
needs_chromium = pytest.mark.skipif(
    CHROMIUM is None, reason="no chromium is installed: nothing can lay the page out"
)


def widths(page: Path, width: int, folder: Path) -> dict[str, object]:
    """What a frame of this width makes of a page: its scrollWidth, clientWidth, the elements that
    stick out, and the title.

    A headless window is never narrower than 500 pixels, so the page is laid out in a frame. Its
    policy allows no script, not even the test's own, so a copy without the policy is measured by a
    script beside it.
    """
    text = re.sub(r'<meta http-equiv="Content-Security-Policy"[^>]*>', "", page.read_text())
    measure = """<script>addEventListener("load", () => {
      const client = document.documentElement.clientWidth;
      const inside = (e) => e.parentElement && (e.parentElement.closest(".scroll, .hidden") || e.closest(".hidden"));
      const out = [...document.body.querySelectorAll("*")].filter((e) => !inside(e) && e.getBoundingClientRect().right > client + 1);
      const told = {scroll: document.documentElement.scrollWidth, client, out: out.map((e) => e.tagName + "." + e.className).slice(0, 5),
                    broken: [...document.images].filter((i) => i.complete && !i.naturalWidth).length, title: document.title};
      parent.postMessage(JSON.stringify(told), "*");
    });</script>"""  # noqa: E501
    (folder / "frame.html").write_text(
        '<body><pre id="told"></pre><script>addEventListener("message", (m) => '
        '{document.getElementById("told").textContent = m.data;});'
        f'</script><iframe width="{width}" height="844" style="border:0" '
        f'srcdoc="{escape(text.replace("</body>", measure + "</body>"))}">'
        "</iframe></body>"
    )
    done = subprocess.run(
        [
            str(CHROMIUM),
            "--headless",
            "--no-sandbox",
            "--disable-gpu",
            "--disable-quic",
            "--no-first-run",
            "--disable-background-networking",
            "--disable-component-update",
            "--disable-sync",
            f"--user-data-dir={folder / 'profile'}",
            "--hide-scrollbars",
            "--window-size=1400,900",
            "--virtual-time-budget=15000",
            "--dump-dom",
            (folder / "frame.html").as_uri(),
        ],
        capture_output=True,
        text=True,
        timeout=120,
        check=True,
    )
    found = re.search(r'<pre id="told">(.*?)</pre>', done.stdout)
    assert found, done.stdout[:500] + done.stderr[-500:]
    told: dict[str, object] = json.loads(found[1])
    return told

"""A real chromium, headless, driven by its DevTools protocol: enough of it for a test to load a
page, type, click, wait and look.
"""

from __future__ import annotations

import base64
import json
import shutil
import subprocess
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import requests
from websockets.sync.client import ClientConnection, connect

# The last few keep it from speaking to anybody but the page's server.
ARGUMENTS = (
    "--headless",
    "--no-sandbox",
    "--disable-gpu",
    "--disable-quic",
    "--no-first-run",
    "--disable-background-networking",
    "--disable-component-update",
    "--disable-sync",
    "--disable-dev-shm-usage",
    "--remote-debugging-port=0",
    "--remote-allow-origins=*",
)


def chromium() -> str | None:
    """The browser's program, if one is installed."""
    return next(
        (
            found
            for name in ("chromium", "chromium-browser", "google-chrome")
            if (found := shutil.which(name))
        ),
        None,
    )


# The middle of an element if it is where it was a moment ago and on top there, else null.
STILL = """(async () => {
  const element = ELEMENT;
  element.scrollIntoView({block: "center", behavior: "instant"});
  const middle = () => (box => [box.x + box.width / 2, box.y + box.height / 2])(element.getBoundingClientRect());
  const before = middle();
  await new Promise(done => setTimeout(done, 50));
  const [x, y] = middle();
  const top = document.elementFromPoint(x, y);
  return x === before[0] && y === before[1] && top !== null && (element.contains(top) || top.contains(element)) ? [x, y] : null;
})()"""  # noqa: E501


class Page:
    """One tab."""

    def __init__(self, connection: ClientConnection) -> None:
        self._connection = connection
        self._last = 0
        self.complaints: list[str] = []  # errors of the console and the policy, uncaught exceptions
        for domain in ("Page", "Runtime", "Log", "DOM"):
            self.call(f"{domain}.enable")

    def call(self, method: str, **params: Any) -> dict[str, Any]:
        """One command of the protocol; its result."""
        self._last += 1
        self._connection.send(json.dumps({"id": self._last, "method": method, "params": params}))
        while True:
            message = json.loads(self._connection.recv(timeout=60))
            if message.get("id") == self._last:
                assert "error" not in message, message
                return dict(message["result"])
            self._note(message)

    def _note(self, message: dict[str, Any]) -> None:
        told = message.get("params", {})
        if message.get("method") == "Runtime.exceptionThrown":
            self.complaints.append(told["exceptionDetails"]["exception"].get("description", "?"))
        elif message.get("method") == "Log.entryAdded" and told["entry"]["level"] == "error":
            self.complaints.append(told["entry"]["text"] + " " + told["entry"].get("url", ""))

    def size(self, width: int, height: int, phone: bool = False, dark: bool = False) -> None:
        """Of the screen, in CSS pixels; a phone has two device pixels for each and touch."""
        self.call(
            "Emulation.setDeviceMetricsOverride",
            width=width,
            height=height,
            deviceScaleFactor=2 if phone else 1,
            mobile=phone,
        )
        theme = {"name": "prefers-color-scheme", "value": "dark" if dark else "light"}
        self.call("Emulation.setEmulatedMedia", features=[theme])

    def open(self, url: str) -> None:
        self.call("Page.navigate", url=url)
        self.until("document.readyState === 'complete'")

    def js(self, expression: str) -> Any:
        """The value of an expression in the page; promises are waited for."""
        answer = self.call(
            "Runtime.evaluate", expression=expression, awaitPromise=True, returnByValue=True
        )
        assert "exceptionDetails" not in answer, answer
        return answer["result"].get("value")

    def until(self, condition: str, seconds: float = 90.0) -> None:
        """Wait until an expression is true."""
        deadline = time.monotonic() + seconds
        while not self.js(f"Boolean({condition})"):
            assert time.monotonic() < deadline, (
                f"{condition}\n{self.js('document.body.innerText')}\n{self.complaints}"
            )
            time.sleep(0.1)

    def click(self, selector: str) -> None:
        """A real click in the middle of an element, once it lies still and nothing covers it:
        pictures that arrive move what is below.
        """
        element = f"document.querySelector({json.dumps(selector)})"
        deadline, place = time.monotonic() + 30, None
        while place is None:
            assert time.monotonic() < deadline, f"{selector} does not lie still, or is covered"
            place = self.js(STILL.replace("ELEMENT", element))
        for kind in ("mousePressed", "mouseReleased"):
            self.call(
                "Input.dispatchMouseEvent",
                type=kind,
                x=place[0],
                y=place[1],
                button="left",
                clickCount=1,
            )

    def type(self, selector: str, text: str) -> None:
        """Into a field, as the keyboard would."""
        self.js(f"document.querySelector({json.dumps(selector)}).focus()")
        self.call("Input.insertText", text=text)

    def press(self, key: str, code: int) -> None:
        """One key."""
        typed = {"text": "\r"} if key == "Enter" else {}
        self.call(
            "Input.dispatchKeyEvent",
            type="keyDown",
            key=key,
            code=key,
            windowsVirtualKeyCode=code,
            **typed,
        )
        self.call(
            "Input.dispatchKeyEvent", type="keyUp", key=key, code=key, windowsVirtualKeyCode=code
        )

    def choose_file(self, selector: str, path: Path) -> None:
        """For an input of type file."""
        root = self.call("DOM.getDocument")["root"]["nodeId"]
        node = self.call("DOM.querySelector", nodeId=root, selector=selector)["nodeId"]
        self.call("DOM.setFileInputFiles", nodeId=node, files=[str(path)])

    def picture(self, path: Path, whole: bool = False) -> None:
        """A screenshot, PNG; whole: the page down to its end."""
        path.write_bytes(
            base64.b64decode(
                self.call("Page.captureScreenshot", captureBeyondViewport=whole)["data"]
            )
        )


@contextmanager
def browser(folder: Path) -> Iterator[Page]:
    """A fresh browser with an empty profile in `folder`, and its one tab."""
    program = chromium()
    assert program is not None
    process = subprocess.Popen(
        [program, *ARGUMENTS, f"--user-data-dir={folder}", "about:blank"],
        stdout=subprocess.DEVNULL,
        stderr=subprocess.DEVNULL,
    )
    try:
        listens = folder / "DevToolsActivePort"
        deadline = time.monotonic() + 60
        while not (listens.exists() and listens.read_text().count("\n")):
            assert process.poll() is None and time.monotonic() < deadline, "chromium did not start"
            time.sleep(0.1)
        port = listens.read_text().split()[0]
        tabs = requests.get(f"http://127.0.0.1:{port}/json/list", timeout=30).json()
        tab = next(tab for tab in tabs if tab["type"] == "page")
        with connect(tab["webSocketDebuggerUrl"], max_size=None) as connection:
            yield Page(connection)
    finally:
        process.terminate()
        process.wait(30)

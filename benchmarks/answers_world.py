"""What same_answers.py needs beside a service: actors that BASE made, files that requests send, and
a web server that the service fetches from and sends webhooks to.

Not a program.
"""

from __future__ import annotations

import importlib.util
import json
import shutil
import threading
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any

import av
import numpy as np
from PIL import Image
from sameness import Checkout, World

WORDS = "european 38 year old female with short curly dark hair"


def prepare(code: Checkout, folder: Path, demo: Path) -> None:
    """The actors and the files that requests send, from BASE."""
    shutil.rmtree(folder / "actors", ignore_errors=True)
    world = World(folder)
    for found in sorted((code.folder / "data" / "actors").glob("*/actor.yaml")):
        shutil.copytree(found.parent, folder / "actors" / found.parent.name, dirs_exist_ok=True,
                        ignore=lambda _, names: set(names) - {"actor.yaml"})  # fmt: skip
    shutil.copytree(demo / "actors" / "demo", folder / "actors" / "demo", dirs_exist_ok=True)
    sooner = "settings:\n  base_image: {candidates: 1, face_detail: false}\n"
    with (folder / "actors" / "0100_european_25_male" / "actor.yaml").open("a") as file:
        file.write(sooner)
    for name, alias in {
        "twin_a": "Twin",
        "twin_b": "Twin",
        "jane": "Jane Roe",
        "gone": "Gone Person",
    }.items():
        likeness = "real" if name in ("jane", "gone") else "synthetic"
        text = f"description: {WORDS}\nlikeness: {likeness}\naliases: [{alias}]\n"
        text += "framing: headshot\nseed: 3\n"
        (folder / "actors" / name).mkdir()
        (folder / "actors" / name / "actor.yaml").write_text(text + sooner)
    (folder / "actors" / "broken").mkdir()
    (folder / "actors" / "broken" / "actor.yaml").write_text("description: [")
    paper = folder / "work" / "paper.pdf"
    paper.write_text("signed")
    for name in ("jane", "gone"):
        world.must(code, "consent", "grant", name, "--subject", f"{name} roe", "--days", "3000",
                   "--scope", "embed,train,generate,publish", "--evidence", str(paper))  # fmt: skip
    world.must(code, "consent", "revoke", "gone", "--yes")
    inputs = folder / "inputs"
    inputs.mkdir(exist_ok=True)
    source, target = portrait("P005"), portrait("P007")
    source.save(inputs / "source.jpg", quality=95)
    target.save(inputs / "target.jpg", quality=95)
    Image.new("RGB", (512, 512), "gray").save(inputs / "wall.png")
    two = Image.new("RGB", (source.width + target.width, max(source.height, target.height)), "gray")
    two.paste(source, (0, 0))
    two.paste(target, (source.width, 0))
    two.save(inputs / "two.jpg", quality=95)
    noise = np.random.default_rng(1).integers(0, 256, (800, 800, 3), np.uint8)
    Image.fromarray(noise).save(inputs / "large.png")
    (inputs / "text.txt").write_text("no picture")
    (inputs / "empty.txt").write_text("")
    with av.open(str(inputs / "video.mp4"), "w") as container:
        stream = container.add_stream("libx264", rate=10)
        stream.width, stream.height, stream.pix_fmt = 320, 320, "yuv420p"
        for shift in range(4):
            part = target.resize((340, 340)).crop((shift * 4, 0, shift * 4 + 320, 320))
            container.mux(stream.encode(av.VideoFrame.from_image(part)))
        container.mux(stream.encode())


def portrait(person: str) -> Image.Image:
    """A synthetic person's portrait from the package openpeople, 512 pixels on its longer side."""
    spec = importlib.util.find_spec("openpeople")
    assert spec is not None and spec.origin is not None, "run this in the project's environment"
    assets = Path(spec.origin).parent / "data" / "curated" / person / "assets"
    with Image.open(assets / "studio_portrait.jpg") as image:
        image.thumbnail((512, 512))
        return image.convert("RGB")


@contextmanager
def site(inputs: Mapping[str, Path]) -> Iterator[tuple[str, list[Any]]]:
    """A web server that the service fetches pictures from and sends webhooks to: its address, and
    the webhooks that came.
    """
    sent: list[Any] = []

    class Handler(BaseHTTPRequestHandler):
        def do_GET(self) -> None:
            path, _, rest = self.path.partition("?")
            pages = {
                "/picture": (200, "image/jpeg", inputs["source"].read_bytes()),
                "/page": (200, "text/html", b"<p>no picture</p>"),
                "/broken": (500, "text/plain", b""),
            }
            if path in ("/redirect", "/loop"):
                self.send_response(302)
                self.send_header("Location", rest or "/loop")
                self.send_header("Content-Length", "0")
                self.end_headers()
                return
            self.answer(*pages.get(path, (404, "text/plain", b"nothing")))

        def do_POST(self) -> None:
            body = json.loads(self.rfile.read(int(self.headers["Content-Length"])))
            headers = {name.lower(): "<there>" if name.lower().startswith("webhook-") else value
                       for name, value in self.headers.items()}  # fmt: skip
            headers.pop("content-length", None)
            sent.append({"path": self.path, "headers": headers, "body": body})
            self.answer(503 if self.path == "/refused" else 204, "text/plain", b"")

        def answer(self, status: int, kind: str, body: bytes) -> None:
            self.send_response(status)
            self.send_header("Content-Type", kind)
            self.send_header("Content-Length", str(len(body)))
            self.end_headers()
            self.wfile.write(body)

        def log_message(self, *_: object) -> None:
            pass

    server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
    threading.Thread(target=server.serve_forever, daemon=True).start()
    try:
        yield f"http://127.0.0.1:{server.server_address[1]}", sent
    finally:
        server.shutdown()

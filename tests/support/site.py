"""A web server for what the service fetches: pictures, redirects, bodies that do not end."""

from __future__ import annotations

import threading
import time
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer

from PIL import Image

from avatar_pipeline.imaging.images import encode_png

PNG = encode_png(Image.new("RGB", (40, 30), (200, 100, 50)))


class Site:
    """A web server on 127.0.0.1 that answers by path, and remembers what it was asked."""

    def __init__(self) -> None:
        site = self
        self.asked: list[tuple[str, str, dict[str, str], bytes]] = []

        class Handler(BaseHTTPRequestHandler):
            def do_GET(self):
                length = int(self.headers.get("Content-Length", 0))
                site.asked.append(
                    (self.command, self.path, dict(self.headers), self.rfile.read(length))
                )
                site.answer(self)

            do_POST = do_GET

            def log_message(self, *_):
                pass

        self.server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
        self.server.daemon_threads = True
        self.port = self.server.server_address[1]
        self.url = f"http://127.0.0.1:{self.port}"
        threading.Thread(target=self.server.serve_forever, daemon=True).start()

    def answer(self, handler: BaseHTTPRequestHandler) -> None:
        path, _, rest = handler.path.partition("?")
        try:
            if path == "/redirect":
                handler.send_response(302)
                handler.send_header("Location", rest)
                handler.end_headers()
            elif path == "/loop":
                handler.send_response(302)
                handler.send_header("Location", "/loop")
                handler.end_headers()
            elif path == "/endless":
                handler.send_response(200)
                handler.end_headers()
                while True:
                    handler.wfile.write(b"x" * 65536)
            elif path == "/drip":
                handler.send_response(200)
                handler.end_headers()
                while True:
                    handler.wfile.write(b"x")
                    time.sleep(0.05)
            elif path == "/silent":
                time.sleep(5)
            elif path in ("/picture", "/gzip"):
                handler.send_response(200)
                if path == "/gzip":
                    handler.send_header("Content-Encoding", "gzip")
                handler.send_header("Content-Length", str(len(PNG)))
                handler.end_headers()
                handler.wfile.write(PNG)
            else:
                handler.send_response(404)
                handler.end_headers()
        except OSError:
            pass  # the client has had enough

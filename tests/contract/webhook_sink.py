from __future__ import annotations

import time
from dataclasses import dataclass
from http.server import BaseHTTPRequestHandler

from tests.servers.loopback import LoopbackServer


@dataclass
class Received:
    headers: dict[str, str]
    body: bytes
    at: float


class WebhookSink(LoopbackServer):
    """A receiver of webhooks on the loopback that keeps what it got, with `time.monotonic()` of arrival."""

    def __init__(self) -> None:
        self.received: list[Received] = []
        sink = self

        class Handler(BaseHTTPRequestHandler):
            protocol_version = "HTTP/1.1"

            def do_POST(self) -> None:
                body = self.rfile.read(int(self.headers["Content-Length"]))
                headers = {name.lower(): value for name, value in self.headers.items()}
                sink.received.append(Received(headers, body, time.monotonic()))
                self.send_response(200)
                self.send_header("Content-Length", "0")
                self.end_headers()

            def log_message(self, format: str, *args: object) -> None:  # noqa: A002
                """Quiet."""

        super().__init__(Handler)
        self.url = f"{self.origin}/hook"

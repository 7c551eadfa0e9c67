"""A small Retell API over real HTTP: `GET /v2/get-call/{call_id}`, with the failures a test asks for.

with RetellApi() as retell:
    retell.keys.add("key_1")
    retell.calls["call_1"] = {"call_id": "call_1", "call_status": "ongoing"}
    retell.answer_with(503)        # until `recover`; `body` is text or JSON
    retell.hang()                  # takes the request and says nothing, until `recover` or the end
    retell.trickle(pause=0.1)      # answers 200, and then a byte at a time
    retell.asked                   # [(key, call id), …]
"""

from __future__ import annotations

import json
import threading
from dataclasses import dataclass
from http.server import BaseHTTPRequestHandler
from types import TracebackType
from typing import Any

from tests.servers.loopback import LoopbackServer

# As documented for get-call, in place of a 404.
NOT_FOUND = 422, {"status": "error", "message": "Cannot find requested asset under given api key."}
_PATH = "/v2/get-call/"


@dataclass(frozen=True)
class _Trouble:
    status: int = 0
    body: str = ""
    hangs: bool = False
    pause: float = 0.0


class RetellApi(LoopbackServer):
    """Companies are told apart by their keys; every key finds every call."""

    def __init__(self) -> None:
        self.keys: set[str] = set()
        self.calls: dict[str, dict[str, Any]] = {}
        self.asked: list[tuple[str, str]] = []
        self.not_found = NOT_FOUND
        self._trouble: _Trouble | None = None
        self._released = threading.Event()
        super().__init__(_handler(self))

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.recover()
        super().__exit__(kind, error, trace)

    def answer_with(self, status: int, body: Any = "") -> None:
        self._trouble = _Trouble(status=status, body=body if isinstance(body, str) else json.dumps(body))

    def hang(self) -> None:
        self._released.clear()
        self._trouble = _Trouble(hangs=True)

    def trickle(self, *, pause: float) -> None:
        self._released.clear()
        self._trouble = _Trouble(pause=pause)

    def recover(self) -> None:
        self._trouble = None
        self._released.set()

    def _answer(self, key: str, call_id: str) -> tuple[int, str]:
        if key not in self.keys:
            return 401, json.dumps({"status": "error", "message": "API key is missing or invalid."})
        if call_id in self.calls:
            return 200, json.dumps(self.calls[call_id])
        status, body = self.not_found
        return status, json.dumps(body)


def _handler(api: RetellApi) -> type[BaseHTTPRequestHandler]:
    class Handler(BaseHTTPRequestHandler):
        protocol_version = "HTTP/1.1"

        def do_GET(self) -> None:
            key = (self.headers.get("Authorization") or "").removeprefix("Bearer ")
            if not self.path.startswith(_PATH):
                self._say(404, "<html>Cannot GET this</html>")
                return
            call_id = self.path.removeprefix(_PATH)
            api.asked.append((key, call_id))
            trouble = api._trouble
            if trouble is None:
                self._say(*api._answer(key, call_id))
            elif trouble.hangs:
                api._released.wait(60)
                self.close_connection = True
            elif trouble.pause:
                self._trickle(trouble.pause)
            else:
                self._say(trouble.status, trouble.body)

        def _say(self, status: int, body: str) -> None:
            content = body.encode()
            self.send_response(status)
            self.send_header("Content-Type", "application/json")
            self.send_header("Content-Length", str(len(content)))
            if status in (301, 302, 307, 308):
                self.send_header("Location", f"{api.origin}{_PATH}elsewhere")
            self.end_headers()
            self.wfile.write(content)

        def _trickle(self, pause: float) -> None:
            self.send_response(200)
            self.send_header("Content-Length", "100000")
            self.end_headers()
            self.close_connection = True
            try:
                while not api._released.wait(pause):
                    self.wfile.write(b" ")
                    self.wfile.flush()
            except OSError:
                return

        def log_message(self, format: str, *args: Any) -> None:  # noqa: A002 - the name of the original
            return

    return Handler

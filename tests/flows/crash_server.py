"""A web server of our own in processes of its own, that a test can kill in the middle of a request.

It is the server of `manage.py serve` (granian, one worker), on the test's database, cache and Cal.com. A kill
is SIGKILL to the whole group at one moment: what it was about to write is never written.
"""

from __future__ import annotations

import http.client
import json
import os
import signal
import threading
import time
from collections.abc import Mapping
from contextlib import suppress
from dataclasses import dataclass
from typing import Any

from calls.retell import signature
from sync import embedded_server
from sync.embedded_server import Address
from sync.process_tree import Child, ProcessTree
from tests.flows.phone import Answer, Phone
from tests.servers.postgres import free_port

START_SECONDS = 40


class Silence(Exception):
    """No answer: the connection ended, or nobody listens."""


class WebServer:
    """`start` and `kill` as often as wanted; `environment` is used by the next start."""

    def __init__(self, *, tree: ProcessTree) -> None:
        self.tree = tree
        self.environment: Mapping[str, str] = {}
        self.child: Child | None = None
        self.address = Address(host="127.0.0.1", port=0)
        self.killed = threading.Event()

    @property
    def is_running(self) -> bool:
        return self.child is not None and self.child.process.poll() is None

    def begin_start(self) -> None:
        """Start it without waiting until it answers."""
        self.bury()
        self.killed.clear()
        self.address = Address(host="127.0.0.1", port=free_port())
        self.child = embedded_server.start_web(
            self.tree, address=self.address, workers=1, threads=4, env=self.environment
        )

    def start(self) -> None:
        self.begin_start()
        assert self.child
        self.tree.wait_until(
            lambda: embedded_server.answers_healthz(self.address), child=self.child, seconds=START_SECONDS
        )

    def kill(self, _exchange: object = None) -> None:
        """SIGKILL to all of it. Takes, and ignores, what a fault's function is given; from any thread."""
        assert self.child
        with suppress(ProcessLookupError):
            os.killpg(self.child.pid, signal.SIGKILL)
        self.child.process.wait()
        self.killed.set()

    def bury(self) -> None:
        """Take what was killed out of the tree; stop what still runs."""
        if self.child is not None:
            self.tree.stop_child(self.child)
            self.child = None

    @property
    def log(self) -> str:
        return self.child.log.read_text(errors="replace") if self.child else ""


@dataclass
class RemotePhone(Phone):
    """The phone of `phone.py`, calling over a real socket. Its calls raise Silence when nobody answers."""

    server: WebServer | None = None

    def send(self, function: str, payload: Any, **headers: str) -> Answer:
        assert self.server
        body = payload if isinstance(payload, bytes) else json.dumps(payload).encode()
        signed = signature.sign(body, self.company.retell_api_key, now_ms=time.time_ns() // 1_000_000)
        address = self.server.address
        conversation = http.client.HTTPConnection(address.host, address.port, timeout=40)
        started = time.monotonic()
        try:
            conversation.request(
                "POST",
                f"/hooks/{self.company.endpoint_id}/retell/functions/{function}",
                body=body,
                headers={
                    "Content-Type": "application/json", "X-Retell-Signature": signed,
                    "Host": "localhost", **headers,
                },
            )  # fmt: skip
            response = conversation.getresponse()
            content = response.read()
            told = json.loads(content) if "json" in response.headers.get_content_type() else {}
            answer = Answer(response.status, told, time.monotonic() - started)
        except (OSError, http.client.HTTPException) as error:
            raise Silence(repr(error)) from error
        finally:
            conversation.close()
        self.heard.append(answer)
        return answer

"""Whoever sends more than is taken is told so, also if they send all of it before they listen."""

from __future__ import annotations

import socket
import time
from collections.abc import Iterator

import pytest

from sync.process_tree import ProcessTree
from tests.flows.crash_server import WebServer

MEBIBYTE = 1024 * 1024


@pytest.fixture
def web(subprocess_environment, salon, tmp_path) -> Iterator[WebServer]:
    with ProcessTree(log_dir=tmp_path / "log") as tree:
        server = WebServer(tree=tree)
        server.environment = subprocess_environment
        server.start()
        yield server


def test_two_mebibytes_sent_slowly_are_answered_413(salon, web):
    head = (
        f"POST /hooks/{salon.endpoint_id}/retell/events HTTP/1.1\r\nHost: localhost\r\n"
        f"Content-Type: application/json\r\nContent-Length: {2 * MEBIBYTE}\r\n\r\n"
    )
    with socket.create_connection((web.address.host, web.address.port), timeout=20) as client:
        client.sendall(head.encode())
        for _ in range(8):
            client.sendall(b" " * (MEBIBYTE // 4))
            time.sleep(0.1)
        assert client.recv(1024).startswith(b"HTTP/1.1 413 ")

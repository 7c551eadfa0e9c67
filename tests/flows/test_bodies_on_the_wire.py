"""Bodies as a proxy that does not buffer passes them on: in chunks, without their length, or larger than is
taken, and all of it sent before the answer is listened to.
"""

from __future__ import annotations

import http.client
import json
import socket
import time
from collections.abc import Iterator

import pytest

from calls.retell import signature
from sync.process_tree import ProcessTree
from tests.flows.crash_server import WebServer
from tests.flows.phone import at

MEBIBYTE = 1024 * 1024


@pytest.fixture
def web(subprocess_environment, salon, tmp_path) -> Iterator[WebServer]:
    with ProcessTree(log_dir=tmp_path / "log") as tree:
        server = WebServer(tree=tree)
        server.environment = subprocess_environment
        server.start()
        yield server


def post_in_chunks(web, company, path, body):
    signed = signature.sign(body, company.retell_api_key, now_ms=time.time_ns() // 1_000_000)
    conversation = http.client.HTTPConnection(web.address.host, web.address.port, timeout=20)
    conversation.request(
        "POST",
        f"/hooks/{company.endpoint_id}/retell/{path}",
        body=iter([body[:20], body[20:]]),
        headers={"X-Retell-Signature": signed, "Host": "localhost"},
        encode_chunked=True,
    )
    response = conversation.getresponse()
    return response.status, response.read()


def test_a_signed_body_in_chunks_is_read_whole(salon, web, phone, calcom):
    caller = phone()
    arguments = {"service": "haircut", "start": at(10).isoformat(), "customer_name": "Anna Weber"}
    body = json.dumps({"name": "book_appointment", "call": caller.call(), "args": arguments}).encode()
    status, answer = post_in_chunks(web, salon, "functions/book_appointment", body)
    assert (status, json.loads(answer)["code"]) == (200, "booked")
    assert post_in_chunks(web, salon, "functions/book_appointment", body)[0] == 200
    assert len(calcom.active_bookings()) == 1


def test_of_a_body_in_chunks_no_more_is_read_than_is_taken(salon, web):
    body = json.dumps({"event": "call_started", "call": {"call_id": "x" * MEBIBYTE}}).encode()
    assert post_in_chunks(web, salon, "events", body)[0] == 413


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

"""What stands between us and Cal.com may answer in its place, and not always in whole sentences of HTTP."""

from __future__ import annotations

import gzip
import json
import socket
import threading
import tracemalloc
import zlib
from collections.abc import Callable, Iterator
from contextlib import ExitStack, contextmanager

import pytest

from booking.calcom.client import CalcomClient
from booking.calcom.deadline import Deadline
from booking.calcom.errors import CalcomMisconfigured, CalcomUnavailable, OutcomeUnknown, RateLimited

MEBIBYTE = 1024 * 1024
BODY = b'{"status":"success","data":{"uid":"x"}}'


@contextmanager
def host(answer: bytes) -> Iterator[tuple[str, list[bytes]]]:
    """One that answers everything so and hangs up: its address, and what it was sent."""
    heard: list[bytes] = []
    with socket.create_server(("127.0.0.1", 0)) as listener:

        def listen() -> None:
            while True:
                try:
                    visitor, _ = listener.accept()
                except OSError:
                    return
                with visitor:
                    heard.append(visitor.recv(65536))
                    visitor.sendall(answer)

        threading.Thread(target=listen, daemon=True).start()
        yield f"http://127.0.0.1:{listener.getsockname()[1]}", heard
        listener.shutdown(socket.SHUT_RDWR)


@pytest.fixture
def client() -> Iterator[Callable[[bytes], CalcomClient]]:
    with ExitStack() as stack:

        def make(answer: bytes) -> CalcomClient:
            url, _ = stack.enter_context(host(answer))
            return CalcomClient(base_url=f"{url}/v2", api_key="cal_live_secret")

        yield make


def soon() -> Deadline:
    return Deadline.after(3)


@pytest.mark.parametrize("status", [301, 302, 303, 307, 308])
def test_nobody_is_sent_the_key_because_a_redirect_says_so(client, status):
    with host(b"HTTP/1.1 200 OK\r\n\r\n" + BODY) as (elsewhere, heard):
        head = f"HTTP/1.1 {status} Moved\r\nLocation: {elsewhere}/v2/bookings\r\n"
        asked = client(f"{head}Content-Length: 0\r\n\r\n".encode())
        with pytest.raises(OutcomeUnknown):
            asked.create_booking({}, deadline=soon())
        with pytest.raises(CalcomUnavailable):
            asked.get_booking("uid1", deadline=soon())
        assert heard == []


ANSWERS = {
    "gzip that is none": b"HTTP/1.1 201 Created\r\nContent-Encoding: gzip\r\nContent-Length: 4\r\n\r\nabcd",
    "half of a gzip": (
        b"HTTP/1.1 201 Created\r\nContent-Encoding: gzip\r\nContent-Length: 20\r\n\r\n"
        + gzip.compress(BODY)[:20]
    ),
    "another coding": b"HTTP/1.1 201 Created\r\nContent-Encoding: zebra\r\nContent-Length: 4\r\n\r\nabcd",
    "chunks that break off": b'HTTP/1.1 201 Created\r\nTransfer-Encoding: chunked\r\n\r\n5\r\n{"dat',
    "chunks of no length": b"HTTP/1.1 201 Created\r\nTransfer-Encoding: chunked\r\n\r\nzz\r\n{}\r\n0\r\n\r\n",
    "shorter than it says": b"HTTP/1.1 201 Created\r\nContent-Length: 500\r\n\r\n" + BODY,
    "a negative length": b"HTTP/1.1 201 Created\r\nContent-Length: -1\r\n\r\n",
    "two lengths": b"HTTP/1.1 201 Created\r\nContent-Length: 5\r\nContent-Length: 9\r\n\r\n" + BODY,
    "no HTTP at all": b"SSH-2.0-OpenSSH_9.6\r\n",
    "a status that is none": b"HTTP/1.1 2OO OK\r\n\r\n",
    "no status": b"HTTP/1.1\r\n\r\n",
    "headers without end": b"HTTP/1.1 201 Created\r\n" + b"X: y\r\n" * 200,
    "nothing": b"",
    "only to continue": b"HTTP/1.1 100 Continue\r\n\r\n",
    "early hints": b"HTTP/1.1 103 Early Hints\r\n\r\n",
    "without a body": b"HTTP/1.1 204 No Content\r\n\r\n",
    "another charset": (
        b"HTTP/1.1 201 Created\r\nContent-Type: application/json; charset=utf-16\r\n\r\n"
        + BODY.decode().encode("utf-16")
    ),
}


@pytest.mark.parametrize("answer", ANSWERS.values(), ids=ANSWERS.keys())
def test_what_is_no_answer_leaves_a_change_unknown_and_a_question_unanswered(client, answer):
    asked = client(answer)
    with pytest.raises(OutcomeUnknown):
        asked.create_booking({}, deadline=soon())
    with pytest.raises(CalcomUnavailable):
        asked.get_booking("uid1", deadline=soon())


def test_no_answer_is_unpacked_beyond_what_a_page_of_bookings_is(client):
    packer = zlib.compressobj(wbits=31)
    packed = b"".join(packer.compress(b" " * MEBIBYTE) for _ in range(150)) + packer.flush()
    head = f"HTTP/1.1 200 OK\r\nContent-Encoding: gzip\r\nContent-Length: {len(packed)}\r\n\r\n"
    asked = client(head.encode() + packed)
    tracemalloc.start()
    try:
        with pytest.raises(CalcomUnavailable):
            asked.get_booking("uid1", deadline=soon())
        assert tracemalloc.get_traced_memory()[1] < 100 * MEBIBYTE
    finally:
        tracemalloc.stop()


def test_of_an_error_of_a_mebibyte_no_more_is_kept_than_anybody_reads(client):
    said = json.dumps({"error": {"message": "Something is wrong. " * (MEBIBYTE // 20)}}).encode()
    asked = client(b"HTTP/1.1 400 Bad Request\r\nContent-Length: %d\r\n\r\n%b" % (len(said), said))
    with pytest.raises(CalcomMisconfigured) as raised:
        asked.get_booking("uid1", deadline=soon())
    assert len(raised.value.message) < 10_000


@pytest.mark.parametrize(
    "header",
    [
        b"Retry-After: Wed, 21 Oct 2037 07:28:00 GMT",
        b"Retry-After: -5",
        b"Retry-After: 1e99",
        b"X-RateLimit-Reset-Default: -3",
        b"X-RateLimit-Reset-Default: \xb2",
        b"X-RateLimit-Reset-Default: soon",
        b"X-RateLimit-Reset-Default: " + b"9" * 400,
        b"X-RateLimit-Reset-Default: 1795255200",
        b"X-RateLimit-Reset-Default:",
    ],
)
def test_however_a_rate_limit_is_worded_it_is_one_and_nobody_waits_for_ever(client, header):
    asked = client(b"HTTP/1.1 429 Too Many Requests\r\n" + header + b"\r\nContent-Length: 0\r\n\r\n")
    with pytest.raises(RateLimited) as raised:
        asked.create_booking({}, deadline=soon())
    assert raised.value.retry_after > 0
    with pytest.raises(RateLimited):
        asked.get_booking("uid1", deadline=soon())

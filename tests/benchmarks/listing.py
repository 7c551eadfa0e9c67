"""Bookings as Cal.com lists them, page by page, and a server that knows no more than to serve them.

The simulator would keep a hundred thousand bookings as objects and sort them for every page; here a page is
made once, from one booking as the simulator shows it, which the recorded answers hold it to. Not for tests of
behaviour: nothing can be booked, and only the whole listing can be asked for.
"""

from __future__ import annotations

import datetime as dt
import http.server
from collections.abc import Iterator, Sequence
from urllib.parse import parse_qsl, urlsplit

import orjson

from booking.calcom.client import PAGE
from booking.calcom.simulator.payloads import booking_json, pagination
from booking.calcom.simulator.server import Simulator
from tests.servers.loopback import LoopbackServer

EVENT_TYPE = 101
STEP = dt.timedelta(minutes=5)
LENGTH = dt.timedelta(minutes=30)
_NUMBER = 7_000_000_000
_UID, _START, _END, _PHONE, _ATTEMPT = "<uid>", "<start>", "<end>", "<phone>", "<attempt>"


def uid(number: int) -> str:
    return f"uid{number:019}"


class Listing:
    """Bookings 1 to `count`, one every five minutes, the first of them at `first` (UTC)."""

    def __init__(self, *, count: int, first: dt.datetime) -> None:
        self.count = count
        self.first = first
        self._template = _one_booking()

    def starts_at(self, number: int) -> dt.datetime:
        return self.first + (number - 1) * STEP

    def pages(self) -> Iterator[bytes]:
        """As a client that asks to the end gets them: the last one is short, or empty."""
        for skip in range(0, self.count + 1, PAGE):
            shown = [self._booking(skip + n) for n in range(1, min(PAGE, self.count - skip) + 1)]
            facts = orjson.dumps(pagination(total=self.count, take=PAGE, skip=skip)).decode()
            yield f'{{"status":"success","data":[{",".join(shown)}],"pagination":{facts}}}'.encode()

    def _booking(self, number: int) -> str:
        start = self.starts_at(number)
        return (
            self._template.replace(_UID, uid(number))
            .replace(_START, f"{start:%Y-%m-%dT%H:%M:%S}.000Z")
            .replace(_END, f"{start + LENGTH:%Y-%m-%dT%H:%M:%S}.000Z")
            .replace(_PHONE, f"+49151{number:08}")
            .replace(_ATTEMPT, f"00000000-0000-4000-8000-{number:012}")
            .replace(str(_NUMBER), str(number))
        )


def _one_booking() -> str:
    with Simulator() as calcom:
        booking = calcom.seed_booking(
            "open",
            start=dt.datetime(2027, 1, 4, 9, 0, tzinfo=dt.UTC),
            uid=_UID,
            name="Dana Whitfield",
            phone=_PHONE,
            metadata={
                "call_id": "call_4c5a6dd7d8a94d52a1e0e1a0b2c3d4e5",
                "company": "bench",
                "attempt_id": _ATTEMPT,
                "idempotency_key": "11111111-2222-5333-8444-555555555555",
            },
        )
        shown = booking_json(booking)
    shown |= {"id": _NUMBER, "start": _START, "end": _END, "eventTypeId": EVENT_TYPE}
    shown["eventType"] = {**shown["eventType"], "id": EVENT_TYPE}
    shown["createdAt"] = shown["updatedAt"] = "2026-01-05T09:00:00.000Z"
    return orjson.dumps(shown).decode()


class ListingServer(LoopbackServer):
    """Answers GET /v2/bookings with these pages, and with none when asked what changed. Use it with `with`;
    `asked` has the query of every request.
    """

    def __init__(self, pages: Sequence[bytes]) -> None:
        self.asked: list[dict[str, str]] = []
        super().__init__(_handler(pages, self.asked))
        self.base_url = f"{self.origin}/v2"


def _handler(pages: Sequence[bytes], asked: list[dict[str, str]]) -> type[http.server.BaseHTTPRequestHandler]:
    nothing = orjson.dumps(
        {"status": "success", "data": [], "pagination": pagination(total=0, take=PAGE, skip=0)}
    )

    class Handler(http.server.BaseHTTPRequestHandler):
        protocol_version = "HTTP/1.1"
        disable_nagle_algorithm = True

        def do_GET(self) -> None:
            query = dict(parse_qsl(urlsplit(self.path).query))
            asked.append(query)
            body = nothing if "afterUpdatedAt" in query else pages[int(query["skip"]) // PAGE]
            self.send_response(200)
            self.send_header("Content-Type", "application/json; charset=utf-8")
            self.send_header("Content-Length", str(len(body)))
            self.end_headers()
            self.wfile.write(body)

        def log_message(self, *args: object) -> None:
            pass

    return Handler

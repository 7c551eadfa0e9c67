"""What the load generator sends: requests as Retell sends them, each of another caller for another slot.

Standard library and the signature only: this runs in the generator's process, before its clock starts.
"""

from __future__ import annotations

import json
import time
from datetime import UTC, datetime, timedelta
from pathlib import Path

from calls.retell import signature

RECORDED = Path(__file__).parents[1] / "payloads" / "retell" / "function_book_appointment.json"
SLOT = timedelta(minutes=15)
CALLED_NUMBER = "+493012345678"
AGENT = "agent_bench"
# Stand for what differs from request to request.
_FUNCTION, _CALL, _CALLER, _ARGUMENTS = "<function>", "<call>", "<caller>", "<arguments>"


def slot(number: int) -> datetime:
    """The start of slot `number`, counted from two days ahead; one starts every quarter of an hour."""
    today = datetime.now(tz=UTC).replace(hour=0, minute=0, second=0, microsecond=0)
    return today + timedelta(days=2) + number * SLOT


class Callers:
    """Signed HTTP requests to one endpoint, about 22 kB each: a request carries the whole call so far."""

    def __init__(self, *, hook: str, key: str, run: str) -> None:
        self.hook = hook
        self.key = key
        self.run = run
        payload = json.loads(RECORDED.read_text(encoding="utf-8"))
        payload["name"] = _FUNCTION
        payload["args"] = _ARGUMENTS
        payload["call"] |= {
            "call_id": _CALL,
            "agent_id": AGENT,
            "from_number": _CALLER,
            "to_number": CALLED_NUMBER,
        }
        # Written once: the standard library takes longer to indent a call than we take to answer it.
        self.template = json.dumps(payload, indent=2)

    def book(self, number: int) -> bytes:
        """A booking by a caller, and for a slot, that no other number has."""
        arguments = {
            "service": "haircut",
            "start": slot(number).isoformat(),
            "customer_name": "Dana Whitfield",
            "notes": "First visit",
            "execution_message": "One moment while I book that.",
        }
        return self._request("book_appointment", number, arguments)

    def check_availability(self, number: int) -> bytes:
        """The same day for everybody, far from what is booked: it is asked of Cal.com once."""
        day = slot(0).date() + timedelta(days=390)
        return self._request("check_availability", number, {"service": "haircut", "date": day.isoformat()})

    def _request(self, function: str, number: int, arguments: dict[str, str]) -> bytes:
        text = (
            self.template.replace(_FUNCTION, function)
            .replace(_CALL, f"call_{self.run}_{number:08d}")
            .replace(_CALLER, f"+4915{110_000_000 + number}")
            .replace(f'"{_ARGUMENTS}"', json.dumps(arguments))
        )
        body = text.encode()
        signed = signature.sign(body, self.key, now_ms=time.time_ns() // 1_000_000)
        return http_request(f"{self.hook}/retell/functions/{function}", body, {"X-Retell-Signature": signed})


def create_at_calcom(*, event_type_id: int, number: int, api_key: str) -> bytes:
    """The request our own client sends for such a booking, straight to the simulator."""
    body = {
        "eventTypeId": event_type_id,
        "start": slot(number).strftime("%Y-%m-%dT%H:%M:%S.000Z"),
        "attendee": {
            "name": "Dana Whitfield",
            "timeZone": "Europe/Berlin",
            "language": "en",
            "phoneNumber": f"+4915{110_000_000 + number}",
        },
        "metadata": {"call_id": f"call_{number:08d}", "attempt_id": "0" * 36, "company": "bench"},
    }
    headers = {"Authorization": f"Bearer {api_key}", "cal-api-version": "2024-08-13"}
    return http_request("/v2/bookings", json.dumps(body).encode(), headers)


def http_request(path: str, body: bytes, headers: dict[str, str]) -> bytes:
    lines = [
        f"POST {path} HTTP/1.1",
        "Host: localhost",
        "Content-Type: application/json",
        f"Content-Length: {len(body)}",
        *(f"{name}: {value}" for name, value in headers.items()),
    ]
    return "\r\n".join(lines).encode() + b"\r\n\r\n" + body

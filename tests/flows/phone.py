"""A caller with a phone agent: everything enters by the outermost door, signed as Retell signs."""

from __future__ import annotations

import datetime as dt
import itertools
import json
import time
from dataclasses import dataclass, field
from typing import Any
from zoneinfo import ZoneInfo

from django.test import Client

from calls.retell import signature
from customers.models import Company

BERLIN = ZoneInfo("Europe/Berlin")
_numbers = itertools.count(1)


@dataclass
class Answer:
    status: int
    body: dict[str, Any]
    seconds: float

    @property
    def code(self) -> str:
        return str(self.body["code"])

    @property
    def uid(self) -> str | None:
        return (self.body.get("appointment") or {}).get("calcom_booking_uid")


@dataclass
class Phone:
    """One call. A new one each time, unless the id says otherwise."""

    company: Company
    from_number: str = "+4915112345678"
    to_number: str = "+493012345678"
    call_id: str = ""
    agent_id: str = "agent_1"
    heard: list[Answer] = field(default_factory=list)

    def __post_init__(self) -> None:
        if not self.call_id:
            self.call_id = f"call_{next(_numbers):08d}_{time.time_ns():x}"

    def ask(self, function: str, /, **arguments: Any) -> Answer:
        return self.send(function, {"name": function, "call": self.call(), "args": arguments})

    def call(self) -> dict[str, Any]:
        return {
            "call_id": self.call_id,
            "call_type": "phone_call",
            "agent_id": self.agent_id,
            "direction": "inbound",
            "from_number": self.from_number,
            "to_number": self.to_number,
            "call_status": "ongoing",
        }

    def send(self, function: str, payload: Any, **headers: str) -> Answer:
        body = payload if isinstance(payload, bytes) else json.dumps(payload).encode()
        key = headers.pop("key", self.company.retell_api_key)
        signed = headers.pop("signature", None) or signature.sign(
            body, key, now_ms=time.time_ns() // 1_000_000
        )
        started = time.monotonic()
        response = Client().post(
            f"/hooks/{self.company.endpoint_id}/retell/functions/{function}",
            data=body,
            content_type="application/json",
            headers={"X-Retell-Signature": signed, **headers},
        )
        answer = Answer(response.status_code, json.loads(response.content), time.monotonic() - started)
        self.heard.append(answer)
        return answer

    def book(self, start: dt.datetime | str, /, **arguments: Any) -> Answer:
        arguments = {"service": "haircut", "customer_name": "Anna Weber", **arguments}
        when = start if isinstance(start, str) else start.isoformat()
        return self.ask("book_appointment", start=when, **arguments)


def at(hour: int, minute: int = 0, *, days: int = 7) -> dt.datetime:
    """A time of day in Berlin, so many days from now, on a working day."""
    day = dt.datetime.now(BERLIN).date() + dt.timedelta(days=days)
    while day.weekday() >= 5:
        day += dt.timedelta(days=1)
    return dt.datetime.combine(day, dt.time(hour, minute), tzinfo=BERLIN)


def move(phone: Phone, start: dt.datetime, /, **arguments: Any) -> Answer:
    return phone.ask("reschedule_appointment", new_start=start.isoformat(), **arguments)


def cancel(phone: Phone, /, **arguments: Any) -> Answer:
    return phone.ask("cancel_appointment", **arguments)


def offered(answer: Answer) -> list[dt.datetime]:
    """When the alternatives begin that came with a no."""
    return [dt.datetime.fromisoformat(each["start"]) for each in answer.body["alternatives"]]

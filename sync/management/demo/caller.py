"""Somebody on the phone. What their phone agent does arrives over HTTP, signed as Retell signs it."""

from __future__ import annotations

import json
import secrets
import time
from dataclasses import dataclass, field, replace
from typing import Any

import requests

from calls.retell import signature
from customers.models import Company
from sync import demo_tenant

# Longer than any answer budget that makes sense on the phone.
SECONDS_TO_ANSWER = 30.0


@dataclass(frozen=True)
class Heard:
    """One answer. `status` 0: the line went dead, nothing was heard."""

    status: int
    body: dict[str, Any]
    seconds: float

    @property
    def code(self) -> str:
        return str(self.body.get("code", ""))

    @property
    def say(self) -> str:
        return str(self.body.get("say", ""))

    @property
    def uid(self) -> str | None:
        return (self.body.get("appointment") or {}).get("calcom_booking_uid")

    @property
    def replayed(self) -> bool:
        return bool(self.body.get("replayed"))

    def as_json(self) -> dict[str, Any]:
        return {
            "status": self.status,
            "code": self.code,
            "say": self.say,
            "uid": self.uid,
            "replayed": self.replayed,
            "seconds": round(self.seconds, 2),
        }


def _new_call_id() -> str:
    return f"call_demo_{secrets.token_hex(12)}"


@dataclass(frozen=True)
class Caller:
    """One call of one person. `again()` is the same person calling once more."""

    name: str
    number: str
    company: Company
    called_number: str
    url: str
    call_id: str = field(default_factory=_new_call_id)

    def again(self) -> Caller:
        return replace(self, call_id=_new_call_id())

    def reaching(self, url: str) -> Caller:
        """The same call, its requests going to another web process."""
        return replace(self, url=url)

    def ask(self, function: str, /, **arguments: Any) -> Heard:
        """Have the agent call a function. A broken line is heard as nothing; it never raises."""
        content = {"name": function, "call": self._call(), "args": arguments}
        body = json.dumps(content, ensure_ascii=False).encode()
        headers = {
            "Content-Type": "application/json",
            "X-Retell-Signature": signature.sign(
                body, self.company.retell_api_key, now_ms=time.time_ns() // 1_000_000
            ),
        }
        started = time.monotonic()
        try:
            with requests.Session() as session:
                session.trust_env = False
                response = session.post(
                    f"{self.url}{self.company.hooks_path}/retell/functions/{function}",
                    data=body,
                    headers=headers,
                    timeout=SECONDS_TO_ANSWER,
                )
                answer = response.json()
        except requests.RequestException:
            return Heard(0, {}, time.monotonic() - started)
        return Heard(
            response.status_code, answer if isinstance(answer, dict) else {}, time.monotonic() - started
        )

    def book(self, service: str, start: str) -> Heard:
        """`start`: ISO 8601 with its offset."""
        return self.ask("book_appointment", service=service, start=start, customer_name=self.name)

    def _call(self) -> dict[str, Any]:
        return {
            "call_id": self.call_id,
            "call_type": "phone_call",
            "agent_id": demo_tenant.AGENT_ID,
            "direction": "inbound",
            "from_number": self.number,
            "to_number": self.called_number,
            "call_status": "ongoing",
        }

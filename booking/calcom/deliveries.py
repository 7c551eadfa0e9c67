"""What we read of a webhook delivery of Cal.com's: enough to ask for the booking it is about.

The payload is a hint and nothing more. It describes the moment of sending, which may be before the change was
written or long after it was overtaken; a cancellation lacks the metadata; deliveries come several times, in
any order, or not at all. So a delivery names a booking, and the booking is fetched.

https://cal.com/docs/developing/guides/automation/webhooks
"""

from __future__ import annotations

import re
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from booking.calcom.objects import is_uid
from booking.calcom.subscriptions import TRIGGERS

# Sent before the status is written: until it shows, the booking is looked at again.
ENDINGS = frozenset({"BOOKING_CANCELLED", "BOOKING_REJECTED"})

LONGEST_TRIGGER = 64
REDACTED = "[redacted]"
_SECRET_FIELDS = frozenset({"oneTimePassword"})


@dataclass(frozen=True)
class Hint:
    """`trigger` in Cal.com's capital letters. A booking is named by its uid, its number, or the uid of the
    one it was moved from: in this order, because not every delivery has all of them.
    """

    trigger: str
    uid: str
    number: int | None = None
    rescheduled_from_uid: str = ""

    @property
    def is_about_a_booking(self) -> bool:
        named = self.uid or self.number or self.rescheduled_from_uid
        return self.trigger in TRIGGERS and bool(named)


def read_trigger(payload: object) -> str:
    """BOOKING_CREATED, also where it is written "booking.created"; "unknown" if there is none."""
    trigger = payload.get("triggerEvent") if isinstance(payload, dict) else None
    if not isinstance(trigger, str):
        return "unknown"
    return re.sub(r"[^A-Z0-9_]", "", trigger.upper().replace(".", "_"))[:LONGEST_TRIGGER] or "unknown"


def read_hint(payload: object) -> Hint:
    """Raises nothing: what cannot be read names no booking."""
    envelope: Mapping[str, Any] = payload if isinstance(payload, dict) else {}
    content = envelope.get("payload")
    # Meetings are announced flat, with the booking's own columns beside the trigger.
    about: Mapping[str, Any] = content if isinstance(content, dict) else envelope
    return Hint(
        trigger=read_trigger(payload),
        uid=_uid(about.get("uid")) or _uid(about.get("bookingUid")),
        number=_number(about.get("bookingId")) or _number(about.get("id")),
        rescheduled_from_uid=_uid(about.get("rescheduleUid")),
    )


def redact(payload: Any) -> Any:
    """A copy without secrets. With the one-time password of a request anybody could confirm it."""
    if isinstance(payload, dict):
        return {
            name: REDACTED if name in _SECRET_FIELDS and value else redact(value)
            for name, value in payload.items()
        }
    if isinstance(payload, list):
        return [redact(item) for item in payload]
    return payload


def _number(value: object) -> int | None:
    # A column of 64 bits.
    return value if type(value) is int and 0 < value < 2**63 else None


def _uid(value: object) -> str:
    return value if isinstance(value, str) and is_uid(value) else ""

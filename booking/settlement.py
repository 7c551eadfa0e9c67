"""What settling an attempt comes to, and how that is written down."""

from __future__ import annotations

from dataclasses import dataclass
from enum import StrEnum
from typing import Any

from booking import failures
from booking.calcom.objects import Booking
from booking.models import Appointment, BookingAttempt
from booking.outcomes import Code


class Result(StrEnum):
    SETTLED = "settled"  # booked, and stored here
    GONE = "gone"  # it was ours, and has been cancelled at Cal.com since
    FOREIGN = "foreign"  # somebody else's: not touched
    WRONG = "wrong"  # ours, but not what was asked for: cancelled at Cal.com
    UNDONE = "undone"  # ours, but impossible to store: cancelled at Cal.com
    NOT_STORED = "not_stored"  # ours and right, but the database is away; the claimed row still tells
    TWIN = "twin"  # a second booking for one intention; a ticket says so, and nothing is touched
    OPEN = "open"  # still to be settled; a failure is open where a person may be needed


@dataclass(frozen=True)
class Settlement:
    result: Result
    appointment: Appointment


def told_by(attempt: BookingAttempt, code: Code, *, answering: bool) -> str:
    """What the caller has been told when this is written down. `answering`: they are being told the code."""
    return str(code) if answering else attempt.told


def summary_of(booking: Booking) -> dict[str, Any]:
    """What Cal.com answered, without what it says about people."""
    return {
        "id": booking.id,
        "uid": booking.uid,
        "status": booking.status,
        "start": booking.start.isoformat(),
        "end": booking.end.isoformat(),
        "eventTypeId": booking.event_type_id,
        "createdAt": booking.created_at and booking.created_at.isoformat(),
        "metadata": dict(booking.metadata),
    }


def close_failures(attempt: BookingAttempt, *, uid: str, note: str) -> None:
    """The gap is gone, so its tickets close themselves."""
    failures.close_failures(
        company_id=attempt.company_id, subjects=failures.subjects_of(attempt, uid=uid), note=note
    )

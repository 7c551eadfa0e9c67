from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from datetime import datetime
from enum import StrEnum
from typing import Any
from zoneinfo import ZoneInfo

from booking.models import Appointment, Service


class Code(StrEnum):
    """What a function answers. The values are a promise to the agents that were built on them."""

    OK = "ok"
    BOOKED = "booked"
    ALREADY_BOOKED = "already_booked"
    REQUESTED = "requested"
    RESCHEDULED = "rescheduled"
    CANCELLED = "cancelled"
    CALLBACK_NOTED = "callback_noted"
    CHECKING = "checking"
    SLOT_TAKEN = "slot_taken"
    TOO_SOON = "too_soon"
    INVALID_REQUEST = "invalid_request"
    UNKNOWN_SERVICE = "unknown_service"
    NOT_FOUND = "not_found"
    AMBIGUOUS = "ambiguous"
    NOT_ALLOWED = "not_allowed"
    UNAVAILABLE = "unavailable"

    @property
    def is_success(self) -> bool:
        return self in SUCCESSES


SUCCESSES = frozenset(
    {
        Code.OK,
        Code.BOOKED,
        Code.ALREADY_BOOKED,
        Code.REQUESTED,
        Code.RESCHEDULED,
        Code.CANCELLED,
        Code.CALLBACK_NOTED,
    }
)

# A definite no: repeated for a minute to whoever asks the very same again.
REFUSALS = frozenset(
    {
        Code.SLOT_TAKEN,
        Code.TOO_SOON,
        Code.INVALID_REQUEST,
        Code.UNKNOWN_SERVICE,
        Code.NOT_FOUND,
        Code.AMBIGUOUS,
        Code.NOT_ALLOWED,
    }
)


@dataclass(frozen=True)
class Outcome:
    """How a function call ended, before it is put into words. Instants are aware.

    `reason` picks the sentence where one code has several. `callback` tells that a callback is on record, so
    that one may be promised. `zone` is where `wanted` and `alternatives` are, if not at the branch that was
    rung.
    """

    code: Code
    reason: str = ""
    appointment: Appointment | None = None
    service: Service | None = None
    wanted: datetime | None = None
    alternatives: tuple[datetime, ...] = ()
    errors: Mapping[str, str] = field(default_factory=dict)
    callback: bool = False
    extra: Mapping[str, Any] = field(default_factory=dict)
    zone: ZoneInfo | None = None

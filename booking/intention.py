"""What a caller is found to want, with everything resolved."""

from __future__ import annotations

from dataclasses import dataclass
from datetime import datetime
from typing import Any

from booking.models import Appointment, BookingAttempt, Service
from booking.outcomes import Code, Outcome
from calls.models import Call
from customers.models import Branch, Company, Customer


@dataclass(frozen=True)
class Wanted:
    """What somebody wants to have, and when: by a booking, or by moving one. Instants are aware."""

    company: Company
    call: Call
    customer: Customer
    service: Service
    starts_at: datetime
    ends_at: datetime
    attendee_name: str


@dataclass(frozen=True)
class Intention(Wanted):
    """A booking, with everything resolved: what a claim stores."""

    branch: Branch | None
    attendee_phone: str
    attendee_email: str
    notes: str
    key: str


@dataclass(frozen=True)
class Change:
    """What somebody wants of an appointment that is theirs. `start` is aware, None to cancel."""

    company: Company
    call: Call
    appointment: Appointment
    kind: BookingAttempt.Kind
    reason: str
    now: datetime
    start: datetime | None = None

    def outcome(self, code: Code, *, reason: str = "", **more: Any) -> Outcome:
        return Outcome(code, reason=reason, service=self.appointment.service, wanted=self.start, **more)

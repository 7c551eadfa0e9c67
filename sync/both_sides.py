"""The two sides of a sync failure: our rows, and the booking as Cal.com shows it at this moment.

What could not be asked is never shown as "not there". The booking is asked for by its uid; where Cal.com does
not know that, or there is none, what the attempt made is looked for in the listing around its start.
"""

from __future__ import annotations

import hashlib
from dataclasses import dataclass
from datetime import datetime
from enum import StrEnum
from typing import Any

from booking import failures, follow, lookup
from booking.calcom.client import CalcomClient
from booking.calcom.deadline import Deadline
from booking.calcom.errors import CalcomError
from booking.calcom.objects import Booking
from booking.connection import client_for
from booking.models import Appointment, BookingAttempt, SyncFailure
from customers.company_secrets import without_secrets
from customers.masking import mask_text
from sync import converge
from sync.booking_details import named_uid
from sync.converge import Match


class Seen(StrEnum):
    SHOWN = "shown"
    NOT_THERE = "not_there"  # Cal.com was asked, and says so
    NOTHING_TO_ASK = "nothing_to_ask"  # the failure is about no booking
    NOT_ASKED = "not_asked"  # Cal.com could not be asked; `why` tells


@dataclass(frozen=True)
class Remote:
    """`other`: where the failure is about two bookings, what became of the one it is not named after."""

    seen: Seen
    match: Match | None = None
    other: Booking | None = None
    why: str = ""

    @property
    def booking(self) -> Booking | None:
        return self.match.booking if self.match else None


def look(failure: SyncFailure, *, attempt: BookingAttempt | None, deadline: Deadline) -> Remote:
    """Ask Cal.com; `attempt` is `attempt_of` the failure. Raises nothing of Cal.com's; changes nothing."""
    uid = uid_of(failure)
    if not uid and attempt is None:
        return Remote(Seen.NOTHING_TO_ASK)
    try:
        client = client_for(failure.company)
        booking = _ask(uid, attempt, client=client, deadline=deadline)
        if booking is None:
            return Remote(Seen.NOT_THERE)
        match = converge.find_out(company=failure.company, booking=booking, client=client, deadline=deadline)
        other = _other_of(failure, client=client, deadline=deadline)
    except CalcomError as error:
        return Remote(Seen.NOT_ASKED, why=mask_text(error.message))
    return Remote(Seen.SHOWN, match=match, other=other)


def uid_of(failure: SyncFailure) -> str:
    """The booking a failure is about; empty if it names none."""
    if failure.calcom_booking_id:
        return failure.calcom_booking_id
    if failure.appointment is not None and failure.appointment.calcom_booking_uid:
        return failure.appointment.calcom_booking_uid
    return named_uid(failure.call.booking_details) if failure.call is not None else ""


def attempt_of(failure: SyncFailure) -> BookingAttempt | None:
    """The attempt to book that a failure is about: the latest of its key, else of its appointment."""
    attempts = without_secrets(
        BookingAttempt.objects.filter(company=failure.company_id, kind=BookingAttempt.Kind.CREATE),
        paths=(
            "appointment__company",
            "appointment__branch__company",
            "appointment__service",
            "appointment__customer",
            "company",
            "call",
        ),
    )
    if failure.subject.startswith(failures.KEY):
        attempts = attempts.filter(idempotency_key=failure.subject.removeprefix(failures.KEY))
    elif failure.appointment_id is not None:
        attempts = attempts.filter(appointment=failure.appointment_id)
    else:
        return None
    attempt: BookingAttempt | None = attempts.order_by("-pk").first()
    return attempt if attempt is not None and "eventTypeId" in attempt.request else None


def appointment_of(failure: SyncFailure, remote: Remote) -> Appointment | None:
    """Our side: the appointment that is this booking, else the one the failure names."""
    match = remote.match
    if match is not None and match.appointment is not None:
        return match.appointment
    if failure.appointment is not None:
        return failure.appointment
    return match.attempt.appointment if match is not None and match.attempt is not None else None


def fingerprint(remote: Remote, appointment: Appointment | None) -> str:
    """Changes with whatever a person decided upon when they looked at both sides: also with our own, which a
    caller or a delivery may have changed without anything at the booking, or at the failure, being different.
    """
    told: list[Any] = [str(remote.seen)]
    told += [
        (booking.uid, booking.status, booking.start.isoformat(), booking.end.isoformat())
        for booking in (remote.booking, remote.other)
        if booking is not None
    ]
    if appointment is not None:
        told += [appointment.pk, str(appointment.status), appointment.calcom_booking_uid]
        told += [appointment.starts_at.isoformat(), appointment.ends_at.isoformat()]
    return hashlib.sha256(repr(told).encode()).hexdigest()[:16]


@dataclass(frozen=True)
class Line:
    """One thing both sides say something about. `here` and `there` are None where a side says nothing."""

    name: str
    here: Any
    there: Any
    differs: bool = False


def compare(appointment: Appointment | None, booking: Booking | None, *, now: datetime) -> list[Line]:
    """Line by line what each side says. Only where both are there can they differ."""
    differs: tuple[str, ...] = ()
    if appointment is not None and booking is not None:
        differs = follow.differences(appointment, booking, now=now)
    here, there = appointment, booking
    attendee = there.attendees[0] if there is not None and there.attendees else None
    service = here.service if here is not None else None
    event_types = (service.calcom_event_type_id if service else None, there and there.event_type_id)
    return [
        Line("Status", here and here.get_status_display(), there and there.status, "status" in differs),
        Line("Start", here and here.starts_at, there and there.start, "time" in differs),
        Line("End", here and here.ends_at, there and there.end, "time" in differs),
        Line("Booking uid", here and here.calcom_booking_uid, there and there.uid, "uid" in differs),
        Line(
            "Event type",
            event_types[0],
            event_types[1],
            None not in event_types and event_types[0] != event_types[1],
        ),
        Line("Attendee", here and here.attendee_name, attendee and attendee.name),
        Line("E-mail", here and here.attendee_email, attendee and attendee.email),
        Line(
            "Phone",
            here.customer.phone if here is not None and here.customer else None,
            attendee and attendee.phone,
        ),
        Line("Made", here and here.created_at, there and there.created_at),
        Line("Last change", here and here.updated_at, there and there.updated_at),
        Line("Moved from", None, there and there.rescheduled_from_uid),
        Line("Our attempt", None, there and there.metadata.get("attempt_id")),
        Line(
            "Call",
            here.call.retell_call_id if here is not None and here.call else None,
            there and there.metadata.get("call_id"),
        ),
    ]


def _ask(
    uid: str, attempt: BookingAttempt | None, *, client: CalcomClient, deadline: Deadline
) -> Booking | None:
    booking = client.find_booking(uid, deadline=deadline) if uid else None
    if booking is not None or attempt is None:
        return booking
    found = lookup.find_created(attempt, client=client, deadline=deadline)
    return found[0] if found else None


def _other_of(failure: SyncFailure, *, client: CalcomClient, deadline: Deadline) -> Booking | None:
    """Of two that stand for one intention the one beside it, after all its moves. Raises CalcomError."""
    if failure.failure_type != SyncFailure.Type.DUPLICATE_BOOKING:
        return None
    uid = failure.error_details.get("other_uid")
    if row_id := failure.error_details.get("other_appointment"):
        rows = Appointment.objects.filter(pk=row_id, company=failure.company_id)
        uid = rows.values_list("calcom_booking_uid", flat=True).first()
    booking = client.find_booking(uid, deadline=deadline) if uid else None
    return lookup.end_of_chain(booking, client=client, deadline=deadline)[0] if booking else None

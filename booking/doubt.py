"""Appointments of which it is not known that they stand: no caller is told that they do."""

from __future__ import annotations

from collections.abc import Iterable

from django.db.models import Exists, OuterRef, Q

from booking import failures
from booking.models import (
    LIVE_STATUSES,
    OPEN_STATES,
    OPEN_STATUSES,
    PROVEN_STATUSES,
    Appointment,
    BookingAttempt,
    SyncFailure,
)
from calls.models import Call

# Why somebody whose appointment is missing is called back.
MISSING = "They have an appointment here whose booking Cal.com does not know."
# What the ticket about it says, whoever has found it out.
NOT_KNOWN_THERE = "Cal.com does not know the booking of this appointment any more."
NAMES_NONE = "The appointment names no booking, and Cal.com shows none that is its own."
NOT_SHOWN_THERE = (
    "Cal.com shows the key of this company neither the booking nor its event type. Is it another account's?"
)


def is_beyond_doubt() -> Q:
    """Of an appointment: it is not being changed, it is known how its last change went, and it is not missing
    at Cal.com.
    """
    being_changed = BookingAttempt.objects.filter(appointment=OuterRef("pk"), state__in=OPEN_STATES)
    return ~Q(Exists(being_changed)) & ~_is_missing()


def is_one_missing(appointments: Iterable[Appointment]) -> bool:
    """Whether one of them is missing at Cal.com, and a person has not decided yet what is to become of it."""
    ids = [row.pk for row in appointments]
    return bool(ids) and Appointment.objects.filter(_is_missing(), pk__in=ids).exists()


def report_missing(appointment: Appointment, *, uid: str | None, call: Call | None) -> None:
    """Cal.com was asked for its booking `uid` and does not know it, or there is none to ask for: a ticket, if
    it has not been ended here meanwhile.
    """
    if not Appointment.objects.filter(pk=appointment.pk, status__in=LIVE_STATUSES).exists():
        return
    problem = failures.Problem(
        company=appointment.company,
        failure_type=SyncFailure.Type.ORPHANED_LOCAL,
        subject=failures.about_booking(uid) if uid else failures.about_appointment(appointment),
        message=NOT_KNOWN_THERE if uid else NAMES_NONE,
        appointment=appointment,
        call=call,
        uid=uid or "",
        details={"status": appointment.status},
    )
    failures.open_failure(problem, needs_person=True, is_standing=True)


def _is_missing() -> Q:
    """An open failure says that Cal.com does not know its booking, or it names none."""
    not_known_there = SyncFailure.objects.filter(
        company=OuterRef("company"),
        calcom_booking_id=OuterRef("calcom_booking_uid"),
        failure_type=SyncFailure.Type.ORPHANED_LOCAL,
        status__in=OPEN_STATUSES,
    )
    return Q(Exists(not_known_there)) | Q(calcom_booking_uid=None, status__in=PROVEN_STATUSES)

"""Appointments of which it is not known that they stand: no caller is told that they do."""

from __future__ import annotations

from collections.abc import Iterable

from django.db.models import Exists, OuterRef, Q

from booking.models import OPEN_STATES, OPEN_STATUSES, Appointment, BookingAttempt, SyncFailure

# Why somebody whose appointment is missing is called back.
MISSING = "They have an appointment here whose booking Cal.com does not know."


def is_beyond_doubt() -> Q:
    """Of an appointment: it is not being changed, it is known how its last change went, and it is not missing
    at Cal.com.
    """
    being_changed = BookingAttempt.objects.filter(appointment=OuterRef("pk"), state__in=OPEN_STATES)
    return ~Q(Exists(being_changed)) & ~Q(_is_missing())


def is_one_missing(appointments: Iterable[Appointment]) -> bool:
    """Whether one of them is missing at Cal.com, and a person has not decided yet what is to become of it."""
    ids = [row.pk for row in appointments]
    return bool(ids) and Appointment.objects.filter(_is_missing(), pk__in=ids).exists()


def _is_missing() -> Exists:
    """An open failure says that Cal.com does not know its booking."""
    return Exists(
        SyncFailure.objects.filter(
            company=OuterRef("company"),
            calcom_booking_id=OuterRef("calcom_booking_uid"),
            failure_type=SyncFailure.Type.ORPHANED_LOCAL,
            status__in=OPEN_STATUSES,
        )
    )

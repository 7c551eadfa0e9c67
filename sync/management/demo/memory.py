"""The simulator forgets everything when it stops, and our database does not.

A real Cal.com would still hold those bookings. So before anything is played, and before anything reconciles,
what our rows say it has is put back there where it is missing: both sides then agree as they did.
"""

from __future__ import annotations

from dataclasses import dataclass
from datetime import datetime
from typing import Any

from django.utils.dateparse import parse_datetime

from booking.calcom.simulator.control import SimulatorControl
from booking.models import Appointment, BookingAttempt
from customers.models import Company

AT_CALCOM = {
    Appointment.Status.REQUESTED: "pending",
    Appointment.Status.CANCELLED: "cancelled",
}


@dataclass(frozen=True)
class _Forgotten:
    number: int
    event_type_id: int
    seed: dict[str, Any]


def holds_bookings(company: Company) -> bool:
    """Whether there is anything that a simulator could have forgotten."""
    return Appointment.objects.filter(company=company, calcom_booking_uid__isnull=False).exists()


def remind(company: Company, *, calcom: SimulatorControl, account: str) -> int:
    """Put back the bookings the simulator has forgotten, unannounced; returns how many."""
    ours = _ours(company, event_types=_event_types(calcom, account=account))
    # Asked after the rows were read: what is booked meanwhile is then known there, never missing.
    standing = calcom.bookings
    known = {booking["uid"] for booking in standing}
    forgotten = [booking for booking in ours if booking.seed["uid"] not in known]
    last = max((booking["id"] for booking in standing), default=0)
    for booking in sorted(forgotten, key=lambda booking: booking.number):
        last = _skip_numbers(booking, last=last, calcom=calcom, account=account)
        last = calcom.seed_booking(booking.event_type_id, account=account, **booking.seed)["id"]
    return len(forgotten)


def _skip_numbers(booking: _Forgotten, *, last: int, calcom: SimulatorControl, account: str) -> int:
    """Use up the numbers before the booking's own. A number given out again would make a new booking look
    like one of our old appointments.
    """
    while last < booking.number - 1:
        filler = calcom.seed_booking(booking.event_type_id, account=account, start=booking.seed["start"])
        calcom.erase(filler["uid"])
        last = filler["id"]
    return last


def _event_types(calcom: SimulatorControl, *, account: str) -> list[int]:
    """What can be booked there: what has another event type was never booked at this simulator."""
    return [
        event_type["id"]
        for each in calcom.state["accounts"]
        if each["name"] == account
        for event_type in each["event_types"]
    ]


def _ours(company: Company, *, event_types: list[int]) -> list[_Forgotten]:
    appointments = (
        Appointment.objects.filter(company=company, service__calcom_event_type_id__in=event_types)
        .exclude(calcom_booking_uid=None)
        .select_related("service", "customer")
        .prefetch_related("attempts", "former_uids")
        .order_by("pk")
    )
    found: list[_Forgotten] = []
    for appointment in appointments:
        moved_from = _moved_from(appointment)
        found += [*moved_from, _now(appointment, moved_from=moved_from)]
    return found


def _now(appointment: Appointment, *, moved_from: list[_Forgotten]) -> _Forgotten:
    seed = {
        **_person(appointment),
        "uid": appointment.calcom_booking_uid,
        "start": appointment.starts_at,
        "end": appointment.ends_at,
        "created_at": appointment.created_at,
        "updated_at": appointment.calcom_updated_at or appointment.created_at,
        "status": AT_CALCOM.get(Appointment.Status(appointment.status), "accepted"),
        "metadata": _metadata(appointment),
    }
    if moved_from:
        seed["rescheduled_from_uid"] = moved_from[-1].seed["uid"]
    return _booking(appointment, seed, number=appointment.calcom_booking_id)


def _moved_from(appointment: Appointment) -> list[_Forgotten]:
    """What the appointment was before it was moved, as far as we have asked for it: a caller was promised
    that.
    """
    answers = {attempt.answer.get("uid"): attempt for attempt in appointment.attempts.all()}
    found = []
    for former in appointment.former_uids.all():
        attempt = answers.get(former.uid)
        start, end = _instant(attempt, "start"), _instant(attempt, "end")
        if attempt is None or start is None or end is None:
            continue
        seed = {
            **_person(appointment),
            "uid": former.uid,
            "start": start,
            "end": end,
            "created_at": attempt.created_at,
            "updated_at": former.replaced_at,
            "status": "cancelled",
            "metadata": _metadata(appointment),
            "rescheduled_to_uid": appointment.calcom_booking_uid,
        }
        found.append(_booking(appointment, seed, number=attempt.answer.get("id")))
    return found


def _booking(appointment: Appointment, seed: dict[str, Any], *, number: int | None) -> _Forgotten:
    assert appointment.service is not None  # noqa: S101 - filtered by _ours
    return _Forgotten(number=number or 0, event_type_id=appointment.service.calcom_event_type_id, seed=seed)


def _person(appointment: Appointment) -> dict[str, Any]:
    phone = appointment.customer.phone if appointment.customer else None
    return {
        "name": appointment.attendee_name,
        "email": appointment.attendee_email or None,
        "phone": phone or None,
    }


def _metadata(appointment: Appointment) -> dict[str, Any]:
    """Of the latest request that made it: one that made it again comes after the first."""
    made = [each for each in appointment.attempts.all() if each.kind == BookingAttempt.Kind.CREATE]
    latest = max(made, key=lambda attempt: attempt.pk, default=None)
    return dict(latest.request.get("metadata", {})) if latest else {}


def _instant(attempt: BookingAttempt | None, name: str) -> datetime | None:
    text = attempt.answer.get(name) if attempt else None
    return parse_datetime(text) if isinstance(text, str) else None

"""Write what Cal.com says into our appointment.

`settle_created` is the only place where an appointment becomes a booked one, and `link_call` the only one
that sets the flags and the backlink of a call: in that order and in one transaction, so that
`booking_confirmed` can never be true of an appointment that does not exist.
"""

from __future__ import annotations

from datetime import datetime
from typing import Any

from django.db import transaction

from booking import attempts, failures, idempotency
from booking.calcom.objects import Booking
from booking.models import OPEN_STATES, Appointment, BookingAttempt, FormerUid
from calls.models import Call
from customers import statements

# Cal.com's words → ours, for a booking that was just made. `accepted` is as good as it gets there.
STATUS = {
    "accepted": Appointment.Status.SCHEDULED,
    "pending": Appointment.Status.REQUESTED,
    "awaiting_host": Appointment.Status.REQUESTED,
    "cancelled": Appointment.Status.CANCELLED,
    "rejected": Appointment.Status.CANCELLED,
}

# A booking that is proven ours may turn up after its attempt was given up: a commit that came later than the
# grace time, a refusal that was none. It is settled all the same; what was not sent, or undone, can not turn
# up.
ADOPTABLE = (
    *OPEN_STATES,
    BookingAttempt.State.ABSENT,
    BookingAttempt.State.REFUSED,
)


class MovedOn(Exception):
    """The appointment stands already, or its attempt is finished: somebody else has settled it."""


def settle_created(
    attempt: BookingAttempt, *, booking: Booking, told: str, now: datetime, **attempt_fields: Any
) -> Appointment:
    """The booking is proven ours: appointment, call and attempt say so from one moment on.

    It is stored where it is: a person may have moved it at Cal.com before we came to it. Raises MovedOn, and
    whatever the database raises; then nothing is changed.
    """
    appointment = attempt.appointment
    stored: dict[str, Any] = {
        "status": STATUS.get(booking.status, Appointment.Status.SCHEDULED),
        "starts_at": booking.start,
        "ends_at": booking.end,
        "idempotency_key": _key_at(appointment, booking.start),
        "calcom_booking_uid": booking.uid,
        "calcom_booking_id": booking.id,
        "calcom_sync_status": Appointment.SyncStatus.SYNCED,
        "calcom_updated_at": booking.updated_at or booking.created_at,
        "last_sync_attempted_at": now,
        "updated_at": now,
    }
    with transaction.atomic():
        # The attempt first, as everywhere: two that settle at once must not wait for each other.
        finished = attempts.finish(
            attempt,
            state=BookingAttempt.State.SUCCEEDED,
            told=told,
            now=now,
            from_states=ADOPTABLE,
            **attempt_fields,
        )
        changed = finished and statements.update(
            Appointment,
            {"id": appointment.pk, "status": (Appointment.Status.PENDING, Appointment.Status.FAILED)},
            **stored,
        )
        if not changed:
            raise MovedOn
        if booking.rescheduled_from_uid:
            FormerUid.objects.get_or_create(
                uid=booking.rescheduled_from_uid, defaults={"appointment": appointment}
            )
        for name, value in stored.items():
            setattr(appointment, name, value)
        link_call(appointment, now=now)
        # What else a booking puts in order, `booking.gone` finds.
        failures.close_failures(
            company_id=attempt.company_id,
            subjects=failures.subjects_of(attempt, uid=booking.uid),
            note="Settled: the booking is at Cal.com and here.",
        )
    return appointment


def _key_at(appointment: Appointment, starts_at: datetime) -> str | None:
    if starts_at == appointment.starts_at or not (appointment.customer_id and appointment.service_id):
        return appointment.idempotency_key
    return idempotency.booking_key(
        customer_id=appointment.customer_id,
        service_id=appointment.service_id,
        starts_at=starts_at,
        source=appointment.source,
    )


def link_call(appointment: Appointment, *, now: datetime) -> None:
    """Point the call back at its appointment, with what it takes to rebuild it should it ever be lost."""
    if appointment.call_id is None:
        return
    service = appointment.service
    customer = appointment.customer
    statements.update(
        Call,
        {"id": appointment.call_id},
        appointment=appointment,
        appointment_made=True,
        booking_confirmed=True,
        customer=customer,
        booking_details={
            "service": service.slug if service else None,
            "service_id": appointment.service_id,
            "start": appointment.starts_at.isoformat(),
            "end": appointment.ends_at.isoformat(),
            "attendee": {
                "name": appointment.attendee_name,
                "phone": customer.phone if customer else None,
                "email": appointment.attendee_email,
            },
            "uid": appointment.calcom_booking_uid,
        },
        updated_at=now,
    )

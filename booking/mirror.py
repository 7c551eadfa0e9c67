"""Write what Cal.com says into our appointment.

`settle_created` is the only place where an appointment becomes a booked one. It and `link_call` (for many:
`link_calls`) set the flags and the backlink of a call: together with the appointment in one transaction, so
that `booking_confirmed` can never be true of one that does not exist; `confirm_call` mends the flags alone.
"""

from __future__ import annotations

from collections.abc import Mapping
from contextlib import nullcontext
from datetime import datetime
from typing import Any

from django.db import connection, transaction
from django.db.models import Q

from booking import attempts, failures, idempotency
from booking.calcom.objects import Booking
from booking.models import OPEN_STATES, Appointment, BookingAttempt, FormerUid
from calls.models import Call
from customers import statements
from customers.statements import Update

# Each of Cal.com's words (`booking.calcom.objects.STATUSES`) → ours, for a booking that was just made.
# `accepted` is as good as it gets there.
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
        "status": STATUS[booking.status],
        "starts_at": booking.start,
        "ends_at": booking.end,
        "idempotency_key": key_at(appointment, booking.start),
        "calcom_booking_uid": booking.uid,
        "calcom_booking_id": booking.id,
        "calcom_sync_status": Appointment.SyncStatus.SYNCED,
        "calcom_updated_at": booking.updated_at or booking.created_at,
        "metadata": dict(booking.metadata),
        "last_sync_attempted_at": now,
        "updated_at": now,
    }
    # The attempt first, as everywhere: two that settle at once must not wait for each other.
    deciding = (
        attempts.finishing(
            attempt,
            state=BookingAttempt.State.SUCCEEDED,
            told=told,
            now=now,
            from_states=ADOPTABLE,
            **attempt_fields,
        ),
        Update(
            Appointment,
            {"id": appointment.pk, "status": (Appointment.Status.PENDING, Appointment.Status.FAILED)},
            stored,
        ),
    )
    # What else a booking puts in order, `booking.close_by_own_rows` finds.
    gaps_are_closed = failures.closing(
        company_id=attempt.company_id,
        subjects=failures.subjects_of(attempt, uid=booking.uid),
        note="Settled: the booking is at Cal.com and here.",
    )
    # It is one statement: only with a second one beside it does it need a transaction.
    with transaction.atomic() if booking.rescheduled_from_uid else nullcontext():
        if not statements.update_all_or_none(
            deciding, (*_linking(appointment, stored, now=now), gaps_are_closed)
        ):
            raise MovedOn
        if booking.rescheduled_from_uid:
            FormerUid.objects.get_or_create(
                uid=booking.rescheduled_from_uid, defaults={"appointment": appointment}
            )
    for name, value in stored.items():
        setattr(appointment, name, value)
    return appointment


def key_at(appointment: Appointment, starts_at: datetime) -> str | None:
    """The idempotency key it has, or will have at another time."""
    if starts_at == appointment.starts_at:
        return appointment.idempotency_key
    return key_of(appointment, starts_at)


def key_of(appointment: Appointment, starts_at: datetime) -> str | None:
    """The idempotency key an appointment has at a time; None for what nobody here intended."""
    if appointment.source == Appointment.Source.CALCOM:
        return None
    if not (appointment.customer_id and appointment.service_id):
        return None
    return idempotency.booking_key(
        customer_id=appointment.customer_id,
        service_id=appointment.service_id,
        starts_at=starts_at,
        source=appointment.source,
    )


def link_call(appointment: Appointment, *, now: datetime) -> None:
    """Point the call back at its appointment, with what it takes to rebuild it should it ever be lost."""
    for change in _linking(appointment, {}, now=now):
        change.make()


def _linking(appointment: Appointment, stored: Mapping[str, Any], *, now: datetime) -> list[Update]:
    """The same to be made: nothing without a call. `stored` is what the appointment is about to become."""
    if appointment.call_id is None:
        return []
    values = {
        "appointment": appointment,
        "appointment_made": True,
        "booking_confirmed": True,
        "customer": appointment.customer,
        "booking_details": _details_of(appointment, stored),
        "updated_at": now,
    }
    return [Update(Call, {"id": appointment.call_id}, values)]


def confirm_call(call: Call, *, now: datetime) -> None:
    """The flags of a call that points at its appointment."""
    Call.objects.filter(pk=call.pk, appointment__isnull=False).update(
        appointment_made=True, booking_confirmed=True, updated_at=now
    )


def _details_of(appointment: Appointment, stored: Mapping[str, Any]) -> dict[str, Any]:
    service = appointment.service
    customer = appointment.customer
    starts_at: datetime = stored.get("starts_at", appointment.starts_at)
    ends_at: datetime = stored.get("ends_at", appointment.ends_at)
    return {
        "service": service.slug if service else None,
        "service_id": appointment.service_id,
        "start": starts_at.isoformat(),
        "end": ends_at.isoformat(),
        "attendee": {
            "name": appointment.attendee_name,
            "phone": customer.phone if customer else None,
            "email": appointment.attendee_email,
        },
        "uid": stored.get("calcom_booking_uid", appointment.calcom_booking_uid),
    }


def link_calls(pairs: Mapping[int, int], *, now: datetime) -> list[int]:
    """`link_call` for many: call → appointment, by id. Returns the calls that were linked: those of the same
    company that point at nothing yet. What a call says about its booking already stays, and so does its
    customer where the appointment knows none.
    """
    if not pairs:
        return []
    if connection.vendor == "postgresql":
        with connection.cursor() as cursor:
            calls, appointments = list(pairs.keys()), list(pairs.values())
            cursor.execute(_LINK_CALLS, [now, calls, appointments, calls, appointments])
            return [row[0] for row in cursor.fetchall()]
    linked = []
    with transaction.atomic():
        rows = Appointment.objects.select_related("service", "customer").in_bulk(pairs.values())
        for call_id, appointment_id in pairs.items():
            appointment = rows[appointment_id]
            call = Call.objects.filter(pk=call_id, company=appointment.company_id, appointment=None)
            stored: dict[str, Any] = {"customer": appointment.customer} if appointment.customer_id else {}
            if call.filter(Q(booking_details__isnull=True) | Q(booking_details=None)).exists():
                stored["booking_details"] = _details_of(appointment, {})
            if call.update(
                appointment=appointment,
                appointment_made=True,
                booking_confirmed=True,
                updated_at=now,
                **stored,
            ):
                linked.append(call_id)
    return linked


_LINK_CALLS = """
UPDATE calls
SET appointment_id = appointments.id,
    appointment_made = TRUE,
    booking_confirmed = TRUE,
    customer_id = COALESCE(appointments.customer_id, calls.customer_id),
    updated_at = %s,
    booking_details = COALESCE(
        NULLIF(calls.booking_details, 'null'::jsonb),
        jsonb_build_object(
            'service', services.slug,
            'service_id', appointments.service_id,
            'start', to_char(appointments.starts_at AT TIME ZONE 'UTC', 'YYYY-MM-DD"T"HH24:MI:SS"+00:00"'),
            'end', to_char(appointments.ends_at AT TIME ZONE 'UTC', 'YYYY-MM-DD"T"HH24:MI:SS"+00:00"'),
            'attendee', jsonb_build_object(
                'name', appointments.attendee_name,
                'phone', customers.phone,
                'email', appointments.attendee_email
            ),
            'uid', appointments.calcom_booking_uid
        )
    )
FROM unnest(%s::bigint[], %s::bigint[]) AS pair (call_id, appointment_id)
JOIN appointments ON appointments.id = pair.appointment_id
LEFT JOIN services ON services.id = appointments.service_id
LEFT JOIN customers ON customers.id = appointments.customer_id
WHERE calls.id = pair.call_id
  -- Said twice, so that rows are found by index also in tables that were filled a moment ago.
  AND calls.id = ANY(%s)
  AND appointments.id = ANY(%s)
  AND calls.company_id = appointments.company_id
  AND calls.appointment_id IS NULL
RETURNING calls.id
"""

"""Make the booking of an appointment again, because a person has decided so.

For an appointment that was promised and whose booking does not stand at Cal.com: it vanished there, or never
came about. It is never posted blindly: first Cal.com is asked, by the uid and in the listing, and has to show
that nothing stands. Then it goes the way of every booking: claim and commit, create, settle.

The row goes on, under the key it was promised with, as it does after a move: whatever an earlier attempt of
that key may still bring about at Cal.com is recognised as the same promise, and is never a second
appointment.
"""

from __future__ import annotations

import uuid
from dataclasses import dataclass
from datetime import datetime
from enum import StrEnum
from typing import Any

from django.db import IntegrityError, transaction
from django.db.models import F
from django.utils import timezone

from booking import attempts, availability, breaker, event_types, idempotency, lookup, settle
from booking.calcom.client import CalcomClient
from booking.calcom.deadline import Deadline
from booking.calcom.errors import (
    CalcomError,
    CalcomUnavailable,
    OutcomeUnknown,
)
from booking.calcom.objects import Booking
from booking.intention import Intention
from booking.models import (
    LIVE_STATUSES,
    OPEN_STATES,
    PROVEN_STATUSES,
    Appointment,
    BookingAttempt,
    FormerUid,
)
from booking.request_body import create_request
from booking.settlement import Result
from calls.models import Call
from customers.identify import NoContact, attendee_identity
from customers.models import Customer

State = BookingAttempt.State
Status = Appointment.Status


class RecreateOutcome(StrEnum):
    BOOKED = "booked"
    REFUSED = "refused"  # Cal.com says no; nothing stands
    NOT_SENT = "not_sent"  # nothing reached Cal.com
    UNDONE = "undone"  # made, not what was asked for or impossible to store, and cancelled again
    UNKNOWN = "unknown"  # it may have been made; the completer looks


@dataclass(frozen=True)
class Recreated:
    outcome: RecreateOutcome
    appointment: Appointment
    message: str = ""


class CannotRecreate(Exception):
    """Nothing was sent; the text says why."""


def why_not(appointment: Appointment, *, now: datetime) -> str:
    """What keeps it from being made again, as far as our rows tell; blank if nothing."""
    if appointment.service is None or appointment.customer is None:
        return "The appointment has no service or no customer."
    if appointment.status not in (*PROVEN_STATUSES, Status.FAILED):
        return f"The appointment is {appointment.get_status_display()}."
    if appointment.starts_at <= now:
        return "The appointment lies in the past."
    if appointment.ends_at - appointment.starts_at != appointment.service.duration:
        # Cal.com would book the other length: the guest would hear of a booking, and of its cancellation.
        minutes = appointment.service.duration_minutes
        return f"The service takes {minutes} minutes by now, and the appointment another time."
    if appointment.attempts.filter(state__in=OPEN_STATES).exists():
        return "An attempt of it is still being settled."
    return ""


def recreate(
    appointment: Appointment, *, client: CalcomClient, deadline: Deadline, now: datetime
) -> Recreated:
    """Raises CannotRecreate, and CalcomError if Cal.com could not be asked: in both cases nothing was
    changed.
    """
    if why := why_not(appointment, now=now):
        raise CannotRecreate(why)
    assert appointment.service is not None  # noqa: S101 - why_not has said so
    if not appointment.service.is_learned:
        event_types.learn(appointment.service, client=client, deadline=deadline)
    prove_absent(appointment, client=client, deadline=deadline)
    intention = _intention(appointment)
    try:
        attempt = _claim(appointment, intention, now=now)
    except IntegrityError:
        raise CannotRecreate("The same person has the same thing booked at this time.") from None
    lock = attempts.slot_lock(intention)
    if not attempts.take_write_lock(attempt, lock=lock, deadline=deadline.at_most(deadline.remaining / 2)):
        return _release(
            attempt, State.NOT_SENT, RecreateOutcome.NOT_SENT, "Another request writes to this slot."
        )
    return _create(attempt, client=client, deadline=deadline)


def prove_absent(appointment: Appointment, *, client: CalcomClient, deadline: Deadline) -> None:
    """Have Cal.com show that no booking of this appointment stands. Raises CannotRecreate, CalcomError."""
    uid = appointment.calcom_booking_uid
    if uid and client.find_booking(uid, deadline=deadline) is not None:
        raise CannotRecreate("Cal.com knows the booking of this appointment.")
    for attempt in appointment.attempts.filter(kind=BookingAttempt.Kind.CREATE).order_by("-pk")[:5]:
        attempt.appointment = appointment
        lookup.require_shown(attempt, client=client, deadline=deadline)
        for booking in lookup.find_created(attempt, client=client, deadline=deadline):
            if booking.is_active:
                raise CannotRecreate("A booking of this appointment stands at Cal.com, under another uid.")


def _intention(appointment: Appointment) -> Intention:
    service, customer, company = appointment.service, appointment.customer, appointment.company
    assert service is not None  # noqa: S101 - why_not has said so
    assert customer is not None  # noqa: S101
    try:
        identity = attendee_identity(
            company=company,
            customer=customer,
            email=appointment.attendee_email,
            email_required=service.email_required,
        )
    except NoContact:
        raise CannotRecreate("There is neither a phone number nor an address of this customer.") from None
    key = appointment.idempotency_key or idempotency.booking_key(
        customer_id=customer.pk,
        service_id=service.pk,
        starts_at=appointment.starts_at,
        source=appointment.source,
    )
    return Intention(
        company=company,
        branch=appointment.branch,
        call=appointment.call or Call(company=company),
        customer=customer,
        service=service,
        starts_at=appointment.starts_at,
        ends_at=appointment.ends_at,
        attendee_name=appointment.attendee_name or customer.name,
        attendee_phone=identity.phone,
        attendee_email=identity.email,
        notes=appointment.notes,
        key=key,
    )


def _request(appointment: Appointment, intention: Intention, *, attempt_id: uuid.UUID) -> dict[str, Any]:
    request = create_request(intention, attempt_id=attempt_id)
    if appointment.call is None:
        del request["metadata"]["call_id"]
    return request


def _claim(appointment: Appointment, intention: Intention, *, now: datetime) -> BookingAttempt:
    """Raises IntegrityError if the same promise stands in another row, CannotRecreate."""
    attempt_id = uuid.uuid4()
    with transaction.atomic():
        # As whoever books by phone does: a near duplicate has another key, and only by this row do the two
        # wait for each other.
        Customer.objects.select_for_update(no_key=True).only("pk").get(pk=intention.customer.pk)
        row = Appointment.objects.select_for_update(no_key=True).get(pk=appointment.pk)
        before = (appointment.status, appointment.calcom_booking_uid, appointment.starts_at)
        if (row.status, row.calcom_booking_uid, row.starts_at) != before:
            raise CannotRecreate("The appointment has changed in this moment.")
        if row.attempts.filter(state__in=OPEN_STATES).exists():
            raise CannotRecreate("An attempt of it is still being settled.")
        if _near_duplicate(intention, than=row):
            raise CannotRecreate("The same person has the same thing booked at this time.")
        if row.calcom_booking_uid:
            FormerUid.objects.get_or_create(
                uid=row.calcom_booking_uid, defaults={"appointment": row, "replaced_at": now}
            )
        Appointment.objects.filter(pk=row.pk).update(
            status=Status.PENDING,
            calcom_booking_uid=None,
            calcom_booking_id=None,
            calcom_sync_status=Appointment.SyncStatus.PENDING,
            idempotency_key=intention.key,
            sync_attempt_count=F("sync_attempt_count") + 1,
            last_sync_attempted_at=now,
            updated_at=now,
        )
        attempt = BookingAttempt.objects.create(
            uuid=attempt_id,
            request=_request(appointment, intention, attempt_id=attempt_id),
            company=appointment.company,
            appointment=row,
            call=appointment.call,
            kind=BookingAttempt.Kind.CREATE,
            state=State.CLAIMED,
            idempotency_key=intention.key,
            lease_expires_at=attempts.lease_end(now),
        )
    attempt.appointment = Appointment.objects.select_related(
        "company", "service", "customer", "call", "branch"
    ).get(pk=row.pk)
    return attempt


def _near_duplicate(intention: Intention, *, than: Appointment) -> bool:
    near = Appointment.objects.filter(
        company=intention.company,
        customer=intention.customer,
        service__calcom_event_type_id=intention.service.calcom_event_type_id,
        starts_at__gte=intention.starts_at - idempotency.NEAR_DUPLICATE,
        starts_at__lte=intention.starts_at + idempotency.NEAR_DUPLICATE,
        status__in=LIVE_STATUSES,
    )
    return near.exclude(pk=than.pk).exists()


def _create(attempt: BookingAttempt, *, client: CalcomClient, deadline: Deadline) -> Recreated:
    attempt.posts += 1
    attempt.sent_at = timezone.now()
    try:
        booking = client.create_booking(attempt.request, deadline=deadline)
    except CalcomError as error:
        breaker.note(error, company_id=attempt.company_id)
        return _after_error(attempt, error, client=client, deadline=deadline)
    breaker.note(None, company_id=attempt.company_id)
    return _settled(attempt, [booking], client=client, deadline=deadline)


def _after_error(
    attempt: BookingAttempt, error: CalcomError, *, client: CalcomClient, deadline: Deadline
) -> Recreated:
    """Nobody waits on the phone, so nothing is sent twice here: what may have been made is looked for."""
    if isinstance(error, CalcomUnavailable):
        return _release(attempt, State.NOT_SENT, RecreateOutcome.NOT_SENT, error.message, error=error)
    try:
        found = lookup.find_created(attempt, client=client, deadline=deadline)
    except CalcomError:
        return _unknown(attempt, error)
    if found:
        return _settled(attempt, found, client=client, deadline=deadline)
    if isinstance(error, OutcomeUnknown):
        return _unknown(attempt, error)
    return _release(attempt, State.REFUSED, RecreateOutcome.REFUSED, error.message, error=error)


def _settled(
    attempt: BookingAttempt, found: list[Booking], *, client: CalcomClient, deadline: Deadline
) -> Recreated:
    settlement = settle.settle_found(attempt, found=found, client=client, deadline=deadline, answering=False)
    availability.forget(attempt.company_id)
    outcomes = {
        Result.SETTLED: RecreateOutcome.BOOKED,
        Result.GONE: RecreateOutcome.UNDONE,
        Result.WRONG: RecreateOutcome.UNDONE,
        Result.UNDONE: RecreateOutcome.UNDONE,
        Result.FOREIGN: RecreateOutcome.REFUSED,
    }
    outcome = outcomes.get(settlement.result, RecreateOutcome.UNKNOWN)
    if outcome is RecreateOutcome.UNKNOWN:
        attempts.mark_unknown(attempt, told="", now=timezone.now())
    return Recreated(outcome, settlement.appointment, message=str(settlement.result))


def _unknown(attempt: BookingAttempt, error: CalcomError) -> Recreated:
    attempts.mark_unknown(attempt, told="", now=timezone.now(), **attempts.error_fields(error))
    return Recreated(RecreateOutcome.UNKNOWN, attempt.appointment, message=error.message)


def _release(
    attempt: BookingAttempt,
    state: BookingAttempt.State,
    outcome: RecreateOutcome,
    message: str,
    *,
    error: CalcomError | None = None,
) -> Recreated:
    now = timezone.now()
    attempts.release(
        attempt,
        state=state,
        told="",
        now=now,
        look_again_at=now + attempts.LATER_LOOK if state == State.REFUSED else None,
        **attempts.error_fields(error),
    )
    availability.forget(attempt.company_id)
    attempt.appointment.refresh_from_db(fields=["status", "calcom_sync_status"])
    return Recreated(outcome, attempt.appointment, message=message)

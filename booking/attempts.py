"""Claim an attempt, and move its state by compare-and-swap.

The claim is one short transaction; the unique constraints decide who wins it, on SQLite and PostgreSQL alike.
Every later change of state names the states it may start from, so of two processes that finish one attempt
(the request itself, the completer, a webhook) exactly one does, and the other sees that it did not.
"""

from __future__ import annotations

import time
import uuid
from dataclasses import dataclass
from datetime import datetime, timedelta
from typing import Any

from django.conf import settings
from django.db import IntegrityError, connection, transaction
from django.db.models import Exists, OuterRef, Q, QuerySet
from django.utils import timezone

from booking import idempotency
from booking.calcom.deadline import Deadline
from booking.calcom.errors import CalcomError, CalcomRefused
from booking.intention import Intention
from booking.models import LIVE_STATUSES, OPEN_STATES, PROVEN_STATUSES, Appointment, BookingAttempt
from booking.outcomes import Code
from booking.request_body import create_request
from calls.models import Call
from customers import statements
from customers.models import Customer
from customers.names import same_person
from customers.statements import Given, Select, Update

State = BookingAttempt.State

# After a refusal Cal.com is asked once more, this much later: it may have been an error after the commit.
LATER_LOOK = timedelta(seconds=60)

_PAUSES = (0.03, 0.05, 0.1, 0.2)  # seconds


def _made_unheard() -> Q:
    """What came of the same wish, of which the caller has heard "checking" and no more: it has been moved on
    the web since, and its key with it. (Who has moved it by phone knows where it is.)
    """
    succeeded = BookingAttempt.objects.filter(appointment=OuterRef("pk"), state=State.SUCCEEDED)
    made = succeeded.filter(
        idempotency_key=Given("key", of="idempotency_key"),
        kind=BookingAttempt.Kind.CREATE,
        told=Code.CHECKING,
    )
    return Q(Exists(made), ~Exists(succeeded.filter(kind=BookingAttempt.Kind.RESCHEDULE)))


_SAME = Select(
    lambda: (
        Appointment.objects.filter(
            Q(customer=Given("customer")) | Q(call=Given("call")),
            Q(
                starts_at__gte=Given("earliest", of="starts_at"),
                starts_at__lte=Given("latest", of="starts_at"),
            )
            | _made_unheard(),
            company=Given("company"),
            status__in=LIVE_STATUSES,
        )
        .select_related("service")
        .order_by("starts_at")
    )
)


@dataclass(frozen=True)
class Claim:
    """Either an attempt of our own, or the appointment that already stands for this intention."""

    attempt: BookingAttempt | None
    appointment: Appointment


def claim_booking(intention: Intention, *, now: datetime) -> Claim:
    """Store the intention before Cal.com is asked, or find that it is stored already."""
    for lock_wanted in (True, False):
        try:
            with transaction.atomic():
                return _claim(intention, now=now, take_lock=lock_wanted)
        except IntegrityError:
            # Either the key was claimed in this moment, or another attempt is writing to the slot.
            standing = same_booking(intention)
            if standing is not None:
                return Claim(attempt=None, appointment=standing)
    # The row that refused ours is gone again: it was released in between. What stands now decides.
    with transaction.atomic():
        return _claim(intention, now=now, take_lock=False)


def _claim(intention: Intention, *, now: datetime, take_lock: bool) -> Claim:
    # Two requests five minutes apart, or with another phone number in the same call, have two keys. Only the
    # rows of call and customer make them wait for each other.
    _lock(intention.call, intention.customer)
    standing = same_booking(intention)
    if standing is not None:
        return Claim(attempt=None, appointment=standing)
    appointment = Appointment(
        company=intention.company,
        branch=intention.branch,
        customer=intention.customer,
        service=intention.service,
        call=intention.call,
        starts_at=intention.starts_at,
        ends_at=intention.ends_at,
        status=Appointment.Status.PENDING,
        source=Appointment.Source.RETELL,
        sync_origin=Appointment.SyncOrigin.RETELL,
        calcom_sync_status=Appointment.SyncStatus.PENDING,
        idempotency_key=intention.key,
        attendee_name=intention.attendee_name,
        attendee_email=intention.attendee_email,
        notes=intention.notes,
        sync_attempt_count=1,
        last_sync_attempted_at=now,
    )
    attempt_id = uuid.uuid4()
    attempt = BookingAttempt(
        uuid=attempt_id,
        request=create_request(intention, attempt_id=attempt_id),
        company=intention.company,
        appointment=appointment,
        call=intention.call,
        kind=BookingAttempt.Kind.CREATE,
        state=State.CLAIMED,
        idempotency_key=intention.key,
        write_lock=slot_lock(intention) if take_lock else None,
        lease_expires_at=lease_end(now),
    )
    statements.insert_both(appointment, attempt, link="appointment")
    return Claim(attempt=attempt, appointment=appointment)


def _lock(call: Call, customer: Customer) -> None:
    """Hold both rows, in this order, until the transaction ends. In SQLite a write transaction is alone."""
    if not connection.features.has_select_for_no_key_update:
        return
    found = statements.rows(
        "SELECT 1 FROM calls, customers WHERE calls.id = %s AND customers.id = %s"
        " FOR NO KEY UPDATE OF calls, customers",
        [call.pk, customer.pk],
    )
    if not found:
        raise Customer.DoesNotExist


def same_booking(intention: Intention) -> Appointment | None:
    """The live appointment that already is this booking: the same customer's, of the same event type, at most
    five minutes away. Or the same call's under the same name: an agent that adds a phone number the second
    time means the same caller. Or what the same person's wish has become without their having heard of it.
    """
    perhaps = _SAME.all(
        customer=intention.customer.pk,
        call=intention.call.pk,
        company=intention.company.pk,
        key=intention.key,
        earliest=intention.starts_at - idempotency.NEAR_DUPLICATE,
        latest=intention.starts_at + idempotency.NEAR_DUPLICATE,
    )
    same = [appointment for appointment in perhaps if _is_same(appointment, intention)]
    return min(same, key=lambda a: abs(a.starts_at - intention.starts_at), default=None)


def _is_same(appointment: Appointment, intention: Intention) -> bool:
    if appointment.service is None:
        return False
    # One service is one thing, also if it has been given another event type since the caller's was read.
    event_types = (appointment.service.calcom_event_type_id, intention.service.calcom_event_type_id)
    if appointment.service_id != intention.service.pk and event_types[0] != event_types[1]:
        return False
    is_near = idempotency.is_near(appointment.starts_at, intention.starts_at)
    if is_near and appointment.customer_id == intention.customer.pk:
        return True
    return same_person(appointment.attendee_name, intention.attendee_name)


def slot_lock(intention: Intention) -> str:
    """Cal.com does not serialise two creates of one slot, so we serialise our own."""
    return lock_of_slot(intention.company.pk, intention.service.calcom_event_type_id, intention.starts_at)


def lock_of_slot(company_id: int, event_type_id: int, starts_at: datetime) -> str:
    return f"{company_id}:slot:{event_type_id}:{int(starts_at.timestamp())}"


def lease_end(now: datetime) -> datetime:
    # Nobody may take an attempt over while its request can still be talking to Cal.com.
    seconds = max(settings.ATTEMPT_LEASE_SECONDS, settings.ANSWER_BUDGET_SECONDS + 5)
    return now + timedelta(seconds=seconds)


def take_write_lock(attempt: BookingAttempt, *, lock: str, deadline: Deadline) -> bool:
    """Wait until no other attempt of ours writes to the same slot or booking; False if the time ran out."""
    tries = 0
    while True:
        try:
            with transaction.atomic():
                if BookingAttempt.objects.filter(pk=attempt.pk, state=State.CLAIMED).update(write_lock=lock):
                    attempt.write_lock = lock
                    return True
                return False  # the completer has taken this attempt over
        except IntegrityError:
            # A holder that died keeps the lock no longer than its lease.
            BookingAttempt.objects.filter(write_lock=lock, lease_expires_at__lt=timezone.now()).update(
                write_lock=None
            )
        if deadline.remaining == 0:
            return False
        give_way(tries)
        tries += 1


def give_way(tries: int) -> None:
    """A moment for whoever is at work on the same thing: a longer one each time it is tried."""
    time.sleep(_PAUSES[min(tries, len(_PAUSES) - 1)])


def still_open(attempts: QuerySet[BookingAttempt]) -> QuerySet[BookingAttempt]:
    """Those of which nobody knows yet how they end, with what it takes to find out."""
    return with_all_it_takes(attempts.filter(state__in=OPEN_STATES))


def with_all_it_takes(attempts: QuerySet[BookingAttempt]) -> QuerySet[BookingAttempt]:
    """With all that settling one of them reads."""
    return attempts.select_related("appointment__service", "appointment__customer", "company", "call")


def finish(attempt: BookingAttempt, **how: Any) -> bool:
    """Move an attempt to a final state: see `finishing`. False: somebody else has finished it."""
    return bool(finishing(attempt, **how).make())


def finishing(
    attempt: BookingAttempt,
    *,
    state: BookingAttempt.State,
    told: str,
    now: datetime,
    from_states: tuple[BookingAttempt.State, ...] = OPEN_STATES,
    **fields: Any,
) -> Update:
    """What moves an attempt to a final state, if it still is in one of `from_states`."""
    return Update(
        BookingAttempt,
        {"id": attempt.pk, "state": from_states},
        {
            "state": state,
            "told": told,
            "write_lock": None,
            "finished_at": now,
            "updated_at": now,
            **_sent(attempt),
            **fields,
        },
    )


def mark_unknown(attempt: BookingAttempt, *, told: str, now: datetime, **fields: Any) -> bool:
    """Leave the attempt to the completer. Only the process that claimed it does so."""
    return bool(
        BookingAttempt.objects.filter(pk=attempt.pk, state__in=OPEN_STATES).update(
            state=State.UNKNOWN,
            told=told,
            write_lock=None,
            lease_expires_at=now,
            look_again_at=now,
            updated_at=now,
            **_sent(attempt),
            **fields,
        )
    )


def _sent(attempt: BookingAttempt) -> dict[str, Any]:
    """What was sent, how often and when: known to whoever holds the attempt, and written when it lets go."""
    return {"request": attempt.request, "posts": attempt.posts, "sent_at": attempt.sent_at}


def release(
    attempt: BookingAttempt,
    *,
    state: BookingAttempt.State,
    told: str,
    now: datetime,
    **fields: Any,
) -> bool:
    """Nothing stands at Cal.com: finish the attempt and let its appointment go, so that the key is free
    again.
    """
    with transaction.atomic():
        if not finish(attempt, state=state, told=told, now=now, **fields):
            return False
        Appointment.objects.filter(pk=attempt.appointment_id, status=Appointment.Status.PENDING).update(
            status=Appointment.Status.FAILED,
            calcom_sync_status=Appointment.SyncStatus.NOT_SYNCED,
            updated_at=now,
        )
    return True


def tell(attempt: BookingAttempt, told: str) -> None:
    """The caller hears something else than was written down when the attempt ended."""
    BookingAttempt.objects.filter(pk=attempt.pk).update(told=told)


def error_fields(error: CalcomError | None) -> dict[str, Any]:
    """What an attempt keeps of the error it ended with."""
    if error is None:
        return {}
    return {
        "error_class": str(error.reason) if isinstance(error, CalcomRefused) else type(error).__name__,
        "error_message": error.message,
        "http_status": error.status,
    }


def ids_of_key(attempt: BookingAttempt) -> set[str]:
    """Every attempt ever made under this one's key for the same person: a booking that names one of them is
    ours. (A family that has one number has one key; what was made for one of them is not the other's. And
    what was moved away is another appointment, also where it is moved back unheard.)
    """
    # Not joined: on SQLite a shell may have left an attempt without its appointment.
    others = Appointment.objects.filter(pk=OuterRef("appointment_id"), status__in=PROVEN_STATUSES)
    made = BookingAttempt.objects.filter(
        ~Exists(others.exclude(pk=attempt.appointment_id)),
        company_id=attempt.company_id,
        idempotency_key=attempt.idempotency_key,
        kind=BookingAttempt.Kind.CREATE,
    )
    name = _attendee_name(attempt.request)
    return {
        str(uuid)
        for uuid, request in made.values_list("uuid", "request")
        if same_person(_attendee_name(request), name)
    }


def _attendee_name(request: dict[str, Any]) -> str:
    return str(request.get("attendee", {}).get("name", ""))

"""Move and cancel: changes at Cal.com with the same faults as a booking, made the same way.

    which appointment → allowed? → claim and commit → change at Cal.com → is it done? → settle in one
    transaction

No transaction is open while Cal.com is asked; the intention is committed before, so a crash leaves a row, and
the completer looks what became of it. One change of an appointment at a time: whoever comes second waits for
the first, and then sees what is left to do, often nothing.
"""

from __future__ import annotations

import uuid
from datetime import datetime, timedelta
from typing import Any

import structlog
from django.db import DatabaseError, transaction
from django.db.models import F
from django.utils import timezone

from booking import (
    alternatives,
    answer_budget,
    attempts,
    database_errors,
    horizon,
    not_changed,
    own_bookings,
    sentences,
    unknown_attempts,
)
from booking.calcom.deadline import Deadline
from booking.calcom.errors import CalcomError
from booking.carry_out import carry_out
from booking.connection import client_for
from booking.intention import Change
from booking.models import OPEN_STATES, PROVEN_STATUSES, Appointment, BookingAttempt
from booking.outcomes import Code, Outcome
from calls.models import Call
from customers.database import drop_dead_connections
from customers.models import Company
from customers.names import same_person

Kind = BookingAttempt.Kind
State = BookingAttempt.State

logger = structlog.get_logger(__name__)


def reschedule(
    *,
    company: Company,
    call: Call,
    appointment: Appointment,
    start: datetime,
    now: datetime,
    deadline: Deadline,
) -> Outcome:
    """Move it, or find that it is there, within the deadline. `appointment` must be the caller's. Never
    raises for anything Cal.com does.
    """
    change = Change(
        company=company,
        call=call,
        appointment=appointment,
        kind=Kind.RESCHEDULE,
        reason=sentences.to_the_guest("moved", company=company),
        now=now,
        start=start,
    )
    return _change(change, deadline=deadline)


def cancel(
    *, company: Company, call: Call, appointment: Appointment, reason: str, now: datetime, deadline: Deadline
) -> Outcome:
    """Cancel it, or find that it is cancelled, within the deadline. `appointment` must be the caller's."""
    change = Change(
        company=company,
        call=call,
        appointment=appointment,
        kind=Kind.CANCEL,
        reason=reason or sentences.to_the_guest("cancelled", company=company),
        now=now,
    )
    return _change(change, deadline=deadline)


def _change(change: Change, *, deadline: Deadline) -> Outcome:
    until = deadline.less(answer_budget.reserve())
    tries = 0
    while True:
        done = _already_done(change)
        if done is not None and tries == 0:
            own_bookings.hear_of(change.appointment, deadline=answer_budget.for_a_look(deadline))
            done = _already_done(change)
        if done is not None:
            return done
        refused = _not_allowed(change, deadline=deadline)
        if refused is not None:
            return refused
        if change.appointment.calcom_booking_uid is None:
            return not_changed.call_back(change)
        in_the_way = _own_at_that_time(change, deadline=deadline)
        if in_the_way is not None:
            return in_the_way
        try:
            attempt = _claim(change)
        except DatabaseError as error:
            if database_errors.is_away(error):
                drop_dead_connections()
            logger.error("change.not_claimed", error=type(error).__name__)
            return not_changed.call_back(change)
        if attempt is not None:
            return carry_out(attempt, change, deadline=deadline)
        # Somebody is at it already. What they make of it is seen here as soon as they are through.
        if not _wait_for_others(change, until=until, deadline=deadline, tries=tries):
            return change.outcome(Code.CHECKING)
        tries += 1
        change.appointment.refresh_from_db()


def _already_done(change: Change) -> Outcome | None:
    row = change.appointment
    if row.attempts.filter(state__in=OPEN_STATES).exists():
        return None  # it is being changed, or nobody knows how that went
    if change.kind == Kind.CANCEL:
        if row.status == Appointment.Status.CANCELLED:
            return change.outcome(Code.CANCELLED, appointment=row)
        return None
    if row.status in PROVEN_STATUSES and row.starts_at == change.start:
        return change.outcome(Code.RESCHEDULED, appointment=row)
    return None


def _not_allowed(change: Change, *, deadline: Deadline) -> Outcome | None:
    row, company, service = change.appointment, change.company, change.appointment.service
    if row.status not in PROVEN_STATUSES:
        return change.outcome(Code.NOT_FOUND, reason="not_standing")
    if row.starts_at <= change.now:
        return change.outcome(Code.NOT_ALLOWED, reason="begun")
    moving = change.kind == Kind.RESCHEDULE
    of_company = company.may_reschedule if moving else company.may_cancel
    of_service = (service.may_reschedule if moving else service.may_cancel) if service else None
    if not (of_company if of_service is None else of_service):
        return change.outcome(Code.NOT_ALLOWED, reason="no_moves" if moving else "no_cancels")
    notice = service.change_notice_minutes if service else None
    minutes = company.change_notice_minutes if notice is None else notice
    if change.now + timedelta(minutes=minutes) > row.starts_at:
        return change.outcome(Code.NOT_ALLOWED, reason="notice", extra={"minutes": minutes})
    if change.start is None or service is None:
        return None
    if change.start <= change.now:
        others = alternatives.around(service, change.now, company=company, deadline=deadline)
        return change.outcome(Code.TOO_SOON, reason="in_the_past", alternatives=others)
    if horizon.is_too_far(change.start, now=change.now):
        return change.outcome(
            Code.INVALID_REQUEST, reason="too_far_ahead", errors={"new_start": "too far ahead"}
        )
    return None


def _own_at_that_time(change: Change, *, deadline: Deadline) -> Outcome | None:
    """What the same customer has there already. Cal.com may take a second one, or hand out the first."""
    row, service = change.appointment, change.appointment.service
    if change.start is None or service is None:
        return None
    own = own_bookings.standing_at(change.start, beside=row, call=change.call)
    if own is None or attempts.still_open(own.attempts.all()).exists():
        return None
    try:
        client = client_for(change.company)
        if not own_bookings.stands_there(own, client=client, deadline=answer_budget.for_a_look(deadline)):
            return None  # cancelled or moved away on the web, unheard
    except (CalcomError, DatabaseError) as error:
        # Nothing could be moved either: what is known here is told.
        logger.warning("change.own_not_looked_at", error=type(error).__name__)
    if same_person(own.attendee_name, row.attendee_name):
        return change.outcome(Code.ALREADY_BOOKED, appointment=own)
    return alternatives.taken(service, change.start, company=change.company, deadline=deadline)


def _claim(change: Change) -> BookingAttempt | None:
    """Store the intention before Cal.com is asked. None: another change of this appointment is under way, or
    has just been made.
    """
    with transaction.atomic():
        row = (
            Appointment.objects.select_for_update(of=("self",), no_key=True)
            .select_related("company", "service", "customer", "call")
            .get(pk=change.appointment.pk)
        )
        moved_on = (row.status, row.starts_at, row.calcom_booking_uid) != (
            change.appointment.status,
            change.appointment.starts_at,
            change.appointment.calcom_booking_uid,
        )
        if moved_on or row.attempts.filter(state__in=OPEN_STATES).exists():
            return None
        now = timezone.now()
        Appointment.objects.filter(pk=row.pk).update(
            sync_attempt_count=F("sync_attempt_count") + 1, last_sync_attempted_at=now
        )
        request: dict[str, Any] = {"reason": change.reason}
        if change.start is not None:
            request["start"] = change.start.isoformat()
        return BookingAttempt.objects.create(
            uuid=uuid.uuid4(),
            company=change.company,
            appointment=row,
            call=change.call,
            kind=change.kind,
            state=State.CLAIMED,
            idempotency_key=row.idempotency_key or "",
            target_uid=row.calcom_booking_uid or "",
            lease_expires_at=attempts.lease_end(now),
            request=request,
        )


def _wait_for_others(change: Change, *, until: Deadline, deadline: Deadline, tries: int) -> bool:
    """False: there is no time left to wait."""
    open_ones = attempts.still_open(change.appointment.attempts.all())
    if (
        unknown_attempts.settle_abandoned(open_ones, deadline=answer_budget.for_a_look(deadline))
        and open_ones.all().exists()
    ):
        return False  # it cannot be found out yet
    if until.remaining == 0:
        return False
    attempts.give_way(tries)
    return True

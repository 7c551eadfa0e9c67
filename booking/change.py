"""Move and cancel: changes at Cal.com with the same faults as a booking, made the same way.

    which appointment → allowed? → claim and commit → change at Cal.com → is it done? → settle in one
    transaction

No transaction is open while Cal.com is asked; the intention is committed before, so a crash leaves a row, and
the completer looks what became of it. One change of an appointment at a time: whoever comes second waits for
the first, and then sees what is left to do, often nothing. Unlike a create, neither change can happen twice:
a booking is cancelled once, and moved away from its uid once. So what failed in Cal.com's own words may be
asked for once more, after a look.
"""

from __future__ import annotations

import time
import uuid
from dataclasses import dataclass
from datetime import datetime, timedelta
from typing import Any

import structlog
from django.db import DatabaseError, transaction
from django.utils import timezone

from booking import (
    alternatives,
    answer_budget,
    attempts,
    availability,
    breaker,
    callbacks,
    change_outcome,
    completer,
    database_errors,
    failures,
    horizon,
    own_bookings,
)
from booking.calcom.deadline import Deadline
from booking.calcom.errors import (
    CalcomError,
    CalcomMisconfigured,
    CalcomRefused,
    CalcomUnavailable,
    OutcomeUnknown,
    RateLimited,
    Refusal,
)
from booking.calcom.objects import Booking
from booking.change_outcome import Seen
from booking.connection import client_for
from booking.intention import Wanted
from booking.models import (
    OPEN_STATES,
    PROVEN_STATUSES,
    Appointment,
    BookingAttempt,
    CallbackRequest,
    SyncFailure,
)
from booking.outcomes import Code, Outcome
from booking.sending import Sending
from calls.models import Call
from customers.database import drop_dead_connections, waiting_at_most
from customers.models import Company
from customers.names import same_person

Kind = BookingAttempt.Kind
State = BookingAttempt.State

LONGEST_REASON = 500

logger = structlog.get_logger(__name__)


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
        reason="Moved by phone.",
        now=now,
        start=start,
    )
    return _carry_out(change, deadline=deadline)


def cancel(
    *, company: Company, call: Call, appointment: Appointment, reason: str, now: datetime, deadline: Deadline
) -> Outcome:
    """Cancel it, or find that it is cancelled, within the deadline. `appointment` must be the caller's."""
    change = Change(
        company=company,
        call=call,
        appointment=appointment,
        kind=Kind.CANCEL,
        reason=reason[:LONGEST_REASON] or "Cancelled by phone.",
        now=now,
    )
    return _carry_out(change, deadline=deadline)


def _carry_out(change: Change, *, deadline: Deadline) -> Outcome:
    until = deadline.less(answer_budget.reserve())
    tries = 0
    while True:
        done = _already_done(change)
        if done is not None:
            return done
        refused = _not_allowed(change, deadline=deadline)
        if refused is not None:
            return refused
        in_the_way = _own_at_that_time(change, deadline=deadline)
        if in_the_way is not None:
            return in_the_way
        try:
            attempt = _claim(change)
        except DatabaseError as error:
            if database_errors.is_away(error):
                drop_dead_connections()
            logger.error("change.not_claimed", error=type(error).__name__)
            return _call_back(change)
        if attempt is not None:
            return _send(attempt, change, deadline=deadline)
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
            lease_expires_at=attempts.lease_end(timezone.now()),
            request=request,
        )


def _wait_for_others(change: Change, *, until: Deadline, deadline: Deadline, tries: int) -> bool:
    """False: there is no time left to wait."""
    open_ones = attempts.still_open(change.appointment.attempts.all())
    if (
        completer.settle_abandoned(open_ones, deadline=answer_budget.for_a_look(deadline))
        and open_ones.all().exists()
    ):
        return False  # it cannot be found out yet
    if until.remaining == 0:
        return False
    attempts.give_way(tries)
    return True


# --- The claim is ours: ask Cal.com


def _send(attempt: BookingAttempt, change: Change, *, deadline: Deadline) -> Outcome:
    try:
        client = client_for(change.company)
    except CalcomMisconfigured as error:
        return _misconfigured(attempt, change, error)
    if not breaker.allows(company_id=change.company.pk, client=client, deadline=deadline):
        return _not_sent(attempt, change, cause="breaker_open")
    if change.start is not None and change.appointment.service is not None:
        lock = attempts.lock_of_slot(
            change.company.pk, change.appointment.service.calcom_event_type_id, change.start
        )
        if not attempts.take_write_lock(attempt, lock=lock, deadline=deadline.less(answer_budget.reserve())):
            return _not_sent(attempt, change, cause="slot_busy")
    return _Changing(attempt=attempt, change=change, client=client, deadline=deadline).run()


@dataclass(kw_only=True)
class _Changing(Sending):
    change: Change

    def _post(self, until: Deadline) -> Booking:
        uid = self.attempt.target_uid
        if self.change.start is None:
            return self.client.cancel_booking(uid, reason=self.change.reason, deadline=until)
        return self.client.reschedule_booking(
            uid, start=self.change.start, reason=self.change.reason, deadline=until
        )

    def _after_answer(self, booking: Booking) -> Outcome:
        if change_outcome.is_as_asked(self.attempt, booking):
            return self._store(Seen(is_done=True, booking=booking))
        # A yes with something else in it: what counts is what became of the booking.
        logger.error("change.answer_is_another", attempt=str(self.attempt.uuid), uid=booking.uid)
        try:
            seen = self._look()
        except CalcomError as error:
            return self._unknown(error)
        if seen.is_done:
            return self._store(seen)
        if self.attempt.kind == Kind.CANCEL:
            return self._unknown()  # it says cancelled and shows an active one: written in a moment
        try:
            own = self._own_there()
        except (CalcomError, DatabaseError):
            return self._unknown()
        if own is not None:
            self._give_up(
                state=State.REFUSED, told=Code.ALREADY_BOOKED, seen=seen, error_class="not_as_asked"
            )
            return self.change.outcome(Code.ALREADY_BOOKED, appointment=own)
        failures.record_incident(
            company=self.change.company,
            failure_type=SyncFailure.Type.FOREIGN_BOOKING,
            subject=failures.about_booking(booking.uid),
            message="Cal.com answered a move with another booking. That one was left alone.",
            appointment=self.attempt.appointment,
            call=self.change.call,
            uid=booking.uid,
            details={"attempt": str(self.attempt.uuid)},
        )
        self._give_up(state=State.REFUSED, told=Code.UNAVAILABLE, seen=seen, error_class="not_as_asked")
        return _call_back(self.change)

    def _after_error(self, error: CalcomError) -> Outcome | None:
        if isinstance(error, RateLimited) and self._has_waited(error):
            return None
        if isinstance(error, CalcomUnavailable):
            if self.repeated:
                return self._unknown(error)  # the request before this one may have been carried out
            return _not_sent(self.attempt, self.change, cause=type(error).__name__, error=error)
        if self.deadline.less(answer_budget.reserve()).remaining == 0:
            return self._unknown(error)
        try:
            seen = self._look()
        except CalcomError as cannot_ask:
            if isinstance(error, CalcomMisconfigured) and isinstance(cannot_ask, CalcomMisconfigured):
                return _misconfigured(self.attempt, self.change, error)
            return self._unknown(error)
        if seen.is_done:
            return self._store(seen)
        if seen.booking is None:
            return self._gone()
        if isinstance(error, OutcomeUnknown):
            if error.finished and not self.repeated:
                self.repeated = True
                return None
            return self._unknown(error)
        if isinstance(error, CalcomRefused) and not self.repeated:
            return self._after_refusal(error, seen)
        if not seen.booking.is_active:
            return self._changed_meanwhile(error, seen)
        if self.repeated:
            return self._unknown(error)
        return _misconfigured(self.attempt, self.change, error, seen=seen)

    def _after_refusal(self, error: CalcomRefused, seen: Seen) -> Outcome:
        change, service = self.change, self.change.appointment.service
        refused: dict[str, Any] = {"state": State.REFUSED, "seen": seen, "error": error}
        if error.reason is Refusal.SLOT_TAKEN and change.start and service:
            try:
                own = self._own_there()
            except (CalcomError, DatabaseError):
                return self._unknown(error)
            if own is not None:
                # By another one of their own: what they want to have at that time they have.
                self._give_up(told=Code.ALREADY_BOOKED, **refused)
                return change.outcome(Code.ALREADY_BOOKED, appointment=own)
            self._give_up(told=Code.SLOT_TAKEN, **refused)
            availability.forget(change.company.pk)
            return alternatives.taken(service, change.start, company=change.company, deadline=self.deadline)
        too_soon = (Refusal.OUT_OF_BOUNDS, Refusal.IN_THE_PAST, Refusal.NOTICE_PERIOD)
        if error.reason in too_soon and change.start and service:
            self._give_up(told=Code.TOO_SOON, **refused)
            return alternatives.first_possible(
                service, change.start, company=change.company, deadline=self.deadline
            )
        if error.reason is Refusal.ALREADY_ENDED:
            self._give_up(told=Code.NOT_ALLOWED, **refused)
            return change.outcome(Code.NOT_ALLOWED, reason="begun")
        if error.reason in (Refusal.ALREADY_MOVED, Refusal.ALREADY_CANCELLED):
            if (
                seen.booking is not None
                and seen.booking.uid == self.attempt.target_uid
                and seen.booking.is_active
            ):
                return self._unknown(error)  # it is refused for what it does not show: a replica lags behind
            return self._changed_meanwhile(error, seen)
        return _misconfigured(self.attempt, change, error, seen=seen)

    def _own_there(self) -> Appointment | None:
        """What the same person has at that time already, known here or made on the web unheard. Raises
        CalcomError, and what the database raises.
        """
        change, row = self.change, self.change.appointment
        if change.start is None or row.service is None or row.customer is None:
            return None
        own = own_bookings.standing_at(change.start, beside=row, call=change.call)
        if own is not None:
            return own if same_person(own.attendee_name, row.attendee_name) else None
        wanted = Wanted(
            company=change.company,
            call=change.call,
            customer=row.customer,
            service=row.service,
            starts_at=change.start,
            ends_at=change.start + (row.ends_at - row.starts_at),
            attendee_name=row.attendee_name,
        )
        return own_bookings.unheard_of(
            wanted, client=self.client, deadline=answer_budget.for_a_look(self.deadline)
        )

    def _changed_meanwhile(self, error: CalcomError, seen: Seen) -> Outcome:
        """Somebody else was faster, on the web. Nothing is done to what they made of it before the caller
        knows.
        """
        self._give_up(state=State.REFUSED, told=Code.NOT_FOUND, seen=seen, error=error)
        row = self.change.appointment
        row.refresh_from_db()
        standing = row if row.is_live else None
        return self.change.outcome(Code.NOT_FOUND, reason="changed_meanwhile", appointment=standing)

    def _look(self) -> Seen:
        return change_outcome.look(
            self.attempt, client=self.client, deadline=answer_budget.for_a_look(self.deadline)
        )

    def _store(self, seen: Seen) -> Outcome:
        code = Code.CANCELLED if self.attempt.kind == Kind.CANCEL else Code.RESCHEDULED
        for last_try in (False, True):
            try:
                with waiting_at_most(self.deadline.remaining):
                    row = change_outcome.settle(self.attempt, seen, told=code, now=timezone.now())
            except DatabaseError as error:
                # It is done there and stays so. The claimed row tells, and the completer will save it.
                logger.error("change.not_stored", attempt=str(self.attempt.uuid), error=type(error).__name__)
                if database_errors.is_away(error):
                    drop_dead_connections()
                if last_try:
                    return self._checking()
                time.sleep(min(0.25, self.deadline.remaining))
            else:
                return self.change.outcome(code, appointment=row)
        raise AssertionError("unreachable")

    def _gone(self) -> Outcome:
        """Cal.com does not know the booking of an appointment that stands here."""
        self._give_up(state=State.REFUSED, told=Code.UNAVAILABLE, seen=None, error_class="booking_gone")
        failures.open_failure(
            company=self.change.company,
            failure_type=SyncFailure.Type.ORPHANED_LOCAL,
            subject=failures.about_booking(self.attempt.target_uid),
            message="Cal.com does not know the booking of this appointment any more.",
            appointment=self.attempt.appointment,
            call=self.change.call,
            uid=self.attempt.target_uid,
            details={"attempt": str(self.attempt.uuid)},
            needs_person=True,
        )
        return _call_back(self.change, reason="change_unclear")

    def _no_time_left(self) -> Outcome:
        if self.repeated:
            return self._unknown()
        return _not_sent(self.attempt, self.change, cause="no_time_left")

    def _checking(self) -> Outcome:
        return self.change.outcome(Code.CHECKING)

    def _give_up(
        self,
        *,
        state: BookingAttempt.State,
        told: Code,
        seen: Seen | None,
        error: CalcomError | None = None,
        error_class: str = "",
    ) -> None:
        now = timezone.now()
        fields = attempts.error_fields(error) if error else {"error_class": error_class}
        # A refusal can be an error after the commit, seen through a replica that lags: looked at once more.
        change_outcome.give_up(
            self.attempt,
            state=state,
            told=told,
            now=now,
            seen=seen,
            look_again_at=now + attempts.LATER_LOOK,
            **fields,
        )


def _not_sent(
    attempt: BookingAttempt, change: Change, *, cause: str, error: CalcomError | None = None
) -> Outcome:
    logger.warning("change.not_sent", attempt=str(attempt.uuid), cause=cause)
    change_outcome.give_up(
        attempt,
        state=State.NOT_SENT,
        told=Code.UNAVAILABLE,
        now=timezone.now(),
        **{**attempts.error_fields(error), "error_class": cause},
    )
    return _call_back(change)


def _misconfigured(
    attempt: BookingAttempt, change: Change, error: CalcomError, *, seen: Seen | None = None
) -> Outcome:
    change_outcome.give_up(
        attempt,
        state=State.REFUSED,
        told=Code.UNAVAILABLE,
        now=timezone.now(),
        seen=seen,
        **attempts.error_fields(error),
    )
    service = change.appointment.service
    failures.open_failure(
        company=change.company,
        failure_type=SyncFailure.Type.CONFIG_ERROR,
        subject=failures.about_configuration(service, status=error.status, change=str(attempt.kind))
        if service
        else failures.ACCESS,
        message=f"Cal.com refuses a {attempt.get_kind_display()}: {error.message}",
        call=change.call,
        details={"status": error.status, "attempt": str(attempt.uuid), "kind": str(attempt.kind)},
        needs_person=True,
    )
    return _call_back(change)


def _call_back(change: Change, *, reason: str = "change") -> Outcome:
    what = "cancelled" if change.kind == Kind.CANCEL else "moved"
    noted = callbacks.promise(
        call=change.call,
        customer=change.appointment.customer,
        reason=f"An appointment could not be {what}.",
        kind=CallbackRequest.Kind.NOT_CHANGED,
    )
    return change.outcome(Code.UNAVAILABLE, reason=reason, callback=noted)

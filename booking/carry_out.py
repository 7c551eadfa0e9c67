"""The claim is ours: ask Cal.com for the move or the cancellation, and answer by what became of it.

Unlike a create, neither can happen twice: a booking is cancelled once, and moved away from its uid once. So
what failed in Cal.com's own words may be asked for once more, after a look.
"""

from __future__ import annotations

import time
from dataclasses import dataclass
from typing import Any

import structlog
from django.db import DatabaseError, InterfaceError, transaction
from django.utils import timezone

from booking import (
    alternatives,
    answer_budget,
    attempts,
    availability,
    change_outcome,
    database_errors,
    failures,
    not_changed,
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
from booking.intention import Change, Wanted
from booking.models import Appointment, BookingAttempt, SyncFailure
from booking.outcomes import Code, Outcome
from booking.sending import Sending
from customers.database import drop_dead_connections, waiting_at_most
from customers.names import same_person

Kind = BookingAttempt.Kind
State = BookingAttempt.State

logger = structlog.get_logger(__name__)


def carry_out(attempt: BookingAttempt, change: Change, *, deadline: Deadline) -> Outcome:
    """Make the change of a claimed attempt, or end the attempt, within the deadline. Never raises for
    anything Cal.com does.
    """
    try:
        client = client_for(change.company)
    except CalcomMisconfigured as error:
        return _misconfigured(attempt, change, error)
    return _Changing(attempt=attempt, change=change, client=client, deadline=deadline).run()


@dataclass(kw_only=True)
class _Changing(Sending):
    change: Change

    def _slot_lock(self) -> str | None:
        change, service = self.change, self.change.appointment.service
        if change.start is None or service is None:
            return None
        return attempts.lock_of_slot(change.company.pk, service.calcom_event_type_id, change.start)

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
        was_moved = seen.booking is not None and seen.booking.uid != self.attempt.target_uid
        if self.attempt.kind == Kind.CANCEL and not was_moved:
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
        if was_moved:
            # Moved all the same, only not to where it was to go: it does not stay as it was.
            return self._changed_meanwhile(seen, error_class="not_as_asked")
        incident = failures.of_attempt(
            self.attempt,
            failure_type=SyncFailure.Type.FOREIGN_BOOKING,
            subject=failures.about_booking(booking.uid),
            message="Cal.com answered a move with another booking. That one was left alone.",
            uid=booking.uid,
        )
        failures.record_incident(incident)
        self._give_up(state=State.REFUSED, told=Code.UNAVAILABLE, seen=seen, error_class="not_as_asked")
        return not_changed.call_back(self.change)

    def _after_error(self, error: CalcomError) -> Outcome | None:
        if isinstance(error, RateLimited) and self._has_waited(error):
            return None
        if isinstance(error, CalcomUnavailable):
            if self.repeated:
                return self._unknown(error)  # the request before this one may have been carried out
            return self._not_sent(cause=type(error).__name__, error=error)
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
            self._give_up(state=State.REFUSED, told=Code.UNAVAILABLE, seen=seen, error_class="booking_gone")
            return not_changed.call_back(self.change, reason="change_unclear")
        if isinstance(error, OutcomeUnknown):
            if error.finished and not self.repeated:
                self.repeated = True
                return None
            return self._unknown(error)
        if isinstance(error, CalcomRefused) and not self.repeated:
            return self._after_refusal(error, seen)
        if not seen.booking.is_active:
            return self._changed_meanwhile(seen, error=error)
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
        if error.reason is Refusal.TOO_LATE_TO_MOVE:
            # It is the old time that is too near, so no other new one would help.
            self._give_up(told=Code.NOT_ALLOWED, **refused)
            return change.outcome(Code.NOT_ALLOWED, reason="too_late")
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
            return self._changed_meanwhile(seen, error=error)
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
            wanted,
            beside=self.attempt.target_uid,
            client=self.client,
            deadline=answer_budget.for_a_look(self.deadline),
        )

    def _changed_meanwhile(
        self, seen: Seen, *, error: CalcomError | None = None, error_class: str = ""
    ) -> Outcome:
        """Somebody else was faster, on the web, or Cal.com has made something else of it. Nothing is done to
        what it is now before the caller knows.
        """
        self._give_up(
            state=State.REFUSED, told=Code.NOT_FOUND, seen=seen, error=error, error_class=error_class
        )
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
            except (DatabaseError, InterfaceError) as error:
                logger.error("change.not_stored", attempt=str(self.attempt.uuid), error=type(error).__name__)
                if database_errors.is_away(error):
                    drop_dead_connections()
                if not last_try:
                    time.sleep(min(database_errors.RETRY_PAUSE_SECONDS, self.deadline.remaining))
            else:
                return self._told_of(row, code)
        # It is done there and stays so. The claimed row tells, and the completer will save it.
        return self._checking()

    def _told_of(self, row: Appointment, code: Code) -> Outcome:
        if row.is_live != (code is Code.CANCELLED):
            return self.change.outcome(code, appointment=row)
        # Moved and then cancelled on the web, or cancelled and confirmed again, before the caller was told.
        attempts.tell(self.attempt, Code.NOT_FOUND)
        standing = row if row.is_live else None
        return self.change.outcome(Code.NOT_FOUND, reason="changed_meanwhile", appointment=standing)

    def _no_time_left(self) -> Outcome:
        if self.repeated:
            return self._unknown()
        return self._not_sent(cause="no_time_left")

    def _not_sent(self, *, cause: str, error: CalcomError | None = None) -> Outcome:
        logger.warning("change.not_sent", attempt=str(self.attempt.uuid), cause=cause)
        change_outcome.give_up(
            self.attempt,
            state=State.NOT_SENT,
            told=Code.UNAVAILABLE,
            now=timezone.now(),
            **{**attempts.error_fields(error), "error_class": cause},
        )
        return not_changed.call_back(self.change)

    def _checking(self) -> Outcome:
        return self.change.outcome(Code.CHECKING)

    def _give_up(
        self,
        *,
        state: BookingAttempt.State,
        told: Code,
        seen: Seen,
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


def _misconfigured(
    attempt: BookingAttempt, change: Change, error: CalcomError, *, seen: Seen | None = None
) -> Outcome:
    with transaction.atomic():
        change_outcome.give_up(
            attempt,
            state=State.REFUSED,
            told=Code.UNAVAILABLE,
            now=timezone.now(),
            seen=seen,
            **attempts.error_fields(error),
        )
        not_changed.report_misconfigured(change, error, attempt=attempt)
    return not_changed.call_back(change)

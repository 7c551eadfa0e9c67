"""The claim is ours: ask Cal.com for the booking, and answer by what it makes of that.

Whatever may have been done is looked up before anything else is: a create is sent again only where it cannot
make a second booking.
"""

from __future__ import annotations

import time
from dataclasses import dataclass

import structlog
from django.db import DatabaseError, transaction
from django.utils import timezone

from booking import (
    alternatives,
    answer_budget,
    attempts,
    availability,
    lookup,
    not_booked,
    own_bookings,
    settle,
    standing,
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
from booking.connection import client_for
from booking.intention import Intention
from booking.models import Appointment, BookingAttempt, Service
from booking.outcomes import Code, Outcome
from booking.sending import Sending
from booking.settlement import Result
from customers.identify import NoContact, attendee_identity

State = BookingAttempt.State

LAG_SECONDS = 0.6  # a replica of Cal.com's may lag behind its answer

logger = structlog.get_logger(__name__)


def create(attempt: BookingAttempt, intention: Intention, *, deadline: Deadline) -> Outcome:
    """Make the booking of a claimed attempt, or end the attempt, within the deadline. Never raises for
    anything Cal.com does.
    """
    try:
        client = client_for(intention.company)
    except CalcomMisconfigured as error:
        return _misconfigured(attempt, intention, error)
    return _Creation(attempt=attempt, intention=intention, client=client, deadline=deadline).run()


def _misconfigured(attempt: BookingAttempt, intention: Intention, error: CalcomError) -> Outcome:
    with transaction.atomic():
        _release(attempt, state=State.REFUSED, told=Code.UNAVAILABLE, error=error)
        not_booked.report_misconfigured(intention, error, attempt=attempt)
    return not_booked.call_back(intention)


def _release(attempt: BookingAttempt, *, state: BookingAttempt.State, told: Code, error: CalcomError) -> None:
    now = timezone.now()
    attempts.release(
        attempt,
        state=state,
        told=told,
        now=now,
        # A commit that a lagging replica does not show yet looks like a refusal.
        look_again_at=now + attempts.LATER_LOOK if attempt.posts else None,
        **attempts.error_fields(error),
    )


@dataclass(kw_only=True)
class _Creation(Sending):
    intention: Intention
    may_exist: bool = False  # an earlier request of this attempt may still turn into a booking

    def _slot_lock(self) -> str | None:
        return attempts.slot_lock(self.intention) if self.attempt.write_lock is None else None

    def _post(self, until: Deadline) -> Booking:
        return self.client.create_booking(self.attempt.request, deadline=until)

    def _no_time_left(self) -> Outcome:
        return self._give_up(cause="no_time_left")

    def _checking(self) -> Outcome:
        return not_booked.checking(self.intention)

    # --- It answers with a booking

    def _after_answer(self, booking: Booking) -> Outcome:
        return self._after_found([booking])

    def _after_found(self, bookings: list[Booking]) -> Outcome:
        settlement = settle.settle_found(
            self.attempt, found=bookings, client=self.client, deadline=self.deadline, answering=True
        )
        match settlement.result:
            case Result.SETTLED:
                return self._booked(settlement.appointment)
            case Result.FOREIGN:
                return self._after_foreign(bookings)
            case Result.WRONG:
                return self._ask_again()
            case Result.NOT_STORED:
                # The database is away: writing that down would only cost the caller time.
                return self._checking()
            case Result.UNDONE | Result.GONE:
                return not_booked.call_back(self.intention)
            case _:
                return self._unknown()

    def _booked(self, appointment: Appointment) -> Outcome:
        code = Code.REQUESTED if appointment.status == Appointment.Status.REQUESTED else Code.BOOKED
        return Outcome(code, appointment=appointment, service=self.intention.service)

    def _after_foreign(self, bookings: list[Booking]) -> Outcome:
        """Somebody else's, as far as this attempt goes: but perhaps the caller's own."""
        move = own_bookings.open_move_to(self.intention)
        if move is not None:
            return self._after_own_move(move)
        own = own_bookings.find(self.intention, bookings)
        attempts.tell(self.attempt, Code.ALREADY_BOOKED if own is not None else Code.SLOT_TAKEN)
        return self._taken() if own is None else self._after_own_booking(own)

    def _ask_again(self) -> Outcome:
        others = alternatives.around(
            self.intention.service,
            self.intention.starts_at,
            company=self.intention.company,
            deadline=self.deadline,
        )
        return Outcome(
            Code.UNAVAILABLE,
            reason="ask_again",
            service=self.intention.service,
            wanted=self.intention.starts_at,
            alternatives=others,
        )

    # --- It answers with an error, or not at all

    def _after_error(self, error: CalcomError) -> Outcome | None:
        if isinstance(error, RateLimited):
            return None if self._has_waited(error) else self._give_up(cause="rate_limited", error=error)
        if isinstance(error, CalcomUnavailable):
            return self._give_up(cause=type(error).__name__, error=error)
        if self.deadline.less(answer_budget.reserve()).remaining == 0:
            # The whole time went into waiting. Asking now, with the create perhaps still on its way, would
            # prove nothing and let the caller wait for it.
            return self._unknown(error)
        looks = 2 if isinstance(error, OutcomeUnknown) and error.finished else 1
        try:
            found, shown = self._look(looks=looks)
        except CalcomError as cannot_ask:
            if isinstance(error, CalcomMisconfigured) and isinstance(cannot_ask, CalcomMisconfigured):
                # The key itself is wrong: nothing was let in.
                return self._misconfigured(error)
            return self._unknown(error)
        if found:
            return self._after_found(found)
        if isinstance(error, OutcomeUnknown):
            return self._after_unknown(error)
        if isinstance(error, CalcomRefused):
            return self._after_refusal(error, shown=shown)
        return self._misconfigured(error)

    def _look(self, *, looks: int) -> tuple[list[Booking], list[Booking]]:
        """What this attempt has made, and all that was shown. Raises CalcomError."""
        shown: list[Booking] = []
        for look in range(looks):
            if look:
                if self.deadline.remaining < LAG_SECONDS + answer_budget.reserve():
                    break
                time.sleep(LAG_SECONDS)
            until = answer_budget.for_a_look(self.deadline)
            shown = lookup.list_around_attempt(self.attempt, client=self.client, deadline=until)
            found = lookup.created_among(shown, attempt=self.attempt, client=self.client, deadline=until)
            if found:
                return found, shown
        return [], shown

    def _after_unknown(self, error: OutcomeUnknown) -> Outcome | None:
        harmless = error.race or (error.finished and self.intention.service.repeat_cannot_double)
        if not harmless or self.repeated:
            return self._unknown(error)
        self.repeated = True
        # A lost race was rolled back. (The same words hide a database that went away in the middle of the
        # commit; for that there is the later look at what was refused.)
        self.may_exist = not error.race
        return None

    def _after_refusal(self, error: CalcomRefused, *, shown: list[Booking]) -> Outcome | None:
        intention = self.intention
        if error.reason is Refusal.EMAIL_REQUIRED and self._add_address():
            return None
        if self.may_exist:
            # It is refused now, perhaps because our own first request holds the slot and is not visible yet.
            return self._unknown(error)
        match error.reason:
            case Refusal.BOOKER_LIMIT | Refusal.BOOKER_BLOCKED:
                self._refused(told=Code.NOT_ALLOWED, error=error)
                return Outcome(Code.NOT_ALLOWED, reason="booker", service=intention.service)
            case Refusal.ALREADY_SEATED:
                self._refused(told=Code.UNAVAILABLE, error=error)
                return not_booked.call_back(
                    intention, reason="Cal.com says this person already has a seat at that time."
                )
            case Refusal.SLOT_TAKEN:
                return self._after_taken(error, shown=shown)
            case Refusal.OUT_OF_BOUNDS | Refusal.IN_THE_PAST | Refusal.NOTICE_PERIOD:
                self._refused(told=Code.TOO_SOON, error=error)
                return alternatives.first_possible(
                    intention.service, intention.starts_at, company=intention.company, deadline=self.deadline
                )
            case _:
                # What the caller said was checked before it was sent, so what Cal.com does not like about the
                # rest is between it and us.
                return self._misconfigured(error)

    def _add_address(self) -> bool:
        """The event type wants an address and did not say so before: give the customer one of their own,
        once.
        """
        attendee = self.attempt.request["attendee"]
        if attendee.get("email"):
            return False
        company, customer = self.intention.company, self.intention.customer
        try:
            identity = attendee_identity(company=company, customer=customer, email="", email_required=True)
        except NoContact:
            return False
        self.attempt.request = {
            **self.attempt.request,
            "attendee": {**attendee, "email": identity.email},
        }
        Service.objects.filter(pk=self.intention.service.pk).update(email_required=True)
        return True

    # --- The slot is taken: by whom?

    def _after_taken(self, error: CalcomRefused, *, shown: list[Booking]) -> Outcome:
        move = own_bookings.open_move_to(self.intention)
        if move is not None:
            self._refused(told=Code.CHECKING, error=error)
            return self._after_own_move(move)
        own = own_bookings.find(self.intention, shown)
        if own is not None:
            self._refused(told=Code.ALREADY_BOOKED, error=error)
            return self._after_own_booking(own)
        self._refused(told=Code.SLOT_TAKEN, error=error)
        # Whoever was offered this slot was offered it from the cache.
        availability.forget(self.intention.company.pk)
        return self._taken()

    def _after_own_move(self, move: BookingAttempt) -> Outcome:
        """The slot may be taken by the caller's own appointment: never called taken before that is known."""
        row = move.appointment
        if not standing.settle_change(row, deadline=self.deadline):
            return self._checking()
        row.refresh_from_db()  # another request of theirs may have settled it in between
        if row.is_live and row.starts_at == self.intention.starts_at:
            return Outcome(Code.ALREADY_BOOKED, appointment=row, service=self.intention.service)
        return self._taken()

    def _after_own_booking(self, own: Booking) -> Outcome:
        """The slot is taken by what the caller booked, or moved there, on the web."""
        try:
            row = own_bookings.take_up(
                self.intention, own, client=self.client, deadline=answer_budget.for_a_look(self.deadline)
            )
        except (CalcomError, DatabaseError) as error:
            logger.warning("booking.own_not_taken_up", uid=own.uid, error=type(error).__name__)
            return self._checking()
        availability.forget(self.intention.company.pk)
        if row is None:
            return self._taken()
        return Outcome(Code.ALREADY_BOOKED, appointment=row, service=row.service or self.intention.service)

    def _taken(self) -> Outcome:
        return alternatives.taken(
            self.intention.service,
            self.intention.starts_at,
            company=self.intention.company,
            deadline=self.deadline,
        )

    # --- How the attempt ends when it is not booked

    def _give_up(self, *, cause: str, error: CalcomError | None = None) -> Outcome:
        """This request was not sent, or not let in. Whether the attempt is over depends on the ones before
        it.
        """
        return self._unknown(error) if self.may_exist else self._not_sent(cause=cause, error=error)

    def _misconfigured(self, error: CalcomError) -> Outcome:
        return self._unknown(error) if self.may_exist else _misconfigured(self.attempt, self.intention, error)

    def _refused(self, *, told: Code, error: CalcomError) -> None:
        _release(self.attempt, state=State.REFUSED, told=told, error=error)

    def _not_sent(self, *, cause: str, error: CalcomError | None = None) -> Outcome:
        logger.warning("booking.not_sent", attempt=str(self.attempt.uuid), cause=cause)
        attempts.release(
            self.attempt,
            state=State.NOT_SENT,
            told=Code.UNAVAILABLE,
            now=timezone.now(),
            **{**attempts.error_fields(error), "error_class": cause},
        )
        return not_booked.call_back(self.intention, reason="The calendar could not be reached.")

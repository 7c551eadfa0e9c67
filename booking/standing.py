"""What already stands for a wish: another request has claimed it, or it was booked long ago."""

from __future__ import annotations

from django.db.models import QuerySet

from booking import alternatives, answer_budget, attempts, doubt, not_booked, own_bookings, unknown_attempts
from booking.calcom.deadline import Deadline
from booking.intention import Intention
from booking.models import Appointment, BookingAttempt
from booking.outcomes import Code, Outcome

State = BookingAttempt.State


def join(appointment: Appointment, intention: Intention, *, deadline: Deadline) -> Outcome | None:
    """Give the answer of whoever claimed it first, waiting for it while there is time; None: it is proven
    absent, and the way is free.
    """
    until = deadline.less(answer_budget.reserve())
    tries = 0
    is_older = appointment.status != Appointment.Status.PENDING
    while appointment.status == Appointment.Status.PENDING:
        if unknown_attempts.settle_abandoned(
            _still_open(appointment), deadline=answer_budget.for_a_look(deadline)
        ):
            appointment.refresh_from_db()
            break
        if until.remaining == 0:
            break
        attempts.give_way(tries)
        tries += 1
        appointment.refresh_from_db()
    return _answer(appointment, intention, is_older=is_older, deadline=deadline)


def _answer(
    appointment: Appointment, intention: Intention, *, is_older: bool, deadline: Deadline
) -> Outcome | None:
    """`is_older`: it was booked before this request came, and may have changed on the web since."""
    was_at = appointment.starts_at
    if appointment.status == Appointment.Status.PENDING:
        return not_booked.checking(intention)
    if appointment.is_live and not settle_change(appointment, deadline=deadline):
        return not_booked.checking(intention)
    if appointment.is_live and is_older:
        own_bookings.hear_of(appointment, deadline=answer_budget.for_a_look(deadline))
    if appointment.status == Appointment.Status.CANCELLED or appointment.starts_at != was_at:
        return None  # it was cancelled, or moved away: this is another booking
    if doubt.is_one_missing([appointment]):
        return not_booked.call_back(intention, reason=doubt.MISSING, because="appointment_missing")
    if appointment.is_live:
        same_call = appointment.call_id == intention.call.pk
        if same_call and appointment.status == Appointment.Status.REQUESTED:
            return Outcome(Code.REQUESTED, appointment=appointment, service=intention.service)
        code = Code.BOOKED if same_call else Code.ALREADY_BOOKED
        return Outcome(code, appointment=appointment, service=intention.service)
    return _as_told(appointment, intention, deadline=deadline)


def _as_told(appointment: Appointment, intention: Intention, *, deadline: Deadline) -> Outcome | None:
    """It came to nothing: what the first one heard is true for this one."""
    state, told = appointment.attempts.values_list("state", "told").order_by("-id").first() or ("", "")
    if state == State.ABSENT or told in (Code.ALREADY_BOOKED, Code.CHECKING):
        return None  # nothing came about, or it was the slot of their own: found out once more
    if told == Code.SLOT_TAKEN:
        return alternatives.taken(
            intention.service, intention.starts_at, company=intention.company, deadline=deadline
        )
    if told == Code.TOO_SOON:
        return alternatives.first_possible(
            intention.service, intention.starts_at, company=intention.company, deadline=deadline
        )
    if told == Code.NOT_ALLOWED:
        return Outcome(Code.NOT_ALLOWED, reason="booker", service=intention.service)
    return not_booked.call_back(intention)


def settle_change(appointment: Appointment, *, deadline: Deadline) -> bool:
    """Whether it is known that the appointment stands as it does here: False while it is being moved or
    cancelled, or nobody knows how that went.
    """
    open_ones = list(_still_open(appointment))
    if not open_ones:
        return True
    unknown_attempts.settle_abandoned(open_ones, deadline=answer_budget.for_a_look(deadline))
    appointment.refresh_from_db()
    return not _still_open(appointment).exists()


def _still_open(appointment: Appointment) -> QuerySet[BookingAttempt]:
    return attempts.still_open(appointment.attempts.all())

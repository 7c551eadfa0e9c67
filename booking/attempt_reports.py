"""What is reported of an attempt whose caller is not on the line any more: tickets, and calls to be made."""

from __future__ import annotations

from django.db import DatabaseError

from booking import callbacks, failures
from booking.calcom.errors import CalcomError, CalcomMisconfigured, RateLimited
from booking.models import BookingAttempt, CallbackRequest, SyncFailure
from booking.outcomes import REFUSALS, Code

# Whoever was told one of these does not count on an appointment.
NOES = REFUSALS | {Code.UNAVAILABLE}


def report_unknown(attempt: BookingAttempt, *, error: Exception) -> None:
    """The grace time is over, and what became of it can still not be found out."""
    problem = failures.of_attempt(
        attempt,
        failure_type=_failure_type(error),
        subject=_subject(attempt),
        message=f"What became of this {attempt.kind} at Cal.com cannot be found out: {_why(error)}",
    )
    failures.open_failure(problem, is_standing=True)


def report_not_standing(attempt: BookingAttempt) -> None:
    """Nothing stands, and nobody is on the line any more: whoever was not told no has to be rung."""
    if attempt.told in NOES:
        return
    promise_call(attempt, reason="The booking did not come about.")
    problem = failures.of_attempt(
        attempt,
        failure_type=SyncFailure.Type.ORPHANED_LOCAL,
        subject=failures.about_key(attempt.idempotency_key),
        message="The caller may count on this appointment, and it does not stand. Call them back.",
        details={"told": attempt.told or "nothing"},
    )
    failure = failures.open_failure(problem, needs_person=True)
    # What vanished and was to be booked again has a ticket by the uid that it had.
    earlier = SyncFailure.objects.filter(appointment=attempt.appointment, failure_type=failure.failure_type)
    failures.resolve(earlier.exclude(pk=failure.pk), note="Another ticket says that it does not stand.")


def promise_call(attempt: BookingAttempt, *, reason: str) -> None:
    """Raises DatabaseError if it cannot be put on record."""
    if attempt.call is None or attempt.told in NOES:
        return
    is_create = attempt.kind == BookingAttempt.Kind.CREATE
    kinds = CallbackRequest.Kind
    callbacks.promise(
        call=attempt.call,
        customer=attempt.appointment.customer,
        reason=reason,
        kind=kinds.NOT_BOOKED if is_create else kinds.NOT_CHANGED,
    )
    if callbacks.open_of(attempt.call) is None:
        raise DatabaseError("The callback is not on record.")


def _subject(attempt: BookingAttempt) -> str:
    if attempt.kind == BookingAttempt.Kind.CREATE:
        return failures.about_key(attempt.idempotency_key)
    return failures.about_booking(attempt.target_uid)


def _failure_type(error: Exception) -> SyncFailure.Type:
    if isinstance(error, RateLimited):
        return SyncFailure.Type.RATE_LIMIT
    if isinstance(error, CalcomMisconfigured):
        return SyncFailure.Type.CONFIG_ERROR
    return SyncFailure.Type.NETWORK_TIMEOUT


def _why(error: Exception) -> str:
    # What goes wrong on our side may quote a row.
    return error.message if isinstance(error, CalcomError) else f"{type(error).__name__}."

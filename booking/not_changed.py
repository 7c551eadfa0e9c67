"""How a change ends that was not made: what the caller hears, and who is told of it."""

from __future__ import annotations

from booking import callbacks, failures
from booking.calcom.errors import CalcomError
from booking.intention import Change
from booking.models import BookingAttempt, CallbackRequest, SyncFailure
from booking.outcomes import Code, Outcome
from booking.request_body import without_people
from customers.masking import mask_words


def call_back(change: Change, *, reason: str = "change") -> Outcome:
    """Somebody rings back: promised to the caller and noted."""
    what = "cancelled" if change.kind == BookingAttempt.Kind.CANCEL else "moved"
    noted = callbacks.promise(
        call=change.call,
        customer=change.appointment.customer,
        reason=f"An appointment could not be {what}.",
        kind=CallbackRequest.Kind.NOT_CHANGED,
    )
    return change.outcome(Code.UNAVAILABLE, reason=reason, callback=noted)


def report_misconfigured(change: Change, error: CalcomError, *, attempt: BookingAttempt) -> None:
    """One ticket for all the calls that run into the same wrong key, event type or request."""
    service = change.appointment.service
    # Cal.com quotes what it does not like. The ticket is for many calls, and read by many people.
    said = (*change.appointment.attendee_name.split(), change.reason)
    problem = failures.Problem(
        company=change.company,
        failure_type=SyncFailure.Type.CONFIG_ERROR,
        subject=failures.about_configuration(service, status=error.status, change=str(attempt.kind))
        if service
        else failures.ACCESS,
        message=f"Cal.com refuses a {attempt.get_kind_display()}: {mask_words(error.message, *said)}",
        call=change.call,
        request=without_people(attempt.request),
        details={"status": error.status, "attempt": str(attempt.uuid), "kind": str(attempt.kind)},
    )
    failures.open_failure(problem, needs_person=True)

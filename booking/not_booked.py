"""How a wish ends that is not, or not yet, a booking: what the caller hears, and who is told of it."""

from __future__ import annotations

from booking import callbacks, failures
from booking.calcom.errors import CalcomError
from booking.intention import Intention
from booking.models import BookingAttempt, SyncFailure
from booking.outcomes import Code, Outcome
from booking.request_body import without_people
from customers.masking import mask_words


def checking(intention: Intention) -> Outcome:
    return Outcome(Code.CHECKING, service=intention.service, wanted=intention.starts_at)


def call_back(
    intention: Intention, *, reason: str = "The booking could not be completed.", because: str = ""
) -> Outcome:
    """Somebody rings back: promised to the caller and noted. `reason` is for whoever does, `because` the
    reason of the outcome.
    """
    noted = callbacks.promise(call=intention.call, customer=intention.customer, reason=reason)
    return Outcome(
        Code.UNAVAILABLE,
        reason=because,
        service=intention.service,
        wanted=intention.starts_at,
        callback=noted,
    )


def report_misconfigured(
    intention: Intention, error: CalcomError, *, attempt: BookingAttempt | None = None
) -> None:
    """One ticket for all the calls that run into the same wrong key, event type or request. `attempt`: what
    was asked for, if it has come to that.
    """
    # Cal.com quotes what it does not like. The ticket is for many calls, and read by many people.
    said = (*intention.attendee_name.split(), intention.attendee_phone, intention.attendee_email)
    problem = failures.Problem(
        company=intention.company,
        failure_type=SyncFailure.Type.CONFIG_ERROR,
        subject=failures.about_configuration(intention.service, status=error.status),
        message=f"Cal.com refuses our bookings: {mask_words(error.message, *said)}",
        call=intention.call,
        request=without_people(attempt.request) if attempt else {},
        details={"status": error.status, "service": intention.service.slug, "kind": "contract"},
    )
    failures.open_failure(problem, needs_person=True)

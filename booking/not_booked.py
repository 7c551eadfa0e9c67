"""How a wish ends that is not, or not yet, a booking: what the caller hears, and who is told of it."""

from __future__ import annotations

from booking import callbacks, failures
from booking.calcom.errors import CalcomError
from booking.intention import Intention
from booking.models import SyncFailure
from booking.outcomes import Code, Outcome
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


def report_misconfigured(intention: Intention, error: CalcomError) -> None:
    """One ticket for all the calls that run into the same wrong key, event type or request."""
    # Cal.com quotes what it does not like. The ticket is for many calls, and read by many people.
    said = (*intention.attendee_name.split(), intention.attendee_phone, intention.attendee_email)
    failures.open_failure(
        company=intention.company,
        failure_type=SyncFailure.Type.CONFIG_ERROR,
        subject=failures.about_configuration(intention.service, status=error.status),
        message=f"Cal.com refuses our bookings: {mask_words(error.message, *said)}",
        call=intention.call,
        details={"status": error.status, "service": intention.service.slug, "kind": "contract"},
        needs_person=True,
    )

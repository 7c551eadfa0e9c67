"""What more than one verb asks of a case before it is legal."""

from __future__ import annotations

from datetime import datetime

from booking import known_uids, ownership, settle, unknown_attempts
from booking.calcom.objects import Booking
from booking.models import OPEN_STATES, PROVEN_STATUSES, BookingAttempt
from customers.admin_columns import zone_of
from sync.both_sides import Seen
from sync.converge import Kinship, Match
from sync.triage.case import Case
from sync.triage.verbs import NotLegal

WHY_A_PERSON = {
    Kinship.UNKNOWN_CLAIM: "The booking names an attempt that is not known: a person has to decide.",
    Kinship.UNASSIGNED: (
        "Its event type belongs to no service of this company: set up the service first, if it is theirs."
    ),
    Kinship.TWIN: "Its appointment was moved to another booking, and both stand: one of the two has to go.",
    Kinship.OVERTAKEN: "Cal.com shows something newer of it in this moment: look once more.",
}


def active_booking(case: Case) -> Booking:
    if case.remote.seen is Seen.NOT_ASKED:
        raise NotLegal("Cal.com could not be asked.")
    if case.booking is None:
        raise NotLegal("Cal.com shows no booking.")
    if not case.booking.is_active:
        raise NotLegal(f"The booking is {case.booking.status} at Cal.com.")
    return case.booking


def require_nobody_busy(attempt: BookingAttempt, *, now: datetime) -> None:
    if attempt.state in OPEN_STATES and not unknown_attempts.may_take_over(attempt, now=now):
        until = f"{attempt.lease_expires_at.astimezone(zone_of(attempt)):%H:%M:%S %Z}"
        raise NotLegal(f"The request that makes this booking is still under way, until {until} at most.")


def require_no_other(attempt: BookingAttempt, booking: Booking) -> None:
    own = attempt.appointment
    if own.status in PROVEN_STATUSES and own.calcom_booking_uid not in (None, booking.uid):
        raise NotLegal("Its appointment stands with another booking: one of the two has to go.")


def is_other_than_asked(attempt: BookingAttempt, booking: Booking) -> bool:
    asked = settle.asked_of(attempt)
    return bool(ownership.what_differs(booking, asked=asked)) and not booking.rescheduled_from_uid


def require_lone(match: Match | None) -> None:
    """Raises NotLegal if a delivery has brought the booking its appointment since it was looked at."""
    if match is None or match.kinship is Kinship.MIRRORED:
        return
    if known_uids.is_known(match.booking.uid, company_id=match.company.pk):
        raise NotLegal("The booking has got its appointment in this moment.")

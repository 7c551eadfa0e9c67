"""Undo a booking at Cal.com that we can not keep, and only one that is provably ours.

A compensating cancel on any exception once meant: Cal.com had handed out the first caller's booking, saving
it again violated the unique constraint, and the "clean-up" cancelled the first caller's valid appointment. So
the proof is asked for here again, whatever the caller of this module believes.
"""

from __future__ import annotations

from datetime import datetime

import structlog
from django.db import DatabaseError, connection

from booking import attempts, failures
from booking.calcom.client import CalcomClient
from booking.calcom.deadline import Deadline
from booking.calcom.errors import CalcomError, CalcomRefused, OutcomeUnknown, Refusal
from booking.calcom.objects import Booking
from booking.models import BookingAttempt, SyncFailure

SECONDS = 5.0
REASON = "Slotkeeper: this booking could not be completed."

logger = structlog.get_logger(__name__)


class NotOurs(Exception):
    """Refused to cancel what no attempt of ours proves to be ours."""


def is_too_late(booking: Booking, *, now: datetime) -> bool:
    """Cal.com cancels nothing that is over, however often it is asked: what is left to do is a person's."""
    return booking.end <= now


def cancel_ours(
    attempt: BookingAttempt, *, booking: Booking, client: CalcomClient, deadline: Deadline
) -> bool:
    """Cancel by uid; True when it is cancelled at Cal.com. Raises NotOurs before anything is sent."""
    attempt_id = booking.metadata.get("attempt_id", "")
    if attempt_id != str(attempt.uuid) and attempt_id not in _earlier_attempts(attempt):
        raise NotOurs(booking.uid)
    # A caller may be waiting: two thirds of what is left go into the cancel, the rest into asking how it
    # went. What does not fit is left to the completer.
    until = deadline.at_most(min(SECONDS, deadline.remaining * 2 / 3))
    try:
        client.cancel_booking(booking.uid, reason=REASON, deadline=until)
    except CalcomRefused as error:
        done = error.reason is Refusal.ALREADY_CANCELLED
    except OutcomeUnknown:
        done = _is_cancelled(booking.uid, client=client, deadline=deadline.at_most(SECONDS))
    except CalcomError:
        done = False
    else:
        done = True
    logger.warning("booking.compensated" if done else "booking.compensation_failed", uid=booking.uid)
    return done


def report_orphan(attempt: BookingAttempt, *, booking: Booking, why: str) -> bool:
    """The booking stands at Cal.com and not here. If even this cannot be written (False), the claimed row
    still tells.
    """
    try:
        problem = failures.of_attempt(
            attempt,
            failure_type=SyncFailure.Type.ORPHANED_CALCOM,
            subject=failures.about_booking(booking.uid),
            message=why,
            uid=booking.uid,
        )
        failures.open_failure(problem, is_standing=True)
    except DatabaseError:
        connection.close_if_unusable_or_obsolete()
        logger.exception("booking.orphan_not_recorded", uid=booking.uid, attempt=str(attempt.uuid))
        return False
    return True


def _earlier_attempts(attempt: BookingAttempt) -> set[str]:
    try:
        return attempts.ids_of_key(attempt)
    except DatabaseError:
        return set()


def _is_cancelled(uid: str, *, client: CalcomClient, deadline: Deadline) -> bool:
    try:
        return not client.get_booking(uid, deadline=deadline).is_active
    except CalcomError:
        # Also "not found": what was there a moment ago may only be hidden by a lagging replica.
        return False

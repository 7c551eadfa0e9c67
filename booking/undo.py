"""Undo what was made for an attempt and cannot be kept: at Cal.com, and then here.

What is not provably this attempt's stays, and so does what cannot be cancelled any more: then it is a ticket.
"""

from __future__ import annotations

import structlog
from django.db import DatabaseError, transaction
from django.utils import timezone

from booking import attempts, compensation, failures, known_uids
from booking.calcom.client import CalcomClient
from booking.calcom.deadline import Deadline
from booking.calcom.objects import Booking
from booking.models import BookingAttempt, SyncFailure
from booking.outcomes import Code
from booking.settlement import Result, Settlement, close_failures, summary_of, told_by

logger = structlog.get_logger(__name__)


def undo(
    attempt: BookingAttempt,
    booking: Booking,
    *,
    client: CalcomClient,
    deadline: Deadline,
    why: str,
    answering: bool,
    result: Result,
) -> Settlement:
    """`result`: what it comes to once it is cancelled there, WRONG or UNDONE; `why` is for the record."""
    if known_uids.is_held_beside(attempt.appointment_id, booking.uid):
        # It began as an attempt of this key and is another appointment by now: not ours to undo.
        logger.error("booking.not_undone", attempt=str(attempt.uuid), uid=booking.uid, why=why)
        return Settlement(Result.OPEN, attempt.appointment)
    if not answering and compensation.is_too_late(booking, now=timezone.now()):
        return _leave_to_a_person(attempt, booking, why=why)
    try:
        is_undone = compensation.cancel_ours(attempt, booking=booking, client=client, deadline=deadline)
    except compensation.NotOurs:
        is_undone = False  # of an attempt whose row is lost: good enough to keep it, not to cancel it
    if not is_undone:
        compensation.report_orphan(attempt, booking=booking, why=why)
        return Settlement(Result.OPEN, attempt.appointment)
    not_stored = result is Result.UNDONE
    try:
        with transaction.atomic():
            attempts.release(
                attempt,
                state=BookingAttempt.State.COMPENSATED,
                told=told_by(attempt, Code.UNAVAILABLE, answering=answering),
                now=timezone.now(),
                error_class="not_stored" if not_stored else "not_as_asked",
                error_message=why,
                answer=summary_of(booking),
            )
            close_failures(attempt, uid=booking.uid, note="The booking was cancelled at Cal.com.")
            kind = SyncFailure.Type.SCHEMA_ERROR if not_stored else SyncFailure.Type.ORPHANED_CALCOM
            incident = failures.of_attempt(
                attempt,
                failure_type=kind,
                subject=failures.about_key(attempt.idempotency_key),
                message=why,
                uid=booking.uid,
            )
            failures.record_incident(incident)
    except DatabaseError:
        # It is undone there. The row still says claimed, and the completer will find it cancelled.
        logger.exception("booking.undone_but_not_recorded", attempt=str(attempt.uuid), uid=booking.uid)
    return Settlement(result, attempt.appointment)


def _leave_to_a_person(attempt: BookingAttempt, booking: Booking, *, why: str) -> Settlement:
    """It was over before it could be undone. The attempt ends, or Cal.com would be asked for ever to cancel
    it; the ticket about the booking stays.
    """
    if compensation.report_orphan(attempt, booking=booking, why=why):
        with transaction.atomic():
            attempts.release(
                attempt,
                state=BookingAttempt.State.REFUSED,
                told=attempt.told,
                now=timezone.now(),
                error_class="not_undone",
                error_message=why,
                answer=summary_of(booking),
            )
            failures.close_failures(
                company_id=attempt.company_id,
                subjects=[failures.about_key(attempt.idempotency_key)],
                note="It is known what became of it: see the failure about the booking.",
            )
    return Settlement(Result.OPEN, attempt.appointment)

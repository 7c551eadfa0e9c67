"""One more look at what Cal.com has refused, a minute later.

An error after the commit, seen through a replica that lags, looks exactly like a refusal. What is found then
was denied to the caller: a booking is undone, a change is followed and the caller rung.
"""

from __future__ import annotations

from datetime import datetime, timedelta

import structlog
from django.db import IntegrityError, transaction
from django.utils import timezone

from booking import attempts, callbacks, change_outcome, compensation, failures, follow, known_uids, lookup
from booking.calcom.client import CalcomClient
from booking.calcom.deadline import Deadline
from booking.connection import client_for
from booking.models import BookingAttempt, CallbackRequest

State = BookingAttempt.State

logger = structlog.get_logger(__name__)


def look_once_more(attempt: BookingAttempt, *, deadline: Deadline, now: datetime) -> BookingAttempt.State:
    """Raises CalcomError when it could not be asked; then it is still due."""
    client = client_for(attempt.company)
    if not _take(attempt, now=now):
        return State.REFUSED  # another completer is at it, or a request for the same slot
    if attempt.kind != BookingAttempt.Kind.CREATE:
        return _look_at_change(attempt, client=client, deadline=deadline)
    try:
        return _look_at_create(attempt, client=client, deadline=deadline)
    finally:
        BookingAttempt.objects.filter(pk=attempt.pk).update(write_lock=None)


def _take(attempt: BookingAttempt, *, now: datetime) -> bool:
    if attempt.look_again_at is None or attempt.look_again_at > now:
        return False
    rows = BookingAttempt.objects.filter(
        pk=attempt.pk, state=State.REFUSED, look_again_at=attempt.look_again_at
    )
    lock = None
    if attempt.kind == BookingAttempt.Kind.CREATE:
        start = attempt.appointment.starts_at
        lock = attempts.lock_of_slot(attempt.company_id, attempt.request["eventTypeId"], start)
    try:
        with transaction.atomic():
            return bool(
                rows.update(
                    look_again_at=now + timedelta(minutes=1),
                    lease_expires_at=attempts.lease_end(timezone.now()),
                    write_lock=lock,
                    updated_at=now,
                )
            )
    except IntegrityError:
        return False


def _look_at_create(
    attempt: BookingAttempt, *, client: CalcomClient, deadline: Deadline
) -> BookingAttempt.State:
    """The slot is held: what is undone here, no other request may be about to adopt."""
    found = lookup.find_created(attempt, client=client, deadline=deadline)
    left_in = State.REFUSED
    for booking in found:
        if not booking.is_active or known_uids.is_known(booking.uid, company_id=attempt.company_id):
            continue  # a repeat has adopted it since, and said so
        if booking.metadata.get("attempt_id") == str(attempt.uuid):
            logger.error("booking.refused_and_made", attempt=str(attempt.uuid), uid=booking.uid)
            is_too_late = compensation.is_too_late(booking, now=timezone.now())
            if is_too_late or not compensation.cancel_ours(
                attempt, booking=booking, client=client, deadline=deadline
            ):
                why = "Cal.com refused this booking and made it all the same."
                is_reported = compensation.report_orphan(attempt, booking=booking, why=why)
                if is_too_late and is_reported:
                    BookingAttempt.objects.filter(pk=attempt.pk).update(look_again_at=None)
                return State.REFUSED
            # Undone once: whoever confirms it again at Cal.com means it.
            left_in = State.COMPENSATED
    BookingAttempt.objects.filter(pk=attempt.pk, state=State.REFUSED).update(
        state=left_in, look_again_at=None
    )
    failures.close_failures(
        company_id=attempt.company_id,
        subjects=[failures.about_booking(booking.uid) for booking in found],
        note="The booking was cancelled at Cal.com.",
    )
    return left_in


def _look_at_change(
    attempt: BookingAttempt, *, client: CalcomClient, deadline: Deadline
) -> BookingAttempt.State:
    """It was refused, and made all the same: our side follows, and the caller, who heard no, is rung."""
    seen = change_outcome.look(attempt, client=client, deadline=deadline)
    now = timezone.now()
    made_since = BookingAttempt.objects.filter(
        appointment=attempt.appointment_id, pk__gt=attempt.pk, state=State.SUCCEEDED
    )
    if seen.is_done and seen.booking is not None and not made_since.exists():
        logger.error("change.refused_and_made", attempt=str(attempt.uuid), uid=seen.booking.uid)
        follow.follow(attempt.appointment, booking=seen.booking, former_uids=seen.former_uids, now=now)
        if attempt.call is not None:
            callbacks.promise(
                call=attempt.call,
                customer=attempt.appointment.customer,
                reason=f"The caller was told no, and the {attempt.kind} was made all the same.",
                kind=CallbackRequest.Kind.NOT_CHANGED,
            )
    BookingAttempt.objects.filter(pk=attempt.pk, state=State.REFUSED).update(look_again_at=None)
    return State.REFUSED

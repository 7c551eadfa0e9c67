"""Settle one attempt whose outcome nobody knows: look first, then act.

It is looked for at Cal.com by the attempt id in the metadata. Found: it is adopted, exactly as if the answer
had come. Not found: a commit may still be on its way, so it is looked for again after the grace time, and
only then called absent. Cal.com not answering says nothing: the attempt stays unknown, and once that has
lasted longer than the grace time a failure is open that says so. An unknown attempt is never dropped.
"""

from __future__ import annotations

from collections.abc import Iterable
from contextlib import suppress
from datetime import datetime, timedelta

import structlog
from django.conf import settings
from django.db import transaction
from django.db.models import F, Q
from django.utils import timezone

from booking import (
    attempt_reports,
    attempts,
    change_outcome,
    compensation,
    failures,
    known_uids,
    lookup,
    settle,
)
from booking.calcom.client import CalcomClient
from booking.calcom.deadline import Deadline
from booking.calcom.errors import CalcomError, CalcomUnavailable, UnreadableAnswer
from booking.calcom.objects import Booking
from booking.connection import client_for
from booking.models import OPEN_STATES, BookingAttempt
from booking.settlement import Result

State = BookingAttempt.State

PAUSES = (timedelta(seconds=5), timedelta(seconds=15), timedelta(seconds=30), timedelta(minutes=2))
LONGEST_PAUSE = timedelta(minutes=10)

logger = structlog.get_logger(__name__)


class InFlight(Exception):
    """Whoever sent the request may still be waiting for its answer: it is theirs to settle."""


def may_take_over(attempt: BookingAttempt, *, now: datetime) -> bool:
    """Whether nobody else can be busy with it."""
    return attempt.state in OPEN_STATES and attempt.lease_expires_at <= now


def is_in_flight(attempt: BookingAttempt, *, now: datetime) -> bool:
    """Whether somebody may be waiting for its answer."""
    return attempt.state in OPEN_STATES and attempt.lease_expires_at > now


def give_up_at(attempt: BookingAttempt) -> datetime:
    """From when on "not there" is believed: the last moment it can have been sent, plus the grace time."""
    sent = attempt.sent_at or attempt.created_at
    seconds = settings.ANSWER_BUDGET_SECONDS + settings.LATE_COMMIT_GRACE_SECONDS
    return sent + timedelta(seconds=seconds)


def settle_abandoned(open_ones: Iterable[BookingAttempt], *, deadline: Deadline) -> bool:
    """Look for those that nobody is busy with; False if somebody is with all of them. Where Cal.com cannot be
    asked they are as unknown afterwards as before.
    """
    now = timezone.now()
    abandoned = [attempt for attempt in open_ones if may_take_over(attempt, now=now)]
    with suppress(CalcomUnavailable):
        for attempt in abandoned:
            with suppress(UnreadableAnswer):
                settle_attempt(attempt, deadline=deadline)
    return bool(abandoned)


def settle_attempt(
    attempt: BookingAttempt, *, deadline: Deadline, now: datetime | None = None
) -> BookingAttempt.State:
    """Look for one attempt at Cal.com and do what follows; returns the state it is left in.

    Raises CalcomUnavailable, after the attempt was put back, so that a caller with many stops asking.
    """
    moment = now or timezone.now()
    if not _take_over(attempt, now=moment):
        return _state_of(attempt)
    try:
        client = client_for(attempt.company)
        if attempt.kind == BookingAttempt.Kind.CREATE:
            _settle_create(attempt, client=client, deadline=deadline, now=moment)
        else:
            _settle_change(attempt, client=client, deadline=deadline, now=moment)
    except CalcomError as error:
        _could_not_ask(attempt, error, now=moment)
        if isinstance(error, CalcomUnavailable):
            raise
        return State.UNKNOWN
    state = _state_of(attempt)
    if state in OPEN_STATES:
        _put_back(attempt, now=moment)
    return state


def settle_shown(
    attempt: BookingAttempt,
    *,
    booking: Booking,
    client: CalcomClient,
    deadline: Deadline,
    now: datetime,
) -> BookingAttempt.State:
    """Settle an attempt with the booking that a delivery, or a listing, has shown to be its; returns the
    state it is left in. Raises InFlight, CalcomError.
    """
    if attempt.state in OPEN_STATES or (attempt.state == State.ABSENT and booking.is_active):
        # What was given up as absent is taken up again, by one of those who hear of it.
        if not _take_over(attempt, now=now, also_absent=True):
            raise InFlight
        _adopt(attempt, [booking], client=client, deadline=deadline, now=now)
        _put_back(attempt, now=now)
    elif attempt.state == State.REFUSED:
        # The caller was told no, so what stands has to go. The later look sees to it.
        if booking.is_active:
            BookingAttempt.objects.filter(pk=attempt.pk, state=State.REFUSED).update(look_again_at=now)
    elif (
        attempt.state == State.SUCCEEDED
        and booking.is_active
        # It may have been settled with just this booking while its appointment was looked for.
        and not known_uids.is_known(booking.uid, company_id=attempt.company_id)
    ):
        settle.report_twin(attempt, booking, other_uid=attempt.appointment.calcom_booking_uid)
    return _state_of(attempt)


def _settle_create(
    attempt: BookingAttempt, *, client: CalcomClient, deadline: Deadline, now: datetime
) -> None:
    found = lookup.find_created(attempt, client=client, deadline=deadline)
    if found:
        _adopt(attempt, found, client=client, deadline=deadline, now=now)
    elif now >= give_up_at(attempt):
        lookup.require_shown(attempt, client=client, deadline=deadline)
        _mark_absent(attempt, now=now)


def _settle_change(
    attempt: BookingAttempt, *, client: CalcomClient, deadline: Deadline, now: datetime
) -> None:
    seen = change_outcome.look(attempt, client=client, deadline=deadline)
    if seen.is_done:
        with transaction.atomic():
            row = change_outcome.settle(attempt, seen, told=attempt.told, now=now)
            if attempt.kind == BookingAttempt.Kind.RESCHEDULE and not row.is_live:
                # Before anybody could tell the caller that it was moved at all.
                attempt_reports.promise_call(
                    attempt, reason="The appointment was moved, and cancelled on the web since."
                )
    elif now >= give_up_at(attempt):
        with transaction.atomic():
            # Both or neither: whoever was told "checking" must not be forgotten.
            change_outcome.give_up(attempt, state=State.ABSENT, told=attempt.told, now=now, seen=seen)
            attempt_reports.promise_call(
                attempt, reason=f"The appointment could not be changed ({attempt.kind})."
            )
        logger.warning("change.absent", attempt=str(attempt.uuid), told=attempt.told)


def _take_over(attempt: BookingAttempt, *, now: datetime, also_absent: bool = False) -> bool:
    """`also_absent`: one that was given up, for it has shown up after all. Nobody holds its lease."""
    lease = attempts.lease_end(now)
    free = Q(state__in=OPEN_STATES, lease_expires_at__lte=now)
    if also_absent:
        free |= Q(state=State.ABSENT)
    taken = BookingAttempt.objects.filter(
        free, pk=attempt.pk, lease_expires_at=attempt.lease_expires_at
    ).update(
        state=State.UNKNOWN, lease_expires_at=lease, looks=F("looks") + 1, write_lock=None, updated_at=now
    )
    if not taken:
        return False
    attempt.state = State.UNKNOWN
    attempt.lease_expires_at = lease
    attempt.looks += 1
    return True


def _put_back(attempt: BookingAttempt, *, now: datetime) -> None:
    pause = PAUSES[attempt.looks - 1] if attempt.looks <= len(PAUSES) else LONGEST_PAUSE
    again = now + pause
    end_of_grace = give_up_at(attempt)
    if now < end_of_grace:
        again = min(again, end_of_grace)
    BookingAttempt.objects.filter(pk=attempt.pk, state__in=OPEN_STATES).update(
        lease_expires_at=now, look_again_at=again, updated_at=now
    )


def _state_of(attempt: BookingAttempt) -> BookingAttempt.State:
    return State(BookingAttempt.objects.values_list("state", flat=True).get(pk=attempt.pk))


def _adopt(
    attempt: BookingAttempt,
    found: list[Booking],
    *,
    client: CalcomClient,
    deadline: Deadline,
    now: datetime,
) -> None:
    settlement = settle.settle_found(attempt, found=found, client=client, deadline=deadline, answering=False)
    if settlement.result in (Result.GONE, Result.WRONG, Result.UNDONE):
        attempt_reports.report_not_standing(attempt)
    elif settlement.result in (Result.NOT_STORED, Result.OPEN) and now >= give_up_at(attempt):
        why = "The booking stands at Cal.com and can still not be settled here."
        compensation.report_orphan(attempt, booking=found[0], why=why)


def _could_not_ask(attempt: BookingAttempt, error: CalcomError, *, now: datetime) -> None:
    logger.warning("attempt.could_not_ask", attempt=str(attempt.uuid), error=type(error).__name__)
    if now >= give_up_at(attempt):
        attempt_reports.report_unknown(attempt, error=error)
    _put_back(attempt, now=now)


def _mark_absent(attempt: BookingAttempt, *, now: datetime) -> None:
    with transaction.atomic():
        if not attempts.release(attempt, state=State.ABSENT, told=attempt.told, now=now):
            return
        failures.close_failures(
            company_id=attempt.company_id,
            subjects=[failures.about_key(attempt.idempotency_key)],
            note="Cal.com was asked: there is no such booking.",
        )
        attempt_reports.report_not_standing(attempt)
    logger.warning("booking.absent", attempt=str(attempt.uuid), told=attempt.told)

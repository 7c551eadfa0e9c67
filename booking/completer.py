"""Settle attempts whose outcome nobody knows: look first, then act.

An attempt gets here when its request was cut off, or when the process that made it died: then its lease runs
out. It is looked for at Cal.com by the attempt id in the metadata. Found: it is adopted, exactly as if the
answer had come. Not found: a commit may still be on its way, so it is looked for again after the grace time,
and only then called absent. Cal.com not answering says nothing: the attempt stays unknown, and once that has
lasted longer than the grace time a failure is open that says so. An unknown attempt is never dropped.

An attempt that Cal.com refused is looked for once more, a minute later: an error after the commit, seen
through a replica that lags, looks exactly like a refusal. What is found then was denied to the caller, so it
is undone.
"""

from __future__ import annotations

from collections.abc import Iterable
from contextlib import suppress
from dataclasses import dataclass
from datetime import datetime, timedelta

import structlog
from django.conf import settings
from django.db import DatabaseError, IntegrityError, transaction
from django.db.models import F, Q, Window
from django.db.models.functions import Least, RowNumber
from django.utils import timezone

from booking import (
    attempts,
    callbacks,
    change_outcome,
    compensation,
    failures,
    follow,
    gone,
    known_uids,
    lookup,
    settle,
)
from booking.calcom.client import CalcomClient
from booking.calcom.deadline import Deadline
from booking.calcom.errors import (
    CalcomError,
    CalcomMisconfigured,
    CalcomUnavailable,
    RateLimited,
    UnreadableAnswer,
)
from booking.calcom.objects import Booking
from booking.connection import client_for
from booking.models import OPEN_STATES, BookingAttempt, CallbackRequest, SyncFailure
from booking.outcomes import REFUSALS, Code
from booking.settle import Result
from customers.clocks import CLOCKS_DIFFER_BY

State = BookingAttempt.State

BATCH = 100
SECONDS_EACH = 10.0
PAUSES = (timedelta(seconds=5), timedelta(seconds=15), timedelta(seconds=30), timedelta(minutes=2))
LONGEST_PAUSE = timedelta(minutes=10)

# Whoever was told one of these does not count on an appointment.
NOES = REFUSALS | {Code.UNAVAILABLE}

logger = structlog.get_logger(__name__)


@dataclass
class Report:
    """How many attempts were looked at, and what became of them."""

    looked_at: int = 0
    settled: int = 0
    absent: int = 0
    left: int = 0


def settle_unknown(*, now: datetime | None = None, company_id: int | None = None) -> Report:
    """Look at every attempt that is due. Safe to run anywhere, any number of times at once.

    One company's trouble (a Cal.com that hangs, a key that cannot be opened) is not the others': it is left
    for the next run, and logged.
    """
    report = Report()
    left_out: set[int] = set()
    _bring_back_from_the_future(now or timezone.now(), company_id=company_id)
    for attempt_id, owner_id in _due(now or timezone.now(), company_id):
        if owner_id in left_out:
            report.left += 1
            continue
        report.looked_at += 1
        try:
            state = _settle_by_id(attempt_id, now=now)
        except UnreadableAnswer:
            report.left += 1  # about this one; of the others it may be told
        except CalcomUnavailable:
            left_out.add(owner_id)
            report.left += 1
        except Exception as error:
            logger.exception("completer.failed", attempt_id=attempt_id, company_id=owner_id)
            report.left += 1
            with suppress(DatabaseError):  # the next run says it again
                _tell_of_failure(attempt_id, error, now=now or timezone.now())
        else:
            report.settled += state in (State.SUCCEEDED, State.COMPENSATED, State.REFUSED)
            report.absent += state == State.ABSENT
            report.left += state in OPEN_STATES
    gone.close_gone(company_id=company_id)
    if report.looked_at:
        logger.info("completer.ran", **vars(report))
    return report


def _bring_back_from_the_future(now: datetime, *, company_id: int | None) -> None:
    """Whoever died while their clock was ahead left a lease that runs out when that time has come; nobody
    has one for so long.
    """
    left = BookingAttempt.objects.filter(
        state__in=OPEN_STATES, lease_expires_at__gt=attempts.lease_end(now) + CLOCKS_DIFFER_BY
    )
    if company_id is not None:
        left = left.filter(company_id=company_id)
    left.update(lease_expires_at=now, sent_at=Least("sent_at", now), created_at=Least("created_at", now))


def may_take_over(attempt: BookingAttempt, *, now: datetime) -> bool:
    """Whether nobody else can be busy with it."""
    return attempt.state in OPEN_STATES and attempt.lease_expires_at <= now


def is_in_flight(attempt: BookingAttempt, *, now: datetime) -> bool:
    """Whether somebody may be waiting for its answer."""
    return attempt.state in OPEN_STATES and attempt.lease_expires_at > now


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


def _settle_create(
    attempt: BookingAttempt, *, client: CalcomClient, deadline: Deadline, now: datetime
) -> None:
    found = lookup.find_created(attempt, client=client, deadline=deadline)
    if found:
        _adopt(attempt, found, client=client, deadline=deadline, now=now)
    elif now >= give_up_at(attempt):
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
                _promise_call(attempt, reason="The appointment was moved, and cancelled on the web since.")
    elif now >= give_up_at(attempt):
        with transaction.atomic():
            # Both or neither: whoever was told "checking" must not be forgotten.
            change_outcome.give_up(attempt, state=State.ABSENT, told=attempt.told, now=now, seen=seen)
            _promise_call(attempt, reason=f"The appointment could not be changed ({attempt.kind}).")
        logger.warning("change.absent", attempt=str(attempt.uuid), told=attempt.told)


class InFlight(Exception):
    """Whoever sent the request may still be waiting for its answer: it is theirs to settle."""


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


def give_up_at(attempt: BookingAttempt) -> datetime:
    """From when on "not there" is believed: the last moment it can have been sent, plus the grace time."""
    sent = attempt.sent_at or attempt.created_at
    seconds = settings.ANSWER_BUDGET_SECONDS + settings.LATE_COMMIT_GRACE_SECONDS
    return sent + timedelta(seconds=seconds)


def _due(now: datetime, company_id: int | None) -> list[tuple[int, int]]:
    open_ones = Q(state__in=OPEN_STATES, lease_expires_at__lte=now) & (
        Q(look_again_at=None) | Q(look_again_at__lte=now)
    )
    refused = Q(state=State.REFUSED, look_again_at__lte=now)
    due = BookingAttempt.objects.filter(open_ones | refused)
    if company_id is not None:
        due = due.filter(company_id=company_id)
    # Each company's oldest one first, then each one's second: one that cannot be asked keeps hundreds here.
    in_turn = due.annotate(
        place=Window(RowNumber(), partition_by=F("company_id"), order_by=F("lease_expires_at").asc())
    )
    return list(in_turn.order_by("place", "lease_expires_at").values_list("pk", "company_id")[:BATCH])


def _settle_by_id(attempt_id: int, *, now: datetime | None) -> BookingAttempt.State:
    attempt = attempts.with_all_it_takes(BookingAttempt.objects.all()).get(pk=attempt_id)
    deadline = Deadline.after(SECONDS_EACH)
    if attempt.state == State.REFUSED:
        return _look_once_more(attempt, deadline=deadline, now=now or timezone.now())
    return settle_attempt(attempt, deadline=deadline, now=now)


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
        _tell_a_person(attempt)
    elif settlement.result in (Result.NOT_STORED, Result.OPEN) and now >= give_up_at(attempt):
        why = "The booking stands at Cal.com and can still not be settled here."
        compensation.report_orphan(attempt, booking=found[0], why=why)


def _could_not_ask(attempt: BookingAttempt, error: CalcomError, *, now: datetime) -> None:
    logger.warning("completer.could_not_ask", attempt=str(attempt.uuid), error=type(error).__name__)
    if now >= give_up_at(attempt):
        _report_unknown(attempt, failure_type=_failure_type(error), why=error.message)
    _put_back(attempt, now=now)


def _tell_of_failure(attempt_id: int, error: Exception, *, now: datetime) -> None:
    """What goes wrong on our side each time keeps it unknown just as well."""
    attempt = attempts.with_all_it_takes(BookingAttempt.objects.filter(pk=attempt_id)).first()
    if attempt is None:
        return  # deleted, or its appointment was in SQLite's own shell: a reconciliation lets go of that
    if attempt.state in OPEN_STATES and now >= give_up_at(attempt):
        why = f"{type(error).__name__}."
        _report_unknown(attempt, failure_type=SyncFailure.Type.NETWORK_TIMEOUT, why=why)


def _report_unknown(attempt: BookingAttempt, *, failure_type: SyncFailure.Type, why: str) -> None:
    failures.open_failure(
        company=attempt.company,
        failure_type=failure_type,
        subject=_subject(attempt),
        message=f"What became of this {attempt.kind} at Cal.com cannot be found out: {why}",
        appointment=attempt.appointment,
        call=attempt.call,
        details={"attempt": str(attempt.uuid)},
        is_standing=True,
    )


def _subject(attempt: BookingAttempt) -> str:
    if attempt.kind == BookingAttempt.Kind.CREATE:
        return failures.about_key(attempt.idempotency_key)
    return failures.about_booking(attempt.target_uid)


def _failure_type(error: CalcomError) -> SyncFailure.Type:
    if isinstance(error, RateLimited):
        return SyncFailure.Type.RATE_LIMIT
    if isinstance(error, CalcomMisconfigured):
        return SyncFailure.Type.CONFIG_ERROR
    return SyncFailure.Type.NETWORK_TIMEOUT


def _mark_absent(attempt: BookingAttempt, *, now: datetime) -> None:
    with transaction.atomic():
        if not attempts.release(attempt, state=State.ABSENT, told=attempt.told, now=now):
            return
        failures.close_failures(
            company_id=attempt.company_id,
            subjects=[failures.about_key(attempt.idempotency_key)],
            note="Cal.com was asked: there is no such booking.",
        )
        _tell_a_person(attempt)
    logger.warning("booking.absent", attempt=str(attempt.uuid), told=attempt.told)


def _tell_a_person(attempt: BookingAttempt) -> None:
    """Nothing stands, and nobody is on the line any more: whoever was not told no has to be rung."""
    if attempt.told in NOES:
        return
    _promise_call(attempt, reason="The booking did not come about.")
    failure = failures.open_failure(
        company=attempt.company,
        failure_type=SyncFailure.Type.ORPHANED_LOCAL,
        subject=failures.about_key(attempt.idempotency_key),
        message="The caller may count on this appointment, and it does not stand. Call them back.",
        appointment=attempt.appointment,
        call=attempt.call,
        details={"attempt": str(attempt.uuid), "told": attempt.told or "nothing"},
        needs_person=True,
    )
    # What vanished and was to be booked again has a ticket by the uid that it had.
    earlier = SyncFailure.objects.filter(appointment=attempt.appointment, failure_type=failure.failure_type)
    failures.resolve(earlier.exclude(pk=failure.pk), note="Another ticket says that it does not stand.")


def _promise_call(attempt: BookingAttempt, *, reason: str) -> None:
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


def _look_once_more(attempt: BookingAttempt, *, deadline: Deadline, now: datetime) -> BookingAttempt.State:
    """Raises CalcomError when it could not be asked; then it is still due."""
    client = client_for(attempt.company)
    if not _take_later_look(attempt, now=now):
        return State.REFUSED  # another completer is at it, or a request for the same slot
    if attempt.kind != BookingAttempt.Kind.CREATE:
        return _look_at_change_once_more(attempt, client=client, deadline=deadline)
    try:
        return _look_at_create_once_more(attempt, client=client, deadline=deadline)
    finally:
        BookingAttempt.objects.filter(pk=attempt.pk).update(write_lock=None)


def _look_at_create_once_more(
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
            if not compensation.cancel_ours(attempt, booking=booking, client=client, deadline=deadline):
                why = "Cal.com refused this booking and made it all the same."
                compensation.report_orphan(attempt, booking=booking, why=why)
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


def _take_later_look(attempt: BookingAttempt, *, now: datetime) -> bool:
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


def _look_at_change_once_more(
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

"""What became of a move or a cancellation: look at Cal.com, then write it down.

Used by the request that made the change, and by the completer when nobody knows how it went. A booking that
was moved points at what it became, under its old uid and for ever; so what a change of ours did can be seen
even if the new uid never reached us.
"""

from __future__ import annotations

from dataclasses import dataclass
from datetime import datetime
from typing import Any

from django.db import transaction
from django.utils.dateparse import parse_datetime

from booking import attempts, availability, doubt, failures, follow, lookup
from booking.calcom.client import CalcomClient
from booking.calcom.deadline import Deadline
from booking.calcom.objects import Booking
from booking.models import Appointment, BookingAttempt

Kind = BookingAttempt.Kind


@dataclass(frozen=True)
class Seen:
    """`booking` is what the booking has become after all its moves; None: Cal.com does not know it."""

    is_done: bool
    booking: Booking | None
    former_uids: tuple[str, ...] = ()


def wanted_start(attempt: BookingAttempt) -> datetime | None:
    return parse_datetime(attempt.request.get("start", ""))


def is_as_asked(attempt: BookingAttempt, answer: Booking) -> bool:
    """Whether the answer to a change is proof that it was made."""
    if attempt.kind == Kind.CANCEL:
        # What was moved away in the same moment is shown as cancelled too, and stands elsewhere.
        was_moved = bool(answer.rescheduled_to_uid)
        return answer.uid == attempt.target_uid and not answer.is_active and not was_moved
    return (
        answer.rescheduled_from_uid == attempt.target_uid
        and answer.start == wanted_start(attempt)
        and answer.is_active
    )


def look(attempt: BookingAttempt, *, client: CalcomClient, deadline: Deadline) -> Seen:
    """Changes nothing. Raises CalcomError if Cal.com could not be asked, which says nothing."""
    target = client.find_booking(attempt.target_uid, deadline=deadline)
    if target is None:
        return Seen(is_done=False, booking=None)
    end, former = lookup.end_of_chain(target, client=client, deadline=deadline)
    if attempt.kind == Kind.CANCEL:
        return Seen(is_done=not end.is_active, booking=end, former_uids=tuple(former))
    successor = end
    if len(former) > 1:
        # It was moved on since: whether the first of the moves was ours is told by where it led.
        successor = client.get_booking(target.rescheduled_to_uid, deadline=deadline)
    moved = bool(former) and successor.start == wanted_start(attempt)
    return Seen(is_done=moved, booking=end, former_uids=tuple(former))


def settle(attempt: BookingAttempt, seen: Seen, *, told: str, now: datetime) -> Appointment:
    """It is done: the attempt and the appointment say so in one transaction. Somebody else may have settled
    it before; the appointment is the same then. Raises what the database raises.
    """
    assert seen.booking is not None  # noqa: S101 - what was done to it can be seen on it
    with transaction.atomic():
        attempts.finish(
            attempt,
            state=BookingAttempt.State.SUCCEEDED,
            told=told,
            now=now,
            answer=_summary(seen.booking),
        )
        followed = follow.follow(
            attempt.appointment,
            booking=seen.booking,
            former_uids=[*seen.former_uids, attempt.target_uid],
            # It comes after all that was mirrored before it was sent, also where a clock was put back since.
            is_newest=attempt.kind == Kind.CANCEL,
            now=now,
        )
        failures.close_failures(
            company_id=attempt.company_id,
            subjects=[failures.about_booking(attempt.target_uid)],
            note="Settled: the change is made at Cal.com and here.",
        )
    availability.forget(attempt.company_id)
    return followed.appointment


def give_up(
    attempt: BookingAttempt,
    *,
    state: BookingAttempt.State,
    told: str,
    now: datetime,
    seen: Seen | None = None,
    **fields: Any,
) -> None:
    """It is not done. What the look has shown of the booking is mirrored all the same, or told to a person:
    that Cal.com does not know it.
    """
    with transaction.atomic():
        attempts.finish(attempt, state=state, told=told, now=now, **fields)
        if seen is None:
            return
        if seen.booking is None:
            doubt.report_missing(attempt.appointment, uid=attempt.target_uid, call=attempt.call)
        else:
            follow.follow(attempt.appointment, booking=seen.booking, former_uids=seen.former_uids, now=now)


def _summary(booking: Booking) -> dict[str, Any]:
    return {
        "id": booking.id,
        "uid": booking.uid,
        "status": booking.status,
        "start": booking.start.isoformat(),
        "rescheduledFromUid": booking.rescheduled_from_uid,
    }

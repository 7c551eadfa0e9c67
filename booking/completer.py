"""The run that settles what nobody waits for any more, every half minute.

An attempt gets here when its request was cut off, or when the process that made it died: then its lease runs
out. What Cal.com has refused gets here too, a minute later, for one more look.
"""

from __future__ import annotations

from contextlib import suppress
from dataclasses import dataclass
from datetime import datetime

import structlog
from django.db import DatabaseError
from django.db.models import Case, F, Q, When, Window
from django.db.models.functions import Least, RowNumber
from django.utils import timezone

from booking import attempt_reports, attempts, close_by_own_rows, later_look, unknown_attempts
from booking.calcom.deadline import Deadline
from booking.calcom.errors import CalcomUnavailable, UnreadableAnswer
from booking.models import OPEN_STATES, BookingAttempt
from customers.clocks import CLOCKS_DIFFER_BY

State = BookingAttempt.State

BATCH = 100
SECONDS_EACH = 10.0

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
    close_by_own_rows.close_by_own_rows(company_id=company_id)
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
    # Who died has not said whether it was sent: for PostgreSQL the least of now and NULL is now.
    sent_at = Case(When(sent_at__gt=now, then=now), default="sent_at")
    left.update(lease_expires_at=now, sent_at=sent_at, created_at=Least("created_at", now))


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
        return later_look.look_once_more(attempt, deadline=deadline, now=now or timezone.now())
    return unknown_attempts.settle_attempt(attempt, deadline=deadline, now=now)


def _tell_of_failure(attempt_id: int, error: Exception, *, now: datetime) -> None:
    """What goes wrong on our side each time keeps it unknown just as well."""
    attempt = attempts.with_all_it_takes(BookingAttempt.objects.filter(pk=attempt_id)).first()
    if attempt is None:
        return  # deleted, or its appointment was in SQLite's own shell: a reconciliation lets go of that
    if attempt.state in OPEN_STATES and now >= unknown_attempts.give_up_at(attempt):
        attempt_reports.report_unknown(attempt, error=error)

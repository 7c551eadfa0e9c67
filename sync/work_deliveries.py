"""Work the stored deliveries that are due, until none is left.

Any number of workers may do so at once; each takes a few. One company's Cal.com that is down costs the first
of its deliveries a few seconds, and the others of that run nothing: they are put back.
"""

from __future__ import annotations

import time
from dataclasses import dataclass
from datetime import datetime, timedelta

import structlog
from django.db import DatabaseError
from django.utils import timezone

from booking import database_errors
from booking.calcom.errors import BookingNotFound, CalcomError, UnreadableAnswer
from calls import call_events, deliveries
from calls.models import WebhookEvent
from sync import calcom_events

LONGEST_RUN_SECONDS = 50.0
PUT_BACK_FOR = timedelta(seconds=10)

# Cal.com has answered, and of the next booking it may say more.
ABOUT_ONE_BOOKING = (BookingNotFound, UnreadableAnswer)

logger = structlog.get_logger(__name__)


@dataclass
class Report:
    worked: int = 0
    failed: int = 0
    put_back: int = 0


def work_due(*, now: datetime | None = None) -> Report:
    """`now` stands for the present, for a test that looks at what is due later."""
    report = Report()
    out_of_reach: set[int] = set()
    until = time.monotonic() + LONGEST_RUN_SECONDS
    while time.monotonic() < until:
        events = deliveries.take_due(now=now or timezone.now())
        for event in events:
            if event.provider == WebhookEvent.Provider.CALCOM and event.company_id in out_of_reach:
                _put_back(event, now=now or timezone.now())
                report.put_back += 1
            elif _work(event, now=now or timezone.now(), out_of_reach=out_of_reach):
                report.worked += 1
            else:
                report.failed += 1
        if len(events) < deliveries.BATCH:
            break  # whatever has come meanwhile has sent a wake-up of its own
    if report.worked or report.failed:
        logger.info("deliveries.worked", **vars(report))
    return report


def _work(event: WebhookEvent, *, now: datetime, out_of_reach: set[int]) -> bool:
    try:
        if event.provider == WebhookEvent.Provider.RETELL:
            call_events.work(event)
        else:
            calcom_events.work(event, now=now)
    except deliveries.LeaseLost:
        logger.warning("delivery.lease_lost", delivery=event.pk)
    except Exception as error:
        if isinstance(error, CalcomError):
            if not isinstance(error, ABOUT_ONE_BOOKING):
                out_of_reach.add(event.company_id)
            what = f"{type(error).__name__}: {error.message}"
        elif isinstance(error, DatabaseError):
            # Without the trace: the database quotes the row.
            what = database_errors.describe(error)
            logger.error("delivery.not_stored", delivery=event.pk, type=event.event_type, error=what)
        else:
            logger.exception("delivery.broken", delivery=event.pk, type=event.event_type)
            what = f"{type(error).__name__}: {error}"
        _fail(event, what, now=now)
        return False
    return True


def _fail(event: WebhookEvent, what: str, *, now: datetime) -> None:
    try:
        deliveries.fail(event, now=now, error=what)
    except deliveries.LeaseLost:
        logger.warning("delivery.lease_lost", delivery=event.pk)


def _put_back(event: WebhookEvent, *, now: datetime) -> None:
    try:
        deliveries.look_again(
            event, now=now, after=PUT_BACK_FOR, note="Cal.com cannot be asked at the moment."
        )
    except deliveries.LeaseLost:
        logger.warning("delivery.lease_lost", delivery=event.pk)

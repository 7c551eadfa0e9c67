"""Calls that never end here: the event of their end was lost, and Retell sends none a second time. So it is
asked.

Nothing is concluded from the time that has passed, only from what Retell says, and nothing at all when it
could not be asked. What became of a booking in such a call is not decided here.
"""

from __future__ import annotations

import random
import time
from dataclasses import asdict, dataclass
from datetime import datetime, timedelta

import structlog
from django.conf import settings
from django.db.models import F, Q, QuerySet

from calls import call_events
from calls.models import Call
from calls.retell.client import NotFound, RetellClient, RetellError, Unauthorized
from customers.encrypted_field import CannotDecrypt
from customers.models import Company

# Retell ends a call after an hour, unless the agent is set up otherwise (two hours at most).
ONGOING_FOR = timedelta(minutes=90)
ASKED_AGAIN_AFTER = timedelta(minutes=30)
# A call that Retell has only just recorded may not be found yet. After a day it never will be.
NOT_FOUND_FOR = timedelta(hours=24)
MOST_CALLS_PER_COMPANY = 50
RUN_SECONDS = 60.0

logger = structlog.get_logger(__name__)


@dataclass
class Report:
    """How many calls were asked about, and what came of it; companies that could not be asked for."""

    asked: int = 0
    ended: int = 0
    still_ongoing: int = 0
    not_found: int = 0
    given_up: int = 0
    not_answered: int = 0
    not_stored: int = 0
    companies_left_out: int = 0


def close_never_ended(*, now: datetime, run_seconds: float = RUN_SECONDS) -> Report:
    """Ask Retell what became of calls that should have ended long ago. May run beside another one of itself.

    `now` is aware. No question is begun after `run_seconds`; what is left is asked in the next run.
    """
    until = time.monotonic() + run_seconds
    report = Report()
    companies = list(_due(now).order_by().values_list("company_id", flat=True).distinct())
    # Where time runs out, it is not always the same ones who are left.
    random.shuffle(companies)
    for company_id in companies:
        company = Company.objects.get(pk=company_id)
        try:
            key = company.retell_api_key
        except CannotDecrypt:
            _leave_out(report, company_id, reason="key_unreadable")
            continue
        if not key:
            _leave_out(report, company_id, reason="no_key")
            continue
        _ask_for(company, key=key, now=now, until=until, report=report)
    if companies:
        logger.info("never_ended.swept", **asdict(report))
    return report


def _due(now: datetime) -> QuerySet[Call]:
    return Call.objects.filter(
        Q(asked_retell_at=None) | Q(asked_retell_at__lt=now - ASKED_AGAIN_AFTER),
        status=Call.Status.ONGOING,
        created_at__lt=now - ONGOING_FOR,
        company__is_active=True,
    )


def _ask_for(company: Company, *, key: str, now: datetime, until: float, report: Report) -> None:
    calls = (
        _due(now)
        .filter(company=company)
        .order_by(F("asked_retell_at").asc(nulls_first=True), "created_at")
        .only("retell_call_id", "created_at", "asked_retell_at")[:MOST_CALLS_PER_COMPANY]
    )
    with RetellClient(base_url=settings.RETELL_BASE_URL, api_key=key) as client:
        for call in list(calls):
            if time.monotonic() > until:
                return
            if not _take(call, now=now):
                continue
            report.asked += 1
            try:
                _settle(call, company=company, client=client, now=now, report=report)
            except RetellError as error:
                # The next question would fare no better, and another company's may.
                report.not_answered += 1
                reason = "unauthorized" if isinstance(error, Unauthorized) else "unavailable"
                _leave_out(report, company.pk, reason=reason, error=str(error))
                return


def _take(call: Call, *, now: datetime) -> bool:
    """Ours to ask about, unless another run has just done so or the call has ended meanwhile."""
    rows = Call.objects.filter(
        pk=call.pk, status=Call.Status.ONGOING, asked_retell_at=call.asked_retell_at
    ).update(asked_retell_at=now)
    return bool(rows)


def _settle(call: Call, *, company: Company, client: RetellClient, now: datetime, report: Report) -> None:
    """Raises Unauthorized or Unavailable: nothing is known then."""
    try:
        snapshot = client.get_call(call.retell_call_id)
    except NotFound:
        report.not_found += 1
        if now - call.created_at > NOT_FOUND_FOR:
            report.given_up += _give_up(call)
        return
    if not snapshot.is_over:
        report.still_ongoing += 1
        return
    try:
        call_events.apply(company=company, event=call_events.ENDED, snapshot=snapshot)
    except Exception:
        # One call that cannot be stored is no reason to leave the others open.
        logger.exception("never_ended.not_stored", call=call.retell_call_id)
        report.not_stored += 1
    else:
        report.ended += 1


def _give_up(call: Call) -> int:
    rows = Call.objects.filter(pk=call.pk, status=Call.Status.ONGOING).update(status=Call.Status.ERROR)
    if rows:
        logger.warning("never_ended.unknown_to_retell", call=call.retell_call_id)
    return rows


def _leave_out(report: Report, company_id: int, *, reason: str, error: str = "") -> None:
    report.companies_left_out += 1
    logger.warning("never_ended.company_left_out", company_id=company_id, reason=reason, error=error)

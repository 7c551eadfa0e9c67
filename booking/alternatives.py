"""What to offer instead of a time that cannot be had."""

from __future__ import annotations

from datetime import datetime, timedelta

import structlog
from django.utils import timezone

from booking import answer_budget, availability
from booking.calcom.deadline import Deadline
from booking.calcom.errors import CalcomError
from booking.connection import client_for
from booking.models import Service
from booking.outcomes import Code, Outcome
from customers.models import Company

logger = structlog.get_logger(__name__)


def taken(service: Service, wanted: datetime, *, company: Company, deadline: Deadline) -> Outcome:
    others = around(service, wanted, company=company, deadline=deadline)
    return Outcome(Code.SLOT_TAKEN, service=service, wanted=wanted, alternatives=others)


def first_possible(service: Service, wanted: datetime, *, company: Company, deadline: Deadline) -> Outcome:
    """Cal.com says "too soon" and "too far ahead" in one sentence; what is free tells which it was. Where
    that is nothing, or cannot be found out, only what the event type's notice explains is too soon.
    """
    reason = ""
    others = around(service, wanted, company=company, deadline=deadline)
    if others and others[-1] < wanted:
        reason = "too_far"
    elif not others:
        now = timezone.now()
        others = around(service, now, company=company, deadline=deadline)
        if others:
            reason = "far_too_far"
        elif wanted > now + timedelta(minutes=service.minimum_notice_minutes):
            reason = "out_of_bounds"
    return Outcome(Code.TOO_SOON, reason=reason, service=service, wanted=wanted, alternatives=others)


def around(
    service: Service, wanted: datetime, *, company: Company, deadline: Deadline
) -> tuple[datetime, ...]:
    """Free times near the one that was wanted. A courtesy: without it a refusal stands all the same."""
    try:
        return tuple(
            availability.alternatives(
                service=service,
                wanted=wanted,
                now=timezone.now(),
                client=client_for(company),
                deadline=answer_budget.for_a_look(deadline),
            )
        )
    except CalcomError as error:
        logger.warning("availability.unknown", error=type(error).__name__)
        return ()

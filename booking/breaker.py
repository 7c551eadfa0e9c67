"""A circuit breaker per company, over all processes, on the cache.

It opens when Cal.com is down (not when a slot is taken or a key is wrong), so that callers get an honest
answer at once instead of silence. After a pause one caller's process asks Cal.com a harmless question; a
booking is never the probe. When the cache is gone the breaker behaves as closed: then Cal.com itself is
asked, which is always right, only slower.
"""

from __future__ import annotations

import structlog

from booking import best_effort_cache
from booking.calcom.client import CalcomClient
from booking.calcom.deadline import Deadline
from booking.calcom.errors import (
    CalcomError,
    CalcomUnavailable,
    OutcomeUnknown,
    RateLimited,
    UnreadableAnswer,
)

OPENS_AFTER = 5  # failures …
WITHIN_SECONDS = 60  # … within this time, with no success in between
PAUSE_SECONDS = 15
OPEN_SECONDS = 600  # how long it is remembered after the last failure that nobody has tried again
PROBE_SECONDS = 5.0

logger = structlog.get_logger(__name__)


def allows(*, company_id: int, client: CalcomClient, deadline: Deadline) -> bool:
    """Whether Cal.com may be asked to change something now. When the pause is over this sends one probe."""
    if not best_effort_cache.read(_open_key(company_id)):
        return True
    if best_effort_cache.add(_pause_key(company_id), 1, PAUSE_SECONDS) is False:
        return False
    try:
        client.probe(deadline=deadline.at_most(PROBE_SECONDS))
    except CalcomError as error:
        note(error, company_id=company_id)
        return not is_down(error)
    note(None, company_id=company_id)
    return True


def note(error: CalcomError | None, *, company_id: int) -> None:
    """Count the outcome of an exchange with Cal.com, and log what was not a success."""
    if error is not None:
        # Not its message: Cal.com quotes what it was sent. By the id its support finds the request.
        log = logger.info if error.failure_mode == "permanent" else logger.warning
        log(
            "calcom.error",
            company_id=company_id,
            error=type(error).__name__,
            failure_mode=error.failure_mode,
            status=error.status,
            calcom_request_id=error.request_id,
        )
    if error is None or not is_down(error):
        best_effort_cache.forget(_count_key(company_id), _open_key(company_id))
        return
    failures = best_effort_cache.count_up(_count_key(company_id), WITHIN_SECONDS)
    if failures >= OPENS_AFTER:
        best_effort_cache.write(_pause_key(company_id), 1, PAUSE_SECONDS)
        if best_effort_cache.read(_open_key(company_id)) is None:
            logger.error("calcom.breaker_opened", company_id=company_id, failures=failures)
        best_effort_cache.write(_open_key(company_id), 1, OPEN_SECONDS)


def is_down(error: CalcomError) -> bool:
    if isinstance(error, (RateLimited, UnreadableAnswer)):
        return False
    if isinstance(error, OutcomeUnknown):
        return not error.race and (error.status is None or error.status >= 500)
    return isinstance(error, CalcomUnavailable)


def _count_key(company_id: int) -> str:
    return f"breaker:{company_id}:failures"


def _open_key(company_id: int) -> str:
    return f"breaker:{company_id}:open"


def _pause_key(company_id: int) -> str:
    return f"breaker:{company_id}:pause"

"""How the seconds are spent in which a caller is answered, while Cal.com is asked to change something."""

from __future__ import annotations

from django.conf import settings

from booking.calcom.deadline import Deadline
from booking.calcom.errors import RateLimited

LONGEST_RATE_WAIT = 3.0
AFTER_A_LOOK = 0.4
SHORTEST_REQUEST = 0.2  # in less time no answer comes; it would only make one more unknown


def reserve() -> float:
    """Seconds kept while a request to Cal.com is waited for: to save its result, or to undo it."""
    return min(1.0, settings.ANSWER_BUDGET_SECONDS / 5)


def for_a_look(deadline: Deadline) -> Deadline:
    """Until when Cal.com may be asked what there is, so that it can still be stored and said."""
    return deadline.less(AFTER_A_LOOK)


def pause_for(limit: RateLimited, *, deadline: Deadline) -> float | None:
    """Seconds after which Cal.com listens again; None if the caller cannot wait so long."""
    seconds = max(1.0, limit.retry_after)  # "0 seconds left" is a rounded figure, and one wait has to do
    return seconds if seconds <= min(LONGEST_RATE_WAIT, deadline.remaining - 2 * reserve()) else None

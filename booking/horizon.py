"""How far ahead anything is booked, or moved to."""

from __future__ import annotations

from datetime import datetime, timedelta

FARTHEST = timedelta(days=400)


def is_too_far(start: datetime, *, now: datetime) -> bool:
    return start > now + FARTHEST

from __future__ import annotations

import threading
from dataclasses import dataclass
from datetime import datetime, timedelta

WINDOW = timedelta(seconds=60)
# told in the headers when the limiter is switched off
DEFAULT_LIMIT = 120


@dataclass
class _Window:
    began: datetime
    count: int = 0
    blocked_until: datetime | None = None


@dataclass(frozen=True)
class Allowance:
    """What the rate limit headers say. `reset` is the number of seconds left, not a point in time."""

    limit: int
    remaining: int
    reset: int
    exceeded: bool


class RateLimiter:
    """Fixed windows of 60 s per key; who exceeds one is blocked for 60 s, for every endpoint."""

    def __init__(self) -> None:
        self._lock = threading.Lock()
        self._windows: dict[str, _Window] = {}

    def reset(self) -> None:
        with self._lock:
            self._windows.clear()

    def count(self, tracker: str, *, limit: int | None, now: datetime) -> Allowance:
        with self._lock:
            window = self._windows.get(tracker)
            if window is None or now >= window.began + WINDOW:
                blocked_until = window.blocked_until if window else None
                window = self._windows[tracker] = _Window(now, blocked_until=blocked_until)
            if window.blocked_until is not None and now >= window.blocked_until:
                window = self._windows[tracker] = _Window(now)
            window.count += 1
            shown = limit or DEFAULT_LIMIT
            exceeded = limit is not None and (window.blocked_until is not None or window.count > limit)
            if exceeded and window.blocked_until is None:
                window.blocked_until = now + WINDOW
            until = window.blocked_until if exceeded and window.blocked_until else window.began + WINDOW
            seconds = max(1, int((until - now).total_seconds() + 0.999))
            return Allowance(shown, max(0, shown - window.count), seconds, exceeded)

from __future__ import annotations

import time


class Pace:
    """Keeps whatever waits for it to so many a minute: a few at once, then evenly. For one thread."""

    def __init__(self, *, per_minute: float, at_once: int = 10) -> None:
        self._interval = 60.0 / per_minute
        self._head_start = at_once * self._interval
        self._next = time.monotonic() - self._head_start

    def wait(self) -> None:
        now = time.monotonic()
        self._next = max(self._next, now - self._head_start) + self._interval
        if self._next > now:
            time.sleep(self._next - now)

from __future__ import annotations

import time

# Cal.com's limit of 120 a minute counts by key, and callers book with the same one: half of it is theirs.
PER_MINUTE = 60
AT_ONCE = 40


class Pace:
    """Keeps whatever waits for it to so many a minute: `at_once` without a pause, then evenly. For one
    thread.
    """

    def __init__(self, *, per_minute: float = PER_MINUTE, at_once: int = AT_ONCE) -> None:
        self._interval = 60.0 / per_minute
        self._head_start = at_once * self._interval
        self._next = time.monotonic() - self._head_start

    def wait(self) -> None:
        now = time.monotonic()
        self._next = max(self._next, now - self._head_start) + self._interval
        if self._next > now:
            time.sleep(self._next - now)

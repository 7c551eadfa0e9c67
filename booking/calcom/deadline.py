from __future__ import annotations

import time
from dataclasses import dataclass


@dataclass(frozen=True)
class Deadline:
    """A moment by which something must be answered. `at` is one of `time.monotonic()`: a clock that is set
    does not move it.
    """

    at: float

    @classmethod
    def after(cls, seconds: float) -> Deadline:
        return cls(at=time.monotonic() + seconds)

    @property
    def remaining(self) -> float:
        """Seconds left, never negative."""
        return max(0.0, self.at - time.monotonic())

    def less(self, seconds: float) -> Deadline:
        """An earlier deadline, leaving `seconds` for what comes afterwards."""
        return Deadline(at=self.at - seconds)

    def at_most(self, seconds: float) -> Deadline:
        """This deadline, or the one `seconds` from now, whichever is earlier."""
        return Deadline(at=min(self.at, time.monotonic() + seconds))

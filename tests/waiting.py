from __future__ import annotations

import time
from collections.abc import Callable
from typing import TypeVar

T = TypeVar("T")


def wait_until(
    condition: Callable[[], T], *, seconds: float = 20, why_not: Callable[[], object] = lambda: "not in time"
) -> T:
    """What the condition gives, as soon as that is true. Fails the test if it does not come true in time."""
    deadline = time.monotonic() + seconds
    while not (found := condition()):
        assert time.monotonic() < deadline, why_not()
        time.sleep(0.02)
    return found

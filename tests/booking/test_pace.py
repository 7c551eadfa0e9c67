from __future__ import annotations

import time

from booking.pace import Pace


def test_after_the_first_requests_the_others_are_spread():
    began = time.monotonic()
    pace = Pace(per_minute=120, at_once=2)
    pace.wait()
    pace.wait()
    assert time.monotonic() - began < 0.45
    pace.wait()
    pace.wait()
    assert time.monotonic() - began >= 1

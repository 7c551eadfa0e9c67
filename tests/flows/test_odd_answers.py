"""What Cal.com answers is JSON and nearly right: a word nobody has heard of, a field of another type, a text
that cannot be stored. Nothing is concluded from what cannot be read, and it hides nothing beside it.
"""

from __future__ import annotations

import pytest

from tests.flows.phone import at


@pytest.mark.parametrize("day", [None, {}, "free", {"slots": []}], ids=repr)
def test_days_that_cannot_be_read_are_not_days_without_a_free_slot(calcom, phone, day):
    body = {"status": "success", "data": {at(10).date().isoformat(): day}}
    calcom.faults.add("slots", status=200, body=body, times=None)
    assert phone().ask("check_availability", service="haircut").code == "unavailable"

"""What Cal.com answers is JSON and nearly right: a word nobody has heard of, a field of another type, a text
that cannot be stored. Nothing is concluded from what cannot be read, and it hides nothing beside it.
"""

from __future__ import annotations

from typing import Any

import pytest

from booking.models import Appointment
from tests.flows.phone import at


def with_half_an_emoji(exchange: Any) -> None:
    """As JavaScript writes a text that was cut in the middle of one."""
    answer = exchange.answer
    answer.content = answer.encoded().replace(b"EMOJI", rb"\ud83d")


def test_a_character_no_database_holds_does_not_keep_a_booking_from_being_stored(calcom, phone, verdict):
    calcom.faults.add("create", patch={"metadata": {"note": "a\x00b"}})
    assert phone().book(at(10)).code == "booked"
    assert not calcom.requests("cancel")
    verdict()


def test_half_an_emoji_in_one_title_hides_none_of_the_bookings(calcom, salon, phone, run, verdict):
    calcom.web_book("open", start=at(9), silent=True)
    calcom.web_book("open", start=at(11), silent=True)
    odd = {"title": "Cut EMOJI", "description": "a\x00b"}
    calcom.faults.add("list", patch=odd, call={"before_answer": with_half_an_emoji}, times=None)
    calcom.faults.server_error(commit=True)
    assert phone().book(at(10)).code == "booked"
    code, report = run()
    assert (code, report["companies"]["salon"]["outcome"]) == (0, "complete")
    assert Appointment.objects.filter(status="scheduled").count() == 3
    calcom.faults.clear()
    verdict()


@pytest.mark.parametrize("day", [None, {}, "free", {"slots": []}], ids=repr)
def test_days_that_cannot_be_read_are_not_days_without_a_free_slot(calcom, phone, day):
    body = {"status": "success", "data": {at(10).date().isoformat(): day}}
    calcom.faults.add("slots", status=200, body=body, times=None)
    assert phone().ask("check_availability", service="haircut").code == "unavailable"

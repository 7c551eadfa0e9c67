"""A clock of ours that was wrong for a while, and what it has written meanwhile."""

from __future__ import annotations

import datetime as dt

import pytest
from django.db.models import F

from calls.models import FunctionCall
from tests.flows.phone import at


def write_as_of(rows, *fields: str, ahead: dt.timedelta) -> None:
    """As if the clock of whoever wrote them had been that far ahead."""
    rows.update(**{field: F(field) + ahead for field in fields})


@pytest.mark.parametrize("ahead", [dt.timedelta(seconds=20), dt.timedelta(minutes=5)])
def test_taken_is_not_repeated_of_what_the_caller_booked_since_by_a_clock_that_was_put_back(
    calcom, phone, ahead
):
    other = calcom.web_book("single", start=at(10), name="Other", phone="+4915199999999", silent=True)
    caller = phone()
    assert caller.book(at(10), service="shave").code == "slot_taken"
    write_as_of(FunctionCall.objects, "answered_at", ahead=ahead)
    calcom.web_cancel(other.uid)
    assert phone().book(at(10), service="shave").code == "booked"
    assert caller.book(at(10), service="shave").code == "already_booked"

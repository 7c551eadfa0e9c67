"""A clock of ours that was wrong for a while, and what it has written meanwhile."""

from __future__ import annotations

import datetime as dt

import pytest
from django.db.models import F

from booking.models import BookingAttempt
from calls.models import FunctionCall
from tests.flows.phone import at
from tests.flows.state import open_failures, proven


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


@pytest.mark.parametrize(("made", "said_when"), [(True, True), (False, True), (True, False)])
def test_what_a_process_left_that_died_with_its_clock_ahead_is_found_out_once_that_is_right(
    calcom, phone, run, settle_later, verdict, made, said_when
):
    """Two hours ahead: a clock of the machine that is kept in local time, before it is set by the network."""
    calcom.faults.reset_connection(commit=made)
    calcom.faults.add("list", status=503, times=None)
    assert phone().book(at(10)).code == "checking"
    calcom.faults.clear()
    BookingAttempt.objects.update(state="claimed", look_again_at=None)
    ahead = dt.timedelta(hours=2)
    write_as_of(BookingAttempt.objects, "created_at", "sent_at", "lease_expires_at", ahead=ahead)
    if not said_when:
        BookingAttempt.objects.update(sent_at=None)
    run()
    settle_later()
    assert (BookingAttempt.objects.get().sent_at is not None) is said_when
    assert [row.starts_at for row in proven()] == ([at(10)] if made else [])
    assert open_failures().exists() is not made
    verdict()

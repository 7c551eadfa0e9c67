"""What was to be undone at Cal.com and is over by now: Cal.com does not cancel that any more."""

from __future__ import annotations

import datetime as dt
from collections.abc import Callable, Iterator

import pytest
import time_machine
from django.utils import timezone

from booking.models import Appointment, BookingAttempt
from tests.flows.phone import at
from tests.flows.state import open_failures

TEN_DAYS = 10 * 24 * 3600
QUARTER_OF_AN_HOUR = 15 * 60


@pytest.fixture
def let_pass() -> Iterator[Callable[[int], None]]:
    """Here and at Cal.com."""
    with time_machine.travel(timezone.now(), tick=True) as clock:
        yield lambda seconds: clock.shift(dt.timedelta(seconds=seconds))


@pytest.fixture
def look_often(let_pass, settle_later, run) -> Callable[[], None]:
    """The completer, again and again, and the hourly run between."""

    def look() -> None:
        for _ in range(3):
            let_pass(QUARTER_OF_AN_HOUR)
            settle_later(seconds=0)
        run()
        settle_later(seconds=0)

    return look


def test_what_was_refused_and_made_is_not_cancelled_for_ever_once_it_is_over(
    calcom, phone, let_pass, look_often, verdict
):
    calcom.faults.taken_after_commit(hide_for=3600)
    assert phone().book(at(11)).code == "slot_taken"
    let_pass(TEN_DAYS)  # nobody looked meanwhile: the worker was down, or the key was refused
    look_often()
    assert not calcom.requests("cancel")
    assert [ticket.failure_type for ticket in open_failures()] == ["orphaned_calcom"]
    assert not BookingAttempt.objects.exclude(look_again_at=None).exists(), "the rest is a person's"
    verdict()


def test_a_wrong_booking_that_took_place_is_a_ticket_and_no_attempt_to_settle_any_more(
    calcom, phone, let_pass, settle_later, look_often, verdict
):
    calcom.faults.shift_start(15)
    away = calcom.faults.add("cancel", commit=False, status=503, body={"message": "away"}, times=None)
    assert phone().book(at(11)).body["success"] is False
    let_pass(3600)
    settle_later(seconds=0)
    calcom.faults.remove(away)
    let_pass(TEN_DAYS)
    calcom.clear_log()
    look_often()
    assert not calcom.requests("cancel")
    assert [ticket.failure_type for ticket in open_failures()] == ["orphaned_calcom"]
    assert BookingAttempt.objects.get().state == "refused"
    assert Appointment.objects.get().status == "failed"
    verdict()

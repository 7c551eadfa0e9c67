"""Three steps, of which any two are harmless."""

from __future__ import annotations

import datetime as dt
import threading

import pytest
from django.db import connection
from django.utils import timezone

from booking.models import Appointment, BookingAttempt, CallbackRequest
from tests.flows.phone import Answer, at, move
from tests.flows.state import open_failures

State = BookingAttempt.State

# For requests that Cal.com never answers: they are waited for until the budget is spent.
SHORT_BUDGET_SECONDS = 1.5


@pytest.fixture
def given_up(settings):
    """Carry out what Cal.com will not answer."""

    def carry_out(ask) -> None:
        usual = settings.ANSWER_BUDGET_SECONDS
        settings.ANSWER_BUDGET_SECONDS = SHORT_BUDGET_SECONDS
        assert ask().code == "checking"
        settings.ANSWER_BUDGET_SECONDS = usual

    return carry_out


def lease_has_run_out() -> None:
    """A minute has gone by since the request was answered."""
    BookingAttempt.objects.update(lease_expires_at=timezone.now() - dt.timedelta(minutes=1))


def aside(act, *, seconds: float) -> threading.Thread:
    """Carry it out in another process, as it were, and go on after so many seconds at the latest."""

    def go() -> None:
        try:
            act()
        finally:
            connection.close()

    thread = threading.Thread(target=go)
    thread.start()
    thread.join(seconds)
    return thread


def test_denied_and_made_and_asked_for_again_while_it_is_undone_it_is_not_told_as_booked(
    calcom, salon, phone, settle_later, verdict
):
    """The later look has found it, and the redial adopts it just before it is cancelled."""
    calcom.faults.taken_after_commit(hide_for=3600)
    assert phone().book(at(10)).code == "slot_taken"
    calcom.clock.advance(3601)
    lease_has_run_out()
    heard: list[Answer] = []
    redials = []

    def redial(_exchange):
        redials.append(aside(lambda: heard.append(phone().book(at(10))), seconds=2))

    calcom.faults.add("cancel", call={"received": redial})
    settle_later(seconds=90)
    redials[0].join(20)
    assert heard[0].code in ("booked", "slot_taken", "unavailable", "checking")
    verdict()


@pytest.mark.parametrize("undoing", ["done", "not possible"])
def test_denied_and_looked_at_once_more_the_slot_is_not_held_any_longer(
    calcom, salon, phone, settle_later, verdict, undoing
):
    """What the later look holds while it undoes something, the next caller need not wait for."""
    calcom.faults.taken_after_commit(hide_for=3600)
    assert phone().book(at(10)).code == "slot_taken"
    calcom.clock.advance(3601)
    lease_has_run_out()
    if undoing == "not possible":
        calcom.faults.outage()
    settle_later(seconds=90)
    calcom.faults.clear()
    for booking in calcom.active_bookings():
        calcom.web_cancel(booking.uid, silent=True)
    assert phone(from_number="+4915187654321").book(at(10)).code == "booked"
    verdict()


def test_denied_and_asked_for_by_the_next_caller_the_later_look_lets_them_go_first(
    calcom, salon, phone, settle_later, verdict, caplog
):
    calcom.faults.taken_after_commit(hide_for=3600)
    assert phone().book(at(10)).code == "slot_taken"
    calcom.web_cancel(calcom.bookings[0].uid, silent=True)
    lease_has_run_out()

    def look_once_more(_exchange):
        aside(lambda: settle_later(seconds=90), seconds=20)

    calcom.faults.add("create", call={"received": look_once_more})
    assert phone(from_number="+4915187654321").book(at(10)).code == "booked"
    assert BookingAttempt.objects.get(state=State.REFUSED).look_again_at, "it has not been looked at yet"
    assert "completer.failed" not in caplog.text
    verdict()


@pytest.mark.parametrize("asks_again", ["in the same call", "in another call"])
def test_booked_unheard_and_moved_by_the_host_it_is_not_booked_once_more_by_a_repeat(
    calcom, salon, phone, announced, work, given_up, verdict, asks_again
):
    """The caller has one wish, has heard nothing but "checking", and asks again in the same words."""
    caller = phone()
    calcom.faults.timeout_after_commit()
    given_up(lambda: caller.book(at(10)))
    (made,) = calcom.active_bookings()
    calcom.web_reschedule(made.uid, at(14), by_owner=True)
    work(seconds=5)
    again = caller if asks_again == "in the same call" else phone()
    answer = again.book(at(10))
    assert len(calcom.active_bookings()) == 1, "two appointments for one wish"
    assert answer.body["appointment"]["start"] == at(14).isoformat()
    verdict()


def test_booked_unheard_and_moved_by_the_host_it_is_not_anothers_of_the_same_family(
    calcom, salon, phone, announced, work, given_up, verdict
):
    calcom.faults.timeout_after_commit()
    given_up(lambda: phone().book(at(10)))
    (made,) = calcom.active_bookings()
    calcom.web_reschedule(made.uid, at(14), by_owner=True)
    work(seconds=5)
    assert phone().book(at(10), customer_name="Mia Kraus").code == "booked"
    assert {booking.start for booking in calcom.active_bookings()} == {at(10), at(14)}
    verdict()


def test_booked_unheard_and_moved_by_the_caller_the_same_time_can_be_booked_once_more(
    calcom, salon, phone, work, given_up, settle_later, verdict
):
    calcom.faults.timeout_after_commit()
    given_up(lambda: phone().book(at(10)))
    settle_later()
    assert move(phone(), at(14)).code == "rescheduled"
    assert phone().book(at(10)).code == "booked"
    assert {booking.start for booking in calcom.active_bookings()} == {at(10), at(14)}
    verdict()


def test_given_up_made_late_and_adopted_by_a_redial_the_first_attempt_is_settled_too(
    calcom, salon, phone, announced, work, given_up, settle_later, verdict
):
    """Cal.com tells of the late booking while the redial, which will find it, is being answered."""
    calcom.faults.timeout_before_commit()
    given_up(lambda: phone().book(at(10)))
    settle_later()
    first = BookingAttempt.objects.get()
    assert first.state == State.ABSENT

    def made_after_all(_exchange):
        late = calcom.seed_booking(
            "open",
            start=at(10),
            name="Anna Weber",
            email="4915112345678@sms.cal.com",
            phone="+4915112345678",
            metadata=first.request["metadata"],
        )
        calcom.send_event(announced, salon.calcom_webhook_secret, "BOOKING_CREATED", {"uid": late.uid})
        aside(lambda: work(seconds=30), seconds=20)

    calcom.faults.add("create", call={"received": made_after_all})
    assert phone().book(at(10)).code == "booked"
    for _ in range(3):
        settle_later(seconds=3600)
    assert not open_failures().exists()
    first.refresh_from_db()
    assert first.state not in (State.CLAIMED, State.UNKNOWN), "it is looked for, and reported, for ever"
    verdict()


def test_moved_unheard_and_cancelled_by_the_host_whoever_was_told_checking_is_rung(
    calcom, salon, booked, given_up, settle_later, verdict
):
    """As with a booking that was made and cancelled before anybody could say so."""
    calcom.faults.timeout_after_commit(operation="reschedule")
    given_up(lambda: move(booked, at(14)))
    (moved,) = calcom.active_bookings()
    calcom.web_cancel(moved.uid, silent=True)
    settle_later()
    assert Appointment.objects.get().status == Appointment.Status.CANCELLED
    verdict()
    assert CallbackRequest.objects.filter(status="open").exists()

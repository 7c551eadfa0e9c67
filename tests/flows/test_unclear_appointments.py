"""While nobody knows whether an appointment stands, and where, its caller hears neither "there is none" nor
"there it is".
"""

from __future__ import annotations

import threading

import pytest
from django.db import connection
from django.utils import timezone

from booking.models import Appointment, BookingAttempt, CallbackRequest, SyncFailure
from tests.flows.phone import at
from tests.waiting import wait_until


def ask_all(caller):
    """Everything a caller can ask about the appointments they have."""
    return {
        "list": caller.ask("list_appointments"),
        "move": caller.ask("reschedule_appointment", new_start=at(15).isoformat()),
        "cancel": caller.ask("cancel_appointment"),
    }


@pytest.fixture(autouse=True)
def _soon(settings):
    """Most of what happens here is waiting until the budget is used up."""
    settings.ANSWER_BUDGET_SECONDS = 3


@pytest.fixture
def unknown(calcom, salon, phone):
    """A caller whose booking was made, and was answered with nothing but a broken line."""
    caller = phone()
    calcom.faults.timeout_after_commit()
    assert caller.book(at(10)).code == "checking"
    return caller


def test_a_booking_nobody_knows_of_is_found_out_before_it_is_talked_about(calcom, unknown, verdict):
    answer = unknown.ask("list_appointments")
    assert answer.code == "ok"
    assert [each["start"] for each in answer.body["appointments"]] == [at(10).isoformat()]
    verdict()


def test_it_can_be_moved_and_cancelled_at_once(calcom, unknown, verdict):
    assert unknown.ask("reschedule_appointment", new_start=at(15).isoformat()).code == "rescheduled"
    assert unknown.ask("cancel_appointment").code == "cancelled"
    assert not calcom.active_bookings()
    verdict()


@pytest.mark.parametrize("again", ["same call", "new call"])
def test_what_cannot_be_found_out_is_not_denied(calcom, unknown, phone, verdict, settle_later, again):
    caller = unknown if again == "same call" else phone()
    calcom.faults.outage()
    answers = ask_all(caller)
    assert {answer.code for answer in answers.values()} == {"checking"}
    assert not any(answer.body["success"] for answer in answers.values())
    row = Appointment.objects.get()
    assert caller.ask("cancel_appointment", appointment=str(row.pk)).code == "checking"
    calcom.faults.restore()
    assert len(caller.ask("list_appointments").body["appointments"]) == 1
    assert len(calcom.active_bookings()) == 1
    verdict()


def test_another_callers_unknown_booking_is_nobodys_business(calcom, unknown, phone, verdict):
    calcom.faults.outage()
    other = phone(from_number="+4917612345678")
    assert other.ask("list_appointments").body["appointments"] == []
    assert other.ask("cancel_appointment").code == "not_found"
    assert phone(from_number="anonymous").ask("cancel_appointment").code == "not_found"


def test_of_two_the_known_one_is_not_taken_for_the_other(calcom, salon, phone, verdict):
    caller = phone()
    assert caller.book(at(10)).code == "booked"
    calcom.faults.timeout_after_commit()
    assert caller.book(at(14, days=9)).code == "checking"
    calcom.faults.outage()
    assert caller.ask("cancel_appointment").code == "checking", "which of the two?"
    calcom.faults.restore()
    day = at(10).date().isoformat()
    calcom.faults.server_error(commit=False, operation="list", times=None)
    assert caller.ask("cancel_appointment", day=day).code == "cancelled", "that day names the other one"
    calcom.faults.clear()
    assert [each["start"] for each in caller.ask("list_appointments").body["appointments"]] == [
        at(14, days=9).isoformat()
    ]
    verdict()


def test_the_old_time_is_not_named_while_a_move_is_unknown(calcom, salon, phone, verdict):
    caller = phone()
    caller.book(at(10))
    calcom.faults.timeout_after_commit(operation="reschedule")
    assert caller.ask("reschedule_appointment", new_start=at(15).isoformat()).code == "checking"
    calcom.faults.outage()
    assert caller.ask("list_appointments").code == "checking"
    # It may be on either of the days by now.
    assert caller.ask("cancel_appointment", day=at(15, days=9).date().isoformat()).code == "checking"
    calcom.faults.restore()
    told = caller.ask("list_appointments").body["appointments"]
    assert [each["start"] for each in told] == [at(15).isoformat()]
    verdict()


def test_whoever_asks_while_the_booking_is_under_way_waits_for_it(calcom, salon, phone, verdict):
    caller = phone()
    calcom.faults.answer_late(1.0)

    def book():
        caller.book(at(10))
        connection.close()

    booking = threading.Thread(target=book)
    booking.start()
    wait_until(Appointment.objects.exists)
    answer = phone().ask("list_appointments")
    booking.join()
    assert [each["start"] for each in answer.body["appointments"]] == [at(10).isoformat()]
    verdict()


def test_once_a_person_has_decided_about_two_that_stand_the_caller_is_told_of_theirs(
    calcom, salon, phone, run, settle_later, admin_user
):
    calcom.faults.timeout_before_commit()
    assert phone().book(at(10), service="colour").code == "checking"
    given_up = BookingAttempt.objects.get()
    settle_later()
    caller = phone()
    assert caller.book(at(10), service="colour").code == "booked"
    late = {"host": "rolf", "phone": caller.from_number, "metadata": dict(given_up.request["metadata"])}
    calcom.seed_booking("roundrobin_open", start=at(10), **late)
    run()
    open_tickets = SyncFailure.objects.filter(status__in=("pending", "manual_review"))
    assert open_tickets.get().failure_type == "duplicate_booking"
    assert phone().ask("list_appointments").code == "ok"
    open_tickets.update(status="resolved", resolved_at=timezone.now(), resolved_by=admin_user)
    settle_later(seconds=3600)
    assert not open_tickets.exists()
    answers = ask_all(phone())
    assert [answers[name].code for name in answers] == ["ok", "rescheduled", "cancelled"]


# --- What Cal.com does not know any more


@pytest.fixture
def missing(calcom, booked, run):
    """A caller whose booking Cal.com has lost since, which is a ticket."""
    calcom.erase(Appointment.objects.get().calcom_booking_uid)
    assert run()[0] == 1
    return booked


@pytest.mark.parametrize("again", ["same call", "new call"])
def test_whoever_asks_for_what_is_missing_is_called_back(calcom, missing, phone, again):
    caller = missing if again == "same call" else phone()
    for answer in (caller.book(at(10)), caller.ask("list_appointments")):
        assert (answer.code, answer.body["success"]) == ("unavailable", False)
        assert answer.body["say"] == (
            "I can see your appointment, but something about it is unclear. We will call you back."
        )
    noted = CallbackRequest.objects.get()
    assert (noted.status, noted.customer) == ("open", Appointment.objects.get().customer)
    assert not calcom.requests("create")[1:], "nothing is booked beside it before a person has decided"


@pytest.mark.parametrize("from_number", ["+4915100000001", "anonymous"])
def test_whoever_merely_says_the_number_of_what_is_missing_is_rung_and_hears_nothing_of_it(
    missing, phone, from_number
):
    stranger = phone(from_number=from_number)
    answer = stranger.book(at(10), customer_phone=missing.from_number)
    assert answer.code == "unavailable"
    assert answer.body["say"] == "I could not book that just now. We will call you back."
    assert answer.body["appointment"] is None
    assert CallbackRequest.objects.filter(call__retell_call_id=stranger.call_id, status="open").exists()


def test_once_it_is_decided_what_is_missing_callers_hear_of_it_again(calcom, missing, phone, admin_user):
    SyncFailure.objects.update(status="resolved", resolved_at=timezone.now(), resolved_by=admin_user)
    assert missing.book(at(10)).code == "booked"
    assert phone().book(at(10)).code == "already_booked"
    assert len(phone().ask("list_appointments").body["appointments"]) == 1

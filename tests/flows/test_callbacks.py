"""Every call that is promised is on record once, with a number, and due in opening time."""

from __future__ import annotations

import datetime as dt
import threading
from typing import Any

import pytest
import time_machine
from django.contrib.auth.models import User
from django.db import connections
from django.utils import timezone

from booking import callbacks, close_by_own_rows
from booking.close_callback import close_callbacks
from booking.models import CallbackRequest
from calls.models import Call
from customers.models import Company, Customer
from tests.factories import AppointmentFactory, BookingAttemptFactory
from tests.flows.phone import BERLIN, Phone, at, cancel

WITHHELD = "anonymous"
GIVEN = "0151 99887766"
GIVEN_E164 = "+4915199887766"
WEEK = {day: [["09:00", "18:00"]] for day in ("mon", "tue", "wed", "thu", "fri")}


def ask(caller: Phone, **arguments: Any) -> Any:
    return caller.ask("request_callback", **{"reason": "Wants a wedding hairdo", **arguments})


def only() -> CallbackRequest:
    return CallbackRequest.objects.get()


# --- The caller asks for it


def test_a_callback_is_noted_with_reason_and_time(phone, salon, calcom):
    caller = phone()
    answer = ask(caller, preferred_time="tomorrow afternoon")
    assert (answer.code, answer.body["success"]) == ("callback_noted", True)
    assert answer.body["say"] == (
        "I have noted that. We will call you back, at the time you asked for if we can."
    )
    noted = only()
    assert (noted.kind, noted.status) == ("wanted", "open")
    assert (noted.reason, noted.preferred_time) == ("Wants a wedding hairdo", "tomorrow afternoon")
    assert (noted.company, noted.branch) == (salon, salon.branches.get())
    assert noted.call.retell_call_id == caller.call_id
    assert not calcom.log


def test_asking_twice_in_one_call_makes_one(phone):
    caller = phone()
    ask(caller)
    ask(caller)
    ask(caller, reason="Wants a wedding hairdo for four", preferred_time="after six")
    noted = only()
    assert (noted.reason, noted.preferred_time) == ("Wants a wedding hairdo for four", "after six")
    ask(caller, reason="")
    assert only().reason == "Wants a wedding hairdo for four"
    ask(phone())
    assert CallbackRequest.objects.count() == 2


def test_of_two_things_that_one_call_is_about_neither_is_lost(calcom, booked):
    calcom.faults.refuse("Invalid API Key", status=401, operation="cancel")
    assert cancel(booked).code == "unavailable"
    for reason in ("The bill", "The daughter's wedding", "The bill", None):
        ask(booked, reason=reason)
    assert only().reason == "The daughter's wedding; The bill (An appointment could not be cancelled.)"


def test_two_requests_at_once_make_one(phone):
    caller = phone()
    caller.ask("list_services")
    codes = []

    def request() -> None:
        try:
            codes.append(ask(caller).code)
        finally:
            connections.close_all()

    threads = [threading.Thread(target=request) for _ in range(4)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert codes == ["callback_noted"] * 4
    assert only().status == "open"


def test_whatever_a_language_model_sends_is_noted(phone):
    for arguments in (
        {"reason": None},
        {"reason": "{{reason}}", "preferred_time": "{{time}}"},
        {"reason": ["a", "list"], "preferred_time": {"day": "monday"}, "phone": "{{user_number}}"},
        {"reason": "x" * 9000, "preferred_time": "y" * 900},
        {"reason": "Kanal \x00 tot", "execution_message": "Moment"},
    ):
        assert ask(phone(), **arguments).code == "callback_noted", arguments
    assert CallbackRequest.objects.filter(reason="The caller asked to be called back.").count() == 3


@pytest.mark.parametrize("beside", ["nothing", "another call's", "what did not work"])
def test_after_a_person_has_closed_it_a_new_wish_in_the_same_call_is_a_new_one(calcom, phone, beside):
    caller = phone()
    ask(caller)
    ops = User.objects.create_user("ops")
    assert close_callbacks(ids=[only().pk], note="Called.", by=ops, now=timezone.now())
    if beside == "another call's":
        ask(phone(from_number="+4915112345679"))
    elif beside == "what did not work":
        calcom.faults.refuse("Invalid API Key", status=401)
        assert caller.book(at(10)).code == "unavailable"
    answer = ask(caller)
    assert (answer.code, answer.body["replayed"]) == ("callback_noted", False)
    of_this_call = CallbackRequest.objects.filter(call__retell_call_id=caller.call_id).order_by("pk")
    assert [row.status for row in of_this_call] == ["done", "open"]
    assert "Wants a wedding hairdo" in of_this_call[1].reason


# --- The number


def test_a_withheld_number_is_asked_for_once_and_the_wish_is_noted_meanwhile(phone):
    caller = phone(from_number=WITHHELD)
    answer = ask(caller)
    assert answer.code == "invalid_request"
    assert answer.body["errors"] == {"phone": "required"}
    assert answer.body["say"] == "I have noted that. What phone number can we reach you at?"
    assert only().reason == "Wants a wedding hairdo"  # whoever hangs up now is not lost
    answer = ask(caller, phone=GIVEN)
    assert answer.code == "callback_noted"
    assert only().customer == Customer.objects.get(phone=GIVEN_E164)


def test_without_any_number_it_is_noted_and_nothing_is_promised(phone, salon):
    caller = phone(from_number=WITHHELD)
    ask(caller)
    answer = ask(caller)
    assert answer.code == "callback_noted"
    assert answer.body["say"] == "I have noted that, but without a phone number we cannot call you back."
    assert only().kind == "wanted"
    salon.language = "de"
    salon.save()
    german = phone(from_number=WITHHELD)
    ask(german)
    assert ask(german).body["say"] == (
        "Das habe ich notiert, aber ohne Telefonnummer können wir Sie leider nicht zurückrufen."
    )


def test_another_number_than_the_callers_is_the_one_to_call(phone):
    caller = phone()
    ask(caller)
    ask(caller, phone=GIVEN)
    assert only().customer == Customer.objects.get(phone=GIVEN_E164)
    ask(caller)  # nothing said of a number leaves the one that was given
    assert only().customer == Customer.objects.get(phone=GIVEN_E164)


def test_a_number_not_understood_is_asked_for_again_and_the_wish_is_noted(phone):
    answer = ask(phone(), phone="twelve")
    assert answer.code == "invalid_request"
    assert answer.body["errors"] == {"phone": "unreadable"}
    assert "repeat" in answer.body["say"]
    assert only().reason == "Wants a wedding hairdo"


def test_a_known_caller_is_named_to_whoever_calls_back(phone):
    phone().book(at(10))
    ask(phone())
    assert only().customer == Customer.objects.get(name="Anna Weber")


# --- What we promise of ourselves


def test_a_booking_that_cannot_be_made_and_a_wish_are_one_callback(calcom, phone, verdict):
    caller = phone()
    calcom.faults.refuse("Forbidden", status=403, times=5)
    answer = caller.book(at(10))
    assert (answer.code, answer.body["say"]) == (
        "unavailable",
        "I could not book that just now. We will call you back.",
    )
    assert only().kind == "not_booked"
    due = only().due_at
    assert due is not None
    assert caller.book(at(11)).body["say"].endswith("We will call you back.")
    assert only().kind == "not_booked"
    assert ask(caller, preferred_time="tonight").code == "callback_noted"
    noted = only()
    assert (noted.kind, noted.preferred_time, noted.due_at) == ("wanted", "tonight", due)
    assert noted.reason == "Wants a wedding hairdo (The booking could not be completed.)"
    assert caller.book(at(12)).body["say"].endswith("We will call you back.")
    assert only().reason == noted.reason
    verdict()


def test_a_wish_outlives_the_booking_that_works_after_all(calcom, phone, settle_later):
    caller = phone()
    calcom.faults.refuse("Forbidden", status=403)
    caller.book(at(10))
    ask(caller)
    assert caller.book(at(10)).code == "booked"
    settle_later()
    assert only().status == "open"


def test_what_is_promised_while_the_request_is_closed_keeps_it_open(calcom, phone, meanwhile):
    caller = phone()
    calcom.faults.refuse("Forbidden", status=403)
    assert caller.book(at(10)).code == "unavailable"
    assert caller.book(at(10)).code == "booked"
    call = Call.objects.get()

    def promise_again() -> None:
        """For a colouring that could not be booked."""
        row = AppointmentFactory(company=call.company, call=call, status="failed", idempotency_key="other")
        BookingAttemptFactory(appointment=row, call=call, state="refused", told="unavailable")
        assert callbacks.promise(call=call, customer=row.customer, reason="The colouring.")

    meanwhile(promise_again)
    close_by_own_rows.close_by_own_rows()
    assert only().status == "open"


def test_nobody_is_promised_a_call_without_a_number_to_call(calcom, phone):
    calcom.faults.refuse("Forbidden", status=403, times=5)
    answer = phone(from_number=WITHHELD).book(at(10))
    assert answer.code == "unavailable"
    assert "call you back" not in answer.body["say"]
    assert only().kind == "not_booked"  # it is on record all the same


# --- By when


def berlin(month: int, day: int, hour: int, minute: int) -> dt.datetime:
    return dt.datetime(2026, month, day, hour, minute, tzinfo=BERLIN)


@pytest.mark.parametrize(
    ("now", "due", "said"),
    [
        # a Monday, in opening time
        ((11, 23, 10, 7), (11, 23, 14, 7), "today at 2:15 PM"),
        # over the night
        ((11, 23, 16, 0), (11, 24, 11, 0), "tomorrow at 11 AM"),
        # Friday evening: over the weekend
        ((11, 27, 19, 30), (11, 30, 13, 0), "Monday, November 30th, at 1 PM"),
    ],
)
def test_it_is_due_within_opening_time_and_the_caller_hears_by_when(phone, salon, now, due, said):
    salon.opening_hours = WEEK
    salon.save()
    with time_machine.travel(berlin(*now), tick=False):
        answer = ask(phone())
    assert only().due_at == berlin(*due)
    assert answer.body["say"] == f"I have noted that. We will call you back, {said} at the latest."


def test_the_time_is_the_companys_own(phone, salon):
    salon.callback_within_minutes = 30
    salon.save()
    before = timezone.now()
    ask(phone())
    half_an_hour = dt.timedelta(minutes=30)
    due = CallbackRequest.objects.filter(due_at__range=(before + half_an_hour, timezone.now() + half_an_hour))
    assert due.exists()


def test_hours_that_cannot_be_read_keep_nobody_from_being_called_back(phone, salon):
    Company.objects.filter(pk=salon.pk).update(opening_hours={"mon": "nine to five"})
    assert ask(phone()).code == "callback_noted"
    assert only().due_at is not None


def test_in_german_the_caller_hears_by_when(phone, salon):
    salon.language = "de"
    salon.save()
    with time_machine.travel(dt.datetime(2026, 11, 23, 10, 0, tzinfo=BERLIN), tick=False):
        answer = ask(phone())
    assert answer.body["say"] == "Das habe ich notiert. Wir rufen Sie zurück, spätestens heute um 14 Uhr."


# --- Privacy


def test_what_the_caller_said_is_in_no_log(phone, caplog):
    ask(phone(), reason="Haarausfall nach Chemotherapie", phone=GIVEN)
    assert "Chemotherapie" not in caplog.text
    assert "99887766" not in caplog.text

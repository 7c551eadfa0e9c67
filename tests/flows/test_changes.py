"""Callers hear of their appointments, move and cancel them: with the faults of a booking, and as surely."""

from __future__ import annotations

import datetime as dt
import json
import threading
from collections.abc import Callable

import pytest
from django.db import connection
from django.utils import timezone

from booking.calcom.client import READ_TRIES
from booking.calcom.simulator.faults import api_body
from booking.lookup import LONGEST_CHAIN
from booking.models import Appointment, BookingAttempt, CallbackRequest, FormerUid, Service, SyncFailure
from calls.models import Call
from customers.models import Company
from tests.flows.database_refusals import refusals
from tests.flows.phone import BERLIN, Answer, Phone, at, cancel, move
from tests.flows.state import open_failures
from tests.waiting import wait_until

Status = Appointment.Status
State = BookingAttempt.State

TAKEN = "User either already has booking at this time or is not available"

# For requests that Cal.com never answers: they are waited for until the budget is spent.
SHORT_BUDGET_SECONDS = 3


# --- hearing of them


def test_the_coming_appointments_are_told_soonest_first_and_the_rest_counted(calcom, salon, phone):
    for hour in (16, 9, 14, 11, 10, 15, 13):
        phone().book(at(hour))
    answer = phone().ask("list_appointments")
    assert answer.code == "ok"
    starts = [each["start"] for each in answer.body["appointments"]]
    assert starts == [at(hour).isoformat() for hour in (9, 10, 11, 13, 14)]
    assert answer.body["say"].startswith("You have 7 appointments. The next ones are: Haarschnitt, ")


def test_nothing_is_told_to_a_withheld_or_another_number(calcom, salon, booked, phone):
    for number, code in (("anonymous", "not_found"), ("+4917612345678", "ok")):
        other = phone(from_number=number)
        answer = other.ask("list_appointments")
        assert (answer.code, answer.body["appointments"]) == (code, [])
        uid = Appointment.objects.get().calcom_booking_uid
        for name in (Appointment.objects.get().pk, uid):
            for asked in (move(other, at(12), appointment=name), cancel(other, appointment=name)):
                assert asked.code == "not_found"
                assert "Anna" not in json.dumps(asked.body)
    assert Appointment.objects.get().status == Status.SCHEDULED


def test_nothing_is_told_to_another_caller_who_is_signalled_with_the_number_they_called(calcom, salon, phone):
    forwarded = salon.branches.get().phone_numbers.get().number
    assert phone(from_number=forwarded).book(at(10)).code == "booked"
    other = phone(from_number=forwarded)
    for asked in (other.ask("list_appointments"), move(other, at(12)), cancel(other)):
        assert asked.code == "not_found"
        assert asked.body.get("appointment") is None
    assert Appointment.objects.get().status == Status.SCHEDULED
    # Nobody can be called back there.
    assert other.ask("request_callback", phone=forwarded).code == "invalid_request"


def test_another_tenants_appointment_is_never_found(calcom, salon, booked, phone):
    from tests.flows.conftest import make_salon

    other = make_salon(calcom, slug="other", number="+493087654321")
    caller = phone(company=other, to_number="+493087654321")
    assert caller.ask("list_appointments").body["appointments"] == []
    assert cancel(caller, appointment=Appointment.objects.get().pk).code == "not_found"


# --- whole conversations


@pytest.mark.parametrize("language", ["en", "de"])
def test_book_move_cancel_and_book_again(calcom, salon, phone, verdict, language):
    Company.objects.update(language=language)
    salon.refresh_from_db()
    caller = phone()
    first = caller.book(at(10)).uid
    moved = move(caller, at(14))
    assert (moved.code, moved.body["success"]) == ("rescheduled", True)
    assert moved.uid not in (None, first)
    row = Appointment.objects.get()
    assert (row.starts_at, row.calcom_booking_uid) == (at(14), moved.uid)
    assert [former.uid for former in FormerUid.objects.all()] == [first]
    verdict()
    gone = cancel(caller, reason="ill")
    assert gone.code == "cancelled"
    row = Appointment.objects.get()
    assert (row.status, row.sync_attempt_count) == (Status.CANCELLED, 3)
    assert calcom.booking(moved.uid).cancellation_reason == "ill"
    verdict()
    again = phone().book(at(14))
    assert again.code == "booked"
    assert sorted(Appointment.objects.values_list("status", flat=True)) == ["cancelled", "scheduled"]
    verdict()
    said = [answer.body["say"] for answer in caller.heard]
    words = ("booked", "moved", "cancelled") if language == "en" else ("gebucht", "verlegt", "abgesagt")
    assert all(word in sentence for word, sentence in zip(words, said, strict=True)), said


def test_book_move_away_and_book_the_first_time_again(calcom, salon, booked, phone, verdict):
    move(booked, at(14))
    again = booked.book(at(10), notes="again")
    assert again.code == "booked"
    rows = {row.starts_at: row.status for row in Appointment.objects.all()}
    assert rows == {at(10): "scheduled", at(14): "scheduled"}
    verdict()


def test_a_second_move_works_on_the_new_uid(calcom, salon, booked, verdict):
    move(booked, at(12))
    assert move(booked, at(15)).code == "rescheduled"
    assert Appointment.objects.get().starts_at == at(15)
    assert len(calcom.active_bookings()) == 1
    verdict()


def test_an_offered_slot_names_the_time(calcom, salon, booked, verdict):
    day = at(10).date().isoformat()
    slots = booked.ask("check_availability", service="haircut", date=day).body["slots"]
    answer = booked.ask("reschedule_appointment", slot_id=slots[4]["slot_id"])
    assert answer.code == "rescheduled"
    assert answer.body["appointment"]["start"] == slots[4]["start"]
    colour = booked.ask("check_availability", service="colour", date=day).body["slots"]
    assert booked.ask("reschedule_appointment", slot_id=colour[4]["slot_id"]).code == "not_allowed"
    verdict()


def test_repeats_cost_nothing_and_say_the_same(calcom, salon, booked, verdict):
    first = move(booked, at(14))
    posts = len(calcom.requests("reschedule"))
    second = move(booked, at(14))
    third = move(booked, at(14), service="haircut")
    assert [second.code, third.code] == ["rescheduled"] * 2
    assert (second.body["replayed"], third.body["replayed"]) == (True, False)
    assert second.uid == first.uid
    assert len(calcom.requests("reschedule")) == posts
    assert cancel(booked).code == "cancelled"
    again = cancel(booked)
    assert (again.code, again.body["replayed"]) == ("cancelled", True)
    assert cancel(booked, reason="other words").code == "cancelled"
    assert len(calcom.requests("cancel")) == 1
    verdict()


# --- which one


def test_of_several_the_caller_is_asked_and_never_the_newest_taken(calcom, salon, phone, verdict):
    phone().book(at(10))
    phone().book(at(12))
    phone().book(at(10, days=12), service="shave")
    caller = phone()
    answer = cancel(caller)
    assert answer.code == "ambiguous"
    assert len(answer.body["appointments"]) == 3
    assert cancel(caller, day=at(10).date().isoformat()).code == "ambiguous"
    assert cancel(caller, service="shave").code == "cancelled"
    chosen = answer.body["appointments"][1]
    assert move(caller, at(16), appointment=str(chosen["id"])).code == "rescheduled"
    rows = {row.starts_at: row.status for row in Appointment.objects.all()}
    assert rows == {at(10): "scheduled", at(16): "scheduled", at(10, days=12): "cancelled"}
    verdict()


def test_an_anonymous_caller_may_change_what_was_booked_in_this_call(calcom, salon, phone, verdict):
    caller = phone(from_number="anonymous")
    caller.book(at(10))
    assert move(caller, at(12)).code == "rescheduled"
    assert cancel(caller).code == "cancelled"
    assert cancel(phone(from_number="anonymous")).code == "not_found"
    verdict()


def test_a_booking_made_on_the_web_is_cancelled_by_phone(calcom, salon, phone, announced, work, verdict):
    calcom.web_book("open", start=at(10), phone="+4915112345678")
    work()
    assert cancel(phone()).code == "cancelled"
    work(seconds=60)
    assert not calcom.active_bookings()
    verdict()


# --- policies


@pytest.mark.parametrize("of", ["company", "service"])
def test_what_the_salon_does_not_allow_is_refused_in_words(calcom, salon, booked, of, verdict):
    rows = Company.objects if of == "company" else Service.objects
    rows.update(may_reschedule=False, may_cancel=False)
    assert move(booked, at(14)).code == "not_allowed"
    assert cancel(booked).code == "not_allowed"
    rows.update(may_reschedule=True, may_cancel=True, change_notice_minutes=60 * 24 * 30)
    refused = move(booked, at(15))
    assert refused.code == "not_allowed"
    assert "up to 30 days before" in refused.body["say"]
    assert not calcom.requests("reschedule")
    assert not calcom.requests("cancel")
    verdict()


def test_a_service_may_allow_what_the_company_does_not(calcom, salon, booked, verdict):
    Company.objects.update(may_cancel=False)
    Service.objects.update(may_cancel=True)
    assert cancel(booked).code == "cancelled"
    verdict()


@pytest.mark.parametrize(
    ("start", "code"),
    [
        (lambda: at(10) - dt.timedelta(days=30), "too_soon"),
        (lambda: at(10) + dt.timedelta(days=700), "invalid_request"),
    ],
)
def test_a_time_that_cannot_be_is_refused_before_anything_is_sent(calcom, salon, booked, start, code):
    assert move(booked, start()).code == code
    assert not calcom.requests("reschedule")


def test_a_move_without_a_time_asks_for_it(calcom, salon, booked):
    assert booked.ask("reschedule_appointment").code == "invalid_request"


# --- what Cal.com answers


def offered(caller: Phone) -> list[str]:
    free = caller.ask("check_availability", service="haircut", date=at(14).date().isoformat())
    return [each["start"] for each in free.body["slots"]]


def test_what_a_move_takes_and_gives_back_is_offered_accordingly_at_once(calcom, salon, booked):
    assert {at(10).isoformat(), at(14).isoformat()} & set(offered(booked)) == {at(14).isoformat()}
    move(booked, at(14))
    assert {at(10).isoformat(), at(14).isoformat()} & set(offered(booked)) == {at(10).isoformat()}


def test_a_taken_slot_leaves_the_old_booking_untouched_and_offers_others(calcom, salon, booked, verdict):
    uid = Appointment.objects.get().calcom_booking_uid
    assert at(14).isoformat() in offered(booked)
    calcom.web_book("open", start=at(14))
    answer = move(booked, at(14))
    assert answer.code == "slot_taken"
    assert answer.body["alternatives"]
    assert at(14).isoformat() not in [each["start"] for each in answer.body["alternatives"]] + offered(booked)
    assert Appointment.objects.get().calcom_booking_uid == uid
    assert calcom.booking(uid).is_active
    assert not SyncFailure.objects.exists()


@pytest.mark.parametrize("operation", ["reschedule", "cancel"])
@pytest.mark.parametrize("trouble", ["timeout", "500", "reset", "400", "unreadable", "race"])
def test_made_although_the_answer_says_otherwise(
    calcom, salon, booked, verdict, settle_later, settings, operation, trouble
):
    if trouble == "timeout":
        settings.ANSWER_BUDGET_SECONDS = SHORT_BUDGET_SECONDS
    faults = calcom.faults
    {
        "timeout": lambda: faults.timeout_after_commit(operation=operation),
        "500": lambda: faults.server_error(commit=True, operation=operation),
        "reset": lambda: faults.reset_connection(commit=True, operation=operation),
        "400": lambda: faults.taken_after_commit(operation=operation),
        "unreadable": lambda: faults.unreadable_answer(operation=operation),
        "race": lambda: faults.lost_race(commit=True, operation=operation),
    }[trouble]()
    answer = move(booked, at(14)) if operation == "reschedule" else cancel(booked)
    done = "rescheduled" if operation == "reschedule" else "cancelled"
    assert answer.code in (done, "checking")
    if answer.code == "checking":
        settle_later()
    row = Appointment.objects.get()
    if operation == "reschedule":
        assert (row.starts_at, row.status) == (at(14), Status.SCHEDULED)
    else:
        assert row.status == Status.CANCELLED
    assert len(calcom.requests(operation)) == 1
    again = move(booked, at(14)) if operation == "reschedule" else cancel(booked)
    assert again.code == done
    assert len(calcom.requests(operation)) == 1
    verdict()


@pytest.mark.parametrize("operation", ["reschedule", "cancel"])
@pytest.mark.parametrize("trouble", ["timeout", "500", "503"])
def test_not_made_and_nobody_knows(
    calcom, salon, booked, verdict, settle_later, settings, operation, trouble
):
    if trouble == "timeout":
        settings.ANSWER_BUDGET_SECONDS = SHORT_BUDGET_SECONDS
    faults = calcom.faults
    {
        "timeout": lambda: faults.timeout_before_commit(operation=operation),
        "500": lambda: faults.server_error(commit=False, operation=operation, times=None),
        "503": lambda: faults.server_error(commit=False, operation=operation, status=503),
    }[trouble]()
    answer = move(booked, at(14)) if operation == "reschedule" else cancel(booked)
    assert answer.code == "checking"
    assert len(calcom.requests(operation)) == (2 if trouble == "500" else 1)
    assert Appointment.objects.get().status == Status.SCHEDULED
    settle_later(seconds=20)
    assert BookingAttempt.objects.exclude(kind="create").get().state == State.UNKNOWN
    settle_later()
    assert BookingAttempt.objects.exclude(kind="create").get().state == State.ABSENT
    assert Appointment.objects.get().starts_at == at(10)
    assert CallbackRequest.objects.count() == 1, "whoever was told 'checking' is called"
    verdict()


def test_a_500_before_the_commit_is_asked_for_once_more(calcom, salon, booked, verdict):
    calcom.faults.server_error(commit=False, operation="reschedule")
    assert move(booked, at(14)).code == "rescheduled"
    assert len(calcom.requests("reschedule")) == 2
    assert len(calcom.active_bookings()) == 1
    verdict()


def test_a_move_that_hands_back_another_booking_is_not_believed(calcom, salon, booked, phone, verdict):
    other = phone(from_number="+4917698765432").book(at(14), customer_name="Bert Maier").uid
    calcom.faults.hand_back(other, operation="reschedule")
    answer = move(booked, at(14))
    assert answer.code == "unavailable"
    mine = Appointment.objects.get(customer__phone="+4915112345678")
    assert mine.starts_at == at(10)
    assert BookingAttempt.objects.latest("pk").state == State.REFUSED
    assert SyncFailure.objects.get().calcom_booking_id == other
    assert calcom.booking(other).is_active
    assert Appointment.objects.get(calcom_booking_uid=other).starts_at == at(14)
    verdict()


def test_a_move_to_another_time_than_asked_is_told_as_what_it_is(calcom, salon, booked, verdict):
    calcom.faults.shift_start(15, operation="reschedule")
    answer = move(booked, at(14))
    assert (answer.code, answer.body["appointment"]["start"]) == ("not_found", at(14, 15).isoformat())
    assert "2:15 PM" in answer.body["say"]
    assert Appointment.objects.get().starts_at == at(14, 15)
    assert not SyncFailure.objects.exists()  # it is no other booking
    assert not CallbackRequest.objects.exists()
    assert move(booked, at(14)).code == "rescheduled"
    verdict()


@pytest.mark.parametrize("answer", ["refusal", "another booking"])
def test_nobody_is_told_no_while_what_they_have_there_cannot_be_asked_for(
    calcom, salon, booked, phone, verdict, settle_later, answer
):
    if answer == "refusal":
        calcom.faults.refuse(TAKEN, operation="reschedule")
    else:
        other = phone(from_number="+4917698765432").book(at(14), customer_name="Bert Maier").uid
        calcom.faults.hand_back(other, operation="reschedule")
    calcom.faults.server_error(commit=False, operation="list", status=503, times=None)
    assert move(booked, at(14)).code == "checking"
    assert BookingAttempt.objects.latest("pk").state == State.UNKNOWN
    calcom.faults.clear()
    settle_later()
    verdict()


def test_a_change_that_is_seen_to_be_made_is_a_yes_whatever_the_answer_shows(calcom, salon, booked, verdict):
    calcom.faults.add("reschedule", patch={"rescheduledFromUid": "elsewhere"})
    assert move(booked, at(14)).code == "rescheduled"
    calcom.faults.add("cancel", patch={"status": "accepted"})
    assert cancel(booked).code == "cancelled"
    verdict()


def test_a_change_that_is_refused_is_answered_by_what_was_refused(calcom, salon, booked, verdict):
    too_soon = (
        'User can\'t be booked at the "start" time provided',
        "Attempting to book a meeting in the past.",
        "The event can't be booked: not allowed within the minimum notice period",
    )
    for hour, said in enumerate(too_soon, start=12):
        calcom.faults.refuse(said, operation="reschedule")
        assert move(booked, at(hour)).code == "too_soon"
    calcom.faults.refuse("Cannot cancel a booking that has already ended", operation="cancel")
    assert cancel(booked).code == "not_allowed"
    moved_already = "Can't reschedule it, because it has been cancelled and rescheduled already"
    calcom.faults.refuse(moved_already, operation="reschedule")
    assert move(booked, at(15)).code == "checking", "what is shown stands where it was"
    assert Appointment.objects.get().starts_at == at(10)
    assert not SyncFailure.objects.exists()
    verdict()


def test_what_is_too_near_to_be_moved_is_not_offered_another_time(calcom, salon, booked, verdict):
    said = "Rescheduling is not allowed within the minimum notice period before the event"
    calcom.faults.refuse(said, operation="reschedule", status=403)
    answer = move(booked, at(14))
    assert (answer.code, answer.body["alternatives"]) == ("not_allowed", [])
    assert answer.body["say"] == (
        "I'm sorry, it is too late for that: the appointment cannot be moved any more."
    )
    assert Appointment.objects.get().starts_at == at(10)
    assert not SyncFailure.objects.exists()
    verdict()


def test_no_to_the_second_request_is_no_answer_to_the_first(calcom, salon, booked, verdict, settle_later):
    for hour, said in ((12, TAKEN), (14, "property title should not exist")):
        calcom.faults.server_error(commit=False, operation="reschedule")
        calcom.faults.refuse(said, operation="reschedule")
        assert move(booked, at(hour)).code == "checking"
        settle_later()
    assert not SyncFailure.objects.exists()
    verdict()


def test_a_short_rate_limit_is_waited_for(calcom, salon, booked, verdict):
    calcom.faults.rate_limited(1, operation="reschedule")
    assert move(booked, at(14)).code == "rescheduled"
    verdict()


def test_what_was_cancelled_on_the_web_unheard_is_not_moved_and_told_so(calcom, salon, booked, verdict):
    calcom.web_cancel(Appointment.objects.get().calcom_booking_uid, silent=True)
    answer = move(booked, at(14))
    assert (answer.code, answer.body["appointment"]) == ("not_found", None)
    assert Appointment.objects.get().status == Status.CANCELLED
    verdict()


def test_cancelled_on_the_web_meanwhile_is_a_yes(calcom, salon, booked, verdict):
    calcom.web_cancel(Appointment.objects.get().calcom_booking_uid, silent=True)
    assert cancel(booked).code == "cancelled"
    assert Appointment.objects.get().status == Status.CANCELLED
    verdict()


@pytest.mark.parametrize("says", ["no", "yes"])
def test_moved_on_the_web_meanwhile_is_told_and_not_undone(calcom, salon, booked, verdict, says):
    uid = Appointment.objects.get().calcom_booking_uid
    moved = calcom.web_reschedule(uid, at(16), silent=True)
    if says == "yes":  # to both at once, and shows what the move has left of it
        calcom.faults.hand_back(uid, operation="cancel")
    answer = cancel(booked)
    assert answer.code == "not_found"
    assert "4 PM" in answer.body["say"]
    assert calcom.booking(moved.uid).is_active
    assert Appointment.objects.get().calcom_booking_uid == moved.uid
    assert cancel(booked, reason="yes, that one").code == "cancelled"
    verdict()


def test_a_move_that_was_cut_off_is_not_called_made_for_another_on_the_web(
    calcom, salon, booked, verdict, settle_later
):
    calcom.web_reschedule(Appointment.objects.get().calcom_booking_uid, at(16), silent=True)
    calcom.faults.reset_connection(commit=False, operation="reschedule")
    assert move(booked, at(14)).code == "checking"
    settle_later()
    assert BookingAttempt.objects.latest("pk").state == State.ABSENT
    assert Appointment.objects.get().starts_at == at(16)
    verdict()


def test_moved_away_on_the_web_unheard_it_is_moved_back_by_phone_and_not_only_said_to_be(
    calcom, salon, booked, verdict
):
    away = calcom.web_reschedule(Appointment.objects.get().calcom_booking_uid, at(16), silent=True)
    answer = move(booked, at(10))
    assert answer.code == "rescheduled"
    assert answer.uid != away.uid
    assert [(each.uid, each.start) for each in calcom.active_bookings()] == [(answer.uid, at(10))]
    verdict()


@pytest.mark.parametrize(
    "answered",
    [
        {"status": 500},
        {"status": 400, "body": api_body(400, "User either already has booking at this time or is")},
        {"patch": {"start": "2030-01-01T10:00:00.000Z"}},
    ],
    ids=["an error", "taken", "another time"],
)
def test_moved_and_cancelled_on_the_web_before_it_was_looked_for_is_no_yes(
    calcom, salon, booked, verdict, answered
):
    def cancelled(exchange):
        calcom.web_cancel(exchange.booking.uid, silent=True)

    calcom.faults.add("reschedule", commit=True, call={"before_answer": cancelled}, **answered)
    answer = move(booked, at(14))
    assert answer.code == "not_found"
    assert "cancelled in the meantime" in answer.body["say"]
    assert Appointment.objects.get().status == Status.CANCELLED
    change = BookingAttempt.objects.get(kind="reschedule")
    assert (change.state, change.told) == (State.SUCCEEDED, "not_found")
    verdict()


def test_moved_and_known_to_be_cancelled_before_cal_com_has_answered_is_no_yes(
    calcom, salon, booked, announced, work, verdict
):
    def cancelled_and_heard(exchange):
        calcom.web_cancel(exchange.booking.uid)
        work(seconds=30)
        connection.close()

    calcom.faults.add("reschedule", call={"before_answer": cancelled_and_heard})
    assert move(booked, at(14)).code == "not_found"
    assert Appointment.objects.get().status == Status.CANCELLED
    verdict()


@pytest.mark.parametrize("settled", ["by the request", "by the completer"])
def test_cancelled_and_confirmed_again_before_cal_com_has_answered_it_stands(
    calcom, salon, booked, announced, work, settle_later, verdict, settled
):
    """The answer is old by the time it is read: its process stood still, or it was long on its way."""

    def confirmed_again(exchange):
        if settled == "by the completer":
            settle_later()
        calcom.clock.advance(1)
        calcom.web_confirm(exchange.booking.uid)
        work(seconds=60)
        connection.close()

    calcom.faults.add("cancel", call={"before_answer": confirmed_again})
    answer = cancel(booked)
    assert answer.code == "not_found"
    assert answer.body["appointment"]["status"] == Appointment.objects.get().status == Status.SCHEDULED
    verdict()


def test_moved_out_of_sight_on_the_web_is_not_told_as_cancelled(calcom, salon, booked, run):
    uid = Appointment.objects.get().calcom_booking_uid
    for days in range(LONGEST_CHAIN + 1):
        uid = calcom.web_reschedule(uid, at(9, days=20 + days), silent=True).uid
    assert cancel(booked).code == "checking"
    assert calcom.booking(uid).is_active
    run()
    assert Appointment.objects.get().status == Status.SCHEDULED
    assert open_failures().exists()


def test_cancelled_and_confirmed_again_on_the_web_unheard_it_is_cancelled_once_more(
    calcom, salon, booked, verdict
):
    row = Appointment.objects.get()
    assert cancel(booked).code == "cancelled"
    calcom.web_confirm(row.calcom_booking_uid, silent=True)
    assert cancel(booked, appointment=str(row.pk)).code == "cancelled"
    assert not calcom.active_bookings()
    verdict()


def test_a_cancellation_repeated_is_not_answered_from_memory_for_another_that_is_cancelled_too(
    calcom, booked, verdict
):
    """Else the caller hears "cancelled" of what stands again."""
    stands = Appointment.objects.get()
    other = booked.book(at(12)).body["appointment"]["id"]
    assert cancel(booked, appointment=str(other)).code == "cancelled"
    assert cancel(booked, appointment=str(stands.pk)).code == "cancelled"
    calcom.web_confirm(stands.calcom_booking_uid, silent=True)
    Appointment.objects.filter(pk=stands.pk).update(status=Status.SCHEDULED)
    assert cancel(booked, appointment=str(stands.pk)).code == "cancelled"
    assert not calcom.active_bookings()
    verdict()


CHANGES: dict[str, Callable[[Phone], Answer]] = {
    "reschedule": lambda caller: move(caller, at(14)),
    "cancel": cancel,
}
OVER_THE_LIMIT = 60  # seconds: longer than any caller waits


@pytest.mark.parametrize("operation", CHANGES)
def test_what_is_asked_for_again_and_not_let_in_is_no_reason_to_forget_the_first_request(
    calcom, salon, booked, verdict, settle_later, operation
):
    """It is carried out after all, when everybody has looked."""
    calcom.faults.late_commit(1.5, operation=operation, status=500)
    calcom.faults.rate_limited(OVER_THE_LIMIT, operation=operation, times=None)
    before = calcom.active_bookings()
    assert CHANGES[operation](booked).code == "checking"
    wait_until(lambda: calcom.active_bookings() != before)
    settle_later(seconds=20)
    row = Appointment.objects.get()
    if operation == "reschedule":
        assert (row.starts_at, row.status) == (at(14), Status.SCHEDULED)
    else:
        assert row.status == Status.CANCELLED
    verdict()


def test_a_move_that_was_denied_and_made_all_the_same_is_followed_and_the_caller_is_rung(
    calcom, salon, booked, verdict, settle_later
):
    calcom.faults.add("reschedule", late_commit=1.0, status=400, body=api_body(400, TAKEN))
    assert move(booked, at(14)).code == "slot_taken"
    wait_until(lambda: calcom.active_bookings()[0].start == at(14))
    settle_later(seconds=90)
    row = Appointment.objects.get()
    assert (row.starts_at, row.status) == (at(14), Status.SCHEDULED)
    assert (CallbackRequest.objects.get().kind, CallbackRequest.objects.get().status) == (
        "not_changed",
        "open",
    )
    verdict()


def test_a_move_nobody_knows_of_that_was_moved_on_since_is_known_to_be_made(
    calcom, salon, booked, verdict, settle_later, settings
):
    settings.ANSWER_BUDGET_SECONDS = SHORT_BUDGET_SECONDS
    calcom.faults.timeout_after_commit(operation="reschedule")
    assert move(booked, at(14)).code == "checking"
    (moved,) = calcom.active_bookings()
    calcom.web_reschedule(moved.uid, at(16), by_owner=True, silent=True)
    settle_later()
    assert BookingAttempt.objects.latest("pk").state == State.SUCCEEDED
    assert Appointment.objects.get().starts_at == at(16)
    assert not CallbackRequest.objects.exists()
    verdict()


@pytest.mark.parametrize("shown", ["it, standing", "another, cancelled", "another, whatever is asked for"])
def test_a_yes_to_a_cancellation_that_does_not_show_it_cancelled_is_not_believed(
    calcom, salon, booked, verdict, settle_later, shown
):
    uid = Appointment.objects.get().calcom_booking_uid
    if shown != "it, standing":
        uid = calcom.seed_booking("open", start=at(12), status="cancelled").uid
    calcom.faults.hand_back(uid, operation="cancel")
    if shown == "another, whatever is asked for":
        calcom.faults.hand_back(uid, operation="get", times=None)
    assert cancel(booked).code == "checking"
    calcom.faults.clear()
    settle_later()
    assert Appointment.objects.get().status == Status.SCHEDULED
    assert CallbackRequest.objects.get().status == "open"
    verdict()


@pytest.mark.parametrize("operation", CHANGES)
def test_what_is_called_cancelled_already_and_shown_standing_is_told_as_unknown(
    calcom, salon, booked, verdict, settle_later, operation
):
    calcom.faults.refuse("Can't change it, because it has been cancelled already", operation=operation)
    assert CHANGES[operation](booked).code == "checking"
    settle_later()
    assert Appointment.objects.get().status == Status.SCHEDULED
    verdict()


def test_a_move_answered_with_another_booking_is_unknown_while_nobody_can_look(
    calcom, salon, booked, phone, verdict, settle_later
):
    other = phone(from_number="+4917698765432").book(at(14), customer_name="Bert Maier").uid
    calcom.faults.hand_back(other, operation="reschedule")
    calcom.faults.server_error(commit=False, operation="get", status=503, times=None)
    assert move(booked, at(14)).code == "checking"
    assert BookingAttempt.objects.latest("pk").state == State.UNKNOWN
    calcom.faults.clear()
    settle_later()
    assert {booking.start for booking in calcom.active_bookings()} == {at(10), at(14)}
    verdict()


def test_while_a_change_cannot_be_found_out_no_second_one_is_sent(
    calcom, salon, booked, verdict, settle_later, settings
):
    settings.ANSWER_BUDGET_SECONDS = SHORT_BUDGET_SECONDS
    calcom.faults.timeout_before_commit(operation="cancel")
    assert cancel(booked).code == "checking"
    calcom.faults.server_error(commit=False, operation="get", status=503, times=None)
    calcom.clear_log()
    assert cancel(booked, reason="once more").code == "checking"
    assert move(booked, at(14), appointment=Appointment.objects.get().pk).code == "checking"
    assert not calcom.requests("cancel")
    assert not calcom.requests("reschedule")
    assert len(calcom.requests("get")) <= 2 * READ_TRIES, "each has looked once"
    calcom.faults.clear()
    settle_later()
    verdict()


def test_whoever_has_something_there_is_told_so_although_cal_com_cannot_be_asked(
    calcom, salon, booked, phone, verdict
):
    second = phone().book(at(12))
    calcom.faults.server_error(commit=False, operation="get", status=503, times=None)
    first = str(booked.heard[-1].body["appointment"]["id"])
    answer = booked.ask("reschedule_appointment", appointment=first, new_start=at(12).isoformat())
    assert (answer.code, answer.uid) == ("already_booked", second.uid)
    assert not calcom.requests("reschedule")


@pytest.mark.parametrize("operation", CHANGES)
def test_while_cal_com_is_known_to_be_down_no_change_is_sent(
    calcom, salon, booked, phone, verdict, settle_later, operation
):
    calcom.faults.outage()
    for hour in (9, 10, 11, 12, 13, 14):
        phone(from_number=f"+49151876543{hour}").book(at(hour, days=8))
    assert CHANGES[operation](booked).code == "unavailable"
    assert not calcom.requests(operation)
    assert CallbackRequest.objects.filter(kind="not_changed").exists()
    calcom.faults.restore()
    settle_later()
    verdict()


@pytest.mark.parametrize("operation", CHANGES)
def test_what_has_begun_is_told_to_have_begun_and_not_changed(calcom, salon, booked, operation):
    row = Appointment.objects.get()
    begun = timezone.now() - dt.timedelta(minutes=5)
    Appointment.objects.update(starts_at=begun, ends_at=begun + dt.timedelta(minutes=30))
    function = {"reschedule": "reschedule_appointment", "cancel": "cancel_appointment"}[operation]
    more = {"new_start": at(14).isoformat()} if operation == "reschedule" else {}
    for words in ({"appointment": row.pk}, {}, {"service": "haircut"}):
        answer = booked.ask(function, **words, **more)
        assert answer.code == "not_allowed", answer.body["say"]
        assert "already begun" in answer.body["say"]
    assert booked.ask(function, service="colour", **more).code == "not_found"
    assert not calcom.requests(operation)


def test_a_booking_cal_com_does_not_know_is_a_ticket(calcom, salon, booked):
    calcom.erase(Appointment.objects.get().calcom_booking_uid)
    answer = cancel(booked)
    assert answer.code == "unavailable"
    assert SyncFailure.objects.get().failure_type == "orphaned_local"
    assert CallbackRequest.objects.count() == 1


def test_a_refused_key_is_one_ticket_and_a_callback(calcom, salon, booked, verdict):
    calcom.faults.refuse("Invalid API key", status=401, operation="any", times=None)
    assert move(booked, at(14)).code == "unavailable"
    assert cancel(booked).code == "unavailable"
    failure = SyncFailure.objects.get()
    assert (failure.failure_type, failure.occurrences) == ("config_error", 2)
    calcom.faults.clear()
    assert Appointment.objects.get().status == Status.SCHEDULED


@pytest.mark.parametrize("ended_here", [False, True])
def test_a_booking_that_is_gone_when_its_change_is_looked_for_is_a_ticket_while_it_stands_here(
    calcom, salon, booked, settle_later, settings, ended_here
):
    settings.ANSWER_BUDGET_SECONDS = 2
    calcom.faults.timeout_before_commit(operation="cancel")
    assert cancel(booked).code == "checking"
    row = Appointment.objects.get()
    calcom.erase(row.calcom_booking_uid)
    if ended_here:
        Appointment.objects.update(status=Status.CANCELLED)
    settle_later()
    assert BookingAttempt.objects.get(kind="cancel").state == "absent"
    tickets = SyncFailure.objects.values_list("failure_type", "calcom_booking_id")
    assert list(tickets) == ([] if ended_here else [("orphaned_local", row.calcom_booking_uid)])


@pytest.mark.parametrize(
    ("ask", "said"),
    [
        (lambda caller: move(caller, at(14)), "Moved by phone."),
        (lambda caller: cancel(caller, reason="I broke my leg"), "I broke my leg"),
    ],
    ids=["move", "cancel"],
)
def test_the_ticket_of_a_refused_change_quotes_nobody(calcom, salon, booked, ask, said):
    calcom.faults.refuse(f"reason is wrong, '{said}' of Weber, Anna", operation="any", times=None)
    assert ask(booked).code == "unavailable"
    assert SyncFailure.objects.get().error_message.endswith("reason is wrong, '***' of ***, ***")


def test_an_outage_is_answered_at_once_and_honestly(calcom, salon, booked):
    Company.objects.update(calcom_base_url="http://127.0.0.1:9/v2")
    answer = cancel(booked)
    assert answer.code == "unavailable"
    assert answer.seconds < 3
    assert BookingAttempt.objects.get(kind="cancel").state == State.NOT_SENT


# --- what fails on our side


def test_a_change_that_cannot_be_stored_is_settled_later(calcom, salon, booked, verdict, settle_later):
    with refusals() as refused:
        refused.add("appointments", "UPDATE OF starts_at", text="disk full")
        assert move(booked, at(14)).code == "checking"
    settle_later(seconds=60)
    assert Appointment.objects.get().starts_at == at(14)
    verdict()


def test_a_crash_in_a_cancel_is_found_by_the_completer(calcom, salon, booked, verdict, settle_later):
    """The claim is there, the request was carried out, and the process is gone."""
    row = Appointment.objects.get()
    now = timezone.now()
    BookingAttempt.objects.create(
        company=salon,
        appointment=row,
        call=Call.objects.get(),
        kind="cancel",
        state=State.CLAIMED,
        idempotency_key=row.idempotency_key or "",
        target_uid=row.calcom_booking_uid or "",
        lease_expires_at=now + dt.timedelta(seconds=30),
        request={"reason": "ill"},
    )
    calcom.web_cancel(row.calcom_booking_uid, silent=True)
    settle_later(seconds=40)
    row.refresh_from_db()
    assert row.status == Status.CANCELLED
    assert BookingAttempt.objects.get(kind="cancel").state == State.SUCCEEDED
    verdict()


def test_whoever_comes_while_a_change_is_unknown_joins_it(calcom, salon, booked, verdict, settings):
    settings.ANSWER_BUDGET_SECONDS = SHORT_BUDGET_SECONDS
    calcom.faults.timeout_after_commit(operation="cancel")
    assert cancel(booked).code == "checking"
    assert cancel(booked).code == "cancelled"
    assert len(calcom.requests("cancel")) == 1
    verdict()


@pytest.mark.parametrize("again", ["same call", "new call"])
def test_a_booking_is_not_called_booked_while_its_cancellation_is_unknown(
    calcom, salon, booked, phone, verdict, settle_later, settings, again
):
    settings.ANSWER_BUDGET_SECONDS = SHORT_BUDGET_SECONDS
    calcom.faults.timeout_after_commit(operation="cancel")
    assert cancel(booked).code == "checking"
    calcom.faults.server_error(commit=False, operation="get", times=None)
    caller = booked if again == "same call" else phone()
    assert caller.book(at(10)).code == "checking"
    assert move(caller, at(10)).code == "checking"
    calcom.faults.clear()
    settle_later(seconds=60)
    assert Appointment.objects.get().status == Status.CANCELLED
    assert caller.book(at(10)).code == "booked"
    assert len(calcom.active_bookings()) == 1
    verdict()


def test_booking_again_settles_a_cancellation_that_nobody_knows_of(
    calcom, salon, booked, phone, verdict, settings
):
    settings.ANSWER_BUDGET_SECONDS = SHORT_BUDGET_SECONDS
    calcom.faults.timeout_after_commit(operation="cancel")
    assert cancel(booked).code == "checking"
    assert phone().book(at(10)).code == "booked"
    assert sorted(Appointment.objects.values_list("status", flat=True)) == ["cancelled", "scheduled"]
    verdict()


# --- at once


@pytest.mark.parametrize("same", [True, False])
def test_two_moves_of_one_booking_at_once_end_in_one(calcom, salon, booked, phone, verdict, same):
    calcom.faults.add("reschedule", delay_before=0.4, times=None)
    hours = (14, 14) if same else (14, 15)
    answers = []

    def go(caller, hour):
        try:
            answers.append(move(caller, at(hour)).code)
        finally:
            connection.close()

    threads = [threading.Thread(target=go, args=(phone(), hour)) for hour in hours]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert set(answers) <= {"rescheduled", "checking"}
    assert len(calcom.active_bookings()) == 1
    assert len(calcom.requests("reschedule")) == (1 if same else 2)
    verdict()


def test_a_move_and_a_booking_onto_one_slot_are_not_both_made(calcom, salon, booked, phone, verdict):
    calcom.faults.add("any", delay_before=0.2, times=None)
    codes = []

    def go(work):
        try:
            codes.append(work().code)
        finally:
            connection.close()

    other = phone(from_number="+4917698765432")
    threads = [
        threading.Thread(target=go, args=(lambda: move(booked, at(14)),)),
        threading.Thread(target=go, args=(lambda: other.book(at(14), customer_name="Bert Maier"),)),
    ]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert sorted(codes) in (["booked", "slot_taken"], ["rescheduled", "slot_taken"])
    calcom.faults.clear()
    verdict()


def test_a_move_across_the_change_of_clocks_is_the_same_wall_clock(calcom, salon, booked, verdict):
    day = dt.date(2027, 3, 29)
    answer = booked.ask("reschedule_appointment", new_start=f"{day.isoformat()}T10:00")
    assert answer.code == "rescheduled"
    assert Appointment.objects.get().starts_at == dt.datetime(2027, 3, 29, 10, tzinfo=BERLIN)
    verdict()

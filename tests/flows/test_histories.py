"""Histories of several steps, each of which once ended with two bookings, a lost one or a wrong sentence."""

from __future__ import annotations

import datetime as dt
import json
import logging
import socket
import threading
import time
from collections.abc import Callable
from typing import Any

import pytest
from django.db import connection, connections, transaction

from booking import idempotency
from booking.calcom.simulator.faults import api_body, core_body
from booking.calcom.simulator.state import ALWAYS
from booking.models import (
    Appointment,
    BookingAttempt,
    CallbackRequest,
    FormerUid,
    Service,
    SyncFailure,
)
from booking.models.appointment import LIVE_STATUSES
from booking.models.sync_failure import OPEN_STATUSES
from calls.models import Call, FunctionCall
from customers.models import Company, Customer
from tests.factories import CustomerFactory
from tests.flows.conftest import make_salon
from tests.flows.phone import BERLIN, Phone, at
from tests.flows.state import posts
from tests.waiting import wait_until

OTHER_NUMBER = "+4915187654321"
STUDIO_NUMBER = "+493012345679"
INVALID_KEY = {"statusCode": 401, "message": "CustomThrottlerGuard - Invalid API Key"}
NOT_FOUND_YET = api_body(404, "Booking with uid=abc was not found in the database")


def live() -> list[Appointment]:
    return list(Appointment.objects.filter(status__in=LIVE_STATUSES))


def open_tickets() -> list[str]:
    return list(SyncFailure.objects.filter(status__in=OPEN_STATUSES).values_list("failure_type", flat=True))


def at_event_type(calcom, salon: Company, key: str) -> None:
    """Let the shave be that event type of Cal.com's."""
    Service.objects.filter(company=salon, slug="shave").update(
        calcom_event_type_id=calcom.state.event_type(key).id
    )


def lose_the_answer(calcom, *, commit: bool, times: int = 1) -> None:
    """The next bookings are made (or not) without an answer, and no look shows them for an hour."""
    calcom.faults.add("create", commit=commit, reset=True, hide_for=3600, times=times)


def show_what_was_hidden(calcom) -> None:
    calcom.clock.advance(3601)


# --- The same booking again, said otherwise


@pytest.mark.parametrize("service", ["haircut", "colour"])
def test_the_same_call_adding_another_phone_number_means_the_same_booking(calcom, phone, verdict, service):
    caller = phone()
    first = caller.book(at(11), service=service)
    second = caller.book(at(11), service=service, customer_phone=OTHER_NUMBER)
    assert (first.code, second.code) == ("booked", "booked")
    assert second.uid == first.uid
    assert posts(calcom) == 1
    verdict()


def test_a_withheld_caller_who_gives_a_number_while_we_are_checking_joins_their_own_booking(
    calcom, phone, verdict, settle_later
):
    lose_the_answer(calcom, commit=True)
    caller = phone(from_number="anonymous")
    assert caller.book(at(11)).code == "checking"
    assert caller.book(at(11), customer_phone=OTHER_NUMBER).code == "checking"
    show_what_was_hidden(calcom)
    settle_later()
    again = caller.book(at(11), customer_phone=OTHER_NUMBER)
    assert again.code == "booked"
    assert [booking.uid for booking in calcom.active_bookings()] == [again.uid]
    assert posts(calcom) == 1
    verdict()


def test_another_name_while_we_are_checking_is_asked_about_and_books_nothing_more(
    calcom, phone, verdict, settle_later
):
    lose_the_answer(calcom, commit=True)
    caller = phone()
    assert caller.book(at(11)).code == "checking"
    corrected = caller.book(at(11), customer_name="Hanne Wäber-Schmidt")
    assert corrected.code == "ambiguous"
    show_what_was_hidden(calcom)
    settle_later()
    assert posts(calcom) == len(calcom.active_bookings()) == len(live()) == 1
    verdict()


def test_two_services_of_one_event_type_at_one_time_are_one_booking(calcom, phone, salon, verdict):
    at_event_type(calcom, salon, "open")
    caller = phone()
    first = caller.book(at(11))
    second = caller.book(at(11), service="shave")
    assert (first.code, second.code) == ("booked", "booked")
    assert second.uid == first.uid
    assert posts(calcom) == 1
    verdict()


def test_a_refusal_is_not_repeated_from_memory_after_the_same_call_has_got_the_slot(calcom, phone, verdict):
    somebody = calcom.web_book("open", start=at(11))
    caller = phone()
    assert caller.book(at(11)).code == "slot_taken"
    calcom.web_cancel(somebody.uid)
    booked = caller.book(at(11), notes="By the window")
    assert booked.code == "booked"
    again = caller.book(at(11))
    assert (again.code, again.uid) == ("booked", booked.uid)
    assert len(calcom.active_bookings()) == 1
    verdict()


def test_two_withheld_callers_with_one_address_both_get_an_appointment(calcom, phone, verdict):
    """Cal.com hands the second one the first one's booking: it knows an attendee by their address."""
    shared = {"service": "colour", "customer_email": "info@office.example"}
    first = phone(from_number="anonymous").book(at(11), **shared)
    second = phone(from_number="anonymous").book(at(11), customer_name="Ben Kurz", **shared)
    assert (first.code, second.code) == ("booked", "booked")
    assert len(calcom.active_bookings()) == 2
    verdict()


def test_an_address_of_ones_own_is_kept_for_all_that_is_booked(calcom, phone):
    CustomerFactory(email="info@office.example")  # at another company
    caller = phone(from_number="anonymous")
    for hour in (9, 11):
        assert caller.book(at(hour), customer_email="info@office.example").code == "booked"
    assert {booking.attendee.email for booking in calcom.active_bookings()} == {"info@office.example"}


# --- A stranger who says somebody's number


@pytest.mark.parametrize("number", ["anonymous", OTHER_NUMBER])
@pytest.mark.parametrize("name", ["A", "Anna", "Frau Weber", "A. Weber", "Zoe Xyz"])
def test_without_the_full_name_a_stranger_is_asked_for_another_number_and_learns_nothing(
    calcom, phone, verdict, number, name
):
    assert phone().book(at(11)).code == "booked"
    answer = phone(from_number=number).book(at(11), customer_phone="+4915112345678", customer_name=name)
    assert answer.code == "invalid_request"
    assert list(answer.body["errors"]) == ["customer_phone"]
    assert answer.body["appointment"] is None
    assert "11" not in answer.body["say"]
    assert posts(calcom) == 1
    verdict()


@pytest.mark.parametrize("number", ["anonymous", OTHER_NUMBER])
def test_with_the_full_name_they_hear_that_it_is_booked_and_no_detail_of_it(calcom, phone, verdict, number):
    first = phone().book(at(11))
    answer = phone(from_number=number).book(at(11), customer_phone="+4915112345678")
    assert answer.code == "already_booked"
    assert answer.body["appointment"] is None
    assert str(first.uid) not in str(answer.body)
    assert "11" not in answer.body["say"]
    assert posts(calcom) == 1
    verdict()


# --- A person moves it at Cal.com


@pytest.mark.parametrize("days", [7, 40], ids=["the same day", "a month later"])
def test_a_booking_that_a_person_moved_before_we_settled_is_stored_where_it_is(
    calcom, phone, verdict, settle_later, days
):
    lose_the_answer(calcom, commit=True)
    assert phone().book(at(11)).code == "checking"
    show_what_was_hidden(calcom)
    (made,) = calcom.active_bookings()
    moved = calcom.web_reschedule(made.uid, at(15, days=days))
    settle_later(seconds=3)
    assert calcom.booking(moved.uid).status == "accepted"
    assert not calcom.requests("cancel")
    (appointment,) = live()
    assert (appointment.calcom_booking_uid, appointment.starts_at) == (moved.uid, at(15, days=days))
    assert appointment.ends_at == at(15, 30, days=days)
    assert [former.uid for former in FormerUid.objects.filter(appointment=appointment)] == [made.uid]
    assert not open_tickets()
    verdict()


def test_a_booking_that_was_moved_away_is_left_alone_when_its_old_time_is_wanted_again(
    calcom, phone, verdict, salon
):
    assert phone().book(at(11)).code == "booked"
    before: Any = Appointment.objects.get()
    moved = calcom.web_reschedule(before.calcom_booking_uid, at(15))
    FormerUid.objects.create(appointment=before, uid=before.calcom_booking_uid)
    Appointment.objects.filter(pk=before.pk).update(
        starts_at=at(15),
        ends_at=at(15, 30),
        calcom_booking_uid=moved.uid,
        idempotency_key=idempotency.booking_key(
            customer_id=before.customer_id, service_id=before.service_id, starts_at=at(15), source="retell"
        ),
    )
    calcom.faults.server_error(commit=False)
    answer = phone().book(at(11))
    assert answer.code == "booked"
    assert {booking.uid for booking in calcom.active_bookings()} == {moved.uid, answer.uid}
    assert not calcom.requests("cancel")
    assert sorted(appointment.starts_at for appointment in live()) == [at(11), at(15)]
    verdict()


# --- Answers to a create that sound like something else


@pytest.mark.parametrize("service", ["haircut", "colour"])
def test_a_404_for_the_booking_just_made_is_looked_up_and_booked(calcom, phone, verdict, service):
    """The replica it is read back from lags behind."""
    calcom.faults.add("create", commit=True, status=404, body=NOT_FOUND_YET, hide_for=0.3)
    answer = phone().book(at(11), service=service)
    assert answer.code == "booked"
    assert [booking.uid for booking in calcom.active_bookings()] == [answer.uid]
    verdict()


@pytest.mark.parametrize("service", ["haircut", "colour"])
def test_a_404_for_a_booking_that_stays_hidden_is_checking_and_settled_later(
    calcom, phone, verdict, settle_later, service
):
    calcom.faults.add("create", commit=True, status=404, body=NOT_FOUND_YET, hide_for=3600)
    caller = phone()
    assert caller.book(at(11), service=service).code == "checking"
    show_what_was_hidden(calcom)
    settle_later()
    assert caller.book(at(11), service=service).code == "booked"
    assert len(calcom.active_bookings()) == 1
    verdict()


def test_a_408_whose_commit_comes_afterwards_is_checking_and_settled_later(
    calcom, phone, verdict, settle_later
):
    calcom.faults.late_commit(0.4, status=408, body={"message": "Request Timeout"})
    caller = phone()
    assert caller.book(at(11)).code == "checking"
    wait_until(lambda: calcom.bookings)
    settle_later()
    assert caller.book(at(11)).code == "booked"
    assert posts(calcom) == len(calcom.active_bookings()) == 1
    verdict()


REFUSED_AND_MADE = {
    "taken": (400, api_body(400, "User either already has booking at this time or is not available")),
    "lost race": (400, core_body(400, "An error occurred while querying the database.")),
    "contract": (400, api_body(400, "title property is wrong,title should not be empty ")),
    "limit": (400, api_body(400, "maximum number of active bookings has been reached")),
}


@pytest.mark.parametrize("service", ["haircut", "colour"])
@pytest.mark.parametrize("kind", REFUSED_AND_MADE)
def test_what_was_refused_and_made_all_the_same_is_cancelled_once_it_is_seen(
    calcom, phone, verdict, settle_later, run, kind, service
):
    status, body = REFUSED_AND_MADE[kind]
    calcom.faults.add("create", commit=True, status=status, body=body, hide_for=3600)
    caller = phone()
    answer = caller.book(at(11), service=service)
    show_what_was_hidden(calcom)
    run()
    assert "orphaned_calcom" not in open_tickets(), "it is seen to"
    settle_later(seconds=5)
    if answer.body["success"]:  # the repeat was answered with what the first one had made
        assert [booking.uid for booking in calcom.active_bookings()] == [answer.uid]
    elif answer.code == "checking":
        assert caller.book(at(11), service=service).code == "booked"
        assert len(calcom.active_bookings()) == 1
    else:
        assert not calcom.active_bookings()
        assert not live()
    assert "orphaned_calcom" not in open_tickets()
    verdict()


def test_a_refused_booking_whose_cancel_fails_is_a_ticket_until_it_is_cancelled(
    calcom, phone, verdict, settle_later
):
    calcom.faults.taken_after_commit(hide_for=3600)
    assert phone().book(at(11)).code == "slot_taken"
    show_what_was_hidden(calcom)
    calcom.faults.add("cancel", commit=False, status=503, body=core_body(503, "Service Unavailable"))
    settle_later(seconds=90)
    assert len(calcom.active_bookings()) == 1
    assert open_tickets() == ["orphaned_calcom"]
    verdict()
    settle_later(seconds=180)
    assert not calcom.active_bookings()
    assert not open_tickets()
    verdict()


def test_a_rate_limit_with_no_seconds_left_is_waited_for_once_and_not_at_full_speed(calcom, phone, verdict):
    calcom.faults.rate_limited(0, operation="create", times=None)
    answer = phone().book(at(11))
    assert answer.code == "unavailable"
    assert 1 <= answer.seconds < 3
    assert posts(calcom) == 2
    assert not calcom.bookings
    verdict()


def test_a_rate_limit_with_no_seconds_left_is_over_after_the_wait(calcom, phone, verdict):
    calcom.faults.rate_limited(0, operation="create")
    answer = phone().book(at(11))
    assert answer.code == "booked"
    assert answer.seconds >= 1
    verdict()


@pytest.mark.parametrize("beyond", [1, 8, 200])
def test_a_time_beyond_the_booking_window_is_called_too_far_ahead(calcom, phone, verdict, beyond):
    """Cal.com has one sentence for it and for "too soon"."""
    wanted = at(11, days=300)
    ahead = (wanted.date() - dt.datetime.now(BERLIN).date()).days
    calcom.state.event_type("open").booking_window_days = ahead - beyond
    answer = phone().book(wanted)
    assert answer.code == "too_soon"
    assert "too far ahead" in answer.body["say"]
    assert not calcom.bookings
    verdict()


@pytest.mark.parametrize("slots", ["not_to_be_asked", "all_taken"])
def test_a_time_beyond_the_booking_window_is_not_called_too_soon_where_nothing_shows_which_it_is(
    calcom, phone, verdict, slots
):
    caller = phone()
    assert caller.book(at(10)).code == "booked"  # so that the event type's notice is known
    calcom.state.event_type("open").booking_window_days = 10
    if slots == "not_to_be_asked":
        calcom.faults.server_error(commit=False, operation="slots", times=None)
    else:
        calcom.faults.add("slots", status=200, times=None, body={"status": "success", "data": {}})
    answer = caller.book(at(10, days=60))
    assert (answer.code, answer.body["alternatives"]) == ("too_soon", [])
    assert answer.body["say"] == "That time cannot be booked. Would another day suit you?"
    calcom.faults.clear()
    calcom.state.event_type("open").booking_window_days = None
    calcom.state.event_type("open").minimum_notice_minutes = 90 * 24 * 60
    Service.objects.update(minimum_notice_minutes=90 * 24 * 60)
    calcom.faults.server_error(commit=False, operation="slots", times=None)
    assert caller.book(at(11, days=60)).body["say"] == "That is too soon. Would a later day suit you?"
    verdict()


# --- The event type is not what it was, or what we can book


@pytest.mark.parametrize("kind", ["seats", "recurring"])
def test_an_event_type_with_seats_or_dates_in_a_row_is_never_booked(calcom, phone, salon, verdict, kind):
    at_event_type(calcom, salon, "seats" if kind == "seats" else "open")
    if kind == "recurring":
        recurrence = {"interval": 1, "occurrences": 4, "frequency": "weekly"}
        calcom.faults.add("event_type", patch={"recurrence": recurrence}, times=None)
    somebody = calcom.seed_booking("seats", start=at(11), name="Somebody Else")
    for number, name in (("+4915112345678", "Anna Weber"), (OTHER_NUMBER, "Ben Kurz")):
        answer = phone(from_number=number).book(at(11), service="shave", customer_name=name)
        assert answer.code == "unavailable"
        assert "call you back" in answer.body["say"]
    assert posts(calcom) == 0
    assert not calcom.requests("cancel")
    assert calcom.bookings == [somebody]
    assert somebody.is_active
    assert open_tickets() == ["config_error"]
    verdict()


def test_an_event_type_whose_length_has_changed_is_found_out_once_and_not_by_every_caller(
    calcom, phone, verdict
):
    assert phone().book(at(11)).code == "booked"
    calcom.state.event_type("open").minutes = 45
    answers = [phone(from_number=f"+49151123456{hour}").book(at(hour)) for hour in (12, 13, 14, 15)]
    assert {answer.code for answer in answers} == {"unavailable"}
    assert posts(calcom) == 2
    assert [booking.start for booking in calcom.active_bookings()] == [at(11)]
    assert open_tickets() == ["config_error"]
    verdict()


def test_of_an_event_type_with_several_lengths_the_services_own_is_booked(calcom, phone, salon, verdict):
    calcom.state.add_event_type("lengths", hosts=["mia"], available=ALWAYS, minutes=15, lengths=[15, 30])
    at_event_type(calcom, salon, "lengths")
    assert phone().book(at(11), service="shave").code == "booked"
    (booking,) = calcom.active_bookings()
    assert booking.minutes == 30
    verdict()


def test_a_repeat_at_an_event_type_that_has_to_be_confirmed_since_makes_no_second_booking(
    calcom, phone, verdict, settle_later
):
    """As it was read, a repeat was harmless there."""
    assert phone().book(at(9)).code == "booked"
    calcom.state.event_type("open").requires_confirmation = True
    calcom.faults.late_commit(1.0, status=500, body=core_body(500, "Internal server error"))
    answer = phone(from_number=OTHER_NUMBER).book(at(11), customer_name="Ben Kurz")
    time.sleep(max(0.0, 1.3 - answer.seconds))
    settle_later()
    assert answer.code in ("requested", "checking")
    assert len(calcom.active_bookings()) == 2 or open_tickets()
    verdict()


# --- Tickets and callbacks close with the next booking


@pytest.mark.parametrize(
    "refused",
    [INVALID_KEY, api_body(400, "title property is wrong,title should not be empty ")],
    ids=["key", "contract"],
)
def test_what_kept_us_from_booking_is_closed_by_the_next_booking_that_goes_through(
    calcom, phone, verdict, settle_later, refused
):
    status = refused.get("statusCode", 400)
    calcom.faults.add("create", commit=False, status=status, body=refused)
    if status == 401:
        calcom.faults.add("list", commit=False, status=401, body=refused)
    caller = phone()
    assert caller.book(at(11)).code == "unavailable"
    assert open_tickets() == ["config_error"]
    assert CallbackRequest.objects.get().status == "open"
    settle_later(seconds=5)
    assert open_tickets() == ["config_error"]
    assert caller.book(at(11)).code == "booked"
    settle_later(seconds=5)
    assert not open_tickets()
    assert CallbackRequest.objects.get().status == "done"
    verdict()


def test_another_calls_callback_stays_open_when_somebody_else_is_booked(calcom, phone, verdict, settle_later):
    calcom.faults.refuse("title property is wrong,title should not be empty ")
    assert phone().book(at(11)).code == "unavailable"
    assert phone(from_number=OTHER_NUMBER).book(at(12), customer_name="Ben Kurz").code == "booked"
    settle_later(seconds=5)
    assert not open_tickets()
    assert CallbackRequest.objects.get().status == "open"
    verdict()


def test_a_ticket_about_a_booking_nobody_could_ask_for_closes_also_when_it_was_moved_meanwhile(
    calcom, phone, verdict, settle_later
):
    lose_the_answer(calcom, commit=True)
    assert phone().book(at(11)).code == "checking"
    show_what_was_hidden(calcom)
    calcom.faults.outage("5xx")
    settle_later()
    assert open_tickets() == ["network_timeout"]
    calcom.faults.restore()
    (made,) = calcom.active_bookings()
    moved = calcom.web_reschedule(made.uid, at(15))
    settle_later(seconds=300)
    assert [appointment.calcom_booking_uid for appointment in live()] == [moved.uid]
    assert not open_tickets()
    verdict()


# --- The completer and what stands in its way


def test_a_ticket_that_cannot_be_written_leaves_the_attempt_open_until_it_can(
    calcom, phone, verdict, settle_later, refusing
):
    lose_the_answer(calcom, commit=False)
    assert phone().book(at(11)).code == "checking"
    refusing.add("sync_failures", "INSERT", text="refused")
    settle_later()
    assert BookingAttempt.objects.get().state == "unknown"
    refusing.drop()
    settle_later(seconds=4000)
    assert BookingAttempt.objects.get().state == "absent"
    assert open_tickets() == ["orphaned_local"]
    verdict()


@pytest.fixture
def studio(calcom, salon) -> Company:
    """A second company, in an account of its own."""
    account = calcom.state.add_account("studio", api_key="cal_studio_key", owner="otto")
    event_type = calcom.state.add_event_type("open", account=account, available=ALWAYS)
    company = make_salon(calcom, slug="studio", number=STUDIO_NUMBER)
    company.calcom_api_key = "cal_studio_key"
    company.save()
    company.services.update(calcom_event_type_id=event_type.id)
    return company


def test_a_company_whose_key_cannot_be_opened_does_not_keep_the_others_from_being_settled(
    calcom, phone, studio, salon, verdict, settle_later
):
    lose_the_answer(calcom, commit=True, times=2)
    studios = Phone(company=studio, to_number=STUDIO_NUMBER)
    assert studios.book(at(12)).code == "checking"
    assert phone().book(at(11)).code == "checking"
    show_what_was_hidden(calcom)
    with connection.cursor() as cursor:
        cursor.execute("UPDATE companies SET calcom_api_key = 'enc1:garbage' WHERE slug = 'studio'")
    settle_later(seconds=3)
    assert BookingAttempt.objects.get(company=salon).state == "succeeded"
    Company.objects.filter(pk=studio.pk).update(calcom_api_key="cal_studio_key")
    settle_later()
    assert BookingAttempt.objects.get(company=studio).state == "succeeded"
    verdict()


def test_a_company_whose_cal_com_is_down_is_asked_once_a_run_and_the_others_are_settled(
    calcom, phone, studio, salon, verdict, settle_later
):
    lose_the_answer(calcom, commit=True, times=4)
    for hour in (11, 12, 13):
        studios = Phone(company=studio, to_number=STUDIO_NUMBER, from_number=f"+49151123456{hour}")
        assert studios.book(at(hour)).code == "checking"
    assert phone().book(at(11)).code == "checking"
    show_what_was_hidden(calcom)
    calcom.clear_log()
    calcom.faults.outage("5xx", account="studio")
    report = settle_later(seconds=5)
    assert (report.looked_at, report.settled, report.left) == (2, 1, 3)
    assert BookingAttempt.objects.get(company=salon).state == "succeeded"
    assert len(calcom.requests("list", account="studio")) <= 3
    calcom.faults.restore()
    settle_later()
    assert len(live()) == len(calcom.active_bookings()) == 4
    verdict()


def run_in_thread(name: str, act: Callable[[], Any]) -> threading.Thread:
    def run() -> None:
        try:
            act()
        finally:
            connections.close_all()

    thread = threading.Thread(name=name, target=run)
    thread.start()
    return thread


def test_one_who_settles_and_one_who_gives_up_at_once_do_not_wait_for_each_other(
    calcom, phone, verdict, settle_later, caplog
):
    """Both write the attempt and the appointment; in two orders that would be a deadlock."""
    if connection.vendor != "postgresql":
        pytest.skip("SQLite has one writer at a time")
    lose_the_answer(calcom, commit=True)
    assert phone().book(at(11)).code == "checking"
    show_what_was_hidden(calcom)
    with connection.cursor() as cursor:
        cursor.execute(
            "CREATE FUNCTION pause() RETURNS trigger LANGUAGE plpgsql AS "
            "$$ BEGIN PERFORM pg_sleep(0.8); RETURN NULL; END $$"
        )
        cursor.execute(
            "CREATE TRIGGER pause AFTER UPDATE ON appointments FOR EACH ROW "
            "WHEN (NEW.status = 'scheduled') EXECUTE FUNCTION pause()"
        )
    try:
        # It is told "nothing there" while the other one is in the middle of its transaction.
        calcom.faults.empty_page(delay_after=0.5)
        gives_up = run_in_thread("gives up", settle_later)
        wait_until(lambda: not calcom.faults.planned)
        with caplog.at_level(logging.WARNING):
            settles = run_in_thread("settles", lambda: settle_later(seconds=4000))
            gives_up.join(timeout=20)
            settles.join(timeout=20)
        assert not [text for text in caplog.messages if "not_stored" in text or "completer.failed" in text]
    finally:
        with connection.cursor() as cursor:
            cursor.execute("DROP TRIGGER pause ON appointments")
            cursor.execute("DROP FUNCTION pause()")
    attempt = BookingAttempt.objects.get()
    assert (attempt.state, attempt.looks) == ("succeeded", 2)
    verdict()


# --- The database


def test_what_the_database_says_about_a_refused_row_is_kept_without_the_row(calcom, phone, verdict):
    """PostgreSQL repeats every value of the row in the detail of its message."""
    if connection.vendor != "postgresql":
        pytest.skip("SQLite does not repeat the row, and cannot add a constraint to a table")
    with connection.cursor() as cursor:
        cursor.execute("ALTER TABLE appointments ADD CONSTRAINT never CHECK (status <> 'scheduled')")
    try:
        answer = phone().book(at(11), customer_email="anna.weber@example.com")
    finally:
        with connection.cursor() as cursor:
            cursor.execute("ALTER TABLE appointments DROP CONSTRAINT never")
    assert answer.code == "unavailable"
    assert not calcom.active_bookings()
    texts = [failure.error_message for failure in SyncFailure.objects.all()]
    texts += [attempt.error_message for attempt in BookingAttempt.objects.all()]
    assert any("never" in text for text in texts)
    assert not [text for text in texts if "Anna" in text or "example.com" in text]
    verdict()


def test_a_database_that_is_read_only_for_a_moment_undoes_no_booking(
    calcom, phone, verdict, settle_later, refusing
):
    """While a standby is promoted."""
    if connection.vendor != "postgresql":
        pytest.skip("SQLite's triggers know one error only")
    refusing.add(
        "appointments", "UPDATE", when="NEW.status = 'scheduled'", text="read-only",
        error="read_only_sql_transaction",
    )  # fmt: skip
    caller = phone()
    assert caller.book(at(11)).code == "checking"
    assert not calcom.requests("cancel")
    refusing.drop()
    settle_later(seconds=60)
    again = caller.book(at(11))
    assert again.code == "booked"
    assert [booking.uid for booking in calcom.active_bookings()] == [again.uid]
    assert posts(calcom) == 1
    verdict()


def test_a_row_that_somebody_holds_for_long_does_not_hold_the_caller_on_the_line(
    calcom, phone, salon, verdict
):
    assert phone().book(at(10)).code == "booked"
    held, done = threading.Event(), threading.Event()

    def hold() -> None:
        with transaction.atomic():
            Customer.objects.select_for_update().get(company=salon)
            held.set()
            done.wait(12)

    holder = run_in_thread("holder", hold)
    assert held.wait(5)
    answer = phone().book(at(11))
    done.set()
    holder.join(timeout=5)
    assert answer.body["success"] is False
    assert answer.seconds < 8.3
    assert posts(calcom) == len(calcom.active_bookings()) == 1
    verdict()


@pytest.mark.parametrize(
    "arguments",
    [
        '{"service": "haircut", "start": 123456789012345678901234567890}',
        r'{"service": "haircut", "customer_name": "\ud800"}',
        r'{"service": "haircut", "nobody knows": "x\u0000y"}',
    ],
    ids=["a huge number for a time", "half a character for a name", "NUL in what nobody asked for"],
)
def test_what_no_column_can_hold_is_answered_in_words_and_leaves_a_row(calcom, phone, verdict, arguments):
    caller = phone()
    whole = {"name": "book_appointment", "call": caller.call(), "args": arguments}
    as_text = caller.send("book_appointment", whole)
    as_object = phone().send(
        "book_appointment",
        json.dumps({**whole, "call": phone().call(), "args": 0})
        .replace('"args": 0', f'"args": {arguments}')
        .encode(),
    )
    for answer in (as_text, as_object):
        assert (answer.status, answer.code) == (200, "invalid_request")
    assert FunctionCall.objects.count() == Call.objects.count() == 2
    verdict()


# --- The network


def test_one_broken_event_type_does_not_close_the_whole_calendar(calcom, phone, verdict):
    broken = str(calcom.state.event_type("roundrobin_open").id)
    calcom.faults.add(
        "slots",
        query_has={"eventTypeId": broken},
        status=500,
        body=core_body(500, "Internal server error"),
        times=None,
    )
    caller = phone()
    for days in range(7, 12):
        day = str(at(11, days=days).date())
        assert caller.ask("check_availability", service="haircut", date=day).code == "ok"
        assert caller.ask("check_availability", service="colour", date=day).code == "unavailable"
    assert caller.book(at(11)).code == "booked"
    verdict()


def test_what_cal_com_refuses_is_logged_with_the_id_its_support_asks_for(calcom, phone, caplog):
    calcom.faults.refuse("Invalid event type", status=400)
    assert phone().book(at(11)).code == "unavailable"
    [logged] = [record.msg for record in caplog.records if "calcom.error" in str(record.msg)]
    assert (logged["error"], logged["failure_mode"], logged["status"]) == (
        "CalcomMisconfigured",
        "config",
        400,
    )
    assert logged["calcom_request_id"]
    assert "Anna" not in str(logged)


def test_a_resolver_that_hangs_keeps_no_caller_on_the_line(calcom, phone, salon, monkeypatch, verdict):
    is_over = threading.Event()
    resolve = socket.getaddrinfo

    def hang(host: Any, *args: Any, **kwargs: Any) -> Any:
        if host == "calcom.invalid":
            is_over.wait(30)
        return resolve(host, *args, **kwargs)

    monkeypatch.setattr(socket, "getaddrinfo", hang)
    Company.objects.filter(pk=salon.pk).update(calcom_base_url="http://calcom.invalid/v2")
    answer = phone().book(at(11))
    is_over.set()
    assert answer.code == "unavailable"
    assert answer.seconds < 8
    verdict()


def test_a_host_of_many_addresses_none_of_which_answers_costs_the_time_of_one(
    calcom, phone, salon, monkeypatch, verdict
):
    assert phone().book(at(9)).code == "booked"
    # A full queue of connections: whoever comes next is neither let in nor turned away.
    with socket.socket() as listener:
        listener.bind(("127.0.0.1", 0))
        listener.listen(0)
        port = listener.getsockname()[1]
        waiting = [socket.socket() for _ in range(4)]
        for each in waiting:
            each.setblocking(False)
            each.connect_ex(("127.0.0.1", port))
        resolve = socket.getaddrinfo

        def many(host: Any, service: Any, *args: Any, **kwargs: Any) -> Any:
            found = resolve(host, service, *args, **kwargs)
            return found[:1] * 6 if service == port else found

        monkeypatch.setattr(socket, "getaddrinfo", many)
        Company.objects.filter(pk=salon.pk).update(calcom_base_url=f"http://127.0.0.1:{port}/v2")
        answer = phone(from_number=OTHER_NUMBER).book(at(11), customer_name="Ben Kurz")
        for each in waiting:
            each.close()
    assert answer.code == "unavailable"
    assert 1.5 < answer.seconds < 4
    assert BookingAttempt.objects.latest("id").state == "not_sent"
    verdict()

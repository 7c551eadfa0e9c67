"""What Cal.com may answer to a create, and what must hold afterwards: one booking, or none, or a ticket."""

from __future__ import annotations

import datetime as dt
import io
import logging
import threading
import uuid
from collections.abc import Callable, Iterator
from typing import Any

import pytest
from django.contrib.admin.models import LogEntry
from django.contrib.auth import get_user_model
from django.core.cache import cache
from django.db import OperationalError, connection
from django.test import Client
from django.urls import reverse
from django.utils import timezone

from booking import completer
from booking.calcom.simulator.faults import core_body
from booking.calcom.simulator.server import Simulator
from booking.models import Appointment, BookingAttempt, CallbackRequest, Service, SyncFailure
from booking.provisioning import provision
from calls.models import Call
from customers.models import Company
from tests.flows.phone import Answer, Phone, at, cancel, move, offered
from tests.flows.state import open_failures, posts, proven
from tests.waiting import wait_until

HOST_TAKEN = "User either already has booking at this time or is not available"
TEAM_TAKEN = "One of the hosts either already has booking at this time or is not available"
SECOND_CALLER = "+4915187654321"


def assert_not_promised(answer: Answer) -> None:
    """Nothing in the records of the call says that an appointment was made."""
    assert answer.status == 200
    assert answer.body["success"] is False
    assert answer.body["appointment"] is None
    call = Call.objects.latest("id")
    assert (call.appointment, call.appointment_made, call.booking_confirmed) == (None, False, False)
    assert call.booking_details is None


@pytest.fixture
def written_log() -> Iterator[io.StringIO]:
    """Everything the program writes to its log, as it is written."""
    (handler,) = [
        handler
        for handler in logging.getLogger().handlers
        if isinstance(handler, logging.StreamHandler)
        and type(handler.formatter).__module__ != "logging"
        # pytest's own handlers are stream handlers, too
        and type(handler).__module__ == "logging"
    ]
    text = io.StringIO()
    before = handler.setStream(text)
    yield text
    handler.setStream(before)


# --- A booking of another call is handed back


@pytest.mark.parametrize(
    ("metadata", "age", "layer"),
    [
        ({}, 35, "layer_1_freshness"),
        ({"call_id": "call_of_somebody_else", "attempt_id": str(uuid.UUID(int=7))}, 35, "layer_1_freshness"),
        ({"call_id": "call_of_somebody_else"}, 0, "layer_2_call"),
        ({"call_id": "call_of_somebody_else", "attempt_id": str(uuid.UUID(int=7))}, 0, "layer_2_call"),
    ],
    ids=["old", "old and of another call", "fresh, of another call", "fresh, of another attempt"],
)
def test_a_booking_handed_back_that_is_not_ours_is_neither_taken_over_nor_cancelled(
    calcom, phone, verdict, metadata, age, layer
):
    made = calcom.clock.now() - dt.timedelta(minutes=age)
    strangers = calcom.seed_booking(
        "roundrobin_open", start=at(11), created_at=made, metadata=metadata, name="Somebody Else"
    )
    before = strangers.updated_at
    calcom.faults.hand_back(strangers.uid)
    answer = phone().book(at(11), service="colour")
    assert answer.code == "slot_taken"
    assert_not_promised(answer)
    assert offered(answer)
    assert at(11) not in offered(answer)
    assert (strangers.status, strangers.updated_at, strangers.metadata) == ("accepted", before, metadata)
    assert not calcom.requests("cancel")
    assert posts(calcom) == 1
    assert not proven()
    assert not Appointment.objects.filter(calcom_booking_uid=strangers.uid).exists()
    attempt = BookingAttempt.objects.get()
    assert (attempt.state, attempt.refused_by) == ("refused", layer)
    incident = SyncFailure.objects.get()
    assert (incident.failure_type, incident.calcom_booking_id) == ("foreign_booking", strangers.uid)
    assert not open_failures()
    verdict()


def test_the_other_callers_row_stays_untouched_when_their_booking_is_handed_back(calcom, phone, verdict):
    assert phone().book(at(11), service="colour").code == "booked"
    theirs: Any = proven()[0]
    before = Appointment.objects.values().get(pk=theirs.pk)
    calcom.clock.advance(35 * 60)
    calcom.faults.hand_back(theirs.calcom_booking_uid)
    second = phone(from_number=SECOND_CALLER)
    answer = second.book(at(11), service="colour", customer_name="Ben Kurz")
    assert answer.code == "slot_taken"
    assert theirs.calcom_booking_uid not in str(answer.body)
    assert "Anna" not in str(answer.body)
    assert Appointment.objects.values().get(pk=theirs.pk) == before
    assert theirs.call.retell_call_id != second.call_id
    assert not calcom.requests("cancel")
    verdict()


def test_what_the_same_person_wanted_at_another_time_is_handed_back_and_stays_theirs(
    calcom, phone, settle_later, verdict
):
    """It carries an attempt of ours, of another wish that nobody knows the outcome of yet. As this attempt's
    own it would be at the wrong time, and cancelled.
    """
    caller = phone()
    calcom.faults.reset_connection(commit=True)
    calcom.faults.add("list", status=503, times=None)
    assert caller.book(at(10), service="colour").code == "checking"
    calcom.faults.clear()
    calcom.clock.advance(5)
    [first] = calcom.active_bookings()
    calcom.faults.hand_back(first.uid)
    assert caller.book(at(12), service="colour").code == "slot_taken"
    assert first.is_active
    assert not calcom.requests("cancel")
    settle_later()
    [row] = proven()
    assert (row.calcom_booking_uid, row.starts_at) == (first.uid, at(10))
    verdict()


def test_a_handed_back_booking_that_is_already_stored_is_refused_even_when_its_metadata_is_gone(
    calcom, phone, verdict
):
    assert phone().book(at(11), service="colour").code == "booked"
    uid = calcom.active_bookings()[0].uid
    calcom.faults.add("create", return_existing=uid, remove=["metadata.attempt_id", "metadata.call_id"])
    answer = phone(from_number=SECOND_CALLER).book(at(11), service="colour", customer_name="Ben Kurz")
    assert answer.code == "slot_taken"
    assert BookingAttempt.objects.get(state="refused").refused_by == "layer_3_known_uid"
    assert calcom.booking(uid).status == "accepted"
    assert not calcom.requests("cancel")
    verdict()


def test_with_the_layers_switched_off_ownership_and_the_constraint_still_protect_the_other_caller(
    calcom, phone, verdict, settings
):
    settings.DUPLICATE_PREVENTION_ENABLED = False
    assert phone().book(at(11), service="colour").code == "booked"
    uid = calcom.active_bookings()[0].uid
    calcom.clock.advance(35 * 60)
    calcom.faults.hand_back(uid)
    calcom.faults.add("create", return_existing=uid, remove=["metadata.attempt_id", "metadata.call_id"])
    for number, name in ((SECOND_CALLER, "Ben Kurz"), ("+4915187654322", "Cem Lang")):
        answer = phone(from_number=number).book(at(11), service="colour", customer_name=name)
        assert_not_promised(answer)
    assert [appointment.calcom_booking_uid for appointment in proven()] == [uid]
    assert calcom.booking(uid).status == "accepted"
    assert not calcom.requests("cancel")
    verdict()


def test_with_the_layers_switched_off_their_finding_is_logged_and_refuses_nothing(
    calcom, phone, verdict, settings, caplog
):
    settings.DUPLICATE_PREVENTION_ENABLED = False
    made = calcom.clock.now() - dt.timedelta(minutes=35)
    strangers = calcom.seed_booking("roundrobin_open", start=at(11), created_at=made, name="Somebody Else")
    calcom.faults.hand_back(strangers.uid)
    answer = phone().book(at(11), service="colour")
    assert answer.code == "checking"
    assert_not_promised(answer)
    assert "layer_1_freshness" in caplog.text
    assert open_failures().get().status == "manual_review"
    assert strangers.status == "accepted"
    verdict()


def test_a_booking_that_proves_nothing_is_neither_stored_nor_cancelled_nor_called_booked(
    calcom, phone, verdict, settle_later
):
    """Round robin hands back what the same person has just booked on the web page."""
    web = calcom.web_book("roundrobin_open", start=at(11), email="anna@example.org", phone="+4915112345678")
    answer = phone().book(at(11), service="colour", customer_email="anna@example.org")
    assert answer.code in ("checking", "slot_taken")
    assert_not_promised(answer)
    assert web.status == "accepted"
    assert not calcom.requests("cancel")
    assert open_failures().get().status == "manual_review"
    settle_later()
    assert web.status == "accepted"
    assert not proven()
    verdict()


# --- Our own booking of an earlier try is handed back


@pytest.mark.parametrize("age", [45, 20 * 60], ids=["45 seconds old", "20 minutes old"])
def test_our_own_booking_of_an_earlier_try_is_adopted_whatever_its_age(
    calcom, phone, verdict, settings, settle_later, age
):
    settings.ANSWER_BUDGET_SECONDS = 2
    # The replica that lists are read from lags, so that only the second POST can bring the booking to light.
    calcom.faults.timeout_after_commit(hide_for=24 * 3600)
    caller = phone()
    assert caller.book(at(11), service="colour").code == "checking"
    (original,) = calcom.active_bookings()
    settle_later()
    assert [failure.failure_type for failure in open_failures()] == ["orphaned_local"]
    calcom.clock.advance(age)
    answer = caller.book(at(11), service="colour")
    assert answer.code == "booked", answer.body
    assert answer.uid == original.uid
    assert posts(calcom) == 2
    assert calcom.active_bookings() == [original]
    (appointment,) = proven()
    assert appointment.calcom_booking_uid == original.uid
    assert Call.objects.get().appointment == appointment
    assert not BookingAttempt.objects.filter(refused_by__startswith="layer").exists()
    assert not calcom.requests("cancel")
    assert not open_failures()
    verdict()


# --- Booked, but not what was asked for


@pytest.mark.parametrize("minutes", [15, -15, 60, -60, 120, -120, 24 * 60])
def test_a_booking_at_another_time_than_asked_is_undone_by_its_uid(calcom, phone, verdict, minutes):
    calcom.faults.shift_start(minutes)
    caller = phone()
    answer = caller.book(at(12))
    assert answer.code not in ("slot_taken", "checking")
    assert_not_promised(answer)
    (booking,) = calcom.bookings
    assert booking.status == "cancelled"
    assert [entry.path for entry in calcom.requests("cancel")] == [f"/v2/bookings/{booking.uid}/cancel"]
    assert not proven()
    verdict()
    again = caller.book(at(12))
    assert again.code == "booked"
    assert len(calcom.active_bookings()) == 1
    verdict()


@pytest.mark.parametrize("wrong", ["event type", "duration"])
def test_a_booking_of_another_event_type_or_length_is_undone(calcom, phone, verdict, wrong):
    other = calcom.state.event_type("collective").id
    patch = {"eventTypeId": other} if wrong == "event type" else {"duration": 15}
    calcom.faults.add("create", commit=True, patch_stored=patch)
    answer = phone().book(at(12))
    assert answer.code not in ("slot_taken", "checking")
    assert_not_promised(answer)
    (booking,) = calcom.bookings
    assert booking.status == "cancelled"
    assert not proven()
    verdict()


def test_a_wrong_booking_that_cannot_be_undone_is_an_open_failure_that_names_it(
    calcom, phone, verdict, settle_later
):
    calcom.faults.shift_start(60)
    calcom.faults.server_error(commit=False, operation="cancel", times=None)
    answer = phone().book(at(12))
    assert_not_promised(answer)
    (booking,) = calcom.active_bookings()
    assert not proven()
    for _ in range(3):
        settle_later()
    (failure,) = open_failures()
    assert (failure.failure_type, failure.calcom_booking_id) == ("orphaned_calcom", booking.uid)
    assert all(booking.uid in entry.path for entry in calcom.requests("cancel"))
    verdict()
    calcom.web_cancel(booking.uid)
    settle_later(seconds=3600)
    assert [each.failure_type for each in open_failures()] == ["orphaned_local"], "whoever waits is rung"


def test_a_wrong_booking_that_may_not_be_cancelled_is_an_open_failure_at_once(calcom, phone, verdict):
    calcom.faults.shift_start(60)
    calcom.faults.refuse("PermissionsGuard - this key may not cancel", operation="cancel", status=403)
    assert_not_promised(phone().book(at(12)))
    (booking,) = calcom.active_bookings()
    (failure,) = open_failures()
    assert (failure.failure_type, failure.calcom_booking_id) == ("orphaned_calcom", booking.uid)
    verdict()


def test_a_wrong_booking_that_is_called_cancelled_already_is_undone(calcom, phone, verdict):
    calcom.faults.shift_start(60)
    calcom.faults.refuse("Can't cancel it, because it has been cancelled already", operation="cancel")
    assert_not_promised(phone().book(at(12)))
    assert BookingAttempt.objects.get().state == "compensated"
    assert not open_failures()


def test_a_wrong_booking_is_undone_later_when_cancelling_failed_at_first(
    calcom, phone, verdict, settle_later
):
    calcom.faults.shift_start(60)
    calcom.faults.server_error(commit=False, operation="cancel", times=None)
    assert_not_promised(phone().book(at(12)))
    calcom.faults.clear()
    settle_later()
    assert not calcom.active_bookings()
    assert not proven()
    # The orphan's ticket is closed; who was told "checking" has to hear that nothing stands.
    assert [failure.failure_type for failure in open_failures()] == ["orphaned_local"]
    assert CallbackRequest.objects.filter(status="open").count() == 1
    verdict()


# --- The answer cannot be read, or says the opposite of what was done


@pytest.mark.parametrize("kind", ["html", "empty", "not_json", "list", "truncated"])
def test_a_yes_that_cannot_be_read_is_looked_up_and_adopted(calcom, phone, verdict, kind):
    calcom.faults.unreadable_answer(kind)
    answer = phone().book(at(10))
    assert answer.code == "booked", answer.body
    assert posts(calcom) == 1
    assert [booking.uid for booking in calcom.active_bookings()] == [answer.uid]
    assert [appointment.calcom_booking_uid for appointment in proven()] == [answer.uid]
    assert not open_failures()
    verdict()


@pytest.mark.parametrize("service", ["haircut", "colour"])
def test_a_refusal_though_the_booking_was_made_is_booked_and_not_taken(calcom, phone, verdict, service):
    calcom.faults.taken_after_commit()
    answer = phone().book(at(10), service=service)
    assert answer.code == "booked", answer.body
    assert posts(calcom) == 1
    assert [booking.uid for booking in calcom.active_bookings()] == [answer.uid]
    verdict()


@pytest.mark.parametrize("commit", [True, False], ids=["made", "not made"])
def test_the_bare_400_about_the_database_is_looked_up_and_repeated_once_at_most(
    calcom, phone, verdict, commit
):
    calcom.faults.lost_race(commit=commit)
    answer = phone().book(at(10))
    assert answer.code == "booked", answer.body
    assert posts(calcom) == (1 if commit else 2)
    assert len(calcom.active_bookings()) == 1
    verdict()


def test_a_race_lost_against_somebody_else_is_taken_after_one_repeat(calcom, phone, verdict):
    calcom.faults.lost_race(
        call={"received": lambda _: calcom.web_book("open", start=at(10), silent=True)},
    )
    answer = phone().book(at(10))
    assert answer.code == "slot_taken"
    assert at(10) not in offered(answer)
    assert posts(calcom) == 2
    assert not SyncFailure.objects.exists()
    verdict()


@pytest.mark.parametrize("status", [409, 400])
def test_a_conflict_that_never_ends_is_repeated_once_and_then_left_open(
    calcom, phone, verdict, settle_later, status
):
    if status == 409:
        calcom.faults.server_error(commit=False, status=409, times=None)
    else:
        calcom.faults.lost_race(times=None)
    answer = phone().book(at(10))
    assert answer.code in ("checking", "slot_taken")
    assert posts(calcom) == 2
    settle_later()
    assert not proven()
    assert answer.code != "checking" or open_failures()
    verdict()


# --- A server error


def test_a_server_error_before_the_commit_is_looked_up_and_repeated_once(calcom, phone, verdict):
    calcom.faults.server_error(commit=False)
    answer = phone().book(at(10))
    assert answer.code == "booked", answer.body
    kinds = [entry.operation for entry in calcom.log if entry.operation in ("create", "list")]
    assert kinds[0] == "create"
    assert "list" in kinds[: kinds.index("create", 1)]
    assert posts(calcom) == 2
    assert len(calcom.active_bookings()) == 1
    verdict()


def test_a_server_error_after_the_commit_is_adopted_without_a_second_request(calcom, phone, verdict):
    calcom.faults.server_error(commit=True)
    answer = phone().book(at(10), service="colour")
    assert answer.code == "booked", answer.body
    assert posts(calcom) == 1
    assert len(calcom.active_bookings()) == 1
    verdict()


def test_where_a_repeat_could_book_twice_a_server_error_is_never_repeated(
    calcom, phone, verdict, settle_later
):
    """Round robin would give the second request to the other host."""
    calcom.faults.server_error(commit=True, hide_for=3600)
    caller = phone(from_number="anonymous")
    assert caller.book(at(10), service="colour").code == "checking"
    assert caller.book(at(10), service="colour").code == "checking"
    assert posts(calcom) == 1
    calcom.clock.advance(3601)
    settle_later(seconds=0.1)
    assert caller.book(at(10), service="colour").code == "booked"
    assert posts(calcom) == 1
    assert len(calcom.active_bookings()) == 1
    verdict()


def test_a_repeat_that_our_own_hidden_first_request_blocks_is_not_called_taken(
    calcom, phone, verdict, settle_later
):
    calcom.faults.server_error(commit=True, hide_for=3600)
    caller = phone()
    answer = caller.book(at(10))
    assert answer.code == "checking"
    assert posts(calcom) == 2
    calcom.clock.advance(3601)
    settle_later(seconds=0.1)
    assert len(proven()) == 1
    assert caller.book(at(10)).code == "booked"
    assert posts(calcom) == 2
    verdict()


def test_what_the_first_request_has_made_is_undone_when_the_second_was_answered_with_a_strangers(
    calcom, phone, verdict, settle_later
):
    assert phone(from_number="+4915187654321").book(at(12), customer_name="Ben Kurz").code == "booked"
    (strangers,) = calcom.active_bookings()
    calcom.clear_log()
    calcom.faults.lost_race(commit=True, hide_for=3600)
    calcom.faults.hand_back(strangers.uid)
    assert phone().book(at(10)).code == "slot_taken"
    assert posts(calcom) == 2
    calcom.clock.advance(3601)
    settle_later(seconds=90)
    assert calcom.active_bookings() == [strangers]
    verdict()


def test_what_is_sent_again_and_not_let_in_is_no_reason_to_forget_the_first_request(
    calcom, phone, verdict, settle_later
):
    """It is carried out after all, when everybody has looked."""
    calcom.faults.late_commit(2.5, status=500)
    calcom.faults.rate_limited(60, operation="create", times=None)
    caller = phone()
    assert caller.book(at(10)).code == "checking"
    wait_until(calcom.active_bookings)
    settle_later(seconds=20)
    assert len(proven()) == len(calcom.active_bookings()) == 1
    assert posts(calcom) == 2
    verdict()


# --- Silence


def test_a_time_out_before_the_commit_ends_as_none_and_a_ticket_and_never_as_two(
    calcom, phone, verdict, settings, settle_later
):
    settings.ANSWER_BUDGET_SECONDS = 2
    calcom.faults.timeout_before_commit()
    caller = phone()
    answer = caller.book(at(10))
    assert answer.code == "checking"
    assert answer.seconds < 3
    assert_not_promised(answer)
    settle_later(seconds=1)
    assert BookingAttempt.objects.get().state == "unknown"
    assert not SyncFailure.objects.exists()
    settle_later()
    assert BookingAttempt.objects.get().state == "absent"
    assert Appointment.objects.get().status == "failed"
    (failure,) = open_failures()
    assert (failure.failure_type, failure.call) == ("orphaned_local", Call.objects.get())
    assert posts(calcom) == 1
    verdict()
    assert caller.book(at(10)).code == "booked"
    assert len(calcom.active_bookings()) == 1
    assert not open_failures()
    verdict()


def test_a_commit_that_comes_late_is_found_within_the_grace_time(calcom, phone, verdict, settle_later):
    calcom.faults.late_commit(0.8, status=504)
    caller = phone()
    assert caller.book(at(10)).code == "checking"
    wait_until(calcom.active_bookings)
    settle_later(seconds=60)
    assert len(proven()) == 1
    assert posts(calcom) == 1
    verdict()


def test_what_cannot_be_found_out_is_looked_for_less_and_less_often_and_the_ticket_says_why(calcom, phone):
    calcom.faults.reset_connection(commit=False)
    assert phone().book(at(10)).code == "checking"
    begin = timezone.now()

    def looked_at(*seconds: int) -> list[int]:
        moments = (begin + dt.timedelta(seconds=each) for each in seconds)
        return [completer.settle_unknown(now=moment).looked_at for moment in moments]

    refused = calcom.faults.refuse("Invalid API key", status=401, operation="any", times=None)
    assert looked_at(10, 12, 16, 22, 32, 63) == [1, 0, 1, 0, 1, 1]
    assert not SyncFailure.objects.exists(), "it may still be found in time"
    assert looked_at(122, 130, 300) == [0, 1, 0], "again as soon as the grace time is over"
    calcom.faults.remove(refused)
    calcom.faults.rate_limited(operation="any", times=1)
    assert looked_at(740) == [1]
    assert {each.failure_type for each in open_failures()} == {"config_error", "rate_limit"}
    assert looked_at(1400) == [1]
    assert [each.failure_type for each in open_failures()] == ["orphaned_local"]


def test_what_is_settled_while_a_completer_looks_for_it_is_not_called_absent(
    calcom, phone, verdict, settle_later
):
    """The completer was answered before it was made, and goes on after its caller heard that it is booked."""
    asked, settled = threading.Event(), threading.Event()

    def look() -> None:
        settle_later()
        connection.close()

    completing = threading.Thread(target=look)

    def hold(_exchange: object) -> None:
        asked.set()
        settled.wait(5)

    def look_meanwhile(_exchange: object) -> None:
        completing.start()
        asked.wait(5)

    calcom.faults.add("list", call={"before_answer": hold})
    calcom.faults.add("create", call={"received": look_meanwhile})
    assert phone().book(at(10)).code == "booked"
    settled.set()
    completing.join()
    assert BookingAttempt.objects.get().state == "succeeded"
    assert not SyncFailure.objects.exists()
    assert not CallbackRequest.objects.exists()
    verdict()


def test_whoever_waits_for_what_somebody_cancels_on_the_web_is_called_back(
    calcom, phone, verdict, settle_later
):
    calcom.faults.reset_connection(commit=True, hide_for=3600)
    assert phone().book(at(10)).code == "checking"
    calcom.clock.advance(3601)
    calcom.web_cancel(calcom.bookings[0].uid)
    settle_later(seconds=10)
    assert open_failures().get().failure_type == "orphaned_local"
    assert CallbackRequest.objects.count() == 1
    verdict()


def test_what_was_given_up_and_turns_up_cancelled_is_told_nobody_a_second_time(
    calcom, phone, announced, work, settle_later
):
    calcom.faults.reset_connection(commit=True, hide_for=3600)
    assert phone().book(at(10)).code == "checking"
    settle_later()
    calcom.clock.advance(3601)
    calcom.web_cancel(calcom.bookings[0].uid)
    work(seconds=10)
    assert BookingAttempt.objects.get().state == "absent"
    assert open_failures().get().occurrences == 1


@pytest.mark.parametrize("service", ["haircut", "colour"])
def test_a_commit_later_than_the_grace_time_is_adopted_by_the_next_request(
    calcom, phone, verdict, settle_later, service
):
    calcom.faults.late_commit(1.2, status=504)
    caller = phone()
    assert caller.book(at(10), service=service).code == "checking"
    settle_later()
    assert BookingAttempt.objects.get().state == "absent"
    wait_until(calcom.active_bookings)
    answer = caller.book(at(10), service=service)
    assert answer.code == "booked", answer.body
    assert [booking.uid for booking in calcom.active_bookings()] == [answer.uid]
    assert [appointment.calcom_booking_uid for appointment in proven()] == [answer.uid]
    assert not open_failures()
    verdict()


# --- Broken connections


@pytest.mark.parametrize("truncate", [False, True], ids=["before the answer", "in the middle of the answer"])
def test_a_reset_after_the_commit_is_looked_up_and_never_sent_again(calcom, phone, verdict, truncate):
    calcom.faults.reset_connection(commit=True, truncate=truncate)
    answer = phone().book(at(10))
    assert answer.code == "booked", answer.body
    assert posts(calcom) == 1
    assert len(calcom.active_bookings()) == 1
    verdict()


@pytest.mark.parametrize("how", ["reset", "close"])
def test_a_connection_that_breaks_before_the_commit_is_not_sent_again(
    calcom, phone, verdict, settle_later, how
):
    calcom.faults.add("create", commit=False, **{how: True})
    answer = phone().book(at(10))
    assert answer.code == "checking"
    assert posts(calcom) == 1
    settle_later()
    assert posts(calcom) == 1
    assert not proven()
    assert [failure.failure_type for failure in open_failures()] == ["orphaned_local"]
    verdict()


def test_a_kept_alive_connection_that_died_costs_no_booking_and_makes_no_second_one(calcom, phone, verdict):
    caller = phone()
    assert caller.ask("check_availability", service="haircut", date=at(10).date().isoformat()).code == "ok"
    assert calcom.close_idle_connections() > 0
    answer = caller.book(at(10))
    assert answer.code == "booked", answer.body
    assert posts(calcom) == 1
    assert len(calcom.active_bookings()) == 1
    verdict()


# --- Taken


@pytest.mark.parametrize(("text", "service"), [(HOST_TAKEN, "haircut"), (TEAM_TAKEN, "colour")])
def test_a_taken_slot_gets_alternatives_that_are_free_and_none_is_the_one_asked_for(
    calcom, phone, verdict, text, service
):
    event_type = "open" if service == "haircut" else "roundrobin_open"
    blocked = [at(9, 30), at(10, 30)]
    for start in blocked:
        for _ in range(1 if service == "haircut" else 2):
            calcom.web_book(event_type, start=start, email=f"{uuid.uuid4().hex}@web.test", silent=True)
    calcom.faults.refuse(text)
    answer = phone().book(at(10), service=service)
    assert answer.code == "slot_taken"
    assert_not_promised(answer)
    assert len(offered(answer)) == 3
    assert not {at(10), *blocked} & set(offered(answer))
    assert offered(answer) == sorted(offered(answer))
    assert posts(calcom) == 1
    assert not SyncFailure.objects.exists()
    assert not CallbackRequest.objects.exists()
    verdict()


def test_taken_slots_do_not_move_the_breaker(calcom, phone, verdict, salon):
    calcom.web_book("open", start=at(10), silent=True)
    for number in range(7):
        caller = phone(from_number=f"+49151123456{number:02}")
        assert caller.book(at(10)).code == "slot_taken"
    assert cache.get(f"breaker:{salon.pk}:failures") is None
    assert cache.get(f"breaker:{salon.pk}:open") is None
    assert phone().book(at(11)).code == "booked"
    assert not calcom.requests("me")
    verdict()


def test_a_slot_too_soon_is_called_too_soon_and_the_first_possible_time_is_told(
    calcom, phone, verdict, salon
):
    Service.objects.filter(company=salon, slug="haircut").update(
        calcom_event_type_id=calcom.state.event_type("notice").id
    )
    soon = dt.datetime.now(dt.UTC).replace(minute=0, second=0, microsecond=0) + dt.timedelta(hours=3)
    answer = phone().book(soon)
    assert answer.code == "too_soon"
    assert offered(answer)
    assert min(offered(answer)) > soon
    assert not SyncFailure.objects.exists()
    verdict()


# --- Our request is wrong

CONTRACT = {
    "a title is wanted": "title property is wrong,title should not be empty ",
    "a title is refused": "title property is wrong,property title should not exist ",
    "an unknown field": "notes property is wrong,property notes should not exist ",
    "a field of the form is missing": "responses - {company}error_required_field, ",
    "the phone number is invalid": "responses - {attendeePhoneNumber}invalid_number, ",
    "the e-mail address is invalid": "responses - {email}email_validation_error, ",
    "metadata is not a string": "metadata property is wrong,Expected string, received number ",
    "metadata is too long": (
        "metadata property is wrong,Metadata must have at most 50 keys, each key up to 40 characters, "
        "and string values up to 500 characters. "
    ),
    "an e-mail verification code is demanded": "email_verification_required",
}


@pytest.mark.parametrize("text", CONTRACT.values(), ids=CONTRACT.keys())
def test_a_request_cal_com_does_not_accept_is_not_repeated_and_is_one_failure_for_many_calls(
    calcom, phone, verdict, text
):
    calcom.faults.refuse(text, times=None)
    answers = [phone(from_number=f"+49151123456{n:02}").book(at(10 + n)) for n in range(3)]
    assert [answer.code for answer in answers] == ["unavailable"] * 3
    for answer in answers:
        assert_not_promised(answer)
        assert "call you back" in answer.body["say"]
    assert posts(calcom) == 3
    (failure,) = open_failures()
    assert (failure.failure_type, failure.occurrences) == ("config_error", 3)
    assert failure.error_details["kind"] == "contract"
    assert CallbackRequest.objects.filter(status="open").count() == 3
    assert not calcom.bookings
    verdict()


def test_the_ticket_for_many_calls_names_none_of_the_callers(calcom, phone):
    calcom.faults.refuse("responses - {name}too_short, got ANNA Weber <anna@weber.example> +4915112345678")
    assert phone().book(at(10), customer_email="anna@weber.example").code == "unavailable"
    (failure,) = open_failures()
    assert "{name}too_short, got ***" in failure.error_message
    for said in ("anna", "weber", "15112345678"):
        assert said not in failure.error_message.lower()


@pytest.mark.parametrize("status", [401, 403])
def test_a_key_that_is_not_accepted_is_one_failure_for_many_calls(calcom, phone, verdict, status):
    assert phone().book(at(9)).code == "booked"
    calcom.faults.refuse("CustomThrottlerGuard - Invalid API Key", operation="any", status=status, times=None)
    answers = [phone(from_number=f"+49151123456{n:02}").book(at(10 + n)) for n in range(3)]
    assert [answer.code for answer in answers] == ["unavailable"] * 3
    (failure,) = open_failures()
    assert (failure.failure_type, failure.occurrences) == ("config_error", 3)
    assert CallbackRequest.objects.count() == 3
    assert posts(calcom) == 1 + 3
    verdict()


def test_a_demanded_e_mail_address_is_given_once_and_is_the_customers_own(calcom, phone, verdict, salon):
    """The form was changed at Cal.com after we had read it."""
    caller = phone()
    assert caller.book(at(9)).code == "booked"
    calcom.state.event_type("open").email_required = True
    answers = [
        phone(from_number=number).book(start, customer_name=name)
        for number, start, name in (
            (SECOND_CALLER, at(10), "Ben Kurz"),
            ("+4915187654322", at(11), "Cem Lang"),
        )
    ]
    assert [answer.code for answer in answers] == ["booked", "booked"]
    addresses = [booking.attendee.email for booking in calcom.active_bookings()[1:]]
    assert len(set(addresses)) == 2
    assert all(address.endswith("@callers.salon.example") for address in addresses)
    verdict()


@pytest.mark.parametrize(("domain", "sent"), [("callers.salon.example", 2), ("", 1)])
def test_an_address_that_is_demanded_and_does_not_help_is_a_misconfiguration(
    calcom, phone, verdict, salon, domain, sent
):
    salon.attendee_email_domain = domain
    salon.save()
    calcom.faults.refuse("responses - {email}error_required_field, ", times=None)
    assert phone().book(at(10)).code == "unavailable"
    assert posts(calcom) == sent
    assert [failure.failure_type for failure in open_failures()] == ["config_error"]
    assert CallbackRequest.objects.count() == 1
    verdict()


def test_a_withheld_number_is_asked_for_where_the_event_type_demands_one(calcom, phone, verdict, salon):
    demanding = calcom.state.event_type("phone_required").id
    Service.objects.filter(company=salon, slug="haircut").update(calcom_event_type_id=demanding)
    withheld = phone(from_number="anonymous")
    answer = withheld.book(at(10))
    assert (answer.code, answer.body["errors"]) == ("invalid_request", {"customer_phone": "required"})
    assert answer.body["say"] == "What phone number can we reach you at?"
    assert posts(calcom) == 0
    assert not open_failures(), "nobody has to configure anything"
    assert withheld.book(at(10), customer_phone="+4915187654321").code == "booked"
    assert posts(calcom) == 1
    verdict()


# --- An event type of somebody else


def test_an_event_type_of_another_account_is_never_booked(calcom, phone, verdict, salon):
    rival = calcom.state.add_account("rival", api_key="cal_rival_key")
    theirs = calcom.state.add_event_type("theirs", account=rival, available="always")
    Service.objects.filter(company=salon, slug="haircut").update(calcom_event_type_id=theirs.id)
    answers = [phone(from_number=f"+49151123456{n:02}").book(at(10 + n)) for n in range(2)]
    assert [answer.code for answer in answers] == ["unavailable"] * 2
    assert posts(calcom) == 0
    assert not calcom.bookings
    (failure,) = open_failures()
    assert (failure.failure_type, failure.occurrences) == ("config_error", 2)
    assert CallbackRequest.objects.count() == 2
    verdict()


@pytest.mark.parametrize("door", ["admin", "provision"])
def test_after_a_change_of_the_key_nothing_is_booked_before_it_has_shown_the_event_type(
    calcom, phone, verdict, salon, admin_client, door
):
    """Cal.com takes a booking of any event type with any key: one for the account that was left would be made
    in a calendar nobody looks at any more.
    """

    def give_key(key: str) -> None:
        if door == "provision":
            provision({"companies": [{"slug": salon.slug, "calcom": {"api_key": key}}]})
            return
        page = reverse("admin:customers_company_change", args=[salon.pk])
        shown = admin_client.get(page).context["adminform"].form.initial
        assert admin_client.post(page, {**shown, "new_calcom_api_key": key}).status_code == 302

    assert phone().book(at(10)).code == "booked"
    calcom.state.add_account("rival", api_key="cal_rival_key")
    give_key("cal_rival_key")
    assert phone(from_number="+4915112345679").book(at(11)).code == "unavailable"
    assert posts(calcom) == 1
    assert [failure.failure_type for failure in open_failures()] == ["config_error"]
    calcom.state.add_key("salon", "cal_rotated_key")
    give_key("cal_rotated_key")
    assert phone(from_number="+4915112345679").book(at(11)).code == "booked"
    verdict()


def test_an_event_type_that_lasts_another_time_than_the_service_is_never_booked(
    calcom, phone, verdict, salon
):
    Service.objects.filter(company=salon, slug="haircut").update(duration_minutes=45)
    assert phone().book(at(10)).code == "unavailable"
    assert posts(calcom) == 0
    assert [failure.failure_type for failure in open_failures()] == ["config_error"]
    verdict()


@pytest.mark.parametrize("door", ["admin", "provision"])
def test_a_length_that_was_changed_here_alone_is_noticed_before_a_guest_hears_of_a_booking(
    calcom, phone, verdict, salon, haircut, admin_client, door
):
    assert phone().book(at(10)).code == "booked"
    described = {
        "slug": haircut.slug,
        "name": haircut.name,
        "duration_minutes": 45,
        "calcom_event_type_id": haircut.calcom_event_type_id,
    }
    if door == "provision":
        provision({"companies": [{"slug": salon.slug, "services": [described]}]})
    else:
        calcom.state.revoke_key(salon.calcom_api_key)  # so that the form cannot ask
        page = reverse("admin:booking_service_change", args=[haircut.pk])
        assert admin_client.post(page, described | {"is_active": "on"}).status_code == 302
        calcom.state.add_key("salon", salon.calcom_api_key)
    assert phone(from_number=SECOND_CALLER).book(at(11)).code == "unavailable"
    assert posts(calcom) == 1
    assert [failure.failure_type for failure in open_failures()] == ["config_error"]
    verdict()


def test_the_admin_form_does_not_save_an_event_type_of_another_account(calcom, salon, haircut, verdict):
    rival = calcom.state.add_account("rival", api_key="cal_rival_key")
    theirs = calcom.state.add_event_type("theirs", account=rival, available="always")
    ops = get_user_model().objects.create_superuser("ops", "ops@example.org", "a long password")
    browser = Client()
    browser.force_login(ops)

    def save(event_type_id: int):
        form = {
            "company": salon.pk,
            "name": haircut.name,
            "slug": haircut.slug,
            "aliases": "",
            "duration_minutes": 30,
            "calcom_event_type_id": event_type_id,
            "is_active": "on",
        }
        return browser.post(reverse("admin:booking_service_change", args=[haircut.pk]), form)

    before = haircut.calcom_event_type_id
    response = save(theirs.id)
    haircut.refresh_from_db()
    assert haircut.calcom_event_type_id == before
    assert response.status_code == 200
    assert list(response.context["adminform"].form.errors) == ["calcom_event_type_id"]
    own = calcom.state.event_type("collective").id
    assert save(own).status_code == 302
    haircut.refresh_from_db()
    assert haircut.calcom_event_type_id == own
    verdict()


def test_nobody_waits_for_a_service_that_is_being_saved_while_calcom_is_asked(calcom, haircut, admin_client):
    waited = []

    def somebody_else(_exchange: object) -> None:
        waited.append(is_in_a_transaction())

    calcom.faults.add("event_type", call={"before_answer": somebody_else}, times=None)
    form = {
        "name": haircut.name,
        "slug": haircut.slug,
        "spoken_name": "cut",
        "duration_minutes": haircut.duration_minutes,
        "calcom_event_type_id": haircut.calcom_event_type_id,
        "is_active": "on",
    }
    saved = admin_client.post(reverse("admin:booking_service_change", args=[haircut.pk]), form)
    assert saved.status_code == 302
    assert waited == [False]
    haircut.refresh_from_db()
    assert haircut.spoken_name == "cut"
    assert LogEntry.objects.get().object_id == str(haircut.pk)


def is_in_a_transaction() -> bool:
    """Whether somebody on another connection than this thread's is, and not at work in it."""
    try:
        if connection.vendor == "sqlite":
            Service.objects.update(updated_at=timezone.now())
            return False
        with connection.cursor() as cursor:
            cursor.execute(
                "SELECT count(*) FROM pg_stat_activity"
                " WHERE datname = current_database() AND state = 'idle in transaction'"
            )
            return bool(cursor.fetchone()[0])
    except OperationalError:
        return True
    finally:
        connection.close()


# --- Not now


def test_a_rate_limit_longer_than_the_caller_can_wait_is_honest_and_books_nothing(
    calcom, phone, verdict, settle_later
):
    assert phone().book(at(9)).code == "booked"
    calcom.faults.rate_limited(60, operation="create")
    answer = phone(from_number=SECOND_CALLER).book(at(10), customer_name="Ben Kurz")
    assert answer.code in ("checking", "unavailable")
    assert answer.seconds < 2
    assert_not_promised(answer)
    assert posts(calcom) == 2
    settle_later()
    assert len(calcom.active_bookings()) == 1
    assert answer.code == "unavailable" or open_failures()
    verdict()


def test_a_short_rate_limit_is_waited_for(calcom, phone, verdict):
    calcom.faults.rate_limited(1, operation="create")
    assert phone().book(at(10)).code == "booked"
    assert posts(calcom) == 2
    verdict()


def test_an_outage_opens_the_breaker_and_the_probe_is_never_a_booking(
    calcom, phone, verdict, settings, settle_later, salon
):
    settings.ANSWER_BUDGET_SECONDS = 3
    assert phone().book(at(9)).code == "booked"
    calcom.faults.outage("5xx")
    heard = []
    for number in range(8):
        caller = phone(from_number=f"+49151123456{number:02}")
        heard.append(caller.book(at(10 + number % 5, 30 * (number // 5))))
    assert not any(answer.body["success"] for answer in heard)
    assert heard[-1].code == "unavailable"
    assert heard[-1].seconds < 1.5
    sent = posts(calcom)
    cache.delete(f"breaker:{salon.pk}:pause")
    assert phone().book(at(16)).code == "unavailable"
    assert calcom.requests("me")
    assert posts(calcom) == sent
    calcom.faults.restore()
    cache.delete(f"breaker:{salon.pk}:pause")
    assert phone(from_number=SECOND_CALLER).book(at(16, 30), customer_name="Ben Kurz").code == "booked"
    settle_later()
    assert len(calcom.active_bookings()) == 2
    verdict()


def test_a_success_in_between_keeps_the_breaker_shut(calcom, phone):
    calcom.faults.reset_connection(commit=False, times=4)
    assert [phone().book(at(hour)).code for hour in (8, 9, 10, 11)] == ["checking"] * 4
    assert phone().book(at(12)).code == "booked"
    calcom.faults.reset_connection(commit=False)
    assert [phone().book(at(hour)).code for hour in (13, 14)] == ["checking", "booked"]


def test_what_was_never_sent_is_told_as_a_callback_and_leaves_nothing_open(calcom, phone, verdict, salon):
    assert phone().book(at(9)).code == "booked"
    Company.objects.filter(pk=salon.pk).update(calcom_base_url="http://127.0.0.1:1/v2")
    answer = phone(from_number=SECOND_CALLER).book(at(10), customer_name="Ben Kurz")
    assert answer.code == "unavailable"
    assert_not_promised(answer)
    assert BookingAttempt.objects.latest("id").state == "not_sent"
    assert CallbackRequest.objects.filter(status="open").count() == 1
    assert not open_failures()
    verdict()


@pytest.mark.parametrize("interim", [102, 103])
def test_what_is_said_before_the_answer_is_not_taken_for_it(calcom, phone, verdict, interim):
    calcom.faults.add("create", interim=interim)
    assert phone().book(at(10)).code == "booked"
    assert not calcom.requests("list")
    assert phone().book(at(12)).code == "booked"
    assert posts(calcom) == 2
    verdict()


# --- The answer budget


@pytest.mark.parametrize("headers", [False, True], ids=["the body", "the headers, too"])
def test_an_answer_that_trickles_in_does_not_hold_the_caller_on_the_line(
    calcom, phone, verdict, settings, settle_later, headers
):
    settings.ANSWER_BUDGET_SECONDS = 2
    calcom.faults.add("create", trickle=0.02, trickle_headers=headers)
    caller = phone()
    answer = caller.book(at(10))
    assert answer.code == "checking"
    assert answer.seconds < 3
    settle_later(seconds=0.1)
    assert caller.book(at(10)).code == "booked"
    assert posts(calcom) == 1
    verdict()


def test_a_key_that_is_withdrawn_between_the_create_and_the_look_up_proves_nothing(
    calcom, phone, settle_later, verdict
):
    calcom.faults.reset_connection(commit=True)
    calcom.faults.refuse("Invalid API key", status=401, operation="list", times=None)
    assert phone().book(at(10)).code == "checking"
    calcom.faults.clear()
    settle_later()
    assert proven()[0].calcom_booking_uid == calcom.active_bookings()[0].uid
    verdict()


def test_a_key_that_is_refused_while_nobody_can_look_up_what_it_did_is_left_open(
    calcom, phone, settle_later, verdict
):
    calcom.faults.refuse("Invalid API key", status=401)
    calcom.faults.add("list", status=503, times=None)
    assert phone().book(at(10)).code == "checking"
    calcom.faults.clear()
    settle_later()
    assert Appointment.objects.get().status == "failed"
    assert not calcom.active_bookings()
    verdict()


@pytest.mark.parametrize(
    ("first", "then"),
    [
        ({"operation": "create", "status": 500, "commit": True}, "list"),
        ({"operation": "create", "status": 400, "commit": True, "body": core_body(400, HOST_TAKEN)}, "list"),
        ({"operation": "create", "commit": False, "delay_before": 0.5, "status": 429}, "list"),
    ],
    ids=["server error", "refusal", "rate limit"],
)
def test_a_look_up_that_hangs_does_not_hold_the_caller_on_the_line(
    calcom, phone, verdict, settings, settle_later, first, then
):
    settings.ANSWER_BUDGET_SECONDS = 3
    calcom.faults.add(**first)
    calcom.faults.add(then, hang=True, commit=False, times=None)
    answer = phone().book(at(10))
    assert answer.code in ("checking", "unavailable")
    assert answer.seconds < 3
    calcom.faults.clear()
    settle_later(seconds=60)
    assert len(proven()) == len(calcom.active_bookings())
    verdict()


def test_a_first_look_at_the_event_type_that_hangs_sends_nothing(calcom, phone, verdict, settings):
    settings.ANSWER_BUDGET_SECONDS = 2
    calcom.faults.add("event_type", hang=True, times=None)
    answer = phone().book(at(10))
    assert answer.code == "unavailable"
    assert answer.seconds < 3
    assert posts(calcom) == 0
    assert CallbackRequest.objects.count() == 1
    verdict()


def test_undoing_a_wrong_booking_stays_within_the_budget_even_when_cancelling_hangs(
    calcom, phone, verdict, settings, settle_later
):
    settings.ANSWER_BUDGET_SECONDS = 3
    calcom.faults.add("create", commit=True, shift_minutes=60, delay_after=1.4)
    calcom.faults.add("cancel", hang=True, commit=False, times=None)
    calcom.faults.add("get", hang=True, commit=False, times=None)
    answer = phone().book(at(10))
    assert_not_promised(answer)
    assert answer.seconds < 3
    calcom.faults.clear()
    settle_later()
    assert not calcom.active_bookings()
    verdict()


# --- Our own cancel, carried out later than it was answered


def made_otherwise(calcom: Simulator, caller: Phone, settle_later: Callable[..., object]) -> None:
    calcom.faults.add("create", commit=True, patch={"eventTypeId": 999})
    calcom.faults.late_commit(3, operation="cancel")
    assert caller.book(at(10)).code == "checking"


def refused_and_made(calcom: Simulator, caller: Phone, settle_later: Callable[..., object]) -> None:
    calcom.faults.taken_after_commit(hide_for=3600)
    assert caller.book(at(10)).code == "slot_taken"
    calcom.clock.advance(3601)
    calcom.faults.late_commit(3, operation="cancel")
    settle_later(seconds=70)


@pytest.mark.parametrize("begin", [made_otherwise, refused_and_made])
def test_whoever_hears_yes_of_what_our_own_cancel_is_still_undoing_is_rung_afterwards(
    calcom, phone, settle_later, run, verdict, begin
):
    begin(calcom, phone(), settle_later)
    heard = phone().book(at(10))
    wait_until(lambda: not calcom.active_bookings(), seconds=10)
    run()
    settle_later()
    if heard.body["success"]:
        assert CallbackRequest.objects.filter(status="open").exists() or open_failures().exists()
    verdict()


# --- Small print


@pytest.mark.parametrize("seconds", [-90, 90], ids=["slow", "fast"])
def test_a_clock_at_cal_com_that_goes_wrong_does_not_make_our_booking_a_strangers(
    calcom, phone, verdict, seconds
):
    calcom.clock.advance(seconds)
    assert phone().book(at(10)).code == "booked"
    verdict()


def test_a_request_that_waits_for_the_host_is_never_said_to_be_an_appointment(calcom, phone, verdict):
    answers = [phone().book(at(10), service="advice"), phone().book(at(10), service="advice")]
    assert answers[0].code == "requested"
    for answer in answers:
        assert answer.body["success"] is True
        assert answer.body["appointment"]["status"] == "requested"
        assert "still has to be confirmed" in answer.body["say"]
    assert posts(calcom) == 1
    assert "not confirmed yet" in phone().ask("list_appointments").body["say"]
    # By the key of an account that is not the host's.
    calcom.faults.add("reschedule", patch_stored={"status": "pending"})
    moved = move(phone(), at(12))
    assert (moved.code, moved.body["appointment"]["status"]) == ("rescheduled", "requested")
    assert "still has to be confirmed" in moved.body["say"]
    verdict()


# --- What is written down


def test_a_failure_says_what_cal_com_was_asked_for_and_not_for_whom(
    calcom, phone, haircut, admin_client, settle_later
):
    person = {
        "customer_name": "Hildegard Zauberfrau",
        "customer_email": "hildegard@zauber.example",
        "notes": "Allergisch",
    }
    caller = phone()
    calcom.faults.refuse("title property is wrong,title should not be empty ")
    calcom.faults.shift_start(60)
    calcom.faults.server_error(commit=False, status=502)
    for hour in (9, 11, 13):
        caller.book(at(hour), **person)
    settle_later(seconds=3600)
    tickets = SyncFailure.objects.order_by("request_payload__start")
    assert [each.failure_type for each in tickets] == ["config_error", "orphaned_calcom", "orphaned_local"]
    attempts = BookingAttempt.objects.order_by("appointment__starts_at")
    for failure, attempt in zip(tickets, attempts, strict=True):
        asked = failure.request_payload
        assert asked == {
            **attempt.request,
            "attendee": {
                **dict.fromkeys(attempt.request["attendee"], "***"),
                "timeZone": "Europe/Berlin",
                "language": "en",
            },
        }, failure.failure_type
        page = admin_client.get(reverse("admin:booking_syncfailure_change", args=[failure.pk]))
        assert asked["start"] in page.content.decode()


def test_a_failure_about_a_change_says_the_same(calcom, phone):
    caller = phone()
    assert caller.book(at(9)).code == "booked"
    for hour in (12, 14):
        calcom.faults.refuse("Forbidden", operation="reschedule", status=403)
        assert move(caller, at(hour)).code == "unavailable"
    calcom.faults.refuse("cancellationReason property is wrong", operation="cancel")
    assert cancel(caller, reason="Hildegard is ill").code == "unavailable"
    of_move, of_cancellation = SyncFailure.objects.order_by("pk")
    assert (of_move.occurrences, of_move.request_payload["start"]) == (
        2,
        at(14).astimezone(dt.UTC).isoformat(),
    )
    assert of_cancellation.request_payload == {"reason": "***"}


def test_neither_log_nor_failures_nor_callbacks_repeat_who_called(calcom, phone, verdict, written_log):
    person = {
        "customer_name": "Hildegard Zauberfrau",
        "customer_phone": "0151 98765432",
        "customer_email": "Hildegard@Zauber.example",
        "notes": "Allergisch gegen Quittenblüten",
    }
    calcom.faults.refuse(
        "attendee property is wrong,Hildegard Zauberfrau, hildegard@zauber.example, +4915198765432 refused "
    )
    calcom.faults.shift_start(60)
    calcom.faults.server_error(commit=False)
    calcom.faults.taken_after_commit()
    caller = phone(from_number="+4915198765432")
    for hour in (9, 11, 13, 15):
        caller.book(at(hour), **person)
    calcom.web_book("open", start=at(16), silent=True)
    caller.book(at(16), **person)
    assert calcom.requests("create")
    failures = " ".join(
        f"{each.error_message} {each.error_details} {each.request_payload} {each.subject}"
        for each in SyncFailure.objects.all()
    )
    callbacks = " ".join(each.reason for each in CallbackRequest.objects.all())
    assert failures
    assert written_log.getvalue()
    secrets = ("Hildegard", "hildegard", "Zauberfrau", "98765432", "Quitten", "cal_test_key", "key_salon")
    for place, text in (
        ("log", written_log.getvalue()),
        ("failures", failures),
        ("callbacks", callbacks),
    ):
        assert not [secret for secret in secrets if secret in text], place
    verdict()

"""Calls that were promised: those that are not needed any more are not made, the others are."""

from __future__ import annotations

import pytest
from django.utils import timezone

from booking.calcom.simulator.faults import api_body
from booking.models import Appointment, BookingAttempt, CallbackRequest
from sync import triage
from tests.flows.phone import at, cancel, move
from tests.flows.state import open_failures
from tests.flows.triage.tickets import ticket

# --- About a booking


def test_a_call_promised_about_what_turns_up_after_all_is_not_made(
    calcom, phone, run, settle_later, settings, verdict
):
    settings.ANSWER_BUDGET_SECONDS = 2
    calcom.faults.timeout_after_commit(hide_for=3600)
    caller = phone()
    assert caller.book(at(10)).code == "checking"
    settle_later()
    callback = CallbackRequest.objects.get()
    assert (callback.status, callback.reason) == ("open", "The booking did not come about.")
    calcom.clock.advance(3601)
    run()
    assert Appointment.objects.get().status == "scheduled"
    assert caller.book(at(10)).code == "booked"
    assert not open_failures().exists()
    assert CallbackRequest.objects.get().status == "done", "or they are told that nothing was booked"
    verdict()


def test_a_call_promised_with_a_no_is_made_although_a_person_keeps_what_was_made(
    calcom, phone, run, settle_later, admin_user, verdict
):
    body = api_body(400, "title property is wrong,title should not be empty ")
    calcom.faults.add("create", commit=True, status=400, body=body, hide_for=3600)
    assert "call you back" in phone().book(at(10)).body["say"]
    calcom.clock.advance(3601)
    (booking,) = calcom.active_bookings()
    (attempt,) = BookingAttempt.objects.all()
    found = ticket(attempt.company, uid=booking.uid, appointment=attempt.appointment)
    failure = triage.read_failure(found.pk)
    shown = triage.open_case(failure, user=admin_user, now=timezone.now())
    decision = triage.Decision(
        failure=failure, user=admin_user, expected=triage.version_of(failure), reason="They want it."
    )
    done = triage.adopt(decision, seen=shown.fingerprint)
    assert done.is_success
    settle_later(seconds=1)
    assert Appointment.objects.get().status == "scheduled"
    assert CallbackRequest.objects.get().status == "open"


def test_a_call_promised_about_one_time_is_made_although_another_turns_up(
    calcom, phone, settle_later, settings
):
    settings.ANSWER_BUDGET_SECONDS = 2
    calcom.faults.timeout_after_commit()
    caller = phone()
    assert caller.book(at(10)).code == "checking"
    body = api_body(400, "title property is wrong,title should not be empty ")
    calcom.faults.add("create", commit=False, status=400, body=body)
    assert "call you back" in caller.book(at(12)).body["say"]
    settle_later()
    assert Appointment.objects.get(status="scheduled").starts_at == at(10)
    assert CallbackRequest.objects.get().status == "open"


def test_whoever_has_booked_another_time_in_the_same_call_does_not_count_on_the_first(
    calcom, phone, settle_later, settings, verdict
):
    settings.ANSWER_BUDGET_SECONDS = 2
    calcom.faults.timeout_before_commit()
    caller = phone()
    assert caller.book(at(10)).code == "checking"
    settle_later()
    assert open_failures().get().failure_type == "orphaned_local"
    calcom.web_book("open", start=at(10), silent=True)
    assert caller.book(at(10)).code == "slot_taken"
    settle_later(seconds=1)
    assert open_failures().exists()
    assert caller.book(at(11)).code == "booked"
    settle_later(seconds=1)
    assert CallbackRequest.objects.get().status == "done"
    assert not open_failures().exists()
    verdict()


@pytest.mark.parametrize("otherwise", ["another call", "the web"])
@pytest.mark.parametrize("name", ["Anna Weber", "Ben Kurz"])
def test_whoever_rings_off_and_gets_the_same_appointment_otherwise_is_not_rung(
    calcom, phone, run, settle_later, settings, verdict, otherwise, name
):
    settings.ANSWER_BUDGET_SECONDS = 2
    calcom.faults.timeout_before_commit()
    caller = phone()
    assert caller.book(at(10), customer_name="Anna Weber").code == "checking"
    settle_later()
    assert CallbackRequest.objects.get().status == "open"
    if otherwise == "another call":
        assert phone().book(at(10), customer_name=name).code == "booked"
    else:
        calcom.web_book("open", start=at(10), name=name, phone=caller.from_number, silent=True)
    run()
    is_theirs = name == "Anna Weber"
    assert CallbackRequest.objects.get().status == ("done" if is_theirs else "open")
    if is_theirs:
        assert not open_failures().exists()
    verdict()


def test_whoever_has_it_from_the_web_a_moment_ago_is_not_rung(
    calcom, phone, settle_later, announced, work, verdict
):
    """Of several hosts Cal.com hands it out, and nothing in it tells at once whose it is."""
    caller = phone()
    calcom.web_book("roundrobin_open", start=at(10), name="Anna Weber", email=None, phone=caller.from_number)
    assert caller.book(at(10), service="colour").code in ("checking", "already_booked")
    work()
    settle_later()
    settle_later()
    assert caller.book(at(10), service="colour").code == "already_booked"
    assert not CallbackRequest.objects.filter(status="open").exists()
    assert not open_failures().exists()
    verdict()


# --- About a change


@pytest.mark.parametrize("change", [cancel, move])
@pytest.mark.parametrize("told", ["checking", "unavailable"])
@pytest.mark.parametrize("again", ["the same call", "another call"])
def test_a_call_promised_about_a_change_is_not_made_once_the_caller_has_made_it(
    calcom, booked, phone, settle_later, settings, verdict, change, told, again
):
    settings.ANSWER_BUDGET_SECONDS = 2
    arguments = () if change is cancel else (at(14),)
    operation = "cancel" if change is cancel else "reschedule"
    if told == "checking":
        calcom.faults.timeout_before_commit(operation=operation)
    else:
        body = api_body(400, "title property is wrong,title should not be empty ")
        calcom.faults.add(operation, commit=False, status=400, body=body)
    assert change(booked, *arguments).code == told
    settle_later()
    assert CallbackRequest.objects.get().status == "open"
    caller = booked if again == "the same call" else phone()
    assert change(caller, *arguments).body["success"]
    settle_later(seconds=1)
    assert CallbackRequest.objects.get().status == "done"
    verdict()


@pytest.mark.parametrize("told", ["checking", "unavailable"])
def test_a_call_promised_about_a_change_that_comes_late_is_made_to_whoever_heard_no(
    calcom, booked, run, settle_later, settings, verdict, told
):
    settings.ANSWER_BUDGET_SECONDS = 2
    if told == "checking":
        calcom.faults.timeout_before_commit(operation="reschedule")
    else:
        body = api_body(400, "title property is wrong,title should not be empty ")
        calcom.faults.add("reschedule", commit=False, status=400, body=body)
    assert move(booked, at(14)).code == told
    settle_later()
    (booking,) = calcom.active_bookings()
    calcom.web_reschedule(booking.uid, at(14), by_owner=True, silent=True)
    run()
    assert Appointment.objects.get().starts_at == at(14)
    assert CallbackRequest.objects.get().status == ("done" if told == "checking" else "open")
    verdict()


def test_a_call_promised_about_two_changes_waits_for_both(calcom, booked, settle_later):
    colour = booked.book(at(12), service="colour").body["appointment"]["id"]
    body = api_body(400, "title property is wrong,title should not be empty ")
    calcom.faults.add("reschedule", commit=False, status=400, body=body, times=2)
    for which in ({"service": "haircut"}, {"appointment": colour}):
        assert move(booked, at(15), **which).code == "unavailable"
    assert move(booked, at(15, 30), service="haircut").code == "rescheduled"
    settle_later(seconds=1)
    assert CallbackRequest.objects.get().status == "open"
    assert cancel(booked, appointment=colour).code == "cancelled"
    settle_later(seconds=1)
    assert CallbackRequest.objects.get().status == "done"

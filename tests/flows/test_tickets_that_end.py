"""Tickets and promised calls whose reason goes away by another way than the one that brought it."""

from __future__ import annotations

from datetime import timedelta
from uuid import uuid4

import pytest
from django.utils import timezone

from booking import failures
from booking.calcom.simulator.faults import api_body
from booking.models import Appointment, CallbackRequest, Service, SyncFailure
from sync import triage
from sync.asking import MOST_ASKED_FOR
from tests.flows.phone import at, cancel, move
from tests.flows.state import open_failures

# --- A ticket about an event type


@pytest.mark.parametrize("remedy", ["another event type", "switched off"])
def test_a_ticket_about_an_event_type_that_nobody_books_any_more_closes(
    calcom, phone, haircut, settle_later, run, remedy
):
    right = haircut.calcom_event_type_id
    Service.objects.filter(pk=haircut.pk).update(calcom_event_type_id=999_999)
    assert phone().book(at(10)).code == "unavailable"
    settle_later(seconds=1)
    assert open_failures().get().failure_type == "config_error", "it is still booked"
    if remedy == "switched off":
        Service.objects.filter(pk=haircut.pk).update(is_active=False)
    else:
        Service.objects.filter(pk=haircut.pk).update(calcom_event_type_id=right)
    assert run()[0] == 0
    assert not open_failures().exists()
    assert CallbackRequest.objects.get().status == "open", "the caller still waits"


def test_a_ticket_about_an_event_type_that_is_not_ours_outlives_the_booking_of_another(
    calcom, phone, haircut, settle_later, run
):
    """The key is refused for this one event type, and good for all others."""
    not_ours = calcom.faults.add(
        "event_type",
        commit=False,
        status=403,
        body=api_body(403, "User with ID=1 does not own event type with ID=999999"),
        path_contains=str(haircut.calcom_event_type_id),
        times=None,
    )
    assert phone().book(at(10)).code == "unavailable"
    assert phone().book(at(11), service="colour").code == "booked"
    settle_later(seconds=1)
    assert run()[0] == 1
    assert open_failures().get().subject == f"calcom:event-type:{haircut.calcom_event_type_id}"
    calcom.faults.remove(not_ours)
    assert phone().book(at(10)).code == "booked"
    settle_later(seconds=1)
    assert not open_failures().exists()


def test_what_refuses_to_be_cancelled_and_to_be_booked_are_two_tickets(calcom, booked, phone, settle_later):
    body = api_body(400, "title property is wrong,title should not be empty ")
    calcom.faults.add("cancel", commit=False, status=400, body=body)
    calcom.faults.add("create", commit=False, status=400, body=body, times=None)
    assert cancel(booked).code == "unavailable"
    stranger = phone(from_number="+4915100000001")
    assert stranger.book(at(12)).code == "unavailable"
    settle_later(seconds=1)
    assert open_failures().count() == 2
    assert cancel(booked).code == "cancelled"
    settle_later(seconds=1)
    assert "refuses our bookings" in open_failures().get().error_message
    calcom.faults.clear()
    assert stranger.book(at(12)).code == "booked"
    settle_later(seconds=1)
    assert not open_failures().exists()


# --- A ticket about the key


def replace_key(company, key, **more):
    for name, value in {"calcom_api_key": key, **more}.items():
        setattr(company, name, value)
    company.save()


def test_a_ticket_about_a_refused_key_closes_when_bookings_are_listed_with_it(calcom, salon, run):
    replace_key(salon, "cal_revoked")
    assert run()[0] == 2
    assert open_failures().get().subject == failures.ACCESS
    replace_key(salon, "cal_test_key")
    assert run()[0] == 0
    assert not open_failures().exists()


def test_a_key_that_may_read_and_not_book_keeps_its_ticket_whatever_the_one_before_it_was(
    calcom, salon, phone, run
):
    replace_key(salon, "cal_revoked")
    assert phone().book(at(10)).code == "unavailable"
    replace_key(salon, "cal_test_key")
    calcom.faults.add("create", commit=False, status=403, body=api_body(403, "Forbidden"), times=None)
    assert phone(from_number="+4915100000001").book(at(12)).code == "unavailable"
    assert run()[0] == 1
    assert open_failures().get().subject == failures.ACCESS


def test_what_another_key_is_good_for_says_nothing_of_the_one_that_callers_book_with(
    calcom, salon, phone, run
):
    replace_key(salon, "cal_revoked", calcom_reconcile_api_key="cal_test_key")
    assert phone().book(at(10)).code == "unavailable"
    run()
    assert open_failures().get().subject == failures.ACCESS


def test_a_key_that_may_list_and_not_book_is_a_ticket_that_stays(calcom, phone, run):
    body = api_body(403, "You do not have the permission")
    calcom.faults.add("create", commit=False, status=403, body=body)
    assert phone().book(at(10)).code == "unavailable"
    run()
    assert open_failures().get().subject == failures.ACCESS


# --- A ticket about a booking that vanished


def test_a_ticket_about_what_vanished_closes_when_it_is_found_to_have_been_made_again(
    calcom, booked, run, settle_later, verdict, admin_user
):
    calcom.erase(Appointment.objects.get().calcom_booking_uid)
    run()
    failure = triage.read_failure(open_failures().get().pk)
    shown = triage.open_case(failure, user=admin_user, now=timezone.now())
    calcom.faults.add("create", commit=True, reset=True, hide_for=3600)
    decision = triage.Decision(
        failure=failure, user=admin_user, expected=triage.version_of(failure), reason="Promised."
    )
    done = triage.recreate_at_calcom(decision, seen=shown.fingerprint)
    assert not done.is_success, "nobody knows yet"
    assert open_failures().exists()
    calcom.clock.advance(3601)
    settle_later()
    assert Appointment.objects.get().status == "scheduled"
    assert not open_failures().exists()
    verdict()


# --- A ticket about an outcome that nobody knows


def leave_unknown(calcom, caller, settle_later, change, *, seconds=None):
    """A change without an answer, and Cal.com out of reach until long after."""
    operation = {cancel: "cancel", move: "reschedule"}[change]
    calcom.faults.timeout_before_commit(operation=operation)
    answer = cancel(caller) if change is cancel else move(caller, at(14))
    assert answer.code == "checking"
    calcom.faults.outage()
    settle_later(seconds=seconds)
    calcom.faults.restore()


@pytest.mark.parametrize("change", [cancel, move])
def test_a_ticket_about_an_unknown_change_closes_also_when_the_booking_has_vanished_since(
    calcom, booked, run, settle_later, settings, change
):
    settings.ANSWER_BUDGET_SECONDS = 2
    leave_unknown(calcom, booked, settle_later, change)
    assert open_failures().get().failure_type == "network_timeout"
    calcom.erase(Appointment.objects.get().calcom_booking_uid)
    settle_later(seconds=2000)
    run()
    assert open_failures().get().failure_type == "orphaned_local"
    assert CallbackRequest.objects.get().status == "open"


def test_a_ticket_that_comes_back_says_what_it_is_about_now(calcom, booked, phone, settle_later, settings):
    settings.ANSWER_BUDGET_SECONDS = 2
    leave_unknown(calcom, booked, settle_later, cancel)
    assert "this cancel" in open_failures().get().error_message
    settle_later(seconds=2000)
    assert not open_failures().exists()
    again = phone()
    leave_unknown(calcom, again, settle_later, move, seconds=300)
    failure = open_failures().get()
    assert "this reschedule" in failure.error_message
    assert failure.call is not None
    assert failure.call.retell_call_id == again.call_id


def test_a_ticket_whose_gap_is_gone_closes_however_many_older_ones_stay(calcom, salon, run):
    """More than one run looks at."""
    stays = calcom.web_book("open", start=at(9), silent=True)
    calcom.web_cancel(stays.uid, silent=True)
    goes = calcom.seed_booking(
        "open", start=at(10), metadata={"attempt_id": str(uuid4()), "company": "salon"}
    )
    assert run()[0] == 1
    assert open_failures().get().failure_type == "orphaned_calcom"
    SyncFailure.objects.bulk_create(
        SyncFailure(
            company=salon,
            failure_type=SyncFailure.Type.ORPHANED_LOCAL,
            subject=f"older:{number}",
            calcom_booking_id=stays.uid,
            last_seen_at=timezone.now() - timedelta(days=1),
        )
        for number in range(MOST_ASKED_FOR)
    )
    calcom.web_cancel(goes.uid, silent=True)
    for _ in range(4):  # that one of them is left to the next run is a matter of luck
        run()
    assert set(open_failures().values_list("failure_type", flat=True)) == {"orphaned_local"}


def test_cal_com_is_not_asked_about_tickets_that_are_closed(calcom, salon, run):
    incident = failures.Problem(
        company=salon,
        failure_type=SyncFailure.Type.ORPHANED_CALCOM,
        subject=failures.about_booking("gone"),
        message="A gap.",
        uid="gone",
    )
    failures.record_incident(incident)
    run()
    assert calcom.log
    assert not [entry for entry in calcom.log if "gone" in entry.path]

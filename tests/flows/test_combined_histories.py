"""Histories in which two features meet, each of which once ended with a wrong sentence, row or ticket."""

from __future__ import annotations

import datetime as dt

import pytest
from django.db import connection
from django.utils import timezone

from booking.calcom.simulator.faults import api_body
from booking.models import Appointment, BookingAttempt, CallbackRequest, Service, SyncFailure
from calls.models import Call
from customers.models import Branch, Company, PhoneNumber
from sync.models import ReconciliationRun
from tests.factories import MOMENT, CallFactory
from tests.flows.conftest import make_salon
from tests.flows.database_refusals import refusals
from tests.flows.phone import Phone, at, cancel, move
from tests.flows.state import open_failures, proven

Status = Appointment.Status
Type = SyncFailure.Type


# --- Clocks at Cal.com that do not agree


def test_a_cancellation_after_the_clock_was_put_back_is_stored_as_it_is_told(calcom, phone, verdict):
    calcom.clock.advance(60)
    caller = phone()
    assert caller.book(at(10)).code == "booked"
    calcom.clock.advance(-58)
    answer = cancel(caller)
    assert answer.code == "cancelled"
    assert answer.body["appointment"]["status"] == Appointment.objects.get().status == Status.CANCELLED
    assert caller.ask("list_appointments").body["appointments"] == []
    verdict()


# --- A no, and what has happened since


def test_taken_is_not_repeated_once_somebody_has_booked_it_for_the_caller(
    calcom, salon, phone, announced, work
):
    other = calcom.web_book("single", start=at(10), name="Other", phone="+4915199999999")
    work()
    caller = phone()
    assert caller.book(at(10), service="shave").code == "slot_taken"
    calcom.web_cancel(other.uid)
    calcom.web_book("single", start=at(10), name="Anna Weber", phone=caller.from_number)
    work(seconds=10)
    answer = caller.book(at(10), service="shave")  # the same words, within the minute
    assert (answer.code, answer.body["replayed"]) == ("already_booked", False)


def test_taken_is_not_repeated_once_the_caller_has_booked_it_in_another_call(calcom, salon, phone):
    other = calcom.web_book("single", start=at(10), name="Other", phone="+4915199999999", silent=True)
    caller = phone()
    assert caller.book(at(10), service="shave").code == "slot_taken"
    calcom.web_cancel(other.uid)
    assert phone().book(at(10), service="shave").code == "booked"
    assert caller.book(at(10), service="shave").code == "already_booked"


# --- Which appointment is meant, whatever has become of its service


@pytest.mark.parametrize("gone", [{"is_active": False}, {"vanished_at": MOMENT}])
def test_what_is_not_offered_any_more_can_still_be_moved_and_cancelled_by_its_name(
    calcom, booked, verdict, gone
):
    Service.objects.filter(slug="haircut").update(**gone)
    assert move(booked, at(14), service="Herrenhaarschnitt").code == "rescheduled"
    assert cancel(booked, service="haircut").code == "cancelled"
    assert not calcom.active_bookings()
    verdict()


def test_what_is_done_in_one_branch_only_can_be_cancelled_from_another(calcom, salon, booked, verdict):
    north = Branch.objects.create(company=salon, slug="nord", name="Nord")
    PhoneNumber.objects.create(branch=north, number="+493012345670")
    Service.objects.filter(slug="haircut").update(branch=salon.branches.get(slug="mitte"))
    from_there = Phone(company=salon, to_number="+493012345670", agent_id="")
    assert cancel(from_there, service="Haarschnitt").code == "cancelled"
    assert not calcom.active_bookings()
    verdict()


def test_what_was_cancelled_is_no_answer_to_whoever_means_another(calcom, booked):
    assert cancel(booked).code == "cancelled"
    assert cancel(booked, service="colour").code == "not_found"
    assert cancel(booked, day=at(10, days=9).date().isoformat()).code == "not_found"
    assert cancel(booked, service="cut", day=at(10).date().isoformat()).code == "cancelled"


def test_what_was_moved_there_is_no_answer_to_whoever_means_another(calcom, booked):
    assert move(booked, at(14)).code == "rescheduled"
    assert move(booked, at(14), service="colour").code == "not_found"
    assert move(booked, at(14), service="cut", day=at(10).date().isoformat()).code == "rescheduled"


def test_of_two_that_were_cancelled_the_one_that_is_named_is_the_answer(calcom, booked):
    assert booked.book(at(12), service="colour").code == "booked"
    assert cancel(booked, service="haircut").code == "cancelled"
    assert cancel(booked, service="colour").code == "cancelled"
    answer = cancel(booked, service="cut")
    assert (answer.code, answer.body["appointment"]["service"]) == ("cancelled", "haircut")


# --- A promised call, and another booking in the same call


NO_SUCH_EVENT_TYPE = api_body(404, "Event type with id 1 not found.")


TITLE_WANTED = api_body(400, "title property is wrong,title should not be empty ")


def test_a_call_promised_about_one_service_outlives_the_booking_of_another(calcom, phone, settle_later):
    caller = phone()
    calcom.faults.add("create", commit=False, status=404, body=NO_SUCH_EVENT_TYPE)
    assert "call you back" in caller.book(at(10), service="colour").body["say"]
    assert caller.book(at(12), service="haircut").code == "booked"
    settle_later(seconds=1)
    assert CallbackRequest.objects.get().status == "open"
    assert caller.book(at(15), service="Färben").code == "booked"
    settle_later(seconds=1)
    assert CallbackRequest.objects.get().status == "done"


def test_a_call_promised_before_anything_was_begun_is_about_what_was_wanted(
    calcom, salon, phone, settle_later
):
    Service.objects.filter(slug="colour").update(calcom_event_type_id=999_999)
    caller = phone()
    assert "call you back" in caller.book(at(10), service="colour").body["say"]
    assert not BookingAttempt.objects.exists()
    assert caller.book(at(12), service="haircut").code == "booked"
    settle_later(seconds=1)
    assert CallbackRequest.objects.get().status == "open"


def test_a_call_promised_about_one_person_outlives_the_booking_of_another(calcom, phone, settle_later):
    caller = phone()
    calcom.faults.add("create", commit=False, status=404, body=NO_SUCH_EVENT_TYPE)
    assert caller.book(at(10), customer_name="Mia Weber").code == "unavailable"
    assert caller.book(at(12), customer_name="Anna Weber").code == "booked"
    settle_later(seconds=1)
    assert CallbackRequest.objects.get().status == "open"


def test_a_call_promised_about_a_change_outlives_the_booking_that_works_yet(calcom, booked, settle_later):
    calcom.faults.add("create", commit=False, status=404, body=NO_SUCH_EVENT_TYPE)
    assert booked.book(at(12), service="colour").code == "unavailable"
    calcom.faults.add("reschedule", commit=False, status=400, body=TITLE_WANTED)
    assert "We will call you" in move(booked, at(15)).body["say"]
    assert booked.book(at(13), service="colour").code == "booked"
    settle_later(seconds=1)
    callback = CallbackRequest.objects.get()
    assert (callback.status, callback.kind) == ("open", "not_changed")
    assert "moved" in callback.reason


# --- Tickets, and what proves that their gap is gone


def test_a_ticket_about_bookings_is_not_closed_by_a_cancellation(calcom, booked, phone, settle_later):
    calcom.faults.add("create", times=None, commit=False, status=400, body=TITLE_WANTED)
    stranger = phone(from_number="+4915100000001")
    assert stranger.book(at(12)).code == "unavailable"
    assert cancel(booked).code == "cancelled"
    settle_later(seconds=1)
    assert open_failures().get().failure_type == "config_error"
    calcom.faults.clear()
    assert stranger.book(at(12)).code == "booked"
    settle_later(seconds=1)
    assert not open_failures().exists()


def test_a_ticket_about_cancellations_is_not_closed_by_a_booking(calcom, booked, phone, settle_later):
    calcom.faults.add("cancel", commit=False, status=400, body=TITLE_WANTED)
    assert cancel(booked).code == "unavailable"
    assert phone(from_number="+4915100000001").book(at(12)).code == "booked"
    settle_later(seconds=1)
    assert open_failures().get().failure_type == "config_error"
    assert cancel(booked).code == "cancelled"
    settle_later(seconds=1)
    assert not open_failures().exists()


@pytest.fixture
def both_stand(calcom, booked, announced, work, run):
    """A booking that was moved, and confirmed again beside the one it was moved to: both their uids."""
    old = Appointment.objects.get().calcom_booking_uid
    new = calcom.web_reschedule(old, at(14)).uid
    work()
    calcom.web_confirm(old, silent=True)
    run()
    return old, new


def test_a_ticket_about_two_that_stand_closes_whichever_of_them_goes(calcom, both_stand, work, run, verdict):
    old, new = both_stand
    assert open_failures().get().failure_type == "duplicate_booking"
    run()
    assert open_failures().exists(), "both of them stand"
    calcom.web_cancel(new)
    work(seconds=10)
    run()
    row = Appointment.objects.get()
    assert (row.calcom_booking_uid, row.starts_at, row.status) == (old, at(10), Status.SCHEDULED)
    run()
    assert not open_failures().exists()
    verdict()


@pytest.mark.parametrize("odd", [{"status": "dreamt"}, {"rescheduledToUid": "nowhere"}], ids=str)
def test_a_ticket_about_two_that_stand_outlives_a_run_that_cannot_tell_what_became_of_the_other(
    calcom, salon, both_stand, announced, work, run, odd
):
    old, new = both_stand
    calcom.web_cancel(new)
    work(seconds=10)
    calcom.send_event(announced, salon.calcom_webhook_secret, "BOOKING_CREATED", {"uid": old})
    work(seconds=20)
    assert Appointment.objects.get().calcom_booking_uid == old
    number = calcom.faults.add("get", path_contains=new, patch=odd, times=None)
    code, report = run()
    assert (code, report["companies"]["salon"]["outcome"]) == (1, "complete")
    assert open_failures().get().failure_type == "duplicate_booking"
    calcom.faults.remove(number)
    assert run()[0] == 0
    assert not open_failures().exists()


def test_a_persons_resolution_of_what_nobody_knows_is_kept(
    calcom, phone, settle_later, settings, admin_user, verdict
):
    settings.ANSWER_BUDGET_SECONDS = 2
    calcom.faults.timeout_after_commit()
    assert phone().book(at(10)).code == "checking"
    calcom.faults.outage()
    settle_later()
    assert open_failures().get().failure_type == "network_timeout"
    open_failures().update(status="resolved", resolved_at=timezone.now(), resolved_by=admin_user)
    settle_later(seconds=1000)
    assert not open_failures().exists(), "the same look, the same answer"
    calcom.faults.clear()
    settle_later(seconds=2000)
    assert Appointment.objects.get().status == Status.SCHEDULED
    verdict()


def test_a_persons_resolution_of_a_booking_that_cannot_be_undone_is_kept(
    calcom, phone, settle_later, admin_user
):
    calcom.faults.taken_after_commit(hide_for=3600)
    assert phone().book(at(10)).code == "slot_taken"
    calcom.clock.advance(3601)
    calcom.faults.server_error(commit=False, operation="cancel", times=None)
    settle_later(seconds=90)
    assert open_failures().get().failure_type == "orphaned_calcom"
    open_failures().update(status="resolved", resolved_at=timezone.now(), resolved_by=admin_user)
    settle_later(seconds=200)
    assert not open_failures().exists(), "one minute later nothing is different"


# --- The hourly run beside live calls, and where it may not heal


@pytest.mark.parametrize("options", [(), ("--dry-run",)])
def test_a_booking_that_is_being_answered_is_no_orphan_where_nothing_is_adopted(
    calcom, salon, phone, run, options
):
    Company.objects.update(heal_adopt="off")
    runs = []

    def run_meanwhile(_exchange: object) -> None:
        runs.append(run(*options))
        connection.close()

    calcom.faults.add("create", call={"before_answer": run_meanwhile})
    assert phone().book(at(10)).code == "booked"
    code, report = runs[0]
    assert (code, report["companies"]["salon"]["in_flight"]) == (0, 1)
    assert not SyncFailure.objects.exists()


@pytest.mark.parametrize("options", [(), ("--dry-run",)])
@pytest.mark.parametrize("operation", ["reschedule", "cancel"])
def test_a_change_that_is_being_answered_is_no_difference_where_nothing_is_followed(
    calcom, booked, run, operation, options
):
    Company.objects.update(heal_follow="off")
    runs = []

    def run_meanwhile(_exchange: object) -> None:
        runs.append(run(*options))
        connection.close()

    calcom.faults.add(operation, call={"before_answer": run_meanwhile})
    answer = cancel(booked) if operation == "cancel" else move(booked, at(14))
    assert answer.body["success"]
    code, report = runs[0]
    assert (code, report["companies"]["salon"]["in_flight"]) == (0, 1)
    assert not SyncFailure.objects.exists()


def test_a_booking_that_was_moved_is_one_difference_under_however_many_uids(calcom, booked, run):
    for hour in (12, 14, 16):
        (booking,) = calcom.active_bookings()
        calcom.web_reschedule(booking.uid, at(hour), silent=True)
    report = run("--dry-run")[1]["companies"]["salon"]
    assert (report["would_heal"], report["left"]) == ({"follow": 1}, 1)


DISORDER = {
    "no backlink": lambda: Call.objects.update(
        appointment=None, appointment_made=False, booking_confirmed=False
    ),
    "no backlink, and confirmed": lambda: Call.objects.update(appointment=None),
    "no call": lambda: Appointment.objects.update(call=None),
    "wrong flags": lambda: Call.objects.update(booking_confirmed=False),
}


@pytest.mark.parametrize("what", DISORDER)
def test_a_link_that_may_not_be_mended_is_a_ticket_until_it_is(calcom, salon, booked, run, verdict, what):
    Company.objects.update(heal_link="off")
    call = Call.objects.get()
    DISORDER[what]()
    CallFactory(company=salon, branch=call.branch)  # a later one, about nothing
    for _ in range(2):
        assert run()[0] == 1
        failure = open_failures().get()
        assert (failure.failure_type, failure.call) == ("call_desync", call)
    Company.objects.update(heal_link="on")
    assert run()[0] == 0
    assert not open_failures().exists()
    verdict()


def test_a_clock_that_once_went_ahead_does_not_hide_what_is_booked_afterwards(calcom, salon, phone, run):
    uids = [phone(from_number=f"+49151000000{hour}").book(at(hour)).uid for hour in range(10, 20)]
    for uid in uids:  # so that a run over everything takes more than a few requests
        calcom.web_reschedule(uid, at(8 + uids.index(uid), days=14), silent=True)
    run()
    calcom.clock.advance(3 * 86_400)
    calcom.web_book("open", start=at(10, days=20), silent=True)
    calcom.clock.advance(-3 * 86_400)
    run()
    later = calcom.web_book("open", start=at(11, days=20), silent=True)
    run()
    assert [run.scope for run in ReconciliationRun.objects.order_by("-pk")] == ["changes", "changes", "full"]
    assert Appointment.objects.filter(calcom_booking_uid=later.uid).exists()


def test_a_ticket_about_a_difference_closes_when_nothing_is_left_that_could_differ(
    calcom, salon, booked, run, verdict
):
    Company.objects.update(heal_follow="off")
    uid = Appointment.objects.get().calcom_booking_uid
    assert cancel(booked).code == "cancelled"
    calcom.web_confirm(uid, silent=True)
    assert run()[0] == 1
    assert open_failures().get().failure_type == "status_mismatch"
    calcom.erase(uid)
    assert run()[0] == 0
    assert not open_failures().exists()


# --- Two branches


def test_an_appointment_in_another_zone_is_told_in_the_time_of_its_own_branch(calcom, salon, booked, verdict):
    london = Branch.objects.create(company=salon, slug="london", name="London", timezone="Europe/London")
    PhoneNumber.objects.create(branch=london, number="+442012345670")
    there = Phone(company=salon, to_number="+442012345670", agent_id="")
    listed = there.ask("list_appointments")
    assert "at 10 AM" in listed.body["say"]
    assert "at 10 AM" in listed.body["appointments"][0]["spoken"]
    assert listed.body["appointments"][0]["start"] == at(10).isoformat()
    assert "at 10 AM" in there.book(at(10)).body["say"], "already booked"
    assert "at 3 PM" in move(there, at(15)).body["say"]
    without_an_offset = at(16).replace(tzinfo=None).isoformat()
    moved = there.ask("reschedule_appointment", new_start=without_an_offset)
    assert moved.body["appointment"]["start"] == at(16).isoformat()
    assert "at 4 PM" in moved.body["say"]
    assert "at 4 PM" in cancel(there).body["say"]
    verdict()


# --- Taken, by the caller's own booking that was made or moved on the web unheard


KINDS = [("shave", "single"), ("colour", "roundrobin_open")]


def booked_on_the_web(calcom, key, **options):
    """Ten minutes ago, and its delivery was lost."""
    calcom.clock.advance(-600)
    made = calcom.web_book(
        key, **{"start": at(10), "email": None, "name": "Anna Weber", "silent": True, **options}
    )
    calcom.clock.advance(600)
    return made


@pytest.mark.parametrize(("service", "key"), KINDS)
def test_what_the_caller_has_booked_on_the_web_is_not_called_taken(
    calcom, salon, phone, verdict, settle_later, service, key
):
    caller = phone()
    made = booked_on_the_web(calcom, key, phone=caller.from_number)
    answer = caller.book(at(10), service=service)
    assert (answer.code, answer.uid) == ("already_booked", made.uid)
    assert BookingAttempt.objects.latest("pk").told == "already_booked"
    settle_later(seconds=90)
    assert caller.book(at(10), service=service).uid == made.uid
    assert cancel(caller).code == "cancelled"
    assert not calcom.active_bookings()
    assert not open_failures().exists()
    verdict()


@pytest.mark.parametrize(("service", "key"), KINDS)
@pytest.mark.parametrize("moves", [[14], [16, 14]])
def test_what_the_caller_has_moved_there_on_the_web_is_not_called_taken(
    calcom, salon, phone, verdict, settle_later, service, key, moves
):
    uid = first = phone().book(at(10), service=service).uid
    for hour in moves:
        uid = calcom.web_reschedule(uid, at(hour), by_owner=True, silent=True).uid
    answer = phone().book(at(14), service=service)
    assert (answer.code, answer.uid) == ("already_booked", uid)
    row = Appointment.objects.get(calcom_booking_uid=uid)
    assert row.former_uids.filter(uid=first).exists()
    settle_later(seconds=90)
    assert len(calcom.active_bookings()) == 1
    verdict()


@pytest.mark.parametrize(("service", "key"), KINDS)
@pytest.mark.parametrize("name", ["Anna Weber", "Mia Kraus"])
def test_nobody_is_told_that_a_move_failed_for_what_they_have_booked_there_on_the_web(
    calcom, salon, phone, verdict, settle_later, service, key, name
):
    caller = phone()
    assert caller.book(at(12), service=service).code == "booked"
    made = booked_on_the_web(calcom, key, phone=caller.from_number, name=name)
    answer = move(caller, at(10))
    if name == "Anna Weber":
        assert (answer.code, answer.uid) == ("already_booked", made.uid)
        assert not CallbackRequest.objects.exists()
    else:
        assert (answer.code, answer.uid) == ("slot_taken" if service == "shave" else "unavailable", None)
    settle_later(seconds=90)
    assert {booking.start for booking in calcom.active_bookings()} == {at(10), at(12)}
    assert not open_failures().exists()
    verdict()


@pytest.fixture
def booked_twice(calcom, salon, phone):
    """On the web, unheard, and by phone: two hosts take turns, and the two go by other addresses."""
    caller = phone()
    on_the_web = booked_on_the_web(
        calcom, "roundrobin_open", phone=caller.from_number, email="anna@example.org"
    )
    answer = caller.book(at(10), service="colour")
    assert answer.code == "booked"
    assert len(calcom.active_bookings()) == 2
    return on_the_web, answer


@pytest.mark.parametrize("heard", ["late", "within the hour"])
def test_what_one_person_booked_on_the_web_and_by_phone_is_a_ticket_until_one_of_them_is_gone(
    calcom, salon, booked_twice, announced, work, run, settle_later, verdict, heard
):
    on_the_web, by_phone = booked_twice
    if heard == "late":
        calcom.send_event(announced, salon.calcom_webhook_secret, "BOOKING_CREATED", {"uid": on_the_web.uid})
        work(seconds=5)
    else:
        run("--full")
    ticket = open_failures().get()
    assert (ticket.failure_type, ticket.calcom_booking_id) == (Type.DUPLICATE_BOOKING, by_phone.uid)
    assert ticket.error_details == {
        "other_appointment": Appointment.objects.get(calcom_booking_uid=on_the_web.uid).pk
    }
    run("--full")
    settle_later()
    assert open_failures().get() == ticket
    verdict()
    calcom.web_cancel(on_the_web.uid)
    work(seconds=5)
    assert not open_failures().exists()


def test_what_a_family_books_on_the_web_and_by_phone_is_no_duplicate(calcom, salon, phone, run, verdict):
    caller = phone()
    booked_on_the_web(
        calcom, "roundrobin_open", phone=caller.from_number, email="mia@example.org", name="Mia Kraus"
    )
    assert caller.book(at(10), service="colour").code == "booked"
    run("--full")
    assert len(proven()) == 2
    assert not open_failures().exists()
    verdict()


@pytest.mark.parametrize("gone", ["cancelled", "moved"])
def test_nobody_has_already_what_they_have_cancelled_or_moved_away_on_the_web(calcom, phone, verdict, gone):
    caller = phone()
    first, second = caller.book(at(10)), caller.book(at(12))
    if gone == "cancelled":
        calcom.web_cancel(second.uid, silent=True)
    else:
        calcom.web_reschedule(second.uid, at(15), by_owner=True, silent=True)
    number = str(first.body["appointment"]["id"])
    answer = caller.ask("reschedule_appointment", appointment=number, new_start=at(12).isoformat())
    assert answer.code == "rescheduled"
    verdict()


def test_where_an_unknown_move_of_theirs_may_stand_a_booking_handed_back_is_not_taken(
    calcom, phone, verdict, settle_later, settings
):
    settings.ANSWER_BUDGET_SECONDS = 2
    caller = phone()
    assert caller.book(at(10), service="colour").code == "booked"
    calcom.faults.timeout_after_commit(operation="reschedule")
    assert move(caller, at(14)).code == "checking"
    assert phone().book(at(14), service="colour").code in ("checking", "already_booked")
    settle_later()
    assert phone().book(at(14), service="colour").code == "already_booked"
    verdict()


@pytest.mark.parametrize("service", ["shave", "colour"])
@pytest.mark.parametrize("moved_by", ["phone", "web"])
def test_a_slot_that_may_be_taken_by_ones_own_is_not_called_taken_while_cal_com_cannot_be_asked(
    calcom, phone, verdict, settle_later, settings, service, moved_by
):
    caller = phone()
    first = caller.book(at(10), service=service).uid
    if moved_by == "phone":
        settings.ANSWER_BUDGET_SECONDS = 2
        calcom.faults.timeout_after_commit(operation="reschedule")
        assert move(caller, at(14)).code == "checking"
        settings.ANSWER_BUDGET_SECONDS = 8
    else:
        calcom.web_reschedule(first, at(14), by_owner=True, silent=True)
    calcom.faults.server_error(commit=False, operation="get", status=503, times=None)
    assert phone().book(at(14), service=service).code == "checking"
    calcom.faults.clear()
    settle_later(seconds=90)
    assert phone().book(at(14), service=service).code == "already_booked"
    assert len(calcom.active_bookings()) == 1
    verdict()


def test_ones_own_moved_booking_that_is_handed_back_as_if_it_were_new_is_not_cancelled(
    calcom, salon, phone, announced, work, settle_later, run
):
    first = phone().book(at(10), service="colour").uid
    moved = calcom.web_reschedule(first, at(12), by_owner=True).uid
    work()
    calcom.faults.hand_back(moved, remove=["rescheduledFromUid"])
    assert phone().book(at(10), service="colour").code == "slot_taken"
    settle_later()
    run()
    assert calcom.booking(moved).is_active
    assert Appointment.objects.get(calcom_booking_uid=moved).status == Status.SCHEDULED


def test_of_two_bookings_that_one_request_has_made_the_second_is_a_ticket(
    calcom, phone, settle_later, settings
):
    settings.ANSWER_BUDGET_SECONDS = 2
    calcom.faults.timeout_after_commit()
    assert phone().book(at(10), service="colour").code == "checking"
    (one,) = calcom.active_bookings()
    two = calcom.web_book("roundrobin_open", start=at(10), metadata=dict(one.metadata), silent=True)
    settle_later(seconds=20)
    row = Appointment.objects.get()
    assert {row.calcom_booking_uid, open_failures().get().calcom_booking_id} == {one.uid, two.uid}
    assert open_failures().get().failure_type == "duplicate_booking"
    assert not calcom.requests("cancel")


@pytest.mark.parametrize(("service", "key"), KINDS)
@pytest.mark.parametrize(
    "asked",
    [
        pytest.param({"customer_name": "Mia Kraus"}, id="another person"),
        pytest.param({"from_number": "anonymous", "customer_phone": "+4915112345678"}, id="merely said"),
    ],
)
def test_whose_it_is_that_has_taken_a_slot_nobody_else_is_told(
    calcom, salon, phone, verdict, service, key, asked
):
    booked_on_the_web(calcom, key, phone="+4915112345678")
    asked = dict(asked)
    caller = phone(from_number=asked.pop("from_number", "+4915112345678"))
    assert caller.book(at(10), service=service, **asked).code == "slot_taken"
    verdict()


def test_what_another_company_has_at_the_same_calendar_is_not_ones_own(calcom, salon, phone, announced, work):
    studio = make_salon(calcom, slug="studio", number="+493012345679")
    caller = Phone(company=studio, to_number="+493012345679")
    assert caller.book(at(10), service="shave").code == "booked"
    assert phone(from_number=caller.from_number).book(at(10), service="shave").code == "slot_taken"
    made = booked_on_the_web(calcom, "single", start=at(12), phone=caller.from_number)
    assert caller.book(at(12), service="shave").uid == made.uid
    assert phone(from_number=caller.from_number).book(at(12), service="shave").code == "slot_taken"
    assert set(Appointment.objects.filter(status="scheduled").values_list("company", flat=True)) == {
        studio.pk
    }


def test_what_was_denied_and_undone_and_is_confirmed_by_the_host_is_a_ticket_and_not_undone_again(
    calcom, salon, phone, announced, work, settle_later, run, verdict
):
    calcom.faults.taken_after_commit(hide_for=3600)
    assert phone().book(at(10)).code == "slot_taken"
    calcom.clock.advance(3601)
    settle_later(seconds=90)
    (booking,) = calcom.bookings
    assert not booking.is_active
    work(seconds=30)
    calcom.web_confirm(booking.uid)
    work(seconds=60)
    settle_later(seconds=200)
    run()
    before = open_failures().get().occurrences
    run()
    assert calcom.booking(booking.uid).is_active
    assert len(calcom.requests("cancel")) == 1
    failure = open_failures().get()
    assert (failure.failure_type, failure.occurrences) == ("orphaned_calcom", before + 1)
    verdict()


def test_what_comes_back_is_not_hidden_by_having_been_put_off_before(calcom, salon, booked, run):
    Company.objects.update(heal_follow="off")
    uid = Appointment.objects.get().calcom_booking_uid
    calcom.web_cancel(uid, silent=True)
    run()
    open_failures().update(snoozed_until=timezone.now() + dt.timedelta(days=30))
    run()
    assert open_failures().get().snoozed_until, "nothing has changed: it stays put off"
    calcom.web_confirm(uid, silent=True)
    run()
    assert not open_failures().exists()
    calcom.web_cancel(uid, silent=True)
    run()
    assert open_failures().get().snoozed_until is None


def test_what_is_over_and_vanished_is_a_ticket_where_nothing_is_followed(calcom, salon, booked, run, verdict):
    Company.objects.update(heal_follow="off")
    calcom.erase(Appointment.objects.get().calcom_booking_uid)
    past = timezone.now() - dt.timedelta(hours=3)
    Appointment.objects.update(starts_at=past, ends_at=past + dt.timedelta(minutes=30), idempotency_key=None)
    assert run()[0] == 1
    assert open_failures().get().failure_type == "orphaned_local"
    Company.objects.update(heal_follow="on")
    assert run()[0] == 0
    assert Appointment.objects.get().status == Status.CANCELLED


def test_a_call_goes_on_pointing_at_what_was_booked_last_when_the_other_is_moved(
    calcom, salon, booked, run, verdict
):
    second = booked.book(at(12), service="colour").uid
    first = Appointment.objects.exclude(calcom_booking_uid=second).get()
    calcom.web_reschedule(first.calcom_booking_uid, at(16), silent=True)
    run()
    first.refresh_from_db()
    assert first.starts_at == at(16)
    pointed_at = Call.objects.values_list("appointment__calcom_booking_uid", "booking_details__uid")
    assert pointed_at.get() == (second, second)
    verdict()


def test_a_key_of_the_runs_own_that_is_refused_is_one_ticket_although_callers_can_book(
    calcom, salon, phone, run, settle_later
):
    salon.calcom_reconcile_api_key = "cal_revoked"
    salon.save()
    for hour in (10, 11):
        run()
        assert phone().book(at(hour)).code == "booked"
        settle_later(seconds=1)
        assert open_failures().get().failure_type == "config_error"
    assert SyncFailure.objects.get().occurrences == 2
    salon.calcom_reconcile_api_key = ""
    salon.save()
    assert run()[0] == 0
    assert not open_failures().exists()


@pytest.mark.parametrize("service", ["shave", "colour"])
def test_where_somebodys_unknown_move_stands_whoever_says_their_number_is_not_told(
    calcom, phone, verdict, settle_later, settings, service
):
    settings.ANSWER_BUDGET_SECONDS = 2
    caller = phone()
    assert caller.book(at(10), service=service).code == "booked"
    calcom.faults.timeout_after_commit(operation="reschedule")
    assert move(caller, at(14)).code == "checking"
    stranger = phone(from_number="anonymous")
    answer = stranger.book(at(14), service=service, customer_phone=caller.from_number)
    assert (answer.code, answer.body["appointment"]) == ("slot_taken", None)
    assert stranger.ask("list_appointments").code == "not_found"
    settle_later()
    verdict()


def test_an_appointment_in_another_zone_is_found_by_the_day_on_which_it_is_told(salon, booked, haircut):
    """Ten in the morning in Berlin is the evening before in Honolulu."""
    island = Branch.objects.create(company=salon, slug="island", name="Island", timezone="Pacific/Honolulu")
    PhoneNumber.objects.create(branch=island, number="+18085550100")
    there = Phone(company=salon, to_number="+18085550100", agent_id="")
    told = there.ask("list_appointments").body["appointments"][0]["start"]
    the_day_before = (at(10) - dt.timedelta(days=1)).date().isoformat()
    assert cancel(there, day=the_day_before).code == "not_found"
    assert move(there, at(12), day=told[:10]).code == "rescheduled"
    utc = at(12).astimezone(dt.UTC).isoformat()
    for words in (told[:10], told, utc):
        assert cancel(there, day=words, reason=words).code == "cancelled", words


def test_a_key_that_could_not_read_closes_its_ticket_when_it_can_though_nobody_books(calcom, salon, run):
    key = salon.calcom_api_key
    salon.calcom_api_key = "cal_revoked"
    salon.save()
    assert run()[0] == 2
    assert open_failures().get().failure_type == "config_error"
    salon.calcom_api_key = key
    salon.save()
    assert run()[0] == 0
    assert not open_failures().exists()


def test_a_key_that_reads_and_may_not_book_keeps_its_ticket(calcom, salon, phone, run):
    calcom.faults.refuse("PermissionsGuard - this key may not book", status=403)
    assert phone().book(at(10)).code == "unavailable"
    run()
    assert open_failures().get().failure_type == "config_error"


# --- Several people and appointments of one number


EVERY_KIND = ["shave", "colour", "advice"]


@pytest.mark.parametrize("minutes", [0, 3, -5])
@pytest.mark.parametrize("service", EVERY_KIND)
def test_nobody_moves_an_appointment_onto_another_of_their_own(
    calcom, phone, verdict, settle_later, run, service, minutes
):
    """A few minutes away it is the same booking, as it is to whoever books."""
    caller = phone()
    first = caller.book(at(10), service=service)
    caller.book(at(12), service=service)
    answer = phone().ask(
        "reschedule_appointment",
        appointment=caller.heard[-1].body["appointment"]["id"],
        new_start=(at(10) + dt.timedelta(minutes=minutes)).isoformat(),
    )
    assert (answer.code, answer.uid) == ("already_booked", first.uid)
    assert "at 10 AM" in answer.body["say"]
    settle_later(seconds=1)
    run()
    assert {booking.start for booking in calcom.active_bookings()} == {at(10), at(12)}
    assert not SyncFailure.objects.exists()
    assert not CallbackRequest.objects.exists()
    verdict()


@pytest.mark.parametrize("service", EVERY_KIND)
def test_what_somebody_else_of_the_family_has_is_not_ones_own(
    calcom, phone, verdict, settle_later, run, service
):
    caller = phone()
    caller.book(at(10), service=service, customer_name="Anna Weber")
    bens = caller.book(at(12), service=service, customer_name="Ben Weber").body["appointment"]["id"]
    answer = caller.ask("reschedule_appointment", appointment=bens, new_start=at(10).isoformat())
    assert (answer.code, answer.body["appointment"]) == ("slot_taken", None)
    assert at(10).isoformat() not in {offer["start"] for offer in answer.body["alternatives"]}
    settle_later(seconds=1)
    run()
    assert {booking.start for booking in calcom.active_bookings()} == {at(10), at(12)}
    assert not SyncFailure.objects.exists()
    verdict()


def test_what_cannot_be_moved_by_a_few_minutes_is_not_in_its_own_way(calcom, booked, phone, verdict):
    assert phone(from_number="+4915199999999").book(at(10, 30)).code == "booked"
    answer = move(booked, at(10, 3))
    assert (answer.code, answer.body["appointment"]) == ("slot_taken", None)
    verdict()


def test_a_few_minutes_from_what_somebody_else_of_the_family_has_the_other_host_may_be_free(
    calcom, phone, verdict
):
    caller = phone()
    assert caller.book(at(10), service="colour", customer_name="Anna Weber").code == "booked"
    bens = caller.book(at(12), service="colour", customer_name="Ben Weber").body["appointment"]["id"]
    assert move(caller, at(10, 3), appointment=bens).code == "rescheduled"
    verdict()


def test_a_few_minutes_from_what_they_booked_on_the_web_unheard_a_slot_is_not_called_taken(
    calcom, phone, run, verdict
):
    caller = phone()
    caller.book(at(14))
    own = calcom.web_book("open", start=at(10), name="Anna Weber", phone=caller.from_number, silent=True)
    moved = move(caller, at(10, 3))
    assert (moved.code, moved.uid) == ("already_booked", own.uid)
    other = calcom.web_book("open", start=at(16), name="Anna Weber", phone=caller.from_number, silent=True)
    booked = phone().book(at(16, 5))
    assert (booked.code, booked.uid) == ("already_booked", other.uid)
    run()
    assert len(calcom.active_bookings()) == 3
    verdict()


@pytest.mark.parametrize("given", [{}, {"customer_phone": "+4915177777777"}], ids=["none", "said"])
@pytest.mark.parametrize("from_number", ["anonymous", "+4915112345678"])
def test_where_the_web_moved_it_unheard_the_slot_is_not_called_taken_in_the_call_that_booked_it(
    calcom, phone, run, verdict, from_number, given
):
    """Whatever number they call from, and whatever number they say."""
    caller = phone(from_number=from_number)
    first = caller.book(at(10), service="shave", **given)
    moved = calcom.web_reschedule(first.uid, at(14), silent=True)
    other = phone(from_number="anonymous").book(at(14), service="shave", customer_phone="+4915177777777")
    assert (other.code, other.body["appointment"]) == ("slot_taken", None)
    again = caller.book(at(14), service="shave", **given)
    assert (again.code, again.uid) == ("already_booked", moved.uid)
    run()
    assert Appointment.objects.get(calcom_booking_uid=moved.uid).starts_at == at(14)
    assert len(calcom.active_bookings()) == 1
    verdict()


@pytest.mark.parametrize("service", ["shave", "colour"])
def test_where_somebodys_unknown_move_stands_another_of_the_family_has_nothing(
    calcom, phone, verdict, settle_later, settings, service
):
    settings.ANSWER_BUDGET_SECONDS = 2
    caller = phone()
    assert caller.book(at(10), service=service, customer_name="Anna Weber").code == "booked"
    calcom.faults.timeout_after_commit(operation="reschedule")
    assert move(caller, at(14)).code == "checking"
    answer = phone().book(at(14), service=service, customer_name="Ben Weber")
    assert (answer.code, answer.body["appointment"]) == ("slot_taken", None)
    settle_later()
    assert phone().book(at(14), service=service, customer_name="Anna Weber").code == "already_booked"
    verdict()


@pytest.fixture
def annas_is_hidden(calcom, salon, phone, settle_later, settings):
    """Made at Cal.com, given up here as absent, and visible again."""
    settings.ANSWER_BUDGET_SECONDS = 2
    calcom.faults.timeout_after_commit(hide_for=3600)
    assert phone().book(at(10), service="colour", customer_name="Anna Weber").code == "checking"
    settle_later()
    calcom.clock.advance(3601)
    return calcom.bookings[0]


def test_one_of_the_family_is_not_given_the_booking_of_another(
    calcom, phone, annas_is_hidden, run, settle_later, verdict
):
    answer = phone().book(at(10), service="colour", customer_name="Ben Kurz")
    if answer.body["success"]:
        assert calcom.booking(answer.uid).attendee.name == "Ben Kurz", answer.body["say"]
    run()
    settle_later()
    assert Appointment.objects.get(calcom_booking_uid=annas_is_hidden.uid).attendee_name == "Anna Weber"
    verdict()


def test_what_one_of_the_family_cannot_have_stored_does_not_cancel_the_booking_of_another(
    calcom, phone, annas_is_hidden
):
    with refusals() as refused:
        refused.add("appointments", "UPDATE", text="bad row", when="NEW.calcom_booking_uid IS NOT NULL")
        phone().book(at(10), service="colour", customer_name="Ben Kurz")
    assert annas_is_hidden.is_active

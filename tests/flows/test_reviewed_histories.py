"""Histories that a review of webhooks, reconciliation and changes found to break an invariant."""

from __future__ import annotations

import datetime as dt
import threading

import pytest
from django.db import connection
from django.utils import timezone

from booking.calcom.deadline import Deadline
from booking.calcom.objects import read_booking
from booking.calcom.simulator.payloads import booking_json
from booking.connection import client_for
from booking.models import Appointment, BookingAttempt, CallbackRequest, SyncFailure
from calls.models import WebhookEvent
from customers.models import Company
from sync import converge, work_deliveries
from sync.models import AuditEntry, ReconciliationRun
from tests.flows.conftest import make_salon
from tests.flows.database_refusals import refusals
from tests.flows.phone import at, cancel, move
from tests.flows.state import open_failures

Status = Appointment.Status


def assert_every_active_booking_is_here_or_named(calcom):
    named = set(open_failures().values_list("calcom_booking_id", flat=True))
    live = {row.calcom_booking_uid for row in Appointment.objects.all() if row.is_live}
    lost = {booking.uid for booking in calcom.active_bookings()} - live - named
    assert not lost, f"at Cal.com, and neither here nor in a ticket: {lost}"


# --- 1: what was denied, adopted since, is cancelled by the later look


def test_the_later_look_does_not_cancel_what_a_repeat_has_adopted(
    calcom, salon, phone, settle_later, verdict
):
    calcom.faults.taken_after_commit(hide_for=3600)
    assert phone().book(at(10)).code == "slot_taken"
    calcom.clock.advance(3601)
    answer = phone().book(at(10))
    assert answer.code == "booked"
    settle_later(seconds=70)
    assert not calcom.requests("cancel")
    assert calcom.booking(answer.uid).is_active
    verdict()


# --- 2: yes while a change is unknown


def test_a_move_back_is_not_called_done_while_the_move_away_is_unknown(
    calcom, salon, booked, settle_later, settings
):
    settings.ANSWER_BUDGET_SECONDS = 2
    calcom.faults.timeout_after_commit(operation="reschedule")
    assert move(booked, at(14)).code == "checking"
    answer = move(booked, at(10))  # "oh, then leave it as it was"
    settle_later(seconds=60)
    row = Appointment.objects.get()
    assert answer.code == "checking" or row.starts_at == at(10), (answer.body, row.starts_at)


def test_booked_is_not_repeated_while_a_cancellation_is_unknown(
    calcom, salon, booked, settle_later, settings
):
    settings.ANSWER_BUDGET_SECONDS = 2
    calcom.faults.timeout_after_commit(operation="cancel")
    assert cancel(booked).code == "checking"
    answer = booked.book(at(10))  # the very same request: "no, I keep it after all"
    settle_later(seconds=60)
    assert not (answer.code == "booked" and not calcom.active_bookings()), answer.body


def test_booked_is_not_said_while_a_cancellation_is_unknown(calcom, salon, booked, settle_later, settings):
    settings.ANSWER_BUDGET_SECONDS = 2
    calcom.faults.timeout_after_commit(operation="cancel")
    assert cancel(booked).code == "checking"
    answer = booked.book(at(10), notes="I keep it after all")
    settle_later(seconds=60)
    assert not (answer.code in ("booked", "already_booked") and not calcom.active_bookings()), answer.body


# --- 3: one row, two bookings


def test_an_old_uid_that_is_confirmed_again_does_not_orphan_the_booking_it_became(
    calcom, salon, booked, announced, work, run
):
    old = Appointment.objects.get().calcom_booking_uid
    assert move(booked, at(14)).code == "rescheduled"
    work()
    calcom.web_confirm(old)
    work()
    run()
    assert len(calcom.active_bookings()) == 2
    assert_every_active_booking_is_here_or_named(calcom)


def test_our_move_and_one_on_the_web_at_once_leave_no_booking_unnamed(
    calcom, salon, booked, announced, work, run
):
    """Cal.com answers 201 to both: two accepted bookings, both moved from the original."""
    (original,) = calcom.active_bookings()
    assert move(booked, at(14)).code == "rescheduled"
    other = calcom.seed_booking(
        "open", start=at(16), metadata=dict(original.metadata), rescheduled_from_uid=original.uid
    )
    calcom.send_event(
        announced,
        salon.calcom_webhook_secret,
        "BOOKING_RESCHEDULED",
        {"uid": other.uid, "rescheduleUid": original.uid},
    )
    work()
    run()
    assert len(calcom.active_bookings()) == 2
    assert_every_active_booking_is_here_or_named(calcom)


def test_what_is_too_old_to_be_followed_is_not_reported_as_healed(
    calcom, salon, booked, announced, work, run
):
    old = Appointment.objects.get().calcom_booking_uid
    move(booked, at(14))
    work()
    calcom.web_confirm(old)
    work()
    for _ in range(3):
        run()
    assert AuditEntry.objects.filter(action="heal.follow").count() == 0


# --- 4: one bad booking stops the hourly run


def test_a_move_to_a_booking_that_was_erased_is_a_ticket_and_does_not_stop_the_run(
    calcom, salon, booked, run
):
    moved = calcom.web_reschedule(Appointment.objects.get().calcom_booking_uid, at(14), silent=True)
    calcom.erase(moved.uid)
    calcom.web_book("open", start=at(16), silent=True)
    _status, report = run()
    assert report["companies"]["salon"]["outcome"] == "complete", report
    assert open_failures().exists()


def test_a_booking_that_cannot_be_stored_is_a_ticket_and_does_not_stop_the_run(calcom, salon, run):
    bad = calcom.web_book("open", start=at(10), silent=True)
    bad.end = bad.start
    good = calcom.web_book("open", start=at(12), silent=True)
    _status, report = run()
    assert Appointment.objects.filter(calcom_booking_uid=good.uid).exists(), report
    assert report["companies"]["salon"]["outcome"] == "complete", report


def test_two_companies_at_one_calendar_do_not_stop_each_others_runs(calcom, salon, run):
    make_salon(calcom, slug="other", number="+493087654321")
    calcom.web_book("open", start=at(10), silent=True)
    _status, report = run()
    outcomes = {slug: each["outcome"] for slug, each in report["companies"].items()}
    assert set(outcomes.values()) == {"complete"}, report["companies"]


# --- 5: the cursor


def test_a_later_since_does_not_skip_what_the_cursor_had_not_reached(calcom, salon, phone, run):
    booking = calcom.web_book("open", start=at(10, days=3), silent=True)
    run()
    now = timezone.now()
    # As in a salon whose future is many pages, read once a day; and nobody ran for some hours.
    ReconciliationRun.objects.update(requests=100, cursor=now - dt.timedelta(hours=5))
    calcom.web_cancel(booking.uid, silent=True)
    booking.updated_at = now - dt.timedelta(hours=3)
    Appointment.objects.update(calcom_updated_at=now - dt.timedelta(hours=6))
    calcom.web_book("open", start=at(12), silent=True)
    run("--since", (now - dt.timedelta(hours=1)).isoformat())
    ReconciliationRun.objects.update(requests=100)
    run()
    row = Appointment.objects.get(calcom_booking_uid=booking.uid)
    assert row.status == Status.CANCELLED


# --- 6: tickets and callbacks that close wrongly, or never


def test_a_callback_for_a_change_is_not_closed_by_another_booking(calcom, salon, booked, settle_later):
    calcom.faults.refuse("Invalid API key", status=401, operation="cancel", times=1)
    calcom.faults.refuse("Invalid API key", status=401, operation="get", times=1)
    assert cancel(booked).code == "unavailable"
    assert CallbackRequest.objects.get().status == "open"
    assert booked.book(at(12), service="massage").code == "booked"
    settle_later(seconds=60)
    assert CallbackRequest.objects.get().status == "open", "ten o'clock still stands, and nobody will call"


def test_a_move_that_was_refused_and_made_later_is_no_reason_to_call(calcom, salon, booked, settle_later):
    calcom.faults.refuse(
        "User either already has booking at this time or is not available", operation="reschedule"
    )
    assert move(booked, at(14)).code == "slot_taken"
    assert move(booked, at(14), service="haircut").code == "rescheduled"
    BookingAttempt.objects.filter(state="refused").update(look_again_at=timezone.now())
    settle_later(seconds=70)
    assert not CallbackRequest.objects.exists(), CallbackRequest.objects.get().reason


def twins(calcom, phone, work):
    """One customer, twice the same thing at the same time."""
    phone().book(at(10), service="advice")
    phone().book(at(12), service="advice")
    work()
    first, second = Appointment.objects.order_by("starts_at")
    calcom.web_reschedule(second.calcom_booking_uid, at(10), by_owner=True)
    work()
    assert open_failures().get().failure_type == "duplicate_booking"
    return first, second


def test_a_duplicate_ticket_stays_while_both_stand(calcom, salon, phone, announced, work, run):
    first, _second = twins(calcom, phone, work)
    calcom.send_event(
        announced, salon.calcom_webhook_secret, "BOOKING_REQUESTED", {"uid": first.calcom_booking_uid}
    )
    work()
    run()
    assert open_failures().filter(failure_type="duplicate_booking").exists()


def test_a_duplicate_ticket_closes_when_one_of_the_two_is_moved_away(
    calcom, salon, phone, announced, work, run
):
    _first, second = twins(calcom, phone, work)
    second.refresh_from_db()
    calcom.web_reschedule(second.calcom_booking_uid, at(16), by_owner=True)
    work()
    run("--full")
    assert not open_failures().exists()


def test_a_ticket_about_a_vanished_booking_closes_once_the_appointment_is_over(calcom, salon, booked, run):
    row = Appointment.objects.get()
    calcom.erase(row.calcom_booking_uid)
    run()
    assert open_failures().get().failure_type == "orphaned_local"
    past = timezone.now() - dt.timedelta(hours=3)
    Appointment.objects.update(starts_at=past, ends_at=past + dt.timedelta(minutes=30), idempotency_key=None)
    run()
    assert Appointment.objects.get().status == Status.CANCELLED
    run()
    assert not open_failures().exists()


def test_a_persons_resolution_of_a_second_booking_is_kept(calcom, salon, booked, run, admin_user):
    (original,) = calcom.active_bookings()
    calcom.seed_booking("open", start=original.start, metadata=dict(original.metadata))
    run()
    assert open_failures().get().failure_type == "duplicate_booking"
    SyncFailure.objects.update(status="resolved", resolved_at=timezone.now(), resolved_by=admin_user)
    run()
    assert not open_failures().exists()


def test_a_persons_resolution_of_an_orphan_is_kept(calcom, salon, phone, run, admin_user):
    with refusals() as refused:
        refused.add("appointments", "UPDATE", text="bad row", when="NEW.calcom_booking_uid IS NOT NULL")
        assert phone().book(at(10)).code == "unavailable"
    (undone,) = calcom.bookings
    calcom.web_confirm(undone.uid, silent=True)
    run()
    assert open_failures().filter(calcom_booking_id=undone.uid).count() == 1
    SyncFailure.objects.update(status="resolved", resolved_at=timezone.now(), resolved_by=admin_user)
    run()
    assert not open_failures().exists()


def test_one_gap_that_moves_on_is_one_ticket(calcom, salon, booked, run):
    Company.objects.update(heal_follow="off")
    uid = Appointment.objects.get().calcom_booking_uid
    for hour in (12, 14):
        uid = calcom.web_reschedule(uid, at(hour), silent=True).uid
        run()
    assert open_failures().count() == 1


def test_two_appointments_that_changed_places_are_no_duplicate(calcom, salon, phone, run, verdict):
    phone().book(at(10))
    phone().book(at(11))
    first, second = (row.calcom_booking_uid for row in Appointment.objects.order_by("starts_at"))
    parked = calcom.web_reschedule(first, at(15), silent=True).uid
    calcom.web_reschedule(second, at(10), silent=True)
    calcom.web_reschedule(parked, at(11), silent=True)
    run()
    assert not open_failures().exists()
    assert not SyncFailure.objects.filter(failure_type="duplicate_booking").exists(), "an alarm for nothing"
    assert not Appointment.objects.filter(idempotency_key=None).exists()


# --- 7: a second booking with our id at another time is cancelled on a guess


def test_a_second_booking_with_our_attempt_id_is_never_cancelled_on_a_guess(
    calcom, salon, booked, announced, work, run
):
    (original,) = calcom.active_bookings()
    second = calcom.web_book("open", start=at(15), metadata=dict(original.metadata))
    work()
    run()
    assert second.is_active
    assert not calcom.requests("cancel")
    assert_every_active_booking_is_here_or_named(calcom)


# --- 8: a stranger by number


def test_a_booking_with_the_number_of_an_old_one_is_not_taken_for_it(calcom, salon, booked, run):
    """The salon moved to another Cal.com, where numbers begin again."""
    row = Appointment.objects.get()
    calcom.erase(row.calcom_booking_uid)
    stranger = calcom.seed_booking("open", start=at(15), name="Somebody Else")
    stranger.id = row.calcom_booking_id
    run()
    row.refresh_from_db()
    assert row.calcom_booking_uid != stranger.uid, "Anna's appointment is a stranger's by now"


# --- 9: privacy


def test_a_delivery_that_fails_says_nothing_of_the_person(calcom, salon, announced, work, caplog):
    bad = calcom.web_book("open", start=at(10), name="Petra Geheim")
    bad.end = bad.start
    work()
    assert "Geheim" not in WebhookEvent.objects.get().error


# --- 10: a change that ends as absent must leave something, also after a crash


@pytest.mark.parametrize("kind", ["create", "cancel"])
def test_whoever_was_told_checking_is_named_even_if_the_callback_cannot_be_written(
    calcom, salon, booked, settle_later, settings, kind
):
    settings.ANSWER_BUDGET_SECONDS = 2
    calcom.faults.reset_connection(commit=False, operation=kind, times=None)
    answer = cancel(booked) if kind == "cancel" else booked.book(at(12))
    assert answer.code == "checking"
    with refusals() as refused:
        refused.add("callback_requests", "INSERT", text="disk full")
        settle_later()
    settle_later(seconds=3600)
    settled = BookingAttempt.objects.filter(kind=kind).latest("pk").state
    assert CallbackRequest.objects.exists() or open_failures().exists(), settled


# --- 11: a repeat in other words must not hit the other appointment


def test_a_repeat_of_a_move_by_day_in_other_words_is_not_not_found(calcom, salon, booked):
    day = at(10).date().isoformat()
    assert move(booked, at(14, days=12), day=day).code == "rescheduled"
    assert move(booked, at(14, days=12), day=day, service="haircut").code != "not_found"


# --- 12: what is newer


def test_a_look_from_before_the_no_show_does_not_take_it_back(calcom, salon, booked, announced, work):
    """Marking an attendee as absent does not change updatedAt."""
    work()
    booking = calcom.bookings[0]
    length = booking.end - booking.start
    booking.start = calcom.clock.now().replace(microsecond=0) - 2 * length
    booking.end = booking.start + length
    work()
    calcom.send_meeting_event(booking.uid)
    statuses = []

    def while_the_look_is_answered(_exchange):
        calcom.web_no_show(booking.uid)
        work()
        statuses.append(Appointment.objects.get().status)
        connection.close()

    calcom.faults.add("get", call={"before_answer": while_the_look_is_answered})
    work()
    assert [*statuses, Appointment.objects.get().status] == [Status.NO_SHOW, Status.NO_SHOW]


def test_a_proven_move_is_not_thrown_away_for_the_clock_of_another_booking(calcom, salon, booked):
    """updatedAt of two bookings, written by two servers of Cal.com's, says nothing of which came first."""
    seen = (Appointment.objects.get().calcom_updated_at or timezone.now()) - dt.timedelta(seconds=1)
    stamp = seen.strftime("%Y-%m-%dT%H:%M:%S.000Z")
    calcom.faults.add("reschedule", patch={"updatedAt": stamp, "createdAt": stamp})
    answer = move(booked, at(14))
    assert answer.code == "rescheduled"
    assert answer.body["appointment"]["start"] == at(14).isoformat()


def test_a_move_on_the_web_is_followed_whatever_the_clock_says(calcom, salon, booked, run, verdict):
    row = Appointment.objects.get()
    moved = calcom.web_reschedule(row.calcom_booking_uid, at(14), silent=True)
    run()
    again = calcom.web_reschedule(moved.uid, at(16), silent=True)
    again.updated_at = again.created_at = moved.created_at - dt.timedelta(seconds=2)
    run("--full")
    row.refresh_from_db()
    assert row.calcom_booking_uid == again.uid or open_failures().exists()


# --- 13: a no that is not true


def test_taken_is_not_repeated_after_the_move_was_made(calcom, salon, booked):
    calcom.faults.refuse(
        "User either already has booking at this time or is not available", operation="reschedule"
    )
    assert move(booked, at(14)).code == "slot_taken"
    assert move(booked, at(14), service="haircut").code == "rescheduled"
    assert move(booked, at(14)).code == "rescheduled"


def test_the_slot_of_an_unknown_move_is_not_called_taken(calcom, salon, booked, settle_later, settings):
    settings.ANSWER_BUDGET_SECONDS = 2
    calcom.faults.timeout_after_commit(operation="reschedule")
    assert move(booked, at(14)).code == "checking"
    answer = booked.book(at(14))
    settle_later(seconds=60)
    assert Appointment.objects.filter(starts_at=at(14), status="scheduled").exists()
    assert answer.code != "slot_taken", answer.body["say"]


# --- 14: a change sent twice


def test_the_later_look_does_not_cancel_what_an_earlier_attempt_has_made(
    calcom, salon, phone, settle_later, settings, run, verdict
):
    settings.ANSWER_BUDGET_SECONDS = 2
    calcom.faults.timeout_after_commit(hide_for=3600)
    assert phone().book(at(10), service="shave").code == "checking"
    settle_later()
    assert phone().book(at(10), service="shave").code == "slot_taken"
    calcom.clock.advance(3601)
    settle_later(seconds=90)
    assert not calcom.requests("cancel")
    run("--full")
    row = Appointment.objects.get(status=Status.SCHEDULED)
    assert [row.calcom_booking_uid] == [booking.uid for booking in calcom.active_bookings()]
    verdict()


def test_two_completers_undo_a_denied_booking_once(calcom, salon, phone, settle_later):
    calcom.faults.taken_after_commit(hide_for=3600)
    assert phone().book(at(10)).code == "slot_taken"
    calcom.clock.advance(3601)
    calcom.faults.add("cancel", delay_before=0.5, times=None)

    def go():
        try:
            settle_later(seconds=70)
        finally:
            connection.close()

    threads = [threading.Thread(target=go) for _ in range(2)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert len(calcom.requests("cancel")) == 1


def test_what_comes_late_with_another_start_is_undone_once(
    calcom, salon, phone, announced, work, settle_later, settings
):
    """The attempt was given up as absent; then the booking shows, at the wrong hour, in two deliveries."""
    settings.ANSWER_BUDGET_SECONDS = 3
    calcom.faults.timeout_before_commit()
    caller = phone()
    assert caller.book(at(10)).code == "checking"
    settle_later()
    attempt = BookingAttempt.objects.get()
    assert attempt.state == "absent"
    late = calcom.web_book("open", start=at(11), metadata=attempt.request["metadata"])
    calcom.send_event(announced, salon.calcom_webhook_secret, "BOOKING_CREATED", {"uid": late.uid})
    _first, second = WebhookEvent.objects.order_by("pk")
    delivered = WebhookEvent.objects.filter(pk=second.pk)
    delivered.update(due_at=timezone.now() + dt.timedelta(hours=1))
    worked = []

    def while_it_is_being_cancelled(_exchange):
        delivered.update(due_at=timezone.now())
        worked.append(work_deliveries.work_due(now=timezone.now()).worked)
        connection.close()

    calcom.faults.add("cancel", call={"before_commit": while_it_is_being_cancelled})
    work_deliveries.work_due(now=timezone.now())
    assert worked == [1]
    assert len(calcom.requests("cancel")) == 1


def test_moving_what_the_host_has_declined_is_no_misconfiguration(calcom, salon, phone):
    caller = phone()
    assert caller.book(at(10), service="advice").code == "requested"
    calcom.web_decline(Appointment.objects.get().calcom_booking_uid, silent=True)
    answer = move(caller, at(14))
    assert not open_failures().exists(), open_failures().get()
    assert answer.code == "not_found"


def test_the_later_look_leaves_the_caller_with_what_they_were_promised(
    calcom, salon, phone, settle_later, announced, work
):
    """The same as the first one, told to its end: the appointment is gone and nobody rings."""
    calcom.faults.taken_after_commit(hide_for=3600)
    phone().book(at(10))
    calcom.clock.advance(3601)
    assert phone().book(at(10)).code == "booked"
    settle_later(seconds=70)
    work(seconds=60)
    stands = Appointment.objects.filter(status="scheduled").exists() and calcom.active_bookings()
    assert stands or CallbackRequest.objects.exists() or open_failures().exists()


def test_an_attempt_that_is_settled_while_its_echo_is_looked_at_has_no_twin(calcom, salon, booked):
    """Its appointment was looked for just before the commit, and its attempt read just after."""
    attempt = BookingAttempt.objects.get()
    shown = read_booking(booking_json(calcom.bookings[0]))
    client, soon = client_for(salon), Deadline.after(5)
    match = converge.Match(company=salon, booking=shown, kinship=converge.Kinship.OF_ATTEMPT, attempt=attempt)
    done = converge.converge(match, client=client, deadline=soon, now=timezone.now())
    assert done.appointment == Appointment.objects.get()
    assert not SyncFailure.objects.exists()


def test_a_look_from_before_our_move_does_not_take_the_row_back(calcom, salon, announced, booked, work):
    """The booking was fetched, and the caller has moved it before the answer was read."""
    first = Appointment.objects.get().calcom_booking_uid
    was_looked_at, is_moved = threading.Event(), threading.Event()

    def wait_for_the_move(exchange):
        was_looked_at.set()
        assert is_moved.wait(10)

    calcom.faults.add("get", path_contains=first, call={"before_answer": wait_for_the_move})

    def slow():
        try:
            work()
        finally:
            connection.close()

    thread = threading.Thread(target=slow)
    thread.start()
    assert was_looked_at.wait(10)
    assert move(booked, at(14)).code == "rescheduled"
    is_moved.set()
    thread.join()
    assert WebhookEvent.objects.get(event_type="BOOKING_CREATED").status == "processed"
    work()
    row = Appointment.objects.get()
    assert (row.starts_at, row.calcom_booking_uid) == (at(14), calcom.active_bookings()[0].uid)
    assert not SyncFailure.objects.exists()

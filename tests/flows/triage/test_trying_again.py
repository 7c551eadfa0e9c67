"""Try again."""

from __future__ import annotations

import datetime as dt

import pytest
from django.utils import timezone

from booking import failures
from booking.models import Appointment, BookingAttempt, Service, SyncFailure
from calls.models import Call
from customers.models import Company
from sync import triage
from sync.triage import NotLegal, Verb
from tests.flows.phone import at
from tests.flows.state import open_failures
from tests.flows.triage.tickets import Type, actions, snapshot, ticket


def test_an_unknown_attempt_is_settled(calcom, salon, phone, look, press, verdict):
    calcom.faults.server_error(commit=True)
    calcom.faults.server_error(commit=False, operation="list", times=6)
    phone().book(at(10))
    attempt = BookingAttempt.objects.get()
    assert attempt.state == "unknown"
    calcom.faults.clear()
    ticket(
        salon,
        Type.NETWORK_TIMEOUT,
        subject=failures.about_key(attempt.idempotency_key),
        appointment=attempt.appointment,
    )
    done = press(triage.try_again, look())
    assert done.is_success
    assert done.changed == {"attempt": 1, "appointment": 1, "sync failure": 1}
    assert Appointment.objects.get().status == "scheduled"
    assert SyncFailure.objects.get().status == "resolved"
    assert actions() == ["triage.try_again", "triage.try_again.done"]
    verdict()


def test_an_attempt_that_may_still_come_true_keeps_its_ticket(calcom, salon, phone, look, press, settings):
    """Nothing is there yet, and its grace time has not gone by."""
    settings.ANSWER_BUDGET_SECONDS = 2
    calcom.faults.timeout_before_commit()
    assert phone().book(at(10)).code == "checking"
    attempt = BookingAttempt.objects.get()
    ticket(
        salon,
        Type.NETWORK_TIMEOUT,
        subject=failures.about_key(attempt.idempotency_key),
        appointment=attempt.appointment,
    )
    done = press(triage.try_again, look())
    assert (done.is_success, done.changed) == (False, {})
    assert "not known yet" in done.said
    assert BookingAttempt.objects.get().state == "unknown"
    assert open_failures().exists()


def test_our_side_follows_what_differs(calcom, salon, phone, run, look, press, verdict):
    phone().book(at(10))
    Company.objects.update(heal_follow="off")
    calcom.web_cancel(Appointment.objects.get().calcom_booking_uid, silent=True)
    run()
    assert "status" in " ".join(triage.preview(Verb.TRY_AGAIN, look()))
    done = press(triage.try_again, look())
    assert (done.is_success, done.changed) == (True, {"appointment": 1, "sync failure": 1})
    assert Appointment.objects.get().status == "cancelled"
    failure = SyncFailure.objects.get()
    assert (failure.status, failure.resolved_by, failure.attempt_count) == ("resolved", None, 1)
    verdict()


@pytest.mark.parametrize("verb", [triage.try_again, triage.adopt])
def test_what_a_clock_that_was_put_back_keeps_from_being_followed_a_person_can_follow(
    calcom, salon, phone, run, look, press, verdict, verb
):
    calcom.clock.advance(3600)
    uid = phone().book(at(10), service="advice").uid
    calcom.clock.advance(-3500)
    calcom.web_confirm(uid, silent=True)
    run()
    assert SyncFailure.objects.get().failure_type == "status_mismatch"
    done = press(verb, look())
    assert done.is_success, done.said
    assert Appointment.objects.get().status == "confirmed"
    assert SyncFailure.objects.get().status == "resolved"
    verdict()


def test_a_cancellation_that_a_clock_keeps_from_being_followed_is_followed_by_trying_again(
    calcom, salon, phone, run, look, press, verdict
):
    calcom.clock.advance(3600)
    uid = phone().book(at(10)).uid
    calcom.clock.advance(-3500)
    calcom.web_cancel(uid, silent=True)
    run()
    assert press(triage.try_again, look()).is_success
    assert Appointment.objects.get().status == "cancelled"
    assert SyncFailure.objects.get().status == "resolved"
    verdict()


def test_while_cal_com_is_away_trying_again_says_so_and_leaves_it_open(calcom, salon, phone, look, press):
    phone().book(at(10))
    ticket(salon, uid=calcom.bookings[0].uid, appointment=Appointment.objects.get())
    calcom.faults.outage()
    done = press(triage.try_again, look())
    assert not done.is_success
    assert "could not be asked" in done.said
    assert SyncFailure.objects.get().is_open
    assert actions() == ["triage.try_again", "triage.try_again.not_done"]


def test_a_booking_that_is_gone_is_no_orphan_any_more(calcom, salon, look, press):
    booking = calcom.web_book("open", start=at(10))
    ticket(salon, uid=booking.uid)
    calcom.erase(booking.uid)
    assert press(triage.try_again, look()).changed == {"sync failure": 1}
    assert SyncFailure.objects.get().status == "resolved"


def test_a_key_that_works_again_closes_its_ticket(calcom, salon, look, press):
    ticket(salon, Type.CONFIG_ERROR, subject=failures.ACCESS)
    salon.calcom_api_key = "cal_revoked"
    salon.save()
    assert not press(triage.try_again, look()).is_success
    salon.calcom_api_key = "cal_test_key"
    salon.save()
    assert press(triage.try_again, look()).is_success
    assert SyncFailure.objects.get().status == "resolved"


def test_the_hourly_runs_key_proves_nothing_about_the_one_that_books(calcom, salon, look, press):
    ticket(salon, Type.CONFIG_ERROR, subject=failures.ACCESS)
    salon.calcom_api_key, salon.calcom_reconcile_api_key = "cal_revoked", "cal_test_key"
    salon.save()
    assert not press(triage.try_again, look()).is_success
    assert SyncFailure.objects.get().is_open


def test_the_hourly_runs_own_key_is_tried_by_itself(calcom, salon, look, press):
    ticket(salon, Type.CONFIG_ERROR, subject=failures.RECONCILE_ACCESS)
    salon.calcom_reconcile_api_key = "cal_revoked"
    salon.save()
    assert not press(triage.try_again, look()).is_success
    assert SyncFailure.objects.get().is_open
    salon.calcom_reconcile_api_key = "cal_test_key"
    salon.save()
    assert press(triage.try_again, look()).is_success
    assert SyncFailure.objects.get().status == "resolved"


def test_an_event_type_that_can_be_booked_again_closes_its_ticket(calcom, salon, haircut, look, press):
    subject = f"{failures.EVENT_TYPE}{haircut.calcom_event_type_id}"
    ticket(salon, Type.CONFIG_ERROR, subject=subject)
    Service.objects.update(learned_event_type_id=None)
    assert press(triage.try_again, look()).changed == {"service": 1, "sync failure": 1}
    haircut.refresh_from_db()
    assert haircut.is_learned


def test_an_event_type_of_no_service_closes_its_ticket_as_the_page_says(calcom, salon, look, press):
    ticket(salon, Type.CONFIG_ERROR, subject=f"{failures.EVENT_TYPE}4711")
    case = look()
    said = ["No service books this event type any more: the failure is closed."]
    assert triage.preview(Verb.TRY_AGAIN, case) == said
    assert press(triage.try_again, case).changed == {"sync failure": 1}


def test_of_an_unknown_attempt_a_refused_key_is_told_as_such(calcom, salon, phone, look, press):
    phone().book(at(10))
    Call.objects.update(appointment=None, booking_confirmed=False, appointment_made=False)
    Appointment.objects.update(status="pending", calcom_booking_uid=None, calcom_booking_id=None)
    BookingAttempt.objects.update(state="unknown", lease_expires_at=timezone.now())
    ticket(salon, Type.NETWORK_TIMEOUT, uid=calcom.bookings[0].uid, appointment=Appointment.objects.get())
    salon.calcom_api_key = "cal_revoked"
    salon.save()
    done = press(triage.try_again, look())
    assert not done.is_success
    assert "Invalid API Key" in done.said


def test_a_call_whose_appointment_is_certain_is_linked(calcom, salon, phone, look, press, verdict):
    phone().book(at(10))
    call = Call.objects.get()
    Call.objects.update(appointment=None, booking_details=None)
    ticket(salon, Type.CALL_DESYNC, subject=f"call:{call.retell_call_id}", call=call)
    assert press(triage.try_again, look()).changed == {"call": 1, "sync failure": 1}
    assert Call.objects.get().appointment == Appointment.objects.get()
    verdict()


def test_of_two_appointments_of_one_call_none_is_certain(calcom, salon, phone, look, press):
    caller = phone()
    caller.book(at(10))
    caller.book(at(12))
    call = Call.objects.get()
    Call.objects.update(appointment=None, booking_details=None)
    ticket(salon, Type.CALL_DESYNC, subject=f"call:{call.retell_call_id}", call=call)
    with pytest.raises(NotLegal):
        press(triage.try_again, look())
    Appointment.objects.filter(starts_at=at(10)).update(status="cancelled")
    assert press(triage.try_again, look()).is_success
    assert Call.objects.get().appointment == Appointment.objects.get(starts_at=at(12))


def test_a_ticket_by_its_key_closes_once_both_sides_are_equal(calcom, salon, phone, look, press):
    phone().book(at(10))
    row = Appointment.objects.get()
    key = BookingAttempt.objects.get().idempotency_key
    ticket(salon, Type.ORPHANED_LOCAL, subject=failures.about_key(key), appointment=row)
    case = look()
    assert "Our appointment says the same." in triage.preview(Verb.TRY_AGAIN, case)
    assert press(triage.try_again, case).changed == {"sync failure": 1}
    assert SyncFailure.objects.get().status == "resolved"


def test_a_ticket_that_names_only_its_appointment_shows_its_booking(calcom, salon, phone, look):
    uid = phone().book(at(10)).uid
    BookingAttempt.objects.all().delete()
    ticket(salon, Type.ORPHANED_LOCAL, subject="missing", appointment=Appointment.objects.get())
    assert look().booking.uid == uid


def test_an_appointment_that_vanished_keeps_its_ticket(calcom, vanished, look, press):
    with pytest.raises(NotLegal):
        press(triage.try_again, look())
    assert SyncFailure.objects.get().is_open


def test_what_is_being_booked_is_left_to_its_request(calcom, salon, phone, look, press):
    phone().book(at(10))
    Call.objects.update(appointment=None, booking_confirmed=False, appointment_made=False)
    Appointment.objects.update(status="pending", calcom_booking_uid=None, calcom_booking_id=None)
    lease = timezone.now() + dt.timedelta(seconds=60)
    BookingAttempt.objects.update(state="claimed", lease_expires_at=lease)
    ticket(salon, uid=calcom.bookings[0].uid, appointment=Appointment.objects.get())
    before = snapshot()
    for verb in (triage.try_again, triage.adopt):
        with pytest.raises(NotLegal, match="under way"):
            press(verb, look())
    assert snapshot() == before


def test_a_ticket_about_two_bookings_closes_when_one_of_them_goes(calcom, salon, phone, look, press):
    uid = phone().book(at(10)).uid
    ticket(salon, Type.DUPLICATE_BOOKING, uid=uid, appointment=Appointment.objects.get())
    assert not press(triage.try_again, look()).is_success
    moved = calcom.web_reschedule(uid, at(12), silent=True)
    press(triage.adopt, look())
    assert Appointment.objects.get().calcom_booking_uid == moved.uid
    assert SyncFailure.objects.get().is_open
    calcom.web_cancel(moved.uid, silent=True)
    assert press(triage.try_again, look()).is_success
    assert SyncFailure.objects.get().status == "resolved"

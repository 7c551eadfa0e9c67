"""Adopt the booking."""

from __future__ import annotations

import datetime as dt

import pytest
from django.db.models import F
from django.utils import timezone

from booking import failures
from booking.models import Appointment, BookingAttempt, CallbackRequest, Service, SyncFailure
from calls.models import Call, FunctionCall
from customers.models import Company
from sync import triage
from sync.models import AuditEntry
from sync.triage import MovedOn, NotLegal, Verb
from tests.flows.conftest import make_salon
from tests.flows.phone import at
from tests.flows.triage.tickets import Type, ticket


def lose_everything_but_the_call() -> None:
    BookingAttempt.objects.all().delete()
    FunctionCall.objects.all().delete()
    Call.objects.update(
        appointment=None, booking_confirmed=False, appointment_made=False, booking_details=None
    )
    Appointment.objects.all().delete()


def test_an_orphan_of_our_attempt_becomes_its_appointment(calcom, salon, phone, run, look, press, verdict):
    phone().book(at(10))
    Company.objects.update(heal_adopt="off")
    Call.objects.update(appointment=None, booking_confirmed=False, appointment_made=False)
    Appointment.objects.update(status="failed", calcom_booking_uid=None, calcom_booking_id=None)
    BookingAttempt.objects.update(state="absent")
    run()
    done = press(triage.adopt, look())
    assert done.changed == {"appointment": 1, "call": 1, "sync failure": 1}
    assert Appointment.objects.get().calcom_booking_uid == calcom.bookings[0].uid
    assert Call.objects.get().booking_confirmed
    assert SyncFailure.objects.get().status == "resolved"
    verdict()


def test_what_was_denied_to_the_caller_can_be_kept_and_is_not_cancelled_later(
    calcom, salon, phone, look, press, settle_later
):
    phone().book(at(10))
    attempt, booking = BookingAttempt.objects.get(), calcom.bookings[0]
    Call.objects.update(appointment=None, booking_confirmed=False, appointment_made=False)
    Appointment.objects.update(status="failed", calcom_booking_uid=None, calcom_booking_id=None)
    BookingAttempt.objects.update(state="refused", told="slot_taken", look_again_at=timezone.now())
    ticket(salon, uid=booking.uid, appointment=attempt.appointment)
    assert press(triage.adopt, look()).is_success
    settle_later()
    assert calcom.booking(booking.uid).is_active
    assert Appointment.objects.get().status == "scheduled"


def denied_to_the_caller(calcom, booking):
    BookingAttempt.objects.update(state="refused", told="slot_taken", look_again_at=None)


def other_than_asked_for(calcom, booking):
    BookingAttempt.objects.update(state="absent", told="checking")
    booking.start += dt.timedelta(hours=1)
    booking.end += dt.timedelta(hours=1)


@pytest.mark.parametrize(
    ("what", "says"),
    [
        (
            denied_to_the_caller,
            "The caller was told no, so within a minute the machines cancel it at Cal.com.",
        ),
        (
            other_than_asked_for,
            "It is not what was asked for: it is cancelled at Cal.com, and a callback noted.",
        ),
    ],
)
def test_what_nobody_counts_on_is_cancelled_at_cal_com_and_the_page_says_so_before(
    calcom, salon, phone, look, press, settle_later, what, says
):
    phone().book(at(10))
    attempt, booking = BookingAttempt.objects.get(), calcom.bookings[0]
    Call.objects.update(appointment=None, booking_confirmed=False, appointment_made=False)
    Appointment.objects.update(status="failed", calcom_booking_uid=None, calcom_booking_id=None)
    what(calcom, booking)
    ticket(
        salon,
        uid=booking.uid,
        subject=failures.about_key(attempt.idempotency_key),
        appointment=attempt.appointment,
    )
    case = look()
    assert says in triage.preview(Verb.TRY_AGAIN, case)
    press(triage.try_again, case)
    settle_later(seconds=60)
    assert not calcom.active_bookings()
    assert CallbackRequest.objects.exists() is (what is other_than_asked_for)


def test_a_person_may_import_what_names_an_unknown_attempt(calcom, salon, phone, run, look, press, verdict):
    phone().book(at(10))
    booking = calcom.bookings[0]
    lose_everything_but_the_call()
    booking.metadata["idempotency_key"] = "00000000-0000-5000-8000-000000000000"
    run()
    with pytest.raises(NotLegal):
        triage.preview(Verb.TRY_AGAIN, look())
    numbers = dict(Service.objects.values_list("pk", "calcom_event_type_id"))
    Service.objects.update(calcom_event_type_id=F("calcom_event_type_id") + 1000)
    with pytest.raises(NotLegal, match="set up the service first"):
        press(triage.adopt, look())
    for pk, number in numbers.items():
        Service.objects.filter(pk=pk).update(calcom_event_type_id=number)
    case = look()
    assert "No call is linked to it." in " ".join(triage.preview(Verb.ADOPT, case))
    assert press(triage.adopt, case).is_success
    row = Appointment.objects.get()
    assert (row.calcom_booking_uid, row.source, row.call) == (booking.uid, "calcom", None)
    assert SyncFailure.objects.get().status == "resolved"
    verdict()


def test_nothing_of_another_tenant_is_adopted_or_cancelled(calcom, salon, phone, look, press):
    other = make_salon(calcom, slug="other", number="+493087654321")
    Service.objects.filter(company=other).delete()
    phone().book(at(10))
    ticket(other, uid=calcom.bookings[0].uid)
    case = look()
    for verb in (triage.adopt, triage.cancel_at_calcom):
        options = {"message": "Sorry."} if verb is triage.cancel_at_calcom else {}
        with pytest.raises(NotLegal):
            press(verb, case, **options)
    assert calcom.bookings[0].is_active
    assert not Appointment.objects.filter(company=other).exists()


def test_what_the_same_person_has_under_another_uid_is_not_adopted_beside_it(
    calcom, salon, phone, look, press
):
    phone().book(at(10))
    BookingAttempt.objects.all().delete()
    Appointment.objects.update(calcom_booking_uid="another", calcom_booking_id=None)
    ticket(salon, uid=calcom.bookings[0].uid)
    done = press(triage.adopt, look())
    assert (done.is_success, done.changed) == (False, {})
    assert "under another uid" in done.said
    assert Appointment.objects.get().calcom_booking_uid == "another"
    assert SyncFailure.objects.get().is_open


def test_a_booking_that_changed_since_it_was_shown_is_not_adopted(calcom, salon, look, press):
    booking = calcom.web_book("open", start=at(10))
    ticket(salon, uid=booking.uid)
    shown = look()
    calcom.web_cancel(booking.uid)
    with pytest.raises(MovedOn):
        press(triage.adopt, shown)
    assert not Appointment.objects.exists()
    assert not AuditEntry.objects.exists()


def test_the_second_booking_of_one_intention_is_not_adopted_while_both_stand(
    calcom, salon, phone, run, look, press
):
    phone().book(at(10))
    attempt, first = BookingAttempt.objects.get(), calcom.bookings[0]
    twin = calcom.seed_booking("open", start=at(10), metadata=dict(first.metadata))
    ticket(salon, Type.DUPLICATE_BOOKING, uid=twin.uid, appointment=attempt.appointment)
    for verb in (triage.adopt, triage.try_again):
        with pytest.raises(NotLegal, match="one of the two"):
            press(verb, look())
    calcom.web_cancel(first.uid, silent=True)
    run()
    with pytest.raises(NotLegal, match="adopt the booking, or cancel it"):
        press(triage.try_again, look())
    assert press(triage.adopt, look()).is_success
    assert Appointment.objects.get(status="scheduled").calcom_booking_uid == twin.uid


def test_of_a_second_booking_that_was_cancelled_the_ticket_is_closed_as_the_page_says(
    calcom, salon, phone, look, press
):
    phone().book(at(10))
    attempt, first = BookingAttempt.objects.get(), calcom.bookings[0]
    twin = calcom.seed_booking("open", start=at(10), metadata=dict(first.metadata))
    ticket(salon, Type.DUPLICATE_BOOKING, uid=twin.uid, appointment=attempt.appointment)
    calcom.web_cancel(twin.uid, silent=True)
    case = look()
    assert "It does not stand: the failure is closed." in triage.preview(Verb.TRY_AGAIN, case)
    assert press(triage.try_again, case).changed == {"sync failure": 1}


@pytest.fixture
def both_stand(calcom, salon, phone, run):
    """A booking that a host has confirmed again after it was moved; its uid."""
    uid = phone().book(at(10), service="advice").uid
    calcom.web_reschedule(uid, at(12), by_owner=True, silent=True)
    run()
    calcom.web_confirm(uid, silent=True)
    run()
    return uid


def test_of_two_that_stand_after_a_move_a_person_sees_both_and_cancels_one(
    calcom, salon, both_stand, look, press, verdict
):
    case = look()
    assert case.failure.failure_type == Type.DUPLICATE_BOOKING
    reasons = triage.legal_verbs(case)
    assert "one of the two" in reasons[Verb.TRY_AGAIN]
    assert "one of the two" in reasons[Verb.ADOPT]
    assert "stays as it is" in " ".join(triage.preview(Verb.CANCEL, case))
    row = Appointment.objects.get()
    assert press(triage.cancel_at_calcom, case, message="Sorry.").is_success
    assert calcom.booking(both_stand).status == "cancelled"
    assert Appointment.objects.get().calcom_booking_uid == row.calcom_booking_uid != both_stand
    assert SyncFailure.objects.get().status == "resolved"
    verdict()


@pytest.mark.parametrize("heard", [True, False], ids=["heard", "unheard"])
def test_of_two_that_stood_when_they_were_shown_the_last_is_not_cancelled(
    calcom, salon, both_stand, look, press, announced, work, heard
):
    case = look()
    assert "stays as it is" in " ".join(triage.preview(Verb.CANCEL, case))
    calcom.web_cancel(Appointment.objects.get().calcom_booking_uid, silent=not heard)
    work(seconds=30)
    with pytest.raises(MovedOn):
        press(triage.cancel_at_calcom, case, message="Sorry.")
    assert [booking.uid for booking in calcom.active_bookings()] == [both_stand]
    assert "nothing is left then" in " ".join(triage.preview(Verb.CANCEL, look()))


def test_while_cal_com_shows_an_old_view_of_a_moved_booking_nothing_is_offered(
    calcom, salon, phone, run, look
):
    uid = phone().book(at(10)).uid
    calcom.web_reschedule(uid, at(12), silent=True)
    run()
    failure = ticket(salon, uid=uid, appointment=Appointment.objects.get())
    calcom.faults.add("get", path_contains=uid, patch={"status": "accepted"}, remove=["rescheduledToUid"])
    legal = {verb for verb, why in triage.legal_verbs(look(failure)).items() if not why}
    assert legal == {Verb.RESOLVE, Verb.SNOOZE, Verb.ASSIGN, Verb.REVIEW}


def test_what_is_not_what_was_asked_for_does_not_become_that_appointment(calcom, salon, phone, look, press):
    phone().book(at(10))
    booking, attempt = calcom.bookings[0], BookingAttempt.objects.get()
    Call.objects.update(appointment=None, booking_confirmed=False, appointment_made=False)
    Appointment.objects.update(status="failed", calcom_booking_uid=None, calcom_booking_id=None)
    BookingAttempt.objects.update(state="absent")
    booking.start += dt.timedelta(hours=1)
    booking.end += dt.timedelta(hours=1)
    ticket(salon, uid=booking.uid, appointment=attempt.appointment)
    with pytest.raises(NotLegal, match="not what was asked for"):
        press(triage.adopt, look())
    assert calcom.booking(booking.uid).is_active

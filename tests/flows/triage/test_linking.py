"""Link to an appointment."""

from __future__ import annotations

import datetime as dt

import pytest

from booking.models import Appointment, BookingAttempt, SyncFailure
from calls.models import Call
from sync import triage
from sync.models import AuditEntry
from sync.triage import Verb
from tests.factories import AppointmentFactory, CallFactory, CompanyFactory
from tests.flows.conftest import make_salon
from tests.flows.phone import at
from tests.flows.triage.tickets import Type, actions, ticket


def test_a_call_is_linked_to_the_appointment_a_person_chooses(calcom, salon, phone, look, press, verdict):
    phone().book(at(10))
    call, row = Call.objects.get(), Appointment.objects.get()
    Call.objects.update(appointment=None)
    Appointment.objects.update(call=None)
    ticket(salon, Type.CALL_DESYNC, subject=f"call:{call.retell_call_id}", call=call)
    case = look()
    assert triage.candidates(case) == [row]
    done = press(triage.link, case, appointment_id=row.pk)
    assert done.changed == {"appointment": 1, "call": 1, "sync failure": 1}
    call.refresh_from_db()
    row.refresh_from_db()
    assert (call.appointment, row.call) == (row, call)
    assert actions() == ["triage.link", "triage.link.done"]
    assert AuditEntry.objects.get(action="triage.link").details["appointment"] == row.pk
    verdict()


def test_a_regular_is_offered_what_was_booked_in_the_call_and_not_all_that_took_place_before(
    calcom, salon, phone, look, press
):
    phone().book(at(10))
    call, row = Call.objects.get(), Appointment.objects.get()
    Call.objects.update(appointment=None, booking_details=None)
    Appointment.objects.update(call=None)
    for week in range(1, 22):
        start = row.starts_at - dt.timedelta(weeks=week + 1)
        AppointmentFactory(call=None, company=salon, branch=None, customer=row.customer, starts_at=start)
    ticket(salon, Type.CALL_DESYNC, subject=f"call:{call.retell_call_id}", call=call)
    case = look()
    assert triage.candidates(case) == [row]
    assert press(triage.link, case, appointment_id=row.pk).is_success


def test_a_call_that_its_appointment_names_is_the_only_row_that_is_changed(calcom, salon, phone, look, press):
    phone().book(at(10))
    Call.objects.update(appointment=None)
    ticket(salon, Type.CALL_DESYNC, subject="call:x", call=Call.objects.get())
    done = press(triage.link, look(), appointment_id=Appointment.objects.get().pk)
    assert done.changed == {"call": 1, "sync failure": 1}


@pytest.mark.parametrize("start", ["9999-12-31T23:59:00-01:00", "0001-01-01T00:00:00+05:00", "10:00", 7])
def test_a_call_that_says_no_time_there_is_is_shown_with_the_appointments_it_may_be(
    calcom, salon, phone, look, start
):
    phone().book(at(10))
    call = Call.objects.get()
    Call.objects.update(appointment=None, booking_details={"start": start})
    ticket(salon, Type.CALL_DESYNC, subject=f"call:{call.retell_call_id}", call=call)
    assert triage.candidates(look()) == [Appointment.objects.get()]


def test_a_lone_booking_is_linked_to_the_appointment_that_lost_it(
    calcom, salon, phone, run, look, press, verdict
):
    phone().book(at(10))
    BookingAttempt.objects.all().delete()
    Appointment.objects.update(status="failed", calcom_booking_uid=None, calcom_booking_id=None)
    Call.objects.update(appointment=None, booking_confirmed=False, appointment_made=False)
    booking = calcom.bookings[0]
    ticket(salon, uid=booking.uid)
    row = Appointment.objects.get()
    assert press(triage.link, look(), appointment_id=row.pk).is_success
    row.refresh_from_db()
    assert (row.calcom_booking_uid, row.status) == (booking.uid, "scheduled")
    assert Call.objects.get().appointment == row
    verdict()


def test_a_lone_booking_may_only_be_what_lost_its_own(calcom, salon, phone, look):
    phone().book(at(10))
    Call.objects.update(appointment=None, booking_confirmed=False, appointment_made=False)
    Appointment.objects.update(status="failed", calcom_booking_uid=None, calcom_booking_id=None)
    BookingAttempt.objects.update(state="absent")
    ticket(salon, uid=calcom.web_book("open", start=at(10, 30)).uid)
    assert triage.candidates(look()) == [Appointment.objects.get()]
    for model, changed in (
        (BookingAttempt, {"state": "unknown"}),
        (Appointment, {"status": "cancelled"}),
        (Appointment, {"service": None}),
        (Appointment, {"company": CompanyFactory()}),
        (Appointment, {"starts_at": at(10, days=14), "ends_at": at(11, days=14)}),
    ):
        before = model._default_manager.values(*changed).get()
        model._default_manager.update(**changed)
        assert triage.candidates(look()) == [], changed
        model._default_manager.update(**before)


def test_an_appointment_that_stands_with_another_booking_is_not_ended(calcom, salon, phone, look):
    phone().book(at(10))
    BookingAttempt.objects.all().delete()
    ticket(salon, Type.ORPHANED_LOCAL, uid="gone", appointment=Appointment.objects.get())
    assert "another booking" in triage.legal_verbs(look())[Verb.END]


def test_an_appointment_that_another_call_is_given_in_this_moment_is_not_linked(
    calcom, salon, phone, look, press, meanwhile
):
    phone().book(at(10))
    call, other = Call.objects.get(), CallFactory(company=salon)
    Call.objects.update(appointment=None)
    Appointment.objects.update(call=None)
    ticket(salon, Type.CALL_DESYNC, subject=f"call:{call.retell_call_id}", call=call)
    case, row = look(), Appointment.objects.get()
    meanwhile(lambda: Appointment.objects.update(call=other))
    assert not press(triage.link, case, appointment_id=row.pk).is_success
    call.refresh_from_db()
    row.refresh_from_db()
    assert (call.appointment, row.call) == (None, other)
    assert SyncFailure.objects.get().is_open


def test_an_appointment_that_is_given_a_booking_in_this_moment_is_not_linked_to_another(
    calcom, salon, phone, look, press, meanwhile
):
    phone().book(at(10))
    BookingAttempt.objects.all().delete()
    Appointment.objects.update(status="failed", calcom_booking_uid=None, calcom_booking_id=None)
    ticket(salon, uid=calcom.bookings[0].uid)
    case, row = look(), Appointment.objects.get()
    meanwhile(lambda: Appointment.objects.update(calcom_booking_uid="another"))
    assert not press(triage.link, case, appointment_id=row.pk).is_success
    row.refresh_from_db()
    assert row.calcom_booking_uid == "another"
    assert SyncFailure.objects.get().is_open


def test_an_appointment_of_another_company_cannot_be_chosen(calcom, salon, phone, look, press):
    other = make_salon(calcom, slug="other", number="+493087654321")
    phone(company=other, to_number="+493087654321").book(at(12))
    foreign = Appointment.objects.get()
    phone().book(at(10))
    call = Call.objects.get(company=salon)
    Appointment.objects.filter(pk=foreign.pk).update(call=None, starts_at=at(10), ends_at=at(10, 30))
    Call.objects.filter(pk=call.pk).update(appointment=None)
    ticket(salon, Type.CALL_DESYNC, subject=f"call:{call.retell_call_id}", call=call)
    done = press(triage.link, look(), appointment_id=foreign.pk)
    assert not done.is_success
    call.refresh_from_db()
    assert call.appointment is None

"""Cancel at Cal.com."""

from __future__ import annotations

import datetime as dt

import pytest
from django.db import connection
from django.utils import timezone

from booking.models import Appointment, BookingAttempt, CallbackRequest, SyncFailure
from calls.models import Call
from sync import triage
from sync.models import AuditEntry
from sync.triage import MovedOn, NotLegal, Verb
from tests.flows.phone import at
from tests.flows.state import open_failures
from tests.flows.triage.tickets import Type, actions, ticket


def test_the_second_of_two_bookings_is_cancelled_with_the_message(calcom, salon, phone, look, press, verdict):
    phone().book(at(10))
    first = calcom.bookings[0]
    twin = calcom.seed_booking("open", start=at(10), metadata=dict(first.metadata))
    row = Appointment.objects.get()
    failure = ticket(salon, Type.DUPLICATE_BOOKING, uid=twin.uid, appointment=row)
    other = ticket(salon, uid="other")
    done = press(triage.cancel_at_calcom, look(failure), message="You have two, this one goes.")
    assert done.is_success
    assert calcom.booking(twin.uid).cancellation_reason == "You have two, this one goes."
    assert calcom.booking(first.uid).is_active
    row.refresh_from_db()
    assert (row.status, row.calcom_booking_uid) == ("scheduled", first.uid)
    assert SyncFailure.objects.get(pk=failure.pk).status == "resolved"
    assert SyncFailure.objects.get(pk=other.pk).attempt_count == 0
    assert actions() == ["triage.cancel", "triage.cancel.done"]
    decided_on = {"calcom": "shown", "status": "accepted", "start": twin.start.isoformat()}
    assert AuditEntry.objects.get(action="triage.cancel").details == decided_on
    verdict()


def test_our_appointment_goes_with_its_booking(calcom, salon, phone, look, press, verdict):
    phone().book(at(10))
    row = Appointment.objects.get()
    ticket(salon, Type.STATUS_MISMATCH, uid=row.calcom_booking_uid, appointment=row)
    done = press(triage.cancel_at_calcom, look(), message="Sorry.")
    assert done.changed == {"appointment": 1, "sync failure": 1}
    row.refresh_from_db()
    assert row.status == "cancelled"
    verdict()


def test_our_appointment_goes_with_its_booking_whatever_the_clocks_say(
    calcom, salon, phone, look, press, verdict
):
    calcom.clock.advance(3600)
    uid = phone().book(at(10)).uid
    calcom.clock.advance(-3500)
    ticket(salon, Type.STATUS_MISMATCH, uid=uid, appointment=Appointment.objects.get())
    assert press(triage.cancel_at_calcom, look(), message="Sorry.").is_success
    assert Appointment.objects.get().status == "cancelled"
    verdict()


def not_settled_yet(state: str, *, told: str = "checking", lease: int = -600) -> None:
    """What was booked just now is still being made, or nobody knows yet how that went."""
    now = timezone.now()
    Call.objects.update(appointment=None, booking_confirmed=False, appointment_made=False)
    Appointment.objects.update(status="pending", calcom_booking_uid=None, calcom_booking_id=None)
    BookingAttempt.objects.update(state=state, told=told, lease_expires_at=now + dt.timedelta(seconds=lease))


@pytest.mark.parametrize("told", ["checking", "unavailable"])
def test_whose_caller_waits_for_an_answer_has_to_be_rung_and_the_page_says_so_before(
    calcom, salon, phone, look, press, verdict, told
):
    phone().book(at(10))
    not_settled_yet("unknown", told=told)
    ticket(salon, uid=calcom.bookings[0].uid, appointment=Appointment.objects.get())
    case = look()
    said = " ".join(triage.preview(Verb.CANCEL, case))
    assert "is marked as failed" in said
    assert ("says to ring them" in said) is (told == "checking")
    done = press(triage.cancel_at_calcom, case, message="Sorry.")
    assert (done.is_success, done.changed) == (True, {"appointment": 1, "sync failure": 1})
    assert Appointment.objects.get().status == "failed"
    assert CallbackRequest.objects.exists() is (told == "checking")
    assert bool(open_failures()) is (told == "checking")
    verdict()


def test_what_is_being_booked_for_a_caller_on_the_line_is_not_cancelled(calcom, salon, phone, look, press):
    phone().book(at(10))
    not_settled_yet("claimed", told="", lease=60)
    ticket(salon, uid=calcom.bookings[0].uid, appointment=Appointment.objects.get())
    with pytest.raises(NotLegal, match="under way"):
        press(triage.cancel_at_calcom, look(), message="Sorry.")
    assert calcom.bookings[0].is_active


def test_moved_in_this_moment_is_not_cancelled(calcom, salon, phone, look, press):
    uid = phone().book(at(10)).uid
    ticket(salon, Type.STATUS_MISMATCH, uid=uid, appointment=Appointment.objects.get())
    shown = look()
    calcom.faults.add(
        "cancel", call={"received": lambda _exchange: calcom.web_reschedule(uid, at(12), silent=True)}
    )
    done = press(triage.cancel_at_calcom, shown, message="Sorry.")
    assert not done.is_success
    assert "moved in this moment" in done.said
    assert [booking.start for booking in calcom.active_bookings()] == [at(12)]
    assert SyncFailure.objects.get().is_open


def test_cancelled_already_is_a_yes(calcom, salon, look, press):
    booking = calcom.web_book("open", start=at(10))
    ticket(salon, uid=booking.uid)
    shown = look()

    def cancelled_in_this_moment(_exchange):
        calcom.web_cancel(booking.uid, reason="theirs", silent=True)

    calcom.faults.add("cancel", call={"received": cancelled_in_this_moment})
    assert press(triage.cancel_at_calcom, shown, message="Sorry.").is_success
    assert calcom.booking(booking.uid).cancellation_reason == "theirs"
    assert SyncFailure.objects.get().status == "resolved"


def test_a_cut_off_cancel_is_looked_at_again(calcom, salon, look, press):
    booking = calcom.web_book("open", start=at(10))
    failure = ticket(salon, uid=booking.uid)
    ticket(salon, Type.FOREIGN_BOOKING, uid=booking.uid)
    shown = look(failure)
    calcom.faults.reset_connection(commit=True, operation="cancel")
    assert press(triage.cancel_at_calcom, shown, message="Sorry.").is_success
    assert len(calcom.requests("cancel")) == 1
    assert not open_failures().exists(), "what else was open about this booking"


def test_a_cancel_of_unknown_outcome_says_so_and_stays_open(calcom, salon, look, press):
    booking = calcom.web_book("open", start=at(10))
    ticket(salon, uid=booking.uid)
    shown = look()
    calcom.faults.server_error(commit=False, operation="cancel")
    done = press(triage.cancel_at_calcom, shown, message="Sorry.")
    assert not done.is_success
    assert "no clear answer" in done.said
    assert SyncFailure.objects.get().is_open
    assert actions() == ["triage.cancel", "triage.cancel.unknown"]


def is_taken_over(calcom):
    """By a completer, which holds its attempt for a while."""

    def take_over(_exchange):
        BookingAttempt.objects.update(lease_expires_at=timezone.now() + dt.timedelta(minutes=1))
        connection.close()

    calcom.faults.add("cancel", call={"received": take_over})


def cannot_be_asked_any_more(calcom):
    """What it was before its last move, of which nobody here has heard."""
    calcom.faults.add("cancel", call={"received": lambda _exchange: calcom.faults.outage()})


@pytest.mark.parametrize("what_happens", [is_taken_over, cannot_be_asked_any_more])
def test_what_was_cancelled_at_cal_com_is_told_as_that_whatever_comes_afterwards(
    calcom, salon, phone, look, press, what_happens
):
    """The guest has an e-mail by then: nobody may read that nothing was done."""
    phone().book(at(10))
    second = calcom.web_reschedule(calcom.bookings[0].uid, at(11), silent=True)
    booking = calcom.web_reschedule(second.uid, at(12), silent=True)
    Appointment.objects.update(status="requested", calcom_booking_uid=None, calcom_booking_id=None)
    BookingAttempt.objects.update(state="unknown", lease_expires_at=timezone.now() - dt.timedelta(minutes=1))
    ticket(salon, uid=booking.uid)
    shown = look()
    what_happens(calcom)
    done = press(triage.cancel_at_calcom, shown, message="Sorry.")
    assert not calcom.active_bookings()
    assert done.said.startswith("The booking is cancelled at Cal.com.")
    assert done.said.endswith("The failure stays open.")
    assert actions() == ["triage.cancel", "triage.cancel.done"]


def test_a_cancel_that_cal_com_refuses_is_told_as_such(calcom, salon, look, press):
    booking = calcom.web_book("open", start=at(10))
    ticket(salon, uid=booking.uid)
    shown = look()
    calcom.faults.refuse("Cannot cancel a booking that has already ended", operation="cancel")
    done = press(triage.cancel_at_calcom, shown, message="Sorry.")
    assert not done.is_success
    assert "already ended" in done.said
    assert actions() == ["triage.cancel", "triage.cancel.not_done"]
    assert SyncFailure.objects.get().is_open


def test_a_cancel_that_cannot_be_looked_at_again_is_not_known(calcom, salon, look, press):
    booking = calcom.web_book("open", start=at(10))
    ticket(salon, uid=booking.uid)
    shown = look()
    calcom.faults.server_error(commit=True, operation="cancel")
    calcom.faults.server_error(commit=False, operation="get", skip=1, times=None)
    done = press(triage.cancel_at_calcom, shown, message="Sorry.")
    assert not done.is_success
    assert actions() == ["triage.cancel", "triage.cancel.unknown"]
    assert SyncFailure.objects.get().is_open


def test_what_was_moved_since_it_was_shown_is_not_cancelled(calcom, salon, phone, look, press):
    phone().book(at(10))
    row = Appointment.objects.get()
    ticket(salon, Type.TIME_MISMATCH, uid=row.calcom_booking_uid, appointment=row)
    shown = look()
    calcom.web_reschedule(row.calcom_booking_uid, at(12))
    with pytest.raises(MovedOn):
        press(triage.cancel_at_calcom, shown, message="Sorry.")
    assert len(calcom.active_bookings()) == 1
    assert not calcom.requests("cancel")


def test_no_transaction_is_open_while_cal_com_is_asked(calcom, salon, look, press):
    booking = calcom.web_book("open", start=at(10))
    failure = ticket(salon, uid=booking.uid)
    shown, written = look(), []

    def somebody_writes_to_the_same_row(_exchange):
        written.append(SyncFailure.objects.filter(pk=failure.pk).update(error_message="Seen."))
        connection.close()

    calcom.faults.add("cancel", call={"before_answer": somebody_writes_to_the_same_row})
    assert press(triage.cancel_at_calcom, shown, message="Sorry.").is_success
    assert written == [1]
    assert not CallbackRequest.objects.exists()

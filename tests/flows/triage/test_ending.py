"""End what Cal.com does not know."""

from __future__ import annotations

from typing import Any

import pytest
from django.db import connection

from booking.models import Appointment, BookingAttempt, SyncFailure
from calls.models import Call
from sync import triage
from sync.triage import MovedOn, NotLegal, Verb
from tests.factories import AppointmentFactory, BookingAttemptFactory
from tests.flows.phone import at
from tests.flows.triage.tickets import actions, ticket
from tests.waiting import wait_until


def test_what_vanished_is_ended_here_and_can_be_booked_again(
    calcom, vanished, phone, run, look, press, verdict
):
    assert phone().book(at(10)).code == "unavailable"
    done = press(triage.end_here, look())
    assert (done.is_success, done.changed) == (True, {"appointment": 1, "sync failure": 1})
    row = Appointment.objects.get()
    assert (row.status, row.calcom_booking_uid) == ("cancelled", vanished)
    assert actions() == ["triage.end", "triage.end.done"]
    assert phone().ask("list_appointments").body["appointments"] == []
    run()
    assert SyncFailure.objects.get().status == "resolved"
    assert phone().book(at(10)).code == "booked"
    assert len(calcom.active_bookings()) == 1
    verdict()


@pytest.mark.parametrize("is_known", [True, False], ids=["of a call", "of nobody"])
@pytest.mark.parametrize("act", [triage.end_here, triage.recreate_at_calcom])
def test_what_names_no_booking_is_ended_or_booked_again(calcom, phone, run, look, press, act, is_known):
    phone().book(at(10))
    calcom.erase(calcom.bookings[0].uid)
    Appointment.objects.update(calcom_booking_uid=None)
    if not is_known:
        BookingAttempt.objects.all().delete()
        Call.objects.all().delete()
    run()
    assert press(act, look()).is_success
    assert run()[0] == 0
    assert SyncFailure.objects.get().status == "resolved"
    assert Appointment.objects.get().status == ("cancelled" if act is triage.end_here else "scheduled")
    assert phone().book(at(10)).code == ("booked" if act is triage.end_here else "already_booked")
    assert len(calcom.active_bookings()) == 1


def test_only_what_stands_here_and_not_there_can_be_ended(calcom, salon, phone, look):
    phone().book(at(10))
    ticket(salon, uid=calcom.bookings[0].uid, appointment=Appointment.objects.get())
    assert "has not said" in triage.legal_verbs(look())[Verb.END]
    calcom.faults.outage()
    assert "has not said" in triage.legal_verbs(look())[Verb.END]
    calcom.faults.clear()
    calcom.erase(calcom.bookings[0].uid)
    assert triage.legal_verbs(look())[Verb.END] == ""
    Appointment.objects.update(status="completed")
    assert "stands" in triage.legal_verbs(look())[Verb.END]


def test_what_is_being_changed_is_not_ended(calcom, vanished, look, press):
    shown = look()
    row = Appointment.objects.get()
    BookingAttemptFactory(
        company=row.company,
        appointment=row,
        call=row.call,
        kind="cancel",
        state="unknown",
        target_uid=vanished,
    )
    with pytest.raises(NotLegal):
        press(triage.end_here, shown)
    assert Appointment.objects.get().status == "scheduled"


@pytest.mark.parametrize("changed", [{"status": "completed"}, {"calcom_booking_uid": "another"}], ids=str)
def test_what_has_changed_here_before_it_is_ended_is_not_ended(calcom, vanished, look, press, changed):
    shown = look()
    only_while(at_request="list", skip=0, calcom=calcom, do=lambda: Appointment.objects.update(**changed))
    assert not press(triage.end_here, shown).is_success
    row = Appointment.objects.get()
    assert {name: getattr(row, name) for name in changed} == changed
    assert row.status != "cancelled"
    assert SyncFailure.objects.get().is_open


def test_what_is_claimed_while_it_is_ended_is_not_ended(calcom, vanished, look, press, meanwhile):
    shown = look()

    def claim() -> None:
        row = Appointment.objects.select_for_update(no_key=True).get()
        BookingAttemptFactory(appointment=row, kind="cancel", state="claimed", target_uid=vanished)

    meanwhile(claim)
    assert not press(triage.end_here, shown).is_success
    assert Appointment.objects.get().status == "scheduled"


def test_a_booking_that_came_back_is_not_ended(calcom, salon, vanished, look, press):
    shown = look()
    row = Appointment.objects.get()
    calcom.seed_booking("open", start=row.starts_at, uid=vanished)
    with pytest.raises(MovedOn):
        press(triage.end_here, shown)
    assert Appointment.objects.get().status == "scheduled"


def test_nothing_is_booked_again_that_stands_under_another_uid(calcom, salon, vanished, look, press):
    attempt = BookingAttempt.objects.get()
    shown = look()
    calcom.seed_booking("open", start=at(10), metadata={"attempt_id": str(attempt.uuid)})
    with pytest.raises(MovedOn):
        press(triage.recreate_at_calcom, shown)
    with pytest.raises(NotLegal):
        press(triage.recreate_at_calcom, look())
    assert not calcom.requests("create")


def only_while(*, at_request: str, skip: int, calcom, do):
    """Something happens when the request is on its way, after the page of the button was shown."""

    def happen(_exchange):
        do()
        connection.close()

    calcom.faults.add(at_request, skip=skip, call={"received": happen})


@pytest.mark.parametrize("uid", ["the same uid", "another uid"])
def test_what_turns_up_before_it_is_booked_again_is_not_booked_again(
    calcom, salon, vanished, look, press, uid
):
    """A lagging replica has not shown it to the page, nor to the first look of the button."""
    same = uid == "the same uid"
    attempt = {"attempt_id": str(BookingAttempt.objects.get().uuid)}
    booking: dict[str, Any] = {"uid": vanished} if same else {"metadata": attempt}
    shown = look()
    only_while(
        at_request="get" if same else "list",
        skip=1,
        calcom=calcom,
        do=lambda: calcom.seed_booking("open", start=at(10), **booking),
    )
    done = press(triage.recreate_at_calcom, shown)
    assert (done.is_success, calcom.requests("create")) == (False, [])
    assert Appointment.objects.get().calcom_booking_uid == vanished
    assert SyncFailure.objects.get().is_open


@pytest.mark.parametrize("what", ["moved", "cancelled", "being changed", "booked otherwise"])
def test_what_has_changed_here_before_it_is_booked_again_is_not_booked_again(
    calcom, salon, vanished, look, press, what
):
    row = Appointment.objects.get()

    def change():
        if what == "moved":
            Appointment.objects.update(starts_at=at(15), ends_at=at(15, 30))
        elif what == "cancelled":
            Appointment.objects.update(status="cancelled")
        elif what == "being changed":
            BookingAttemptFactory(appointment=row, kind="cancel", state="claimed")
        else:
            web = {"call": None, "branch": None, "source": "calcom", "idempotency_key": None}
            AppointmentFactory(
                company=salon, customer=row.customer, service=row.service, starts_at=at(10, 5), **web
            )

    shown = look()
    only_while(at_request="list", skip=1, calcom=calcom, do=change)
    done = press(triage.recreate_at_calcom, shown)
    assert (done.is_success, calcom.requests("create")) == (False, [])
    row.refresh_from_db()
    assert row.calcom_booking_uid == vanished
    assert SyncFailure.objects.get().is_open


@pytest.mark.parametrize(
    ("change", "why"),
    [
        ({"starts_at": at(10, days=-3), "ends_at": at(11, days=-3)}, "lies in the past"),
        ({"status": "cancelled"}, "is cancelled"),
        ({"customer": None}, "no service or no customer"),
    ],
    ids=["past", "cancelled", "nobody's"],
)
def test_what_nobody_comes_to_is_not_offered_to_be_booked_again(salon, vanished, look, change, why):
    Appointment.objects.update(idempotency_key=None, **change)
    with pytest.raises(NotLegal, match=why):
        triage.preview(Verb.RECREATE, look())


def test_where_nothing_can_be_looked_up_after_it_was_sent_it_is_left_to_the_completer(
    calcom, salon, vanished, look, press
):
    shown = look()
    calcom.faults.refuse("An error occurred while querying the database.")
    calcom.faults.server_error(commit=False, operation="list", skip=2, times=None)
    done = press(triage.recreate_at_calcom, shown)
    assert (done.is_success, len(calcom.requests("create"))) == (False, 1)
    assert "not known" in done.said
    assert BookingAttempt.objects.latest("pk").state == "unknown"


def test_without_a_proof_that_nothing_stands_nothing_is_booked(calcom, salon, vanished, look, press):
    shown = look()
    calcom.faults.server_error(commit=False, operation="list", times=None)
    with pytest.raises(NotLegal):
        press(triage.recreate_at_calcom, shown)
    assert not calcom.requests("create")
    assert Appointment.objects.get().calcom_booking_uid == vanished


def test_a_slot_that_was_taken_since_leaves_a_failed_appointment_and_an_open_ticket(
    calcom, salon, vanished, look, press, verdict
):
    shown = look()
    calcom.faults.refuse("User either already has booking at this time or is not available")
    done = press(triage.recreate_at_calcom, shown)
    assert not done.is_success
    assert Appointment.objects.get().status == "failed"
    assert SyncFailure.objects.get().is_open
    assert actions()[-1] == "triage.recreate.not_done"
    verdict()


def test_an_unreadable_answer_is_looked_up_and_not_sent_again(calcom, salon, vanished, look, press, verdict):
    shown = look()
    calcom.faults.unreadable_answer("html")
    assert press(triage.recreate_at_calcom, shown).is_success
    assert len(calcom.requests("create")) == 1
    assert len(calcom.active_bookings()) == 1
    verdict()


def test_an_outcome_nobody_knows_is_left_to_the_completer(
    calcom, salon, vanished, look, press, settle_later, verdict
):
    shown = look()
    calcom.faults.late_commit(2.0)
    done = press(triage.recreate_at_calcom, shown)
    assert not done.is_success
    assert "not known" in done.said
    assert BookingAttempt.objects.latest("pk").state == "unknown"
    assert actions()[-1] == "triage.recreate.unknown"
    wait_until(calcom.active_bookings)
    settle_later()
    assert Appointment.objects.get().status == "scheduled"
    assert len(calcom.active_bookings()) == 1
    verdict()


def test_a_booking_made_on_the_web_is_booked_again_without_a_call(calcom, salon, run, look, press, verdict):
    booking = calcom.web_book("open", start=at(10), phone="+4915112345678")
    run()
    calcom.erase(booking.uid)
    run()
    assert press(triage.recreate_at_calcom, look()).is_success
    again = calcom.active_bookings()[0]
    assert "call_id" not in again.metadata
    assert Appointment.objects.get().calcom_booking_uid == again.uid
    verdict()

"""A call says that something was booked, and nothing was."""

from __future__ import annotations

import json

import pytest
from django.core.management import call_command
from django.utils import timezone

from booking.models import Appointment, BookingAttempt, SyncFailure
from calls.models import Call
from sync import triage
from sync.audit import audit
from sync.triage import NotLegal, Verb
from tests.factories import AppointmentFactory, BookingAttemptFactory, CallFactory
from tests.flows.phone import at
from tests.flows.triage.tickets import Type, actions, ticket

CONFIRMED = {"booking_confirmed": True, "appointment_made": True}
UID = "bu3Zkz6gKqRtSh8uHnYb2x"


@pytest.fixture
def call(salon):
    """One that an older system left behind, and its ticket."""

    def left_behind(**fields) -> Call:
        row: Call = CallFactory(branch__company=salon, **(CONFIRMED | fields))
        ticket(salon, Type.CALL_DESYNC, subject=f"call:{row.retell_call_id}", call=row)
        return row

    return left_behind


@pytest.mark.parametrize(
    "claims",
    [CONFIRMED, {"booking_confirmed": True, "appointment_made": False},
     {"booking_confirmed": False, "appointment_made": True}],
    ids=["both", "confirmed", "made"],
)  # fmt: skip
def test_what_was_never_booked_is_found_told_and_taken_back(calcom, salon, run, look, press, claims):
    row = CallFactory(branch__company=salon, booking_details={"uid": UID}, **claims)
    assert run()[0] == 1
    failure = SyncFailure.objects.get()
    assert (failure.failure_type, failure.call) == ("call_desync", row)
    done = press(triage.take_back, look())
    assert (done.is_success, done.changed) == (True, {"call": 1, "sync failure": 1})
    row.refresh_from_db()
    assert (row.booking_confirmed, row.appointment_made) == (False, False)
    assert row.booking_details == {"uid": UID}
    assert actions() == ["triage.take_back", "triage.take_back.done"]
    assert audit(company=salon, now=timezone.now()) == []
    assert run()[0] == 0
    assert [each.status for each in SyncFailure.objects.all()] == ["resolved"]
    assert {entry.method for entry in calcom.log} == {"GET"}


def test_what_was_taken_back_is_left_alone_by_the_backfill(calcom, call, look, press, capsys):
    call(booking_details={"uid": UID})
    press(triage.take_back, look())
    call_command("backfill", "--json")
    [report] = json.loads(capsys.readouterr().out)["companies"].values()
    assert report["found"] == 0


@pytest.mark.parametrize(
    "details",
    [{"uid": UID}, json.dumps({"buchung": {"buchungsnummer": UID}}), [{"appointment": {"booking_id": UID}}]],
    ids=["ours", "in German, encoded twice", "nested"],
)
def test_a_booking_that_stands_is_asked_for_however_the_call_names_it(calcom, call, look, details):
    calcom.seed_booking("open", start=at(10), uid=UID)
    call(booking_details=details)
    case = look()
    assert case.booking is not None
    with pytest.raises(NotLegal, match="stands at Cal"):
        triage.preview(Verb.TAKE_BACK, case)
    calcom.web_cancel(UID, silent=True)
    assert "does not stand" in triage.preview(Verb.TAKE_BACK, look())[0]


def test_a_booking_nobody_could_ask_about_is_not_taken_for_missing(calcom, call, look):
    call(booking_details={"uid": UID})
    calcom.faults.outage()
    with pytest.raises(NotLegal, match="could not be asked"):
        triage.preview(Verb.TAKE_BACK, look())


def test_where_the_call_names_no_booking_the_person_is_told_to_look(call, look):
    call(booking_details=None)
    assert "look into the calendar" in triage.preview(Verb.TAKE_BACK, look())[0]


@pytest.mark.parametrize("state", ["claimed", "unknown"])
def test_what_may_still_come_about_is_not_taken_back(call, look, state):
    row = call()
    intended = AppointmentFactory(call=row, company=row.company, branch=row.branch, status="pending")
    BookingAttemptFactory(appointment=intended, call=row, company=row.company, state=state)
    with pytest.raises(NotLegal, match="nobody knows yet"):
        triage.preview(Verb.TAKE_BACK, look())


def test_a_call_that_an_appointment_names_is_linked_and_not_taken_back(call, look):
    row = call()
    AppointmentFactory(call=row, company=row.company, branch=row.branch)
    with pytest.raises(NotLegal, match="link them"):
        triage.preview(Verb.TAKE_BACK, look())


def test_only_a_call_that_says_so_alone_is_offered_it(calcom, salon, phone, look):
    phone().book(at(10))
    failure = ticket(salon, uid=calcom.bookings[0].uid, appointment=Appointment.objects.get())
    assert "about no call" in triage.legal_verbs(look(failure))[Verb.TAKE_BACK]
    SyncFailure.objects.update(call=Call.objects.get())
    assert "about no call" in triage.legal_verbs(look(failure))[Verb.TAKE_BACK]


@pytest.mark.parametrize("happens", ["it is linked", "something is booked"])
def test_what_changes_while_it_is_taken_back_stays(call, look, press, meanwhile, happens):
    row = call()
    appointment = AppointmentFactory(call__branch=row.branch)
    shown = look()

    def happen() -> None:
        if happens == "it is linked":
            Call.objects.filter(pk=row.pk).update(appointment=appointment)
        else:
            Call.objects.select_for_update(no_key=True).get(pk=row.pk)
            BookingAttemptFactory(appointment=appointment, call=row, company=row.company, state="claimed")

    meanwhile(happen)
    assert not press(triage.take_back, shown).is_success
    row.refresh_from_db()
    assert row.booking_confirmed
    assert SyncFailure.objects.get().is_open
    assert BookingAttempt.objects.count() == (happens == "something is booked")

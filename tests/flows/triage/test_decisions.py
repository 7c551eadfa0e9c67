"""A decision: what changes the failure alone, and what every verb does alike."""

from __future__ import annotations

import datetime as dt
import threading

import pytest
from django.contrib.auth.models import User
from django.db import DatabaseError, connection
from django.utils import timezone

from booking import failures
from booking.models import Appointment, SyncFailure
from calls.models import Call
from sync import triage
from sync.models import AuditEntry
from sync.triage import MovedOn, NotLegal, Verb
from tests.flows.database_refusals import refusals
from tests.flows.phone import at
from tests.flows.triage.tickets import Type, actions, snapshot, ticket


@pytest.mark.parametrize(
    ("verb", "options", "column", "value"),
    [
        (triage.assign, {}, "assigned_to__username", "ops"),
        (triage.review, {}, "status", "manual_review"),
        (triage.resolve, {}, "resolved_by__username", "ops"),
        (triage.resolve, {}, "resolution_notes", "Because."),
    ],
)
def test_a_verb_on_the_row_itself_changes_one_row_and_says_who(
    calcom, salon, look, press, verb, options, column, value
):
    failure = ticket(salon, uid="gone")
    other = ticket(salon, uid="other")
    before = SyncFailure.objects.filter(pk=other.pk).values().get()
    done = press(verb, look(failure, ask=False), **options)
    assert done.changed == {"sync failure": 1}
    assert SyncFailure.objects.filter(pk=other.pk).values().get() == before
    other.delete()
    assert SyncFailure.objects.values_list(column, flat=True).get() == value
    entry = AuditEntry.objects.get()
    assert (entry.action, str(entry.user), entry.reason) == (f"triage.{verb.__name__}", "ops", "Because.")
    assert not calcom.log


def test_what_is_snoozed_stays_open_until_then(calcom, salon, look, press):
    ticket(salon, uid="gone")
    until = timezone.now() + dt.timedelta(hours=4)
    assert press(triage.snooze, look(ask=False), until=until).changed == {"sync failure": 1}
    failure = SyncFailure.objects.get()
    assert (failure.snoozed_until, failure.is_open) == (until, True)
    for days in (60, -1):
        with pytest.raises(NotLegal):
            press(triage.snooze, look(ask=False), until=timezone.now() + dt.timedelta(days=days))


@pytest.mark.parametrize(
    ("failure_type", "comes_again"), [(Type.CONFIG_ERROR, True), (Type.ORPHANED_LOCAL, False)]
)
def test_what_is_resolved_and_not_put_right_comes_again_as_the_page_says(
    salon, look, press, failure_type, comes_again
):
    ticket(salon, failure_type, subject="x", is_standing=not comes_again)
    case = look()
    assert ("opens another one" in " ".join(triage.preview(Verb.RESOLVE, case))) is comes_again
    press(triage.resolve, case)
    ticket(salon, failure_type, subject="x", is_standing=not comes_again)
    assert SyncFailure.objects.filter(status="pending").exists() is comes_again


@pytest.mark.parametrize(
    "verb", [triage.assign, triage.snooze, triage.review, triage.resolve, triage.try_again]
)
def test_nothing_is_done_to_what_is_resolved(salon, look, press, verb):
    failure = ticket(salon, uid="gone")
    SyncFailure.objects.update(status="resolved", resolution_notes="Dealt with.")
    before, shown = snapshot(), look(failure, ask=False)
    options = {"until": timezone.now() + dt.timedelta(hours=4)} if verb is triage.snooze else {}
    with pytest.raises(NotLegal):
        press(verb, shown, **options)
    assert snapshot() == before


@pytest.mark.parametrize("verb", [triage.assign, triage.review, triage.resolve, triage.try_again])
def test_a_row_that_moved_on_meanwhile_is_left_alone(calcom, salon, look, press, verb):
    ticket(salon, uid="gone")
    shown = look()
    ticket(salon, uid="gone")  # it happened once more
    before = snapshot()
    calcom.clear_log()
    with pytest.raises(MovedOn):
        press(verb, shown)
    assert snapshot() == before
    assert not calcom.log


@pytest.mark.parametrize("changed", ["status", "assigned_to", "snoozed_until"])
def test_what_a_colleague_did_meanwhile_is_seen_first(salon, look, press, changed):
    ticket(salon, uid="gone")
    shown = look(ask=False)
    values = {
        "status": "manual_review",
        "assigned_to": User.objects.create_user("colleague"),
        "snoozed_until": timezone.now() + dt.timedelta(hours=1),
    }
    SyncFailure.objects.update(**{changed: values[changed]})
    with pytest.raises(MovedOn):
        press(triage.resolve, shown)
    assert SyncFailure.objects.get().is_open


def test_of_two_people_who_press_at_once_one_is_told(calcom, salon, phone, look, press):
    booking = calcom.web_book("open", start=at(10))
    ticket(salon, uid=booking.uid)
    shown, ends = look(), []

    def go():
        try:
            ends.append(press(triage.cancel_at_calcom, shown, message="Sorry.").is_success)
        except MovedOn:
            ends.append(False)
        finally:
            connection.close()

    threads = [threading.Thread(target=go) for _ in range(2)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert sorted(ends) == [False, True]
    assert len(calcom.requests("cancel")) == 1


@pytest.mark.parametrize("verb", [triage.resolve, triage.try_again])
def test_a_reason_is_kept_without_numbers_of_people(salon, look, decide, verb):
    ticket(salon, uid="gone")
    case = look()
    verb(decide(case, reason="Rang +49 151 12345678."))
    kept = list(AuditEntry.objects.values_list("reason", flat=True))
    assert kept == ["Rang ***78."] * len(kept)
    assert "12345678" not in SyncFailure.objects.get().resolution_notes


@pytest.mark.parametrize(
    ("key", "subject"),
    [
        ("calcom_api_key", failures.ACCESS),
        ("calcom_reconcile_api_key", failures.RECONCILE_ACCESS),
    ],
)
def test_a_key_that_nobody_can_open_is_told_as_such(salon, look, press, key, subject):
    with connection.cursor() as cursor:
        cursor.execute(f"UPDATE companies SET {key} = 'enc1:nonsense'")
    ticket(salon, Type.CONFIG_ERROR, subject=subject)
    done = press(triage.try_again, look())
    assert (done.is_success, done.changed) == (False, {})
    assert "cannot be opened" in done.said
    assert actions() == ["triage.try_again", "triage.try_again.not_done"]
    assert SyncFailure.objects.get().is_open


def is_certain(calcom, salon):
    Call.objects.update(appointment=None, booking_details=None)
    call = Call.objects.get()
    ticket(salon, Type.CALL_DESYNC, subject=f"call:{call.retell_call_id}", call=call)
    return triage.try_again, {}


def is_chosen(calcom, salon):
    Call.objects.update(appointment=None)
    Appointment.objects.update(call=None)
    call = Call.objects.get()
    ticket(salon, Type.CALL_DESYNC, subject=f"call:{call.retell_call_id}", call=call)
    return triage.link, {"appointment_id": Appointment.objects.get().pk}


def is_followed(calcom, salon):
    calcom.web_cancel(calcom.bookings[0].uid, silent=True)
    ticket(salon, Type.STATUS_MISMATCH, uid=calcom.bookings[0].uid)
    return triage.try_again, {}


def has_vanished(calcom, salon):
    row = Appointment.objects.get()
    calcom.erase(row.calcom_booking_uid)
    ticket(salon, Type.ORPHANED_LOCAL, uid=row.calcom_booking_uid, appointment=row)
    return triage.end_here, {}


def is_gone(calcom, salon):
    ticket(salon, uid="gone")
    return triage.try_again, {}


def is_cancelled_there(calcom, salon):
    claim = {"attempt_id": "0f8fad5b-d9cb-469f-a165-70867728950e", "company": salon.slug}
    ticket(salon, uid=calcom.web_book("open", start=at(15), metadata=claim).uid)
    return triage.cancel_at_calcom, {"message": "Sorry."}


@pytest.mark.parametrize(
    "begin", [is_certain, is_chosen, is_followed, has_vanished, is_gone, is_cancelled_there]
)
def test_what_cannot_be_written_down_is_not_done_here(calcom, salon, phone, look, press, begin):
    phone().book(at(10))
    verb, options = begin(calcom, salon)
    shown = look()
    before = [list(model.objects.order_by("pk").values()) for model in (Appointment, Call)]
    with refusals() as refused:
        refused.add("audit_entries", "INSERT", when="NEW.action LIKE '%.done'", text="refused")
        with pytest.raises(DatabaseError):
            press(verb, shown, **options)
    assert [list(model.objects.order_by("pk").values()) for model in (Appointment, Call)] == before
    assert SyncFailure.objects.get().is_open

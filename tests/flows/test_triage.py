"""What a person does about a sync failure, verb by verb, against the simulator."""

from __future__ import annotations

import datetime as dt
import threading
from typing import Any

import pytest
from django.contrib.auth.models import User
from django.core.management import call_command
from django.db import DatabaseError, connection
from django.db.models import F
from django.utils import timezone

from booking import failures
from booking.models import Appointment, BookingAttempt, CallbackRequest, Service, SyncFailure
from calls.models import Call, FunctionCall
from customers.models import Company
from sync import triage
from sync.models import AuditEntry
from sync.triage import MovedOn, NotLegal, Verb
from tests.factories import AppointmentFactory, BookingAttemptFactory, CallFactory, CompanyFactory
from tests.flows.conftest import make_salon
from tests.flows.database_refusals import refusals
from tests.flows.phone import at
from tests.flows.state import open_failures
from tests.waiting import wait_until

Type = SyncFailure.Type
ROWS = (Appointment, BookingAttempt, Call, SyncFailure, AuditEntry)


@pytest.fixture
def person(salon):
    return User.objects.create_user("ops", is_staff=True)


@pytest.fixture
def reconcile():
    def run() -> None:
        try:
            call_command("reconcile", "--json")
        except SystemExit:
            return

    return run


@pytest.fixture
def look(person):
    """The failure, as its page shows it at this moment."""

    def open_page(failure: SyncFailure | None = None, *, ask: bool = True) -> triage.Case:
        pk = failure.pk if failure else SyncFailure.objects.get(status__in=("pending", "manual_review")).pk
        return triage.open_case(triage.read_failure(pk), user=person, now=timezone.now(), ask=ask)

    return open_page


@pytest.fixture
def decide(person):
    """Somebody's decision, who was shown that case."""

    def upon(case: triage.Case, *, reason: str = "Because.") -> triage.Decision:
        return triage.Decision(
            failure=case.failure, user=person, expected=triage.version_of(case.failure), reason=reason
        )

    return upon


@pytest.fixture
def press(decide):
    """A button, by somebody who was shown that case."""

    def act(verb, case: triage.Case, **arguments: Any) -> triage.Done:
        if verb not in (triage.try_again, triage.assign, triage.snooze, triage.review, triage.resolve):
            arguments["seen"] = case.fingerprint
        done: triage.Done = verb(decide(case), **arguments)
        return done

    return act


def ticket(company: Company, failure_type=Type.ORPHANED_CALCOM, **fields: Any) -> SyncFailure:
    subject = fields.pop("subject", None) or failures.about_booking(fields.get("uid", ""))
    return failures.open_failure(
        company=company, failure_type=failure_type, subject=subject, message="A gap.", **fields
    )


def actions() -> list[str]:
    return list(AuditEntry.objects.order_by("pk").values_list("action", flat=True))


def snapshot() -> list[Any]:
    return [list(model.objects.order_by("pk").values()) for model in ROWS]


# --- When a verb is legal


@pytest.mark.parametrize("verb", Verb)
def test_nothing_is_legal_on_what_is_resolved(calcom, salon, phone, look, verb):
    phone().book(at(10))
    failure = ticket(salon, uid=calcom.bookings[0].uid)
    SyncFailure.objects.update(status="resolved")
    with pytest.raises(NotLegal):
        triage.preview(verb, look(failure))


@pytest.mark.parametrize("status", ["pending", "manual_review"])
def test_the_verbs_that_are_legal_on_an_open_orphan_from_elsewhere(calcom, salon, look, status):
    booking = calcom.web_book("open", start=at(10))
    failure = ticket(salon, uid=booking.uid)
    SyncFailure.objects.update(status=status)
    legal = {verb for verb, why in triage.legal_verbs(look(failure)).items() if not why}
    expected = {Verb.TRY_AGAIN, Verb.ADOPT, Verb.CANCEL, Verb.RESOLVE, Verb.SNOOZE, Verb.ASSIGN}
    assert legal == (expected | {Verb.REVIEW} if status == "pending" else expected)


def test_while_cal_com_cannot_be_asked_nothing_is_offered_that_relies_on_it(calcom, salon, phone, look):
    phone().book(at(10))
    failure = ticket(salon, uid=calcom.bookings[0].uid, appointment=Appointment.objects.get())
    calcom.faults.outage()
    case = look(failure)
    assert case.remote.seen == "not_asked"
    assert case.remote.why
    reasons = triage.legal_verbs(case)
    assert reasons[Verb.ADOPT] == reasons[Verb.CANCEL] == "Cal.com could not be asked."
    legal = {verb for verb, why in reasons.items() if not why}
    assert legal == {Verb.TRY_AGAIN, Verb.RESOLVE, Verb.SNOOZE, Verb.ASSIGN, Verb.REVIEW}


def test_what_is_cancelled_there_is_neither_adopted_nor_cancelled_again(calcom, salon, phone, look):
    uid = phone().book(at(10)).uid
    ticket(salon, Type.STATUS_MISMATCH, uid=uid, appointment=Appointment.objects.get())
    reasons = triage.legal_verbs(look())
    assert reasons[Verb.ADOPT] == "Our appointment says the same as the booking."
    assert not reasons[Verb.CANCEL]
    calcom.web_cancel(uid, silent=True)
    reasons = triage.legal_verbs(look())
    assert reasons[Verb.ADOPT] == reasons[Verb.CANCEL] == "The booking is cancelled at Cal.com."


def test_looking_and_previewing_changes_nothing_anywhere(calcom, salon, phone, look):
    phone().book(at(10))
    failure = ticket(salon, uid=calcom.bookings[0].uid, appointment=Appointment.objects.get())
    before = snapshot()
    calcom.clear_log()
    triage.legal_verbs(look(failure))
    assert snapshot() == before
    assert {entry.method for entry in calcom.log} == {"GET"}


# --- Our own rows only


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


# --- Try again


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


def test_our_side_follows_what_differs(calcom, salon, phone, reconcile, look, press, verdict):
    phone().book(at(10))
    Company.objects.update(heal_follow="off")
    calcom.web_cancel(Appointment.objects.get().calcom_booking_uid, silent=True)
    reconcile()
    assert "status" in " ".join(triage.preview(Verb.TRY_AGAIN, look()))
    done = press(triage.try_again, look())
    assert (done.is_success, done.changed) == (True, {"appointment": 1, "sync failure": 1})
    assert Appointment.objects.get().status == "cancelled"
    failure = SyncFailure.objects.get()
    assert (failure.status, failure.resolved_by, failure.attempt_count) == ("resolved", None, 1)
    verdict()


@pytest.mark.parametrize("verb", [triage.try_again, triage.adopt])
def test_what_a_clock_that_was_put_back_keeps_from_being_followed_a_person_can_follow(
    calcom, salon, phone, reconcile, look, press, verdict, verb
):
    calcom.clock.advance(3600)
    uid = phone().book(at(10), service="advice").uid
    calcom.clock.advance(-3500)
    calcom.web_confirm(uid, silent=True)
    reconcile()
    assert SyncFailure.objects.get().failure_type == "status_mismatch"
    done = press(verb, look())
    assert done.is_success, done.said
    assert Appointment.objects.get().status == "confirmed"
    assert SyncFailure.objects.get().status == "resolved"
    verdict()


def test_a_cancellation_that_a_clock_keeps_from_being_followed_is_followed_by_trying_again(
    calcom, salon, phone, reconcile, look, press, verdict
):
    calcom.clock.advance(3600)
    uid = phone().book(at(10)).uid
    calcom.clock.advance(-3500)
    calcom.web_cancel(uid, silent=True)
    reconcile()
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


# --- Adopt


def lose_everything_but_the_call() -> None:
    BookingAttempt.objects.all().delete()
    FunctionCall.objects.all().delete()
    Call.objects.update(
        appointment=None, booking_confirmed=False, appointment_made=False, booking_details=None
    )
    Appointment.objects.all().delete()


def test_an_orphan_of_our_attempt_becomes_its_appointment(
    calcom, salon, phone, reconcile, look, press, verdict
):
    phone().book(at(10))
    Company.objects.update(heal_adopt="off")
    Call.objects.update(appointment=None, booking_confirmed=False, appointment_made=False)
    Appointment.objects.update(status="failed", calcom_booking_uid=None, calcom_booking_id=None)
    BookingAttempt.objects.update(state="absent")
    reconcile()
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


def test_a_person_may_import_what_names_an_unknown_attempt(
    calcom, salon, phone, reconcile, look, press, verdict
):
    phone().book(at(10))
    booking = calcom.bookings[0]
    lose_everything_but_the_call()
    booking.metadata["idempotency_key"] = "00000000-0000-5000-8000-000000000000"
    reconcile()
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


def test_the_second_booking_of_one_intention_is_not_adopted(calcom, salon, phone, look, press):
    phone().book(at(10))
    attempt, first = BookingAttempt.objects.get(), calcom.bookings[0]
    twin = calcom.seed_booking("open", start=at(10), metadata=dict(first.metadata))
    ticket(salon, Type.DUPLICATE_BOOKING, uid=twin.uid, appointment=attempt.appointment)
    with pytest.raises(NotLegal, match="one of the two"):
        press(triage.adopt, look())


@pytest.fixture
def both_stand(calcom, salon, phone, reconcile):
    """A booking that a host has confirmed again after it was moved; its uid."""
    uid = phone().book(at(10), service="advice").uid
    calcom.web_reschedule(uid, at(12), by_owner=True, silent=True)
    reconcile()
    calcom.web_confirm(uid, silent=True)
    reconcile()
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
    calcom, salon, phone, reconcile, look
):
    uid = phone().book(at(10)).uid
    calcom.web_reschedule(uid, at(12), silent=True)
    reconcile()
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


# --- Link


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
    calcom, salon, phone, reconcile, look, press, verdict
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


# --- Book again at Cal.com


@pytest.fixture
def vanished(calcom, salon, phone, reconcile):
    """An appointment whose booking Cal.com has lost; what it was called."""
    phone().book(at(10))
    FunctionCall.objects.all().delete()  # what it promised cannot be true any more
    uid = Appointment.objects.get().calcom_booking_uid
    calcom.erase(uid)
    reconcile()
    calcom.clear_log()
    return uid


def test_what_vanished_is_booked_again_as_the_same_appointment(calcom, salon, vanished, look, press, verdict):
    before = Appointment.objects.get()
    shown = look()
    done = press(triage.recreate_at_calcom, shown)
    assert (done.is_success, len(calcom.requests("create"))) == (True, 1)
    assert done.changed == {"appointment": 1, "call": 1, "sync failure": 1}
    row = Appointment.objects.get()
    booking = calcom.active_bookings()[0]
    assert (row.pk, row.idempotency_key, row.status) == (before.pk, before.idempotency_key, "scheduled")
    assert row.calcom_booking_uid == booking.uid != vanished
    assert (booking.start, booking.metadata["call_id"]) == (row.starts_at, str(row.call))
    assert row.former_uids.get().uid == vanished
    assert SyncFailure.objects.get().status == "resolved"
    assert actions() == ["triage.recreate", "triage.recreate.done"]
    with pytest.raises(MovedOn):
        press(triage.recreate_at_calcom, shown)
    assert len(calcom.requests("create")) == 1
    verdict()


def test_what_vanished_and_did_not_come_about_again_is_one_ticket(
    calcom, salon, vanished, look, press, settle_later, verdict
):
    calcom.faults.server_error(commit=False)
    assert not press(triage.recreate_at_calcom, look()).is_success
    settle_later()
    (failure,) = open_failures()
    assert "does not stand" in failure.error_message
    assert press(triage.recreate_at_calcom, look(failure)).is_success
    assert not open_failures()
    verdict()


def test_what_never_came_about_is_booked_again(
    calcom, salon, phone, look, press, settle_later, verdict, settings
):
    settings.ANSWER_BUDGET_SECONDS = 3
    calcom.faults.timeout_before_commit()
    phone().book(at(10))
    calcom.faults.clear()
    settle_later()
    assert BookingAttempt.objects.get().state == "absent"
    assert press(triage.recreate_at_calcom, look()).is_success
    assert Appointment.objects.get().status == "scheduled"
    assert len(calcom.active_bookings()) == 1
    assert SyncFailure.objects.get().status == "resolved"
    verdict()


# --- End what Cal.com does not know


def test_what_vanished_is_ended_here_and_can_be_booked_again(
    calcom, vanished, phone, reconcile, look, press, verdict
):
    assert phone().book(at(10)).code == "unavailable"
    done = press(triage.end_here, look())
    assert (done.is_success, done.changed) == (True, {"appointment": 1, "sync failure": 1})
    row = Appointment.objects.get()
    assert (row.status, row.calcom_booking_uid) == ("cancelled", vanished)
    assert actions() == ["triage.end", "triage.end.done"]
    assert phone().ask("list_appointments").body["appointments"] == []
    reconcile()
    assert SyncFailure.objects.get().status == "resolved"
    assert phone().book(at(10)).code == "booked"
    assert len(calcom.active_bookings()) == 1
    verdict()


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


def test_a_booking_made_on_the_web_is_booked_again_without_a_call(
    calcom, salon, reconcile, look, press, verdict
):
    booking = calcom.web_book("open", start=at(10), phone="+4915112345678")
    reconcile()
    calcom.erase(booking.uid)
    reconcile()
    assert press(triage.recreate_at_calcom, look()).is_success
    again = calcom.active_bookings()[0]
    assert "call_id" not in again.metadata
    assert Appointment.objects.get().calcom_booking_uid == again.uid
    verdict()


# --- Cancel at Cal.com


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

"""After one run both sides are equal, or what is not is an open sync failure."""

from __future__ import annotations

import _thread
import datetime as dt
import json
import os
import signal
import threading
import uuid
from collections import Counter
from pathlib import Path
from typing import Any

import pytest
from django.db import OperationalError, connection
from django.utils import timezone

from booking import failures
from booking.calcom.client import PAGE
from booking.models import Appointment, BookingAttempt, CallbackRequest, SyncFailure
from calls.models import Call, FunctionCall
from customers.models import Company, Customer
from sync import reconcile
from sync.models import AuditEntry, Lease, ReconciliationRun
from sync.turn import Busy
from tests.commands import run_command
from tests.factories import AppointmentFactory, CallFactory, CompanyFactory
from tests.flows.conftest import make_salon
from tests.flows.database_refusals import refusals
from tests.flows.phone import at, cancel
from tests.flows.state import open_failures
from tests.flows.triage.tickets import ticket
from tests.waiting import wait_until

Status = Appointment.Status


def only(report):
    return report["companies"]["salon"]


def test_a_quiet_salon_has_nothing_to_reconcile(calcom, salon, phone, run, verdict):
    phone().book(at(10))
    assert run()[0] == 0
    status, report = run()
    assert (status, only(report)["healed"], report["left"]) == (0, {}, 0)
    assert list(ReconciliationRun.objects.values_list("outcome", flat=True)) == ["complete"] * 2
    assert not SyncFailure.objects.exists()
    verdict()


# Cal.com calls the field with the number deprecated: the event type stands in an object beside it.
@pytest.mark.parametrize(
    "listed",
    [{}, {"remove": ["eventTypeId"]}, {"patch": {"eventTypeId": None}}],
    ids=["", "left out", "null"],
)
def test_a_web_booking_is_imported(calcom, salon, run, verdict, listed):
    booking = calcom.web_book("open", start=at(10))
    calcom.faults.add("list", times=None, **listed)
    status, report = run()
    assert (status, only(report)["healed"]) == (0, {"import": 1})
    row = Appointment.objects.get()
    assert (row.calcom_booking_uid, row.source, row.sync_origin) == (booking.uid, "calcom", "calcom")
    assert AuditEntry.objects.get().action == "heal.import"
    verdict()


def test_a_booking_whose_attempt_is_still_known_is_adopted(calcom, salon, phone, run, verdict):
    caller = phone()
    caller.book(at(10))
    booking = calcom.bookings[0]
    Call.objects.update(appointment=None, booking_confirmed=False, appointment_made=False)
    Appointment.objects.update(status=Status.FAILED, calcom_booking_uid=None, calcom_booking_id=None)
    BookingAttempt.objects.update(state=BookingAttempt.State.ABSENT)
    status, report = run()
    assert (status, only(report)["healed"]) == (0, {"adopt": 1})
    row = Appointment.objects.get()
    assert (row.calcom_booking_uid, row.status) == (booking.uid, Status.SCHEDULED)
    call = Call.objects.get()
    assert (call.appointment, call.booking_confirmed, call.appointment_made) == (row, True, True)
    verdict()


def test_a_true_orphan_is_rebuilt_and_linked_to_its_call(calcom, salon, phone, run, verdict):
    """Every row of it but the call is gone."""
    caller = phone()
    caller.book(at(10))
    before = Appointment.objects.get()
    BookingAttempt.objects.all().delete()
    Call.objects.update(appointment=None)
    Appointment.objects.all().delete()
    status, report = run()
    assert (status, only(report)["healed"]) == (0, {"adopt": 1})
    row = Appointment.objects.get()
    assert (row.calcom_booking_uid, row.idempotency_key) == (
        before.calcom_booking_uid,
        before.idempotency_key,
    )
    assert (row.call, row.customer, row.source) == (Call.objects.get(), before.customer, "retell")
    assert Call.objects.get().appointment == row
    verdict()
    assert caller.book(at(10)).uid == row.calcom_booking_uid


def test_a_second_booking_of_a_call_of_which_nothing_else_is_known_is_a_ticket_for_a_person(
    calcom, salon, phone, run, verdict, admin_user
):
    phone().book(at(10))
    (first,) = calcom.bookings
    metadata = {**first.metadata, "attempt_id": str(uuid.uuid4())}
    second = calcom.seed_booking("open", start=at(10), metadata=metadata)
    assert run()[0] == 1
    failure = SyncFailure.objects.get()
    assert (failure.failure_type, failure.calcom_booking_id) == ("orphaned_calcom", second.uid)
    assert Appointment.objects.get().calcom_booking_uid == first.uid
    verdict()
    SyncFailure.objects.update(status="resolved", resolved_at=timezone.now(), resolved_by=admin_user)
    assert run()[0] == 0, "the person has decided"
    assert SyncFailure.objects.get().status == "resolved"


def test_an_appointment_that_knows_only_the_number_of_its_booking_is_given_its_uid(
    calcom, salon, haircut, run
):
    booking = calcom.web_book("open", start=at(10), silent=True)
    row = AppointmentFactory(
        call=None,
        company=salon,
        branch=None,
        customer=None,
        service=haircut,
        starts_at=at(10),
        calcom_booking_uid=None,
        calcom_booking_id=booking.id,
    )
    assert only(run()[1])["healed"] == {"follow": 1}
    assert Appointment.objects.get().pk == row.pk
    assert Appointment.objects.get().calcom_booking_uid == booking.uid


def test_a_stranger_is_not_taken_for_a_lost_booking(calcom, salon, phone, run, verdict):
    caller = phone()
    caller.book(at(10))
    attempt = BookingAttempt.objects.get()
    metadata = {**attempt.request["metadata"], "idempotency_key": "00000000-0000-5000-8000-000000000000"}
    calcom.web_cancel(Appointment.objects.get().calcom_booking_uid)
    BookingAttempt.objects.all().delete()
    FunctionCall.objects.all().delete()
    Call.objects.update(
        appointment=None, booking_confirmed=False, appointment_made=False, booking_details=None
    )
    Appointment.objects.all().delete()
    stranger = calcom.web_book("open", start=at(10, 5), name="Somebody Else", metadata=metadata)
    status, _report = run()
    assert status == 1
    failure = SyncFailure.objects.get()
    assert (failure.failure_type, failure.calcom_booking_id) == ("orphaned_calcom", stranger.uid)
    assert not Appointment.objects.exists()
    assert calcom.booking(stranger.uid).is_active
    verdict()


@pytest.mark.parametrize("kind", ["cancel", "move", "confirm", "decline"])
def test_what_happened_on_the_web_unheard_is_followed(calcom, salon, phone, run, verdict, kind):
    phone().book(at(10), service="advice")
    row = Appointment.objects.get()
    uid = row.calcom_booking_uid
    if kind == "move":
        uid = calcom.web_reschedule(uid, at(12), silent=True).uid
    else:
        getattr(calcom, f"web_{kind}")(uid, silent=True)
    status, report = run()
    assert (status, only(report)["healed"]) == (0, {"follow": 1})
    row.refresh_from_db()
    expected = {"cancel": "cancelled", "decline": "cancelled", "confirm": "confirmed"}
    assert row.calcom_booking_uid == uid
    if kind == "move":
        assert row.starts_at == at(12)
    else:
        assert row.status == expected[kind]
    verdict()


# As a booking was shown before it was moved.
NOT_MOVED = {"patch": {"status": "accepted"}, "remove": ["rescheduledToUid"]}


def test_a_listing_that_is_older_than_a_move_of_ours_changes_and_reports_nothing(
    calcom, salon, phone, run, verdict
):
    caller = phone()
    caller.book(at(10))
    assert caller.ask("reschedule_appointment", new_start=at(12).isoformat()).code == "rescheduled"
    before = list(Appointment.objects.values())
    calcom.faults.add("list", times=None, **NOT_MOVED)
    status, report = run()
    assert (status, only(report)["seen"], only(report)["healed"]) == (0, 4, {})
    assert list(Appointment.objects.values()) == before
    assert not SyncFailure.objects.exists()
    assert not AuditEntry.objects.exists()
    verdict()


def test_a_booking_that_a_worker_follows_while_it_is_asked_for_is_left_to_the_worker(
    calcom, salon, phone, announced, run, work, verdict
):
    uid = phone().book(at(10)).uid

    def meanwhile(*_args: object) -> None:
        calcom.web_reschedule(uid, at(12))
        work()
        seen.extend(Appointment.objects.values())
        connection.close()

    seen: list[Any] = []
    calcom.faults.add("list", patch={"end": at(11).isoformat()})
    calcom.faults.add("get", path_contains=uid, call={"received": meanwhile}, **NOT_MOVED)
    status, report = run()
    assert (status, only(report)["healed"]) == (0, {})
    assert seen[0]["starts_at"] == at(12)
    assert list(Appointment.objects.values()) == seen
    assert not SyncFailure.objects.exists()
    verdict()


def test_a_booking_that_vanished_is_a_ticket_and_never_made_again(calcom, salon, phone, run, verdict):
    phone().book(at(10))
    row = Appointment.objects.get()
    calcom.erase(row.calcom_booking_uid)
    posts = len(calcom.requests("create"))
    status, report = run()
    assert (status, only(report)["opened"]) == (1, 1)
    failure = SyncFailure.objects.get()
    assert (failure.failure_type, failure.status, failure.appointment) == (
        "orphaned_local",
        "manual_review",
        row,
    )
    row.refresh_from_db()
    assert row.status == Status.SCHEDULED
    assert len(calcom.requests("create")) == posts
    assert run()[0] == 1
    failure.refresh_from_db()
    assert failure.occurrences == 2
    ReconciliationRun.objects.update(requests=reconcile.FEW_REQUESTS + 1)
    assert only(run()[1])["scope"] != "full"
    assert SyncFailure.objects.get().is_open, "gone there, it is missing all the same"


@pytest.mark.parametrize(
    "trouble",
    [
        lambda faults: faults.empty_page(times=None),
        lambda faults: faults.wrong_shape(times=None),
        lambda faults: faults.server_error(commit=False, operation="list", times=None),
        lambda faults: faults.rate_limited(operation="list", seconds=600, times=None),
        lambda faults: faults.refuse("Invalid API key", status=401, operation="list", times=None),
        lambda faults: faults.reset_connection(commit=False, operation="list", times=None),
    ],
    ids=["empty", "shape", "500", "429", "401", "reset"],
)
def test_a_listing_that_shows_nothing_proves_nothing(calcom, salon, phone, run, verdict, trouble):
    phone().book(at(10))
    before = Appointment.objects.values().get()
    trouble(calcom.faults)
    status, report = run()
    after = Appointment.objects.values().get()
    assert after == before
    assert not SyncFailure.objects.exclude(failure_type="config_error").exists()
    if only(report)["outcome"] != "complete":
        assert status == 2
        assert ReconciliationRun.objects.get().cursor is None
    calcom.faults.clear()
    assert run()[0] in (0, 1)
    verdict()


@pytest.mark.parametrize("command", ["reconcile", "sync_services", "webhooks"])
def test_what_cal_com_says_is_told_without_the_people_in_it(calcom, salon, settings, command):
    settings.PUBLIC_URL = "https://bookings.example.org"
    said = "Nobody may read of ann@salon.example or +49 151 2345 6789"
    calcom.faults.refuse(said, operation="any", times=None)
    ran = run_command(command)
    assert ran.status == 2 or "left for a person" in ran.text
    assert "Nobody may read of" in ran.text
    kept = str(list(ReconciliationRun.objects.values_list("error", flat=True)))
    assert not any(person in ran.text + kept for person in ("ann@", "2345"))


@pytest.mark.parametrize("options", [(), ("--json",)], ids=["", "json"])
def test_a_run_that_is_interrupted_says_so_in_a_sentence_and_runs_no_more(
    calcom, salon, run, verdict, manage_here, options
):
    """Ctrl-C, at a terminal."""
    calcom.web_book("open", start=at(10))
    calcom.faults.add("list", call={"before_answer": lambda _exchange: _thread.interrupt_main()})
    # A command that ran here before may have taken the signal for itself.
    before = signal.signal(signal.SIGINT, signal.default_int_handler)
    try:
        ended = manage_here("reconcile", *options)
    finally:
        signal.signal(signal.SIGINT, before)
    assert ended.returncode == 2
    assert "Interrupted" in ended.stderr
    assert "Traceback" not in ended.stderr
    assert not options or "Interrupted" in json.loads(ended.stdout)["error"]
    row = ReconciliationRun.objects.get()
    assert (row.outcome, row.error, row.cursor) == ("failed", "KeyboardInterrupt", None)
    assert run()[0] == 0
    assert Appointment.objects.count() == 1
    verdict()


def test_a_failure_in_the_middle_of_the_listing_concludes_nothing_from_absence(
    calcom, salon, phone, run, verdict
):
    phone().book(at(10))
    seed_pages(calcom)
    calcom.faults.server_error(commit=False, operation="list", page=2, times=None)
    status, report = run()
    assert (status, only(report)["outcome"]) == (2, "partial")
    assert Appointment.objects.get(source="retell").status == Status.SCHEDULED
    assert not SyncFailure.objects.exists()
    calcom.faults.clear()
    assert run()[0] == 0
    assert Appointment.objects.count() == 1 + OF_OURS
    verdict()


def test_a_listing_that_gives_its_first_page_for_ever_is_given_up_at_once(calcom, salon, run, verdict):
    """The server does not know how we ask for the next page."""
    seed_pages(calcom)
    asked = []

    def first_page(exchange):
        asked.append(exchange.request.query["skip"])
        assert len(asked) < 10, "it would be read until the pages are counted out"
        exchange.request.query["skip"] = "0"

    calcom.faults.add("list", call={"received": first_page}, times=None)
    status, report = run()
    assert (status, only(report)["outcome"]) == (2, "partial")
    assert asked == ["0", "250"]
    assert not SyncFailure.objects.exists()
    calcom.faults.clear()
    assert run()[0] == 0
    assert Appointment.objects.count() == OF_OURS
    verdict()


def test_a_booking_that_is_just_being_made_is_left_to_its_request(calcom, salon, phone, run, verdict):
    seen = []

    def meanwhile(*_args):
        seen.append(run())
        connection.close()

    calcom.faults.add("create", call={"after_commit": meanwhile})
    assert phone().book(at(10)).code == "booked"
    status, report = seen[0]
    assert (status, only(report)["in_flight"], only(report)["healed"]) == (0, 1, {})
    assert Appointment.objects.count() == 1
    assert not CallbackRequest.objects.exists()
    verdict()


def test_what_is_booked_while_the_listing_is_read_is_not_missed_in_it(calcom, salon, phone, run, verdict):
    """Nor in what a lagging replica shows of it."""
    answers = []

    def book(_exchange: object) -> None:
        answers.append(phone().book(at(10)).code)
        connection.close()

    calcom.faults.add("create", hide_for=3600)
    calcom.faults.add("list", call={"before_answer": book})
    assert run()[0] == 0
    assert answers == ["booked"]
    assert not SyncFailure.objects.exists()


def test_an_unknown_attempt_is_settled_first(calcom, salon, phone, run, verdict, settings):
    settings.ANSWER_BUDGET_SECONDS = 3
    calcom.faults.answer_late(seconds=30)
    phone().book(at(10))
    assert Appointment.objects.get().status == Status.PENDING
    would = only(run("--dry-run")[1])
    assert (would["would_heal"], would["in_flight"]) == ({"adopt": 1}, 0), "nobody waits for it any more"
    status, report = run()
    assert (status, report["healed"]) == (0, 0)
    assert Appointment.objects.get().status == Status.SCHEDULED
    verdict()


def test_a_dry_run_changes_nothing_here_or_there(calcom, salon, phone, run):
    phone().book(at(10))
    calcom.web_cancel(Appointment.objects.get().calcom_booking_uid, silent=True)
    calcom.web_book("open", start=at(14), silent=True)
    before = list(Appointment.objects.values())
    calcom.clear_log()
    status, report = run("--dry-run")
    assert status == 1
    assert only(report)["would_heal"] == {"follow": 1, "import": 1}
    assert list(Appointment.objects.values()) == before
    for model in (ReconciliationRun, SyncFailure, AuditEntry, Lease):
        assert not model._default_manager.exists()
    assert {entry.method for entry in calcom.log} == {"GET"}


def test_a_dry_run_of_everything_there_is_to_find_changes_nothing(calcom, salon, phone, run):
    """Whatever is only written down, asked of a person or mended without Cal.com is found, and left."""
    phone(from_number="+4915100000001").book(at(9))
    calcom.erase(Appointment.objects.get().calcom_booking_uid)
    phone(from_number="+4915100000002").book(at(10))
    calcom.erase(calcom.bookings[-1].uid)
    start = calcom.clock.now().replace(microsecond=0) - dt.timedelta(days=9)
    Appointment.objects.filter(starts_at=at(10)).update(
        starts_at=start, ends_at=start + dt.timedelta(minutes=30), idempotency_key=None
    )
    phone(from_number="+4915100000003").book(at(10))
    took_place, start = calcom.bookings[-1], start + dt.timedelta(days=8, hours=12)
    took_place.start, took_place.end = start, start + dt.timedelta(minutes=30)
    Appointment.objects.filter(starts_at=at(10)).update(
        starts_at=took_place.start, ends_at=took_place.end, idempotency_key=None
    )
    phone(from_number="+4915100000004").book(at(11))
    Call.objects.filter(from_number="+4915100000004").update(appointment=None)
    phone(from_number="+4915100000005").book(at(12))
    booked = Appointment.objects.get(starts_at=at(12))
    Call.objects.filter(from_number="+4915100000005").update(booking_confirmed=False)
    CallFactory(company=salon, branch=booked.branch, booking_confirmed=True, appointment_made=True)
    claim = {"attempt_id": "0f8fad5b-d9cb-469f-a165-70867728950e", "company": salon.slug}
    calcom.web_book("open", start=at(15), metadata=claim, silent=True)
    models: tuple[Any, ...] = (Appointment, BookingAttempt, Call, CallbackRequest, Customer)
    before = [list(model.objects.order_by("pk").values()) for model in models]
    calcom.clear_log()

    status, report = run("--dry-run")

    assert status == 1
    told = only(report)
    assert (told["ended"], told["would_heal"], told["healed"]) == (1, {"follow": 1, "link": 2}, {})
    assert Counter((each["type"], each["what"]) for each in told["problems"]) == {
        ("orphaned_calcom", "would report: unknown_claim"): 1,
        ("orphaned_local", "Cal.com does not know the booking of this appointment any more."): 1,
        ("orphaned_local", "The appointment is over, and Cal.com does not know its booking any more."): 1,
        ("call_desync", "would link"): 2,
        ("call_desync", "The call says that something was booked, and its appointment is not there."): 2,
    }
    assert [list(model.objects.order_by("pk").values()) for model in models] == before
    for model in (ReconciliationRun, SyncFailure, AuditEntry, Lease):
        assert not model._default_manager.exists()
    assert {entry.method for entry in calcom.log} == {"GET"}


def test_a_dry_run_closes_no_ticket(calcom, salon, phone, run):
    uid = phone().book(at(10)).uid
    call, types = Call.objects.get(), SyncFailure.Type
    for failure_type, about in (
        (types.CONFIG_ERROR, {"subject": f"{failures.EVENT_TYPE}999"}),
        (types.CALL_DESYNC, {"subject": f"call:{call.retell_call_id}", "call": call}),
        (types.STATUS_MISMATCH, {"subject": failures.about_booking(uid), "uid": uid}),
    ):
        ticket(salon, failure_type, **about)
    is_open = {"status__in": ("pending", "manual_review")}
    run("--dry-run")
    assert SyncFailure.objects.filter(**is_open).count() == 3
    run()
    assert not SyncFailure.objects.filter(**is_open).exists()


def test_a_dry_run_that_is_not_let_in_opens_no_ticket(calcom, salon, run):
    calcom.faults.refuse("Invalid API key", status=401, operation="list", times=None)
    status, report = run("--dry-run")
    assert (status, only(report)["outcome"]) == (2, "failed")
    assert not SyncFailure.objects.exists()


@pytest.mark.parametrize(
    ("hours", "scope"),
    [(1, "changes"), (24, "full"), (-48, "full")],
    ids=["within the day", "after a day", "after a clock that was ahead"],
)
def test_the_whole_future_of_many_pages_is_read_once_a_day(calcom, salon, run, hours, scope):
    run()
    began = timezone.now() - dt.timedelta(hours=hours)
    ReconciliationRun.objects.update(requests=reconcile.FEW_REQUESTS + 1, started_at=began)
    run()
    assert ReconciliationRun.objects.latest("pk").scope == scope


def test_what_shows_up_late_with_an_earlier_time_is_read_all_the_same(calcom, salon, run):
    calcom.web_book("open", start=at(10), silent=True)
    run()
    late = calcom.web_book("open", start=at(10, days=500), silent=True)
    late.updated_at -= dt.timedelta(minutes=9)
    assert only(run()[1])["healed"] == {"import": 1}


def test_a_cursor_that_is_ahead_of_the_clock_leaves_no_hour_unread(calcom, salon, run):
    """Ours was put back since: what was changed meanwhile lies before the cursor."""
    run()
    ahead = timezone.now() + dt.timedelta(hours=5)
    ReconciliationRun.objects.update(requests=reconcile.FEW_REQUESTS + 1, cursor=ahead)
    calcom.web_book("open", start=at(10, days=500), silent=True)
    assert only(run()[1])["healed"] == {"import": 1}


@pytest.mark.parametrize("attempt_id", ["none", "0f8fad5b", "x" * 200])
def test_what_anybody_writes_into_the_metadata_does_not_stop_the_run(calcom, salon, run, verdict, attempt_id):
    """Cal.com's page takes metadata out of its address."""
    calcom.web_book("open", start=at(10), metadata={"attempt_id": attempt_id}, silent=True)
    calcom.web_book("open", start=at(11), silent=True)
    status, report = run()
    assert (status, only(report)["outcome"], only(report)["healed"]) == (1, "complete", {"import": 1})
    assert SyncFailure.objects.get().failure_type == "orphaned_calcom"
    verdict()


def test_what_is_cancelled_and_not_listed_is_followed(calcom, salon, phone, run, verdict):
    phone().book(at(10))
    uid = Appointment.objects.get().calcom_booking_uid
    calcom.web_cancel(uid, silent=True)
    calcom.faults.empty_page(times=None)
    assert only(run()[1])["healed"] == {"follow": 1}
    assert Appointment.objects.get().status == Status.CANCELLED
    verdict()


def test_what_vanishes_between_listing_and_asking_is_left_to_the_next_run(calcom, salon, phone, run):
    phone().book(at(10))
    uid = Appointment.objects.get().calcom_booking_uid
    calcom.web_cancel(uid, silent=True)
    calcom.faults.add("get", call={"received": lambda _exchange: calcom.erase(uid)})
    _, report = run()
    assert only(report)["outcome"] == "complete"
    assert Appointment.objects.get().status == Status.SCHEDULED


@pytest.mark.parametrize("policy", ["off", "dry_run"])
def test_a_company_that_heals_nothing_gets_tickets_and_they_close_themselves(
    calcom, salon, phone, run, verdict, policy
):
    phone().book(at(10))
    calcom.web_cancel(Appointment.objects.get().calcom_booking_uid, silent=True)
    Company.objects.update(heal_follow=policy)
    assert run()[0] == 1
    failure = SyncFailure.objects.get()
    assert (failure.failure_type, failure.status) == ("status_mismatch", "manual_review")
    assert Appointment.objects.get().status == Status.SCHEDULED
    Company.objects.update(heal_follow="on")
    status, report = run()
    assert (status, only(report)["healed"]) == (0, {"follow": 1})
    failure.refresh_from_db()
    assert failure.status == "resolved"
    verdict()


def test_no_more_is_healed_in_a_day_than_the_company_allows(calcom, salon, run):
    Company.objects.update(heal_daily_limit=2)
    for hour in range(9, 14):
        calcom.web_book("open", start=at(hour))
    assert only(run()[1])["healed"] == {"import": 2}
    for limit in (2, 1):
        Company.objects.update(heal_daily_limit=limit)
        assert only(run()[1])["healed"] == {}
    assert Appointment.objects.count() == 2


def test_only_what_the_machine_healed_here_today_counts_against_the_limit(calcom, salon, run, admin_user):
    Company.objects.update(heal_daily_limit=1)
    now, other = timezone.now(), CompanyFactory()
    for company, action, user, hours in (
        (other, "heal.import", None, 1),
        (salon, "heal.import", admin_user, 1),
        (salon, "heal.import", None, 25),
        (salon, "heal.import", None, -25),  # by a clock that was ahead: else every day until then is today
        (salon, "backfill.linked", None, 1),
    ):
        created_at = now - dt.timedelta(hours=hours)
        AuditEntry.objects.create(company=company, action=action, user=user, created_at=created_at)
    calcom.web_book("open", start=at(10))
    assert only(run("--company", "salon")[1])["healed"] == {"import": 1}


def test_what_a_person_resolved_stays_resolved_until_the_gap_is_another(
    calcom, salon, phone, run, admin_user
):
    phone().book(at(10))
    row = Appointment.objects.get()
    Company.objects.update(heal_follow="off")
    calcom.web_cancel(row.calcom_booking_uid, silent=True)
    run()
    SyncFailure.objects.update(status="resolved", resolved_at=timezone.now(), resolved_by=admin_user)
    assert run()[0] == 0
    assert not SyncFailure.objects.filter(status__in=("pending", "manual_review")).exists()
    calcom.booking(row.calcom_booking_uid).status = "rejected"
    run()
    assert SyncFailure.objects.filter(status="manual_review").count() == 1


def test_a_gap_that_comes_back_is_opened_again(calcom, salon, phone, run):
    phone().book(at(10))
    uid = Appointment.objects.get().calcom_booking_uid
    Company.objects.update(heal_follow="off")
    calcom.web_cancel(uid, silent=True)
    run()
    calcom.booking(uid).status = "accepted"
    run()
    assert SyncFailure.objects.get().status == "resolved"
    calcom.booking(uid).status = "cancelled"
    run()
    failure = SyncFailure.objects.get()
    assert (failure.status, failure.occurrences) == ("manual_review", 2)


@pytest.mark.parametrize("gap", ["cancelled", "vanished", "another time"])
def test_what_a_person_resolved_is_a_ticket_again_if_it_was_gone_in_between(
    calcom, salon, phone, run, admin_user, gap
):
    """A false alarm that somebody has waved away must not hide the day when it comes true."""
    phone().book(at(10))
    row = Appointment.objects.get()
    booking = calcom.booking(row.calcom_booking_uid)
    Company.objects.update(heal_follow="off")

    def is_there(yes: bool) -> None:
        booking.status = "cancelled" if gap == "cancelled" and not yes else "accepted"
        booking.hidden_until = (
            timezone.now() + dt.timedelta(hours=1) if gap == "vanished" and not yes else None
        )
        booking.end = row.ends_at + dt.timedelta(minutes=15 if gap == "another time" and not yes else 0)

    is_there(False)
    run()
    SyncFailure.objects.update(status="resolved", resolved_at=timezone.now(), resolved_by=admin_user)
    for _ in range(2):
        run()
        assert not open_failures().exists(), "it is the gap they have seen"
    is_there(True)
    run()
    is_there(False)
    run()
    assert open_failures().get().occurrences == 1
    assert SyncFailure.objects.get(status="resolved").resolved_by == admin_user


def test_the_backlink_and_the_flags_are_repaired(calcom, salon, phone, run, verdict):
    phone().book(at(10))
    Call.objects.update(appointment=None, booking_confirmed=False, appointment_made=False)
    status, report = run()
    assert (status, only(report)["healed"]) == (0, {"link": 1})
    assert Call.objects.get().appointment == Appointment.objects.get()
    verdict()


def test_the_backlink_of_an_appointment_that_is_over_is_repaired(calcom, salon, phone, run, verdict):
    """It used to be a ticket that said, until somebody ran backfill, that the appointment is not there."""
    caller = phone()
    caller.book(at(10))
    cancel(caller)
    Call.objects.update(appointment=None)
    status, report = run("--dry-run")
    assert only(report)["would_heal"] == {"link": 1}
    assert not SyncFailure.objects.exists()
    status, report = run()
    assert (status, only(report)["healed"]) == (0, {"link": 1})
    assert Call.objects.get().appointment == Appointment.objects.get()
    assert not SyncFailure.objects.exists()
    verdict()


def test_which_of_two_that_are_over_a_call_meant_is_not_guessed(calcom, salon, phone, run):
    caller = phone()
    for hour in (10, 12):
        caller.book(at(hour))
        cancel(caller, appointment=Appointment.objects.latest("pk").pk)
    assert {row.status for row in Appointment.objects.all()} == {Status.CANCELLED}
    Call.objects.update(appointment=None)
    status, report = run()
    assert (status, only(report)["healed"]) == (1, {})
    assert open_failures().get().failure_type == "call_desync"


def test_what_was_cancelled_before_the_caller_was_told_of_it_is_not_confirmed(calcom, salon, phone, run):
    caller = phone()
    caller.book(at(10))
    cancel(caller)
    Call.objects.update(appointment=None, booking_confirmed=False, appointment_made=False)
    status, report = run()
    assert (status, only(report)["healed"]) == (0, {})
    assert Call.objects.get().booking_confirmed is False


def test_a_call_that_booked_what_is_nowhere_is_a_ticket(calcom, salon, phone, run):
    phone().book(at(10))
    calcom.erase(Appointment.objects.get().calcom_booking_uid)
    BookingAttempt.objects.all().delete()
    Call.objects.update(appointment=None)
    Appointment.objects.all().delete()
    assert run()[0] == 1
    failure = SyncFailure.objects.get()
    assert (failure.failure_type, failure.call) == ("call_desync", Call.objects.get())


def test_one_companys_bad_key_does_not_stop_the_others(calcom, salon, phone, run):
    other = make_salon(calcom, slug="other", number="+493087654321")
    other.calcom_api_key = "cal_revoked"
    other.save()
    calcom.web_book("open", start=at(10))
    status, report = run()
    assert status == 2
    assert report["companies"]["other"]["outcome"] == "failed"
    assert only(report)["healed"] == {"import": 1}
    assert SyncFailure.objects.get(company=other).failure_type == "config_error"


def lose_the_connection_while_reading(calcom) -> None:
    """The one that this thread works with, as a failover of the database ends it."""
    if connection.vendor == "sqlite":
        pytest.skip("nobody ends SQLite's connections but ourselves")
    connection.ensure_connection()
    ours = connection.connection.info.backend_pid

    def end_it(*_args: object) -> None:
        with connection.cursor() as cursor:
            cursor.execute("SELECT pg_terminate_backend(%s)", [ours])
        connection.close()

    calcom.faults.add("list", call={"received": end_it})


def test_a_connection_lost_while_one_company_is_read_does_not_stop_the_others(calcom, salon, run):
    make_salon(calcom, slug="other", number="+493087654321")  # comes first
    calcom.web_book("open", start=at(10))
    lose_the_connection_while_reading(calcom)
    status, report = run()
    assert status == 2
    assert report["companies"]["other"]["outcome"] == "failed"
    assert (only(report)["outcome"], only(report)["healed"]) == ("complete", {"import": 1})


def test_a_run_that_loses_its_connection_is_in_nobodys_way(calcom, salon, run):
    lose_the_connection_while_reading(calcom)
    with pytest.raises(OperationalError):
        reconcile.reconcile(salon)
    connection.close()  # as it is between two tasks
    assert reconcile.reconcile(salon).is_complete


def test_two_runs_at_once_are_one_after_the_other(calcom, salon, run, verdict):
    for hour in range(9, 13):
        calcom.web_book("open", start=at(hour))
    calcom.faults.add("list", delay_before=0.5, times=1)
    ends = []

    def go():
        try:
            ends.append(run()[0])
        finally:
            connection.close()

    threads = [threading.Thread(target=go) for _ in range(2)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert ends == [0, 0]
    assert Appointment.objects.count() == 4
    assert AuditEntry.objects.count() == 4
    verdict()


def test_a_dead_run_frees_its_lock_within_ten_minutes(calcom, salon):
    now = timezone.now()
    Lease.objects.hold(
        name="reconcile:salon", holder="dead", now=now - dt.timedelta(minutes=10), duration=reconcile.LEASE
    )
    assert reconcile.reconcile(salon).is_complete
    Lease.objects.hold(name="reconcile:salon", holder="alive", now=timezone.now(), duration=reconcile.LEASE)
    with pytest.raises(Busy, match=r"by alive, last heard of at .* its turn ends by itself at "):
        reconcile.reconcile(salon)


def test_what_the_database_said_is_in_the_report(calcom, salon, manage_here):
    ended = reconcile_that_fails_as_it_is_begun(calcom, manage_here)
    assert ended.returncode == 2
    assert "listed_bookings" in json.loads(ended.stdout)["companies"]["salon"]["error"]


def test_a_company_that_could_not_be_read_is_reported_in_the_shape_of_the_others(calcom, salon, manage_here):
    read = json.loads(manage_here("reconcile", "--json").stdout)["companies"]["salon"]
    ended = reconcile_that_fails_as_it_is_begun(calcom, manage_here)
    unread = json.loads(ended.stdout)["companies"]["salon"]
    assert unread.keys() == read.keys()
    assert (unread["company"], unread["outcome"], unread["healed"]) == ("salon", "failed", {})


def test_a_run_that_died_is_not_running_for_ever(salon, run):
    died = ReconciliationRun.objects.create(company=salon, scope="full")
    others = ReconciliationRun.objects.create(company=CompanyFactory(), scope="full")
    run("--dry-run")
    died.refresh_from_db()
    assert died.outcome == "running", "a dry run takes no turn: what it meets may be alive"

    run("--company", "salon")

    for row in (died, others):
        row.refresh_from_db()
    assert (died.outcome, died.error) == ("failed", "The process that ran it has died.")
    assert died.finished_at is not None
    assert others.outcome == "running"


def test_what_took_place_is_completed_in_one_statement(calcom, salon, phone, run):
    phone().book(at(10))
    booking = calcom.bookings[0]
    length = booking.end - booking.start
    booking.start = calcom.clock.now().replace(microsecond=0) - dt.timedelta(hours=3)
    booking.end = booking.start + length
    Appointment.objects.update(starts_at=booking.start, ends_at=booking.end, idempotency_key=None)
    status, report = run()
    assert (status, only(report)["ended"], only(report)["healed"]) == (0, 1, {})
    assert Appointment.objects.get().status == Status.COMPLETED


def test_the_past_and_vanished_comes_to_an_end(calcom, salon, phone, run):
    phone().book(at(10))
    calcom.erase(Appointment.objects.get().calcom_booking_uid)
    run()
    failure = SyncFailure.objects.get()
    let_it_pass(days=9)
    Company.objects.update(heal_follow="off")
    assert only(run()[1])["healed"] == {}
    assert Appointment.objects.get().status == Status.SCHEDULED
    Company.objects.update(heal_follow="on")
    assert only(run()[1])["healed"] == {"follow": 1}
    assert Appointment.objects.get().status == Status.CANCELLED
    assert [entry.action for entry in AuditEntry.objects.all()] == ["heal.follow"]
    failure.refresh_from_db()
    assert failure.status == "resolved"


def test_an_appointment_that_names_no_booking_is_a_ticket_until_it_has_one(
    calcom, salon, phone, run, verdict
):
    """Whoever wrote it, there is no uid to ask by: nothing else would ever notice."""
    caller = phone()
    uid = caller.book(at(10)).uid
    erased = calcom.booking(uid)
    calcom.erase(uid)
    Appointment.objects.update(calcom_booking_uid=None)
    assert caller.book(at(10)).code == "unavailable", "booked is said of nothing"
    for _ in range(2):
        status, report = run()
        assert (status, only(report)["left"]) == (1, 1)
    failure = SyncFailure.objects.get()
    assert (failure.failure_type, failure.status) == ("orphaned_local", "manual_review")
    assert (failure.appointment, failure.call) == (Appointment.objects.get(), Call.objects.get())
    verdict()
    assert phone().ask("list_appointments").code == "unavailable"
    assert phone().ask("cancel_appointment").code == "unavailable"
    assert not calcom.requests("cancel")
    erased.status = "accepted"
    calcom.state.store(erased)
    assert run()[0] == 0
    failure.refresh_from_db()
    assert failure.status == "resolved"
    assert Appointment.objects.get().calcom_booking_uid == uid


def test_an_appointment_that_named_no_booking_comes_to_an_end(calcom, salon, phone, run):
    phone().book(at(10))
    calcom.erase(Appointment.objects.get().calcom_booking_uid)
    Appointment.objects.update(calcom_booking_uid=None)
    assert run()[0] == 1
    let_it_pass(days=40)
    over = Appointment.objects.get()
    calcom.erase(phone(from_number="+4915100000002").book(at(11)).uid)
    Appointment.objects.update(calcom_booking_uid=None)
    to_come = Appointment.objects.get(starts_at=at(11))
    assert only(run("--dry-run")[1])["would_heal"] == {"follow": 1}
    assert only(run()[1])["healed"] == {"follow": 1}
    before, over = over, Appointment.objects.get(pk=over.pk)
    assert (over.status, over.calcom_sync_status) == (Status.CANCELLED, "not_synced")
    assert over.updated_at > before.updated_at
    assert SyncFailure.objects.get(appointment=over).status == "resolved"
    assert Appointment.objects.get(pk=to_come.pk).status == Status.SCHEDULED, "of which the same is known"


def let_it_pass(*, days: int) -> None:
    start = timezone.now() - dt.timedelta(days=days)
    Appointment.objects.update(
        starts_at=start, ends_at=start + dt.timedelta(minutes=30), idempotency_key=None
    )


def test_what_cannot_be_written_down_is_not_healed(calcom, salon, phone, run):
    phone().book(at(10))
    calcom.erase(Appointment.objects.get().calcom_booking_uid)
    let_it_pass(days=9)
    phone(from_number="+4915100000002").book(at(11))
    Call.objects.filter(from_number="+4915100000002").update(appointment=None)
    with refusals() as refused:
        refused.add("audit_entries", "INSERT", text="refused")
        assert run()[0] == 2
    assert set(Appointment.objects.values_list("status", flat=True)) == {Status.SCHEDULED}
    assert Call.objects.filter(appointment=None).count() == 1
    assert only(run()[1])["healed"] == {"follow": 1, "link": 1}


def test_a_repair_that_cannot_be_written_down_is_a_ticket(calcom, salon, phone, run, verdict):
    """A calendar that was rewritten overnight without a line of it would be nobody's doing."""
    phone().book(at(10))
    calcom.web_cancel(Appointment.objects.get().calcom_booking_uid, silent=True)
    calcom.web_book("open", start=at(14))
    with refusals() as refused:
        refused.add("audit_entries", "INSERT", text="refused")
        status, report = run()
    assert (status, only(report)["healed"]) == (1, {})
    assert [row.status for row in Appointment.objects.all()] == [Status.SCHEDULED]
    assert list(SyncFailure.objects.values_list("failure_type", flat=True)) == ["schema_error"] * 2
    status, report = run()
    assert (status, only(report)["healed"]) == (0, {"follow": 1, "import": 1})
    assert set(AuditEntry.objects.values_list("action", flat=True)) == {"heal.follow", "heal.import"}
    verdict()


def test_adopting_takes_nobody_elses_booking_of_another_tenant(calcom, salon, phone, run):
    other = make_salon(calcom, slug="other", number="+493087654321")
    phone().book(at(10))
    status, report = run("--company", "other")
    assert status == 0
    assert not Appointment.objects.filter(company=other).exists()
    assert report["companies"]["other"]["healed"] == {}


def test_a_number_of_differences_costs_a_bounded_number_of_queries(
    calcom, salon, run, django_assert_max_num_queries
):
    start = at(9, days=20)
    for number in range(60):
        calcom.seed_booking("open", start=start + dt.timedelta(minutes=30 * number), name=f"Web {number}")
    run()
    assert Appointment.objects.count() == 60
    with django_assert_max_num_queries(50):
        run()


def test_a_person_is_told_that_there_are_more_problems_than_are_shown(salon):
    CallFactory.create_batch(22, branch=salon.branches.get(), booking_confirmed=True, appointment_made=True)
    told = run_command("reconcile").text
    assert told.count("call_desync") == 20, told
    assert "… and 2 more: --json tells all of them" in told


def last_run() -> ReconciliationRun:
    return ReconciliationRun.objects.latest("pk")


OF_OURS = 11


def seed_pages(calcom) -> list[Any]:
    """More than one page of bookings from the web. The first of each page and some between are of an event
    type that the salon books by phone: to import all of them would take seconds.
    """
    start = at(9, days=20)
    return [
        calcom.seed_booking(
            "paid" if n % 25 else "open", start=start + dt.timedelta(minutes=30 * n), name=f"Web {n}"
        )
        for n in range(PAGE + 10)
    ]


@pytest.fixture
def take_over(salon):
    """The run has stood still for too long, and another one has begun."""

    def taken_over(*_args: object) -> None:
        Lease.objects.update(holder="another", expires_at=timezone.now() + reconcile.LEASE)
        connection.close()

    return taken_over


def test_a_run_keeps_its_turn_for_as_long_as_it_reads(calcom, salon, run):
    seed_pages(calcom)
    left = []

    def almost_over(*_args: object) -> None:
        Lease.objects.update(expires_at=timezone.now() + dt.timedelta(minutes=1))
        connection.close()

    def look(*_args: object) -> None:
        left.append(Lease.objects.get(name="reconcile:salon").expires_at - timezone.now())
        connection.close()

    calcom.faults.add("list", page=1, call={"received": almost_over})
    calcom.faults.add("list", page=2, call={"received": look})
    assert run()[0] == 0
    assert left[0] > dt.timedelta(minutes=5)


def test_a_run_that_was_taken_over_while_it_read_writes_nothing(calcom, salon, run, take_over, verdict):
    seed_pages(calcom)
    calcom.faults.add("list", page=2, call={"received": take_over})
    status, report = run()
    assert (status, only(report)["outcome"]) == (2, "failed")
    assert not Appointment.objects.exists()
    stopped = ReconciliationRun.objects.get()
    assert (stopped.outcome, stopped.cursor) == ("failed", None)
    lease = Lease.objects.get(name="reconcile:salon")
    assert lease.holder == "another"
    assert lease.expires_at > timezone.now(), "the other one's turn stays"
    Lease.objects.update(expires_at=timezone.now())
    calcom.faults.clear()
    assert run()[0] == 0
    verdict()


def test_a_run_that_was_taken_over_while_it_repaired_writes_no_more(
    calcom, salon, phone, run, take_over, verdict
):
    for hour in (10, 11, 12):
        phone().book(at(hour))
    for booking in list(calcom.bookings):
        calcom.web_cancel(booking.uid, silent=True)
    calcom.faults.add("get", skip=1, call={"received": take_over})
    status, report = run()
    assert (status, only(report)["outcome"]) == (2, "failed")
    assert Appointment.objects.filter(status=Status.CANCELLED).count() == 1
    assert AuditEntry.objects.filter(action="heal.follow").count() == 1
    Lease.objects.update(expires_at=timezone.now())
    calcom.faults.clear()
    assert run()[0] == 0
    verdict()


def test_the_cursor_stays_where_it_was_when_pages_moved_while_they_were_read(calcom, salon, run, verdict):
    calcom.web_book("open", start=at(9))
    run()
    before = last_run().cursor
    assert before is not None
    first = seed_pages(calcom)[0]

    def change(*_args: object) -> None:
        calcom.web_cancel(first.uid, silent=True)  # now it is the last, and the next page begins one later

    calcom.faults.add("list", page=2, call={"received": change})
    run()
    assert (last_run().outcome, last_run().cursor) == ("complete", before)
    run()
    assert last_run().cursor != before
    verdict()


# --- The connection that a comparison has for itself


def fail_at_calcom(calcom) -> None:
    calcom.faults.server_error(commit=False, operation="list", skip=1, times=None)


def fail_as_it_is_begun(calcom) -> None:
    with connection.cursor() as cursor:
        cursor.execute("CREATE VIEW listed_bookings AS SELECT 1 AS one")


def reconcile_that_fails_as_it_is_begun(calcom, manage_here):
    fail_as_it_is_begun(calcom)
    try:
        return manage_here("reconcile", "--json")
    finally:
        with connection.cursor() as cursor:
            cursor.execute("DROP VIEW listed_bookings")


def fail_as_it_compares(calcom) -> None:
    if connection.vendor == "sqlite":
        pytest.skip("nobody ends SQLite's connections but ourselves")

    def end_it(*_args: object) -> None:
        with connection.cursor() as cursor:
            # The latest: one that compared in an earlier test may still stand in the pool.
            cursor.execute(
                "SELECT pg_terminate_backend(pid) FROM (SELECT pid FROM pg_stat_activity "
                "WHERE datname = current_database() AND pid <> pg_backend_pid() "
                "AND query LIKE '%%listed_bookings%%' "
                "ORDER BY query_start DESC LIMIT 1) AS comparison"
            )
            assert cursor.fetchall() == [(True,)]
        connection.close()

    calcom.faults.add("list", skip=1, call={"received": end_it})


def test_a_comparison_whose_connection_is_lost_says_what_happened(calcom, salon, phone, manage_here):
    phone().book(at(10))
    fail_as_it_compares(calcom)
    ended = manage_here("reconcile", "--json")
    assert ended.returncode == 2
    assert "terminating connection" in json.loads(ended.stdout)["companies"]["salon"]["error"]


def connections_in_use() -> int:
    connection.ensure_connection()
    pool = getattr(connection, "pool", None)
    if pool is not None:
        stats: dict[str, int] = pool.get_stats()
        return stats["pool_size"] - stats["pool_available"]
    files = [os.path.realpath(file) for file in Path("/proc/self/fd").iterdir()]
    return files.count(os.path.realpath(connection.settings_dict["NAME"]))


@pytest.mark.parametrize("fail", [None, fail_at_calcom, fail_as_it_is_begun, fail_as_it_compares])
def test_a_comparison_leaves_no_connection_open_however_it_ends(calcom, salon, phone, manage_here, fail):
    phone().book(at(10))
    before = connections_in_use()
    if fail is not None:
        fail(calcom)
    try:
        ended = manage_here("reconcile", "--json")
    finally:
        with connection.cursor() as cursor:
            cursor.execute("DROP VIEW IF EXISTS listed_bookings")
    assert ended.returncode == (0 if fail is None else 2)
    # The pool replaces one that broke in its own time.
    wait_until(lambda: connections_in_use() == before, why_not=connections_in_use)
    assert not [thread for thread in threading.enumerate() if thread.name.startswith("comparison")]

"""What is promised to the outside, each by the door: answers, statuses, settings, repairs, log lines."""

from __future__ import annotations

import hashlib
import hmac
import json
import sqlite3
import threading
import time
import uuid
from contextlib import suppress
from io import StringIO
from typing import Any

import pytest
from django.core.management import call_command
from django.db import connection, connections, transaction
from django.test import Client
from django.utils import timezone

from booking import follow
from booking.calcom.objects import read_booking
from booking.calcom.simulator.payloads import booking_json
from booking.models import Appointment, BookingAttempt, CallbackRequest, SyncFailure
from booking.models.sync_failure import OPEN_STATUSES
from calls.models import Call, WebhookEvent
from calls.retell import signature
from customers.models import Company
from sync.reconcile import reconcile
from tests.flows.conftest import make_salon
from tests.flows.database_refusals import refusals
from tests.flows.phone import at


def deliver(company, body):
    deliver_raw(company, json.dumps(body).encode())


def deliver_raw(company, raw):
    signed = hmac.new(company.calcom_webhook_secret.encode(), raw, hashlib.sha256).hexdigest()
    response = Client().post(
        f"/hooks/{company.endpoint_id}/calcom",
        data=raw,
        content_type="application/json",
        headers={"X-Cal-Signature-256": signed},
    )
    assert response.status_code == 200


def post_to_retell_door(company, path, raw):
    return Client().post(
        f"/hooks/{company.endpoint_id}/retell/{path}",
        data=raw,
        content_type="application/json",
        headers={
            "X-Retell-Signature": signature.sign(
                raw, company.retell_api_key, now_ms=time.time_ns() // 1_000_000
            )
        },
    )


def delete_the_rows_of(appointment_id):
    """As somebody with a database shell would: the sqlite3 shell enforces no foreign keys."""
    if connection.vendor == "sqlite":
        with sqlite3.connect(connection.settings_dict["NAME"], timeout=5) as shell:
            shell.execute(f"DELETE FROM appointments WHERE id = {appointment_id}")
        return
    with connection.cursor() as cursor:
        cursor.execute("UPDATE calls SET appointment_id = NULL WHERE appointment_id = %s", [appointment_id])
        cursor.execute("DELETE FROM booking_attempts WHERE appointment_id = %s", [appointment_id])
        cursor.execute("DELETE FROM appointments WHERE id = %s", [appointment_id])


@pytest.mark.parametrize("calls", ["the same call", "a redial", "from a withheld number"])
def test_ones_own_booking_whose_rows_were_lost_is_not_called_taken(calcom, phone, calls):
    known_by: dict[str, Any] = {}
    caller = phone()
    if calls == "from a withheld number":
        caller, known_by = phone(from_number="anonymous"), {"customer_email": "Anna@Web.test"}
    booked = caller.book(at(10), **known_by)
    BookingAttempt.objects.all().delete()
    delete_the_rows_of(booked.body["appointment"]["id"])
    again = (phone() if calls == "a redial" else caller).book(at(10), **known_by)
    assert calcom.booking(booked.uid).is_active
    assert (again.code, again.uid) == ("booked", booked.uid)


@pytest.mark.parametrize("said", [{"customer_phone": "+4915112345678"}, {"customer_email": "other@web.test"}])
def test_whoever_only_says_whose_it_is_is_not_given_a_booking_whose_rows_were_lost(calcom, phone, said):
    by_number = "customer_phone" in said
    first = phone() if by_number else phone(from_number="anonymous")
    booked = first.book(at(10), **({} if by_number else {"customer_email": "anna@web.test"}))
    BookingAttempt.objects.all().delete()
    delete_the_rows_of(booked.body["appointment"]["id"])
    other = phone(from_number="+4915187654321") if by_number else first
    assert other.book(at(10), **said).code == "slot_taken"
    assert calcom.booking(booked.uid).is_active
    assert not Appointment.objects.filter(calcom_booking_uid=booked.uid).exists()


def test_ones_own_booking_whose_rows_were_lost_is_not_cancelled_when_it_cannot_be_stored(
    calcom, phone, settle_later, verdict
):
    """What proves it to be the caller's is enough to keep it, and not enough to cancel it."""
    caller = phone()
    booked = caller.book(at(10))
    BookingAttempt.objects.all().delete()
    Call.objects.update(appointment=None, booking_confirmed=False, appointment_made=False)
    Appointment.objects.all().delete()
    with refusals() as refusing:
        refusing.add("appointments", "UPDATE", when="NEW.status = 'scheduled'", text="refused")
        assert caller.book(at(10)).code == "checking"
    assert not calcom.requests("cancel")
    assert calcom.booking(booked.uid).is_active
    attempt = BookingAttempt.objects.get()
    assert (attempt.state, attempt.told) == ("unknown", "checking")
    orphan = SyncFailure.objects.get()
    assert (orphan.failure_type, orphan.calcom_booking_id) == ("orphaned_calcom", booked.uid)
    assert orphan.is_open
    verdict()
    settle_later()
    row = Appointment.objects.get()
    assert (row.calcom_booking_uid, row.status) == (booked.uid, "scheduled")
    orphan.refresh_from_db()
    assert orphan.status == "resolved"
    assert not calcom.requests("cancel")
    verdict()


def test_anothers_booking_that_carries_our_key_is_not_ones_own(calcom, salon, phone):
    """Metadata is what whoever books on the web sends along."""
    caller = phone()
    booked = caller.book(at(10))
    copied = dict(calcom.booking(booked.uid).metadata) | {"attempt_id": str(uuid.uuid4())}
    calcom.web_cancel(booked.uid, silent=True)
    delete_the_rows_of(booked.body["appointment"]["id"])
    strangers = calcom.web_book("open", start=at(10), metadata=copied, silent=True)
    assert caller.book(at(10)).code == "slot_taken"
    assert calcom.booking(strangers.uid).is_active


def test_with_json_a_refusal_is_one_object_too(salon, manage_here):
    ended = manage_here("reconcile", "--company", "nope", "--json")
    assert ended.returncode == 2
    assert isinstance(json.loads(ended.stdout), dict)


def test_a_delivery_that_names_only_the_booking_id_is_followed(salon, calcom, phone, work):
    uid = phone().book(at(10)).uid
    number = calcom.booking(uid).id
    calcom.web_cancel(uid, silent=True)
    deliver(salon, {"triggerEvent": "BOOKING_CANCELLED", "payload": {"bookingId": number}})
    work()
    assert Appointment.objects.get().status == "cancelled", WebhookEvent.objects.get().error


def test_a_delivery_that_names_only_what_was_moved_is_followed(salon, calcom, phone, work):
    uid = phone().book(at(10)).uid
    moved = calcom.web_reschedule(uid, at(12), silent=True)
    deliver(salon, {"triggerEvent": "BOOKING_RESCHEDULED", "payload": {"rescheduleUid": uid}})
    work()
    assert Appointment.objects.get().calcom_booking_uid == moved.uid, WebhookEvent.objects.get().error


def test_a_repeat_with_another_content_leaves_a_trace(salon, work, caplog):
    for transcript in ("Short.", "Longer, and not the same."):
        body = {"event": "call_ended", "call": {"call_id": "call_again", "transcript": transcript}}
        caplog.clear()
        with caplog.at_level("INFO"):
            assert post_to_retell_door(salon, "events", json.dumps(body).encode()).status_code == 200
        work()
    said = [record for record in caplog.records if "request_finished" not in str(record.msg)]
    said = [record for record in said if record.name.startswith("calls")]
    assert WebhookEvent.objects.count() == 2 or said


def test_a_booking_of_an_event_type_that_two_companies_have_is_no_failure(salon, calcom, work):
    other = make_salon(calcom, slug="other", number="+493099999999")
    booking = calcom.web_book("open", start=at(10))
    for company in (salon, other):
        deliver(company, {"triggerEvent": "BOOKING_CREATED", "payload": {"uid": booking.uid}})
    work()
    states = {event.company.slug: event.status for event in WebhookEvent.objects.all()}
    assert states == {"salon": "processed", "other": "ignored"}
    reconcile(other)
    assert not SyncFailure.objects.filter(company=other, status__in=OPEN_STATUSES)


def test_a_booking_that_is_moved_while_it_is_being_answered_is_not_called_unbooked(
    calcom, phone, work, settle_later, salon
):
    """Cal.com builds its answer after it has told the webhooks: a move made then is in it."""
    calcom.faults.add(
        "create",
        call={
            "after_commit": lambda exchange: calcom.web_reschedule(exchange.booking.uid, at(12), silent=True)
        },
    )
    answer = phone().book(at(10))
    settle_later()
    reconcile(salon, full=True)
    (standing,) = calcom.active_bookings()
    assert answer.code in ("booked", "already_booked", "checking"), answer.body["say"]
    assert Appointment.objects.get(status="scheduled").calcom_booking_uid == standing.uid


@pytest.mark.parametrize("status", [401, 404, 429, 500])
def test_a_booking_that_is_moved_out_of_sight_while_it_is_being_answered_is_looked_for_later(
    calcom, phone, settle_later, verdict, status
):
    """Where it is now cannot be asked for: it is neither stored where it was nor called unbooked."""
    moved = []
    calcom.faults.add(
        "create",
        call={
            "after_commit": lambda exchange: moved.append(
                calcom.web_reschedule(exchange.booking.uid, at(12), silent=True)
            )
        },
    )
    calcom.faults.add("get", status=status, body={"message": "not now"}, times=None)
    assert phone().book(at(10)).code == "checking"
    attempt = BookingAttempt.objects.get()
    assert (attempt.state, attempt.told) == ("unknown", "checking")
    assert Appointment.objects.get().status == "pending"
    assert not SyncFailure.objects.exists()
    verdict()
    calcom.faults.clear()
    settle_later(seconds=60)
    row = Appointment.objects.get()
    assert (row.calcom_booking_uid, row.starts_at, row.status) == (moved[0].uid, at(12), "scheduled")
    assert Call.objects.get().appointment == row
    assert len(calcom.requests("create")) == 1
    assert not calcom.requests("cancel")
    verdict()


def test_a_callback_asked_for_again_is_a_replay(phone):
    caller = phone()
    assert not caller.ask("request_callback", reason="Price").body["replayed"]
    assert caller.ask("request_callback", reason="Price").body["replayed"]


def test_a_dry_run_counts_a_call_whose_moved_appointment_was_deleted_by_hand(
    salon, calcom, phone, manage_here
):
    if connection.vendor != "sqlite":
        pytest.skip("only SQLite's own shell deletes what is pointed at")
    booked = phone().book(at(10))
    calcom.web_reschedule(booked.uid, at(12), by_owner=True, silent=True)
    reconcile(salon, full=True)
    Call.objects.update(booking_details={"uid": booked.uid})
    delete_the_rows_of(booked.body["appointment"]["id"])
    assert json.loads(manage_here("backfill", "--json", "--dry-run").stdout)["found"] == 1
    assert json.loads(manage_here("backfill", "--json").stdout)["created"] == 1


def test_late_news_of_the_cancelled_successor_takes_nothing_back(salon, calcom, phone, work, verdict):
    uid = phone().book(at(10)).uid
    successor = calcom.web_reschedule(uid, at(12), by_owner=True, silent=True)
    reconcile(salon, full=True)
    calcom.web_cancel(successor.uid, silent=True)
    calcom.web_confirm(uid, silent=True)
    reconcile(salon, full=True)
    for trigger in ("BOOKING_CANCELLED", "BOOKING_RESCHEDULED"):
        deliver(salon, {"triggerEvent": trigger, "payload": {"uid": successor.uid}})
        work()
        row = Appointment.objects.get()
        assert (row.calcom_booking_uid, row.is_live) == (uid, True)
    verdict()


def test_who_hears_that_it_was_changed_meanwhile_can_cancel_it_with_the_same_words(calcom, phone):
    caller = phone()
    uid = caller.book(at(10)).uid
    calcom.faults.add(
        "cancel",
        call={"received": lambda _: calcom.web_reschedule(uid, at(12), by_owner=True, silent=True)},
    )
    assert caller.ask("cancel_appointment").code == "not_found"
    assert caller.ask("cancel_appointment").code == "cancelled"


def test_an_appointment_that_lost_its_call_is_found_and_linked(salon, phone, manage_here):
    booked = phone().book(at(10))
    with connection.cursor() as cursor:
        cursor.execute("UPDATE appointments SET call_id = NULL")
    assert manage_here("audit", "--json").returncode == 1
    manage_here("backfill", "--json")
    manage_here("reconcile", "--json")
    appointment = Appointment.objects.get(calcom_booking_uid=booked.uid)
    assert appointment.call is not None
    assert appointment.call.appointment_id == appointment.pk


@pytest.mark.parametrize("flag", ["booking_confirmed", "appointment_made"])
def test_flags_that_disagree_are_set_right(salon, phone, manage_here, flag):
    phone().book(at(10))
    Call.objects.update(**{flag: False})
    manage_here("reconcile", "--json")
    manage_here("backfill", "--json")
    assert getattr(Call.objects.get(), flag)
    assert manage_here("audit", "--json").returncode == 0


def test_a_call_whose_appointment_was_deleted_by_hand_is_backfilled(salon, phone, manage_here):
    booked = phone().book(at(10))
    delete_the_rows_of(booked.body["appointment"]["id"])
    assert manage_here("audit", "--json").returncode == 1
    assert json.loads(manage_here("backfill", "--json", "--dry-run").stdout)["found"] == 1
    report = json.loads(manage_here("backfill", "--json").stdout)
    assert (report["found"], report["created"]) == (1, 1), report


def test_what_a_database_shell_has_left_pointing_at_nothing_is_let_go_by_a_reconciliation(
    salon, calcom, phone, manage_here
):
    if connection.vendor != "sqlite":
        pytest.skip("only SQLite's own shell deletes what is pointed at")
    caller = phone()
    uid = caller.book(at(10)).uid
    assert caller.ask("reschedule_appointment", new_start=at(12).isoformat()).code == "rescheduled"
    row = Appointment.objects.get()
    calcom.erase(row.calcom_booking_uid)
    calcom.erase(uid)
    assert manage_here("reconcile", "--json").returncode == 1
    assert SyncFailure.objects.get().appointment == row
    delete_the_rows_of(row.pk)
    assert dangling() == {"calls", "booking_attempts", "appointment_former_uids", "sync_failures"}
    would = json.loads(manage_here("reconcile", "--json", "--dry-run").stdout)
    assert len(dangling()) == 4, "a dry run changes nothing"
    done = json.loads(manage_here("reconcile", "--json").stdout)
    assert not dangling()
    for report in (would, done):
        assert [each["type"] for each in report["companies"][salon.slug]["problems"]] == ["call_desync"]
    assert SyncFailure.objects.get(failure_type="call_desync").call == Call.objects.get()


def dangling():
    with connection.cursor() as cursor:
        cursor.execute("PRAGMA foreign_key_check")
        return {table for table, *_ in cursor.fetchall()}


def test_a_move_that_the_worker_mirrored_first_opens_no_failure_that_stays(salon, calcom, phone):
    if connection.vendor == "sqlite":
        pytest.skip("the other connection must wait for one row")
    uid = phone().book(at(10)).uid
    moved = calcom.web_reschedule(uid, at(12), silent=True)
    locked = threading.Event()

    def the_worker() -> None:
        """Has the row in hand when the reconciliation comes to it."""
        try:
            with transaction.atomic():
                row = Appointment.objects.select_for_update().get()
                locked.set()
                for _ in range(200):
                    time.sleep(0.05)
                    with connection.cursor() as cursor:
                        cursor.execute("SELECT count(*) FROM pg_stat_activity WHERE wait_event_type = 'Lock'")
                        if cursor.fetchone()[0]:
                            break
                follow.follow(
                    row,
                    booking=read_booking(booking_json(moved)),
                    former_uids=[uid],
                    now=timezone.now(),
                )
        finally:
            connections.close_all()

    worker = threading.Thread(target=the_worker)
    worker.start()
    locked.wait(5)
    reconcile(salon)
    worker.join()
    assert Appointment.objects.get().calcom_booking_uid == moved.uid
    reconcile(salon, full=True)
    left = SyncFailure.objects.filter(status__in=OPEN_STATUSES)
    assert not left, [str(failure) for failure in left]
    assert not BookingAttempt.objects.exclude(state="succeeded")


def test_a_ticket_about_an_orphan_goes_on_with_it_when_it_is_moved(salon, calcom):
    """One open failure per problem; it closes itself when its gap is gone."""
    claim = {"attempt_id": "11111111-2222-4333-8444-555555555555", "company": salon.slug}
    orphan = calcom.web_book("open", start=at(10), metadata=claim, silent=True)
    reconcile(salon, full=True)
    assert SyncFailure.objects.filter(status__in=OPEN_STATUSES).count() == 1
    moved = calcom.web_reschedule(orphan.uid, at(12), silent=True)
    reconcile(salon, full=True)
    reconcile(salon, full=True)
    left = SyncFailure.objects.filter(status__in=OPEN_STATUSES)
    assert [failure.calcom_booking_id for failure in left] == [moved.uid]


def test_a_moved_booking_that_is_confirmed_again_after_its_successor_was_cancelled_is_not_lost(
    salon, calcom, phone, verdict
):
    """At Cal.com terminal states are not terminal: confirming a booking that was moved away revives it."""
    uid = phone().book(at(10)).uid
    successor = calcom.web_reschedule(uid, at(12), by_owner=True, silent=True)
    reconcile(salon, full=True)
    calcom.web_cancel(successor.uid, silent=True)
    calcom.web_confirm(uid, silent=True)
    for _ in range(2):
        reconcile(salon, full=True)
    mirrored = Appointment.objects.filter(calcom_booking_uid=uid, status__in=("scheduled", "confirmed"))
    named = SyncFailure.objects.filter(status__in=OPEN_STATUSES, calcom_booking_id=uid)
    assert mirrored.exists() or named.exists(), [
        (failure.failure_type, failure.calcom_booking_id) for failure in SyncFailure.objects.all()
    ]
    verdict()


@pytest.mark.parametrize("follow", ["on", "off"])
@pytest.mark.parametrize("known", [True, False], ids=["known_here", "unheard_of"])
def test_what_stands_beside_the_booking_it_was_moved_to_is_a_ticket_after_one_run(
    salon, calcom, phone, run, verdict, known, follow
):
    Company.objects.update(heal_follow=follow)
    first = (
        calcom.booking(phone().book(at(10), service="advice").uid or "")
        if known
        else calcom.web_book("confirm_open", start=at(10), silent=True)
    )
    successor = calcom.web_reschedule(first.uid, at(12), silent=True)
    calcom.web_confirm(first.uid, silent=True)
    assert {booking.uid for booking in calcom.active_bookings()} == {first.uid, successor.uid}
    run()
    open_ones = SyncFailure.objects.filter(status__in=OPEN_STATUSES)
    row, ticket = Appointment.objects.get(), open_ones.get(failure_type="duplicate_booking")
    assert {row.calcom_booking_uid, ticket.calcom_booking_id} == {first.uid, successor.uid}
    verdict()
    calcom.web_cancel(ticket.calcom_booking_id, silent=True)
    run()
    assert not open_ones.filter(failure_type="duplicate_booking").exists()
    verdict()


def test_a_no_about_one_service_is_not_false_because_another_stands_at_that_time(calcom, phone, verdict):
    caller = phone()
    caller.book(at(10), service="colour")
    calcom.web_book("open", start=at(12), silent=True)
    assert caller.book(at(12), service="haircut").code == "slot_taken"
    calcom.web_reschedule(Appointment.objects.get(status="scheduled").calcom_booking_uid, at(12))
    reconcile(caller.company, full=True)
    verdict()


def test_of_two_that_are_confirmed_again_the_row_stays_with_the_first(salon, calcom, phone):
    uid = phone().book(at(10)).uid
    successor = calcom.web_reschedule(uid, at(12), by_owner=True, silent=True)
    reconcile(salon, full=True)
    calcom.web_cancel(successor.uid, silent=True)
    calcom.web_confirm(uid, silent=True)
    reconcile(salon, full=True)
    calcom.web_confirm(successor.uid, silent=True)
    for _ in range(2):
        reconcile(salon, full=True)
        assert Appointment.objects.get().calcom_booking_uid == uid
    left = SyncFailure.objects.filter(status__in=OPEN_STATUSES)
    assert [failure.failure_type for failure in left] == ["duplicate_booking"]


def test_a_booking_confirmed_again_does_not_replace_a_successor_that_moved_on(salon, calcom, phone, work):
    uid = phone().book(at(10)).uid
    second = calcom.web_reschedule(uid, at(12), by_owner=True, silent=True)
    reconcile(salon, full=True)
    calcom.web_confirm(uid, silent=True)
    third = calcom.web_reschedule(second.uid, at(14), by_owner=True, silent=True)
    deliver(salon, {"triggerEvent": "BOOKING_CREATED", "payload": {"uid": uid}})
    deliver(salon, {"triggerEvent": "BOOKING_RESCHEDULED", "payload": {"uid": third.uid}})
    work()
    assert Appointment.objects.get().calcom_booking_uid == third.uid


def test_a_callback_that_is_wanted_as_at_first_again_is_no_replay(phone):
    caller = phone()
    for when in ("tomorrow at 10", "Friday afternoon", "tomorrow at 10"):
        assert caller.ask("request_callback", reason="Price", preferred_time=when).code == "callback_noted"
        assert CallbackRequest.objects.get().preferred_time == when


def test_a_link_that_is_mended_keeps_what_the_call_knows(salon, calcom, phone):
    calcom.web_book("open", start=at(10))
    reconcile(salon, full=True)
    phone().ask("list_services")
    Appointment.objects.update(customer=None)
    Call.objects.update(
        appointment=Appointment.objects.get(),
        booking_confirmed=True,
        appointment_made=True,
        booking_details={"said": "by the call"},
    )
    before = Call.objects.values("customer", "booking_details").get()
    reconcile(salon, full=True)
    assert Appointment.objects.get().call is not None
    assert Call.objects.values("customer", "booking_details").get() == before


def test_a_call_is_not_confirmed_by_what_has_failed(salon, calcom, phone):
    phone().book(at(10))
    failed = Appointment.objects.get()
    calcom.web_cancel(failed.calcom_booking_uid, silent=True)
    Appointment.objects.update(call=None, status="failed", calcom_booking_uid=None)
    Call.objects.update(booking_confirmed=False, appointment_made=False, appointment=failed)
    reconcile(salon, full=True)
    assert not Call.objects.get().booking_confirmed


def test_a_move_of_what_another_company_has_is_that_companys(salon, calcom):
    other = make_salon(calcom, slug="other", number="+493087654321")
    booking = calcom.web_book("open", start=at(10), silent=True)
    reconcile(salon, full=True)
    moved = calcom.web_reschedule(booking.uid, at(12), silent=True)
    reconcile(other, full=True)
    reconcile(salon, full=True)
    row = Appointment.objects.get()
    assert (row.company, row.calcom_booking_uid) == (salon, moved.uid)
    assert not SyncFailure.objects.filter(status__in=OPEN_STATUSES)


@pytest.fixture
def moved_onto_the_other(calcom, phone, settings):
    """A person has moved a caller's booking, which is unknown here, to where the caller has another one."""
    settings.ANSWER_BUDGET_SECONDS = 3
    caller = phone()
    assert caller.book(at(14)).code == "booked"
    calcom.faults.timeout_after_commit()
    assert caller.book(at(10)).code == "checking"
    by_start = {booking.start: booking for booking in calcom.active_bookings()}
    calcom.web_cancel(by_start[at(14)].uid, silent=True)
    moved = calcom.web_reschedule(by_start[at(10)].uid, at(14), silent=True)
    calcom.web_confirm(by_start[at(14)].uid, silent=True)
    return caller, moved


def test_what_a_person_moved_onto_the_callers_other_booking_is_not_cancelled(
    calcom, moved_onto_the_other, settle_later
):
    caller, moved = moved_onto_the_other
    settle_later()
    assert calcom.booking(moved.uid).is_active
    left = SyncFailure.objects.filter(status__in=OPEN_STATUSES, calcom_booking_id=moved.uid)
    assert "duplicate_booking" in {failure.failure_type for failure in left}
    assert len(caller.ask("list_appointments").body["appointments"]) == 1


def test_a_twin_that_is_met_when_the_time_of_grace_is_over_is_one_ticket_that_a_person_can_close(
    salon, calcom, moved_onto_the_other, settle_later, admin_user
):
    _caller, moved = moved_onto_the_other
    for minutes in (1, 10, 30):
        settle_later(seconds=minutes * 60)
    reconcile(salon, full=True)
    twin = SyncFailure.objects.get()
    assert (twin.failure_type, twin.calcom_booking_id) == ("duplicate_booking", moved.uid)
    assert twin.error_details["other_uid"] == Appointment.objects.get(starts_at=at(14)).calcom_booking_uid
    assert twin.is_open
    SyncFailure.objects.update(status="resolved", resolved_at=timezone.now(), resolved_by=admin_user)
    settle_later(seconds=7200)
    assert not SyncFailure.objects.filter(status__in=OPEN_STATUSES).exists()
    assert calcom.booking(moved.uid).is_active


def test_moved_away_and_back_is_told_with_the_uid_it_has_now(calcom, phone):
    caller = phone()
    first = caller.book(at(10)).uid
    for hour in (12, 10):
        assert caller.ask("reschedule_appointment", new_start=at(hour).isoformat()).code == "rescheduled"
    again = caller.book(at(10))
    assert (again.code, calcom.booking(again.uid).is_active) == ("booked", True)
    assert again.uid != first


@pytest.mark.parametrize("command", ["audit", "sync_services", "webhooks"])
def test_one_company_is_said_in_the_singular_and_two_in_the_plural(calcom, salon, settings, command):
    settings.PUBLIC_URL = "https://bookings.example.org"

    def last_line() -> str:
        out = StringIO()
        with suppress(SystemExit):
            call_command(command, stdout=out)
        return out.getvalue().splitlines()[-1]

    assert "1 company:" in last_line()
    make_salon(calcom, slug="other", number="+493087654321")
    assert "2 companies:" in last_line()


def test_an_attempt_whose_appointment_a_shell_has_deleted_is_no_obstacle_to_the_others(
    calcom, phone, settle_later, settings
):
    if connection.vendor != "sqlite":
        pytest.skip("only SQLite's own shell deletes what is pointed at")
    settings.ANSWER_BUDGET_SECONDS = 1.5
    calcom.faults.timeout_after_commit(times=2)
    lost, kept = phone(), phone(from_number="+4915122223333")
    assert (lost.book(at(10)).code, kept.book(at(12)).code) == ("checking", "checking")
    delete_the_rows_of(min(Appointment.objects.values_list("pk", flat=True)))
    settle_later()
    assert Appointment.objects.get().status == "scheduled"

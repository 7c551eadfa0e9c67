"""What is promised to the outside, each by the door: answers, statuses, settings, repairs, log lines."""

from __future__ import annotations

import datetime as dt
import hashlib
import hmac
import json
import sqlite3
import threading
import time

import pytest
from django.db import connection, connections, transaction
from django.test import Client
from django.utils import timezone

from booking import follow
from booking.calcom.objects import read_booking
from booking.calcom.simulator.payloads import booking_json
from booking.models import Appointment, BookingAttempt, SyncFailure
from booking.models.sync_failure import OPEN_STATUSES
from booking.provisioning import provision
from calls.models import Call, WebhookEvent
from calls.retell import signature
from sync.reconcile import reconcile
from tests.flows.conftest import make_salon
from tests.flows.phone import at
from tests.servers.processes import database_url


def deliver(company, body):
    raw = json.dumps(body).encode()
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


# --- No false no (invariant 3)


@pytest.mark.parametrize("operation", ["reschedule", "cancel"])
def test_an_appointment_whose_change_is_unknown_is_not_said_to_stand_at_its_old_time(
    calcom, phone, operation
):
    caller = phone()
    caller.book(at(10))
    calcom.faults.timeout_after_commit(operation=operation)
    if operation == "cancel":
        assert caller.ask("cancel_appointment").code == "checking"
    else:
        assert caller.ask("reschedule_appointment", new_start=at(12).isoformat()).code == "checking"
    answer = caller.ask("list_appointments")
    standing = {booking.uid for booking in calcom.active_bookings()}
    for told in answer.body.get("appointments", []):
        assert told["calcom_booking_uid"] in standing, answer.body["say"]


def test_ones_own_booking_whose_rows_were_lost_is_not_called_taken(calcom, phone):
    caller = phone()
    booked = caller.book(at(10))
    delete_the_rows_of(booked.body["appointment"]["id"])
    again = caller.book(at(10))
    assert calcom.booking(booked.uid).is_active
    assert again.code != "slot_taken", again.body["say"]


def test_a_time_that_is_free_is_in_the_slots_of_the_hours_asked_for(calcom, phone):
    answer = phone().ask(
        "check_availability", service="haircut", **{"from": at(14).isoformat(), "to": at(16).isoformat()}
    )
    starts = [dt.datetime.fromisoformat(slot["start"]) for slot in answer.body["slots"]]
    assert at(14) in starts
    assert all(at(14) <= start <= at(16) for start in starts)


def test_a_day_is_not_cut_off_without_a_word(calcom, phone):
    answer = phone().ask("check_availability", service="haircut", date=at(10).date().isoformat())
    starts = [dt.datetime.fromisoformat(slot["start"]) for slot in answer.body["slots"]]
    assert at(14) in starts or answer.body.get("more"), f"{len(starts)} slots, the last at {starts[-1]}"


# --- Commands


@pytest.mark.django_db(transaction=True)
@pytest.mark.parametrize("command", ["reconcile", "backfill", "audit", "sync_services"])
def test_a_command_that_finds_no_database_could_not_do_its_work(run_manage, command):
    away = {"DATABASE_URL": "postgresql://nobody:x@127.0.0.1:9/none", "ENVIRONMENT": "development"}
    ended = run_manage(command, "--json", env=away)
    assert ended.returncode == 2, ended.stderr[-300:]


@pytest.mark.django_db(transaction=True)
def test_a_wrong_setting_ends_a_command_with_2(run_manage):
    assert run_manage("audit", "--json", env={"ANSWER_BUDGET_SECONDS": "soon"}).returncode == 2


def test_the_database_url_is_read_from_a_file(salon, run_manage, tmp_path):
    (tmp_path / "url").write_text(database_url())
    ended = run_manage(
        "audit",
        "--json",
        env={
            "DATABASE_URL": "",
            "DATABASE_URL_FILE": str(tmp_path / "url"),
            "VAR_DIR": str(tmp_path / "var"),
            "ENVIRONMENT": "development",
        },
    )
    assert ended.returncode == 0, ended.stderr[-300:]
    assert "salon" in json.loads(ended.stdout)["companies"]


def test_with_json_a_refusal_is_one_object_too(salon, run_manage):
    ended = run_manage("reconcile", "--company", "nope", "--json")
    assert ended.returncode == 2
    assert isinstance(json.loads(ended.stdout), dict)


def test_numbers_written_as_texts_change_nothing_the_second_time(calcom, transactional_db):
    company = make_salon(calcom)
    content = {
        "companies": [
            {
                "slug": company.slug,
                "services": [{"slug": "haircut", "duration_minutes": "30", "calcom_event_type_id": "1"}],
            }
        ]
    }
    provision(content)
    _, changes = provision(content)
    assert not changes.updated


# --- Links


# --- Deliveries


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


def test_malformed_json_is_400_at_every_door(salon):
    for path in ("events", "inbound", "functions/list_services"):
        assert post_to_retell_door(salon, path, b"{no json").status_code == 400, path


# --- Log


def test_the_line_of_a_function_request_tells_its_answer(phone, caplog):
    with caplog.at_level("INFO"):
        assert phone().book(at(10)).code == "booked"
    lines = [str(record.msg) for record in caplog.records if "request_finished" in str(record.msg)]
    assert any("'booked'" in line for line in lines), lines


# --- Failures


# --- A person at the web page is faster than the answer to our create


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


def test_a_callback_asked_for_again_is_a_replay(phone):
    caller = phone()
    assert not caller.ask("request_callback", reason="Price").body["replayed"]
    assert caller.ask("request_callback", reason="Price").body["replayed"]


def test_who_hears_that_it_was_changed_meanwhile_can_cancel_it_with_the_same_words(calcom, phone):
    caller = phone()
    uid = caller.book(at(10)).uid
    calcom.faults.add(
        "cancel",
        call={"received": lambda _: calcom.web_reschedule(uid, at(12), by_owner=True, silent=True)},
    )
    assert caller.ask("cancel_appointment").code == "not_found"
    assert caller.ask("cancel_appointment").code == "cancelled"


def test_an_appointment_that_lost_its_call_is_found_and_linked(salon, phone, run_manage):
    booked = phone().book(at(10))
    with connection.cursor() as cursor:
        cursor.execute("UPDATE appointments SET call_id = NULL")
    assert run_manage("audit", "--json").returncode == 1
    run_manage("backfill", "--json")
    run_manage("reconcile", "--json")
    appointment = Appointment.objects.get(calcom_booking_uid=booked.uid)
    assert appointment.call is not None
    assert appointment.call.appointment_id == appointment.pk


def test_flags_that_disagree_are_set_right(salon, phone, run_manage):
    phone().book(at(10))
    Call.objects.update(booking_confirmed=False)
    run_manage("reconcile", "--json")
    run_manage("backfill", "--json")
    assert Call.objects.get().booking_confirmed
    assert run_manage("audit", "--json").returncode == 0


def test_a_call_whose_appointment_was_deleted_by_hand_is_backfilled(salon, phone, run_manage):
    booked = phone().book(at(10))
    delete_the_rows_of(booked.body["appointment"]["id"])
    assert run_manage("audit", "--json").returncode == 1
    report = json.loads(run_manage("backfill", "--json").stdout)
    assert (report["found"], report["created"]) == (1, 1), report


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

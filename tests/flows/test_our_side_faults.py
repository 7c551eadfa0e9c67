"""Create: what fails on our side: a database that refuses, or is away for a while, a cache that lies."""

from __future__ import annotations

import datetime as dt
import logging.config
import pickle
import sqlite3
import time
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import ExitStack
from typing import Any
from urllib.parse import parse_qs, urlsplit

import psycopg
import pytest
import redis
from django.conf import settings as django_settings
from django.core.cache import cache
from django.db import connection
from django.utils import timezone

from booking import completer, idempotency
from booking.models import OPEN_STATES, Appointment, BookingAttempt, CallbackRequest, SyncFailure
from calls.models import Call
from customers.database import SHORTEST_WAIT, waiting_at_most
from customers.models import Customer
from sync.process_tree import ProcessTree
from tests.flows.crash_server import RemotePhone, WebServer
from tests.flows.database_refusals import refusals
from tests.flows.phone import Answer, at, cancel, move
from tests.flows.state import open_failures
from tests.servers.processes import database_url
from tests.servers.tcp_proxy import TcpProxy, target_of
from tests.waiting import wait_until

YES = {"booked", "already_booked", "requested"}
LONG_ERROR = "column attendee_nickname of relation appointments does not exist; " * 60

OTHER = {"from_number": "+4915187654321"}


def somebody_will_call_back() -> bool:
    return CallbackRequest.objects.filter(status="open").exists() or bool(open_failures())


def cancelled_paths(calcom) -> list[str]:
    return [entry.path for entry in calcom.requests("cancel")]


# --- The database refuses a row -----------------------------------------------------------------------------


@pytest.mark.parametrize(
    "when", ["NEW.status = 'scheduled'", "NEW.calcom_booking_uid IS NOT NULL"], ids=["status", "uid"]
)
def test_a_booking_the_database_refuses_is_cancelled_by_its_uid_and_never_promised(
    calcom, phone, verdict, refusing, when
):
    refusing.add("appointments", "UPDATE", when=when, text=LONG_ERROR.strip())
    answer = phone().book(at(10))
    assert answer.status == 200
    assert answer.code == "unavailable", answer.body
    assert answer.body["success"] is False
    booking = calcom.bookings[0]
    assert booking.status == "cancelled"
    # The numeric id is no address of a booking: Cal.com would answer 404 and the orphan would stay.
    assert cancelled_paths(calcom) == [f"/v2/bookings/{booking.uid}/cancel"]
    assert BookingAttempt.objects.get().state == "compensated"
    assert Appointment.objects.get().status == "failed"
    recorded = SyncFailure.objects.get()
    assert recorded.failure_type == "schema_error"
    assert LONG_ERROR.strip() in recorded.error_message
    assert LONG_ERROR.strip() in BookingAttempt.objects.get().error_message
    assert somebody_will_call_back()
    assert not Call.objects.get().booking_confirmed
    verdict()


def test_after_a_refused_row_the_same_request_books_once_the_database_is_mended(
    calcom, phone, verdict, refusing
):
    refusing.add("appointments", "UPDATE", when="NEW.status = 'scheduled'", text="refused")
    caller = phone()
    assert caller.book(at(10)).code == "unavailable"
    refusing.drop()
    again = caller.book(at(10))
    assert again.code == "booked", again.body
    assert [booking.uid for booking in calcom.active_bookings()] == [again.uid]
    verdict()


def test_a_row_that_cannot_be_inserted_means_that_calcom_is_never_asked(calcom, phone, verdict, refusing):
    refusing.add("appointments", "INSERT", text=LONG_ERROR.strip())
    answer = phone().book(at(10))
    assert answer.status == 200
    assert answer.code == "unavailable"
    assert not calcom.requests("create")
    assert not calcom.bookings
    failure = open_failures()[0]
    assert failure.failure_type == "schema_error"
    assert LONG_ERROR.strip() in failure.error_message
    verdict()


def test_an_attempt_that_cannot_be_inserted_means_that_calcom_is_never_asked(
    calcom, phone, verdict, refusing
):
    refusing.add("booking_attempts", "INSERT", text="refused")
    assert phone().book(at(10)).code == "unavailable"
    assert not calcom.requests("create")
    assert not Appointment.objects.exists()
    assert open_failures()
    verdict()


def test_what_the_database_says_of_a_row_names_nobody_in_the_log(phone, caplog):
    written = logging.config.DictConfigurator(django_settings.LOGGING)
    caplog.handler.setFormatter(written.configure_formatter(django_settings.LOGGING["formatters"]["line"]))
    if connection.vendor == "sqlite":
        pytest.skip("SQLite repeats no row")
    with connection.cursor() as cursor:
        cursor.execute("ALTER TABLE customers ADD CONSTRAINT refuses CHECK (name <> 'Anna Weber')")
    try:
        assert phone().book(at(10), customer_name="Anna Weber").code == "checking"
    finally:
        with connection.cursor() as cursor:
            cursor.execute("ALTER TABLE customers DROP CONSTRAINT refuses")
    assert 'violates check constraint \\"refuses\\"' in caplog.text
    assert "booking.views" in caplog.text
    assert "Weber" not in caplog.text


def test_a_call_that_cannot_be_linked_takes_the_booking_with_it(calcom, phone, verdict, refusing):
    caller = phone()
    caller.ask("list_services")
    refusing.add("calls", "UPDATE", text="refused")
    answer = caller.book(at(10))
    assert answer.code not in YES
    assert not calcom.active_bookings()
    assert cancelled_paths(calcom) == [f"/v2/bookings/{calcom.bookings[0].uid}/cancel"]
    assert not Appointment.objects.filter(status="scheduled").exists()
    call = Call.objects.get()
    assert not call.booking_confirmed
    assert call.appointment is None
    assert somebody_will_call_back()
    verdict()


def test_an_attempt_that_cannot_be_finished_leaves_no_appointment_that_claims_to_be_booked(
    calcom, phone, verdict, refusing, settle_later
):
    """Neither "succeeded" nor "compensated" can be written: the claimed row stays, the completer finds it."""
    refusing.add("booking_attempts", "UPDATE", when="NEW.state <> 'unknown'", text="refused")
    answer = phone().book(at(10))
    assert answer.code not in YES
    assert not Appointment.objects.filter(status="scheduled").exists()
    refusing.drop()
    settle_later()
    assert len(calcom.active_bookings()) == Appointment.objects.filter(status="scheduled").count()
    verdict()


def test_when_the_cancel_fails_too_an_orphan_is_reported_and_the_completer_adopts_it_later(
    calcom, phone, verdict, refusing, settle_later
):
    refusing.add("appointments", "UPDATE", when="NEW.status = 'scheduled'", text=LONG_ERROR.strip())
    calcom.faults.server_error(commit=False, operation="cancel", times=None)
    caller = phone()
    answer = caller.book(at(10))
    assert answer.code not in YES
    booking = calcom.active_bookings()[0]
    orphan = SyncFailure.objects.get(failure_type="orphaned_calcom")
    assert orphan.is_open
    assert orphan.calcom_booking_id == booking.uid
    assert LONG_ERROR.strip() in orphan.error_message
    verdict()
    refusing.drop()
    settle_later()
    appointment = Appointment.objects.get()
    assert appointment.status == "scheduled"
    assert appointment.calcom_booking_uid == booking.uid
    orphan.refresh_from_db()
    assert orphan.status == "resolved"
    assert not open_failures()
    verdict()
    assert caller.book(at(10)).uid == booking.uid
    assert len(calcom.requests("create")) == 1


def test_an_orphan_that_can_still_not_be_stored_is_cancelled_later_and_the_caller_is_not_forgotten(
    calcom, phone, verdict, refusing, settle_later
):
    refusing.add("appointments", "UPDATE", when="NEW.status = 'scheduled'", text="refused")
    calcom.faults.server_error(commit=False, operation="cancel")
    assert phone().book(at(10)).code == "checking"
    settle_later()
    assert not calcom.active_bookings()
    assert BookingAttempt.objects.get().state == "compensated"
    # "We are checking" was the last the caller heard. Nothing stands any more, so a person has to tell them.
    assert somebody_will_call_back()
    verdict()


def test_where_not_even_the_ticket_can_be_written_the_claim_still_tells(
    calcom, phone, refusing, settle_later, verdict, caplog
):
    calcom.faults.shift_start(60)
    calcom.faults.server_error(commit=False, operation="cancel")
    refusing.add("sync_failures", "INSERT", text="refused")
    assert phone().book(at(12)).code == "checking"
    assert "function.failed" not in caplog.text
    refusing.drop()
    settle_later()
    assert not calcom.active_bookings()
    assert open_failures().get().failure_type == "orphaned_local"
    verdict()


def test_what_cannot_even_be_marked_as_unknown_is_found_by_its_claim(
    calcom, phone, refusing, settle_later, verdict, caplog
):
    calcom.faults.reset_connection(commit=True, hide_for=3600)
    refusing.add("booking_attempts", "UPDATE", text="refused", when="NEW.state = 'unknown'")
    assert phone().book(at(10)).code == "checking"
    assert "function.failed" not in caplog.text
    refusing.drop()
    calcom.clock.advance(3601)
    settle_later()
    assert Appointment.objects.get(status="scheduled").calcom_booking_uid == calcom.bookings[0].uid
    verdict()


def test_an_attempt_that_cannot_be_settled_for_a_fault_of_ours_is_a_ticket_within_the_hour(
    calcom, phone, verdict, refusing, settle_later, settings
):
    settings.ANSWER_BUDGET_SECONDS = 2
    calcom.faults.timeout_after_commit()
    assert phone().book(at(10)).code == "checking"
    refusing.add("booking_attempts", "UPDATE", text="refused")
    with refusals() as no_tickets:
        no_tickets.add("sync_failures", "INSERT", text="refused")
        assert settle_later().left == 1, "the others are settled all the same"
    for minutes in (0, 5, 10):
        settle_later(seconds=minutes * 60)
    (failure,) = open_failures()
    assert (failure.failure_type, failure.occurrences) == ("network_timeout", 2)
    refusing.drop()
    settle_later()
    assert Appointment.objects.get().status == "scheduled"
    assert not open_failures()
    verdict()


@pytest.mark.parametrize("fault", ["gone", "key"])
def test_a_change_whose_ticket_cannot_be_written_is_open_until_it_can(
    calcom, phone, refusing, settle_later, fault
):
    caller = phone()
    uid = caller.book(at(10)).uid
    if fault == "gone":
        calcom.erase(uid)
    else:
        calcom.faults.refuse("Invalid API key", status=401, operation="any", times=None)
    refusing.add("sync_failures", "INSERT", text="refused")
    answer = cancel(caller)
    assert answer.status == 200
    assert answer.code not in YES | {"cancelled"}
    assert BookingAttempt.objects.get(kind="cancel").state in OPEN_STATES
    refusing.drop()
    settle_later()
    assert open_failures()


@pytest.mark.parametrize("error", ["disk_full", "lock_not_available", "read_only_sql_transaction"])
def test_a_database_that_goes_on_refusing_as_if_it_were_away_is_a_visible_failure_within_the_hour(
    calcom, phone, verdict, refusing, settle_later, error
):
    """A full disk and a lock that never comes free look like "away" and do not pass by themselves."""
    if connection.vendor != "postgresql":
        pytest.skip("SQLite's triggers know one error only, and that one is tested above")
    refusing.add("appointments", "UPDATE", when="NEW.status = 'scheduled'", text="refused", error=error)
    answer = phone().book(at(10))
    assert answer.code not in YES
    for minutes in (1, 5, 15, 30, 59):
        settle_later(seconds=minutes * 60)
    assert not Appointment.objects.filter(status="scheduled").exists()
    if calcom.active_bookings():
        assert open_failures(), "a booking stands at Cal.com, nothing here, and nobody is told"
    else:
        assert somebody_will_call_back()
    refusing.drop()
    settle_later(seconds=3700)
    verdict()


def test_a_column_that_vanishes_while_calcom_books_is_no_promise_and_is_seen_to_later(
    calcom, phone, verdict, settle_later
):
    """A migration of the next release runs while a call of this one is at Cal.com."""

    def rename(old: str, new: str) -> None:
        with connection.cursor() as cursor:
            cursor.execute(f"ALTER TABLE appointments RENAME COLUMN {old} TO {new}")

    renamed: list[bool] = []

    def away(_exchange: object) -> None:
        rename("calcom_booking_uid", "calcom_uid")
        renamed.append(True)
        connection.close()  # of the simulator's thread

    calcom.faults.add("create", call={"before_answer": away})
    caller = phone()
    try:
        answer = caller.book(at(10))
    finally:
        if renamed:
            rename("calcom_uid", "calcom_booking_uid")
    assert answer.status == 200
    assert answer.code not in YES
    settle_later()
    assert len(calcom.active_bookings()) == Appointment.objects.filter(status="scheduled").count()
    if not calcom.active_bookings():
        assert somebody_will_call_back()
    verdict()


# --- Names --------------------------------------------------------------------------------------------------


def test_a_name_of_five_thousand_characters_is_asked_for_again_and_books_nothing(calcom, phone, verdict):
    answer = phone().book(at(10), customer_name="Anna " * 1000)
    assert answer.status == 200
    assert answer.code == "invalid_request"
    assert "customer_name" in answer.body["errors"]
    assert not calcom.requests("create")
    verdict()


@pytest.mark.parametrize(
    ("said", "kept"),
    [
        ("Anna 💇‍♀️ Weber", "Anna 💇‍♀️ Weber"),
        ("Zoë Müller-Łukasiewicz", "Zoë Müller-Łukasiewicz"),
        ("An\x00na Web\x00er", "Anna Weber"),
        ("Anna '); DROP TABLE appointments; --", "Anna '); DROP TABLE appointments; --"),
        ("A" * 200, "A" * 200),
        ("Anna " + "💇" * 195, "Anna " + "💇" * 195),
    ],
    ids=["emoji", "letters", "nul", "sql", "longest", "longest-in-emoji"],
)
def test_an_unusual_name_is_booked_and_stored_as_it_was_said(calcom, phone, verdict, said, kept):
    answer = phone().book(at(10), customer_name=said)
    assert answer.code == "booked", answer.body
    assert Appointment.objects.get().attendee_name.startswith(kept[:20])
    assert "\x00" not in Appointment.objects.get().attendee_name
    assert Customer.objects.get().name
    assert calcom.active_bookings()[0].attendee.name == Appointment.objects.get().attendee_name
    verdict()


def test_nul_and_emoji_everywhere_else_are_no_error_either(calcom, phone, verdict):
    caller = phone()
    answer = caller.book(at(10), notes="bitte \x00 kurz 💇" + "x" * 500, execution_message="\x00")
    assert answer.code == "booked", answer.body
    verdict()


# --- Cal.com hands out somebody else's uid ------------------------------------------------------------------


def booked_by_somebody_else(calcom, phone) -> tuple[Answer, str]:
    first = phone().book(at(11), service="colour")
    assert first.code == "booked"
    assert first.uid
    return first, first.uid


def assert_the_first_stands(calcom, first: Answer) -> None:
    assert not calcom.requests("cancel")
    assert calcom.booking(first.uid).is_active
    appointment = Appointment.objects.get(calcom_booking_uid=first.uid)
    assert appointment.status == "scheduled"
    assert appointment.call
    assert appointment.call.appointment == appointment
    assert appointment.call.booking_confirmed


def test_an_attempt_that_ends_without_a_booking_calls_nothing_failed_that_stands(calcom, phone, settle_later):
    """A backup from before the yes was restored, and a person has put right the appointment since."""
    phone().book(at(10))
    uid = calcom.bookings[0].uid
    calcom.erase(uid)
    BookingAttempt.objects.update(state="unknown", finished_at=None, lease_expires_at=timezone.now())
    settle_later()
    assert BookingAttempt.objects.get().state == "absent"
    assert Appointment.objects.get().status == "scheduled"  # that it is missing is for a person to decide


@pytest.mark.parametrize("enabled", [True, False], ids=["layers", "log-only"])
def test_a_uid_we_know_with_its_metadata_gone_is_never_cancelled_nor_stored_twice(
    calcom, phone, verdict, settle_later, settings, enabled
):
    """Layers 1 and 2 are blind: it looks new and names no call."""
    settings.DUPLICATE_PREVENTION_ENABLED = enabled
    first, uid = booked_by_somebody_else(calcom, phone)
    names = ["call_id", "attempt_id", "idempotency_key", "company"]
    calcom.faults.hand_back(
        uid,
        patch={"createdAt": timezone.now().isoformat()},
        remove=[f"metadata.{name}" for name in names],
    )
    second = phone(**OTHER).book(at(11), service="colour", customer_name="Ben Kurz")
    assert second.code not in YES
    if enabled:
        assert second.code == "slot_taken"
        assert BookingAttempt.objects.get(state="refused").refused_by == "layer_3_known_uid"
    assert_the_first_stands(calcom, first)
    settle_later()
    assert_the_first_stands(calcom, first)
    assert Appointment.objects.filter(status="scheduled").count() == 1
    assert SyncFailure.objects.filter(calcom_booking_id=uid, failure_type="foreign_booking").exists()
    verdict()


@pytest.mark.parametrize("hour", [11, 12], ids=["the same time", "another time than asked"])
@pytest.mark.parametrize("enabled", [True, False], ids=["layers", "log-only"])
def test_a_unique_violation_over_somebody_elses_uid_cancels_nothing(
    calcom, phone, verdict, settle_later, settings, enabled, hour
):
    """The answer carries our own metadata and somebody else's uid: all that is left is the constraint, and
    where it is not what was asked for, either, that it is not ours to undo.
    """
    settings.DUPLICATE_PREVENTION_ENABLED = enabled
    first, uid = booked_by_somebody_else(calcom, phone)

    def look_like_ours(exchange) -> None:
        exchange.fault.patch = {
            "metadata": exchange.request.fields["metadata"],
            "createdAt": timezone.now().isoformat(),
        }

    calcom.faults.hand_back(uid, call={"received": look_like_ours})
    second = phone(**OTHER).book(at(hour), service="colour", customer_name="Ben Kurz")
    assert second.code not in YES
    assert BookingAttempt.objects.latest("pk").refused_by == ("layer_4_constraint" if hour == 11 else "")
    assert_the_first_stands(calcom, first)
    settle_later()
    assert_the_first_stands(calcom, first)
    assert Appointment.objects.filter(status="scheduled").count() == 1
    verdict()


def test_a_booking_made_for_us_but_answered_with_somebody_elses_uid_is_neither_lost_nor_called_taken(
    calcom, phone, verdict, settle_later
):
    first, uid = booked_by_somebody_else(calcom, phone)
    calcom.faults.add("create", commit=True, patch={"uid": uid})
    second = phone(**OTHER).book(at(11), service="colour", customer_name="Ben Kurz")
    assert second.code not in YES
    assert_the_first_stands(calcom, first)
    assert second.code != "slot_taken", "the slot was just booked for this caller"
    settle_later()
    assert_the_first_stands(calcom, first)
    verdict()


def test_a_layer_that_only_logs_still_does_not_let_a_foreign_booking_in(calcom, phone, verdict, settings):
    settings.DUPLICATE_PREVENTION_ENABLED = False
    first, uid = booked_by_somebody_else(calcom, phone)
    calcom.faults.hand_back(uid)
    second = phone(**OTHER).book(at(11), service="colour", customer_name="Ben Kurz")
    assert second.code == "slot_taken"
    assert_the_first_stands(calcom, first)
    verdict()


@pytest.fixture
def without_answers(transactional_db: None) -> Iterator[None]:
    """The table of earlier answers is not there: somebody is at work on it."""
    with connection.cursor() as cursor:
        cursor.execute("ALTER TABLE function_calls RENAME TO function_calls_away")
    try:
        yield
    finally:
        with connection.cursor() as cursor:
            cursor.execute("ALTER TABLE function_calls_away RENAME TO function_calls")


def test_without_the_table_of_earlier_answers_callers_are_answered_and_nothing_is_booked_twice(
    calcom, phone, without_answers
):
    caller = phone()
    answers = [caller.book(at(10)), caller.book(at(10)), caller.ask("list_appointments")]
    assert [(answer.status, answer.code) for answer in answers] == [
        (200, "booked"),
        (200, "booked"),
        (200, "ok"),
    ]
    assert answers[0].uid == answers[1].uid
    assert len(calcom.requests("create")) == 1


# --- Somebody else holds the database -----------------------------------------------------------------------


@pytest.fixture
def hold(transactional_db: None) -> Iterator[Callable[..., None]]:
    """Take the calls (or another table), on SQLite all there is, and keep them until the test lets go by
    `hold.let_go`. In the mode EXCLUSIVE they can still be read, as on SQLite.
    """
    with ExitStack() as held:

        def take(_exchange: object = None, *, table: str = "calls", mode: str = "ACCESS EXCLUSIVE") -> None:
            if connection.vendor == "sqlite":
                somebody: Any = sqlite3.connect(
                    connection.settings_dict["NAME"], isolation_level=None, check_same_thread=False
                )
                somebody.execute("BEGIN IMMEDIATE")
            else:
                somebody = psycopg.connect(database_url())
                somebody.execute(f"LOCK TABLE {table} IN {mode} MODE")
            held.callback(somebody.close)
            held.callback(somebody.rollback)

        take.let_go = held.close  # type: ignore[attr-defined]
        yield take


def test_whoever_waits_for_what_somebody_holds_is_answered_in_time(calcom, phone, verdict, hold):
    caller = phone()
    assert caller.book(at(9)).code == "booked"
    hold()
    answer = caller.book(at(10))
    assert (answer.status, answer.code) == (200, "unavailable")
    assert answer.seconds < 8, f"the answer budget is 8 s, this took {answer.seconds:.1f} s"
    assert len(calcom.requests("create")) == 1
    hold.let_go()
    assert caller.book(at(10)).code == "booked"
    verdict()


def test_whoever_waits_in_vain_for_what_their_own_request_has_booked_meanwhile_hears_no_no(
    calcom, phone, verdict, hold
):
    caller = phone()
    booked = caller.book(at(10))
    cache.clear()  # as for a request that has looked there before the first one came through
    hold(mode="EXCLUSIVE")
    with waiting_at_most(SHORTEST_WAIT):
        assert caller.book(at(10), notes="please").code == "checking"
    hold.let_go()
    assert not CallbackRequest.objects.exists()
    assert caller.book(at(10), notes="please").uid == booked.uid
    assert len(calcom.requests("create")) == 1
    verdict()


def test_what_somebody_holds_when_calcom_says_yes_is_settled_later_and_the_caller_is_answered_in_time(
    calcom, phone, verdict, settle_later, hold
):
    calcom.faults.answer_late(3, call={"before_answer": hold})
    caller = phone()
    answer = caller.book(at(10))
    assert (answer.status, answer.code) == (200, "checking")
    assert answer.seconds < 9, f"the answer budget is 8 s, on a busy machine this took {answer.seconds:.1f} s"
    hold.let_go()
    settle_later()
    assert caller.book(at(10)).code == "booked"
    assert len(calcom.requests("create")) == 1
    verdict()


def test_what_somebody_holds_when_calcom_is_silent_is_settled_later_and_the_caller_is_answered_in_time(
    calcom, phone, verdict, settle_later, hold, settings
):
    settings.ANSWER_BUDGET_SECONDS = 1.0
    calcom.faults.timeout_after_commit(call={"received": lambda _: hold(table="booking_attempts")})
    caller = phone()
    answer = caller.book(at(10))
    assert (answer.status, answer.code) == (200, "checking")
    assert answer.seconds < 2.5, f"the answer budget is 1 s, this took {answer.seconds:.1f} s"
    hold.let_go()
    calcom.faults.clear()
    settings.ANSWER_BUDGET_SECONDS = 8.0
    settle_later()
    assert caller.book(at(10)).code == "booked"
    assert len(calcom.requests("create")) == 1
    verdict()


@pytest.mark.parametrize("operation", ["reschedule", "cancel"])
def test_what_somebody_holds_when_calcom_has_changed_it_is_settled_later_and_answered_in_time(
    calcom, booked, verdict, settle_later, hold, operation
):
    calcom.faults.answer_late(3, operation=operation, call={"before_answer": hold})
    answer = move(booked, at(14)) if operation == "reschedule" else cancel(booked)
    assert (answer.status, answer.code) == (200, "checking")
    assert answer.seconds < 9, f"the answer budget is 8 s, on a busy machine this took {answer.seconds:.1f} s"
    hold.let_go()
    settle_later()
    again = move(booked, at(14)) if operation == "reschedule" else cancel(booked)
    assert again.code == ("rescheduled" if operation == "reschedule" else "cancelled")
    assert len(calcom.requests(operation)) == 1
    verdict()


# --- The database goes away ---------------------------------------------------------------------------------


@pytest.fixture
def database_proxy(transactional_db: None) -> Iterator[TcpProxy]:
    if connection.vendor != "postgresql":
        pytest.skip("a SQLite file has no connection that could be cut")
    with TcpProxy(to=target_of(database_url())) as proxy:
        yield proxy


@pytest.fixture
def behind_proxy(
    salon, database_proxy: TcpProxy, subprocess_environment: dict[str, str], tmp_path
) -> Iterator[Callable[..., RemotePhone]]:
    """A phone to a web process of our own that reaches its database through the proxy only."""
    name = urlsplit(database_url())
    through = name._replace(netloc=f"{name.netloc.rpartition('@')[0]}@127.0.0.1:{database_proxy.port}")
    with ProcessTree(log_dir=tmp_path / "log") as tree:
        server = WebServer(tree=tree)
        server.environment = {
            **subprocess_environment,
            "DATABASE_URL": through.geturl(),
            "ANSWER_BUDGET_SECONDS": "4",
        }
        server.start()

        def dial(**options) -> RemotePhone:
            return RemotePhone(**{"company": salon, "server": server, **options})

        yield dial


@pytest.mark.parametrize("seconds", [0.3, 1.5, 6.0], ids=["a-moment", "in-the-budget", "beyond-the-budget"])
def test_a_database_that_is_away_between_calcoms_yes_and_our_commit_costs_no_booking(
    calcom, behind_proxy, database_proxy, verdict, settle_later, seconds
):
    calcom.faults.add("create", call={"before_answer": lambda _exchange: database_proxy.cut(seconds=seconds)})
    caller = behind_proxy()
    answer = caller.book(at(10))
    assert answer.status == 200
    assert answer.code in {"booked", "checking"}, answer.body
    assert answer.seconds < 4.5, f"the answer budget is 4 s, this took {answer.seconds:.1f} s"
    assert len(calcom.active_bookings()) == 1
    if answer.code == "booked":
        assert Appointment.objects.get().status == "scheduled"
    database_proxy.restore()
    settle_later()
    appointment = Appointment.objects.get()
    assert appointment.status == "scheduled"
    assert [booking.uid for booking in calcom.active_bookings()] == [appointment.calcom_booking_uid]
    assert not calcom.requests("cancel")
    assert Call.objects.get().appointment == appointment
    verdict()
    again = caller.book(at(10))
    assert again.code == "booked"
    assert again.uid == appointment.calcom_booking_uid
    assert len(calcom.requests("create")) == 1
    verdict()


def test_a_commit_that_is_carried_out_while_its_answer_is_lost_is_one_appointment(
    calcom, behind_proxy, database_proxy, verdict, settle_later
):
    calcom.faults.add(
        "create",
        call={"before_answer": lambda _exchange: database_proxy.lose_answer_to(b"COMMIT", seconds=0.1)},
    )
    caller = behind_proxy()
    answer = caller.book(at(10))
    assert answer.code in {"booked", "checking"}, answer.body
    settle_later()
    assert Appointment.objects.get().status == "scheduled"
    assert len(calcom.active_bookings()) == 1
    assert not calcom.requests("cancel")
    verdict()
    assert caller.book(at(10)).code == "booked"
    assert len(calcom.requests("create")) == 1


def test_a_database_that_is_away_before_the_claim_means_that_calcom_is_never_asked(
    calcom, behind_proxy, database_proxy, verdict
):
    caller = behind_proxy()
    caller.ask("list_services")
    database_proxy.cut()
    answer = caller.book(at(10))
    database_proxy.restore()
    assert not calcom.requests("create")
    assert not Appointment.objects.exists()
    # Without its database we do not even know whose key the signature was made with: Retell sends it again.
    assert (answer.status, list(answer.body)) == (503, ["detail"])
    assert answer.seconds < 8, f"this took {answer.seconds:.1f} s"
    answers = [caller.book(at(10))]
    while answers[-1].status >= 500 and len(answers) < 4:
        answers.append(caller.book(at(10)))
    assert answers[-1].code == "booked"
    assert len(calcom.active_bookings()) == 1
    verdict()


@pytest.fixture
def dies_of_a_callback(transactional_db: None) -> Iterator[None]:
    if connection.vendor != "postgresql":
        pytest.skip("SQLite has no connection that could be lost")
    with connection.cursor() as cursor:
        cursor.execute(
            "CREATE FUNCTION die() RETURNS trigger LANGUAGE plpgsql AS "
            "$$ BEGIN PERFORM pg_terminate_backend(pg_backend_pid()); RETURN NEW; END $$"
        )
        cursor.execute(
            "CREATE TRIGGER die BEFORE INSERT ON callback_requests FOR EACH ROW EXECUTE FUNCTION die()"
        )
    yield
    connection.close()
    with connection.cursor() as cursor:
        cursor.execute("DROP TRIGGER die ON callback_requests")
        cursor.execute("DROP FUNCTION die()")


def test_a_wrong_key_stays_on_record_where_the_database_goes_away_over_the_promise_to_call(
    calcom, phone, dies_of_a_callback
):
    assert phone().book(at(9)).code == "booked"
    calcom.faults.refuse("Invalid API key", status=401, operation="any", times=None)
    answer = phone().book(at(10))
    connection.close()
    assert (answer.status, answer.code) == (200, "unavailable")
    assert BookingAttempt.objects.latest("pk").state == "refused"
    assert [failure.failure_type for failure in open_failures()] == ["config_error"]
    assert not CallbackRequest.objects.exists()


def test_a_database_that_was_restarted_costs_the_next_callers_nothing(
    calcom, behind_proxy, database_proxy, verdict
):
    """The connections of the pool are all dead by then; each one handed out would cost a caller an error."""
    phones = [behind_proxy(from_number=f"+49151876543{number:02}") for number in range(4)]
    with ThreadPoolExecutor(max_workers=4) as together:
        list(together.map(lambda each: each.ask("list_services"), phones))
    assert database_proxy.connections_made > 1
    database_proxy.cut()
    time.sleep(0.2)
    database_proxy.restore()
    time.sleep(0.2)
    answers = [each.book(at(10 + number)) for number, each in enumerate(phones)]
    assert [answer.status for answer in answers] == [200] * 4
    assert [answer.code for answer in answers] == ["booked"] * 4
    verdict()


def test_a_database_that_was_away_for_long_is_found_as_soon_as_it_is_back(behind_proxy, database_proxy):
    caller = behind_proxy()
    assert caller.ask("list_services").status == 200
    database_proxy.cut()
    until = time.monotonic() + 8
    while time.monotonic() < until:
        assert caller.ask("list_services").status == 503
    database_proxy.restore()
    wait_until(lambda: caller.ask("list_services").status == 200, seconds=4)


# --- The cache is gone, empty or lies -----------------------------------------------------------------------


@pytest.fixture
def cache_proxy(settings) -> Iterator[TcpProxy]:
    """The cache of this process, reached through a proxy that can be cut."""
    url = django_settings.CACHE_URL
    number = parse_qs(urlsplit(url).query).get("db", [urlsplit(url).path.strip("/") or "0"])[0]
    with TcpProxy(to=target_of(url)) as proxy:
        default = django_settings.CACHES["default"]
        options = {**default["OPTIONS"], "CONNECTION_POOL_KWARGS": {"max_connections": 63}}
        settings.CACHES = {
            "default": {
                **default, "LOCATION": f"redis://127.0.0.1:{proxy.port}/{number}", "OPTIONS": options
            }
        }  # fmt: skip
        yield proxy


def raw_redis() -> redis.Redis:
    return redis.Redis.from_url(django_settings.CACHE_URL)


def test_without_a_cache_one_is_booked_once_and_the_second_caller_gets_alternatives(
    calcom, phone, verdict, cache_proxy, caplog
):
    cache_proxy.cut()
    caller = phone()
    answer = caller.book(at(10))
    assert answer.code == "booked", answer.body
    assert answer.seconds < 8
    assert caller.book(at(10)).code == "booked"
    assert phone().book(at(10)).code == "already_booked"
    other = phone(**OTHER).book(at(10), customer_name="Ben Kurz")
    assert other.code == "slot_taken"
    assert len(other.body["alternatives"]) == 3
    assert phone().ask("check_availability", service="haircut").code == "ok"
    assert len(calcom.active_bookings()) == 1
    said = [record for record in caplog.records if record.name == "cache"]
    assert said
    # Each request says so several times, and all that differs is the error.
    assert all(record.error and not record.exc_info for record in said)
    verdict()


def test_a_cache_that_hangs_costs_time_and_nothing_else(calcom, phone, verdict, cache_proxy):
    cache.set("warm", 1)
    cache_proxy.stall()
    answer = phone().book(at(10))
    assert answer.code == "booked", answer.body
    assert answer.seconds < 8
    cache_proxy.restore()
    verdict()


def test_a_cache_that_dies_while_calcom_books_costs_nothing(calcom, phone, verdict, cache_proxy):
    calcom.faults.add("create", call={"before_answer": lambda _exchange: cache_proxy.cut()})
    caller = phone()
    assert caller.book(at(10)).code == "booked"
    cache_proxy.restore()
    assert phone().book(at(10)).code == "already_booked"
    assert len(calcom.requests("create")) == 1
    verdict()


def test_a_broker_that_hangs_lets_no_caller_wait_for_the_alert_about_a_ticket(
    calcom, salon, subprocess_environment, tmp_path
):
    with (
        TcpProxy(to=target_of(django_settings.REDIS_URL)) as proxy,
        ProcessTree(log_dir=tmp_path / "log") as tree,
    ):
        server = WebServer(tree=tree)
        server.environment = {
            **subprocess_environment,
            "REDIS_URL": f"redis://127.0.0.1:{proxy.port}/0",
            "CACHE_URL": django_settings.CACHE_URL,
            "ALERT_EMAIL": "ops@example.org",
            "ALERT_WEBHOOK_URL": "http://127.0.0.1:9/",
            "ANSWER_BUDGET_SECONDS": "4",
        }
        server.start()
        proxy.stall()
        calcom.faults.refuse("Something nobody has seen before.", times=None)
        answer = RemotePhone(company=salon, server=server).book(at(10))
    assert answer.code == "unavailable", answer.body
    assert SyncFailure.objects.get().failure_type == "config_error"
    assert answer.seconds < 4.5, f"the answer budget is 4 s, this took {answer.seconds:.1f} s"


def test_an_emptied_cache_books_nothing_twice(calcom, phone, verdict):
    caller = phone()
    first = caller.book(at(10))
    cache.clear()
    assert caller.book(at(10), notes="please").uid == first.uid
    cache.clear()
    assert phone().book(at(10)).uid == first.uid
    assert len(calcom.requests("create")) == 1
    verdict()


def lies(appointment_id: int) -> list[object]:
    return [appointment_id, 0, -1, 10**30, "7", None, True, 3.5, [1], {"id": 1}, b"\x00\xff", "unknown"]


def test_a_lie_about_who_has_booked_this_is_not_believed(calcom, phone, verdict, salon, haircut):
    other = phone(**OTHER)
    assert other.book(at(9), customer_name="Ben Kurz").code == "booked"
    elses = Appointment.objects.get()
    customer = Customer.objects.create(company=salon, phone="+4915112345678", name="Anna Weber")
    for number, lie in enumerate(lies(elses.pk)):
        start = at(10 + number // 2, 30 * (number % 2))
        key = idempotency.booking_key(
            customer_id=customer.pk, service_id=haircut.pk, starts_at=start, source="retell"
        )
        cache.set(f"idempotency:{salon.pk}:{key}", lie, 600)
        assert idempotency.recall(key, company_id=salon.pk) == (lie if type(lie) is int else None), (
            "the key is spelt otherwise: this test does not lie to anybody"
        )
        caller = phone()
        answer = caller.book(start)
        assert answer.status == 200
        assert answer.code == "booked", (lie, answer.body)
        booking = calcom.booking(answer.uid)
        assert booking.start == start
        # … and the repeat, with the truth overwritten by the lie again
        cache.set(f"idempotency:{salon.pk}:{key}", lie, 600)
        assert phone().book(start).uid == answer.uid
    assert len(calcom.requests("create")) == 1 + len(lies(0))
    verdict()


def test_bytes_that_were_never_ours_under_every_key_are_no_error(calcom, phone, verdict):
    """Another program writes to our database of the Redis server, or an older release with another format."""
    caller = phone()
    assert caller.ask("check_availability", service="haircut").code == "ok"
    assert caller.book(at(10)).code == "booked"
    client = raw_redis()
    keys = client.keys("*")
    assert keys
    for garbage in (
        b"\x80\x05garbage",
        b"not a pickle",
        b"",
        b"99999999999999999999999",
        pickle.dumps(object),
    ):
        for key in keys:
            client.set(key, garbage)
        assert caller.ask("check_availability", service="haircut").code == "ok"
        assert phone().book(at(10)).code == "already_booked"
    other = phone(**OTHER).book(at(10), customer_name="Ben Kurz")
    assert other.code == "slot_taken"
    assert at(10).isoformat() not in [each["start"] for each in other.body["alternatives"]]
    assert len(calcom.active_bookings()) == 1
    verdict()


def test_a_lie_about_free_slots_is_offered_at_most_and_never_booked_over_somebody(calcom, phone, verdict):
    """The cache says that a slot is free that somebody else has."""
    day = at(9).date().isoformat()
    caller = phone()
    before = caller.ask("check_availability", service="haircut", date=day, part_of_day="morning")
    slot = next(each for each in before.body["slots"] if each["start"] == at(9).isoformat())
    calcom.web_book("open", start=at(9), silent=True)
    stale = phone(**OTHER).ask("check_availability", service="haircut", date=day, part_of_day="morning")
    assert slot["start"] in [each["start"] for each in stale.body["slots"]], "nothing was cached"
    answer = caller.ask(
        "book_appointment", service="haircut", slot_id=slot["slot_id"], customer_name="Anna Weber"
    )
    assert answer.code == "slot_taken"
    assert slot["start"] not in [each["start"] for each in answer.body["alternatives"]]
    fresh = caller.ask("check_availability", service="haircut", date=day, part_of_day="morning")
    assert slot["start"] not in [each["start"] for each in fresh.body["slots"]]
    verdict()


@pytest.mark.parametrize("lie", [1, "open", [1, 2], {"x": 1}, -5, 10**20, b"\xff"], ids=repr)
@pytest.mark.parametrize("name", ["open", "pause", "failures"])
def test_a_lie_about_the_breaker_books_nothing_twice_and_ends_by_itself(
    calcom, phone, verdict, salon, name, lie
):
    cache.set(f"breaker:{salon.pk}:{name}", lie, 600)
    caller = phone()
    answer = caller.book(at(10))
    assert answer.status == 200
    assert answer.code == "booked", answer.body
    assert phone().book(at(10)).code == "already_booked"
    assert len(calcom.requests("create")) == 1
    verdict()


def test_a_breaker_that_is_open_by_a_lie_answers_honestly_and_closes(calcom, phone, verdict, salon):
    cache.set(f"breaker:{salon.pk}:open", 1, 600)
    cache.set(f"breaker:{salon.pk}:pause", 1, 600)
    caller = phone()
    answer = caller.book(at(10))
    assert answer.code == "unavailable"
    assert CallbackRequest.objects.filter(status="open").exists()
    assert not calcom.requests("create")
    verdict()
    cache.delete(f"breaker:{salon.pk}:pause")
    assert caller.book(at(10)).code == "booked"
    assert len(calcom.active_bookings()) == 1
    verdict()


def test_a_lie_about_the_breaker_of_one_company_is_none_about_another(calcom, phone, salon, verdict):
    cache.set(f"breaker:{salon.pk + 1}:open", 1, 600)
    cache.set(f"breaker:{salon.pk + 1}:pause", 1, 600)
    assert phone().book(at(10)).code == "booked"
    verdict()


def test_the_completer_needs_no_cache(calcom, phone, verdict, cache_proxy, settings):
    settings.ANSWER_BUDGET_SECONDS = 3
    calcom.faults.timeout_after_commit()
    cache_proxy.cut()
    assert phone().book(at(10)).code == "checking"
    completer.settle_unknown(now=timezone.now() + dt.timedelta(minutes=1))
    assert Appointment.objects.get().status == "scheduled"
    verdict()

"""A web process that is killed (SIGKILL) in the middle of a booking, at every phase of it.

The intention is committed before Cal.com is asked, so whatever the moment: the completer finds a row, looks
at Cal.com, and one booking with one appointment or none of either is what is left. Nothing of this may depend
on what the killed process still wanted to write.
"""

from __future__ import annotations

import datetime as dt
import threading
import time
from collections.abc import Callable, Iterator

import pytest
from django.core.cache import cache
from django.db import DEFAULT_DB_ALIAS, connection, connections
from django.db.models import F
from django.utils import timezone

from booking import completer
from booking.models import Appointment, BookingAttempt, CallbackRequest, Service, SyncFailure
from booking.tasks import settle_unknown_attempts
from calls.models import Call
from customers.models import Company
from sync.process_tree import ProcessTree
from tests.flows.crash_server import RemotePhone, Silence, WebServer
from tests.flows.phone import at
from tests.flows.state import open_failures
from tests.waiting import wait_until

# One web server starts for nearly every test here; with them beside each other each would only be slower.
pytestmark = pytest.mark.xdist_group("crashes")


@pytest.fixture(scope="module")
def _web_of_this_module(tmp_path_factory) -> Iterator[WebServer]:
    with ProcessTree(log_dir=tmp_path_factory.mktemp("crashes")) as tree:
        yield WebServer(tree=tree)


@pytest.fixture
def web(_web_of_this_module: WebServer, subprocess_environment: dict[str, str], salon) -> WebServer:
    """A web server of our own, running. It is started when the test before has killed it."""
    server = _web_of_this_module
    server.environment = {**subprocess_environment, "ANSWER_BUDGET_SECONDS": "6"}
    if not server.is_running:
        server.start()
    return server


@pytest.fixture
def line(salon, web: WebServer) -> Callable[..., RemotePhone]:
    def dial(**options) -> RemotePhone:
        return RemotePhone(**{"company": salon, "server": web, **options})

    return dial


def goes_silent(caller: RemotePhone, start: dt.datetime, **arguments) -> None:
    """The request during which the server dies."""
    with pytest.raises(Silence):
        caller.book(start, **arguments)
    assert caller.server
    assert caller.server.killed.wait(10)


def the_only_attempt() -> BookingAttempt:
    return BookingAttempt.objects.select_related("appointment").get()


def let_the_lease_run_out() -> None:
    """As if half a minute had gone by."""
    BookingAttempt.objects.update(lease_expires_at=timezone.now() - dt.timedelta(seconds=1))


def assert_one_booking_and_one_appointment(calcom) -> None:
    appointment = Appointment.objects.get(status="scheduled")
    assert [booking.uid for booking in calcom.active_bookings()] == [appointment.calcom_booking_uid]
    call = appointment.call
    assert call
    assert call.appointment == appointment
    assert call.booking_confirmed
    assert call.appointment_made
    assert not open_failures()


# --- Before Cal.com has it ----------------------------------------------------------------------------------


def test_killed_before_the_request_is_sent_nothing_is_booked_and_a_person_is_told(
    calcom, line, phone, web, verdict, settle_later
):
    """Between the commit of the claim and the POST: while a half-open breaker sends its probe."""
    Service.objects.update(learned_event_type_id=F("calcom_event_type_id"))
    cache.set(f"breaker:{Company.objects.get().pk}:open", 1)
    calcom.faults.add("me", call={"received": web.kill})
    caller = line()
    goes_silent(caller, at(10))
    assert the_only_attempt().state == "claimed"
    assert the_only_attempt().appointment.status == "pending"
    assert not calcom.requests("create")
    verdict()
    settle_later(seconds=60)
    assert the_only_attempt().state == "unknown", "a late commit may still land: too early to call it absent"
    settle_later()
    assert the_only_attempt().state == "absent"
    assert Appointment.objects.get().status == "failed"
    assert [failure.failure_type for failure in open_failures()] == ["orphaned_local"]
    verdict()
    # The caller asks again, of any process, when the breaker has closed.
    cache.clear()
    again = phone(call_id=caller.call_id).book(at(10))
    assert again.code == "booked"
    assert_one_booking_and_one_appointment(calcom)
    verdict()


def test_killed_while_calcom_works_and_then_does_not_book(calcom, line, phone, web, verdict, settle_later):
    calcom.faults.add("create", call={"received": web.kill}, commit=False)
    caller = line()
    goes_silent(caller, at(10))
    assert the_only_attempt().state == "claimed"
    settle_later()
    assert the_only_attempt().state == "absent"
    assert not calcom.active_bookings()
    verdict()
    again = phone(call_id=caller.call_id).book(at(10))
    assert again.code == "booked"
    assert_one_booking_and_one_appointment(calcom)
    verdict()


# --- Cal.com has booked it ----------------------------------------------------------------------------------


def killed_while_calcom_works(calcom, web) -> None:
    calcom.faults.add("create", call={"received": web.kill}, commit=True)


def killed_after_the_commit(calcom, web) -> None:
    calcom.faults.add("create", call={"after_commit": web.kill})


def killed_before_the_answer(calcom, web) -> None:
    calcom.faults.add("create", call={"before_answer": web.kill})


@pytest.mark.parametrize(
    "plan",
    [killed_while_calcom_works, killed_after_the_commit, killed_before_the_answer],
    ids=lambda plan: plan.__name__,
)
def test_killed_and_booked_the_completer_adopts_it_and_a_repeat_is_booked_again(
    calcom, line, phone, web, verdict, settle_later, plan
):
    plan(calcom, web)
    caller = line()
    goes_silent(caller, at(10))
    attempt = the_only_attempt()
    assert attempt.state == "claimed"
    assert not Call.objects.get().booking_confirmed
    verdict()
    report = settle_later(seconds=60)
    assert (report.looked_at, report.settled) == (1, 1)
    assert_one_booking_and_one_appointment(calcom)
    verdict()
    again = phone(call_id=caller.call_id).book(at(10))
    assert again.code == "booked"
    assert again.uid == calcom.active_bookings()[0].uid
    assert phone().book(at(10)).code == "already_booked"
    assert len(calcom.requests("create")) == 1
    verdict()


def test_a_fresh_process_adopts_it_when_the_caller_asks_again_before_the_completer_comes(
    calcom, line, web, verdict
):
    killed_after_the_commit(calcom, web)
    caller = line()
    goes_silent(caller, at(10))
    let_the_lease_run_out()
    web.start()
    answer = caller.book(at(10))
    assert answer.code == "booked", answer.body
    assert len(calcom.requests("create")) == 1
    assert_one_booking_and_one_appointment(calcom)
    verdict()


def test_a_real_worker_adopts_it(calcom, line, phone, web, verdict, celery_worker_process):
    killed_after_the_commit(calcom, web)
    caller = line()
    goes_silent(caller, at(10))
    let_the_lease_run_out()
    settle_unknown_attempts.delay()
    wait_until(lambda: the_only_attempt().state != "claimed")
    celery_worker_process.wait_until_idle()
    assert_one_booking_and_one_appointment(calcom)
    verdict()
    assert phone(call_id=caller.call_id).book(at(10)).code == "booked"
    assert len(calcom.requests("create")) == 1


def test_killed_while_calcom_works_and_books_it_only_after_the_first_look(
    calcom, line, web, verdict, settle_later
):
    """A late commit: not found is not "not there"."""
    committed = threading.Event()
    calcom.faults.add(
        "create",
        late_commit=1.0,
        status=504,
        call={"received": web.kill, "after_commit": lambda _exchange: committed.set()},
    )
    caller = line()
    goes_silent(caller, at(10))
    settle_later(seconds=60)
    assert the_only_attempt().state == "unknown"
    assert committed.wait(10)
    settle_later()
    assert_one_booking_and_one_appointment(calcom)
    verdict()


# --- The answer has come, and is not saved yet --------------------------------------------------------------


class HeldRow:
    """Keeps the local commit waiting: the row of the appointment (on SQLite the file) is locked."""

    def __init__(self) -> None:
        self.held = threading.Event()
        self._let_go = threading.Event()
        self._thread = threading.Thread(target=self._hold)

    def hold(self, _exchange: object = None) -> None:
        """Returns once it is held. Takes what a fault's function is given."""
        self._thread.start()
        assert self.held.wait(10)

    def let_go(self) -> None:
        self._let_go.set()
        if self._thread.ident is not None:
            self._thread.join()

    def _hold(self) -> None:
        own = connections.create_connection(DEFAULT_DB_ALIAS)
        try:
            with own.cursor() as cursor:
                if own.vendor == "sqlite":
                    cursor.execute("BEGIN IMMEDIATE")
                else:
                    cursor.execute("BEGIN")
                    cursor.execute("SELECT id FROM appointments FOR UPDATE")
                self.held.set()
                self._let_go.wait(30)
                cursor.execute("ROLLBACK")
        finally:
            own.close()


WAITS_FOR_A_ROW = "FROM pg_stat_activity WHERE wait_event_type = 'Lock' AND datname = current_database()"


def wait_until_somebody_waits_for_the_row() -> None:
    if connection.vendor == "sqlite":
        time.sleep(1.0)  # nothing can be asked about who waits for a file
        return

    def does() -> bool:
        with connection.cursor() as cursor:
            cursor.execute(f"SELECT count(*) {WAITS_FOR_A_ROW}")
            return bool(cursor.fetchone()[0])

    wait_until(does, why_not=lambda: "the web process never tried to save the booking")


def drop_what_it_has_sent() -> None:
    """PostgreSQL carries out what was sent by a client that died since, unless its connection is cut."""
    if connection.vendor == "postgresql":
        with connection.cursor() as cursor:
            cursor.execute(f"SELECT pg_terminate_backend(pid) {WAITS_FOR_A_ROW}")


def test_killed_between_calcoms_answer_and_the_local_commit(calcom, line, phone, web, verdict, settle_later):
    row = HeldRow()
    calcom.faults.add("create", call={"before_answer": row.hold})
    caller = line()
    silent: list[Exception] = []

    def book() -> None:
        try:
            caller.book(at(10))
        except Silence as silence:
            silent.append(silence)

    request = threading.Thread(target=book)
    request.start()
    try:
        assert row.held.wait(10)
        wait_until_somebody_waits_for_the_row()
        web.kill()
        drop_what_it_has_sent()
    finally:
        row.let_go()
        request.join()
    assert silent, "it was answered before it was killed"
    assert the_only_attempt().state == "claimed"
    assert the_only_attempt().appointment.status == "pending"
    assert len(calcom.active_bookings()) == 1
    verdict()
    settle_later(seconds=60)
    assert_one_booking_and_one_appointment(calcom)
    verdict()
    assert phone(call_id=caller.call_id).book(at(10)).code == "booked"
    assert len(calcom.requests("create")) == 1


# --- While it is being undone -------------------------------------------------------------------------------


def test_killed_before_the_compensating_cancel_is_done_and_the_database_is_mended(
    calcom, line, web, verdict, refusing, settle_later
):
    refusing.add("appointments", "UPDATE", when="NEW.status = 'scheduled'", text="refused")
    calcom.faults.add("cancel", call={"received": web.kill}, commit=False)
    goes_silent(line(), at(10))
    assert the_only_attempt().state == "claimed"
    assert len(calcom.active_bookings()) == 1
    refusing.drop()
    settle_later(seconds=60)
    assert_one_booking_and_one_appointment(calcom)
    verdict()


def test_killed_before_the_compensating_cancel_is_done_and_the_database_goes_on_refusing(
    calcom, line, web, verdict, refusing, settle_later
):
    refusing.add("appointments", "UPDATE", when="NEW.status = 'scheduled'", text="refused")
    calcom.faults.add("cancel", call={"received": web.kill}, commit=False)
    goes_silent(line(), at(10))
    settle_later(seconds=60)
    assert not calcom.active_bookings()
    assert the_only_attempt().state == "compensated"
    assert Appointment.objects.get().status == "failed"
    # The caller heard nothing at all and may count on the appointment: somebody has to tell them.
    assert open_failures() or CallbackRequest.objects.filter(status="open").exists()
    verdict()


def test_killed_after_the_compensating_cancel_was_done(
    calcom, line, phone, web, verdict, refusing, settle_later
):
    refusing.add("appointments", "UPDATE", when="NEW.status = 'scheduled'", text="refused")
    calcom.faults.add("cancel", call={"after_commit": web.kill})
    caller = line()
    goes_silent(caller, at(10))
    assert the_only_attempt().state == "claimed"
    assert not calcom.active_bookings()
    refusing.drop()
    settle_later(seconds=60)
    assert the_only_attempt().state == "compensated"
    assert Appointment.objects.get().status == "failed"
    assert len(calcom.requests("cancel")) == 1
    assert open_failures() or CallbackRequest.objects.filter(status="open").exists()
    verdict()
    assert phone(call_id=caller.call_id).book(at(10)).code == "booked"
    assert_one_booking_and_one_appointment(calcom)
    verdict()


# --- Who may settle -----------------------------------------------------------------------------------------


def test_an_attempt_whose_lease_still_runs_is_nobody_elses_business(
    calcom, line, phone, web, verdict, settings
):
    killed_after_the_commit(calcom, web)
    caller = line()
    goes_silent(caller, at(10))
    calcom.clear_log()
    assert the_only_attempt().lease_expires_at > timezone.now()
    assert completer.settle_unknown(now=timezone.now()).looked_at == 0
    settle_unknown_attempts()
    assert not calcom.log, "Cal.com was asked about an attempt that may still be running"
    assert the_only_attempt().state == "claimed"
    settings.ANSWER_BUDGET_SECONDS = 2
    assert phone(call_id=caller.call_id).book(at(10)).code == "checking"
    assert not calcom.requests("create")
    assert the_only_attempt().looks == 0


@pytest.mark.parametrize("found", [True, False], ids=["booked", "not-booked"])
def test_two_completers_at_once_settle_one_attempt_once(calcom, line, web, verdict, found):
    calcom.faults.add("create", call={"received": web.kill}, commit=found)
    goes_silent(line(), at(10))
    calcom.clear_log()
    calcom.faults.add("list", delay_before=0.3, times=None)
    later = timezone.now() + dt.timedelta(minutes=30)
    together = threading.Barrier(3)
    reports = []

    def settle() -> None:
        try:
            together.wait(10)
            reports.append(completer.settle_unknown(now=later))
        finally:
            connections.close_all()

    threads = [threading.Thread(target=settle) for _ in range(3)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert len(reports) == 3
    assert len(calcom.requests("list")) == 1, "one of them took it over, the others left it alone"
    assert the_only_attempt().looks == 1
    assert the_only_attempt().state == ("succeeded" if found else "absent")
    assert SyncFailure.objects.count() == (0 if found else 1)
    verdict()

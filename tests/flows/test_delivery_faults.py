"""What goes wrong between a delivery and its effect, with real parts: web server, broker, worker, database.

The stored row is the queue. So a worker may die, the broker may be away, a delivery may come ten times at
once: each is worked, and has one effect.
"""

from __future__ import annotations

import datetime as dt
import http.client
import json
import threading
import time
import uuid
from collections import Counter
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from typing import Any
from urllib.parse import parse_qs, urlsplit

import pytest
from django.core.management import call_command
from django.db import connection, transaction
from django.test.utils import CaptureQueriesContext
from django.utils import timezone

from booking.calcom import signature as calcom_signature
from booking.models import Appointment, SyncFailure
from calls import deliveries
from calls.models import Call, WebhookEvent
from calls.retell import signature as retell_signature
from config.celery import app
from customers.models import Company, Customer
from sync import embedded_server
from sync.embedded_server import Address
from sync.models import BEAT_LEASE, Lease
from sync.process_tree import ProcessTree
from sync.tasks import purge_deliveries, reconcile_all, work_stored_deliveries
from tests.factories import WebhookEventFactory
from tests.flows.at_once import just_before
from tests.flows.conftest import make_salon
from tests.flows.crash_server import RemotePhone, WebServer
from tests.flows.phone import at
from tests.flows.test_retell_events import about
from tests.servers.tcp_proxy import TcpProxy, target_of
from tests.waiting import wait_until

# Web servers and workers start here; beside each other they would only be slower.
pytestmark = pytest.mark.xdist_group("deliveries")

WITHIN_SECONDS = 1.0  # the answer to a delivery, whatever is broken behind it
AWAKE_WITHIN_SECONDS = 2.0  # from the delivery to its effect, without Beat


@dataclass
class Sender:
    """Sends what Retell and Cal.com send, over a real socket."""

    company: Company
    host: str
    port: int

    def tell(self, call_id: str, event: str = "call_ended", **changes: Any) -> Sent:
        body = json.dumps(about(call_id, event, **changes)).encode()
        signed = retell_signature.sign(body, self.company.retell_api_key, now_ms=time.time_ns() // 1_000_000)
        return self.post("/retell/events", body, {"X-Retell-Signature": signed})

    def announce(self, trigger: str, uid: str) -> Sent:
        body = json.dumps({"triggerEvent": trigger, "payload": {"uid": uid}}).encode()
        signed = calcom_signature.sign(body, self.company.calcom_webhook_secret)
        return self.post("/calcom", body, {"X-Cal-Signature-256": signed})

    def post(self, path: str, body: bytes, headers: dict[str, str]) -> Sent:
        conversation = http.client.HTTPConnection(self.host, self.port, timeout=20)
        started = time.monotonic()
        try:
            conversation.request(
                "POST",
                f"/hooks/{self.company.endpoint_id}{path}",
                body=body,
                headers={"Content-Type": "application/json", "Host": "localhost", **headers},
            )
            response = conversation.getresponse()
            response.read()
            return Sent(response.status, time.monotonic() - started)
        finally:
            conversation.close()


@dataclass(frozen=True)
class Sent:
    status: int
    seconds: float


@pytest.fixture
def sender(salon: Company, live_server: Any) -> Sender:
    parts = urlsplit(live_server.url)
    return Sender(company=salon, host=parts.hostname or "", port=parts.port or 0)


@pytest.fixture
def start_web(
    salon: Company, subprocess_environment: dict[str, str], tmp_path: Any
) -> Iterator[Callable[..., Sender]]:
    """Starts a web server in processes of its own: who sends to it."""
    with ProcessTree(log_dir=tmp_path / "log") as tree:

        def start(**environment: str) -> Sender:
            server = WebServer(tree=tree)
            server.environment = {**subprocess_environment, **environment}
            server.start()
            return Sender(company=salon, host=server.address.host, port=server.address.port)

        yield start


@pytest.fixture
def broker(subprocess_environment: dict[str, str]) -> Iterator[TcpProxy]:
    """Stands before Redis, which is the broker and the cache."""
    with TcpProxy(to=target_of(subprocess_environment["REDIS_URL"])) as proxy:
        yield proxy


@pytest.fixture
def redis_url(broker: TcpProxy, subprocess_environment: dict[str, str]) -> str:
    """The way through the proxy, to the database numbers of this run."""
    parts = urlsplit(subprocess_environment["REDIS_URL"])
    number = parse_qs(parts.query).get("db", [parts.path.strip("/") if parts.scheme != "unix" else "0"])[0]
    return f"redis://127.0.0.1:{broker.port}/{number or 0}"


def wait_for(condition: Callable[[], object], *, seconds: float = 20) -> None:
    stored = WebhookEvent.objects.values_list("event_type", "status", "attempts", "error")
    wait_until(condition, seconds=seconds, why_not=lambda: list(stored.all()))


def states() -> list[tuple[str, int]]:
    """Status and attempts of each delivery, oldest first."""
    return list(WebhookEvent.objects.order_by("pk").values_list("status", "attempts"))


def is_all_processed(count: int) -> bool:
    return [status for status, _ in states()] == ["processed"] * count


def let_the_lease_run_out() -> None:
    """As if a minute had gone by."""
    WebhookEvent.objects.update(due_at=timezone.now() - dt.timedelta(seconds=1))


# --- Several at once ----------------------------------------------------------------------------------------


def test_copies_sent_at_once_are_all_answered_and_a_real_worker_has_one_effect_of_them(
    calcom, announced, sender, celery_worker_process, verdict
):
    calcom.webhooks.repeat(6, parallel=True)
    calcom.web_book("open", start=at(10), phone="+4915112345678")
    with ThreadPoolExecutor(6) as pool:
        answers = list(pool.map(lambda _: sender.tell("call_copied"), range(6)))
    assert [answer.status for answer in answers] == [200] * 6
    assert [delivery.status for delivery in calcom.webhooks.deliveries] == [200] * 6
    assert WebhookEvent.objects.count() == 2
    wait_for(lambda: is_all_processed(2))
    celery_worker_process.wait_until_idle()
    assert states() == [("processed", 1)] * 2
    assert (Appointment.objects.count(), Customer.objects.count(), Call.objects.count()) == (1, 1, 1)
    assert len(calcom.requests("get")) == 1
    verdict()


def test_many_deliveries_at_once_are_each_worked_once_by_two_worker_processes(sender, celery_worker_process):
    with ThreadPoolExecutor(8) as pool:
        answers = list(pool.map(lambda number: sender.tell(f"call_many{number}"), range(40)))
    assert {answer.status for answer in answers} == {200}
    wait_for(lambda: is_all_processed(40))
    celery_worker_process.wait_until_idle()
    assert states() == [("processed", 1)] * 40
    assert Call.objects.count() == 40


# --- Awake without Beat -------------------------------------------------------------------------------------


def test_a_delivery_wakes_a_worker_without_beat(start_web, celery_worker_process):
    """Behind the server we ship, whose processes are forked before anything is to be woken."""
    web = start_web()
    assert not Lease.objects.filter(name=BEAT_LEASE).exists(), "a Beat is running"
    taken = []
    for number in range(5):
        started = time.monotonic()
        assert web.tell(f"call_awake{number}").status == 200
        wait_for(lambda: is_all_processed(number + 1), seconds=AWAKE_WITHIN_SECONDS)  # noqa: B023
        taken.append(time.monotonic() - started)
        # Longer than the pause between two wake-ups: each of these is a first one.
        time.sleep(0.1)
    print(f"from delivery to effect: {[f'{seconds * 1000:.0f} ms' for seconds in taken]}")  # noqa: T201
    assert max(taken) < AWAKE_WITHIN_SECONDS


def test_a_delivery_does_not_wait_for_a_comparison_that_hangs(
    calcom, salon, announced, subprocess_environment, tmp_path
):
    for number in range(3):
        make_salon(calcom, slug=f"salon{number}", number=f"+49308765432{number}")
    calcom.faults.add("list", hang=True, times=None)
    with ProcessTree(log_dir=tmp_path) as tree:
        embedded_server.start_workers(tree, env=subprocess_environment)
        reconcile_all.delay()
        wait_for(lambda: calcom.faults.hanging, seconds=60)
        calcom.web_book("open", start=at(10))
        wait_for(lambda: is_all_processed(1))
        assert calcom.faults.hanging == 1
        calcom.faults.clear()


def test_beat_takes_care_of_what_nobody_was_woken_for():
    entries = {entry["task"]: entry for entry in app.conf.beat_schedule.values()}
    app.loader.import_default_modules()
    assert {work_stored_deliveries.name, purge_deliveries.name} <= set(entries)
    assert entries["sync.tasks.work_deliveries"]["schedule"] == 5.0
    assert entries["booking.tasks.settle_unknown_attempts"]["schedule"] == 30.0
    assert entries["calls.tasks.close_never_ended"]["schedule"] == 300.0
    daily = entries["sync.tasks.purge_deliveries"]["schedule"]
    assert (daily.hour, daily.minute) == ({3}, {17})
    assert set(entries) <= set(app.tasks), "the timetable names a task that no worker knows"
    for name, entry in entries.items():
        assert entry["options"]["expire_seconds"] > 0, f"{name} would queue up behind a worker that is away"


@pytest.mark.django_db(transaction=True)
@pytest.mark.parametrize(
    ("waiting", "looks"), [(0, 1), (3, 1), (deliveries.BATCH, 2), (2 * deliveries.BATCH + 1, 3)]
)
def test_one_run_works_all_that_waits_and_does_not_look_again_after_a_short_batch(waiting, looks):
    WebhookEventFactory.create_batch(waiting, due_at=timezone.now())

    with CaptureQueriesContext(connection) as queries:
        work_stored_deliveries()

    assert not WebhookEvent.objects.exclude(status=WebhookEvent.Status.IGNORED).exists()
    taken = [query for query in queries if "LIMIT" in query["sql"] and "webhook_events" in query["sql"]]
    assert len(taken) == looks


@pytest.mark.django_db(transaction=True)
def test_what_is_given_up_does_not_keep_what_waits_behind_it_from_being_worked():
    now = timezone.now()
    WebhookEventFactory.create_batch(
        3, due_at=now - dt.timedelta(minutes=1), attempts=deliveries.MOST_ATTEMPTS
    )
    WebhookEventFactory.create_batch(deliveries.BATCH, due_at=now)

    work_stored_deliveries()

    statuses = Counter(WebhookEvent.objects.values_list("status", flat=True))
    assert statuses == {"dead": 3, "ignored": deliveries.BATCH}


@pytest.mark.django_db(transaction=True)
def test_what_one_worker_is_taking_nobody_else_takes_or_waits_for():
    if connection.vendor == "sqlite":
        pytest.skip("whoever writes is alone")
    now = timezone.now()
    WebhookEventFactory.create_batch(deliveries.BATCH + 3, due_at=now)

    def take() -> set[int]:
        try:
            return {event.pk for event in deliveries.take_due(now=now)}
        finally:
            connection.close()

    with ThreadPoolExecutor(max_workers=1) as other_worker, transaction.atomic():
        mine = {event.pk for event in deliveries.take_due(now=now)}
        theirs = other_worker.submit(take).result()
    assert (len(mine), len(theirs)) == (deliveries.BATCH, 3)
    assert not mine & theirs


# --- A worker that dies -------------------------------------------------------------------------------------


def test_a_worker_killed_while_cal_com_hangs_leaves_its_delivery_to_the_next_one(
    calcom, announced, celery_worker_process, work, verdict
):
    calcom.faults.add("get", hang=True)
    calcom.web_book("open", start=at(10))
    wait_for(lambda: calcom.faults.hanging)
    celery_worker_process.kill()
    killed = timezone.now()
    event = WebhookEvent.objects.get()
    assert (event.status, event.attempts) == ("received", 1)
    assert killed < event.due_at <= killed + deliveries.LEASE
    assert not Appointment.objects.exists()
    # Nobody touches it while the dead worker might still be at it.
    assert work().worked == 0
    assert states() == [("received", 1)]
    calcom.faults.clear()
    let_the_lease_run_out()
    celery_worker_process.start()
    work_stored_deliveries.delay()
    wait_for(lambda: is_all_processed(1))
    celery_worker_process.wait_until_idle()
    assert states() == [("processed", 2)]
    assert Appointment.objects.count() == 1
    verdict()


def test_a_lease_runs_out_by_itself_and_not_a_moment_before(calcom, announced, work):
    calcom.web_book("open", start=at(10))
    begun = timezone.now()
    (event,) = deliveries.take_due(now=begun)  # by a worker that is never heard of again
    assert event.due_at == begun + deliveries.LEASE
    assert work(seconds=deliveries.LEASE.total_seconds() - 5).worked == 0
    assert work(seconds=deliveries.LEASE.total_seconds() + 1).worked == 1
    assert states() == [("processed", 2)]
    assert Appointment.objects.count() == 1


def test_a_worker_killed_between_the_effect_and_its_commit_has_had_no_effect(
    calcom, announced, celery_worker_process, verdict
):
    if connection.vendor == "sqlite":
        pytest.skip("a row that is held keeps a SQLite worker from beginning at all")
    asked, held = threading.Event(), threading.Event()

    def answer_once_the_row_is_held(_exchange: object) -> None:
        asked.set()
        held.wait(4)

    calcom.faults.add("get", call={"before_answer": answer_once_the_row_is_held})
    calcom.web_book("open", start=at(10))
    assert asked.wait(20)
    with transaction.atomic():
        WebhookEvent.objects.select_for_update().get()
        held.set()
        wait_for(somebody_waits_for_a_row)  # the appointment is written, its delivery not yet finished
        celery_worker_process.kill()
    wait_for(nobody_else_is_in_a_transaction)
    assert states() == [("received", 1)]
    assert not Appointment.objects.exists()
    let_the_lease_run_out()
    celery_worker_process.start()
    work_stored_deliveries.delay()
    wait_for(lambda: is_all_processed(1))
    celery_worker_process.wait_until_idle()
    assert Appointment.objects.count() == 1
    verdict()


def _others(condition: str) -> int:
    with connection.cursor() as cursor:
        cursor.execute(
            "SELECT count(*) FROM pg_stat_activity WHERE datname = current_database()"
            f" AND pid <> pg_backend_pid() AND {condition}"
        )
        return int(cursor.fetchone()[0])


def somebody_waits_for_a_row() -> bool:
    return _others("wait_event_type = 'Lock'") > 0


def nobody_else_is_in_a_transaction() -> bool:
    return _others("xact_start IS NOT NULL AND backend_type = 'client backend'") == 0


# --- A worker that is slow ----------------------------------------------------------------------------------


@pytest.mark.parametrize("news", ["booked", "moved", "claimed"])
def test_a_worker_that_comes_too_late_with_what_it_saw_changes_nothing(
    calcom, salon, announced, work, caplog, news
):
    """It was answered before the booking vanished, and goes on after another one has decided."""
    if news == "moved":
        earlier = calcom.web_book("open", start=at(10), silent=True)
        call_command("reconcile", "--json")
    rows = [list(model.objects.values()) for model in (Appointment, SyncFailure)]
    seen, go_on = threading.Event(), threading.Event()

    def pause(_exchange: object) -> None:
        seen.set()
        go_on.wait(4)

    calcom.faults.add("get", call={"before_answer": pause})
    if news == "moved":
        booking = calcom.web_reschedule(earlier.uid, at(12))
    else:
        metadata = {"attempt_id": str(uuid.uuid4())} if news == "claimed" else {}
        booking = calcom.web_book("open", start=at(10), metadata=metadata)

    def work_slowly() -> None:
        try:
            work()
        finally:
            connection.close()

    slow = threading.Thread(target=work_slowly)
    slow.start()
    try:
        assert seen.wait(10)
        calcom.erase(booking.uid)
        assert work(seconds=61).worked == 1
        assert states() == [("ignored", 2)]
    finally:
        go_on.set()
        slow.join()
    assert states() == [("ignored", 2)]
    now = [list(model.objects.values()) for model in (Appointment, SyncFailure)]
    assert now == rows, "the effect of the one that came too late"
    assert "delivery.lease_lost" in caplog.text


def test_two_workers_in_the_same_effect_make_one(calcom, announced, work, verdict, caplog):
    """The slow one has written everything and not committed yet when the other one begins."""
    if connection.vendor == "sqlite":
        pytest.skip("SQLite lets one transaction write at a time")
    written, go_on = threading.Event(), threading.Event()

    def pause_before_finishing(
        execute: Callable[..., Any], sql: str, params: Any, many: bool, context: Any
    ) -> Any:
        if sql.startswith('UPDATE "webhook_events"') and "processed_at" in sql:
            written.set()
            go_on.wait(10)
        return execute(sql, params, many, context)

    def work_slowly() -> None:
        try:
            with connection.execute_wrapper(pause_before_finishing):
                work()
        finally:
            connection.close()

    def work_in_time() -> None:
        try:
            work(seconds=61)
        finally:
            connection.close()

    calcom.web_book("open", start=at(10), phone="+4915112345678")
    slow, fast = threading.Thread(target=work_slowly), threading.Thread(target=work_in_time)
    slow.start()
    try:
        assert written.wait(10)
        fast.start()
        wait_for(somebody_waits_for_a_row)
    finally:
        go_on.set()
        slow.join()
        fast.join()
    work(seconds=200)  # in case the one in time was told to come again
    assert [status for status, _ in states()] == ["processed"]
    assert (Appointment.objects.count(), Customer.objects.count()) == (1, 1)
    assert "delivery.lease_lost" in caplog.text
    verdict()


# --- A broker that is away ----------------------------------------------------------------------------------


@pytest.mark.parametrize("how", ["cut", "stall"])
def test_a_broker_that_goes_away_costs_no_delivery_and_no_time(
    calcom, start_web, broker, redis_url, work, how
):
    web = start_web(REDIS_URL=redis_url)
    assert web.tell("call_before").status == 200
    booking = calcom.web_book("open", start=at(10))
    getattr(broker, how)()
    answers = [
        web.tell("call_during1"),
        web.announce("BOOKING_CREATED", booking.uid),
        web.tell("call_during2"),
        web.tell("call_during2"),
    ]
    assert [answer.status for answer in answers] == [200] * 4
    assert max(answer.seconds for answer in answers) < WITHIN_SECONDS
    assert [status for status, _ in states()] == ["received"] * 4
    broker.restore()
    # What Beat has done every few seconds.
    work_stored_deliveries()
    assert states() == [("processed", 1)] * 4
    assert set(Call.objects.values_list("retell_call_id", flat=True)) == {
        "call_before", "call_during1", "call_during2",
    }  # fmt: skip
    assert Appointment.objects.get().calcom_booking_uid == booking.uid


def test_a_web_server_that_starts_without_a_broker_takes_deliveries(start_web, broker, redis_url, work):
    broker.cut()
    web = start_web(REDIS_URL=redis_url)
    answers = [web.tell(f"call_alone{number}") for number in range(3)]
    assert [answer.status for answer in answers] == [200] * 3
    assert max(answer.seconds for answer in answers) < WITHIN_SECONDS
    work_stored_deliveries()
    assert is_all_processed(3)


def test_workers_are_woken_again_once_the_broker_is_back(start_web, broker, redis_url, celery_worker_process):
    """The worker reaches the broker all the time; whoever takes the deliveries does not."""
    web = start_web(REDIS_URL=redis_url)
    assert web.tell("call_0").status == 200
    wait_for(lambda: is_all_processed(1))
    broker.cut()
    assert web.tell("call_1").status == 200
    time.sleep(1)  # the wake-up is tried, and fails
    assert [status for status, _ in states()] == ["processed", "received"]
    broker.restore()
    # The first may still be sent on the connection that was cut: the sweep is for that.
    for number in (2, 3):
        assert web.tell(f"call_{number}").status == 200
        time.sleep(0.2)
    wait_for(lambda: is_all_processed(4), seconds=10)


def test_a_sweep_asked_of_a_real_worker_works_what_waited(sender, start_web, celery_worker_process):
    web = start_web(REDIS_URL="redis://127.0.0.1:1/0")
    for number in range(12):
        assert web.tell(f"call_swept{number}").status == 200
    assert states() == [("received", 0)] * 12
    work_stored_deliveries.delay()  # by Beat
    wait_for(lambda: is_all_processed(12))


# --- A database that refuses --------------------------------------------------------------------------------


@pytest.mark.parametrize("error", ["raise_exception", "unique_violation", "disk_full"])
def test_what_could_not_be_stored_is_not_acknowledged_and_is_taken_when_retell_repeats_it(
    sender, work, refusing, error
):
    refusing.add("webhook_events", "INSERT", text="refused", error=error)
    for _ in range(4):  # Retell's first try and its three repeats
        assert sender.tell("call_refused").status == 503
    assert not WebhookEvent.objects.exists()
    refusing.drop()
    assert sender.tell("call_refused").status == 200
    work()
    assert states() == [("processed", 1)]
    assert Call.objects.get().retell_call_id == "call_refused"


def test_what_cal_com_could_not_deliver_is_lost_and_the_next_event_brings_the_booking(
    calcom, announced, work, refusing, verdict
):
    """Cal.com neither repeats it nor holds the booking up; what it does next is news of the whole booking."""
    refusing.add("webhook_events", "INSERT", text="refused")
    booking = calcom.web_book("open", start=at(10))
    assert [delivery.status for delivery in calcom.webhooks.deliveries] == [503]
    assert booking.status == "accepted"
    refusing.drop()
    assert work().worked == 0
    assert not Appointment.objects.exists()
    moved = calcom.web_reschedule(booking.uid, at(11))
    work()
    assert Appointment.objects.get().calcom_booking_uid == moved.uid
    verdict()


def test_our_own_booking_stands_though_its_echo_could_not_be_stored(
    calcom, announced, salon, sender, refusing, verdict, tmp_path
):
    refusing.add("webhook_events", "INSERT", text="refused")
    server = WebServer(tree=ProcessTree(log_dir=tmp_path))
    server.address = Address(host=sender.host, port=sender.port)
    assert RemotePhone(company=salon, server=server).book(at(10)).code == "booked"
    assert [delivery.status for delivery in calcom.webhooks.deliveries] == [503]
    assert Appointment.objects.get().status == "scheduled"
    verdict()


def test_a_refusal_that_cannot_be_counted_is_still_a_refusal(salon, sender, refusing):
    refusing.add("refused_deliveries", "INSERT", text="refused")
    signed = retell_signature.sign(b"{}", "of somebody else", now_ms=time.time_ns() // 1_000_000)
    assert sender.post("/retell/events", b"{}", {"X-Retell-Signature": signed}).status == 401


# --- Forgetting ---------------------------------------------------------------------------------------------


@pytest.fixture
def stored(salon: Company) -> Callable[..., WebhookEvent]:
    def store(*, days: float, status: str = "processed", **values: Any) -> WebhookEvent:
        received = timezone.now() - dt.timedelta(days=days)
        event: WebhookEvent = WebhookEventFactory(
            company=salon, received_at=received, due_at=received, status=status,
            headers={"User-Agent": "node"}, **values,
        )  # fmt: skip
        return event

    return store


def test_what_was_said_is_forgotten_after_its_time_and_what_waits_is_kept(stored, settings):
    settings.WEBHOOK_BODY_DAYS = 30
    old = {status: stored(days=31, status=status) for status in WebhookEvent.Status.values}
    young = stored(days=29)
    purge_deliveries()
    kept = {event.pk for event in WebhookEvent.objects.exclude(body="")}
    assert kept == {old["received"].pk, old["failed"].pk, young.pk}
    for event in WebhookEvent.objects.filter(body=""):
        assert event.headers == {}
        assert event.webhook_id, "that it came is kept"
    assert WebhookEvent.objects.count() == len(old) + 1
    settings.WEBHOOK_BODY_DAYS = 28
    purge_deliveries()
    young.refresh_from_db()
    assert young.body == ""


def test_a_delivery_that_was_forgotten_is_still_known_and_not_worked_again(sender, work):
    assert sender.tell("call_old").status == 200
    work()
    WebhookEvent.objects.update(received_at=timezone.now() - dt.timedelta(days=100))
    purge_deliveries()
    assert WebhookEvent.objects.get().body == ""
    assert sender.tell("call_old", transcript="Something else.").status == 200
    assert deliveries.replay(WebhookEvent.objects.all()) == 0
    work()
    assert states() == [("processed", 1)]
    assert "Something else." not in Call.objects.get().transcript


def test_what_somebody_has_worked_again_in_this_moment_is_not_forgotten(stored):
    stored(days=40)
    with just_before('UPDATE "webhook_events"', lambda: deliveries.replay(WebhookEvent.objects.all())):
        purge_deliveries()
    event = WebhookEvent.objects.get()
    assert event.status == "received"
    assert event.body, "it is what there is to work"


def test_that_a_repetition_says_something_else_is_written_down_and_nothing_else_is(sender, stored, caplog):
    stored(days=40, body="")  # whatever it was, it is forgotten
    stored(days=1, body="of another")

    def written() -> int:
        return str(caplog.text).count("delivery.repeated_differently")

    for transcript, times in (("Hello.", 0), ("Hello.", 0), ("Good-bye.", 1)):
        assert sender.tell("call_1", transcript=transcript).status == 200
        assert written() == times
    assert WebhookEvent.objects.count() == 3
    WebhookEvent.objects.update(body="")
    assert sender.tell("call_1", transcript="Good-bye.").status == 200
    assert written() == 1, "who has forgotten what was said first cannot tell"


def test_more_than_one_batch_is_forgotten(stored):
    for _ in range(5):
        stored(days=40)
    before = timezone.now() - dt.timedelta(days=30)
    assert [deliveries.purge(before=before, limit=2) for _ in range(4)] == [2, 2, 1, 0]
    assert not WebhookEvent.objects.exclude(body="").exists()


def test_no_caller_waits_until_thousands_of_bodies_are_forgotten(salon):
    received = timezone.now() - dt.timedelta(days=40)
    WebhookEvent.objects.bulk_create(
        WebhookEventFactory.build_batch(500, company=salon, received_at=received, status="processed")
    )
    forgotten: list[int] = []

    def count(execute: Callable[..., Any], sql: str, params: Any, many: bool, context: Any) -> Any:
        result = execute(sql, params, many, context)
        if sql.startswith("UPDATE"):
            forgotten.append(context["cursor"].rowcount)
        return result

    with connection.execute_wrapper(count):
        purge_deliveries()
    assert sum(forgotten) == 500
    assert max(forgotten) <= 200, "in one transaction, in which nobody else can write on SQLite"


# --- How often, and how long


@pytest.mark.django_db(transaction=True)
def test_a_delivery_that_fails_waits_an_hour_at_most_and_keeps_why_but_not_who():
    now = timezone.now()
    WebhookEventFactory(due_at=now)
    for number in range(1, deliveries.MOST_ATTEMPTS + 1):
        (event,) = deliveries.take_due(now=now)
        deliveries.fail(event, now=now, error="No answer for +49 151 12345678.")
        row = WebhookEvent.objects.get()
        assert row.error == "No answer for ***78."
        assert row.status == ("dead" if number == deliveries.MOST_ATTEMPTS else "failed")
        assert row.due_at - now <= 1.2 * deliveries.LONGEST_PAUSE
        now = row.due_at


@pytest.mark.django_db(transaction=True)
def test_what_is_only_looked_at_again_is_never_given_up():
    now = timezone.now()
    WebhookEventFactory(due_at=now)
    for _ in range(deliveries.MOST_ATTEMPTS + 2):
        (event,) = deliveries.take_due(now=now)
        deliveries.look_again(event, now=now, after=dt.timedelta(seconds=4), note="Not yet.")
        now += dt.timedelta(seconds=4)
    row = WebhookEvent.objects.get()
    assert (row.status, row.attempts) == ("received", 0)

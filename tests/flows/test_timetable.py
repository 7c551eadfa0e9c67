"""Beat's timetable: what each entry sends reaches a real worker, and does there what it is for."""

from __future__ import annotations

import datetime as dt
import time
import uuid
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest
from django.contrib.sessions.models import Session
from django.utils import timezone

from booking.models import Appointment, BookingAttempt, Service, SyncFailure
from calls.models import Call, WebhookEvent
from config.celery import app
from customers.models import Branch, Company
from sync import embedded_server
from sync.beat import LeasedScheduler
from sync.long_run import LongRun
from sync.models import ReconciliationRun
from sync.process_tree import ProcessTree, kill_group
from sync.tasks import purge_records, reconcile_all, reconcile_company, sync_services_of_all
from tests.factories import CallFactory, RefusedDeliveryFactory, WebhookEventFactory
from tests.flows.conftest import make_salon
from tests.flows.phone import at
from tests.servers.processes import CeleryWorkerProcess
from tests.servers.retell_api import RetellApi
from tests.waiting import wait_until

ENTRIES = (
    "settle-unknown-attempts",
    "work-deliveries",
    "close-never-ended-calls",
    "report-refused-requests",
    "reconcile",
    "audit",
    "sync-services",
    "purge-deliveries",
    "purge-records",
)
HOUR = dt.timedelta(hours=1)

IsDone = Callable[[], bool]


@pytest.fixture
def beat(transactional_db: None) -> Iterator[LeasedScheduler]:
    """Beat as it runs, with the timetable written into its tables; it sends when a test says so."""
    scheduler = LeasedScheduler(app=app)
    scheduler.tick()
    assert scheduler.holds_lease
    yield scheduler
    scheduler.close()


@pytest.fixture
def retell() -> Iterator[RetellApi]:
    with RetellApi() as api:
        yield api


@pytest.fixture
def worker_settings(retell: RetellApi) -> dict[str, str]:
    return {"RETELL_BASE_URL": retell.origin, "WEBHOOK_BODY_DAYS": "10"}


@pytest.fixture
def gaps(calcom, salon: Company, phone, retell: RetellApi) -> dict[str, Callable[[], IsDone]]:
    """For each entry something that only it takes care of, and how to see that it did."""

    def unknown_attempt() -> IsDone:
        calcom.faults.reset_connection(commit=True)
        calcom.faults.add("list", status=503, times=None)
        assert phone().book(at(10)).code == "checking"
        calcom.faults.clear()
        BookingAttempt.objects.update(lease_expires_at=timezone.now(), look_again_at=None)
        return Appointment.objects.filter(status="scheduled").exists

    def delivery_nobody_was_woken_for() -> IsDone:
        now = timezone.now()
        waiting = WebhookEventFactory(
            company=salon, event_type="call_unheard_of", received_at=now, due_at=now
        )
        return WebhookEvent.objects.filter(pk=waiting.pk).exclude(status="received").exists

    def call_whose_end_was_lost() -> IsDone:
        retell.keys.add(salon.retell_api_key)
        branch = Branch.objects.get(company=salon)
        call = CallFactory(branch=branch, status="ongoing", created_at=timezone.now() - 2 * HOUR)
        retell.calls[call.retell_call_id] = {
            "call_id": call.retell_call_id,
            "call_type": "phone_call",
            "call_status": "ended",
            "end_timestamp": 1794841582600,
        }
        return Call.objects.filter(pk=call.pk).exclude(status="ongoing").exists

    def requests_nobody_takes() -> IsDone:
        now = timezone.now()
        RefusedDeliveryFactory(company=salon, provider="retell", reason="mismatch", count=3, last_at=now)
        return SyncFailure.objects.filter(subject="refused:retell").exists

    def booking_nobody_told_us_of() -> IsDone:
        booking = calcom.web_book("open", start=at(12), silent=True)
        return Appointment.objects.filter(calcom_booking_uid=booking.uid).exists

    def call_without_its_appointment() -> IsDone:
        branch = Branch.objects.get(company=salon)
        CallFactory(branch=branch, status="ended", booking_confirmed=True, appointment_made=True)
        return SyncFailure.objects.filter(subject__startswith="audit:").exists

    def event_type_that_was_deleted() -> IsDone:
        massage = Service.objects.get(company=salon, slug="massage")
        del calcom.state.account().event_types[massage.calcom_event_type_id]
        return Service.objects.filter(pk=massage.pk, vanished_at__isnull=False).exists

    def body_that_is_too_old() -> IsDone:
        received = timezone.now() - 11 * 24 * HOUR
        old = WebhookEventFactory(company=salon, status="processed", received_at=received)
        return WebhookEvent.objects.filter(pk=old.pk, body="").exists

    def login_that_has_ended() -> IsDone:
        ended = Session.objects.create(session_key="ended", expire_date=timezone.now() - HOUR)
        return lambda: not Session.objects.filter(pk=ended.pk).exists()

    left = (
        unknown_attempt,
        delivery_nobody_was_woken_for,
        call_whose_end_was_lost,
        requests_nobody_takes,
        booking_nobody_told_us_of,
        call_without_its_appointment,
        event_type_that_was_deleted,
        body_that_is_too_old,
        login_that_has_ended,
    )
    return dict(zip(ENTRIES, left, strict=True))


def test_every_entry_of_the_timetable_has_its_work_done_by_a_worker(
    beat: LeasedScheduler,
    celery_worker_process: CeleryWorkerProcess,
    gaps: dict[str, Callable[[], IsDone]],
) -> None:
    timetable: dict[str, Any] = beat.schedule
    assert set(gaps) == set(app.conf.beat_schedule), "every entry is to be seen at work here"
    idle = []
    for name, leave in gaps.items():
        is_done = leave()
        celery_worker_process.wait_until_idle()
        assert not is_done(), f"something else than {name} did it"
        beat.apply_async(timetable[name])
        celery_worker_process.wait_until_idle()
        if not is_done():
            idle.append(name)
    assert not idle


def test_old_runs_are_forgotten_but_for_those_that_the_next_one_goes_on_from(calcom, salon: Company) -> None:
    """A company that was switched off for months is read on from where it was left."""
    old = timezone.now() - dt.timedelta(days=91)

    def ran(scope: str, outcome: str, *, company: Company = salon, **about: Any) -> int:
        run = ReconciliationRun.objects.create(
            company=company, scope=scope, outcome=outcome, **{"started_at": old, **about}
        )
        return run.pk

    other = make_salon(calcom, slug="other", number="+49308765432")
    ran("full", "complete")
    ran("changes", "complete")
    kept = {ran("full", "complete", cursor=old), ran("changes", "complete", cursor=old)}
    kept |= {ran("changes", "complete", company=other), ran("changes", "failed", started_at=timezone.now())}
    ran("changes", "failed")
    ran("full", "complete", is_dry_run=True)
    purge_records()
    assert set(ReconciliationRun.objects.values_list("pk", flat=True)) == kept


@pytest.mark.parametrize(("task", "hours"), [(reconcile_all, 1), (sync_services_of_all, 24)])
def test_what_is_sent_for_each_company_expires_when_the_next_is_due(
    salon: Company, celery_worker_process: CeleryWorkerProcess, task: Any, hours: int
) -> None:
    """Else a worker that was away for a weekend comes back to 48 comparisons of each company."""
    celery_worker_process.kill()
    task()
    (sent,) = celery_worker_process.queued("long")
    expires = dt.datetime.fromisoformat(sent["expires"])
    assert abs(expires - timezone.now() - hours * HOUR) < dt.timedelta(minutes=1)


def test_every_task_that_may_take_minutes_is_known_by_its_end() -> None:
    app.loader.import_default_modules()
    assert all(isinstance(app.tasks[name], LongRun) for name in app.conf.task_routes)


def test_a_comparison_that_has_ended_is_not_made_again_when_its_message_comes_again(
    calcom: Any, salon: Company, celery_worker_process: CeleryWorkerProcess
) -> None:
    """Redis gives out anew what it has heard nothing of for two minutes, also while that runs."""
    task_id = str(uuid.uuid4())
    for _ in range(3):
        reconcile_company.apply_async(kwargs={"company_id": salon.pk}, task_id=task_id)
        celery_worker_process.wait_until_idle()
    assert ReconciliationRun.objects.count() == 1
    reconcile_company.delay(company_id=salon.pk)
    celery_worker_process.wait_until_idle()
    assert ReconciliationRun.objects.count() == 2, "the next one is another"


@pytest.mark.soak
@pytest.mark.django_db(transaction=True)
def test_a_comparison_that_takes_long_is_made_once(
    calcom: Any, salon: Company, subprocess_environment: dict[str, str], tmp_path: Path
) -> None:
    calcom.faults.add("list", delay_before=7, times=None)
    environment = {**subprocess_environment, "TASK_VISIBILITY_TIMEOUT_SECONDS": "5"}
    with ProcessTree(log_dir=tmp_path) as tree:
        embedded_server.start_workers(tree, env=environment)
        reconcile_company.delay(company_id=salon.pk)
        wait_until(ReconciliationRun.objects.filter(outcome="complete").exists, seconds=60)
        # As long as it took to leave a copy, and for the copy to begin.
        time.sleep(20)
    assert ReconciliationRun.objects.count() == 1


@pytest.mark.soak
@pytest.mark.django_db(transaction=True)
def test_a_comparison_whose_worker_was_killed_is_made_by_the_next(
    calcom: Any, salon: Company, subprocess_environment: dict[str, str], tmp_path: Path
) -> None:
    calcom.faults.add("list", hang=True, times=None)
    environment = {**subprocess_environment, "TASK_VISIBILITY_TIMEOUT_SECONDS": "5"}
    with ProcessTree(log_dir=tmp_path) as tree:
        embedded_server.start_workers(tree, env=environment)
        reconcile_company.delay(company_id=salon.pk)
        wait_until(lambda: calcom.faults.hanging, seconds=60)
        for child in tree.children:
            kill_group(child.pid)
    calcom.faults.clear()
    with ProcessTree(log_dir=tmp_path) as tree:
        embedded_server.start_workers(tree, env=environment)
        wait_until(ReconciliationRun.objects.filter(outcome="complete").exists, seconds=60)

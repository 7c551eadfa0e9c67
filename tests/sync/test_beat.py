import datetime as dt
import json
import os
import sys
import time

import pytest
import redis
import time_machine
from celery import Celery
from django.conf import settings
from django.db import OperationalError, connection
from django.utils import timezone
from django_celery_beat.models import IntervalSchedule, PeriodicTask

from config.celery import app
from sync.beat import LeasedScheduler
from sync.models import BEAT_LEASE, Lease
from sync.process_tree import Child, ProcessTree
from tests.servers.processes import ROOT
from tests.waiting import wait_until

pytestmark = pytest.mark.django_db(transaction=True)

JOB = "tests.count"
# Of its own: the worker of other tests may still be running, and fetches from the default one.
QUEUE = "beat-tests"


@pytest.fixture
def broker():
    client = redis.Redis.from_url(
        settings.CELERY_BROKER_URL.replace("redis+socket://", "unix://").replace("virtual_host=", "db=")
    )
    client.delete(QUEUE)
    yield client
    client.delete(QUEUE)


@pytest.fixture
def job_every_second() -> PeriodicTask:
    every_second = IntervalSchedule.objects.create(every=1, period=IntervalSchedule.SECONDS)
    return PeriodicTask.objects.create(
        name="count", task=JOB, queue=QUEUE, interval=every_second, kwargs='{"key": "beat"}'
    )


def sent(broker: redis.Redis, job: str = JOB) -> int:
    """How often the job stands in the queue: no worker fetches it here."""
    messages = [json.loads(message) for message in broker.lrange(QUEUE, 0, -1)]
    return sum(message["headers"]["task"] == job for message in messages)


def start_beat(tree: ProcessTree, name: str, env: dict[str, str]) -> Child:
    command = [sys.executable, "-m", "celery", "--app", "config", "beat", "--loglevel", "INFO", "--pidfile="]
    return tree.start(name, command, env={**env, "BEAT_LEASE_SECONDS": "3"}, cwd=ROOT)


def assert_does_not_hold(scheduler: LeasedScheduler) -> None:
    assert not scheduler.holds_lease


def holder_pid() -> int:
    holder = Lease.objects.filter(name=BEAT_LEASE).values_list("holder", flat=True).first()
    return int(holder.split(":")[1]) if holder else 0


def test_two_beats_send_each_job_once_and_the_second_goes_on_when_the_first_is_killed(
    broker, job_every_second, subprocess_environment, tmp_path
):
    with ProcessTree(log_dir=tmp_path) as tree:
        beats = {}
        for name in ("one", "two"):
            child = start_beat(tree, name, subprocess_environment)
            beats[child.pid] = child
        first = wait_until(holder_pid)
        wait_until(lambda: sent(broker) >= 1)
        started, before = time.monotonic(), sent(broker)
        time.sleep(5)
        passed, runs = time.monotonic() - started, sent(broker) - before
        # Ungoverned, two schedulers would have sent about twice as many as seconds went by.
        assert passed - 2 <= runs <= passed + 1

        os.kill(first, 9)
        second = wait_until(lambda: holder_pid() not in (0, first) and holder_pid())
        assert second in beats
        before = sent(broker)
        wait_until(lambda: sent(broker) > before)
        job_every_second.refresh_from_db()
        assert job_every_second.total_run_count >= runs


def test_without_its_database_beat_sends_nothing_and_goes_on_when_it_is_back(broker, job_every_second):
    scheduler = LeasedScheduler(app=app)
    scheduler.tick()
    assert scheduler.holds_lease
    assert Lease.objects.get(name=BEAT_LEASE).holder == scheduler.holder
    time.sleep(1.1)
    before = sent(broker)

    def refuse(execute, sql, params, many, context):
        raise OperationalError("server closed the connection unexpectedly")

    with connection.execute_wrapper(refuse):
        for _ in range(3):
            assert scheduler.tick() == scheduler.max_interval
        assert_does_not_hold(scheduler)
    assert sent(broker) == before

    wait_until(lambda: scheduler.tick() is not None and sent(broker) > before, seconds=5)
    assert scheduler.holds_lease


def test_a_beat_that_does_not_hold_the_lease_writes_no_timetable_and_sends_nothing(broker, job_every_second):
    holder, other = LeasedScheduler(app=app), LeasedScheduler(app=app)
    holder.tick()
    before = sent(broker)  # on a slow machine it is due already
    stored = list(PeriodicTask.objects.values_list("name", "date_changed").order_by("name"))
    assert {name for name, _ in stored} == {"count", *app.conf.beat_schedule}
    time.sleep(1.1)
    for _ in range(3):
        assert other.tick() == other.max_interval
    assert sent(broker) == before
    assert list(PeriodicTask.objects.values_list("name", "date_changed").order_by("name")) == stored


def test_nobody_switches_a_job_off_in_the_admin_which_no_later_beat_would_switch_on_again(
    broker, job_every_second, admin_client
):
    LeasedScheduler(app=app).tick()
    hourly = PeriodicTask.objects.get(name="reconcile")
    pages = "/admin/django_celery_beat/periodictask/"
    assert hourly.name in admin_client.get(pages).content.decode()
    assert admin_client.get(f"{pages}{hourly.pk}/change/").status_code == 200
    admin_client.post(pages, {"action": "disable_tasks", "_selected_action": [hourly.pk]})
    for page in (f"{pages}{hourly.pk}/change/", f"{pages}{hourly.pk}/delete/", f"{pages}add/"):
        assert admin_client.post(page, {"name": hourly.name, "task": "x", "post": "yes"}).status_code == 403
    LeasedScheduler(app=app).tick()
    hourly.refresh_from_db()
    assert hourly.enabled
    assert admin_client.get("/admin/django_celery_beat/crontabschedule/").status_code == 404


def test_a_beat_that_stops_gives_its_lease_back_at_once(broker, job_every_second):
    one, two = LeasedScheduler(app=app), LeasedScheduler(app=app)
    one.tick()
    two.tick()
    assert (one.holds_lease, two.holds_lease) == (True, False)
    one.close()
    two.tick()
    assert two.holds_lease


def test_what_an_earlier_version_had_in_its_timetable_is_sent_no_more(broker, job_every_second):
    """Under another name it would be sent twice from now on, and without its task for nothing."""
    earlier = Celery("earlier")
    earlier.config_from_object("django.conf:settings", namespace="CELERY")
    every_second = {"task": "tests.gone", "schedule": 1.0, "options": {"queue": QUEUE}}
    earlier.conf.beat_schedule = {**app.conf.beat_schedule, "gone": every_second}
    before = LeasedScheduler(app=earlier)
    wait_until(lambda: before.tick() is not None and sent(broker, "tests.gone") >= 1, seconds=5)
    before.close()

    scheduler = LeasedScheduler(app=app)
    scheduler.tick()
    no_more, own = sent(broker, "tests.gone"), sent(broker)
    # What a person has added in the admin goes on.
    wait_until(lambda: scheduler.tick() is not None and sent(broker) >= own + 2, seconds=5)
    assert sent(broker, "tests.gone") == no_more
    names = set(PeriodicTask.objects.values_list("name", flat=True))
    assert names == {"count", *app.conf.beat_schedule}


def test_a_beat_whose_clock_was_a_day_ahead_sends_again_once_that_is_set_right(broker, job_every_second):
    scheduler = LeasedScheduler(app=app)
    with time_machine.travel(timezone.now() + dt.timedelta(days=1), tick=True):
        wait_until(lambda: scheduler.tick() is not None and sent(broker) >= 1, seconds=5)
    before = sent(broker)
    wait_until(lambda: scheduler.tick() is not None and sent(broker) > before, seconds=5)
    job_every_second.refresh_from_db()
    assert job_every_second.last_run_at <= timezone.now()


def test_a_beat_started_after_the_clock_was_set_right_waits_for_no_time_of_the_wrong_one(
    broker, job_every_second
):
    with time_machine.travel(timezone.now() + dt.timedelta(days=1), tick=True):
        killed = LeasedScheduler(app=app)
        wait_until(lambda: killed.tick() is not None and sent(broker) >= 1, seconds=5)
    before = sent(broker)
    scheduler = LeasedScheduler(app=app)
    wait_until(lambda: scheduler.tick() is not None and sent(broker) > before, seconds=5)

"""How many deliveries are taken in, and how soon. Not timed tests: what is too slow is marked in the table.

What does fail: a delivery that is not acknowledged, not stored exactly once, or never worked.

The floor verifies the same signature and commits the same bytes as one row, and nothing else. Ours knows the
tenant and the delivery, wakes a worker, and has an index for whoever looks for what is due. A worker runs
beside the floor too, with nothing to do; what it does beside ours costs ours on a machine of two cores, so
the intake by itself is in the table as well.
"""

from __future__ import annotations

import sqlite3
import sys
import time
from dataclasses import dataclass
from pathlib import Path

import psycopg
import pytest

from sync.process_tree import Child
from tests.benchmarks.callers import slot
from tests.benchmarks.load import Result
from tests.benchmarks.series import Line, Series, interleave
from tests.benchmarks.stage import EVENT_TYPES, ROOT, Stage, Web, set_stage

pytestmark = pytest.mark.benchmark

OK = "HTTP/1.1 200"
AT_LEAST = {1: 0.45, 16: 0.40}
WORKED_WITHIN_SECONDS = 120
BOOKINGS = 10_000
BESIDE_SECONDS = 30


@dataclass
class Intake:
    """The program, the floor behind the same kind of server, and the worker while there is one."""

    stage: Stage
    ours: Web
    floor: Web
    next_call: int = 0
    worker: Child | None = None

    def first(self, *, concurrency: int, count: int) -> Result:
        """Deliveries that nobody has sent before."""
        self.next_call += count
        return self._send(self.ours, self.next_call - count, concurrency=concurrency, count=count)

    def again(self, *, concurrency: int, count: int) -> Result:
        """The ones that were sent last."""
        return self._send(self.ours, self.next_call - count, concurrency=concurrency, count=count)

    def bare(self, *, concurrency: int, count: int) -> Result:
        self.next_call += count
        return self._send(self.floor, self.next_call - count, concurrency=concurrency, count=count)

    def _send(self, web: Web, first: int, *, concurrency: int, count: int) -> Result:
        return self.stage.load(web, "event", concurrency=concurrency, count=count, first=first, expected=OK)

    def start_worker(self) -> None:
        self.worker = self.stage.tree.start(
            "worker",
            [
                sys.executable, "-m", "celery", "--app", "config", "worker", "--concurrency", "2",
                "--without-gossip", "--without-mingle", "--loglevel", "INFO",
            ],
            env=self.stage.environment, cwd=ROOT, stop_seconds=10,
        )  # fmt: skip
        log = self.worker.log
        self.stage.tree.wait_until(
            lambda: " ready." in log.read_text(errors="replace"), child=self.worker, seconds=40
        )

    def waiting(self) -> int:
        return self.ask("SELECT count(*) FROM webhook_events WHERE status <> 'processed'")

    def stored(self) -> int:
        return self.ask("SELECT count(*) FROM webhook_events")

    def ask(self, sql: str) -> int:
        """The one number it answers."""
        url = self.stage.environment.get("DATABASE_URL")
        if url:
            with psycopg.connect(url) as server:
                rows = server.execute(sql.encode()).fetchall()
        else:
            with sqlite3.connect(self.stage.folder / "slotkeeper.sqlite3", timeout=20) as file:
                rows = file.execute(sql).fetchall()
        return int(rows[0][0])

    def wait_until_worked(self) -> float:
        """Seconds."""
        started = time.monotonic()
        while left := self.waiting():
            assert time.monotonic() - started < WORKED_WITHIN_SECONDS, f"{left} deliveries were never worked"
            time.sleep(0.05)
        return time.monotonic() - started


@dataclass
class Record:
    """Puts lines under one heading of the table."""

    heading: str
    table: list[Line]

    def add(self, name: str, value: float, **facts: object) -> None:
        self.table.append(Line(stage=self.heading, name=name, value=value, **facts))  # type: ignore[arg-type]
        sys.stderr.write(f"  {name}: {value:.2f}\n")

    def add_intake(self, title: str, ours: Series, floor: Series, *, at_least: float | None = None) -> None:
        self.add(
            f"{title}: per second", ours.per_second, unit="/s", floor=floor.per_second,
            at_least_times=at_least, noise=ours.noise,
        )  # fmt: skip
        self.add(f"{title}: p50", ours.p50, floor=floor.p50, noise=ours.noise)
        self.add(f"{title}: p99", ours.p99, floor=floor.p99, noise=ours.noise)


@pytest.fixture
def _durable(request: pytest.FixtureRequest) -> None:
    if not request.config.getoption("--durable"):
        pytest.skip("without --durable PostgreSQL does not sync, and a commit costs nothing")


@pytest.mark.usefixtures("_durable")
def test_intake_on_postgresql_and_valkey(folder: Path, table: list[Line]) -> None:
    with set_stage("postgres", folder=folder) as stage:
        measure(stage, Record("intake on PostgreSQL + Valkey", table), targets=True)


@pytest.mark.usefixtures("_durable")
def test_intake_on_postgresql_beside_a_reconcile(folder: Path, table: list[Line]) -> None:
    with set_stage("postgres", folder=folder) as stage:
        intake = Intake(stage=stage, ours=stage.start_web(), floor=stage.start_web(floor="/store"))
        intake.first(concurrency=16, count=160)
        intake.start_worker()
        intake.wait_until_worked()
        beside_a_reconcile(intake, Record("intake beside a reconcile, PostgreSQL + Valkey", table))
        intake.wait_until_worked()


def test_intake_on_the_embedded_default(folder: Path, table: list[Line]) -> None:
    with set_stage("embedded", folder=folder) as stage:
        measure(stage, Record("intake on the embedded default", table), targets=False)


def measure(stage: Stage, record: Record, *, targets: bool) -> None:
    intake = Intake(stage=stage, ours=stage.start_web(), floor=stage.start_web(floor="/store"))
    for warm_up in (intake.first, intake.bare):
        warm_up(concurrency=16, count=160)
    sent = 160 + intake_by_itself(intake, record)
    intake.start_worker()
    record.add("a backlog is worked: per second", sent / intake.wait_until_worked(), unit="/s")
    sent += from_delivery_to_effect(intake, record)
    sent += intake_with_a_worker(intake, record, targets=targets)
    sent += duplicates(intake, record, targets=targets)
    intake.wait_until_worked()
    assert intake.stored() == sent


def intake_by_itself(intake: Intake, record: Record) -> int:
    sent = 0
    for concurrency, count, rounds, title in ((1, 150, 3, "1 at a time"), (16, 480, 3, "16 at once")):
        measured = interleave(
            rounds,
            floor=lambda c=concurrency, n=count: intake.bare(concurrency=c, count=n),  # type: ignore[misc]
            ours=lambda c=concurrency, n=count: intake.first(concurrency=c, count=n),  # type: ignore[misc]
        )
        record.add_intake(f"nobody works them, {title}", measured["ours"], measured["floor"])
        sent += rounds * count
    return sent


def intake_with_a_worker(intake: Intake, record: Record, *, targets: bool) -> int:
    """Each run ends when all of it is worked: no run inherits another one's backlog."""
    sent = 0
    for concurrency, count, rounds, title in ((1, 150, 4, "1 at a time"), (16, 480, 4, "16 at once")):

        def ours(c: int = concurrency, n: int = count) -> Result:
            result = intake.first(concurrency=c, count=n)
            intake.wait_until_worked()
            return result

        measured = interleave(
            rounds,
            floor=lambda c=concurrency, n=count: intake.bare(concurrency=c, count=n),  # type: ignore[misc]
            ours=ours,
        )
        record.add_intake(
            f"picked up by a worker, {title}", measured["ours"], measured["floor"],
            at_least=AT_LEAST[concurrency] if targets else None,
        )  # fmt: skip
        sent += rounds * count
    return sent


def duplicates(intake: Intake, record: Record, *, targets: bool) -> int:
    """A duplicate beside the first delivery of the same bytes: the floor here is the first delivery."""
    sent = 0
    for concurrency, count, rounds, title in ((1, 150, 4, "1 at a time"), (16, 480, 3, "16 at once")):
        measured = {"first": Series(), "again": Series()}
        for _ in range(rounds):
            measured["first"].runs.append(intake.first(concurrency=concurrency, count=count))
            intake.wait_until_worked()
            measured["again"].runs.append(intake.again(concurrency=concurrency, count=count))
        record.add_intake(
            f"duplicate beside a first delivery, {title}", measured["again"], measured["first"],
            at_least=1.0 if targets else None,
        )  # fmt: skip
        sent += rounds * count
    return sent


def from_delivery_to_effect(intake: Intake, record: Record) -> int:
    """Nothing else going on: the wake-up, the broker, the worker, the effect."""
    before = intake.ask("SELECT max(id) FROM webhook_events")
    for _ in range(15):
        intake.first(concurrency=1, count=1)
        intake.wait_until_worked()
        time.sleep(0.1)
    between = (
        "extract(epoch FROM processed_at - received_at) * 1000"
        if "DATABASE_URL" in intake.stage.environment
        else "(julianday(processed_at) - julianday(received_at)) * 86400000"
    )
    slowest = intake.ask(f"SELECT max({between}) FROM webhook_events WHERE id > {before}")
    record.add("from stored to worked, slowest of 15", slowest, at_most=2000)
    return 15


def beside_a_reconcile(intake: Intake, record: Record) -> None:
    """All of the bookings are news to us, so each of them is imported: more than an hour brings. The run is
    not waited for; how far it came is in the table.
    """
    stage = intake.stage
    for number in range(BOOKINGS):
        stage.calcom.seed_booking(
            EVENT_TYPES["direct"], start=slot(number), name=f"Web {number}", email=f"web{number}@web.test"
        )
    intake.ask("UPDATE companies SET heal_daily_limit = 1000000 RETURNING 1")
    run = stage.tree.start(
        "reconcile",
        [sys.executable, "manage.py", "reconcile", "--company", "bench", "--full", "--json"],
        env=stage.environment, cwd=ROOT, stop_seconds=15,
    )  # fmt: skip
    imported = "SELECT count(*) FROM appointments WHERE source = 'calcom'"
    stage.tree.wait_until(lambda: intake.ask(imported) > 0, child=run, seconds=60)
    measured = {1: Series(), 16: Series()}
    until = time.monotonic() + BESIDE_SECONDS
    while time.monotonic() < until:
        for concurrency, count in ((1, 100), (16, 320)):
            measured[concurrency].runs.append(intake.first(concurrency=concurrency, count=count))
            intake.wait_until_worked()
    assert run.process.poll() is None, f"the reconcile had ended: {run.log.read_text()[-2000:]}"
    record.add("imported by the reconcile meanwhile", intake.ask(imported), unit="")
    for concurrency, title in ((1, "1 at a time"), (16, "16 at once")):
        series = measured[concurrency]
        record.add(f"beside a reconcile, {title}: p99", series.p99, at_most=100, noise=series.noise)
        record.add(f"beside a reconcile, {title}: per second", series.per_second, unit="/s")
    stage.tree.stop_child(run)

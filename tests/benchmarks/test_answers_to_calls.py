"""How long a caller waits for us. Not timed tests: what is too slow is marked in the table and fails nothing.

What does fail: a request that is not answered as it should be, a replay that asks Cal.com.
"""

from __future__ import annotations

import socket
import statistics
import sys
import time
from dataclasses import dataclass, replace
from pathlib import Path

import pytest
from django.db import connection
from django.test.utils import CaptureQueriesContext

from booking.calcom.simulator.server import Simulator
from tests.benchmarks.callers import Callers
from tests.benchmarks.load import receive
from tests.benchmarks.series import Line, Series, interleave, percentile
from tests.benchmarks.stage import RETELL_KEY, Stage, Web, set_stage
from tests.flows.conftest import make_salon
from tests.flows.phone import Phone, at

pytestmark = pytest.mark.benchmark

BOOKED = '"code":"booked"'
REPLAYED = '"replayed":true'
OK = '"code":"ok"'
SLOW_UPSTREAM = 0.150
STARTED = time.monotonic()


@dataclass
class Served:
    """The program and the two floors behind one kind of server."""

    ours: Web
    book_floor: Web

    @property
    def read_floor(self) -> Web:
        return replace(self.book_floor, hook="/read")


@dataclass
class Record:
    """Puts lines under one heading of the table."""

    heading: str
    table: list[Line]

    def add(self, name: str, value: float, **facts: object) -> None:
        line = Line(stage=self.heading, name=name, value=value, **facts)  # type: ignore[arg-type]
        self.table.append(line)
        sys.stderr.write(f"  {time.monotonic() - STARTED:4.0f} s  {name}: {value:.2f}\n")


def test_on_postgresql_and_valkey(folder: Path, table: list[Line], request: pytest.FixtureRequest) -> None:
    if not request.config.getoption("--durable"):
        pytest.skip("without --durable PostgreSQL does not sync, and a commit costs nothing")
    with set_stage("postgres", folder=folder) as stage:
        served = serve(stage)
        record = Record("PostgreSQL + Valkey, granian", table)
        one = book_one_at_a_time(stage, served, record, rounds=4, count=80, targets=True)
        book_sixteen_at_once(stage, served, record, one["direct"], rounds=3, count=250, targets=True)
        book_at_a_slow_upstream(stage, served, record, targets=True)
        replay(stage, served, record, rounds=4, count=150, targets=True)
        cached_availability(stage, served, record, rounds=3, count=100)
        stage.stop_web(served.ours)
        first_request_after_a_start(stage, record, one["direct"], targets=True)
        stage.stop_web(served.book_floor)
        served = serve(stage, "gunicorn")
        record = Record("PostgreSQL + Valkey, gunicorn gthread for comparison", table)
        one = book_one_at_a_time(stage, served, record, rounds=2, count=60)
        book_sixteen_at_once(stage, served, record, one["direct"], rounds=2, count=120)
        replay(stage, served, record, rounds=2, count=150)


def test_on_the_embedded_default(folder: Path, table: list[Line]) -> None:
    with set_stage("embedded", folder=folder) as stage:
        served = serve(stage)
        record = Record("embedded default: SQLite + Valkey, granian", table)
        one = book_one_at_a_time(stage, served, record, rounds=3, count=60)
        book_sixteen_at_once(stage, served, record, one["direct"], rounds=2, count=120)
        book_at_a_slow_upstream(stage, served, record)
        replay(stage, served, record, rounds=3, count=120)
        cached_availability(stage, served, record, rounds=2, count=80)
        stage.stop_web(served.ours)
        first_request_after_a_start(stage, record, one["direct"])


@pytest.mark.django_db(transaction=True)
def test_queries_of_a_replay(table: list[Line]) -> None:
    """Counted in this process; what they cost is measured behind a real server."""
    with Simulator() as calcom:
        phone = Phone(company=make_salon(calcom))
        assert phone.book(at(10)).code == "booked"
        asked = len(calcom.log)
        with CaptureQueriesContext(
            connection,
        ) as queries:
            assert phone.book(at(10)).body["replayed"]
        assert len(calcom.log) == asked, "a replay asked Cal.com"
    Record(f"{connection.vendor}, in process", table).add(
        "queries of a replay", len(queries), unit="", at_most=3
    )


def serve(stage: Stage, server: str = "granian") -> Served:
    """Start both and warm every thread: what the first requests cost is measured by itself."""
    served = Served(ours=stage.start_web(server), book_floor=stage.start_web(server, floor="/book"))
    for web in (served.ours, served.book_floor):
        stage.load(web, "book", concurrency=16, count=64, expected=BOOKED)
    return served


def book_one_at_a_time(
    stage: Stage, served: Served, record: Record, *, rounds: int, count: int, targets: bool = False
) -> dict[str, Series]:
    measured = interleave(
        rounds,
        direct=lambda: stage.load_simulator(concurrency=1, count=count),
        floor=lambda: stage.load(served.book_floor, "book", concurrency=1, count=count, expected=BOOKED),
        ours=lambda: stage.load(served.ours, "book", concurrency=1, count=count, expected=BOOKED),
    )
    upstream, floor, ours = measured["direct"].p50, measured["floor"], measured["ours"]
    record.add("simulator asked directly, 1 at a time, p50", upstream, noise=measured["direct"].noise)
    record.add(
        "book, 0 ms upstream, 1 at a time: overhead p50", ours.p50 - upstream, floor=floor.p50 - upstream,
        at_most_times=3 if targets else None, noise=ours.noise,
    )  # fmt: skip
    record.add(
        "book, 0 ms upstream, 1 at a time: overhead p99", ours.p99 - upstream, floor=floor.p99 - upstream,
        at_most=25 if targets else None, noise=ours.noise,
    )  # fmt: skip
    per_second(record, "book, 0 ms upstream, 1 at a time", ours, floor)
    record.add("load generator, of that: processor time per request", ours.generator_ms)
    return measured


def book_sixteen_at_once(
    stage: Stage, served: Served, record: Record, direct: Series, *,
    rounds: int, count: int, targets: bool = False,
) -> None:  # fmt: skip
    opened = stage.calcom.connections_opened
    measured = interleave(
        rounds,
        floor=lambda: stage.load(served.book_floor, "book", concurrency=16, count=count, expected=BOOKED),
        ours=lambda: stage.load(served.ours, "book", concurrency=16, count=count, expected=BOOKED),
    )
    opened = stage.calcom.connections_opened - opened
    floor, ours = measured["floor"], measured["ours"]
    record.add(
        "book, 0 ms upstream, 16 at once: overhead p50", ours.p50 - direct.p50,
        floor=floor.p50 - direct.p50, noise=ours.noise,
    )  # fmt: skip
    record.add(
        "book, 0 ms upstream, 16 at once: overhead p99", ours.p99 - direct.p50,
        floor=floor.p99 - direct.p50, at_most=100 if targets else None, noise=ours.noise,
    )  # fmt: skip
    per_second(record, "book, 0 ms upstream, 16 at once", ours, floor)
    record.add(
        "new connections to Cal.com per booking", opened / ours.requests, unit="",
        at_most=0.1 if targets else None,
    )  # fmt: skip


def book_at_a_slow_upstream(stage: Stage, served: Served, record: Record, *, targets: bool = False) -> None:
    stage.upstream_takes(SLOW_UPSTREAM)
    try:
        for concurrency, count, title in ((1, 15, "1 at a time"), (16, 160, "16 at once")):
            measured = interleave(
                2,
                direct=lambda: stage.load_simulator(concurrency=1, count=5),
                floor=lambda c=concurrency, n=count: stage.load(  # type: ignore[misc]
                    served.book_floor, "book", concurrency=c, count=n, expected=BOOKED
                ),
                ours=lambda c=concurrency, n=count: stage.load(  # type: ignore[misc]
                    served.ours, "book", concurrency=c, count=n, expected=BOOKED
                ),
            )
            upstream, floor, ours = measured["direct"].p50, measured["floor"], measured["ours"]
            limits = {1: 25.0, 16: 100.0}
            record.add(
                f"book, 150 ms upstream, {title}: overhead p50", ours.p50 - upstream,
                floor=floor.p50 - upstream, noise=ours.noise,
            )  # fmt: skip
            record.add(
                f"book, 150 ms upstream, {title}: overhead p99", ours.p99 - upstream,
                floor=floor.p99 - upstream, at_most=limits[concurrency] if targets else None,
                noise=ours.noise,
            )  # fmt: skip
            per_second(record, f"book, 150 ms upstream, {title}", ours, floor)
    finally:
        stage.upstream_takes(0.0)


def replay(
    stage: Stage, served: Served, record: Record, *, rounds: int, count: int, targets: bool = False
) -> None:
    first = stage.take_slots("ours", 16)
    stage.load(served.ours, "book", concurrency=1, count=16, first=first, expected=BOOKED)
    asked = len(stage.calcom.requests())
    for concurrency, times, title in ((1, 1, "1 at a time"), (16, 3, "16 at once")):
        measured = interleave(
            rounds,
            floor=lambda c=concurrency, n=count * times: stage.load(  # type: ignore[misc]
                served.read_floor, "replay", concurrency=c, count=n, first=first, expected=BOOKED
            ),
            ours=lambda c=concurrency, n=count * times: stage.load(  # type: ignore[misc]
                served.ours, "replay", concurrency=c, count=n, first=first, expected=REPLAYED
            ),
        )
        floor, ours = measured["floor"], measured["ours"]
        record.add(
            f"replay, {title}: p50", ours.p50, floor=floor.p50, noise=ours.noise,
            at_most_times=2.5 if targets and concurrency == 1 else None,
        )  # fmt: skip
        record.add(f"replay, {title}: p99", ours.p99, floor=floor.p99, noise=ours.noise)
        per_second(record, f"replay, {title}", ours, floor)
    assert len(stage.calcom.requests()) == asked, "a replay asked Cal.com"


def cached_availability(stage: Stage, served: Served, record: Record, *, rounds: int, count: int) -> None:
    stage.load(served.ours, "availability", concurrency=1, count=1, expected=OK)
    for concurrency, times, title in ((1, 1, "1 at a time"), (16, 2, "16 at once")):
        measured = interleave(
            rounds,
            floor=lambda c=concurrency, n=count * times: stage.load(  # type: ignore[misc]
                served.read_floor, "availability", concurrency=c, count=n, expected=BOOKED
            ),
            ours=lambda c=concurrency, n=count * times: stage.load(  # type: ignore[misc]
                served.ours, "availability", concurrency=c, count=n, expected=OK
            ),
        )
        floor, ours = measured["floor"], measured["ours"]
        record.add(f"cached availability, {title}: p50", ours.p50, floor=floor.p50, noise=ours.noise)
        record.add(f"cached availability, {title}: p99", ours.p99, floor=floor.p99, noise=ours.noise)
        per_second(record, f"cached availability, {title}", ours, floor)


def first_request_after_a_start(
    stage: Stage, record: Record, direct: Series, *, targets: bool = False
) -> None:
    """The slowest of the first requests on fresh connections: one of them is the first of each worker."""
    slowest = []
    for _ in range(3):
        web = stage.start_cold_web()
        slowest.append(max(_first_requests(stage, web, count=6)))
        stage.stop_web(web)
    record.add(
        "first requests after a start: overhead, slowest of 6", statistics.median(slowest) - direct.p50,
        at_most=50 if targets else None, noise=max(slowest) / min(slowest),
    )  # fmt: skip


def _first_requests(stage: Stage, web: Web, *, count: int) -> list[float]:
    callers = Callers(hook=web.hook, key=RETELL_KEY, run=stage.run)
    first = stage.take_slots("ours", count)
    requests = [callers.book(first + number) for number in range(count)]
    taken = []
    for request in requests:
        with socket.create_connection((web.address.host, web.address.port), timeout=20) as sock:
            started = time.perf_counter()
            sock.sendall(request)
            answer = receive(sock)
            taken.append((time.perf_counter() - started) * 1000)
            assert BOOKED.encode() in answer, answer
    return taken


def per_second(record: Record, title: str, ours: Series, floor: Series) -> None:
    record.add(f"{title}: per second", ours.per_second, unit="/s", floor=floor.per_second)


def test_a_percentile_is_an_observed_value() -> None:
    assert percentile([4.0, 1.0, 3.0, 2.0], 0.50) == 2.0
    assert percentile([4.0, 1.0, 3.0, 2.0], 0.99) == 4.0

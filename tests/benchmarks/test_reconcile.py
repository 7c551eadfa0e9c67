"""Comparing 100 000 appointments with 100 000 bookings: against the bare statements, and row by row.

Not timed tests: what is too slow is marked in the table. What does fail: a difference that is not found, or
found where there is none, and a request that is not for a whole page.

The floor parses the same pages, copies the same facts of them in one COPY and joins once, without a look at
what it copies: it trusts every word, and keeps no booking for whoever would repair it. The whole run reads
its pages over HTTP, from a server that does nothing but serve them (`listing.py`); the pauses that Cal.com's
rate limit asks for are left out, and said beside it.
"""

from __future__ import annotations

import datetime as dt
import gc
import json
import subprocess
import sys
import time
from collections.abc import Callable, Iterator, Sequence
from typing import Any

import orjson
import pytest
from django.db import connection
from django.utils import timezone

from booking import follow
from booking.calcom.client import PAGE, Page
from booking.calcom.objects import read_booking
from booking.models import Appointment
from customers.models import Company
from sync import reconcile
from sync.compare import Comparison
from sync.pages import compared
from tests.benchmarks.listing import EVENT_TYPE, LENGTH, STEP, Listing, ListingServer, uid
from tests.benchmarks.load import Result
from tests.benchmarks.series import Line, interleave
from tests.benchmarks.stage import ROOT
from tests.benchmarks.test_answers_to_calls import Record
from tests.factories import CompanyFactory, ServiceFactory

pytestmark = [pytest.mark.benchmark, pytest.mark.django_db(transaction=True), pytest.mark.timeout(900)]

BOOKINGS = 100_000
FEW = 10_000
ONE_BY_ONE = 2_000
ROUNDS = 5
STAGE = "Reconcile of 100 000 appointments, PostgreSQL"
AT_MOST_TIMES = 1.5
AT_LEAST_FASTER = 40
# A tenth of the bookings must not need noticeably less memory.
MORE_MEMORY_MB = 10


@pytest.fixture
def company() -> Company:
    if connection.vendor != "postgresql":
        pytest.skip("the bare statements are PostgreSQL's")
    company: Company = CompanyFactory(slug="big")
    ServiceFactory(company=company, calcom_event_type_id=EVENT_TYPE)
    return company


@pytest.fixture
def first() -> dt.datetime:
    return timezone.now().replace(minute=0, second=0, microsecond=0) + dt.timedelta(days=1)


def test_comparing(company: Company, first: dt.datetime, table: list[Line]) -> None:
    listing = Listing(count=BOOKINGS, first=first)
    pages = list(listing.pages())
    appointments(company, listing)
    planted = plant(company)
    # A real run holds one batch of pages at a time, not all of them for the collector to go through.
    gc.freeze()

    def ours() -> None:
        assert compare(company, pages, first=first) == planted

    def floor() -> None:
        assert bare(company, pages) == planted

    measured = interleave(ROUNDS, floor=lambda: timed(floor), ours=lambda: timed(ours))
    fast, lean = measured["ours"].p50 / 1000, measured["floor"].p50 / 1000
    sample = timed(lambda: one_by_one(company, pages, count=ONE_BY_ONE)).seconds
    loop = sample * BOOKINGS / ONE_BY_ONE
    record = Record(STAGE, table)
    record.add("compare, against orjson + COPY + one join", fast, unit="s", floor=lean,
               at_most_times=AT_MOST_TIMES, noise=measured["ours"].noise)  # fmt: skip
    record.add(f"row by row (of {ONE_BY_ONE}, extrapolated), against compare", loop, unit="s", floor=fast,
               at_least_times=AT_LEAST_FASTER)  # fmt: skip


def test_a_whole_run(
    company: Company, first: dt.datetime, subprocess_environment: dict[str, str], table: list[Line]
) -> None:
    record = Record(STAGE, table)
    peaks = {}
    for count in (FEW, BOOKINGS):
        execute("TRUNCATE appointments, reconciliation_runs, leases CASCADE")
        listing = Listing(count=count, first=first)
        appointments(company, listing)
        with ListingServer(list(listing.pages())) as calcom:
            Company.objects.filter(pk=company.pk).update(calcom_base_url=calcom.base_url)
            taken = run_once(company, subprocess_environment)
            asked = [query for query in calcom.asked if "afterStart" in query]
            changes = [query for query in calcom.asked if "afterUpdatedAt" in query]
        assert (taken["outcome"], taken["seen"], taken["left"]) == ("complete", count, 0)
        assert (taken["ended"], taken["healed"]) == (0, {})
        assert [int(query["skip"]) for query in asked] == list(range(0, count + 1, PAGE))
        assert {query["take"] for query in calcom.asked} == {str(PAGE)}
        assert len(changes) == 1
        assert taken["requests"] == len(asked) + len(changes)
        peaks[count] = taken["peak_mb"]
        record.add(f"whole run of {count}, pages over HTTP", taken["seconds"], unit="s")
        record.add(
            f"whole run of {count}: processor time of its process", taken["processor_seconds"], unit="s"
        )
        record.add(f"whole run of {count}: requests, of {PAGE} each", taken["requests"], unit="",
                   at_most=count / PAGE + 2)  # fmt: skip
        record.add(f"whole run of {count}: pauses for the rate limit left out", pauses(taken["requests"]),
                   unit="s")  # fmt: skip
        record.add(f"whole run of {count}: memory before it", taken["before_mb"], unit="MB")
        record.add(f"whole run of {count}: most memory", taken["peak_mb"], unit="MB")
    record.add("memory for ten times as many bookings", peaks[BOOKINGS] - peaks[FEW], unit="MB more",
               at_most=MORE_MEMORY_MB)  # fmt: skip


def compare(company: Company, pages: Sequence[bytes], *, first: dt.datetime) -> set[str]:
    """As a run compares, with nothing healed; the uids that differ, on whichever side."""
    now = timezone.now()
    found: set[str] = set()
    with Comparison(company=company, now=now) as comparison:
        for differences, _kept in compared(parsed(pages), comparison):
            found.update(difference.uid for difference in differences)
        missing = comparison.not_listed(start=first, end=first + BOOKINGS * STEP, before=now, limit=300)
        assert (comparison.seen, comparison.unreadable) == (BOOKINGS, 0)
    return found | {row.calcom_booking_uid or "" for row in missing}


def parsed(pages: Sequence[bytes]) -> Iterator[Page]:
    for page in pages:
        yield Page(bookings=orjson.loads(page)["data"], raw=page)


def bare(company: Company, pages: Sequence[bytes]) -> set[str]:
    with connection.cursor() as cursor:
        cursor.execute(
            "CREATE TEMPORARY TABLE bare (uid text, status text, starts_at timestamptz, ends_at timestamptz, "
            "is_absent boolean, was_moved boolean, event_type bigint, attempt text)"
        )
        with cursor.cursor.copy("COPY bare FROM STDIN") as copy:
            for page in pages:
                copy.write("".join([bare_line(booking) for booking in orjson.loads(page)["data"]]))
        cursor.execute(BARE_JOIN, [company.pk])
        uids = {uid for (uid,) in cursor.fetchall()}
        cursor.execute("DROP TABLE bare")
    return uids


def bare_line(booking: dict[str, Any]) -> str:
    return (
        f"{booking['uid']}\t{booking['status']}\t{booking['start']}\t{booking['end']}"
        f"\t{booking['attendees'][0]['absent']}\t{'rescheduledToUid' in booking}"
        f"\t{booking['eventTypeId']}\t{booking['metadata']['attempt_id']}\n"
    )


BARE_JOIN = f"""
SELECT coalesce(b.uid, a.calcom_booking_uid)
FROM bare b FULL JOIN (SELECT * FROM appointments WHERE company_id = %s) a ON a.calcom_booking_uid = b.uid
WHERE b.uid IS NULL
    OR (a.id IS NULL AND (b.attempt IS NOT NULL OR b.event_type = {EVENT_TYPE}))
    OR a.starts_at <> b.starts_at OR a.ends_at <> b.ends_at OR b.was_moved
    OR a.status <> CASE
        WHEN b.status = 'pending' THEN 'requested' WHEN b.status <> 'accepted' THEN 'cancelled'
        WHEN b.is_absent THEN 'no_show' WHEN b.ends_at <= now() THEN 'completed' ELSE 'scheduled' END
"""


def one_by_one(company: Company, pages: Sequence[bytes], *, count: int) -> None:
    """The obvious way: for each booking its row, and a look at the two."""
    now = timezone.now()
    for item in (item for page in parsed(pages[: count // PAGE]) for item in page.bookings):
        booking = read_booking(item)
        row = Appointment.objects.filter(company=company, calcom_booking_uid=booking.uid).first()
        if row is not None:
            follow.differences(row, booking, now=now)


def run_once(company: Company, environment: dict[str, str]) -> dict[str, Any]:
    done = subprocess.run(
        [sys.executable, "-m", "tests.benchmarks.reconcile_once", company.slug], cwd=ROOT, env=environment,
        stdin=subprocess.DEVNULL, capture_output=True, text=True, timeout=300, check=False,
    )  # fmt: skip
    assert done.returncode == 0, done.stdout + done.stderr
    taken: dict[str, Any] = json.loads(done.stdout.splitlines()[-1])
    return taken


def pauses(asked: int) -> float:
    """Seconds; with a key of its own for it, that nobody else uses up."""
    return asked * 60 / reconcile.PER_MINUTE_OWN


# --- Rows and time


def appointments(company: Company, listing: Listing) -> None:
    """What is listed, mirrored."""
    execute(
        f"""
        INSERT INTO appointments (company_id, service_id, starts_at, ends_at, status, source, sync_origin,
            calcom_sync_status, calcom_booking_uid, calcom_booking_id, idempotency_key, webhook_id,
            attendee_name, attendee_email, notes, sync_attempt_count, metadata, created_at, updated_at)
        SELECT {company.pk}, services.id, moment, moment + interval '{LENGTH}', 'scheduled', 'calcom',
            'calcom', 'synced', 'uid' || lpad(n::text, 19, '0'), n, gen_random_uuid(), '', 'Dana Whitfield',
            '', '', 0, '{{}}', now(), now()
        FROM services, generate_series(1, {listing.count}) n,
            LATERAL (SELECT timestamptz '{listing.first}' + (n - 1) * interval '{STEP}' AS moment) moments
        """
    )
    execute("ANALYZE appointments")
    execute("CHECKPOINT")


def plant(company: Company) -> set[str]:
    """Some of each difference, all over the listing."""
    rows = Appointment.objects.filter(company=company)
    at = {kind: [uid(n) for n in range(offset, BOOKINGS, 10_000)] for kind, offset in
          (("status", 3_001), ("time", 5_002), ("gone here", 7_003), ("gone there", 9_004))}  # fmt: skip
    rows.filter(calcom_booking_uid__in=at["status"]).update(status="requested")
    for row in rows.filter(calcom_booking_uid__in=at["time"]):
        rows.filter(pk=row.pk).update(ends_at=row.ends_at + dt.timedelta(minutes=5))
    rows.filter(calcom_booking_uid__in=at["gone here"]).delete()
    for number, row in enumerate(rows.filter(calcom_booking_uid__in=at["gone there"])):
        row.pk, row.calcom_booking_uid, row.idempotency_key = None, f"nowhere{number}", None
        row.save()
    Appointment.objects.filter(updated_at__lt=timezone.now()).update(
        updated_at=timezone.now() - dt.timedelta(hours=1)
    )
    return {
        *at["status"],
        *at["time"],
        *at["gone here"],
        *(f"nowhere{n}" for n in range(len(at["gone there"]))),
    }


def execute(sql: str) -> None:
    with connection.cursor() as cursor:
        cursor.execute(sql)


def timed(run: Callable[[], object]) -> Result:
    """One run as a series knows it."""
    gc.collect()
    began = time.perf_counter()
    run()
    seconds = time.perf_counter() - began
    return Result(latencies=[seconds * 1000], seconds=seconds)

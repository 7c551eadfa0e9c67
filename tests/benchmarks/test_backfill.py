"""Giving 100 000 calls their appointment: against the bare statements, and against one call at a time.

Not timed tests: what is too slow is marked in the table. What does fail: a call that is left without.
"""

from __future__ import annotations

import datetime as dt
import gc
import sys
import time
from collections.abc import Callable, Iterator
from uuid import UUID

import pytest
from django.db import connection, transaction
from django.utils import timezone

from booking import mirror
from booking.calcom.client import CalcomClient
from booking.calcom.objects import Attendee, Booking
from booking.models import Appointment
from calls.models import Call
from customers.models import Company
from sync.backfill import READ_AT_ONCE, BackfillRun, Report, backfill
from sync.lost_appointments import LostAppointments
from sync.lost_calls import chunks, lost_calls, read_calls
from sync.models import AuditEntry
from sync.remote_bookings import RemoteBookings
from sync.turn import NoTurn
from tests.benchmarks.series import Line
from tests.factories import BranchFactory, CompanyFactory, ServiceFactory

pytestmark = [pytest.mark.benchmark, pytest.mark.django_db(transaction=True), pytest.mark.timeout(900)]

CALLS = 100_000
ONE_BY_ONE = 1_000
STAGE = "Backfill of 100 000 calls, PostgreSQL"
# 0.6 times as fast.
MOST_TIMES = 1 / 0.6
WRITTEN = 'YYYY-MM-DD"T"HH24:MI:SS"+00:00"'
FIRST = dt.datetime(2027, 1, 4, 8, 0, tzinfo=dt.UTC)


@pytest.fixture
def company(request: pytest.FixtureRequest) -> Company:
    if connection.vendor != "postgresql":
        pytest.skip("the bare statements are PostgreSQL's")
    if not request.config.getoption("--durable"):
        pytest.skip("without --durable PostgreSQL does not sync, and a commit costs nothing")
    company: Company = CompanyFactory(slug="big")
    BranchFactory(company=company)
    ServiceFactory(company=company, calcom_event_type_id=101)
    return company


def test_linking_what_stands(company: Company, table: list[Line]) -> None:
    people(company)

    def lost() -> None:
        calls(company)
        execute(APPOINTMENTS)
        tidy()

    def loop() -> None:
        for appointment in appointments_of_first(company, ONE_BY_ONE):
            mirror.link_call(appointment, now=timezone.now())
            audited(appointment, "backfill.linked")

    bare = best_of(2, prepare=lost, run=lambda: execute(BARE_LINK))
    audited_bare = best_of(2, prepare=lost, run=lambda: execute(f"{BARE_LINK};{BARE_AUDIT}"))
    ours = best_of(2, prepare=lost, run=lambda: check(backfill(company=company), linked=CALLS))
    assert not lost_calls(company=company, since=None).exists()
    lost()
    one_by_one = seconds(loop) * CALLS / ONE_BY_ONE
    add(table, "link", bare=bare, audited_bare=audited_bare, ours=ours, one_by_one=one_by_one)


def test_creating_what_a_listing_shows(company: Company, table: list[Line]) -> None:
    people(company)

    def lost() -> None:
        calls(company)
        tidy()

    def ours() -> None:
        report = Report()
        run = run_of(company, report)
        decider = LostAppointments(company=company, now=timezone.now(), dry_run=False)
        for shown, chunk in zip(listed, chunks(run.calls, size=READ_AT_ONCE), strict=True):
            run.rebuild_batch(read_calls(chunk, company=company), decider, RemoteBookings(nobody, shown))
        check(report, created=CALLS)

    nobody = CalcomClient(base_url="http://127.0.0.1:9/v2", api_key="none")
    lost()
    listed = [bookings_of(first) for first in range(1, CALLS + 1, READ_AT_ONCE)]
    # A real run holds one chunk of bookings at a time, not all of them for the collector to go through.
    gc.freeze()
    execute("CREATE UNLOGGED TABLE listed (uid text, number bigint, start timestamptz)")
    try:
        with connection.cursor() as cursor, cursor.copy("COPY listed FROM STDIN") as copy:
            for booking in (booking for shown in listed for booking in shown):
                copy.write_row((booking.uid, booking.id, booking.start))
        execute("ANALYZE listed")
        bare = best_of(2, prepare=lost, run=lambda: execute(BARE_CREATE))
        audited_bare = best_of(2, prepare=lost, run=lambda: execute(f"{BARE_CREATE};{BARE_AUDIT}"))
    finally:
        execute("DROP TABLE listed")
    taken = best_of(2, prepare=lost, run=ours)
    lost()
    one_by_one = seconds(lambda: create_first(company, listed[0])) * CALLS / ONE_BY_ONE
    add(table, "create", bare=bare, audited_bare=audited_bare, ours=taken, one_by_one=one_by_one)


def add(
    table: list[Line], what: str, *, bare: float, audited_bare: float, ours: float, one_by_one: float
) -> None:
    lines = [
        Line(stage=STAGE, name=f"{what}: against the bare statement", value=ours, unit="s", floor=bare,
             at_most_times=MOST_TIMES),
        Line(stage=STAGE, name=f"{what}: against that and its audit entries", value=ours, unit="s",
             floor=audited_bare, at_most_times=MOST_TIMES),
        Line(stage=STAGE, name=f"{what}: against one call at a time / 50", value=ours, unit="s",
             at_most=one_by_one / 50),
        Line(stage=STAGE, name=f"{what}: one call at a time is so many times slower", value=one_by_one / ours,
             unit="x"),
    ]  # fmt: skip
    table += lines
    for line in lines:
        sys.stderr.write(f"  {line.name}: {line.value:.2f} {line.unit} (floor {line.floor or 0:.2f})\n")


def run_of(company: Company, report: Report) -> BackfillRun:
    return BackfillRun(company, since=None, dry_run=False, turn=NoTurn(), report=report, progress=None)


def check(report: Report, *, linked: int = 0, created: int = 0) -> None:
    assert (report.linked, report.created) == (linked, created)
    assert (report.skipped, report.errors) == ([], [])


def create_first(company: Company, shown: list[Booking]) -> None:
    """The obvious way: look, insert, link, for one call after the other."""
    service = company.services.get()
    branch = company.branches.get()
    by_uid = {booking.uid: booking for booking in shown}
    for call in Call.objects.order_by("pk").select_related("customer")[:ONE_BY_ONE]:
        details = call.booking_details or {}
        booking = by_uid[details["uid"]]
        if Appointment.objects.filter(calcom_booking_uid=booking.uid).exists():
            continue
        with transaction.atomic():
            appointment = Appointment.objects.create(
                company=company, branch=branch, customer=call.customer, service=service, call=call,
                starts_at=booking.start, ends_at=booking.end, status="scheduled", source="backfill_script",
                sync_origin="system", calcom_sync_status="synced", calcom_booking_uid=booking.uid,
                calcom_booking_id=booking.id, attendee_name="Anna",
            )  # fmt: skip
            mirror.link_call(appointment, now=timezone.now())
            audited(appointment, "backfill.created")


def audited(appointment: Appointment, action: str) -> None:
    AuditEntry.objects.create(
        company_id=appointment.company_id,
        action=action,
        appointment=appointment,
        call_id=appointment.call_id,
        calcom_booking_uid=appointment.calcom_booking_uid or "",
    )


def appointments_of_first(company: Company, number: int) -> Iterator[Appointment]:
    for call in Call.objects.filter(company=company, appointment=None).order_by("pk")[:number]:
        yield Appointment.objects.select_related("service", "customer").get(call=call)


def bookings_of(first: int) -> list[Booking]:
    return [
        Booking(
            id=number,
            uid=f"uid{number:019}",
            status="accepted",
            start=FIRST + dt.timedelta(minutes=30 * number),
            end=FIRST + dt.timedelta(minutes=30 * number + 30),
            event_type_id=101,
            created_at=FIRST,
            updated_at=FIRST,
            metadata={"call_id": f"call_{number}", "company": "big", "attempt_id": str(UUID(int=number))},
            attendees=(Attendee(name="Anna", email="", phone=f"+49151{number:08}"),),
        )
        for number in range(first, first + READ_AT_ONCE)
    ]


# --- Rows and time


def people(company: Company) -> None:
    execute(
        f"""
        INSERT INTO customers (id, company_id, name, phone, email, created_at, updated_at)
        SELECT n, {company.pk}, 'Anna', '+49151' || lpad(n::text, 8, '0'), '', now(), now()
        FROM generate_series(1, {CALLS}) n
        """
    )


def calls(company: Company) -> None:
    """As they are left by a lost appointment: confirmed, with what we wrote about it."""
    execute("TRUNCATE calls, appointments, audit_entries, leases CASCADE")
    execute(
        f"""
        INSERT INTO calls (id, company_id, retell_call_id, branch_id, customer_id, agent_id, from_number,
            to_number, direction, status, started_at, disconnection_reason, transcript, summary, analysis,
            booking_details, booking_confirmed, appointment_made, created_at, updated_at)
        SELECT n, {company.pk}, 'call_' || n, branches.id, n, '', '+49151' || lpad(n::text, 8, '0'),
            '+493012345678', 'inbound', 'ended', now(), '', repeat('words ', 30), '', '{{}}',
            jsonb_build_object(
                'service', services.slug, 'service_id', services.id,
                'start', to_char(timestamptz '{FIRST}' + n * interval '30 min', '{WRITTEN}'),
                'end', to_char(timestamptz '{FIRST}' + (n + 1) * interval '30 min', '{WRITTEN}'),
                'attendee', jsonb_build_object('name', 'Anna', 'phone', '+49151' || lpad(n::text, 8, '0'),
                    'email', ''),
                'uid', 'uid' || lpad(n::text, 19, '0')),
            TRUE, TRUE, now(), now()
        FROM generate_series(1, {CALLS}) n, branches, services
        """
    )


_COLUMNS = """
    company_id, branch_id, customer_id, service_id, call_id, starts_at, ends_at, status, source, sync_origin,
    calcom_sync_status, calcom_booking_uid, calcom_booking_id, idempotency_key, webhook_id, attendee_name,
    attendee_email, notes, sync_attempt_count, metadata, created_at, updated_at
"""
APPOINTMENTS = f"""
INSERT INTO appointments ({_COLUMNS})
SELECT company_id, branch_id, customer_id, (booking_details->>'service_id')::bigint, id,
    (booking_details->>'start')::timestamptz, (booking_details->>'start')::timestamptz + interval '30 min',
    'scheduled', 'retell', 'retell', 'synced', booking_details->>'uid', id, gen_random_uuid(), '', 'Anna', '',
    '', 0, '{{}}', now(), now()
FROM calls
"""
BARE_LINK = """
UPDATE calls SET appointment_id = appointments.id, appointment_made = TRUE, booking_confirmed = TRUE,
    customer_id = appointments.customer_id, updated_at = now()
FROM appointments
WHERE appointments.call_id = calls.id AND calls.booking_confirmed AND calls.appointment_id IS NULL
"""
BARE_CREATE = f"""
INSERT INTO appointments ({_COLUMNS})
SELECT company_id, branch_id, customer_id, (booking_details->>'service_id')::bigint, calls.id, listed.start,
    listed.start + interval '30 min', 'scheduled', 'backfill_script', 'system', 'synced', listed.uid,
    listed.number, gen_random_uuid(), '', 'Anna', '', '', 0, '{{}}', now(), now()
FROM calls JOIN listed ON listed.uid = calls.booking_details->>'uid'
WHERE calls.booking_confirmed AND calls.appointment_id IS NULL;
{BARE_LINK}
"""
BARE_AUDIT = """
INSERT INTO audit_entries (company_id, action, appointment_id, call_id, calcom_booking_uid, reason, details,
    created_at)
SELECT company_id, 'backfill.linked', id, call_id, calcom_booking_uid, '', '{}', now() FROM appointments
"""


def tidy() -> None:
    execute("ANALYZE calls")
    execute("ANALYZE appointments")
    execute("CHECKPOINT")


def execute(sql: str) -> None:
    with connection.cursor() as cursor:
        cursor.execute(sql)


def seconds(run: Callable[[], object]) -> float:
    started = time.perf_counter()
    run()
    return time.perf_counter() - started


def best_of(rounds: int, *, prepare: Callable[[], None], run: Callable[[], object]) -> float:
    taken = []
    for _ in range(rounds):
        prepare()
        taken.append(seconds(run))
    return min(taken)

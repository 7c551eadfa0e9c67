"""A few indexed queries per request: counted, so that one more is noticed."""

from __future__ import annotations

import pytest
from django.db import connection
from django.test.utils import CaptureQueriesContext

from booking import completer
from booking.models import BookingAttempt, Service
from calls.models import Call
from tests.factories import AppointmentFactory, BookingAttemptFactory, CallFactory
from tests.flows.phone import at


@pytest.fixture
def queries():
    """Statements, without the transactions, savepoints and settings around them."""

    def count(ask) -> int:
        with CaptureQueriesContext(connection) as captured:
            ask()
        words = ("BEGIN", "COMMIT", "ROLLBACK", "SAVEPOINT", "RELEASE", "PRAGMA")
        return sum(not query["sql"].startswith(words) for query in captured.captured_queries)

    return count


def test_a_replay_costs_three_queries_and_no_word_with_cal_com(calcom, phone, queries):
    caller = phone()
    caller.book(at(10))
    calcom.clear_log()
    assert queries(lambda: caller.book(at(10))) == 3
    assert not calcom.log


def test_a_booking_costs_a_fixed_number_of_queries(calcom, phone, queries):
    phone().book(at(9))  # the event type is learned, the customer and the branch are known
    caller = phone()
    caller.ask("list_services")
    # SQLite locks no rows; PostgreSQL stores the claim, and its outcome, in one statement each.
    assert queries(lambda: caller.book(at(10))) == (13 if connection.vendor == "sqlite" else 10)


def test_cached_availability_costs_five_queries(calcom, phone, queries):
    caller = phone()
    day = at(10).date().isoformat()
    caller.ask("check_availability", service="haircut", date=day)
    calcom.clear_log()
    assert queries(lambda: caller.ask("check_availability", service="haircut", date=day)) == 5
    assert not calcom.log


def test_the_number_of_services_costs_no_queries(calcom, phone, queries, salon):
    caller = phone()
    caller.ask("list_services")
    before = queries(lambda: caller.ask("list_services"))
    for number in range(30):
        Service.objects.create(
            company=salon,
            slug=f"s{number}",
            name=f"Service {number}",
            duration_minutes=30,
            calcom_event_type_id=1,
        )
    assert queries(lambda: caller.ask("list_services")) == before


def test_what_is_to_be_settled_is_found_by_index(salon):
    if connection.vendor != "postgresql":
        pytest.skip("SQLite uses no partial index for one side of an OR")
    settled = BookingAttemptFactory(state=BookingAttempt.State.SUCCEEDED)
    BookingAttempt.objects.bulk_create(
        BookingAttemptFactory.build_batch(
            2000, appointment=settled.appointment, state=BookingAttempt.State.SUCCEEDED
        )
    )
    with CaptureQueriesContext(connection) as captured:
        completer.settle_unknown()
    (due,) = [query["sql"] for query in captured.captured_queries if "ROW_NUMBER()" in query["sql"]]
    with connection.cursor() as cursor:
        cursor.execute("ANALYZE booking_attempts")  # a plan is made for the rows that PostgreSQL knows of
        cursor.execute("EXPLAIN " + due)
        plan = "\n".join(row[0] for row in cursor.fetchall())
    assert "attempt_open" in plan, plan
    assert "attempt_later_look" in plan, plan


def test_calls_that_lost_their_appointment_are_found_by_index(calcom, salon, run):
    """There are none, usually. PostgreSQL takes "confirmed" and "without appointment" for independent of each
    other, so it believes that a quarter of all calls is so, and that going through the latest calls shows
    enough of them soon.
    """
    linked = AppointmentFactory(call=CallFactory(branch__company=salon), calcom_booking_uid="linked")
    Call.objects.bulk_create(
        CallFactory.build_batch(
            3000, branch=linked.branch, customer=linked.customer, appointment=linked, booking_confirmed=True
        )
        + CallFactory.build_batch(3000, branch=linked.branch, customer=linked.customer)
    )
    with CaptureQueriesContext(connection) as captured:
        run("--dry-run")
    listings = [query["sql"] for query in captured if query["sql"].endswith("LIMIT 300")]
    [lost] = [sql for sql in listings if 'FROM "calls" WHERE' in sql and "appointment_made" not in sql]
    with connection.cursor() as cursor:
        cursor.execute("ANALYZE calls")  # a plan is made for the rows that are known of
        cursor.execute(("EXPLAIN QUERY PLAN " if connection.vendor == "sqlite" else "EXPLAIN ") + lost)
        plan = "\n".join(str(row[-1]) for row in cursor.fetchall())
    assert "call_confirmed_lost" in plan, plan

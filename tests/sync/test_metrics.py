from __future__ import annotations

import datetime as dt
import re

import pytest
from django.core.cache import cache
from django.db import connection
from django.test.utils import CaptureQueriesContext
from django.utils import timezone
from prometheus_client.parser import text_string_to_metric_families

from booking.models import Appointment, BookingAttempt
from calls.models import FunctionCall, WebhookEvent
from sync.models import ReconciliationRun
from tests import factories

pytestmark = pytest.mark.django_db


LONG_TABLES = (
    "appointments",
    "booking_attempts",
    "function_calls",
    "webhook_events",
    "reconciliation_runs",
)


@pytest.fixture(autouse=True)
def _token(settings):
    settings.METRICS_TOKEN = "metrics-token"


def read(client, token="metrics-token"):
    return client.get("/metrics", headers={"Authorization": f"Bearer {token}"})


def test_the_figures_of_every_company_are_read_from_the_tables(client):
    attempt = factories.BookingAttemptFactory(state="refused", refused_by="layer_1_freshness")
    slug = attempt.company.slug
    text = read(client).content.decode()
    assert f'slotkeeper_duplicates_refused_total{{company="{slug}",layer="layer_1_freshness"}} 1.0' in text
    assert f'slotkeeper_attempts_total{{company="{slug}",kind="create",state="refused"}} 1.0' in text


def test_what_is_open_and_what_has_ended_are_counted_apart(client):
    attempt = factories.BookingAttemptFactory(state="unknown")
    row, company = attempt.appointment, attempt.company
    factories.BookingAttemptFactory(appointment=row, state="succeeded")
    for status, subject in (("pending", "booking:a"), ("resolved", "booking:b")):
        factories.SyncFailureFactory(appointment=row, status=status, subject=subject)
    for status, count in (("pending", 3), ("resolved", 4)):
        factories.SyncFailureFactory(
            appointment=row, status=status, subject=f"audit:check_{status}", error_details={"count": count}
        )
    for status in ("received", "processed"):
        factories.WebhookEventFactory(company=company, status=status)
    began = timezone.now()
    for outcome, hours in (("complete", 3), ("partial", 2), ("running", 1)):
        ReconciliationRun.objects.create(
            company=company,
            scope="full",
            outcome=outcome,
            started_at=began - dt.timedelta(hours=hours),
            window_start=began,
            window_end=began,
        )
    families = text_string_to_metric_families(read(client).content.decode())
    samples = [sample for family in families for sample in family.samples]
    assert {sample.labels.pop("company") for sample in samples} == {company.slug}
    figures = {
        " ".join((sample.name.removeprefix("slotkeeper_"), *sample.labels.values())): sample.value
        for sample in samples
    }
    assert figures == {
        "open_failures orphaned_calcom pending": 2,
        "open_attempts create unknown": 1,
        "attempts_total create succeeded": 1,
        "appointments retell scheduled": 1,
        "waiting_deliveries retell received": 1,
        "deliveries_total call_ended retell processed": 1,
        "reconciliations_total complete full": 1,
        "reconciliations_total partial full": 1,
        "last_complete_reconciliation_timestamp_seconds": (began - dt.timedelta(hours=3)).timestamp(),
        "audit_findings check_pending": 3,
    }


def test_a_company_that_has_left_has_no_comparison_that_grows_old(client):
    for number, is_active in enumerate((True, False)):
        company = factories.CompanyFactory(slug=f"company-{number}", is_active=is_active)
        ReconciliationRun.objects.create(company=company, scope="full", outcome="complete")
    lines = read(client).content.decode().splitlines()
    told = [line for line in lines if line.startswith("slotkeeper_last_complete_reconciliation_t")]
    assert [line.partition(" ")[0].partition("{")[2] for line in told] == ['company="company-0"}']


def test_the_number_of_queries_does_not_grow_with_the_rows(client, django_assert_num_queries):
    factories.BookingAttemptFactory.create_batch(5, state="refused", refused_by="layer_2_call")
    read(client)  # what has settled is counted once a day
    with django_assert_num_queries(15):
        read(client)


def count_of(client, sample):
    [line] = [line for line in read(client).content.decode().splitlines() if line.startswith(sample)]
    return float(line.rpartition(" ")[2])


def test_what_has_settled_is_counted_once_a_day_and_the_rest_each_time(client):
    now = timezone.now()
    call = factories.CallFactory()
    old, young = now - dt.timedelta(days=3), now - dt.timedelta(hours=1)
    factories.FunctionCallFactory.create_batch(2, call=call, created_at=old)
    factories.FunctionCallFactory(call=call, created_at=young)
    assert count_of(client, "slotkeeper_function_calls_total") == 3
    factories.FunctionCallFactory(call=call, created_at=young)
    assert count_of(client, "slotkeeper_function_calls_total") == 4
    factories.FunctionCallFactory(call=call, created_at=old)
    assert count_of(client, "slotkeeper_function_calls_total") == 4
    cache.clear()  # a day has passed
    assert count_of(client, "slotkeeper_function_calls_total") == 5


def test_without_the_cache_the_figures_are_there_all_the_same(client, settings):
    factories.AppointmentFactory()
    broken = {**settings.CACHES["default"], "LOCATION": "redis://127.0.0.1:1/0"}
    settings.CACHES = {"default": broken}
    assert count_of(client, "slotkeeper_appointments") == 1


def test_no_table_that_grows_with_every_call_is_read_whole(client):
    call = factories.CallFactory()
    old = timezone.now() - dt.timedelta(days=30)
    FunctionCall.objects.bulk_create(
        factories.FunctionCallFactory.build_batch(2000, call=call, created_at=old)
    )
    WebhookEvent.objects.bulk_create(
        factories.WebhookEventFactory.build_batch(
            2000, company=call.company, status="processed", received_at=old
        )
    )
    ReconciliationRun.objects.bulk_create(
        ReconciliationRun(company=call.company, scope="full", outcome="complete", started_at=old)
        for _ in range(2000)
    )
    attempt = factories.BookingAttemptFactory()
    Appointment.objects.bulk_create(
        factories.AppointmentFactory.build_batch(
            2000, call=call, customer=call.customer, service=None, status="completed", starts_at=old
        )
    )
    BookingAttempt.objects.bulk_create(
        factories.BookingAttemptFactory.build_batch(2000, appointment=attempt.appointment, created_at=old)
    )
    read(client)
    with CaptureQueriesContext(connection) as captured:
        read(client)
    is_sqlite = connection.vendor == "sqlite"
    with connection.cursor() as cursor:
        if not is_sqlite:
            cursor.execute("ANALYZE")  # a plan is made for the rows that are known of
        for sql in [query["sql"] for query in captured if query["sql"].startswith("SELECT")]:
            cursor.execute(("EXPLAIN QUERY PLAN " if is_sqlite else "EXPLAIN ") + sql)
            plan = "\n".join(str(row[-1]) for row in cursor.fetchall())
            for table in LONG_TABLES:
                assert f"Seq Scan on {table}" not in plan, (sql, plan)
                assert not re.search(rf"^SCAN {table}(?! USING (COVERING )?INDEX)", plan, re.M), (sql, plan)


def test_open_and_overdue_callbacks_are_told_apart(client):
    now = timezone.now()
    overdue = factories.CallbackRequestFactory(due_at=now - dt.timedelta(minutes=1))
    company = overdue.company
    in_time = factories.CallFactory(branch=overdue.branch, customer=overdue.customer)
    factories.CallbackRequestFactory(call=in_time, due_at=now + dt.timedelta(hours=1))
    done = factories.CallFactory(branch=overdue.branch, customer=overdue.customer)
    factories.CallbackRequestFactory(call=done, due_at=now - dt.timedelta(hours=1), status="done")
    text = read(client).content.decode()
    assert f'slotkeeper_open_callbacks{{company="{company.slug}"}} 2.0' in text
    assert f'slotkeeper_overdue_callbacks{{company="{company.slug}"}} 1.0' in text
    assert text.count("slotkeeper_overdue_callbacks{") == 1


def test_without_the_token_there_is_nothing_to_read(client, settings):
    assert read(client, token="wrong").status_code == 401
    assert client.get("/metrics").status_code == 401
    settings.METRICS_TOKEN = ""
    assert read(client, token="").status_code == 404


@pytest.mark.parametrize("rubbish", ["rubbish", ("yesterday", {}), 7])
def test_what_nobody_put_into_the_cache_is_no_count(client, rubbish):
    factories.WebhookEventFactory(status="processed", received_at=timezone.now() - dt.timedelta(days=9))
    cache.set("settled:slotkeeper_deliveries", rubbish)
    response = read(client)
    assert response.status_code == 200
    assert "slotkeeper_deliveries_total{" in response.text

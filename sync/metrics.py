"""`GET /metrics` for Prometheus.

The figures are counted in the database when they are asked for: one truth over all processes, and nothing to
collect from them. Of the tables that grow for ever only the latest rows are (`sync.settled_counts`).
"""

from __future__ import annotations

import hmac
from collections.abc import Iterator
from typing import TypeVar

from django.conf import settings
from django.db.models import Count, OuterRef, QuerySet, Subquery, Sum
from django.http import HttpRequest, HttpResponse
from django.utils import timezone
from django.views.decorators.http import require_GET
from prometheus_client import CONTENT_TYPE_LATEST, CollectorRegistry, generate_latest
from prometheus_client.core import CounterMetricFamily, GaugeMetricFamily, Metric
from prometheus_client.registry import Collector

from booking.callbacks import overdue_callbacks
from booking.models import (
    OPEN_STATES,
    OPEN_STATUSES,
    Appointment,
    BookingAttempt,
    CallbackRequest,
    SyncFailure,
)
from calls.deliveries import WAITING
from calls.models import FunctionCall, RefusedDelivery, WebhookEvent
from customers.models import Company
from sync.audit_alerts import SUBJECT
from sync.models import ReconciliationRun
from sync.settled_counts import count_by

F = TypeVar("F", GaugeMetricFamily, CounterMetricFamily)


@require_GET
def metrics(request: HttpRequest) -> HttpResponse:
    """401 without the token; 404 where none is set, because then there are no metrics."""
    if not settings.METRICS_TOKEN:
        return HttpResponse(status=404)
    given = request.headers.get("Authorization", "").removeprefix("Bearer ")
    if not hmac.compare_digest(given.encode(), settings.METRICS_TOKEN.encode()):
        return HttpResponse(status=401, headers={"WWW-Authenticate": "Bearer"})
    registry = CollectorRegistry(auto_describe=False)
    registry.register(Tables())
    return HttpResponse(generate_latest(registry), content_type=CONTENT_TYPE_LATEST)


class Tables(Collector):
    """What the tables hold, by company. No figure names a person."""

    def collect(self) -> Iterator[Metric]:
        companies = list(Company.objects.order_by().values_list("pk", flat=True))
        yield from _bookings(companies)
        yield from _callers(companies)
        yield from _deliveries(companies)
        yield from _reconciliation(companies)


def _bookings(companies: list[int]) -> Iterator[Metric]:
    yield _gauge(
        "slotkeeper_open_failures",
        "Sync failures that wait for a person or for healing.",
        SyncFailure.objects.filter(status__in=OPEN_STATUSES),
        failure_type="failure_type",
        status="status",
    )
    yield _gauge(
        "slotkeeper_open_attempts",
        "Changes at Cal.com under way, or of unknown outcome.",
        BookingAttempt.objects.filter(state__in=OPEN_STATES),
        kind="kind",
        state="state",
    )
    yield _counter(
        "slotkeeper_attempts",
        "Changes at Cal.com by how they ended.",
        BookingAttempt.objects.exclude(state__in=OPEN_STATES),
        companies,
        since="created_at",
        kind="kind",
        state="state",
    )
    yield _counter(
        "slotkeeper_duplicates_refused",
        "Bookings handed back by Cal.com that were refused, by the layer that did.",
        BookingAttempt.objects.exclude(refused_by=""),
        companies,
        since="created_at",
        layer="refused_by",
    )
    yield _growing(
        GaugeMetricFamily,
        "slotkeeper_appointments",
        "Appointments by status.",
        Appointment.objects.all(),
        companies,
        since="starts_at",
        status="status",
        source="source",
    )


def _callers(companies: list[int]) -> Iterator[Metric]:
    yield _gauge(
        "slotkeeper_open_callbacks",
        "Callbacks promised and not yet made.",
        CallbackRequest.objects.filter(status=CallbackRequest.Status.OPEN),
    )
    yield _gauge(
        "slotkeeper_overdue_callbacks",
        "Callbacks promised, not yet made, and past the time by which they were due.",
        overdue_callbacks(now=timezone.now()),
    )
    yield _counter(
        "slotkeeper_function_calls",
        "Function requests by their last answer.",
        FunctionCall.objects.all(),
        companies,
        since="created_at",
        function="name",
        code="code",
    )


def _deliveries(companies: list[int]) -> Iterator[Metric]:
    yield _gauge(
        "slotkeeper_waiting_deliveries",
        "Webhooks stored and not yet worked.",
        WebhookEvent.objects.filter(status__in=WAITING),
        provider="provider",
        status="status",
    )
    yield _counter(
        "slotkeeper_deliveries",
        "Webhooks by what became of them.",
        WebhookEvent.objects.exclude(status__in=WAITING),
        companies,
        since="received_at",
        provider="provider",
        event_type="event_type",
        status="status",
    )
    yield _refused_deliveries()


def _reconciliation(companies: list[int]) -> Iterator[Metric]:
    yield _counter(
        "slotkeeper_reconciliations",
        "Runs of the reconciliation by how they ended.",
        ReconciliationRun.objects.exclude(outcome=ReconciliationRun.Outcome.RUNNING),
        companies,
        since="started_at",
        scope="scope",
        outcome="outcome",
    )
    yield _last_complete_reconciliation()
    yield _audit_findings()


def _refused_deliveries() -> Metric:
    family = CounterMetricFamily(
        "slotkeeper_refused_deliveries",
        "Requests turned away for their signature.",
        labels=["company", "provider", "reason"],
    )
    rows = RefusedDelivery.objects.order_by().values_list("company__slug", "provider", "reason")
    for *values, count in rows.annotate(total=Sum("count")):
        family.add_metric([str(value) for value in values], count)
    return family


def _last_complete_reconciliation() -> Metric:
    family = GaugeMetricFamily(
        "slotkeeper_last_complete_reconciliation_timestamp_seconds",
        "When the last complete reconciliation began.",
        labels=["company"],
    )
    complete = ReconciliationRun.objects.filter(
        company=OuterRef("pk"), outcome=ReconciliationRun.Outcome.COMPLETE
    )
    latest = Subquery(complete.order_by("-started_at").values("started_at")[:1])
    # Nobody compares a company that was switched off, and its figure would grow old for ever.
    companies = Company.objects.filter(is_active=True).order_by()
    for slug, last in companies.annotate(last=latest).values_list("slug", "last"):
        if last is not None:
            family.add_metric([slug], last.timestamp())
    return family


def _audit_findings() -> Metric:
    """As the last run of the audit left them."""
    family = GaugeMetricFamily(
        "slotkeeper_audit_findings",
        "Rows that must not be, by the check that found them.",
        labels=["company", "check"],
    )
    open_ones = SyncFailure.objects.filter(status__in=OPEN_STATUSES, subject__startswith=SUBJECT)
    for slug, subject, details in open_ones.values_list("company__slug", "subject", "error_details"):
        family.add_metric([slug, subject.removeprefix(SUBJECT)], details.get("count", 0))
    return family


def _gauge(name: str, text: str, rows: QuerySet, **labels: str) -> GaugeMetricFamily:
    """Of rows that are few, whatever the age of the tables."""
    family = GaugeMetricFamily(name, text, labels=["company", *labels])
    counted = rows.order_by().values_list("company__slug", *labels.values()).annotate(rows=Count("pk"))
    for *values, count in counted:
        family.add_metric([str(value) for value in values], count)
    return family


def _counter(
    name: str, text: str, rows: QuerySet, companies: list[int], *, since: str, **labels: str
) -> CounterMetricFamily:
    return _growing(CounterMetricFamily, name, text, rows, companies, since=since, **labels)


def _growing(
    family_of: type[F],
    name: str,
    text: str,
    rows: QuerySet,
    companies: list[int],
    *,
    since: str,
    **labels: str,
) -> F:
    """Of rows that become more with every call; `since` as in `count_by`."""
    family = family_of(name, text, labels=["company", *labels])
    columns = ["company__slug", *labels.values()]
    counted = count_by(rows, columns, key=name, since=since, companies=companies)
    for values, count in counted.items():
        family.add_metric([str(value) for value in values], count)
    return family

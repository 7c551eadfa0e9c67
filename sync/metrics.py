"""`GET /metrics` for Prometheus.

The figures are counted in the database when they are asked for: one truth over all processes, and nothing to
collect from them.
"""

from __future__ import annotations

import hmac
from collections.abc import Iterator

from django.conf import settings
from django.db.models import Count, Max, QuerySet, Sum
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
from sync.audit_alerts import SUBJECT
from sync.models import ReconciliationRun


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
        yield from _bookings()
        yield from _callers()
        yield from _deliveries()
        yield from _reconciliation()


def _bookings() -> Iterator[Metric]:
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
        kind="kind",
        state="state",
    )
    yield _counter(
        "slotkeeper_duplicates_refused",
        "Bookings handed back by Cal.com that were refused, by the layer that did.",
        BookingAttempt.objects.exclude(refused_by=""),
        layer="refused_by",
    )
    yield _gauge(
        "slotkeeper_appointments",
        "Appointments by status.",
        Appointment.objects.all(),
        status="status",
        source="source",
    )


def _callers() -> Iterator[Metric]:
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
        function="name",
        code="code",
    )


def _deliveries() -> Iterator[Metric]:
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
        provider="provider",
        event_type="event_type",
        status="status",
    )
    yield _refused_deliveries()


def _reconciliation() -> Iterator[Metric]:
    yield _counter(
        "slotkeeper_reconciliations",
        "Runs of the reconciliation by how they ended.",
        ReconciliationRun.objects.exclude(outcome=ReconciliationRun.Outcome.RUNNING),
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
    complete = ReconciliationRun.objects.filter(outcome=ReconciliationRun.Outcome.COMPLETE)
    for slug, last in complete.order_by().values_list("company__slug").annotate(last=Max("started_at")):
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
    family = GaugeMetricFamily(name, text, labels=["company", *labels])
    _fill(family, rows, labels)
    return family


def _counter(name: str, text: str, rows: QuerySet, **labels: str) -> CounterMetricFamily:
    family = CounterMetricFamily(name, text, labels=["company", *labels])
    _fill(family, rows, labels)
    return family


def _fill(family: GaugeMetricFamily | CounterMetricFamily, rows: QuerySet, labels: dict[str, str]) -> None:
    columns = ["company__slug", *labels.values()]
    counted = rows.order_by().values_list(*columns).annotate(rows=Count("pk"))
    for *values, count in counted:
        family.add_metric([str(value) for value in values], count)

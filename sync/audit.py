"""The integrity questions as code: what must never be true of the local tables, whatever happened before.

Each check counts its rows in the database and names a few; it does not ask Cal.com (that is `reconcile`).
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from datetime import datetime, timedelta

from django.conf import settings
from django.db.models import Count, Exists, F, Model, OuterRef, Q, QuerySet

from booking.models import (
    LIVE_STATUSES,
    OPEN_STATES,
    PROVEN_STATUSES,
    Appointment,
    BookingAttempt,
    SyncFailure,
)
from calls.models import Call
from customers.models import Company
from sync import links

Type = SyncFailure.Type

NAMED = 20


@dataclass(frozen=True)
class Check:
    """`wrong`: a company's rows that must not be, at a moment. `failure_type`: of the ticket about them."""

    wrong: Callable[[Company, datetime], QuerySet[Model]]
    failure_type: SyncFailure.Type


@dataclass(frozen=True)
class Finding:
    """`ids` are the first of the rows (of `table`) in question, `count` is all of them."""

    check: str
    table: str
    count: int
    ids: tuple[int, ...]


def audit(*, company: Company, now: datetime) -> list[Finding]:
    """Everything that is wrong with this company's rows; empty when nothing is."""
    findings = []
    for name, check in CHECKS.items():
        rows = check.wrong(company, now)
        count = rows.count()
        if count:
            ids = tuple(rows.order_by("pk").values_list("pk", flat=True)[:NAMED])
            findings.append(Finding(name, rows.model._meta.db_table, count, ids))  # noqa: SLF001
    return findings


def _confirmed_calls_without_appointment(company: Company, now: datetime) -> QuerySet[Call]:
    return Call.objects.filter(company=company, booking_confirmed=True, appointment=None)


def _calls_whose_flags_disagree(company: Company, now: datetime) -> QuerySet[Call]:
    return Call.objects.filter(company=company).filter(
        ~Q(appointment_made=F("booking_confirmed")) | Q(appointment__isnull=False, booking_confirmed=False)
    )


def _calls_pointing_at_nothing(company: Company, now: datetime) -> QuerySet[Call]:
    return links.pointing_at_nothing(company)


def _appointments_without_backlink(company: Company, now: datetime) -> QuerySet[Appointment]:
    return links.without_backlink(company)


def _appointments_without_call(company: Company, now: datetime) -> QuerySet[Appointment]:
    return links.without_call(company)


def live_without_uid(company: Company, now: datetime) -> QuerySet[Appointment]:
    """Promised, not proven, and nobody is busy proving it."""
    busy = BookingAttempt.objects.filter(appointment=OuterRef("pk"), state__in=OPEN_STATES)
    return Appointment.objects.filter(company=company, calcom_booking_uid=None).filter(
        Q(status__in=PROVEN_STATUSES) | (Q(status=Appointment.Status.PENDING) & ~Exists(busy))
    )


def _duplicate_keys(company: Company, now: datetime) -> QuerySet[Appointment]:
    return _repeated(company, "idempotency_key")


def _duplicate_uids(company: Company, now: datetime) -> QuerySet[Appointment]:
    return _repeated(company, "calcom_booking_uid")


def _repeated(company: Company, field: str) -> QuerySet[Appointment]:
    live = Appointment.objects.filter(company=company, status__in=LIVE_STATUSES).exclude(**{field: None})
    twice = live.values(field).annotate(rows=Count("pk")).filter(rows__gt=1).values(field)
    return live.filter(**{f"{field}__in": twice})


def _unknown_for_too_long(company: Company, now: datetime) -> QuerySet[BookingAttempt]:
    seconds = settings.LATE_COMMIT_GRACE_SECONDS + settings.ATTEMPT_LEASE_SECONDS
    return BookingAttempt.objects.filter(
        company=company, state__in=OPEN_STATES, created_at__lt=now - timedelta(seconds=seconds)
    )


def _rows_across_companies(company: Company, now: datetime) -> QuerySet[Appointment]:
    return Appointment.objects.filter(company=company).filter(
        ~Q(call__company=company) & Q(call__isnull=False)
        | ~Q(customer__company=company) & Q(customer__isnull=False)
        | ~Q(service__company=company) & Q(service__isnull=False)
    )


CHECKS = {
    "confirmed_call_without_appointment": Check(_confirmed_calls_without_appointment, Type.CALL_DESYNC),
    "call_flags_disagree": Check(_calls_whose_flags_disagree, Type.CALL_DESYNC),
    "call_points_at_nothing": Check(_calls_pointing_at_nothing, Type.CALL_DESYNC),
    "appointment_without_backlink": Check(_appointments_without_backlink, Type.CALL_DESYNC),
    "appointment_without_call": Check(_appointments_without_call, Type.CALL_DESYNC),
    "live_appointment_without_uid": Check(live_without_uid, Type.ORPHANED_LOCAL),
    "duplicate_idempotency_key": Check(_duplicate_keys, Type.DUPLICATE_BOOKING),
    "duplicate_calcom_uid": Check(_duplicate_uids, Type.DUPLICATE_BOOKING),
    "attempt_unknown_for_too_long": Check(_unknown_for_too_long, Type.NETWORK_TIMEOUT),
    "row_of_another_company": Check(_rows_across_companies, Type.SCHEMA_ERROR),
}

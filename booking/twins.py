"""Two live appointments of one customer for one thing at one time.

By phone nobody gets there: the key is unique. But appointments are moved on the web, and may meet, or change
places. Whoever comes second has no key of its own while the other one has it. If both stay, a person has to
say which is meant; if one moves on, the key is given back, and the ticket closes.

What is made on the web has no key at all. Where several hosts take turns Cal.com books the same time twice,
and a call that came before we heard of the web booking has not found it.
"""

from __future__ import annotations

from datetime import datetime
from typing import Any

from django.db import IntegrityError, transaction
from django.db.models import Exists, OuterRef, QuerySet

from booking import failures, follow, mirror
from booking.idempotency import NEAR_DUPLICATE, is_near
from booking.models import LIVE_STATUSES, OPEN_STATUSES, PROVEN_STATUSES, Appointment, SyncFailure
from customers.models import Company
from customers.names import same_person

Source = Appointment.Source
Type = SyncFailure.Type


def settle_twins(*, company_id: int | None = None) -> int:
    """Open and close the tickets of all that share a time; returns how many were closed."""
    keyless = Appointment.objects.filter(
        idempotency_key=None,
        status__in=LIVE_STATUSES,
        customer__isnull=False,
        service__isnull=False,
    ).exclude(source=Appointment.Source.CALCOM)
    pairs = SyncFailure.objects.filter(
        status__in=OPEN_STATUSES,
        failure_type=Type.DUPLICATE_BOOKING,
        error_details__has_key="other_appointment",
    )
    if company_id is not None:
        keyless, pairs = keyless.filter(company=company_id), pairs.filter(company=company_id)
    for row in keyless.select_related("company", "call"):
        _settle(row)
    return sum(_close(failure) for failure in pairs.select_related("appointment"))


def report_beside_web_bookings(company: Company, *, now: datetime) -> None:
    """Open the tickets of what one person has booked on the web and by phone."""
    by_phone = _booked_by_phone(
        company,
        customer=OuterRef("customer"),
        event_type_id=OuterRef("service__calcom_event_type_id"),
        start=OuterRef("starts_at"),
    )
    on_the_web = Appointment.objects.filter(
        Exists(by_phone),
        company=company,
        source=Source.CALCOM,
        status__in=PROVEN_STATUSES,
        starts_at__gt=now,
    )
    for row in on_the_web.select_related("company", "service"):
        report_beside(row, now=now)


def report_beside(row: Appointment, *, now: datetime) -> None:
    """The same of one appointment, if it was made on the web, stands and is to come."""
    if row.source != Source.CALCOM or row.status not in PROVEN_STATUSES or row.starts_at <= now:
        return
    if row.customer_id is None or row.service is None:
        return  # nobody knows whose, or what
    others = _booked_by_phone(
        row.company,
        customer=row.customer_id,
        event_type_id=row.service.calcom_event_type_id,
        start=row.starts_at,
    )
    for other in others.select_related("company", "call"):
        if same_person(row.attendee_name, other.attendee_name):
            _report(other, beside=row)


def _booked_by_phone(
    company: Company, *, customer: Any, event_type_id: Any, start: Any
) -> QuerySet[Appointment]:
    """What stands of this customer's at about this time and was not made on the web."""
    return Appointment.objects.filter(
        company=company,
        customer=customer,
        service__calcom_event_type_id=event_type_id,
        starts_at__range=(start - NEAR_DUPLICATE, start + NEAR_DUPLICATE),
        status__in=PROVEN_STATUSES,
    ).exclude(source=Source.CALCOM)


def _settle(row: Appointment) -> None:
    key = mirror.key_of(row, row.starts_at)
    twin = follow.twin_of(row, key)
    if twin is not None:
        _report(row, beside=twin)
        return
    try:
        with transaction.atomic():
            Appointment.objects.filter(pk=row.pk, idempotency_key=None).update(idempotency_key=key)
    except IntegrityError:
        pass  # another one got there in this moment: next time


def _report(row: Appointment, *, beside: Appointment) -> None:
    problem = failures.Problem(
        company=row.company,
        failure_type=Type.DUPLICATE_BOOKING,
        subject=failures.about_booking(row.calcom_booking_uid or str(row.pk)),
        message="One customer has two appointments for the same service at the same time.",
        appointment=row,
        call=row.call,
        uid=row.calcom_booking_uid or "",
        details={"other_appointment": beside.pk},
    )
    failures.open_failure(problem, needs_person=True, is_standing=True)


def _close(failure: SyncFailure) -> int:
    one = failure.appointment
    other = Appointment.objects.filter(
        pk=failure.error_details["other_appointment"], company=failure.company_id
    ).first()
    together = (
        one is not None
        and other is not None
        and one.is_live
        and other.is_live
        and is_near(one.starts_at, other.starts_at)
    )
    if together:
        return 0
    row = SyncFailure.objects.filter(pk=failure.pk)
    return failures.resolve(row, note="The two are not at the same time any more.")

"""Two live appointments of one customer for one thing at one time.

By phone nobody gets there: the key is unique. But appointments are moved on the web, and may meet, or change
places. Whoever comes second has no key of its own while the other one has it. If both stay, a person has to
say which is meant; if one moves on, the key is given back, and the ticket closes.
"""

from __future__ import annotations

from django.db import IntegrityError, transaction

from booking import failures, follow, mirror
from booking.models import LIVE_STATUSES, OPEN_STATUSES, Appointment, SyncFailure

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


def _settle(row: Appointment) -> None:
    key = mirror.key_of(row, row.starts_at)
    twin = follow.twin_of(row, key)
    if twin is not None:
        failures.open_failure(
            company=row.company,
            failure_type=Type.DUPLICATE_BOOKING,
            subject=failures.about_booking(row.calcom_booking_uid or str(row.pk)),
            message="One customer has two appointments for the same service at the same time.",
            appointment=row,
            call=row.call,
            uid=row.calcom_booking_uid or "",
            details={"other_appointment": twin.pk},
            needs_person=True,
            is_standing=True,
        )
        return
    try:
        with transaction.atomic():
            Appointment.objects.filter(pk=row.pk, idempotency_key=None).update(idempotency_key=key)
    except IntegrityError:
        pass  # another one got there in this moment: next time


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
        and one.starts_at == other.starts_at
    )
    if together:
        return 0
    row = SyncFailure.objects.filter(pk=failure.pk)
    return failures.resolve(row, note="The two are not at the same time any more.")

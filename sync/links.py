"""Calls and appointments that do not point at each other as they should: which, and how they are mended."""

from __future__ import annotations

from collections.abc import Collection
from datetime import datetime

from django.db import connection, transaction
from django.db.models import Exists, F, OuterRef, Q, QuerySet

from booking import mirror
from booking.models import PROVEN_STATUSES, Appointment, BookingAttempt, FormerUid, SyncFailure
from calls.models import Call
from customers.models import Company

Status = Appointment.Status
# Intended and not proven, or never come about: nothing that a call was told of, or may point at.
NOT_BOOKED = (Status.PENDING, Status.FAILED)


def without_backlink(company: Company) -> QuerySet[Appointment]:
    """Their call points at nothing. (A call in which two things were booked points at the latest of them.)"""
    return Appointment.objects.filter(
        company=company, status__in=PROVEN_STATUSES, call__isnull=False, call__appointment=None
    )


def over_without_backlink(company: Company) -> QuerySet[Appointment]:
    """Their call says that something was booked and points at nothing, and they are the only ones that name
    it. (What was cancelled before it was ever told of has a call that says nothing, rightly.)
    """
    others = Appointment.objects.filter(call=OuterRef("call")).exclude(pk=OuterRef("pk"))
    rows = Appointment.objects.filter(
        ~Exists(others.exclude(status__in=NOT_BOOKED)),
        company=company,
        call__company=company,
        call__booking_confirmed=True,
        call__appointment=None,
    )
    return rows.exclude(status__in=(*PROVEN_STATUSES, *NOT_BOOKED))


def without_call(company: Company) -> QuerySet[Appointment]:
    """A call points at them, and they at none."""
    pointing = Call.objects.filter(company=company, appointment=OuterRef("pk"))
    rows = Appointment.objects.filter(Exists(pointing), company=company, call=None)
    return rows.exclude(status__in=NOT_BOOKED)


def with_wrong_flags(company: Company) -> QuerySet[Appointment]:
    """Their call points at them and says that nothing was booked."""
    denied = Q(call__appointment_made=False) | Q(call__booking_confirmed=False)
    rows = Appointment.objects.filter(denied, company=company, call__appointment=F("pk"))
    return rows.exclude(status__in=NOT_BOOKED)


def to_mend(company: Company, *, limit: int) -> list[Appointment]:
    """All of these, ready for `mend`; at most `limit` of each kind."""
    return [
        appointment
        for wrong in (without_backlink, over_without_backlink, without_call, with_wrong_flags)
        for appointment in wrong(company).select_related("company", "customer", "service", "call")[:limit]
    ]


def calls_in_disorder(company: Company, calls: Collection[int]) -> set[int]:
    """Those of these calls (by id) to which one of the above applies."""
    by_call = (without_backlink, over_without_backlink, with_wrong_flags)
    theirs = [
        *(wrong(company).filter(call__in=calls).values_list("call", flat=True) for wrong in by_call),
        Call.objects.filter(pk__in=calls, appointment__in=without_call(company)).values_list("pk", flat=True),
    ]
    return {pk for rows in theirs for pk in rows if pk is not None}


def made_and_not_confirmed(company: Company) -> QuerySet[Call]:
    """They say that an appointment was made; nobody was told so, and it is not there. We write no such call:
    it was brought along from elsewhere.
    """
    return Call.objects.filter(
        company=company, appointment_made=True, booking_confirmed=False, appointment=None
    )


def pointing_at_nothing(company: Company) -> QuerySet[Call]:
    """Only SQLite lets that be, where somebody deletes rows in its own shell."""
    if connection.vendor != "sqlite":
        return Call.objects.none()
    there = Appointment.objects.filter(pk=OuterRef("appointment_id"))
    return Call.objects.filter(~Exists(there), company=company, appointment_id__isnull=False)


def mend(appointment: Appointment, *, now: datetime) -> None:
    """Have the appointment and its call point at each other. It is one of `to_mend`."""
    if appointment.call is None:
        pointing = Call.objects.filter(company=appointment.company_id, appointment=appointment)
        appointment.call = pointing.order_by("-pk").first()
        Appointment.objects.filter(pk=appointment.pk, call=None).update(call=appointment.call, updated_at=now)
    if appointment.call is not None and appointment.call.appointment_id is not None:
        # It points there already, and knows more about its booking than we do.
        mirror.confirm_call(appointment.call, now=now)
    else:
        mirror.link_call(appointment, now=now)


def let_go_of_deleted(company: Company) -> None:
    """Do what a database does when an appointment is deleted, where SQLite's own shell has not: it knows of
    no foreign keys unless it is told.
    """
    if connection.vendor != "sqlite":
        return
    there = Appointment.objects.filter(pk=OuterRef("appointment_id"))
    with transaction.atomic():
        pointing_at_nothing(company).update(appointment=None)
        SyncFailure.objects.filter(~Exists(there), company=company, appointment_id__isnull=False).update(
            appointment=None
        )
        BookingAttempt.objects.filter(~Exists(there), company=company).delete()
        FormerUid.objects.filter(~Exists(there)).delete()

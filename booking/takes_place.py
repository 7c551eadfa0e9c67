"""Which appointments take place today."""

from __future__ import annotations

from collections.abc import Mapping
from datetime import datetime
from zoneinfo import ZoneInfo

from django.db.models import Q, QuerySet

from booking.instants import day_bounds
from booking.models import Appointment

NOT_THERE = (Appointment.Status.CANCELLED, Appointment.Status.FAILED)


def today(companies: Mapping[int, str], *, now: datetime) -> QuerySet[Appointment]:
    """Of these companies (id → time zone). Today is each one's own day: the calendars of Berlin and Los
    Angeles are not on the same page.
    """
    starts = Q(pk__in=())
    for name in sorted(set(companies.values())):
        zone = ZoneInfo(name)
        start, end = day_bounds(now.astimezone(zone).date(), zone)
        there = [pk for pk, theirs in companies.items() if theirs == name]
        starts |= Q(company__in=there, starts_at__gte=start, starts_at__lt=end)
    return Appointment.objects.filter(starts).exclude(status__in=NOT_THERE)

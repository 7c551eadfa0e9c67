"""The figures on the first page of the admin: what waits for a person, and how the booking goes.

Each is one query that an index answers. Every index starts with the company, so the companies are read first
and named in the queries.
"""

from __future__ import annotations

import datetime as dt
from collections import Counter
from dataclasses import dataclass
from typing import Any
from zoneinfo import ZoneInfo

from django.db.models import Count, Q
from django.db.models.functions import TruncDate
from django.urls import reverse
from django.utils.translation import gettext_lazy as _

from booking import takes_place
from booking.instants import day_bounds
from booking.models import (
    OPEN_STATES,
    OPEN_STATUSES,
    BookingAttempt,
    CallbackRequest,
    SyncFailure,
)
from customers.models import Company
from sync.roles import MayLook

DAYS = 14
# Of the drawing, in its own units; the style sheet scales it. Above the bars stand their counts, below their
# days.
_BAR, _GAP = 36, 12
_ABOVE, _HEIGHT, _BELOW = 18, 120, 20


@dataclass(frozen=True, kw_only=True)
class Figure:
    title: Any
    count: int
    url: str
    # Work for a person, when it is not zero.
    is_work: bool
    parts: tuple[tuple[Any, int, str], ...] = ()


@dataclass(frozen=True, kw_only=True)
class Piece:
    tone: str
    y: int
    height: int


@dataclass(frozen=True, kw_only=True)
class Bar:
    day: dt.date
    x: int
    middle: int
    top: int
    top_count: int
    pieces: tuple[Piece, ...]
    booked: int
    refused: int
    other: int


@dataclass(frozen=True, kw_only=True)
class Chart:
    """A day's attempts to book, drawn as one bar: booked, refused by Cal.com, everything else."""

    bars: tuple[Bar, ...]
    days: int
    bar_width: int
    width: int
    height: int
    # From the top: where the bars begin, where they stand, and where their days are written.
    bars_top: int
    floor: int
    days_at: int
    total: int
    zone: str


@dataclass(frozen=True, kw_only=True)
class Overview:
    figures: tuple[Figure, ...]
    chart: Chart | None


def overview(*, user: MayLook, now: dt.datetime) -> Overview:
    """What `user` may see of it, at `now`."""
    companies = dict(Company.objects.order_by().values_list("pk", "timezone"))
    figures = []
    if user.has_perm("booking.view_syncfailure"):
        figures.append(_open_failures(companies, now=now))
    if user.has_perm("booking.view_bookingattempt"):
        figures.append(_open_attempts())
    if user.has_perm("booking.view_callbackrequest"):
        figures.append(_open_callbacks(companies, now=now))
    if user.has_perm("booking.view_appointment"):
        figures.append(_appointments_today(companies, now=now))
    chart = _bookings(companies, now=now) if user.has_perm("booking.view_bookingattempt") else None
    return Overview(figures=tuple(figures), chart=chart)


def _open_failures(companies: dict[int, str], *, now: dt.datetime) -> Figure:
    """What is snoozed is counted by itself: the inbox, where the others lead, does not show it."""
    url = reverse("admin:booking_syncfailure_changelist")
    is_snoozed = Q(snoozed_until__gt=now)
    by_type = list(
        SyncFailure.objects.filter(company__in=list(companies), status__in=OPEN_STATUSES)
        .order_by("failure_type")
        .values_list("failure_type")
        .annotate(count=Count("pk"), snoozed=Count("pk", filter=is_snoozed))
    )
    parts = [
        (SyncFailure.Type(kind).label, count - snoozed, f"{url}?failure_type__exact={kind}")
        for kind, count, snoozed in by_type
        if count > snoozed
    ]
    count = sum(part[1] for part in parts)
    if all_snoozed := sum(snoozed for _kind, _count, snoozed in by_type):
        parts.append((_("snoozed"), all_snoozed, f"{url}?snoozed=only"))
    return Figure(title=_("Open failures"), count=count, url=url, is_work=True, parts=tuple(parts))


def _open_attempts() -> Figure:
    url = reverse("admin:booking_bookingattempt_changelist")
    # Both open states are named, because that is the condition of the index.
    by_state = dict(
        BookingAttempt.objects.filter(state__in=OPEN_STATES)
        .order_by()
        .values_list("state")
        .annotate(count=Count("pk"))
    )
    return Figure(
        title=_("Attempts of unknown outcome"),
        count=by_state.get(BookingAttempt.State.UNKNOWN, 0),
        url=f"{url}?state__exact=unknown",
        is_work=True,
        parts=(
            (_("under way"), by_state.get(BookingAttempt.State.CLAIMED, 0), f"{url}?state__exact=claimed"),
        ),
    )


def _open_callbacks(companies: dict[int, str], *, now: dt.datetime) -> Figure:
    counted = CallbackRequest.objects.filter(
        company__in=list(companies), status=CallbackRequest.Status.OPEN
    ).aggregate(count=Count("pk"), overdue=Count("pk", filter=Q(due_at__lt=now)))
    url = reverse("admin:booking_callbackrequest_changelist")
    return Figure(
        title=_("Open callbacks"),
        count=counted["count"],
        url=url,
        is_work=True,
        parts=((_("overdue"), counted["overdue"], f"{url}?due=overdue"),) if counted["overdue"] else (),
    )


def _appointments_today(companies: dict[int, str], *, now: dt.datetime) -> Figure:
    count = takes_place.today(companies, now=now).count()
    url = reverse("admin:booking_appointment_changelist")
    # In the order of their start, which is the first column.
    return Figure(
        title=_("Appointments today"), count=count, url=f"{url}?takes_place=today&o=0", is_work=False
    )


def _bookings(companies: dict[int, str], *, now: dt.datetime) -> Chart:
    # One zone for all bars: that of the companies where they share one.
    zone = ZoneInfo(next(iter(companies.values()))) if len(set(companies.values())) == 1 else ZoneInfo("UTC")
    last = now.astimezone(zone).date()
    first = last - dt.timedelta(days=DAYS - 1)
    since = day_bounds(first, zone)[0]
    counted: Counter[tuple[dt.date, str]] = Counter()
    for day, state, count in (
        BookingAttempt.objects.filter(
            company__in=list(companies), created_at__gte=since, kind=BookingAttempt.Kind.CREATE
        )
        .order_by()
        .values_list(TruncDate("created_at", tzinfo=zone), "state")
        .annotate(count=Count("pk"))
    ):
        counted[day, _tone(state)] += count
    days = [first + dt.timedelta(days=offset) for offset in range(DAYS)]
    most = max([sum(counted[day, tone] for tone in _TONES) for day in days] + [1])
    bars = tuple(_bar(day, index, counted, most=most) for index, day in enumerate(days))
    return Chart(
        bars=bars,
        days=DAYS,
        bar_width=_BAR,
        width=DAYS * (_BAR + _GAP),
        height=_ABOVE + _HEIGHT + _BELOW,
        bars_top=_ABOVE,
        floor=_ABOVE + _HEIGHT,
        days_at=_ABOVE + _HEIGHT + 15,
        total=sum(bar.booked for bar in bars),
        zone=zone.key,
    )


_TONES = ("booked", "refused", "other")


def _tone(state: str) -> str:
    if state == BookingAttempt.State.SUCCEEDED:
        return "booked"
    return "refused" if state == BookingAttempt.State.REFUSED else "other"


def _bar(day: dt.date, index: int, counted: Counter[tuple[dt.date, str]], *, most: int) -> Bar:
    pieces, below = [], 0
    for tone in _TONES:
        above = below + counted[day, tone]
        # Rounding the edges, not the pieces, keeps the whole bar to scale.
        low, high = round(below * _HEIGHT / most), round(above * _HEIGHT / most)
        if high > low:
            pieces.append(Piece(tone=tone, y=_HEIGHT - high, height=high - low))
        below = above
    x = index * (_BAR + _GAP) + _GAP // 2
    return Bar(
        day=day,
        x=x,
        middle=x + _BAR // 2,
        top=_HEIGHT - round(below * _HEIGHT / most) - 5,
        top_count=below,
        pieces=tuple(pieces),
        booked=counted[day, "booked"],
        refused=counted[day, "refused"],
        other=counted[day, "other"],
    )

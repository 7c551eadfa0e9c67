"""Which times are free: for the slot list, and for the check inside a create or a move."""

from __future__ import annotations

from collections.abc import Iterable
from datetime import datetime, timedelta

from booking.calcom.simulator.state import (
    COLLECTIVE,
    ROUND_ROBIN,
    Booking,
    EventType,
    Host,
    Reservation,
    State,
)

# A slot list starts each free stretch at a round minute: the largest of these that divides the interval.
ROUND_TO = (60, 30, 20, 15, 10, 5, 1)


def is_free(
    state: State,
    event_type: EventType,
    host: Host,
    start: datetime,
    end: datetime,
    *,
    ignoring: Booking | None = None,
) -> bool:
    """Whether the host works then and has no accepted booking of any event type. Pending ones do not
    count.
    """
    if not event_type.schedule.is_open(start, end):
        return False
    return not state.accepted_overlapping(
        host,
        start - timedelta(minutes=event_type.buffer_before),
        end + timedelta(minutes=event_type.buffer_after),
        ignoring,
    )


def free_hosts(
    state: State,
    event_type: EventType,
    start: datetime,
    end: datetime,
    *,
    ignoring: Booking | None = None,
) -> list[Host]:
    """The hosts who could take it, the one to be given it first. Empty when it cannot be booked."""
    free = [
        host for host in event_type.hosts if is_free(state, event_type, host, start, end, ignoring=ignoring)
    ]
    if event_type.scheduling == COLLECTIVE:
        return free if len(free) == len(event_type.hosts) else []
    if event_type.scheduling == ROUND_ROBIN:
        free.sort(key=lambda host: (state.last_booked(host), host.id))
    return free


def seated_booking(state: State, event_type: EventType, start: datetime) -> Booking | None:
    """The booking of a seated event type that further seats join."""
    if event_type.seats is None:
        return None
    return next((booking for booking in state.same_start(event_type, start) if booking.is_active), None)


def live_reservations(state: State, event_type: EventType) -> list[Reservation]:
    now = state.clock.now()
    return [
        reservation
        for reservation in event_type.account.reservations.values()
        if reservation.event_type is event_type and reservation.until > now
    ]


def bookable_from(state: State, event_type: EventType) -> datetime:
    return state.clock.now() + timedelta(minutes=event_type.minimum_notice_minutes)


def bookable_until(state: State, event_type: EventType) -> datetime | None:
    if event_type.booking_window_days is None:
        return None
    return state.clock.now() + timedelta(days=event_type.booking_window_days)


def free_slots(
    state: State,
    event_type: EventType,
    *,
    start: datetime,
    end: datetime,
    minutes: int | None = None,
    ignoring: Booking | None = None,
) -> list[tuple[datetime, datetime]]:
    """The slots that lie wholly within [start, end], in order, as (start, end) in UTC. Callers hold the
    lock.
    """
    length = timedelta(minutes=minutes or event_type.minutes)
    step = event_type.slot_interval or minutes or event_type.minutes
    earliest = max(start, bookable_from(state, event_type))
    latest_start = bookable_until(state, event_type)
    reservations = live_reservations(state, event_type)
    found: set[datetime] = set()
    for host in event_type.hosts:
        # a reservation of a team event type is tied to the first host
        reserved = (
            [(r.start, r.end) for r in reservations]
            if event_type.seats is None and host is event_type.hosts[0]
            else []
        )
        starts = set(
            _starts_of_host(state, event_type, host, earliest, end, length, step, reserved, ignoring)
        )
        if event_type.scheduling == COLLECTIVE and host is not event_type.hosts[0]:
            found &= starts
        else:
            found |= starts
    return [(slot, slot + length) for slot in sorted(found) if latest_start is None or slot <= latest_start]


def _starts_of_host(
    state: State,
    event_type: EventType,
    host: Host,
    earliest: datetime,
    end: datetime,
    length: timedelta,
    step: int,
    reserved: list[tuple[datetime, datetime]],
    ignoring: Booking | None,
) -> Iterable[datetime]:
    if earliest >= end:
        return
    first, last = (earliest - timedelta(days=1)).date(), (end + timedelta(days=1)).date()
    taken = sorted({*reserved, *_busy_ranges(state, event_type, host, earliest, end, ignoring)})
    for opening, closing in _joined(event_type.schedule.open_ranges(first, last)):
        opening, closing = max(opening, earliest), min(closing, end)
        for free_from, free_to in _without(opening, closing, taken):
            slot = _rounded_up(free_from, step)
            while slot + length <= free_to:
                yield slot
                slot += timedelta(minutes=step)


def _busy_ranges(
    state: State,
    event_type: EventType,
    host: Host,
    start: datetime,
    end: datetime,
    ignoring: Booking | None,
) -> Iterable[tuple[datetime, datetime]]:
    before = timedelta(minutes=event_type.buffer_before)
    after = timedelta(minutes=event_type.buffer_after)
    day = (start - timedelta(days=1)).date()
    while day <= end.date():
        for booking in state.accepted_of_day(host, day):
            if booking is ignoring or has_free_seats(booking, event_type):
                continue
            yield booking.start - after, booking.end + before
        day += timedelta(days=1)


def has_free_seats(booking: Booking, event_type: EventType) -> bool:
    return (
        event_type.seats is not None
        and booking.event_type is event_type
        and len(booking.attendees) < event_type.seats
    )


def _joined(ranges: Iterable[tuple[datetime, datetime]]) -> list[tuple[datetime, datetime]]:
    joined: list[tuple[datetime, datetime]] = []
    for opening, closing in ranges:
        if joined and opening <= joined[-1][1]:
            joined[-1] = (joined[-1][0], max(closing, joined[-1][1]))
        else:
            joined.append((opening, closing))
    return joined


def _without(
    opening: datetime, closing: datetime, taken: list[tuple[datetime, datetime]]
) -> Iterable[tuple[datetime, datetime]]:
    for busy_from, busy_to in taken:
        if busy_to <= opening or busy_from >= closing:
            continue
        if busy_from > opening:
            yield opening, busy_from
        opening = max(opening, busy_to)
    if opening < closing:
        yield opening, closing


def _rounded_up(moment: datetime, step: int) -> datetime:
    grain = next(grain for grain in ROUND_TO if step % grain == 0)
    rounded = moment.replace(second=0, microsecond=0)
    if rounded < moment:
        rounded += timedelta(minutes=1)
    return rounded + timedelta(minutes=-rounded.minute % grain)

"""When a company is open, and when a span of its opening time has passed.

Hours are given by weekday, as wall-clock times of the company: {"mon": [["09:00", "12:30"]]}. A day that is
not named is closed; no hours at all mean always open.
"""

from __future__ import annotations

import re
from collections.abc import Iterator
from dataclasses import dataclass
from datetime import UTC, date, datetime, time, timedelta
from itertools import pairwise
from typing import Any
from zoneinfo import ZoneInfo

WEEKDAYS = ("mon", "tue", "wed", "thu", "fri", "sat", "sun")
END_OF_DAY = 24 * 60
# An hour a week is the least that is of any use; whoever asks for more than ten years of it means never.
MOST_DAYS = 3660

_CLOCK = re.compile(r"([01]\d|2[0-4]):([0-5]\d)")


class InvalidHours(ValueError):
    """What was given are no opening hours; the message says where."""


@dataclass(frozen=True)
class OpeningHours:
    """Per weekday (0 = Monday) the windows in minutes after local midnight, ascending."""

    windows: dict[int, tuple[tuple[int, int], ...]]

    @property
    def is_always(self) -> bool:
        return not self.windows

    def ranges(self, since: datetime, *, zone: ZoneInfo) -> Iterator[tuple[datetime, datetime]]:
        """The opening times from `since` on, as ranges in UTC. For hours that are not always."""
        first = since.astimezone(zone).date()
        for offset in range(MOST_DAYS):
            day = first + timedelta(days=offset)
            for opening, closing in self.windows.get(day.weekday(), ()):
                start = max(_instant(day, opening, zone), since)
                end = _instant(day, closing, zone)
                if start < end:
                    yield start, end


ALWAYS = OpeningHours({})


def read_hours(value: Any) -> OpeningHours:
    """Raises InvalidHours."""
    if not isinstance(value, dict):
        raise InvalidHours("Opening hours are an object of weekdays.")
    windows = {}
    for name, given in value.items():
        if name not in WEEKDAYS:
            raise InvalidHours(f"{name!r} is no weekday; they are {', '.join(WEEKDAYS)}.")
        windows[WEEKDAYS.index(name)] = _day(name, given)
    if windows and not any(windows.values()):
        raise InvalidHours("Closed on every day. Leave it empty for always open.")
    return OpeningHours(windows)


def due(*, since: datetime, minutes: int, hours: OpeningHours, zone: ZoneInfo) -> datetime:
    """When so many minutes of opening time have passed since `since` (aware), in UTC. The minutes are real
    ones: an hour that is skipped or repeated when the clocks change is not counted, or counted twice.
    """
    end = begin = since.astimezone(UTC)
    left = timedelta(minutes=minutes)
    if hours.is_always:
        return begin + left
    for start, end in hours.ranges(begin, zone=zone):
        if left <= end - start:
            return start + left
        left -= end - start
    return end


def _day(name: str, given: Any) -> tuple[tuple[int, int], ...]:
    if not isinstance(given, list):
        raise InvalidHours(f'{name}: a list of pairs such as ["09:00", "12:30"].')
    windows = sorted(_window(name, pair) for pair in given)
    for (_, closing), (opening, _) in pairwise(windows):
        if opening < closing:
            raise InvalidHours(f"{name}: the times overlap.")
    return tuple(windows)


def _window(name: str, pair: Any) -> tuple[int, int]:
    if not isinstance(pair, list) or len(pair) != 2:
        raise InvalidHours(f'{name}: a list of pairs such as ["09:00", "12:30"].')
    opening, closing = (_minutes(name, clock) for clock in pair)
    if opening >= closing:
        raise InvalidHours(f"{name}: {pair[1]} is not after {pair[0]}.")
    return opening, closing


def _minutes(name: str, clock: Any) -> int:
    match = _CLOCK.fullmatch(clock) if isinstance(clock, str) else None
    minutes = int(match[1]) * 60 + int(match[2]) if match else END_OF_DAY + 1
    if minutes > END_OF_DAY:
        raise InvalidHours(f"{name}: {clock!r} is no time from 00:00 to 24:00.")
    return minutes


def _instant(day: date, minutes: int, zone: ZoneInfo) -> datetime:
    if minutes == END_OF_DAY:
        day, minutes = day + timedelta(days=1), 0
    return datetime.combine(day, time(minutes // 60, minutes % 60), tzinfo=zone).astimezone(UTC)

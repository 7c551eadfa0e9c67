"""Reading the times and dates a phone agent sends.

An agent is told to send ISO 8601 and mostly does; the rest is German or English prose, with or without a
year, with or without an offset. Five decisions:

- A time without an offset is local to the business. When clocks go back and it happens twice, it means the
  first of the two, unless "Winterzeit" / "standard time" says otherwise. When clocks go forward and it never
  happens, it is refused: shifting it by an hour would book something nobody asked for.
- A time with an offset is that instant, whatever the business's own offset is on that day.
- A date without a year is its next occurrence. A weekday that contradicts the date is refused, because either
  may be the slip and only the caller knows.
- English has hours up to twelve: "December 3rd, 3:30" may be either half past three, and is asked about; from
  eight on it is the morning's.
- A *time* on a relative day ("morgen um 10") is refused, a *date* is not. An agent repeats "morgen" after
  having offered Thursday; a look at the wrong day is seen at once, a booking on the wrong day is not.

Whether an instant is past, too soon or too far away is for the caller to say.
"""

from __future__ import annotations

import re
import unicodedata
from dataclasses import dataclass
from datetime import UTC, date, datetime, time, timedelta, timezone, tzinfo
from enum import StrEnum
from zoneinfo import ZoneInfo

from booking.calendar_words import MONTH_NUMBERS, MONTHS, RELATIVE_DAYS, WEEKDAY_NUMBERS
from customers.years import FIRST_YEAR, LAST_YEAR

_LONGEST_TEXT = 100
_EDGES_OF_A_DAY = ((0, 0), (23, 59))
_ENGLISH_MONTHS = frozenset(spelling.casefold() for spellings in MONTHS["en"] for spelling in spellings)


class InstantProblem(StrEnum):
    UNREADABLE = "unreadable"
    DOES_NOT_EXIST = "does_not_exist"  # skipped when the clocks went forward
    WEEKDAY_CONTRADICTS = "weekday_contradicts"
    NO_TIME = "no_time"  # a date, but no time of day, or one that may be before noon or after it


class InvalidInstant(ValueError):
    """What was sent is not an instant (or date); `reason` says what to ask the caller."""

    def __init__(self, reason: InstantProblem) -> None:
        super().__init__(reason.value)
        self.reason = reason


class PartOfDay(StrEnum):
    MORNING = "morning"
    NOON = "noon"
    AFTERNOON = "afternoon"
    EVENING = "evening"


def _alternatives(words: dict[str, int]) -> str:
    return "|".join(sorted(map(re.escape, words), key=len, reverse=True))


_MONTH = rf"(?P<month_name>{_alternatives(MONTH_NUMBERS)})\b\.?"
_WEEKDAY = re.compile(rf"(?P<weekday>{_alternatives(WEEKDAY_NUMBERS)})\b\.?")
_RELATIVE = re.compile(rf"(?:the )?(?P<relative>{_alternatives(RELATIVE_DAYS)})")
_LEADING = re.compile(r"(?:(?:am|on|this|diesen|kommenden)\s+)?")
_ARTICLE = re.compile(r"\s*,?\s*(?:(?:der|den|dem|am|the|on)\s+)*")

_AN_HOUR = r"\s?(?:uhr|[ap]\.?\s?m)"  # and no year: "8.12. 10 Uhr"
_DATES = tuple(
    re.compile(pattern)
    for pattern in (
        r"(?P<year>\d{4})-(?P<month>\d{1,2})-(?P<day>\d{1,2})(?!\d)",
        r"(?P<year>\d{4})/(?P<month>\d{2})/(?P<day>\d{2})(?!\d)",
        r"(?P<year>\d{4})(?P<month>\d{2})(?P<day>\d{2})(?=t|$)",
        r"(?P<day>\d{1,2})\.\s?(?P<month>\d{1,2})\.(?:\s?(?P<year>\d{4}|\d{2})(?![\d:.]|" + _AN_HOUR + "))?",
        rf"(?P<day>\d{{1,2}})(?:\.|st|nd|rd|th)?\s?(?:of\s)?{_MONTH}(?:,?\s?(?P<year>\d{{4}})(?![\d:]))?",
        rf"{_MONTH}\s?(?P<day>\d{{1,2}})(?:st|nd|rd|th|\.)?(?![\d:])(?:,?\s?(?P<year>\d{{4}})(?![\d:]))?",
    )
)
_SEPARATOR = r"(?:t|\s*,?\s*(?:(?:um|at|ab|@|-)\s*)?)"
_OFFSET = (
    r"(?:\s?(?:(?P<utc>z|utc|gmt)"
    r"|(?P<sign>[+-])(?P<off_h>\d{2})(?::?(?P<off_m>\d{2})(?::?(?P<off_s>\d{2}))?)?))?"
)
_FRACTION = r"(?:[.,](?P<fraction>\d{1,12}))?"
_SEASON = (
    r"(?:,?\s?(?P<season>sommerzeit|winterzeit|normalzeit|mesz|mez|daylight time|standard time"
    r"|daylight saving time|daylight savings time))?"
)
_TIMES = tuple(
    re.compile(pattern + _SEASON)
    for pattern in (
        # 10:30, 10:30:00.000Z, 10:30 +01:00
        rf"{_SEPARATOR}(?P<hour>\d{{1,2}}):(?P<minute>\d{{2}})(?::(?P<second>\d{{2}}){_FRACTION})?{_OFFSET}",
        # ISO basic and hour-only, which need the T: T1030, T103000Z, T10
        rf"t(?P<hour>\d{{2}})(?:(?P<minute>\d{{2}})(?:(?P<second>\d{{2}}){_FRACTION})?)?{_OFFSET}",
        # 10:30 am, 10 a.m., 2pm
        rf"{_SEPARATOR}(?P<hour>\d{{1,2}})(?:[:.](?P<minute>\d{{2}}))?\s?(?P<half>[ap])\.?\s?m\.?",
        # 10 Uhr, 10 Uhr 30, 10:30 Uhr, 10.30 Uhr
        rf"{_SEPARATOR}(?P<hour>\d{{1,2}})(?:[:.](?P<minute>\d{{2}}))?\s?uhr",
        rf"{_SEPARATOR}(?P<hour>\d{{1,2}})\s?uhr\s?(?P<minute>\d{{1,2}})",
    )
)
_GERMAN_ORDINAL = re.compile(r"\d\.")
# Without am or pm, and not as a machine writes it.
_EITHER_HALF = re.compile(_SEPARATOR + r"[1-7]:\d{2}")
_MINUS_SIGNS = dict.fromkeys(map(ord, "‐‑‒–—−"), "-")


@dataclass(frozen=True)
class _Day:
    """A day as written: what was left out is None."""

    day: int
    month: int
    year: int | None
    weekday: int | None
    in_english: bool


@dataclass(frozen=True)
class _Clock:
    """A time of day as written."""

    at: time
    offset: tzinfo | None
    fold: int | None  # 0: summer time was said, 1: winter time was said


def parse_instant(text: object, *, zone: ZoneInfo, now: datetime) -> datetime:
    """The instant meant by `text`, aware, in UTC.

    Reads ISO 8601 in its usual spellings, "19.01.2027 10:00", "Dienstag, den 19. Januar 2027, um 10 Uhr 30",
    "7. Januar 10:00", "January 7th 10 am". `zone` is the zone of the business, `now` any aware instant;
    without a year the next occurrence strictly after `now` is meant, and one that is over only if it was
    today and today's weekday is said. Fractions are kept to the microsecond.

    Raises InvalidInstant, and nothing else, for anything that is not one: `text` may be any JSON value.
    """
    written, rest = _read_day(_prepare(text))
    if not rest:
        # A contradiction is worth telling first: with a time added it would still be there.
        _dated(written, on_or_after=now.astimezone(zone).date())
        raise InvalidInstant(InstantProblem.NO_TIME)
    clock = _read_clock(rest)
    today = now.astimezone(zone).date()
    day = _dated(written, on_or_after=today)
    if written.in_english and _EITHER_HALF.fullmatch(rest):
        raise InvalidInstant(InstantProblem.NO_TIME)
    instant = _resolve(day, clock, zone=zone)
    if written.year is None and written.weekday is None and instant <= now:
        day = _dated(written, on_or_after=day + timedelta(days=1))
        instant = _resolve(day, clock, zone=zone)
    return instant


def parse_date(text: object, *, zone: ZoneInfo, now: datetime) -> date:
    """The day meant by `text`, in `zone`: what `parse_instant` reads (the time of day is ignored, an offset
    is not; see `day_in`), a date alone, "heute", "morgen", "übermorgen", "today", "tomorrow", or a weekday
    (the next such day; today counts, as it does for a date without a year).

    Raises InvalidInstant, and nothing else.
    """
    return day_in(zone, parse_day(text, zone=zone, now=now))


def parse_day(text: object, *, zone: ZoneInfo, now: datetime) -> date:
    """What `parse_date` reads, where it is not known yet in which zone the day is meant: with an offset the
    instant, as it is written there, which may be on another day in another zone. `day_in` says on which.

    Raises InvalidInstant, and nothing else.
    """
    prepared = _prepare(text)
    today = now.astimezone(zone).date()
    plain = _LEADING.sub("", prepared, count=1)
    if relative := _RELATIVE.fullmatch(plain):
        return _within_years(today, RELATIVE_DAYS[relative["relative"]])
    if weekday := _WEEKDAY.fullmatch(plain):
        return _within_years(today, (WEEKDAY_NUMBERS[weekday["weekday"]] - today.weekday()) % 7)
    written, rest = _read_day(prepared)
    clock = _read_clock(rest) if rest else None
    day = _dated(written, on_or_after=today)
    if clock is not None and clock.offset is not None:
        return _resolve(day, clock, zone=zone).astimezone(clock.offset)
    return day


def day_in(zone: ZoneInfo, meant: date) -> date:
    """The day in `zone` of what `parse_day` has read.

    The first and the last minute of a day are what a model adds, with any offset, when it means the day:
    "2026-12-10T00:00:00Z" is the tenth in Los Angeles too, where the ninth has not ended then.
    """
    if not isinstance(meant, datetime):
        return meant
    is_whole_day = (meant.hour, meant.minute) in _EDGES_OF_A_DAY
    return meant.date() if is_whole_day else meant.astimezone(zone).date()


def day_bounds(day: date, zone: ZoneInfo) -> tuple[datetime, datetime]:
    """First instant of `day` in `zone` and first instant of the next day, both in UTC: 23 to 25 hours apart.

    Where the clocks change at midnight, a day without a 00:00 starts when it does start, and one with two at
    the first. Bounds of neighbouring days meet.
    """
    return _midnight(day, zone), _midnight(day + timedelta(days=1), zone)


# Wall-clock hours, half open. They overlap on purpose: half past five is offered to those who ask for the
# afternoon and to those who ask for the evening.
_HOURS = {
    PartOfDay.MORNING: (0, 12),
    PartOfDay.NOON: (11, 14),
    PartOfDay.AFTERNOON: (12, 18),
    PartOfDay.EVENING: (17, 24),
}
_PART_WORDS = {
    **dict.fromkeys(("morning", "mornings", "am", "a.m.", "before noon", "forenoon"), PartOfDay.MORNING),
    **dict.fromkeys(
        ("morgen", "morgens", "vormittag", "vormittags", "früh", "frueh", "in der früh"), PartOfDay.MORNING
    ),
    **dict.fromkeys(
        ("noon", "midday", "lunch", "lunchtime", "mittag", "mittags", "mittagszeit"), PartOfDay.NOON
    ),
    **dict.fromkeys(("afternoon", "afternoons", "pm", "p.m.", "after noon"), PartOfDay.AFTERNOON),
    **dict.fromkeys(("nachmittag", "nachmittags"), PartOfDay.AFTERNOON),
    **dict.fromkeys(("evening", "evenings", "night", "tonight", "abend", "abends"), PartOfDay.EVENING),
}
_PART_FILLERS = re.compile(
    r"^(?:(?:am|im|in|zum|gegen|the|at|der|den|this|heute|morgen|today|tomorrow|early|late|later|mid|around"
    r"|früh(?:e[nr])?|spät(?:e[nr])?)[\s-]+)+(?=\S)"
)


def read_part_of_day(text: object) -> PartOfDay | None:
    """The part of day meant by a German or English word, or None for anything else."""
    if not isinstance(text, str) or len(text) > _LONGEST_TEXT:
        return None
    word = " ".join(unicodedata.normalize("NFKC", text).lower().split())
    return _PART_WORDS.get(word) or _PART_WORDS.get(_PART_FILLERS.sub("", word))


def in_part_of_day(instant: datetime, zone: ZoneInfo, part: PartOfDay) -> bool:
    """Does `instant` fall into `part` of the day on the wall clock of `zone`?"""
    first, end = _HOURS[part]
    return first <= instant.astimezone(zone).hour < end


def _prepare(text: object) -> str:
    if not isinstance(text, str) or len(text) > _LONGEST_TEXT:
        raise InvalidInstant(InstantProblem.UNREADABLE)
    plain = unicodedata.normalize("NFKC", text).translate(_MINUS_SIGNS).lower()
    plain = "".join(
        str(unicodedata.decimal(character)) if character.isdecimal() else character
        for character in plain
        if unicodedata.category(character) != "Cf"
    )
    return " ".join(plain.split()).strip(" ,")


def _read_day(text: str) -> tuple[_Day, str]:
    """The day at the beginning of `text`, and what follows it."""
    weekday: int | None = None
    text = _LEADING.sub("", text, count=1)
    if found := _WEEKDAY.match(text):
        weekday = WEEKDAY_NUMBERS[found["weekday"]]
        text = text[found.end() :]
    text = _ARTICLE.sub("", text, count=1)
    for pattern in _DATES:
        if match := pattern.match(text):
            parts = match.groupdict()
            month = MONTH_NUMBERS[parts["month_name"]] if parts.get("month_name") else int(parts["month"])
            year = int(parts["year"]) if parts["year"] else None
            if year is not None and len(parts["year"]) == 2:
                year += 2000
            # "3 December", where German has "3. Dezember"
            english = parts.get("month_name") in _ENGLISH_MONTHS and not _GERMAN_ORDINAL.search(match[0])
            day = _Day(
                day=int(parts["day"]),
                month=month,
                year=year,
                weekday=weekday,
                in_english=english,
            )
            return day, text[match.end() :]
    raise InvalidInstant(InstantProblem.UNREADABLE)


def _read_clock(text: str) -> _Clock:
    for pattern in _TIMES:
        if match := pattern.fullmatch(text):
            return _clock({name: value for name, value in match.groupdict().items() if value})
    raise InvalidInstant(InstantProblem.UNREADABLE)


def _clock(parts: dict[str, str]) -> _Clock:
    hour = int(parts["hour"])
    if "half" in parts:
        if not 1 <= hour <= 12:
            raise InvalidInstant(InstantProblem.UNREADABLE)
        hour = hour % 12 + (12 if parts["half"] == "p" else 0)
    fold = None
    if "season" in parts:
        fold = 0 if parts["season"].startswith(("sommer", "daylight", "mesz")) else 1
    try:
        at = time(
            hour,
            int(parts.get("minute", 0)),
            int(parts.get("second", 0)),
            int(parts.get("fraction", "0")[:6].ljust(6, "0")),
        )
        return _Clock(at=at, offset=_offset(parts), fold=fold)
    except ValueError:
        raise InvalidInstant(InstantProblem.UNREADABLE) from None


def _offset(parts: dict[str, str]) -> tzinfo | None:
    if "utc" in parts:
        return UTC
    if "sign" not in parts:
        return None
    hours, minutes, seconds = (int(parts.get(name, 0)) for name in ("off_h", "off_m", "off_s"))
    if hours > 15 or minutes > 59 or seconds > 59:  # no place on earth was ever further from UTC
        raise InvalidInstant(InstantProblem.UNREADABLE)
    distance = timedelta(hours=hours, minutes=minutes, seconds=seconds)
    return timezone(-distance if parts["sign"] == "-" else distance)


def _dated(written: _Day, *, on_or_after: date) -> date:
    """The day meant; without a year the next one that exists (29 February) on or after `on_or_after`."""
    # Eight years: 1896 to 1904 is the widest gap between leap days, and 2096 to 2104 will be.
    years = (written.year,) if written.year is not None else range(on_or_after.year, on_or_after.year + 9)
    for year in years:
        if not FIRST_YEAR <= year <= LAST_YEAR:
            break
        try:
            day = date(year, written.month, written.day)
        except ValueError:
            continue
        if written.year is None and day < on_or_after:
            continue
        if written.weekday is not None and written.weekday != day.weekday():
            raise InvalidInstant(InstantProblem.WEEKDAY_CONTRADICTS)
        return day
    raise InvalidInstant(InstantProblem.UNREADABLE)


def _within_years(today: date, days: int) -> date:
    day = today + timedelta(days=days)
    if not FIRST_YEAR <= day.year <= LAST_YEAR:
        raise InvalidInstant(InstantProblem.UNREADABLE)
    return day


def _resolve(day: date, clock: _Clock, *, zone: ZoneInfo) -> datetime:
    if clock.offset is not None:
        if clock.fold is not None:  # "10:00+01:00 Sommerzeit" says two things
            raise InvalidInstant(InstantProblem.UNREADABLE)
        return datetime.combine(day, clock.at, tzinfo=clock.offset).astimezone(UTC)
    local = datetime.combine(day, clock.at, tzinfo=zone)
    first, second = (local.replace(fold=fold).astimezone(UTC) for fold in (0, 1))
    if first.astimezone(zone).replace(tzinfo=None) != local.replace(tzinfo=None):
        raise InvalidInstant(InstantProblem.DOES_NOT_EXIST)
    if clock.fold is None:
        return first
    if first == second:
        # "10 Uhr Winterzeit" in July is an hour away from 10 o'clock; nobody means that, so nothing is
        # guessed.
        raise InvalidInstant(InstantProblem.UNREADABLE)
    return second if clock.fold else first


def _midnight(day: date, zone: ZoneInfo) -> datetime:
    # fold=0 is right for both: the first of two midnights, and, where midnight is skipped, the offset before
    # the change, which makes it the very instant of the change.
    return datetime.combine(day, time(0), tzinfo=zone).astimezone(UTC)

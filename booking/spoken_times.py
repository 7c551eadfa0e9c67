"""Instants, days and lists as people say them, in German and English.

What is spoken must be the same instant on the wall clock of the business: the two half past twos of the night
when clocks go back are told apart, and a year is said as soon as leaving it out could mean another one.
"""

from __future__ import annotations

from collections.abc import Sequence
from datetime import UTC, date, datetime, timedelta
from zoneinfo import ZoneInfo

from booking.calendar_words import MONTHS, WEEKDAYS

# A date without a year is heard as its next occurrence. A month of margin keeps "am 3. Dezember", said on the
# 5th of December about next year, from being heard as the day before yesterday.
_WITHOUT_YEAR = timedelta(days=334)

# One, several, and how many minutes each. A day is 24 hours to whoever has to keep to it.
_UNITS = {
    "de": (("24 Stunden", "Tage", 1440), ("eine Stunde", "Stunden", 60), ("eine Minute", "Minuten", 1)),
    "en": (("24 hours", "days", 1440), ("an hour", "hours", 60), ("a minute", "minutes", 1)),
}


def spoken(instant: datetime, *, zone: ZoneInfo, language: str, now: datetime) -> str:
    """Day and time: "Dienstag, den 1. Dezember, um 10 Uhr 30", "morgen um 10 Uhr"; "Tuesday, December 1st, at
    10 AM".

    `instant` and `now` are aware; `zone` is the zone of the business. `language` is a code such as "de" or
    "de-AT"; one that we do not speak gives English. Seconds are not spoken.
    """
    local = instant.astimezone(zone)
    day = spoken_day(local.date(), zone=zone, language=language, now=now)
    clock = spoken_time(instant, zone=zone, language=language)
    # A relative day is one word and needs no pause before the time.
    comma = "," if "," in day else ""
    return f"{day}{comma} {'um' if _is_german(language) else 'at'} {clock}"


def spoken_day(day: date, *, zone: ZoneInfo, language: str, now: datetime) -> str:
    """A day: "heute", "morgen", "Dienstag, den 1. Dezember", with the year where it is needed; "Tuesday,
    December 1st"."""
    german = _is_german(language)
    today = now.astimezone(zone).date()
    if day == today:
        return "heute" if german else "today"
    if day == today + timedelta(days=1):
        return "morgen" if german else "tomorrow"
    year_needed = not today <= day <= today + _WITHOUT_YEAR
    words = "de" if german else "en"
    weekday, month = WEEKDAYS[words][day.weekday()][0], MONTHS[words][day.month - 1][0]
    if german:
        return f"{weekday}, den {day.day}. {month}" + (f" {day.year}" if year_needed else "")
    return f"{weekday}, {month} {day.day}{_ordinal_ending(day.day)}" + (
        f", {day.year}" if year_needed else ""
    )


def spoken_time(instant: datetime, *, zone: ZoneInfo, language: str) -> str:
    """A time of day: "10 Uhr", "10 Uhr 30"; "10 AM", "10:30 AM". For offering several times of one day."""
    local = instant.astimezone(zone)
    season = _season(instant, zone=zone, german=_is_german(language))
    if _is_german(language):
        return f"{local.hour} Uhr" + (f" {local.minute}" if local.minute else "") + season
    minutes = f":{local.minute:02}" if local.minute else ""
    return f"{local.hour % 12 or 12}{minutes} {'AM' if local.hour < 12 else 'PM'}{season}"


def spoken_duration(minutes: int, *, language: str) -> str:
    """How long: "eine Stunde", "90 Minuten", "24 Stunden", "2 Tage"; "an hour", "90 minutes", "24 hours"."""
    one, several, length = next(
        unit for unit in _UNITS["de" if _is_german(language) else "en"] if minutes % unit[2] == 0
    )
    return one if minutes == length else f"{minutes // length} {several}"


def spoken_list(items: Sequence[str], language: str, *, is_choice: bool = True) -> str:
    """Several to choose from: "10 Uhr, 10 Uhr 30 oder 11 Uhr", "10 AM or 11 AM"; or, if it is no choice, all
    of them: "10 AM and 11 AM". One item as it is, none as ""."""
    if len(items) < 2:
        return "".join(items)
    both, either = ("und", "oder") if _is_german(language) else ("and", "or")
    word = either if is_choice else both
    return f"{', '.join(items[:-1])} {word} {items[-1]}"


def _is_german(language: str) -> bool:
    return language.strip().lower().replace("_", "-").partition("-")[0] == "de"


def _season(instant: datetime, *, zone: ZoneInfo, german: bool) -> str:
    """Said only in the hour that happens twice."""
    local = instant.astimezone(zone)
    first, second = (local.replace(fold=fold).astimezone(UTC) for fold in (0, 1))
    if first == second:
        return ""
    if german:
        return " Winterzeit" if local.fold else " Sommerzeit"
    return " standard time" if local.fold else " daylight time"


def _ordinal_ending(number: int) -> str:
    if number % 100 in (11, 12, 13):
        return "th"
    return {1: "st", 2: "nd", 3: "rd"}.get(number % 10, "th")

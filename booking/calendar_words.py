"""Words for days and months, German and English, in every spelling an agent or caller uses."""

from __future__ import annotations

# The first spelling of each is the one we say ourselves.
MONTHS: dict[str, tuple[tuple[str, ...], ...]] = {
    "de": (
        ("Januar", "Jänner", "Jan"),
        ("Februar", "Feber", "Feb"),
        ("März", "Maerz", "Mär", "Mrz"),
        ("April", "Apr"),
        ("Mai",),
        ("Juni", "Juno", "Jun"),
        ("Juli", "Julei", "Jul"),
        ("August", "Aug"),
        ("September", "Sept", "Sep"),
        ("Oktober", "Okt"),
        ("November", "Nov"),
        ("Dezember", "Dez"),
    ),
    "en": (
        ("January", "Jan"),
        ("February", "Feb"),
        ("March", "Mar"),
        ("April", "Apr"),
        ("May",),
        ("June", "Jun"),
        ("July", "Jul"),
        ("August", "Aug"),
        ("September", "Sept", "Sep"),
        ("October", "Oct"),
        ("November", "Nov"),
        ("December", "Dec"),
    ),
}

WEEKDAYS: dict[str, tuple[tuple[str, ...], ...]] = {  # Monday first, as in datetime.weekday()
    "de": (
        ("Montag", "Mo"),
        ("Dienstag", "Di"),
        ("Mittwoch", "Mi"),
        ("Donnerstag", "Do"),
        ("Freitag", "Fr"),
        ("Samstag", "Sonnabend", "Sa"),
        ("Sonntag", "So"),
    ),
    "en": (
        ("Monday", "Mon"),
        ("Tuesday", "Tues", "Tue"),
        ("Wednesday", "Wed"),
        ("Thursday", "Thurs", "Thur", "Thu"),
        ("Friday", "Fri"),
        ("Saturday", "Sat"),
        ("Sunday", "Sun"),
    ),
}

RELATIVE_DAYS = {
    "heute": 0,
    "today": 0,
    "morgen": 1,
    "tomorrow": 1,
    "übermorgen": 2,
    "uebermorgen": 2,
    "day after tomorrow": 2,
}


def _numbers(tables: dict[str, tuple[tuple[str, ...], ...]], *, first: int) -> dict[str, int]:
    return {
        spelling.casefold(): number
        for table in tables.values()
        for number, spellings in enumerate(table, start=first)
        for spelling in spellings
    }


MONTH_NUMBERS = _numbers(MONTHS, first=1)
WEEKDAY_NUMBERS = _numbers(WEEKDAYS, first=0)

from __future__ import annotations

import re
from datetime import UTC, date, datetime, timedelta
from zoneinfo import ZoneInfo

import pytest
from hypothesis import given
from hypothesis import strategies as st

from booking.instants import parse_instant
from booking.spoken_times import spoken, spoken_day, spoken_duration, spoken_list, spoken_time

BERLIN = ZoneInfo("Europe/Berlin")
NOW = datetime(2026, 11, 21, 10, 0, tzinfo=UTC)


@pytest.mark.parametrize(
    ("local", "german", "english"),
    [
        ((2026, 12, 1, 10, 0), "Dienstag, den 1. Dezember, um 10 Uhr", "Tuesday, December 1st, at 10 AM"),
        (
            (2026, 12, 1, 10, 30),
            "Dienstag, den 1. Dezember, um 10 Uhr 30",
            "Tuesday, December 1st, at 10:30 AM",
        ),
        (
            (2026, 12, 2, 14, 5),
            "Mittwoch, den 2. Dezember, um 14 Uhr 5",
            "Wednesday, December 2nd, at 2:05 PM",
        ),
        ((2026, 12, 3, 0, 0), "Donnerstag, den 3. Dezember, um 0 Uhr", "Thursday, December 3rd, at 12 AM"),
        ((2026, 12, 11, 12, 0), "Freitag, den 11. Dezember, um 12 Uhr", "Friday, December 11th, at 12 PM"),
        (
            (2026, 12, 22, 12, 45),
            "Dienstag, den 22. Dezember, um 12 Uhr 45",
            "Tuesday, December 22nd, at 12:45 PM",
        ),
        ((2026, 11, 21, 15, 0), "heute um 15 Uhr", "today at 3 PM"),
        ((2026, 11, 21, 8, 0), "heute um 8 Uhr", "today at 8 AM"),
        ((2026, 11, 22, 15, 30), "morgen um 15 Uhr 30", "tomorrow at 3:30 PM"),
        ((2027, 1, 7, 9, 0), "Donnerstag, den 7. Januar, um 9 Uhr", "Thursday, January 7th, at 9 AM"),
        ((2027, 3, 3, 9, 0), "Mittwoch, den 3. März, um 9 Uhr", "Wednesday, March 3rd, at 9 AM"),
        (
            (2027, 11, 20, 9, 0),
            "Samstag, den 20. November 2027, um 9 Uhr",
            "Saturday, November 20th, 2027, at 9 AM",
        ),
        (
            (2028, 2, 29, 9, 0),
            "Dienstag, den 29. Februar 2028, um 9 Uhr",
            "Tuesday, February 29th, 2028, at 9 AM",
        ),
        (
            (2026, 11, 20, 9, 0),
            "Freitag, den 20. November 2026, um 9 Uhr",
            "Friday, November 20th, 2026, at 9 AM",
        ),
    ],
)
def test_times_as_people_say_them(local, german, english):
    year, month, day, hour, minute = local
    moment = datetime(year, month, day, hour, minute, tzinfo=BERLIN).astimezone(UTC)
    assert spoken(moment, zone=BERLIN, language="de", now=NOW) == german
    assert spoken(moment, zone=BERLIN, language="en", now=NOW) == english


@pytest.mark.parametrize(
    ("hour", "german", "english"),
    [
        (0, "um 2 Uhr 30 Sommerzeit", "at 2:30 AM daylight time"),
        (1, "um 2 Uhr 30 Winterzeit", "at 2:30 AM standard time"),
        (2, "um 3 Uhr 30", "at 3:30 AM"),
    ],
)
def test_the_two_half_past_twos_are_told_apart(hour, german, english):
    moment = datetime(2027, 10, 31, hour, 30, tzinfo=UTC)
    now = datetime(2027, 10, 1, tzinfo=UTC)
    assert spoken(moment, zone=BERLIN, language="de", now=now) == f"Sonntag, den 31. Oktober, {german}"
    assert spoken(moment, zone=BERLIN, language="en", now=now) == f"Sunday, October 31st, {english}"


def test_today_is_the_day_of_the_business():
    late = datetime(2026, 11, 21, 23, 30, tzinfo=UTC)  # already the 22nd in Berlin
    moment = datetime(2026, 11, 22, 9, 0, tzinfo=UTC)
    assert spoken(moment, zone=BERLIN, language="de", now=late) == "heute um 10 Uhr"
    assert spoken(moment, zone=ZoneInfo("America/Chicago"), language="en", now=late) == "tomorrow at 3 AM"


@pytest.mark.parametrize("language", ["de", "DE", "de-AT", "de_CH", " de "])
def test_german_in_any_spelling_of_its_code(language):
    assert spoken_time(NOW, zone=BERLIN, language=language) == "11 Uhr"
    assert spoken_list(["a", "b"], language) == "a oder b"


@pytest.mark.parametrize("language", ["en", "en-US", "fr", "", "deutsch", "den"])
def test_any_other_language_is_english(language):
    assert spoken_time(NOW, zone=BERLIN, language=language) == "11 AM"
    assert spoken_day(date(2026, 11, 22), zone=BERLIN, language=language, now=NOW) == "tomorrow"


def test_days():
    assert spoken_day(date(2026, 11, 21), zone=BERLIN, language="de", now=NOW) == "heute"
    assert spoken_day(date(2026, 12, 1), zone=BERLIN, language="de", now=NOW) == "Dienstag, den 1. Dezember"
    assert (
        spoken_day(date(2027, 12, 1), zone=BERLIN, language="en", now=NOW) == "Wednesday, December 1st, 2027"
    )


@pytest.mark.parametrize(
    ("items", "german", "english"),
    [
        ([], "", ""), (["10 Uhr"], "10 Uhr", "10 Uhr"), (["a", "b"], "a oder b", "a or b"),
        (["10 Uhr", "10 Uhr 30", "11 Uhr"], "10 Uhr, 10 Uhr 30 oder 11 Uhr", "10 Uhr, 10 Uhr 30 or 11 Uhr"),
    ],
)  # fmt: skip
def test_lists(items, german, english):
    assert spoken_list(items, "de") == german
    assert spoken_list(tuple(items), "en") == english


# What a listener makes of a sentence, written independently of the module.
GERMAN = re.compile(
    r"(?:(?P<relative>heute|morgen)"
    r"|(?P<weekday>\w+), den (?P<day>\d+)\. (?P<month>\w+)(?: (?P<year>\d{4}))?,)"
    r" um (?P<hour>\d+) Uhr(?: (?P<minute>\d+))?(?: (?P<season>\w+zeit))?"
)
ENGLISH = re.compile(
    r"(?:(?P<relative>today|tomorrow)"
    r"|(?P<weekday>\w+), (?P<month>\w+) (?P<day>\d+)(?:st|nd|rd|th)(?:, (?P<year>\d{4}))?,)"
    r" at (?P<hour>\d+)(?::(?P<minute>\d\d))? (?P<half>[AP]M)(?: (?P<season>\w+ time))?"
)
MONTHS = {
    name: number
    for names in (
        "Januar Februar März April Mai Juni Juli August September Oktober November Dezember",
        "January February March April May June July August September October November December",
    )
    for number, name in enumerate(names.split(), start=1)
}
WEEKDAYS = {
    name: number
    for names in (
        "Montag Dienstag Mittwoch Donnerstag Freitag Samstag Sonntag",
        "Monday Tuesday Wednesday Thursday Friday Saturday Sunday",
    )
    for number, name in enumerate(names.split())
}


def heard(sentence: str, *, zone: ZoneInfo, now: datetime) -> datetime:
    match = GERMAN.fullmatch(sentence) or ENGLISH.fullmatch(sentence)
    assert match is not None, sentence
    parts = match.groupdict()
    today = now.astimezone(zone).date()
    if parts["relative"]:
        day = today + timedelta(days=parts["relative"] in ("morgen", "tomorrow"))
    else:
        number, month = int(parts["day"]), MONTHS[parts["month"]]
        if parts["year"]:
            day = date(int(parts["year"]), month, number)
        else:  # the next one
            later = (month, number) < (today.month, today.day)
            day = date(today.year + later, month, number)
        assert WEEKDAYS[parts["weekday"]] == day.weekday()
    hour = int(parts["hour"])
    if parts.get("half"):
        hour = hour % 12 + (12 if parts["half"] == "PM" else 0)
    fold = int((parts["season"] or "") in ("Winterzeit", "standard time"))
    local = datetime(day.year, day.month, day.day, hour, int(parts["minute"] or 0), tzinfo=zone, fold=fold)
    return local.astimezone(UTC)


zones = st.sampled_from(
    [
        ZoneInfo(name)
        for name in ("Europe/Berlin", "America/Chicago", "Asia/Kolkata", "Australia/Lord_Howe", "UTC")
    ]
)
nows = st.datetimes(
    datetime.fromisoformat("2024-01-01"), datetime.fromisoformat("2030-12-31"), timezones=st.just(UTC)
)  # Hypothesis wants naive bounds
distances = st.one_of(
    st.integers(-60 * 24 * 400, 60 * 24 * 800), st.integers(-60 * 24 * 3, 60 * 24 * 3)
)  # minutes; callers book the coming days most
fold_nights = st.builds(
    lambda start, minutes: start + timedelta(minutes=minutes),
    st.sampled_from(
        [
            datetime(2027, 10, 31, tzinfo=UTC),
            datetime(2027, 11, 7, 6, tzinfo=UTC),
            datetime(2027, 4, 3, 14, tzinfo=UTC),
        ]
    ),
    st.integers(0, 180),
)  # fmt: skip


@given(nows, distances, zones, st.sampled_from(["de", "en"]))
def test_what_is_spoken_is_heard_as_the_same_instant(now, distance, zone, language):
    moment = now.replace(second=0, microsecond=0) + timedelta(minutes=distance)
    assert heard(spoken(moment, zone=zone, language=language, now=now), zone=zone, now=now) == moment


@given(fold_nights, zones, st.sampled_from(["de", "en"]), st.integers(0, 400))
def test_in_the_nights_of_the_clock_change_too(moment, zone, language, days_before):
    now = moment - timedelta(days=days_before)
    assert heard(spoken(moment, zone=zone, language=language, now=now), zone=zone, now=now) == moment


@given(nows, st.integers(60 * 24 * 2, 60 * 24 * 800), zones, st.sampled_from(["de", "en"]))
def test_an_agent_may_send_back_what_we_said(now, distance, zone, language):
    moment = now.replace(second=0, microsecond=0) + timedelta(minutes=distance)
    sentence = spoken(moment, zone=zone, language=language, now=now)
    assert parse_instant(sentence, zone=zone, now=now) == moment


@pytest.mark.parametrize(
    ("minutes", "german", "english"),
    [
        (1, "eine Minute", "a minute"),
        (45, "45 Minuten", "45 minutes"),
        (60, "eine Stunde", "an hour"),
        (90, "90 Minuten", "90 minutes"),
        (1440, "24 Stunden", "24 hours"),
        (2160, "36 Stunden", "36 hours"),
        (2880, "2 Tage", "2 days"),
    ],
)
def test_how_long_is_said_as_people_say_it(minutes, german, english):
    assert spoken_duration(minutes, language="de") == german
    assert spoken_duration(minutes, language="en") == english


@given(st.lists(st.from_regex(r"[a-z0-9 ]{1,8}", fullmatch=True), max_size=6))
def test_a_list_says_every_item_once_and_in_order(items):
    sentence = spoken_list(items, "de")
    joined = re.split(r", | oder ", sentence) if items else []
    if not any("oder" in item for item in items):
        assert joined == items

"""Opening hours: what is one, and when a span of opening time has passed."""

from __future__ import annotations

import datetime as dt
from zoneinfo import ZoneInfo

import pytest

from customers.opening_hours import ALWAYS, InvalidHours, due, read_hours

BERLIN = ZoneInfo("Europe/Berlin")
WEEK = {day: [["09:00", "12:30"], ["13:30", "18:00"]] for day in ("mon", "tue", "wed", "thu", "fri")}


def berlin(month: int, day: int, hour: int, minute: int = 0, *, year: int = 2026) -> dt.datetime:
    return dt.datetime(year, month, day, hour, minute, tzinfo=BERLIN)


@pytest.mark.parametrize(
    ("since", "minutes", "expected"),
    [
        (berlin(11, 23, 9), 60, berlin(11, 23, 10)),
        (berlin(11, 23, 12), 60, berlin(11, 23, 14)),  # over the lunch break
        (
            berlin(11, 23, 12, 30),
            0,
            berlin(11, 23, 13, 30),
        ),  # due at once means: as soon as somebody is there
        (berlin(11, 23, 7), 30, berlin(11, 23, 9, 30)),
        (berlin(11, 23, 17), 60, berlin(11, 23, 18)),  # exactly until closing time
        (berlin(11, 23, 17), 61, berlin(11, 24, 9, 1)),
        (berlin(11, 27, 17, 30), 240, berlin(11, 30, 12, 30)),  # Friday evening, over the weekend
        (berlin(11, 28, 11), 10, berlin(11, 30, 9, 10)),  # a Saturday
        (berlin(12, 31, 17, 50), 20, berlin(1, 1, 9, 10, year=2027)),
    ],
)
def test_only_opening_time_is_counted(since, minutes, expected):
    assert due(since=since, minutes=minutes, hours=read_hours(WEEK), zone=BERLIN) == expected


def test_no_hours_at_all_are_always_open():
    assert read_hours({}) == ALWAYS
    since = berlin(11, 28, 23)
    assert due(since=since, minutes=240, hours=ALWAYS, zone=BERLIN) == since + dt.timedelta(hours=4)


@pytest.mark.parametrize(
    ("midnight", "real_hours"),
    [(berlin(3, 29, 0), 23), (berlin(10, 25, 0), 25), (berlin(11, 22, 0), 24)],
)
def test_a_day_on_which_the_clocks_change_has_as_many_hours_as_it_has(midnight, real_hours):
    hours = read_hours({"sun": [["00:00", "24:00"]], "mon": [["09:00", "18:00"]]})
    next_morning = midnight.replace(hour=9) + dt.timedelta(days=1)
    whole = due(since=midnight, minutes=real_hours * 60, hours=hours, zone=BERLIN)
    assert whole == midnight + dt.timedelta(days=1)
    assert whole - midnight.astimezone(dt.UTC) == dt.timedelta(hours=real_hours)
    more = due(since=midnight, minutes=real_hours * 60 + 1, hours=hours, zone=BERLIN)
    assert more == next_morning + dt.timedelta(minutes=1)


def test_opening_in_the_hour_that_is_skipped_is_opening_when_it_is_over():
    hours = read_hours({"sun": [["02:30", "04:00"]]})
    assert due(since=berlin(3, 29, 0), minutes=10, hours=hours, zone=BERLIN) == berlin(3, 29, 3, 40)


def test_the_hours_are_those_of_the_zone_and_not_of_utc():
    angeles = ZoneInfo("America/Los_Angeles")
    since = dt.datetime(2026, 11, 24, 1, 30, tzinfo=dt.UTC)  # still Monday there, 17:30
    found = due(since=since, minutes=60, hours=read_hours(WEEK), zone=angeles)
    assert found == dt.datetime(2026, 11, 24, 9, 30, tzinfo=angeles)


def test_the_order_in_which_the_windows_are_given_says_nothing():
    assert read_hours({"mon": [["13:00", "14:00"], ["09:00", "10:00"]]}) == read_hours(
        {"mon": [["09:00", "10:00"], ["13:00", "14:00"]]}
    )


def test_a_span_nobody_lives_to_see_ends_all_the_same():
    hours = read_hours({"mon": [["09:00", "09:01"]]})
    assert due(since=berlin(11, 23, 9), minutes=2**31, hours=hours, zone=BERLIN) > berlin(11, 23, 9)


@pytest.mark.parametrize(
    "value",
    [
        None,
        [],
        "09:00-18:00",
        {"monday": [["09:00", "18:00"]]},
        {"mon": "09:00-18:00"},
        {"mon": [["09:00"]]},
        {"mon": [["09:00", "18:00", "19:00"]]},
        {"mon": ["09:00", "18:00"]},
        {"mon": [["9:00", "18:00"]]},
        {"mon": [["09:00", "24:01"]]},
        {"mon": [["09:00", "25:00"]]},
        {"mon": [["18:00", "09:00"]]},
        {"mon": [["09:00", "09:00"]]},
        {"mon": [["09:00", "12:00"], ["11:00", "13:00"]]},
        {"mon": [[9, 18]]},
        {"mon": [], "tue": []},
    ],
)
def test_what_are_no_hours_is_refused(value):
    with pytest.raises(InvalidHours):
        read_hours(value)

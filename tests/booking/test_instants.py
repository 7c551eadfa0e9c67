from __future__ import annotations

import zoneinfo
from datetime import UTC, date, datetime, timedelta, timezone
from zoneinfo import ZoneInfo

import pytest
from hypothesis import assume, given
from hypothesis import strategies as st

from booking.instants import (
    InstantProblem,
    InvalidInstant,
    PartOfDay,
    day_bounds,
    in_part_of_day,
    parse_date,
    parse_day,
    parse_instant,
    read_part_of_day,
)

BERLIN = ZoneInfo("Europe/Berlin")
NOW = datetime(2026, 12, 1, 9, 0, tzinfo=UTC)  # a Tuesday, 10:00 in Berlin
TEN = datetime(2027, 1, 19, 9, 0, tzinfo=UTC)  # a Tuesday, 10:00 in Berlin


def instant(text: object, *, now: datetime = NOW) -> datetime:
    return parse_instant(text, zone=BERLIN, now=now)


def outcome(text: object, *, zone: ZoneInfo, now: datetime) -> datetime | InstantProblem:
    try:
        return parse_instant(text, zone=zone, now=now)
    except InvalidInstant as invalid:
        return invalid.reason


def date_outcome(text: object, *, zone: ZoneInfo, now: datetime) -> date | InstantProblem:
    try:
        return parse_date(text, zone=zone, now=now)
    except InvalidInstant as invalid:
        return invalid.reason


def problem(text: object) -> InstantProblem:
    with pytest.raises(InvalidInstant) as caught:
        instant(text)
    return caught.value.reason


@pytest.mark.parametrize(
    "text",
    [
        "2027-01-19T10:00:00", "2027-01-19T10:00", "2027-01-19 10:00", "2027-01-19t10:00:00",
        "2027-01-19T10:00:00.000", "2027-01-19T10:00:00,000", "2027-01-19T10:00:00.000000000",
        "2027-01-19T09:00:00Z", "2027-01-19t09:00:00z", "2027-01-19T09:00Z", "2027-01-19T09:00:00.000Z",
        "2027-01-19T10:00:00+01:00", "2027-01-19T10:00:00+0100", "2027-01-19T10:00+01",
        "2027-01-19T10:00:00 +01:00", "2027-01-19 10:00:00+01:00", "2027-01-19T04:00:00-05:00",
        "2027-01-19T04:00:00−05:00", "2027-01-19T14:30:00+05:30", "2027-01-18T23:00:00-10:00",
        "2027-01-19T09:00 UTC", "20270119T100000", "20270119T1000", "20270119T090000Z",
        "20270119T100000+0100", "2027-01-19T10", "2027-1-19 10:00", "2027/01/19 10:00",
        "  2027-01-19T10:00:00  ", "2027-01-19\u00a010:00", "2027-01-19T10:00:00+01:00:00",
        "２０２７-０１-１９Ｔ１０：００", "٢٠٢٧-٠١-١٩T١٠:٠٠", "19.01.2027 10:00", "19.1.2027 10:00",
        "19. 1. 2027, 10:00 Uhr", "19.01.27 10:00", "19.01.2027 um 10 Uhr", "19.01.2027 10 Uhr",
        "19.01.2027 um 10.00 Uhr", "19.01. 10:00", "19.1. um 10 Uhr", "am 19.01.2027 um 10:00 Uhr",
        "19. Januar 2027 10 Uhr", "19. Januar 2027, 10:00 Uhr", "Dienstag, den 19. Januar 2027 10 Uhr",
        "Dienstag, den 19. Januar 2027, um 10 Uhr", "Di, 19.01.2027 10:00", "Di. 19. Jan. 2027 10:00",
        "dienstag 19. jänner 10 uhr", "Am Dienstag, dem 19. Januar, um 10 Uhr", "Dienstag 2027-01-19 10:00",
        "19 January 2027 10:00", "19 January 10:00", "January 19, 2027 10:00", "January 19th, 2027, at 10 AM",
        "January 19th 10 am", "January 19th 10 a.m.", "Jan 19 10am", "Tuesday, January 19th, at 10 AM",
        "Tuesday, January 19th, 2027, at 10:00 AM", "Tue 19 Jan 2027 10:00:00 +0100",
        "the 19th of January at 10 AM", "on Tuesday, January 19, 2027 at 10:00 AM",
        "19. Januar 2027 um 10:00 Uhr", "19.Januar 10 Uhr 0",
    ],
)  # fmt: skip
def test_every_usual_notation_means_the_same_instant(text):
    found = instant(text)
    assert found == TEN
    assert found.tzinfo is UTC


@pytest.mark.parametrize(
    ("text", "hour", "minute"),
    [
        ("19.01.2027 um 14 Uhr 30", 14, 30), ("19.01.2027 14 Uhr 5", 14, 5), ("19.01.2027 14.30 Uhr", 14, 30),
        ("19.01.2027 um 14:30 Uhr", 14, 30), ("January 19th 2:30 pm", 14, 30), ("January 19th 12 am", 0, 0),
        ("January 19th 12 pm", 12, 0), ("January 19th 12:30 p.m.", 12, 30), ("19. Januar 0 Uhr", 0, 0),
        ("19.01.2027 9:05", 9, 5), ("January 19th 2PM", 14, 0), ("January 19th 8:30", 8, 30),
        ("January 19th 03:30", 3, 30), ("19. Januar 3:30", 3, 30), ("January 19th 12:15", 12, 15),
    ],
)  # fmt: skip
def test_times_of_day(text, hour, minute):
    assert instant(text) == datetime(2027, 1, 19, hour, minute, tzinfo=BERLIN)


@pytest.mark.parametrize(
    ("text", "meant"),
    [
        ("2027-01-19T23:30-05:00", datetime(2027, 1, 20, 4, 30, tzinfo=UTC)),
        ("2027-01-19T23:30", date(2027, 1, 19)),
        ("19. Januar", date(2027, 1, 19)),
        ("morgen", date(2026, 12, 2)),
    ],
)
def test_a_day_with_an_offset_is_an_instant_and_any_other_a_day_in_whatever_zone(text, meant):
    found = parse_day(text, zone=BERLIN, now=NOW)
    assert (type(found), found) == (type(meant), meant)


def test_fractions_are_kept_to_the_microsecond():
    assert instant("2027-01-19T10:00:00.123456789+01:00") == TEN + timedelta(microseconds=123456)
    assert instant("2027-01-19T10:00:00,5") == TEN + timedelta(milliseconds=500)


@pytest.mark.parametrize(
    ("text", "now", "expected"),
    [
        ("7. Januar 10:00", NOW, datetime(2027, 1, 7, 9, tzinfo=UTC)),
        ("7 January 10:00", NOW, datetime(2027, 1, 7, 9, tzinfo=UTC)),
        ("January 7th 10 am", NOW, datetime(2027, 1, 7, 9, tzinfo=UTC)),
        ("1. Dezember 10:30", NOW, datetime(2026, 12, 1, 9, 30, tzinfo=UTC)),
        ("1. Dezember 10:00", NOW, datetime(2027, 12, 1, 9, tzinfo=UTC)),
        ("1. Dezember 9:30", NOW, datetime(2027, 12, 1, 8, 30, tzinfo=UTC)),
        ("30. November 10:00", NOW, datetime(2027, 11, 30, 9, tzinfo=UTC)),
        ("29. Februar 10:00", NOW, datetime(2028, 2, 29, 9, tzinfo=UTC)),
        ("29. Februar 10:00", datetime(2096, 3, 1, tzinfo=UTC), datetime(2104, 2, 29, 9, tzinfo=UTC)),
        # still the old year in New York, already the new one in Berlin
        ("1. Januar 10:00", datetime(2026, 12, 31, 23, 30, tzinfo=UTC), datetime(2027, 1, 1, 9, tzinfo=UTC)),
        (
            "31. Dezember 23:59",
            datetime(2026, 12, 31, 23, 30, tzinfo=UTC),
            datetime(2027, 12, 31, 22, 59, tzinfo=UTC),
        ),
    ],
)
def test_a_date_without_a_year_is_its_next_occurrence(text, now, expected):
    assert instant(text, now=now) == expected


def test_a_stated_year_is_believed_even_when_it_is_past():
    assert instant("2025-01-19T10:00:00+01:00") == datetime(2025, 1, 19, 9, tzinfo=UTC)
    assert instant("7. Januar 2026 10:00") == datetime(2026, 1, 7, 9, tzinfo=UTC)


@pytest.mark.parametrize(
    "text",
    [
        "2027-03-28T02:30",
        "2027-03-28 02:00:00",
        "28.03.2027 um 2 Uhr 59",
        "28. März 2:30",
        "March 28th 2:30 am",
    ],
)
def test_a_time_skipped_when_the_clocks_go_forward_does_not_exist(text):
    assert problem(text) is InstantProblem.DOES_NOT_EXIST


def test_the_edges_of_the_gap_exist():
    assert instant("2027-03-28T01:59:59") == datetime(2027, 3, 28, 0, 59, 59, tzinfo=UTC)
    assert instant("2027-03-28T03:00") == datetime(2027, 3, 28, 1, 0, tzinfo=UTC)


def test_a_time_in_the_gap_with_an_offset_is_an_instant_all_the_same():
    assert instant("2027-03-28T02:30:00+01:00") == datetime(2027, 3, 28, 1, 30, tzinfo=UTC)


@pytest.mark.parametrize(
    ("text", "hour"),
    [
        ("2027-10-31T02:30", 0), ("31.10.2027 um 2 Uhr 30", 0), ("2027-10-31T02:30:00+02:00", 0),
        ("2027-10-31T02:30:00+01:00", 1), ("31. Oktober 2027, um 2 Uhr 30 Sommerzeit", 0),
        ("31. Oktober 2027, um 2 Uhr 30 Winterzeit", 1), ("October 31st, 2027, at 2:30 AM daylight time", 0),
        ("October 31st, 2027, at 2:30 AM standard time", 1), ("2027-10-31 02:30 MEZ", 1),
        ("2027-10-31 02:30 MESZ", 0),
    ],
)  # fmt: skip
def test_a_time_that_happens_twice_is_the_first_one_unless_winter_time_is_said(text, hour):
    assert instant(text) == datetime(2027, 10, 31, hour, 30, tzinfo=UTC)


@pytest.mark.parametrize("text", ["19.07.2027 10 Uhr Winterzeit", "2027-10-31T02:30+01:00 Sommerzeit"])
def test_winter_or_summer_time_is_understood_only_where_it_decides(text):
    assert problem(text) is InstantProblem.UNREADABLE


def test_an_offset_that_is_not_the_zones_is_taken_as_that_instant():
    assert instant("2027-07-19T10:00:00+01:00") == datetime(2027, 7, 19, 9, tzinfo=UTC)
    assert instant("2026-11-19T10:00:00-06:00") == datetime(2026, 11, 19, 16, tzinfo=UTC)


@pytest.mark.parametrize(
    "text",
    [
        "Mittwoch, den 19. Januar 2027 10 Uhr", "Mo, 19.01.2027 10:00", "Wednesday, January 19th at 10 AM",
        "Friday 2027-01-19T10:00:00+01:00", "Montag, 19. Januar, um 10 Uhr", "Montag, 19. Januar",
    ],
)  # fmt: skip
def test_a_weekday_that_contradicts_the_date_is_told(text):
    assert problem(text) is InstantProblem.WEEKDAY_CONTRADICTS


@pytest.mark.parametrize(
    "text",
    [
        "2027-01-19",
        "19.01.2027",
        "19. Januar",
        "January 19th, 2027",
        "Dienstag, den 19. Januar 2027",
        "20270119",
    ],
)
def test_a_date_alone_has_no_time(text):
    assert problem(text) is InstantProblem.NO_TIME


UNREADABLE = [
    None, "", " ", 5, 1795255200000, 1.5, float("nan"), float("inf"), True, [], ["2027-01-19T10:00"], {},
    {"start": 1}, b"2027-01-19T10:00", "None", "tomorrow", "morgen um 10 Uhr", "Dienstag 10 Uhr", "10:00",
    "10 Uhr", "asap", "{{start}}", "2027-13-19T10:00", "2027-01-32T10:00", "2027-02-29T10:00",
    "30. Februar 2027 10:00", "2027-00-10T10:00", "2027-01-19T24:00", "2027-01-19T25:00", "2027-01-19T10:60",
    "2027-01-19T10:00:60", "2027-01-19T10:00:00+99:00", "2027-01-19T10:00:00+01:75",
    "2027-01-19T10:00:00 01:00", "2027-01-19T10:00:00+", "2027-01-19T10:00:00Zx", "1969-12-31T10:00",
    "2201-01-01T10:00", "0000-01-01T10:00", "9999-12-31T23:59:59-12:00", "01/19/2027 10:00", "1/2/27 10:00",
    "2027-01-19T10:00/11:00", "2027-W03-2T10:00", "2027-019T10:00", "January 19th 14 pm", "January 19th 0 am",
    "19.01.2027 25 Uhr", "19. Januarius 10:00", "2027-01-19T10:00:00.", "x" * 5000, "9" * 5000,
    "2027-01-19T10:00\x00", "\ud800", "-2027-01-19T10:00", "2027-01-19T1:2", "19.01.2027 10",
    "²⁰27-01-19T10:0x", "7. Januar 10:00 oder 11:00", "29. Februar 2027 10 Uhr",
    "19.01.2027 3 Uhr nachmittags",
]  # fmt: skip


@pytest.mark.parametrize("text", UNREADABLE)
def test_everything_else_is_unreadable(text):
    assert problem(text) is InstantProblem.UNREADABLE


def test_the_first_and_last_year_are_readable():
    assert instant("1970-01-01T00:00Z") == datetime(1970, 1, 1, tzinfo=UTC)
    assert instant("2200-12-31T23:59:59Z") == datetime(2200, 12, 31, 23, 59, 59, tzinfo=UTC)


# A few zones with every oddity: half hours, Lord Howe's half-hour summer time, negative summer time (Dublin),
# changes at midnight (Havana, Santiago, Beirut), a skipped day (Apia), offsets with seconds until 1972
# (Monrovia).
ZONES = [
    ZoneInfo(name)
    for name in (
        "UTC", "Europe/Berlin", "Europe/Dublin", "America/Chicago", "America/St_Johns", "America/Havana",
        "America/Santiago", "America/Sao_Paulo", "Africa/Cairo", "Africa/Monrovia", "Africa/Casablanca",
        "Asia/Beirut", "Asia/Kolkata", "Asia/Kathmandu", "Australia/Lord_Howe", "Pacific/Apia",
        "Pacific/Kiritimati", "Pacific/Chatham",
    )
]  # fmt: skip
zones = st.sampled_from(ZONES)
# Hypothesis wants naive bounds.
FIRST, LAST = (datetime.fromisoformat(day) for day in ("1970-01-03", "2200-12-29"))
instants = st.datetimes(FIRST, LAST, timezones=st.just(UTC))
near_changes = st.builds(
    lambda change, minutes: change + timedelta(minutes=minutes),
    st.sampled_from(
        [
            datetime(2027, 3, 28, 1, tzinfo=UTC), datetime(2027, 10, 31, 1, tzinfo=UTC),
            datetime(2027, 3, 14, 8, tzinfo=UTC), datetime(2027, 11, 7, 7, tzinfo=UTC),
            datetime(2027, 11, 7, 5, tzinfo=UTC), datetime(2027, 4, 3, 15, tzinfo=UTC),
            datetime(2011, 12, 30, 10, tzinfo=UTC), datetime(2026, 12, 31, 23, tzinfo=UTC),
        ]
    ),
    st.integers(-180, 180),
)  # fmt: skip
any_instant = st.one_of(instants, near_changes)
whole_offsets = st.integers(-15 * 60, 15 * 60).map(lambda minutes: timezone(timedelta(minutes=minutes)))


def rfc_spellings(moment: datetime) -> list[str]:
    """One aware time, as programs write it."""
    iso = moment.isoformat()
    offset = moment.strftime("%z")
    spellings = [iso, iso.replace("T", " "), iso.replace("T", "t"), iso.replace("-", "−")]
    spellings += [iso.replace(".", ","), moment.strftime("%Y%m%dT%H%M%S.%f") + offset]
    spellings += [
        moment.strftime("%Y-%m-%dT%H:%M:%S.%f") + offset,
        moment.strftime("%Y-%m-%d %H:%M:%S.%f ") + offset,
    ]
    return spellings


@given(any_instant, st.one_of(zones, whole_offsets), zones, st.integers(0, 7))
def test_an_instant_with_any_offset_in_any_notation_comes_back_as_itself(
    moment, spoken_in, business, spelling
):
    written = rfc_spellings(moment.astimezone(spoken_in))[spelling]
    assert parse_instant(written, zone=business, now=NOW) == moment


@given(any_instant, zones)
def test_an_instant_in_utc_comes_back_as_itself(moment, business):
    for zulu in ("Z", "z", " UTC", "+00:00", "-00:00"):
        written = moment.replace(tzinfo=None).isoformat() + zulu
        assert parse_instant(written, zone=business, now=NOW) == moment


MONTHS_DE = [
    "Januar",
    "Februar",
    "März",
    "April",
    "Mai",
    "Juni",
    "Juli",
    "August",
    "September",
    "Oktober",
    "November",
    "Dezember",
]
MONTHS_EN = [
    "January",
    "February",
    "March",
    "April",
    "May",
    "June",
    "July",
    "August",
    "September",
    "October",
    "November",
    "December",
]
DAYS_DE = ["Montag", "Dienstag", "Mittwoch", "Donnerstag", "Freitag", "Samstag", "Sonntag"]


def local_spellings(local: datetime) -> list[str]:
    """One wall-clock minute, as people write it."""
    german, english = MONTHS_DE[local.month - 1], MONTHS_EN[local.month - 1]
    half = f"{local.hour % 12 or 12}:{local.minute:02} {'am' if local.hour < 12 else 'pm'}"
    weekday = DAYS_DE[local.weekday()]
    return [
        local.strftime("%Y-%m-%dT%H:%M"),
        local.strftime("%Y-%m-%d %H:%M:%S"),
        local.strftime("%d.%m.%Y %H:%M"),
        f"{local.day}.{local.month}.{local.year} um {local.hour} Uhr {local.minute}",
        f"{weekday}, den {local.day}. {german} {local.year}, um {local.hour}:{local.minute:02} Uhr",
        f"{english} {local.day}, {local.year} at {half}",
        f"{local.day} {english} {local.year} {local:%H:%M}",
    ]


@given(any_instant, zones, st.integers(0, 6))
def test_a_wall_clock_time_in_any_notation_is_the_first_instant_that_shows_it(moment, zone, spelling):
    moment = moment.replace(second=0, microsecond=0)
    local = moment.astimezone(zone).replace(second=0, microsecond=0)
    found = parse_instant(local_spellings(local)[spelling], zone=zone, now=NOW)
    assert found == local.replace(fold=0).astimezone(UTC)
    assert found.astimezone(zone).replace(tzinfo=None) == local.replace(tzinfo=None)
    if local.fold == 0:
        assert found == local.astimezone(UTC)


@given(st.datetimes(FIRST, LAST), zones)
def test_a_wall_clock_time_is_either_shown_by_the_instant_found_or_does_not_exist(local, zone):
    found = outcome(local.isoformat(), zone=zone, now=NOW)
    shown = local.replace(tzinfo=zone).astimezone(UTC).astimezone(zone).replace(tzinfo=None)
    if isinstance(found, datetime):
        assert found.astimezone(zone).replace(tzinfo=None) == local
    else:
        assert found is InstantProblem.DOES_NOT_EXIST
        assert shown != local


@given(instants.filter(lambda now: 2000 <= now.year < 2150), any_instant, zones)
def test_without_a_year_the_instant_is_after_now_and_at_most_eight_years_away(now, moment, zone):
    local = moment.astimezone(zone)
    written = f"{local.day}. {MONTHS_DE[local.month - 1]} {local:%H:%M}"
    found = outcome(written, zone=zone, now=now)
    if not isinstance(found, datetime):
        assert found is InstantProblem.DOES_NOT_EXIST
        return
    assert now < found <= now + timedelta(days=366 * 8 + 1)
    shown = found.astimezone(zone)
    assert (shown.day, shown.month, shown.hour, shown.minute) == (
        local.day,
        local.month,
        local.hour,
        local.minute,
    )
    if (local.day, local.month) != (29, 2):
        assert found <= now + timedelta(days=367)


@given(any_instant, zones, st.integers(1, 6))
def test_any_other_weekday_contradicts(moment, zone, shift):
    local = moment.astimezone(zone)
    other = DAYS_DE[(local.weekday() + shift) % 7]
    written = f"{other}, {local:%d.%m.%Y %H:%M}"
    with pytest.raises(InvalidInstant) as caught:
        parse_instant(written, zone=zone, now=NOW)
    assert caught.value.reason is InstantProblem.WEEKDAY_CONTRADICTS


PIECES = [
    "2027", "-01", "-19", "19.", "01.", "Januar", "january", "März", "T", "t", "10", ":30", ":", "Uhr", "um",
    "at", "am", "pm", "a.m.", "Z", "z", "+01:00", "-0500", ",", ".", "/", "den", "the", "of", "Dienstag",
    "monday", "heute", "morgen", "übermorgen", "th", "29", "31", "0", "24", "60", "½", "٣", "MEZ",
    "Winterzeit",
]  # fmt: skip
WORDS = st.lists(st.sampled_from(PIECES)).flatmap(
    lambda pieces: st.sampled_from([" ".join(pieces), "".join(pieces)])
)
JSON = st.recursive(
    st.one_of(st.none(), st.booleans(), st.integers(), st.floats(), st.text(), WORDS),
    lambda inner: st.one_of(st.lists(inner, max_size=3), st.dictionaries(st.text(), inner, max_size=3)),
    max_leaves=5,
)


@given(st.one_of(WORDS, st.text(), JSON), zones, any_instant)
def test_nothing_but_invalid_instant_is_ever_raised(text, zone, now):
    found = outcome(text, zone=zone, now=now)
    if isinstance(found, datetime):
        assert found.tzinfo is UTC
        assert 1969 <= found.year <= 2201
    day = date_outcome(text, zone=zone, now=now)
    assert type(day) is date or day in set(InstantProblem) - {InstantProblem.NO_TIME}


@pytest.mark.parametrize(
    ("text", "day"),
    [
        ("2027-01-19", date(2027, 1, 19)), ("2027-01-19T10:00", date(2027, 1, 19)),
        ("2027-01-19T23:30:00Z", date(2027, 1, 20)), ("2027-01-19T23:30:00-06:00", date(2027, 1, 20)),
        ("2027-01-19T23:59:59Z", date(2027, 1, 19)), ("2027-01-19T00:00+05:00", date(2027, 1, 19)),
        ("2027-03-28T02:30", date(2027, 3, 28)), ("19.01.2027", date(2027, 1, 19)),
        ("19.1.27", date(2027, 1, 19)), ("19.1.", date(2027, 1, 19)), ("7. Januar", date(2027, 1, 7)),
        ("January 7th", date(2027, 1, 7)), ("7 January 2028", date(2028, 1, 7)),
        ("am 7. Januar", date(2027, 1, 7)), ("1. Dezember", date(2026, 12, 1)),
        ("30. November", date(2027, 11, 30)), ("Dienstag, den 19. Januar", date(2027, 1, 19)),
        ("heute", date(2026, 12, 1)), ("Heute", date(2026, 12, 1)), ("today", date(2026, 12, 1)),
        ("morgen", date(2026, 12, 2)), ("tomorrow", date(2026, 12, 2)), ("übermorgen", date(2026, 12, 3)),
        ("U\u0308bermorgen", date(2026, 12, 3)), ("day after tomorrow", date(2026, 12, 3)),
        ("the day after tomorrow", date(2026, 12, 3)), ("Dienstag", date(2026, 12, 1)),
        ("tuesday", date(2026, 12, 1)), ("Mittwoch", date(2026, 12, 2)), ("am Montag", date(2026, 12, 7)),
        ("on Sunday", date(2026, 12, 6)), ("this Friday", date(2026, 12, 4)),
        ("kommenden Sonnabend", date(2026, 12, 5)), ("Sa.", date(2026, 12, 5)),
    ],
)  # fmt: skip
def test_dates(text, day):
    assert parse_date(text, zone=BERLIN, now=NOW) == day


def test_today_is_the_business_day_not_the_utc_day():
    late = datetime(2026, 12, 1, 23, 30, tzinfo=UTC)
    assert parse_date("heute", zone=BERLIN, now=late) == date(2026, 12, 2)
    assert parse_date("today", zone=ZoneInfo("America/Chicago"), now=late) == date(2026, 12, 1)


@pytest.mark.parametrize(
    ("text", "reason"),
    [
        ("Mittwoch, den 19. Januar 2027", InstantProblem.WEEKDAY_CONTRADICTS),
        ("Monday, January 19th", InstantProblem.WEEKDAY_CONTRADICTS),
        ("nächsten Dienstag", InstantProblem.UNREADABLE), ("next Tuesday", InstantProblem.UNREADABLE),
        ("2027-02-29", InstantProblem.UNREADABLE), ("30. Februar", InstantProblem.UNREADABLE),
        ("1969-12-31", InstantProblem.UNREADABLE), ("2201-01-01", InstantProblem.UNREADABLE),
        ("2027-01-19T99:00", InstantProblem.UNREADABLE), ("", InstantProblem.UNREADABLE),
        (None, InstantProblem.UNREADABLE), (20270119, InstantProblem.UNREADABLE),
        ([], InstantProblem.UNREADABLE), ("{{date}}", InstantProblem.UNREADABLE),
        ("bald", InstantProblem.UNREADABLE),
    ],
)  # fmt: skip
def test_what_is_no_date(text, reason):
    with pytest.raises(InvalidInstant) as caught:
        parse_date(text, zone=BERLIN, now=NOW)
    assert caught.value.reason is reason


@given(any_instant, zones, st.sampled_from(DAYS_DE))
def test_a_weekday_is_that_day_within_the_coming_week(now, zone, weekday):
    assume(now.year < 2200)
    today = now.astimezone(zone).date()
    day = parse_date(weekday, zone=zone, now=now)
    assert 0 <= (day - today).days <= 6
    assert DAYS_DE[day.weekday()] == weekday


@given(st.dates(date(1970, 1, 3), date(2200, 12, 29)), zones)
def test_any_date_in_any_notation_comes_back_as_itself(day, zone):
    german, english = MONTHS_DE[day.month - 1], MONTHS_EN[day.month - 1]
    weekday = DAYS_DE[day.weekday()]
    numeric = [
        day.isoformat(),
        f"{day:%d.%m.%Y}",
        f"{day:%Y%m%d}",
        f"{weekday}, {day.day}.{day.month}.{day.year}",
    ]
    for written in [*numeric, f"{day.day}. {german} {day.year}", f"{english} {day.day}, {day.year}"]:
        assert parse_date(written, zone=zone, now=NOW) == day


@pytest.mark.parametrize(
    ("day", "zone", "start", "hours"),
    [
        (date(2027, 1, 19), "Europe/Berlin", datetime(2027, 1, 18, 23, tzinfo=UTC), 24),
        (date(2027, 3, 28), "Europe/Berlin", datetime(2027, 3, 27, 23, tzinfo=UTC), 23),
        (date(2027, 10, 31), "Europe/Berlin", datetime(2027, 10, 30, 22, tzinfo=UTC), 25),
        (date(2027, 4, 4), "Australia/Lord_Howe", datetime(2027, 4, 3, 13, tzinfo=UTC), 24.5),
        # midnight is skipped (01:00 is the first time of the day), or happens twice
        (date(2018, 11, 4), "America/Sao_Paulo", datetime(2018, 11, 4, 3, tzinfo=UTC), 23),
        (date(2027, 11, 7), "America/Havana", datetime(2027, 11, 7, 4, tzinfo=UTC), 25),
        # a day that never was
        (date(2011, 12, 30), "Pacific/Apia", datetime(2011, 12, 30, 10, tzinfo=UTC), 0),
    ],
)
def test_the_bounds_of_a_day(day, zone, start, hours):
    assert day_bounds(day, ZoneInfo(zone)) == (start, start + timedelta(hours=hours))


@given(any_instant, zones)
def test_an_instant_lies_within_the_bounds_of_its_day_and_days_meet(moment, zone):
    local = moment.astimezone(zone)
    start, end = day_bounds(local.date(), zone)
    assert start.tzinfo is UTC
    assert end == day_bounds(local.date() + timedelta(days=1), zone)[0]
    # In Newfoundland the clocks went back at one minute past midnight, so one evening came after its own
    # midnight.
    assume(not (zone.key == "America/St_Johns" and local.year <= 2011))
    assert start <= moment < end
    assert start == moment or start.astimezone(zone).date() == local.date()
    assert (start - timedelta(seconds=1)).astimezone(zone).date() < local.date()


@pytest.mark.parametrize(
    ("word", "part"),
    [
        ("morning", PartOfDay.MORNING), ("Vormittag", PartOfDay.MORNING), ("vormittags", PartOfDay.MORNING),
        ("morgens", PartOfDay.MORNING), ("am Morgen", PartOfDay.MORNING),
        ("in the morning", PartOfDay.MORNING), ("früh", PartOfDay.MORNING), ("Mittag", PartOfDay.NOON),
        ("noon", PartOfDay.NOON), ("afternoon", PartOfDay.AFTERNOON), ("Nachmittag", PartOfDay.AFTERNOON),
        ("am Nachmittag", PartOfDay.AFTERNOON), ("evening", PartOfDay.EVENING), ("Abend", PartOfDay.EVENING),
        ("heute Abend", PartOfDay.EVENING), ("late afternoon", PartOfDay.AFTERNOON),
        ("in the early evening", PartOfDay.EVENING), ("mid-morning", PartOfDay.MORNING),
        ("tomorrow afternoon", PartOfDay.AFTERNOON), ("morgen Vormittag", PartOfDay.MORNING),
        ("am späten Nachmittag", PartOfDay.AFTERNOON), ("früher Abend", PartOfDay.EVENING),
        ("around noon", PartOfDay.NOON), ("late", None), ("tomorrow", None),
        (PartOfDay.EVENING, PartOfDay.EVENING), ("egal", None),
        ("any", None), ("", None), (None, None), (5, None), ("x" * 500, None), ([], None),
    ],
)  # fmt: skip
def test_words_for_parts_of_the_day(word, part):
    assert read_part_of_day(word) is part


@pytest.mark.parametrize(
    ("hour", "minute", "parts"),
    [
        (0, 0, {"morning"}), (8, 0, {"morning"}), (10, 59, {"morning"}), (11, 0, {"morning", "noon"}),
        (11, 59, {"morning", "noon"}), (12, 0, {"noon", "afternoon"}), (14, 0, {"afternoon"}),
        (16, 59, {"afternoon"}), (17, 0, {"afternoon", "evening"}), (18, 0, {"evening"}),
        (23, 59, {"evening"}),
    ],
)  # fmt: skip
def test_parts_of_the_day_on_the_wall_clock(hour, minute, parts):
    moment = datetime(2027, 7, 19, hour, minute, tzinfo=BERLIN).astimezone(UTC)
    assert {part.value for part in PartOfDay if in_part_of_day(moment, BERLIN, part)} == parts


@given(any_instant, zones)
def test_every_instant_is_in_some_part(moment, zone):
    assert any(in_part_of_day(moment, zone, part) for part in PartOfDay)


def test_the_zones_of_this_file_exist_on_this_machine():
    assert {zone.key for zone in ZONES} <= zoneinfo.available_timezones()

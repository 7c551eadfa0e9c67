"""What is read of `Call.booking_details`, whoever wrote it."""

import datetime as dt
import json
from zoneinfo import ZoneInfo

import pytest

from sync.booking_details import Details, NoDetails, read_details

BERLIN = ZoneInfo("Europe/Berlin")
WRITTEN = dt.datetime(2026, 11, 21, 12, 0, tzinfo=dt.UTC)
TEN = dt.datetime(2026, 12, 1, 9, 0, tzinfo=dt.UTC)  # in Berlin


def read(value):
    return read_details(value, zone=BERLIN, now=WRITTEN)


OURS = {
    "service": "haircut",
    "service_id": 7,
    "start": "2026-12-01T09:00:00+00:00",
    "end": "2026-12-01T09:30:00+00:00",
    "attendee": {"name": "Anna Weber", "phone": "+4915112345678", "email": "Anna@example.org"},
    "uid": "abcDEF123",
}


def facts(details: Details):
    who = (details.name, details.phone, details.email)
    return (details.uid, details.number, details.starts_at, details.service_id, *who)


READ = ("abcDEF123", None, TEN, 7, "Anna Weber", "+4915112345678", "anna@example.org")


def test_what_we_write_ourselves_is_read_whole():
    assert facts(read(OURS)) == READ


@pytest.mark.parametrize("times", [1, 2, 3])
def test_it_may_be_encoded_up_to_three_times(times):
    value: object = OURS
    for _ in range(times):
        value = json.dumps(value)
    assert facts(read(value)) == READ


def test_four_times_is_nothing_anybody_wrote_on_purpose():
    with pytest.raises(NoDetails, match="unreadable_details"):
        read(json.dumps(json.dumps(json.dumps(json.dumps(OURS)))))


def test_it_may_lie_in_a_list_of_one_or_inside_another_object():
    assert facts(read([OURS])) == READ
    assert facts(read({"booking": OURS})) == READ
    assert facts(read({"data": {"appointment": json.dumps(OURS)}})) == READ


@pytest.mark.parametrize("key", ["uid", "calcom_booking_uid", "booking_uid", "bookingUid", "booking_id"])
def test_the_uid_has_had_many_names(key):
    assert read({key: "abcDEF123"}).uid == "abcDEF123"


@pytest.mark.parametrize("value", [5001, "5001"])
def test_a_booking_id_of_digits_is_cal_coms_number_and_no_uid(value):
    details = read({"booking_id": value})
    assert (details.uid, details.number) == ("", 5001)


def test_a_number_beside_the_uid_is_kept():
    details = read({"calcom_booking_id": 5001, "booking": {"uid": "abcDEF123"}})
    assert (details.uid, details.number) == ("abcDEF123", 5001)


@pytest.mark.parametrize(
    "uid",
    ["None", "unknown", "{{uid}}", "a/b", "../x", "a?b=c", "a b", "", None, True, 1.5, "x" * 129, -3, 0],
)
def test_what_cannot_be_a_uid_is_never_asked_for(uid):
    with pytest.raises(NoDetails, match="incomplete_details"):
        read({"uid": uid, "customer_name": "Anna"})


@pytest.mark.parametrize(
    "written",
    [
        {"start": "2026-12-01T09:00:00Z"},
        {"starts_at": "2026-12-01T10:00:00+01:00"},
        {"appointment_time": "2026-12-01 10:00"},
        {"start_time": "2026-12-01T10:00:00"},
        {"termin": "Dienstag, den 1. Dezember 2026, um 10 Uhr"},
        {"beginn": "01.12.2026 10:00"},
        {"datum": "01.12.2026", "uhrzeit": "10:00"},
        {"appointment_date": "2026-12-01", "appointment_time": "10:00"},
        {"date": "1. Dezember", "time": "10:00"},
    ],
)
def test_the_start_has_had_many_forms(written):
    assert read(written).starts_at == TEN


@pytest.mark.parametrize(
    "value",
    [
        *("10:00", "morgen", "2026-12-01", "2026-13-45T10:00", 1764579600, {}, [], None),
        *("9999-12-31T23:59:00Z", "9999-12-31T23:59:00-01:00", "0001-01-01T00:00:00Z"),
    ],
)
def test_a_start_that_is_none_is_not_guessed(value):
    assert read({"uid": "abc", "start": value}).starts_at is None


@pytest.mark.parametrize(
    "person",
    [
        {"attendees": [{"name": "Anna Weber", "phoneNumber": "0151 12345678", "email": "anna@example.org"}]},
        {"kunde": {"name": "Anna Weber", "telefon": "0151 12345678", "email": "anna@example.org"}},
        {
            "customer_name": "Anna Weber",
            "customer_phone": "0151 12345678",
            "customer_email": "anna@example.org",
        },
        {"kunde": "Anna Weber", "telefonnummer": "0151 12345678", "e_mail": "anna@example.org"},
    ],
)
def test_the_person_is_read_by_german_and_english_names(person):
    details = read({"uid": "abc", **person})
    assert (details.name, details.phone, details.email) == ("Anna Weber", "0151 12345678", "anna@example.org")


def test_a_placeholder_is_nobody():
    details = read({"uid": "abc", "customer_name": "Kunde", "customer_phone": "None", "email": "n/a"})
    assert (details.name, details.phone, details.email) == ("", "", "")


@pytest.mark.parametrize("value", [None, "", "  ", {}, [], "null", '""', "{}", "[]"])
def test_nothing_is_missing(value):
    with pytest.raises(NoDetails, match="missing_details"):
        read(value)


@pytest.mark.parametrize(
    "value",
    ["Termin am Montag", '{"uid": ', "[" * 5000, 7, True, 1.5, [1, 2], [None], "7", "[[]]", '"text"', "\x00"],
)
def test_what_is_no_object_is_unreadable(value):
    with pytest.raises(NoDetails, match="unreadable_details"):
        read(value)


@pytest.mark.parametrize(
    "value",
    [
        {"uid": {"a": 1}, "start": [1]},
        {"booking": {"booking": {"booking": {"booking": OURS}}}},
        {"attendee": "text", "attendees": [None], "start": "9" * 5000},
        {1: 2, "service_id": "x", "booking_id": "9" * 400},
        {"name": "\ud800", "notes": "x" * 100_000},
    ],
)
def test_whatever_else_it_is_it_is_incomplete_and_nothing_worse(value):
    with pytest.raises(NoDetails, match="incomplete_details"):
        read(value)

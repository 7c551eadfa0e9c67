"""What a language model puts into the arguments: spellings, languages, placeholders, times and their traps.

Time stands still at fixed days here, so that a table of spellings does not depend on the day it is run.
"""

from __future__ import annotations

import datetime as dt
import json
from collections.abc import Iterator
from itertools import pairwise
from time import process_time
from typing import Any

import pytest
import time_machine

from booking.models import Appointment, Service, SyncFailure
from calls.models import FunctionCall
from customers.models import Branch, Company, Customer, PhoneNumber
from tests.flows.phone import BERLIN
from tests.flows.state import posts

TUESDAY = dt.datetime(2026, 12, 1, 8, 0, tzinfo=dt.UTC)
WANTED = dt.datetime(2026, 12, 8, 9, 0, tzinfo=dt.UTC)  # Tuesday a week later, 10 in Berlin


@pytest.fixture
def december() -> Iterator[None]:
    with time_machine.travel(TUESDAY, tick=True):
        yield


def assert_asked_again(answer, calcom, *, field: str, sent: Any = None) -> None:
    assert answer.status == 200, sent
    assert answer.code == "invalid_request", (sent, answer.body)
    assert answer.body["success"] is False
    assert field in answer.body["errors"]
    assert answer.body["say"]
    assert posts(calcom) == 0
    assert not Appointment.objects.exists()
    assert FunctionCall.objects.latest("id").code == "invalid_request"


# --- When


SPELLINGS = (
    "2026-12-08T10:00:00+01:00",
    "2026-12-08T09:00:00Z",
    "2026-12-08T11:00:00+02:00",
    "2026-12-08T10:00",
    "2026-12-08 10:00",
    "08.12.2026 10:00",
    "8. Dezember 10 Uhr",
    "08.12. 10 Uhr",
    "8.12. 10 am",
    "Dienstag, den 8. Dezember 2026, um 10 Uhr",
    "December 8th 10 am",
    "Tuesday, December 8th 2026 at 10 AM",
    "8th December um 10 Uhr",
    "  2026-12-08T10:00:00+01:00 ",
)


def test_a_time_is_understood_in_german_english_and_both_and_is_one_booking(calcom, phone, verdict, december):
    caller = phone()
    for spelling in SPELLINGS:
        answer = caller.book(spelling)
        assert answer.code == "booked", spelling
        assert answer.body["appointment"]["start"] == "2026-12-08T10:00:00+01:00"
        assert answer.body["appointment"]["end"] == "2026-12-08T10:30:00+01:00"
        assert "Tuesday, December 8th, at 10 AM" in answer.body["say"]
    assert [booking.start for booking in calcom.bookings] == [WANTED]
    assert Appointment.objects.get().starts_at == WANTED
    assert posts(calcom) == 1
    verdict()


def test_fractions_of_a_second_are_the_same_instant_here_and_at_cal_com(calcom, phone, verdict, december):
    for hour, spelling in enumerate(("T{}:00:00.500", "T{}:00:00.000001+01:00", "T{}:00:00.999Z"), start=10):
        caller = phone(from_number=f"+49151123456{hour}")
        assert caller.book("2026-12-08" + spelling.format(hour)).code == "booked", spelling
    starts = Appointment.objects.values_list("calcom_booking_uid", "starts_at")
    assert dict(starts) == {booking.uid: booking.start for booking in calcom.active_bookings()}
    verdict()


UNCLEAR_TIMES = (
    None,
    "",
    "null",
    "morgen um 10",
    "tomorrow at 10",
    "next week",
    "irgendwann nachmittags",
    "2026-12-08",
    "December 8th, 3:30",
    "Tuesday 8 December at 5:00",
    "10:00",
    "{{start}}",
    "2026-13-45T10:00",
    "2026-12-08T25:00",
    1764579600,
    True,
    ["2026-12-08T10:00"],
    {"date": "2026-12-08"},
    "1" * 5000,
    "\U0001f553",
)


def test_a_time_that_is_not_clear_is_asked_for_and_never_guessed(calcom, phone, verdict, december):
    for value in UNCLEAR_TIMES:
        answer = phone().ask("book_appointment", service="haircut", customer_name="Anna Weber", start=value)
        assert_asked_again(answer, calcom, field="start", sent=value)
    verdict()


def test_a_weekday_that_contradicts_the_date_is_asked_about(calcom, phone, verdict, december):
    for spelling in (
        "Dienstag, den 9. Dezember 2026, 10 Uhr",
        "Mittwoch, den 8. Dezember, 10 Uhr",
        "Monday, December 8th 10 am",
        "Sonntag 08.12.2026 10:00",
    ):
        answer = phone().book(spelling)
        assert_asked_again(answer, calcom, field="start", sent=spelling)
        assert "weekday" in answer.body["say"]
    verdict()


def test_in_december_the_seventh_of_january_is_next_years(calcom, phone, verdict, december):
    assert phone().book("7. Januar um 10 Uhr").code == "booked"
    assert calcom.active_bookings()[0].start == dt.datetime(2027, 1, 7, 9, 0, tzinfo=dt.UTC)
    verdict()


def test_a_time_of_last_year_is_refused_before_cal_com_is_asked_to_book(calcom, phone, verdict, december):
    answer = phone().book("2025-12-08T10:00:00+01:00")
    assert answer.code == "too_soon"
    assert posts(calcom) == 0
    assert not Appointment.objects.exists()
    assert answer.body["alternatives"]
    assert all(dt.datetime.fromisoformat(each["start"]) > TUESDAY for each in answer.body["alternatives"])
    verdict()


def test_a_time_years_ahead_is_refused_before_cal_com_is_asked_to_book(calcom, phone, verdict, december):
    for spelling in ("2028-06-01T10:00:00+02:00", "1. Juni 2028 10 Uhr", "9999-12-31T10:00Z"):
        assert_asked_again(phone().book(spelling), calcom, field="start", sent=spelling)
    verdict()


@pytest.mark.parametrize("spelling", ["2026-12-01T08:59:00+01:00", "Dienstag, den 1. Dezember, um 8 Uhr"])
def test_a_time_a_moment_ago_is_too_soon_and_the_first_possible_one_is_offered(
    calcom, phone, verdict, december, spelling
):
    """Also with its weekday, which agrees: that of a year later does not."""
    answer = phone().book(spelling)
    assert answer.code == "too_soon", answer.body["say"]
    assert answer.body["alternatives"]
    assert posts(calcom) == 0
    verdict()


# --- When the clocks change


def test_a_time_that_the_clocks_skip_is_asked_about_and_not_shifted(calcom, phone, verdict):
    with time_machine.travel(dt.datetime(2027, 3, 20, 9, 0, tzinfo=dt.UTC), tick=True):
        answer = phone().book("2027-03-28T02:30")
        assert_asked_again(answer, calcom, field="start")
        assert "clocks" in answer.body["say"]
        verdict()


@pytest.mark.parametrize(
    ("spelling", "hour", "season"),
    [
        ("2027-10-31T02:30", 0, "daylight"),
        ("2027-10-31T02:30+02:00", 0, "daylight"),
        ("2027-10-31T02:30+01:00", 1, "standard"),
        ("31. Oktober 2027 2:30 Uhr Winterzeit", 1, "standard"),
    ],
)
def test_a_time_that_happens_twice_is_the_first_unless_told_and_is_said_so(
    calcom, phone, verdict, spelling, hour, season
):
    with time_machine.travel(dt.datetime(2027, 10, 20, 9, 0, tzinfo=dt.UTC), tick=True):
        answer = phone().book(spelling)
        assert answer.code == "booked", answer.body
        (booking,) = calcom.active_bookings()
        assert booking.start == dt.datetime(2027, 10, 31, hour, 30, tzinfo=dt.UTC)
        assert booking.end - booking.start == dt.timedelta(minutes=30)
        assert season in answer.body["say"]
        verdict()


@pytest.mark.parametrize(
    ("now", "spelling", "start"),
    [
        (
            dt.datetime(2027, 3, 20, 9, 0, tzinfo=dt.UTC),
            "2027-03-28T01:45",
            dt.datetime(2027, 3, 28, 0, 45, tzinfo=dt.UTC),
        ),
        (
            dt.datetime(2027, 10, 20, 9, 0, tzinfo=dt.UTC),
            "2027-10-31T02:45",
            dt.datetime(2027, 10, 31, 0, 45, tzinfo=dt.UTC),
        ),
    ],
    ids=["spring", "autumn"],
)
def test_a_booking_across_the_change_lasts_as_long_as_any_other(calcom, phone, verdict, now, spelling, start):
    with time_machine.travel(now, tick=True):
        answer = phone().book(spelling)
        assert answer.code == "booked", answer.body
        appointment = Appointment.objects.get()
        assert appointment.starts_at == start
        assert appointment.ends_at - appointment.starts_at == dt.timedelta(minutes=30)
        said = answer.body["appointment"]
        length = dt.datetime.fromisoformat(said["end"]) - dt.datetime.fromisoformat(said["start"])
        assert length == dt.timedelta(minutes=30)
        verdict()


def test_the_same_time_a_week_later_is_the_same_time_on_the_wall(calcom, phone, verdict):
    with time_machine.travel(dt.datetime(2027, 3, 20, 9, 0, tzinfo=dt.UTC), tick=True):
        caller = phone()
        answers = [caller.book("2027-03-24T10:00"), caller.book("2027-03-31T10:00")]
        assert [answer.code for answer in answers] == ["booked", "booked"]
        first, second = (booking.start for booking in calcom.active_bookings())
        assert second - first == dt.timedelta(days=7, hours=-1)
        assert [start.astimezone(BERLIN).hour for start in (first, second)] == [10, 10]
        assert all("10 AM" in answer.body["say"] for answer in answers)
        verdict()


def test_the_second_of_two_equal_times_is_booked_by_its_slot(calcom, phone, verdict):
    with time_machine.travel(dt.datetime(2027, 10, 20, 9, 0, tzinfo=dt.UTC), tick=True):
        caller = phone()
        slots = caller.ask("check_availability", service="haircut", date="2027-10-31").body["slots"]
        starts = [dt.datetime.fromisoformat(slot["start"]) for slot in slots]
        assert all(b - a == dt.timedelta(minutes=30) for a, b in pairwise(starts))
        assert len({slot["spoken"] for slot in slots}) == len(slots)
        (second,) = [slot for slot in slots if slot["start"] == "2027-10-31T02:30:00+01:00"]
        answer = caller.ask(
            "book_appointment", service="haircut", slot_id=second["slot_id"], customer_name="Anna Weber"
        )
        assert answer.code == "booked", answer.body
        assert calcom.active_bookings()[0].start == dt.datetime(2027, 10, 31, 1, 30, tzinfo=dt.UTC)
        verdict()


# --- Looked at one day, booked another


def _offer(caller, date: str, time: str) -> str:
    slots = caller.ask("check_availability", service="haircut", date=date).body["slots"]
    (slot,) = [slot for slot in slots if slot["start"].startswith(f"{date}T{time}")]
    slot_id: str = slot["slot_id"]
    return slot_id


def test_the_offered_slot_is_booked_by_its_id_alone(calcom, phone, verdict, december):
    caller = phone()
    slot_id = _offer(caller, "2026-12-10", "09:00")
    answer = caller.ask("book_appointment", slot_id=slot_id, customer_name="Anna Weber")
    assert answer.code == "booked", answer.body
    assert calcom.active_bookings()[0].start == dt.datetime(2026, 12, 10, 8, 0, tzinfo=dt.UTC)
    verdict()


def test_stale_words_beside_an_offered_slot_never_book_the_other_day(calcom, phone, verdict, december):
    caller = phone()
    slot_id = _offer(caller, "2026-12-10", "09:00")
    words = ("morgen um 9", "2026-12-02T09:00", "2. Dezember 9 Uhr", "tomorrow", "Mittwoch, 2. Dezember 9:00")
    for stale in words:
        answer = caller.ask(
            "book_appointment", service="haircut", slot_id=slot_id, start=stale, customer_name="Anna Weber"
        )
        assert answer.code in ("booked", "ambiguous", "invalid_request"), stale
        starts = {booking.start for booking in calcom.active_bookings()}
        assert starts <= {dt.datetime(2026, 12, 10, 8, 0, tzinfo=dt.UTC)}, stale
        assert starts or answer.code != "booked"
    verdict()


def test_stale_words_without_the_slot_are_not_taken_for_a_time(calcom, phone, verdict, december):
    caller = phone()
    _offer(caller, "2026-12-10", "09:00")
    assert_asked_again(caller.book("morgen um 9 Uhr"), calcom, field="start")
    verdict()


def test_a_slot_and_the_same_time_in_words_agree(calcom, phone, verdict, december):
    caller = phone()
    slot_id = _offer(caller, "2026-12-10", "09:00")
    answer = caller.ask(
        "book_appointment",
        service="Haarschnitt",
        slot_id=slot_id,
        start="10.12.2026 9 Uhr",
        customer_name="Anna",
    )
    assert answer.code == "booked", answer.body
    verdict()


# --- Who

NOBODY: list[Any] = [
    None,
    "",
    " ",
    "None",
    "null",
    "unknown",
    "unbekannt",
    "{{user_name}}",
    "{{customer_name}}",
    "<name>",
    "[Name]",
    "customer_name",
    "Kunde",
    "caller",
    "Anonymous",
    "n/a",
    "-",
    "???",
    "12345",
    "string",
    "Your Name",
    "Name not provided",
    "new patient",
    "my son",
    "Herr",
    True,
    12345,
    [],
    {},
]


def test_nobody_is_booked_under_a_placeholder(calcom, phone, verdict, december):
    heard = {repr(name): phone().book("2026-12-08T10:00", customer_name=name) for name in NOBODY}
    wrong = {name: answer.code for name, answer in heard.items() if answer.code != "invalid_request"}
    assert not wrong
    assert all("customer_name" in answer.body["errors"] for answer in heard.values())
    assert not Customer.objects.exists()
    assert not posts(calcom)
    assert phone().book("2026-12-08T10:00", customer_name="Anna Weber").code == "booked"
    verdict()


NAMES = {
    "  Anna \n Weber ": "Anna Weber",
    "Anna\x00 Weber": "Anna Weber",
    "José Ångström-Łuć": "José Ångström-Łuć",
    "李小龍": "李小龍",
    "Anna \U0001f484": "Anna \U0001f484",
    "Na Li": "Na Li",
    "O'Brien; DROP TABLE calls": "O'Brien; DROP TABLE calls",
    "<b>Anna</b>": "<b>Anna</b>",
}


def test_real_names_are_kept_as_they_are(calcom, phone, verdict, december):
    for hour, name in enumerate(NAMES, start=9):
        caller = phone(from_number=f"+49151123456{hour:02}")
        assert caller.book(f"2026-12-08T{hour:02}:00", customer_name=name).code == "booked", name
    assert [booking.attendee.name for booking in calcom.active_bookings()] == list(NAMES.values())
    stored = Appointment.objects.order_by("starts_at").values_list("attendee_name", flat=True)
    assert list(stored) == list(NAMES.values())
    verdict()


def test_a_name_of_five_thousand_characters_is_asked_for_again(calcom, phone, verdict, december):
    answer = phone().book("2026-12-08T10:00", customer_name="Anna " * 1000)
    assert_asked_again(answer, calcom, field="customer_name")
    verdict()


def test_all_the_accents_there_are_on_one_letter_keep_nobody_waiting(phone):
    accents = "a" + "\u0316\u0300" * 11_000
    fields = ("customer_name", "customer_phone", "customer_email", "service", "person", "notes", "slot_id")
    started = process_time()
    answer = phone().book("2026-12-08T10:00", **dict.fromkeys(fields, accents))
    assert answer.code == "invalid_request"
    # It took six seconds, in which no other thread ran.
    assert process_time() - started < 2


def test_a_phone_number_in_any_spelling_is_one_customer(calcom, phone, verdict, december):
    caller = phone()
    for spelling in (
        "0151 87654321",
        "+49 151 87654321",
        "0049 151/87654321",
        "+49 (0)151 8765 4321",
        "015187654321",
    ):
        assert caller.book("2026-12-08T10:00", customer_phone=spelling).code == "booked", spelling
    assert Customer.objects.get().phone == "+4915187654321"
    assert [booking.attendee.phone for booking in calcom.bookings] == ["+4915187654321"]
    verdict()


@pytest.mark.parametrize(
    ("calling", "said"),
    [("+436641234567", "0664 1234567"), ("+41791234567", "079 123 45 67"), ("+12127365000", "212 736 5000")],
)
def test_a_caller_from_abroad_who_says_the_calling_number_as_at_home_is_one_customer(
    calcom, phone, verdict, december, calling, said
):
    """It may be a number here too, and somebody else's."""
    answer = phone(from_number=calling).book("2026-12-08T10:00", customer_phone=said)
    assert answer.code == "booked", answer.body["say"]
    assert Customer.objects.get().phone == calling
    assert phone(from_number=calling).ask("list_appointments").body["appointments"]
    verdict()


def test_a_phone_number_sent_as_a_number_is_read_or_asked_for(calcom, phone, verdict, december):
    answer = phone().book("2026-12-08T10:00", customer_phone=4915187654321)
    if answer.code == "booked":
        assert Customer.objects.get().phone == "+4915187654321"
    else:
        assert_asked_again(answer, calcom, field="customer_phone")
    verdict()


def test_a_phone_number_that_was_not_said_is_the_callers(calcom, phone, verdict, december):
    caller = phone()
    absent = (None, "", "{{user_number}}", "unknown", "{{from_number}}", "phone_number", "no phone number")
    words = ("the same number", "caller's number", "die Nummer, von der ich anrufe", "Gleiche Nummer.")
    for value in (*absent, *words):
        assert caller.book("2026-12-08T10:00", customer_phone=value).code == "booked", value
    assert Customer.objects.get().phone == "+4915112345678"
    verdict()


def test_a_phone_number_that_is_none_is_asked_for_again(calcom, phone, verdict, december):
    cut_short = (
        "null fünf eins",
        "+44 7700 900 double one two",
        "+49 151 2345 sechs 78",
        "+49 800 1234-AUTO",
    )
    for value in ("12", "abc", "+49151", ["0151"], {"n": 1}, "my mother's number", *cut_short):
        answer = phone().book("2026-12-08T10:00", customer_phone=value)
        assert_asked_again(answer, calcom, field="customer_phone", sent=value)
    verdict()


def test_an_address_that_is_none_is_asked_for_again(calcom, phone, verdict, december):
    for value in ("anna at example", "anna@", "@", "a" * 300 + "@example.org", 5, ["a@b.org"]):
        answer = phone().book("2026-12-08T10:00", customer_email=value)
        assert_asked_again(answer, calcom, field="customer_email", sent=value)
    verdict()


def test_an_address_that_nobody_has_is_not_asked_for_again(calcom, phone, verdict, december):
    caller = phone()
    for value in ("no email", "No e-mail address", "none provided", "keine E-Mail-Adresse", "No."):
        assert caller.book("2026-12-08T10:00", customer_email=value).code == "booked", value
    verdict()


def test_an_address_reaches_cal_com_in_lower_case(calcom, phone, verdict, december):
    assert phone().book("2026-12-08T10:00", customer_email="Anna.Weber@Example.ORG").code == "booked"
    assert calcom.active_bookings()[0].attendee.email == "anna.weber@example.org"
    verdict()


# --- Callers without a number


OUR_NUMBER = "+493012345678"  # a line that is forwarded may signal itself


@pytest.mark.parametrize(
    "number",
    ["anonymous", "Restricted", "Unavailable", "+266696687", "", None, OUR_NUMBER, "030 12345678"],
)
def test_a_withheld_number_is_one_customer_per_call(calcom, phone, verdict, december, number):
    caller = phone(from_number=number)
    assert caller.book("2026-12-08T10:00").code == "booked"
    assert caller.book("2026-12-08T10:00", execution_message="…").body["replayed"] is True
    assert caller.book("2026-12-08T10:02").code == "booked"
    assert posts(calcom) == 1
    other = phone(from_number=number).book("2026-12-08T10:00")
    assert other.code == "slot_taken"
    assert Customer.objects.filter(phone=None).count() == 2
    (booking,) = calcom.active_bookings()
    assert booking.attendee.phone is None
    assert booking.attendee.email.endswith("@callers.salon.example")
    verdict()


def test_the_number_that_was_called_is_not_the_callers(calcom, phone, verdict, december):
    for caller, name, time in (("+4915112345678", "Anna Weber", "10:00"), ("anonymous", "Ben Kurz", "11:00")):
        booked = phone(from_number=caller).book(
            f"2026-12-08T{time}", customer_name=name, customer_phone="030 12345678"
        )
        assert booked.code == "booked"
    assert {customer.phone for customer in Customer.objects.all()} == {"+4915112345678", None}
    assert OUR_NUMBER not in {booking.attendee.phone for booking in calcom.bookings}
    verdict()


def test_a_withheld_number_without_a_domain_for_addresses_is_asked_for(
    calcom, phone, verdict, december, salon
):
    Company.objects.filter(pk=salon.pk).update(attendee_email_domain="")
    caller = phone(from_number="anonymous")
    assert_asked_again(caller.book("2026-12-08T10:00"), calcom, field="customer_phone")
    assert caller.book("2026-12-08T10:00", customer_phone="0151 87654321").code == "booked"
    verdict()


# --- What


def test_a_service_is_known_by_slug_name_and_alias_in_any_spelling(calcom, phone, verdict, december):
    caller = phone()
    spellings = ("haircut", "HAIRCUT", " Haarschnitt ", "haarschnitt", "Herrenhaarschnitt", "cut", "Cut")
    Service.objects.filter(slug="haircut").update(spoken_name="Check-up")
    heard = ("Check up", "checkup", "Check\u2011up", "check – up", "hair cut")
    for text in (*spellings, *heard, "Haarschnitt.", '"Haarschnitt"', "„Herrenhaarschnitt“"):
        assert caller.book("2026-12-08T10:00", service=text).code == "booked", text
    for text in ("Färben", "faerben", "FAERBEN", "färben"):
        answer = caller.book("2026-12-08T11:00", service=text)
        assert answer.body["appointment"]["service"] == "colour", text
    assert posts(calcom) == 2
    verdict()


def test_an_unknown_service_is_answered_with_those_there_are(calcom, phone, verdict, december):
    for value in (None, "", "Zahnreinigung", 42, True, ["haircut"], {"slug": "haircut"}, "{{service}}"):
        answer = phone().book("2026-12-08T10:00", service=value)
        assert answer.code in ("unknown_service", "ambiguous", "invalid_request"), value
        assert answer.body["success"] is False
        assert {service["slug"] for service in answer.body["services"]} >= {"haircut", "colour"}
    assert posts(calcom) == 0
    verdict()


def test_two_services_of_one_alias_are_asked_about(calcom, phone, verdict, december, salon, haircut):
    salon.services.filter(slug="shave").update(aliases=["cut"])
    answer = phone().book("2026-12-08T10:00", service="cut")
    assert answer.code == "ambiguous"
    assert {service["slug"] for service in answer.body["services"]} == {"haircut", "shave"}
    assert posts(calcom) == 0
    verdict()


def test_a_service_that_is_switched_off_is_not_booked(calcom, phone, verdict, december, haircut):
    haircut.is_active = False
    haircut.save()
    assert phone().book("2026-12-08T10:00").code == "unknown_service"
    assert posts(calcom) == 0
    verdict()


# --- Everything else


def test_arguments_nobody_knows_are_ignored(calcom, phone, verdict, december):
    extra: dict[str, Any] = {
        "foo": {"bar": [1, None]},
        "duration": 240,
        "lengthInMinutes": 5,
        "status": "cancelled",
        "success": True,
        "calcom_booking_uid": "abc",
        "metadata": {"attempt_id": "forged"},
    }
    assert phone().book("2026-12-08T10:00", **extra).code == "booked"
    (booking,) = calcom.active_bookings()
    assert booking.minutes == 30
    assert booking.metadata["attempt_id"] != "forged"
    verdict()


def test_arguments_that_are_no_object_are_answered_with_a_question(calcom, phone, verdict, december):
    shapes: list[Any] = [None, [], "", "nonsense", 7, True, {}, '["a"]', "{"]
    for count, args in enumerate(shapes, start=1):
        caller = phone()
        payload = {"name": "book_appointment", "call": caller.call(), "args": args}
        answer = caller.send("book_appointment", payload)
        assert (answer.status, answer.body["success"]) == (200, False), args
        assert answer.code in ("invalid_request", "unknown_service"), args
        assert FunctionCall.objects.count() == count
    assert posts(calcom) == 0
    verdict()


def test_arguments_in_a_text_are_read(calcom, phone, verdict, december):
    caller = phone()
    args = '{"service": "haircut", "start": "2026-12-08T10:00", "customer_name": "Anna Weber"}'
    answer = caller.send(
        "book_appointment", {"name": "book_appointment", "call": caller.call(), "args": args}
    )
    assert answer.code == "booked", answer.body
    verdict()


@pytest.mark.parametrize(
    "notes",
    [
        r'"\u0000NUL"',
        r'"\ud83d half an emoji"',
        "123456789012345678901234567890",
        "1e400",
        "[" * 200 + "]" * 200,
        '{"a": {"b": [1, 2, {"c": null}]}}',
        '"' + "x" * 20000 + '"',
    ],
    ids=["NUL", "surrogate", "huge number", "infinity", "deep", "object", "long"],
)
@pytest.mark.parametrize("form", ["object", "text"])
def test_any_json_value_gets_a_sentence_and_a_row(calcom, phone, verdict, december, notes, form):
    """As Retell sends it, as an object; and as some models send it, as a text that holds JSON."""
    caller = phone()
    args = f'{{"service": "haircut", "start": "2026-12-08T10:00", "customer_name": "Anna", "notes": {notes}}}'
    written = args if form == "object" else json.dumps(args)
    body = f'{{"name": "book_appointment", "call": {json.dumps(caller.call())}, "args": {written}}}'
    answer = caller.send("book_appointment", body.encode())
    assert answer.status == 200, answer.body
    assert answer.body["say"]
    assert answer.code in ("booked", "invalid_request", "unknown_service")
    assert FunctionCall.objects.get().code == answer.code
    verdict()


# --- Languages


def test_a_german_company_speaks_german(calcom, phone, verdict, december, salon):
    Company.objects.filter(pk=salon.pk).update(language="de")
    caller = phone()
    booked = caller.book("2026-12-08T10:00")
    assert "Dienstag, den 8. Dezember, um 10 Uhr" in booked.body["say"]
    assert "appointment" not in booked.body["say"]
    assert calcom.active_bookings()[0].attendee.language == "de"
    taken = phone(from_number="+4915187654321").book("2026-12-08T10:00", customer_name="Ben Kurz")
    asked = phone().book("irgendwann")
    for answer in (taken, asked):
        english = ("That time", "I did", "When would")
        assert not [words for words in english if words in answer.body["say"]]
    assert all("Uhr" in each["spoken"] for each in taken.body["alternatives"])
    verdict()


def test_an_english_company_speaks_english_whatever_the_caller_wrote(calcom, phone, verdict, december):
    answer = phone().book("8. Dezember 2026 um 10 Uhr", service="Herrenhaarschnitt")
    assert answer.code == "booked"
    assert "Tuesday, December 8th" in answer.body["say"]
    assert "Uhr" not in answer.body["say"]
    assert not SyncFailure.objects.exists()
    verdict()


def test_a_branch_in_another_zone_means_and_says_its_own_time(calcom, phone, verdict, december, salon):
    salon.branches.update(timezone="Europe/London")
    answer = phone().book("2026-12-08T10:00")
    assert answer.code == "booked", answer.body
    assert calcom.active_bookings()[0].start == dt.datetime(2026, 12, 8, 10, 0, tzinfo=dt.UTC)
    assert answer.body["appointment"]["start"] == "2026-12-08T10:00:00+00:00"
    assert "10 AM" in answer.body["say"]
    verdict()


def test_a_day_that_is_sent_as_its_midnight_in_utc_is_that_day_west_of_it_too(
    calcom, phone, verdict, december, salon
):
    salon.branches.update(timezone="America/Los_Angeles")
    caller = phone()
    for asked in (
        {"date": "2026-12-10T00:00:00Z"},
        {"date": "2026-12-10T23:59:59+00:00"},
        {"from": "2026-12-10T00:00:00.000Z", "to": "2026-12-10T23:59:59.999Z", "part_of_day": "evening"},
    ):
        slots = caller.ask("check_availability", service="haircut", **asked).body["slots"]
        assert {slot["start"][:10] for slot in slots} == {"2026-12-10"}, asked
    for start in ("2026-12-09T10:00", "2026-12-10T10:00", "2026-12-10T16:00", "2026-12-11T10:00"):
        assert caller.book(start).code == "booked"
    # One is on that day, and one begins at that very instant.
    assert caller.ask("cancel_appointment", day="2026-12-11T00:00:00Z").code == "ambiguous"
    answer = caller.ask("cancel_appointment", day="2026-12-09T00:00:00Z")
    assert answer.code == "cancelled", answer.body
    assert answer.body["appointment"]["start"] == "2026-12-09T10:00:00-08:00"
    verdict()


def test_what_is_offered_instead_of_a_move_is_told_in_the_zone_of_the_appointment(
    calcom, phone, verdict, december, salon
):
    london = Branch.objects.create(company=salon, name="London", slug="london", timezone="Europe/London")
    PhoneNumber.objects.create(branch=london, number="+442079460123")
    assert phone(to_number="+442079460123").book("2026-12-08T10:00").code == "booked"
    calcom.web_book(start="2026-12-08T11:00Z")
    answer = phone().ask("reschedule_appointment", new_start="2026-12-08T11:00")
    assert answer.code == "slot_taken", answer.body
    offered = answer.body["alternatives"]
    assert [each["start"][10:] for each in offered][-1] == "T12:00:00+00:00", offered
    assert offered[-1]["spoken"].endswith("at 12 PM"), offered
    assert phone().ask("reschedule_appointment", slot_id=offered[-1]["slot_id"]).code == "rescheduled"
    verdict()


def test_a_move_that_is_asked_for_again_is_one_to_the_time_of_the_same_place(
    calcom, phone, verdict, december, salon
):
    london = Branch.objects.create(company=salon, name="London", slug="london", timezone="Europe/London")
    PhoneNumber.objects.create(branch=london, number="+442079460123")
    assert phone(to_number="+442079460123").book("2026-12-08T10:00").code == "booked"
    caller = phone()
    for day in ("2026-12-08", "8. Dezember"):
        answer = caller.ask("reschedule_appointment", day=day, new_start="2026-12-10T11:00")
        assert answer.code == "rescheduled", answer.body["say"]
        assert answer.body["appointment"]["start"] == "2026-12-10T11:00:00+00:00"
    assert len(calcom.requests("reschedule")) == 1
    verdict()

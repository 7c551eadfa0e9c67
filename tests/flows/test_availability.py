"""What is free: shown from a short-lived cache, offered truthfully, and never trusted by a booking."""

from __future__ import annotations

import datetime as dt
import threading
from typing import Any

import pytest
import time_machine
from django.core.cache import cache as default_cache
from django.db import connections

from booking.models import Appointment, SyncFailure
from calls.models import Call
from customers.models import Company
from tests.flows.phone import BERLIN, Phone, at, offered

# django-redis can do more than Django's own interface says.
cache: Any = default_cache

SECOND_CALLER = "+4915187654321"


def check(caller: Phone, **arguments):
    arguments = {"service": "haircut", "date": at(10).date().isoformat(), **arguments}
    return caller.ask("check_availability", **arguments)


def starts(answer) -> list[dt.datetime]:
    return [dt.datetime.fromisoformat(slot["start"]) for slot in answer.body["slots"]]


# --- The cache and the truth


def test_a_web_booking_we_never_heard_of_ends_as_taken_and_the_next_look_is_right(calcom, phone, verdict):
    caller = phone()
    wanted = at(1)
    assert wanted in starts(check(caller))
    calcom.web_book("open", start=wanted, silent=True)
    stale = check(caller)
    assert len(calcom.requests("slots")) == 1
    (slot,) = [slot for slot in stale.body["slots"] if dt.datetime.fromisoformat(slot["start"]) == wanted]
    answer = caller.ask("book_appointment", slot_id=slot["slot_id"], customer_name="Anna Weber")
    assert answer.code == "slot_taken"
    assert offered(answer)
    assert wanted not in offered(answer)
    assert wanted not in starts(check(caller))
    assert not SyncFailure.objects.exists()
    verdict()


def test_a_slot_that_was_offered_before_the_secret_key_was_changed_is_booked(
    calcom, phone, settings, verdict
):
    """On several machines also the other way round: the one has the new key, the other not yet."""
    caller = phone()
    slots = check(caller).body["slots"]
    old = settings.SECRET_KEY
    for number, (key, fallbacks) in enumerate([("n" * 50, [old]), (old, ["n" * 50])]):
        settings.SECRET_KEY, settings.SECRET_KEY_FALLBACKS = key, fallbacks
        answer = caller.ask("book_appointment", slot_id=slots[number]["slot_id"], customer_name="Anna Weber")
        assert answer.code == "booked", answer.body["say"]
        slots = check(caller).body["slots"]
    settings.SECRET_KEY_FALLBACKS = []
    settings.SECRET_KEY = "o" * 50
    forged = caller.ask("book_appointment", slot_id=slots[2]["slot_id"], customer_name="Anna Weber")
    assert forged.code == "invalid_request"
    verdict()


def test_what_is_cached_lives_for_a_minute_at_most(calcom, phone, salon, verdict):
    check(phone())
    keys = [key for key in cache.iter_keys(f"availability:{salon.pk}:*") if ":asking" not in key]
    lifetimes = {key: cache.ttl(key) for key in keys if not key.endswith(":generation")}
    assert len(lifetimes) == 1
    assert all(0 < seconds <= 60 for seconds in lifetimes.values())
    verdict()


def test_our_own_booking_is_gone_from_the_next_look(calcom, phone, verdict):
    caller = phone()
    assert at(2) in starts(check(caller))
    assert caller.book(at(2)).code == "booked"
    assert at(2) not in starts(check(phone(from_number=SECOND_CALLER)))
    verdict()


def test_a_booking_of_one_service_is_gone_from_the_looks_at_the_hosts_other_services(
    calcom, phone, verdict, salon
):
    event_type = calcom.state.add_event_type("beard", hosts=["olga"], available="always")
    salon.services.create(slug="beard", name="Bart", duration_minutes=30, calcom_event_type_id=event_type.id)
    assert at(2) in starts(check(phone(), service="beard"))
    assert phone().book(at(2)).code == "booked"
    assert at(2) not in starts(check(phone(), service="beard"))
    verdict()


def test_what_was_read_while_a_booking_was_made_is_not_shown_afterwards(calcom, phone, verdict):
    """The list is read before the booking, and arrives after it."""
    reading = threading.Event()
    seen = []

    def look() -> None:
        try:
            seen.append(check(phone()))
        finally:
            connections.close_all()

    calcom.faults.add("slots", delay_after=0.8, call={"received": lambda _: reading.set()})
    thread = threading.Thread(target=look)
    thread.start()
    assert reading.wait(5)
    assert phone(from_number=SECOND_CALLER).book(at(3)).code == "booked"
    thread.join(10)
    assert seen[0].code == "ok"
    assert at(3) not in starts(check(phone()))
    verdict()


def test_ten_callers_who_ask_at_once_cost_one_request(calcom, phone, verdict):
    check(phone(), date=at(10, days=20).date().isoformat())  # the event type is known now
    calcom.clear_log()
    calcom.faults.add("slots", delay_before=0.3, times=None)
    answers = []

    def ask() -> None:
        try:
            answers.append(check(phone()))
        finally:
            connections.close_all()

    threads = [threading.Thread(target=ask) for _ in range(10)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join(20)
    assert [answer.code for answer in answers] == ["ok"] * 10
    assert len({str(starts(answer)) for answer in answers}) == 1
    assert len(calcom.requests("slots")) == 1
    verdict()


@pytest.mark.parametrize("rubbish", ["rubbish", b"\xff", 7, None, '{"a": 1}', "[1e400]"])
def test_a_cache_that_holds_rubbish_is_read_past(calcom, phone, verdict, salon, rubbish):
    first = starts(check(phone()))
    for key in list(cache.iter_keys(f"availability:{salon.pk}:*")):
        if not key.endswith(":generation"):
            cache.set(key, rubbish, 60)
    assert starts(check(phone())) == first
    verdict()


# --- Between the look and the booking


def test_a_slot_taken_between_look_and_booking_gets_fresh_alternatives(calcom, phone, verdict):
    caller = phone()
    slots = check(caller).body["slots"]
    taken = [dt.datetime.fromisoformat(slot["start"]) for slot in slots[4:7]]
    for start in taken:
        calcom.web_book("open", start=start, silent=True)
    answer = caller.ask("book_appointment", slot_id=slots[5]["slot_id"], customer_name="Anna Weber")
    assert answer.code == "slot_taken"
    assert len(offered(answer)) == 3
    assert not set(taken) & set(offered(answer))
    chosen = answer.body["alternatives"][0]
    assert chosen["spoken"]
    booked = caller.ask("book_appointment", slot_id=chosen["slot_id"], customer_name="Anna Weber")
    assert booked.code == "booked"
    assert booked.body["appointment"]["start"] == chosen["start"]
    verdict()


def test_a_slot_taken_while_our_create_is_on_its_way_is_taken_and_nothing_else(calcom, phone, verdict):
    calcom.faults.add(
        "create", call={"received": lambda _: calcom.web_book("open", start=at(10), silent=True)}
    )
    answer = phone().book(at(10))
    assert answer.code == "slot_taken"
    assert len(calcom.active_bookings()) == 1
    assert not SyncFailure.objects.exists()
    verdict()


def test_a_near_time_is_offered_and_booked_only_after_it_was_chosen(calcom, phone, verdict):
    calcom.state.event_type("open").slot_interval = 15
    calcom.web_book("open", start=at(12, 45), silent=True)
    caller = phone()
    answer = caller.book(at(13))
    assert answer.code == "slot_taken"
    assert at(13, 15) in offered(answer)
    assert "1:15 PM" in answer.body["say"]
    assert answer.body["appointment"] is None
    assert not Appointment.objects.exclude(status="failed").exists()
    assert len(calcom.active_bookings()) == 1
    (near,) = [each for each in answer.body["alternatives"] if "T13:15" in each["start"]]
    booked = caller.ask("book_appointment", slot_id=near["slot_id"], customer_name="Anna Weber")
    assert booked.code == "booked"
    assert "1:15 PM" in booked.body["say"]
    verdict()


def test_a_booking_left_open_whose_slot_was_sold_since_is_a_ticket_and_is_not_moved(
    calcom, phone, verdict, settings, settle_later
):
    settings.ANSWER_BUDGET_SECONDS = 2
    calcom.faults.timeout_before_commit()
    caller = phone()
    assert caller.book(at(10)).code == "checking"
    calcom.web_book("open", start=at(10), silent=True)
    settle_later()
    (failure,) = SyncFailure.objects.exclude(status="resolved").select_related("call")
    assert (failure.failure_type, failure.call) == (
        "orphaned_local",
        Call.objects.get(retell_call_id=caller.call_id),
    )
    assert len(calcom.requests("create")) == 1
    assert len(calcom.active_bookings()) == 1
    assert not calcom.requests("reschedule")
    verdict()


# --- What is shown


def test_only_what_lies_ahead_and_on_the_day_is_shown_in_order(calcom, phone, verdict):
    now = dt.datetime(2026, 12, 1, 10, 10, tzinfo=dt.UTC)
    with time_machine.travel(now, tick=True):
        today = starts(check(phone(), date="heute"))
        assert today == sorted(today)
        assert today[0] == dt.datetime(2026, 12, 1, 10, 30, tzinfo=dt.UTC)
        assert {start.date() for start in today} == {dt.date(2026, 12, 1)}
        tomorrow = starts(check(phone(), date="tomorrow"))
        assert {start.date() for start in tomorrow} == {dt.date(2026, 12, 2)}
        verdict()


def test_a_part_of_the_day_is_told_in_either_language(calcom, phone, verdict):
    for words, hours in {
        "morning": range(12),
        "vormittags": range(12),
        "afternoon": range(12, 18),
        "late afternoon": range(12, 18),
        "am Nachmittag": range(12, 18),
        "abends": range(17, 24),
    }.items():
        found = starts(check(phone(), part_of_day=words))
        assert found
        assert {start.hour for start in found} <= set(hours), words
    assert starts(check(phone(), part_of_day="nonsense")) == starts(check(phone()))
    verdict()


def test_of_a_span_that_is_too_long_it_is_said_how_far_was_looked(calcom, phone, salon, verdict):
    calcom.state.event_type("single").minimum_notice_minutes = 40 * 24 * 60
    salon.branches.update(timezone="UTC")
    now = dt.datetime(2026, 12, 1, 10, 10, tzinfo=dt.UTC)
    with time_machine.travel(now, tick=True):
        said = {"from": "2026-12-01", "to": "2027-02-01"}
        answer = check(phone(), service="shave", date=None, **said)
        assert (answer.code, starts(answer)) == ("ok", [])
        assert "Until Thursday, December 31st" in answer.body["say"]
        # Where all of it was looked through nothing is left open.
        answer = check(phone(), service="shave", date=None, **{**said, "to": "2026-12-20"})
        assert "Until" not in answer.body["say"]
        later = check(phone(), service="shave", date=None, **{**said, "from": "2027-01-01"})
        assert starts(later)
        verdict()


@pytest.mark.parametrize(
    ("now", "first", "free_from", "expected"),
    [
        # With a day of 23 hours among them, 31 times 24 hours reach an hour into a day that is free.
        ("2027-03-10T10", "2027-03-10", "2027-04-10T09", "Until Friday, April 9th nothing is free"),
        # With one of 25 hours they end an hour before the last one does.
        ("2026-10-01T10", "2026-10-01", "2026-10-31T23", "Saturday, October 31st, at 11 PM"),
        ("2026-10-20T10", None, "2026-10-26T23", "Monday, October 26th, at 11 PM"),
    ],
)
def test_days_are_looked_through_to_their_end_where_the_clocks_change_on_one_of_them(
    calcom, phone, now, first, free_from, expected
):
    """None of what lies on a day that was looked at is missing, and of no other is it said to be full."""
    now, free_from = (
        dt.datetime.fromisoformat(local).replace(tzinfo=BERLIN).astimezone(dt.UTC)
        for local in (now, free_from)
    )
    calcom.state.event_type("open").minimum_notice_minutes = (free_from - now) // dt.timedelta(minutes=1) - 5
    span = {"from": first, "to": "2027-05-30" if first else None}
    with time_machine.travel(now, tick=True):
        say = check(phone(), date=None, **span).body["say"]
    assert expected in say, say


def test_from_monday_to_friday_is_one_week_whatever_day_it_is(calcom, phone, verdict):
    wednesday = dt.datetime(2026, 12, 2, 10, tzinfo=dt.UTC)
    next_thursday = dt.timedelta(days=8)
    calcom.state.event_type("open").minimum_notice_minutes = next_thursday // dt.timedelta(minutes=1)
    with time_machine.travel(wednesday, tick=True):
        for span in ({"from": "Monday", "to": "Friday"}, {"from": "2026-12-07", "to": "Freitag"}):
            found = starts(check(phone(), date=None, **span))
            assert {start.date() for start in found} == {dt.date(2026, 12, 10), dt.date(2026, 12, 11)}, span
        # A date is none that comes every week: an end before the beginning says nothing.
        for end in ("2026-12-04", "4.12.", "Freitag, 4. Dezember"):
            answer = check(phone(), date=None, **{"from": "2026-12-10", "to": end})
            assert {start.date() for start in starts(answer)} == {dt.date(2026, 12, 10)}, end
        verdict()


def test_days_of_a_span_that_are_over_take_none_of_those_to_come(calcom, phone, verdict):
    first, last = at(0, days=-60), at(0, days=10)
    asked = {"from": first.date().isoformat(), "to": last.date().isoformat()}
    answer = check(phone(), service="shave", date=None, **asked)
    assert (answer.code, bool(starts(answer))) == ("ok", True), answer.body["say"]
    verdict()


def test_a_span_of_days_is_looked_through(calcom, phone, verdict):
    calcom.state.event_type("single")  # weekdays nine to five
    first, last = at(9), at(9, days=9)
    answer = check(
        phone(),
        service="shave",
        date=None,
        **{"from": first.date().isoformat(), "to": last.date().isoformat()},
    )
    assert answer.code == "ok"
    assert starts(answer)
    assert all(first.date() <= start.date() <= last.date() for start in starts(answer))
    assert len(starts(answer)) <= 40
    verdict()


@pytest.mark.parametrize(
    ("first", "last", "expected"),
    [
        (at(14), at(16), [at(14), at(14, 30), at(15), at(15, 30), at(16)]),
        (at(22), None, [at(22), at(22, 30), at(23)]),
        (None, at(0, 30), [at(0), at(0, 30)]),
        (at(22), at(22), [at(22), at(22, 30), at(23)]),
    ],
)
def test_the_times_of_a_span_count_too(calcom, phone, verdict, first, last, expected):
    day = at(10).date().isoformat()
    said = {"from": first.isoformat() if first else day, "to": last.isoformat() if last else day}
    answer = check(phone(), date=None, **said)
    assert (answer.code, starts(answer)) == ("ok", expected)
    verdict()


@pytest.mark.parametrize(
    "said",
    [
        {"from": "{day}T00:00:00", "to": "{day}T00:00:00"},
        {"from": "{day}T00:00:00Z", "to": "{day}T00:00:00.000Z"},
        {"from": "{day} 00:00", "to": "{day}T00:00+01:00"},
        {"from": "{day}T16:00:00", "to": "{day}T14:00:00"},
        {"from": "{day}"},
    ],
)
def test_midnight_means_the_day_and_an_end_before_the_beginning_nothing(calcom, phone, verdict, said):
    day = at(10).date().isoformat()
    answer = check(phone(), date=None, **{name: text.format(day=day) for name, text in said.items()})
    assert at(16) in starts(answer)
    assert {start.date() for start in starts(answer)} == {at(10).date()}
    verdict()


def test_what_is_not_shown_is_counted(calcom, phone, verdict):
    answer = check(phone())
    assert len(starts(answer)) == 40
    assert answer.body["more"] == 7
    assert check(phone(), part_of_day="morning").body["more"] == 0
    verdict()


def test_a_day_that_is_over_or_unclear_is_asked_about(calcom, phone, verdict):
    for date in ("2020-01-01", "irgendwann", "2026-02-30", 7, True, ["2026-12-01"], "32.13.2026"):
        answer = check(phone(), date=date)
        assert (answer.status, answer.code) == (200, "invalid_request"), date
        assert answer.body["say"]
    assert not calcom.requests("slots")
    verdict()


def test_what_is_too_far_ahead_to_be_booked_is_not_offered(calcom, phone, verdict):
    """An event type of Cal.com's has no end by itself."""
    too_far, near_enough = (at(10, days=days).date().isoformat() for days in (402, 397))
    for asked in ({"date": too_far}, {"date": None, "from": too_far}):
        answer = check(phone(), **asked)
        assert (answer.code, answer.body.get("errors")) == ("invalid_request", {"date": "too far ahead"})
        assert "too far ahead" in answer.body["say"]
    caller = phone()
    assert caller.book(check(caller, date=near_enough).body["slots"][0]["start"]).code == "booked"
    verdict()


def test_a_day_that_was_not_said_means_the_next_days(calcom, phone, verdict):
    for date in (None, "", "{{date}}", "null"):
        answer = check(phone(), date=date)
        assert answer.code == "ok"
        assert starts(answer)
    verdict()


def test_a_full_day_is_said_to_be_full(calcom, phone, verdict):
    saturday = at(9)
    while saturday.weekday() != 5:
        saturday += dt.timedelta(days=1)
    answer = check(phone(), service="shave", date=saturday.date().isoformat())
    assert (answer.code, answer.body["slots"]) == ("ok", [])
    assert "Nothing is free" in answer.body["say"]
    verdict()


# --- When it cannot be found out


@pytest.mark.parametrize("kind", ["5xx", "reset", "html", "timeout"])
def test_could_not_ask_is_never_told_as_nothing_free(calcom, phone, verdict, settings, kind):
    settings.ANSWER_BUDGET_SECONDS = 2
    calcom.faults.outage(kind)
    answer = check(phone())
    assert (answer.status, answer.code, answer.body["success"]) == (200, "unavailable", False)
    assert "slots" not in answer.body
    assert "Nothing" not in answer.body["say"]
    assert answer.seconds < 3
    verdict()


@pytest.mark.parametrize("kind", ["html", "empty", "not_json", "list"])
def test_an_unreadable_list_is_not_an_empty_one(calcom, phone, settings, kind, verdict):
    settings.ANSWER_BUDGET_SECONDS = 2
    calcom.faults.unreadable_answer(kind, operation="slots", times=None)
    answer = check(phone())
    assert answer.code == "unavailable"
    verdict()


NO_LISTS: tuple[dict[str, Any], ...] = (
    {"status": 200, "body": {"status": "success", "data": {"slots": []}}},
    {"status": 200, "body": {"error": {"message": "Internal server error"}, "data": {}}},
    {"status": 202, "body": {"status": "success", "data": {}}},
    {"status": 206, "body": {"status": "success", "data": {}}},
)


@pytest.mark.parametrize("answer", NO_LISTS, ids=str)
def test_what_is_no_list_of_days_does_not_say_that_nothing_is_free(calcom, phone, settings, answer):
    settings.ANSWER_BUDGET_SECONDS = 2
    calcom.faults.add("slots", commit=False, times=None, **answer)
    assert check(phone()).code == "unavailable"


def test_one_failed_read_is_repeated_within_the_budget(calcom, phone, verdict):
    calcom.faults.server_error(commit=False, operation="slots")
    assert check(phone()).code == "ok"
    verdict()


def test_a_key_that_is_not_accepted_is_one_failure_for_many_looks(calcom, phone, verdict):
    calcom.state.revoke_key("cal_test_key")
    for _ in range(3):
        assert check(phone()).code == "unavailable"
    (failure,) = SyncFailure.objects.all()
    assert (failure.failure_type, failure.occurrences, failure.status) == ("config_error", 3, "manual_review")
    verdict()


def test_a_booking_without_alternatives_to_offer_is_refused_all_the_same(calcom, phone, verdict, settings):
    settings.ANSWER_BUDGET_SECONDS = 3
    calcom.web_book("open", start=at(10), silent=True)
    assert phone(from_number=SECOND_CALLER).book(at(11), customer_name="Ben Kurz").code == "booked"
    calcom.faults.add("slots", hang=True, commit=False, times=None)
    answer = phone().book(at(10))
    assert (answer.code, answer.body["alternatives"]) == ("slot_taken", [])
    assert answer.seconds < 4
    assert answer.body["say"]
    verdict()


# --- Services


def test_the_services_are_listed_with_what_an_agent_needs(calcom, phone, verdict, salon, haircut):
    salon.services.filter(slug="massage").update(is_active=False)
    answer = phone().ask("list_services")
    assert answer.code == "ok"
    assert {service["slug"] for service in answer.body["services"]} == {
        "haircut",
        "colour",
        "advice",
        "shave",
    }
    shown = {service["slug"]: service for service in answer.body["services"]}["haircut"]
    assert shown == {
        "slug": "haircut",
        "name": "Haarschnitt",
        "spoken": "Haarschnitt",
        "duration_minutes": 30,
        "price": "",
        "person": "",
    }
    assert "Haarschnitt" in answer.body["say"]
    assert "Massage" not in str(answer.body)
    assert not calcom.log
    verdict()


def test_a_company_without_services_says_so(calcom, phone, salon, verdict):
    salon.services.update(is_active=False)
    answer = phone().ask("list_services")
    assert (answer.code, answer.body["services"]) == ("ok", [])
    assert answer.body["say"]
    assert check(phone()).code == "unknown_service"
    verdict()


def test_where_there_is_only_one_service_it_need_not_be_named(calcom, phone, verdict, salon):
    salon.services.exclude(slug="haircut").update(is_active=False)
    assert check(phone(), service=None).code == "ok"
    assert phone().book(at(10), service="").code == "booked"
    verdict()


def test_slots_are_spoken_in_the_companys_language(calcom, phone, salon, verdict):
    Company.objects.filter(pk=salon.pk).update(language="de")
    answer = check(phone())
    assert all("Uhr" in slot["spoken"] for slot in answer.body["slots"])
    assert "Uhr" in answer.body["say"]
    assert "Free" not in answer.body["say"]
    verdict()

"""The same request again, and many requests at once: one booking, and an honest answer for everybody.

Real threads on a real database. Whoever is faster differs from run to run; what must hold does not.
"""

from __future__ import annotations

import datetime as dt
from collections import Counter
from collections.abc import Callable
from typing import Any

import pytest
import time_machine
from django.core.cache import cache
from django.utils import timezone

from booking import attempts, idempotency
from booking.models import Appointment, BookingAttempt, CallbackRequest, Service, SyncFailure
from calls.models import Call, FunctionCall
from customers.models import Customer
from tests.flows.at_once import at_once
from tests.flows.database_refusals import refusals
from tests.flows.phone import BERLIN, Answer, Phone, at, move
from tests.flows.state import open_failures, posts, proven
from tests.waiting import wait_until

SECOND_CALLER = "+4915187654321"


def in_the_meantime(first: Callable[[], Answer], then: Callable[[], Answer], *, when) -> list[Answer]:
    """Carry `first` out, and `then` as soon as `when()` holds while the first is still running."""

    def second() -> Answer:
        wait_until(when, why_not=lambda: "the moment to step in never came")
        return then()

    return at_once(first, second)


def codes(answers: list[Answer]) -> Counter[str]:
    return Counter(answer.code for answer in answers)


# --- The same again


@pytest.mark.parametrize("times", [2, 5])
def test_a_repeat_after_success_gives_the_same_answer_and_asks_cal_com_nothing(calcom, phone, verdict, times):
    caller = phone()
    first = caller.book(at(10))
    asked = len(calcom.log)
    for number in range(times):
        again = caller.book(at(10), execution_message=f"One moment, please. {number}")
        assert again.body == {**first.body, "replayed": True}
    assert len(calcom.log) == asked
    assert FunctionCall.objects.count() == 1
    assert len(proven()) == 1
    verdict()


BEFORE_MIDNIGHT: tuple[tuple[str, dict[str, Any]], ...] = (
    ("book_appointment", {"service": "haircut", "customer_name": "Anna Weber", "start": "2026-12-02T10:00"}),
    ("reschedule_appointment", {"new_start": "2026-12-02T15:00"}),
    ("cancel_appointment", {}),
)


@pytest.mark.parametrize("steps", [1, 2, 3])
def test_a_repeat_after_midnight_does_not_call_tomorrow_what_is_today(calcom, phone, verdict, steps):
    caller = phone()
    evening = dt.datetime(2026, 12, 1, 23, 58, tzinfo=BERLIN).astimezone(dt.UTC)
    with time_machine.travel(evening, tick=True):
        for function, said in BEFORE_MIDNIGHT[:steps]:
            first = caller.ask(function, **said)
        assert caller.ask(function, **said).body == {**first.body, "replayed": True}
        calcom.clear_log()
    with time_machine.travel(evening + dt.timedelta(minutes=3), tick=True):
        again = caller.ask(function, **said)
    assert "tomorrow" in first.body["say"]
    say = first.body["say"].replace("tomorrow", "today")
    assert again.body == {**first.body, "say": say, "replayed": True}
    assert {entry.method for entry in calcom.log} <= {"GET"}
    verdict()


@pytest.mark.parametrize(
    "spelling",
    [
        lambda start: start.astimezone(dt.UTC).isoformat(),
        lambda start: start.replace(tzinfo=None).isoformat(),
        lambda start: start.strftime("%d.%m.%Y %H:%M"),
        lambda start: (start + dt.timedelta(minutes=5)).isoformat(),
        lambda start: (start - dt.timedelta(minutes=5)).isoformat(),
    ],
    ids=["in UTC", "local", "in German", "five minutes later", "five minutes earlier"],
)
def test_the_same_booking_in_other_words_is_the_same_booking(calcom, phone, verdict, spelling):
    caller = phone()
    first = caller.book(at(10))
    again = caller.book(spelling(at(10)))
    assert again.code == "booked"
    assert again.body["appointment"] == first.body["appointment"]
    assert posts(calcom) == 1
    assert len(proven()) == 1
    verdict()


def test_the_same_booking_by_the_functions_old_name_is_the_same_booking(calcom, phone, verdict):
    caller = phone()
    first = caller.book(at(10))
    again = caller.ask(
        "collect_appointment_data", service="haircut", customer_name="Anna Weber", start=at(10).isoformat()
    )
    assert (again.code, again.uid) == ("booked", first.uid)
    assert posts(calcom) == 1
    verdict()


def test_six_minutes_away_is_another_booking(calcom, phone, verdict):
    caller = phone()
    assert caller.book(at(10), service="colour").code == "booked"
    assert caller.book(at(10, 6), service="colour").code == "booked"
    assert len({appointment.calcom_booking_uid for appointment in proven()}) == 2
    verdict()


def test_the_same_booking_from_another_call_is_already_booked(calcom, phone, verdict):
    first_call = phone()
    first = first_call.book(at(10))
    second = phone().book(at(10))
    assert (second.code, second.uid) == ("already_booked", first.uid)
    assert second.body["success"] is True
    assert posts(calcom) == 1
    assert Appointment.objects.get().call == Call.objects.get(retell_call_id=first_call.call_id)
    verdict()


def test_what_was_cancelled_on_the_web_unheard_is_booked_again_by_another_call(calcom, phone, verdict):
    first = phone().book(at(10))
    calcom.web_cancel(first.uid, silent=True)
    second = phone().book(at(10))
    assert second.code == "booked"
    assert second.uid != first.uid
    assert [booking.uid for booking in calcom.active_bookings()] == [second.uid]
    verdict()


def test_what_was_moved_on_the_web_unheard_is_not_already_booked_where_it_was(calcom, phone, verdict):
    first = phone().book(at(10))
    moved = calcom.web_reschedule(first.uid, at(14), silent=True)
    second = phone().book(at(10))
    assert second.code == "booked"
    assert {booking.uid for booking in calcom.active_bookings()} == {moved.uid, second.uid}
    assert Appointment.objects.get(calcom_booking_uid=moved.uid).starts_at == at(14)
    verdict()


@pytest.mark.parametrize(("minutes", "code"), [(2, "unavailable"), (0, "already_booked")])
def test_what_calcom_has_lost_unheard_is_not_already_booked_and_a_ticket(calcom, phone, minutes, code):
    """What was just booked a replica of Cal.com's may not know yet."""
    first = phone().book(at(10))
    Appointment.objects.update(updated_at=timezone.now() - dt.timedelta(minutes=minutes))
    calcom.erase(first.uid)
    assert phone().book(at(10)).code == code
    lost = code == "unavailable"
    assert [failure.failure_type for failure in open_failures()] == ["orphaned_local"] * lost
    assert CallbackRequest.objects.filter(status="open").count() == int(lost)


@pytest.mark.parametrize("kind", ["5xx", "reset", "html"])
def test_what_was_booked_before_is_already_booked_while_calcom_cannot_be_asked(calcom, phone, verdict, kind):
    first = phone().book(at(10))
    calcom.faults.outage(kind)
    second = phone().book(at(10))
    assert (second.code, second.uid) == ("already_booked", first.uid)
    calcom.faults.restore()
    verdict()


def test_while_calcom_is_known_to_be_down_it_is_not_asked_about_what_was_booked_before(
    calcom, phone, verdict
):
    first = phone().book(at(10))
    calcom.faults.outage()
    for hour in (9, 11, 12, 13, 14):
        phone(from_number=f"+49151876543{hour:02}").book(at(hour, days=8))
    calcom.clear_log()
    second = phone().book(at(10))
    assert (second.code, second.uid) == ("already_booked", first.uid)
    assert not calcom.requests("get")
    calcom.faults.restore()
    verdict()


def test_a_repeat_of_what_was_cancelled_since_is_not_answered_from_memory(calcom, phone, verdict):
    caller = phone()
    first = caller.book(at(10))
    calcom.web_cancel(first.uid, silent=True)
    Appointment.objects.update(status="cancelled")
    again = caller.book(at(10))
    assert (again.code, again.body["replayed"]) == ("booked", False)
    assert again.uid != first.uid
    assert posts(calcom) == 2
    assert len(calcom.active_bookings()) == 1
    assert Call.objects.get().appointment == Appointment.objects.get(calcom_booking_uid=again.uid)
    verdict()


def test_an_empty_cache_books_nothing_twice(calcom, phone, verdict):
    assert phone().book(at(10)).code == "booked"
    cache.clear()
    assert phone().book(at(10)).code == "already_booked"
    assert posts(calcom) == 1
    verdict()


@pytest.mark.parametrize("lie", ["another appointment", "a deleted one", "rubbish"])
def test_a_lying_cache_books_nothing_twice_and_gives_nobody_another_ones_appointment(
    calcom, phone, verdict, lie
):
    theirs = phone(from_number=SECOND_CALLER).book(at(9), customer_name="Ben Kurz")
    caller = phone()
    mine = caller.book(at(10))
    appointment = Appointment.objects.get(calcom_booking_uid=mine.uid)
    other = Appointment.objects.get(calcom_booking_uid=theirs.uid)
    key = f"idempotency:{appointment.company_id}:{appointment.idempotency_key}"
    assert cache.get(key) == appointment.pk
    cache.set(key, {"another appointment": other.pk, "a deleted one": 10**9, "rubbish": "rubbish"}[lie])
    again = phone().book(at(10))
    assert (again.code, again.uid) == ("already_booked", mine.uid)
    assert posts(calcom) == 2
    verdict()


def test_without_any_cache_it_books_once_and_repeats_are_repeats(calcom, phone, verdict, settings):
    settings.CACHES = {
        "default": {**settings.CACHES["default"], "LOCATION": "redis://127.0.0.1:1/0"},
    }
    caller = phone()
    first = caller.book(at(10))
    assert first.code == "booked", first.body
    assert caller.book(at(10)).body["replayed"] is True
    assert phone().book(at(10)).code == "already_booked"
    assert phone(from_number=SECOND_CALLER).book(at(10), customer_name="Ben Kurz").code == "slot_taken"
    assert len(calcom.active_bookings()) == 1
    verdict()


# --- Again, before the first one is answered


def test_a_repeat_after_an_unknown_outcome_joins_the_attempt_that_is_being_settled(
    calcom, phone, verdict, settings
):
    settings.ANSWER_BUDGET_SECONDS = 2
    calcom.faults.timeout_after_commit()
    caller = phone()
    assert caller.book(at(10)).code == "checking"
    again = caller.book(at(10))
    assert again.code == "booked"
    assert again.uid == calcom.active_bookings()[0].uid
    assert posts(calcom) == 1
    assert BookingAttempt.objects.count() == 1
    verdict()


def test_a_repeat_from_another_call_joins_it_too_and_is_already_booked(calcom, phone, verdict, settings):
    settings.ANSWER_BUDGET_SECONDS = 2
    calcom.faults.timeout_after_commit()
    assert phone().book(at(10)).code == "checking"
    assert phone().book(at(10)).code == "already_booked"
    assert posts(calcom) == 1
    verdict()


def test_a_caller_who_interrupts_and_asks_again_waits_for_the_first_answer(calcom, phone, verdict):
    """The result of the first is never read out, because the caller spoke into it; it runs on."""
    calcom.faults.answer_late(1.0)
    caller = phone()
    answers = in_the_meantime(
        lambda: caller.book(at(10)),
        lambda: caller.book(at(10), execution_message="Sorry, once more."),
        when=lambda: posts(calcom) == 1,
    )
    assert codes(answers) == {"booked": 2}
    assert answers[0].uid == answers[1].uid
    assert posts(calcom) == 1
    assert len(proven()) == 1
    verdict()


def test_who_waits_for_a_first_request_that_is_refused_hears_the_same_refusal(calcom, phone, verdict):
    calcom.web_book("open", start=at(10), silent=True)
    calcom.faults.add("create", delay_before=0.8)
    caller = phone()
    answers = in_the_meantime(
        lambda: caller.book(at(10)),
        lambda: caller.book(at(10), execution_message="Sorry, once more."),
        when=lambda: posts(calcom) == 1,
    )
    assert codes(answers) == {"slot_taken": 2}
    assert all(answer.body["alternatives"] for answer in answers)
    assert not proven()
    assert not SyncFailure.objects.exists()
    verdict()


@pytest.mark.parametrize("service", ["shave", "colour"])
def test_who_waits_for_a_first_request_that_met_their_own_move_hears_what_it_hears(
    calcom, phone, verdict, settings, service
):
    """Refused, or answered with the booking that was moved there: taken by nobody but themselves."""
    caller = phone()
    assert caller.book(at(10), service=service).code == "booked"
    settings.ANSWER_BUDGET_SECONDS = 2
    calcom.faults.timeout_after_commit(operation="reschedule")
    assert move(caller, at(14)).code == "checking"
    settings.ANSWER_BUDGET_SECONDS = 8
    calcom.faults.add("create", delay_before=0.8)
    answers = in_the_meantime(
        lambda: phone().book(at(14), service=service),
        lambda: phone().book(at(14), service=service),
        when=lambda: posts(calcom) == 2,
    )
    assert set(codes(answers)) <= {"already_booked", "checking"}
    assert not BookingAttempt.objects.filter(told="slot_taken").exists()
    assert phone().book(at(14), service=service).code == "already_booked"
    assert len(proven()) == len(calcom.active_bookings()) == 1
    verdict()


@pytest.mark.parametrize(("service", "key"), [("shave", "single"), ("colour", "roundrobin_open")])
def test_who_waits_for_a_first_request_that_met_what_they_booked_on_the_web_hears_what_it_hears(
    calcom, phone, verdict, service, key
):
    caller = phone()
    calcom.clock.advance(-600)
    made = calcom.web_book(
        key, start=at(10), name="Anna Weber", email=None, phone=caller.from_number, silent=True
    )
    calcom.clock.advance(600)
    calcom.faults.add("create", delay_before=0.8)
    answers = in_the_meantime(
        lambda: caller.book(at(10), service=service),
        lambda: phone().book(at(10), service=service),
        when=lambda: posts(calcom) == 1,
    )
    assert set(codes(answers)) <= {"already_booked", "checking"}
    assert phone().book(at(10), service=service).uid == made.uid
    verdict()


@pytest.mark.parametrize(
    ("words", "code"),
    [
        ("the maximum number of active bookings has been reached", "not_allowed"),
        ("This booking is not allowed within the minimum notice period", "too_soon"),
        ("responses - {nobody_knows}error_required_field, ", "unavailable"),
    ],
)
def test_who_waits_for_a_first_request_that_comes_to_nothing_hears_the_same(
    calcom, phone, verdict, words, code
):
    calcom.faults.refuse(words, delay_before=0.8)
    answers = in_the_meantime(
        lambda: phone().book(at(10)), lambda: phone().book(at(10)), when=lambda: posts(calcom) == 1
    )
    assert codes(answers) == {code: 2}
    assert posts(calcom) == 1
    assert not proven()
    verdict()


def test_who_waits_longer_than_the_budget_hears_checking_and_later_the_truth(
    calcom, phone, verdict, settings
):
    settings.ANSWER_BUDGET_SECONDS = 2
    calcom.faults.timeout_after_commit()
    caller = phone()
    answers = in_the_meantime(
        lambda: caller.book(at(10)),
        lambda: caller.book(at(10), execution_message="Sorry, once more."),
        when=lambda: posts(calcom) == 1,
    )
    assert set(codes(answers)) <= {"checking", "booked"}
    assert all(answer.seconds < 3 for answer in answers)
    assert caller.book(at(10)).code == "booked"
    assert posts(calcom) == 1
    verdict()


# --- At the same moment


def test_ten_identical_requests_at_once_make_one_booking_and_get_one_answer(calcom, phone, verdict):
    calcom.state.thinking_seconds = 0.1
    call_id = phone().call_id
    callers = [phone(call_id=call_id) for _ in range(10)]
    answers = at_once(*[lambda caller=caller: caller.book(at(10)) for caller in callers])
    assert codes(answers) == {"booked": 10}
    assert len({answer.uid for answer in answers}) == 1
    assert posts(calcom) == 1
    assert len(calcom.bookings) == 1
    assert Appointment.objects.count() == BookingAttempt.objects.count() == 1
    assert Call.objects.count() == Customer.objects.count() == FunctionCall.objects.count() == 1
    assert not SyncFailure.objects.exists()
    verdict()


@pytest.mark.parametrize("service", ["colour", "advice"])
def test_ten_identical_requests_at_once_also_where_cal_com_would_book_twice(calcom, phone, verdict, service):
    calcom.state.thinking_seconds = 0.1
    call_id = phone().call_id
    callers = [phone(call_id=call_id) for _ in range(10)]
    answers = at_once(*[lambda caller=caller: caller.book(at(10), service=service) for caller in callers])
    assert codes(answers) == {"requested" if service == "advice" else "booked": 10}
    assert posts(calcom) == 1
    assert len(calcom.bookings) == 1
    verdict()


@pytest.mark.parametrize("count", [2, 20])
def test_of_many_callers_for_one_slot_exactly_one_is_booked(calcom, phone, verdict, count):
    calcom.state.thinking_seconds = 0.05
    callers = [phone(from_number=f"+49151123456{number:02}") for number in range(count)]
    names = [
        f"{given} Kurz"
        for given in ("Ada", "Bea", "Cem", "Dirk", "Ella", "Finn", "Gero", "Hugo", "Ida", "Jan")
    ]
    answers = at_once(
        *[
            lambda caller=caller, name=names[number % 10]: caller.book(at(10), customer_name=name)
            for number, caller in enumerate(callers)
        ]
    )
    assert codes(answers) == {"booked": 1, "slot_taken": count - 1}
    for answer in answers:
        if answer.code == "slot_taken":
            starts = [each["start"] for each in answer.body["alternatives"]]
            assert starts
            assert at(10).isoformat() not in starts
    assert len(calcom.active_bookings()) == 1
    (appointment,) = proven()
    assert appointment.calcom_booking_uid == calcom.active_bookings()[0].uid
    assert not SyncFailure.objects.exists()
    assert not CallbackRequest.objects.exists()
    assert not calcom.requests("cancel")
    assert Call.objects.filter(booking_confirmed=True).count() == 1
    verdict()


def test_of_three_callers_for_a_slot_with_two_hosts_two_are_booked(calcom, phone, verdict):
    calcom.state.thinking_seconds = 0.05
    people = [("+4915112345601", "Ada Kurz"), ("+4915112345602", "Bea Lang"), ("+4915112345603", "Cem Breit")]
    answers = at_once(
        *[
            lambda number=number, name=name: phone(from_number=number).book(
                at(10), service="colour", customer_name=name
            )
            for number, name in people
        ]
    )
    assert codes(answers) == {"booked": 2, "slot_taken": 1}
    assert len({booking.host for booking in calcom.active_bookings()}) == 2
    assert not SyncFailure.objects.exists()
    verdict()


def test_one_person_with_two_calls_at_once_gets_one_booking(calcom, phone, verdict):
    calcom.state.thinking_seconds = 0.1
    answers = at_once(lambda: phone().book(at(10)), lambda: phone().book(at(10)))
    assert codes(answers) == {"booked": 1, "already_booked": 1}
    assert answers[0].uid == answers[1].uid
    assert posts(calcom) == 1
    assert Customer.objects.count() == 1
    assert Call.objects.count() == 2
    verdict()


def test_one_person_with_two_calls_at_once_gets_one_booking_where_cal_com_would_make_two(
    calcom, phone, verdict
):
    calcom.state.thinking_seconds = 0.1
    answers = at_once(
        lambda: phone().book(at(10), service="colour"), lambda: phone().book(at(10), service="colour")
    )
    assert codes(answers) == {"booked": 1, "already_booked": 1}
    assert len(calcom.bookings) == 1
    verdict()


def test_near_duplicates_at_once_are_one_booking(calcom, phone, verdict):
    """Neither the key nor the slot is the same; only the window of five minutes tells that they are one."""
    calcom.state.thinking_seconds = 0.1
    answers = at_once(
        lambda: phone().book(at(10), service="colour"), lambda: phone().book(at(10, 3), service="colour")
    )
    assert codes(answers) == {"booked": 1, "already_booked": 1}
    assert answers[0].uid == answers[1].uid
    assert posts(calcom) == 1
    verdict()


# --- Two persons, one phone


@pytest.mark.parametrize(
    ("first", "second"),
    [
        ("Anna Weber", "Peter Weber"),
        ("İbrahim Yılmaz", "Ismail Yılmaz"),
        ("John Smith II", "John Smith III"),
    ],
)
def test_a_second_person_on_the_same_phone_is_asked_for_and_not_merged_with_the_first(
    calcom, phone, verdict, first, second
):
    caller = phone()
    assert caller.book(at(10), service="colour", customer_name=first).code == "booked"
    answer = caller.book(at(10), service="colour", customer_name=second)
    assert answer.code == "ambiguous"
    assert answer.body["appointment"] is None
    assert first.split()[0] not in answer.body["say"]
    assert posts(calcom) == 1
    other = caller.book(at(10), service="colour", customer_name=second, customer_phone="0151 87654321")
    assert other.code == "booked"
    assert {booking.attendee.name for booking in calcom.active_bookings()} == {first, second}
    verdict()


def test_two_persons_on_one_phone_at_the_same_moment_are_not_merged(calcom, phone, verdict):
    calcom.state.thinking_seconds = 0.1
    answers = at_once(
        lambda: phone().book(at(10), service="colour", customer_name="Anna Weber"),
        lambda: phone().book(at(10), service="colour", customer_name="Peter Weber"),
    )
    assert codes(answers) == {"booked": 1, "ambiguous": 1}
    assert len(calcom.active_bookings()) == 1
    verdict()


@pytest.mark.parametrize(
    ("first", "again"), [("Anna Meier", "Frau Mayer"), ("John Smith Jr.", "John Smith, Jr.")]
)
def test_a_name_heard_differently_is_still_the_same_person(calcom, phone, verdict, first, again):
    assert phone().book(at(10), customer_name=first).code == "booked"
    assert phone().book(at(10), customer_name=again).code == "already_booked"
    assert posts(calcom) == 1
    verdict()


# --- One host, several services


@pytest.fixture
def perm(calcom, salon) -> Service:
    """An hour with the host who cuts hair for half an hour."""
    event_type = calcom.state.add_event_type("perm", hosts=["olga"], minutes=60, available="always")
    return Service.objects.create(
        company=salon, slug="perm", name="Dauerwelle", duration_minutes=60, calcom_event_type_id=event_type.id
    )


@pytest.mark.parametrize("first", ["perm", "haircut"])
def test_another_service_of_the_same_host_that_overlaps_is_not_sold(calcom, phone, verdict, perm, first):
    wishes = {"perm": at(10), "haircut": at(10, 30)}
    booked = phone().book(wishes[first], service=first)
    assert booked.code == "booked"
    appointment = proven()[0]
    minutes = 60 if first == "perm" else 30
    assert appointment.ends_at - appointment.starts_at == dt.timedelta(minutes=minutes)
    second = "haircut" if first == "perm" else "perm"
    answer = phone(from_number=SECOND_CALLER).book(wishes[second], service=second, customer_name="Ben Kurz")
    assert answer.code == "slot_taken"
    length = dt.timedelta(minutes=60 if second == "perm" else 30)
    for each in answer.body["alternatives"]:
        start = dt.datetime.fromisoformat(each["start"])
        assert start >= appointment.ends_at or start + length <= appointment.starts_at
    assert len(calcom.active_bookings()) == 1
    verdict()


def test_one_person_may_book_two_services_one_after_the_other_in_one_call(calcom, phone, verdict, perm):
    caller = phone()
    assert caller.book(at(10), service="perm").code == "booked"
    assert caller.book(at(11)).code == "booked"
    assert len(proven()) == 2
    assert {appointment.call for appointment in proven()} == {Call.objects.get()}
    verdict()


# --- A lease that ran out while its holder is still at Cal.com


def _expire_leases() -> None:
    past = dt.datetime.now(dt.UTC) - dt.timedelta(seconds=1)
    assert BookingAttempt.objects.filter(state="claimed").update(lease_expires_at=past) == 1


def test_an_expired_lease_does_not_let_the_same_booking_be_made_twice(
    calcom, phone, verdict, settings, settle_later
):
    calcom.faults.add("create", delay_before=1.0)

    def second():
        _expire_leases()
        return phone().book(at(10), service="colour")

    answers = in_the_meantime(
        lambda: phone().book(at(10), service="colour"), second, when=lambda: posts(calcom) == 1
    )
    assert answers[0].code in ("booked", "checking")
    assert answers[1].code in ("already_booked", "checking")
    settle_later(seconds=60)
    assert posts(calcom) == 1
    assert len(calcom.bookings) == 1
    assert len(proven()) == 1
    assert phone().book(at(10), service="colour").code == "already_booked"
    verdict()


def test_an_expired_lease_does_not_sell_one_slot_to_two_callers(calcom, phone, verdict, settle_later):
    calcom.faults.add("create", delay_before=1.0)

    def second():
        _expire_leases()
        return phone(from_number=SECOND_CALLER).book(at(10), customer_name="Ben Kurz")

    answers = in_the_meantime(lambda: phone().book(at(10)), second, when=lambda: posts(calcom) == 1)
    settle_later(seconds=60)
    assert codes(answers) == {"booked": 1, "slot_taken": 1}
    assert len(calcom.active_bookings()) == 1
    assert len(proven()) == 1
    assert not SyncFailure.objects.exists()
    verdict()


def test_a_slot_that_a_process_held_when_it_died_is_held_no_longer_than_its_lease(
    calcom, salon, phone, verdict, settings, settle_later
):
    settings.ANSWER_BUDGET_SECONDS = 2
    calcom.faults.timeout_before_commit()
    assert phone().book(at(10), service="colour").code == "checking"
    event_type = Service.objects.get(slug="colour").calcom_event_type_id
    BookingAttempt.objects.update(
        state="claimed", write_lock=attempts.lock_of_slot(salon.pk, event_type, at(10))
    )
    _expire_leases()
    settings.ANSWER_BUDGET_SECONDS = 8
    other = phone(from_number=SECOND_CALLER)
    assert other.book(at(10), service="colour", customer_name="Ben Kurz").code == "booked"
    settle_later()
    verdict()


def test_a_completer_that_runs_while_the_request_is_on_its_way_changes_nothing(
    calcom, phone, verdict, settle_later, settings
):
    """Also where a lease was set that is shorter than a request may take."""
    settings.ATTEMPT_LEASE_SECONDS = 1
    calcom.faults.answer_late(0.8)
    reports = []

    def sweep() -> Answer:
        reports.append(settle_later(seconds=5))
        return Answer(status=200, body={"code": "swept"}, seconds=0)

    answers = in_the_meantime(lambda: phone().book(at(10)), sweep, when=lambda: posts(calcom) == 1)
    assert answers[0].code == "booked"
    assert reports[0].looked_at == 0
    assert posts(calcom) == 1
    verdict()


def test_a_booking_that_the_completer_has_settled_meanwhile_is_told_as_booked(
    calcom, phone, verdict, settle_later
):
    calcom.faults.answer_late(1.0)

    def sweep() -> Answer:
        settle_later()
        return Answer(status=200, body={"code": proven()[0].status}, seconds=0)

    answers = in_the_meantime(lambda: phone().book(at(10)), sweep, when=calcom.active_bookings)
    assert [answer.code for answer in answers] == ["booked", "scheduled"]
    assert answers[0].uid == proven()[0].calcom_booking_uid
    assert not calcom.requests("cancel")
    assert not SyncFailure.objects.exists()
    verdict()


def test_a_request_that_gives_up_after_the_completer_has_settled_it_leaves_it_settled(
    calcom, phone, verdict, settings, settle_later
):
    settings.ANSWER_BUDGET_SECONDS = 3
    calcom.faults.timeout_after_commit()

    def sweep() -> Answer:
        settle_later()
        return Answer(status=200, body={"code": proven()[0].status}, seconds=0)

    answers = in_the_meantime(lambda: phone().book(at(10)), sweep, when=calcom.active_bookings)
    assert [answer.code for answer in answers] == ["checking", "scheduled"]
    assert BookingAttempt.objects.get().state == "succeeded"
    assert phone().book(at(10)).code == "already_booked"
    verdict()


def test_a_yes_that_comes_after_somebody_has_cancelled_it_does_not_bring_it_back(
    calcom, phone, verdict, settle_later
):
    calcom.faults.answer_late(1.0)

    def cancel_and_sweep() -> Answer:
        calcom.web_cancel(calcom.bookings[0].uid, silent=True)
        settle_later()
        return Answer(status=200, body={"code": "swept"}, seconds=0)

    answers = in_the_meantime(lambda: phone().book(at(10)), cancel_and_sweep, when=calcom.active_bookings)
    assert answers[0].code == "checking"
    assert not proven()
    assert BookingAttempt.objects.get().state == "compensated"
    verdict()


def test_what_the_completer_took_over_while_it_waited_for_the_slot_is_not_sent_any_more(
    calcom, phone, verdict, settle_later
):
    """As after a process that was stopped for a while and goes on."""
    calcom.faults.add("create", delay_before=1.5)

    def sweep() -> Answer:
        wait_until(lambda: BookingAttempt.objects.count() == 2)
        waiting = BookingAttempt.objects.filter(write_lock=None)
        waiting.update(lease_expires_at=timezone.now() - dt.timedelta(seconds=1))
        settle_later(seconds=0)
        return Answer(status=200, body={"code": "swept"}, seconds=0)

    def second() -> Answer:
        wait_until(lambda: posts(calcom))
        other: Phone = phone(from_number=SECOND_CALLER)
        return other.book(at(10), service="colour", customer_name="Ben Kurz")

    answers = at_once(lambda: phone().book(at(10), service="colour"), second, sweep)
    assert [answer.code for answer in answers] == ["booked", "unavailable", "swept"]
    assert BookingAttempt.objects.filter(looks=1, state="not_sent").count() == 1
    assert posts(calcom) == 1
    assert CallbackRequest.objects.count() == 1
    verdict()


def test_two_completers_at_once_settle_an_attempt_once(calcom, phone, verdict, settings, settle_later):
    settings.ANSWER_BUDGET_SECONDS = 2
    calcom.faults.timeout_after_commit()
    assert phone().book(at(10)).code == "checking"
    reports = []

    def sweep() -> Answer:
        reports.append(settle_later(seconds=5))
        return Answer(status=200, body={"code": "swept"}, seconds=0)

    at_once(sweep, sweep, sweep)
    assert len(proven()) == 1
    assert posts(calcom) == 1
    assert not calcom.requests("cancel")
    assert not SyncFailure.objects.exists()
    verdict()


# --- Keys


def test_the_key_of_a_booking_is_the_one_that_reports_and_reconcilers_compute(calcom, phone, verdict):
    assert phone().book(at(10)).code == "booked"
    appointment: Any = Appointment.objects.get()
    wanted = idempotency.booking_key(
        customer_id=appointment.customer_id,
        service_id=appointment.service_id,
        starts_at=at(10).astimezone(BERLIN),
        source="retell",
    )
    booking = calcom.active_bookings()[0]
    assert appointment.idempotency_key == wanted
    assert booking.metadata == {
        "call_id": appointment.call.retell_call_id,
        "attempt_id": str(BookingAttempt.objects.get().uuid),
        "idempotency_key": wanted,
        "company": "salon",
    }
    verdict()


def test_no_two_callers_are_given_the_same_identity_at_cal_com(calcom, phone, verdict):
    callers: list[Phone] = [
        phone(),
        phone(from_number=SECOND_CALLER),
        phone(from_number="anonymous"),
        phone(from_number="anonymous"),
    ]
    for hour, caller in enumerate(callers, start=9):
        assert caller.book(at(hour), service="massage").code == "booked"
    addresses = [booking.attendee.email for booking in calcom.active_bookings()]
    assert len(set(addresses)) == 4
    assert all(address == address.lower() for address in addresses)
    verdict()


def test_our_own_writes_to_one_slot_are_made_one_after_the_other(calcom, phone, verdict):
    """Cal.com does not serialise two creates of one start, so ours must never be there together."""
    phone().book(at(9), service="colour")  # the event type is known by now
    there: list[int] = []
    together: list[int] = []

    def come(exchange) -> None:
        there.append(1)
        together.append(len(there))

    calcom.faults.add(
        "create",
        times=None,
        delay_before=0.3,
        call={"received": come, "before_answer": lambda exchange: there.pop()},
    )
    callers = [phone(from_number=f"+4915187654{number:03}") for number in range(2)]
    names = ("Ben Kurz", "Eva Lang")
    answers = at_once(
        *(
            lambda caller=caller, name=name: caller.book(at(11), service="colour", customer_name=name)
            for caller, name in zip(callers, names, strict=True)
        )
    )
    assert codes(answers) == {"booked": 2}  # two hosts
    assert together == [1, 1]
    verdict()


@pytest.fixture
def moved_away_and_back(calcom, phone, run):
    """The uid of an appointment of ten o'clock that the web has moved to two, which we heard, and back again,
    which we did not.
    """
    first = phone().book(at(10))
    away = calcom.web_reschedule(first.uid, at(14), silent=True)
    run()
    return calcom.web_reschedule(away.uid, at(10), silent=True).uid


def test_what_the_web_moved_back_unheard_is_the_same_appointment_to_another_call(
    calcom, phone, run, verdict, moved_away_and_back
):
    answer = phone().book(at(10))
    assert (answer.code, answer.uid) == ("already_booked", moved_away_and_back)
    run()
    assert [row.calcom_booking_uid for row in proven()] == [moved_away_and_back]
    verdict()


def test_what_the_web_moved_back_unheard_is_not_undone_when_another_call_cannot_be_stored(
    calcom, phone, moved_away_and_back
):
    with refusals() as refusing:
        refusing.add("appointments", "UPDATE", when="NEW.status = 'scheduled'", text="refused")
        phone().book(at(10))
    assert calcom.booking(moved_away_and_back).is_active
    assert not calcom.requests("cancel")

"""What was said decides what a yes is about: a repeat of a change is a yes only for what was changed."""

from __future__ import annotations

import pytest
from django.utils import timezone

from booking.models import Service
from booking.provisioning import provision
from tests.flows.phone import BERLIN, at, move


@pytest.fixture
def cancelled(phone):
    """A call that has just cancelled one haircut."""
    caller = phone()
    caller.book(at(10))
    assert caller.ask("cancel_appointment", day=at(10).date().isoformat()).code == "cancelled"
    return caller


def test_what_is_cancelled_again_by_its_day_or_service_is_a_yes(cancelled):
    for words in ({"day": at(10).date().isoformat()}, {"service": "haircut"}, {}):
        again = cancelled.ask("cancel_appointment", **words, reason=f"again, {words}")
        assert again.code == "cancelled", words


@pytest.mark.parametrize(
    "words",
    [{"day": at(10, days=14).date().isoformat()}, {"service": "colour"}, {"service": "plumbing"}],
    ids=["another day", "another service", "an unknown service"],
)
def test_cancelling_what_never_was_is_no_yes_because_another_was_cancelled(cancelled, words):
    answer = cancelled.ask("cancel_appointment", **words)
    assert (answer.code, answer.body["success"]) == ("not_found", False), answer.body["say"]


@pytest.mark.parametrize(
    "words",
    [{}, {"day": at(10).date().isoformat()}, {"service": "haircut"}],
    ids=["nothing", "its day", "its service"],
)
def test_words_that_fit_what_was_just_cancelled_change_no_other_appointment(calcom, phone, words):
    """A caller speaks into the answer, and the agent asks again, without the id this time."""
    caller = phone()
    first = caller.book(at(10)).body["appointment"]["id"]
    second = caller.book(at(12)).body["appointment"]["id"]
    assert caller.ask("cancel_appointment", appointment=first).code == "cancelled"
    again = caller.ask("cancel_appointment", **words)
    assert again.code == "ambiguous", again.body["say"]
    assert [each["id"] for each in again.body["appointments"]] == [second]
    rather = move(caller, at(15), **words)
    assert rather.code == "ambiguous", "it may be the cancelled one that they rather want moved"
    assert [booking.start for booking in calcom.active_bookings()] == [at(12)]
    assert caller.ask("cancel_appointment", appointment=second).code == "cancelled"


@pytest.mark.parametrize("words", [{}, {"service": "haircut"}], ids=["nothing", "its service"])
def test_what_was_booked_since_a_cancellation_is_meant_without_asking(calcom, phone, words):
    caller = phone()
    for hour in (10, 12):
        assert caller.book(at(hour)).code == "booked"
        answer = caller.ask("cancel_appointment", **words)
        assert answer.code == "cancelled", answer.body["say"]
        assert answer.body["appointment"]["start"] == at(hour).astimezone(BERLIN).isoformat()
    assert caller.book(at(14)).code == "booked"
    assert move(caller, at(15), **words).code == "rescheduled"
    assert [booking.start for booking in calcom.active_bookings()] == [at(15)]


def test_a_repeat_of_a_move_in_other_words_moves_no_other_appointment(calcom, phone):
    caller = phone()
    first = caller.book(at(10)).body["appointment"]["id"]
    second = caller.book(at(12), service="massage").body["appointment"]["id"]
    new_start = at(15, days=14)
    assert move(caller, new_start, appointment=first).code == "rescheduled"
    again = move(caller, new_start, day=at(12).date().isoformat())
    assert again.code == "ambiguous", again.body["say"]
    assert [each["id"] for each in again.body["appointments"]] == [second]
    assert {booking.start for booking in calcom.active_bookings()} == {at(12), new_start}
    assert move(caller, new_start, appointment=second).code == "rescheduled"


def test_moving_what_never_was_is_no_yes_because_another_was_moved_there(phone):
    caller = phone()
    caller.book(at(10))
    new_start = at(15).isoformat()
    assert caller.ask("reschedule_appointment", new_start=new_start).code == "rescheduled"
    assert caller.ask("reschedule_appointment", service="haircut", new_start=new_start).code == "rescheduled"
    answer = caller.ask("reschedule_appointment", service="colour", new_start=new_start)
    assert answer.code == "not_found", answer.body["say"]


@pytest.mark.parametrize(
    "change", [{"is_active": False}, {"vanished_at": timezone.now()}], ids=["switched off", "vanished"]
)
def test_an_appointment_is_found_by_a_service_that_is_not_offered_any_more(phone, haircut, change):
    caller = phone()
    caller.book(at(10))
    Service.objects.filter(pk=haircut.pk).update(**change)
    for words in ("haircut", "Herrenhaarschnitt"):
        answer = caller.ask("reschedule_appointment", service=words)
        assert answer.body["errors"] == {"new_start": "required"}, "it is known which one is meant"
    assert caller.ask("cancel_appointment", service="colour").code == "not_found"
    assert caller.ask("cancel_appointment", service="Haarschnitt").code == "cancelled"


def test_an_appointment_is_found_by_its_service_from_another_branch(salon, phone, haircut):
    provision(
        {
            "companies": [
                {
                    "slug": salon.slug,
                    "branches": [{"slug": "west", "name": "West", "phone_numbers": ["+493011111111"]}],
                }
            ]
        }
    )
    Service.objects.filter(pk=haircut.pk).update(branch=salon.branches.get(slug="mitte"))
    assert phone().book(at(10)).code == "booked"
    elsewhere = phone(to_number="+493011111111")
    assert elsewhere.book(at(12)).code == "unknown_service"
    assert elsewhere.ask("cancel_appointment", service="haircut").code == "cancelled"


@pytest.mark.parametrize("field", ["appointment", "service"])
@pytest.mark.parametrize("said", [[99999], {"id": 99999}, {"slug": "colour"}, [["colour"]], True], ids=str)
def test_what_was_said_and_not_understood_is_asked_for_again(calcom, phone, field, said):
    """Not taken for nothing said: then the only appointment would be meant, which it may not be."""
    caller = phone()
    uid = caller.book(at(10)).uid
    for function, more in (
        ("cancel_appointment", {}),
        ("reschedule_appointment", {"new_start": at(15).isoformat()}),
    ):
        answer = caller.ask(function, **{field: said}, **more)
        assert (answer.code, answer.body.get("errors")) == ("invalid_request", {field: "unreadable"})
    assert [booking.uid for booking in calcom.active_bookings()] == [uid]


@pytest.mark.parametrize("change", ["cancel_appointment", "reschedule_appointment"])
def test_what_is_said_under_the_names_of_our_own_answers_is_heard(calcom, phone, change):
    """By an agent that has read `id` and `start` in an answer, or has looked for what is free by `date`."""
    owner = phone()
    gone, there = owner.book(at(12)), owner.book(at(10))
    owner.ask("cancel_appointment", appointment=gone.body["appointment"]["id"])
    ways: list[dict[str, object]] = [
        {"id": gone.body["appointment"]["id"]},
        {"appointment_id": "99999", "appointment": "null"},
        {"calcom_booking_uid": gone.uid},
    ]
    if change == "cancel_appointment":
        ways += [{"date": at(10, days=14).date().isoformat()}, {"start": at(12, days=14).isoformat()}]
    for words in ways:
        phone().ask(change, new_start=at(15).isoformat(), **words)
        assert [(each.uid, each.start) for each in calcom.active_bookings()] == [(there.uid, at(10))], words
    assert phone().ask(change, new_start=at(15).isoformat(), calcom_booking_uid=there.uid).body["success"]


def test_an_id_that_an_agent_has_made_up_does_not_deny_the_appointment_there_is(calcom, phone):
    """ "I cannot find it under your number" would be believed. What it stands for is not guessed either."""
    caller = phone()
    there = caller.book(at(10)).body["appointment"]["id"]
    for made_up in (there + 1, "Haarschnitt", at(10).isoformat()):
        for change in ("cancel_appointment", "reschedule_appointment"):
            answer = caller.ask(change, appointment=made_up, new_start=at(15).isoformat())
            assert answer.code == "not_found"
            assert "Do you mean this appointment: Haarschnitt, " in answer.body["say"]
            assert [each["id"] for each in answer.body["appointments"]] == [there]
    assert [booking.start for booking in calcom.active_bookings()] == [at(10)]


@pytest.mark.parametrize("nothing", [None, "", "unknown", "{{appointment}}", [], {}], ids=str)
def test_nothing_said_means_the_only_appointment_there_is(phone, nothing):
    caller = phone()
    caller.book(at(10))
    assert caller.ask("cancel_appointment", appointment=nothing, service=nothing).code == "cancelled"


def test_a_move_onto_an_appointment_of_ones_own_is_not_called_taken(calcom, phone, verdict):
    """ "Taken" is never said while a booking of this caller for this slot exists."""
    caller = phone()
    first = caller.book(at(10), service="shave")
    second = caller.book(at(12), service="shave").body["appointment"]["id"]

    answer = caller.ask("reschedule_appointment", appointment=second, new_start=at(10).isoformat())

    assert answer.code == "already_booked", answer.body["say"]
    assert answer.body["appointment"]["id"] == first.body["appointment"]["id"]
    assert {booking.start for booking in calcom.active_bookings()} == {at(10), at(12)}
    verdict()


def test_a_move_onto_what_the_number_that_was_merely_said_has_tells_nothing_about_it(calcom, phone, verdict):
    owner = phone()
    number = owner.from_number
    owner.book(at(10), service="shave", customer_name="Anna Berger")
    stranger = phone(from_number="anonymous")
    mine = stranger.book(at(12), service="shave", customer_name="Anna Berger", customer_phone=number)
    assert mine.code == "booked"

    answer = stranger.ask("reschedule_appointment", new_start=at(10).isoformat())

    assert answer.code == "slot_taken"
    assert answer.body.get("appointment") is None
    verdict()

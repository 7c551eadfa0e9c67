"""The sentence an agent reads out says what is so, and nothing that nobody asked or has."""

from __future__ import annotations

import pytest

from booking.models import Appointment
from customers.models import Branch, Company, PhoneNumber
from tests.flows.phone import at, cancel, move


@pytest.fixture(params=["de", "en"])
def language(salon, request):
    Company.objects.update(language=request.param)
    salon.refresh_from_db()
    return request.param


def test_what_is_spoken_is_the_very_instant_that_is_booked(calcom, phone, verdict):
    """Nobody is told of seconds, so nobody is booked at any."""
    answer = phone().book(at(10).isoformat().replace("10:00:00", "10:00:30"))
    assert answer.code == "booked"
    assert "10 AM" in answer.body["say"]
    assert Appointment.objects.get().starts_at == at(10)
    assert calcom.booking(answer.uid).start == at(10)
    verdict()


@pytest.mark.parametrize("said", [None, "", "unknown", "{{service}}", {"slug": "haircut"}])
def test_who_has_named_no_service_is_asked_and_not_refused(salon, phone, language, said):
    """ "We do not offer that" is a no to something that nobody wanted."""
    for function in ("book_appointment", "check_availability"):
        answer = phone().ask(function, service=said, start=at(10).isoformat(), customer_name="Anna Weber")
        assert (answer.code, answer.body["errors"]) == ("invalid_request", {"service": "required"})
        assert len(answer.body["services"]) == 5
        expected = {"de": "Was darf es sein?", "en": "What would you like?"}
        assert answer.body["say"].startswith(expected[language]), answer.body["say"]
    refused = phone().book(at(10), service="plumbing")
    assert refused.code == "unknown_service"
    no = {"de": "Das bieten wir leider nicht an.", "en": "I don't know that"}
    assert refused.body["say"].startswith(no[language])


def test_who_cancels_on_a_day_that_is_not_clear_is_not_asked_when_they_would_like_to_come(
    salon, phone, language
):
    expected = {
        "de": "Den Tag habe ich nicht verstanden. An welchem Tag ist Ihr Termin?",
        "en": "I did not understand the day. Which day is your appointment on?",
    }
    for function in ("cancel_appointment", "reschedule_appointment"):
        answer = phone().ask(function, day="next Tuesday")
        assert answer.body["errors"] == {"day": "unreadable"}
        assert answer.body["say"] == expected[language]


def test_appointments_one_has_are_no_choice(salon, phone, language):
    caller = phone()
    for days in (7, 14, 21):
        caller.book(at(10, days=days))
        caller.book(at(11, days=days))
    number, alternatives = {
        "de": ("Sie haben 6 Termine. Die nächsten sind: Haarschnitt, ", " oder "),
        "en": ("You have 6 appointments. The next ones are: Haarschnitt, ", " or "),
    }[language]
    say = caller.ask("list_appointments").body["say"]
    assert say.startswith(number), say
    assert alternatives not in say, say
    caller.ask("cancel_appointment", day=at(10, days=21).date().isoformat())
    two = phone(from_number="+4917612345678")
    two.book(at(14))
    two.book(at(15))
    say = two.ask("list_appointments").body["say"]
    assert {"de": " und Haarschnitt", "en": " and Haarschnitt"}[language] in say, say


def test_appointments_of_one_thing_at_one_time_are_told_apart(salon, phone, verdict):
    """A mother and her daughter at two hairdressers, and one more in another branch: not one appointment."""
    salon.services.filter(slug="haircut").update(person="Bea")
    salon.services.filter(slug="colour").update(name="Haarschnitt", person="Cem")
    london = Branch.objects.create(company=salon, name="London", slug="london", timezone="Europe/London")
    PhoneNumber.objects.create(branch=london, number="+442079460123")
    caller = phone()
    assert caller.book(at(10), service="haircut").code == "booked"
    assert caller.book(at(10), service="colour", customer_name="Lena Weber").code == "booked"
    there = phone(to_number="+442079460123").book(at(11), service="haircut")
    when = there.body["say"].removeprefix("Your appointment is booked: Haarschnitt, ").rstrip(".")
    assert "at 10 AM" in when
    caller.book(at(14), service="colour")
    caller.book(at(14), service="colour", customer_name="Lena Weber", customer_phone="0176 55555555")
    for asked in ("list_appointments", "cancel_appointment"):
        say = caller.ask(asked).body["say"]
        for each in ("with Bea, {}, Mitte", "with Cem, {}, Mitte", "with Bea, {}, London"):
            assert f"Haarschnitt {each.format(when)}" in say, say
        assert "at 2 PM, Mitte, Anna Weber" in say
        assert "at 2 PM, Mitte, Lena Weber" in say
    verdict()


def test_a_slot_of_one_service_and_the_name_of_another_are_asked_about(calcom, phone, language):
    """Both are offered: "we don't offer that" is true of neither."""
    caller = phone()
    slot = caller.ask("check_availability", service="haircut", date=at(10).date().isoformat()).body["slots"][
        0
    ]
    answer = caller.ask(
        "book_appointment", service="colour", slot_id=slot["slot_id"], customer_name="Anna Weber"
    )
    assert answer.code == "ambiguous", answer.body["say"]
    assert [service["slug"] for service in answer.body["services"]] == ["haircut", "colour"]
    assert "Haarschnitt" in answer.body["say"]
    assert "Färben" in answer.body["say"]
    assert not calcom.active_bookings()


def test_what_is_requested_again_is_spoken_of_as_an_appointment(salon, phone, language):
    """As at the first time; "Sie haben Beratung angefragt" is no German."""
    first, again = phone().book(at(10), service="advice"), phone().book(at(10), service="advice")
    assert (first.code, again.code) == ("requested", "already_booked")
    expected = {
        "de": "Diesen Termin haben Sie bereits angefragt: Beratung, ",
        "en": "You have already requested Beratung: ",
    }
    assert again.body["say"].startswith(expected[language]), again.body["say"]


def test_what_cal_com_writes_to_the_guest_is_in_the_same_language(calcom, phone, language):
    caller = phone()
    caller.book(at(10))
    assert [move(caller, at(14)).code, cancel(caller).code] == ["rescheduled", "cancelled"]
    written = [calcom.bookings[-1].rescheduling_reason, calcom.bookings[-1].cancellation_reason]
    expected = {
        "de": ["Telefonisch verlegt.", "Telefonisch abgesagt."],
        "en": ["Moved by phone.", "Cancelled by phone."],
    }
    assert written == expected[language]


@pytest.mark.parametrize(
    ("minutes", "german", "english"),
    [
        (1, "Das dauert eine Minute.", "It takes a minute."),
        (45, "Das dauert 45 Minuten.", "It takes 45 minutes."),
        (60, "Das dauert eine Stunde.", "It takes an hour."),
    ],
)
def test_how_long_it_takes_is_said_as_people_say_it(salon, phone, language, minutes, german, english):
    salon.services.update(duration_minutes=minutes)
    say = phone().ask("list_services", service="haircut").body["say"]
    assert {"de": german, "en": english}[language] in say, say


def test_what_ends_in_a_full_stop_is_given_no_second_one(salon, phone, language):
    salon.services.update(price_text="25 Fr.", person="Anna W.")
    expected = {
        "de": "Das kostet 25 Fr. Möglich ist es bei Anna W.",
        "en": "The price is 25 Fr. You can book it with Anna W.",
    }
    say = phone().ask("list_services", service="haircut").body["say"]
    assert say.endswith(expected[language]), say

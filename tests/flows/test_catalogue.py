"""Several services, people and branches behind one agent: the caller's wish is respected, or asked for."""

from __future__ import annotations

import datetime as dt
from typing import Any

import pytest
from django.utils import timezone

from booking.models import Appointment, Service
from customers.models import Company
from tests.flows.phone import Phone, at

PERSONS = ("Anna Weber", "Bea Schulz")


@pytest.fixture
def team(salon: Company, calcom: Any) -> dict[str, Service]:
    """Anna and Bea both cut, each in a calendar of her own; the other services stay as they are."""
    Service.objects.filter(company=salon, slug="haircut").delete()
    made = {}
    for person in PERSONS:
        first = person.split()[0].lower()
        event_type = calcom.state.add_event_type(f"cut_{first}", hosts=[first], available="always")
        made[first] = Service.objects.create(
            company=salon,
            slug=f"cut-{first}",
            name="Haarschnitt",
            aliases=["cut"],
            person=person,
            price_text="35 euros",
            duration_minutes=30,
            calcom_event_type_id=event_type.id,
        )
    return made


@pytest.fixture
def second_branch(salon: Company) -> Any:
    branch = salon.branches.create(slug="nord", name="Nord")
    branch.phone_numbers.create(number="+493012345679")
    return branch


def posts(calcom: Any) -> list[Any]:
    return list(calcom.requests("create"))


def slugs(answer: Any) -> list[str]:
    return [service["slug"] for service in answer.body["services"]]


def check(caller: Phone, **arguments: Any) -> Any:
    return caller.ask("check_availability", date=at(10).date().isoformat(), **arguments)


def host_of(calcom: Any, answer: Any) -> str:
    (booking,) = [booking for booking in calcom.bookings if booking.uid == answer.uid]
    return str(booking.host.username)


# --- Persons


@pytest.mark.parametrize(
    "wish", ["Bea", "bea schulz", "Frau Schulz", "bei Bea", "SCHULZ", "Béa", "Schulz, Bea"]
)
def test_whoever_is_asked_for_is_who_is_booked(calcom, phone, team, verdict, wish):
    answer = phone().book(at(10), service="Haarschnitt", person=wish)
    assert answer.code == "booked"
    assert host_of(calcom, answer) == "bea"
    verdict()


@pytest.mark.parametrize(
    ("wish", "name"),
    [
        ("Doctor O’Brien", "Dr. Sarah O'Brien"),
        ("Sarah OBrien", "Dr Sarah O’Brien"),
        ("O Brien", "Sarah O'Brien"),
        ("Doctor Mc Donald", "Dr. Ian McDonald"),
    ],
)
def test_a_person_is_found_however_the_name_is_written(calcom, phone, team, verdict, wish, name):
    Service.objects.filter(slug="cut-bea").update(person=name)
    Service.objects.filter(slug="cut-anna").update(person="Dr. Otto Brennan")
    answer = phone().book(at(10), service="cut", person=wish)
    assert (answer.code, host_of(calcom, answer)) == ("booked", "bea")
    verdict()


def test_whoever_does_not_mind_may_say_so_in_many_words(phone, team, verdict):
    caller = phone()
    for words in (
        "anyone", "no preference", "either", "Either one", "whoever is free", "any doctor", "doesn't matter",
        "I don’t mind", "the first available", "next available", "wer gerade Zeit hat",
    ):  # fmt: skip
        assert check(caller, service="cut", person=words).code == "ok", words
    for words in ("Don", "Free", "First", "whoever Anna is not"):
        assert check(caller, service="cut", person=words).code == "unknown_service", words
    verdict()


@pytest.mark.parametrize("asked", ["Haarschnitt", "cut", "haarschnitt"])
def test_without_a_wish_the_caller_is_asked_whom_they_would_like(calcom, phone, team, verdict, asked):
    for answer in (phone().book(at(10), service=asked), check(phone(), service=asked)):
        assert answer.code == "ambiguous"
        assert slugs(answer) == ["cut-anna", "cut-bea"]
        assert [service["person"] for service in answer.body["services"]] == list(PERSONS)
        assert answer.body["say"] == "Who would you like to see: Anna Weber or Bea Schulz?"
    assert not posts(calcom)
    verdict()


@pytest.mark.parametrize("wish", ["Carla", "Bea Weber", "Anna Schulz", "Annabel"])
def test_nobody_is_put_in_the_place_of_a_person_we_do_not_have(calcom, phone, team, verdict, wish):
    for answer in (
        phone().book(at(10), service="Haarschnitt", person=wish),
        check(phone(), service="Haarschnitt", person=wish),
        phone().ask("list_services", service="Haarschnitt", person=wish),
    ):
        assert answer.code == "unknown_service"
        assert slugs(answer) == ["cut-anna", "cut-bea"]
        assert "Anna Weber or Bea Schulz" in answer.body["say"]
    assert not posts(calcom)
    verdict()


def test_two_persons_of_one_first_name_are_asked_about(calcom, phone, team, verdict):
    Service.objects.filter(slug="cut-bea").update(person="Anna Schulz")
    assert phone().book(at(10), service="cut", person="Anna").code == "ambiguous"
    answer = phone().book(at(10), service="cut", person="Anna Schulz")
    assert (answer.code, host_of(calcom, answer)) == ("booked", "bea")
    verdict()


def test_a_person_cannot_be_chosen_where_a_service_has_none(calcom, phone, salon, verdict):
    answer = phone().book(at(10), service="haircut", person="Bea")
    assert answer.code == "unknown_service"
    assert answer.body["say"] == "You cannot choose anybody in particular for that. Shall I look anyway?"
    assert not posts(calcom)
    assert phone().book(at(10), service="haircut").code == "booked"
    verdict()


def test_the_same_person_is_found_by_what_they_alone_do(calcom, phone, team, verdict):
    assert phone().book(at(10), service="", person="Bea").code == "booked"
    Service.objects.filter(slug="colour").update(person="Bea Schulz")
    assert phone().book(at(11), service="", person="Bea").code == "ambiguous"
    verdict()


def test_the_slug_of_a_service_names_its_person(calcom, phone, team, verdict):
    answer = phone().book(at(10), service="cut-bea")
    assert (answer.code, host_of(calcom, answer)) == ("booked", "bea")
    verdict()


def test_a_wish_wins_over_the_slug_of_somebody_elses_service(calcom, phone, team, verdict):
    answer = phone().book(at(10), service="cut-anna", person="Bea")
    assert (answer.code, host_of(calcom, answer)) == ("booked", "bea")
    verdict()


def test_a_slug_that_is_the_name_of_several_still_asks(calcom, phone, team, verdict):
    Service.objects.filter(slug="cut-anna").update(slug="haarschnitt")
    assert phone().book(at(10), service="haarschnitt").code == "ambiguous"
    assert not posts(calcom)
    verdict()


def test_slots_are_those_of_the_person_and_are_booked_with_them(calcom, phone, team, verdict):
    calcom.web_book("cut_bea", start=at(8), silent=True)
    caller = phone()
    free = {
        person: {slot["start"]: slot for slot in check(caller, service="cut", person=person).body["slots"]}
        for person in ("Anna", "Bea")
    }
    assert at(8).isoformat() in free["Anna"]
    assert at(8).isoformat() not in free["Bea"]
    assert {slot["person"] for slot in free["Bea"].values()} == {"Bea Schulz"}
    slot_id = free["Bea"][at(9).isoformat()]["slot_id"]
    answer = caller.ask("book_appointment", service="cut", slot_id=slot_id, customer_name="Eva Klein")
    assert (answer.code, host_of(calcom, answer)) == ("booked", "bea")
    verdict()


def test_the_slot_of_one_person_and_the_wish_for_another_are_asked_about(calcom, phone, team, verdict):
    caller = phone()
    slot_id = check(caller, service="cut", person="Anna").body["slots"][-1]["slot_id"]
    for named in ({"service": "cut"}, {}):
        answer = caller.ask(
            "book_appointment", slot_id=slot_id, person="Bea", customer_name="Eva Klein", **named
        )
        assert answer.code == "ambiguous"
        assert answer.body["say"] == "Who would you like to see: Anna Weber or Bea Schulz?"
    assert not posts(calcom)
    verdict()


def test_who_does_not_mind_is_offered_the_times_of_all_and_booked_with_whom_the_slot_is(
    calcom, phone, team, verdict
):
    calcom.web_book("cut_anna", start=at(8), silent=True)
    caller = phone()
    answer = check(caller, service="cut", person="egal", part_of_day="morning")
    assert answer.code == "ok"
    slots = {slot["start"]: slot for slot in answer.body["slots"]}
    assert slots[at(8).isoformat()]["person"] == "Bea Schulz"
    assert slots[at(9).isoformat()]["person"] == "Anna Weber"
    assert list(slots) == sorted(slots)
    booked = caller.ask(
        "book_appointment",
        service="cut",
        person="egal",
        slot_id=slots[at(8).isoformat()]["slot_id"],
        customer_name="Eva Klein",
    )
    assert (booked.code, host_of(calcom, booked)) == ("booked", "bea")
    verdict()


def test_who_does_not_mind_is_not_told_that_nothing_is_free_where_one_of_all_could_not_be_asked(
    calcom, phone, team, verdict
):
    for half_hour in range(48):
        start = at(0) + dt.timedelta(minutes=30 * half_hour)
        calcom.seed_booking("cut_bea", start=start, name="Somebody Else")
    anna = {"eventTypeId": str(team["anna"].calcom_event_type_id)}
    down = calcom.faults.server_error(commit=False, operation="slots", query_has=anna, times=None)
    assert check(phone(), service="cut", person="Bea").body["say"].startswith("Nothing is free then.")
    assert check(phone(), service="cut", person="egal").code == "unavailable"
    calcom.faults.remove(down)
    assert check(phone(), service="cut", person="egal").body["slots"]
    verdict()


def test_in_german_the_persons_are_named_too(calcom, phone, team, salon, verdict):
    salon.language = "de"
    salon.save()
    asked = phone().book(at(10), service="Haarschnitt")
    assert asked.body["say"] == "Zu wem möchten Sie kommen: Anna Weber oder Bea Schulz?"
    unknown = phone().book(at(10), service="Haarschnitt", person="Carla")
    assert unknown.body["say"] == (
        "Unter diesem Namen finde ich dafür niemanden. Möglich ist es bei Anna Weber oder Bea Schulz."
    )
    verdict()


# --- Branches


def test_a_caller_is_offered_what_is_done_in_the_branch_they_called(
    calcom, phone, team, second_branch, salon, verdict
):
    team["bea"].branch = second_branch
    team["bea"].save()
    team["anna"].branch = salon.branches.get(slug="mitte")
    team["anna"].save()
    here, there = phone(), phone(to_number="+493012345679", agent_id="")
    assert "cut-bea" not in slugs(here.ask("list_services"))
    assert "colour" in slugs(there.ask("list_services"))  # a service without a branch is offered in each
    for caller, host in ((here, "anna"), (there, "bea")):
        answer = caller.book(at(10), service="Haarschnitt")
        assert (answer.code, host_of(calcom, answer)) == ("booked", host)
    answer = here.book(at(12), service="Haarschnitt", person="Bea")
    assert answer.code == "unknown_service"
    assert slugs(answer) == ["cut-anna"]
    verdict()


def test_the_slug_of_another_branchs_service_is_not_booked_here(calcom, phone, team, second_branch, verdict):
    team["bea"].branch = second_branch
    team["bea"].save()
    assert phone().book(at(10), service="cut-bea").code == "unknown_service"
    assert not posts(calcom)
    verdict()


# --- What is said of them


def test_services_are_listed_once_however_many_do_them(calcom, phone, team):
    answer = phone().ask("list_services")
    assert answer.body["say"].count("Haarschnitt") == 1
    assert slugs(answer).count("cut-anna") == 1
    assert slugs(answer).count("cut-bea") == 1


def test_about_one_service_the_caller_hears_how_long_what_it_costs_and_who(calcom, phone, team, salon):
    answer = phone().ask("list_services", service="cut")
    assert answer.body["say"] == (
        "You can book Haarschnitt with us. It takes 30 minutes. The price is 35 euros. "
        "You can book it with Anna Weber or Bea Schulz."
    )
    salon.language = "de"
    salon.save()
    Service.objects.filter(company=salon, name="Haarschnitt").update(price_text="ab 35 Euro")
    Service.objects.filter(slug="cut-bea").update(duration_minutes=45)
    assert phone().ask("list_services", service="cut").body["say"] == (
        "Sie können bei uns Haarschnitt buchen. Das kostet ab 35 Euro. "
        "Möglich ist es bei Anna Weber oder Bea Schulz."
    )


def test_services_are_listed_by_person(calcom, phone, team):
    answer = phone().ask("list_services", person="Bea")
    assert (answer.code, slugs(answer)) == ("ok", ["cut-bea"])
    assert phone().ask("list_services", person="Carla").code == "unknown_service"


def test_a_service_is_called_what_people_say_and_found_by_it(calcom, phone, haircut, verdict):
    haircut.spoken_name = "men's haircut"
    haircut.save()
    assert "men's haircut" in phone().ask("list_services").body["say"]
    answer = phone().book(at(10), service="Men's haircut")
    assert answer.code == "booked"
    assert answer.body["say"].startswith("Your appointment is booked: men's haircut, ")
    verdict()


def test_two_services_of_one_name_and_nobody_in_particular_are_told_apart_by_their_length(
    calcom, phone, haircut, salon
):
    event_type = calcom.state.add_event_type("long", minutes=60, hosts=["olga"], available="always")
    Service.objects.create(
        company=salon,
        slug="haircut-long",
        name="Haarschnitt",
        duration_minutes=60,
        calcom_event_type_id=event_type.id,
    )
    answer = phone().book(at(10), service="Haarschnitt")
    assert answer.code == "ambiguous"
    assert answer.body["say"] == (
        "Which of these do you mean: Haarschnitt, 30 minutes or Haarschnitt, an hour?"
    )


# --- Vanished


def test_what_is_gone_at_calcom_is_neither_offered_nor_booked(calcom, phone, haircut, verdict):
    slot = check(phone(), service="haircut").body["slots"][-1]
    haircut.vanished_at = timezone.now() - dt.timedelta(minutes=1)
    haircut.save()
    assert "haircut" not in slugs(phone().ask("list_services"))
    for answer in (
        phone().book(at(10)),
        phone().ask("book_appointment", slot_id=slot["slot_id"], customer_name="Eva Klein"),
        check(phone(), service="haircut"),
    ):
        assert answer.code == "unknown_service"
    assert not posts(calcom)
    assert not Appointment.objects.exists()
    verdict()

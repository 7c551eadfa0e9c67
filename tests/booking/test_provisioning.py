"""The file an agency keeps: what it says of healing, callbacks, persons and branches is made true."""

from __future__ import annotations

import copy
import json
from typing import Any

import pytest
from cryptography.fernet import Fernet
from django.core.management import CommandError, call_command
from django.utils import timezone

from booking.models import Service
from booking.provisioning import InvalidFile, provision
from customers.models import Branch, Company, PhoneNumber
from tests import factories
from tests.flows.at_once import just_before

pytestmark = pytest.mark.django_db

CONTENT: dict[str, Any] = {
    "companies": [
        {
            "slug": "salon",
            "name": "Salon Mitte",
            "calcom": {"api_key": "cal_one", "reconcile_api_key": {"env": "SECOND_KEY"}},
            "heal_adopt": "on",
            "heal_import": "off",
            "heal_follow": "dry_run",
            "heal_link": "on",
            "heal_daily_limit": 50,
            "may_reschedule": False,
            "may_cancel": True,
            "change_notice_minutes": 1440,
            "callback_within_minutes": 60,
            "opening_hours": {"mon": [["13:30", "18:00"], ["09:00", "12:30"]], "sat": []},
            "branches": [{"slug": "mitte", "name": "Mitte"}, {"slug": "nord", "name": "Nord"}],
            "services": [
                {
                    "slug": "cut-bea",
                    "name": "Haarschnitt",
                    "duration_minutes": 30,
                    "calcom_event_type_id": 101,
                    "person": "Bea",
                    "branch": "nord",
                    "spoken_name": "Herrenhaarschnitt",
                    "price_text": "ab 35 Euro",
                    "may_reschedule": True,
                    "may_cancel": False,
                    "change_notice_minutes": 0,
                }
            ],
        }
    ]
}


@pytest.fixture(autouse=True)
def _second_key(monkeypatch):
    monkeypatch.setenv("SECOND_KEY", "cal_two")
    monkeypatch.setenv("EMPTY", " ")


def content(*, company: dict[str, Any] | None = None, service: dict[str, Any] | None = None) -> Any:
    changed = copy.deepcopy(CONTENT)
    changed["companies"][0].update(company or {})
    changed["companies"][0]["services"][0].update(service or {})
    return changed


def test_a_previous_secret_ends_with_its_variable():
    provision(content(company={"retell": {"api_key": "key_new", "api_key_previous": "key_old"}}))
    provision(content(company={"retell": {"api_key": "key_new", "api_key_previous": {"env": "EMPTY"}}}))
    assert Company.objects.get().retell_api_key_previous == ""


def test_what_the_file_says_is_made_true():
    provision(CONTENT)
    company, service = Company.objects.get(), Service.objects.get()
    assert company.calcom_reconcile_api_key == "cal_two"
    assert (company.heal_adopt, company.heal_import) == ("on", "off")
    assert (company.heal_follow, company.heal_link, company.heal_daily_limit) == ("dry_run", "on", 50)
    assert (company.may_reschedule, company.may_cancel, company.change_notice_minutes) == (False, True, 1440)
    assert company.callback_within_minutes == 60
    assert company.opening_hours["sat"] == []
    assert service.branch is not None
    assert (service.person, service.branch.slug, service.spoken_name) == ("Bea", "nord", "Herrenhaarschnitt")
    assert service.price_text == "ab 35 Euro"
    assert (service.may_reschedule, service.may_cancel, service.change_notice_minutes) == (True, False, 0)


def test_twice_changes_nothing():
    provision(CONTENT)
    _, changes = provision(CONTENT)
    assert (changes.created, changes.updated) == ([], [])


@pytest.mark.django_db(transaction=True)
def test_of_two_runs_at_once_the_second_finds_what_the_first_has_made():
    seen = []
    with just_before('INSERT INTO "companies"', lambda: seen.append(provision(CONTENT)[1]), patience=0.3):
        _, changes = provision(CONTENT)
    assert len(changes.created) == 4
    assert [(each.created, each.updated, each.unchanged) for each in seen] == [([], [], 4)]


def test_numbers_in_quotes_are_numbers_and_twice_changes_nothing():
    quoted = content(service={"duration_minutes": "45", "calcom_event_type_id": "102"})
    provision(quoted)
    service = Service.objects.get()
    assert (service.duration_minutes, service.calcom_event_type_id) == (45, 102)
    _, changes = provision(quoted)
    assert (changes.created, changes.updated) == ([], [])


def test_what_the_file_does_not_mention_keeps_its_value():
    provision(CONTENT)
    short = {"companies": [{"slug": "salon", "name": "Salon Mitte"}]}
    _, changes = provision(short)
    assert changes.updated == []
    assert Company.objects.get().heal_import == "off"
    provision(content(company={"opening_hours": {}}))
    assert Company.objects.get().opening_hours == {}


@pytest.mark.parametrize(
    ("company", "service", "place"),
    [
        ({"heal_adopt": "sometimes"}, {}, "heal_adopt"),
        ({"heal_adopt": True}, {}, "heal_adopt"),
        ({"heal_daily_limit": "50"}, {}, "heal_daily_limit"),
        ({"heal_daily_limit": -1}, {}, "heal_daily_limit"),
        ({"may_cancel": "yes"}, {}, "may_cancel"),
        ({"change_notice_minutes": True}, {}, "change_notice_minutes"),
        ({"callback_within_minutes": 1.5}, {}, "callback_within_minutes"),
        ({"change_notice_minutes": 10**12}, {}, "change_notice_minutes"),
        ({"callback_within_minutes": 10**12}, {}, "callback_within_minutes"),
        ({"opening_hours": {"mon": [["18:00", "09:00"]]}}, {}, "opening_hours"),
        ({"opening_hours": [["09:00", "18:00"]]}, {}, "opening_hours"),
        ({"calcom": {"reconcile_api_key": {"env": "NOT_SET_ANYWHERE"}}}, {}, "reconcile_api_key"),
        ({"calcom": {"api_key": {"env": "EMPTY"}}}, {}, "EMPTY is empty"),
        ({"retell": {"api_key": {"env": "EMPTY"}}}, {}, "EMPTY is empty"),
        ({}, {"branch": "south"}, "branch"),
        ({}, {"branch": 7}, "branch"),
        ({}, {"person": ["Bea"]}, "person"),
        ({}, {"may_reschedule": 1}, "may_reschedule"),
        ({}, {"price_text": "x" * 101}, "price_text"),
        ({}, {"duration_minutes": 1.5}, "duration_minutes"),
        ({}, {"duration_minutes": 10**12}, "duration_minutes"),
        ({}, {"change_notice_minutes": 10**12}, "change_notice_minutes"),
        ({}, {"aliases": "cut"}, "aliases"),
        ({}, {"aliases": ["cut", 1]}, "aliases"),
        ({}, {"calcom_event_type_id": True}, "calcom_event_type_id"),
        ({"name": ["Salon"]}, {}, "name"),
        ({}, {"active": "no"}, "active"),
        ({"slug": ""}, {}, "slug is missing"),
        ({}, {"duration_minutes": None}, "duration_minutes is missing"),
        ({"branches": {"slug": "mitte"}}, {}, "branches must be a list"),
        ({"branches": ["mitte"]}, {}, "must be an object"),
        ({"calcom": "cal_one"}, {}, "calcom must be an object"),
        ({"calcom": {"api_key": 7}}, {}, "api_key"),
        ({"calcom": {"api_key": {"env": 7}}}, {}, "api_key"),
        ({"endpoint_id": "not-one"}, {}, "endpoint_id"),
        ({"endpoint_id": 7}, {}, "endpoint_id"),
        ({"endpoint_id": None}, {}, "endpoint_id"),
        ({"branches": [{"slug": "mitte", "name": "Mitte", "phone_numbers": ["030 123"]}]}, {}, "phone_num"),
        ({"branches": [{"slug": "mitte", "name": "Mitte", "phone_numbers": [4930123]}]}, {}, "phone_num"),
    ],
)
def test_what_cannot_be_is_refused_and_nothing_is_changed(company, service, place):
    with pytest.raises(InvalidFile, match=place):
        provision(content(company=company, service=service))
    assert not Company.objects.exists()


def place_in(content: Any, *path: str | int) -> Any:
    for step in path:
        content = content[step]
    return content


@pytest.mark.parametrize(
    ("path", "key", "said"),
    [
        ((), "company", "company: there is no such key; did you mean companies?"),
        (("companies", 0), "timezon", "companies[0].timezon: there is no such key; did you mean timezone?"),
        (
            ("companies", 0, "calcom"),
            "webhok_secret",
            "companies[0].calcom.webhok_secret: there is no such key; did you mean webhook_secret?",
        ),
        (
            ("companies", 0, "retell"),
            "apikey",
            "companies[0].retell.apikey: there is no such key; did you mean api_key?",
        ),
        (
            ("companies", 0, "branches", 1),
            "phone_number",
            "companies[0].branches[1].phone_number: there is no such key; did you mean phone_numbers?",
        ),
        (
            ("companies", 0, "services", 0),
            "duration_minute",
            "companies[0].services[0].duration_minute: there is no such key; did you mean duration_minutes?",
        ),
    ],
)
def test_a_misspelt_key_is_ignored_and_said_with_its_place_and_the_nearest_right_one(path, key, said):
    content = copy.deepcopy(CONTENT)
    content["companies"][0]["retell"] = {}
    place_in(content, *path)[key] = "x"
    made, changes = provision(content)
    assert changes.ignored == [said]
    assert [company.slug for company in made] == ["salon"]


def test_null_undoes_what_a_service_has_of_its_own_and_is_ignored_where_there_must_be_a_value():
    provision(CONTENT)
    nulls = {"branch": None, "may_reschedule": None, "may_cancel": None, "change_notice_minutes": None}
    for _ in range(2):
        _, changes = provision(content(company={"timezone": None}, service=nulls | {"person": None}))
        service = Service.objects.values(*nulls, "person").get()
        assert service == nulls | {"person": "Bea"}
        assert changes.ignored == [
            "companies[0].timezone: null changes nothing; what is stored stays.",
            "companies[0].services[0].person: null changes nothing; what is stored stays.",
        ]
    assert changes.updated == []


def test_the_command_says_what_it_ignores(tmp_path, capsys):
    file = tmp_path / "companies.json"
    file.write_text(json.dumps({"companies": [{"slug": "salon", "name": "Salon", "timezon": "Europe/Rome"}]}))
    call_command("provision", str(file))
    told = "ignored: companies[0].timezon: there is no such key; did you mean timezone?"
    assert told in capsys.readouterr().out.splitlines()


def test_of_two_lists_under_one_key_neither_is_passed_over(tmp_path):
    file = tmp_path / "companies.json"
    file.write_text('{"companies": [{"slug": "salon", "name": "Salon", "services": [], "services": []}]}')
    with pytest.raises(CommandError, match="'services' stands twice in one object of 'salon'"):
        call_command("provision", str(file))
    assert not Company.objects.exists()


def test_the_command_says_what_goes_on_without_standing_in_the_file(tmp_path, capsys):
    """Whoever renames a slug in the file makes a second service, and the first is offered as before."""

    def service(slug, **more):
        return {"slug": slug, "name": slug, "duration_minutes": 30, "calcom_event_type_id": 7, **more}

    def run(*services):
        file.write_text(json.dumps({"companies": [{"slug": "salon", "name": "Salon", "services": services}]}))
        call_command("provision", str(file))
        return [line for line in capsys.readouterr().out.splitlines() if "not in the file" in line]

    file = tmp_path / "companies.json"
    assert run(service("cut"), service("ended", active=False)) == []
    assert run(service("haircut")) == ["active, and not in the file: services of salon: cut"]
    assert run(service("haircut"), service("cut", active=False)) == []


def test_the_command_says_what_stands_in_the_file_and_is_switched_off(tmp_path, capsys):
    """A company that comes back, a service that sync_services has proposed: nobody could book there."""

    def run(content):
        file.write_text(json.dumps(content))
        call_command("provision", str(file))
        return [line for line in capsys.readouterr().out.splitlines() if "switched off" in line]

    file = tmp_path / "companies.json"
    assert run(CONTENT) == []
    for rows in (Company.objects, Branch.objects.filter(slug="nord"), Service.objects):
        rows.update(is_active=False)
    assert run(CONTENT) == [
        "in the file, and switched off: companies: salon (switch it on in the admin)",
        "in the file, and switched off: branches of salon: nord (switch it on in the admin)",
        "in the file, and switched off: services of salon: cut-bea (switch it on in the admin)",
    ]
    assert len(run(content(service={"active": False}))) == 2


def test_the_command_says_which_numbers_agents_and_companies_it_goes_on_with(tmp_path, capsys):
    """A number that was given back rings at somebody else's."""

    def run(*slugs, numbers=(), agents=(), **options):
        branch = {"slug": "mitte", "name": "Mitte", "phone_numbers": numbers, "retell_agent_ids": agents}
        companies = [{"slug": slug, "name": slug, "branches": [branch]} for slug in slugs]
        file.write_text(json.dumps({"companies": companies}))
        call_command("provision", str(file), **options)
        said = capsys.readouterr().out.splitlines()
        return [line.partition(": ")[2] for line in said if "not in the file" in line]

    file = tmp_path / "companies.json"
    run("salon", numbers=["+49 30 12345678", "+493087654321"], agents=["agent_1"])
    Company.objects.create(slug="left", name="Left", is_active=False)
    assert run("salon", numbers=["+493087654321"], agents=["agent_2"]) == [
        "phone_numbers of salon: +493012345678",
        "retell_agent_ids of salon: agent_1",
    ]
    assert run("studio") == ["companies: salon"]
    assert run("studio", company="studio") == []


@pytest.mark.parametrize(
    "domain",
    ["salon", "info@salon.example", "https://salon.example", "salon.example ", "salon..example", "{}"],
)
def test_a_domain_in_which_no_address_can_be_made_up_is_refused(domain):
    with pytest.raises(InvalidFile, match=r"companies\[0\]\.attendee_email_domain: "):
        provision(content(company={"attendee_email_domain": domain}))
    assert not Company.objects.exists()


@pytest.mark.parametrize("agent_id", [{}, "{}", "{{agent_id}}", "", " ", 7, None, ["agent_1"]], ids=repr)
def test_what_is_no_id_of_an_agent_is_refused(agent_id):
    branch = {"slug": "mitte", "name": "Mitte", "retell_agent_ids": ["agent_1", agent_id]}
    with pytest.raises(InvalidFile, match=r"companies\[0\]\.branches\[0\]\.retell_agent_ids: "):
        provision(content(company={"branches": [branch]}))
    assert not Company.objects.exists()


def test_the_branch_of_another_company_is_none_of_ours():
    other = {"slug": "studio", "name": "Studio", "branches": [{"slug": "south", "name": "South"}]}
    provision({"companies": [other]})
    with pytest.raises(InvalidFile, match="branch"):
        provision(content(service={"branch": "south"}))


def test_the_number_of_another_company_is_not_taken_from_it():
    """Whoever owns the called number hears of every call to it."""
    branch = {"slug": "mitte", "name": "Mitte", "phone_numbers": ["+493012345678"]}
    provision({"companies": [{"slug": "studio", "name": "Studio", "branches": [branch]}]})
    with pytest.raises(InvalidFile, match=r"\+493012345678 belongs to another company"):
        provision(content(company={"branches": [branch]}))
    assert PhoneNumber.objects.get().branch.company.slug == "studio"
    assert not Company.objects.filter(slug="salon").exists()


@pytest.mark.parametrize(
    ("company", "place"),
    [
        ({"branches": [{"slug": "mitte", "name": "Mitte"}, {"slug": "mitte", "name": "Nord"}]}, "branches"),
        (
            {
                "branches": [
                    {"slug": "nord", "name": "Nord", "phone_numbers": ["+493012345678"]},
                    {"slug": "mitte", "name": "Mitte", "phone_numbers": ["+49 30 12345678"]},
                ]
            },
            "branches",
        ),
        (
            {
                "branches": [
                    {"slug": "nord", "name": "Nord", "retell_agent_ids": ["agent_1"]},
                    {"slug": "mitte", "name": "Mitte", "retell_agent_ids": ["agent_1"]},
                ]
            },
            "branches",
        ),
        (
            {
                "services": [
                    {"slug": "cut", "name": "Cut", "duration_minutes": 30, "calcom_event_type_id": 101},
                    {"slug": "cut", "name": "Cut", "duration_minutes": 45, "calcom_event_type_id": 101},
                ]
            },
            "services",
        ),
    ],
    ids=["branch", "number", "agent", "service"],
)
def test_what_is_described_in_two_ways_is_refused(company, place):
    """Each run would change it to the one and back to the other."""
    said = rf"companies\[0\]\.{place}\[1\]: .* is described differently in companies\[0\]\.{place}\[0\]"
    with pytest.raises(InvalidFile, match=said):
        provision({"companies": [{"slug": "salon", "name": "Salon Mitte", **company}]})
    assert not Company.objects.exists()


def test_two_companies_of_one_slug_are_refused_and_the_same_said_twice_is_not():
    salon = {"slug": "salon", "name": "Salon Mitte"}
    with pytest.raises(InvalidFile, match=r"companies\[1\]: .* described differently in companies\[0\]"):
        provision({"companies": [salon, {**salon, "name": "Salon Nord"}]})
    branch = {"slug": "mitte", "name": "Mitte", "phone_numbers": ["+493012345678", "+49 30 12345678"]}
    provision({"companies": [{**salon, "branches": [branch, branch]}]})
    assert PhoneNumber.objects.get().branch.slug == "mitte"


def test_the_line_end_behind_a_secret_is_not_a_part_of_it(monkeypatch):
    """What a shell has read from a file ends in one, and no request could carry it."""
    monkeypatch.setenv("SECOND_KEY", "cal_two\n")
    calcom = {"api_key": " cal_one\r\n", "reconcile_api_key": {"env": "SECOND_KEY"}}
    provision(content(company={"calcom": calcom}))
    company = Company.objects.get()
    assert (company.calcom_api_key, company.calcom_reconcile_api_key) == ("cal_one", "cal_two")


def test_a_secret_of_two_lines_is_refused_and_not_repeated():
    with pytest.raises(InvalidFile, match=r"companies\[0\]\.calcom\.api_key: ") as refused:
        provision(content(company={"calcom": {"api_key": "cal_one\nX-Other: cal_two"}}))
    assert "cal_one" not in str(refused.value)
    assert not Company.objects.exists()


def test_only_the_company_that_is_named_is_made():
    both = {"companies": [*CONTENT["companies"], {"slug": "studio", "name": "Studio"}]}
    made, _ = provision(both, only="studio")
    assert [company.slug for company in made] == ["studio"]
    assert [company.slug for company in Company.objects.all()] == ["studio"]


def test_the_address_in_the_file_is_the_companys():
    """It stands in Retell's and in Cal.com's settings: a company that is made anew is reached there."""
    endpoint_id = "5b0c0f6e-6f0a-4a6f-9d57-0d7e5f3a1b2c"
    provision(content(company={"endpoint_id": endpoint_id}))
    assert str(Company.objects.get().endpoint_id) == endpoint_id


def test_a_key_that_cannot_be_opened_any_more_is_given_back_by_the_file(settings):
    provision(CONTENT)
    settings.FIELD_ENCRYPTION_KEY = Fernet.generate_key().decode()
    _, changes = provision(CONTENT)
    assert changes.updated
    assert Company.objects.get().calcom_api_key == "cal_one"


def test_another_event_type_is_not_gone_because_the_former_one_is():
    """And that says nothing about the services of others."""
    theirs = factories.ServiceFactory(calcom_event_type_id=999)
    provision(CONTENT)
    ours = Service.objects.get(company__slug=CONTENT["companies"][0]["slug"])
    Service.objects.update(vanished_at=timezone.now())
    for event_type_id, is_gone in ((ours.calcom_event_type_id, True), (102, False)):
        provision(content(service={"calcom_event_type_id": event_type_id}))
        ours.refresh_from_db()
        theirs.refresh_from_db()
        assert (ours.vanished_at is not None, theirs.vanished_at is not None) == (is_gone, True)


@pytest.mark.parametrize("character", ["\0", "\ud83d"], ids=["NUL", "half an emoji"])
@pytest.mark.parametrize("place", ["name", "slug", "services"])
def test_what_no_database_stores_is_refused_on_every_database(db, place, character):
    content: dict[str, Any] = {"companies": [{"slug": "salon", "name": "Salon"}]}
    refused = f"Salon{character}"
    content["companies"][0][place] = [{"slug": refused}] if place == "services" else refused
    with pytest.raises(InvalidFile, match=r"U\+0000"):
        provision(content)
    assert not Company.objects.exists()

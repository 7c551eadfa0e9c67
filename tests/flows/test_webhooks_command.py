"""`manage.py webhooks` against a Cal.com over HTTP: what it leaves behind there, and what it says."""

from __future__ import annotations

import io
from typing import Any

import pytest
from django.core.management import call_command
from django.db import connection

from booking.calcom.simulator.request import Request
from booking.calcom.simulator.state import Webhook
from booking.calcom.subscriptions import TRIGGERS
from booking.models import Service
from customers.models import Company
from customers.ops_command import CannotWork
from tests.commands import Ran, run_command
from tests.flows.conftest import SERVICES, make_salon
from tests.flows.phone import at
from tests.waiting import wait_until

PUBLIC_URL = "https://bookings.example.org"
SECRET = "whsec_salon"
EVENT_TYPES = [key for *_, key in SERVICES]


class Run(Ran):
    def steps(self, slug: str = "salon") -> list[tuple[Any, str, str]]:
        return [
            (step["event_type_id"], step["verb"], step["outcome"])
            for step in self.report["companies"][slug]["steps"]
        ]

    def outcomes(self) -> set[tuple[str, str]]:
        return {(verb, outcome) for _, verb, outcome in self.steps()}


@pytest.fixture(autouse=True)
def public_address(settings):
    settings.PUBLIC_URL = PUBLIC_URL


@pytest.fixture
def webhooks(salon):
    """Run the command; whatever it prints must be free of secrets."""

    def run(*arguments: str, as_json: bool = True) -> Run:
        ran = run_command("webhooks", *arguments, *(["--json"] if as_json else []))
        for company in Company.objects.all():
            for secret in (*company.calcom_webhook_secrets, company.calcom_api_key):
                assert not secret or secret not in ran.text
        return Run(ran.status, ran.text)

    return run


def url(company: Company, *, base: str = PUBLIC_URL) -> str:
    return f"{base}/hooks/{company.endpoint_id}/calcom"


def at_event_type(calcom, key: str, account: str = "salon") -> list[Webhook]:
    event_type = calcom.state.event_type(key, account)
    return [each for each in of_account(calcom, account) if each.event_type_id == event_type.id]


def of_account(calcom, account: str = "salon") -> list[Webhook]:
    return list(calcom.state.account(account).webhooks.values())


def changes(calcom) -> list[str]:
    return [each.method for each in calcom.requests("webhooks") if each.method != "GET"]


def is_right(webhook: Webhook, company: Company, *, secret: str = SECRET) -> bool:
    return (
        webhook.url == url(company)
        and webhook.secret == secret
        and webhook.active
        and set(webhook.triggers) == set(TRIGGERS)
        and not webhook.payload_template
    )


def present(calcom, company, key="open", **values) -> Webhook:
    """A subscription that is there already; by default one that is right."""
    event_type_id = None if key is None else calcom.state.event_type(key, "salon").id
    template = values.pop("payload_template", None)
    options = {"url": url(company), "triggers": list(TRIGGERS), "secret": SECRET, **values}
    webhook: Webhook = calcom.state.add_webhook("salon", event_type_id=event_type_id, **options)
    webhook.payload_template = template
    return webhook


# --- Making and repairing


def test_every_event_type_gets_one_subscription_and_a_second_run_changes_nothing(calcom, salon, webhooks):
    first = webhooks()
    assert first.status == 0
    assert first.outcomes() == {("create", "done")}
    for key in EVENT_TYPES:
        (webhook,) = at_event_type(calcom, key)
        assert is_right(webhook, salon)
    made = len(changes(calcom))
    second = webhooks()
    assert second.status == 0
    assert second.outcomes() == {("keep", "kept")}
    assert len(changes(calcom)) == made == len(EVENT_TYPES)


def test_what_was_made_delivers_a_booking_once_signed_with_the_companys_secret(calcom, salon, webhooks):
    webhooks()
    calcom.webhooks.hold()
    booking = calcom.web_book("roundrobin_open", start=at(10))
    (delivery,) = [each for each in calcom.webhooks.held if each.uid == booking.uid]
    assert (delivery.trigger, delivery.url, delivery.secret) == ("BOOKING_CREATED", url(salon), SECRET)


def test_two_services_on_one_event_type_share_a_subscription(calcom, salon, webhooks):
    other = Service.objects.get(company=salon, slug="shave")
    other.calcom_event_type_id = calcom.state.event_type("open").id
    other.save()
    run = webhooks()
    assert run.status == 0
    assert len(at_event_type(calcom, "open")) == 1
    assert at_event_type(calcom, "single") == []
    (step,) = [
        step
        for step in run.report["companies"]["salon"]["steps"]
        if step["event_type_id"] == other.calcom_event_type_id
    ]
    assert step["services"] == ["haircut", "shave"]


@pytest.mark.parametrize(
    "wrong",
    [
        {"triggers": ["BOOKING_CREATED"]},
        {"secret": "whsec_forgotten"},
        {"secret": None},
        {"active": False},
        {"payload_template": '{"type": "{{type}}"}'},
    ],
)
def test_what_is_ours_and_wrong_is_repaired_in_place(calcom, salon, webhooks, wrong):
    webhook = present(calcom, salon, **wrong)
    run = webhooks()
    assert run.status == 0
    assert (webhook.event_type_id, "update", "done") in run.steps()
    assert at_event_type(calcom, "open") == [webhook]
    assert is_right(webhook, salon)
    assert webhooks().outcomes() == {("keep", "kept")}


def test_after_a_move_to_another_address_the_old_subscription_follows(calcom, salon, webhooks):
    webhook = present(calcom, salon, url=url(salon, base="http://192.0.2.7:8000/slotkeeper"))
    assert webhooks().status == 0
    assert at_event_type(calcom, "open") == [webhook]
    assert is_right(webhook, salon)


def test_while_the_secret_is_rotated_subscriptions_get_the_new_one(calcom, salon, webhooks):
    webhooks()
    salon.calcom_webhook_secret, salon.calcom_webhook_secret_previous = "whsec_next", SECRET
    salon.save()
    assert webhooks().outcomes() == {("update", "done")}
    assert all(is_right(each, salon, secret="whsec_next") for each in of_account(calcom))


def test_a_duplicate_of_ours_goes_and_one_stays(calcom, salon, webhooks):
    old = present(calcom, salon, url=url(salon, base="https://old.example.org"))
    right = present(calcom, salon)
    assert webhooks().status == 0
    assert at_event_type(calcom, "open") == [right]
    assert old not in of_account(calcom)


def test_subscriptions_of_others_are_left_alone(calcom, salon, webhooks):
    others = [
        present(calcom, salon, url="https://crm.example.org/calcom", secret=None, active=False),
        present(calcom, salon, None, url="https://zapier.example.org/x", triggers=["BOOKING_CREATED"]),
    ]
    before = [vars(each).copy() for each in others]
    assert webhooks().status == 0
    assert webhooks("--remove", "--company", "salon").status == 0
    assert of_account(calcom) == others
    assert [vars(each) for each in others] == before


def test_more_subscriptions_than_a_page_holds_are_all_read(calcom, salon, webhooks):
    for number in range(260):
        present(calcom, salon, url=f"https://crm.example.org/{number}")
    ours = present(calcom, salon)
    assert (ours.event_type_id, "keep", "kept") in webhooks().steps()


# --- What is not wanted any more


def test_an_event_type_that_no_active_service_uses_loses_ours(calcom, salon, webhooks):
    webhooks()
    Service.objects.filter(company=salon, slug="shave").update(is_active=False)
    run = webhooks()
    assert run.status == 0
    assert ("delete", "done") in run.outcomes()
    assert at_event_type(calcom, "single") == []
    assert len(of_account(calcom)) == len(EVENT_TYPES) - 1


def test_the_event_type_a_service_was_moved_away_from_loses_ours(calcom, salon, webhooks, haircut):
    webhooks()
    haircut.learned_event_type_id = haircut.calcom_event_type_id
    haircut.calcom_event_type_id = calcom.state.event_type("single").id
    haircut.save()
    assert webhooks().status == 0
    assert at_event_type(calcom, "open") == []
    assert len(at_event_type(calcom, "single")) == 1


def test_ours_at_the_keys_owner_goes_because_it_delivers_everything_twice(calcom, salon, webhooks):
    own = present(calcom, salon, None)
    run = webhooks()
    assert run.status == 0
    assert run.steps()[-1] == (None, "delete", "done")
    assert run.report["companies"]["salon"]["steps"][-1]["why"] == ["delivers everything twice"]
    assert own not in of_account(calcom)
    assert len(of_account(calcom)) == len(EVENT_TYPES)


def test_ours_at_the_keys_owner_stays_while_an_event_type_has_none_of_its_own(calcom, salon, webhooks):
    own = present(calcom, salon, None)
    calcom.faults.refuse("Webhook URL is not allowed: private", operation="webhooks", when=is_post)
    run = webhooks()
    assert run.status == 1
    assert run.steps()[-1] == (None, "delete", "left")
    assert own in of_account(calcom)
    assert webhooks().status == 0
    assert own not in of_account(calcom)


def test_remove_takes_all_of_ours_away_and_needs_no_address(calcom, salon, webhooks, settings):
    webhooks()
    present(calcom, salon, None)
    settings.PUBLIC_URL = ""
    Service.objects.filter(company=salon, slug="shave").update(is_active=False)
    assert webhooks("--remove", "--company", "salon").status == 0
    assert of_account(calcom) == []
    assert webhooks("--remove", "--company", "salon").steps() == []


def test_a_company_that_is_switched_off_can_still_be_removed(calcom, salon, webhooks):
    webhooks()
    Company.objects.update(is_active=False)
    with pytest.raises(CannotWork):
        webhooks("--company", "salon")
    assert webhooks("--remove", "--company", "salon").status == 0
    assert of_account(calcom) == []


# --- Dry run


def test_a_dry_run_says_what_would_be_done_and_changes_nothing(calcom, salon, webhooks):
    wrong = present(calcom, salon, active=False)
    twice = present(calcom, salon, None)
    run = webhooks("--dry-run")
    assert run.status == 1
    assert run.outcomes() == {("create", "planned"), ("update", "planned"), ("delete", "planned")}
    assert run.report["planned"] == len(EVENT_TYPES) + 1
    assert run.report["changed"] == 0
    assert of_account(calcom) == [wrong, twice]
    assert changes(calcom) == []
    webhooks()
    assert webhooks("--dry-run").status == 0


def test_a_company_without_a_webhook_secret_is_given_one(calcom, salon, webhooks):
    salon.calcom_webhook_secret = ""
    salon.save()
    dry = webhooks("--dry-run")
    assert dry.status == 1
    assert dry.report["companies"]["salon"]["secret_made"] is True
    assert changes(calcom) == []
    salon.refresh_from_db()
    assert salon.calcom_webhook_secret == ""

    run = webhooks()
    assert run.status == 0
    assert run.report["companies"]["salon"]["secret_made"] is True
    salon.refresh_from_db()
    assert len(salon.calcom_webhook_secret) >= 32
    assert {each.secret for each in of_account(calcom)} == {salon.calcom_webhook_secret}
    with connection.cursor() as cursor:
        cursor.execute("SELECT calcom_webhook_secret FROM companies")
        assert salon.calcom_webhook_secret not in cursor.fetchone()[0]
    assert webhooks().report["companies"]["salon"]["secret_made"] is False


def test_removing_makes_no_secret(salon, webhooks):
    salon.calcom_webhook_secret = ""
    salon.save()
    assert webhooks("--remove", "--company", "salon").status == 0
    salon.refresh_from_db()
    assert salon.calcom_webhook_secret == ""


# --- What goes wrong


def is_post(request: Request) -> bool:
    return request.method == "POST"


@pytest.mark.parametrize("commit", [True, False])
def test_a_create_of_unknown_outcome_is_looked_up_and_never_repeated_blindly(calcom, salon, webhooks, commit):
    calcom.faults.reset_connection(commit=commit, operation="webhooks", when=is_post)
    run = webhooks()
    assert run.status == (0 if commit else 1)
    assert changes(calcom) == ["POST"] * len(EVENT_TYPES)
    assert len(of_account(calcom)) == len(EVENT_TYPES) - (0 if commit else 1)
    assert webhooks().status == 0
    assert len(of_account(calcom)) == len(EVENT_TYPES)


def test_a_create_that_commits_late_is_found_by_the_next_run(calcom, salon, webhooks):
    calcom.faults.late_commit(0.5, operation="webhooks", when=is_post)
    assert webhooks().status == 1
    wait_until(lambda: len(of_account(calcom)) == len(EVENT_TYPES))
    assert webhooks().outcomes() == {("keep", "kept")}


def test_one_that_somebody_else_made_in_this_moment_is_repaired_and_not_doubled(calcom, salon, webhooks):
    def make_another(exchange) -> None:
        key = calcom.state.event_type(int(exchange.request.path.split("/")[3])).key
        present(calcom, salon, key, active=False)

    calcom.faults.add("webhooks", when=is_post, call={"received": make_another})
    run = webhooks()
    assert run.status == 0
    assert len(of_account(calcom)) == len(EVENT_TYPES)
    assert all(is_right(each, salon) for each in of_account(calcom))


@pytest.mark.parametrize("method", ["PATCH", "DELETE"])
@pytest.mark.parametrize("commit", [True, False])
def test_a_repair_of_unknown_outcome_is_looked_up(calcom, salon, webhooks, method, commit):
    webhook = present(calcom, salon, active=False)
    present(calcom, salon, url=url(salon, base="https://old.example.org"))
    calcom.faults.server_error(
        commit=commit, operation="webhooks", status=502, when=lambda request: request.method == method
    )
    assert webhooks().status == (0 if commit else 1)
    assert webhooks().status == 0
    assert at_event_type(calcom, "open") == [webhook]
    assert is_right(webhook, salon)


def test_a_duplicate_that_is_gone_before_we_remove_it_is_no_problem(calcom, salon, webhooks):
    present(calcom, salon)
    other = present(calcom, salon, url=url(salon, base="https://old.example.org"))

    def vanish(exchange) -> None:
        calcom.state.account("salon").webhooks.pop(other.id)

    calcom.faults.add("webhooks", when=lambda request: request.method == "DELETE", call={"received": vanish})
    assert webhooks().status == 0
    assert len(at_event_type(calcom, "open")) == 1


@pytest.mark.parametrize("said", ["Cannot DELETE /v2/webhooks", "no Route matched with those values"])
def test_what_still_stands_after_a_404_is_not_called_deleted(calcom, salon, webhooks, said):
    kept = present(calcom, salon)
    other = present(calcom, salon, url=url(salon, base="https://old.example.org"))
    calcom.faults.refuse(
        said, status=404, operation="webhooks", when=lambda request: request.method == "DELETE"
    )
    run = webhooks()
    assert run.status == 1
    assert (kept.event_type_id, "delete", "left") in run.steps()
    assert at_event_type(calcom, "open") == [kept, other]
    assert webhooks().status == 0
    assert at_event_type(calcom, "open") == [kept]


def test_what_is_said_of_another_subscription_is_no_answer(calcom, salon, webhooks):
    """Something on the way answers with what it has of another company, or of another event type."""
    other = present(calcom, salon, "single", url="https://crm.example.org/calcom")
    listed = {"id": str(other.id), "subscriberUrl": other.url, "eventTypeId": other.event_type_id}
    answer = {"status": 201, "body": {"status": "success", "data": listed}}
    calcom.faults.add("webhooks", when=is_post, **answer)
    there = {
        **listed,
        "subscriberUrl": url(salon),
        "triggers": list(TRIGGERS),
        "active": True,
        "secret": SECRET,
    }
    odd = calcom.state.event_type("confirm_open").id
    answer = {"status": 200, "body": {"status": "success", "data": [there]}}
    calcom.faults.add("webhooks", path_contains=f"/{odd}/", times=3, **answer)
    run = webhooks()
    assert run.status == 1
    assert {("create", "left"), ("look", "left")} <= run.outcomes()
    assert len(of_account(calcom)) == 1 + len(EVENT_TYPES) - 2
    assert webhooks().status == 0
    assert len(of_account(calcom)) == 1 + len(EVENT_TYPES)


@pytest.mark.parametrize("services", ["active", "switched off"])
@pytest.mark.parametrize(
    "trouble",
    [
        {"status": 200, "body": {"status": "success", "data": [{"id": None}]}},
        {"status": 200, "body": {"status": "success", "data": {}}},
        {"status": 422, "body": {"statusCode": 422, "message": "take is odd"}},
    ],
)
def test_subscriptions_that_cannot_be_read_are_left_and_the_others_are_done(
    calcom, salon, webhooks, services, trouble
):
    webhooks()
    Service.objects.filter(company=salon).update(is_active=services == "active")
    for each in list(of_account(calcom)):
        each.secret = "whsec_forgotten"
    there = len(of_account(calcom))
    own = present(calcom, salon, None)
    odd = calcom.state.event_type("single").id
    fault = calcom.faults.add("webhooks", path_contains=f"/{odd}/", times=None, **trouble)
    run = webhooks("--company", "salon", *([] if services == "active" else ["--remove"]))
    assert run.status == 1
    (step,) = [step for step in run.steps() if step[0] == odd]
    assert step == (odd, "look", "left")
    done = ("update", "done") if services == "active" else ("delete", "done")
    assert sum(step[1:] == done and step[0] is not None for step in run.steps()) == there - 1
    assert (own in of_account(calcom)) is (services == "active"), "it tells of what has none of its own"
    calcom.faults.remove(fault)
    assert webhooks("--company", "salon").status == 0
    assert len(of_account(calcom)) == (there if services == "active" else 0)


def test_an_event_type_that_is_gone_is_reported_and_the_others_are_done(calcom, salon, webhooks, haircut):
    Service.objects.filter(pk=haircut.pk).update(calcom_event_type_id=987654)
    run = webhooks()
    assert run.status == 1
    (step,) = [each for each in run.report["companies"]["salon"]["steps"] if each["outcome"] == "left"]
    assert (step["event_type_id"], step["services"]) == (987654, ["haircut"])
    assert "gone" in step["problem"]
    assert len(of_account(calcom)) == len(EVENT_TYPES) - 1
    Service.objects.filter(pk=haircut.pk).update(is_active=False)
    assert webhooks().status == 0


def test_a_teams_event_type_is_subscribed_to_through_its_team(calcom, salon, webhooks):
    colour = calcom.state.event_type("roundrobin_open")
    team = colour.account.team_id
    not_yours = f"IsUserEventTypeWebhookGuard - User (1) is not the owner of event type ({colour.id})"
    calcom.faults.refuse(
        not_yours, status=403, operation="webhooks", path_contains=f"/v2/event-types/{colour.id}/", times=None
    )
    made = {
        "id": "team-1",
        "subscriberUrl": url(salon),
        "triggers": list(TRIGGERS),
        "secret": SECRET,
        "active": True,
        "payloadTemplate": None,
    }
    path = f"/v2/teams/{team}/event-types/{colour.id}/webhooks"
    for method, status, data in (("GET", 200, []), ("POST", 201, made), ("GET", 200, [made])):
        calcom.faults.add(
            status=status,
            body={"status": "success", "data": data},
            when=lambda request, method=method: request.path == path and request.method == method,
        )
    assert (colour.id, "create", "done") in webhooks().steps()
    assert (colour.id, "keep", "kept") in webhooks().steps()


def test_an_event_type_that_the_key_may_not_subscribe_to_is_left_for_a_person(calcom, salon, webhooks):
    haircut = calcom.state.event_type("open").id
    calcom.faults.refuse(
        "Not the owner.",
        status=403,
        operation="webhooks",
        path_contains=f"/event-types/{haircut}/",
        times=None,
    )
    run = webhooks()
    assert run.status == 1
    assert (haircut, "look", "left") in run.steps()
    assert len(of_account(calcom)) == len(EVENT_TYPES) - 1


def test_a_teams_event_type_at_a_server_without_team_addresses_is_not_called_gone(calcom, salon, webhooks):
    colour = calcom.state.event_type("roundrobin_open")
    own = present(calcom, salon, None)
    path = f"/v2/event-types/{colour.id}/"
    calcom.faults.refuse("Not yours.", status=403, operation="webhooks", path_contains=path, times=None)
    run = webhooks()
    assert run.status == 1
    (step,) = [each for each in run.report["companies"]["salon"]["steps"] if each["verb"] == "look"]
    assert "gone" not in step["problem"]
    assert own in of_account(calcom)


def test_what_cannot_be_looked_at_does_not_keep_the_rest_from_being_removed(calcom, salon, webhooks):
    webhooks()
    present(calcom, salon, None)
    haircut = calcom.state.event_type("open").id
    path = f"/v2/event-types/{haircut}/"
    calcom.faults.refuse("Not yours.", status=403, operation="webhooks", path_contains=path, times=None)
    run = webhooks("--remove", "--company", "salon")
    assert run.status == 1
    assert (haircut, "look", "left") in run.steps()
    assert [each.event_type_id for each in of_account(calcom)] == [haircut]


def test_one_companys_bad_key_does_not_stop_the_others(calcom, salon, webhooks):
    for slug, key in (("aalen", "cal_wrong_key"), ("berlin", "")):
        company = make_salon(calcom, slug=slug, number=f"+49309999999{len(slug)}")
        company.calcom_api_key = key
        company.save()
    run = webhooks()
    assert run.status == 2
    companies = run.report["companies"]
    assert "Invalid API Key (HTTP 401)" in companies["aalen"]["failed"]
    assert companies["aalen"]["steps"] == []
    assert "no Cal.com API key" in companies["berlin"]["failed"]
    assert companies["salon"]["failed"] == ""
    assert len(of_account(calcom)) == len(EVENT_TYPES)
    assert webhooks("--company", "salon").status == 0


def test_a_company_whose_secrets_cannot_be_opened_does_not_stop_the_others(calcom, salon):
    make_salon(calcom, slug="aalen", number="+493099999999")
    Company.objects.filter(slug="aalen").update(calcom_webhook_secret="x")
    with connection.cursor() as cursor:
        cursor.execute("UPDATE companies SET calcom_webhook_secret = 'enc1:spoilt' WHERE slug = 'aalen'")
    out = io.StringIO()
    with pytest.raises(SystemExit) as left:
        call_command("webhooks", "--json", stdout=out)
    assert left.value.code == 2
    assert len(of_account(calcom)) == len(EVENT_TYPES)


def test_an_outage_fails_the_company_and_says_what_was_done_before(calcom, salon, webhooks):
    calcom.faults.server_error(commit=False, operation="webhooks", status=503, skip=4, times=None)
    run = webhooks()
    assert run.status == 2
    assert run.report["companies"]["salon"]["failed"]
    assert run.report["changed"] == len(of_account(calcom)) > 0
    calcom.faults.clear()
    assert webhooks().status == 0


def test_a_refusal_that_repeats_the_secret_is_shown_without_it(calcom, salon, webhooks):
    calcom.faults.refuse(f"secret {SECRET} is too weak", operation="webhooks", when=is_post, times=None)
    run = webhooks()
    assert run.status == 1
    assert "secret … is too weak" in run.text


def test_without_a_public_address_nothing_is_done_and_it_says_what_to_set(calcom, salon, webhooks, settings):
    settings.PUBLIC_URL = ""
    with pytest.raises(CannotWork, match="PUBLIC_URL") as refused:
        webhooks()
    assert refused.value.returncode == 2
    assert calcom.requests("webhooks") == []


def test_the_process_ends_with_the_exit_status_that_was_promised(calcom, salon, run_manage):
    reachable = {"PUBLIC_URL": PUBLIC_URL}
    without = run_manage("webhooks", env={"PUBLIC_URL": ""})
    assert (without.returncode, "PUBLIC_URL" in without.stderr) == (2, True)
    assert run_manage("webhooks", "--dry-run", env=reachable).returncode == 1
    done = run_manage("webhooks", "--company", "salon", env=reachable)
    assert done.returncode == 0
    assert SECRET not in done.stdout + done.stderr
    assert run_manage("webhooks", "--dry-run", env=reachable).returncode == 0


def test_an_unknown_company_is_refused(webhooks):
    with pytest.raises(CannotWork, match="studio"):
        webhooks("--company", "studio")
    with pytest.raises(CannotWork, match="studio"):
        webhooks("--remove", "--company", "studio")


def test_one_company_at_a_time_stops_being_told(calcom, salon, webhooks):
    webhooks()
    before = list(of_account(calcom))
    with pytest.raises(CannotWork, match="--company"):
        webhooks("--remove")
    assert of_account(calcom) == before


# --- For people


def test_the_table_tells_every_event_type_its_services_and_what_was_done(calcom, salon, webhooks):
    present(calcom, salon, active=False)
    present(calcom, salon, None)
    lines = webhooks(as_json=False).text.splitlines()
    assert lines[0].split() == ["company", "event", "type", "services", "action", "outcome", "remarks"]
    number = str(calcom.state.event_type("open").id)
    (row,) = [line.split() for line in lines if f" {number} " in line]
    assert row == ["salon", number, "haircut", "update", "done", "inactive"]
    assert lines[-2].split()[:5] == ["salon", "owner", "-", "delete", "done"]
    assert lines[-1] == "1 company: 6 changed, 0 left for a person, 0 failed."

"""`manage.py retell_agent`: one agent at Retell, however often and however badly it goes."""

from __future__ import annotations

import io
import json
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from typing import Any

import pytest
from django.core.management import CommandError, call_command
from pydantic import TypeAdapter
from retell.types import AgentResponse, LlmResponse, PhoneNumberResponse
from retell.types.agent_create_params import AgentCreateParams
from retell.types.agent_update_params import AgentUpdateParams
from retell.types.llm_create_params import LlmCreateParams
from retell.types.llm_update_params import LlmUpdateParams
from retell.types.phone_number_update_params import PhoneNumberUpdateParams

from customers.models import Branch, Company, RetellAgent
from tests.factories import BranchFactory, CompanyFactory, PhoneNumberFactory, RetellAgentFactory
from tests.servers.processes import RunManage
from tests.servers.retell_agents_api import RetellWorkspace

pytestmark = pytest.mark.django_db

KEY = "key_salon_0123456789abcdef"
NUMBER = "+493012345678"
PUBLIC_URL = "https://slots.example.org"


@dataclass
class Ran:
    status: int
    out: str
    err: str

    @property
    def report(self) -> dict[str, Any]:
        return dict(json.loads(self.out))


@pytest.fixture
def retell() -> Iterator[RetellWorkspace]:
    with RetellWorkspace(key=KEY) as workspace:
        yield workspace


@pytest.fixture
def branch(retell: RetellWorkspace, settings: Any) -> Branch:
    settings.PUBLIC_URL = PUBLIC_URL
    settings.RETELL_BASE_URL = retell.origin
    company = CompanyFactory(
        slug="salon", name="Salon Mitte", retell_api_key=KEY, calcom_api_key="cal_secret_1"
    )
    branch = BranchFactory(company=company, slug="mitte", name="Mitte")
    PhoneNumberFactory(branch=branch, number=NUMBER)
    retell.add_number(NUMBER)
    return branch  # type: ignore[no-any-return]


def run(*arguments: str) -> Ran:
    out, err = io.StringIO(), io.StringIO()
    status = 0
    try:
        call_command("retell_agent", "--company", "salon", *arguments, stdout=out, stderr=err)
    except CommandError as error:
        err.write(str(error))
        status = error.returncode
    except SystemExit as stop:
        status = int(str(stop.code))
    for secret in (KEY, "cal_secret_1", "whsec_secret"):
        assert secret not in out.getvalue() + err.getvalue()
    return Ran(status, out.getvalue(), err.getvalue())


def push(*arguments: str) -> Ran:
    return run("--push", "--json", *arguments)


def only_agent(retell: RetellWorkspace) -> str:
    (agent_id,) = retell.agents
    return agent_id


# without --push -------------------------------------------------------------------------------------------


def test_without_push_a_file_to_import_is_printed_and_retell_is_left_alone(
    branch: Branch, retell: RetellWorkspace
) -> None:
    ran = run()
    assert ran.status == 0
    content = ran.report
    endpoint = f"{PUBLIC_URL}/hooks/{branch.company.endpoint_id}/retell"
    assert content["webhook_url"] == f"{endpoint}/events"
    assert content["language"] == "de-DE"
    assert content["timezone"] == "Europe/Berlin"
    tools = content["retellLlmData"]["general_tools"]
    assert f"{endpoint}/functions/book_appointment" in [tool.get("url") for tool in tools]
    assert f"{NUMBER}: set its inbound webhook to {endpoint}/inbound" in ran.err
    assert retell.changes == []
    assert not RetellAgent.objects.exists()


def test_the_language_can_be_chosen_and_english_follows_the_number(branch: Branch) -> None:
    assert json.loads(run("--language", "en").out)["language"] == "en-US"
    branch.phone_numbers.update(number="+442071838750")
    english = run("--language", "en", "--json").report["import_file"]
    assert english["language"] == "en-GB"
    assert "How can I help you?" in english["retellLlmData"]["begin_message"]
    assert (
        "Was kann ich für Sie tun?" in run("--json").report["import_file"]["retellLlmData"]["begin_message"]
    )


def test_the_agent_lives_in_the_zone_of_its_branch(branch: Branch) -> None:
    branch.timezone = "America/New_York"
    branch.save()
    content = run("--json").report["import_file"]
    assert content["timezone"] == "America/New_York"
    assert "{{current_time_America/New_York}}" in content["retellLlmData"]["general_prompt"]


def test_without_a_public_address_there_is_nothing_to_point_at(branch: Branch, settings: Any) -> None:
    settings.PUBLIC_URL = ""
    ran = run()
    assert (ran.status, ran.out) == (2, "")
    assert "PUBLIC_URL" in ran.err


def test_a_company_with_several_branches_has_an_agent_for_each(
    branch: Branch, retell: RetellWorkspace
) -> None:
    other = BranchFactory(company=branch.company, slug="nord", name="Nord")
    PhoneNumberFactory(branch=other, number="+493087654321")
    retell.add_number("+493087654321")
    refused = push()
    assert refused.status == 2
    assert "mitte, nord" in refused.err
    first, second = push("--branch", "mitte"), push("--branch", "nord")
    assert first.report["agent_id"] != second.report["agent_id"]
    assert retell.numbers["+493087654321"]["inbound_agents"][0]["agent_id"] == second.report["agent_id"]
    assert retell.numbers[NUMBER]["inbound_agents"][0]["agent_id"] == first.report["agent_id"]
    assert RetellAgent.objects.get(agent_id=second.report["agent_id"]).branch == other
    assert "Salon Mitte, Nord" in retell.newest(second.report["agent_id"])["agent_name"]
    assert push("--branch", "elsewhere").status == 2


# the first push and the next ------------------------------------------------------------------------------


def test_a_push_makes_one_published_agent_that_answers_the_number(
    branch: Branch, retell: RetellWorkspace
) -> None:
    ran = push()
    assert (ran.status, ran.report["action"]) == (0, "created")
    agent_id = only_agent(retell)
    agent, engine = retell.published(agent_id)
    assert agent["webhook_url"] == f"{PUBLIC_URL}/hooks/{branch.company.endpoint_id}/retell/events"
    assert "Salon Mitte" in engine["begin_message"]
    number = retell.numbers[NUMBER]
    assert number["inbound_webhook_url"] == ran.report["inbound_webhook_url"]
    assert number["inbound_agents"] == [
        {"agent_id": agent_id, "agent_version": "latest_published", "weight": 1}
    ]
    assert RetellAgent.objects.get().agent_id == ran.report["agent_id"] == agent_id
    assert RetellAgent.objects.get().branch == branch


def test_a_second_push_changes_nothing(branch: Branch, retell: RetellWorkspace) -> None:
    push()
    before = len(retell.changes)
    again = push()
    assert (again.status, again.report["action"]) == (0, "unchanged")
    assert [number["outcome"] for number in again.report["phone_numbers"]] == ["unchanged"]
    assert retell.changes[before:] == []
    assert RetellAgent.objects.count() == 1


def test_a_change_of_ours_reaches_callers_and_nothing_of_theirs_is_lost(
    branch: Branch, retell: RetellWorkspace, settings: Any
) -> None:
    push()
    agent_id = only_agent(retell)
    published, engine = retell.published(agent_id)
    transfer = {"type": "transfer_call", "name": "to_the_boss"}
    published["voice_id"] = "cartesia-Lena"
    engine["general_tools"].append(transfer)
    settings.ANSWER_BUDGET_SECONDS = 5.0
    ran = push()
    assert (ran.status, ran.report["action"], ran.report["version"]) == (0, "updated", 1)
    paths = {change["path"] for change in ran.report["changes"]["llm"]}
    assert "general_tools.book_appointment.timeout_ms" in paths
    now, now_engine = retell.published(agent_id)
    assert now["version"] == 1
    assert {tool.get("timeout_ms") for tool in now_engine["general_tools"]} == {7000, None}
    assert transfer in now_engine["general_tools"]
    assert now["voice_id"] == "cartesia-Lena"
    assert retell.numbers[NUMBER]["inbound_agents"][0]["agent_version"] == "latest_published"
    assert push().report["action"] == "unchanged"


def test_a_draft_somebody_works_on_is_neither_changed_nor_published(
    branch: Branch, retell: RetellWorkspace
) -> None:
    push()
    agent_id = only_agent(retell)
    draft = retell.create_draft(agent_id, {"base_version": 0})
    draft["language"] = "nl-NL"
    assert push().report["action"] == "unchanged"
    Company.objects.update(language="en")
    assert push().report["version"] == 2
    assert draft["language"] == "nl-NL"
    assert not draft["is_published"]
    assert retell.published(agent_id)[0]["language"] == "en-US"


def test_a_dry_run_says_what_would_be_done_and_does_nothing(branch: Branch, retell: RetellWorkspace) -> None:
    first = push("--dry-run")
    assert (first.status, first.report["action"], first.report["pushed"]) == (0, "created", False)
    assert [number["outcome"] for number in first.report["phone_numbers"]] == ["connected"]
    assert retell.changes == []
    assert not RetellAgent.objects.exists()

    push()
    before = len(retell.changes)
    Company.objects.update(language="en")
    second = run("--push", "--dry-run")
    assert "would be updated" in second.out
    assert "  language: de-DE → en-US" in second.out
    assert "+You answer the telephone for Salon Mitte." in second.out
    assert retell.changes[before:] == []


def test_people_are_told_what_was_done(branch: Branch, retell: RetellWorkspace) -> None:
    ran = run("--push")
    assert ran.status == 0
    assert f"{only_agent(retell)}: created" in ran.out
    assert f"{NUMBER}: connected" in ran.out


def test_a_number_that_retell_does_not_have_is_left_for_a_person(
    branch: Branch, retell: RetellWorkspace
) -> None:
    del retell.numbers[NUMBER]
    ran = push()
    assert ran.status == 1
    assert [number["outcome"] for number in ran.report["phone_numbers"]] == ["not_at_retell"]
    assert ran.report["action"] == "created"


def test_a_number_that_retell_does_not_let_us_connect_is_left_for_a_person(
    branch: Branch, retell: RetellWorkspace
) -> None:
    retell.refuse("update-phone-number", message=f"The key {KEY} may not change numbers.")
    ran = push()
    assert ran.status == 1
    assert "may not change numbers" in ran.report["phone_numbers"][0]["reason"]


def test_an_address_that_retell_cannot_reach_is_said(branch: Branch, settings: Any) -> None:
    for address in ("http://slots.example.org", "https://localhost", "https://10.0.0.7"):
        settings.PUBLIC_URL = address
        ran = push()
        assert ran.status == 1
        assert "public https" in ran.report["warnings"][0]


def test_a_key_that_retell_does_not_accept_is_said_without_the_key(
    branch: Branch, retell: RetellWorkspace
) -> None:
    retell.key = "another"
    ran = push()
    assert ran.status == 2
    assert json.loads(ran.out) == {"error": "Retell does not accept the API key of salon."}
    assert "does not accept the API key of salon" in ran.err
    Company.objects.update(retell_api_key="")
    assert "has no Retell API key" in push().err


@pytest.mark.django_db(transaction=True)
def test_standard_output_holds_the_file_and_nothing_else(branch: Branch, run_manage: RunManage) -> None:
    env = {"PUBLIC_URL": PUBLIC_URL}
    ran = run_manage("retell_agent", "--company", "salon", env=env)
    assert ran.returncode == 0, ran.stderr
    assert json.loads(ran.stdout)["retellLlmData"]["general_prompt"]
    assert NUMBER in ran.stderr
    unknown = run_manage("retell_agent", "--company", "nobody", env=env)
    assert (unknown.returncode, unknown.stdout) == (2, "")


# whose agent it is ----------------------------------------------------------------------------------------


def test_an_agent_made_by_hand_is_left_alone(branch: Branch, retell: RetellWorkspace) -> None:
    by_hand = retell.add_agent(agent_name="Salon Mitte")
    RetellAgentFactory(branch=branch, agent_id=by_hand)
    before = json.dumps(retell.agents[by_hand])
    assert push().report["action"] == "created"
    assert json.dumps(retell.agents[by_hand]) == before
    assert RetellAgent.objects.count() == 2


def test_an_agent_on_record_that_retell_does_not_know_is_no_obstacle(
    branch: Branch, retell: RetellWorkspace
) -> None:
    RetellAgentFactory(branch=branch, agent_id="agent_deleted")
    assert push().report["action"] == "created"


def test_an_agent_that_was_given_another_name_is_found_again(branch: Branch, retell: RetellWorkspace) -> None:
    push()
    retell.newest(only_agent(retell))["agent_name"] = "Anna"
    assert push().report["action"] == "unchanged"
    assert len(retell.agents) == 1
    assert retell.newest(only_agent(retell))["agent_name"] == "Anna"


def test_of_a_copy_and_the_agent_on_record_the_latter_is_ours(
    branch: Branch, retell: RetellWorkspace
) -> None:
    ours = push().report["agent_id"]
    copy = retell.add_agent(agent_name=retell.newest(ours)["agent_name"])
    assert push().report["agent_id"] == ours
    RetellAgent.objects.all().delete()
    ran = push()
    assert ran.status == 2
    assert "Several agents" in ran.err
    assert retell.newest(copy)["version"] == 0


def test_two_companies_in_one_retell_account_have_an_agent_each(
    branch: Branch, retell: RetellWorkspace
) -> None:
    for number in range(5):
        retell.add_agent(agent_name=f"Of somebody else {number}")
    push()
    other = CompanyFactory(slug="other", name="Salon Mitte", retell_api_key=KEY)
    BranchFactory(company=other, slug="mitte")
    out = io.StringIO()
    call_command("retell_agent", "--company", "other", "--push", "--json", stdout=out)
    assert json.loads(out.getvalue())["action"] == "created"
    assert len(retell.agents) == 7
    assert push().report["action"] == "unchanged"


# when it goes badly ---------------------------------------------------------------------------------------


@pytest.mark.parametrize("request_", ["create-retell-llm", "create-agent"])
def test_a_create_that_was_done_and_not_answered_is_found_and_not_repeated(
    branch: Branch, retell: RetellWorkspace, request_: str
) -> None:
    retell.lose_answer_to(request_)
    ran = push()
    assert (ran.status, ran.report["action"]) == (0, "created")
    assert (len(retell.agents), len(retell.llms)) == (1, 1)
    assert retell.numbers[NUMBER]["inbound_agents"][0]["agent_id"] == only_agent(retell)


def test_a_draft_that_was_made_and_not_answered_is_found_and_not_repeated(
    branch: Branch, retell: RetellWorkspace
) -> None:
    push()
    Company.objects.update(language="en")
    retell.lose_answer_to("create-agent-version")
    assert push().report["action"] == "updated"
    assert sorted(retell.agents[only_agent(retell)]) == [0, 1]
    assert retell.published(only_agent(retell))[0]["language"] == "en-US"


@pytest.mark.parametrize(
    "request_",
    ["create-retell-llm", "create-agent", "publish-agent-version", "update-phone-number", "list-agents"],
)
def test_what_a_failed_push_left_undone_is_done_by_the_next_and_once(
    branch: Branch, retell: RetellWorkspace, request_: str
) -> None:
    retell.fail(request_)
    failed = push()
    assert failed.status == 2
    assert "Run this again" in json.loads(failed.out)["error"]
    assert "Run this again" in failed.err
    assert push().status == 0
    assert (len(retell.agents), len(retell.llms)) == (1, 1)
    assert retell.published(only_agent(retell))[0]["version"] == 0
    assert RetellAgent.objects.get().agent_id == only_agent(retell)
    assert push().report["action"] == "unchanged"


def test_what_a_failed_push_left_is_found_among_much_else(branch: Branch, retell: RetellWorkspace) -> None:
    for number in range(5):
        retell.add_agent(agent_name=f"Of somebody else {number}")
    retell.fail("create-agent")
    assert push().status == 2
    assert push().report["action"] == "created"
    assert (len(retell.agents), len(retell.llms)) == (6, 6)


@pytest.mark.parametrize("request_", ["update-agent", "update-retell-llm", "publish-agent-version"])
def test_a_failed_update_leaves_what_callers_hear_and_the_next_push_ends_it(
    branch: Branch, retell: RetellWorkspace, request_: str
) -> None:
    push()
    Company.objects.update(language="en")
    retell.fail(request_)
    assert push().status == 2
    assert retell.published(only_agent(retell))[0]["language"] == "de-DE"
    assert push().report["action"] == "updated"
    agent, engine = retell.published(only_agent(retell))
    assert agent["language"] == "en-US"
    assert "How can I help you?" in engine["begin_message"]


def test_an_agent_that_no_row_remembers_is_remembered_and_not_made_again(
    branch: Branch, retell: RetellWorkspace
) -> None:
    push()
    RetellAgent.objects.all().delete()
    assert push().report["action"] == "unchanged"
    assert RetellAgent.objects.get().agent_id == only_agent(retell)
    assert len(retell.agents) == 1


# the vendor's own models as the judge ---------------------------------------------------------------------


def test_every_body_that_was_sent_is_one_that_retell_reads(branch: Branch, retell: RetellWorkspace) -> None:
    push()
    _, engine = retell.published(only_agent(retell))
    engine["general_tools"].append({"type": "press_digit", "name": "press_digit"})
    Company.objects.update(language="en")
    push()
    takes: dict[str, Any] = {
        "create-agent": AgentCreateParams,
        "create-retell-llm": LlmCreateParams,
        "update-agent": AgentUpdateParams,
        "update-retell-llm": LlmUpdateParams,
        "update-phone-number": PhoneNumberUpdateParams,
    }
    judged = set()
    for _method, path, body in retell.changes:
        what = path.split("/")[1]
        if what in takes:
            TypeAdapter(takes[what]).validate_python(body)
            judged.add(what)
    assert judged == set(takes)


def test_the_retell_of_these_tests_holds_what_the_real_one_answers(
    branch: Branch, retell: RetellWorkspace
) -> None:
    push()
    agent, engine = retell.published(only_agent(retell))
    answers: tuple[tuple[Callable[..., Any], dict[str, Any]], ...] = (
        (AgentResponse.model_validate, agent),
        (LlmResponse.model_validate, engine),
        (PhoneNumberResponse.model_validate, retell.numbers[NUMBER]),
    )
    for read, answer in answers:
        read(answer)

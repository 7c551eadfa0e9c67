"""Do calls reach us? The key, the company's agents as callers hear them, and its phone numbers."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import Any
from urllib.parse import urlsplit

from django.conf import settings

from booking.function_names import BOOK, FORMER_BOOK
from booking.functions import FUNCTIONS
from calls.call_events import APPLIED
from calls.retell.agent_api import AgentApi
from calls.retell.client import NotFound, RetellError, Unauthorized
from calls.retell.payloads import base_name
from customers.masking import mask_text
from customers.models import Branch, Company, PhoneNumber, RetellAgent
from sync.doctor.finding import Finding, failed, ok, unchecked, warning

Json = dict[str, Any]

KEY, AGENT, EVENTS, TOOLS, NUMBER = (
    "Retell key",
    "Retell agent",
    "Retell agent's webhook",
    "Retell agent's tools",
    "Retell phone number",
)
ASK_SECONDS = 8.0
NEEDED = ("check_availability", BOOK)

_KEY_REMEDY = "Store the Retell API key that has the webhook badge in Retell's dashboard with the company."
_AWAY_REMEDY = "Run this again when Retell answers; see status.retellai.com."
_BY_HAND = "Look at its tools and webhook in Retell's dashboard."


@dataclass(frozen=True)
class Ours:
    """The addresses that Retell has to call."""

    hooks: str

    @property
    def events(self) -> str:
        return f"{self.hooks}/retell/events"

    @property
    def inbound(self) -> str:
        return f"{self.hooks}/retell/inbound"

    @property
    def functions(self) -> str:
        return f"{self.hooks}/retell/functions/"


@dataclass(frozen=True, order=True)
class Heard:
    """An agent in the version that callers hear: a number, or what Retell calls its newest ("latest") and its
    newest published one ("latest_published").
    """

    agent_id: str
    version: str = "latest_published"


def look(company: Company) -> Iterator[Finding]:
    if not company.retell_api_key:
        said = "The company has no Retell API key: every request of an agent is refused."
        yield failed(KEY, said, _KEY_REMEDY)
        return
    with AgentApi(
        base_url=settings.RETELL_BASE_URL, api_key=company.retell_api_key, answer_seconds=ASK_SECONDS
    ) as api:
        finding = _key(api, company)
        yield finding
        if finding.is_ok and settings.PUBLIC_URL:
            yield from _all(api, company, Ours(company.hooks_url))


def _key(api: AgentApi, company: Company) -> Finding:
    try:
        api.agents(named=f"[slotkeeper {str(company.endpoint_id)[:8]}/")
    except Unauthorized as error:
        return failed(KEY, f"Retell refuses the key ({error})", _KEY_REMEDY)
    except NotFound:
        said = "There is no Retell API at this address."
        return failed(KEY, said, "Correct RETELL_BASE_URL, or leave it out.")
    except RetellError as error:
        said = f"Retell could not be asked ({mask_text(str(error))}). Nothing at Retell was looked at."
        return unchecked(KEY, said, _AWAY_REMEDY)
    return ok(KEY, "Retell accepts the key.")


def _all(api: AgentApi, company: Company, ours: Ours) -> Iterator[Finding]:
    push = f"manage.py retell_agent --company {company.slug} --push"
    known = list(RetellAgent.objects.filter(company=company).order_by("agent_id"))
    heard = {Heard(agent.agent_id) for agent in known}
    numbers = PhoneNumber.objects.filter(branch__company=company, branch__is_active=True).order_by("number")
    for number in numbers:
        found, answering = _number(api, number.number, ours, known=[agent.agent_id for agent in known])
        yield from found
        heard |= answering
    without = Branch.objects.filter(company=company, is_active=True, retell_agents=None).order_by("slug")
    for branch in without:
        said = "No agent is on record for this branch: web calls to it cannot be placed."
        yield warning(AGENT, said, f"Run: {push} --branch {branch.slug}", subject=branch.slug)
    for each in sorted(heard):
        yield from _agent(api, each, ours, push=push)


def _number(
    api: AgentApi, number: str, ours: Ours, *, known: Sequence[str]
) -> tuple[list[Finding], set[Heard]]:
    """What is found about a number, and the agents that answer it."""
    remedy = f"At Retell, set the number's inbound webhook to {ours.inbound}"
    try:
        there = api.phone_number(number)
    except NotFound:
        said = "Retell does not have this number: calls to it never reach an agent."
        fix = "Buy or import the number at Retell, or take it away from the branch."
        return [failed(NUMBER, said, fix, subject=number)], set()
    except RetellError as error:
        return [_unread(NUMBER, error, subject=number)], set()
    findings = []
    webhook = there.get("inbound_webhook_url")
    if not webhook:
        said = "It has no inbound webhook: the agent does not know who calls."
        findings.append(failed(NUMBER, said, remedy, subject=number))
    elif not _same(webhook, ours.inbound):
        said = f"Its inbound webhook is somebody else's ({_host(webhook)})."
        findings.append(failed(NUMBER, said, remedy, subject=number))
    agents = [each for each in there.get("inbound_agents") or [] if isinstance(each, dict)]
    answering = {
        Heard(str(each["agent_id"]), _version(each.get("agent_version")))
        for each in agents
        if each.get("agent_id")
    }
    if not answering:
        said = "No agent answers this number."
        findings.append(failed(NUMBER, said, "Connect the number to an agent at Retell.", subject=number))
    elif strangers := sorted({each.agent_id for each in answering} - set(known)):
        said = f"It is answered by an agent that is not on record ({', '.join(strangers)})."
        fix = "Enter the agent with its branch in the admin, or connect the number to the right one."
        findings.append(warning(NUMBER, said, fix, subject=number))
    if not findings:
        findings.append(ok(NUMBER, "Calls reach an agent, which asks us who calls.", subject=number))
    return findings, answering


def _version(version: Any) -> str:
    if version == "latest" or (isinstance(version, int) and not isinstance(version, bool)):
        return str(version)
    return "latest_published"


def _agent(api: AgentApi, heard: Heard, ours: Ours, *, push: str) -> Iterator[Finding]:
    subject = heard.agent_id
    try:
        number = _number_of(api, heard)
        if number is None and heard.version == "latest_published":
            said = "No version of the agent is published: it answers no call."
            yield warning(AGENT, said, "Publish the agent at Retell.", subject=subject)
        agent = api.agent(heard.agent_id, version=number)
        engine = agent.get("response_engine")
        is_llm = isinstance(engine, dict) and engine.get("type") == "retell-llm" and engine.get("llm_id")
        llm = api.llm(str(engine["llm_id"]), version=engine.get("version")) if engine and is_llm else None
    except NotFound:
        said = "Retell does not have this agent."
        yield failed(AGENT, said, f"Delete it in the admin, or run: {push}", subject=subject)
        return
    except RetellError as error:
        yield _unread(AGENT, error, subject=subject)
        return
    yield _events(agent, ours, subject=subject)
    if llm is None:
        said = "The agent has a response engine of another kind, whose tools are not looked at."
        yield unchecked(TOOLS, said, _BY_HAND, subject=subject)
    else:
        yield judge_tools(llm, ours, budget=settings.ANSWER_BUDGET_SECONDS, push=push, subject=subject)


def _number_of(api: AgentApi, heard: Heard) -> int | None:
    """The number of the version; None for the newest."""
    if heard.version == "latest":
        return None
    if heard.version != "latest_published":
        return int(heard.version)
    versions = api.versions(heard.agent_id)
    return max((int(each["version"]) for each in versions if each.get("is_published")), default=None)


def _events(agent: Json, ours: Ours, *, subject: str) -> Finding:
    remedy = f"At Retell, set the agent's webhook to {ours.events} and publish it."
    webhook = agent.get("webhook_url")
    if not webhook:
        said = "The agent has no webhook of its own: we learn of its calls only if the account's is ours."
        return warning(EVENTS, said, remedy, subject=subject)
    if not _same(webhook, ours.events):
        said = f"The agent tells somebody else of its calls ({_host(webhook)})."
        return failed(EVENTS, said, remedy, subject=subject)
    chosen = agent.get("webhook_events")
    missing = sorted(set(APPLIED) - set(chosen)) if isinstance(chosen, list) else []
    if missing:
        said = f"The agent does not tell of {', '.join(missing)}."
        return failed(EVENTS, said, "Switch these webhook events on at Retell.", subject=subject)
    return ok(EVENTS, "We are told of its calls.", subject=subject)


def judge_tools(llm: Json, ours: Ours, *, budget: float, push: str, subject: str) -> Finding:
    """A tool is ours by its name. One of others, under another name, is their business (pure)."""
    remedy = f"Run: {push}"
    tools = {
        str(tool.get("name")): tool
        for tool in _tools(llm)
        if tool.get("type") == "custom" and base_name(str(tool.get("name"))) in FUNCTIONS
    }
    elsewhere = [
        f"{name} ({_host(tool.get('url'))})"
        for name, tool in sorted(tools.items())
        if not _is_function(tool.get("url"), ours)
    ]
    if elsewhere:
        said = f"Tools of the agent call somebody else: {', '.join(elsewhere)}."
        return failed(TOOLS, said, remedy, subject=subject)
    there = {base_name(name).replace(FORMER_BOOK, BOOK) for name in tools}
    if missing := sorted(set(NEEDED) - there):
        said = f"The agent has no tool {' and no tool '.join(missing)}."
        return failed(TOOLS, said, remedy, subject=subject)
    impatient = sorted(name for name, tool in tools.items() if _gives_up_within(tool, budget))
    if impatient:
        said = f"Retell gives up before our {budget:g} s to answer are over: {', '.join(impatient)}."
        return warning(TOOLS, said, remedy, subject=subject)
    return ok(TOOLS, f"{len(tools)} tools call us.", subject=subject)


def _tools(llm: Json) -> Iterator[Json]:
    states = [each for each in llm.get("states") or [] if isinstance(each, dict)]
    for place, name in ((llm, "general_tools"), *((state, "tools") for state in states)):
        yield from (tool for tool in place.get(name) or [] if isinstance(tool, dict))


def _is_function(url: Any, ours: Ours) -> bool:
    if not isinstance(url, str) or not url.lower().startswith(ours.functions.lower()):
        return False
    return base_name(url[len(ours.functions) :].strip("/")) in FUNCTIONS


def _gives_up_within(tool: Json, budget: float) -> bool:
    timeout = tool.get("timeout_ms")
    return isinstance(timeout, int | float) and timeout < budget * 1000


def _same(url: Any, wanted: str) -> bool:
    return isinstance(url, str) and url.strip().rstrip("/").lower() == wanted.lower()


def _host(url: Any) -> str:
    """Of somebody else's address no more than the host: the rest may hold a key of theirs."""
    try:
        return (urlsplit(url).hostname if isinstance(url, str) else None) or "no address"
    except ValueError:
        return "no address"


def _unread(check: str, error: RetellError, *, subject: str) -> Finding:
    said = f"Retell could not be asked ({mask_text(str(error))})."
    return unchecked(check, said, _AWAY_REMEDY, subject=subject)

"""Make an agent at Retell what its documents say, once: a second push changes nothing.

What counts is the published version: that is what callers hear. It cannot be changed, so a change is made in
a new draft of it, which is then published. A draft that somebody else is working on is left alone.

Nothing here is sent twice on a guess. A create that was not answered is looked for, in this run and in the
next; if it cannot be found, this run ends with Unavailable and the next one begins by looking. Everything
else may be repeated.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable
from dataclasses import dataclass, field
from typing import Any

from calls.retell.agent import documents
from calls.retell.agent.compare import Difference, body, differences
from calls.retell.agent.documents import SET_ONCE, Setup
from calls.retell.agent_api import AgentApi, Refused
from calls.retell.client import NotFound, RetellError, Unavailable

Json = dict[str, Any]


class SeveralAgents(RetellError):
    """Two agents carry the mark of one. Which of them callers should hear is for a person to say."""


@dataclass
class NumberReport:
    number: str
    outcome: str = "unchanged"  # connected, unchanged, not_at_retell, refused
    changes: list[Difference] = field(default_factory=list)
    reason: str = ""

    @property
    def needs_person(self) -> bool:
        return self.outcome in ("not_at_retell", "refused")


@dataclass
class Report:
    """In a dry run `action` and the outcomes say what would be done; an id is None while there is none."""

    action: str = "unchanged"  # created, updated, published, unchanged
    agent_id: str | None = None
    llm_id: str | None = None
    version: int | None = None
    agent_changes: list[Difference] = field(default_factory=list)
    llm_changes: list[Difference] = field(default_factory=list)
    numbers: list[NumberReport] = field(default_factory=list)


@dataclass(frozen=True)
class _Version:
    """One version of an agent with its response engine."""

    agent: Json
    llm: Json

    @property
    def number(self) -> int:
        return int(self.agent.get("version") or 0)

    @property
    def agent_id(self) -> str:
        return str(self.agent["agent_id"])

    @property
    def llm_id(self) -> str:
        return str(self.llm["llm_id"])


def push(
    api: AgentApi,
    setup: Setup,
    *,
    known_agent_ids: Iterable[str],
    numbers: Iterable[str],
    on_agent: Callable[[str], None],
    dry_run: bool = False,
) -> Report:
    """Create or update the agent, publish it and connect the numbers.

    `known_agent_ids` are looked at when no agent carries the name: somebody may have renamed it. `on_agent`
    is called with the agent's id as soon as there is one, before anything else is done to it; not in a dry
    run.

    Raises Unauthorized, Unavailable, Refused, NotFound and SeveralAgents. What was done until then stays.
    """
    report = Report()
    found = _find(api, setup, known_agent_ids)
    if found is None:
        report.action = "created"
        report.llm_changes = differences(documents.llm(setup), {})
        report.agent_changes = differences(documents.agent(setup, llm_id=""), {})
        if not dry_run:
            _create(api, setup, report, on_agent)
    else:
        report.agent_id = found
        if not dry_run:
            on_agent(found)
        _update(api, setup, report, found, dry_run=dry_run)
    for number in numbers:
        report.numbers.append(_connect(api, setup, number, agent_id=report.agent_id or "", dry_run=dry_run))
    return report


def _find(api: AgentApi, setup: Setup, known_agent_ids: Iterable[str]) -> str | None:
    known = list(known_agent_ids)
    named = _named(api, setup)
    if len(named) > 1:
        # A copy made in the dashboard. The one we have on record is ours, if it is one of them.
        named = [agent_id for agent_id in named if agent_id in known]
        if len(named) != 1:
            raise SeveralAgents(f"Several agents are named {setup.name_mark}.")
    if named:
        return named[0]
    return next((agent_id for agent_id in known if _is_ours(api, setup, agent_id)), None)


def _named(api: AgentApi, setup: Setup) -> list[str]:
    return [
        str(agent["agent_id"])
        for agent in api.agents(named=setup.name_mark)
        if str(agent.get("agent_name", "")).endswith(setup.name_mark) and agent.get("agent_id")
    ]


def _is_ours(api: AgentApi, setup: Setup, agent_id: str) -> bool:
    """An agent of ours under another name. One that was made by hand is none, whatever it is called."""
    try:
        llm_id, version = _engine(api.agent(agent_id))
        return bool(llm_id) and _carries_mark(api.llm(llm_id, version=version), setup)
    except (NotFound, Refused):
        return False


def _carries_mark(llm: Json, setup: Setup) -> bool:
    variables = llm.get("default_dynamic_variables")
    return isinstance(variables, dict) and variables.get(documents.MARKER_VARIABLE) == setup.marker


def _create(api: AgentApi, setup: Setup, report: Report, on_agent: Callable[[str], None]) -> None:
    llm = _engine_of_nobody(api, setup) or _created_llm(api, setup)
    report.llm_id = str(llm["llm_id"])
    if missing := differences(documents.llm(setup), llm, set_once=SET_ONCE):
        api.update_llm(report.llm_id, body(documents.llm(setup), llm, missing), version=None)
    agent = _created_agent(api, setup, documents.agent(setup, llm_id=report.llm_id))
    report.agent_id = str(agent["agent_id"])
    on_agent(report.agent_id)
    report.version = int(agent.get("version") or 0)
    api.publish(report.agent_id, version=report.version)


def _engine_of_nobody(api: AgentApi, setup: Setup) -> Json | None:
    """The response engine that an earlier run made before it died. Asked only while there is no agent."""
    return next((llm for llm in api.llms() if llm.get("llm_id") and _carries_mark(llm, setup)), None)


def _created_llm(api: AgentApi, setup: Setup) -> Json:
    try:
        return api.create_llm(documents.llm(setup))
    except Unavailable:
        made = _engine_of_nobody(api, setup)
        if made is None:
            raise
        return made


def _created_agent(api: AgentApi, setup: Setup, document: Json) -> Json:
    try:
        return api.create_agent(document)
    except Unavailable:
        made = _named(api, setup)
        if len(made) != 1:
            raise
        return api.agent(made[0])


def _update(api: AgentApi, setup: Setup, report: Report, agent_id: str, *, dry_run: bool) -> None:
    versions = {int(item["version"]): item for item in api.versions(agent_id) if "version" in item}
    published = max((number for number, item in versions.items() if item.get("is_published")), default=None)
    current = _version(api, agent_id, published)
    report.llm_id = current.llm_id
    report.version = current.number
    report.agent_changes, report.llm_changes = _what_differs(setup, current)
    if report.agent_changes or report.llm_changes:
        report.action = "updated"
    elif published is None:
        report.action = "published"
    else:
        return
    if dry_run:
        return
    if published is not None:
        current = _draft(api, agent_id, versions, published=published)
    _change(api, setup, current)
    api.publish(agent_id, version=current.number)
    report.version = current.number


def _version(api: AgentApi, agent_id: str, number: int | None) -> _Version:
    """This version, or the newest."""
    agent = api.agent(agent_id, version=number)
    llm_id, llm_version = _engine(agent)
    if not llm_id:
        raise Refused(
            "The agent has another response engine now. Delete or rename the agent to get a new one."
        )
    return _Version(agent, api.llm(llm_id, version=llm_version))


def _engine(agent: Json) -> tuple[str, int | None]:
    """Id and version of the agent's response engine; "" if it has one of another kind."""
    engine = agent.get("response_engine")
    if not isinstance(engine, dict) or engine.get("type") != "retell-llm":
        return "", None
    version = engine.get("version")
    return str(engine.get("llm_id") or ""), None if version is None else int(version)


def _what_differs(setup: Setup, current: _Version) -> tuple[list[Difference], list[Difference]]:
    wanted = documents.agent(setup, llm_id=current.llm_id)
    return (
        differences(wanted, current.agent, set_once=SET_ONCE),
        differences(documents.llm(setup), current.llm, set_once=SET_ONCE),
    )


def _draft(api: AgentApi, agent_id: str, versions: dict[int, Json], *, published: int) -> _Version:
    """A new draft of the published version. `versions` are those there were before."""
    try:
        number = int(api.create_draft(agent_id, base_version=published)["version"])
    except Unavailable:
        new = {int(item["version"]) for item in api.versions(agent_id) if "version" in item} - set(versions)
        if len(new) != 1:
            raise
        number = new.pop()
    return _version(api, agent_id, number)


def _change(api: AgentApi, setup: Setup, current: _Version) -> None:
    agent_changes, llm_changes = _what_differs(setup, current)
    if agent_changes:
        agent_body = body(documents.agent(setup, llm_id=current.llm_id), current.agent, agent_changes)
        api.update_agent(current.agent_id, agent_body, version=current.number)
    if llm_changes:
        _, llm_version = _engine(current.agent)
        llm_body = body(documents.llm(setup), current.llm, llm_changes)
        api.update_llm(current.llm_id, llm_body, version=llm_version)


def _connect(api: AgentApi, setup: Setup, number: str, *, agent_id: str, dry_run: bool) -> NumberReport:
    report = NumberReport(number)
    wanted = documents.phone_number(setup, agent_id=agent_id)
    try:
        current = api.phone_number(number)
        report.changes = differences(wanted, current)
        if not report.changes:
            return report
        if not dry_run:
            api.update_phone_number(number, body(wanted, current, report.changes))
        report.outcome = "connected"
    except NotFound:
        report.outcome = "not_at_retell"
    except Refused as refusal:
        report.outcome, report.reason = "refused", str(refusal)
    return report

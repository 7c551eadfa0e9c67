"""Retell's REST API for setting up agents: response engines, agents with their versions, phone numbers.

Facts that shape what is in here: a published version cannot be changed, only a draft made from it can; agents
and engines have no idempotency key, so that a create which was not answered must be looked for; lists come in
pages.
"""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any
from urllib.parse import quote, urlencode

from calls.retell.client import RetellClient, RetellError, Unavailable

Json = dict[str, Any]

ANSWER_SECONDS = 20.0
_PAGE = 100
_MOST_PAGES = 100
_LONGEST_REASON = 300


class Refused(RetellError):
    """Retell understood and said no. Nothing was changed."""


class AgentApi(RetellClient):
    """All methods raise NotFound, Unauthorized, Refused or Unavailable. After Unavailable a change may have
    been made.
    """

    def __init__(self, *, base_url: str, api_key: str, answer_seconds: float = ANSWER_SECONDS) -> None:
        super().__init__(base_url=base_url, api_key=api_key, answer_seconds=answer_seconds)

    def __enter__(self) -> AgentApi:
        return self

    def agents(self, *, named: str) -> list[Json]:
        """The voice agents with this text in their names: id and name of each.

        https://docs.retellai.com/api-references/list-agents
        """
        return list(self._pages("POST", "/v2/list-agents", {"filter_criteria": {"query": named}}))

    def agent(self, agent_id: str, *, version: int | None = None) -> Json:
        """The agent as of this version, or its newest.

        https://docs.retellai.com/api-references/get-agent
        """
        return self._object("GET", _path("get-agent", agent_id, version=version))

    def versions(self, agent_id: str) -> list[Json]:
        """https://docs.retellai.com/api-references/list-agent-versions"""
        return list(self._pages("GET", _path("list-agent-versions", agent_id)))

    def create_agent(self, body: Json) -> Json:
        """https://docs.retellai.com/api-references/create-agent"""
        return self._object("POST", "/create-agent", body)

    def create_draft(self, agent_id: str, *, base_version: int) -> Json:
        """A new draft, of the agent and its response engine. https://docs.retellai.com/agent/version"""
        return self._object("POST", _path("create-agent-version", agent_id), {"base_version": base_version})

    def update_agent(self, agent_id: str, body: Json, *, version: int | None) -> Json:
        """https://docs.retellai.com/api-references/update-agent"""
        return self._object("PATCH", _path("update-agent", agent_id, version=version), body)

    def publish(self, agent_id: str, *, version: int) -> None:
        """https://docs.retellai.com/api-references/publish-agent"""
        self._answer("POST", _path("publish-agent-version", agent_id), {"version": version})

    def llms(self) -> Iterator[Json]:
        """All response engines, whole. https://docs.retellai.com/api-references/list-retell-llms"""
        return self._pages("GET", "/v2/list-retell-llms")

    def llm(self, llm_id: str, *, version: int | None = None) -> Json:
        """https://docs.retellai.com/api-references/get-retell-llm"""
        return self._object("GET", _path("get-retell-llm", llm_id, version=version))

    def create_llm(self, body: Json) -> Json:
        """https://docs.retellai.com/api-references/create-retell-llm"""
        return self._object("POST", "/create-retell-llm", body)

    def update_llm(self, llm_id: str, body: Json, *, version: int | None) -> Json:
        """https://docs.retellai.com/api-references/update-retell-llm"""
        return self._object("PATCH", _path("update-retell-llm", llm_id, version=version), body)

    def phone_number(self, number: str) -> Json:
        """https://docs.retellai.com/api-references/get-phone-number"""
        return self._object("GET", _path("get-phone-number", number))

    def update_phone_number(self, number: str, body: Json) -> Json:
        """https://docs.retellai.com/api-references/update-phone-number"""
        return self._object("PATCH", _path("update-phone-number", number), body)

    def _pages(self, method: str, path: str, body: Json | None = None) -> Iterator[Json]:
        query = {"limit": str(_PAGE)}
        for _ in range(_MOST_PAGES):
            page = self._object(method, f"{path}?{urlencode(query)}", body)
            items = page.get("items")
            if not isinstance(items, list):
                raise Unavailable("Retell answered with something else than a list.")
            yield from (item for item in items if isinstance(item, dict))
            if not page.get("has_more"):
                return
            key = page.get("pagination_key")
            if not isinstance(key, str) or not key or key == query.get("pagination_key"):
                break
            query["pagination_key"] = key
        # What was not read to its end must not pass for "not there".
        raise Unavailable("Retell's list does not end.")

    def _object(self, method: str, path: str, body: Json | None = None) -> Json:
        answer = self._answer(method, path, body)
        if answer is None:
            raise Unavailable("Retell answered with something else than a JSON object.")
        return answer

    def _answer(self, method: str, path: str, body: Json | None = None) -> Json | None:
        status, answer = self.ask(method, path, content=body)
        if 200 <= status < 300:
            return answer
        if status in (408, 425, 429) or not 400 <= status < 500:
            raise Unavailable(f"Retell answered {status}.")
        raise Refused(f"Retell answered {status}: {self._reason(answer)}")

    def _reason(self, answer: Json | None) -> str:
        text = str((answer or {}).get("message") or "no reason given")
        return text.replace(self._key, "…")[:_LONGEST_REASON]


def _path(what: str, which: str, *, version: int | None = None) -> str:
    # "+" stands for itself in a path.
    path = f"/{what}/{quote(which, safe='+')}"
    return path if version is None else f"{path}?version={version}"

"""A small Retell workspace over real HTTP: agents with their versions, response engines, phone numbers.

    with RetellWorkspace(key="key_1") as retell:
        retell.add_number("+493012345678")
        retell.lose_answer_to("create-agent")     # once: carried out, and the connection breaks
        retell.fail("create-agent")               # once: 503, and nothing is done
        retell.agents, retell.llms, retell.numbers
        retell.changes                            # [(method, path, body), …] of what is no question

Of Retell it knows what matters to somebody who sets up agents: a published version cannot be changed, a draft
made from one takes the response engine along, lists come in pages, and answers hold defaults nobody sent.
"""

from __future__ import annotations

import copy
import itertools
import json
import re
import socket
from collections.abc import Callable
from http.server import BaseHTTPRequestHandler
from typing import Any
from urllib.parse import parse_qs, unquote, urlsplit

from tests.servers.loopback import LoopbackServer

Json = dict[str, Any]

TOOL_DEFAULTS: Json = {"parameter_type": "json", "enable_typing_sound": False}
PRESET: Json = {"type": "system-presets", "name": "user_sentiment", "description": "The caller's mood."}
_QUESTIONS = ("get-", "list-")
_MOMENT = 1795255200000


class Refusal(Exception):
    def __init__(self, status: int, message: str) -> None:
        super().__init__(message)
        self.status = status


class RetellWorkspace(LoopbackServer):
    def __init__(self, *, key: str, page_size: int = 2) -> None:
        self.key = key
        self.page_size = page_size
        self.agents: dict[str, dict[int, Json]] = {}
        self.llms: dict[str, dict[int, Json]] = {}
        self.numbers: dict[str, Json] = {}
        self.changes: list[tuple[str, str, Json]] = []
        self._ids = itertools.count(1)
        self._lost: set[str] = set()
        self._failing: set[str] = set()
        self._refusals: dict[str, str] = {}
        super().__init__(_handler(self))

    # what a test prepares

    def add_number(self, number: str, **content: Any) -> Json:
        self.numbers[number] = {
            "phone_number": number,
            "phone_number_type": "custom",
            "last_modification_timestamp": _MOMENT,
            **content,
        }
        return self.numbers[number]

    def add_agent(self, **content: Any) -> str:
        """One made by hand, with an engine of its own, and published."""
        llm = self.create_llm({"general_prompt": "Be nice.", **content.pop("llm", {})})
        engine = {"type": "retell-llm", "llm_id": llm["llm_id"]}
        agent = self.create_agent({"voice_id": "cartesia-Hand", "response_engine": engine, **content})
        self.publish(agent["agent_id"], {"version": 0})
        return str(agent["agent_id"])

    def lose_answer_to(self, what: str) -> None:
        self._lost.add(what)

    def fail(self, what: str) -> None:
        self._failing.add(what)

    def refuse(self, what: str, *, message: str) -> None:
        self._refusals[what] = message

    # what it holds

    def newest(self, agent_id: str) -> Json:
        return self.agents[agent_id][max(self.agents[agent_id])]

    def published(self, agent_id: str) -> tuple[Json, Json]:
        """The agent and its engine as callers hear them."""
        versions = self.agents[agent_id]
        agent = versions[max(number for number in versions if versions[number]["is_published"])]
        return agent, self.engine(agent)

    def engine(self, agent: Json) -> Json:
        return self.llms[agent["response_engine"]["llm_id"]][int(agent["response_engine"]["version"])]

    # what it does

    def create_llm(self, body: Json) -> Json:
        llm_id = f"llm_{next(self._ids):06d}"
        llm = {**_with_defaults(body), "llm_id": llm_id, "version": 0, "is_published": False}
        llm["last_modification_timestamp"] = _MOMENT
        self.llms[llm_id] = {0: llm}
        return llm

    def create_agent(self, body: Json) -> Json:
        if not body.get("voice_id") or "response_engine" not in body:
            raise Refusal(422, "voice_id and response_engine are required")
        if body["response_engine"]["llm_id"] not in self.llms:
            raise Refusal(422, "the response engine does not exist")
        agent_id = f"agent_{next(self._ids):06d}"
        agent = {**_with_defaults(body), "agent_id": agent_id, "version": 0, "is_published": False}
        agent["response_engine"] = {**body["response_engine"], "version": 0}
        agent["last_modification_timestamp"] = _MOMENT
        self.agents[agent_id] = {0: agent}
        return agent

    def create_draft(self, agent_id: str, body: Json) -> Json:
        base: Json = _found(_found(self.agents, agent_id), int(body["base_version"]))
        number = max(self.agents[agent_id]) + 1
        llm = {**copy.deepcopy(self.engine(base)), "version": number, "is_published": False}
        self.llms[llm["llm_id"]][number] = llm
        draft = {**copy.deepcopy(base), "version": number, "is_published": False}
        draft["response_engine"]["version"] = number
        draft["base_version"] = base["version"]
        self.agents[agent_id][number] = draft
        return draft

    def publish(self, agent_id: str, body: Json) -> None:
        agent = _found(_found(self.agents, agent_id), int(body["version"]))
        agent["is_published"] = self.engine(agent)["is_published"] = True

    def _answer(self, method: str, path: str, query: dict[str, str], body: Json) -> Json | None:
        version = int(query["version"]) if "version" in query else None
        for pattern, act in self._routes(query, version).items():
            if found := re.fullmatch(pattern, f"{method} {path}"):
                return act(*map(unquote, found.groups()), body)
        raise Refusal(404, f"Cannot {method} {path}")

    def _routes(self, query: dict[str, str], version: int | None) -> dict[str, Callable[..., Json | None]]:
        def of(versions: dict[int, Json]) -> Json:
            found: Json = _found(versions, max(versions) if version is None else version)
            return found

        return {
            "POST /v2/list-agents": lambda body: self._page(self._listed(body), query),
            "GET /v2/list-retell-llms": lambda body: self._page(
                [of(versions) for versions in self.llms.values()], query
            ),
            "GET /get-agent/([^/]+)": lambda which, body: of(_found(self.agents, which)),
            "GET /get-retell-llm/([^/]+)": lambda which, body: of(_found(self.llms, which)),
            "GET /list-agent-versions/([^/]+)": lambda which, body: self._page(
                [
                    {key: agent[key] for key in ("version", "is_published", "last_modification_timestamp")}
                    for agent in _found(self.agents, which).values()
                ],
                query,
            ),
            "GET /get-phone-number/([^/]+)": lambda which, body: _found(self.numbers, which),
            "POST /create-agent": self.create_agent,
            "POST /create-retell-llm": self.create_llm,
            "POST /create-agent-version/([^/]+)": self.create_draft,
            "POST /publish-agent-version/([^/]+)": self.publish,
            "PATCH /update-agent/([^/]+)": lambda which, body: _changed(of(_found(self.agents, which)), body),
            "PATCH /update-retell-llm/([^/]+)": lambda which, body: _changed(
                of(_found(self.llms, which)), body
            ),
            "PATCH /update-phone-number/([^/]+)": lambda which, body: _changed(
                _found(self.numbers, which), body
            ),
        }

    def _listed(self, body: Json) -> list[Json]:
        wanted = str((body.get("filter_criteria") or {}).get("query", "")).lower()
        newest = [self.newest(agent_id) for agent_id in self.agents]
        return [
            {
                "agent_id": agent["agent_id"],
                "agent_name": agent.get("agent_name", ""),
                "channel": "voice",
                "is_suspended": False,
                "tags": {},
                "user_modified_timestamp": _MOMENT,
            }
            for agent in newest
            if wanted in str(agent.get("agent_name", "")).lower()
        ]

    def _page(self, items: list[Json], query: dict[str, str]) -> Json:
        size = min(self.page_size, int(query.get("limit", "50")))
        start = int(query.get("pagination_key", "0"))
        page: Json = {"items": items[start : start + size], "has_more": start + size < len(items)}
        if page["has_more"]:
            page["pagination_key"] = str(start + size)
        return page


def _found(known: dict[Any, Any], which: Any) -> Any:
    if which not in known:
        raise Refusal(422, "Cannot find requested asset under given api key.")
    return known[which]


def _changed(current: Json, body: Json) -> Json:
    if current.get("is_published"):
        raise Refusal(400, "Cannot update published version")
    current.update(_with_defaults(body))
    return current


def _with_defaults(body: Json) -> Json:
    body = copy.deepcopy(body)
    if "general_tools" in body:
        body["general_tools"] = [
            {**(TOOL_DEFAULTS if tool["type"] == "custom" else {}), **tool} for tool in body["general_tools"]
        ]
    fields = body.get("post_call_analysis_data")
    if fields and PRESET["name"] not in [field["name"] for field in fields]:
        body["post_call_analysis_data"] = [PRESET, *fields]
    return body


def _handler(workspace: RetellWorkspace) -> type[BaseHTTPRequestHandler]:
    class Handler(BaseHTTPRequestHandler):
        protocol_version = "HTTP/1.1"
        wbufsize = 65536  # head and body of an answer in one segment

        def do_GET(self) -> None:
            self._serve()

        def do_POST(self) -> None:
            self._serve()

        def do_PATCH(self) -> None:
            self._serve()

        def _serve(self) -> None:
            content = self.rfile.read(int(self.headers.get("Content-Length") or 0))
            body: Json = json.loads(content) if content else {}
            target = urlsplit(self.path)
            what = target.path.removeprefix("/v2").split("/")[1]
            if (self.headers.get("Authorization") or "") != f"Bearer {workspace.key}":
                self._say(401, {"status": "error", "message": "API key is missing or invalid."})
                return
            if not what.startswith(_QUESTIONS):
                workspace.changes.append((self.command, target.path, body))
            if what in workspace._failing:
                workspace._failing.discard(what)
                self._say(503, {"status": "error", "message": "Service unavailable."})
                return
            if what in workspace._refusals:
                self._say(400, {"status": "error", "message": workspace._refusals[what]})
                return
            query = {key: values[0] for key, values in parse_qs(target.query).items()}
            try:
                answer = workspace._answer(self.command, target.path, query, body)
            except Refusal as refusal:
                self._say(refusal.status, {"status": "error", "message": str(refusal)})
                return
            if what in workspace._lost:
                workspace._lost.discard(what)
                self.close_connection = True
                self.connection.shutdown(socket.SHUT_RDWR)
                return
            self._say(201 if self.command == "POST" else 200, answer)

        def _say(self, status: int, body: Json | None) -> None:
            content = b"" if body is None else json.dumps(body).encode()
            self.send_response(status)
            self.send_header("Content-Type", "application/json")
            self.send_header("Content-Length", str(len(content)))
            self.end_headers()
            self.wfile.write(content)

        def log_message(self, *arguments: Any) -> None:
            return

    return Handler

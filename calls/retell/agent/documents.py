"""The documents of an agent, in the forms Retell's API takes and its dashboard imports.

https://docs.retellai.com/api-references/create-retell-llm, …/create-agent, …/update-phone-number
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from string import Template
from typing import Any

from calls.retell.agent import tools
from calls.retell.agent.english import ENGLISH
from calls.retell.agent.german import GERMAN
from calls.retell.agent.texts import Texts
from calls.retell.dynamic_variables import NOBODY

Json = dict[str, Any]

TEXTS: Mapping[str, Texts] = {texts.language: texts for texts in (GERMAN, ENGLISH)}

# A matter of taste and price. Set when the agent is made; whoever changes them at Retell later knows why.
SET_ONCE = frozenset(
    {"agent_name", "voice_id", "model_config", "max_call_duration_ms", "end_call_after_silence_ms"}
)
DEFAULT_VOICE = "11labs-Adrian"
_MODEL = "gpt-5.4-mini"
_LONGEST_CALL_MS = 20 * 60_000
_LONGEST_SILENCE_MS = 60_000
_WEBHOOK_TIMEOUT_MS = 10_000

# Tells our response engines from others, which have no names.
MARKER_VARIABLE = "slotkeeper_agent"

ANALYSIS_FIELDS: tuple[tuple[str, str, tuple[str, ...]], ...] = (
    ("system-presets", "call_summary", ()),
    ("enum", "caller_intent", ("book", "reschedule", "cancel", "question", "callback", "other")),
    (
        "enum",
        "appointment_outcome",
        ("booked", "requested", "rescheduled", "cancelled", "checking", "not_completed", "none"),
    ),
    ("string", "appointment_spoken", ()),
    ("string", "service_wanted", ()),
    ("boolean", "callback_promised", ()),
)


@dataclass(frozen=True, kw_only=True)
class Setup:
    """What distinguishes one agent from another.

    `hooks_url` is the public address of the company's endpoint, without a slash at the end. `marker` is the
    agent's mark: unique among all agents that one Retell account may hold, and the same for ever.
    """

    business: str
    language: str  # a key of TEXTS
    locale: str  # as Retell names languages: "de-DE"
    timezone: str  # IANA
    hooks_url: str
    answer_budget_seconds: float
    marker: str
    voice: str = DEFAULT_VOICE

    @property
    def texts(self) -> Texts:
        return TEXTS[self.language]

    @property
    def name_mark(self) -> str:
        return f"[slotkeeper {self.marker}]"

    @property
    def inbound_url(self) -> str:
        return f"{self.hooks_url}/retell/inbound"


def llm(setup: Setup) -> Json:
    """The response engine: body of create-retell-llm and update-retell-llm."""
    return {
        "model_config": {"type": "cascading", "primary": {"model": _MODEL}, "temperature": 0},
        "start_speaker": "agent",
        "begin_message": Template(setup.texts.greeting).substitute(business=setup.business),
        "general_prompt": prompt(setup),
        "general_tools": tools.build(
            texts=setup.texts,
            functions_url=f"{setup.hooks_url}/retell/functions",
            answer_budget_seconds=setup.answer_budget_seconds,
        ),
        "default_dynamic_variables": {**NOBODY, MARKER_VARIABLE: setup.marker},
    }


def agent(setup: Setup, *, llm_id: str) -> Json:
    """Body of create-agent and update-agent."""
    return {
        "agent_name": f"{setup.business} {setup.name_mark}",
        "response_engine": {"type": "retell-llm", "llm_id": llm_id},
        "voice_id": setup.voice,
        "language": setup.locale,
        "timezone": setup.timezone,
        "webhook_url": f"{setup.hooks_url}/retell/events",
        "webhook_events": ["call_started", "call_ended", "call_analyzed"],
        "webhook_timeout_ms": _WEBHOOK_TIMEOUT_MS,
        "max_call_duration_ms": _LONGEST_CALL_MS,
        "end_call_after_silence_ms": _LONGEST_SILENCE_MS,
        "post_call_analysis_data": [
            {
                "type": kind,
                "name": name,
                "description": setup.texts.analysis[name],
                **({"choices": list(choices)} if choices else {}),
            }
            for kind, name, choices in ANALYSIS_FIELDS
        ],
    }


def phone_number(setup: Setup, *, agent_id: str) -> Json:
    """Body of update-phone-number."""
    return {
        "inbound_webhook_url": setup.inbound_url,
        # A number that is pinned to a version would never hear of a change.
        "inbound_agents": [{"agent_id": agent_id, "agent_version": "latest_published", "weight": 1}],
    }


def import_file(setup: Setup) -> Json:
    """One object as the dashboard exports and imports agents: the engine lies inside the agent.

    Its form is observed, not documented. It names no phone number: that is connected by hand, with
    `Setup.inbound_url` as the number's inbound webhook.
    """
    engine = llm(setup)
    model = engine.pop("model_config")
    return {
        "agent_id": "",
        "channel": "voice",
        "is_published": False,
        "version": 0,
        **agent(setup, llm_id=""),
        "retellLlmData": {
            "llm_id": "",
            "version": 0,
            "is_published": False,
            "model": model["primary"]["model"],
            "model_temperature": model["temperature"],
            "states": [],
            "knowledge_base_ids": [],
            **engine,
        },
    }


def prompt(setup: Setup) -> str:
    text = (Path(__file__).parent / f"prompt.{setup.language}.md").read_text(encoding="utf-8")
    return Template(text).substitute(business=setup.business, timezone=setup.timezone)

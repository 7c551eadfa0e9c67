"""The tools of the agent: our functions, as Retell's custom tools with a JSON schema each.

https://docs.retellai.com/build/single-multi-prompt/custom-function
"""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import Any

from calls.retell.agent.texts import Texts

Json = dict[str, Any]

# Our answer leaves within its budget. What the network may take on top, before Retell gives up on it.
ON_THE_WAY_SECONDS = 2.0
_SHORTEST_TIMEOUT_MS = 1_000


@dataclass(frozen=True)
class _Tool:
    """`arguments` in the order in which a model should fill them."""

    name: str
    arguments: tuple[str, ...] = ()
    required: tuple[str, ...] = ()


TOOLS = (
    _Tool("list_services", ("service", "person")),
    _Tool(
        "check_availability",
        ("service", "date", "from", "to", "part_of_day", "person"),
        required=("service",),
    ),
    _Tool(
        "book_appointment",
        (
            "service",
            "slot_id",
            "start",
            "customer_name",
            "customer_phone",
            "customer_email",
            "notes",
            "person",
        ),
        required=("service", "customer_name"),
    ),
    _Tool("list_appointments"),
    _Tool("reschedule_appointment", ("appointment", "service", "day", "slot_id", "new_start")),
    _Tool("cancel_appointment", ("appointment", "service", "day", "reason")),
    _Tool("request_callback", ("reason", "preferred_time", "phone"), required=("reason",)),
)
_CHOICES = {"part_of_day": ["morning", "noon", "afternoon", "evening"]}


def build(*, texts: Texts, functions_url: str, answer_budget_seconds: float) -> list[Json]:
    """`functions_url` is the address that the name of a function is added to."""
    timeout_ms = max(_SHORTEST_TIMEOUT_MS, math.ceil((answer_budget_seconds + ON_THE_WAY_SECONDS) * 1000))
    ours = [_custom(tool, texts=texts, functions_url=functions_url, timeout_ms=timeout_ms) for tool in TOOLS]
    return [*ours, {"type": "end_call", "name": "end_call", "description": texts.end_call}]


def _custom(tool: _Tool, *, texts: Texts, functions_url: str, timeout_ms: int) -> Json:
    words = texts.tools[tool.name]
    properties: Json = {}
    for name in tool.arguments:
        properties[name] = {"type": "string", "description": words.arguments[name]}
        if name in _CHOICES:
            properties[name]["enum"] = list(_CHOICES[name])
    document: Json = {
        "type": "custom",
        "name": tool.name,
        "description": words.description,
        "url": f"{functions_url}/{tool.name}",
        "method": "POST",
        # The whole envelope: it says which call this is, which the arguments alone do not.
        "args_at_root": False,
        "parameters": {"type": "object", "properties": properties, "required": list(tool.required)},
        "timeout_ms": timeout_ms,
        # A repetition would come when the caller has waited a whole timeout already. The agent asks again
        # itself, with a sentence to the caller in between.
        "max_retry": 0,
        "speak_during_execution": bool(words.while_waiting),
        # Without it the caller hears nothing of the answer.
        "speak_after_execution": True,
    }
    if words.while_waiting:
        # A fixed text: one that the model makes up would be sent along as an argument, other each time.
        document["execution_message_type"] = "static_text"
        document["execution_message_description"] = words.while_waiting
    return document

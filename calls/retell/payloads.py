"""Lenient, typed reading of what Retell sends when an agent calls a function.

Two forms exist. Normal: `{"name": …, "call": {…}, "args": {…}}`. Arguments only: the arguments are the whole
body, and the call is named by the header `X-Retell-Call-Id`, which the operator sets to `{{call_id}}` on the
tool.

What the language model wrote (`args`) is never believed about which call it is: models invent call ids, or
pass the example out of a prompt. Only `call.call_id` and the header, which Retell itself fills, are. Nothing
in here raises on any JSON value: a request that verified is answered with a sentence, not with an error.
"""

from __future__ import annotations

import json
import re
from collections.abc import Mapping
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from typing import Any

from customers.placeholders import is_placeholder

_VERSION_SUFFIX = re.compile(r"[_\-.]v[0-9]+(?:[._\-][0-9]+)*$")
_IDENTIFIER = re.compile(r"[A-Za-z0-9_.:\-]{1,128}")
# Examples out of prompts and documentation: "123", "12345", "0000".
_COUNTED = re.compile(r"0+|1(?:2(?:3(?:4(?:5(?:6(?:7(?:8(?:90?)?)?)?)?)?)?)?)?")
_LONGEST_TEXT = 256

_EPOCH = datetime(1970, 1, 1, tzinfo=UTC)
# Retell did not exist before, and a value in seconds or microseconds must not pass for one in milliseconds.
_EARLIEST = datetime(2015, 1, 1, tzinfo=UTC)
_LATEST = datetime(2200, 1, 1, tzinfo=UTC)


@dataclass(frozen=True, kw_only=True)
class FunctionRequest:
    """One function call of a phone agent. Numbers are as signalled ("anonymous" included), not normalised."""

    name: str  # without version suffix, lower case; the one in the URL, because operators may rename the tool
    tool_name: str | None  # as Retell calls the tool; None in the arguments-only form
    call_id: str | None  # None: neither the body nor the header names a call
    agent_id: str | None
    call_type: str | None  # "phone_call", "web_call"
    direction: str | None  # "inbound", "outbound"; a web call has none
    from_number: str | None
    to_number: str | None
    start_timestamp: datetime | None  # UTC
    tool_call_id: str | None  # id of this invocation, when Retell's running transcript tells it
    arguments: dict[str, Any]  # as the model wrote them


def read_function_request(payload: object, *, path_name: str, call_id_header: str | None) -> FunctionRequest:
    """Read the parsed body of a function request. `path_name` is the last part of the URL. Raises nothing."""
    body: Mapping[str, Any] = payload if isinstance(payload, dict) else {}
    if _is_normal_form(body):
        call: Mapping[str, Any] = body["call"] if isinstance(body.get("call"), dict) else {}
        arguments = _read_arguments(body.get("args"))
        tool_name = _text(body.get("name"))
    else:
        call, arguments, tool_name = {}, dict(body), None
    return FunctionRequest(
        name=base_name(path_name),
        tool_name=tool_name,
        call_id=_identifier(call.get("call_id")) or _identifier(call_id_header),
        agent_id=_identifier(call.get("agent_id")),
        call_type=_text(call.get("call_type")),
        direction=_text(call.get("direction")),
        from_number=_text(call.get("from_number")),
        to_number=_text(call.get("to_number")),
        start_timestamp=_instant(call.get("start_timestamp")),
        tool_call_id=_find_tool_call_id(call, name=tool_name or path_name, arguments=arguments),
        arguments=arguments,
    )


def base_name(name: str) -> str:
    """The function meant by a name as set up in Retell: "Book_Appointment_V2" and "book-appointment-v2" are
    both "book_appointment". Whether such a function exists is for the caller to say."""
    return _VERSION_SUFFIX.sub("", name.strip().lower()).replace("-", "_")


def _is_normal_form(body: Mapping[str, Any]) -> bool:
    # One key alone may be an argument that happens to be called "name" or "call". Two of them are Retell's
    # envelope.
    named = isinstance(body.get("name"), str)
    return sum((named, isinstance(body.get("call"), dict), "args" in body)) >= 2


def _read_arguments(args: object) -> dict[str, Any]:
    if isinstance(args, str):
        try:
            args = json.loads(args, parse_constant=_refuse_constant)
        except (ValueError, RecursionError):
            return {}
    return dict(args) if isinstance(args, dict) else {}


def _refuse_constant(name: str) -> None:
    raise ValueError(f"{name} is not JSON")


def _identifier(value: object) -> str | None:
    if not isinstance(value, str):
        return None
    value = value.strip()
    if is_placeholder(value) or _IDENTIFIER.fullmatch(value) is None or _COUNTED.fullmatch(value) is not None:
        return None
    return value


def _text(value: object) -> str | None:
    """A short, printable text. Anything else would only make trouble in a column or a log line."""
    if not isinstance(value, str):
        return None
    value = value.strip()
    return value if value and len(value) <= _LONGEST_TEXT and value.isprintable() else None


def _instant(milliseconds: object) -> datetime | None:
    if isinstance(milliseconds, bool) or not isinstance(milliseconds, (int, float)):
        return None
    try:
        instant = _EPOCH + timedelta(milliseconds=milliseconds)
    except (OverflowError, ValueError):  # far too large; infinity; not a number
        return None
    return instant if _EARLIEST <= instant < _LATEST else None


def _find_tool_call_id(call: Mapping[str, Any], *, name: str, arguments: dict[str, Any]) -> str | None:
    """The last invocation of this function with these arguments that has no result yet.

    Undocumented but observed: the transcript in a function request ends with the invocation being made.
    Absent, it is simply unknown; a guess (an earlier invocation, other arguments) would make two requests
    look like one.
    """
    entries = call.get("transcript_with_tool_calls")
    if not isinstance(entries, list):
        return None
    entries = [entry for entry in entries if isinstance(entry, dict)]
    answered = {
        entry["tool_call_id"]
        for entry in entries
        if entry.get("role") == "tool_call_result" and isinstance(entry.get("tool_call_id"), str)
    }
    for entry in reversed(entries):
        tool_call_id = _identifier(entry.get("tool_call_id"))
        if entry.get("role") != "tool_call_invocation" or tool_call_id is None or tool_call_id in answered:
            continue
        entry_name = entry.get("name")
        if not isinstance(entry_name, str) or base_name(entry_name) != base_name(name):
            continue
        if _equal(_read_arguments(entry.get("arguments")), arguments):
            return tool_call_id
    return None


def _equal(a: dict[str, Any], b: dict[str, Any]) -> bool:
    try:
        return a == b
    except RecursionError:  # nested a thousand deep; nothing anybody sends in earnest
        return False

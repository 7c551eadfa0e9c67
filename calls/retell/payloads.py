"""Lenient, typed reading of what Retell sends before a call is answered, and when an agent calls a function.

A function request has two forms. Normal: `{"name": …, "call": {…}, "args": {…}}`. Arguments only: the
arguments are the whole body, and the call is named by the header `X-Retell-Call-Id`, which the operator sets
to `{{call_id}}` on the tool. `args` tells them apart.

What the language model wrote (`args`) is never believed about which call it is: models invent call ids, or
pass the example out of a prompt. Only `call.call_id` and the header, which Retell itself fills, are. Nothing
in here raises on any JSON value: a request that verified is answered with a sentence, not with an error.
"""

from __future__ import annotations

import re
from collections.abc import Mapping
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from typing import Any

from customers.json_values import read_json, storable, without_unstorable
from customers.placeholders import is_placeholder

_VERSION_SUFFIX = re.compile(r"[_\-.]v[0-9]+(?:[._\-][0-9]+)*$")
_IDENTIFIER = re.compile(r"[A-Za-z0-9_.:\-]{1,128}")
# Examples out of prompts and documentation: "123", "12345", "0000".
_COUNTED = re.compile(r"0+|1(?:2(?:3(?:4(?:5(?:6(?:7(?:8(?:90?)?)?)?)?)?)?)?)?")
_LONGEST_TEXT = 256
_LONGEST_NUMBER = 64  # of our columns
_LONGEST_FUNCTION_NAME = 64

_EPOCH = datetime(1970, 1, 1, tzinfo=UTC)
# Retell did not exist before, and a value in seconds or microseconds must not pass for one in milliseconds.
_EARLIEST = datetime(2015, 1, 1, tzinfo=UTC)
_LATEST = datetime(2200, 1, 1, tzinfo=UTC)


@dataclass(frozen=True, kw_only=True)
class FunctionRequest:
    """One function call of a phone agent. Numbers are as signalled ("anonymous" included), not normalised."""

    # Without version suffix, lower case, printable, at most 64 characters, perhaps "". The one in the URL,
    # because operators may rename the tool.
    name: str
    call_id: str | None  # None: neither the body nor the header names a call
    agent_id: str | None
    call_type: str | None  # "phone_call", "web_call"
    direction: str | None  # "inbound", "outbound"; a web call has none
    from_number: str | None
    to_number: str | None
    start_timestamp: datetime | None  # UTC
    tool_call_id: str | None  # id of this invocation, when Retell's running transcript tells it
    arguments: dict[str, Any]  # as the model wrote them, made `storable`


def read_function_request(payload: object, *, path_name: str, call_id_header: str | None) -> FunctionRequest:
    """Read the parsed body of a function request. `path_name` is the last part of the URL. Raises nothing."""
    body: Mapping[str, Any] = payload if isinstance(payload, dict) else {}
    call_id_beside = read_identifier(call_id_header)
    if _is_normal_form(body, call_is_named_beside=call_id_beside is not None):
        call: Mapping[str, Any] = body["call"] if isinstance(body.get("call"), dict) else {}
        arguments = _read_arguments(body.get("args"))
        tool_name = read_text(body.get("name"))
    else:
        call, arguments, tool_name = {}, _read_arguments(dict(body)), None
    return FunctionRequest(
        name=_function_name(path_name),
        call_id=read_identifier(call.get("call_id")) or call_id_beside,
        agent_id=read_identifier(call.get("agent_id")),
        call_type=read_text(call.get("call_type")),
        direction=read_text(call.get("direction")),
        from_number=read_number(call.get("from_number")),
        to_number=read_number(call.get("to_number")),
        start_timestamp=read_milliseconds(call.get("start_timestamp")),
        tool_call_id=_find_tool_call_id(call, name=tool_name or path_name, arguments=arguments),
        arguments=arguments,
    )


@dataclass(frozen=True, kw_only=True)
class InboundCall:
    """Numbers are as signalled; None: not told. What else the SIP headers tell about a caller who withholds
    the number is not read."""

    from_number: str | None
    to_number: str | None
    agent_id: str | None


def read_inbound_call(payload: object) -> InboundCall:
    """Raises nothing."""
    content = payload.get("call_inbound") if isinstance(payload, dict) else None
    call: Mapping[str, Any] = content if isinstance(content, dict) else {}
    return InboundCall(
        from_number=read_number(call.get("from_number")),
        to_number=read_number(call.get("to_number")),
        agent_id=read_identifier(call.get("agent_id")),
    )


def read_identifier(value: object) -> str | None:
    """An id as Retell gives them, at most 128 characters. None for what a model or a prompt puts there
    instead."""
    if not isinstance(value, str):
        return None
    value = value.strip()
    if is_placeholder(value) or _IDENTIFIER.fullmatch(value) is None or _COUNTED.fullmatch(value) is not None:
        return None
    return value


def read_text(value: object) -> str | None:
    """A printable text of 1 to 256 characters. Anything else would only make trouble in a column or a log
    line: None."""
    if not isinstance(value, str):
        return None
    value = value.strip()
    return value if value and len(value) <= _LONGEST_TEXT and value.isprintable() else None


def read_number(value: object) -> str | None:
    """A number as it is signalled. A SIP address can be longer than any number; it is kept to be seen, not to
    be called."""
    text = read_text(value)
    return text[:_LONGEST_NUMBER] if text else None


def read_milliseconds(value: object) -> datetime | None:
    """The instant, in UTC, so many milliseconds after 1970. None if it is no number, or one that cannot be in
    milliseconds."""
    if isinstance(value, bool) or not isinstance(value, (int, float)):
        return None
    try:
        instant = _EPOCH + timedelta(milliseconds=value)
    except (OverflowError, ValueError):  # far too large; infinity; not a number
        return None
    return instant if _EARLIEST <= instant < _LATEST else None


def base_name(name: str) -> str:
    """The function meant by a name as set up in Retell: "Book_Appointment_V2" and "book-appointment-v2" are
    both "book_appointment". Whether such a function exists is for the caller to say."""
    return _VERSION_SUFFIX.sub("", name.strip().lower()).replace("-", "_")


def _function_name(path_name: str) -> str:
    printable = "".join(character for character in path_name if character.isprintable())
    return base_name(printable)[:_LONGEST_FUNCTION_NAME]


def _is_normal_form(body: Mapping[str, Any], *, call_is_named_beside: bool) -> bool:
    # One key alone may be an argument that happens to be called "name", "call" or "args".
    has_name, has_call = isinstance(body.get("name"), str), isinstance(body.get("call"), dict)
    if "args" in body:
        return has_name or has_call
    # A function without parameters may come without `args`. Where the header names the call, though, this is
    # what the model wrote, and it must not choose the call.
    return has_name and has_call and not call_is_named_beside


def _read_arguments(args: object) -> dict[str, Any]:
    if isinstance(args, str):
        try:
            args = read_json(without_unstorable(args).encode())
        except ValueError:
            return {}
    return storable(args) if isinstance(args, dict) else {}


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
        tool_call_id = read_identifier(entry.get("tool_call_id"))
        if entry.get("role") != "tool_call_invocation" or tool_call_id is None or tool_call_id in answered:
            continue
        entry_name = entry.get("name")
        if not isinstance(entry_name, str) or base_name(entry_name) != base_name(name):
            continue
        if _read_arguments(entry.get("arguments")) == arguments:
            return tool_call_id
    return None

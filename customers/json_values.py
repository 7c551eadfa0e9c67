"""JSON that others send, read and kept whatever stands in it (pure)."""

from __future__ import annotations

import json
import math
import re
from typing import Any

import orjson

# PostgreSQL cannot store U+0000, and UTF-8 cannot hold half a surrogate pair. Nobody means either.
_NOT_STORABLE = re.compile("[\x00\ud800-\udfff]")
_DEEPEST = 32
_SMALLEST_INTEGER, _LARGEST_INTEGER = -(2**63), 2**64 - 1
_DIGITS_OF_64_BITS = 20
# Python refuses to write out longer ones (4300 digits).
_MOST_BITS_AS_TEXT = 14_000
_CUT = "…"


def read_json(body: bytes) -> Any:
    """The JSON value in `body`, which must be UTF-8. Raises ValueError, also for NaN and for a depth nobody
    sends in earnest.

    What the grammar of JSON allows is read: half a surrogate pair stays in its text, a number beyond all
    floats becomes infinity, an integer beyond 64 bits a float or the text of its digits. See `storable`.
    """
    try:
        return orjson.loads(body)
    except orjson.JSONDecodeError:
        pass
    try:
        return json.loads(body.decode(), parse_int=_read_integer, parse_constant=_refuse_constant)
    except RecursionError:
        raise ValueError("nested too deep") from None


def storable(value: Any) -> Any:
    """A copy of the JSON value `value` that every database, JSON writer and log can hold. Raises nothing.

    Texts and keys lose U+0000 and lone surrogates, integers beyond 64 bits become texts, NaN and infinity
    None, and what is nested deeper than 32 becomes "…".
    """
    return _storable(value, room=_DEEPEST)


def without_unstorable(text: str) -> str:
    return _NOT_STORABLE.sub("", text)


def _storable(value: Any, *, room: int) -> Any:
    """`room` is how many levels may still be opened."""
    if isinstance(value, str):
        return without_unstorable(value)
    if isinstance(value, float):
        return value if math.isfinite(value) else None
    if value is None or isinstance(value, bool):
        return value
    if isinstance(value, int):
        return _storable_integer(value)
    if room == 0:
        return _CUT
    if isinstance(value, dict):
        return {
            without_unstorable(str(key)): _storable(member, room=room - 1) for key, member in value.items()
        }
    if isinstance(value, list):
        return [_storable(member, room=room - 1) for member in value]
    return _CUT  # not out of JSON


def _storable_integer(value: int) -> int | str:
    if _SMALLEST_INTEGER <= value <= _LARGEST_INTEGER:
        return value
    return str(value) if value.bit_length() <= _MOST_BITS_AS_TEXT else _CUT


def _read_integer(digits: str) -> int | str:
    # Reading a million digits would take minutes.
    return int(digits) if len(digits) <= _DIGITS_OF_64_BITS else digits


def _refuse_constant(name: str) -> None:
    raise ValueError(f"{name} is not JSON")

"""What differs between a document of ours and what Retell has, and what to send so that it does not.

Retell adds defaults to what it was sent, and people add tools and variables in its dashboard. So ours has to
be contained in theirs, not equal to it; and of what they have in addition nothing is lost.
"""

from __future__ import annotations

from collections.abc import Mapping, Set
from dataclasses import dataclass
from typing import Any
from urllib.parse import urlsplit

Json = dict[str, Any]


@dataclass(frozen=True)
class Difference:
    """`before` is None where there was nothing."""

    path: str
    before: Any
    after: Any


def differences(
    wanted: Mapping[str, Any], current: Mapping[str, Any], *, set_once: Set[str] = frozenset()
) -> list[Difference]:
    """What of `wanted` is missing or different in `current`; what is set once counts only while missing."""
    found: list[Difference] = []
    for key, value in wanted.items():
        if key in set_once and current.get(key) is not None:
            continue
        _compare(value, current.get(key), key, found)
    return found


def body(wanted: Mapping[str, Any], current: Mapping[str, Any], found: list[Difference]) -> Json:
    """The smallest update that makes up for `found`: whole top-level keys, additions of theirs included."""
    keys = {difference.path.split(".")[0] for difference in found}
    return {key: _merged(value, current.get(key)) for key, value in wanted.items() if key in keys}


def _compare(wanted: Any, current: Any, path: str, found: list[Difference]) -> None:
    if isinstance(wanted, dict) and isinstance(current, dict):
        for key, value in wanted.items():
            _compare(value, current.get(key), f"{path}.{key}", found)
    elif _is_named(wanted) and isinstance(current, list):
        theirs = _by_name(current)
        for item in wanted:
            _compare(item, theirs.get(item["name"]), f"{path}.{item['name']}", found)
    elif not _same(wanted, current):
        found.append(Difference(path, _without_secrets(current), wanted))


def _same(wanted: Any, current: Any) -> bool:
    if isinstance(wanted, dict):
        return isinstance(current, dict) and all(_same(wanted[key], current.get(key)) for key in wanted)
    if isinstance(wanted, list):
        if not isinstance(current, list) or len(current) != len(wanted):
            return False
        if all(isinstance(item, str) for item in [*wanted, *current]):
            return sorted(wanted) == sorted(current)  # names and events: the order says nothing
        return all(_same(*pair) for pair in zip(wanted, current, strict=True))
    return bool(wanted == current)


def _merged(wanted: Any, current: Any) -> Any:
    if _is_named(wanted) and isinstance(current, list):
        theirs = _by_name(current)
        names = {item["name"] for item in wanted}
        return [
            *({**theirs.get(item["name"], {}), **item} for item in wanted),
            *(item for item in current if not (isinstance(item, dict) and item.get("name") in names)),
        ]
    if isinstance(wanted, dict) and isinstance(current, dict):
        return {**current, **wanted}
    return wanted


def _is_named(value: Any) -> bool:
    return (
        isinstance(value, list)
        and bool(value)
        and all(isinstance(item, dict) and "name" in item for item in value)
    )


def _by_name(items: list[Any]) -> dict[str, Json]:
    return {str(item["name"]): item for item in items if isinstance(item, dict) and "name" in item}


def _without_secrets(value: Any) -> Any:
    """Addresses lose their query and password: somebody else's webhook may carry its key there."""
    if isinstance(value, dict):
        return {key: _without_secrets(member) for key, member in value.items()}
    if isinstance(value, list):
        return [_without_secrets(member) for member in value]
    if not isinstance(value, str) or "://" not in value[:16]:
        return value
    parts = urlsplit(value)
    return f"{parts.scheme}://{parts.hostname or ''}{parts.path}{'?…' if parts.query else ''}"

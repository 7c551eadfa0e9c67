"""The cache, for whoever can do without it.

It saves work and never makes anything right, so a cache that is gone, or that holds what nobody put there,
counts as empty and is mentioned in the log. Nothing in here raises.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, TypeVar

import structlog
from django.core.cache import cache

T = TypeVar("T")

logger = structlog.get_logger(__name__)


def read(key: str) -> Any:
    """None if it is not there."""
    return _attempt(lambda: cache.get(key))


def write(key: str, value: Any, seconds: float) -> None:
    _attempt(lambda: cache.set(key, value, seconds))


def write_all(values: dict[str, Any], seconds: float) -> None:
    """In one trip."""
    _attempt(lambda: cache.set_many(values, seconds))


def add(key: str, value: Any, seconds: float) -> bool | None:
    """False if somebody else's value is there; None if that cannot be known."""
    return _attempt(lambda: cache.add(key, value, seconds))


def count_up(key: str, seconds: float) -> int:
    """How often this was called within `seconds` of the first time; 0 if that cannot be known."""
    add(key, 0, seconds)
    return _attempt(lambda: _incremented(key)) or 0


def forget(*keys: str) -> None:
    _attempt(lambda: cache.delete_many(keys))


def _incremented(key: str) -> int:
    try:
        return cache.incr(key)
    except ValueError:
        return 1  # somebody has forgotten it, or its time was over, in this moment: it begins anew


def _attempt(operation: Callable[[], T]) -> T | None:
    try:
        return operation()
    except Exception:
        logger.warning("cache.unusable", exc_info=True)
        return None

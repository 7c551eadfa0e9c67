"""One intention, one key: whoever asks again for the same thing computes the same UUID.

The key decides through a unique constraint of the database. The cache in front of it saves work, and is
believed only after the row it names has been read: with the cache empty, gone or lying, nothing is booked
twice.
"""

from __future__ import annotations

import uuid
from datetime import UTC, datetime, timedelta

import orjson

from booking import best_effort_cache

NAMESPACE = uuid.UUID("550e8400-e29b-41d4-a716-446655440000")
NEAR_DUPLICATE = timedelta(minutes=5)
REMEMBERED_SECONDS = 24 * 60 * 60


def is_near(one: datetime, other: datetime) -> bool:
    """Whether the same thing of the same customer's at these two times counts as the same booking."""
    return abs(one - other) <= NEAR_DUPLICATE


def booking_key(*, customer_id: int, service_id: int, starts_at: datetime, source: str) -> str:
    """The key of one booking. `starts_at` is aware, in any zone; the same instant gives the same key."""
    if starts_at.tzinfo is None:
        raise ValueError("starts_at must be aware")
    name = {
        "customer_id": customer_id,
        "service_id": service_id,
        "starts_at": starts_at.astimezone(UTC).strftime("%Y-%m-%d %H:%M:%S"),
        "source": source,
    }
    return str(uuid.uuid5(NAMESPACE, orjson.dumps(name).decode()))


def remembered(key: str, *, company_id: int, appointment_id: int) -> dict[str, int]:
    """First tier: what the cache is told for the next one who comes with this key, where to look."""
    return {_cache_key(key, company_id): appointment_id}


def recall(key: str, *, company_id: int) -> int | None:
    """The appointment this key was last settled as, to be verified by reading the row; None if not known."""
    value = best_effort_cache.read(_cache_key(key, company_id))
    return value if isinstance(value, int) and not isinstance(value, bool) else None


def _cache_key(key: str, company_id: int) -> str:
    return f"idempotency:{company_id}:{key}"

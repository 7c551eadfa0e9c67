"""Free slots, with a short-lived cache in front. What it says is only ever offered; a booking never trusts
it.

The cache is cleared by changing the company's generation, which is part of every key: what was being read
from Cal.com while a booking was made is then stored under a generation nobody asks for any more. It is one
generation for the whole company, because one host serves several event types and a booking of one takes time
from the others.
"""

from __future__ import annotations

import time
import uuid
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta

from booking import best_effort_cache, breaker
from booking.calcom.client import CalcomClient
from booking.calcom.deadline import Deadline
from booking.models import Service

FRESH_SECONDS = 60
GENERATION_SECONDS = 24 * 60 * 60
ONE_ASKS_SECONDS = 6
WAIT_SECONDS = (0.05, 0.1, 0.2, 0.4, 0.8, 1.0)
ALTERNATIVES = 3
ALTERNATIVE_DAYS = 7


@dataclass(frozen=True)
class Window:
    """From when until when; aware instants."""

    start: datetime
    end: datetime


def free_slots(
    *, service: Service, window: Window, client: CalcomClient, deadline: Deadline
) -> list[datetime]:
    """Free starts in UTC, ascending, at most a minute old. Of callers who ask the same at once one asks
    Cal.com.

    Raises CalcomError when it is not cached and Cal.com cannot be asked.
    """
    key = _key(service, window)
    cached = _read(key)
    if cached is not None:
        return cached
    asking = f"{key}:asking"
    if best_effort_cache.add(asking, 1, ONE_ASKS_SECONDS) is False:
        for seconds in WAIT_SECONDS:
            if deadline.remaining < 2:
                break
            time.sleep(seconds)
            cached = _read(key)
            if cached is not None:
                return cached
    try:
        slots = fresh_slots(service=service, window=window, client=client, deadline=deadline)
        _write(key, slots)
    finally:
        best_effort_cache.forget(asking)
    return slots


def fresh_slots(
    *, service: Service, window: Window, client: CalcomClient, deadline: Deadline
) -> list[datetime]:
    """The same, asked of Cal.com now. Raises CalcomError."""
    slots = client.slots(
        event_type_id=service.calcom_event_type_id, start=window.start, end=window.end, deadline=deadline
    )
    breaker.note(None, company_id=service.company_id)
    return slots


def alternatives(
    *, service: Service, wanted: datetime, now: datetime, client: CalcomClient, deadline: Deadline
) -> list[datetime]:
    """The free starts nearest to the one that cannot be had, itself never among them. Raises CalcomError."""
    start = max(now, wanted - timedelta(days=1))
    window = Window(start=start, end=start + timedelta(days=ALTERNATIVE_DAYS))
    slots = fresh_slots(service=service, window=window, client=client, deadline=deadline)
    others = [slot for slot in slots if slot != wanted and slot > now]
    return sorted(sorted(others, key=lambda slot: abs(slot - wanted))[:ALTERNATIVES])


def forget(company_id: int) -> None:
    """Something was booked, moved or cancelled: what is cached for this company is no longer shown to
    anybody.
    """
    best_effort_cache.write_all(forgotten(company_id), GENERATION_SECONDS)


def forgotten(company_id: int) -> dict[str, str]:
    """What `forget` writes into the cache, for whoever writes more than that."""
    return {_generation_key(company_id): uuid.uuid4().hex}


def _key(service: Service, window: Window) -> str:
    generation = _generation(service.company_id)
    span = f"{int(window.start.timestamp())}-{int(window.end.timestamp())}"
    return f"availability:{service.company_id}:{generation}:{service.calcom_event_type_id}:{span}"


def _generation_key(company_id: int) -> str:
    return f"availability:{company_id}:generation"


def _generation(company_id: int) -> str:
    generation = best_effort_cache.read(_generation_key(company_id))
    return generation if isinstance(generation, str) else "0"


def _read(key: str) -> list[datetime] | None:
    stored = best_effort_cache.read(key)
    if not isinstance(stored, list):
        return None
    try:
        return [datetime.fromtimestamp(seconds, tz=UTC) for seconds in stored]
    except (TypeError, ValueError, OverflowError, OSError):
        return None  # not what we put there


def _write(key: str, slots: list[datetime]) -> None:
    best_effort_cache.write(key, [int(slot.timestamp()) for slot in slots], FRESH_SECONDS)

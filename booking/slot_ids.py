"""A slot as the phone agent can repeat it: signed, short, and good for a while.

An agent that repeats "tomorrow" for a slot that was offered for Thursday books the wrong day. With the
offered slot's id it books what was offered. The id names company, service and start; nobody can make one up,
and an old one is refused.
"""

from __future__ import annotations

import hmac
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta

from django.conf import settings
from django.utils.crypto import salted_hmac

VALID_FOR = timedelta(minutes=30)
# 64 bits, valid for half an hour: more would only be harder for a language model to copy.
SIGNATURE_CHARACTERS = 16
_LONGEST = 80


@dataclass(frozen=True)
class OfferedSlot:
    service_id: int
    starts_at: datetime


class InvalidSlotId(ValueError):
    """Forged, of another company, damaged or too old; `expired` tells which."""

    def __init__(self, *, expired: bool = False) -> None:
        super().__init__("expired" if expired else "invalid")
        self.expired = expired


def make(*, company_id: int, service_id: int, starts_at: datetime, now: datetime) -> str:
    """The id of a slot that is offered `now`. Both instants are aware."""
    expires = int((now + VALID_FOR).timestamp())
    parts = f"{service_id:x}-{int(starts_at.timestamp()):x}-{expires:x}"
    return f"{parts}-{_sign(parts, company_id, settings.SECRET_KEY)}"


def read(text: str, *, company_id: int, now: datetime) -> OfferedSlot:
    """The slot, its start in UTC. Raises InvalidSlotId."""
    parts, _, signature = text.strip().lower().rpartition("-")
    if len(text) > _LONGEST or not text.isascii():
        raise InvalidSlotId
    # What was offered before the key was changed is repeated after it.
    keys = (settings.SECRET_KEY, *settings.SECRET_KEY_FALLBACKS)
    if not any(hmac.compare_digest(signature, _sign(parts, company_id, key)) for key in keys):
        raise InvalidSlotId
    service_id, start, expires = (int(part, 16) for part in parts.split("-"))
    if now.timestamp() > expires:
        raise InvalidSlotId(expired=True)
    return OfferedSlot(service_id=service_id, starts_at=datetime.fromtimestamp(start, tz=UTC))


def _sign(parts: str, company_id: int, key: str) -> str:
    mac = salted_hmac("booking.slot_ids", f"{company_id}:{parts}", secret=key, algorithm="sha256")
    return mac.hexdigest()[:SIGNATURE_CHARACTERS]

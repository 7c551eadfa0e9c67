"""What a person has decided, written down in the transaction of what it changes; and what came of it."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from typing import Any

from django.contrib.auth.models import AbstractBaseUser
from django.db import transaction

from booking.models import SyncFailure
from customers.masking import mask_text
from sync import both_sides
from sync.models import AuditEntry
from sync.triage.case import read_failure, version_of
from sync.triage.verbs import MovedOn, Verb, require_status

PREFIX = "triage."


@dataclass(frozen=True)
class Decision:
    """Who wants something done about which failure, and why. `expected` is the `version_of` the row that they
    were shown; `reason` is for their colleagues, and is masked before it is stored.
    """

    failure: SyncFailure
    user: AbstractBaseUser
    expected: str
    reason: str


@dataclass
class Done:
    """What came of it. `changed` counts our rows by what they are; `is_success` is False where the person
    has to look again.
    """

    said: str
    changed: dict[str, int] = field(default_factory=dict)
    is_success: bool = True


@contextmanager
def decided(
    verb: Verb, decision: Decision, *, details: dict[str, Any] | None = None
) -> Iterator[SyncFailure]:
    """A change of the row, decided by compare-and-swap, with its audit entry: one transaction."""
    with transaction.atomic():
        row = read_failure(decision.failure.pk, lock=True)
        require_version(row, decision.expected)
        require_status(verb, row)
        AuditEntry.objects.create(
            company=row.company,
            user_id=decision.user.pk,
            action=f"{PREFIX}{verb}",
            appointment=row.appointment,
            call=row.call,
            failure=row,
            calcom_booking_uid=both_sides.uid_of(row),
            reason=mask_text(decision.reason),
            details=details or {},
        )
        yield row


def require_version(row: SyncFailure, expected: str) -> None:
    if version_of(row) != expected:
        raise MovedOn(f"The failure has changed since you looked. It says now: {row.get_status_display()}.")

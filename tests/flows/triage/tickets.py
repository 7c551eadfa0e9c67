"""A ticket to act upon, and what acting has left behind."""

from __future__ import annotations

from typing import Any

from booking import failures
from booking.models import Appointment, BookingAttempt, SyncFailure
from calls.models import Call
from customers.models import Company
from sync.models import AuditEntry

Type = SyncFailure.Type
ROWS = (Appointment, BookingAttempt, Call, SyncFailure, AuditEntry)


def ticket(
    company: Company, failure_type=Type.ORPHANED_CALCOM, *, is_standing: bool = False, **about: Any
) -> SyncFailure:
    subject = about.pop("subject", None) or failures.about_booking(about.get("uid", ""))
    problem = failures.Problem(
        company=company, failure_type=failure_type, subject=subject, message="A gap.", **about
    )
    return failures.open_failure(problem, is_standing=is_standing)


def actions() -> list[str]:
    return list(AuditEntry.objects.order_by("pk").values_list("action", flat=True))


def snapshot() -> list[Any]:
    return [list(model.objects.order_by("pk").values()) for model in ROWS]

"""What changes the sync failure alone: whose it is, for how long it is hidden, whether it is done."""

from __future__ import annotations

from datetime import datetime, timedelta

from django.utils import timezone

from booking.models import SyncFailure
from customers.admin_columns import zone_of
from customers.masking import mask_text
from sync.triage.case import Case, open_case
from sync.triage.decision import Decision, Done, decided
from sync.triage.verbs import NotLegal, Verb

LONGEST_SNOOZE = timedelta(days=31)

Status = SyncFailure.Status


def preview_resolve(case: Case) -> list[str]:
    is_of_many = case.failure.failure_type == SyncFailure.Type.CONFIG_ERROR
    return [
        "The failure is closed with your note and your name.",
        "Neither the appointment nor the booking is changed.",
        "What runs into it next opens another one, if it is not put right."
        if is_of_many
        else "It is not opened again while the gap stays exactly as it is.",
    ]


def preview_review(_case: Case) -> list[str]:
    return ["The failure is marked as waiting for a person."]


def preview_snooze(_case: Case) -> list[str]:
    return ["The failure is hidden from the inbox until then. It stays open, and is counted."]


def preview_assign(case: Case) -> list[str]:
    if case.failure.assigned_to_id == case.user.pk:
        raise NotLegal("It is assigned to you.")
    before = f" instead of {case.failure.assigned_to}" if case.failure.assigned_to else ""
    return [f"The failure is assigned to you{before}."]


def assign(decision: Decision) -> Done:
    """To the person themselves. Raises MovedOn, NotLegal, like every verb."""
    with decided(Verb.ASSIGN, decision) as row:
        preview_assign(open_case(row, user=decision.user, now=timezone.now(), ask=False))
        SyncFailure.objects.filter(pk=row.pk).update(assigned_to_id=decision.user.pk)
    return Done("Assigned to you.", {"sync failure": 1})


def snooze(decision: Decision, *, until: datetime) -> Done:
    """Hide it from the inbox until that instant, at most a month away."""
    now = timezone.now()
    if not now < until <= now + LONGEST_SNOOZE:
        raise NotLegal("It can be snoozed for a month at most.")
    with decided(Verb.SNOOZE, decision, details={"until": until.isoformat()}) as row:
        SyncFailure.objects.filter(pk=row.pk).update(snoozed_until=until)
    there = until.astimezone(zone_of(row))
    return Done(f"Snoozed until {there:%Y-%m-%d %H:%M %Z}.", {"sync failure": 1})


def review(decision: Decision) -> Done:
    with decided(Verb.REVIEW, decision) as row:
        SyncFailure.objects.filter(pk=row.pk).update(status=Status.MANUAL_REVIEW)
    return Done("Marked as waiting for a person.", {"sync failure": 1})


def resolve(decision: Decision) -> Done:
    with decided(Verb.RESOLVE, decision) as row:
        SyncFailure.objects.filter(pk=row.pk).update(
            status=Status.RESOLVED,
            resolved_at=timezone.now(),
            resolved_by_id=decision.user.pk,
            resolution_notes=mask_text(decision.reason),
        )
    return Done("Resolved.", {"sync failure": 1})

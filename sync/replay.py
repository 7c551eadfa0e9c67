"""Have stored deliveries worked again, one or many, because a person says so."""

from __future__ import annotations

from dataclasses import dataclass

from django.contrib.auth.models import AbstractBaseUser
from django.db import transaction
from django.db.models import Count, Max, Q, QuerySet

from calls import deliveries, wake_up
from calls.models import WebhookEvent
from customers.masking import mask_text
from sync.models import AuditEntry

ACTION = "replay"


class MovedOn(Exception):
    """Other deliveries than the person was shown. Nothing was done."""


@dataclass(frozen=True)
class Selection:
    """Of a selection: how many can be worked again, how many bodies are gone; `up_to` is the last of it."""

    replayable: int
    purged: int
    up_to: int


def count(events: QuerySet[WebhookEvent]) -> Selection:
    counted = _plain(events).aggregate(
        replayable=Count("pk", filter=~Q(body="")), purged=Count("pk", filter=Q(body="")), up_to=Max("pk")
    )
    return Selection(counted["replayable"], counted["purged"], counted["up_to"] or 0)


def replay(
    events: QuerySet[WebhookEvent], *, expected: Selection, user: AbstractBaseUser, reason: str
) -> int:
    """How many are worked again; what arrived after the selection was shown is left out. Raises MovedOn."""
    events = _plain(events).filter(pk__lte=expected.up_to)
    with transaction.atomic():
        if count(events) != expected:
            raise MovedOn
        by_company = list(
            events.order_by()
            .values_list("company")
            .annotate(
                replayed=Count("pk", filter=~Q(body="")),
                purged=Count("pk", filter=Q(body="")),
                last=Max("pk"),
            )
        )
        replayed = deliveries.replay(events)
        AuditEntry.objects.bulk_create(
            [
                AuditEntry(
                    company_id=company_id,
                    user_id=user.pk,
                    action=ACTION,
                    reason=mask_text(reason),
                    details={"deliveries": number, "purged": purged, "last": last},
                )
                for company_id, number, purged, last in by_company
            ]
        )
        transaction.on_commit(wake_up.deliveries.wake)
    return replayed


def _plain(events: QuerySet[WebhookEvent]) -> QuerySet[WebhookEvent]:
    """The same rows, without the joins, order and deferred columns of a list."""
    return WebhookEvent.objects.filter(pk__in=events.order_by().values("pk"))

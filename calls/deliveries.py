"""Record a delivery once; say later that it was processed, ignored, or failed.

The stored row is the queue. Whoever takes one moves its `due_at` to the end of a lease: a worker that dies in
the middle leaves a row that is due again when the lease ends, and one that was only slow finds that its lease
is gone and changes nothing. So neither a broker that is down nor a killed worker loses a delivery, and waking
a worker is only a courtesy.
"""

from __future__ import annotations

import random
from collections.abc import Mapping
from datetime import datetime, timedelta
from typing import Any

import structlog
from django.db.models import F, QuerySet
from django.utils import timezone

from calls.models import WebhookEvent
from customers import statements
from customers.database import transaction_that_may_be_lost
from customers.masking import mask_text
from customers.models import Company
from customers.statements import Given, Select

Status = WebhookEvent.Status

LEASE = timedelta(seconds=60)
BATCH = 10  # as many as surely are worked within the lease
FIRST_PAUSE = timedelta(seconds=5)
LONGEST_PAUSE = timedelta(hours=1)
MOST_ATTEMPTS = 12  # the pauses double from 5 s to an hour: about four hours in all
# Bodies that are forgotten in one transaction. SQLite writes over each page of what is deleted, and nobody
# else writes meanwhile: with thousands at once callers would wait for as long as they do, and in vain.
FORGOTTEN_AT_ONCE = 200
WAITING = (Status.RECEIVED, Status.FAILED)

# What helps to understand a delivery. Signatures and whatever a proxy adds are not kept.
KEPT_HEADERS = ("Content-Type", "User-Agent", "X-Request-Id", "X-Cal-Webhook-Version")

# Whose body was purged says nothing any more.
_SAYS_SOMETHING_ELSE = Select(
    lambda: (
        WebhookEvent.objects.filter(company=Given("company"), webhook_id=Given("webhook_id"))
        .exclude(body__in=("", Given("body")))
        .only("pk")
    )
)

_DUE = Select(
    lambda: (
        WebhookEvent.objects.filter(status__in=WAITING, due_at__lte=Given("now", of="due_at"))
        .select_related("company")
        .order_by("due_at", "pk")[:BATCH]
    ),
    lock="FOR UPDATE OF webhook_events SKIP LOCKED",
)

logger = structlog.get_logger(__name__)


class LeaseLost(Exception):
    """Somebody else works this delivery by now: what was just done for it must be rolled back."""


def delivery_key(provider: str, event_type: str, event_id: str) -> str:
    """It fits: an event type has 64 characters at most, an id of Retell's 128 and a hash 64."""
    return f"{provider}:{event_type}:{event_id}"


def record(
    *,
    company: Company,
    provider: WebhookEvent.Provider,
    event_type: str,
    key: str,
    body: str,
    headers: Mapping[str, str],
) -> bool:
    """Store a delivery; False if it is stored already. The unique constraint decides, also between copies
    that arrive at the same moment.
    """
    event = WebhookEvent(
        company=company,
        provider=provider,
        event_type=event_type[:64],
        webhook_id=key,
        body=body,
        headers={name: headers[name][:200] for name in KEPT_HEADERS if name in headers},
    )
    return statements.insert(event, unless_there=True)


def note_repeat(*, company: Company, key: str, body: str) -> None:
    """The first one is kept. That a later copy says something else is at least written down."""
    first = _SAYS_SOMETHING_ELSE.first(company=company.pk, webhook_id=key, body=body)
    if first is not None:
        logger.warning("delivery.repeated_differently", delivery=first.pk, key=key)


def take_due(*, now: datetime) -> list[WebhookEvent]:
    """BATCH deliveries that are due, oldest first, made ours for the time of the lease. Fewer: of those that
    nobody else is taking in this moment these were all.
    """
    with transaction_that_may_be_lost():
        events = _DUE.all(now=now)
        # Whoever took one so often and never came to say how it went was killed by it.
        while deadly := [event for event in events if event.attempts >= MOST_ATTEMPTS]:
            _bury(deadly)
            events = _DUE.all(now=now)
        until = now + LEASE
        WebhookEvent.objects.filter(pk__in=[event.pk for event in events]).update(
            due_at=until, attempts=F("attempts") + 1
        )
    for event in events:
        event.due_at = until
        event.attempts += 1
    return events


def _bury(events: list[WebhookEvent]) -> None:
    for event in events:
        logger.error("delivery.dead", delivery=event.pk, type=event.event_type, attempts=event.attempts)
    WebhookEvent.objects.filter(pk__in=[event.pk for event in events]).update(
        status=Status.DEAD, error="Whoever worked it did not come back."
    )


def finish(event: WebhookEvent, *, status: WebhookEvent.Status, note: str = "") -> None:
    """Call it inside the transaction of the effect: then both are true or neither is. Raises LeaseLost."""
    _change(event, status=status, error=note, processed_at=timezone.now())


def look_again(event: WebhookEvent, *, now: datetime, after: timedelta, note: str) -> None:
    """It cannot be decided yet. That is no failure, and is not counted as one. Raises LeaseLost."""
    _change(
        event,
        status=Status.RECEIVED,
        due_at=now + after,
        attempts=max(event.attempts - 1, 0),
        error=note,
    )


def fail(event: WebhookEvent, *, now: datetime, error: str) -> None:
    """Try again after a pause that doubles, or give up: what is given up waits in the admin. Raises
    LeaseLost.
    """
    error = mask_text(error)
    if event.attempts >= MOST_ATTEMPTS:
        _change(event, status=Status.DEAD, error=error)
        logger.error("delivery.dead", delivery=event.pk, type=event.event_type, attempts=event.attempts)
        return
    pause = min(FIRST_PAUSE * 2 ** (event.attempts - 1), LONGEST_PAUSE)
    jitter = random.uniform(0.8, 1.2)  # noqa: S311 - spread, not secrecy
    _change(event, status=Status.FAILED, error=error, due_at=now + pause * jitter)
    logger.warning("delivery.failed", delivery=event.pk, type=event.event_type, attempts=event.attempts)


def replay(events: QuerySet[WebhookEvent]) -> int:
    """Have them worked again from the start, whatever became of them; returns how many. One whose body has
    been purged stays as it is.
    """
    return events.exclude(body="").update(
        status=Status.RECEIVED, attempts=0, error="", due_at=timezone.now(), processed_at=None
    )


def purge(*, before: datetime, limit: int = 5000) -> int:
    """Forget what was said in deliveries received before then; that they came is kept. What still waits to
    be worked is not touched. At most `limit` rows, returns how many: call it until it is 0.
    """
    old = WebhookEvent.objects.filter(received_at__lt=before).exclude(status__in=WAITING).exclude(body="")
    some = list(old.values_list("pk", flat=True)[:limit])
    forgotten = 0
    for first in range(0, len(some), FORGOTTEN_AT_ONCE):
        # One that was replayed in this moment waits again, and needs its body.
        rows = WebhookEvent.objects.filter(pk__in=some[first : first + FORGOTTEN_AT_ONCE])
        forgotten += rows.exclude(status__in=WAITING).update(body="", headers={})
    return forgotten


def _change(event: WebhookEvent, **values: Any) -> None:
    mine = {"id": event.pk, "status": WAITING, "due_at": event.due_at}
    if not statements.update(WebhookEvent, mine, **values):
        raise LeaseLost

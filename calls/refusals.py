"""Count the requests that were turned away, so that ops see a wrong secret before a day's events are lost."""

from __future__ import annotations

import structlog
from django.db import DatabaseError, IntegrityError, transaction
from django.db.models import F
from django.utils import timezone

from calls.models import RefusedDelivery, WebhookEvent
from customers.models import Company

logger = structlog.get_logger(__name__)


def count(*, company: Company, provider: WebhookEvent.Provider, reason: str) -> None:
    """Raises nothing: the request is refused all the same."""
    now = timezone.now()
    logger.warning("signature.refused", company=company.slug, provider=str(provider), reason=reason)
    of_this_hour = {
        "company": company,
        "provider": provider,
        "reason": reason,
        "hour": now.replace(minute=0, second=0, microsecond=0),
    }
    try:
        if _count_up(of_this_hour):
            return
        try:
            with transaction.atomic():
                RefusedDelivery.objects.create(**of_this_hour, count=1, last_at=now)
        except IntegrityError:  # another one was refused at the same moment
            _count_up(of_this_hour)
    except DatabaseError as error:
        logger.error("signature.refusal_not_counted", company=company.slug, error=type(error).__name__)


def _count_up(of_this_hour: dict[str, object]) -> int:
    rows = RefusedDelivery.objects.filter(**of_this_hour)
    return rows.update(count=F("count") + 1, last_at=timezone.now())

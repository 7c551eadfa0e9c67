"""Count the requests that were turned away, so that ops see a wrong secret before a day's events are lost."""

from __future__ import annotations

import structlog
from django.db import DatabaseError
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
    rows = RefusedDelivery.objects.filter(**of_this_hour)
    one_more = {"count": F("count") + 1, "last_at": now}
    try:
        if not rows.update(**one_more):
            RefusedDelivery.objects.get_or_create(**of_this_hour, defaults={"last_at": now})
            rows.update(**one_more)
    except DatabaseError as error:
        logger.error("signature.refusal_not_counted", company=company.slug, error=type(error).__name__)

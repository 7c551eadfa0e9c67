"""How many rows of each kind there are, in tables that grow with every call.

What is older than two days hardly changes any more, so it is counted once a day and kept in the cache; only
what is younger is counted each time, by index. Where an old row does change (a delivery that is replayed, an
appointment moved on from the past), the count is right again a day later. Without a cache everything is
counted each time.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Collection, Sequence
from datetime import datetime, timedelta
from typing import Any

from django.db.models import Count, QuerySet
from django.utils import timezone

from booking import best_effort_cache

SETTLED_AFTER = timedelta(days=2)
KEPT_FOR = timedelta(days=1)


def count_by(
    rows: QuerySet[Any], columns: Sequence[str], *, key: str, since: str, companies: Collection[int]
) -> Counter[tuple[Any, ...]]:
    """The values of the columns → how many of the rows have them. `since` is the column of their instant,
    after the company in an index; `key` names the count.
    """
    match best_effort_cache.read(f"settled:{key}"):
        case (datetime() as until, Counter() as settled):
            pass
        case _:  # nothing, or not what we put there
            until = timezone.now() - SETTLED_AFTER
            settled = _count(rows.filter(**{f"{since}__lt": until}), columns)
            best_effort_cache.write(f"settled:{key}", (until, settled), KEPT_FOR.total_seconds())
    # The index starts with the company; naming all of them keeps it usable.
    return settled + _count(rows.filter(company__in=companies, **{f"{since}__gte": until}), columns)


def _count(rows: QuerySet[Any], columns: Sequence[str]) -> Counter[tuple[Any, ...]]:
    counted = rows.order_by().values_list(*columns).annotate(rows=Count("pk"))
    return Counter({tuple(values): count for *values, count in counted})

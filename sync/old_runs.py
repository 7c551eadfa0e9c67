"""Forget what runs of `reconcile` reported long ago. There is one for each hour and company."""

from __future__ import annotations

from datetime import datetime

from django.db.models import Max

from sync.models import ReconciliationRun

# In one transaction: on SQLite nobody else writes meanwhile.
AT_ONCE = 500


def purge(*, before: datetime) -> int:
    """Delete the runs that began before then; returns how many. Of each company the last ones that were
    complete are kept: the next run goes on where they ended.
    """
    complete = ReconciliationRun.objects.filter(
        outcome=ReconciliationRun.Outcome.COMPLETE, is_dry_run=False
    ).order_by()
    kept = complete.values("company", "scope").annotate(last=Max("pk")).values("last")
    old = ReconciliationRun.objects.filter(started_at__lt=before).exclude(pk__in=kept)
    deleted = 0
    while some := list(old.values_list("pk", flat=True)[:AT_ONCE]):
        deleted += ReconciliationRun.objects.filter(pk__in=some).delete()[0]
    return deleted

from __future__ import annotations

from datetime import timedelta

from celery import shared_task
from django.conf import settings
from django.utils import timezone

from calls import deliveries
from sync import work_deliveries


@shared_task(name="sync.tasks.work_deliveries")
def work_stored_deliveries() -> None:
    work_deliveries.work_due()


@shared_task(name="sync.tasks.purge_deliveries")
def purge_deliveries() -> None:
    before = timezone.now() - timedelta(days=settings.WEBHOOK_BODY_DAYS)
    while deliveries.purge(before=before):
        pass

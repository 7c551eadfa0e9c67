from __future__ import annotations

from celery import shared_task
from django.utils import timezone

from calls.never_ended import close_never_ended


@shared_task(name="calls.tasks.close_never_ended")
def close_never_ended_calls() -> None:
    close_never_ended(now=timezone.now())

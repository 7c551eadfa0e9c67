from __future__ import annotations

from celery import shared_task

from booking import alerts, completer


@shared_task(name="booking.tasks.settle_unknown_attempts")
def settle_unknown_attempts() -> None:
    completer.settle_unknown()


@shared_task(name="booking.tasks.send_alert", autoretry_for=(OSError,), retry_backoff=True, max_retries=5)
def send_alert(*, failure_id: int, way: str) -> None:
    alerts.send(failure_id, way=way)

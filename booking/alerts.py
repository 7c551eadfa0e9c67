"""Tell ops that a failure was opened: by e-mail, by webhook, or not at all, as the settings say.

The message carries the failure's number, type and company, never what was said about a person.
"""

from __future__ import annotations

import requests
from celery import current_app
from django.conf import settings
from django.core.mail import send_mail
from django.db import transaction

from booking.models import SyncFailure
from customers.company_secrets import without_secrets

SECONDS = 10


def announce(failure: SyncFailure) -> None:
    """Once the failure is committed, have a worker send the alert. The open row is what counts, so a broker
    that is down costs the alert and nothing else.
    """
    if not (settings.ALERT_EMAIL or settings.ALERT_WEBHOOK_URL):
        return
    transaction.on_commit(
        lambda: current_app.send_task("booking.tasks.send_alert", kwargs={"failure_id": failure.pk}),
        robust=True,
    )


def send(failure_id: int) -> None:
    failure = without_secrets(SyncFailure.objects.all(), paths=("company",)).get(pk=failure_id)
    title = f"Slotkeeper: {failure.get_failure_type_display()} ({failure.company.slug}, no. {failure.pk})"
    url = f"{settings.PUBLIC_URL.rstrip('/')}/admin/booking/syncfailure/{failure.pk}/change/"
    if settings.ALERT_EMAIL:
        send_mail(title, f"{title}\n{url}\n", None, [settings.ALERT_EMAIL])
    if settings.ALERT_WEBHOOK_URL:
        answer = requests.post(settings.ALERT_WEBHOOK_URL, json={"text": f"{title} {url}"}, timeout=SECONDS)
        answer.raise_for_status()

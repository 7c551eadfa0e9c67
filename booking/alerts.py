"""Tell ops that a failure was opened: by e-mail, by webhook, or not at all, as the settings say.

The message carries the failure's number, type and company, never what was said about a person.
"""

from __future__ import annotations

import contextvars
import threading
from collections.abc import Iterable

import requests
import structlog
from celery import current_app
from django.conf import settings
from django.core.mail import send_mail
from django.db import transaction

from booking.models import SyncFailure
from customers.company_secrets import without_secrets

SECONDS = 10

logger = structlog.get_logger(__name__)


def announce(failure: SyncFailure) -> None:
    """Once the failure is committed, have a worker send the alerts, each by itself: a mail server that is
    away is no obstacle to the chat. The open row is what counts, so a broker that is down costs the alerts
    and nothing else, and one that hangs is waited for by nobody who answers a caller.
    """
    addresses = {"email": settings.ALERT_EMAIL, "webhook": settings.ALERT_WEBHOOK_URL}
    ways = [way for way, address in addresses.items() if address]
    if not ways:
        return
    context = contextvars.copy_context()  # the request's id goes along into the tasks
    thread = threading.Thread(target=context.run, args=(_hand_over, failure.pk, ways), name="alert")
    transaction.on_commit(thread.start, robust=True)


def _hand_over(failure_id: int, ways: Iterable[str]) -> None:
    for way in ways:
        try:
            current_app.send_task("booking.tasks.send_alert", kwargs={"failure_id": failure_id, "way": way})
        except Exception as error:  # noqa: BLE001 - whatever a broker may raise
            logger.warning("alert.not_sent", failure=failure_id, way=way, error=type(error).__name__)


def send(failure_id: int, *, way: str) -> None:
    """`way` is `email` or `webhook`. Raises OSError."""
    failure = without_secrets(SyncFailure.objects.all(), paths=("company",)).get(pk=failure_id)
    title = f"Slotkeeper: {failure.get_failure_type_display()} ({failure.company.slug}, no. {failure.pk})"
    url = f"{settings.PUBLIC_URL.rstrip('/')}/admin/booking/syncfailure/{failure.pk}/change/"
    if way == "email":
        send_mail(title, f"{title}\n{url}\n", None, settings.ALERT_EMAIL)
    else:
        _write_into_chat(f"{title} {url}")


def _write_into_chat(text: str) -> None:
    """Raises OSError, whose words never hold the address: whoever knows it can write into the chat."""
    try:
        # What follows a redirect asks with GET, and takes any page for a yes. No answer is read.
        with requests.post(
            settings.ALERT_WEBHOOK_URL,
            json={"text": text},
            timeout=SECONDS,
            allow_redirects=False,
            stream=True,
        ) as answer:
            status = answer.status_code
    except requests.RequestException as error:
        raise OSError(f"The chat cannot be reached: {type(error).__name__}.") from None
    if not 200 <= status < 300:
        raise OSError(f"The chat answered {status}.")

"""The Celery application and the Beat timetable, in code so that it is reviewed.

Tasks are named as strings here: the timetable must not import the apps while they are being set up.
"""

import logging.config
import os
from typing import Any

from celery import Celery, signals
from celery.schedules import crontab
from django.conf import settings
from kombu import Queue

from config import sentry
from customers import niceness
from sync import deployment_checks

os.environ.setdefault("DJANGO_SETTINGS_MODULE", "config.settings")

app = Celery("slotkeeper")
app.config_from_object("django.conf:settings", namespace="CELERY")
app.autodiscover_tasks()

# What may take minutes, and must not stand before what callers wait for: a delivery, an unknown attempt. A
# worker that is told no queues takes from both in turn.
app.conf.task_queues = [Queue(name, routing_key=name) for name in ("celery", "long")]
app.conf.task_routes = {
    task: {"queue": "long"}
    for task in (
        "sync.tasks.reconcile_company",
        "sync.tasks.sync_services",
        "sync.tasks.audit_all",
        "sync.tasks.purge_deliveries",
        "sync.tasks.purge_records",
    )
}

app.conf.beat_schedule = {
    # Half a minute: an answer "I am checking" to a caller must turn into yes or no soon.
    "settle-unknown-attempts": {
        "task": "booking.tasks.settle_unknown_attempts",
        "schedule": 30.0,
        # A run nobody fetched before the next one is due would only queue up behind it.
        "options": {"expire_seconds": 25},
    },
    # Whoever stores a delivery wakes a worker; this is for what was stored while the broker was away, and for
    # what is to be looked at again in a few seconds.
    "work-deliveries": {
        "task": "sync.tasks.work_deliveries",
        "schedule": 5.0,
        "options": {"expire_seconds": 5},
    },
    "close-never-ended-calls": {
        "task": "calls.tasks.close_never_ended",
        "schedule": 300.0,
        "options": {"expire_seconds": 290},
    },
    # Minutes: while a secret does not hold, no caller is served.
    "report-refused-requests": {
        "task": "sync.tasks.report_refused_requests",
        "schedule": 300.0,
        "options": {"expire_seconds": 290},
    },
    "reconcile": {
        "task": "sync.tasks.reconcile_all",
        "schedule": crontab(minute="7"),
        "options": {"expire_seconds": 1800},
    },
    # After the reconciliation, so that what it has healed is no finding.
    "audit": {
        "task": "sync.tasks.audit_all",
        "schedule": crontab(minute="37"),
        "options": {"expire_seconds": 1800},
    },
    "sync-services": {
        "task": "sync.tasks.sync_services_of_all",
        "schedule": crontab(hour="4", minute="23"),
        "options": {"expire_seconds": 3600},
    },
    "purge-deliveries": {
        "task": "sync.tasks.purge_deliveries",
        "schedule": crontab(hour="3", minute="17"),
        "options": {"expire_seconds": 3600},
    },
    "purge-records": {
        "task": "sync.tasks.purge_records",
        "schedule": crontab(hour="3", minute="47"),
        "options": {"expire_seconds": 3600},
    },
}


@signals.beat_init.connect
@signals.worker_init.connect
def start_like_a_web_server(**_kwargs: Any) -> None:
    """Refuse unsafe settings, and report errors: what nobody waits for fails in here."""
    if why := deployment_checks.refusal():
        raise SystemExit(why)  # whatever else a receiver raises, Celery logs and goes on
    sentry.start()


@signals.worker_init.connect
def give_way_to_callers(**_kwargs: Any) -> None:
    """Before the worker starts its processes, so that they do too."""
    niceness.give_way()


@signals.setup_logging.connect
def configure_logging(**_kwargs: Any) -> None:
    """Celery's workers log like everything else; connecting keeps Celery from setting up its own."""
    logging.config.dictConfig(settings.LOGGING)

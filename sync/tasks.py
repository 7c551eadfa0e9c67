from __future__ import annotations

from datetime import timedelta

import structlog
from celery import shared_task
from django.conf import settings
from django.core.management import call_command
from django.utils import timezone

from calls import deliveries
from customers.company_secrets import without_secrets
from customers.models import Company
from sync import audit_alerts, event_type_sync, old_runs, reconcile, refused_requests, work_deliveries
from sync.long_run import LongRun
from sync.turn import Busy

# What nobody has fetched when Beat sends the next one would only queue up behind it.
HOURLY_EXPIRES_SECONDS = 3600
DAILY_EXPIRES_SECONDS = 24 * 3600

RUNS_ARE_KEPT_FOR = timedelta(days=90)

logger = structlog.get_logger(__name__)


@shared_task(name="sync.tasks.work_deliveries")
def work_stored_deliveries() -> None:
    work_deliveries.work_due()


@shared_task(name="sync.tasks.report_refused_requests")
def report_refused_requests() -> None:
    refused_requests.report_refused_requests(now=timezone.now())


@shared_task(name="sync.tasks.purge_deliveries", base=LongRun)
def purge_deliveries() -> None:
    before = timezone.now() - timedelta(days=settings.WEBHOOK_BODY_DAYS)
    while deliveries.purge(before=before):
        pass


@shared_task(name="sync.tasks.purge_records", base=LongRun)
def purge_records() -> None:
    """What tells of our own doings, and of nobody's appointment."""
    old_runs.purge(before=timezone.now() - RUNS_ARE_KEPT_FOR)
    call_command("clearsessions")


@shared_task(name="sync.tasks.reconcile_all")
def reconcile_all() -> None:
    """One task for each company: one that takes long, or fails, is not the others'."""
    for company_id in Company.objects.filter(is_active=True).values_list("pk", flat=True):
        reconcile_company.apply_async(kwargs={"company_id": company_id}, expires=HOURLY_EXPIRES_SECONDS)


@shared_task(name="sync.tasks.reconcile_company", base=LongRun, time_limit=3600, soft_time_limit=3500)
def reconcile_company(*, company_id: int) -> None:
    company = Company.objects.get(pk=company_id)
    try:
        reconcile.reconcile(company)
    except Busy:
        logger.info("reconcile.busy", company=company.slug)


@shared_task(name="sync.tasks.sync_services_of_all")
def sync_services_of_all() -> None:
    """One task for each company: one that takes long, or fails, is not the others'."""
    for company_id in Company.objects.filter(is_active=True).values_list("pk", flat=True):
        sync_services.apply_async(kwargs={"company_id": company_id}, expires=DAILY_EXPIRES_SECONDS)


@shared_task(name="sync.tasks.sync_services", base=LongRun, time_limit=3600, soft_time_limit=3500)
def sync_services(*, company_id: int) -> None:
    company = Company.objects.get(pk=company_id)
    synced = event_type_sync.sync_services(company, now=timezone.now())
    if synced.failed:
        logger.warning("services.not_synced", company=company.slug, why=synced.failed)


@shared_task(name="sync.tasks.audit_all", base=LongRun)
def audit_all() -> None:
    now = timezone.now()
    for company in without_secrets(Company.objects.filter(is_active=True)):
        audit_alerts.audit_and_alert(company=company, now=now)

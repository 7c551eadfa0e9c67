from __future__ import annotations

import pytest
from django.utils import timezone

from booking.models import SyncFailure
from calls.models import Call
from config.celery import app
from sync.audit_alerts import audit_and_alert
from sync.tasks import audit_all
from tests.factories import CallFactory

pytestmark = pytest.mark.django_db


def test_a_finding_is_one_ticket_that_closes_itself():
    calls = [CallFactory(booking_confirmed=True, appointment_made=True)]
    company = calls[0].company
    calls.append(CallFactory(branch=calls[0].branch, booking_confirmed=True, appointment_made=True))
    for _ in range(2):
        assert audit_and_alert(company=company, now=timezone.now()) == 1
    failure = SyncFailure.objects.get()
    assert (failure.failure_type, failure.status, failure.occurrences) == ("call_desync", "manual_review", 2)
    assert failure.error_details["count"] == 2
    Call.objects.update(booking_confirmed=False, appointment_made=False)
    assert audit_and_alert(company=company, now=timezone.now()) == 0
    failure.refresh_from_db()
    assert failure.status == "resolved"


def test_what_a_person_has_resolved_stays_so_while_the_finding_is_the_same(admin_user):
    call = CallFactory(booking_confirmed=True, appointment_made=True)
    audit_and_alert(company=call.company, now=timezone.now())
    SyncFailure.objects.update(status="resolved", resolved_by=admin_user, resolved_at=timezone.now())
    audit_and_alert(company=call.company, now=timezone.now())
    assert SyncFailure.objects.get().status == "resolved"
    CallFactory(branch=call.branch, booking_confirmed=True, appointment_made=True)
    audit_and_alert(company=call.company, now=timezone.now())
    assert [failure.status for failure in SyncFailure.objects.order_by("pk")] == ["resolved", "manual_review"]


def test_beat_audits_every_company_each_hour():
    CallFactory(booking_confirmed=True, appointment_made=True)
    CallFactory(booking_confirmed=True, appointment_made=True)
    audit_all()
    assert SyncFailure.objects.count() == 2
    assert "sync.tasks.audit_all" in {entry["task"] for entry in app.conf.beat_schedule.values()}

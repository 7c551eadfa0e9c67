"""A company whose stored secrets cannot be opened (a key was lost, a dump came from elsewhere) is its own
trouble: the others are worked as ever, by every command and every task.
"""

from __future__ import annotations

import json

import pytest
from django.db import connection

from booking import completer
from booking.models import Appointment, BookingAttempt
from calls.models import WebhookEvent
from sync import tasks
from tests.flows.conftest import make_salon
from tests.flows.phone import at
from tests.flows.test_promises import deliver

SECRET = "whsec_salon"


@pytest.fixture
def other(calcom, salon):
    """Comes before the salon in the alphabet, and was made before anything happened."""
    return make_salon(calcom, slug="aaa", number="+493099999999")


def lose_the_key_of(company):
    with connection.cursor() as cursor:
        cursor.execute(
            "UPDATE companies SET calcom_api_key = 'lost', retell_api_key = 'lost' WHERE slug = %s",
            [company.slug],
        )


def test_the_others_are_reconciled(salon, other, calcom, manage_here):
    calcom.web_book("open", start=at(10), silent=True)
    lose_the_key_of(other)
    done = manage_here("reconcile", "--json")
    report = json.loads(done.stdout)["companies"]
    assert done.returncode == 2
    assert (report["aaa"]["outcome"], report["salon"]["outcome"]) == ("failed", "complete")
    assert Appointment.objects.filter(company__slug="salon").count() == 1


def test_the_others_are_audited(salon, other, phone, manage_here):
    phone().book(at(10))
    Appointment.objects.update(call=None)
    lose_the_key_of(other)
    done = manage_here("audit", "--json")
    report = json.loads(done.stdout)
    assert done.returncode == 1
    assert report["companies"]["salon"]
    tasks.audit_all()


def test_the_others_are_settled(salon, other, calcom, phone):
    for company, hour in ((other, 9), (salon, 10)):
        calcom.faults.timeout_after_commit()
        caller = phone(company=company, to_number=company.branches.get().phone_numbers.get().number)
        assert caller.book(at(hour)).code == "checking"
    lose_the_key_of(other)
    completer.settle_unknown()
    assert BookingAttempt.objects.get(company__slug="salon").state == "succeeded"
    assert BookingAttempt.objects.get(company__slug="aaa").state == "unknown"


def test_the_others_deliveries_are_worked(salon, other, calcom, work):
    booking = calcom.web_book("open", start=at(10), silent=True)
    for company in (other, salon):
        deliver(company, {"triggerEvent": "BOOKING_CREATED", "payload": {"uid": booking.uid}})
    lose_the_key_of(other)
    work()
    assert WebhookEvent.objects.get(company__slug="salon").status == "processed"
    assert WebhookEvent.objects.get(company__slug="aaa").status in ("failed", "received")


def test_provisioning_the_company_again_gives_it_its_secrets_back(calcom, salon, other, phone):
    lose_the_key_of(other)
    make_salon(calcom, slug="aaa", number="+493099999999")
    assert phone(company=other, to_number="+493099999999").book(at(10)).code == "booked"

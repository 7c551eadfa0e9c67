"""A company whose stored secrets cannot be opened (a key was lost, a dump came from elsewhere) is its own
trouble: the others are worked as ever, by every command and every task.
"""

from __future__ import annotations

import datetime as dt
import json
from io import StringIO

import pytest
from cryptography.fernet import Fernet
from django.core.management import call_command
from django.db import connection
from django.test import Client
from django.urls import reverse
from django.utils import timezone

from booking import completer
from booking.models import Appointment, BookingAttempt, CallbackRequest, SyncFailure
from booking.provisioning import provision
from calls.models import RefusedDelivery, WebhookEvent
from customers.models import Company
from sync import tasks
from sync.models import ReconciliationRun
from tests.flows.conftest import make_salon
from tests.flows.phone import at, cancel, move
from tests.flows.state import open_failures
from tests.flows.test_promises import deliver


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


def test_the_others_are_settled(salon, other, calcom, phone, settings):
    settings.ANSWER_BUDGET_SECONDS = 3
    for company, hour in ((other, 9), (salon, 10)):
        calcom.faults.timeout_after_commit()
        caller = phone(company=company, to_number=company.branches.get().phone_numbers.get().number)
        assert caller.book(at(hour)).code == "checking"
    lose_the_key_of(other)
    for minutes in (0, 10):
        completer.settle_unknown(now=timezone.now() + dt.timedelta(minutes=minutes))
    assert BookingAttempt.objects.get(company__slug="salon").state == "succeeded"
    assert BookingAttempt.objects.get(company__slug="aaa").state == "unknown"
    (failure,) = open_failures()
    assert failure.failure_type == "config_error"
    assert failure.error_message.endswith("This company's Cal.com API key cannot be opened.")


def test_the_others_deliveries_are_worked(salon, other, calcom, work):
    booking = calcom.web_book("open", start=at(10), silent=True)
    for company in (other, salon):
        deliver(company, {"triggerEvent": "BOOKING_CREATED", "payload": {"uid": booking.uid}})
    lose_the_key_of(other)
    work()
    assert WebhookEvent.objects.get(company__slug="salon").status == "processed"
    assert WebhookEvent.objects.get(company__slug="aaa").status in ("failed", "received")


def lose(column, *, of):
    with connection.cursor() as cursor:
        cursor.execute(f"UPDATE companies SET {column} = 'enc1:lost' WHERE slug = %s", [of.slug])


@pytest.mark.parametrize("column", ["calcom_api_key", "calcom_reconcile_api_key"])
def test_the_hourly_run_leaves_a_ticket_about_it_which_closes_itself(salon, calcom, column):
    Company.objects.filter(pk=salon.pk).update(calcom_reconcile_api_key="cal_test_key")
    stored = Company.objects.values_list(column, flat=True).get()
    lose(column, of=salon)
    for _ in range(2):
        tasks.reconcile_company(company_id=salon.pk)
    assert ReconciliationRun.objects.latest("pk").outcome == "failed"
    assert [failure.failure_type for failure in open_failures()] == ["config_error"]
    Company.objects.filter(pk=salon.pk).update(**{column: stored})
    tasks.reconcile_company(company_id=salon.pk)
    assert ReconciliationRun.objects.latest("pk").outcome == "complete"
    assert not open_failures().exists()


@pytest.mark.parametrize("column", ["calcom_webhook_secret", "calcom_reconcile_api_key"])
def test_a_caller_needs_none_of_the_secrets_that_a_call_has_no_use_for(
    calcom, salon, phone, settle_later, settings, verdict, column
):
    lose(column, of=salon)
    caller = phone()
    assert caller.book(at(10)).code == "booked"
    assert caller.book(at(10), notes="please").code == "booked"
    assert move(caller, at(12)).code == "rescheduled"
    assert cancel(caller).code == "cancelled"
    settings.ANSWER_BUDGET_SECONDS = 2
    calcom.faults.timeout_after_commit()
    assert phone().book(at(15)).code == "checking"
    settle_later()
    assert Appointment.objects.filter(status="scheduled").count() == 1
    verdict()


def test_a_delivery_needs_no_secret_but_its_own(calcom, salon, work, announced):
    lose("calcom_reconcile_api_key", of=salon)
    uid = calcom.web_book("open", start=at(10)).uid
    calcom.web_reschedule(uid, at(12))
    work(seconds=60)
    assert Appointment.objects.get().starts_at == at(12)
    assert set(WebhookEvent.objects.values_list("status", flat=True)) == {"processed"}


def test_two_appointments_of_a_company_whose_key_is_lost_keep_nobodys_tickets_open(salon, other, phone):
    assert phone(company=other, to_number="+493099999999").book(at(10)).code == "booked"
    # As if there had been two at its time.
    Appointment.objects.update(idempotency_key=None)
    lose_the_key_of(other)
    completer.settle_unknown()
    assert Appointment.objects.get().idempotency_key is not None


def test_without_the_key_of_their_calendar_callers_are_called_back_and_it_is_one_ticket_a_kind(
    calcom, salon, phone, caplog
):
    assert phone().book(at(9)).code == "booked"
    lose("calcom_api_key", of=salon)
    for ask in (
        lambda caller: caller.book(at(10)),
        lambda caller: caller.book(at(11)),
        lambda caller: move(caller, at(12)),
        cancel,
    ):
        caller = phone()
        answer = ask(caller)
        assert (answer.status, answer.code) == (200, "unavailable")
        assert CallbackRequest.objects.filter(call__retell_call_id=caller.call_id).exists()
    assert move(phone(), at(9)).code == "rescheduled", "it is there, as far as is known"
    assert phone().book(at(9)).code == "already_booked"
    assert phone().ask("list_services").code == "ok"
    assert phone().ask("check_availability", service="haircut").code == "unavailable"
    tickets = [each.failure_type for each in SyncFailure.objects.all()]
    assert tickets == ["config_error"] * 3, "bookings, moves, cancellations"
    assert len(calcom.requests("create")) == 1
    assert not [record for record in caplog.records if record.exc_info]


@pytest.mark.parametrize("key", ["cal_live_\u2022\u2022\u2022\u2022", "cal_live_1234\u2026"])
def test_a_key_that_no_request_can_carry_is_a_ticket_and_not_a_calendar_that_is_down(
    calcom, salon, phone, manage_here, key
):
    """Copied from a page that shows only a part of it."""
    Company.objects.update(calcom_api_key=key)
    for hour in range(9, 16):  # more than open the breaker
        answer = phone().book(at(hour))
        assert (answer.status, answer.code) == (200, "unavailable")
    assert [failure.failure_type for failure in open_failures()] == ["config_error"]
    assert manage_here("reconcile", "--json").returncode == 2
    assert {failure.failure_type for failure in open_failures()} == {"config_error"}
    Company.objects.update(calcom_api_key="cal_test_key")
    assert phone().book(at(9)).code == "booked", "nothing waits for a calendar to come back"


def test_so_is_a_key_for_reconciling_that_no_request_can_carry(salon, manage_here):
    Company.objects.update(calcom_reconcile_api_key="cal_live_\u2022\u2022\u2022\u2022")
    assert manage_here("reconcile", "--json").returncode == 2
    assert [failure.failure_type for failure in open_failures()] == ["config_error"]


def test_a_signature_that_nobody_can_check_is_refused_and_counted(salon, phone):
    key = salon.retell_api_key
    lose("retell_api_key", of=salon)
    lose("calcom_webhook_secret", of=salon)
    assert phone().send("list_services", {}, key=key).status == 401
    told = {"X-Cal-Signature-256": "0" * 64}
    path = f"/hooks/{salon.endpoint_id}/calcom"
    assert Client().post(path, b"{}", content_type="application/json", headers=told).status_code == 401
    refused = RefusedDelivery.objects.values_list("provider", "reason")
    assert set(refused) == {("retell", "unreadable_key"), ("calcom", "unreadable_key")}


def test_provisioning_the_company_again_gives_it_its_secrets_back(salon, other, phone):
    lose_the_key_of(other)
    secrets = {
        "calcom": {"api_key": other.calcom_api_key},
        "retell": {"api_key": other.retell_api_key},
    }
    provision({"companies": [{"slug": other.slug, "name": other.name, **secrets}]})
    assert phone(company=other, to_number="+493099999999").book(at(10)).code == "booked"


def test_its_services_can_still_be_changed_in_the_admin(salon, haircut, admin_client):
    lose_the_key_of(salon)
    typed = {
        "name": haircut.name,
        "slug": haircut.slug,
        "spoken_name": "Schnitt",
        "duration_minutes": haircut.duration_minutes,
        "calcom_event_type_id": haircut.calcom_event_type_id,
        "is_active": "on",
    }
    answer = admin_client.post(reverse("admin:booking_service_change", args=[haircut.pk]), typed)
    assert answer.status_code == 302
    haircut.refresh_from_db()
    assert haircut.spoken_name == "Schnitt"


def test_a_secret_that_is_entered_while_all_are_encrypted_anew_is_kept(salon, settings, meanwhile):
    settings.FIELD_ENCRYPTION_KEY = f"{Fernet.generate_key().decode()},{settings.FIELD_ENCRYPTION_KEY}"
    meanwhile(lambda: Company.objects.filter(pk=salon.pk).update(calcom_api_key="cal_entered_just_now"))
    call_command("reencrypt", "--json", stdout=StringIO())
    assert Company.objects.get(pk=salon.pk).calcom_api_key == "cal_entered_just_now"

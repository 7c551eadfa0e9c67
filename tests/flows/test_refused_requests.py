"""A secret was changed on one side only: every request is refused, and ops are told of it within minutes."""

from __future__ import annotations

import datetime as dt

import pytest
from django.test import Client
from django.utils import timezone

from booking.models import SyncFailure
from calls.models import RefusedDelivery
from customers.models import Company
from sync.tasks import report_refused_requests
from tests.flows.phone import Phone, at
from tests.flows.state import open_failures
from tests.flows.test_promises import deliver

ANOTHER = "key_of_another_workspace_1234"


def ask_with(key: str, company: Company, *, times: int = 3) -> None:
    payload = {"name": "list_services", "call": Phone(company).call(), "args": {}}
    for _ in range(times):
        assert Phone(company).send("list_services", payload, key=key).status == 401


def test_a_key_that_was_changed_at_retell_alone_is_a_ticket_until_a_request_is_taken(salon, phone, verdict):
    assert phone().book(at(10)).code == "booked"
    ask_with(ANOTHER, salon)
    report_refused_requests()
    failure = open_failures().get()
    assert (failure.failure_type, failure.status, failure.subject) == (
        "config_error",
        "manual_review",
        "refused:retell",
    )
    assert failure.company == salon
    assert "API key" in failure.error_message
    assert ANOTHER not in str(vars(failure))
    report_refused_requests()
    assert open_failures().get().occurrences == 1
    ask_with(ANOTHER, salon, times=1)
    report_refused_requests()
    assert open_failures().get().occurrences == 2
    salon.retell_api_key = ANOTHER
    salon.save()
    assert Phone(salon).ask("list_services").code == "ok"
    report_refused_requests()
    assert not open_failures().exists()
    ask_with("and another one, later on", salon)
    report_refused_requests()
    assert open_failures().get().pk != failure.pk
    verdict()


def test_a_person_who_declares_it_done_hears_of_it_again_if_it_is_not(salon, admin_user):
    ask_with(ANOTHER, salon)
    report_refused_requests()
    SyncFailure.objects.update(status="resolved", resolved_by=admin_user, resolved_at=timezone.now())
    report_refused_requests()
    assert not open_failures().exists()
    ask_with(ANOTHER, salon, times=1)
    report_refused_requests()
    assert open_failures().count() == 1


def test_a_webhook_at_cal_com_without_our_secret_is_a_ticket_of_its_own(salon):
    salon.calcom_webhook_secret = "whsec_salon"
    salon.save()
    for _ in range(3):
        headers = {"X-Cal-Signature-256": "no-secret-provided"}
        address = f"/hooks/{salon.endpoint_id}/calcom"
        answer = Client().post(address, b"{}", content_type="application/json", headers=headers)
        assert answer.status_code == 401
    report_refused_requests()
    failure = open_failures().get()
    assert failure.subject == "refused:calcom"
    assert "webhook" in failure.error_message
    deliver(salon, {"triggerEvent": "PING", "payload": {}})
    report_refused_requests()
    assert not open_failures().exists()


@pytest.mark.parametrize(
    "happens",
    ["two only", "no signature", "somebody is served since", "hours ago", "switched off"],
)
def test_what_a_stranger_sends_or_what_is_over_wakes_nobody(salon, phone, happens):
    if happens == "two only":
        ask_with(ANOTHER, salon, times=2)
    elif happens == "no signature":
        address = f"/hooks/{salon.endpoint_id}/retell/functions/list_services"
        for _ in range(5):
            assert Client().post(address, b"{}", content_type="application/json").status_code == 401
    elif happens == "somebody is served since":
        ask_with(ANOTHER, salon)
        assert phone().ask("list_services").code == "ok"
    elif happens == "hours ago":
        ask_with(ANOTHER, salon)
        RefusedDelivery.objects.update(last_at=timezone.now() - dt.timedelta(hours=2))
    else:
        ask_with(ANOTHER, salon)
        Company.objects.update(is_active=False)
    report_refused_requests()
    assert not SyncFailure.objects.exists()


def test_a_clock_that_is_minutes_off_is_told_as_such(salon):
    ask_with(ANOTHER, salon)
    RefusedDelivery.objects.update(reason="stale")
    report_refused_requests()
    assert "clock" in open_failures().get().error_message

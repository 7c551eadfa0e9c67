"""Every admin page, entered as a person does: logged in, over HTTP."""

from __future__ import annotations

import datetime as dt
import re
from typing import Any

import pytest
from django.contrib import admin
from django.contrib.admin.models import LogEntry
from django.contrib.auth.models import Permission, User
from django.db import connection
from django.test import Client
from django.test.utils import CaptureQueriesContext
from django.urls import reverse
from django.utils import timezone
from factory.declarations import Sequence

from booking.models import Appointment, BookingAttempt, CallbackRequest, FormerUid, Service, SyncFailure
from calls.models import Call, FunctionCall, RefusedDelivery, WebhookEvent
from customers.models import Branch, Company, Customer, PhoneNumber, RetellAgent
from tests import factories as make

pytestmark = pytest.mark.django_db

FACTORIES = {
    Company: make.CompanyFactory,
    Branch: make.BranchFactory,
    PhoneNumber: make.PhoneNumberFactory,
    RetellAgent: make.RetellAgentFactory,
    Customer: make.CustomerFactory,
    Call: make.CallFactory,
    FunctionCall: make.FunctionCallFactory,
    WebhookEvent: make.WebhookEventFactory,
    RefusedDelivery: make.RefusedDeliveryFactory,
    Service: make.ServiceFactory,
    Appointment: make.AppointmentFactory,
    FormerUid: make.FormerUidFactory,
    BookingAttempt: make.BookingAttemptFactory,
    CallbackRequest: make.CallbackRequestFactory,
    SyncFailure: make.SyncFailureFactory,
}
RECORDED = (
    Call,
    FunctionCall,
    WebhookEvent,
    RefusedDelivery,
    Appointment,
    FormerUid,
    BookingAttempt,
    SyncFailure,
    CallbackRequest,
)

every_model = pytest.mark.parametrize("model", FACTORIES, ids=lambda model: model.__name__)
recorded_models = pytest.mark.parametrize("model", RECORDED, ids=lambda model: model.__name__)


def url(model, page, *args):
    return reverse(f"admin:{model._meta.app_label}_{model._meta.model_name}_{page}", args=args)


@pytest.fixture
def ops():
    client = Client()
    client.force_login(User.objects.create_superuser("ops", "ops@example.org"))
    return client


@pytest.fixture
def clerk():
    """Staff, without any permission until the test gives one."""
    client: Any = Client()
    client.user = User.objects.create_user("clerk", "clerk@example.org", is_staff=True)
    client.force_login(client.user)
    return client


def allow(client, *codenames):
    client.user.user_permissions.add(*Permission.objects.filter(codename__in=codenames))


def queries_of(client, address):
    with CaptureQueriesContext(
        connection,
    ) as captured:
        response = client.get(address)
    assert response.status_code == 200
    return len(captured)


def test_every_record_of_ours_has_admin_pages_and_a_factory():
    ours = {
        model
        for model in admin.site._registry
        if model._meta.app_label in ("customers", "calls", "booking") and not model._meta.auto_created
    }
    assert ours == set(FACTORIES)


@every_model
def test_a_list_shows_its_rows(ops, model):
    row = FACTORIES[model]()
    answer = ops.get(url(model, "changelist"))
    assert answer.status_code == 200
    assert url(model, "change", row.pk) in answer.content.decode()


@every_model
def test_a_record_has_a_page(ops, model):
    assert ops.get(url(model, "change", FACTORIES[model]().pk)).status_code == 200


@every_model
def test_a_list_of_fifty_takes_no_more_queries_than_a_list_of_two(ops, model):
    FACTORIES[model].create_batch(2)
    address = url(model, "changelist")
    ops.get(address)  # content types are read once per process
    few = queries_of(ops, address)
    FACTORIES[model].create_batch(48)
    assert queries_of(ops, address) == few


WRONG_QUERIES = (
    ("company", "9" * 5000),
    ("company", "9" * 25),
    ("company", "-1"),
    ("company", "\0"),
    ("inbox", "a\0b"),
    ("inbox", "x"),
    ("status__exact", "\0"),
    ("created_at__year", "-1"),
    ("created_at__gte", "2026-13-45"),
    ("pk__in", "x"),
    ("id", "9" * 25),
    *((name, "9" * 25) for name in ("company__exact", "branch", "customer", "call", "appointment")),
    ("company__exact", "-" + "9" * 25),
    ("company__exact", "9" * 5000),
    ("no_such_column", "1"),
    ("company__calcom_api_key__startswith", "cal_"),
    ("q", "\0"),
    ("q", "9" * 5000),
    ("o", "-99.x"),
    ("p", "-1"),
    ("p", "9" * 25),
)


@every_model
def test_a_list_that_is_asked_for_nonsense_says_so_and_does_not_fail(ops, model):
    FACTORIES[model]()
    for name, value in WRONG_QUERIES:
        answer = ops.get(url(model, "changelist"), {name: value})
        assert answer.status_code in (200, 302, 400), (name, value)


@pytest.mark.parametrize(
    ("model", "action"),
    [
        (PhoneNumber, "delete_selected"),
        (SyncFailure, "assign_selected"),
        (WebhookEvent, "replay_selected"),
        (CallbackRequest, "close_selected"),
    ],
)
def test_what_was_ticked_and_is_no_row_is_a_wrong_request(ops, model, action):
    row = FACTORIES[model]()
    for ticked in ("abc", "", "9" * 25, "1.5", "\0"):
        posted = {"action": action, "_selected_action": [str(row.pk), ticked]}
        assert ops.post(url(model, "changelist"), posted).status_code == 400
    assert model.objects.filter(pk=row.pk).exists()


@every_model
def test_staff_without_the_permission_is_refused(clerk, model):
    row = FACTORIES[model]()
    assert clerk.get(url(model, "changelist")).status_code == 403
    assert clerk.get(url(model, "change", row.pk)).status_code == 403


@pytest.mark.parametrize("model", [Company, Branch, PhoneNumber, RetellAgent, Customer, Service])
def test_whoever_may_only_look_sees_nothing_of_what_the_form_takes_along(clerk, model):
    allow(clerk, *(f"view_{each._meta.model_name}" for each in FACTORIES))
    number = make.PhoneNumberFactory()
    row = number.branch if model is Branch else FACTORIES[model]()
    page = clerk.get(url(model, "change", row.pk)).content.decode()
    assert "as shown" not in page.lower()


@every_model
def test_no_page_holds_inline_script_or_style(ops, model):
    row = FACTORIES[model]()
    for address in (url(model, "changelist"), url(model, "change", row.pk), reverse("admin:index")):
        page = ops.get(address).content.decode()
        assert not re.search(r"<script(?![^>]*\bsrc=)(?![^>]*application/json)", page)
        assert not re.search(r"<style|\sstyle=|\son[a-z]+=", page)
        assert "javascript:" not in page


@recorded_models
def test_what_was_recorded_cannot_be_added_changed_or_deleted(ops, model):
    row = FACTORIES[model]()
    assert ops.get(url(model, "add")).status_code == 403
    assert ops.post(url(model, "change", row.pk), {"status": "resolved"}).status_code == 403
    assert ops.post(url(model, "delete", row.pk), {"post": "yes"}).status_code == 403
    assert ops.post(
        url(model, "changelist"), {"action": "delete_selected", "_selected_action": [row.pk], "post": "yes"}
    ).status_code in (200, 302)
    assert model.objects.filter(pk=row.pk).exists()


@pytest.mark.parametrize("model", [Company, Branch, Service, Customer], ids=lambda model: model.__name__)
def test_what_others_refer_to_is_switched_off_and_never_deleted(ops, model):
    row = FACTORIES[model]()
    assert ops.post(url(model, "delete", row.pk), {"post": "yes"}).status_code == 403
    assert model.objects.filter(pk=row.pk).exists()


# Secrets ---------------------------------------------------------------------------------------------------


def test_no_page_shows_a_secret(ops):
    company = make.CompanyFactory(
        calcom_api_key="cal_TOPSECRET1",
        calcom_webhook_secret="wh_TOPSECRET2",
        calcom_webhook_secret_previous="wh_TOPSECRET3",
        retell_api_key="key_TOPSECRET4",
        retell_api_key_previous="key_TOPSECRET5",
    )
    appointment = make.AppointmentFactory(call=make.CallFactory(branch=make.BranchFactory(company=company)))
    rows = {
        Company: company,
        Appointment: appointment,
        Call: appointment.call,
        Customer: appointment.customer,
    }
    for model, factory in FACTORIES.items():
        row = rows.get(model) or factory()
        for address in (
            url(model, "changelist"),
            url(model, "change", row.pk),
            url(model, "history", row.pk),
        ):
            assert "TOPSECRET" not in ops.get(address).content.decode()
    assert "enc1:" not in ops.get(url(Company, "change", company.pk)).content.decode()


def test_pages_never_read_a_secret_so_a_lost_key_does_not_lock_ops_out(ops, settings):
    company = make.CompanyFactory()
    appointment = make.AppointmentFactory(call=make.CallFactory(branch=make.BranchFactory(company=company)))
    settings.FIELD_ENCRYPTION_KEY = "b3RoZXIga2V5LCB3aGljaCBvcGVucyBub3RoaW5nISE="
    for model, row in ((Company, company), (Appointment, appointment), (Call, appointment.call)):
        assert ops.get(url(model, "changelist")).status_code == 200
        assert ops.get(url(model, "change", row.pk)).status_code == 200
    typed = company_form(company, new_calcom_api_key="cal_new")
    assert ops.post(url(Company, "change", company.pk), typed).status_code == 302
    assert Company.objects.only("calcom_api_key").get(pk=company.pk).calcom_api_key == "cal_new"


# What the form shows before anything is typed.
COMPANY_DEFAULTS = {
    "may_reschedule": "on",
    "may_cancel": "on",
    "change_notice_minutes": "0",
    "callback_within_minutes": "240",
    "opening_hours": "{}",
    "heal_adopt": "on",
    "heal_import": "on",
    "heal_follow": "on",
    "heal_link": "on",
    "heal_daily_limit": "1000",
}


def company_form(company, **typed):
    return {
        "name": company.name,
        "timezone": company.timezone,
        "language": company.language,
        "is_active": "on",
        "attendee_email_domain": company.attendee_email_domain,
        "calcom_base_url": company.calcom_base_url,
        **COMPANY_DEFAULTS,
        **typed,
    }


def test_a_secret_left_empty_stays_and_one_typed_replaces_it(ops):
    company = make.CompanyFactory(calcom_api_key="cal_old", retell_api_key="key_old")
    ops.post(
        url(Company, "change", company.pk),
        company_form(company, name="New name", new_calcom_api_key="cal_new"),
    )
    company.refresh_from_db()
    assert (company.name, company.calcom_api_key, company.retell_api_key) == (
        "New name",
        "cal_new",
        "key_old",
    )


@pytest.mark.parametrize("address", ["https://elsewhere.example/v2", "http://calcom.example/v2"])
def test_a_stored_key_is_not_sent_to_another_address_by_whoever_does_not_know_it(ops, address):
    company = make.CompanyFactory(
        calcom_base_url="https://calcom.example/v2",
        calcom_api_key="cal_old",
        calcom_reconcile_api_key="cal_second",
    )
    page = url(Company, "change", company.pk)
    refused = ops.post(page, company_form(company, calcom_base_url=address, new_calcom_api_key="cal_new"))
    assert list(refused.context["errors"]) == [
        ["What is stored is not sent to another address: enter it anew."]
    ]
    company.refresh_from_db()
    assert (company.calcom_base_url, company.calcom_api_key) == ("https://calcom.example/v2", "cal_old")
    keys = {"new_calcom_api_key": "cal_new", "new_calcom_reconcile_api_key": "cal_newer"}
    assert ops.post(page, company_form(company, calcom_base_url=address, **keys)).status_code == 302
    company.refresh_from_db()
    assert (company.calcom_base_url, company.calcom_api_key) == (address, "cal_new")


def test_a_key_that_nobody_can_open_is_not_taken_along_either(ops):
    company = make.CompanyFactory(calcom_base_url="https://calcom.example/v2", calcom_api_key="cal_old")
    with connection.cursor() as cursor:
        cursor.execute("UPDATE companies SET calcom_api_key = 'enc1:lost'")
    page = url(Company, "change", company.pk)
    elsewhere = company_form(company, calcom_base_url="https://elsewhere.example/v2")
    assert ops.post(page, elsewhere).status_code == 200
    assert ops.post(page, {**elsewhere, "new_calcom_api_key": "cal_new"}).status_code == 302


def test_the_path_of_the_address_is_corrected_without_the_key(ops):
    company = make.CompanyFactory(calcom_base_url="https://calcom.example", calcom_api_key="cal_old")
    corrected = company_form(company, calcom_base_url="https://calcom.example/v2")
    assert ops.post(url(Company, "change", company.pk), corrected).status_code == 302
    company.refresh_from_db()
    assert (company.calcom_base_url, company.calcom_api_key) == ("https://calcom.example/v2", "cal_old")


@pytest.mark.parametrize(
    "address",
    [
        "http://[",
        "https://calcom.example:99999/v2",
        "ftp://calcom.example",
        "/v2",
        "https://calcom.example/v2?api=2",
        "https://calcom.example/v2#bookings",
        "https://user:word@calcom.example/v2",
        "https://cal com.example/v2",
        "https://.calcom.example/v2",
    ],
)
def test_what_is_no_address_is_said_to_be_none(ops, address):
    company = make.CompanyFactory()
    answer = ops.post(url(Company, "change", company.pk), company_form(company, calcom_base_url=address))
    assert "is not an http(s) address" in answer.content.decode()


@pytest.mark.parametrize("field", ["calcom_api_key", "calcom_reconcile_api_key", "retell_api_key"])
@pytest.mark.parametrize("typed", ["Bearer key_new", "key_new\u200b", "schlüssel_neu"])
def test_what_is_no_key_is_not_stored_and_not_shown(ops, field, typed):
    company = make.CompanyFactory(**{field: "key_old"})
    address = url(Company, "change", company.pk)
    page = ops.post(address, company_form(company, **{f"new_{field}": typed})).content.decode()
    assert "copy it once more" in page
    assert typed not in page
    assert getattr(Company.objects.get(pk=company.pk), field) == "key_old"


def test_a_rotated_secret_keeps_the_present_one_as_the_previous_until_it_is_forgotten(ops):
    company = make.CompanyFactory(calcom_webhook_secret="first")
    address = url(Company, "change", company.pk)
    ops.post(
        address, company_form(company, new_calcom_webhook_secret="second", keep_calcom_webhook_secret="on")
    )
    company.refresh_from_db()
    assert company.calcom_webhook_secrets == ["second", "first"]
    ops.post(address, company_form(company, forget_calcom_webhook_secret_previous="on"))
    company.refresh_from_db()
    assert company.calcom_webhook_secrets == ["second"]


def test_a_rotation_sent_twice_keeps_what_senders_still_sign_with(ops):
    """A double click, or the page gone back to and saved again."""
    company = make.CompanyFactory(calcom_webhook_secret="first", retell_api_key="key_1")
    typed = {
        "new_calcom_webhook_secret": "second",
        "keep_calcom_webhook_secret": "on",
        "new_retell_api_key": "key_2",
        "keep_retell_api_key": "on",
    }
    for _ in range(2):
        answer = ops.post(url(Company, "change", company.pk), company_form(company, **typed))
        assert answer.status_code == 302
    company.refresh_from_db()
    assert company.calcom_webhook_secrets == ["second", "first"]
    assert company.retell_keys == ["key_2", "key_1"]


def test_a_secret_is_not_kept_and_its_predecessor_forgotten_at_once(ops):
    company = make.CompanyFactory(calcom_webhook_secret="first")
    typed = {
        "new_calcom_webhook_secret": "second",
        "keep_calcom_webhook_secret": "on",
        "forget_calcom_webhook_secret_previous": "on",
    }
    answer = ops.post(url(Company, "change", company.pk), company_form(company, **typed))
    assert "Either keep the present one or forget the previous one." in answer.content.decode()
    company.refresh_from_db()
    assert company.calcom_webhook_secrets == ["first"]


def test_a_secret_that_nobody_can_open_is_replaced_and_cannot_be_kept(ops):
    company = make.CompanyFactory(retell_api_key="first")
    with connection.cursor() as cursor:
        cursor.execute("UPDATE companies SET retell_api_key = 'enc1:lost'")
    page = url(Company, "change", company.pk)
    typed = {"new_retell_api_key": "second", "keep_retell_api_key": "on"}
    answer = ops.post(page, company_form(company, **typed))
    assert "What is stored cannot be decrypted, so it cannot be kept." in answer.content.decode()
    del typed["keep_retell_api_key"]
    assert ops.post(page, company_form(company, **typed)).status_code == 302
    assert Company.objects.get(pk=company.pk).retell_keys == ["second"]


def test_a_secret_replaced_without_keeping_it_is_gone(ops):
    company = make.CompanyFactory(retell_api_key="first")
    ops.post(url(Company, "change", company.pk), company_form(company, new_retell_api_key="second"))
    company.refresh_from_db()
    assert company.retell_keys == ["second"]


def test_the_page_tells_whether_a_secret_is_set(ops):
    company = make.CompanyFactory(calcom_api_key="cal_x", calcom_webhook_secret="", retell_api_key="")
    rows = ops.get(url(Company, "changelist")).content.decode()
    assert re.findall(r'field-(\w+)_is_set">([^<]*)<', rows) == [
        ("calcom_api_key", "set"),
        ("calcom_webhook_secret", "not set"),
        ("retell_api_key", "not set"),
    ]
    assert company.calcom_api_key == "cal_x"


# Forms -----------------------------------------------------------------------------------------------------


def test_a_company_made_in_the_admin_gets_an_address_and_its_secrets(ops):
    typed = {
        "name": "Salon Mitte",
        "slug": "salon-mitte",
        "timezone": "Europe/Berlin",
        "language": "de",
        "is_active": "on",
        "calcom_base_url": "https://api.cal.com/v2",
        "new_calcom_api_key": "cal_new",
        "new_calcom_reconcile_api_key": "cal_second",
        "new_retell_api_key": "key_new",
        "keep_retell_api_key": "on",
        **COMPANY_DEFAULTS,
    }
    answer = ops.post(url(Company, "add"), typed)
    assert answer.status_code == 302, answer.context["errors"]
    company = Company.objects.get()
    assert (company.calcom_api_key, company.retell_keys) == ("cal_new", ["key_new"])
    assert company.calcom_reconcile_api_key == "cal_second"
    assert str(company.endpoint_id) in ops.get(url(Company, "change", company.pk)).content.decode()


def test_the_addresses_to_enter_are_those_below_our_public_one(ops, settings):
    settings.PUBLIC_URL = "https://salons.example.org/slots"
    company = make.CompanyFactory()
    shown = ops.get(url(Company, "change", company.pk)).content.decode()
    assert f"<code>https://salons.example.org/slots/hooks/{company.endpoint_id}/calcom</code>" in shown


def test_a_company_keeps_its_slug(ops):
    company = make.CompanyFactory(slug="salon-mitte")
    ops.post(url(Company, "change", company.pk), company_form(company, slug="other"))
    company.refresh_from_db()
    assert company.slug == "salon-mitte"


def branch_form(branch, *, numbers=(), agents=()):
    typed = {
        "name": branch.name,
        "slug": branch.slug,
        "timezone": "",
        "is_active": "on",
        "company": branch.company_id,
    }
    for prefix, field, values in (
        ("phone_numbers", "number", numbers),
        ("retell_agents", "agent_id", agents),
    ):
        typed |= {f"{prefix}-TOTAL_FORMS": len(values), f"{prefix}-INITIAL_FORMS": 0}
        for index, value in enumerate(values):
            typed |= {f"{prefix}-{index}-{field}": value, f"{prefix}-{index}-id": ""}
    return typed


def test_a_branch_takes_numbers_in_any_spelling_and_agents_of_its_company(ops):
    branch = make.BranchFactory()
    answer = ops.post(
        url(Branch, "change", branch.pk),
        branch_form(branch, numbers=["+49 (0)30 / 123 456-78"], agents=["agent_x"]),
    )
    assert answer.status_code == 302
    assert [number.number for number in branch.phone_numbers.all()] == ["+493012345678"]
    assert [(agent.agent_id, agent.company) for agent in branch.retell_agents.all()] == [
        ("agent_x", branch.company)
    ]


def test_a_number_without_country_is_refused_and_so_is_one_that_is_taken_in_another_spelling(ops):
    branch = make.BranchFactory()
    make.PhoneNumberFactory(number="+493012345678")
    for typed in ("030 12345678", "+49 30 12345678", "nonsense"):
        answer = ops.post(url(Branch, "change", branch.pk), branch_form(branch, numbers=[typed]))
        assert answer.status_code == 200
        assert answer.context["errors"]
    assert not branch.phone_numbers.exists()


def test_an_agent_answers_for_one_branch_of_a_company_only(ops):
    first = make.RetellAgentFactory(agent_id="agent_x")
    other = make.BranchFactory(company=first.company)
    answer = ops.post(url(Branch, "change", other.pk), branch_form(other, agents=["agent_x"]))
    assert answer.status_code == 200
    assert answer.context["errors"]
    # In another company's Retell workspace the same id is another agent.
    stranger = make.BranchFactory()
    assert (
        ops.post(url(Branch, "change", stranger.pk), branch_form(stranger, agents=["agent_x"])).status_code
        == 302
    )
    typed = {"branch": other.pk, "agent_id": "agent_x"}
    assert ops.post(url(RetellAgent, "add"), typed).status_code == 200
    typed = {"branch": other.pk, "agent_id": "agent_y"}
    assert ops.post(url(RetellAgent, "add"), typed).status_code == 302
    assert RetellAgent.objects.get(agent_id="agent_y").company == first.company


def test_a_branch_added_with_its_numbers_and_agents_belongs_to_the_chosen_company(ops):
    company = make.CompanyFactory()
    unsaved = make.BranchFactory.build(company=company)
    answer = ops.post(url(Branch, "add"), branch_form(unsaved, numbers=["+493012345678"], agents=["agent_x"]))
    assert answer.status_code == 302
    branch = Branch.objects.get()
    assert branch.company == company
    assert branch.retell_agents.get().company == company


@pytest.mark.parametrize("named", ["mitte", "½", str(10**30), "[[1]]"])
def test_what_is_no_row_is_not_chosen_and_is_said_to_be_none(ops, named):
    service = make.ServiceFactory()
    answer = ops.post(url(Service, "change", service.pk), service_form(service, branch=named))
    assert "Select a valid choice" in answer.content.decode()
    for model in (Branch, Service, PhoneNumber, RetellAgent):
        address = {"company": named, "branch": named}
        assert ops.get(url(model, "add"), address).status_code == 200


def test_a_branch_and_a_service_never_move_to_another_company(ops):
    branch, service, stranger = make.BranchFactory(), make.ServiceFactory(), make.CompanyFactory()
    typed = branch_form(branch) | {"company": stranger.pk}
    assert ops.post(url(Branch, "change", branch.pk), typed).status_code == 302
    assert (
        ops.post(
            url(Service, "change", service.pk), service_form(service) | {"company": stranger.pk}
        ).status_code
        == 302
    )
    assert Branch.objects.get(pk=branch.pk).company == branch.company
    assert Service.objects.get(pk=service.pk).company == service.company


def service_form(service, **typed):
    return {
        "name": service.name,
        "slug": service.slug,
        "aliases": "",
        "duration_minutes": service.duration_minutes,
        "calcom_event_type_id": service.calcom_event_type_id,
        "is_active": "on",
        **typed,
    }


def test_aliases_are_typed_one_a_line(ops):
    service = make.ServiceFactory()
    address = url(Service, "change", service.pk)
    ops.post(address, service_form(service, aliases=" Herrenhaarschnitt \r\n\r\nSchneiden\nSchneiden"))
    service.refresh_from_db()
    assert service.aliases == ["Herrenhaarschnitt", "Schneiden"]
    assert "Herrenhaarschnitt\nSchneiden</textarea>" in ops.get(address).content.decode()


def test_of_a_customer_only_name_and_address_can_be_corrected(ops):
    customer = make.CustomerFactory(phone="+4915112345678")
    typed = {
        "name": "Erika Musterfrau",
        "email": "erika@example.org",
        "phone": "+4915199999999",
        "company": 99,
    }
    assert ops.post(url(Customer, "change", customer.pk), typed).status_code == 302
    customer.refresh_from_db()
    assert (customer.name, customer.email, customer.phone) == (
        "Erika Musterfrau",
        "erika@example.org",
        "+4915112345678",
    )
    assert ops.get(url(Customer, "add")).status_code == 403


def test_an_address_is_stored_in_small_letters_and_found_in_any(ops):
    customer = make.CustomerFactory()
    typed = {"name": customer.name, "email": " Erika@Example.ORG"}
    assert ops.post(url(Customer, "change", customer.pk), typed).status_code == 302
    customer.refresh_from_db()
    assert customer.email == "erika@example.org"
    found = ops.get(url(Customer, "changelist"), {"q": "ERIKA@example.org"}).context["cl"].result_list
    assert list(found) == [customer]


def test_a_customer_whom_somebody_else_has_corrected_meanwhile_is_not_overwritten(ops):
    customer = make.CustomerFactory(name="Erika Muster", email="old@example.org")
    page = ops.get(url(Customer, "change", customer.pk)).context["adminform"].form
    Customer.objects.update(email="new@example.org")
    typed = {"name": "Erika Musterfrau", "email": "old@example.org", "as_shown": page["as_shown"].value()}
    answer = ops.post(url(Customer, "change", customer.pk), typed)
    assert "Somebody has changed this" in answer.content.decode()
    assert Customer.objects.get().email == "new@example.org"


def test_a_number_that_somebody_has_moved_meanwhile_is_not_put_back(ops):
    number = make.PhoneNumberFactory()
    here, there = number.branch, make.BranchFactory(company=number.branch.company)
    page = url(PhoneNumber, "change", number.pk)
    shown = ops.get(page).context["adminform"].form
    stale = {name: shown[name].value() for name in shown.fields}
    assert ops.post(page, stale | {"branch": there.pk}).status_code == 302
    answer = ops.post(page, stale | {"number": "+493099999999"})
    assert "Somebody has changed this" in answer.content.decode()
    assert PhoneNumber.objects.get().branch == there
    assert not here.phone_numbers.exists()


def test_a_number_that_somebody_has_corrected_meanwhile_is_not_overwritten_on_its_branchs_page(ops):
    number = make.PhoneNumberFactory(number="+493011111111")
    page = url(Branch, "change", number.branch.pk)
    row = ops.get(page).context["inline_admin_formsets"][0].formset.forms[0]
    stale = branch_form(number.branch, numbers=["+493022222222"]) | {
        "phone_numbers-INITIAL_FORMS": 1,
        "phone_numbers-0-id": number.pk,
        "phone_numbers-0-as_shown": row["as_shown"].value(),
    }
    assert ops.post(page, stale).status_code == 302
    answer = ops.post(page, stale | {"phone_numbers-0-number": "+493033333333"})
    assert "Somebody has changed this" in answer.content.decode()
    assert PhoneNumber.objects.get().number == "+493022222222"


# Links, times, search --------------------------------------------------------------------------------------


def test_call_appointment_customer_attempts_and_failures_lead_to_each_other_and_to_cal_com(ops):
    failure = make.SyncFailureFactory()
    appointment, call = failure.appointment, failure.call
    call.appointment = appointment
    call.save()
    attempt = make.BookingAttemptFactory(appointment=appointment)
    function_call = make.FunctionCallFactory(call=call)
    former = make.FormerUidFactory(appointment=appointment)
    pages = {
        row: url(type(row), "change", row.pk) for row in (failure, appointment, call, attempt, function_call)
    }
    customer = url(Customer, "change", call.customer_id)
    service = url(Service, "change", appointment.service_id)
    bookings = "http://127.0.0.1:9/booking"
    at_calcom = f"{bookings}/{appointment.calcom_booking_uid}"

    def links(row):
        return set(re.findall(r'href="([^"]+)"', ops.get(pages[row]).content.decode()))

    assert links(call) >= {
        pages[appointment],
        pages[attempt],
        pages[function_call],
        pages[failure],
        customer,
        at_calcom,
    }
    assert links(appointment) >= {pages[call], pages[attempt], pages[failure], customer, service, at_calcom}
    assert f"{bookings}/{former.uid}" in links(appointment)
    assert links(failure) >= {pages[call], pages[appointment], at_calcom}
    assert links(attempt) >= {pages[call], pages[appointment]}
    assert set(re.findall(r'href="([^"]+)"', ops.get(customer).content.decode())) >= {
        pages[call],
        pages[appointment],
    }


def test_tables_on_a_page_show_only_what_its_reader_may_see(clerk):
    attempt = make.BookingAttemptFactory()
    allow(clerk, "view_call")
    page = clerk.get(url(Call, "change", attempt.call_id)).content.decode()
    assert url(BookingAttempt, "change", attempt.pk) not in page
    allow(clerk, "view_bookingattempt")
    page = clerk.get(url(Call, "change", attempt.call_id)).content.decode()
    assert url(BookingAttempt, "change", attempt.pk) in page


def test_the_page_of_a_call_takes_the_same_queries_however_much_happened_in_it(ops):
    call = make.CallFactory()
    address = url(Call, "change", call.pk)

    def happen(times):
        make.FunctionCallFactory.create_batch(times, call=call)
        make.BookingAttemptFactory.create_batch(times, appointment=make.AppointmentFactory(call=call))
        make.SyncFailureFactory.create_batch(
            times, appointment=make.AppointmentFactory(call=call), subject=Sequence(str)
        )

    happen(1)
    ops.get(address)
    few = queries_of(ops, address)
    happen(20)
    assert queries_of(ops, address) == few


def test_a_long_table_shows_the_latest_rows_and_leads_to_all_of_them(ops):
    call = make.CallFactory()
    rows = make.FunctionCallFactory.create_batch(31, call=call)
    page = ops.get(url(Call, "change", call.pk)).content.decode().partition("related-table")[2]
    assert url(FunctionCall, "change", rows[0].pk) not in page
    assert page.index(url(FunctionCall, "change", rows[1].pk)) < page.index(
        url(FunctionCall, "change", rows[30].pk)
    )
    [everything] = re.findall(rf'href="({url(FunctionCall, "changelist")}\?call=\d+)"', page)
    assert ops.get(everything).context["cl"].result_count == 31


@pytest.mark.parametrize(
    ("model", "over"),
    [
        (SyncFailure, {"status": "resolved"}),
        (SyncFailure, {"snoozed_until": timezone.now() + dt.timedelta(days=9)}),
        (CallbackRequest, {"status": "done"}),
    ],
)
def test_a_long_table_leads_also_to_what_is_over(ops, model, over):
    call = make.CallFactory()
    FACTORIES[model].create_batch(31, call=call, **over)
    page = ops.get(url(Call, "change", call.pk)).content.decode()
    [everything] = re.findall(rf'href="({url(model, "changelist")}\?call=[^"]+)"', page)
    assert ops.get(everything.replace("&amp;", "&")).context["cl"].result_count == 31


def test_times_are_those_of_the_branch_or_company_and_say_so(ops):
    berlin = make.AppointmentFactory(starts_at=make.MOMENT)
    lisbon = make.BranchFactory(company=berlin.company, timezone="Europe/Lisbon")
    make.AppointmentFactory(call=make.CallFactory(branch=lisbon), starts_at=make.MOMENT)
    page = ops.get(url(Appointment, "changelist")).content.decode()
    assert '2026-12-01 10:00 <span class="zone">CET</span>' in page
    assert '2026-12-01 09:00 <span class="zone">WET</span>' in page


def found_by(client, model, term):
    query = {"q": term} | ({"inbox": "all"} if model in (SyncFailure, CallbackRequest) else {})
    return {row.pk for row in client.get(url(model, "changelist"), query).context["cl"].result_list}


@pytest.mark.parametrize(
    "term", ["uid-x", "former-x", "key-x", "call_x", "+49 151 1234 5678", "0151 12345678", " 4711 "], ids=str
)
def test_an_appointment_is_found_by_what_a_person_has_in_hand(ops, term):
    make.PhoneNumberFactory(number="+493012345678")
    customer = make.CustomerFactory(phone="+4915112345678")
    call = make.CallFactory(customer=customer, retell_call_id="call_x")
    wanted = make.AppointmentFactory(call=call, calcom_booking_uid="uid-x", calcom_booking_id=4711)
    make.FormerUidFactory(appointment=wanted, uid="former-x")
    make.BookingAttemptFactory(appointment=wanted, idempotency_key="key-x")
    # The customer's company is the call's, as everywhere.
    customer.company = call.company
    customer.save()
    make.AppointmentFactory.create_batch(3)
    assert found_by(ops, Appointment, term) == {wanted.pk}


@pytest.mark.parametrize(
    ("state", "tone"),
    [("succeeded", "good"), ("unknown", "bad"), ("absent", "bad"), ("refused", "plain")],
)
def test_the_state_of_an_attempt_has_its_colour(ops, state, tone):
    make.BookingAttemptFactory(state=state)
    shown = ops.get(url(BookingAttempt, "changelist")).content.decode()
    assert f'<span class="badge {tone}" title="{BookingAttempt.State(state).label}">' in shown


def test_each_record_is_found_by_its_own_id_and_by_its_call(ops):
    failure = make.SyncFailureFactory()
    attempt = make.BookingAttemptFactory(appointment=failure.appointment)
    event = make.WebhookEventFactory()
    call_id = failure.call.retell_call_id
    callback = make.CallbackRequestFactory(call=failure.call)
    function_call = make.FunctionCallFactory(call=failure.call)
    for factory in FACTORIES.values():
        factory()
    for row, term in (
        (failure, failure.calcom_booking_id),
        (failure, call_id),
        (failure, failure.call.customer.phone),
        (attempt, str(attempt.uuid)),
        (attempt, call_id),
        (attempt, failure.calcom_booking_id),
        (event, event.webhook_id),
        (callback, call_id),
        (function_call, call_id),
        (failure.call, call_id),
        (failure.call, failure.call.customer.phone),
        (failure.call.customer, failure.call.customer.phone),
    ):
        assert found_by(ops, type(row), term) == {row.pk}, (row, term)
    assert found_by(ops, Appointment, "no such thing") == set()


def searches(client, term):
    with CaptureQueriesContext(connection) as captured:
        client.get(url(Appointment, "changelist"), {"q": term})
    return [query["sql"] for query in captured if term in query["sql"] and query["sql"].startswith("SELECT")]


def test_somebody_of_a_frequent_name_is_found_in_the_company_that_is_asked_for(ops):
    salon, big = make.CompanyFactory(), make.CompanyFactory()
    wanted = make.CustomerFactory(company=salon, name="Erika Müller")
    Customer.objects.bulk_create(
        make.CustomerFactory.build(company=big, name="Anna Müller", phone=f"+4917{number:08}")
        for number in range(201)
    )
    found = (
        ops.get(url(Customer, "changelist"), {"q": "Müller", "company": salon.pk}).context["cl"].result_list
    )
    assert list(found) == [wanted]


@pytest.mark.parametrize(
    ("name", "typed"),
    [("Ömer Özdemir", "özdemir"), ("Ömer Özdemir", "ömer ö"), ("Mia Müller", "MÜLLER"), ("MÜLLER", "Müller")],
)
def test_a_name_is_found_whatever_the_case_of_its_letters(ops, name, typed):
    wanted = make.CustomerFactory(name=name)
    make.CustomerFactory(name="Anna Weber")
    assert found_by(ops, Customer, typed) == {wanted.pk}


@pytest.mark.parametrize("language", ["de", "en"])
def test_a_number_is_found_in_local_spelling_where_no_number_of_ours_tells_the_country(ops, language):
    typed, number = {"de": ("0151 12345678", "+4915112345678"), "en": ("(212) 555-2368", "+12125552368")}[
        language
    ]
    customer = make.CustomerFactory(company=make.CompanyFactory(language=language), phone=number)
    found = ops.get(url(Customer, "changelist"), {"q": typed}).context["cl"].result_list
    assert list(found) == [customer]


def test_a_search_reads_indexes_and_no_whole_table(ops):
    if connection.vendor != "sqlite":
        pytest.skip("PostgreSQL reads small tables whole, whatever the indexes")
    make.AppointmentFactory()
    assert len(searches(ops, "uid-x")) >= 4
    for sql in searches(ops, "uid-x"):
        with connection.cursor() as cursor:
            cursor.execute("EXPLAIN QUERY PLAN " + sql)
            plan = [step[-1] for step in cursor.fetchall()]
        assert not [step for step in plan if step.startswith("SCAN") and "INDEX" not in step], (sql, plan)


def test_a_key_is_not_looked_for_among_all_appointments(ops):
    if connection.vendor != "postgresql":
        pytest.skip("SQLite uses an index of the company for it")
    row = make.AppointmentFactory(status="completed")
    alike = {"call": row.call, "customer": row.customer, "service": row.service, "status": "completed"}
    Appointment.objects.bulk_create(make.AppointmentFactory.build_batch(3000, **alike))
    [by_key] = [sql for sql in searches(ops, "key-x") if "idempotency_key" in sql]
    with connection.cursor() as cursor:
        cursor.execute("ANALYZE appointments")  # a plan is made for the rows that are known of
        cursor.execute("EXPLAIN " + by_key)
        plan = "\n".join(row[0] for row in cursor.fetchall())
    assert "Seq Scan on appointments" not in plan, plan


@every_model
def test_every_filter_of_a_list_answers(ops, model):
    FACTORIES[model]()
    filters = ops.get(url(model, "changelist")).context["cl"].filter_specs
    page = ops.get(url(model, "changelist")).context["cl"]
    for spec in filters:
        for choice in spec.choices(page):
            assert ops.get(url(model, "changelist") + choice["query_string"]).status_code == 200


LONG = (Customer, Call, FunctionCall, WebhookEvent, Appointment, BookingAttempt)
long_lists = pytest.mark.parametrize("model", LONG, ids=lambda model: model.__name__)


@long_lists
def test_the_filters_beside_a_long_list_read_no_whole_table(ops, model):
    FACTORIES[model]()
    with CaptureQueriesContext(connection) as captured:
        ops.get(url(model, "changelist"))
    table = f'FROM "{model._meta.db_table}"'
    # How many there are, from the smallest index, and one page of them.
    assert len([query for query in captured if table in query["sql"]]) == 2
    assert not [query for query in captured if "DISTINCT" in query["sql"]]


@pytest.mark.parametrize(
    ("model", "column", "value"),
    [
        (FunctionCall, "name", "request_callback"),
        (FunctionCall, "code", "checking"),
        (BookingAttempt, "refused_by", "layer_2_call"),
        (BookingAttempt, "refused_by", "ownership"),
    ],
)
def test_a_list_is_narrowed_to_one_of_the_values_that_are_written(ops, model, column, value):
    FACTORIES[model]()
    wanted = FACTORIES[model](**{column: value})
    address = url(model, "changelist")
    assert f'href="?{column}={value}"' in ops.get(address).content.decode()
    assert [row.pk for row in ops.get(address, {column: value}).context["cl"].result_list] == [wanted.pk]


def test_lists_can_be_narrowed_to_a_company(ops):
    wanted, _other = make.AppointmentFactory.create_batch(2)
    answer = ops.get(url(Appointment, "changelist"), {"company": wanted.company_id})
    assert [row.pk for row in answer.context["cl"].result_list] == [wanted.pk]


# Callbacks -------------------------------------------------------------------------------------------------


def test_a_callback_is_closed_with_a_note_and_says_who_did_it(ops):
    callback, other = make.CallbackRequestFactory.create_batch(2)
    address = reverse("admin:booking_callbackrequest_close")
    shown = ops.get(address, {"ids": callback.pk}).content.decode()
    assert callback.customer.phone in shown
    assert other.customer.phone not in shown
    assert (
        ops.get(url(CallbackRequest, "change", callback.pk))
        .content.decode()
        .count(f"{address}?ids={callback.pk}")
        == 1
    )
    answer = ops.post(address, {"ids": callback.pk, "note": "Booked for Friday."}, follow=True)
    assert [str(message) for message in answer.context["messages"]] == ["1 request closed."]
    callback.refresh_from_db()
    other.refresh_from_db()
    assert (callback.status, callback.note, callback.closed_by.username) == (
        "done",
        "Booked for Friday.",
        "ops",
    )
    assert callback.closed_at is not None
    assert other.status == "open"
    assert LogEntry.objects.get().object_id == str(callback.pk)


def test_a_callback_is_not_closed_without_a_note_nor_by_looking(ops):
    callback = make.CallbackRequestFactory()
    address = reverse("admin:booking_callbackrequest_close")
    ops.get(address, {"ids": callback.pk, "note": "x"})
    assert ops.post(address, {"ids": callback.pk, "note": " "}).status_code == 200
    callback.refresh_from_db()
    assert callback.status == "open"


def test_a_callback_closed_by_somebody_else_meanwhile_keeps_their_note(ops):
    first, second = make.CallbackRequestFactory(), make.CallbackRequestFactory(status="done", note="Theirs.")
    answer = ops.post(
        reverse("admin:booking_callbackrequest_close"),
        {"ids": f"{first.pk},{second.pk}", "note": "Ours."},
        follow=True,
    )
    assert [str(message) for message in answer.context["messages"]] == [
        "1 request closed.",
        "1 had been closed by somebody else.",
    ]
    second.refresh_from_db()
    assert second.note == "Theirs."


def test_the_selected_callbacks_are_shown_before_they_are_closed(ops):
    selected = make.CallbackRequestFactory.create_batch(2)
    make.CallbackRequestFactory()
    answer = ops.post(
        url(CallbackRequest, "changelist"),
        {"action": "close_selected", "_selected_action": [row.pk for row in selected]},
        follow=True,
    )
    assert {row["url"] for row in answer.context["rows"]} == {
        url(CallbackRequest, "change", row.pk) for row in selected
    }
    assert not CallbackRequest.objects.filter(status="done").exists()


def test_of_more_callbacks_than_are_closed_at_once_the_person_is_told_so(ops):
    rows = make.CallbackRequestFactory.create_batch(201, call__branch=make.BranchFactory())
    selected = {"action": "close_selected", "select_across": "1", "_selected_action": [rows[0].pk]}
    answer = ops.post(url(CallbackRequest, "changelist"), selected, follow=True)
    assert "These are the first 200." in answer.content.decode()
    assert len(answer.context["rows"]) == 200


def test_closing_a_callback_needs_the_permission_to_change_it(clerk):
    callback = make.CallbackRequestFactory()
    address = reverse("admin:booking_callbackrequest_close")
    allow(clerk, "view_callbackrequest")
    assert address not in clerk.get(url(CallbackRequest, "change", callback.pk)).content.decode()
    assert clerk.get(address, {"ids": callback.pk}).status_code == 403
    assert clerk.post(address, {"ids": callback.pk, "note": "x"}).status_code == 403
    allow(clerk, "change_callbackrequest")
    assert clerk.post(address, {"ids": callback.pk, "note": "x"}).status_code == 302
    callback.refresh_from_db()
    assert callback.closed_by == clerk.user


def test_the_inbox_of_callbacks_shows_open_ones_unless_asked_for_others(ops):
    waiting, done = make.CallbackRequestFactory(), make.CallbackRequestFactory(status="done")

    def rows(**query):
        return {
            row.pk for row in ops.get(url(CallbackRequest, "changelist"), query).context["cl"].result_list
        }

    assert rows() == {waiting.pk}
    assert rows(inbox="done") == {done.pk}
    assert rows(inbox="all") == {waiting.pk, done.pk}


def test_what_is_overdue_comes_first_and_says_so(ops):
    now = timezone.now()
    later, overdue, soon = (
        make.CallbackRequestFactory(reason=f"Number {number}", due_at=now + dt.timedelta(minutes=minutes))
        for number, minutes in enumerate((600, -30, 10))
    )
    page = ops.get(url(CallbackRequest, "changelist")).content.decode()
    places = [page.index(callback.reason) for callback in (overdue, soon, later)]
    assert places == sorted(places)
    assert page.count('<span class="badge bad">overdue</span>') == 1
    only = ops.get(url(CallbackRequest, "changelist"), {"due": "overdue"}).content.decode()
    assert overdue.reason in only
    assert soon.reason not in only


def test_the_number_to_call_is_the_callers_also_where_we_were_the_ones_to_call(ops):
    ours, theirs = "+493012345678", "+4915112345678"
    call = make.CallFactory(direction="outbound", from_number=ours, to_number=theirs, customer=None)
    callback = make.CallbackRequestFactory(call=call)
    shown = ops.get(url(CallbackRequest, "change", callback.pk)).content.decode()
    assert theirs in shown
    assert f">{ours}<" not in shown


# Opening hours ---------------------------------------------------------------------------------------------


@pytest.mark.parametrize("typed", ['{"mon": [["18:00", "09:00"]]}', '{"monday": []}', "[]x", '"always"'])
def test_malformed_opening_hours_are_not_saved(ops, typed):
    company = make.CompanyFactory(opening_hours={"mon": [["09:00", "18:00"]]})
    answer = ops.post(url(Company, "change", company.pk), company_form(company, opening_hours=typed))
    assert answer.status_code == 200
    assert answer.context["errors"]
    company = Company.objects.get(pk=company.pk)
    assert company.opening_hours == {"mon": [["09:00", "18:00"]]}


@pytest.mark.parametrize("zone", ["localtime", "Factory", "Europe/Nowhere"])
def test_what_is_no_place_cannot_be_chosen_as_a_time_zone(ops, zone):
    company = make.CompanyFactory()
    address = url(Company, "change", company.pk)
    assert f'value="{zone}"' not in ops.get(address).content.decode()
    answer = ops.post(address, company_form(company, timezone=zone))
    assert "is not an IANA time zone" in answer.content.decode()
    assert Company.objects.get(pk=company.pk).timezone == "Europe/Berlin"
    assert ops.get(reverse("admin:index")).status_code == 200  # where PostgreSQL is asked by the zone's name


def test_a_domain_in_which_no_address_can_be_made_up_is_not_saved(ops):
    company = make.CompanyFactory()
    typed = company_form(company, attendee_email_domain="https://salon.example")
    answer = ops.post(url(Company, "change", company.pk), typed)
    assert "This is not a domain" in answer.content.decode()
    assert Company.objects.get(pk=company.pk).attendee_email_domain == company.attendee_email_domain


def test_opening_hours_and_the_time_for_a_callback_are_set_in_the_admin(ops):
    company = make.CompanyFactory()
    typed = company_form(company, opening_hours='{"sat": [["10:00", "14:00"]]}', callback_within_minutes="30")
    assert ops.post(url(Company, "change", company.pk), typed).status_code == 302
    company = Company.objects.get(pk=company.pk)
    assert (company.opening_hours, company.callback_within_minutes) == ({"sat": [["10:00", "14:00"]]}, 30)
    assert ops.post(url(Company, "change", company.pk), typed | {"opening_hours": ""}).status_code == 302
    assert Company.objects.get(pk=company.pk).opening_hours == {}


# A service's person and branch -----------------------------------------------------------------------------


def test_a_service_is_given_its_person_branch_and_words_in_the_admin(ops):
    service = make.ServiceFactory()
    branch = make.BranchFactory(company=service.company)
    typed = service_form(service) | {
        "person": "Bea",
        "branch": branch.pk,
        "spoken_name": "cut",
        "price_text": "35 euros",
        "may_cancel": "false",
    }
    assert ops.post(url(Service, "change", service.pk), typed).status_code == 302
    service.refresh_from_db()
    assert (service.person, service.branch, service.spoken_name) == ("Bea", branch, "cut")
    assert (service.price_text, service.may_cancel, service.may_reschedule) == ("35 euros", False, None)


def test_a_service_is_not_put_into_another_companys_branch(ops):
    service, stranger = make.ServiceFactory(), make.BranchFactory()
    answer = ops.post(url(Service, "change", service.pk), service_form(service) | {"branch": stranger.pk})
    assert answer.status_code == 200
    assert answer.context["errors"]
    service.refresh_from_db()
    assert service.branch is None

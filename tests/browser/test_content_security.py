"""The strict policy, in a browser that keeps to it: what it refuses is an error in the console."""

from __future__ import annotations

from typing import Any

import pytest
from django.contrib.auth.models import User
from django.urls import reverse
from playwright.sync_api import Page, expect

from booking.models import Appointment
from customers.models import Company
from tests import factories as make
from tests.browser.test_triage import PASSWORD, log_in
from tests.flows.phone import at

pytestmark = [pytest.mark.browser, pytest.mark.xdist_group("browser")]

MARKUP = "<script>document.title='run'</script><img src=x onerror=\"document.title='run'\"><style>*{}</style>"


@pytest.fixture
def chief(salon: Company) -> User:
    return User.objects.create_superuser("chief", password=PASSWORD)


def test_pages_that_show_what_others_have_typed_run_none_of_it(calcom, salon, phone, chief, page):
    phone().book(at(10), customer_name=MARKUP, notes=MARKUP)
    row = Appointment.objects.get()
    failure = make.SyncFailureFactory(
        company=salon, appointment=row, call=row.call, error_message=MARKUP, error_details={MARKUP: MARKUP}
    )
    log_in(page, chief)
    records: list[Any] = [failure, row, row.call, row.customer]
    for record in records:
        label = record._meta.label_lower.replace(".", "_")
        for address in (reverse(f"admin:{label}_change", args=[record.pk]), f"admin:{label}_changelist"):
            page.goto(address if address.startswith("/") else reverse(address))
            expect(page).not_to_have_title("run")
    answer = page.goto(reverse("admin:booking_syncfailure_triage", args=[failure.pk, "cancel"]))
    assert answer is not None
    assert "default-src 'self'" in answer.headers["content-security-policy"]
    expect(page.get_by_role("heading", name="What will happen")).to_be_visible()
    expect(page).not_to_have_title("run")


def test_the_stock_parts_of_the_admin_work_under_the_policy(salon, chief, page: Page):
    log_in(page, chief)
    page.get_by_role("button", name="Toggle theme").first.click()
    page.goto(reverse("admin:booking_service_add"))
    page.locator(".field-company .select2-selection").click()
    page.locator(".select2-search__field").fill("Salon")
    page.locator(".select2-results__option", has_text="Salon Mitte").click()
    page.get_by_label("Name:", exact=True).press_sequentially("Waschen und Legen")
    expect(page.get_by_label("Slug:")).to_have_value("waschen-und-legen")
    page.goto(reverse("admin:customers_branch_change", args=[salon.branches.get().pk]))
    page.locator("#phone_numbers-group .add-row a").click()
    expect(page.locator("#id_phone_numbers-1-number")).to_be_visible()
    page.goto(reverse("admin:auth_user_change", args=[chief.pk]))
    page.locator(".datetimeshortcuts a").first.click()
    page.locator("#id_user_permissions_from option").first.click()
    page.locator("#id_user_permissions_add").first.click()
    expect(page.locator("#id_user_permissions_to option")).to_have_count(1)
    for address in ("admin:password_change", "admin:booking_syncfailure_changelist"):
        page.goto(reverse(address))
        expect(page.locator("#content")).to_be_visible()

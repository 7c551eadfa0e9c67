"""What ops read on a phone, and what a screen reader is told."""

from __future__ import annotations

import pytest
from django.contrib.auth.models import User
from django.urls import reverse
from django.utils import timezone
from playwright.sync_api import Page, expect

from booking.models import Appointment
from calls.models import Call
from tests import factories as make
from tests.browser.test_content_security import chief
from tests.browser.test_triage import log_in
from tests.flows.phone import at

__all__ = ["chief"]

pytestmark = [pytest.mark.browser, pytest.mark.xdist_group("browser")]

WIDTH = 360
UNNAMED = """[...document.querySelectorAll("#content :is(input, select, textarea)")]
    .filter(field => !["hidden", "submit"].includes(field.type) && !field.labels.length && !field.ariaLabel)
    .map(field => field.outerHTML)"""


def test_no_page_of_ours_is_wider_than_a_phone_and_every_field_has_a_name(
    calcom, salon, phone, chief: User, page: Page
):
    phone().book(at(10))
    row = Appointment.objects.get()
    failure = make.SyncFailureFactory(company=salon, appointment=row, call=row.call)
    event = make.WebhookEventFactory(company=salon)
    callback = make.CallbackRequestFactory(call=row.call)
    log_in(page, chief)
    page.set_viewport_size({"width": WIDTH, "height": 740})
    for address in (
        reverse("admin:index"),
        reverse("admin:booking_syncfailure_changelist"),
        reverse("admin:booking_syncfailure_change", args=[failure.pk]),
        reverse("admin:booking_syncfailure_triage", args=[failure.pk, "cancel"]),
        reverse("admin:booking_syncfailure_bulk", args=["snooze"]) + f"?ids={failure.pk}",
        reverse("admin:calls_call_change", args=[Call.objects.get().pk]),
        reverse("admin:calls_webhookevent_replay", args=[event.pk]),
        reverse("admin:booking_callbackrequest_change", args=[callback.pk]),
    ):
        page.goto(address)
        expect(page.locator("#content")).to_be_visible()
        assert page.evaluate("document.documentElement.scrollWidth") <= WIDTH, address
        assert page.evaluate(UNNAMED) == [], address


def test_each_day_of_the_chart_is_told(salon, chief: User, page: Page):
    make.BookingAttemptFactory(appointment=make.AppointmentFactory(), created_at=timezone.now())
    log_in(page, chief)
    page.set_viewport_size({"width": WIDTH, "height": 740})
    expect(page.get_by_role("img", name="1 booked, 0 refused, 0 open or failed")).to_have_count(1)
    expect(page.get_by_role("img", name="0 booked, 0 refused, 0 open or failed")).to_have_count(13)

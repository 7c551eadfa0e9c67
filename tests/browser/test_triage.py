"""The operator's work in a browser: log in, open a failure, look at what will happen, act, see the result."""

from __future__ import annotations

import pytest
from django.contrib.auth.models import Group, User
from playwright.sync_api import Locator, Page, expect

from booking.models import Appointment, SyncFailure
from calls.models import FunctionCall
from customers.models import Company
from sync import roles
from sync.models import AuditEntry
from tests.commands import run_command
from tests.flows.phone import at

pytestmark = [pytest.mark.browser, pytest.mark.xdist_group("browser")]

PASSWORD = "correct horse battery staple"


@pytest.fixture
def operator(salon: Company) -> User:
    user = User.objects.create_user("olga", password=PASSWORD, is_staff=True)
    user.groups.add(Group.objects.get(name=roles.OPERATOR))
    return user


def follow(page: Page, control: Locator) -> None:
    """Click what leads to another page, and wait until it is loaded: only then do its scripts listen."""
    with page.expect_navigation():
        control.click()


def log_in(page: Page, user: User) -> None:
    page.goto("/admin/")
    page.get_by_label("Username").fill(user.username)
    page.get_by_label("Password").fill(PASSWORD)
    follow(page, page.get_by_role("button", name="Log in"))
    expect(page.get_by_role("heading", name="Overview")).to_be_visible()


def open_the_only_failure(page: Page) -> None:
    follow(page, page.get_by_role("link", name="Open failures"))
    follow(page, page.locator("#result_list tbody th a"))
    expect(page.get_by_role("heading", name="Both sides")).to_be_visible()


def test_an_orphan_is_adopted(calcom, salon, operator, page, verdict):
    Company.objects.update(heal_import="off", heal_adopt="off")
    booking = calcom.web_book("open", start=at(10), metadata={"attempt_id": "lost", "company": "salon"})
    run_command("reconcile")
    log_in(page, operator)
    open_the_only_failure(page)
    expect(page.get_by_text("Fetched from Cal.com just now.")).to_be_visible()
    follow(page, page.get_by_role("link", name="Adopt the booking"))
    expect(page.get_by_text("A new appointment is made from the booking")).to_be_visible()
    assert not Appointment.objects.exists()
    page.get_by_label("Reason").fill("Rang the guest: it is theirs.")
    follow(page, page.get_by_role("button", name="Adopt the booking"))
    expect(page.get_by_text("Changed: 1 appointment, 1 sync failure.")).to_be_visible()
    assert Appointment.objects.get().calcom_booking_uid == booking.uid
    assert AuditEntry.objects.filter(user=operator, action="triage.adopt.done").exists()
    verdict()


def test_what_vanished_is_booked_again_and_stands_at_cal_com(calcom, salon, phone, operator, page, verdict):
    phone().book(at(10))
    FunctionCall.objects.all().delete()  # what it promised cannot be true any more
    calcom.erase(Appointment.objects.get().calcom_booking_uid)
    run_command("reconcile")
    log_in(page, operator)
    open_the_only_failure(page)
    expect(page.get_by_text("asked just now: there is no such booking")).to_be_visible()
    follow(page, page.get_by_role("link", name="Book again at Cal.com"))
    expect(page.get_by_text("The guest gets an e-mail")).to_be_visible()
    page.get_by_label("Reason").fill("Promised on the phone.")
    follow(page, page.get_by_role("button", name="Book again at Cal.com"))
    expect(page.get_by_text("The failure is closed.")).to_be_visible()
    [booking] = calcom.active_bookings()
    assert Appointment.objects.get().calcom_booking_uid == booking.uid
    verdict()


def test_a_booking_is_cancelled_at_cal_com_by_keyboard_alone(calcom, salon, operator, page, verdict):
    Company.objects.update(heal_import="off", heal_adopt="off")
    booking = calcom.web_book("open", start=at(10), metadata={"attempt_id": "lost", "company": "salon"})
    run_command("reconcile")
    log_in(page, operator)
    open_the_only_failure(page)
    page.get_by_role("link", name="Cancel at Cal.com").focus()
    with page.expect_navigation():
        page.keyboard.press("Enter")
    page.get_by_label("Message to guest and host").focus()
    page.keyboard.press("Tab")
    page.keyboard.type("Nobody wants it.")
    page.keyboard.press("Tab")
    with page.expect_navigation():
        page.keyboard.press("Enter")
    expect(page.get_by_text("The booking is cancelled at Cal.com.")).to_be_visible()
    assert calcom.booking(booking.uid).status == "cancelled"
    assert SyncFailure.objects.get().status == "resolved"
    verdict()


def test_what_moved_on_meanwhile_is_said_and_left(calcom, salon, operator, page):
    Company.objects.update(heal_import="off", heal_adopt="off")
    booking = calcom.web_book("open", start=at(10), metadata={"attempt_id": "lost", "company": "salon"})
    run_command("reconcile")
    log_in(page, operator)
    open_the_only_failure(page)
    follow(page, page.get_by_role("link", name="Mark as resolved"))
    page.get_by_label("Reason").fill("Nothing to do.")
    run_command("reconcile")  # the machine sees it once more
    follow(page, page.get_by_role("button", name="Mark as resolved"))
    expect(page.get_by_text("has changed since you looked")).to_be_visible()
    assert SyncFailure.objects.get().is_open
    assert calcom.booking(booking.uid).is_active


def test_many_are_assigned_from_the_inbox(calcom, salon, operator, page):
    Company.objects.update(heal_import="off", heal_adopt="off")
    for hour in (9, 10, 11):
        calcom.web_book("open", start=at(hour), metadata={"attempt_id": "lost", "company": "salon"})
    run_command("reconcile")
    log_in(page, operator)
    follow(page, page.get_by_role("link", name="Open failures"))
    page.locator("#action-toggle").check()
    expect(page.locator(".action-counter")).to_have_text("3 of 3 selected")
    page.locator("select[name=action]").first.select_option("assign_selected")
    run = page.get_by_role("button", name="Run", exact=True).or_(page.get_by_role("button", name="Go"))
    follow(page, run.first)
    expect(page.get_by_role("heading", name="3 sync failures")).to_be_visible()
    follow(page, page.get_by_role("button", name="Assign to me"))
    expect(page.get_by_text("Assign to me: 3 done. Changed: 3 sync failures.")).to_be_visible()
    assert SyncFailure.objects.filter(assigned_to=operator).count() == 3

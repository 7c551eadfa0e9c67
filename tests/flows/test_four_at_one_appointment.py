"""The caller, a person in the admin, Cal.com and our own background work at one appointment at the same
moment: what one of them has read, another has changed before it is written.
"""

from __future__ import annotations

import datetime as dt
import html
import re
from collections.abc import Callable

import pytest
from django.contrib.auth.models import User
from django.core.cache import cache
from django.db import connection
from django.urls import reverse
from django.utils import timezone

from booking import event_types
from booking.models import Appointment, BookingAttempt, Service
from booking.provisioning import provision
from calls.models import WebhookEvent
from customers.models import Company
from sync import triage
from sync.models import AuditEntry
from sync.triage import NotLegal
from tests.flows.at_once import just_before
from tests.flows.phone import at
from tests.flows.state import open_failures
from tests.flows.triage.tickets import ticket

# Whose a booking is was looked up, and of its own company's appointments none was it.
LOOKED_UP = " UNION "


# --- Two who hear of one web booking


def test_what_is_moved_on_the_web_while_it_is_imported_is_one_appointment(
    calcom, announced, work, run, verdict
):
    first = calcom.web_book("open", start=at(10))

    def it_is_moved_and_imported() -> None:
        calcom.web_reschedule(first.uid, at(14))
        work()

    with just_before(LOOKED_UP, it_is_moved_and_imported):
        work()
    row = Appointment.objects.get()
    assert (row.calcom_booking_uid, row.starts_at) == (calcom.active_bookings()[0].uid, at(14))
    assert set(WebhookEvent.objects.values_list("status", flat=True)) == {"processed"}
    run("--full")
    assert not open_failures().exists()
    verdict()


def test_what_is_imported_while_its_move_is_imported_is_one_appointment(calcom, announced, work, verdict):
    first = calcom.web_book("open", start=at(10))
    created = WebhookEvent.objects.all()
    created.update(status="ignored")
    created = WebhookEvent.objects.filter(pk=created.get().pk)
    calcom.web_reschedule(first.uid, at(14))

    def it_is_imported_as_it_was_shown_before() -> None:
        as_it_was = {"status": "accepted", "rescheduledToUid": None}
        fault = calcom.faults.add("get", path_contains=first.uid, patch=as_it_was, times=None)
        created.update(status="received")
        work()
        calcom.faults.remove(fault)

    with just_before(LOOKED_UP, it_is_imported_as_it_was_shown_before):
        work()
    row = Appointment.objects.get()
    assert (row.calcom_booking_uid, row.starts_at) == (calcom.active_bookings()[0].uid, at(14))
    assert [each.uid for each in row.former_uids.all()] == [first.uid]
    assert set(WebhookEvent.objects.values_list("status", flat=True)) == {"processed"}
    verdict()


# --- A person in the admin, and everybody else


@pytest.fixture
def ops(salon):
    """A button that is pressed by somebody who has seen the page of the only open failure before."""
    user = User.objects.create_user("ops", is_staff=True)

    def look() -> triage.Case:
        failure = triage.read_failure(open_failures().get().pk)
        return triage.open_case(failure, user=user, now=timezone.now())

    def seen() -> Callable[..., triage.Done]:
        case = look()
        decision = triage.Decision(
            failure=case.failure, user=user, expected=triage.version_of(case.failure), reason="Because."
        )
        fingerprint = case.fingerprint

        def press(verb: Callable[..., triage.Done], **arguments: object) -> triage.Done:
            return verb(decision, seen=fingerprint, **arguments)

        return press

    return seen


@pytest.fixture
def lone(calcom, salon, phone):
    """A booking whose appointment has lost it; its uid."""
    uid = phone().book(at(10)).uid
    BookingAttempt.objects.all().delete()
    Appointment.objects.update(status="failed", calcom_booking_uid=None, calcom_booking_id=None)
    calcom.bookings[0].metadata.clear()
    ticket(salon, uid=uid)
    return uid


@pytest.mark.parametrize(
    ("verb", "statement"),
    [
        pytest.param(triage.link, 'UPDATE "appointments"', id="link"),
        pytest.param(triage.adopt, 'SELECT "services"."id" FROM "services"', id="adopt"),
    ],
)
def test_a_booking_that_a_delivery_imports_in_this_moment_is_not_given_out_twice(
    calcom, salon, lone, announced, work, ops, verb, statement
):
    press = ops()
    arguments = {"appointment_id": Appointment.objects.get().pk} if verb is triage.link else {}

    def it_is_imported() -> None:
        calcom.send_event(announced, salon.calcom_webhook_secret, "BOOKING_CREATED", {"uid": lone})
        work(seconds=5)

    with just_before(statement, it_is_imported):
        done = press(verb, **arguments)
    assert "The booking has got its appointment in this moment" in done.said
    assert not done.is_success
    assert Appointment.objects.get(calcom_booking_uid=lone).source == "calcom"
    assert AuditEntry.objects.filter(action=f"triage.{verb.__name__}.not_done").exists()


def test_what_a_caller_books_anew_is_not_booked_again_beside_it(calcom, salon, phone, ops, run, verdict):
    """A few minutes from the time it had: another key, and another host is free."""
    assert phone().book(at(10), service="colour").code == "booked"
    calcom.erase(Appointment.objects.get().calcom_booking_uid)
    run("--full")
    Appointment.objects.update(status="failed", calcom_booking_uid=None)
    press = ops()
    said: list[str] = []

    def ops_book_it_again() -> None:
        said.append(press(triage.recreate_at_calcom).said)

    with just_before('INSERT INTO "appointments"', ops_book_it_again, patience=2):
        assert phone().book(at(10, 5), service="colour").code == "booked"
    assert "The same person has the same thing booked" in said[0]
    assert [booking.start for booking in calcom.active_bookings()] == [at(10, 5)]


def test_what_would_take_another_time_by_now_is_not_booked_again(calcom, salon, booked, haircut, ops, run):
    calcom.erase(Appointment.objects.get().calcom_booking_uid)
    run("--full")
    press = ops()
    calcom.state.event_type("open").minutes = 45
    Service.objects.filter(pk=haircut.pk).update(duration_minutes=45, learned_event_type_id=None)
    calcom.clear_log()
    with pytest.raises(NotLegal, match="takes 45 minutes"):
        press(triage.recreate_at_calcom)
    assert not calcom.requests("create"), "the guest heard of it"
    assert Appointment.objects.get().status == "scheduled"


# --- A caller, and whoever changes the settings


def test_a_service_that_is_given_another_event_type_in_this_moment_is_the_same(
    calcom, salon, booked, phone, haircut
):
    other = calcom.state.event_type("single").id
    cache.clear()

    def it_is_given_another() -> None:
        Service.objects.filter(pk=haircut.pk).update(calcom_event_type_id=other)

    with just_before("FOR NO KEY UPDATE OF calls, customers", it_is_given_another):
        assert phone().book(at(10)).code == "already_booked"
    assert not open_failures().exists()


# --- Cal.com's key, which is another account's by now


@pytest.fixture
def other_account(calcom, salon):
    """Give the company the key of another account, which knows nothing of what was booked; and back again."""
    calcom.state.add_account("other", api_key="cal_other_key", owner="otto")

    def change(key: str = "cal_other_key") -> None:
        salon.calcom_api_key = key
        salon.save()

    return change


def test_what_another_account_does_not_show_has_not_been_proven_absent(
    calcom, phone, other_account, settle_later, settings, verdict
):
    settings.ANSWER_BUDGET_SECONDS = 3
    calcom.faults.timeout_after_commit()
    assert phone().book(at(10)).code == "checking"
    other_account()
    settle_later()
    assert BookingAttempt.objects.get().state == "unknown"
    assert "another account" in open_failures().get().error_message
    other_account("cal_test_key")
    settle_later(seconds=3600)
    assert Appointment.objects.get().calcom_booking_uid == calcom.active_bookings()[0].uid
    assert not open_failures().exists()
    verdict()


def test_what_another_account_does_not_show_is_neither_ended_nor_booked_again(
    calcom, salon, booked, phone, other_account, run, ops, verdict
):
    over, to_come = Appointment.objects.get(), phone().book(at(11)).uid
    now = timezone.now()
    past = {"starts_at": now - dt.timedelta(hours=2), "ends_at": now - dt.timedelta(hours=1)}
    Appointment.objects.update(updated_at=now - dt.timedelta(hours=3))
    Appointment.objects.filter(pk=over.pk).update(**past)
    other_account()
    run("--full")
    assert [row.status for row in Appointment.objects.all()] == ["scheduled", "scheduled"]
    found = [failure.error_message for failure in open_failures()]
    assert ["another account" in message for message in found] == [True, True], found
    open_failures().exclude(calcom_booking_id=to_come).update(status="resolved")
    calcom.clear_log()
    assert "another account" in ops()(triage.recreate_at_calcom).said
    assert not calcom.requests("create")
    other_account("cal_test_key")
    run("--full")
    assert not open_failures().exists()


def test_what_was_booked_under_the_account_before_is_not_ended_where_the_services_are_the_new_ones_already(
    calcom, salon, booked, other_account, run
):
    new = calcom.state.add_event_type("new", account="other", hosts=("otto",))
    Service.objects.filter(company=salon).update(calcom_event_type_id=new.id, learned_event_type_id=None)
    assert_not_ended(other_account, run)


def test_what_was_booked_on_the_web_under_the_account_before_is_not_ended(calcom, booked, other_account, run):
    """No attempt says which event type it was booked with."""
    BookingAttempt.objects.all().delete()
    assert_not_ended(other_account, run)


def assert_not_ended(other_account, run) -> None:
    now = timezone.now()
    Appointment.objects.update(starts_at=now - dt.timedelta(hours=2), ends_at=now - dt.timedelta(hours=1))
    other_account()
    run("--full")
    assert Appointment.objects.get().status == "scheduled"
    assert "another account" in open_failures().get().error_message


# --- Two who change the same settings


def test_what_is_switched_off_while_a_file_is_read_stays_off(salon):
    def somebody_switches_it_off() -> None:
        Company.objects.filter(pk=salon.pk).update(is_active=False, may_cancel=False)

    with just_before('UPDATE "companies"', somebody_switches_it_off):
        provision({"companies": [{"slug": "salon", "name": "Salon Neu"}]})
    salon.refresh_from_db()
    assert (salon.name, salon.is_active, salon.may_cancel) == ("Salon Neu", False, False)


@pytest.fixture
def page_of(admin_client):
    """The page of a record, and what a browser sends of it: what was typed beside what it was given."""

    def open_page(name: str, pk: int):
        address = reverse(f"admin:{name}_change", args=[pk])
        shown = admin_client.get(address).content.decode()
        hidden = re.search(r'name="as_shown" value="(\w+)"', html.unescape(shown))
        assert hidden, "the page does not say what it shows"
        return lambda **typed: admin_client.post(address, {"as_shown": hidden[1], **typed})

    return open_page


def test_a_company_that_is_switched_off_is_not_switched_on_again_by_an_older_page(salon, page_of):
    typed = {
        "name": "Salon Neu",
        "timezone": salon.timezone,
        "language": salon.language,
        "calcom_base_url": salon.calcom_base_url,
        "attendee_email_domain": salon.attendee_email_domain,
        "change_notice_minutes": 0,
        "callback_within_minutes": 240,
        "opening_hours": "{}",
        "heal_daily_limit": 1000,
        **dict.fromkeys(("heal_adopt", "heal_import", "heal_follow", "heal_link"), "on"),
        **dict.fromkeys(("may_reschedule", "may_cancel", "is_active"), "on"),
    }
    before, also_before = (page_of("customers_company", salon.pk) for _ in range(2))
    assert before(**{name: text for name, text in typed.items() if name != "is_active"}).status_code == 302
    answer = also_before(**{**typed, "name": "Salon Uralt"})
    assert "Somebody has changed this" in answer.content.decode()
    salon.refresh_from_db()
    assert (salon.name, salon.is_active) == ("Salon Neu", False)
    assert page_of("customers_company", salon.pk)(**typed).status_code == 302
    salon.refresh_from_db()
    assert salon.is_active
    assert salon.calcom_api_key == "cal_test_key"


def test_what_was_found_out_of_an_event_type_while_its_service_is_saved_stays(
    calcom, salon, booked, haircut, page_of
):
    """Cal.com is asked before it is saved, and books something else meanwhile: that is not unlearned."""
    assert Service.objects.get(pk=haircut.pk).is_learned

    def it_is_forgotten(_exchange: object) -> None:
        event_types.forget(haircut)
        connection.close()

    calcom.faults.add("event_type", call={"before_answer": it_is_forgotten})
    saved = page_of("booking_service", haircut.pk)(
        name=haircut.name,
        slug=haircut.slug,
        spoken_name="cut",
        duration_minutes=haircut.duration_minutes,
        calcom_event_type_id=haircut.calcom_event_type_id,
        is_active="on",
    )
    assert saved.status_code == 302
    haircut.refresh_from_db()
    assert (haircut.spoken_name, haircut.is_learned) == ("cut", False)

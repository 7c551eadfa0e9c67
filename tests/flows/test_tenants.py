"""The wall between companies, and between one customer and another."""

from __future__ import annotations

import contextlib
import time
from datetime import timedelta
from typing import Any

import pytest
from django.core.cache import cache
from django.core.management import call_command
from django.utils import timezone

from booking import completer, failures
from booking.models import Appointment, BookingAttempt, CallbackRequest, FormerUid, Service, SyncFailure
from calls.models import Call, FunctionCall
from customers.models import Company, Customer
from sync.audit import audit
from sync.audit_alerts import audit_and_alert
from sync.models import AuditEntry, ReconciliationRun
from tests.factories import (
    MOMENT,
    AppointmentFactory,
    BookingAttemptFactory,
    CallFactory,
    FormerUidFactory,
    SyncFailureFactory,
)
from tests.flows.at_once import at_once
from tests.flows.conftest import make_salon
from tests.flows.phone import Phone, at, move
from tests.flows.triage.tickets import ticket

STUDIO_NUMBER = "+493099999999"
SECOND_CALLER = "+4915187654321"


@pytest.fixture
def studio(calcom, salon) -> Company:
    """A second company with an account of its own, whose event type bears the very same number."""
    account = calcom.state.add_account("studio", api_key="cal_studio_key", owner="otto")
    number = calcom.state.event_type("open", "salon").id
    calcom.state.add_event_type("open", account=account, event_type_id=number, available="always")
    company = make_salon(calcom, slug="studio", number=STUDIO_NUMBER)
    company.calcom_api_key = "cal_studio_key"
    company.save()
    company.services.exclude(slug="haircut").delete()
    assert company.services.get().calcom_event_type_id == number
    return company


@pytest.fixture
def studio_phone(studio):
    def dial(**options) -> Phone:
        return Phone(**{"company": studio, "to_number": STUDIO_NUMBER, **options})

    return dial


# --- One customer


def test_two_calls_of_one_new_phone_at_once_are_one_customer(calcom, phone, verdict):
    calcom.state.thinking_seconds = 0.05
    answers = at_once(*[lambda hour=hour: phone().book(at(hour), service="colour") for hour in range(9, 15)])
    assert {answer.code for answer in answers} == {"booked"}
    assert Customer.objects.count() == 1
    assert Appointment.objects.filter(customer=Customer.objects.get()).count() == 6
    verdict()


def test_what_is_on_record_about_a_customer_is_not_overwritten_by_what_an_agent_heard(calcom, phone, verdict):
    assert phone().book(at(9), customer_email="anna@example.org").code == "booked"
    assert phone().book(at(11), customer_name="Anna W.", customer_email="other@example.org").code == "booked"
    customer = Customer.objects.get()
    assert (customer.name, customer.email) == ("Anna Weber", "anna@example.org")
    verdict()


# --- Two companies


@pytest.mark.parametrize("number", ["+4915112345678", "anonymous"])
def test_the_same_numbers_in_two_companies_are_two_worlds(
    calcom, phone, studio_phone, salon, studio, verdict, number
):
    here = phone(call_id="call_the_same_in_both", from_number=number)
    there = studio_phone(call_id="call_the_same_in_both", from_number=number)
    answers = [here.book(at(10)), there.book(at(10))]
    assert [answer.code for answer in answers] == ["booked", "booked"]
    assert [answer.body["replayed"] for answer in answers] == [False, False]
    assert len(calcom.active_bookings("salon")) == len(calcom.active_bookings("studio")) == 1
    assert {customer.company for customer in Customer.objects.all()} == {salon, studio}
    for company, account in ((salon, "salon"), (studio, "studio")):
        call: Any = Call.objects.get(company=company)
        (booking,) = calcom.active_bookings(account)
        assert call.appointment.company == company
        assert call.appointment.calcom_booking_uid == booking.uid
        assert booking.metadata["company"] == company.slug
    keys = Appointment.objects.values_list("idempotency_key", flat=True)
    assert len(set(keys)) == 2
    assert here.book(at(10)).uid != there.book(at(10)).uid
    assert len(calcom.requests("create")) == 2
    verdict()


def test_who_is_known_in_one_company_is_a_stranger_in_the_other(calcom, phone, studio_phone, studio, verdict):
    assert phone().book(at(10)).code == "booked"
    assert studio_phone().ask("request_callback", reason="Price").code == "callback_noted"
    noted = CallbackRequest.objects.get()
    assert (noted.company, noted.customer) == (studio, None)
    calcom.web_book("open", account="studio", start=at(12), phone="+4915112345678")
    call_command("reconcile", "--json", "--company", studio.slug)
    row: Any = Appointment.objects.select_related("customer", "service").get(source="calcom")
    assert row.company == row.customer.company == row.service.company == studio
    verdict()


def test_two_companies_do_not_wait_for_each_others_slots(calcom, phone, studio_phone, verdict):
    assert phone().book(at(9)).code == studio_phone().book(at(9)).code == "booked"
    calcom.faults.add("create", delay_before=3.0, account="salon")
    answers = at_once(lambda: phone().book(at(10)), lambda: studio_phone().book(at(10)))
    assert [answer.code for answer in answers] == ["booked", "booked"]
    assert answers[1].seconds < 2.5 < answers[0].seconds
    verdict()


def test_what_is_free_in_one_company_says_nothing_about_the_other(calcom, phone, studio_phone, verdict):
    calcom.web_book("open", start=at(0, 30), account="studio", silent=True)
    day = at(10).date().isoformat()
    for _ in range(2):
        here, there = (
            {
                slot["start"]
                for slot in dial().ask("check_availability", service="haircut", date=day).body["slots"]
            }
            for dial in (phone, studio_phone)
        )
        assert at(0, 30).isoformat() in here
        assert at(0, 30).isoformat() not in there
    assert len(calcom.requests("slots", account="salon")) == 1
    assert len(calcom.requests("slots", account="studio")) == 1
    verdict()


def test_a_booking_in_one_company_does_not_clear_the_others_cache(calcom, phone, studio_phone, verdict):
    day = at(10).date().isoformat()
    for dial in (phone, studio_phone):
        dial().ask("check_availability", service="haircut", date=day)
    assert phone().book(at(10)).code == "booked"
    for dial in (phone, studio_phone):
        dial().ask("check_availability", service="haircut", date=day)
    assert len(calcom.requests("slots", account="studio")) == 1
    assert len(calcom.requests("slots", account="salon")) == 2
    verdict()


def test_an_outage_of_one_company_opens_only_its_own_breaker(
    calcom, phone, studio_phone, salon, studio, verdict, settings, settle_later
):
    settings.ANSWER_BUDGET_SECONDS = 3
    calcom.faults.outage("reset", account="studio")
    for number in range(7):
        answer = studio_phone(from_number=f"+49151123456{number:02}").book(at(9 + number))
        assert answer.body["success"] is False
    assert cache.get(f"breaker:{studio.pk}:open")
    assert not cache.get(f"breaker:{salon.pk}:open")
    assert not cache.get(f"breaker:{salon.pk}:failures")
    assert phone().book(at(10)).code == "booked"
    assert not SyncFailure.objects.filter(company=salon).exists()
    calcom.faults.restore()
    settle_later()
    verdict()


def test_a_crowd_of_unknown_attempts_of_one_company_keeps_no_other_waiting(
    calcom, salon, studio, settle_later
):
    """Its Cal.com is down, so all but the first are left where they are: the oldest of all."""
    hour = timedelta(hours=1)
    ago = timezone.now() - 3 * hour
    unknown = {
        "appointment__status": Appointment.Status.PENDING,
        "appointment__calcom_booking_uid": None,
        "state": BookingAttempt.State.UNKNOWN,
        "request": {
            "eventTypeId": calcom.state.event_type("open").id,
            "start": MOMENT.isoformat(),
            "metadata": {},
        },
        "created_at": ago,
    }
    BookingAttemptFactory.create_batch(
        completer.BATCH + 10, appointment__call__company=studio, lease_expires_at=ago, **unknown
    )
    other = BookingAttemptFactory(appointment__call__company=salon, lease_expires_at=ago + hour, **unknown)
    calcom.faults.outage("reset", account="studio")

    settle_later()

    other.refresh_from_db()
    assert other.state == BookingAttempt.State.ABSENT
    assert BookingAttempt.objects.filter(state=BookingAttempt.State.UNKNOWN).count() == completer.BATCH + 10


def test_a_wrong_key_of_one_company_is_that_companys_failure_alone(
    calcom, phone, studio_phone, salon, studio, verdict
):
    calcom.state.revoke_key("cal_studio_key")
    assert studio_phone().book(at(10)).code == "unavailable"
    assert phone().book(at(10)).code == "booked"
    assert [failure.company for failure in SyncFailure.objects.all()] == [studio]
    assert [callback.company for callback in CallbackRequest.objects.all()] == [studio]
    assert len(calcom.active_bookings()) == 1
    verdict()


def test_a_key_that_is_wrong_in_two_companies_is_two_failures_and_each_ends_by_itself(
    calcom, phone, studio_phone, salon, studio, settle_later
):
    """Also the event type of both has one number."""
    key = salon.calcom_api_key
    number = salon.services.get(slug="haircut").calcom_event_type_id
    for company in (salon, studio):
        ticket(company, SyncFailure.Type.CONFIG_ERROR, subject=f"{failures.EVENT_TYPE}{number}")
    Company.objects.update(calcom_api_key="cal_key_of_nobody")
    assert studio_phone().book(at(10)).code == phone().book(at(10)).code == "unavailable"
    of_keys = SyncFailure.objects.filter(subject=failures.ACCESS)
    assert [failure.company for failure in of_keys.order_by("company_id")] == [salon, studio]
    salon.refresh_from_db()
    salon.calcom_api_key = key
    salon.save()
    assert phone().book(at(11)).code == "booked"
    settle_later()
    assert {failure.company for failure in SyncFailure.objects.filter(status="resolved")} == {salon}
    open_ones = SyncFailure.objects.exclude(status="resolved").order_by("subject")
    assert [(failure.company, failure.subject) for failure in open_ones] == [
        (studio, failures.ACCESS),
        (studio, f"{failures.EVENT_TYPE}{number}"),
    ]


def in_disorder(company, dial, *, hours, calcom):
    """One of each: what points at each other no more, what was never proven, what was done unheard."""
    numbers = iter(f"+49151{company.pk % 1000:03}{n:05}" for n in range(100))

    def book(hour):
        caller = dial(from_number=next(numbers))
        assert caller.book(at(hour)).code == "booked"
        call = Call.objects.get(retell_call_id=caller.call_id)
        return call, call.appointment

    call, _ = book(hours[0])
    Call.objects.filter(pk=call.pk).update(appointment=None)
    call, row = book(hours[1])
    Appointment.objects.filter(pk=row.pk).update(call=None)
    call, row = book(hours[2])
    Call.objects.filter(pk=call.pk).update(booking_confirmed=False)
    FormerUidFactory(appointment=row, uid=f"former-{company.slug}")
    call, row = book(hours[3])
    calcom.web_cancel(row.calcom_booking_uid, silent=True)
    _, row = book(hours[4])
    for uid in (row.calcom_booking_uid, "neverThere"):
        SyncFailureFactory(
            company=company,
            failure_type="orphaned_calcom",
            subject=failures.about_booking(uid),
            calcom_booking_id=uid,
            appointment=row,
            status="manual_review",
            last_seen_at=timezone.now() - timedelta(days=1),
        )
    about_the_call = f"call:{row.call.retell_call_id}"
    ticket(company, SyncFailure.Type.CALL_DESYNC, subject=about_the_call, call=row.call)
    CallFactory(company=company, branch=call.branch, booking_confirmed=True, appointment_made=True)
    unproven = CallFactory(company=company, branch=call.branch, customer=call.customer)
    AppointmentFactory(call=unproven, service=row.service, calcom_booking_uid=None, starts_at=at(hours[5]))
    old = AppointmentFactory(
        call=unproven, service=row.service, calcom_booking_uid=None, status="pending", starts_at=at(hours[6])
    )
    BookingAttemptFactory(appointment=old, state="unknown", created_at=MOMENT - timedelta(days=30))
    given_up = AppointmentFactory(
        call=unproven, service=row.service, calcom_booking_uid=None, status="pending", starts_at=at(hours[7])
    )
    BookingAttemptFactory(appointment=given_up, state="absent")
    for hour, days in ((hours[8], 0), (hours[9], 30)):
        _, row = book(hour)
        calcom.erase(row.calcom_booking_uid)
        ago = timedelta(days=days)
        Appointment.objects.filter(pk=row.pk).update(starts_at=row.starts_at - ago, ends_at=row.ends_at - ago)


def rows_of(company):
    models = (Appointment, BookingAttempt, Call, CallbackRequest, Customer, SyncFailure, AuditEntry)
    rows = {
        model.__name__: list(model.objects.filter(company=company).order_by("pk").values())
        for model in models
    }
    return rows | {"FormerUid": list(FormerUid.objects.filter(appointment__company=company).values())}


def test_what_is_mended_in_one_company_leaves_the_disorder_of_the_other(
    calcom, salon, studio, phone, studio_phone
):
    in_disorder(salon, phone, hours=range(8, 18), calcom=calcom)
    in_disorder(studio, studio_phone, hours=range(8, 18), calcom=calcom)
    theirs, ours = rows_of(salon), rows_of(studio)
    for company in (salon, studio):
        assert {(each.check, each.count) for each in audit(company=company, now=timezone.now())} == {
            ("confirmed_call_without_appointment", 2),
            ("call_flags_disagree", 1),
            ("appointment_without_backlink", 2),
            ("appointment_without_call", 1),
            ("live_appointment_without_uid", 2),
            ("attempt_unknown_for_too_long", 1),
        }

    for command in ("reconcile", "backfill", "audit"):
        with contextlib.suppress(SystemExit):
            call_command(command, "--json", "--company", studio.slug)
    audit_and_alert(company=studio, now=timezone.now())
    assert rows_of(salon) == theirs

    after = rows_of(studio)
    assert len(after["BookingAttempt"]) == len(ours["BookingAttempt"])
    assert after["FormerUid"] == ours["FormerUid"]
    with_row = [row["id"] for row in ours["SyncFailure"] if row["appointment_id"]]
    assert SyncFailure.objects.filter(pk__in=with_row, appointment=None).count() == 0
    named = SyncFailure.objects.filter(company=studio)
    assert not named.filter(call__company=salon).exists()
    assert not named.filter(appointment__company=salon).exists()
    report = ReconciliationRun.objects.get()
    assert (report.healed, report.closed) == (6, 2)


def test_what_two_companies_share_at_cal_com_is_followed_by_the_one_that_has_it(calcom, salon, phone):
    calcom.web_book("open", start=at(8), silent=True)
    call_command("reconcile", "--json")
    other = make_salon(calcom, slug="other", number="+493087654321")
    phone(from_number="+4915100000001").book(at(9))
    phone(from_number="+4915100000002").book(at(10))
    mover = phone(from_number="+4915100000003")
    mover.book(at(11))
    _, cancelled, took_place, _ = calcom.bookings
    calcom.web_cancel(cancelled.uid, silent=True)
    calcom.web_reschedule(move(mover, at(14)).uid, at(16), silent=True)
    took_place.start = calcom.clock.now().replace(microsecond=0) - timedelta(hours=3)
    took_place.end = took_place.start + timedelta(minutes=30)
    Appointment.objects.filter(calcom_booking_uid=took_place.uid).update(
        starts_at=took_place.start, ends_at=took_place.end, idempotency_key=None
    )
    before = rows_of(salon)
    call_command("reconcile", "--json", "--company", other.slug)
    assert rows_of(salon) == before
    assert not any(rows_of(other).values())


def test_arguments_that_name_somebody_elses_things_are_ignored(
    calcom, phone, studio_phone, salon, studio, verdict
):
    theirs = studio_phone(from_number=SECOND_CALLER)
    assert theirs.book(at(9), customer_name="Ben Kurz").code == "booked"
    appointment = Appointment.objects.get()
    before = Appointment.objects.values().get()
    caller = phone()
    answer = caller.book(
        at(10),
        company=studio.slug,
        company_id=studio.pk,
        tenant="studio",
        endpoint_id=str(studio.endpoint_id),
        branch="mitte",
        customer_id=appointment.customer_id,
        customer=appointment.customer_id,
        appointment=appointment.pk,
        appointment_id=appointment.pk,
        uid=appointment.calcom_booking_uid,
        rescheduleUid=appointment.calcom_booking_uid,
        service_id=appointment.service_id,
        event_type_id=999,
        eventTypeId=999,
        calcom_event_type_id=999,
        call_id=theirs.call_id,
        metadata={"company": "studio", "call_id": theirs.call_id},
        api_key="cal_studio_key",
    )
    assert answer.code == "booked", answer.body
    assert len(calcom.active_bookings("salon")) == len(calcom.active_bookings("studio")) == 1
    made: Any = Appointment.objects.get(company=salon)
    assert made.customer.company == made.service.company == made.branch.company == made.call.company == salon
    assert calcom.active_bookings("salon")[0].metadata["company"] == "salon"
    assert Appointment.objects.values().get(pk=appointment.pk) == before
    verdict()


def test_a_service_of_another_company_is_unknown_here(calcom, phone, studio, verdict):
    Service.objects.create(
        company=studio, slug="tattoo", name="Tattoo", duration_minutes=30, calcom_event_type_id=1
    )
    answer = phone().book(at(10), service="tattoo")
    assert answer.code == "unknown_service"
    assert "tattoo" not in {service["slug"] for service in answer.body["services"]}
    assert "Tattoo" not in answer.body["say"]
    assert not calcom.requests("create")
    verdict()


def test_every_row_of_a_request_belongs_to_the_company_of_the_door(
    calcom, phone, studio_phone, salon, studio, verdict
):
    phone().book(at(10))
    studio_phone().book("irgendwann")
    rows: list[Any] = [*FunctionCall.objects.all(), *Appointment.objects.all()]
    assert len(rows) == 3
    for row in rows:
        assert row.call.company == row.company
    assert FunctionCall.objects.get(company=studio).code == "invalid_request"
    verdict()


# --- Two customers


@pytest.mark.parametrize("number", ["anonymous", SECOND_CALLER])
def test_who_names_somebody_elses_number_learns_nothing_about_their_appointments(
    calcom, phone, verdict, number
):
    """A stranger may say any number; whether it has an appointment is the business of its owner."""
    assert phone().book(at(10), service="colour").code == "booked"
    mine: Any = Appointment.objects.get()
    answer = phone(from_number=number).book(
        at(10), service="colour", customer_name="Ben Kurz", customer_phone="0151 12345678"
    )
    assert mine.calcom_booking_uid not in str(answer.body)
    assert "Anna" not in str(answer.body)
    assert answer.body["appointment"] is None
    assert "There is already an appointment" not in answer.body["say"]
    verdict()


def test_a_taken_slot_does_not_say_who_has_taken_it(calcom, phone, verdict):
    first = phone().book(at(10), customer_email="anna@example.org")
    answer = phone(from_number=SECOND_CALLER).book(at(10), customer_name="Ben Kurz")
    assert answer.code == "slot_taken"
    for secret in ("Anna", "Weber", "anna@", "12345678", first.uid):
        assert secret not in str(answer.body)
    verdict()


def test_waiting_for_another_companys_request_is_never_needed(calcom, phone, studio_phone, verdict):
    """The same customer data and the same slot at once, in two companies: neither joins the other."""
    calcom.state.thinking_seconds = 0.2
    began = time.monotonic()
    answers = at_once(
        lambda: phone(call_id="call_twin_000001").book(at(10)),
        lambda: studio_phone(call_id="call_twin_000001").book(at(10)),
    )
    assert [answer.code for answer in answers] == ["booked", "booked"]
    assert answers[0].uid != answers[1].uid
    assert time.monotonic() - began < 5
    verdict()

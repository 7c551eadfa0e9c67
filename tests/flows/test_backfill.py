"""`manage.py backfill`: past calls get the appointment they have lost, once, and only if it is theirs."""

from __future__ import annotations

import datetime as dt
import json
import os
import signal
from collections.abc import Callable
from typing import Any

import pytest
from django.db import connection
from django.db.models import JSONField, Value
from django.utils import timezone

from booking.calcom.simulator.server import Simulator
from booking.calcom.simulator.state import Booking
from booking.models import Appointment, BookingAttempt, FormerUid, Service, SyncFailure
from calls.models import Call
from customers.models import Branch, Company, Customer
from sync.audit import audit
from sync.backfill import LEASE, Left, Report, backfill
from sync.models import AuditEntry, Lease
from sync.turn import unique_holder
from tests.factories import (
    AppointmentFactory,
    BranchFactory,
    CallFactory,
    CustomerFactory,
    ServiceFactory,
)
from tests.flows.at_once import just_before
from tests.flows.conftest import make_salon
from tests.flows.phone import Phone, at
from tests.waiting import wait_until

pytestmark = pytest.mark.django_db(transaction=True)

ANNA = "+4915112345678"


@pytest.fixture
def lost(calcom: Simulator, salon: Company) -> Callable[..., Call]:
    """A confirmed call whose appointment is lost; its booking stands at Cal.com, unless `at_calcom` is False.

    `details`: what the call says about it, as it is stored; by default as we write it.
    """
    branch = Branch.objects.get(company=salon)

    def make(
        *,
        start: dt.datetime | None = None,
        at_calcom: bool = True,
        details: Any = ...,
        metadata: dict[str, str] | None = None,
        seeded: dict[str, Any] | None = None,
        **fields: Any,
    ) -> Call:
        start = start or at(10)
        fields.setdefault("customer", None)
        if fields["customer"] is None and "from_number" not in fields:
            customer = Customer.objects.filter(company=salon, phone=ANNA).first()
            fields["customer"] = customer or CustomerFactory(company=salon, phone=ANNA, name="Anna Weber")
        call: Call = CallFactory(
            branch=fields.pop("branch", branch),
            company=salon,
            booking_confirmed=True,
            appointment_made=True,
            **fields,
        )
        booking = None
        if at_calcom:
            known = {"call_id": call.retell_call_id} if metadata is None else metadata
            booking = seed(calcom, start, metadata=known, **(seeded or {}))
        if details is ...:
            details = {
                "service": "haircut",
                "start": start.astimezone(dt.UTC).isoformat(),
                "attendee": {"name": "Anna Weber", "phone": ANNA},
                "uid": booking.uid if booking else "neverWasThere",
            }
        call.booking_details = details(booking) if callable(details) else details
        call.save()
        return call

    return make


def seed(calcom: Simulator, start: dt.datetime, **fields: Any) -> Booking:
    return calcom.seed_booking(
        fields.pop("event_type", "open"), start=start, **{"name": "Anna Weber", "phone": ANNA, **fields}
    )


def run(company: Company, **options: Any) -> Report:
    return backfill(company=company, **options)


def reason_of(report: Report) -> str:
    (left,) = report.skipped
    return left.reason


def tables() -> list[list[dict[str, Any]]]:
    models: tuple[Any, ...] = (Call, Appointment, Customer, AuditEntry, SyncFailure, FormerUid, Lease)
    return [list(model.objects.order_by("pk").values()) for model in models]


def changes_at(calcom: Simulator) -> list[Any]:
    return [entry for entry in calcom.log if entry.method != "GET"]


# --- The history


def test_of_23_confirmed_calls_13_get_their_appointment_anew_and_10_their_backlink(
    calcom, salon, phone, run_manage, manage_here, verdict
):
    """All booked by phone; then rows were deleted, and links overwritten, by hand."""
    uids = [phone(from_number=f"+49151200000{n:02}").book(at(n)).uid for n in range(23)]
    calls = list(Call.objects.filter(company=salon).order_by("pk"))
    assert len({*uids} - {None}) == len(calls) == 23
    before = list(
        Appointment.objects.order_by("starts_at").values_list("call", "calcom_booking_uid", "starts_at")
    )
    lost = calls[::2] + calls[1:2]
    Call.objects.update(appointment=None)
    Appointment.objects.filter(call__in=lost).delete()
    assert (len(lost), Appointment.objects.count()) == (13, 10)
    calcom.clear_log()

    first = run_manage("backfill", "--json")

    report = json.loads(first.stdout)
    assert first.returncode == 0, first.stderr
    counts = {name: report[name] for name in ("found", "linked", "created", "skipped", "errors")}
    assert counts == {"found": 23, "linked": 10, "created": 13, "skipped": 0, "errors": 0}
    after = Appointment.objects.order_by("starts_at").values_list("call", "calcom_booking_uid", "starts_at")
    assert list(after) == before
    for call in Call.objects.select_related("appointment"):
        assert call.appointment is not None
        assert call.appointment.call_id == call.pk
        assert call.booking_confirmed
        assert call.appointment_made
    made = Appointment.objects.filter(source="backfill_script")
    assert {row.call for row in made} == set(lost)
    assert {(row.sync_origin, row.calcom_sync_status, row.status) for row in made} == {
        ("system", "synced", "scheduled")
    }
    assert {row.metadata["call_id"] for row in made} == {call.retell_call_id for call in lost}
    assert not changes_at(calcom)
    assert len(calcom.log) == 1, "13 bookings of a day are read from one listing"
    assert sorted(AuditEntry.objects.values_list("action", flat=True)) == (
        ["backfill.created"] * 13 + ["backfill.linked"] * 10
    )
    rows = tables()
    asked = len(calcom.log)

    second = manage_here("backfill", "--json")

    assert (second.returncode, json.loads(second.stdout)["found"]) == (0, 0)
    assert tables()[:-1] == rows[:-1]
    assert len(calcom.log) == asked
    assert manage_here("audit").returncode == 0
    verdict()


# --- Linking


def test_an_appointment_that_names_the_call_is_linked_without_asking_cal_com(calcom, salon, haircut):
    call = CallFactory(
        company=salon, branch__company=salon, booking_confirmed=True, booking_details="{broken"
    )
    over = AppointmentFactory(call=call, service=haircut, status="cancelled")
    standing = AppointmentFactory(call=call, service=haircut)
    AppointmentFactory(call=call, service=haircut, status="cancelled")
    AppointmentFactory(call=call, service=haircut, status="failed", calcom_booking_uid=None)
    calcom.clear_log()

    assert (run(salon).linked, calcom.log) == (1, [])

    call.refresh_from_db()
    assert (call.appointment, call.customer, call.appointment_made) == (standing, standing.customer, True)
    assert call.booking_details == "{broken", "what is there is kept"
    assert over.backlinked_calls.count() == 0


@pytest.mark.parametrize("nothing", [None, Value(None, JSONField())], ids=["NULL", "JSON null"])
def test_a_call_without_notes_is_given_them_with_its_link(calcom, salon, phone, haircut, nothing):
    phone().book(at(10))
    call = Call.objects.get()
    written = call.booking_details
    Call.objects.update(appointment=None, booking_details=nothing, appointment_made=False)

    assert run(salon).linked == 1

    call.refresh_from_db()
    assert call.booking_details == written
    assert call.appointment_made


def test_what_never_came_about_is_nothing_to_link_to(salon, haircut, lost):
    call = lost(at_calcom=False)
    AppointmentFactory(call=call, service=haircut, status="failed", calcom_booking_uid=None)
    AppointmentFactory(call=call, service=haircut, status="pending", calcom_booking_uid=None)

    assert reason_of(run(salon)) == "not_at_calcom"


@pytest.mark.parametrize("minutes", [-5, 0, 5])
def test_the_one_appointment_of_the_customer_at_that_time_is_linked(salon, haircut, lost, calcom, minutes):
    call = lost(at_calcom=False, details={"start": at(10).isoformat()})
    standing = web_appointment(haircut, call.customer, start=at(10) + dt.timedelta(minutes=minutes))
    calcom.clear_log()

    report = run(salon)

    assert (report.linked, calcom.log) == (1, [])
    call.refresh_from_db()
    standing.refresh_from_db()
    assert (call.appointment, standing.call) == (standing, call)
    assert AuditEntry.objects.get().details == {"by": "customer_and_time"}


def test_a_time_without_an_offset_is_one_of_the_branch_that_was_called(salon, haircut, lost):
    branch = Branch.objects.create(company=salon, slug="ny", name="New York", timezone="America/New_York")
    start = at(10).astimezone(branch.zone)
    call = lost(branch=branch, at_calcom=False, details={"start": f"{start:%Y-%m-%d %H:%M}"})
    standing = web_appointment(haircut, call.customer, start=start)
    run(salon)
    call.refresh_from_db()
    assert call.appointment == standing


def test_six_minutes_off_is_another_appointment(salon, haircut, lost):
    call = lost(at_calcom=False, details={"start": at(10).isoformat()})
    web_appointment(haircut, call.customer, start=at(10) + dt.timedelta(minutes=6))

    assert reason_of(run(salon)) == "booking_not_identifiable"


def test_what_lies_between_the_times_of_two_calls_is_neither_ones(calcom, salon, haircut, lost):
    """For many calls at once, all is read that lies between the first of their times and the last."""
    call = lost(at_calcom=False, details={"start": at(10).isoformat()})
    lost(
        at_calcom=False,
        customer=CustomerFactory(company=salon, phone="+4915199999999", name="Berta Klein"),
        details={"start": at(16).isoformat()},
    )
    web_appointment(haircut, call.customer, start=at(13))

    report = run(salon)

    assert (report.linked, report.reasons) == (0, {"booking_not_identifiable": 2})


def test_another_service_at_that_time_is_another_appointment(salon, haircut, lost):
    shave = Service.objects.get(company=salon, slug="shave")
    call = lost(at_calcom=False, details={"start": at(10).isoformat(), "service_id": shave.pk})
    web_appointment(haircut, call.customer, start=at(10))

    assert reason_of(run(salon)) == "booking_not_identifiable"


def test_another_uid_at_that_time_is_another_appointment(salon, haircut, lost):
    call = lost(at_calcom=False)
    web_appointment(haircut, call.customer, start=at(10))

    assert reason_of(run(salon)) == "not_at_calcom"


def test_two_candidates_are_none(salon, haircut, lost):
    call = lost(at_calcom=False, details={"start": at(10).isoformat()})
    for _ in range(2):
        web_appointment(haircut, call.customer, start=at(10))

    report = run(salon)

    assert (report.linked, reason_of(report)) == (0, "booking_not_identifiable")


def test_an_appointment_of_another_call_is_not_taken_by_its_time(salon, haircut, lost):
    call = lost(at_calcom=False, details={"start": at(10).isoformat()})
    owner = CallFactory(company=salon, branch=call.branch, customer=call.customer)
    AppointmentFactory(call=owner, service=haircut, starts_at=at(10))

    assert reason_of(run(salon)) == "booking_not_identifiable"


@pytest.mark.parametrize("status", ["cancelled", "failed"])
def test_what_was_cancelled_is_linked_only_if_the_call_names_it(salon, haircut, lost, status):
    call = lost(at_calcom=False, details={"start": at(10).isoformat()})
    over = web_appointment(haircut, call.customer, start=at(10), status=status)
    assert run(salon).linked == 0
    Call.objects.update(booking_details={"start": at(10).isoformat(), "uid": over.calcom_booking_uid})

    assert run(salon).linked == 1
    assert over.backlinked_calls.get() == call


def test_an_appointment_is_recognised_by_a_uid_it_had_before_it_was_moved(salon, haircut, lost, calcom):
    call = lost(at_calcom=False, details={"calcom_booking_uid": "beforeTheMove"})
    standing = web_appointment(haircut, call.customer, start=at(16))
    FormerUid.objects.create(appointment=standing, uid="beforeTheMove")

    assert run(salon).linked == 1
    call.refresh_from_db()
    assert call.appointment == standing


def test_a_uid_that_another_customers_appointment_has_links_nothing(salon, haircut, lost):
    lost(at_calcom=False, details={"uid": "ofBerta"})
    stranger = CustomerFactory(company=salon, phone="+4915199999999", name="Berta Klein")
    web_appointment(haircut, stranger, start=at(10), calcom_booking_uid="ofBerta")

    report = run(salon)

    assert (report.linked, report.created) == (0, 0)
    assert reason_of(report) == "not_at_calcom"


def web_appointment(
    service: Service, customer: Customer, *, start: dt.datetime, **fields: Any
) -> Appointment:
    made: Appointment = AppointmentFactory(
        call=None,
        company=service.company,
        branch=None,
        customer=customer,
        service=service,
        starts_at=start,
        source="calcom",
        **fields,
    )
    return made


# --- Creating


def test_the_booking_counts_and_not_what_the_call_says_about_it(calcom, salon, lost, haircut):
    call = lost(
        start=at(11),
        details=lambda booking: {"uid": booking.uid, "start": at(10).isoformat(), "service": "colour"},
        seeded={"event_type": "confirm_open", "status": "pending"},
    )

    assert run(salon).created == 1

    made = Appointment.objects.get()
    (booking,) = calcom.bookings
    assert (made.starts_at, made.ends_at) == (at(11), at(11, 30))
    assert (made.service and made.service.slug, made.status) == ("advice", "requested")
    assert (made.calcom_booking_uid, made.calcom_booking_id) == (booking.uid, booking.id)
    assert (made.customer, made.branch, made.call) == (call.customer, call.branch, call)
    assert made.attendee_name == "Anna Weber"
    assert abs(made.calcom_updated_at - booking.updated_at) < dt.timedelta(milliseconds=1)
    call.refresh_from_db()
    assert call.appointment == made


@pytest.mark.parametrize(
    ("facts", "status"),
    [({}, "completed"), ({"absent": True}, "no_show")],
    ids=["over", "nobody came"],
)
def test_what_is_over_is_stored_as_over(calcom, salon, lost, facts, status):
    yesterday = (timezone.now() - dt.timedelta(days=1)).replace(microsecond=0)
    lost(start=yesterday)
    if facts:
        calcom.web_no_show(calcom.bookings[0].uid)

    assert run(salon).created == 1
    assert Appointment.objects.get().status == status


@pytest.mark.parametrize("how", ["cancelled", "declined"])
def test_a_cancelled_booking_is_never_revived(calcom, salon, lost, how):
    lost(seeded={"status": "rejected" if how == "declined" else "cancelled"})

    report = run(salon)

    assert (report.created, reason_of(report)) == (0, "cancelled_at_calcom")
    assert not Appointment.objects.exists()
    assert not changes_at(calcom)


def test_a_booking_that_was_moved_is_followed_to_where_it_is(calcom, salon, lost):
    call = lost(start=at(10))
    first = calcom.bookings[0].uid
    second = calcom.web_reschedule(first, at(12)).uid
    third = calcom.web_reschedule(second, at(15, days=9)).uid

    assert run(salon).created == 1

    made = Appointment.objects.get()
    assert (made.calcom_booking_uid, made.starts_at, made.call) == (third, at(15, days=9), call)
    assert set(FormerUid.objects.values_list("uid", flat=True)) == {first, second}


def test_without_a_uid_the_booking_of_that_day_with_the_calls_id_is_taken(calcom, salon, lost):
    lost(details={"appointment_time": at(10).isoformat(), "customer_name": "Anna Weber"})
    seed(calcom, at(10, 30), metadata={"call_id": "another_call"})
    seed(calcom, at(11), metadata={})

    assert run(salon).created == 1
    assert Appointment.objects.get().starts_at == at(10)


def test_without_a_uid_a_strangers_booking_at_that_very_time_is_not_adopted(calcom, salon, lost):
    lost(at_calcom=False, details={"start": at(10).isoformat()})
    seed(calcom, at(10), metadata={}, name="Berta Klein", phone="+4915199999999")
    seed(calcom, at(10, 5), metadata={}, name="Clara Gross", email="callers@salon.example", phone=None)

    report = run(salon)

    assert (report.created, reason_of(report)) == (0, "booking_not_identifiable")
    assert not Appointment.objects.exists()


def test_without_a_uid_two_bookings_of_one_call_are_told_apart_by_their_time(calcom, salon, lost):
    call = lost(details={"start": at(10).isoformat()})
    seed(calcom, at(15), metadata={"call_id": call.retell_call_id})

    assert run(salon).created == 1
    assert Appointment.objects.get().starts_at == at(10)


def test_a_number_instead_of_a_uid_finds_the_booking_of_that_day(calcom, salon, lost):
    lost(details=lambda booking: {"booking_id": booking.id, "start": at(10).isoformat()}, metadata={})

    assert run(salon).created == 1
    assert Appointment.objects.get().calcom_booking_uid == calcom.bookings[0].uid


@pytest.mark.parametrize("encoded", [1, 2, 3])
def test_notes_that_were_encoded_several_times_are_read(calcom, salon, lost, encoded):
    def details(booking: Booking) -> str:
        text: Any = {"uid": booking.uid}
        for _ in range(encoded):
            text = json.dumps(text)
        return str(text)

    lost(details=details)

    assert run(salon).created == 1


@pytest.mark.parametrize(
    ("details", "reason"),
    [
        (None, "missing_details"),
        ("", "missing_details"),
        ({}, "missing_details"),
        ("null", "missing_details"),
        ("Termin am Montag", "unreadable_details"),
        ('{"uid": ', "unreadable_details"),
        ([1, 2], "unreadable_details"),
        (7, "unreadable_details"),
        ({"customer_name": "Anna Weber"}, "incomplete_details"),
        ({"uid": "{{booking_uid}}"}, "incomplete_details"),
        ({"uid": "../event-types/1"}, "incomplete_details"),
        ({"booking_id": 77}, "booking_not_identifiable"),
    ],
)
def test_notes_that_name_no_booking_are_a_reason(calcom, salon, lost, details, reason):
    call = lost(at_calcom=False, details=details)
    calcom.clear_log()

    report = run(salon)

    assert report.skipped == [Left(call.pk, call.retell_call_id, reason)]
    assert (report.created, report.linked, calcom.log) == (0, 0, [])


def test_a_booking_of_an_event_type_that_is_none_of_ours_is_a_missing_service(salon, lost):
    lost(seeded={"event_type": "paid"})
    assert reason_of(run(salon)) == "missing_service"


def test_where_the_branch_cannot_be_told_it_is_missing(salon, lost):
    BranchFactory(company=salon)
    lost(branch=None, to_number="+4930999999")
    assert reason_of(run(salon)) == "missing_branch"


def test_a_branch_is_told_by_the_number_that_was_called(salon, lost):
    mitte = Branch.objects.get(company=salon)
    BranchFactory(company=salon)
    lost(branch=None, to_number="+493012345678")

    assert run(salon).created == 1
    assert Appointment.objects.get().branch == mitte


def test_a_caller_of_whom_nothing_is_known_is_a_missing_customer(salon, lost):
    lost(
        customer=None,
        from_number="anonymous",
        details=lambda booking: {"uid": booking.uid},
        seeded={"attendees": [], "phone": None},
    )
    assert reason_of(run(salon)) == "missing_customer"


def test_a_call_without_customer_is_given_the_one_of_its_number(salon, lost):
    known = CustomerFactory(company=salon, phone="+4915112340000", name="Dora Lang")
    CustomerFactory(phone="+4915112340000", name="Of another company")
    call = lost(
        customer=None,
        from_number="+4915112340000",
        details=lambda booking: {"uid": booking.uid},
    )

    assert run(salon).created == 1

    call.refresh_from_db()
    assert (call.customer, Appointment.objects.get().customer) == (known, known)


def test_each_anonymous_caller_is_a_customer_of_that_call(salon, lost):
    for hour in (10, 11):
        lost(
            start=at(hour),
            customer=None,
            from_number="anonymous",
            details=lambda booking: {"uid": booking.uid, "customer_name": "Emil Blum"},
            seeded={"phone": None, "email": "anrufer@salon.example"},
        )

    assert run(salon).created == 2

    customers = list(Customer.objects.filter(company=salon))
    assert {customer.anonymous_call_id for customer in customers} == set(
        Call.objects.values_list("retell_call_id", flat=True)
    )
    assert {(customer.name, customer.phone) for customer in customers} == {("Emil Blum", None)}
    assert run(salon).found == 0


# --- Two calls, one booking


def test_two_calls_of_one_customer_with_one_booking_share_one_appointment(calcom, salon, lost):
    second = lost(started_at=timezone.now(), metadata={})
    first = lost(
        at_calcom=False, started_at=timezone.now() - dt.timedelta(hours=1), details=second.booking_details
    )

    report = run(salon)

    assert (report.created, report.linked, report.skipped) == (1, 1, [])
    made = Appointment.objects.get()
    assert made.call == first
    assert set(made.backlinked_calls.all()) == {first, second}
    assert run(salon).found == 0


def test_the_booking_of_one_customer_is_not_given_to_anothers_call(calcom, salon, lost):
    first = lost(started_at=timezone.now() - dt.timedelta(hours=1), metadata={})
    other = lost(
        at_calcom=False,
        started_at=timezone.now(),
        customer=CustomerFactory(company=salon, phone="+4915199999999", name="Berta Klein"),
        details=first.booking_details,
    )

    for _ in range(2):
        report = run(salon)
        assert report.skipped == [Left(other.pk, other.retell_call_id, "booking_belongs_to_another_call")]
    assert Appointment.objects.get().call == first


def test_a_booking_that_two_calls_know_by_different_names_is_one(calcom, salon, lost):
    """One names the booking as it was before it was moved, the other as it is now."""
    first = lost(
        start=at(10), started_at=timezone.now() - dt.timedelta(hours=1), details={"start": at(10).isoformat()}
    )
    moved = calcom.web_reschedule(calcom.bookings[0].uid, at(15, days=20))
    lost(at_calcom=False, started_at=timezone.now(), details={"uid": moved.uid})

    report = run(salon)

    assert (report.created, report.linked, report.skipped, report.errors) == (1, 1, [], [])
    assert Appointment.objects.get().call == first


def test_the_call_that_the_booking_names_comes_before_an_earlier_one(calcom, salon, lost):
    owner = lost(started_at=timezone.now())
    lost(
        at_calcom=False,
        started_at=timezone.now() - dt.timedelta(days=1),
        customer=CustomerFactory(company=salon, phone="+4915199999999", name="Berta Klein"),
        details=owner.booking_details,
    )

    report = run(salon)

    assert (report.created, reason_of(report)) == (1, "booking_belongs_to_another_call")
    assert Appointment.objects.get().call == owner


def test_a_booking_that_names_another_call_is_not_taken(salon, lost):
    lost(metadata={"call_id": "call_of_somebody"})
    assert reason_of(run(salon)) == "booking_belongs_to_another_call"


def test_a_booking_with_another_name_and_another_number_is_not_taken(salon, lost):
    lost(metadata={}, seeded={"name": "Berta Klein", "phone": "+4915199999999"})
    assert reason_of(run(salon)) == "booking_belongs_to_another_customer"


def test_a_booking_with_another_name_and_no_number_is_not_taken(salon, lost):
    """All callers once had one address and no number, and Cal.com handed out the booking of another one."""
    lost(metadata={}, seeded={"name": "Berta Klein", "phone": None, "email": "callers@salon.test"})
    assert reason_of(run(salon)) == "booking_belongs_to_another_customer"
    assert not Appointment.objects.exists()


@pytest.mark.parametrize("name", ["A. Weber", "Weber, Anna", "Unbekannt"])
def test_a_booking_without_a_number_is_taken_where_the_name_may_be_the_callers(salon, lost, name):
    lost(metadata={}, seeded={"name": name, "phone": None, "email": "callers@salon.test"})
    assert run(salon).created == 1


def test_two_bookings_for_one_intention_are_left_to_a_person(calcom, salon, lost):
    lost(start=at(10))
    lost(start=at(10))

    report = run(salon)

    assert (report.created, reason_of(report)) == (1, "duplicate_booking")
    assert not changes_at(calcom)


def test_what_the_customer_has_at_that_time_already_is_not_made_a_second_time(salon, haircut, lost):
    """The one that stands was made on the web, so no key of ours keeps the other one out."""
    call = lost()
    standing = web_appointment(haircut, call.customer, start=at(10))

    assert reason_of(run(salon)) == "duplicate_booking"
    assert Appointment.objects.get() == standing


@pytest.mark.parametrize("known_by", ["row", "number"])
def test_what_the_customer_has_cancelled_at_that_time_keeps_nothing_out(salon, haircut, lost, known_by):
    anna = CustomerFactory(company=salon, phone=ANNA, name="Anna Weber")
    web_appointment(haircut, anna, start=at(10), status="cancelled")
    lost(**({"from_number": ANNA} if known_by == "number" else {}))

    assert run(salon).created == 1
    assert Appointment.objects.latest("pk").customer == anna


def test_a_cancelled_booking_whose_appointment_still_stands_is_left_to_the_reconciliation(
    calcom, salon, haircut, lost
):
    """That both are one is known to Cal.com alone, where it was moved before it was cancelled."""
    call = lost()
    moved = calcom.web_reschedule(calcom.bookings[0].uid, at(15))
    web_appointment(haircut, call.customer, start=at(15), calcom_booking_uid=moved.uid)
    calcom.web_cancel(moved.uid)

    assert reason_of(run(salon)) == "left_to_reconcile"


def test_a_booking_whose_attempt_is_known_is_left_to_the_one_who_settles_it(calcom, salon, phone, settings):
    settings.ANSWER_BUDGET_SECONDS = 3
    calcom.faults.timeout_after_commit()
    assert phone().book(at(10)).code == "checking"
    attempt = BookingAttempt.objects.get()
    Call.objects.update(
        booking_confirmed=True, booking_details={"uid": calcom.bookings[0].uid, "start": at(10).isoformat()}
    )

    report = run(salon)

    assert (report.created, report.linked, reason_of(report)) == (0, 0, "left_to_reconcile")
    attempt.refresh_from_db()
    assert attempt.state == "unknown"


def test_details_too_deep_to_be_read_do_not_stop_the_others(salon, lost):
    if connection.vendor != "postgresql":
        pytest.skip("SQLite refuses to store them")
    call = lost(start=at(9), at_calcom=False)
    lost(start=at(10))
    with connection.cursor() as cursor:
        deep = '{"uid": ' + "[" * 3_000 + "]" * 3_000 + "}"
        cursor.execute("UPDATE calls SET booking_details = %s::jsonb WHERE id = %s", [deep, call.pk])

    report = run(salon)

    assert report.created == 1
    assert report.skipped == [Left(call.pk, call.retell_call_id, "unreadable_details")]


@pytest.mark.parametrize("start", ["9999-12-31T23:59:00Z", "0001-01-01T00:00:00Z"])
def test_a_time_at_the_end_of_all_years_does_not_stop_the_others(salon, lost, start):
    call = lost(start=at(9), at_calcom=False, details={"service": "haircut", "start": start})
    lost(start=at(10))

    report = run(salon)

    assert report.created == 1
    assert report.skipped == [Left(call.pk, call.retell_call_id, "incomplete_details")]


# --- The tenant wall


def test_nothing_crosses_companies(calcom, salon, lost, haircut):
    other = make_salon(calcom, slug="other", number="+493087654321")
    foreign = AppointmentFactory(
        call=None, company=other, branch=None, customer=CustomerFactory(company=other, phone=ANNA),
        service=ServiceFactory(company=other), calcom_booking_uid="ofTheOther", starts_at=at(10),
    )  # fmt: skip
    seed(calcom, at(10), uid="ofTheOther", metadata={})
    of_the_other = {"uid": "ofTheOther", "start": at(10).isoformat()}
    lost(at_calcom=False, details=of_the_other)
    lost(at_calcom=False, details=of_the_other, from_number="anonymous")
    lost(start=at(12), metadata={"company": "other"})

    report = run(salon)

    assert {left.reason for left in report.skipped} == {"booking_belongs_to_another_company"}
    assert (len(report.skipped), report.linked, report.created) == (3, 0, 0)
    assert Appointment.objects.get() == foreign
    assert foreign.backlinked_calls.count() == 0


def test_a_customer_and_a_branch_of_another_company_are_none_of_the_calls(salon, lost):
    stranger = CustomerFactory(phone="+4915100000001")
    call = lost(customer=stranger, from_number=ANNA, branch=BranchFactory(company=stranger.company))

    assert run(salon).created == 1
    made = Appointment.objects.get()
    assert made.customer is not None
    assert made.customer.company == salon
    assert made.branch == salon.branches.get()
    call.refresh_from_db()
    assert call.customer.company == salon


def test_only_the_company_that_is_named_is_worked(calcom, salon, lost, manage_here):
    other = make_salon(calcom, slug="other", number="+493087654321")
    lost()

    assert json.loads(manage_here("backfill", "--company", "other", "--json").stdout)["found"] == 0
    assert manage_here("backfill", "--company", "nobody").returncode == 2
    report = json.loads(manage_here("backfill", "--company", salon.slug, "--json").stdout)
    assert report["created"] == 1
    assert list(report["companies"]) == [salon.slug]
    assert not Appointment.objects.filter(company=other).exists()


# --- What Cal.com does not tell


@pytest.mark.parametrize(
    "fault",
    [{"status": 500}, {"status": 401}, {"reset": True}, {"status": 200, "body": "<html>"}],
    ids=["500", "401", "reset", "not JSON"],
)
@pytest.mark.parametrize("details", [..., {"start": at(10).isoformat()}], ids=["uid", "day"])
def test_what_could_not_be_asked_is_an_error_and_left_for_the_next_run(
    calcom, salon, lost, manage_here, fault, details
):
    lost(details=details)
    calcom.faults.add("any", times=None, **fault)

    ended = manage_here("backfill", "--json")

    report = json.loads(ended.stdout)
    assert (ended.returncode, report["errors"], report["skipped"], report["created"]) == (2, 1, 0, 0)
    calcom.faults.clear()
    assert json.loads(manage_here("backfill", "--json").stdout)["created"] == 1


def test_a_company_without_a_key_is_worked_as_far_as_that_goes(salon, lost, haircut, manage_here):
    call = lost()
    linked = CallFactory(company=salon, branch=call.branch, booking_confirmed=True)
    AppointmentFactory(call=linked, service=haircut)
    salon.calcom_api_key = ""
    salon.save()

    ended = manage_here("backfill", "--json")

    report = json.loads(ended.stdout)
    assert (ended.returncode, report["linked"], report["errors"]) == (2, 1, 1)


def test_a_listing_that_breaks_off_is_completed_by_asking_for_each(calcom, salon, lost):
    for hour in range(8, 20):
        lost(start=at(hour))
    calcom.faults.add("list", times=None, status=500)

    report = run(salon)

    assert (report.created, report.errors, report.skipped) == (12, [], [])


def test_an_empty_listing_proves_nothing(calcom, salon, lost):
    for hour in range(8, 20):
        lost(start=at(hour))
    empty = {"status": "success", "data": [], "pagination": {}}
    calcom.faults.add("list", times=None, status=200, body=empty)

    report = run(salon)

    assert (report.created, report.skipped) == (12, [])


def test_one_booking_that_cannot_be_read_does_not_stop_the_others(calcom, salon, lost, manage_here):
    for hour in (8, 9, 10):
        lost(start=at(hour))
    calcom.faults.add("get", times=None, path_contains=calcom.bookings[1].uid, status=500)

    ended = manage_here("backfill", "--json")

    report = json.loads(ended.stdout)
    assert (ended.returncode, report["created"], report["errors"]) == (1, 2, 1)


def test_once_cal_com_is_down_it_is_not_asked_for_every_call(calcom, salon, lost):
    for hour in range(8, 18):
        lost(start=at(hour))
    calcom.clear_log()
    calcom.faults.add("any", times=None, status=503)

    report = run(salon)

    assert len(report.errors) == 10
    assert len(calcom.log) == 9, "three questions, each repeated twice"


def test_the_second_key_is_used_where_there_is_one(calcom, salon, lost):
    lost()
    salon.calcom_reconcile_api_key = "cal_second_key"
    salon.save()
    calcom.state.add_key(calcom.bookings[0].account, "cal_second_key")
    calcom.state.revoke_key(salon.calcom_api_key)

    assert run(salon).created == 1


# --- The run


def test_a_dry_run_says_the_same_and_writes_nothing(calcom, salon, lost, haircut, manage_here):
    call = lost(start=at(9))
    lost(start=at(11), from_number="+4915112340001", details=lambda booking: {"uid": booking.uid})
    lost(start=at(12), seeded={"status": "cancelled"})
    lost(at_calcom=False, details=call.booking_details)
    linked = CallFactory(company=salon, branch=call.branch, booking_confirmed=True)
    AppointmentFactory(call=linked, service=haircut)
    rows = tables()
    calcom.clear_log()

    dry = json.loads(manage_here("backfill", "--dry-run", "--json").stdout)

    assert tables() == rows
    assert calcom.log
    assert not changes_at(calcom)
    real = json.loads(manage_here("backfill", "--json").stdout)
    for name in ("found", "linked", "created", "skipped", "errors"):
        assert dry[name] == real[name], name
    assert (real["linked"], real["created"], real["skipped"]) == (2, 2, 1)


def test_since_leaves_earlier_calls_alone(salon, lost, manage_here):
    old = lost(start=at(9), started_at=dt.datetime(2026, 10, 1, tzinfo=dt.UTC))
    lost(start=at(11), started_at=None, created_at=dt.datetime(2026, 11, 2, tzinfo=dt.UTC))

    report = json.loads(manage_here("backfill", "--since", "2026-11-01", "--json").stdout)

    assert (report["found"], report["created"]) == (1, 1)
    old.refresh_from_db()
    assert old.appointment is None


def test_the_table_names_what_is_left_and_shows_nobody(salon, lost, run_manage):
    call = lost(seeded={"status": "cancelled"})

    ended = run_manage("backfill")

    assert ended.returncode == 1
    assert "cancelled_at_calcom" in ended.stdout
    assert call.retell_call_id in ended.stdout
    assert "Anna" not in ended.stdout + ended.stderr
    assert ANNA not in ended.stdout + ended.stderr


def test_a_row_the_database_refuses_does_not_stop_the_others(calcom, salon, lost, refusing):
    for hour in (8, 9, 10):
        lost(start=at(hour))
    theirs = f"NEW.calcom_booking_uid = '{calcom.bookings[1].uid}'"
    refusing.add("appointments", "INSERT", when=theirs, text="refused", error="check_violation")
    report = run(salon)
    refusing.drop()

    assert report.created == 2
    assert [left.reason for left in report.errors] == ["could_not_be_stored"]
    assert run(salon).created == 1


def test_a_link_the_database_refuses_does_not_stop_the_others(calcom, salon, haircut, lost, refusing):
    calls = [lost(start=at(hour)) for hour in (8, 9, 10)]
    for call, booking in zip(calls, calcom.bookings, strict=True):
        AppointmentFactory(call=call, service=haircut, calcom_booking_uid=booking.uid)
    refusing.add("calls", "UPDATE", when=f"NEW.id = {calls[1].pk}", text="refused", error="check_violation")
    report = run(salon)
    refusing.drop()

    assert (report.linked, report.created) == (2, 0)
    assert [left.call for left in report.errors] == [calls[1].pk]
    assert run(salon).linked == 1


def test_what_cannot_be_written_down_is_neither_linked_nor_made(salon, haircut, lost, refusing):
    named = AppointmentFactory(call=lost(at_calcom=False), service=haircut)
    lost(start=at(12))
    refusing.add("audit_entries", "INSERT", text="refused", error="check_violation")
    report = run(salon)

    assert (report.linked, report.created, len(report.errors)) == (0, 0, 1)
    assert Appointment.objects.get() == named
    assert not Call.objects.exclude(appointment=None).exists()


def test_of_two_runs_at_once_the_second_leaves_it_to_the_first(
    calcom, salon, lost, manage_here, start_manage
):
    lost()
    number = calcom.faults.add("get", hang=True, commit=True)
    first = start_manage("backfill", "--json")
    wait_until(lambda: calcom.requests("get"))

    second = manage_here("backfill", "--json")

    assert second.returncode == 2
    (company,) = json.loads(second.stdout)["companies"].values()
    assert f":{first.pid}:" in company["stopped"]
    assert "its turn ends by itself at" in company["stopped"]
    calcom.faults.remove(number)
    calcom.faults.release_hangs()
    assert first.process.wait(timeout=30) == 0
    assert Appointment.objects.count() == 1


def test_a_killed_run_is_continued_by_the_next_one_and_frees_its_turn(
    calcom, salon, lost, haircut, manage_here, start_manage
):
    linked = CallFactory(company=salon, branch__company=salon, booking_confirmed=True)
    AppointmentFactory(call=linked, service=haircut, starts_at=at(17))
    for hour in range(8, 16):
        lost(start=at(hour))
    calcom.faults.add("get", skip=4, hang=True)
    child = start_manage("backfill")
    wait_until(lambda: len(calcom.requests("get")) > 4)

    os.kill(child.pid, signal.SIGKILL)
    child.process.wait()

    linked.refresh_from_db()
    assert linked.appointment is not None, "what was finished before it died stays"
    calcom.faults.release_hangs()
    lease = Lease.objects.get(name=f"backfill:{salon.slug}")
    assert dt.timedelta(0) < lease.expires_at - timezone.now() <= dt.timedelta(minutes=10)
    assert f":{child.pid}:" in lease.holder

    report = json.loads(manage_here("backfill", "--json").stdout)

    assert (report["found"], report["created"], report["skipped"], report["errors"]) == (8, 8, 0, 0)
    assert Appointment.objects.count() == 9
    assert json.loads(manage_here("backfill", "--json").stdout)["found"] == 0
    assert audit(company=salon, now=timezone.now()) == []


@pytest.mark.parametrize(
    "holder",
    ["elsewhere:{dead}:01234567:0123456789ab", "elsewhere:{dead}:01234567:", "{alive}", "dead"],
    ids=["other machine", "unknown machine", "alive", "no process"],
)
def test_a_turn_is_left_to_whoever_may_be_alive(salon, lost, start_manage, holder):
    lost()
    ended = start_manage("audit")
    ended.process.wait()
    name = holder.format(dead=ended.pid, alive=unique_holder())
    Lease.objects.hold(name="backfill:salon", holder=name, now=timezone.now(), duration=LEASE)
    assert "Another run is under way" in run(salon).stopped


def test_the_lease_is_free_again_at_once_after_a_run(salon, lost):
    lost()
    run(salon)
    assert Lease.objects.get(name=f"backfill:{salon.slug}").expires_at <= timezone.now()


def test_a_ticket_about_the_booking_closes_with_its_appointment(calcom, salon, lost):
    call = lost()
    uid = calcom.bookings[0].uid
    SyncFailure.objects.create(
        company=salon,
        call=call,
        calcom_booking_id=uid,
        failure_type="orphaned_calcom",
        subject=f"booking:{uid}",
    )

    assert run(salon).created == 1
    assert SyncFailure.objects.get().status == "resolved"


def test_what_was_made_can_be_booked_and_moved_like_any_other(calcom, salon, lost, verdict):
    lost()
    run(salon)

    answer = Phone(company=salon, from_number=ANNA).book(at(10))

    assert answer.code == "already_booked"
    assert len(calcom.active_bookings()) == 1
    verdict()


# --- Beside live work


def test_what_is_moved_on_the_web_while_its_appointment_is_made_is_one_appointment(
    calcom, salon, lost, announced, work, verdict
):
    call = lost()
    [booking] = calcom.bookings

    def it_is_moved_and_imported() -> None:
        calcom.web_reschedule(booking.uid, at(14))
        work()

    with just_before("INSERT INTO appointments", it_is_moved_and_imported):
        assert run(salon).created == 0
    row = Appointment.objects.get()
    assert (row.calcom_booking_uid, row.starts_at) == (calcom.active_bookings()[0].uid, at(14))
    assert run(salon).linked == 1
    call.refresh_from_db()
    assert call.appointment == row
    verdict()

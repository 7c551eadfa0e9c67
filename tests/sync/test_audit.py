"""Each integrity question finds what it asks for, and nothing else."""

from __future__ import annotations

import datetime as dt

import pytest
from django.utils import timezone

from booking.models import Appointment
from calls.models import Call
from sync.audit import audit
from tests import factories as make

pytestmark = pytest.mark.django_db


@pytest.fixture
def booked() -> Appointment:
    """An appointment and its call, which point at each other."""
    row: Appointment = make.AppointmentFactory()
    Call.objects.update(appointment=row, booking_confirmed=True, appointment_made=True)
    return row


def found(row: Appointment) -> set[str]:
    return {finding.check for finding in audit(company=row.company, now=timezone.now())}


def ago(*, seconds: float) -> dt.datetime:
    return timezone.now() - dt.timedelta(seconds=seconds)


def intend(row: Appointment, *, state: str, seconds: float) -> None:
    """Its booking is only intended, by an attempt so many seconds old."""
    Call.objects.update(appointment=None, booking_confirmed=False, appointment_made=False)
    Appointment.objects.update(status="pending", calcom_booking_uid=None)
    make.BookingAttemptFactory(appointment=row, state=state, created_at=ago(seconds=seconds))


def test_what_is_in_order_is_no_finding(booked):
    make.AppointmentFactory(
        call=booked.call, service=booked.service, idempotency_key=booked.idempotency_key, status="cancelled"
    )
    assert found(booked) == set()


@pytest.mark.parametrize(
    ("model", "changed", "check"),
    [
        (Call, {"appointment_made": False}, "call_flags_disagree"),
        (Call, {"appointment_made": False, "booking_confirmed": False}, "call_flags_disagree"),
        (Appointment, {"call": None}, "appointment_without_call"),
        (Appointment, {"calcom_booking_uid": None}, "live_appointment_without_uid"),
    ],
)
def test_what_does_not_agree_is_found(booked, model, changed, check):
    model._default_manager.update(**changed)
    assert found(booked) == {check}


def test_a_call_without_its_appointment_and_the_other_way_round_are_found(booked):
    Call.objects.update(appointment=None)
    assert found(booked) == {"confirmed_call_without_appointment", "appointment_without_backlink"}


@pytest.mark.parametrize(
    ("state", "seconds", "check"),
    [
        ("claimed", 1, None),
        ("unknown", 140, None),  # a late commit may still land, and whoever sent it be alive
        ("unknown", 160, "attempt_unknown_for_too_long"),
        ("refused", 160, "live_appointment_without_uid"),
    ],
)
def test_what_is_intended_is_found_once_nobody_is_busy_with_it(booked, state, seconds, check):
    intend(booked, state=state, seconds=seconds)
    assert found(booked) == ({check} if check else set())


@pytest.mark.parametrize(
    ("name", "factory"),
    [("call", make.CallFactory), ("customer", make.CustomerFactory), ("service", make.ServiceFactory)],
)
def test_a_row_that_leads_to_another_company_is_found(booked, name, factory):
    Appointment.objects.update(**{name: factory()})
    assert "row_of_another_company" in found(booked)

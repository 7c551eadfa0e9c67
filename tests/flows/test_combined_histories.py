"""Histories in which two features meet, each of which once ended with a wrong sentence, row or ticket."""

from __future__ import annotations

from io import StringIO
from typing import Any

import orjson
import pytest
from django.core.management import call_command

from booking.models import Appointment, SyncFailure
from tests.flows.phone import at

Status = Appointment.Status
OPEN = ("pending", "manual_review")


def move(phone, start, /, **arguments):
    return phone.ask("reschedule_appointment", new_start=start.isoformat(), **arguments)


def cancel(phone, /, **arguments):
    return phone.ask("cancel_appointment", **arguments)


def open_failures():
    return SyncFailure.objects.filter(status__in=OPEN)


@pytest.fixture
def booked(calcom, salon, phone):
    caller = phone()
    assert caller.book(at(10)).code == "booked"
    return caller


@pytest.fixture
def run():
    def reconcile_now(*options: str) -> tuple[int, dict[str, Any]]:
        out = StringIO()
        try:
            call_command("reconcile", "--json", *options, stdout=out)
        except SystemExit as end:
            return int(str(end.code)), orjson.loads(out.getvalue())
        return 0, orjson.loads(out.getvalue())

    return reconcile_now


# --- Clocks at Cal.com that do not agree


def test_a_cancellation_after_the_clock_was_put_back_is_stored_as_it_is_told(calcom, phone, verdict):
    calcom.clock.advance(60)
    caller = phone()
    assert caller.book(at(10)).code == "booked"
    calcom.clock.advance(-58)
    answer = cancel(caller)
    assert answer.code == "cancelled"
    assert answer.body["appointment"]["status"] == Appointment.objects.get().status == Status.CANCELLED
    assert caller.ask("list_appointments").body["appointments"] == []
    verdict()

"""Callbacks that are not needed any more, of many calls at once."""

from __future__ import annotations

import pytest
from django.db import connection
from django.test.utils import CaptureQueriesContext

from booking import close_by_own_rows
from booking.models import Appointment, BookingAttempt, CallbackRequest
from tests import factories as make

pytestmark = pytest.mark.django_db


def promised_and_then_booked(*, wanted: str = "Haarschnitt", asked_for: str = "") -> CallbackRequest:
    """A call in which `wanted` failed with an attempt, and `asked_for` before there was one, and in which a
    haircut was booked afterwards.
    """
    callback: CallbackRequest = make.CallbackRequestFactory()
    call, company = callback.call, callback.company
    cut = make.ServiceFactory(company=company, name="Haarschnitt", slug="haircut")
    colour = make.ServiceFactory(company=company, name="Färben", slug="colour")
    make.AppointmentFactory(call=call, service=cut, attendee_name="Anna Weber")
    failed = make.AppointmentFactory(
        call=call,
        service=cut if wanted == "Haarschnitt" else colour,
        attendee_name="Anna Weber",
        status=Appointment.Status.FAILED,
        calcom_booking_uid=None,
    )
    make.BookingAttemptFactory(appointment=failed, state=BookingAttempt.State.NOT_SENT, told="unavailable")
    if asked_for:
        make.FunctionCallFactory(call=call, code="unavailable", arguments={"service": asked_for})
    return callback


def queries_of_a_run() -> int:
    with CaptureQueriesContext(connection) as captured:
        assert close_by_own_rows.close_by_own_rows() == 0
    return len(captured)


def test_each_calls_callback_is_closed_by_what_was_booked_in_that_call():
    got = {promised_and_then_booked().pk, promised_and_then_booked(asked_for="haircut").pk}
    waiting = {
        promised_and_then_booked(wanted="Färben").pk,
        promised_and_then_booked(asked_for="colour").pk,
        make.CallbackRequestFactory().pk,
    }
    assert close_by_own_rows.close_by_own_rows() == 2
    assert set(CallbackRequest.objects.filter(status="done").values_list("pk", flat=True)) == got
    assert set(CallbackRequest.objects.filter(status="open").values_list("pk", flat=True)) == waiting


def test_many_that_wait_cost_no_more_queries_than_one():
    promised_and_then_booked(asked_for="colour")
    for_one = queries_of_a_run()
    for _ in range(4):
        promised_and_then_booked(asked_for="colour")
        promised_and_then_booked(wanted="Färben")
    assert queries_of_a_run() == for_one


def test_where_nothing_is_open_next_to_nothing_is_asked():
    assert queries_of_a_run() == 4  # tickets, appointments without key, pairs, callbacks

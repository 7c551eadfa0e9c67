"""Book again at Cal.com."""

from __future__ import annotations

import pytest

from booking.models import Appointment, BookingAttempt, SyncFailure
from sync import triage
from sync.triage import MovedOn
from tests.flows.phone import at
from tests.flows.state import open_failures
from tests.flows.triage.tickets import actions


def test_what_vanished_is_booked_again_as_the_same_appointment(calcom, salon, vanished, look, press, verdict):
    before = Appointment.objects.get()
    shown = look()
    done = press(triage.recreate_at_calcom, shown)
    assert (done.is_success, len(calcom.requests("create"))) == (True, 1)
    assert done.changed == {"appointment": 1, "call": 1, "sync failure": 1}
    row = Appointment.objects.get()
    booking = calcom.active_bookings()[0]
    assert (row.pk, row.idempotency_key, row.status) == (before.pk, before.idempotency_key, "scheduled")
    assert row.calcom_booking_uid == booking.uid != vanished
    assert (booking.start, booking.metadata["call_id"]) == (row.starts_at, str(row.call))
    assert row.former_uids.get().uid == vanished
    assert SyncFailure.objects.get().status == "resolved"
    assert actions() == ["triage.recreate", "triage.recreate.done"]
    with pytest.raises(MovedOn):
        press(triage.recreate_at_calcom, shown)
    assert len(calcom.requests("create")) == 1
    verdict()


def test_what_vanished_and_did_not_come_about_again_is_one_ticket(
    calcom, salon, vanished, look, press, settle_later, verdict
):
    calcom.faults.server_error(commit=False)
    assert not press(triage.recreate_at_calcom, look()).is_success
    settle_later()
    (failure,) = open_failures()
    assert "does not stand" in failure.error_message
    assert press(triage.recreate_at_calcom, look(failure)).is_success
    assert not open_failures()
    verdict()


def test_what_never_came_about_is_booked_again(
    calcom, salon, phone, look, press, settle_later, verdict, settings
):
    settings.ANSWER_BUDGET_SECONDS = 3
    calcom.faults.timeout_before_commit()
    phone().book(at(10))
    calcom.faults.clear()
    settle_later()
    assert BookingAttempt.objects.get().state == "absent"
    assert press(triage.recreate_at_calcom, look()).is_success
    assert Appointment.objects.get().status == "scheduled"
    assert len(calcom.active_bookings()) == 1
    assert SyncFailure.objects.get().status == "resolved"
    verdict()

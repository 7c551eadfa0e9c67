from __future__ import annotations

from booking.models import Appointment, BookingAttempt
from calls.models import Call
from tests.flows.phone import at


def test_a_call_becomes_one_booking_and_one_appointment_linked_to_it(calcom, phone):
    caller = phone()
    answer = caller.book(at(10))
    assert answer.status == 200
    assert answer.code == "booked", answer.body
    booking = calcom.active_bookings()[0]
    appointment = Appointment.objects.get()
    call = Call.objects.get()
    assert appointment.calcom_booking_uid == booking.uid == answer.uid
    assert appointment.status == "scheduled"
    assert appointment.call == call
    assert call.appointment == appointment
    assert call.booking_confirmed
    assert call.appointment_made
    attempt = BookingAttempt.objects.get()
    assert attempt.state == "succeeded"
    assert booking.metadata["attempt_id"] == str(attempt.uuid)
    assert appointment.metadata == booking.metadata


def test_the_same_request_again_is_answered_from_its_row(calcom, phone, verdict):
    caller = phone()
    first = caller.book(at(10))
    again = caller.book(at(10), execution_message="One moment, please.")
    assert again.body == {**first.body, "replayed": True}
    assert len(calcom.requests("create")) == 1
    verdict()


def test_two_callers_for_one_slot_one_is_booked_the_other_gets_alternatives(calcom, phone, verdict):
    assert phone().book(at(10)).code == "booked"
    second = phone(from_number="+4915187654321").book(at(10), customer_name="Ben Kurz")
    assert second.code == "slot_taken"
    offered = [each["start"] for each in second.body["alternatives"]]
    assert len(offered) == 3
    assert at(10).isoformat() not in offered
    verdict()


def test_a_time_out_after_the_booking_was_made_is_settled_as_one_appointment(
    calcom, phone, verdict, settings, settle_later
):
    settings.ANSWER_BUDGET_SECONDS = 3
    calcom.faults.timeout_after_commit()
    caller = phone()
    answer = caller.book(at(10))
    assert answer.code == "checking"
    assert answer.seconds < 3
    settle_later(seconds=0)
    assert Appointment.objects.get().status == "scheduled"
    verdict()
    assert caller.book(at(10)).code == "booked"
    assert len(calcom.requests("create")) == 1
    verdict()


def test_another_calls_booking_that_is_handed_back_is_left_alone(calcom, phone, verdict, salon):
    first = phone()
    assert first.book(at(11), service="colour").code == "booked"
    uid = calcom.active_bookings()[0].uid
    calcom.clock.advance(35 * 60)
    calcom.faults.hand_back(uid)
    second = phone(from_number="+4915187654321").book(at(11), service="colour", customer_name="Ben Kurz")
    assert second.code == "slot_taken"
    assert Appointment.objects.filter(status="scheduled").count() == 1
    assert not calcom.requests("cancel")
    assert BookingAttempt.objects.get(state="refused").refused_by.startswith("layer_")
    verdict()

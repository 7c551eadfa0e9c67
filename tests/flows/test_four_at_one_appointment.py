"""The caller, a person in the admin, Cal.com and our own background work at one appointment at the same
moment: what one of them has read, another has changed before it is written.
"""

from __future__ import annotations

from booking.models import Appointment
from calls.models import WebhookEvent
from tests.flows.at_once import just_before
from tests.flows.phone import at
from tests.flows.state import open_failures

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

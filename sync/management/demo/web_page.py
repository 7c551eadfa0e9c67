"""Guests book, move and cancel on the salon's web page."""

from __future__ import annotations

from booking.models import Appointment
from sync.management.demo.stage import WORKED_WITHIN_SECONDS, Scenario, Stage


class WebPage(Scenario):
    name = "web_page"
    title = "A guest books, moves and cancels on the web page"
    why = "Nobody calls about it. Only Cal.com's webhooks say so, and then the tables must follow."

    def play(self, stage: Stage) -> None:
        record = stage.record
        start, later = stage.free_start(), stage.free_start()
        hanna = stage.guest("Hanna Wolf")
        uid = hanna.books(start)
        arrived = stage.wait_until(
            lambda: stage.appointment_of(uid) is not None, seconds=WORKED_WITHIN_SECONDS
        )
        appointment = stage.appointment_of(uid)
        stage.look_at_bookings(uid)
        record.check("the web booking is an appointment here", arrived)
        if appointment is None:
            return
        record.check(
            "it belongs to a customer of that phone number, and to no call",
            appointment.customer is not None
            and appointment.customer.phone == hanna.number
            and appointment.call_id is None,
        )
        moved_uid = hanna.moves(uid, later)
        followed = stage.wait_until(
            lambda: _is(appointment, starts_at=later, calcom_booking_uid=moved_uid),
            seconds=WORKED_WITHIN_SECONDS,
        )
        stage.look_at_bookings(uid, moved_uid)
        record.check("the same appointment has moved, and has the new booking's uid", followed)
        record.check("its former uid is remembered", appointment.former_uids.filter(uid=uid).exists())
        hanna.cancels(moved_uid)
        cancelled = stage.wait_until(
            lambda: _is(appointment, status=Appointment.Status.CANCELLED), seconds=WORKED_WITHIN_SECONDS
        )
        stage.look_at_bookings(uid, moved_uid)
        record.check("the appointment is cancelled", cancelled)
        ingo = stage.caller("Ingo Maier")
        heard = stage.asks_for(ingo, later)
        record.check("a caller gets the time that came free", heard.code == "booked")


def _is(appointment: Appointment, **now: object) -> bool:
    return Appointment.objects.filter(pk=appointment.pk, **now).exists()

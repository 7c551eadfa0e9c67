"""Cal.com's deliveries come more than once, and in the wrong order."""

from __future__ import annotations

from datetime import datetime
from typing import Any

from booking.models import Appointment
from calls.models import WebhookEvent
from sync.management.demo import observed
from sync.management.demo.stage import WORKED_WITHIN_SECONDS, CannotPlay, Scenario, Stage

COPIES = 3
NOT_SENT = "The simulator has not sent {}: is the salon subscribed to it?"


class Deliveries(Scenario):
    name = "deliveries"
    title = "A webhook arrives several times, and another one too late"
    why = "Each copy was once a second appointment, and what was cancelled came back to life."

    def play(self, stage: Stage) -> None:
        _several_times(stage, start=stage.free_start())
        _too_late(stage, start=stage.free_start())


def _several_times(stage: Stage, *, start: datetime) -> None:
    record = stage.record
    uid = stage.guest("Jana Richter").books(start)
    stage.wait_until_worked(uid)
    delivery = _delivery(stage, uid, "BOOKING_CREATED")
    copies = stage.system.calcom.webhooks.resend(delivery["number"], times=COPIES, parallel=True)
    record.happens(f"The same delivery arrives {COPIES} times more, all at once.")
    stage.look_at_bookings(uid)
    record.check("every copy was answered with 200", [copy["status"] for copy in copies] == [200] * COPIES)
    record.check(
        "it is stored and worked once",
        [event.status for event in observed.deliveries_about(stage.system, uid)]
        == [WebhookEvent.Status.PROCESSED],
    )
    record.check("there is one appointment", _statuses(stage, start) == [Appointment.Status.SCHEDULED])


def _too_late(stage: Stage, *, start: datetime) -> None:
    record, webhooks = stage.record, stage.system.calcom.webhooks
    klara = stage.guest("Klara Beck")
    webhooks.hold()
    uid = klara.books(start)
    klara.cancels(uid)
    webhooks.release(order=[_held(stage, uid, "BOOKING_CANCELLED")])
    record.happens("The cancellation arrives first.")
    stage.wait_until(
        lambda: _statuses(stage, start) == [Appointment.Status.CANCELLED], seconds=WORKED_WITHIN_SECONDS
    )
    stage.look_at_bookings(uid)
    record.check("the appointment is cancelled", _statuses(stage, start) == [Appointment.Status.CANCELLED])
    webhooks.resend(_delivery(stage, uid, "BOOKING_CREATED")["number"])
    record.happens("The creation, sent before it, arrives now.")
    worked = stage.wait_until_worked(uid, deliveries=2)
    stage.look_at_bookings(uid)
    record.check("it was worked too", worked)
    record.check(
        "and revived nothing: what is cancelled stays cancelled",
        _statuses(stage, start) == [Appointment.Status.CANCELLED] and stage.active_uids(start) == [],
    )


def _statuses(stage: Stage, start: datetime) -> list[str]:
    # Of this run only: an earlier one may have left something cancelled at the same time.
    rows = Appointment.objects.filter(
        company=stage.system.company, starts_at=start, created_at__gte=stage.system.found_at
    )
    return list(rows.order_by("pk").values_list("status", flat=True))


def _held(stage: Stage, uid: str, trigger: str) -> int:
    """Its position among what is held back."""
    held = [each for each in stage.system.calcom.deliveries if each["outcome"] == "held"]
    for position, delivery in enumerate(held):
        if (delivery["uid"], delivery["trigger"]) == (uid, trigger):
            return position
    raise CannotPlay(NOT_SENT.format(trigger))


def _delivery(stage: Stage, uid: str, trigger: str) -> dict[str, Any]:
    for delivery in stage.system.calcom.deliveries:
        if (delivery["uid"], delivery["trigger"]) == (uid, trigger):
            return delivery
    raise CannotPlay(NOT_SENT.format(trigger))

"""One call in which everything is asked that can be asked."""

from __future__ import annotations

from typing import Any

from booking.models import Appointment, CallbackRequest
from sync.management.demo.caller import Heard
from sync.management.demo.stage import Scenario, Stage


class Conversation(Scenario):
    name = "conversation"
    title = "One whole conversation: ask, book, move, cancel, and be called back"
    why = "Whatever the caller hears must be what Cal.com holds, and what our tables hold, at every step."

    def play(self, stage: Stage) -> None:
        record = stage.record
        lena = stage.caller("Lena Brandt")
        start, later = stage.free_start(), stage.free_start()

        def asks(words: str, function: str, **arguments: Any) -> Heard:
            heard = lena.ask(function, **arguments)
            record.heard(lena.name, words, heard)
            stage.look_at_call(lena.call_id)
            return heard

        services = asks("“What do you offer?”", "list_services")
        record.check(
            "the service is among what is offered",
            stage.service.slug in [each["slug"] for each in services.body.get("services", [])],
        )
        day = stage.spelled(start)[:10]
        free = asks(f"“When on {day}?”", "check_availability", service=stage.service.slug, date=day)
        record.check("times are offered", bool(free.body.get("slots")))

        booked = asks(
            f"“{stage.service.name}, {stage.spelled(start)[:16]}”",
            "book_appointment",
            service=stage.service.slug,
            start=stage.spelled(start),
            customer_name=lena.name,
        )
        record.check(
            "it is booked on both sides",
            booked.code == "booked"
            and stage.active_uids(start) == [booked.uid]
            and _is_here(booked.uid, starts_at=start, status=Appointment.Status.SCHEDULED),
        )
        listed = asks("“What do I have?”", "list_appointments")
        mine = [
            each["id"]
            for each in listed.body.get("appointments", [])
            if each["calcom_booking_uid"] == booked.uid
        ]
        record.check("she hears of this appointment", len(mine) == 1)
        if not mine:
            return

        moved = asks(
            f"“Rather {stage.spelled(later)[:16]}”",
            "reschedule_appointment",
            appointment=str(mine[0]),
            new_start=stage.spelled(later),
        )
        record.check(
            "it is moved on both sides, and the old time is free",
            moved.code == "rescheduled"
            and (stage.active_uids(start), stage.active_uids(later)) == ([], [moved.uid])
            and _is_here(moved.uid, pk=mine[0], starts_at=later, former_uids__uid=booked.uid),
        )
        cancelled = asks("“I have to cancel it”", "cancel_appointment", appointment=str(mine[0]))
        record.check(
            "it is cancelled on both sides",
            cancelled.code == "cancelled"
            and stage.active_uids(later) == []
            and _is_here(moved.uid, status=Appointment.Status.CANCELLED),
        )
        noted = asks(
            "“Please call me back”",
            "request_callback",
            reason="Möchte einen neuen Termin absprechen",
            preferred_time="morgen Vormittag",
        )
        promised = CallbackRequest.objects.filter(call__retell_call_id=lena.call_id)
        record.check(
            "the promised call is on record, and due",
            noted.code == "callback_noted"
            and [(each.status, each.due_at is not None) for each in promised]
            == [(CallbackRequest.Status.OPEN, True)],
        )


def _is_here(uid: str | None, **now: object) -> bool:
    return uid is not None and Appointment.objects.filter(calcom_booking_uid=uid, **now).exists()

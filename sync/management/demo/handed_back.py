"""Cal.com answers a create with a booking that is not the one asked for."""

from __future__ import annotations

from datetime import timedelta

from django.utils import timezone

from booking.models import Appointment, BookingAttempt
from sync.management.demo.stage import Scenario, Stage

AGE = timedelta(minutes=35)


class HandedBack(Scenario):
    name = "handed_back"
    title = "Cal.com hands back another call's booking, 35 minutes old"
    why = "It answers 201 as if it were new. Once it was stored as a second appointment."

    def play(self, stage: Stage) -> None:
        record, calcom = stage.record, stage.system.calcom
        start = stage.free_start()
        first, second = stage.caller("Doris Lang"), stage.caller("Emil Busch")
        original = stage.asks_for(first, start)
        record.check("the first caller is booked", original.code == "booked")
        if not original.uid:
            return
        record.happens("Cal.com will answer the next caller with this booking, as 201, made 35 minutes ago.")
        created_at = (timezone.now() - AGE).isoformat(timespec="milliseconds").replace("+00:00", "Z")
        calcom.faults.hand_back(
            original.uid,
            body_has={"metadata": {"call_id": second.call_id}},
            patch={"createdAt": created_at},
        )
        heard = stage.asks_for(second, start)
        stage.look(start)
        record.check("the second caller does not hear booked", heard.code == "slot_taken")
        attempt = BookingAttempt.objects.filter(call__retell_call_id=second.call_id).first()
        record.check(
            "it was refused by layer 1, freshness",
            attempt is not None and attempt.refused_by == "layer_1_freshness",
        )
        record.check(
            "one appointment has this uid, the first caller's, and it stands at Cal.com",
            [
                appointment.call.retell_call_id
                for appointment in Appointment.objects.filter(calcom_booking_uid=original.uid).select_related(
                    "call"
                )
                if appointment.call and appointment.is_live
            ]
            == [first.call_id]
            and stage.active_uids(start) == [original.uid],
        )

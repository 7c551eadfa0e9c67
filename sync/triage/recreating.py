"""Book again at Cal.com what does not stand there any more."""

from __future__ import annotations

from django.utils import timezone

from booking import recreate
from booking.calcom.deadline import Deadline
from booking.models import Appointment
from booking.recreate import RecreateOutcome
from customers.masking import mask_text
from sync.both_sides import Seen
from sync.triage.case import Case
from sync.triage.decision import Decision, Done
from sync.triage.verbs import NotLegal, Verb
from sync.triage.wording import name_of
from sync.triage.work import ACT_SECONDS, Work


def preview(case: Case) -> list[str]:
    appointment = case.failure.appointment
    if appointment is None:
        raise NotLegal("The failure names no appointment.")
    if case.remote.seen is Seen.NOT_ASKED:
        raise NotLegal("Cal.com could not be asked whether something stands there.")
    booking = case.booking
    if booking is not None and (booking.is_active or appointment.status != Appointment.Status.FAILED):
        raise NotLegal("Cal.com knows the booking of this appointment.")
    if why := recreate.why_not(appointment, now=case.now):
        raise NotLegal(why)
    return [
        "Cal.com is asked once more whether anything stands; if so, nothing is done.",
        f"{name_of(appointment)} is booked again at "
        f"Cal.com, for the same customer. The guest gets an e-mail or a message from Cal.com about it.",
        "The appointment goes on with the new booking's uid.",
        "If the slot has been taken since, the appointment is marked as failed and this failure stays open.",
    ]


def recreate_at_calcom(decision: Decision, *, seen: str) -> Done:
    """The guest hears of it."""
    work = Work.begin(Verb.RECREATE, decision, preview=preview, seen=seen)
    return work.carry_out(_recreate)


def _recreate(work: Work) -> Done:
    appointment = work.case.failure.appointment
    assert appointment is not None  # noqa: S101 - preview has said so
    made = recreate.recreate(
        appointment, client=work.client(), deadline=Deadline.after(ACT_SECONDS), now=timezone.now()
    )
    work.count("appointment")
    if made.outcome is RecreateOutcome.BOOKED:
        work.count("call", made.appointment.call_id is not None)
        work.close_and_record("Made again at Cal.com by a person.", appointment=made.appointment)
        work.count_failure()
        return Done(f"Booked again as {made.appointment.calcom_booking_uid}. The failure is closed.")
    words = {
        RecreateOutcome.REFUSED: "Cal.com refuses it; nothing stands. The customer has to be called",
        RecreateOutcome.NOT_SENT: "Nothing was sent to Cal.com, and nothing stands there",
        RecreateOutcome.UNDONE: "Cal.com made something else of it, which was cancelled again",
        RecreateOutcome.UNKNOWN: "It is not known whether it was made: it is being looked for",
    }[made.outcome]
    work.record("unknown" if made.outcome is RecreateOutcome.UNKNOWN else "not_done", said=words)
    return Done(f"{words} ({mask_text(made.message)}).", is_success=False)

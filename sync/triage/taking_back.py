"""Say that nothing was booked in a call that says something was."""

from __future__ import annotations

from django.db import transaction
from django.utils import timezone

from booking.models import OPEN_STATES, Appointment, BookingAttempt
from calls.models import Call
from sync import links
from sync.both_sides import Seen
from sync.triage.case import Case
from sync.triage.decision import Decision, Done
from sync.triage.verbs import NotLegal, Verb
from sync.triage.work import Work


def preview(case: Case) -> list[str]:
    call, booking = case.failure.call, case.booking
    if call is None or not _says_so_alone(call):
        raise NotLegal("It is about no call that says something was booked and points at no appointment.")
    if case.remote.seen is Seen.NOT_ASKED:
        raise NotLegal(f"Cal.com could not be asked: {case.remote.why}")
    if booking is not None and booking.is_active:
        raise NotLegal("Its booking stands at Cal.com.")
    if BookingAttempt.objects.filter(call=call, state__in=OPEN_STATES).exists():
        raise NotLegal("Something is being done in this call, or nobody knows yet how that went.")
    if Appointment.objects.filter(call=call).exclude(status__in=links.NOT_BOOKED).exists():
        raise NotLegal("An appointment names this call: link them.")
    seen = {
        Seen.SHOWN: "Its booking does not stand at Cal.com",
        Seen.NOT_THERE: "Cal.com knows no such booking",
        Seen.NOTHING_TO_ASK: "It names no booking that Cal.com could be asked about: look into the calendar",
    }[case.remote.seen]
    return [
        f"{seen}; nothing is changed there.",
        f"Call {call.retell_call_id} does not say any more that something was booked. What was written down "
        "of it then is kept.",
        "Nobody is told: the caller may still count on it.",
    ]


def take_back(decision: Decision) -> Done:
    """Have the call say no more that something was booked."""
    work = Work.begin(Verb.TAKE_BACK, decision, preview=preview)
    return work.carry_out(_take_back)


def _take_back(work: Work) -> Done:
    shown = work.case.failure.call
    assert shown is not None  # noqa: S101 - preview has said so
    with transaction.atomic():
        call = Call.objects.select_for_update(no_key=True).only(*_READ).get(pk=shown.pk)
        busy = BookingAttempt.objects.filter(call=call, state__in=OPEN_STATES).exists()
        if busy or not _says_so_alone(call):
            raise NotLegal("The call has changed in this moment.")
        Call.objects.filter(pk=call.pk).update(
            booking_confirmed=False, appointment_made=False, updated_at=timezone.now()
        )
        work.close("Nothing was booked in this call, a person says.")
        work.record("done")
    work.count("call")
    work.count_failure()
    return Done("The call says no more that something was booked. The failure is closed.")


_READ = ("booking_confirmed", "appointment_made", "appointment")


def _says_so_alone(call: Call) -> bool:
    return call.appointment_id is None and (call.booking_confirmed or call.appointment_made)

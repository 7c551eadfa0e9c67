"""End an appointment of ours whose booking Cal.com does not know any more."""

from __future__ import annotations

from django.db import transaction
from django.utils import timezone

from booking.models import OPEN_STATES, PROVEN_STATUSES, Appointment
from sync import both_sides
from sync.both_sides import Seen
from sync.triage.case import Case
from sync.triage.decision import Decision, Done
from sync.triage.verbs import NotLegal, Verb
from sync.triage.wording import name_of
from sync.triage.work import Work


def preview(case: Case) -> list[str]:
    appointment = case.appointment
    names_none = appointment is not None and appointment.calcom_booking_uid is None
    if case.remote.seen is not Seen.NOT_THERE and not (
        names_none and case.remote.seen is Seen.NOTHING_TO_ASK
    ):
        raise NotLegal("Cal.com has not said that the booking is missing.")
    if appointment is None or appointment.status not in PROVEN_STATUSES:
        raise NotLegal("No appointment of ours stands.")
    if not names_none and appointment.calcom_booking_uid != both_sides.uid_of(case.failure):
        raise NotLegal("The appointment stands with another booking by now.")
    if appointment.attempts.filter(state__in=OPEN_STATES).exists():
        raise NotLegal("Something is being done to the appointment, or nobody knows yet how that went.")
    return [
        "Cal.com knows no booking of this appointment: nothing is changed there.",
        f"Our appointment {name_of(appointment)} is cancelled. Callers do not hear of it any more, and can "
        "book that time again.",
        "Nobody is told: the guest may still count on it.",
    ]


def end_here(decision: Decision, *, seen: str) -> Done:
    """Cancel our appointment, whose booking Cal.com does not know any more."""
    work = Work.begin(Verb.END, decision, preview=preview, seen=seen)
    return work.carry_out(_end)


def _end(work: Work) -> Done:
    shown = work.case.appointment
    assert shown is not None  # noqa: S101 - preview has said so
    now = timezone.now()
    with transaction.atomic():
        row = Appointment.objects.select_for_update(no_key=True).get(pk=shown.pk)
        as_shown = (row.status, row.calcom_booking_uid) == (shown.status, shown.calcom_booking_uid)
        if not as_shown or row.attempts.filter(state__in=OPEN_STATES).exists():
            raise NotLegal("The appointment has changed in this moment.")
        Appointment.objects.filter(pk=row.pk).update(status=Appointment.Status.CANCELLED, updated_at=now)
        work.close("Cal.com does not know the booking; the appointment was cancelled here by a person.")
        work.record("done", appointment=row)
    work.count("appointment")
    work.count_failure()
    return Done("The appointment is cancelled here. The failure is closed.")

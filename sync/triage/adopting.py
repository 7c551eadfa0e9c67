"""Make our side what a booking at Cal.com is, because a person says so."""

from __future__ import annotations

from django.db import IntegrityError
from django.utils import timezone

from booking import imports, mirror, settle, unknown_attempts
from booking.calcom.deadline import Deadline
from booking.calcom.objects import Booking
from booking.models import OPEN_STATES, Appointment, BookingAttempt, Service, SyncFailure
from sync.converge import Kinship
from sync.triage.case import Case
from sync.triage.conditions import (
    WHY_A_PERSON,
    active_booking,
    is_other_than_asked,
    require_lone,
    require_no_other,
    require_nobody_busy,
)
from sync.triage.decision import Decision, Done
from sync.triage.verbs import NotLegal, Verb
from sync.triage.wording import name_of, when, whether_closed
from sync.triage.work import ACT_SECONDS, Work

Type = SyncFailure.Type


def preview(case: Case) -> list[str]:
    booking = active_booking(case)
    match = case.remote.match
    assert match is not None  # noqa: S101
    nothing_there = "Nothing is changed at Cal.com."
    if match.kinship is Kinship.MIRRORED:
        if not case.differences:
            raise NotLegal("Our appointment says the same as the booking.")
        return [f"Our appointment follows the booking: {', '.join(case.differences)}.", nothing_there]
    if match.kinship in (Kinship.UNASSIGNED, Kinship.TWIN, Kinship.OVERTAKEN):
        raise NotLegal(WHY_A_PERSON[match.kinship])
    if match.kinship is Kinship.OF_ATTEMPT:
        attempt = match.attempt
        assert attempt is not None  # noqa: S101
        own = attempt.appointment
        require_no_other(attempt, booking)
        require_nobody_busy(attempt, now=case.now)
        if attempt.state in mirror.ADOPTABLE:
            if is_other_than_asked(attempt, booking):
                raise NotLegal("It is not what was asked for, so it cannot become that appointment.")
            return [
                f"Appointment {name_of(own)} becomes this booking: {when(booking, case)}.",
                "Its call is linked, and says that something was booked.",
                nothing_there,
            ]
        return [
            f"A new appointment is made from the booking: {when(booking, case)}.",
            "The call of the attempt is linked to it.",
            nothing_there,
        ]
    if _service_of(case) is None:
        raise NotLegal("Its event type belongs to no service of this company: set up the service first.")
    effects = [f"A new appointment is made from the booking: {when(booking, case)}."]
    if match.kinship is Kinship.LOST:
        effects.append("The call it was booked in is linked to it.")
    if match.kinship is Kinship.UNKNOWN_CLAIM:
        effects.append("It names an attempt that is not known. No call is linked to it.")
    return [*effects, nothing_there]


def adopt(decision: Decision, *, seen: str) -> Done:
    """Make our side what the booking is, also where the machines would not dare to."""
    work = Work.begin(Verb.ADOPT, decision, preview=preview, seen=seen)
    return work.carry_out(_adopt)


def _adopt(work: Work) -> Done:
    match = work.case.remote.match
    assert match is not None  # noqa: S101 - preview has said so
    attempt, booking = match.attempt, match.booking
    before = match.appointment
    if match.kinship is Kinship.OF_ATTEMPT and attempt is not None and attempt.state in mirror.ADOPTABLE:
        appointment = _settle_shown(work, attempt, booking)
    elif match.kinship is Kinship.MIRRORED:
        appointment = work.make_equal(match, also=lambda _done: work.record("done")).appointment
    else:
        appointment = _import(work)
    if appointment is None:
        return Done("The booking could not be adopted.", is_success=False)
    work.count("appointment")
    work.count("call", before is None and appointment.call_id is not None)
    if work.case.failure.failure_type != Type.DUPLICATE_BOOKING:
        work.close("Adopted by a person: the booking has its appointment.")
    closed = work.count_failure()
    return Done(f"The booking is appointment {name_of(appointment)}." + whether_closed(closed))


def _settle_shown(work: Work, attempt: BookingAttempt, booking: Booking) -> Appointment | None:
    client, deadline = work.client(), Deadline.after(ACT_SECONDS)
    if attempt.state in OPEN_STATES:
        unknown_attempts.settle_shown(
            attempt, booking=booking, client=client, deadline=deadline, now=timezone.now()
        )
    else:
        settle.settle(attempt, booking=booking, client=client, deadline=deadline, answering=False)
    return Appointment.objects.filter(
        company=work.case.failure.company_id, calcom_booking_uid=booking.uid
    ).first()


def _import(work: Work) -> Appointment:
    match, service = work.case.remote.match, _service_of(work.case)
    assert match is not None  # noqa: S101
    assert service is not None  # noqa: S101
    call = match.call or (match.attempt.call if match.attempt else None)
    try:
        return imports.import_booking(
            company=work.case.failure.company,
            service=service,
            booking=match.booking,
            former_uids=match.former_uids,
            now=timezone.now(),
            call=call,
            also=lambda _done: work.record("done"),
        )
    except IntegrityError:
        require_lone(work.case.remote.match)
        raise NotLegal("The same person has the same thing booked under another uid.") from None


def _service_of(case: Case) -> Service | None:
    match = case.remote.match
    if match is None:
        return None
    return match.service or imports.service_for(case.failure.company, match.booking.event_type_id)

"""Cancel a booking at Cal.com, and let our side follow."""

from __future__ import annotations

from functools import partial

from django.db import transaction

from booking import failures, unknown_attempts
from booking.attempt_reports import NOES
from booking.calcom.client import CalcomClient
from booking.calcom.deadline import Deadline
from booking.calcom.errors import CalcomError, CalcomRefused, OutcomeUnknown, Refusal
from booking.calcom.objects import Booking
from booking.models import OPEN_STATES, Appointment, BookingAttempt
from sync import converge
from sync.converge import Kinship
from sync.triage.case import LOOK_SECONDS, Case
from sync.triage.conditions import WHY_A_PERSON, active_booking, require_nobody_busy
from sync.triage.decision import Decision, Done
from sync.triage.verbs import NotLegal, Verb
from sync.triage.wording import name_of, when, whether_closed
from sync.triage.work import ACT_SECONDS, Work


def preview(case: Case) -> list[str]:
    booking = active_booking(case)
    match = case.remote.match
    assert match is not None  # noqa: S101
    if match.kinship in (Kinship.UNASSIGNED, Kinship.OVERTAKEN):
        raise NotLegal(WHY_A_PERSON[match.kinship])
    effects = [
        f"Booking {booking.uid} ({when(booking, case)}, {booking.status}) is cancelled at Cal.com, with the "
        "message below. The guest and the host get an e-mail from Cal.com about it.",
    ]
    if match.appointment is not None:
        becomes = "stays as it is" if match.kinship is Kinship.TWIN else "is cancelled too"
        effects.append(f"Our appointment {name_of(match.appointment)} {becomes}.")
    if match.kinship is Kinship.OF_ATTEMPT and match.attempt is not None:
        effects += _effects_on_attempt(match.attempt, case)
    if (other := case.remote.other) is not None:
        becomes = "stays as it is" if other.is_active else "does not stand either: nothing is left then"
        effects.append(f"The other one, {other.uid} ({when(other, case)}, {other.status}), {becomes}.")
    return [*effects, "This cannot be taken back."]


def _effects_on_attempt(attempt: BookingAttempt, case: Case) -> list[str]:
    if attempt.state not in OPEN_STATES:
        return []
    require_nobody_busy(attempt, now=case.now)
    effects = [f"Our appointment {name_of(attempt.appointment)} is marked as failed."]
    if attempt.told not in NOES:
        effects.append(
            "Its caller was not told no: a callback is noted, and a new failure says to ring them."
        )
    return effects


def cancel_at_calcom(decision: Decision, *, seen: str, message: str) -> Done:
    """`message` is what Cal.com tells guest and host as the reason; that of the decision stays here."""
    work = Work.begin(Verb.CANCEL, decision, preview=preview, seen=seen)
    return work.carry_out(partial(_cancel, message=message))


def _cancel(work: Work, message: str) -> Done:
    booking = work.case.booking
    assert booking is not None  # noqa: S101 - preview has said so
    client, deadline = work.client(), Deadline.after(ACT_SECONDS)
    cancelled = _cancel_there(booking, message=message, client=client, deadline=deadline)
    if cancelled is None:
        said = (
            "Cal.com gave no clear answer, and still shows the booking, or cannot be asked. It may have "
            "been cancelled: open this failure again in a minute."
        )
        work.record("unknown", said=said)
        return Done(said, is_success=False)
    said = "The booking is cancelled at Cal.com."
    try:
        _follow_cancelled(work, cancelled, client=client)
    except (unknown_attempts.InFlight, CalcomError):
        # The guest has an e-mail about it: whatever keeps our side from following it yet, it is done.
        said += " Our side could not be made equal to that yet, and follows by itself."
    closed = work.count_failure()
    return Done(said + whether_closed(closed))


def _cancel_there(
    booking: Booking, *, message: str, client: CalcomClient, deadline: Deadline
) -> Booking | None:
    """The cancelled booking; None: whether it is, is not known. Raises CalcomError when it is not, NotLegal
    when it was moved before that.
    """
    try:
        return client.cancel_booking(booking.uid, reason=message, deadline=deadline)
    except CalcomRefused as error:
        if error.reason is not Refusal.ALREADY_CANCELLED:
            raise
    except OutcomeUnknown:
        pass
    try:
        after = client.get_booking(booking.uid, deadline=Deadline.after(LOOK_SECONDS))
    except CalcomError:
        return None
    if after.rescheduled_to_uid != booking.rescheduled_to_uid:
        raise NotLegal("It has been moved in this moment, and what it was moved to stands.")
    return None if after.is_active else after


def _follow_cancelled(work: Work, booking: Booking, *, client: CalcomClient) -> None:
    match = work.case.remote.match
    assert match is not None  # noqa: S101

    def close_and_record() -> None:
        work.close("Cancelled at Cal.com by a person.")
        work.record("done")

    if match.kinship in (Kinship.MIRRORED, Kinship.OF_ATTEMPT):
        fresh = converge.find_out(
            company=work.case.failure.company,
            booking=booking,
            client=client,
            deadline=Deadline.after(ACT_SECONDS),
        )
        work.make_equal(fresh, also=lambda _done: close_and_record())
        shown = match.appointment or (match.attempt.appointment if match.attempt else None)
        if shown is not None:
            status = Appointment.objects.values_list("status", flat=True).get(pk=shown.pk)
            work.count("appointment", status != shown.status)
        return
    # It never had a row of ours, and needs none now.
    with transaction.atomic():
        failures.close_failures(
            company_id=work.case.failure.company_id,
            subjects=[failures.about_booking(booking.uid)],
            note="Cancelled at Cal.com by a person.",
        )
        close_and_record()

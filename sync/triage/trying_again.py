"""What the machines would do about a sync failure, done now."""

from __future__ import annotations

from django.db import transaction
from django.utils import timezone

from booking import event_types, failures, follow, mirror, unknown_attempts
from booking.calcom.client import CalcomClient
from booking.calcom.deadline import Deadline
from booking.calcom.objects import Booking
from booking.models import OPEN_STATES, PROVEN_STATUSES, Appointment, BookingAttempt, Service, SyncFailure
from sync.both_sides import Seen
from sync.close_by_listing import DOUBT_A_BOOKING
from sync.converge import Kinship, Match
from sync.triage.case import Case
from sync.triage.conditions import (
    WHY_A_PERSON,
    is_other_than_asked,
    require_no_other,
    require_nobody_busy,
)
from sync.triage.decision import Decision, Done
from sync.triage.verbs import NotLegal, Verb
from sync.triage.wording import name_of, whether_closed
from sync.triage.work import ACT_SECONDS, Work

Type = SyncFailure.Type
# Of what has no appointment, the tickets that are about nothing any more once the booking does not stand.
CLOSED_BY_A_CANCELLATION = (*DOUBT_A_BOOKING, Type.STATUS_MISMATCH, Type.TIME_MISMATCH)


def preview(case: Case) -> list[str]:
    failure, remote = case.failure, case.remote
    if case.attempt_is_open:
        assert case.attempt is not None  # noqa: S101 - what attempt_is_open means
        require_nobody_busy(case.attempt, now=case.now)
        return [
            "The attempt is looked for at Cal.com and settled: adopted if its booking stands, absent if it "
            "does not and the time for a late one has passed."
        ]
    if failure.subject == failures.ACCESS:
        return ["Cal.com is asked whether it takes this company's key. If it does, the failure is closed."]
    if failure.subject == failures.RECONCILE_ACCESS:
        return ["Cal.com is asked whether it takes the key of the hourly run. If so, the failure is closed."]
    if failure.subject.startswith(failures.EVENT_TYPE):
        if not _services_of(failure):
            return ["No service books this event type any more: the failure is closed."]
        return ["The event type is read again. If it can be booked, the failure is closed."]
    if remote.seen is Seen.NOT_ASKED:
        return [
            "Cal.com could not be asked a moment ago. It is asked again, and our side is made equal to "
            "what it shows."
        ]
    if remote.seen is Seen.NOT_THERE:
        if failure.failure_type in DOUBT_A_BOOKING:
            return ["Cal.com says that there is no such booking: the failure is closed."]
        raise NotLegal("Cal.com was asked, and says that there is no such booking.")
    if remote.seen is Seen.NOTHING_TO_ASK:
        appointment = _certain_appointment(failure)
        if appointment is None:
            raise NotLegal("It names no booking that Cal.com could be asked about.")
        return [f"The call points at its appointment {name_of(appointment)}, which names the call."]
    return _effects_of_converging(case)


def _effects_of_converging(case: Case) -> list[str]:
    match = case.remote.match
    assert match is not None  # noqa: S101 - the booking is shown
    booking = match.booking
    state = f"Booking {booking.uid} is {booking.status} at Cal.com."
    if match.kinship is Kinship.MIRRORED:
        if not case.differences:
            return [state, "Our appointment says the same."]
        words = ", ".join(case.differences)
        return [state, f"Our appointment follows it: {words}.", "Nothing is changed at Cal.com."]
    if match.kinship is Kinship.OF_ATTEMPT:
        return [state, _effect_on_attempt(case, match)]
    if match.kinship is Kinship.LOST:
        return [state, "It was booked in a call of ours: its appointment is made again, and linked."]
    if match.kinship is Kinship.ELSEWHERE:
        return [state, "It was made elsewhere: it is imported as an appointment."]
    if match.kinship is Kinship.UNKNOWN_CLAIM and not booking.is_active:
        return [state, "It does not stand: the failure is closed."]
    raise NotLegal(WHY_A_PERSON[match.kinship])


def _effect_on_attempt(case: Case, match: Match) -> str:
    attempt, booking = match.attempt, match.booking
    assert attempt is not None  # noqa: S101 - what OF_ATTEMPT means
    is_unsettled = attempt.state in OPEN_STATES
    if is_unsettled or (attempt.state == BookingAttempt.State.ABSENT and booking.is_active):
        if booking.is_active and is_other_than_asked(attempt, booking):
            return "It is not what was asked for: it is cancelled at Cal.com, and a callback noted."
        return "It carries an attempt of ours: its appointment is settled from it."
    if not booking.is_active:
        if case.failure.failure_type in CLOSED_BY_A_CANCELLATION:
            return "It does not stand: the failure is closed."
        raise NotLegal("It does not stand, and its attempt ended without it.")
    if attempt.state == BookingAttempt.State.REFUSED:
        return "The caller was told no, so within a minute the machines cancel it at Cal.com."
    require_no_other(attempt, booking)
    raise NotLegal("Its attempt ended here without it: adopt the booking, or cancel it at Cal.com.")


def try_again(decision: Decision) -> Done:
    """What the machines would do, now."""
    work = Work.begin(Verb.TRY_AGAIN, decision, preview=preview)
    return work.carry_out(_try_again)


def _try_again(work: Work) -> Done:
    failure, case = work.case.failure, work.case
    if case.attempt_is_open:
        return _settle_attempt(work)
    if failure.subject in (failures.ACCESS, failures.RECONCILE_ACCESS):
        _client_with_the_key_of(work, failure).probe(deadline=Deadline.after(ACT_SECONDS))
        return work.closed("Cal.com takes the key.")
    if failure.subject.startswith(failures.EVENT_TYPE):
        return _read_event_type(work)
    if case.remote.seen is Seen.NOT_ASKED:
        return Done(f"Cal.com could not be asked: {case.remote.why}", is_success=False)
    if case.remote.seen is Seen.NOT_THERE:
        return work.closed("Cal.com was asked: there is no such booking.")
    if case.remote.seen is Seen.NOTHING_TO_ASK:
        return _link_certain(work)
    return _converge(work)


def _client_with_the_key_of(work: Work, failure: SyncFailure) -> CalcomClient:
    client = work.client()
    if failure.subject == failures.ACCESS:
        return client
    own_key = failure.company.calcom_reconcile_api_key  # without one the hourly run uses the other
    return CalcomClient(base_url=client.base_url, api_key=own_key or client.api_key)


def _settle_attempt(work: Work) -> Done:
    attempt = work.case.attempt
    assert attempt is not None  # noqa: S101 - attempt_is_open
    before = attempt.appointment.status  # settling it also changes the object
    state = unknown_attempts.settle_attempt(attempt, deadline=Deadline.after(ACT_SECONDS))
    if state in OPEN_STATES:
        if work.case.remote.seen is Seen.NOT_ASKED:
            return Done(f"Cal.com could not be asked: {work.case.remote.why}", is_success=False)
        return Done("It is not known yet: the attempt is looked for again soon.", is_success=False)
    work.count("attempt")
    appointment = Appointment.objects.get(pk=attempt.appointment_id)
    work.count("appointment", appointment.status != before)
    closed = work.count_failure()
    return Done(f"The attempt is {BookingAttempt.State(state).label}." + whether_closed(closed))


def _read_event_type(work: Work) -> Done:
    found = _services_of(work.case.failure)
    client = work.client()
    for service in found:
        event_types.learn(service, client=client, deadline=Deadline.after(ACT_SECONDS))
        work.count("service")
    return work.closed(
        "The event type can be booked." if found else "No service books this event type any more."
    )


def _services_of(failure: SyncFailure) -> list[Service]:
    event_type_id = failures.event_type_of(failure.subject)
    services = Service.objects.filter(company=failure.company_id, is_active=True)
    return [each for each in services if str(each.calcom_event_type_id) == event_type_id]


def _link_certain(work: Work) -> Done:
    with transaction.atomic():
        appointment = _certain_appointment(work.case.failure)
        if appointment is None:
            raise NotLegal("The call has no single appointment any more.")
        mirror.link_call(appointment, now=timezone.now())
        work.close("Call and appointment point at each other.")
        work.record("done", appointment=appointment)
    work.count("call")
    work.count_failure()
    return Done("The call points at its appointment. The failure is closed.")


def _converge(work: Work) -> Done:
    match = work.case.remote.match
    assert match is not None  # noqa: S101 - the booking is shown
    converged = work.make_equal(match, also=lambda _done: work.record("done"))
    is_new = match.appointment is None
    work.count("appointment", converged.appointment is not None and (is_new or bool(converged.changed)))
    if _is_gap_gone(work, match.booking, converged.appointment):
        work.close("Both sides are equal again.")
    closed = work.count_failure()
    said = "Our side was made equal to the booking."
    if not closed and match.attempt is not None and match.attempt.state == BookingAttempt.State.REFUSED:
        said = "Within a minute the machines cancel it at Cal.com."
    return Done(said + whether_closed(closed), is_success=closed)


def _is_gap_gone(work: Work, booking: Booking, appointment: Appointment | None) -> bool:
    failure_type = work.case.failure.failure_type
    if not booking.is_active and failure_type in DOUBT_A_BOOKING:
        return True
    if appointment is None:
        return not booking.is_active and failure_type in CLOSED_BY_A_CANCELLATION
    if failure_type == Type.DUPLICATE_BOOKING:
        return False
    appointment.refresh_from_db()
    return not follow.differences(appointment, booking, now=timezone.now())


def _certain_appointment(failure: SyncFailure) -> Appointment | None:
    if failure.call is None or failure.call.appointment_id is not None:
        return None
    rows = Appointment.objects.filter(
        company=failure.company_id, call=failure.call, status__in=PROVEN_STATUSES
    )
    found = list(rows.select_related("company", "service", "customer", "call")[:2])
    return found[0] if len(found) == 1 else None

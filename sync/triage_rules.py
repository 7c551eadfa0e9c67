"""What a person may do about a sync failure, when, and what exactly would happen.

A verb is legal where its preview answers; what is not legal raises `NotLegal` with the reason. Nothing in
here changes anything.

    verb        legal while     and
    try_again   open            there is a booking, an attempt or a configuration to look at
    adopt       open            Cal.com shows an active booking that our side lacks, or says otherwise about
    link        open            an appointment of the same company may be what the call or booking is about
    recreate    open            Cal.com says that nothing stands, and the promised time is still to come
    cancel      open            Cal.com shows an active booking that is this company's
    end         open            the appointment stands, and Cal.com says that its booking does not exist
    resolve     open
    review      pending
    snooze      open
    assign      open            it is not the person's own already
"""

from __future__ import annotations

import hashlib
from collections.abc import Callable
from contextlib import suppress
from dataclasses import dataclass
from datetime import datetime, timedelta
from enum import StrEnum

from django.contrib.auth.models import AbstractBaseUser
from django.db.models import Q, QuerySet

from booking import failures, follow, imports, mirror, ownership, recreate, settle, unknown_attempts
from booking.calcom.deadline import Deadline
from booking.calcom.objects import Booking, Unreadable, read_instant
from booking.models import (
    OPEN_STATES,
    OPEN_STATUSES,
    PROVEN_STATUSES,
    Appointment,
    BookingAttempt,
    Service,
    SyncFailure,
)
from calls.models import Call
from customers.admin_columns import zone_of
from customers.company_secrets import without_secrets
from sync import both_sides, links, roles
from sync.both_sides import Remote, Seen
from sync.closing import DOUBT_A_BOOKING
from sync.converge import Kinship

LOOK_SECONDS = 2.5  # a person waits for the page
MOST_CANDIDATES = 20
_AROUND = (
    "company",
    "call",
    "assigned_to",
    "appointment__company",
    "appointment__branch__company",
    "appointment__service",
    "appointment__customer",
    "appointment__call",
)
NEAR = timedelta(days=1)

Status = SyncFailure.Status
Type = SyncFailure.Type


class Verb(StrEnum):
    TRY_AGAIN = "try_again"
    ADOPT = "adopt"
    LINK = "link"
    RECREATE = "recreate"
    CANCEL = "cancel"
    END = "end"
    RESOLVE = "resolve"
    REVIEW = "review"
    SNOOZE = "snooze"
    ASSIGN = "assign"


ASK_CALCOM = frozenset({Verb.TRY_AGAIN, Verb.ADOPT, Verb.LINK, Verb.RECREATE, Verb.CANCEL, Verb.END})
IN_BULK = (Verb.ASSIGN, Verb.SNOOZE, Verb.REVIEW, Verb.RESOLVE, Verb.TRY_AGAIN)
LEGAL_WHILE: dict[Verb, frozenset[str]] = {
    **dict.fromkeys(Verb, frozenset(map(str, OPEN_STATUSES))),
    Verb.REVIEW: frozenset({str(Status.PENDING)}),
}
PERMISSION: dict[Verb, str] = {
    Verb.TRY_AGAIN: roles.REPAIR,
    Verb.ADOPT: roles.REPAIR,
    Verb.LINK: roles.REPAIR,
    Verb.RECREATE: roles.ACT_AT_CALCOM,
    Verb.CANCEL: roles.ACT_AT_CALCOM,
    Verb.END: roles.REPAIR,
    Verb.RESOLVE: roles.WORK,
    Verb.REVIEW: roles.WORK,
    Verb.SNOOZE: roles.WORK,
    Verb.ASSIGN: roles.WORK,
}


class NotLegal(Exception):
    """Not in this state; the text says why. Nothing was done."""


class MovedOn(Exception):
    """It is not any more what the person was shown. Nothing was done."""


@dataclass(frozen=True)
class Case:
    """A failure as a person looks at it, with what Cal.com shows."""

    failure: SyncFailure
    user: AbstractBaseUser
    now: datetime
    remote: Remote
    attempt: BookingAttempt | None

    @property
    def appointment(self) -> Appointment | None:
        return both_sides.appointment_of(self.failure, self.remote)

    @property
    def booking(self) -> Booking | None:
        return self.remote.booking

    @property
    def fingerprint(self) -> str:
        return both_sides.fingerprint(self.remote, self.appointment)

    @property
    def differences(self) -> tuple[str, ...]:
        """What our appointment says otherwise than its booking."""
        match = self.remote.match
        if match is None or match.appointment is None:
            return ()
        return follow.differences(match.appointment, match.booking, now=self.now)

    @property
    def attempt_is_open(self) -> bool:
        return self.attempt is not None and self.attempt.state in OPEN_STATES


def read_failure(failure_id: int, *, lock: bool = False) -> SyncFailure:
    """With what stands around it, without anybody's secrets. Raises MovedOn if it is not there any more."""
    rows = without_secrets(SyncFailure.objects.all(), paths=_AROUND)
    if lock:
        rows = rows.select_for_update(of=("self",), no_key=True)
    try:
        failure: SyncFailure = rows.get(pk=failure_id)
    except SyncFailure.DoesNotExist:
        raise MovedOn("The failure is not there any more.") from None
    return failure


def version_of(failure: SyncFailure) -> str:
    """Changes whenever the row does in anything that a person decides upon."""
    told = (
        failure.status,
        failure.occurrences,
        failure.attempt_count,
        failure.last_seen_at.isoformat(),
        failure.assigned_to_id,
        failure.snoozed_until and failure.snoozed_until.isoformat(),
    )
    return hashlib.sha256(repr(told).encode()).hexdigest()[:16]


def open_case(
    failure: SyncFailure,
    *,
    user: AbstractBaseUser,
    now: datetime,
    ask: bool = True,
    seconds: float = LOOK_SECONDS,
) -> Case:
    """`ask`: with the live booking. Raises nothing of Cal.com's."""
    if not ask:
        return Case(failure, user, now, Remote(Seen.NOTHING_TO_ASK), None)
    attempt = both_sides.attempt_of(failure)
    remote = both_sides.look(failure, attempt=attempt, deadline=Deadline.after(seconds))
    return Case(failure, user, now, remote, attempt)


def legal_verbs(case: Case) -> dict[Verb, str]:
    """Every verb, with why it is not legal now; blank where it is."""
    reasons = {}
    for verb in Verb:
        try:
            preview(verb, case)
        except NotLegal as no:
            reasons[verb] = str(no)
        else:
            reasons[verb] = ""
    return reasons


# --- What would happen


def preview(verb: Verb, case: Case) -> list[str]:
    """What will happen, a sentence each. Raises NotLegal."""
    require_status(verb, case.failure)
    return _PREVIEWS[verb](case)


def require_status(verb: Verb, failure: SyncFailure) -> None:
    if failure.status not in LEGAL_WHILE[verb]:
        raise NotLegal(f"The failure is {failure.get_status_display()}.")


def _preview_try_again(case: Case) -> list[str]:
    failure, remote = case.failure, case.remote
    if case.attempt_is_open:
        assert case.attempt is not None  # noqa: S101 - what attempt_is_open means
        _require_nobody_busy(case.attempt, now=case.now)
        return [
            "The attempt is looked for at Cal.com and settled: adopted if its booking stands, absent if it "
            "does not and the time for a late one has passed."
        ]
    if failure.subject == failures.ACCESS:
        return ["Cal.com is asked whether it takes this company's key. If it does, the failure is closed."]
    if failure.subject == failures.RECONCILE_ACCESS:
        return ["Cal.com is asked whether it takes the key of the hourly run. If so, the failure is closed."]
    if failure.subject.startswith(failures.EVENT_TYPE):
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
        appointment = certain_appointment(failure)
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
        assert match.attempt is not None  # noqa: S101
        if match.attempt.state == BookingAttempt.State.REFUSED and booking.is_active:
            return [state, "The caller was told no, so within a minute the machines cancel it at Cal.com."]
        if booking.is_active and _is_other_than_asked(match.attempt, booking):
            return [state, "It is not what was asked for: it is cancelled at Cal.com, and a callback noted."]
        return [state, "It carries an attempt of ours: its appointment is settled from it."]
    if match.kinship is Kinship.LOST:
        return [state, "It was booked in a call of ours: its appointment is made again, and linked."]
    if match.kinship is Kinship.ELSEWHERE:
        return [state, "It was made elsewhere: it is imported as an appointment."]
    if match.kinship is Kinship.UNKNOWN_CLAIM and not booking.is_active:
        return [state, "It does not stand: the failure is closed."]
    raise NotLegal(_WHY_A_PERSON[match.kinship])


_WHY_A_PERSON = {
    Kinship.UNKNOWN_CLAIM: "The booking names an attempt that is not known: a person has to decide.",
    Kinship.UNASSIGNED: "Its event type belongs to no service of this company.",
    Kinship.TWIN: "Its appointment was moved to another booking, and both stand: one of the two has to go.",
    Kinship.OVERTAKEN: "Cal.com shows something newer of it in this moment: look once more.",
}


def _preview_adopt(case: Case) -> list[str]:
    booking = _active_booking(case)
    match = case.remote.match
    assert match is not None  # noqa: S101
    nothing_there = "Nothing is changed at Cal.com."
    if match.kinship is Kinship.MIRRORED:
        if not case.differences:
            raise NotLegal("Our appointment says the same as the booking.")
        return [f"Our appointment follows the booking: {', '.join(case.differences)}.", nothing_there]
    if match.kinship in (Kinship.UNASSIGNED, Kinship.TWIN, Kinship.OVERTAKEN):
        raise NotLegal(_WHY_A_PERSON[match.kinship])
    if match.kinship is Kinship.OF_ATTEMPT:
        attempt = match.attempt
        assert attempt is not None  # noqa: S101
        own = attempt.appointment
        if own.status in PROVEN_STATUSES and own.calcom_booking_uid not in (None, booking.uid):
            raise NotLegal("Its appointment stands with another booking: one of the two has to go.")
        _require_nobody_busy(attempt, now=case.now)
        if attempt.state in mirror.ADOPTABLE:
            if _is_other_than_asked(attempt, booking):
                raise NotLegal("It is not what was asked for, so it cannot become that appointment.")
            return [
                f"Appointment {name_of(own)} becomes this booking: {_when(booking, case)}.",
                "Its call is linked, and says that something was booked.",
                nothing_there,
            ]
        return [
            f"A new appointment is made from the booking: {_when(booking, case)}.",
            "The call of the attempt is linked to it.",
            nothing_there,
        ]
    if service_of(case) is None:
        raise NotLegal("Its event type belongs to no service of this company: set up the service first.")
    effects = [f"A new appointment is made from the booking: {_when(booking, case)}."]
    if match.kinship is Kinship.LOST:
        effects.append("The call it was booked in is linked to it.")
    if match.kinship is Kinship.UNKNOWN_CLAIM:
        effects.append("It names an attempt that is not known. No call is linked to it.")
    return [*effects, nothing_there]


def _preview_link(case: Case) -> list[str]:
    if not candidates(case):
        raise NotLegal("There is no appointment that this could be.")
    if is_about_a_lone_booking(case):
        assert case.booking is not None  # noqa: S101
        return [f"The chosen appointment becomes booking {case.booking.uid}: {_when(case.booking, case)}."]
    assert case.failure.call is not None  # noqa: S101
    return [
        f"Call {case.failure.call.retell_call_id} and the chosen appointment point at each other.",
        "The call says that something was booked.",
        "Nothing is changed at Cal.com.",
    ]


def _preview_recreate(case: Case) -> list[str]:
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


def _preview_cancel(case: Case) -> list[str]:
    booking = _active_booking(case)
    match = case.remote.match
    assert match is not None  # noqa: S101
    if match.kinship in (Kinship.UNASSIGNED, Kinship.OVERTAKEN):
        raise NotLegal(_WHY_A_PERSON[match.kinship])
    effects = [
        f"Booking {booking.uid} ({_when(booking, case)}, {booking.status}) is cancelled at Cal.com, with the "
        "message below. The guest and the host get an e-mail from Cal.com about it.",
    ]
    if match.appointment is not None:
        becomes = "stays as it is" if match.kinship is Kinship.TWIN else "is cancelled too"
        effects.append(f"Our appointment {name_of(match.appointment)} {becomes}.")
    if (other := case.remote.other) is not None:
        becomes = "stays as it is" if other.is_active else "does not stand either: nothing is left then"
        effects.append(f"The other one, {other.uid} ({_when(other, case)}, {other.status}), {becomes}.")
    return [*effects, "This cannot be taken back."]


def _preview_end(case: Case) -> list[str]:
    if case.remote.seen is not Seen.NOT_THERE:
        raise NotLegal("Cal.com has not said that the booking is missing.")
    appointment = case.appointment
    if appointment is None or appointment.status not in PROVEN_STATUSES:
        raise NotLegal("No appointment of ours stands.")
    if appointment.calcom_booking_uid != both_sides.uid_of(case.failure):
        raise NotLegal("The appointment stands with another booking by now.")
    if appointment.attempts.filter(state__in=OPEN_STATES).exists():
        raise NotLegal("Something is being done to the appointment, or nobody knows yet how that went.")
    return [
        "Cal.com knows no booking of this appointment: nothing is changed there.",
        f"Our appointment {name_of(appointment)} is cancelled. Callers do not hear of it any more, and can "
        "book that time again.",
        "Nobody is told: the guest may still count on it.",
    ]


def _preview_resolve(_case: Case) -> list[str]:
    return [
        "The failure is closed with your note and your name.",
        "Neither the appointment nor the booking is changed.",
        "It is not opened again while the gap stays exactly as it is.",
    ]


def _preview_review(_case: Case) -> list[str]:
    return ["The failure is marked as waiting for a person."]


def _preview_snooze(_case: Case) -> list[str]:
    return ["The failure is hidden from the inbox until then. It stays open, and is counted."]


def _preview_assign(case: Case) -> list[str]:
    if case.failure.assigned_to_id == case.user.pk:
        raise NotLegal("It is assigned to you.")
    before = f" instead of {case.failure.assigned_to}" if case.failure.assigned_to else ""
    return [f"The failure is assigned to you{before}."]


_PREVIEWS: dict[Verb, Callable[[Case], list[str]]] = {
    Verb.TRY_AGAIN: _preview_try_again,
    Verb.ADOPT: _preview_adopt,
    Verb.LINK: _preview_link,
    Verb.RECREATE: _preview_recreate,
    Verb.CANCEL: _preview_cancel,
    Verb.END: _preview_end,
    Verb.RESOLVE: _preview_resolve,
    Verb.REVIEW: _preview_review,
    Verb.SNOOZE: _preview_snooze,
    Verb.ASSIGN: _preview_assign,
}


def candidates(case: Case) -> list[Appointment]:
    """The appointments of the same company that this may be about."""
    if is_about_a_lone_booking(case):
        rows = _without_booking(case)
    elif case.failure.call is not None and case.failure.call.appointment_id is None:
        rows = _of_the_call(case.failure.call)
    else:
        return []
    paths = ("company", "branch__company", "service", "customer", "call")
    return list(without_secrets(rows, paths=paths).order_by("starts_at")[:MOST_CANDIDATES])


def is_about_a_lone_booking(case: Case) -> bool:
    """A booking stands, and neither an appointment nor an attempt of ours is its."""
    match = case.remote.match
    lone = (Kinship.LOST, Kinship.ELSEWHERE, Kinship.UNKNOWN_CLAIM)
    return match is not None and match.booking.is_active and match.kinship in lone


def _without_booking(case: Case) -> QuerySet[Appointment]:
    booking = case.booking
    assert booking is not None  # noqa: S101
    return Appointment.objects.filter(
        company=case.failure.company_id,
        calcom_booking_uid=None,
        status__in=links.NOT_BOOKED,
        service__calcom_event_type_id=booking.event_type_id or 0,
        starts_at__gte=booking.start - NEAR,
        starts_at__lte=booking.start + NEAR,
    ).exclude(attempts__state__in=OPEN_STATES)


def _of_the_call(call: Call) -> QuerySet[Appointment]:
    near = Q(call=call)
    if call.customer_id is not None:
        near |= Q(call=None, customer=call.customer_id)
    details = call.booking_details
    if isinstance(details, dict):
        with suppress(Unreadable):
            near |= Q(call=None, starts_at=read_instant(details.get("start")))
    # What never came about was not booked in any call.
    return Appointment.objects.filter(near, company=call.company_id, calcom_booking_uid__isnull=False)


def certain_appointment(failure: SyncFailure) -> Appointment | None:
    if failure.call is None or failure.call.appointment_id is not None:
        return None
    rows = Appointment.objects.filter(
        company=failure.company_id, call=failure.call, status__in=PROVEN_STATUSES
    )
    found = list(rows.select_related("company", "service", "customer", "call")[:2])
    return found[0] if len(found) == 1 else None


def _active_booking(case: Case) -> Booking:
    if case.remote.seen is Seen.NOT_ASKED:
        raise NotLegal("Cal.com could not be asked.")
    if case.booking is None:
        raise NotLegal("Cal.com shows no booking.")
    if not case.booking.is_active:
        raise NotLegal(f"The booking is {case.booking.status} at Cal.com.")
    return case.booking


def _require_nobody_busy(attempt: BookingAttempt, *, now: datetime) -> None:
    if attempt.state in OPEN_STATES and not unknown_attempts.may_take_over(attempt, now=now):
        until = f"{attempt.lease_expires_at:%H:%M:%S} UTC"
        raise NotLegal(f"The request that makes this booking is still under way, until {until} at most.")


def _is_other_than_asked(attempt: BookingAttempt, booking: Booking) -> bool:
    asked = settle.asked_of(attempt)
    return bool(ownership.what_differs(booking, asked=asked)) and not booking.rescheduled_from_uid


def service_of(case: Case) -> Service | None:
    match = case.remote.match
    if match is None:
        return None
    return match.service or imports.service_for(case.failure.company, match.booking.event_type_id)


def name_of(appointment: Appointment) -> str:
    """An appointment as a sentence names it, in its own place's time."""
    service = appointment.service.name if appointment.service else "?"
    start = appointment.starts_at.astimezone(zone_of(appointment))
    return f"“{service}, {start:%Y-%m-%d %H:%M %Z}, {appointment.get_status_display()}”"


def _when(booking: Booking, case: Case) -> str:
    start = booking.start.astimezone(zone_of(case.appointment or case.failure))
    return f"{start:%Y-%m-%d %H:%M %Z}"

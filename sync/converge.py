"""One booking as Cal.com shows it now: what is it to us, and what follows?

Everything that brings news of a booking ends here: a delivery, the hourly listing, a person's button. First
it is found out which of our rows it belongs to, asking Cal.com where that takes it; then the row is made
equal, in one transaction. Whoever knows a booking is its uid, its number, the uid it was moved from, and only
then the metadata: Cal.com copies that to every move, and leaves it out of half of what it sends.

A booking that carries an attempt of ours is adopted, one made elsewhere is imported, and one that claims to
be ours without our knowing it is a ticket for a person. What belongs to none of the company's event types is
left alone.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass, field, replace
from datetime import datetime
from enum import StrEnum

from django.core.exceptions import ValidationError
from django.db import IntegrityError, transaction

from booking import attempts, availability, failures, follow, imports, known_uids, lookup, unknown_attempts
from booking.calcom.client import CalcomClient
from booking.calcom.deadline import Deadline
from booking.calcom.objects import Booking
from booking.models import (
    OPEN_STATES,
    Appointment,
    BookingAttempt,
    FormerUid,
    Service,
    SyncFailure,
)
from calls.models import Call
from customers.models import Company


class Kinship(StrEnum):
    """What a booking is to us."""

    MIRRORED = "mirrored"  # it has its appointment
    TWIN = "twin"  # its appointment was moved on to another booking, and both of them stand
    OVERTAKEN = "overtaken"  # what was shown of it is older than what is mirrored
    OF_ATTEMPT = "of_attempt"  # an attempt of ours made it, and it has no appointment
    LOST = "lost"  # it was booked in a call of ours, and every row of it but the call is gone
    ELSEWHERE = "elsewhere"  # made on the web or by hand, with an event type of this company
    UNKNOWN_CLAIM = "unknown_claim"  # it says it is ours, and names an attempt we do not have
    UNASSIGNED = "unassigned"  # with an event type that is none of this company's


# What only a person can decide.
TICKETS = {
    Kinship.TWIN: SyncFailure.Type.DUPLICATE_BOOKING,
    Kinship.UNKNOWN_CLAIM: SyncFailure.Type.ORPHANED_CALCOM,
}

# An attempt in one of these is settled, or the completer comes back to it.
_SEEN_TO = (*OPEN_STATES, BookingAttempt.State.SUCCEEDED, BookingAttempt.State.REFUSED)


@dataclass(frozen=True)
class Match:
    """`booking` is the end of all its moves, `former_uids` what it was called on the way."""

    company: Company
    booking: Booking
    kinship: Kinship
    former_uids: tuple[str, ...] = ()
    appointment: Appointment | None = None
    attempt: BookingAttempt | None = None
    service: Service | None = None
    call: Call | None = None


@dataclass(frozen=True)
class Converged:
    """What was done; `changed` names what differed in an appointment that was known."""

    kinship: Kinship
    appointment: Appointment | None = None
    changed: tuple[str, ...] = ()
    failure: SyncFailure | None = None


def find_out(*, company: Company, booking: Booking, client: CalcomClient, deadline: Deadline) -> Match:
    """What it is to us. Changes nothing; raises CalcomError if Cal.com has to be asked and cannot be."""
    origin = booking.rescheduled_from_uid
    booking, moved_from = lookup.end_of_chain(booking, client=client, deadline=deadline)
    former = [uid for uid in moved_from if uid != booking.uid]
    appointment = _appointment_of(company, [booking.uid, *former], number=booking.id)
    while appointment is None and origin and origin not in former and len(former) < lookup.LONGEST_CHAIN:
        # A move whose earlier steps were never told to us.
        former.append(origin)
        appointment = _appointment_of(company, [origin])
        if appointment is None:
            origin = _origin_of(origin, client=client, deadline=deadline)
    match = Match(company=company, booking=booking, kinship=Kinship.UNASSIGNED, former_uids=tuple(former))
    if appointment is not None:
        match = replace(match, kinship=Kinship.MIRRORED, appointment=appointment)
        successor = appointment.calcom_booking_uid
        if (
            successor
            and booking.is_active
            and not follow.is_what_became_of(appointment, booking, match.former_uids)
        ):
            return _beside(successor, match, client, deadline)
        return match
    attempt = attempt_of(company, booking)
    if attempt is not None:
        return replace(match, kinship=Kinship.OF_ATTEMPT, attempt=attempt)
    service = imports.service_for(company, booking.event_type_id)
    if "attempt_id" in booking.metadata:
        if booking.metadata.get("company", company.slug) != company.slug:
            return match
        call = imports.call_that_booked(company, booking, service=service)
        if call is not None:
            return replace(match, kinship=Kinship.LOST, service=service, call=call)
        return replace(match, kinship=Kinship.UNKNOWN_CLAIM)
    if service is not None and not _is_of_another_company(company, [booking.uid, *former]):
        return replace(match, kinship=Kinship.ELSEWHERE, service=service)
    return match


def _is_of_another_company(company: Company, uids: Sequence[str]) -> bool:
    """Two companies may share an event type, and whoever hears of the booking first has it."""
    return any(each.company != company.pk for each in known_uids.holders(uids))


def converge(
    match: Match,
    *,
    client: CalcomClient,
    deadline: Deadline,
    now: datetime,
    webhook_id: str = "",
    knows_of_absence: bool = True,
    is_newest: bool = False,
    also: Callable[[Converged], None] = lambda _done: None,
) -> Converged:
    """Make our side equal to the booking. `also` is told what was done, in the transaction of it where there
    is one; `knows_of_absence` and `is_newest` are `follow.follow`'s. Raises unknown_attempts.InFlight,
    CalcomError, and what the database raises.
    """
    work = _Work(
        match,
        client=client,
        deadline=deadline,
        now=now,
        webhook_id=webhook_id,
        knows_of_absence=knows_of_absence,
        is_newest=is_newest,
        also=also,
    )
    effects = {
        Kinship.MIRRORED: work.follow,
        Kinship.TWIN: work.report_twin,
        Kinship.OF_ATTEMPT: work.adopt,
        Kinship.LOST: work.import_,
        Kinship.ELSEWHERE: work.import_,
        Kinship.UNKNOWN_CLAIM: work.report,
        Kinship.OVERTAKEN: work.leave,
        Kinship.UNASSIGNED: work.leave,
    }
    try:
        return effects[match.kinship]()
    finally:
        # Even if it failed: what Cal.com offers is different now.
        availability.forget(match.company.pk)


def attempt_of(company: Company, booking: Booking) -> BookingAttempt | None:
    """The attempt of this company that the booking names."""
    attempt_id = booking.metadata.get("attempt_id")
    if not attempt_id:
        return None
    creates = BookingAttempt.objects.filter(company=company, kind=BookingAttempt.Kind.CREATE)
    try:
        return attempts.with_all_it_takes(creates).filter(uuid=attempt_id).first()
    except ValidationError:  # not a UUID
        return None


def _appointment_of(company: Company, uids: list[str], *, number: int | None = None) -> Appointment | None:
    rows = Appointment.objects.filter(company=company)
    found = rows.filter(calcom_booking_uid__in=uids).first()
    if found is None:
        former = FormerUid.objects.filter(uid__in=uids, appointment__company=company)
        known = former.select_related("appointment").first()
        found = known.appointment if known else None
    if found is None and number is not None:
        # Numbers begin again where a company moves to another Cal.com: only a row without a uid has no
        # better.
        found = rows.filter(calcom_booking_id=number, calcom_booking_uid=None).first()
    return found


def _beside(successor: str, match: Match, client: CalcomClient, deadline: Deadline) -> Match:
    """It is shown as active, and our row is at what it was moved to. That may be an old view of it; but a
    host can also confirm a booking again that was moved away, and then it stands, alone or beside the other.
    """
    now_shown = client.find_booking(match.booking.uid, deadline=deadline)
    if now_shown is None or not now_shown.is_active:
        return replace(match, kinship=Kinship.OVERTAKEN)
    became = client.find_booking(successor, deadline=deadline)
    if became is not None and lookup.end_of_chain(became, client=client, deadline=deadline)[0].is_active:
        return replace(match, kinship=Kinship.TWIN)
    # The successor does not stand any more, so this is what the row goes on as.
    return replace(match, former_uids=(*match.former_uids, successor))


def _origin_of(uid: str, *, client: CalcomClient, deadline: Deadline) -> str:
    booking = client.find_booking(uid, deadline=deadline)
    return booking.rescheduled_from_uid if booking is not None else ""


@dataclass(frozen=True, kw_only=True)
class _Work:
    match: Match = field(kw_only=False)
    client: CalcomClient
    deadline: Deadline
    now: datetime
    webhook_id: str
    knows_of_absence: bool
    is_newest: bool
    also: Callable[[Converged], None]

    def follow(self) -> Converged:
        appointment = self.match.appointment
        assert appointment is not None  # noqa: S101 - what MIRRORED means
        with transaction.atomic():
            followed = follow.follow(
                appointment,
                booking=self.match.booking,
                former_uids=self.match.former_uids,
                knows_of_absence=self.knows_of_absence,
                is_newest=self.is_newest,
                now=self.now,
            )
            done = Converged(Kinship.MIRRORED, appointment=followed.appointment, changed=followed.changed)
            self.also(done)
        return done

    def report_twin(self) -> Converged:
        match = self.match
        problem = failures.Problem(
            company=match.company,
            failure_type=TICKETS[Kinship.TWIN],
            subject=failures.about_booking(match.booking.uid),
            message="A booking stands beside the one it was moved to. Which is meant?",
            appointment=match.appointment,
            call=match.appointment.call if match.appointment else None,
            uid=match.booking.uid,
            details={"other_uid": match.appointment and match.appointment.calcom_booking_uid},
        )
        with transaction.atomic():
            failure = failures.open_failure(problem, needs_person=True, is_standing=True)
            done = Converged(Kinship.TWIN, appointment=match.appointment, failure=failure)
            self.also(done)
        return done

    def adopt(self) -> Converged:
        attempt, booking = self.match.attempt, self.match.booking
        assert attempt is not None  # noqa: S101 - what OF_ATTEMPT means
        state = unknown_attempts.settle_shown(
            attempt, booking=booking, client=self.client, deadline=self.deadline, now=self.now
        )
        appointment = _appointment_of(self.match.company, [booking.uid])
        failure = None
        if appointment is None and booking.is_active and state not in _SEEN_TO:
            problem = failures.of_attempt(
                attempt,
                failure_type=SyncFailure.Type.ORPHANED_CALCOM,
                subject=failures.about_booking(booking.uid),
                message="The booking stands at Cal.com, and its attempt ended here without an appointment.",
                uid=booking.uid,
                details={"state": state},
            )
            failure = failures.open_failure(problem, needs_person=True, is_standing=True)
        done = Converged(Kinship.OF_ATTEMPT, appointment=appointment, failure=failure)
        self.also(done)
        return done

    def import_(self) -> Converged:
        match = self.match
        assert match.service is not None  # noqa: S101 - what ELSEWHERE and LOST mean
        try:
            appointment = imports.import_booking(
                company=match.company,
                service=match.service,
                booking=match.booking,
                former_uids=match.former_uids,
                now=self.now,
                webhook_id=self.webhook_id,
                call=match.call,
                also=lambda appointment: self.also(Converged(match.kinship, appointment=appointment)),
            )
        except IntegrityError:
            # Another delivery about it, or about the booking it was moved from, may have been faster.
            known = _appointment_of(match.company, [match.booking.uid, *match.former_uids])
            if known is None and match.call is not None:
                return self.report()  # the same person has the same thing booked under another uid
            if known is None:
                raise
            return replace(self, match=replace(match, appointment=known)).follow()
        return Converged(match.kinship, appointment=appointment)

    def report(self) -> Converged:
        booking, company = self.match.booking, self.match.company
        failure = None
        with transaction.atomic():
            if booking.is_active:
                problem = failures.Problem(
                    company=company,
                    failure_type=TICKETS[Kinship.UNKNOWN_CLAIM],
                    subject=failures.about_booking(booking.uid),
                    message="A booking at Cal.com says it was made by us, and we know nothing of it.",
                    uid=booking.uid,
                    details={"attempt": booking.metadata.get("attempt_id", "")[:64]},
                )
                failure = failures.open_failure(problem, needs_person=True, is_standing=True)
            else:
                failures.close_failures(
                    company_id=company.pk,
                    subjects=[failures.about_booking(booking.uid)],
                    note="The booking is cancelled at Cal.com.",
                )
            done = Converged(Kinship.UNKNOWN_CLAIM, failure=failure)
            self.also(done)
        return done

    def leave(self) -> Converged:
        done = Converged(self.match.kinship, appointment=self.match.appointment)
        self.also(done)
        return done

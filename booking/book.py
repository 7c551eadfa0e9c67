"""The booking transaction.

    keys → claim and commit → create at Cal.com → whose is it? → settle: all rows in one transaction

No database transaction is open while Cal.com is asked. The intention is committed before, so whatever happens
after it (a time-out, a crash, a database that goes away) leaves a row that says what may exist at Cal.com,
and the completer looks there before anybody acts. "Booked" is said when it is proven there and committed
here; "taken" only when nothing of this caller's can be there; everything in between is "checking".
"""

from __future__ import annotations

import re
import time
from contextlib import suppress
from dataclasses import dataclass
from datetime import datetime, timedelta

import structlog
from django.conf import settings
from django.db import DatabaseError, transaction
from django.db.models import QuerySet
from django.utils import timezone

from booking import (
    alternatives,
    attempts,
    availability,
    breaker,
    callbacks,
    change_outcome,
    completer,
    database_errors,
    event_types,
    failures,
    idempotency,
    lookup,
    own_bookings,
    settle,
)
from booking.attempts import Intention
from booking.calcom.client import CalcomClient
from booking.calcom.deadline import Deadline
from booking.calcom.errors import (
    CalcomError,
    CalcomMisconfigured,
    CalcomRefused,
    CalcomUnavailable,
    OutcomeUnknown,
    RateLimited,
    Refusal,
)
from booking.calcom.objects import Booking
from booking.connection import client_for
from booking.models import LIVE_STATUSES, Appointment, BookingAttempt, Service, SyncFailure
from booking.outcomes import Code, Outcome
from booking.settle import Result
from calls import call_record
from calls.models import Call
from customers.identify import (
    NoContact,
    anonymous_customer,
    attendee_identity,
    customer_by_phone,
)
from customers.models import Branch, Company
from customers.names import is_full_name, same_person

State = BookingAttempt.State

LAG_SECONDS = 0.6  # a replica of Cal.com's may lag behind its answer
FARTHEST = timedelta(days=400)
LONGEST_RATE_WAIT = 3.0
LATER_LOOK = timedelta(seconds=60)

logger = structlog.get_logger(__name__)


def _reserve() -> float:
    """Seconds kept of the budget while a create is waited for: to save its result, or to undo it."""
    return min(1.0, settings.ANSWER_BUDGET_SECONDS / 5)


@dataclass(frozen=True)
class Wish:
    """What the caller asked for, understood but not yet checked against anything stored. `starts_at` is
    aware; `phone` is E.164 or empty (then the caller is anonymous), and `is_callers_number` tells whether the
    call comes from it.
    """

    service: Service
    starts_at: datetime
    name: str
    phone: str
    email: str
    notes: str = ""
    is_callers_number: bool = False


def book_appointment(
    *, company: Company, branch: Branch | None, call: Call, wish: Wish, now: datetime, deadline: Deadline
) -> Outcome:
    """Book, or find that it is booked, within the deadline. Never raises for anything Cal.com does."""
    service = wish.service
    if wish.starts_at <= now:
        return _past(company=company, wish=wish, now=now, deadline=deadline)
    if wish.starts_at > now + FARTHEST:
        return Outcome(Code.INVALID_REQUEST, reason="too_far_ahead", errors={"start": "too far ahead"})
    not_learned = _learn(service, company=company, deadline=deadline)
    try:
        intention = _intention(company=company, branch=branch, call=call, wish=wish)
    except NoContact:
        return Outcome(Code.INVALID_REQUEST, reason="phone_needed", errors={"customer_phone": "required"})
    if not_learned is not None and attempts.same_booking(intention) is None:
        return _cannot_begin(intention, not_learned)
    for _ in range(2):
        standing = _recalled(intention)
        if standing is None:
            try:
                claim = attempts.claim_booking(intention, now=now)
            except DatabaseError as error:
                return _cannot_be_stored(intention, error)
            if claim.attempt is not None:
                return _send(claim.attempt, intention, deadline=deadline)
            standing = claim.appointment
        answer = _who_is_asking(standing, wish, call)
        if answer is not None:
            return answer
        outcome = _join(standing, intention, deadline=deadline)
        if outcome is not None:
            return outcome
        # What stood there was looked for and is proven never to have come about: the way is free.
    return Outcome(Code.CHECKING, service=service, wanted=wish.starts_at)


def _learn(service: Service, *, company: Company, deadline: Deadline) -> CalcomError | None:
    """Know what the event type is like, and that it is this company's. Returns what kept us from it."""
    if service.is_learned:
        return None
    try:
        client = client_for(company)
        if not breaker.allows(company_id=company.pk, client=client, deadline=deadline):
            return CalcomUnavailable("Cal.com is down.")
        event_types.learn(service, client=client, deadline=deadline.less(_reserve()))
    except CalcomError as error:
        breaker.note(error, company_id=company.pk)
        return error
    return None


def _cannot_begin(intention: Intention, error: CalcomError) -> Outcome:
    """Before anything was claimed."""
    if isinstance(error, CalcomMisconfigured):
        _report_misconfigured(intention, error)
        return _call_back(intention, reason="The booking could not be completed.")
    return _call_back(intention, reason="The calendar could not be reached.")


def _intention(*, company: Company, branch: Branch | None, call: Call, wish: Wish) -> Intention:
    if wish.phone:
        customer = customer_by_phone(company=company, phone=wish.phone, name=wish.name, email=wish.email)
    else:
        customer = anonymous_customer(
            company=company, call_id=call.retell_call_id, name=wish.name, email=wish.email
        )
    identity = attendee_identity(
        company=company, customer=customer, email=wish.email, email_required=wish.service.email_required
    )
    return Intention(
        company=company,
        branch=branch,
        call=call,
        customer=customer,
        service=wish.service,
        starts_at=wish.starts_at,
        ends_at=wish.starts_at + wish.service.duration,
        attendee_name=wish.name,
        attendee_phone=identity.phone,
        attendee_email=identity.email,
        notes=wish.notes,
        key=idempotency.booking_key(
            customer_id=customer.pk,
            service_id=wish.service.pk,
            starts_at=wish.starts_at,
            source=Appointment.Source.RETELL,
        ),
    )


def _cannot_be_stored(intention: Intention, error: DatabaseError) -> Outcome:
    """The intention itself is refused by the database, so Cal.com is never asked."""
    logger.error("booking.not_claimed", error=type(error).__name__)
    with suppress(DatabaseError):
        if not database_errors.is_away(error):
            failures.open_failure(
                company=intention.company,
                failure_type=SyncFailure.Type.SCHEMA_ERROR,
                subject=failures.about_key(intention.key),
                message=database_errors.describe(error),
                call=intention.call,
                details={"phase": "claim", "error": type(error).__name__},
            )
    return _call_back(intention, reason="The booking could not be stored.")


def _who_is_asking(standing: Appointment, wish: Wish, call: Call) -> Outcome | None:
    """Whether this is the same person's booking again; None: it is, and they may hear about it.

    Another name for the same number, service and time is a second person, who must not become one with the
    first silently. And what stands is talked about only in the call that made it or to the number it was made
    under: whoever merely says a number, and a name that goes with it, learns nothing.
    """
    if standing.call_id == call.pk or wish.is_callers_number:
        if same_person(standing.attendee_name, wish.name):
            return None
        return Outcome(Code.AMBIGUOUS, reason="second_person", service=wish.service, wanted=wish.starts_at)
    if is_full_name(wish.name) and same_person(standing.attendee_name, wish.name):
        proven = standing.status != Appointment.Status.PENDING
        code = Code.ALREADY_BOOKED if proven else Code.CHECKING
        return Outcome(code, service=wish.service, wanted=wish.starts_at)
    errors = {"customer_phone": "not usable for this booking"}
    return Outcome(Code.INVALID_REQUEST, reason="other_phone", errors=errors)


def _recalled(intention: Intention) -> Appointment | None:
    """First tier: what the cache remembers of this key, believed only if the row says so too."""
    appointment_id = idempotency.recall(intention.key, company_id=intention.company.pk)
    if appointment_id is None:
        return None
    return (
        Appointment.objects.filter(
            pk=appointment_id,
            company=intention.company,
            idempotency_key=intention.key,
            status__in=LIVE_STATUSES,
        )
        .select_related("service")
        .first()
    )


# --- Somebody has asked for this already


def _join(appointment: Appointment, intention: Intention, *, deadline: Deadline) -> Outcome | None:
    """Give the answer of whoever claimed it first, waiting for it while there is time; None: it is proven
    absent.
    """
    until = deadline.less(_reserve())
    tries = 0
    while appointment.status == Appointment.Status.PENDING:
        if completer.settle_abandoned(_still_open(appointment), deadline=deadline.less(0.3)):
            appointment.refresh_from_db()
            break
        if until.remaining == 0:
            break
        attempts.give_way(tries)
        tries += 1
        appointment.refresh_from_db()
    return _standing(appointment, intention, deadline=deadline)


def _standing(appointment: Appointment, intention: Intention, *, deadline: Deadline) -> Outcome | None:
    was_at = appointment.starts_at
    if appointment.status == Appointment.Status.PENDING:
        return Outcome(Code.CHECKING, service=intention.service, wanted=intention.starts_at)
    if appointment.is_live and not _settle_change(appointment, deadline=deadline):
        return Outcome(Code.CHECKING, service=intention.service, wanted=intention.starts_at)
    if appointment.status == Appointment.Status.CANCELLED or appointment.starts_at != was_at:
        return None  # it was cancelled, or moved away: this is another booking
    if appointment.is_live:
        same_call = appointment.call_id == intention.call.pk
        if same_call and appointment.status == Appointment.Status.REQUESTED:
            return Outcome(Code.REQUESTED, appointment=appointment, service=intention.service)
        code = Code.BOOKED if same_call else Code.ALREADY_BOOKED
        return Outcome(code, appointment=appointment, service=intention.service)
    state, told = appointment.attempts.values_list("state", "told").order_by("-id").first() or ("", "")
    if state == State.ABSENT or told == Code.ALREADY_BOOKED:
        return None
    if told == Code.SLOT_TAKEN:
        return alternatives.taken(
            intention.service, intention.starts_at, company=intention.company, deadline=deadline
        )
    if told == Code.TOO_SOON:
        return alternatives.first_possible(
            intention.service, intention.starts_at, company=intention.company, deadline=deadline
        )
    if told == Code.NOT_ALLOWED:
        return Outcome(Code.NOT_ALLOWED, reason="booker", service=intention.service)
    return _call_back(intention, reason="The booking could not be completed.")


def _settle_change(appointment: Appointment, *, deadline: Deadline) -> bool:
    """Whether it is known that the appointment stands as it does here: False while it is being moved or
    cancelled, or nobody knows how that went.
    """
    open_ones = list(_still_open(appointment))
    if not open_ones:
        return True
    completer.settle_abandoned(open_ones, deadline=deadline.less(0.3))
    appointment.refresh_from_db()
    return not _still_open(appointment).exists()


def _still_open(appointment: Appointment) -> QuerySet[BookingAttempt]:
    return attempts.still_open(appointment.attempts.all())


# --- The claim is ours: ask Cal.com


def _send(attempt: BookingAttempt, intention: Intention, *, deadline: Deadline) -> Outcome:
    try:
        client = client_for(intention.company)
        refused = _not_now(attempt, intention, client=client, deadline=deadline)
        if refused is not None:
            return refused
        return _create(attempt, intention, client=client, deadline=deadline)
    except CalcomMisconfigured as error:
        return _misconfigured(attempt, intention, error)


def _not_now(
    attempt: BookingAttempt, intention: Intention, *, client: CalcomClient, deadline: Deadline
) -> Outcome | None:
    """What keeps the request from being sent at all. Raises CalcomMisconfigured."""
    if not breaker.allows(company_id=intention.company.pk, client=client, deadline=deadline):
        return _not_sent(attempt, intention, cause="breaker_open")
    if attempt.write_lock is None:
        lock = attempts.slot_lock(intention)
        if not attempts.take_write_lock(attempt, lock=lock, deadline=deadline.less(_reserve())):
            return _not_sent(attempt, intention, cause="slot_busy")
    return None


@dataclass
class _Posting:
    """What is known of the requests of one attempt while they are being made."""

    repeated: bool = False
    waited: bool = False  # for the rate limit
    may_exist: bool = False  # an earlier request of this attempt may still turn into a booking


def _create(
    attempt: BookingAttempt, intention: Intention, *, client: CalcomClient, deadline: Deadline
) -> Outcome:
    posting = _Posting()
    while True:
        until = deadline.less(_reserve())
        if until.remaining < 0.2:
            # Too late for a request that could be waited for; it would only make one more unknown.
            return _give_up(attempt, intention, posting, cause="no_time_left")
        attempt.posts += 1
        attempt.sent_at = timezone.now()
        try:
            booking = client.create_booking(attempt.request, deadline=until)
        except CalcomError as error:
            breaker.note(error, company_id=intention.company.pk)
            outcome = _after_error(error, attempt, intention, posting, client=client, deadline=deadline)
            if outcome is not None:
                return outcome
        else:
            breaker.note(None, company_id=intention.company.pk)
            return _after_answer([booking], attempt, intention, client=client, deadline=deadline)


def _after_error(
    error: CalcomError,
    attempt: BookingAttempt,
    intention: Intention,
    posting: _Posting,
    *,
    client: CalcomClient,
    deadline: Deadline,
) -> Outcome | None:
    """What an error means; None: send it once more. Everything that may have been done is looked up first."""
    if isinstance(error, RateLimited):
        return _after_rate_limit(error, attempt, intention, posting, deadline=deadline)
    if isinstance(error, CalcomUnavailable):
        return _give_up(attempt, intention, posting, cause=type(error).__name__, error=error)
    if deadline.less(_reserve()).remaining == 0:
        # The whole time went into waiting. Asking now, with the create perhaps still on its way, would prove
        # nothing and let the caller wait for it.
        return _unknown(attempt, intention, error=error)
    looks = 2 if isinstance(error, OutcomeUnknown) and error.finished else 1
    try:
        found, shown = _look(attempt, client=client, deadline=deadline, looks=looks)
    except CalcomError as cannot_ask:
        if isinstance(error, CalcomMisconfigured) and isinstance(cannot_ask, CalcomMisconfigured):
            # The key itself is wrong: nothing was let in.
            return _misconfigured(attempt, intention, error, posting)
        return _unknown(attempt, intention, error=error)
    if found:
        return _after_answer(found, attempt, intention, client=client, deadline=deadline)
    if isinstance(error, OutcomeUnknown):
        harmless = error.race or (error.finished and intention.service.repeat_cannot_double)
        if harmless and not posting.repeated:
            posting.repeated = True
            # A lost race was rolled back. (The same words hide a database that went away in the middle of the
            # commit; for that there is the later look at what was refused.)
            posting.may_exist = not error.race
            return None
        return _unknown(attempt, intention, error=error)
    if isinstance(error, CalcomRefused):
        return _after_refusal(
            error, attempt, intention, posting, shown=shown, client=client, deadline=deadline
        )
    return _misconfigured(attempt, intention, error, posting)


def _after_rate_limit(
    error: RateLimited,
    attempt: BookingAttempt,
    intention: Intention,
    posting: _Posting,
    *,
    deadline: Deadline,
) -> Outcome | None:
    pause = max(1.0, error.retry_after)  # "0 seconds left" is a rounded figure, and one wait has to do
    if not posting.waited and pause <= min(LONGEST_RATE_WAIT, deadline.remaining - 2 * _reserve()):
        posting.waited = True
        time.sleep(pause)
        return None
    return _give_up(attempt, intention, posting, cause="rate_limited", error=error)


def _after_refusal(
    error: CalcomRefused,
    attempt: BookingAttempt,
    intention: Intention,
    posting: _Posting,
    *,
    shown: list[Booking],
    client: CalcomClient,
    deadline: Deadline,
) -> Outcome | None:
    if error.reason is Refusal.EMAIL_REQUIRED and _add_address(attempt, intention):
        return None
    if posting.may_exist:
        # It is refused now, perhaps because our own first request holds the slot and is not visible yet.
        return _unknown(attempt, intention, error=error)
    if error.reason in (Refusal.BOOKER_LIMIT, Refusal.BOOKER_BLOCKED):
        _release(attempt, state=State.REFUSED, told=Code.NOT_ALLOWED, error=error)
        return Outcome(Code.NOT_ALLOWED, reason="booker", service=intention.service)
    if error.reason is Refusal.ALREADY_SEATED:
        _release(attempt, state=State.REFUSED, told=Code.UNAVAILABLE, error=error)
        return _call_back(intention, reason="Cal.com says this person already has a seat at that time.")
    if error.reason is Refusal.SLOT_TAKEN:
        moved_here = _own_move_to(intention)
        if moved_here is not None:
            _release(attempt, state=State.REFUSED, told=Code.CHECKING, error=error)
            return _after_own_move(moved_here, intention, deadline=deadline)
        own = own_bookings.find(intention, shown)
        if own is not None:
            _release(attempt, state=State.REFUSED, told=Code.ALREADY_BOOKED, error=error)
            return _after_own_booking(own, intention, client=client, deadline=deadline)
        _release(attempt, state=State.REFUSED, told=Code.SLOT_TAKEN, error=error)
        # Whoever was offered this slot was offered it from the cache.
        availability.forget(intention.company.pk)
        return alternatives.taken(
            intention.service, intention.starts_at, company=intention.company, deadline=deadline
        )
    if error.reason in (Refusal.OUT_OF_BOUNDS, Refusal.IN_THE_PAST, Refusal.NOTICE_PERIOD):
        _release(attempt, state=State.REFUSED, told=Code.TOO_SOON, error=error)
        return alternatives.first_possible(
            intention.service, intention.starts_at, company=intention.company, deadline=deadline
        )
    # What the caller said was checked before it was sent, so what Cal.com does not like about the rest is
    # between it and us.
    return _misconfigured(attempt, intention, error, posting)


def _own_move_to(intention: Intention) -> BookingAttempt | None:
    """A move of this customer's to the very same slot of which nobody knows yet how it went."""
    moves = BookingAttempt.objects.filter(
        company=intention.company,
        kind=BookingAttempt.Kind.RESCHEDULE,
        appointment__customer=intention.customer,
        appointment__service=intention.service,
    )
    there = (m for m in attempts.still_open(moves) if change_outcome.wanted_start(m) == intention.starts_at)
    move = next(there, None)
    # Whoever merely says the number is not told where its owner's appointment is.
    if move is None or intention.call.pk in (move.call_id, move.appointment.call_id):
        return move
    return move if call_record.is_from(intention.call, intention.customer.phone) else None


def _after_own_move(
    move: BookingAttempt,
    intention: Intention,
    *,
    deadline: Deadline,
) -> Outcome:
    """The slot may be taken by the caller's own appointment: never called taken before that is known."""
    row = move.appointment
    if not _settle_change(row, deadline=deadline):
        return _checking(intention)
    if row.is_live and row.starts_at == intention.starts_at:
        return Outcome(Code.ALREADY_BOOKED, appointment=row, service=intention.service)
    return alternatives.taken(
        intention.service, intention.starts_at, company=intention.company, deadline=deadline
    )


def _after_own_booking(
    own: Booking, intention: Intention, *, client: CalcomClient, deadline: Deadline
) -> Outcome:
    """The slot is taken by what the caller booked, or moved there, on the web."""
    try:
        row = own_bookings.take_up(intention, own, client=client, deadline=deadline.less(0.4))
    except (CalcomError, DatabaseError) as error:
        logger.warning("booking.own_not_taken_up", uid=own.uid, error=type(error).__name__)
        return _checking(intention)
    availability.forget(intention.company.pk)
    if row is not None:
        return Outcome(Code.ALREADY_BOOKED, appointment=row, service=row.service or intention.service)
    return alternatives.taken(
        intention.service, intention.starts_at, company=intention.company, deadline=deadline
    )


def _add_address(attempt: BookingAttempt, intention: Intention) -> bool:
    """The event type wants an address and did not say so before: give the customer one of their own, once."""
    attendee = attempt.request["attendee"]
    if attendee.get("email"):
        return False
    try:
        identity = attendee_identity(
            company=intention.company, customer=intention.customer, email="", email_required=True
        )
    except NoContact:
        return False
    attempt.request = {**attempt.request, "attendee": {**attendee, "email": identity.email}}
    Service.objects.filter(pk=intention.service.pk).update(email_required=True)
    return True


def _after_answer(
    bookings: list[Booking],
    attempt: BookingAttempt,
    intention: Intention,
    *,
    client: CalcomClient,
    deadline: Deadline,
) -> Outcome:
    settlement = settle.settle_found(
        attempt, found=bookings, client=client, deadline=deadline, answering=True
    )
    if settlement.result is Result.SETTLED:
        appointment = settlement.appointment
        code = Code.REQUESTED if appointment.status == Appointment.Status.REQUESTED else Code.BOOKED
        return Outcome(code, appointment=appointment, service=intention.service)
    if settlement.result is Result.FOREIGN:
        moved_here = _own_move_to(intention)
        if moved_here is not None:
            return _after_own_move(moved_here, intention, deadline=deadline)
        own = own_bookings.find(intention, bookings)
        if own is not None:
            return _after_own_booking(own, intention, client=client, deadline=deadline)
        return alternatives.taken(
            intention.service, intention.starts_at, company=intention.company, deadline=deadline
        )
    if settlement.result is Result.WRONG:
        others = alternatives.around(
            intention.service, intention.starts_at, company=intention.company, deadline=deadline
        )
        return Outcome(
            Code.UNAVAILABLE,
            reason="ask_again",
            service=intention.service,
            wanted=intention.starts_at,
            alternatives=others,
        )
    if settlement.result is Result.NOT_STORED:
        return _checking(intention)  # the database is away: writing that down would only cost the caller time
    if settlement.result in (Result.UNDONE, Result.GONE):
        return _call_back(intention, reason="The booking could not be completed.")
    return _unknown(attempt, intention)


def _look(
    attempt: BookingAttempt, *, client: CalcomClient, deadline: Deadline, looks: int
) -> tuple[list[Booking], list[Booking]]:
    """What this attempt has made, and all that was shown."""
    shown: list[Booking] = []
    for look in range(looks):
        if look:
            if deadline.remaining < LAG_SECONDS + _reserve():
                break
            time.sleep(LAG_SECONDS)
        until = deadline.less(0.4)
        shown = lookup.list_around(attempt, client=client, deadline=until)
        found = lookup.created_among(shown, attempt=attempt, client=client, deadline=until)
        if found:
            return found, shown
    return [], shown


# --- How it ends when it is not booked


def _unknown(attempt: BookingAttempt, intention: Intention, *, error: CalcomError | None = None) -> Outcome:
    try:
        attempts.mark_unknown(attempt, told=Code.CHECKING, now=timezone.now(), **attempts.error_fields(error))
    except DatabaseError:  # the claimed row of phase 1 says the same
        logger.exception("booking.unknown_not_recorded", attempt=str(attempt.uuid))
    return _checking(intention)


def _checking(intention: Intention) -> Outcome:
    return Outcome(Code.CHECKING, service=intention.service, wanted=intention.starts_at)


def _give_up(
    attempt: BookingAttempt,
    intention: Intention,
    posting: _Posting,
    *,
    cause: str,
    error: CalcomError | None = None,
) -> Outcome:
    """This request was not sent, or not let in. Whether the attempt is over depends on the ones before it."""
    if posting.may_exist:
        return _unknown(attempt, intention, error=error)
    return _not_sent(attempt, intention, cause=cause, error=error)


def _not_sent(
    attempt: BookingAttempt, intention: Intention, *, cause: str, error: CalcomError | None = None
) -> Outcome:
    logger.warning("booking.not_sent", attempt=str(attempt.uuid), cause=cause)
    attempts.release(
        attempt,
        state=State.NOT_SENT,
        told=Code.UNAVAILABLE,
        now=timezone.now(),
        **{**attempts.error_fields(error), "error_class": cause},
    )
    return _call_back(intention, reason="The calendar could not be reached.")


def _misconfigured(
    attempt: BookingAttempt,
    intention: Intention,
    error: CalcomError,
    posting: _Posting | None = None,
) -> Outcome:
    """One ticket for all the calls that run into the same wrong key, event type or request."""
    if posting is not None and posting.may_exist:
        return _unknown(attempt, intention, error=error)
    with transaction.atomic():
        _release(attempt, state=State.REFUSED, told=Code.UNAVAILABLE, error=error)
        _report_misconfigured(intention, error)
    return _call_back(intention, reason="The booking could not be completed.")


def _report_misconfigured(intention: Intention, error: CalcomError) -> None:
    failures.open_failure(
        company=intention.company,
        failure_type=SyncFailure.Type.CONFIG_ERROR,
        subject=failures.about_configuration(intention.service, status=error.status),
        message=f"Cal.com refuses our bookings: {_without_person(error.message, intention)}",
        call=intention.call,
        details={"status": error.status, "service": intention.service.slug, "kind": "contract"},
        needs_person=True,
    )


def _release(attempt: BookingAttempt, *, state: BookingAttempt.State, told: Code, error: CalcomError) -> None:
    now = timezone.now()
    attempts.release(
        attempt,
        state=state,
        told=told,
        now=now,
        # A commit that a lagging replica does not show yet looks like a refusal.
        look_again_at=now + LATER_LOOK if attempt.posts else None,
        **attempts.error_fields(error),
    )


def _without_person(message: str, intention: Intention) -> str:
    """Cal.com quotes what it does not like. The ticket is for many calls, and read by many people."""
    said = [*intention.attendee_name.split(), intention.attendee_phone, intention.attendee_email]
    for text in filter(None, said):
        message = re.sub(re.escape(text), "…", message, flags=re.IGNORECASE)
    return message


def _call_back(intention: Intention, *, reason: str) -> Outcome:
    noted = callbacks.promise(call=intention.call, customer=intention.customer, reason=reason)
    return Outcome(Code.UNAVAILABLE, service=intention.service, wanted=intention.starts_at, callback=noted)


def _past(*, company: Company, wish: Wish, now: datetime, deadline: Deadline) -> Outcome:
    others = alternatives.around(wish.service, now, company=company, deadline=deadline)
    return Outcome(
        Code.TOO_SOON,
        reason="in_the_past",
        service=wish.service,
        wanted=wish.starts_at,
        alternatives=others,
    )

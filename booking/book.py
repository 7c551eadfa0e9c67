"""The booking transaction.

    keys → claim and commit → create at Cal.com → whose is it? → settle: all rows in one transaction

No database transaction is open while Cal.com is asked. The intention is committed before, so whatever happens
after it (a time-out, a crash, a database that goes away) leaves a row that says what may exist at Cal.com,
and the completer looks there before anybody acts. "Booked" is said when it is proven there and committed
here; "taken" only when nothing of this caller's can be there; everything in between is "checking".
"""

from __future__ import annotations

from contextlib import suppress
from dataclasses import dataclass, replace
from datetime import datetime

import structlog
from django.db import DatabaseError

from booking import (
    alternatives,
    answer_budget,
    attempts,
    breaker,
    database_errors,
    event_types,
    failures,
    horizon,
    idempotency,
    not_booked,
    standing,
)
from booking.calcom.deadline import Deadline
from booking.calcom.errors import (
    CalcomError,
    CalcomMisconfigured,
    CalcomUnavailable,
)
from booking.connection import client_for
from booking.create import create
from booking.intention import Intention
from booking.models import LIVE_STATUSES, Appointment, Service, SyncFailure
from booking.outcomes import Code, Outcome
from calls.models import Call
from customers.identify import (
    NoContact,
    anonymous_customer,
    attendee_identity,
    customer_by_phone,
)
from customers.models import Branch, Company
from customers.names import is_full_name, same_person

logger = structlog.get_logger(__name__)


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
    if horizon.is_too_far(wish.starts_at, now=now):
        return Outcome(Code.INVALID_REQUEST, reason="too_far_ahead", errors={"start": "too far ahead"})
    not_learned = _learn(service, company=company, deadline=deadline)
    if service.phone_required and not wish.phone:
        return _phone_needed()
    try:
        intention = _intention(company=company, branch=branch, call=call, wish=wish)
    except NoContact:
        return _phone_needed()
    if not_learned is not None and attempts.same_booking(intention) is None:
        return _cannot_begin(intention, not_learned)
    for _ in range(2):
        there = _recalled(intention)
        if there is None:
            try:
                claim = attempts.claim_booking(intention, now=now)
            except DatabaseError as error:
                return _cannot_be_stored(intention, error)
            if claim.attempt is not None:
                return create(claim.attempt, intention, deadline=deadline)
            there = claim.appointment
        is_theirs = there.call_id == call.pk or wish.is_callers_number
        refused = _not_the_same_person(there, wish, is_theirs=is_theirs)
        if refused is not None:
            return refused
        outcome = standing.join(there, intention, deadline=deadline)
        if outcome is not None:
            return outcome if is_theirs else _without_what_stands(outcome)
        # What stood there was looked for and is proven never to have come about: the way is free.
    return not_booked.checking(intention)


def _learn(service: Service, *, company: Company, deadline: Deadline) -> CalcomError | None:
    """Know what the event type is like, and that it is this company's. Returns what kept us from it."""
    if service.is_learned:
        return None
    try:
        client = client_for(company)
        if not breaker.allows(company_id=company.pk, client=client, deadline=deadline):
            return CalcomUnavailable("Cal.com is down.")
        event_types.learn(service, client=client, deadline=deadline.less(answer_budget.reserve()))
    except CalcomError as error:
        breaker.note(error, company_id=company.pk)
        return error
    return None


def _phone_needed() -> Outcome:
    return Outcome(Code.INVALID_REQUEST, reason="phone_needed", errors={"customer_phone": "required"})


def _cannot_begin(intention: Intention, error: CalcomError) -> Outcome:
    """Before anything was claimed."""
    if isinstance(error, CalcomMisconfigured):
        not_booked.report_misconfigured(intention, error)
        return not_booked.call_back(intention)
    return not_booked.call_back(intention, reason="The calendar could not be reached.")


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
    """The intention itself is refused by the database, so Cal.com is not asked for it."""
    logger.error("booking.not_claimed", error=type(error).__name__)
    with suppress(DatabaseError):
        if database_errors.is_away(error):
            # While this one waited, the same request may have come through.
            if attempts.same_booking(intention) is not None:
                return not_booked.checking(intention)
        else:
            problem = failures.Problem(
                company=intention.company,
                failure_type=SyncFailure.Type.SCHEMA_ERROR,
                subject=failures.about_key(intention.key),
                message=database_errors.describe(error),
                call=intention.call,
                details={"phase": "claim", "error": type(error).__name__},
            )
            failures.open_failure(problem)
    return not_booked.call_back(intention, reason="The booking could not be stored.")


def _not_the_same_person(there: Appointment, wish: Wish, *, is_theirs: bool) -> Outcome | None:
    """None: it is the same person's booking again.

    Another name for the same number, service and time is a second person, who must not become one with the
    first silently. And what stands is shown only in the call that made it or to the number it was made under:
    whoever merely says a number, and a name that goes with it, hears no more than that it stands, and without
    the name nothing.
    """
    if is_theirs and not same_person(there.attendee_name, wish.name):
        return Outcome(Code.AMBIGUOUS, reason="second_person", service=wish.service, wanted=wish.starts_at)
    if is_theirs or (is_full_name(wish.name) and same_person(there.attendee_name, wish.name)):
        return None
    errors = {"customer_phone": "not usable for this booking"}
    return Outcome(Code.INVALID_REQUEST, reason="other_phone", errors=errors)


def _without_what_stands(outcome: Outcome) -> Outcome:
    reason = "" if outcome.code is Code.UNAVAILABLE else outcome.reason
    return replace(outcome, appointment=None, reason=reason)


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


def _past(*, company: Company, wish: Wish, now: datetime, deadline: Deadline) -> Outcome:
    others = alternatives.around(wish.service, now, company=company, deadline=deadline)
    return Outcome(
        Code.TOO_SOON,
        reason="in_the_past",
        service=wish.service,
        wanted=wish.starts_at,
        alternatives=others,
    )

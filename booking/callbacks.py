"""What stands behind every "we will call you back": one open request per call, and by when it is due."""

from __future__ import annotations

from datetime import datetime

import structlog
from django.db import DatabaseError, IntegrityError, transaction
from django.db.models import QuerySet
from django.utils import timezone

from booking.models import CallbackRequest
from calls import call_record
from calls.models import Call
from customers import opening_hours
from customers.models import Company, Customer

NO_REASON = "The caller asked to be called back."
LONGEST_REASON = 500
LONGEST_TIME = 200

logger = structlog.get_logger(__name__)


def promise(
    *,
    call: Call,
    customer: Customer | None,
    reason: str,
    preferred_time: str = "",
    kind: CallbackRequest.Kind = CallbackRequest.Kind.NOT_BOOKED,
    now: datetime | None = None,
) -> bool:
    """Put a callback on record. Only if this returns True may it be promised aloud: False, because it could
    not be recorded, or because there is no number to call.

    One is open per call. What the caller asks for (WANTED) is written onto one that is there already; so is
    a change that did not work onto a booking that did not, for the booking may work yet. Of the rest nothing
    is written down, for they will be called anyway.
    """
    try:
        callback = _record(
            call=call,
            customer=customer,
            reason=reason,
            preferred_time=preferred_time,
            kind=kind,
            now=now or timezone.now(),
        )
    except DatabaseError:
        logger.exception("callback.not_recorded", call=call.retell_call_id)
        return False
    return callback is not None and number_of(callback) is not None


def open_of(call: Call) -> CallbackRequest | None:
    rows = CallbackRequest.objects.filter(call=call, status=CallbackRequest.Status.OPEN)
    found = rows.select_related("customer").first()
    if found is not None:
        found.call = call
    return found


def overdue_callbacks(*, now: datetime) -> QuerySet[CallbackRequest]:
    """The open requests whose time has passed."""
    return CallbackRequest.objects.filter(status=CallbackRequest.Status.OPEN, due_at__lt=now)


def number_of(callback: CallbackRequest) -> str | None:
    """The number to call, as it was given or signalled; None if there is none."""
    customer = callback.customer
    if customer is not None and customer.phone:
        return customer.phone
    return call_record.their_number(callback.call)


def due_at(company_id: int, *, now: datetime) -> datetime:
    """By when somebody has to call back, in UTC."""
    # Without its secrets, which have no business here.
    company = Company.objects.only("timezone", "opening_hours", "callback_within_minutes").get(pk=company_id)
    try:
        hours = opening_hours.read_hours(company.opening_hours)
    except opening_hours.InvalidHours as error:
        logger.warning("opening_hours.invalid", company_id=company_id, error=str(error))
        hours = opening_hours.ALWAYS
    return opening_hours.due(
        since=now, minutes=company.callback_within_minutes, hours=hours, zone=company.zone
    )


def _record(
    *,
    call: Call,
    customer: Customer | None,
    reason: str,
    preferred_time: str,
    kind: CallbackRequest.Kind,
    now: datetime,
) -> CallbackRequest | None:
    """The call's open request, with this in it. Raises DatabaseError."""
    due = due_at(call.company_id, now=now)
    for _ in range(2):
        try:
            with transaction.atomic():
                callback = CallbackRequest.objects.create(
                    company_id=call.company_id,
                    branch_id=call.branch_id,
                    call=call,
                    customer=customer,
                    kind=kind,
                    reason=reason[:LONGEST_REASON],
                    preferred_time=preferred_time[:LONGEST_TIME],
                    due_at=due,
                    created_at=now,
                )
        except IntegrityError:
            standing = open_of(call)
            # Somebody may close it at any moment: then there is room for this one.
            if standing is None:
                continue
            if kind == CallbackRequest.Kind.WANTED:
                _complete(standing, customer=customer, reason=reason, preferred_time=preferred_time)
            elif kind == CallbackRequest.Kind.NOT_CHANGED:
                _outlive_booking(standing, reason=reason)
            if _is_open(standing):
                return standing
        else:
            logger.info("callback.recorded", call=call.retell_call_id, kind=str(kind))
            return callback
    return None


def _is_open(standing: CallbackRequest) -> bool:
    """Whoever is closing it is waited for; whoever closes it next sees what it was promised for."""
    rows = CallbackRequest.objects.filter(pk=standing.pk, status=CallbackRequest.Status.OPEN)
    return bool(rows.update(status=CallbackRequest.Status.OPEN))


def _outlive_booking(standing: CallbackRequest, *, reason: str) -> None:
    CallbackRequest.objects.filter(
        pk=standing.pk, status=CallbackRequest.Status.OPEN, kind=CallbackRequest.Kind.NOT_BOOKED
    ).update(kind=CallbackRequest.Kind.NOT_CHANGED, reason=f"{reason} ({standing.reason})"[:LONGEST_REASON])


def _both(reason: str, standing: CallbackRequest) -> str:
    """One call may be about two things. What only says the first one again, in more words or less, is one."""
    before = standing.reason
    if reason in before:
        return before
    if before == NO_REASON or before in reason:
        return reason
    return f"{reason}; {before}" if standing.kind == CallbackRequest.Kind.WANTED else f"{reason} ({before})"


def _complete(
    standing: CallbackRequest, *, customer: Customer | None, reason: str, preferred_time: str
) -> None:
    """What is said later completes what was said before, and blanks nothing."""
    standing.reason = _both(reason, standing)[:LONGEST_REASON]
    standing.kind = CallbackRequest.Kind.WANTED
    standing.preferred_time = preferred_time[:LONGEST_TIME] or standing.preferred_time
    standing.customer = customer or standing.customer
    CallbackRequest.objects.filter(pk=standing.pk, status=CallbackRequest.Status.OPEN).update(
        kind=standing.kind,
        reason=standing.reason,
        preferred_time=standing.preferred_time,
        customer=standing.customer,
    )
    logger.info("callback.completed", call_id=standing.call_id)

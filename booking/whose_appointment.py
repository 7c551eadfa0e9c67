"""Which appointments may be talked about with whoever is calling, and which of them is meant.

The number the call comes from says who is calling, as far as anything does; a number that is merely said
proves nothing. So a caller hears of the appointments under the calling number, and of what was booked in this
very call. A withheld number has only the latter.
"""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass
from datetime import date, timedelta
from zoneinfo import ZoneInfo

from django.db.models import Exists, OuterRef, Q, QuerySet, Subquery

from booking import attempts, catalogue, unknown_attempts
from booking.conversation import Conversation
from booking.instants import day_in
from booking.models import (
    OPEN_STATUSES,
    PROVEN_STATUSES,
    Appointment,
    BookingAttempt,
    SyncFailure,
)
from calls import call_record
from customers.models import Customer
from customers.row_ids import is_row_id

LATELY = timedelta(days=1)
# Kept of the budget for what is done with what was found out.
UNDERSTANDING_SECONDS = 1.0


def callers_number(conversation: Conversation) -> str | None:
    return call_record.callers_number(conversation.call, region=conversation.region)


def coming(conversation: Conversation) -> list[Appointment]:
    """The caller's appointments that stand and have not begun, soonest first."""
    rows = _of_caller(conversation).filter(status__in=PROVEN_STATUSES, starts_at__gt=conversation.now)
    return list(rows.order_by("starts_at", "pk"))


def under_way(conversation: Conversation, *, service: str, day: date | None) -> Appointment | None:
    """What a caller means who is late: it has begun, and is not over."""
    now = conversation.now
    rows = _of_caller(conversation).filter(status__in=PROVEN_STATUSES, starts_at__lte=now, ends_at__gt=now)
    return next(iter(_fitting(rows, conversation, service=service, day=day)), None)


def unclear(conversation: Conversation) -> set[int]:
    """The ids of the caller's coming appointments of which nobody knows how their booking, or the last change
    of them, went; after the time there is was spent on finding out. Until then neither "you have none" nor
    "you have this one" is true.
    """
    until = conversation.deadline.less(UNDERSTANDING_SECONDS)
    # Of two that stand for one intention a person decides, or has decided, which is meant: the other is told.
    decided_by_a_person = SyncFailure.objects.filter(
        Q(status__in=OPEN_STATUSES) | Q(resolved_by__isnull=False),
        appointment=OuterRef("appointment"),
        failure_type=SyncFailure.Type.DUPLICATE_BOOKING,
    )
    theirs = BookingAttempt.objects.filter(
        ~Q(Exists(decided_by_a_person), kind=BookingAttempt.Kind.CREATE),
        appointment__in=_of_caller(conversation),
        appointment__starts_at__gt=conversation.now,
    )
    tries = 0
    while (found := list(attempts.still_open(theirs))) and until.remaining:
        if unknown_attempts.settle_abandoned(found, deadline=until):
            found = list(attempts.still_open(theirs))
            break
        attempts.give_way(tries)  # somebody else waits for Cal.com's answer
        tries += 1
    return {attempt.appointment_id for attempt in found}


@dataclass(frozen=True)
class Meant:
    """`only` is the one that is meant; otherwise the caller has to be asked which of the `choices` it is.
    `is_unclear`: it may just as well be one of which it is not known yet whether it stands, and where.
    `is_guess`: what was said names none of them.
    """

    choices: tuple[Appointment, ...]
    is_unclear: bool = False
    is_guess: bool = False

    @property
    def only(self) -> Appointment | None:
        return self.choices[0] if len(self.choices) == 1 and not self.is_guess else None


def find(conversation: Conversation, *, appointment: str, service: str, day: date | None) -> Meant:
    """By number (or uid), else by service and day, else the only one there is."""
    not_known = unclear(conversation)
    if appointment:
        named = _named(conversation, appointment)
        if named is not None:
            return Meant(choices=(named,), is_unclear=named.pk in not_known)
    candidates = [row for row in coming(conversation) if row.pk not in not_known]
    candidates = _fitting(candidates, conversation, service=service, day=day)
    if appointment:
        # No caller says an id: the agent has made it up, or put other words there, and proves nothing by it.
        return Meant(choices=tuple(candidates), is_unclear=bool(not_known), is_guess=True)
    told_apart = bool(candidates and (service or day is not None))
    return Meant(choices=tuple(candidates), is_unclear=bool(not_known) and not told_apart)


def cancelled_lately(
    conversation: Conversation, *, service: str, day: date | None, beside: Appointment | None = None
) -> Appointment | None:
    """What this call has cancelled, for whoever asks for it once more: the last of what was said. `beside`:
    only since it booked that one; of what was cancelled before nobody speaks any more.
    """
    since = conversation.now - LATELY
    if beside is not None and beside.call_id == conversation.call.pk:
        since = max(since, beside.created_at)
    made = BookingAttempt.objects.filter(
        company=conversation.company,
        call=conversation.call,
        kind=BookingAttempt.Kind.CANCEL,
        state=BookingAttempt.State.SUCCEEDED,
        created_at__gt=since,
        appointment__status=Appointment.Status.CANCELLED,
    )
    made = made.select_related("appointment__service", "appointment__branch")
    rows = [attempt.appointment for attempt in made.order_by("-id")]
    return next(iter(_fitting(rows, conversation, service=service, day=day)), None)


def moved_lately(conversation: Conversation, *, service: str) -> list[Appointment]:
    """What this call has moved, the last first. (It is not on the day it was on.)"""
    made = BookingAttempt.objects.filter(
        company=conversation.company,
        call=conversation.call,
        kind=BookingAttempt.Kind.RESCHEDULE,
        state=BookingAttempt.State.SUCCEEDED,
        appointment__status__in=PROVEN_STATUSES,
    )
    made = made.select_related("appointment__service", "appointment__branch")
    rows = [attempt.appointment for attempt in made.order_by("-id")]
    return _fitting(rows, conversation, service=service)


def _fitting(
    rows: Iterable[Appointment], conversation: Conversation, *, service: str, day: date | None = None
) -> list[Appointment]:
    """Those of the service and on the day that were said; nothing said is no condition."""
    fitting = list(rows)
    if day is not None:
        fitting = [row for row in fitting if _is_on(day, row, zone=conversation.zone_of(row))]
    if service:
        # Of theirs, not of what is offered now and here: what was booked may be neither any more.
        theirs = {row.service for row in fitting if row.service is not None}
        ids = {each.pk for each in catalogue.among(theirs, service)}
        fitting = [row for row in fitting if row.service_id in ids]
    return fitting


def _is_on(day: date, row: Appointment, *, zone: ZoneInfo) -> bool:
    """As it is told: on the calendar of the place where it is. Four in Los Angeles is midnight in UTC: that
    may be the day that is meant, or the very start.
    """
    return row.starts_at == day or row.starts_at.astimezone(zone).date() == day_in(zone, day)


def _named(conversation: Conversation, name: str) -> Appointment | None:
    by_name = Q(calcom_booking_uid=name) | Q(former_uids__uid=name)
    if is_row_id(name):
        by_name |= Q(pk=int(name))
    return _of_caller(conversation).filter(by_name).first()


def _of_caller(conversation: Conversation) -> QuerySet[Appointment]:
    theirs = Q(call=conversation.call)
    number = callers_number(conversation)
    if number:
        # Not a join: beside "or" that would read all appointments of the company.
        caller = Customer.objects.filter(company=conversation.company, phone=number)
        theirs |= Q(customer=Subquery(caller.values("pk")))
    rows = Appointment.objects.filter(theirs, company=conversation.company)
    return rows.select_related("service", "customer", "branch")

"""A slot that is taken by the caller's own booking, of which nobody has told us.

Made or moved on the web, with the delivery about it lost or still on its way: Cal.com refuses the slot, or
hands out that booking, and "taken" would be said of the caller's own appointment. It is theirs if it stands
in their name, and under the number they are calling from or made in this very call; whoever merely says a
number is told nothing.
"""

from __future__ import annotations

from collections.abc import Iterable
from datetime import datetime, timedelta

import structlog
from django.db import DatabaseError, IntegrityError
from django.utils import timezone

from booking import (
    attempts,
    breaker,
    change_outcome,
    doubt,
    follow,
    imports,
    known_uids,
    lookup,
    ownership,
)
from booking.calcom.client import CalcomClient
from booking.calcom.deadline import Deadline
from booking.calcom.errors import CalcomError
from booking.calcom.objects import Attendee, Booking
from booking.connection import client_for
from booking.idempotency import NEAR_DUPLICATE, is_near
from booking.intention import Wanted
from booking.models import PROVEN_STATUSES, Appointment, BookingAttempt
from calls import call_record
from calls.models import Call
from customers.names import same_person

# What was just made, a replica of Cal.com's may not know yet.
LAG = timedelta(minutes=1)

logger = structlog.get_logger(__name__)


def find(wanted: Wanted, shown: Iterable[Booking]) -> Booking | None:
    """The active booking of this service that is the caller's own, among those shown: at this start or so
    near it that it is the same booking.
    """
    there = [booking for booking in shown if _is_there(booking, wanted)]
    if not there:
        return None
    phone = wanted.customer.phone if call_record.is_from(wanted.call, wanted.customer.phone) else None
    made_in_call = _made_in(wanted.call)
    theirs = (
        booking
        for booking in there
        if ownership.is_of(booking, attempt_ids=made_in_call)
        or (phone and any(each.phone == phone for each in _called(wanted.attendee_name, booking)))
    )
    return min(theirs, key=lambda booking: abs(booking.start - wanted.starts_at), default=None)


def open_move_to(wanted: Wanted) -> BookingAttempt | None:
    """A move of this very person's to the very same slot of which nobody knows yet how it went."""
    moves = BookingAttempt.objects.filter(
        company=wanted.company,
        kind=BookingAttempt.Kind.RESCHEDULE,
        appointment__customer=wanted.customer,
        appointment__service=wanted.service,
    )
    there = (
        move
        for move in attempts.still_open(moves)
        if change_outcome.wanted_start(move) == wanted.starts_at
        and same_person(move.appointment.attendee_name, wanted.attendee_name)
    )
    move = next(there, None)
    # Whoever merely says the number is not told where its owner's appointment is.
    if move is None or wanted.call.pk in (move.call_id, move.appointment.call_id):
        return move
    return move if call_record.is_from(wanted.call, wanted.customer.phone) else None


def standing_at(start: datetime, *, beside: Appointment, call: Call) -> Appointment | None:
    """Another appointment of the same customer's for the same thing at this time, if the caller may know.
    The same person's is the same booking also a few minutes away.
    """
    if beside.service is None or beside.customer is None:
        return None
    others = Appointment.objects.filter(
        company=beside.company_id,
        customer=beside.customer,
        service__calcom_event_type_id=beside.service.calcom_event_type_id,
        starts_at__range=(start - NEAR_DUPLICATE, start + NEAR_DUPLICATE),
        status__in=PROVEN_STATUSES,
    ).exclude(pk=beside.pk)
    if not call_record.is_from(call, beside.customer.phone):
        others = others.filter(call=call)
    there = (
        row
        for row in others.select_related("service", "branch")
        if row.starts_at == start or same_person(row.attendee_name, beside.attendee_name)
    )
    return min(there, key=lambda row: abs(row.starts_at - start), default=None)


def stands_there(row: Appointment, *, client: CalcomClient, deadline: Deadline) -> bool:
    """Whether it stands at Cal.com too, at the same time; what it has become there it is here from now on.
    Raises CalcomError, and what the database raises.
    """
    now_here = _followed(row, client=client, deadline=deadline)
    return now_here is not None and now_here.is_live and now_here.starts_at == row.starts_at


def hear_of(row: Appointment, *, deadline: Deadline) -> None:
    """Before a yes is said of what was booked long ago: make it what it has become on the web since, or a
    ticket if Cal.com does not know it. Where Cal.com cannot be asked, what is known here is true.
    """
    try:
        client = client_for(row.company)
        if not breaker.allows(company_id=row.company_id, client=client, deadline=deadline):
            return
        if _followed(row, client=client, deadline=deadline) is None and row.updated_at < timezone.now() - LAG:
            doubt.report_missing(row, uid=row.calcom_booking_uid, call=row.call)
    except (CalcomError, DatabaseError) as error:
        logger.warning("booking.not_heard_of", appointment=row.pk, error=type(error).__name__)
    row.refresh_from_db()


def unheard_of(
    wanted: Wanted, *, beside: str, client: CalcomClient, deadline: Deadline
) -> Appointment | None:
    """The caller's own appointment there, if Cal.com shows one other than the booking `beside`. Raises
    CalcomError, and what the database raises.
    """
    shown = lookup.list_around(
        wanted.starts_at,
        wanted.ends_at,
        event_type_id=wanted.service.calcom_event_type_id,
        client=client,
        deadline=deadline,
    )
    own = find(wanted, (booking for booking in shown if booking.uid != beside))
    return take_up(wanted, own, client=client, deadline=deadline) if own else None


def take_up(
    wanted: Wanted, booking: Booking, *, client: CalcomClient, deadline: Deadline
) -> Appointment | None:
    """Its appointment, made equal to it, or made if there is none. None: it is not the caller's after all, or
    not there any more. Raises CalcomError, and what the database raises.
    """
    holders = known_uids.holders({booking.uid, booking.rescheduled_from_uid} - {""})
    if any(each.company != wanted.company.pk for each in holders):
        return None
    row = _row_of(wanted, booking, ids=[each.appointment for each in holders])
    if row is not None:
        row = _followed(row, to=booking, client=client, deadline=deadline)
    elif "attempt_id" not in booking.metadata:
        row = _imported(wanted, booking, now=timezone.now())
    if row is None or not row.is_live or not is_near(row.starts_at, wanted.starts_at):
        return None
    if row.customer_id != wanted.customer.pk:
        return None
    logger.info("booking.own_found", appointment=row.pk, uid=booking.uid)
    return row


def _is_there(booking: Booking, wanted: Wanted) -> bool:
    return (
        booking.is_active
        and is_near(booking.start, wanted.starts_at)
        and booking.event_type_id in (None, wanted.service.calcom_event_type_id)
        and booking.metadata.get("company", wanted.company.slug) == wanted.company.slug
        and bool(_called(wanted.attendee_name, booking))
    )


def _called(name: str, booking: Booking) -> list[Attendee]:
    return [attendee for attendee in booking.attendees if same_person(attendee.name, name)]


def _made_in(call: Call) -> set[str]:
    """The attempts of this call: what names one of them is its caller's, whatever number they call from."""
    made = BookingAttempt.objects.filter(call=call, kind=BookingAttempt.Kind.CREATE)
    return {str(uuid) for uuid in made.values_list("uuid", flat=True)}


def _row_of(wanted: Wanted, booking: Booking, *, ids: list[int]) -> Appointment | None:
    rows = Appointment.objects.filter(company=wanted.company, customer=wanted.customer)
    rows = rows.select_related("service", "customer", "branch")
    if ids:
        return rows.filter(pk__in=ids).first()
    attempt_id = booking.metadata.get("attempt_id", "")
    creates = BookingAttempt.objects.filter(company=wanted.company, kind=BookingAttempt.Kind.CREATE)
    made = {
        str(uuid): pk for uuid, pk in creates.filter(appointment__in=rows).values_list("uuid", "appointment")
    }
    # Moved several times: Cal.com carries the metadata along.
    return rows.filter(pk=made[attempt_id]).first() if attempt_id in made else None


def _followed(
    row: Appointment, *, client: CalcomClient, deadline: Deadline, to: Booking | None = None
) -> Appointment | None:
    """Made equal to what its booking has become. None: it is not known there, has none, or has not become
    `to`.
    """
    uid = row.calcom_booking_uid
    stored = client.find_booking(uid, deadline=deadline) if uid else None
    if stored is None:
        return None
    end, former = lookup.end_of_chain(stored, client=client, deadline=deadline)
    if to is not None and end.uid != to.uid:
        return None
    return follow.follow(row, booking=end, former_uids=former, now=timezone.now()).appointment


def _imported(wanted: Wanted, booking: Booking, *, now: datetime) -> Appointment | None:
    try:
        return imports.import_booking(
            company=wanted.company,
            service=wanted.service,
            booking=booking,
            former_uids=(),
            now=now,
        )
    except IntegrityError:  # a worker was told of it in this moment
        rows = Appointment.objects.filter(company=wanted.company, calcom_booking_uid=booking.uid)
        return rows.select_related("service", "customer", "branch").first()

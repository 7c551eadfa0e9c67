"""Close tickets and callbacks of which our own rows show that they have had their answer: by a repeat, by the
completer, by a person.

It runs with the completer, every half minute, and asks nobody but the tables; what only Cal.com can tell is
closed by `sync.close_by_listing`. A booking closes what is open about itself; what else it puts in order is
found here, off the phone line, and so is what was settled by another way than the one that opened the ticket.
"""

from __future__ import annotations

from collections.abc import Iterable

from django.db import transaction
from django.db.models import CharField, Exists, OuterRef, Q, QuerySet, Value
from django.db.models.functions import Cast, Concat, Substr
from django.utils import timezone

from booking import failures, twins, unmet_wishes
from booking.models import (
    CHANGE_KINDS,
    LIVE_STATUSES,
    OPEN_STATES,
    OPEN_STATUSES,
    PROVEN_STATUSES,
    Appointment,
    BookingAttempt,
    CallbackRequest,
    FormerUid,
    Service,
    SyncFailure,
)

# About an appointment: what became of the last request for it could not be found out.
_OUTCOME_UNKNOWN = (
    SyncFailure.Type.NETWORK_TIMEOUT,
    SyncFailure.Type.RATE_LIMIT,
    SyncFailure.Type.CONFIG_ERROR,
)

# One that could not be booked again is promised as before.
_COUNTED_ON = (*LIVE_STATUSES, Appointment.Status.FAILED)


def close_by_own_rows(*, company_id: int | None = None) -> int:
    """How many sync failures and callbacks were closed: of one company, if it is given."""
    of_company = {} if company_id is None else {"company": company_id}
    open_rows = SyncFailure.objects.filter(status__in=OPEN_STATUSES, **of_company)
    closed = 0
    if open_rows.exists():  # usually there are none, and to know it is one query instead of ten
        closed = sum(failures.resolve(rows, note=note) for rows, note in _gone(open_rows))
    closed += twins.settle_twins(company_id=company_id)
    perhaps = _perhaps_no_longer_needed().filter(**of_company)
    return closed + (_close_met(perhaps) if perhaps.exists() else 0)


def _close_met(perhaps: QuerySet[CallbackRequest]) -> int:
    with transaction.atomic():
        # Held, so that what is promised in this moment is seen, or sees that the row is closed.
        met = unmet_wishes.met(perhaps.select_for_update(of=("self",), no_key=True))
        closed = failures.resolve(_about_what_was_wanted_in(met), note="Booked otherwise.")
        return closed + CallbackRequest.objects.filter(
            pk__in=[callback.pk for callback in met], status=CallbackRequest.Status.OPEN
        ).update(
            status=CallbackRequest.Status.DONE,
            note="It has worked after all.",
            closed_at=timezone.now(),
        )


def _about_what_was_wanted_in(met: Iterable[CallbackRequest]) -> QuerySet[SyncFailure]:
    """The tickets that say the same as these callbacks: somebody counts on what does not stand."""
    return SyncFailure.objects.filter(
        call__in=[callback.call_id for callback in met],
        failure_type=SyncFailure.Type.ORPHANED_LOCAL,
        subject__startswith=failures.KEY,
        status__in=OPEN_STATUSES,
    )


def _gone(open_rows: QuerySet[SyncFailure]) -> tuple[tuple[QuerySet[SyncFailure], str], ...]:
    appointments = Appointment.objects.filter(company=OuterRef("company"), status__in=PROVEN_STATUSES)
    of_another_uid = FormerUid.objects.filter(
        appointment__company=OuterRef("company"), appointment__status__in=PROVEN_STATUSES
    )
    still_open = BookingAttempt.objects.filter(appointment=OuterRef("appointment"), state__in=OPEN_STATES)
    return (
        (
            open_rows.filter(subject__startswith=failures.KEY)
            .annotate(key=Substr("subject", len(failures.KEY) + 1))
            .filter(Exists(appointments.filter(idempotency_key=OuterRef("key")))),
            "Booked: the appointment is at Cal.com and here.",
        ),
        (
            open_rows.filter(
                Exists(appointments.filter(calcom_booking_uid=OuterRef("calcom_booking_id"))),
                failure_type=SyncFailure.Type.ORPHANED_CALCOM,
            ),
            "The booking has its appointment.",
        ),
        (
            open_rows.filter(
                ~Exists(still_open), failure_type__in=_OUTCOME_UNKNOWN, appointment__isnull=False
            ),
            "Cal.com was asked, and it is known what became of it.",
        ),
        (
            open_rows.filter(
                Exists(of_another_uid.filter(uid=OuterRef("calcom_booking_id"))),
                failure_type=SyncFailure.Type.ORPHANED_LOCAL,
            ),
            "The appointment stands with another booking by now.",
        ),
        (
            open_rows.filter(subject__startswith=failures.APPOINTMENT).exclude(
                appointment__calcom_booking_uid=None, appointment__status__in=_COUNTED_ON
            ),
            "The appointment has its booking, or nobody counts on it any more.",
        ),
        *_accepted_again(open_rows),
    )


def _accepted_again(open_rows: QuerySet[SyncFailure]) -> tuple[tuple[QuerySet[SyncFailure], str], ...]:
    """What Cal.com had refused for a wrong key or event type, and has done since."""
    succeeded = BookingAttempt.objects.filter(
        company=OuterRef("company"),
        state=BookingAttempt.State.SUCCEEDED,
        finished_at__gt=OuterRef("last_seen_at"),
    )
    about_event_types = open_rows.filter(subject__startswith=failures.EVENT_TYPE)
    # That one can be cancelled says nothing of whether one can be booked.
    about_booking = about_event_types
    for kind in CHANGE_KINDS:
        about_booking = about_booking.exclude(subject__endswith=failures.of_change(kind))
    books_it = Service.objects.annotate(about=_about_event_type("calcom_event_type_id")).filter(
        company=OuterRef("company"), is_active=True, about=OuterRef("subject")
    )

    def made(kind: BookingAttempt.Kind, *, change: str = "") -> QuerySet[BookingAttempt]:
        about = _about_event_type("appointment__service__calcom_event_type_id", change=change)
        return succeeded.annotate(about=about).filter(kind=kind, about=OuterRef("subject"))

    return (
        (open_rows.filter(Exists(succeeded), subject=failures.ACCESS), "Bookings go through again."),
        (about_booking.filter(Exists(made(BookingAttempt.Kind.CREATE))), "Bookings go through again."),
        (about_booking.filter(~Exists(books_it)), "No service books this event type any more."),
        *(
            (about_event_types.filter(Exists(made(kind, change=kind))), "Such changes go through again.")
            for kind in CHANGE_KINDS
        ),
    )


def _about_event_type(number: str, *, change: str = "") -> Concat:
    """The subject of a ticket about the event type whose number that field has. Compared as texts: a cast of
    a subject to a number would also be tried on subjects that are none.
    """
    return Concat(
        Value(failures.EVENT_TYPE),
        Cast(number, CharField()),
        Value(failures.of_change(change)),
        output_field=CharField(),
    )


def _perhaps_no_longer_needed() -> QuerySet[CallbackRequest]:
    standing = Appointment.objects.filter(status__in=PROVEN_STATUSES)
    booked = standing.filter(call=OuterRef("call"))
    at_that_time = standing.filter(
        customer=OuterRef("appointment__customer"), starts_at=OuterRef("appointment__starts_at")
    )
    of_the_call = BookingAttempt.objects.filter(call=OuterRef("call"))
    booked_otherwise = of_the_call.filter(Exists(at_that_time), kind=BookingAttempt.Kind.CREATE)
    changed = of_the_call.filter(kind__in=CHANGE_KINDS, appointment__updated_at__gte=OuterRef("created_at"))
    kinds = CallbackRequest.Kind
    return CallbackRequest.objects.filter(
        Q(kind=kinds.NOT_BOOKED) & (Exists(booked) | Exists(booked_otherwise))
        | Q(kind=kinds.NOT_CHANGED) & Exists(changed),
        status=CallbackRequest.Status.OPEN,
    )

"""Close tickets whose gap is gone, however it went: by a repeat, by the completer, by a person.

It runs with the completer, every half minute, and asks the tables. A booking closes what is open about
itself; what else it puts in order is found here, off the phone line, and so is what was settled by another
way than the one that opened the ticket.
"""

from __future__ import annotations

from django.db.models import CharField, Exists, OuterRef, Q, QuerySet
from django.db.models.functions import Cast, Substr
from django.utils import timezone

from booking import failures, twins, unmet_wishes
from booking.models import (
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


def close_gone() -> int:
    """How many sync failures and callbacks were closed."""
    closed = sum(failures.resolve(rows, note=note) for rows, note in _gone())
    closed += twins.settle_twins()
    met = [callback.pk for callback in unmet_wishes.met(_perhaps_no_longer_needed())]
    return closed + CallbackRequest.objects.filter(pk__in=met, status=CallbackRequest.Status.OPEN).update(
        status=CallbackRequest.Status.DONE,
        note="Booked after all, in the same call.",
        closed_at=timezone.now(),
    )


def _gone() -> tuple[tuple[QuerySet[SyncFailure], str], ...]:
    open_rows = SyncFailure.objects.filter(status__in=OPEN_STATUSES)
    appointments = Appointment.objects.filter(company=OuterRef("company"), status__in=PROVEN_STATUSES)
    of_another_uid = FormerUid.objects.filter(
        appointment__company=OuterRef("company"), appointment__status__in=PROVEN_STATUSES
    )
    still_open = BookingAttempt.objects.filter(appointment=OuterRef("appointment"), state__in=OPEN_STATES)
    succeeded = BookingAttempt.objects.filter(
        company=OuterRef("company"),
        state=BookingAttempt.State.SUCCEEDED,
        finished_at__gt=OuterRef("last_seen_at"),
    )
    # Compared as texts: a cast of the subject to a number would also be tried on subjects that are none.
    of_event_type = succeeded.annotate(
        event_type=Cast("appointment__service__calcom_event_type_id", CharField())
    ).filter(event_type=OuterRef("event_type"))
    about_event_types = open_rows.filter(subject__startswith=failures.EVENT_TYPE).annotate(
        event_type=Substr("subject", len(failures.EVENT_TYPE) + 1)
    )
    kinds = BookingAttempt.Kind
    changes = [str(kinds.CANCEL), str(kinds.RESCHEDULE)]
    # That one can be cancelled says nothing of whether one can be booked.
    about_booking = about_event_types.filter(
        Q(error_details__kind__isnull=True) | ~Q(error_details__kind__in=changes)
    )
    books_it = Service.objects.annotate(event_type=Cast("calcom_event_type_id", CharField())).filter(
        company=OuterRef("company"), event_type=OuterRef("event_type")
    )
    return (
        (
            open_rows.filter(subject__startswith=failures.KEY)
            .annotate(key=Substr("subject", len(failures.KEY) + 1))
            .filter(Exists(appointments.filter(idempotency_key=OuterRef("key")))),
            "Booked: the appointment is at Cal.com and here.",
        ),
        (
            open_rows.filter(failure_type=SyncFailure.Type.ORPHANED_CALCOM).filter(
                Exists(appointments.filter(calcom_booking_uid=OuterRef("calcom_booking_id")))
            ),
            "The booking has its appointment.",
        ),
        (
            open_rows.filter(failure_type__in=_OUTCOME_UNKNOWN, appointment__isnull=False).filter(
                ~Exists(still_open)
            ),
            "Cal.com was asked, and it is known what became of it.",
        ),
        (
            open_rows.filter(failure_type=SyncFailure.Type.ORPHANED_LOCAL).filter(
                Exists(of_another_uid.filter(uid=OuterRef("calcom_booking_id")))
            ),
            "The appointment stands with another booking by now.",
        ),
        (
            open_rows.filter(subject=failures.ACCESS).filter(Exists(succeeded)),
            "Bookings go through again.",
        ),
        (
            about_booking.filter(Exists(of_event_type.filter(kind=kinds.CREATE))),
            "Bookings go through again.",
        ),
        (
            about_booking.filter(~Exists(books_it.filter(is_active=True))),
            "No service books this event type any more.",
        ),
        *(
            (
                about_event_types.filter(Exists(of_event_type.filter(kind=kind)), error_details__kind=kind),
                "Such changes go through again.",
            )
            for kind in changes
        ),
    )


def _perhaps_no_longer_needed() -> QuerySet[CallbackRequest]:
    booked_since = Appointment.objects.filter(
        call=OuterRef("call"), status__in=PROVEN_STATUSES, created_at__gte=OuterRef("created_at")
    )
    return CallbackRequest.objects.filter(
        Exists(booked_since),
        status=CallbackRequest.Status.OPEN,
        kind=CallbackRequest.Kind.NOT_BOOKED,
    )

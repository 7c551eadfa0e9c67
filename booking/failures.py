"""Open, repeat and close sync failures: one open row per problem.

A failure is a fact, written in the same local transaction as what it belongs to. What to do about it is
decided in `sync`. Messages and details hold no personal data: they are shown on lists and sent as alerts.
"""

from __future__ import annotations

from collections.abc import Collection, Iterable
from dataclasses import dataclass, field
from datetime import datetime
from typing import Any

import structlog
from django.db import IntegrityError, transaction
from django.db.models import F, QuerySet
from django.utils import timezone

from booking import alerts
from booking.models import OPEN_STATUSES, Appointment, BookingAttempt, Service, SyncFailure
from booking.request_body import without_people
from calls.models import Call
from customers.masking import mask_text
from customers.models import Company
from customers.statements import Update

Type = SyncFailure.Type
Status = SyncFailure.Status

KEY = "key:"
ACCESS = "calcom:access"
RECONCILE_ACCESS = "calcom:access:reconcile"  # the key of its own that the hourly run may have
EVENT_TYPE = "calcom:event-type:"
APPOINTMENT = "appointment:"
LONGEST_SUBJECT = 200
SEEN_GONE = "seen_gone"  # among the details of what a person has resolved

logger = structlog.get_logger(__name__)


@dataclass(frozen=True, kw_only=True)
class Problem:
    """What is wrong. `subject`: with what, so that every report of one problem names the same; `uid`: of the
    booking that it is about; `request`: what Cal.com was asked for, without whom it was for.
    """

    company: Company
    failure_type: SyncFailure.Type
    subject: str
    message: str
    appointment: Appointment | None = None
    call: Call | None = None
    uid: str = ""
    request: dict[str, Any] = field(default_factory=dict)
    details: dict[str, Any] = field(default_factory=dict)

    def columns(self) -> dict[str, Any]:
        """Of the row that tells of it."""
        return {
            "company": self.company,
            "failure_type": self.failure_type,
            "subject": self.subject[:LONGEST_SUBJECT],
            "appointment": self.appointment,
            "call": self.call,
            "calcom_booking_id": self.uid,
            **self.latest(),
        }

    def latest(self) -> dict[str, Any]:
        """Those of them that say what was the matter the last time."""
        return {
            "error_message": mask_text(self.message),
            "request_payload": self.request,
            "error_details": self.details,
        }


def of_attempt(
    attempt: BookingAttempt,
    *,
    failure_type: SyncFailure.Type,
    subject: str,
    message: str,
    uid: str = "",
    details: dict[str, Any] | None = None,
) -> Problem:
    """What is wrong with what an attempt intended, or has made."""
    return Problem(
        company=attempt.company,
        failure_type=failure_type,
        subject=subject,
        message=message,
        appointment=attempt.appointment,
        call=attempt.call,
        uid=uid,
        request=without_people(attempt.request),
        details={"attempt": str(attempt.uuid), **(details or {})},
    )


def open_failure(problem: Problem, *, needs_person: bool = False, is_standing: bool = False) -> SyncFailure:
    """The open row of this problem: a new one, or the one there is with its counter raised, and saying what
    was the matter the last time.

    `is_standing`: what is reported is a state that was looked at, not something that has just happened. Then
    what a person has declared resolved stays so while the details say the same as they did, until its gap was
    seen gone, and what had closed itself is opened again.
    """
    now = timezone.now()
    rows = SyncFailure.objects.filter(
        company=problem.company,
        failure_type=problem.failure_type,
        subject=problem.subject[:LONGEST_SUBJECT],
    )
    seen_again = _raise_counter(rows, problem, now=now)
    if seen_again is None and is_standing:
        seen_again = _seen_before(rows, problem, now=now)
    if seen_again is not None:
        return seen_again
    try:
        with transaction.atomic():
            failure = SyncFailure.objects.create(
                **problem.columns(),
                status=Status.MANUAL_REVIEW if needs_person else Status.PENDING,
                detected_at=now,
                last_seen_at=now,
            )
    except IntegrityError:  # somebody else opened it in this moment
        seen_again = _raise_counter(rows, problem, now=now)
        if seen_again is None:
            raise
        return seen_again
    logger.error(
        "sync_failure.opened",
        failure=failure.pk,
        type=failure.failure_type,
        company=problem.company.slug,
        uid=problem.uid,
    )
    alerts.announce(failure)
    return failure


def close_failures(
    *, company_id: int, subjects: Collection[str], note: str, but: Collection[SyncFailure.Type] = ()
) -> int:
    """Close the open rows of problems that are gone, except those of the types in `but`; returns how many
    there were.
    """
    return closing(company_id=company_id, subjects=subjects, note=note, but=but).make()


def closing(
    *, company_id: int, subjects: Collection[str], note: str, but: Collection[SyncFailure.Type] = ()
) -> Update:
    """What closes them."""
    where: dict[str, Any] = {
        "company": company_id,
        "subject": tuple(subjects),
        "status": tuple(OPEN_STATUSES),
    }
    if but:
        where["failure_type"] = tuple(each for each in Type if each not in but)
    values = {"status": Status.RESOLVED, "resolved_at": timezone.now(), "resolution_notes": note}
    return Update(SyncFailure, where, values)


def resolve(rows: QuerySet[SyncFailure], *, note: str) -> int:
    """Close those of `rows` that are open: their gap is gone. It is no person's resolution: should the gap
    come back, so does the row. Returns how many there were.
    """
    # By id: an UPDATE cannot carry annotations along on every database.
    ids = list(rows.values_list("pk", flat=True))
    return SyncFailure.objects.filter(pk__in=ids, status__in=OPEN_STATUSES).update(
        status=Status.RESOLVED, resolved_at=timezone.now(), resolution_notes=note
    )


def outdate(rows: Iterable[SyncFailure]) -> None:
    """The gap that a person has declared resolved is gone: should it come back, that is another one, which
    nobody has decided about.
    """
    for failure in rows:
        details = {**failure.error_details, SEEN_GONE: True}
        SyncFailure.objects.filter(pk=failure.pk, resolved_by__isnull=False).update(error_details=details)


def record_incident(problem: Problem) -> SyncFailure:
    """A row for something that went wrong and was fully dealt with: kept for the record, closed from the
    start.
    """
    now = timezone.now()
    return SyncFailure.objects.create(
        **problem.columns(),
        status=Status.RESOLVED,
        detected_at=now,
        last_seen_at=now,
        resolved_at=now,
        resolution_notes="Dealt with when it happened; nothing is left to do.",
    )


def about_key(idempotency_key: str) -> str:
    """The subject of what concerns one intended booking, however often it was attempted."""
    return f"{KEY}{idempotency_key}"


def subjects_of(attempt: BookingAttempt, *, uid: str) -> list[str]:
    """Whatever can be open about an attempt and the booking it made."""
    return [about_key(attempt.idempotency_key), about_booking(uid)]


def about_configuration(service: Service, *, status: int | None, change: str = "") -> str:
    """One ticket for all calls that run into the same wrong key or event type. `change`: the kind of what is
    refused, where that is not a booking.
    """
    return (
        ACCESS if status in (401, 403) else f"{EVENT_TYPE}{service.calcom_event_type_id}{of_change(change)}"
    )


def of_change(kind: str) -> str:
    """How the subject of a ticket about such changes of an event type's bookings ends."""
    return f":{kind}" if kind else ""


def event_type_of(subject: str) -> str:
    """The event type that a ticket with a subject like this is about."""
    return subject.removeprefix(EVENT_TYPE).partition(":")[0]


def about_booking(uid: str) -> str:
    return f"booking:{uid}"


def about_appointment(appointment: Appointment) -> str:
    """The subject of what concerns an appointment that names no booking."""
    uid = appointment.calcom_booking_uid
    return about_booking(uid) if uid else f"{APPOINTMENT}{appointment.pk}"


def _seen_before(rows: QuerySet[SyncFailure], problem: Problem, *, now: datetime) -> SyncFailure | None:
    """The last of the rows of this problem, if it settles the matter or can be opened again: then it says
    what is the matter now.
    """
    last = rows.exclude(resolved_at=F("detected_at")).order_by("-pk").first()  # without mere incidents
    if last is None or (last.resolved_by_id is not None and last.error_details != problem.details):
        return None
    kept = {"occurrences": F("occurrences") + 1, "last_seen_at": now}
    if last.resolved_by_id is not None:
        rows.filter(pk=last.pk).update(**kept)
        return last
    reopened = rows.filter(pk=last.pk, status=Status.RESOLVED).update(
        **kept,
        **problem.latest(),
        appointment=problem.appointment,
        call=problem.call,
        status=Status.MANUAL_REVIEW,
        resolved_at=None,
        resolution_notes="",
        snoozed_until=None,  # what was put off is over; this is for whoever looks now
    )
    if reopened:
        last.refresh_from_db()
        logger.error(
            "sync_failure.reopened", failure=last.pk, type=last.failure_type, company=last.company.slug
        )
        alerts.announce(last)
    return last


def _raise_counter(rows: QuerySet[SyncFailure], problem: Problem, *, now: datetime) -> SyncFailure | None:
    open_rows = rows.filter(status__in=OPEN_STATUSES)
    if not open_rows.update(occurrences=F("occurrences") + 1, last_seen_at=now, **problem.latest()):
        return None
    return open_rows.first()

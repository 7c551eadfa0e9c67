"""What follows when Cal.com shows us a booking for one of our open attempts.

Used by the request that made it, by whoever asks again, and by the completer: whoever comes first settles,
the others see that it is settled. Always in this order: whose is it, is it what was asked for, store it, and
only if it can not be stored, undo what is provably ours.

Two kinds of local failure are told apart. A database that refuses the row (schema, constraint, trigger) will
refuse it again: after one retry the booking is undone at Cal.com. A database that is away will come back, and
finds the intention stored before Cal.com was asked: then nothing is undone, the attempt stays open, and the
completer saves it.
"""

from __future__ import annotations

import time
from collections.abc import Sequence

import structlog
from django.conf import settings
from django.db import DatabaseError, IntegrityError, InterfaceError, transaction
from django.utils import timezone
from django.utils.dateparse import parse_datetime

from booking import (
    attempts,
    availability,
    best_effort_cache,
    database_errors,
    event_types,
    failures,
    idempotency,
    known_uids,
    lookup,
    lost_attempts,
    mirror,
    ownership,
)
from booking.calcom.client import CalcomClient
from booking.calcom.deadline import Deadline
from booking.calcom.errors import CalcomError
from booking.calcom.objects import Booking
from booking.models import LIVE_STATUSES, Appointment, BookingAttempt, SyncFailure
from booking.outcomes import Code
from booking.ownership import NO_PROOF, Asked, Judgement, Layer, Verdict
from booking.settlement import Result, Settlement, close_failures, summary_of, told_by
from booking.undo import undo
from customers.database import drop_dead_connections, waiting_at_most

logger = structlog.get_logger(__name__)


def asked_of(attempt: BookingAttempt) -> Asked:
    """What an attempt asked Cal.com for, from its stored request."""
    appointment = attempt.appointment
    start = parse_datetime(attempt.request.get("start", "")) or appointment.starts_at
    return Asked(
        call_id=attempt.request.get("metadata", {}).get("call_id", ""),
        starts_at=start,
        ends_at=start + (appointment.ends_at - appointment.starts_at),
        event_type_id=attempt.request.get("eventTypeId", 0),
        sent_at=attempt.sent_at or attempt.created_at,
    )


def settle(
    attempt: BookingAttempt,
    *,
    booking: Booking,
    client: CalcomClient,
    deadline: Deadline,
    answering: bool,
) -> Settlement:
    """`answering`: a caller is being answered with the result, so it is recorded as what they were told."""
    judgement = _judge(attempt, booking)
    if judgement.verdict is Verdict.FOREIGN:
        return _refuse(attempt, booking, judgement, answering=answering)
    if judgement.verdict is Verdict.UNPROVEN:
        return _keep_unproven(attempt, booking, judgement)
    if not booking.is_active and booking.rescheduled_to_uid:
        # Moved while it was being answered: Cal.com tells its webhooks first. It stands where it is now.
        try:
            booking, _ = lookup.end_of_chain(booking, client=client, deadline=deadline)
        except CalcomError as error:
            logger.warning("booking.move_not_followed", attempt=str(attempt.uuid), error=type(error).__name__)
            return Settlement(Result.OPEN, attempt.appointment)
    if not booking.is_active:
        return _record_gone(attempt, booking, answering=answering)
    if judgement.verdict is Verdict.WRONG and not booking.rescheduled_from_uid:
        return _undo_wrong(attempt, booking, judgement, client=client, deadline=deadline, answering=answering)
    # Right, or made right and moved by a person at Cal.com since: then that is where it is.
    return _store(attempt, booking, client=client, deadline=deadline, answering=answering)


def settle_found(
    attempt: BookingAttempt,
    *,
    found: Sequence[Booking],
    client: CalcomClient,
    deadline: Deadline,
    answering: bool,
) -> Settlement:
    """The same for what a look-up found: the first counts, any further active one is a ticket."""
    for other in found[1:]:
        if other.is_active:
            report_twin(attempt, other, other_uid=found[0].uid)
    return settle(attempt, booking=found[0], client=client, deadline=deadline, answering=answering)


def _judge(attempt: BookingAttempt, booking: Booking) -> Judgement:
    attempt_id = booking.metadata.get("attempt_id")
    ours = attempt_id == str(attempt.uuid) or (
        attempt_id is not None
        and (
            attempt_id in attempts.ids_of_key(attempt)
            or lost_attempts.made_for_the_same(booking, attempt=attempt)
        )
    )
    known = not ours and known_uids.is_held_beside(attempt.appointment_id, booking.uid)
    judgement = ownership.judge(
        booking,
        asked=asked_of(attempt),
        attempt_is_ours=ours,
        uid_is_known=known,
        layers_enabled=settings.DUPLICATE_PREVENTION_ENABLED,
    )
    for layer in judgement.refused_by:
        logger.warning(
            "booking.refused",
            layer=layer,
            attempt=str(attempt.uuid),
            uid=booking.uid,
            enforced=settings.DUPLICATE_PREVENTION_ENABLED,
        )
    return judgement


def _store(
    attempt: BookingAttempt, booking: Booking, *, client: CalcomClient, deadline: Deadline, answering: bool
) -> Settlement:
    code = Code.REQUESTED if booking.waits_for_host else Code.BOOKED
    told = told_by(attempt, code, answering=answering)
    error: DatabaseError | InterfaceError | None = None
    for last_try in (False, True):
        try:
            with waiting_at_most(deadline.remaining):
                appointment = mirror.settle_created(
                    attempt, booking=booking, told=told, now=timezone.now(), answer=summary_of(booking)
                )
        except mirror.MovedOn:
            return _already_settled(attempt, booking)
        except (DatabaseError, InterfaceError) as failure:
            error = failure
            if database_errors.is_away(failure):
                drop_dead_connections()
            if isinstance(failure, IntegrityError):
                refused = _refused_by_constraint(attempt, booking)
                if refused is not None:
                    return refused
            logger.error("booking.not_stored", attempt=str(attempt.uuid), error=type(failure).__name__)
            if not last_try:
                time.sleep(min(database_errors.RETRY_PAUSE_SECONDS, deadline.remaining))
        else:
            _after_settling(attempt, appointment)
            return Settlement(Result.SETTLED, appointment)
    assert error is not None  # noqa: S101 - the loop ends with a result or with an error
    if database_errors.is_away(error):
        return Settlement(Result.NOT_STORED, attempt.appointment)
    return undo(
        attempt,
        booking,
        client=client,
        deadline=deadline,
        why=f"The booking could not be stored: {database_errors.describe(error)}",
        answering=answering,
        result=Result.UNDONE,
    )


def _refused_by_constraint(attempt: BookingAttempt, booking: Booking) -> Settlement | None:
    """None: it was another constraint, so the row itself is at fault."""
    try:
        if known_uids.is_held_beside(attempt.appointment_id, booking.uid):
            return _adopted_by_a_repeat(attempt, booking) or _uid_is_taken(attempt, booking)
        # A person may have moved it to where the same caller has the same thing booked already.
        keys = {attempt.idempotency_key, mirror.key_at(attempt.appointment, booking.start)}
        twin = Appointment.objects.filter(
            idempotency_key__in=keys - {None}, status__in=LIVE_STATUSES
        ).exclude(pk=attempt.appointment_id)
        standing = twin.first()
    except DatabaseError:
        return None
    if standing is None:
        return None
    report_twin(attempt, booking, other_uid=standing.calcom_booking_uid)
    return Settlement(Result.TWIN, attempt.appointment)


def _adopted_by_a_repeat(attempt: BookingAttempt, booking: Booking) -> Settlement | None:
    """It came about so late that this attempt was given up, and the caller has asked again: that request has
    found the booking, and settled with it.
    """
    repeats = BookingAttempt.objects.filter(
        company=attempt.company_id,
        idempotency_key=attempt.idempotency_key,
        kind=BookingAttempt.Kind.CREATE,
        state=BookingAttempt.State.SUCCEEDED,
        appointment__calcom_booking_uid=booking.uid,
    )
    repeat = repeats.select_related("appointment__service", "appointment__call").first()
    if repeat is None:
        return None
    attempts.release(
        attempt,
        state=BookingAttempt.State.ABSENT,
        told=attempt.told,
        now=timezone.now(),
        answer=summary_of(booking),
    )
    return Settlement(Result.SETTLED, repeat.appointment)


def _uid_is_taken(attempt: BookingAttempt, booking: Booking) -> Settlement:
    """Layer 4: our metadata, and another appointment's uid. Such an answer cannot be true, so nothing is
    stored, cancelled or called taken; what was really made for us, if anything, is found under its own uid.
    """
    logger.warning(
        "booking.refused",
        layer=Layer.CONSTRAINT,
        attempt=str(attempt.uuid),
        uid=booking.uid,
        enforced=True,
    )
    BookingAttempt.objects.filter(pk=attempt.pk).update(refused_by=Layer.CONSTRAINT)
    return Settlement(Result.OPEN, attempt.appointment)


def report_twin(attempt: BookingAttempt, booking: Booking, *, other_uid: str | None) -> None:
    """Two bookings of ours for one intention: which of them is meant is not for a machine to guess.
    `other_uid`: the one that counted so far.
    """
    problem = failures.of_attempt(
        attempt,
        failure_type=SyncFailure.Type.DUPLICATE_BOOKING,
        subject=failures.about_booking(booking.uid),
        message="Cal.com holds a second booking of an appointment that is already booked.",
        uid=booking.uid,
        details={"other_uid": other_uid},
    )
    failures.open_failure(problem, needs_person=True, is_standing=True)


def _after_settling(attempt: BookingAttempt, appointment: Appointment) -> None:
    remembered = idempotency.remembered(
        attempt.idempotency_key, company_id=attempt.company_id, appointment_id=appointment.pk
    )
    best_effort_cache.write_all(
        {**availability.forgotten(attempt.company_id), **remembered}, idempotency.REMEMBERED_SECONDS
    )


def _already_settled(attempt: BookingAttempt, booking: Booking) -> Settlement:
    appointment = Appointment.objects.select_related("service", "call").get(pk=attempt.appointment_id)
    if appointment.is_live and appointment.status != Appointment.Status.PENDING:
        if appointment.calcom_booking_uid != booking.uid and booking.is_active:
            report_twin(attempt, booking, other_uid=appointment.calcom_booking_uid)
        return Settlement(Result.SETTLED, appointment)
    gone = appointment.status == Appointment.Status.CANCELLED
    return Settlement(Result.GONE if gone else Result.OPEN, appointment)


def _refuse(
    attempt: BookingAttempt, booking: Booking, judgement: Judgement, *, answering: bool
) -> Settlement:
    """Somebody else's booking: never stored, never cancelled. It is written down, because it means
    trouble.
    """
    layer = judgement.refused_by[0] if judgement.refused_by else NO_PROOF
    logger.warning("booking.foreign", attempt=str(attempt.uuid), uid=booking.uid, layer=layer)
    now = timezone.now()
    with transaction.atomic():
        released = attempts.release(
            attempt,
            state=BookingAttempt.State.REFUSED,
            # Perhaps the caller's own: until that is found out nobody who waits may repeat a "taken".
            told=told_by(attempt, Code.CHECKING, answering=answering),
            now=now,
            # What an earlier request of this attempt has made, a lagging replica may not have shown.
            look_again_at=now + attempts.LATER_LOOK if attempt.posts > 1 else None,
            refused_by=layer,
            answer=summary_of(booking),
        )
        if released:
            incident = failures.of_attempt(
                attempt,
                failure_type=SyncFailure.Type.FOREIGN_BOOKING,
                subject=failures.about_booking(booking.uid),
                message="Cal.com answered a create with a booking that is not ours. It was left alone.",
                uid=booking.uid,
                details={"layers": list(judgement.refused_by)},
            )
            failures.record_incident(incident)
    return Settlement(Result.FOREIGN, attempt.appointment)


def _keep_unproven(attempt: BookingAttempt, booking: Booking, judgement: Judgement) -> Settlement:
    problem = failures.of_attempt(
        attempt,
        failure_type=SyncFailure.Type.FOREIGN_BOOKING,
        subject=failures.about_booking(booking.uid),
        message="Cal.com answered a create with a booking that carries no proof of whose it is.",
        uid=booking.uid,
        details={"layers": list(judgement.refused_by)},
    )
    failures.open_failure(problem, needs_person=True)
    return Settlement(Result.OPEN, attempt.appointment)


def _record_gone(attempt: BookingAttempt, booking: Booking, *, answering: bool) -> Settlement:
    """It was made, and cancelled before we could store it: by a person at Cal.com, or by our own
    compensation.
    """
    attempts.release(
        attempt,
        state=BookingAttempt.State.COMPENSATED,
        told=told_by(attempt, Code.UNAVAILABLE, answering=answering),
        now=timezone.now(),
        answer=summary_of(booking),
    )
    close_failures(attempt, uid=booking.uid, note="The booking is cancelled at Cal.com.")
    return Settlement(Result.GONE, attempt.appointment)


def _undo_wrong(
    attempt: BookingAttempt,
    booking: Booking,
    judgement: Judgement,
    *,
    client: CalcomClient,
    deadline: Deadline,
    answering: bool,
) -> Settlement:
    """Cal.com booked something else than it was asked for."""
    if {"end", "event_type"} & set(judgement.differs):
        # The event type is not what it was when we read it, or every booking of it will be wrong.
        event_types.forget(attempt.appointment.service)
    return undo(
        attempt,
        booking,
        client=client,
        deadline=deadline,
        why=f"Cal.com booked something else: {', '.join(judgement.differs)} differ.",
        answering=answering,
        result=Result.WRONG,
    )

"""Follow Cal.com: make an appointment that is proven there what its booking has become.

A booking may be confirmed, moved, cancelled, declined or marked as missed on the web, and all of that arrives
as hints: twice, late, out of order. So what is written here is always a booking that was just fetched, and
only if it is no older than what is mirrored already. A move keeps the row: at Cal.com it is a new booking
with a new uid, here it is the same promise at another time.
"""

from __future__ import annotations

from collections.abc import Collection
from dataclasses import dataclass
from datetime import datetime
from typing import Any

import structlog
from django.db import IntegrityError, transaction

from booking import callbacks, compensation, failures, mirror
from booking.calcom.objects import Booking
from booking.models import LIVE_STATUSES, Appointment, FormerUid, SyncFailure

Status = Appointment.Status

logger = structlog.get_logger(__name__)


@dataclass(frozen=True)
class Followed:
    """`changed` names what differed before: "status", "time", "uid"."""

    appointment: Appointment
    changed: tuple[str, ...] = ()


def status_of(booking: Booking, *, current: str, now: datetime) -> str:
    """What an appointment is whose booking looks like this. `current` is what it was."""
    if booking.status != "accepted":
        return mirror.STATUS[booking.status]
    if booking.is_no_show:
        return Status.NO_SHOW
    if booking.end <= now:
        return Status.COMPLETED
    if current in (Status.REQUESTED, Status.CONFIRMED):
        return Status.CONFIRMED  # the host has said yes
    return Status.SCHEDULED


def differences(appointment: Appointment, booking: Booking, *, now: datetime) -> tuple[str, ...]:
    found = []
    if status_of(booking, current=appointment.status, now=now) != appointment.status:
        found.append("status")
    if (booking.start, booking.end) != (appointment.starts_at, appointment.ends_at):
        found.append("time")
    if booking.uid != appointment.calcom_booking_uid:
        found.append("uid")
    return tuple(found)


def is_mirrored(booking: Booking, *, company_id: int, now: datetime) -> bool:
    """Whether our row of this booking says the same."""
    row = Appointment.objects.filter(company=company_id, calcom_booking_uid=booking.uid).first()
    return row is not None and not differences(row, booking, now=now)


def follow(
    appointment: Appointment,
    *,
    booking: Booking,
    former_uids: Collection[str] = (),
    knows_of_absence: bool = True,
    is_newest: bool = False,
    now: datetime,
) -> Followed:
    """`former_uids`: what the booking was called before it was moved, as far as it is known.
    `knows_of_absence`: the booking was fetched because of news about a no-show, or by itself; marking one
    changes no `updatedAt`, so anything else that was fetched at the same time may be from before.
    `is_newest`: when `appointment` was read, nothing newer of this very booking can have been mirrored,
    whatever the clocks at Cal.com say.
    """
    with transaction.atomic():
        row = (
            Appointment.objects.select_for_update(of=("self",), no_key=True)
            .select_related("company", "customer", "service", "call")
            .get(pk=appointment.pk)
        )
        is_newest = is_newest and row.updated_at == appointment.updated_at
        if _is_stale(row, booking, former_uids, knows_of_absence=knows_of_absence, is_newest=is_newest):
            return Followed(row)
        changed, stood = differences(row, booking, now=now), row.is_live
        _remember_uids(row, booking, former_uids, now=now)
        stored: dict[str, Any] = {
            "status": status_of(booking, current=row.status, now=now),
            "starts_at": booking.start,
            "ends_at": booking.end,
            "calcom_booking_uid": booking.uid,
            "calcom_booking_id": booking.id or row.calcom_booking_id,
            "calcom_sync_status": Appointment.SyncStatus.SYNCED,
            "calcom_updated_at": booking.updated_at or booking.created_at or row.calcom_updated_at,
            "metadata": dict(booking.metadata) or row.metadata,
        }
        key = mirror.key_at(row, booking.start)
        if key != row.idempotency_key:
            stored["idempotency_key"] = key
        _write(row, stored, now=now)
        if changed and row.is_live and _may_be_pointed_at(row):
            mirror.link_call(row, now=now)
        failures.close_failures(
            company_id=row.company_id,
            subjects=[failures.about_booking(uid) for uid in {booking.uid, *former_uids}],
            # Whether two of one kind stand is no matter of this one's alone: see `booking.twins`.
            but=(SyncFailure.Type.DUPLICATE_BOOKING,),
            note="Both sides are equal again.",
        )
        if stood and not row.is_live and booking.cancellation_reason == compensation.REASON:
            _report_undone(row)
    if changed:
        logger.info("appointment.followed", appointment=row.pk, uid=booking.uid, changed=list(changed))
    return Followed(row, changed=changed)


def _report_undone(row: Appointment) -> None:
    """A cancel of ours was carried out long after it was sent: what it was to undo had been found standing
    meanwhile, and promised.
    """
    if row.call is not None:
        callbacks.promise(call=row.call, customer=row.customer, reason="The booking was undone by us.")
    key = row.idempotency_key
    problem = failures.Problem(
        company=row.company,
        failure_type=SyncFailure.Type.ORPHANED_LOCAL,
        subject=failures.about_key(key) if key else failures.about_booking(row.calcom_booking_uid or ""),
        message="The caller counts on this appointment, and a late cancellation of ours has undone it.",
        appointment=row,
        call=row.call,
    )
    failures.open_failure(problem, needs_person=True)


def _may_be_pointed_at(row: Appointment) -> bool:
    """A call in which two things were booked points at the later one, as long as that one stands."""
    if row.call is None:
        return False
    pointed_at = row.call.appointment_id
    return (
        pointed_at in (None, row.pk)
        or not Appointment.objects.filter(pk=pointed_at, status__in=LIVE_STATUSES).exists()
    )


def _is_stale(
    row: Appointment,
    booking: Booking,
    former_uids: Collection[str],
    *,
    knows_of_absence: bool,
    is_newest: bool,
) -> bool:
    """Whether what is mirrored already is newer. The times of two bookings are not compared: a successor is
    proven by the uids, and nothing else can replace what stands.
    """
    if booking.uid != row.calcom_booking_uid:
        return bool(row.calcom_booking_uid) and not is_what_became_of(row, booking, former_uids)
    seen, mirrored = booking.updated_at or booking.created_at, row.calcom_updated_at
    if is_newest or seen is None or mirrored is None or seen > mirrored:
        return False
    takes_back = row.status == Status.NO_SHOW and not booking.is_no_show and booking.status == "accepted"
    return seen < mirrored or (takes_back and not knows_of_absence)


def is_what_became_of(row: Appointment, booking: Booking, former_uids: Collection[str]) -> bool:
    """Whether the booking is the row's, or what the row's was moved to."""
    if row.calcom_booking_uid in (booking.uid, *former_uids):
        return True
    if row.calcom_booking_uid != booking.rescheduled_from_uid:
        return False
    # Where a host has confirmed the first one again, the row has gone back to it: it was at this one before.
    return not FormerUid.objects.filter(uid=booking.uid, appointment=row).exists()


def _remember_uids(
    row: Appointment, booking: Booking, former_uids: Collection[str], *, now: datetime
) -> None:
    former = {*former_uids, row.calcom_booking_uid or "", booking.rescheduled_from_uid} - {"", booking.uid}
    for uid in sorted(former):
        FormerUid.objects.get_or_create(uid=uid, defaults={"appointment": row, "replaced_at": now})
    if booking.uid != row.calcom_booking_uid:
        # A host has confirmed it again after it was moved away.
        FormerUid.objects.filter(uid=booking.uid, appointment=row).delete()


def _write(row: Appointment, stored: dict[str, Any], *, now: datetime) -> None:
    if all(getattr(row, name) == value for name, value in stored.items()):
        return
    rows = Appointment.objects.filter(pk=row.pk)
    try:
        with transaction.atomic():
            rows.update(**stored, updated_at=now, last_sync_attempted_at=now)
    except IntegrityError:
        if twin_of(row, stored.get("idempotency_key", row.idempotency_key)) is None:
            raise
        # Moved (or brought back) to where the same person has the same thing booked already. Both stand at
        # Cal.com, so both stand here; whether that is more than a passing moment, `booking.twins` finds out.
        stored["idempotency_key"] = None
        rows.update(**stored, updated_at=now, last_sync_attempted_at=now)
    for name, value in stored.items():
        setattr(row, name, value)


def twin_of(row: Appointment, key: str | None) -> Appointment | None:
    """The other live appointment that has this key."""
    if key is None:
        return None
    rows = Appointment.objects.filter(idempotency_key=key, status__in=LIVE_STATUSES).exclude(pk=row.pk)
    return rows.first()

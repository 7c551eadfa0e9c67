"""Look for the bookings of appointments that a whole listing did not show. Not listed never means cancelled:
each is asked for by its uid.
"""

from __future__ import annotations

import random
from datetime import datetime
from functools import partial

from django.db import transaction
from django.utils import timezone

from booking import doubt, failures, follow
from booking.models import PROVEN_STATUSES, Appointment, BookingAttempt, SyncFailure
from sync import healing
from sync.asking import MOST_ASKED_FOR
from sync.audit import live_without_uid
from sync.compare import Comparison, Gap
from sync.heal_bookings import BookingHealer
from sync.healing import Repair

Status = Appointment.Status

MOST_WITHOUT = 300
# Once it is over. What was never proven has not been cancelled.
_ENDS_AS = {str(Status.PENDING): Status.FAILED}


def look_for_missing(
    comparison: Comparison, *, healer: BookingHealer, start: datetime, end: datetime
) -> None:
    """Of what starts between these two, and of whatever stands from before that. Raises CalcomError."""
    tickets, asking = healer.tickets, healer.asking
    window = comparison.not_listed(start=start, end=end, before=healer.now, limit=MOST_ASKED_FOR)
    overdue = Appointment.objects.filter(
        company=tickets.company,
        status__in=PROVEN_STATUSES,
        calcom_booking_uid__isnull=False,
        starts_at__lt=start,
    ).order_by("?")[:MOST_ASKED_FOR]
    missing = [*window, *overdue]
    random.shuffle(missing)
    for appointment in missing:
        if not asking.has_room:
            tickets.problem(SyncFailure.Type.ORPHANED_LOCAL, "", "more than one run may ask for")
            break
        uid = appointment.calcom_booking_uid or ""
        if uid not in healer.looked_at:
            healer.alone(uid, partial(_look_for, appointment, uid, healer))
    # What could bring them their booking was listed, and has been healed.
    for appointment in live_without_uid(tickets.company, healer.now)[:MOST_WITHOUT]:
        without = partial(_gone, appointment, healer, why=doubt.NAMES_NONE)
        healer.alone("", without, appointment=appointment)


def _look_for(appointment: Appointment, uid: str, healer: BookingHealer) -> None:
    tickets = healer.tickets
    booking = healer.asking.find_booking(uid)
    if booking is None and not _may_be_shown(appointment, healer):
        tickets.open(
            SyncFailure.Type.ORPHANED_LOCAL,
            uid=uid,
            message=doubt.NOT_SHOWN_THERE,
            appointment=appointment,
            details={"status": appointment.status, "found": "event type not shown"},
        )
    elif booking is None:
        _gone(appointment, healer, why=doubt.NOT_KNOWN_THERE)
    elif follow.differences(appointment, booking, now=healer.now):
        healer.fetch_and_follow(uid, Gap.STATUS)


def _may_be_shown(appointment: Appointment, healer: BookingHealer) -> bool:
    """Whether the key sees what the appointment was booked under; another account's key would not."""
    made = appointment.attempts.filter(kind=BookingAttempt.Kind.CREATE).order_by("-pk").first()
    number = made.request.get("eventTypeId") if made is not None else None
    if number is None and appointment.service is not None:
        number = appointment.service.calcom_event_type_id
    return number is None or healer.asking.shows(number)


def _gone(appointment: Appointment, healer: BookingHealer, *, why: str) -> None:
    """Cal.com was asked by the uid and says there is none, or there is no uid to ask by."""
    tickets, uid, was = healer.tickets, appointment.calcom_booking_uid or "", appointment.status
    if appointment.ends_at > healer.now:
        tickets.open(
            SyncFailure.Type.ORPHANED_LOCAL,
            uid=uid,
            message=why,
            appointment=appointment,
            details={"status": was},
        )
        return
    if tickets.dry_run or not healer.permission.take(Repair.FOLLOW):
        tickets.report.would_repair(Repair.FOLLOW)
        tickets.open(
            SyncFailure.Type.ORPHANED_LOCAL,
            uid=uid,
            message="The appointment is over, and Cal.com does not know its booking any more.",
            appointment=appointment,
            details={"status": was},
        )
        return
    now = timezone.now()
    with transaction.atomic():
        as_found = {"status": was, "calcom_booking_uid": appointment.calcom_booking_uid}
        ended = Appointment.objects.filter(pk=appointment.pk, **as_found).update(
            status=_ENDS_AS.get(was, Status.CANCELLED),
            calcom_sync_status=Appointment.SyncStatus.NOT_SYNCED,
            updated_at=now,
        )
        if not ended:
            return  # it has become something else in this moment
        healing.record(
            Repair.FOLLOW,
            company=tickets.company,
            appointment=appointment,
            uid=uid,
            details={"was": was, "found": "past, and unknown to Cal.com"},
            now=now,
        )
        tickets.report.closed += failures.close_failures(
            company_id=tickets.company.pk,
            subjects=[failures.about_appointment(appointment)],
            note="The appointment is over.",
        )
    tickets.report.has_repaired(Repair.FOLLOW)

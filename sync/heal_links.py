"""Have calls and appointments point at each other, in each run of `reconcile`: Cal.com need not be asked."""

from __future__ import annotations

from django.db import transaction
from django.db.models import QuerySet
from django.utils import timezone

from booking.models import Appointment, SyncFailure
from calls.models import Call
from sync import healing, links
from sync.healing import Permission, Repair
from sync.lost_calls import lost_calls
from sync.reconcile_report import Tickets

MOST_LINKED = 300


def heal_links(tickets: Tickets, *, permission: Permission) -> None:
    """Those of one company: as far as that is allowed, else they are tickets."""
    if not tickets.dry_run:
        links.let_go_of_deleted(tickets.company)
    for appointment in links.to_mend(tickets.company, limit=MOST_LINKED):
        if tickets.dry_run or not permission.take(Repair.LINK):
            tickets.report.would_repair(Repair.LINK)
            _leave(appointment, tickets=tickets)
            continue
        now = timezone.now()
        with transaction.atomic():
            links.mend(appointment, now=now)
            healing.record(
                Repair.LINK,
                company=tickets.company,
                appointment=appointment,
                uid=appointment.calcom_booking_uid or "",
                details={},
                now=now,
            )
        tickets.report.has_repaired(Repair.LINK)
    lost = lost_calls(company=tickets.company, since=None)
    for call in (*_some(lost), *_some(links.made_and_not_confirmed(tickets.company))):
        tickets.open(
            SyncFailure.Type.CALL_DESYNC,
            message="The call says that something was booked, and its appointment is not there.",
            call=call,
            details={},
        )
    if not tickets.dry_run:
        tickets.close_linked()


def _some(calls: QuerySet[Call]) -> QuerySet[Call]:
    return calls.only("pk", "retell_call_id", "company_id")[:MOST_LINKED]


def _leave(appointment: Appointment, *, tickets: Tickets) -> None:
    call = appointment.call or Call.objects.filter(appointment=appointment).order_by("-pk").first()
    if tickets.dry_run or call is None:
        uid = appointment.calcom_booking_uid or ""
        tickets.problem(SyncFailure.Type.CALL_DESYNC, uid, "would link")
    elif not (call.booking_confirmed and call.appointment_id is None):  # that is reported anyway
        tickets.open(
            SyncFailure.Type.CALL_DESYNC,
            message="A call and its appointment do not say the same, and may not be linked unasked.",
            appointment=appointment,
            call=call,
            details={},
        )

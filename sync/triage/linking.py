"""Say which appointment a booking, or a call, is about."""

from __future__ import annotations

from contextlib import suppress
from datetime import timedelta
from functools import partial

from django.db import IntegrityError, transaction
from django.db.models import Q, QuerySet
from django.utils import timezone

from booking import follow, mirror
from booking.calcom.objects import Unreadable, read_instant
from booking.models import OPEN_STATES, Appointment
from calls.models import Call
from customers.company_secrets import without_secrets
from sync import links
from sync.both_sides import Seen
from sync.converge import Kinship
from sync.triage.case import Case
from sync.triage.conditions import require_lone
from sync.triage.decision import Decision, Done
from sync.triage.verbs import NotLegal, Verb
from sync.triage.wording import name_of, when, whether_closed
from sync.triage.work import Work

MOST_CANDIDATES = 20
NEAR = timedelta(days=1)


def preview(case: Case) -> list[str]:
    if not candidates(case):
        if case.remote.seen is Seen.NOT_ASKED:
            raise NotLegal("Cal.com could not be asked whether a booking stands that lacks its appointment.")
        raise NotLegal("There is no appointment that this could be.")
    if _is_about_a_lone_booking(case):
        assert case.booking is not None  # noqa: S101
        return [f"The chosen appointment becomes booking {case.booking.uid}: {when(case.booking, case)}."]
    assert case.failure.call is not None  # noqa: S101
    return [
        f"Call {case.failure.call.retell_call_id} and the chosen appointment point at each other.",
        "The call says that something was booked.",
        "Nothing is changed at Cal.com.",
    ]


def candidates(case: Case) -> list[Appointment]:
    """The appointments of the same company that this may be about."""
    if _is_about_a_lone_booking(case):
        rows = _without_booking(case)
    elif case.failure.call is not None and case.failure.call.appointment_id is None:
        rows = _of_the_call(case.failure.call)
    else:
        return []
    paths = ("company", "branch__company", "service", "customer", "call")
    return list(without_secrets(rows, paths=paths).order_by("starts_at")[:MOST_CANDIDATES])


def _is_about_a_lone_booking(case: Case) -> bool:
    """A booking stands, and neither an appointment nor an attempt of ours is its."""
    match = case.remote.match
    lone = (Kinship.LOST, Kinship.ELSEWHERE, Kinship.UNKNOWN_CLAIM)
    return match is not None and match.booking.is_active and match.kinship in lone


def _without_booking(case: Case) -> QuerySet[Appointment]:
    booking = case.booking
    assert booking is not None  # noqa: S101
    return Appointment.objects.filter(
        company=case.failure.company_id,
        calcom_booking_uid=None,
        status__in=links.NOT_BOOKED,
        service__calcom_event_type_id=booking.event_type_id or 0,
        starts_at__gte=booking.start - NEAR,
        starts_at__lte=booking.start + NEAR,
    ).exclude(attempts__state__in=OPEN_STATES)


def _of_the_call(call: Call) -> QuerySet[Appointment]:
    near = Q(call=call)
    if call.customer_id is not None:
        # What took place before the call was not booked in it, and of a regular there is a lot.
        since = (call.started_at or call.created_at) - NEAR
        near |= Q(call=None, customer=call.customer_id, starts_at__gte=since)
    details = call.booking_details
    if isinstance(details, dict):
        with suppress(Unreadable):
            near |= Q(call=None, starts_at=read_instant(details.get("start")))
    # What never came about was not booked in any call.
    return Appointment.objects.filter(near, company=call.company_id, calcom_booking_uid__isnull=False)


def link(decision: Decision, *, seen: str, appointment_id: int) -> Done:
    """To one of the `candidates`."""
    work = Work.begin(
        Verb.LINK, decision, preview=preview, seen=seen, details={"appointment": appointment_id}
    )
    return work.carry_out(partial(_link, appointment_id=appointment_id))


def _link(work: Work, appointment_id: int) -> Done:
    chosen = next((row for row in candidates(work.case) if row.pk == appointment_id), None)
    if chosen is None:
        raise NotLegal("The chosen appointment cannot be it any more.")
    try:
        row = _link_to(chosen, work)
    except IntegrityError:
        require_lone(work.case.remote.match)
        raise
    work.count("appointment", _is_about_a_lone_booking(work.case) or chosen.call_id is None)
    work.count("call", row.call_id is not None)
    closed = work.count_failure()
    return Done(f"Linked to appointment {name_of(row)}." + whether_closed(closed))


def _link_to(chosen: Appointment, work: Work) -> Appointment:
    """Raises IntegrityError if the booking is another appointment's."""
    now = timezone.now()
    match = work.case.remote.match
    with transaction.atomic():
        row = (
            Appointment.objects.select_for_update(of=("self",), no_key=True)
            .select_related("company", "service", "customer", "call")
            .get(pk=chosen.pk)
        )
        before = (chosen.status, chosen.calcom_booking_uid, chosen.call_id)
        if (row.status, row.calcom_booking_uid, row.call_id) != before:
            raise NotLegal("The chosen appointment has changed in this moment.")
        if _is_about_a_lone_booking(work.case) and match is not None:
            follow.follow(row, booking=match.booking, former_uids=match.former_uids, now=now)
        else:
            if row.call_id is None:
                Appointment.objects.filter(pk=row.pk).update(call=work.case.failure.call, updated_at=now)
                row.call = work.case.failure.call
            mirror.link_call(row, now=now)
        work.close("Linked by a person.")
        work.record("done", appointment=row)
    return row

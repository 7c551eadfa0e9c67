"""What a timeline is about: found out from a call, or from a sync failure."""

from __future__ import annotations

from collections.abc import Iterable
from datetime import datetime, tzinfo

from django.db.models import Q

from booking.models import Appointment, BookingAttempt, FormerUid, SyncFailure
from booking.outcomes import Code
from calls.models import Call, FunctionCall
from customers.admin_columns import zone_of
from sync.roles import MayLook
from sync.timeline.events import Event
from sync.timeline.story import MOST_OF_A_KIND, Story, Subject
from sync.timeline.verdict import Verdict, verdict_on


def of_call(call: Call, *, user: MayLook) -> tuple[list[Event], Verdict]:
    made = Appointment.objects.filter(
        Q(call=call) | Q(pk__in=_appointments_of_others(call)), company=call.company_id
    )
    subject = _subject(
        company_id=call.company_id,
        call=call,
        appointments=list(made.order_by("pk")[:MOST_OF_A_KIND]),
        since=call.started_at or call.created_at,
        zone=zone_of(call),
    )
    story = Story(subject, user)
    return story.events(), verdict_on(story)


def of_failure(failure: SyncFailure, *, user: MayLook, uid: str = "") -> list[Event]:
    """`uid`: of the booking that was found to be meant, where the failure itself names none."""
    appointments = [failure.appointment] if failure.appointment else []
    call = failure.call or (failure.appointment.call if failure.appointment else None)
    since = min([failure.detected_at, *(a.created_at for a in appointments)])
    if call is not None:
        since = min(since, call.started_at or call.created_at)
    subject = _subject(
        company_id=failure.company_id,
        call=call,
        appointments=appointments,
        failure=failure,
        uids=[failure.calcom_booking_id, uid],
        since=since,
        zone=zone_of(failure.appointment or failure),
    )
    return Story(subject, user).events()


def _appointments_of_others(call: Call) -> list[int]:
    """What the call points at, has moved or cancelled, or was told to have already."""
    changed = BookingAttempt.objects.filter(call=call).values_list("appointment", flat=True)
    had = FunctionCall.objects.filter(call=call, code=Code.ALREADY_BOOKED)
    told = had.values_list("answer__appointment__id", flat=True)
    return [pk for pk in (call.appointment_id, *changed, *told) if isinstance(pk, int)]


def _subject(
    *,
    company_id: int,
    call: Call | None,
    appointments: list[Appointment],
    since: datetime,
    zone: tzinfo,
    failure: SyncFailure | None = None,
    uids: Iterable[str] = (),
) -> Subject:
    ids = tuple(appointment.pk for appointment in appointments)
    named = {*uids, *(appointment.calcom_booking_uid or "" for appointment in appointments)}
    if ids:
        named |= set(FormerUid.objects.filter(appointment__in=ids).values_list("uid", flat=True)[:20])
    details = call.booking_details if call is not None else None
    if isinstance(details, dict) and isinstance(details.get("uid"), str):
        named.add(details["uid"])
    return Subject(
        company_id=company_id,
        call=call,
        appointments=ids,
        failure=failure,
        uids=tuple(sorted(named - {""})),
        since=since,
        zone=zone,
    )

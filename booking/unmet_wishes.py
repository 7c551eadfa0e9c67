"""Whether a call has got what a callback was promised for.

One callback stands for all that did not work in a call. A colouring that could not be booked is not made good
by the haircut that could, nor the daughter's appointment by the mother's.
"""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Iterable, Mapping

from django.db.models import F

from booking import catalogue, change_outcome, function_names
from booking.models import (
    CHANGE_KINDS,
    PROVEN_STATUSES,
    Appointment,
    BookingAttempt,
    CallbackRequest,
    Service,
)
from booking.outcomes import Code
from calls.models import FunctionCall
from customers.names import same_person

State = BookingAttempt.State

# Who was told one of these was called back, or waits for it.
_LEFT_OPEN = ("", str(Code.UNAVAILABLE), str(Code.CHECKING))
_CAME_TO_NOTHING = (State.REFUSED, State.NOT_SENT, State.ABSENT, State.COMPENSATED)


def met(callbacks: Iterable[CallbackRequest]) -> list[CallbackRequest]:
    """Those of these open ones in whose call all that did not work has worked since they were promised, or is
    had all the same. Asks as often for one as for hundreds.
    """
    by_call = {callback.call_id: callback for callback in callbacks}  # one is open per call
    if not by_call:
        return []
    attempted = _attempted_in_vain(by_call)
    has = _booked_since(by_call)
    for call_id, rows in _had_otherwise(attempted).items():
        has.setdefault(call_id, []).extend(rows)
    changed = _calls_whose_changes_were_made(by_call)
    worked = {*has, *_turned_up(by_call)}
    never_begun = _never_begun(by_call)
    return [
        callback
        for call_id, callback in by_call.items()
        if call_id in (changed if callback.kind == CallbackRequest.Kind.NOT_CHANGED else worked)
        and _all_are_instead(attempted[call_id], has.get(call_id, []))
        and _all_were_got(never_begun[call_id], has.get(call_id, []))
    ]


def _booked_since(by_call: Mapping[int, CallbackRequest]) -> dict[int, list[Appointment]]:
    rows = Appointment.objects.filter(call__in=by_call, status__in=PROVEN_STATUSES).select_related("service")
    booked = defaultdict(list)
    for row in rows:
        if row.call_id is not None and row.created_at >= by_call[row.call_id].created_at:
            booked[row.call_id].append(row)
    return booked


def _had_otherwise(wanted: Mapping[int, list[Appointment]]) -> dict[int, list[Appointment]]:
    """What the same person has at just the time that was wanted: booked in another call or on the web. (What
    somebody of ours keeps of a booking that was denied in the same call, they have not heard of.)
    """
    wishes = [(call_id, wish) for call_id, theirs in wanted.items() for wish in theirs]
    standing = defaultdict(list)
    for row in Appointment.objects.filter(
        service__isnull=False,
        customer__in={wish.customer_id for _, wish in wishes},
        starts_at__in={wish.starts_at for _, wish in wishes},
        status__in=PROVEN_STATUSES,
    ).select_related("service"):
        standing[row.customer_id, row.starts_at].append(row)
    had = defaultdict(list)
    for call_id, wish in wishes:
        for row in standing[wish.customer_id, wish.starts_at]:
            if row.call_id != call_id and _is_instead(wish, row):
                had[call_id].append(row)
    return had


def _turned_up(calls: Iterable[int]) -> set[int]:
    """Those in which something was given up, not denied to the caller, and found to stand after all."""
    found = BookingAttempt.objects.filter(
        call__in=calls,
        call__callback_requests__status=CallbackRequest.Status.OPEN,
        call__callback_requests__created_at__lte=F("finished_at"),
        kind=BookingAttempt.Kind.CREATE,
        state=State.SUCCEEDED,
        told=Code.CHECKING,
        appointment__status__in=PROVEN_STATUSES,
    )
    return {call_id for call_id in found.values_list("call", flat=True) if call_id is not None}


def _calls_whose_changes_were_made(calls: Iterable[int]) -> set[int]:
    """Those whose moves and cancellations that did not work have all been made since."""
    failed = list(
        BookingAttempt.objects.filter(
            call__in=calls, kind__in=CHANGE_KINDS, state__in=_CAME_TO_NOTHING, told__in=_LEFT_OPEN
        ).select_related("appointment")
    )
    made = defaultdict(list)
    for attempt in BookingAttempt.objects.filter(
        appointment__in={change.appointment_id for change in failed},
        kind__in=CHANGE_KINDS,
        state=State.SUCCEEDED,
    ).only("appointment", "kind"):
        made[attempt.appointment_id].append(attempt)
    left = {change.call_id for change in failed if not _is_made(change, made[change.appointment_id])}
    return {change.call_id for change in failed if change.call_id is not None} - left


def _is_made(change: BookingAttempt, made: Iterable[BookingAttempt]) -> bool:
    """Made by another try, or cancelled instead; or it came later than it was waited for."""
    row, cancels = change.appointment, BookingAttempt.Kind.CANCEL
    if any(other.pk > change.pk and other.kind in (change.kind, cancels) for other in made):
        return True
    if change.told != Code.CHECKING:
        return False  # they heard that it stands as it was
    if change.kind == cancels:
        return row.status == Appointment.Status.CANCELLED
    return row.status in PROVEN_STATUSES and row.starts_at == change_outcome.wanted_start(change)


def _attempted_in_vain(calls: Iterable[int]) -> dict[int, list[Appointment]]:
    attempts = BookingAttempt.objects.filter(
        call__in=calls,
        kind=BookingAttempt.Kind.CREATE,
        state__in=_CAME_TO_NOTHING,
        told__in=_LEFT_OPEN,
        appointment__status=Appointment.Status.FAILED,
    ).select_related("appointment__service")
    wanted = defaultdict(list)
    for attempt in attempts:
        if attempt.call_id is not None:
            wanted[attempt.call_id].append(attempt.appointment)
    return wanted


def _never_begun(by_call: Mapping[int, CallbackRequest]) -> dict[int, list[set[str]]]:
    """What failed before there was an attempt, so that only the request tells what was wanted: by call the
    names of the services that each of these requests may have meant.
    """
    asked = FunctionCall.objects.filter(
        call__in=by_call, name__in=function_names.BOOKING, code=Code.UNAVAILABLE
    )
    said = [
        (call_id, str(arguments["service"]))
        for call_id, arguments in asked.values_list("call", "arguments")
        if call_id is not None and isinstance(arguments, dict) and arguments.get("service")
    ]
    services = defaultdict(list)
    for service in Service.objects.filter(company__in={by_call[call_id].company_id for call_id, _ in said}):
        services[service.company_id].append(service)
    wanted = defaultdict(list)
    for call_id, text in said:
        meant = catalogue.among(services[by_call[call_id].company_id], text)
        wanted[call_id].append({service.name for service in meant})
    return wanted


def _all_are_instead(wanted: Iterable[Appointment], booked: Iterable[Appointment]) -> bool:
    return all(any(_is_instead(each, other) for other in booked) for each in wanted)


def _is_instead(wanted: Appointment, booked: Appointment) -> bool:
    if wanted.service is None or booked.service is None:
        return True
    return wanted.service.name == booked.service.name and same_person(
        wanted.attendee_name, booked.attendee_name
    )


def _all_were_got(wanted: Iterable[set[str]], booked: Iterable[Appointment]) -> bool:
    got = {each.service.name for each in booked if each.service}
    return all(names & got for names in wanted if names)

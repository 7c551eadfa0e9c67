"""Whether a call has got what a callback was promised for.

One callback stands for all that did not work in a call. A colouring that could not be booked is not made good
by the haircut that could, nor the daughter's appointment by the mother's.
"""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Iterable, Mapping

from booking import catalogue
from booking.models import (
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

_BOOK = ("book_appointment", "collect_appointment_data")
# Who was told one of these was called back, or waits for it.
_LEFT_OPEN = ("", str(Code.UNAVAILABLE), str(Code.CHECKING))
_CAME_TO_NOTHING = (State.REFUSED, State.NOT_SENT, State.ABSENT, State.COMPENSATED)


def met(callbacks: Iterable[CallbackRequest]) -> list[CallbackRequest]:
    """Those of these open ones in whose call all that did not work was booked since they were promised. Asks
    as often for one as for hundreds.
    """
    by_call = {callback.call_id: callback for callback in callbacks}  # one is open per call
    if not by_call:
        return []
    booked = _booked_since(by_call)
    attempted = _attempted_in_vain(booked)
    never_begun = _never_begun([by_call[call_id] for call_id in booked])
    return [
        by_call[call_id]
        for call_id, theirs in booked.items()
        if _all_are_instead(attempted[call_id], theirs) and _all_were_got(never_begun[call_id], theirs)
    ]


def _booked_since(by_call: Mapping[int, CallbackRequest]) -> dict[int, list[Appointment]]:
    rows = Appointment.objects.filter(call__in=by_call, status__in=PROVEN_STATUSES).select_related("service")
    booked = defaultdict(list)
    for row in rows:
        if row.call_id is not None and row.created_at >= by_call[row.call_id].created_at:
            booked[row.call_id].append(row)
    return booked


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


def _never_begun(callbacks: Iterable[CallbackRequest]) -> dict[int, list[set[str]]]:
    """What failed before there was an attempt, so that only the request tells what was wanted: by call the
    names of the services that each of these requests may have meant.
    """
    by_call = {callback.call_id: callback for callback in callbacks}
    asked = FunctionCall.objects.filter(call__in=by_call, name__in=_BOOK, code=Code.UNAVAILABLE)
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

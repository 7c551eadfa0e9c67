"""Whether a call has got what a callback was promised for.

One callback stands for all that did not work in a call. A colouring that could not be booked is not made good
by the haircut that could, nor the daughter's appointment by the mother's.
"""

from __future__ import annotations

from collections.abc import Iterable

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


def is_met(callback: CallbackRequest) -> bool:
    """Whether all that did not work in its call was booked since the callback was promised."""
    booked = list(
        Appointment.objects.filter(
            call=callback.call_id, status__in=PROVEN_STATUSES, created_at__gte=callback.created_at
        ).select_related("service")
    )
    return bool(booked) and not (_unmet_attempts(callback, booked) or _never_begun(callback, booked))


def _unmet_attempts(callback: CallbackRequest, booked: Iterable[Appointment]) -> bool:
    attempts = BookingAttempt.objects.filter(
        call=callback.call_id,
        kind=BookingAttempt.Kind.CREATE,
        state__in=_CAME_TO_NOTHING,
        told__in=_LEFT_OPEN,
        appointment__status=Appointment.Status.FAILED,
    ).select_related("appointment__service")
    return any(not any(_is_instead(of.appointment, each) for each in booked) for of in attempts)


def _is_instead(wanted: Appointment, booked: Appointment) -> bool:
    if wanted.service is None or booked.service is None:
        return True
    return wanted.service.name == booked.service.name and same_person(
        wanted.attendee_name, booked.attendee_name
    )


def _never_begun(callback: CallbackRequest, booked: Iterable[Appointment]) -> bool:
    """What failed before there was an attempt: only the request tells what was wanted."""
    asked = FunctionCall.objects.filter(
        call=callback.call_id, name__in=_BOOK, code=Code.UNAVAILABLE
    ).values_list("arguments", flat=True)
    wanted = {str(each["service"]) for each in asked if isinstance(each, dict) and each.get("service")}
    if not wanted:
        return False
    services = list(Service.objects.filter(company=callback.company_id))
    got = {each.service.name for each in booked if each.service}
    meant = [{service.name for service in catalogue.among(services, text)} for text in wanted]
    return any(names and not names & got for names in meant)

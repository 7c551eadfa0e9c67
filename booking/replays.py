"""Whether what was answered to a request is still the answer to its repetition.

A yes is repeated as long as what it promised stands: the row is read, because a cache could say "booked" of
what was cancelled since. A no is repeated for a minute. "Checking" and failures are never repeated: by now
more is known.
"""

from __future__ import annotations

from datetime import datetime, timedelta
from typing import Any

from django.utils.dateparse import parse_datetime

from booking import doubt
from booking.functions import CHANGES
from booking.models import (
    LIVE_STATUSES,
    PROVEN_STATUSES,
    Appointment,
    BookingAttempt,
    CallbackRequest,
)
from booking.outcomes import REFUSALS, SUCCESSES, Code
from calls import call_record
from calls.models import FunctionCall
from customers import phone_numbers
from customers.statements import Given, Select

REFUSAL_STANDS_FOR = timedelta(seconds=60)

_PROVEN = Select(
    lambda: Appointment.objects.filter(
        doubt.is_beyond_doubt(),
        pk=Given("id"),
        company=Given("company"),
        starts_at=Given("starts_at"),
        # Moved away and back again it is another booking there, with another uid.
        calcom_booking_uid=Given("calcom_booking_uid"),
        status__in=PROVEN_STATUSES,
    ).only("pk")
)


def repeated_answer(before: FunctionCall, *, now: datetime) -> dict[str, Any] | None:
    """The same body again, or None: the request has to be worked anew."""
    if before.name == "request_callback":
        stands = before.code == Code.CALLBACK_NOTED and _is_still_noted(before)
    elif before.name not in CHANGES:
        return None
    elif before.code in REFUSALS:
        stands = (
            # Where its clock was ahead of ours, it cannot be told what has come since.
            timedelta(0) <= now - before.answered_at < REFUSAL_STANDS_FOR
            # It was told what is there instead: the same words mean that now.
            and not before.answer.get("appointment")
            and not _booked_since(before)
            and not _got_something_since(before)
        )
    else:
        stands = before.code in SUCCESSES and _promise_stands(before)
    if stands and _says_another_day(before, now=now):
        return None
    return {**before.answer, "replayed": True} if stands else None


def _says_another_day(before: FunctionCall, *, now: datetime) -> bool:
    """Its "tomorrow" is today by now, in the place of what it speaks of."""
    spoken_of = [before.answer.get("appointment"), *before.answer.get("alternatives", ())]
    starts = [parse_datetime(each["start"]) for each in spoken_of if each]
    return any(
        before.answered_at.astimezone(start.tzinfo).date() != now.astimezone(start.tzinfo).date()
        for start in starts
        if start is not None
    )


def _booked_since(before: FunctionCall) -> bool:
    """The same call has got or changed an appointment since: perhaps to this very slot."""
    if before.call_id is None:
        return False
    booked = Appointment.objects.filter(
        call=before.call_id, created_at__gt=before.answered_at, status__in=LIVE_STATUSES
    )
    changed = BookingAttempt.objects.filter(
        call=before.call_id,
        finished_at__gt=before.answered_at,
        state=BookingAttempt.State.SUCCEEDED,
    ).exclude(kind=BookingAttempt.Kind.CREATE)
    return booked.exists() or changed.exists()


def _got_something_since(before: FunctionCall) -> bool:
    """An appointment under the calling number has come or changed since: booked in another call, or by a
    person on the web, perhaps at this very slot.
    """
    call = before.call
    if call is None:
        return False
    region = phone_numbers.region_of(call_record.our_number(call) or "") or "ZZ"
    number = call_record.callers_number(call, region=region)
    return (
        bool(number)
        and Appointment.objects.filter(
            company=before.company_id,
            customer__company=before.company_id,  # so that the number is found by index
            customer__phone=number,
            updated_at__gt=before.answered_at,
            status__in=LIVE_STATUSES,
        ).exists()
    )


def _promise_stands(before: FunctionCall) -> bool:
    promised = before.answer.get("appointment") or {}
    start = parse_datetime(promised.get("start") or "")
    if before.code == Code.CANCELLED:
        # Without arguments it is the only one there is; if there is another by now, that one is meant.
        return _is_cancelled(promised.get("id") or 0, before) and not _booked_since(before)
    return start is not None and _PROVEN.exists(
        id=promised.get("id") or 0,
        company=before.company_id,
        starts_at=start,
        calcom_booking_uid=promised.get("calcom_booking_uid"),
    )


def _is_still_noted(before: FunctionCall) -> bool:
    """It is open, and says what was said then: a later wish in the same call is written over it."""
    if before.call_id is None:
        return False
    later = FunctionCall.objects.filter(
        call=before.call_id, name=before.name, answered_at__gt=before.answered_at
    )
    noted = CallbackRequest.objects.filter(
        call=before.call_id, status=CallbackRequest.Status.OPEN, kind=CallbackRequest.Kind.WANTED
    )
    return noted.exists() and not later.exists()


def _is_cancelled(appointment_id: int, before: FunctionCall) -> bool:
    return Appointment.objects.filter(
        pk=appointment_id, company=before.company_id, status=Appointment.Status.CANCELLED
    ).exists()

"""What a caller can do with the appointments they have: hear of them, move one, cancel one."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import replace
from datetime import datetime
from typing import Any

from booking import callbacks, change, doubt, whose_appointment
from booking.conversation import Conversation
from booking.models import Appointment
from booking.outcomes import Code, Outcome
from booking.serializers import CancelAppointmentSerializer, RescheduleAppointmentSerializer
from booking.slot_ids import OfferedSlot
from booking.validation import invalid

MOST_NAMED = 5


def list_appointments(conversation: Conversation, _arguments: Mapping[str, Any]) -> Outcome:
    if whose_appointment.unclear(conversation):
        return Outcome(Code.CHECKING, reason="earlier_change")
    coming = whose_appointment.coming(conversation)
    if doubt.is_one_missing(coming):
        noted = callbacks.promise(call=conversation.call, customer=coming[0].customer, reason=doubt.MISSING)
        return Outcome(Code.UNAVAILABLE, reason="appointment_missing", callback=noted)
    extra = {"appointments": coming[:MOST_NAMED], "more": max(0, len(coming) - MOST_NAMED)}
    if not coming and whose_appointment.callers_number(conversation) is None:
        return Outcome(Code.NOT_FOUND, reason="number_withheld", extra=extra)
    return Outcome(Code.OK, reason="appointments", extra=extra)


def reschedule_appointment(conversation: Conversation, arguments: Mapping[str, Any]) -> Outcome:
    serializer = RescheduleAppointmentSerializer(data=arguments, context=conversation.context)
    if not serializer.is_valid():
        return invalid(serializer.errors)
    asked = serializer.validated_data
    meant = _meant(conversation, asked)
    if meant.is_unclear:
        return Outcome(Code.CHECKING, reason="earlier_change", wanted=asked["new_start"] or None)
    before = _moved_before(conversation, arguments, asked)
    if meant.only is None:
        return before or _which(conversation, meant, asked)
    if _may_mean_another(conversation, asked, row=meant.only, moved=before):
        return _which(conversation, meant, asked)
    there = conversation.zone_of(meant.only)
    if there != conversation.zone:
        serializer = _read_there(conversation, arguments, meant.only)
        if not serializer.is_valid():
            return invalid(serializer.errors)
        asked = serializer.validated_data
    # And what is offered instead is told in the time of that place, as the appointment itself is.
    return replace(_reschedule(conversation, meant.only, asked), zone=there)


def _read_there(
    conversation: Conversation, arguments: Mapping[str, Any], row: Appointment
) -> RescheduleAppointmentSerializer:
    """A time without an offset is one of the place where the appointment is."""
    context = {**conversation.context, "zone": conversation.zone_of(row)}
    return RescheduleAppointmentSerializer(data=arguments, context=context)


def _reschedule(conversation: Conversation, row: Appointment, asked: Mapping[str, Any]) -> Outcome:
    slot: OfferedSlot | None = asked["slot_id"] or None
    if slot and asked["new_start"] and slot.starts_at != asked["new_start"]:
        return Outcome(
            Code.AMBIGUOUS,
            reason="two_times",
            service=row.service,
            alternatives=tuple(sorted((slot.starts_at, asked["new_start"]))),
        )
    start = _wanted_start(asked)
    if start is None:
        return Outcome(Code.INVALID_REQUEST, reason="start_needed", errors={"new_start": "required"})
    if slot and slot.service_id != row.service_id:
        # Cal.com moves a booking within its event type. Anything else is another appointment.
        return Outcome(Code.NOT_ALLOWED, reason="other_service", appointment=row)
    return change.reschedule(
        company=conversation.company,
        call=conversation.call,
        appointment=row,
        start=start,
        now=conversation.now,
        deadline=conversation.deadline,
    )


def cancel_appointment(conversation: Conversation, arguments: Mapping[str, Any]) -> Outcome:
    serializer = CancelAppointmentSerializer(data=arguments, context=conversation.context)
    if not serializer.is_valid():
        return invalid(serializer.errors)
    asked = serializer.validated_data
    meant = _meant(conversation, asked)
    if meant.is_unclear:
        return Outcome(Code.CHECKING, reason="earlier_change")
    if meant.only is None:
        nothing_fits = not (meant.choices or asked["appointment"])
        before = _cancelled_before(conversation, asked) if nothing_fits else None
        return before or _which(conversation, meant, asked)
    if not asked["appointment"] and _cancelled_before(conversation, asked, beside=meant.only):
        # What was just cancelled in this call was called the same. Whether the words are a repeat or mean the
        # next one, they ask.
        return _which(conversation, meant, asked)
    return change.cancel(
        company=conversation.company,
        call=conversation.call,
        appointment=meant.only,
        reason=asked["reason"],
        now=conversation.now,
        deadline=conversation.deadline,
    )


def _meant(conversation: Conversation, asked: Mapping[str, Any]) -> whose_appointment.Meant:
    return whose_appointment.find(
        conversation,
        appointment=asked["appointment"],
        service=asked["service"],
        day=asked["day"] or None,
    )


def _which(conversation: Conversation, meant: whose_appointment.Meant, asked: Mapping[str, Any]) -> Outcome:
    if meant.choices:
        return Outcome(
            Code.NOT_FOUND if meant.is_guess else Code.AMBIGUOUS,
            reason="which_appointment",
            extra={"appointments": list(meant.choices[:MOST_NAMED])},
        )
    if not asked["appointment"]:
        begun = whose_appointment.under_way(conversation, service=asked["service"], day=asked["day"] or None)
        if begun is not None:
            return Outcome(Code.NOT_ALLOWED, reason="begun", service=begun.service)
    withheld = whose_appointment.callers_number(conversation) is None
    return Outcome(Code.NOT_FOUND, reason="number_withheld" if withheld else "no_appointment")


def _moved_before(
    conversation: Conversation, arguments: Mapping[str, Any], asked: Mapping[str, Any]
) -> Outcome | None:
    """What this call has moved is not on its old day any more: moving it there again is a yes."""
    if asked["appointment"] or not _wanted_start(asked):
        return None
    for row in whose_appointment.moved_lately(conversation, service=asked["service"]):
        there = _read_there(conversation, arguments, row)
        if there.is_valid() and _wanted_start(there.validated_data) == row.starts_at:
            return Outcome(Code.RESCHEDULED, appointment=row, service=row.service)
    return None


def _wanted_start(asked: Mapping[str, Any]) -> datetime | None:
    return asked["slot_id"].starts_at if asked["slot_id"] else asked["new_start"] or None


def _may_mean_another(
    conversation: Conversation, asked: Mapping[str, Any], *, row: Appointment, moved: Outcome | None
) -> bool:
    """The same words fit what this call has just moved to this time, and may be a repeat; or what it has just
    cancelled, and the caller would rather have moved.
    """
    if asked["appointment"]:
        return False
    if moved is not None:
        return moved.appointment != row
    return _cancelled_before(conversation, asked, beside=row) is not None


def _cancelled_before(
    conversation: Conversation, asked: Mapping[str, Any], *, beside: Appointment | None = None
) -> Outcome | None:
    """Cancelling twice is a yes."""
    row = whose_appointment.cancelled_lately(
        conversation, service=asked["service"], day=asked["day"] or None, beside=beside
    )
    if row is None:
        return None
    return Outcome(Code.CANCELLED, appointment=row, service=row.service)

"""Changing answers and stored bookings, as faults ask for."""

from __future__ import annotations

from datetime import timedelta
from typing import Any

from booking.calcom.simulator.clock import as_utc
from booking.calcom.simulator.faults import Fault
from booking.calcom.simulator.state import Booking, State

API_NAMES = {
    "title": "title",
    "description": "description",
    "location": "location",
    "cancellationReason": "cancellation_reason",
    "rescheduledFromUid": "rescheduled_from_uid",
    "rescheduledToUid": "rescheduled_to_uid",
    "absentHost": "absent_host",
    "icsUid": "ics_uid",
}
ATTENDEE_NAMES = {
    "attendeeName": "name",
    "attendeeEmail": "email",
    "attendeePhoneNumber": "phone",
    "attendeeTimeZone": "time_zone",
}


def deep_merge(target: dict[str, Any], patch: dict[str, Any]) -> dict[str, Any]:
    merged = dict(target)
    for key, value in patch.items():
        inner = merged.get(key)
        merged[key] = (
            deep_merge(inner, value) if isinstance(inner, dict) and isinstance(value, dict) else value
        )
    return merged


def patched_answer(content: dict[str, Any], fault: Fault) -> dict[str, Any]:
    """The answer after `patch`, `remove` and `patch_envelope`; of a list each booking is patched."""
    data = content.get("data")
    if isinstance(data, dict) and (fault.patch or fault.remove):
        content = {**content, "data": _patched(data, fault)}
    elif isinstance(data, list) and (fault.patch or fault.remove):
        content = {**content, "data": [_patched(each, fault) for each in data]}
    if fault.patch_envelope:
        content = deep_merge(content, fault.patch_envelope)
    return content


def _patched(data: dict[str, Any], fault: Fault) -> dict[str, Any]:
    patched = deep_merge(data, fault.patch or {})
    for path in fault.remove or ():
        *outer, last = path.split(".")
        place = patched
        for key in outer:
            place[key] = dict(place[key])
            place = place[key]
        place.pop(last, None)
    return patched


def patch_booking(state: State, booking: Booking, patch: dict[str, Any]) -> None:
    """Change a stored booking by the names of the API. `metadata` is merged, None empties it.

    Raises KeyError for a name that cannot be changed.
    """
    with state.lock:
        if "start" in patch or "end" in patch or "duration" in patch:
            start = as_utc(patch["start"]) if "start" in patch else booking.start
            length = (
                timedelta(minutes=patch["duration"]) if "duration" in patch else booking.end - booking.start
            )
            end = as_utc(patch["end"]) if "end" in patch else start + length
            state.move_in_place(booking, start=start, end=end)
        for key, value in patch.items():
            if key in ("start", "end", "duration"):
                continue
            if key == "status":
                state.change_status(booking, value)
            elif key == "eventTypeId":
                state.change_event_type(booking, state.event_type(value, booking.account))
            elif key == "metadata":
                booking.metadata = {} if value is None else {**booking.metadata, **value}
            elif key in API_NAMES:
                setattr(booking, API_NAMES[key], value)
            elif key in ATTENDEE_NAMES:
                setattr(booking.attendee, ATTENDEE_NAMES[key], value)
            else:
                raise KeyError(key)
        state.touch(booking)

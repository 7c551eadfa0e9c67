"""What an attempt asks Cal.com for: stored with it before it is sent. Of a new booking it is the body of
`POST /bookings`.

Unknown keys are refused by Cal.com, and metadata must be strings of at most 500 characters.
"""

from __future__ import annotations

from typing import Any
from uuid import UUID

from booking.calcom.objects import write_instant
from booking.intention import Intention
from customers.masking import MASK

# What people said of themselves. Of the attendee only this is not about a person.
_WORDS = ("bookingFieldsResponses", "reason")
_OF_ATTENDEE = ("timeZone", "language")


def create_request(intention: Intention, *, attempt_id: UUID) -> dict[str, Any]:
    service = intention.service
    attendee: dict[str, str] = {
        "name": intention.attendee_name,
        "timeZone": intention.company.zone_at(intention.branch).key,
        "language": intention.company.language,
    }
    if intention.attendee_phone:
        attendee["phoneNumber"] = intention.attendee_phone
    if intention.attendee_email:
        attendee["email"] = intention.attendee_email
    body: dict[str, Any] = {
        "eventTypeId": service.calcom_event_type_id,
        "start": write_instant(intention.starts_at),
        "attendee": attendee,
        "metadata": {
            "call_id": intention.call.retell_call_id,
            "attempt_id": str(attempt_id),
            "idempotency_key": intention.key,
            "company": intention.company.slug,
        },
    }
    if service.has_several_lengths:
        body["lengthInMinutes"] = service.duration_minutes
    if intention.notes and service.accepts_notes:
        body["bookingFieldsResponses"] = {"notes": intention.notes}
    return body


def without_people(request: dict[str, Any]) -> dict[str, Any]:
    """A request as it may be shown where one is looked for: that a name, a number or a note was sent is
    seen, and not which.
    """
    shown = {key: MASK if key in _WORDS and value else value for key, value in request.items()}
    if isinstance(attendee := request.get("attendee"), dict):
        shown["attendee"] = {key: value if key in _OF_ATTENDEE else MASK for key, value in attendee.items()}
    return shown

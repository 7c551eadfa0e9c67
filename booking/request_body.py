"""The body of `POST /bookings`. It is stored with the attempt before it is sent.

Unknown keys are refused by Cal.com, and metadata must be strings of at most 500 characters.
"""

from __future__ import annotations

from typing import Any
from uuid import UUID

from booking.calcom.objects import write_instant
from booking.intention import Intention


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

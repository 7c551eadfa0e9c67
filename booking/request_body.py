"""The body of `POST /bookings`. It is stored with the attempt before it is sent.

Unknown keys are refused by Cal.com, and metadata must be strings of at most 500 characters.
"""

from __future__ import annotations

from datetime import UTC, datetime
from typing import TYPE_CHECKING, Any
from uuid import UUID

if TYPE_CHECKING:
    from booking.attempts import Intention


def create_request(intention: Intention, *, attempt_id: UUID) -> dict[str, Any]:
    service = intention.service
    zone = intention.branch.timezone if intention.branch and intention.branch.timezone else ""
    attendee: dict[str, str] = {
        "name": intention.attendee_name,
        "timeZone": zone or intention.company.timezone,
        "language": intention.company.language,
    }
    if intention.attendee_phone:
        attendee["phoneNumber"] = intention.attendee_phone
    if intention.attendee_email:
        attendee["email"] = intention.attendee_email
    body: dict[str, Any] = {
        "eventTypeId": service.calcom_event_type_id,
        "start": calcom_instant(intention.starts_at),
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


def calcom_instant(instant: datetime) -> str:
    """UTC with a Z. Without an offset Cal.com would read it in its server's zone."""
    return instant.astimezone(UTC).strftime("%Y-%m-%dT%H:%M:%S.000Z")

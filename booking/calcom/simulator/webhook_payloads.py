"""The bodies of Cal.com's webhooks, each event with the keys it was recorded to have.

The events differ more than one expects: metadata is missing on BOOKING_CANCELLED, BOOKING_REJECTED and on the
BOOKING_CREATED of a confirmation, dates come in three spellings, and labels differ.
"""

from __future__ import annotations

import uuid
from collections.abc import Callable
from datetime import datetime
from typing import Any
from zoneinfo import ZoneInfo

from booking.calcom.simulator.clock import millisecond_text, offset_text, second_text
from booking.calcom.simulator.payloads import scheduling_type
from booking.calcom.simulator.state import Attendee, Booking

Spelling = Callable[[datetime], str]

BOOKER_URL = "http://localhost:3000"


def _utc_offset(zone: str, moment: datetime) -> int:
    offset = moment.astimezone(ZoneInfo(zone)).utcoffset()
    return int(offset.total_seconds() // 60) if offset else 0


def _organizer(booking: Booking) -> dict[str, Any]:
    host = booking.host
    return {
        "id": host.id,
        "name": host.name,
        "email": host.email,
        "username": host.username,
        "timeZone": host.time_zone,
        "language": {"locale": "en"},
        "timeFormat": "h:mma",
        "utcOffset": _utc_offset(host.time_zone, booking.start),
    }


def _attendee(booking: Booking, attendee: Attendee) -> dict[str, Any]:
    return {
        "name": attendee.name,
        "email": attendee.email,
        "timeZone": attendee.time_zone,
        "phoneNumber": attendee.phone,
        "language": {"locale": attendee.language},
        "utcOffset": _utc_offset(attendee.time_zone, booking.start),
    }


def _fresh_attendee(booking: Booking, attendee: Attendee) -> dict[str, Any]:
    data = {**_attendee(booking, attendee), "firstName": "", "lastName": ""}
    if attendee.phone is None:
        del data["phoneNumber"]
    return data


def _requesting_attendee(booking: Booking, attendee: Attendee) -> dict[str, Any]:
    first, _, last = attendee.name.partition(" ")
    return {**_attendee(booking, attendee), "bookingSeat": None, "firstName": first, "lastName": last}


def _answer(label: str, value: Any = None, *, hidden: bool | None = False) -> dict[str, Any]:
    answer: dict[str, Any] = {"label": label}
    if value is not None:
        answer["value"] = value
    answer["isHidden"] = hidden
    return answer


def _stored_responses(attendee: Attendee) -> dict[str, Any]:
    return {
        "name": _answer("your_name", attendee.name),
        "email": _answer("email_address", attendee.email),
        "attendeePhoneNumber": _answer("phone_number", attendee.phone),
    }


def _fresh_responses(booking: Booking, attendee: Attendee) -> dict[str, Any]:
    notes = booking.responses.get("notes")
    return {
        "location": _answer("location", {"value": booking.location, "optionValue": ""}),
        **_stored_responses(attendee),
        "title": _answer("what_is_this_meeting_about", hidden=True),
        "notes": _answer("additional_notes", notes),
        "guests": _answer("additional_guests", booking.guests or None),
        "rescheduleReason": _answer("reason_for_reschedule"),
    }


def _common(booking: Booking, spelling: Spelling) -> dict[str, Any]:
    event_type = booking.event_type
    data: dict[str, Any] = {
        "bookerUrl": BOOKER_URL,
        "title": booking.title,
        "startTime": spelling(booking.start),
        "endTime": spelling(booking.end),
        "type": event_type.slug,
        "organizer": _organizer(booking),
        "additionalNotes": booking.responses.get("notes", ""),
        "description": "",
        "eventTypeId": event_type.id,
        "hideOrganizerEmail": False,
        "seatsPerTimeSlot": event_type.seats,
        "customReplyToEmail": None,
        "customInputs": {},
        "userFieldsResponses": {},
        "location": booking.location,
        "hideBranding": False,
        "uid": booking.uid,
        "eventTitle": event_type.title,
        "eventDescription": None,
        "currency": "usd",
        "length": booking.minutes,
        "bookingId": booking.id,
    }
    if event_type.is_team:
        data["team"] = {
            "id": event_type.account.team_id,
            "name": event_type.account.name,
            "members": [],
        }
    return data


def _fresh(booking: Booking, attendee: Attendee, spelling: Spelling) -> dict[str, Any]:
    """What CREATED, RESCHEDULED and REQUESTED have in common: the payload built while booking."""
    return {
        **_common(booking, spelling),
        "hideCalendarNotes": False,
        "hideCalendarEventDetails": False,
        "schedulingType": scheduling_type(booking.event_type),
        "seatsShowAttendees": True,
        "seatsShowAvailabilityCount": True,
        "disableRescheduling": False,
        "disableCancelling": False,
        "destinationCalendar": None,
        "iCalUID": booking.ics_uid,
        "iCalSequence": booking.ics_sequence,
        "hashedLink": None,
        "price": booking.event_type.price,
        "metadata": _webhook_metadata(booking, attendee),
    }


def _webhook_metadata(booking: Booking, attendee: Attendee) -> dict[str, Any]:
    """With seats the first booker's metadata is merged with this one's."""
    if booking.event_type.seats is None:
        return dict(booking.metadata)
    return {**booking.metadata, **attendee.metadata}


def created(booking: Booking, attendee: Attendee) -> dict[str, Any]:
    payload = {
        **_fresh(booking, attendee, second_text),
        "attendees": [_fresh_attendee(booking, attendee)],
        "responses": _fresh_responses(booking, attendee),
        "requiresConfirmation": False,
        "oneTimePassword": None,
        "status": "ACCEPTED",
    }
    if attendee.seat_uid is not None:
        payload["attendeeSeatId"] = attendee.seat_uid
    return payload


def payment_initiated(booking: Booking, attendee: Attendee) -> dict[str, Any]:
    return {**created(booking, attendee), "status": "PENDING", "paymentId": booking.id}


def rescheduled(booking: Booking, original: Booking) -> dict[str, Any]:
    payload = {
        **created(booking, booking.attendee),
        "appsStatus": [],
        "rescheduleId": original.id,
        "rescheduleUid": original.uid,
        "rescheduleStartTime": second_text(original.start),
        "rescheduleEndTime": second_text(original.end),
    }
    del payload["iCalUID"]
    if original.rescheduled_by is not None:
        payload["rescheduledBy"] = original.rescheduled_by
    return payload


def requested(booking: Booking) -> dict[str, Any]:
    """Also sent when an unauthenticated person moves a confirmation type: without any link to the
    original.
    """
    attendee = booking.attendee
    return {
        **_fresh(booking, attendee, millisecond_text),
        "attendees": [_requesting_attendee(booking, attendee)],
        "responses": _stored_responses(attendee),
        "requiresConfirmation": True,
        "oneTimePassword": str(uuid.uuid4()),
        "platformClientId": "",
        "platformRescheduleUrl": "",
        "platformCancelUrl": "",
        "platformBookingUrl": "",
        "organizationId": None,
        "assignmentReason": [],
        "status": "PENDING",
    }


def _decided(booking: Booking) -> dict[str, Any]:
    """What a confirmation and a rejection have in common: no iCal fields, no scheduling type."""
    attendee = booking.attendee
    return {
        **_common(booking, millisecond_text),
        "hideCalendarNotes": False,
        "hideCalendarEventDetails": False,
        "seatsShowAttendees": False,
        "disableRescheduling": False,
        "disableCancelling": False,
        "destinationCalendar": [],
        "price": booking.event_type.price,
        "attendees": [_attendee(booking, attendee)],
        "responses": _stored_responses(attendee),
        "requiresConfirmation": True,
        "organizationId": None,
        "assignmentReason": None,
    }


def confirmed(booking: Booking) -> dict[str, Any]:
    """The BOOKING_CREATED of a confirmation: its metadata is empty whatever was booked."""
    return {**_decided(booking), "metadata": {}, "status": "ACCEPTED"}


def paid(booking: Booking) -> dict[str, Any]:
    metadata = {
        "identifier": "cal.com",
        "bookingId": booking.id,
        "eventTypeId": booking.event_type.id,
        "bookerEmail": booking.attendee.email,
        "eventTitle": booking.event_type.title,
        "externalId": None,
    }
    return {**confirmed(booking), "metadata": metadata, "paymentId": booking.id}


def rejected(booking: Booking, reason: str | None) -> dict[str, Any]:
    payload = {**_decided(booking), "status": "REJECTED"}
    if reason is not None:
        payload["rejectionReason"] = reason
    return payload


def cancelled(booking: Booking, *, reason: str | None, attendees: list[Attendee]) -> dict[str, Any]:
    payload = {
        **_common(booking, offset_text),
        "attendees": [_attendee(booking, attendee) for attendee in attendees],
        "responses": _stored_responses(attendees[0]),
        "destinationCalendar": [],
        "seatsShowAttendees": False,
        "iCalUID": booking.ics_uid,
        "iCalSequence": booking.ics_sequence + 1,
        "schedulingType": scheduling_type(booking.event_type),
        "requiresConfirmation": True if booking.event_type.requires_confirmation else None,
        "price": None,
        "status": "CANCELLED",
        "requestReschedule": False,
    }
    if reason:
        payload["cancellationReason"] = reason
    return payload


def no_show(booking: Booking, attendees: list[Attendee]) -> dict[str, Any]:
    verdict = "marked" if all(attendee.absent for attendee in attendees) else "unmarked"
    emails = ", ".join(attendee.email for attendee in attendees)
    return {
        "message": f"{emails} {verdict} as no-show",
        "attendees": [{"email": attendee.email, "noShow": attendee.absent} for attendee in attendees],
        "bookingUid": booking.uid,
        "bookingId": booking.id,
    }


def meeting(trigger: str, booking: Booking) -> dict[str, Any]:
    """MEETING_STARTED or MEETING_ENDED: the whole body, flat, without `payload`.

    Cal.com writes it when the booking is made and sends it unchanged: it shows the status of then.
    """
    host = booking.host
    return {
        "triggerEvent": trigger,
        "createdAt": millisecond_text(booking.created_at),
        "id": booking.id,
        "uid": booking.uid,
        "userId": host.id,
        "eventTypeId": booking.event_type.id,
        "title": booking.title,
        "startTime": millisecond_text(booking.start),
        "endTime": millisecond_text(booking.end),
        "status": "PENDING" if booking.event_type.needs_confirmation else "ACCEPTED",
        "metadata": dict(booking.metadata),
        "responses": {key: value for key, value in booking.responses.items() if key != "displayEmail"},
        "location": booking.location,
        "iCalUID": booking.ics_uid,
        "idempotencyKey": None,
        "smsReminderNumber": None,
        "user": {"email": host.email, "name": host.name, "timeZone": host.time_zone, "locale": "en"},
        "attendees": [
            {
                "id": attendee.id,
                "email": attendee.email,
                "name": attendee.name,
                "phoneNumber": attendee.phone,
                "timeZone": attendee.time_zone,
                "locale": attendee.language,
                "noShow": False,
            }
            for attendee in booking.attendees
        ],
        "payment": [],
        "references": [],
    }


def ping(now: datetime) -> dict[str, Any]:
    """What the "test" button of the web page sends."""
    return {
        "type": "Test",
        "title": "Test trigger event",
        "startTime": millisecond_text(now),
        "endTime": millisecond_text(now),
        "attendees": [
            {
                "email": "jdoe@example.com",
                "name": "John Doe",
                "timeZone": "Europe/London",
                "language": {"locale": "en"},
            }
        ],
        "organizer": {
            "name": "Cal",
            "email": "no-reply@cal.com",
            "timeZone": "Europe/London",
            "language": {"locale": "en"},
        },
    }

"""Stored records as the API shows them."""

from __future__ import annotations

from typing import Any

from booking.calcom.simulator.clock import millisecond_text
from booking.calcom.simulator.state import (
    COLLECTIVE,
    Account,
    Attendee,
    Booking,
    EventType,
    Host,
    Reservation,
    Webhook,
)

# stored in metadata, shown as the location instead
HIDDEN_METADATA = "videoCallUrl"


def visible_metadata(metadata: dict[str, Any]) -> dict[str, Any]:
    return {key: value for key, value in metadata.items() if key != HIDDEN_METADATA}


def booking_json(
    booking: Booking, *, made_by_this_request: bool = False, seat_uid: str | None = None
) -> dict[str, Any]:
    """A booking in version 2024-08-13. Fields that are unset are absent, not null.

    `made_by_this_request`: the answers to create and reschedule carry one key more.
    """
    event_type, host = booking.event_type, booking.host
    # a snapshot: with seats somebody may join meanwhile
    attendees = list(booking.attendees)
    data: dict[str, Any] = {
        "id": booking.id,
        "uid": booking.uid,
        "title": booking.title,
        "description": booking.description,
        "hosts": [
            {
                "id": host.id,
                "name": host.name,
                "email": host.email,
                "displayEmail": host.email,
                "username": host.username,
                "timeZone": host.time_zone,
            }
        ],
        "status": booking.status,
        "cancellationReason": booking.cancellation_reason or "",
        "cancelledByEmail": "",
        "rescheduledByEmail": booking.rescheduled_by,
        "start": millisecond_text(booking.start),
        "end": millisecond_text(booking.end),
        "duration": booking.minutes,
        "eventTypeId": event_type.id,
        "eventType": {"id": event_type.id, "slug": event_type.slug},
        "meetingUrl": booking.location,
        "location": booking.location,
        "absentHost": booking.absent_host,
        "createdAt": millisecond_text(booking.created_at),
        "updatedAt": millisecond_text(booking.updated_at),
        "rating": None,
        "icsUid": booking.ics_uid,
        "attendees": [_attendee_json(attendee) for attendee in attendees],
    }
    if booking.rescheduling_reason is not None:
        data["reschedulingReason"] = booking.rescheduling_reason
    if booking.rescheduled_from_uid is not None:
        data["rescheduledFromUid"] = booking.rescheduled_from_uid
    if booking.rescheduled_to_uid is not None:
        data["rescheduledToUid"] = booking.rescheduled_to_uid
    if event_type.seats is None:
        data["metadata"] = visible_metadata(booking.metadata)
        data["bookingFieldsResponses"] = booking.responses
        if booking.guests:
            data["guests"] = booking.guests
    else:
        for shown, attendee in zip(data["attendees"], attendees, strict=True):
            shown["seatUid"] = attendee.seat_uid
            shown["metadata"] = visible_metadata(attendee.metadata)
            shown["bookingFieldsResponses"] = attendee.responses
        if seat_uid is not None:
            data["seatUid"] = seat_uid
    if made_by_this_request:
        data["isPlatformManagedUserBooking"] = False
    return data


def _attendee_json(attendee: Attendee) -> dict[str, Any]:
    data = {
        "name": attendee.name,
        "email": attendee.email,
        "displayEmail": attendee.email,
        "timeZone": attendee.time_zone,
        "language": attendee.language,
        "absent": attendee.absent,
    }
    if attendee.phone is not None:
        data["phoneNumber"] = attendee.phone
    return data


def pagination(*, total: int, take: int, skip: int) -> dict[str, Any]:
    """Computed from the total, not counted from the page: as at Cal.com it may contradict the data."""
    pages = -(-total // take)
    page = min(skip // take + 1, pages)
    return {
        "returnedItems": max(0, min(take, total - skip)),
        "totalItems": total,
        "itemsPerPage": take,
        "remainingItems": max(0, total - (skip + take)),
        "currentPage": page,
        "totalPages": pages,
        "hasNextPage": page < pages,
        "hasPreviousPage": page > 1,
    }


def me_json(account: Account) -> dict[str, Any]:
    owner = account.owner
    return {
        "id": owner.id,
        "email": owner.email,
        "name": owner.name,
        "avatarUrl": None,
        "bio": None,
        "timeFormat": 12,
        "defaultScheduleId": owner.schedule_id,
        "weekStart": "Sunday",
        "timeZone": owner.time_zone,
        "username": owner.username,
        "organizationId": None,
    }


def event_type_json(event_type: EventType, *, with_hidden_fields: bool) -> dict[str, Any]:
    """An event type in version 2024-06-14. The list leaves hidden booking fields out, reading by id does
    not.
    """
    data: dict[str, Any] = {
        "id": event_type.id,
        "ownerId": event_type.account.owner.id,
        "lengthInMinutes": event_type.minutes,
        "title": event_type.title,
        "slug": event_type.slug,
        "description": "",
        "locations": [{"type": "address", "address": event_type.location, "public": False}],
        "bookingFields": _booking_fields(event_type, with_hidden_fields=with_hidden_fields),
        "recurrence": None,
        "disableGuests": False,
        "slotInterval": event_type.slot_interval,
        "minimumBookingNotice": event_type.minimum_notice_minutes,
        "beforeEventBuffer": event_type.buffer_before,
        "afterEventBuffer": event_type.buffer_after,
        "metadata": {},
        "price": event_type.price,
        "currency": "usd",
        "lockTimeZoneToggleOnBookingPage": False,
        "forwardParamsSuccessRedirect": True,
        "successRedirectUrl": None,
        "isInstantEvent": False,
        "users": [_user_json(host) for host in event_type.hosts],
        "scheduleId": None,
        "onlyShowFirstAvailableSlot": False,
        "offsetStart": 0,
        "bookingWindow": _booking_window(event_type),
        "confirmationPolicy": (
            {"type": "always", "blockUnconfirmedBookingsInBooker": False}
            if event_type.requires_confirmation
            else {"disabled": True}
        ),
        "requiresBookerEmailVerification": False,
        "hideCalendarNotes": False,
        "seats": _seats(event_type),
        "useDestinationCalendarEmail": False,
        "hideCalendarEventDetails": False,
        "hideOrganizerEmail": False,
        "calVideoSettings": {"sendTranscriptionEmails": True},
        "hidden": event_type.hidden,
        "bookingRequiresAuthentication": False,
        "bookerActiveBookingsLimit": (
            {"disabled": True}
            if event_type.booker_limit is None
            else {"maximumActiveBookings": event_type.booker_limit, "offerReschedule": False}
        ),
        "bookingUrl": f"http://localhost:3000/{event_type.account.owner.username}/{event_type.slug}",
        "disableCancelling": {"disabled": False},
        "disableRescheduling": {"disabled": False},
        "interfaceLanguage": None,
        "allowReschedulingPastBookings": False,
        "allowReschedulingCancelledBookings": False,
        "showOptimizedSlots": False,
    }
    if event_type.lengths:
        data["lengthInMinutesOptions"] = event_type.lengths
    if event_type.is_team:
        del data["users"]
        data.update(_team_fields(event_type))
    return data


def team_json(account: Account) -> dict[str, Any]:
    """The account's only team, as in the documentation of `GET /v2/teams`."""
    return {
        "id": account.team_id,
        "name": account.name,
        "slug": account.name,
        "isOrganization": False,
        "timeZone": account.owner.time_zone,
        "weekStart": "Sunday",
        "hideBranding": False,
    }


def _team_fields(event_type: EventType) -> dict[str, Any]:
    return {
        "ownerId": None,
        "hosts": [
            {
                "mandatory": False,
                "priority": "medium",
                "userId": host.id,
                "name": host.name,
                "username": host.username,
                "avatarUrl": None,
            }
            for host in event_type.hosts
        ],
        "teamId": event_type.account.team_id,
        "parentEventTypeId": None,
        "schedulingType": "collective" if event_type.scheduling == COLLECTIVE else "roundRobin",
        "assignAllTeamMembers": False,
        "team": {"id": event_type.account.team_id},
        "rescheduleWithSameRoundRobinHost": False,
        "rrHostSubsetEnabled": False,
    }


def _booking_fields(event_type: EventType, *, with_hidden_fields: bool) -> list[dict[str, Any]]:
    fields: list[dict[str, Any]] = [
        {
            "isDefault": True,
            "type": "name",
            "slug": "name",
            "required": True,
            "disableOnPrefill": False,
        },
        {
            "isDefault": True,
            "type": "email",
            "slug": "email",
            "required": event_type.email_required,
            "disableOnPrefill": False,
            "hidden": event_type.email_hidden,
        },
        {
            "isDefault": True,
            "type": "phone",
            "slug": "attendeePhoneNumber",
            "required": event_type.phone_required,
            "disableOnPrefill": False,
            "hidden": False,
        },
    ]
    return [field for field in fields if with_hidden_fields or not field.get("hidden")]


def _booking_window(event_type: EventType) -> dict[str, Any]:
    if event_type.booking_window_days is None:
        return {"disabled": True}
    return {"type": "calendarDays", "value": event_type.booking_window_days, "rolling": False}


def _seats(event_type: EventType) -> dict[str, Any]:
    if event_type.seats is None:
        return {"disabled": True}
    return {
        "seatsPerTimeSlot": event_type.seats,
        "showAttendeeInfo": False,
        "showAvailabilityCount": True,
    }


def _user_json(host: Host) -> dict[str, Any]:
    return {
        "id": host.id,
        "name": host.name,
        "username": host.username,
        "avatarUrl": None,
        "brandColor": None,
        "darkBrandColor": None,
        "weekStart": "Sunday",
        "metadata": {},
    }


def reservation_json(reservation: Reservation, *, with_duration: bool) -> dict[str, Any]:
    data = {
        "eventTypeId": reservation.event_type.id,
        "slotStart": millisecond_text(reservation.start),
        "slotEnd": millisecond_text(reservation.end),
        "slotDuration": int((reservation.end - reservation.start).total_seconds() // 60),
        "reservationUid": reservation.uid,
        "reservationUntil": millisecond_text(reservation.until),
    }
    if with_duration:
        data["reservationDuration"] = reservation.duration
    return data


def webhook_json(webhook: Webhook) -> dict[str, Any]:
    """A subscription as create, list, change and delete show it."""
    data: dict[str, Any] = {
        "id": webhook.id,
        "payloadTemplate": webhook.payload_template,
        "triggers": webhook.triggers,
        "subscriberUrl": webhook.url,
        "active": webhook.active,
        "secret": webhook.secret,
    }
    if webhook.event_type_id is None:
        data["userId"] = webhook.account.owner.id
    else:
        data["eventTypeId"] = webhook.event_type_id
    return data


def user_webhook_row(webhook: Webhook) -> dict[str, Any]:
    """A user's subscription as GET /v2/webhooks/{id} shows it: the whole row, unlike everywhere else."""
    return {
        "id": webhook.id,
        "userId": webhook.account.owner.id,
        "teamId": None,
        "eventTypeId": None,
        "subscriberUrl": webhook.url,
        "payloadTemplate": webhook.payload_template,
        "createdAt": millisecond_text(webhook.created_at),
        "active": webhook.active,
        "appId": None,
        "secret": webhook.secret,
        "platform": False,
        "time": None,
        "timeUnit": None,
        "version": webhook.version,
        "triggers": webhook.triggers,
        "oAuthClientId": None,
    }


# --- the 2024-04-15 shapes, given when the version header is missing or unknown


def old_booking_json(booking: Booking) -> dict[str, Any]:
    event_type = booking.event_type
    host = booking.host
    return {
        "id": booking.id,
        "title": booking.title,
        "userPrimaryEmail": host.email,
        "description": booking.description,
        "customInputs": {},
        "startTime": millisecond_text(booking.start),
        "createdAt": millisecond_text(booking.created_at),
        "updatedAt": millisecond_text(booking.updated_at),
        "endTime": millisecond_text(booking.end),
        "metadata": booking.metadata,
        "uid": booking.uid,
        "responses": {key: value for key, value in booking.responses.items() if key != "displayEmail"},
        "recurringEventId": None,
        "location": booking.location,
        "status": booking.status.upper(),
        "paid": False,
        "fromReschedule": booking.rescheduled_from_uid,
        "rescheduled": True if booking.rescheduled_to_uid else None,
        "rescheduledBy": booking.rescheduled_by,
        "cancelledBy": None,
        "isRecorded": False,
        "cancellationReason": booking.cancellation_reason,
        "rejectionReason": booking.rejection_reason,
        "eventType": _old_event_type_json(event_type),
        "references": [],
        "payment": [],
        "user": {
            "id": host.id,
            "name": host.name,
            "email": host.email,
            "avatarUrl": None,
            "username": host.username,
            "timeZone": host.time_zone,
        },
        "attendees": [_old_attendee_json(booking, attendee) for attendee in booking.attendees],
        "seatsReferences": [],
        "assignmentReasonSortedByCreatedAt": [],
        "report": None,
        "rescheduler": None,
    }


def _old_attendee_json(booking: Booking, attendee: Attendee) -> dict[str, Any]:
    return {
        "id": attendee.id,
        "email": attendee.email,
        "name": attendee.name,
        "timeZone": attendee.time_zone,
        "bookingId": booking.id,
        "locale": attendee.language,
        "phoneNumber": attendee.phone,
        "noShow": attendee.absent,
        "user": {"name": None, "email": attendee.email, "avatarUrl": None, "username": None},
    }


def _old_event_type_json(event_type: EventType) -> dict[str, Any]:
    source = [{"id": "default", "type": "default", "label": "Default"}]
    return {
        "slug": event_type.slug,
        "id": event_type.id,
        "title": event_type.title,
        "eventName": None,
        "price": event_type.price,
        "recurringEvent": None,
        "currency": "usd",
        "metadata": {},
        "disableGuests": False,
        "bookingFields": [
            {
                "name": "name",
                "type": "name",
                "sources": source,
                "editable": "system",
                "required": True,
                "defaultLabel": "your_name",
            },
            {
                "name": "email",
                "type": "email",
                "sources": source,
                "editable": "system-but-optional",
                "required": event_type.email_required,
                "defaultLabel": "email_address",
            },
            {
                "name": "attendeePhoneNumber",
                "type": "phone",
                "hidden": False,
                "sources": source,
                "editable": "system-but-optional",
                "required": event_type.phone_required,
                "defaultLabel": "phone_number",
            },
        ],
        "seatsPerTimeSlot": event_type.seats,
        "seatsShowAttendees": False,
        "seatsShowAvailabilityCount": True,
        "eventTypeColor": None,
        "customReplyToEmail": None,
        "allowReschedulingPastBookings": False,
        "hideOrganizerEmail": False,
        "disableCancelling": False,
        "disableRescheduling": False,
        "minimumRescheduleNotice": None,
        "teamId": event_type.account.team_id if event_type.is_team else None,
        "parentId": None,
        "schedulingType": scheduling_type(event_type),
        "hosts": [],
        "length": event_type.minutes,
        "team": None,
        "hostGroups": [],
    }


def scheduling_type(event_type: EventType) -> str | None:
    """The core's name of it, as webhooks and the old API use it."""
    return event_type.scheduling.upper() if event_type.is_team else None


def old_list_json(bookings: list[Booking]) -> dict[str, Any]:
    return {
        "bookings": [old_booking_json(booking) for booking in bookings],
        "recurringInfo": [],
        "totalCount": len(bookings),
        "nextCursor": None,
    }

"""What we read of Cal.com's answers (the fields we use, checked, nothing else), and how it is told a time."""

from __future__ import annotations

import re
from collections.abc import Mapping
from dataclasses import dataclass, field
from datetime import UTC, datetime
from typing import Any, TypeVar

from customers.years import FIRST_YEAR, LAST_YEAR

# Every word Cal.com has for what becomes of a booking. Any other one says neither that it stands nor that it
# does not.
STATUSES = frozenset({"accepted", "pending", "awaiting_host", "cancelled", "rejected"})
LONGEST_UID = 128  # of our columns; Cal.com's have 22 characters
# As it may become part of an address, or of a line: where somebody else has written it down.
is_uid = re.compile(rf"[A-Za-z0-9_-]{{1,{LONGEST_UID}}}").fullmatch
# What Cal.com makes up for an attendee with a phone number and no address. Nobody reads what is sent there.
_is_made_up = re.compile(r"[0-9]+@sms\.cal\.com", re.IGNORECASE).fullmatch
_LARGEST_NUMBER = 2**63 - 1  # of our columns
_MOST_MINUTES = 2**31 - 1  # of theirs, and of our columns

T = TypeVar("T")


class Unreadable(ValueError):
    """An answer without the fields it must have."""


@dataclass(frozen=True)
class Attendee:
    name: str
    email: str
    phone: str
    is_absent: bool = False


@dataclass(frozen=True)
class Booking:
    """https://cal.com/docs/api-reference/v2/bookings/get-a-booking. Instants are UTC."""

    id: int | None
    uid: str
    status: str
    start: datetime
    end: datetime
    event_type_id: int | None
    created_at: datetime | None
    updated_at: datetime | None
    metadata: Mapping[str, str] = field(default_factory=dict)
    attendees: tuple[Attendee, ...] = ()
    rescheduled_from_uid: str = ""
    rescheduled_to_uid: str = ""
    cancellation_reason: str = ""

    @property
    def is_active(self) -> bool:
        """Whether it occupies the calendar: accepted, or waiting for the host."""
        return self.status in ("accepted", "pending", "awaiting_host")

    @property
    def waits_for_host(self) -> bool:
        return self.status in ("pending", "awaiting_host")

    @property
    def is_no_show(self) -> bool:
        """Whether the host marked whoever booked as absent."""
        return bool(self.attendees) and self.attendees[0].is_absent


@dataclass(frozen=True)
class EventType:
    """https://cal.com/docs/api-reference/v2/event-types/get-an-event-type."""

    id: int
    length_minutes: int
    lengths_minutes: tuple[int, ...]
    scheduling: str
    requires_confirmation: bool
    has_seats: bool
    is_paid: bool
    email_required: bool
    accepts_notes: bool
    is_recurring: bool
    phone_required: bool = False
    minimum_notice_minutes: int = 0
    buffer_before_minutes: int = 0
    buffer_after_minutes: int = 0
    title: str = ""
    slug: str = ""
    team_id: int | None = None


def read_instant(value: Any) -> datetime:
    """Cal.com spells UTC three ways: …Z, ….000Z and …+00:00. Raises Unreadable."""
    if not isinstance(value, str):
        raise Unreadable(f"not a time: {type(value).__name__}")
    try:
        instant = datetime.fromisoformat(value)
    except ValueError:
        raise Unreadable("not a time") from None
    if instant.tzinfo is None:
        raise Unreadable("a time without an offset")
    if not FIRST_YEAR <= instant.year <= LAST_YEAR:
        raise Unreadable("a time beyond all calendars")
    return instant.astimezone(UTC)


def write_instant(instant: datetime) -> str:
    """UTC with a Z. Without an offset Cal.com would read it in its server's zone."""
    return instant.astimezone(UTC).strftime("%Y-%m-%dT%H:%M:%S.000Z")


def read_status(value: Any) -> str:
    """One of `STATUSES`; raises Unreadable."""
    status = _text(value).strip().lower()
    if status not in STATUSES:
        raise Unreadable("a status nobody knows")
    return status


def read_booking(data: Any) -> Booking:
    """One booking of an answer; raises Unreadable."""
    if not isinstance(data, dict):
        raise Unreadable(f"a booking is an object, not {type(data).__name__}")
    uid = _uid(data.get("uid"))
    if not uid:
        raise Unreadable("a booking without uid")
    attendees = _objects(data.get("attendees"))
    return Booking(
        id=_integer(data.get("id")),
        uid=uid,
        status=read_status(data.get("status")),
        start=read_instant(data.get("start")),
        end=read_instant(data.get("end")),
        event_type_id=read_event_type_id(data),
        created_at=_optional_instant(data.get("createdAt")),
        updated_at=_optional_instant(data.get("updatedAt")),
        metadata=_read_metadata(data, attendees),
        attendees=tuple(
            Attendee(
                name=_text(a.get("name")),
                email=_address(a.get("email")),
                phone=_text(a.get("phoneNumber")),
                is_absent=a.get("absent") is True,
            )
            for a in attendees
        ),
        rescheduled_from_uid=_uid(data.get("rescheduledFromUid")),
        rescheduled_to_uid=_uid(data.get("rescheduledToUid")),
        cancellation_reason=_text(data.get("cancellationReason")),
    )


def has_seat(booking: Mapping[str, Any], seat_uid: str) -> bool:
    """Whether one of its attendees sits there."""
    return any(each.get("seatUid") == seat_uid for each in _objects(booking.get("attendees")))


def read_event_type_id(booking: Mapping[str, Any]) -> int | None:
    """Of a booking of an answer; None where it cannot be told. `eventTypeId` is called deprecated."""
    number = _integer(booking.get("eventTypeId"))
    if number:
        return number
    event_type = booking.get("eventType")
    return _integer(event_type.get("id")) if isinstance(event_type, dict) else None


def read_event_type(data: Any) -> EventType:
    """One event type of an answer; raises Unreadable, also where something that decides how it may be booked
    is spelled in another way: what is passed over would count as a type of which every repetition is
    harmless.
    """
    number = read_id(data)
    confirmation = _optional(data, "confirmationPolicy", dict)
    seats = _optional(data, "seats", dict)
    recurrence = _optional(data, "recurrence", dict)
    fields = _objects(_optional(data, "bookingFields", list))
    email = next((f for f in fields if f.get("slug") == "email" or f.get("type") == "email"), {})
    phone = next((f for f in fields if f.get("slug") == "attendeePhoneNumber"), {})
    return EventType(
        id=number,
        length_minutes=_length(data.get("lengthInMinutes") or 0),
        lengths_minutes=tuple(map(_length, _optional(data, "lengthInMinutesOptions", list) or ())),
        scheduling=(_optional(data, "schedulingType", str) or "").lower().replace("_", ""),
        requires_confirmation=_is_on(confirmation),
        has_seats=_is_on(seats),
        is_paid=bool(data.get("price")),
        email_required=bool(email.get("required")) and not email.get("hidden"),
        is_recurring=_is_on(recurrence),
        accepts_notes=any(f.get("slug") == "notes" and not f.get("hidden") for f in fields),
        phone_required=bool(phone.get("required")) and not phone.get("hidden"),
        minimum_notice_minutes=_minutes(data.get("minimumBookingNotice")),
        buffer_before_minutes=_minutes(data.get("beforeEventBuffer")),
        buffer_after_minutes=_minutes(data.get("afterEventBuffer")),
        title=_text(data.get("title")),
        slug=_text(data.get("slug")),
        team_id=_integer(data.get("teamId")),
    )


def read_id(data: Any) -> int:
    """Of an event type, or of a team; raises Unreadable."""
    number = _integer(data.get("id")) if isinstance(data, dict) else None
    if number is None or number < 1:
        raise Unreadable("something without id")
    return number


def _read_metadata(data: dict[str, Any], attendees: list[dict[str, Any]]) -> dict[str, str]:
    metadata = data.get("metadata")
    if not isinstance(metadata, dict) and data.get("seatUid"):
        # A seat's metadata is its attendee's; the booking belongs to whoever came first.
        seat = next((a for a in attendees if a.get("seatUid") == data["seatUid"]), {})
        metadata = seat.get("metadata")
    if not isinstance(metadata, dict):
        return {}
    return {key: value for key, value in metadata.items() if isinstance(value, str)}


def _text(value: Any) -> str:
    return value if isinstance(value, str) else ""


def _address(value: Any) -> str:
    """Blank where there is none of the attendee's own."""
    address = _text(value)
    return "" if _is_made_up(address) else address


def _uid(value: Any) -> str:
    """Blank where there is none."""
    uid = _text(value)
    if len(uid) > LONGEST_UID or not uid.isprintable():
        raise Unreadable("a uid that is none")
    return uid


def _objects(value: Any) -> list[dict[str, Any]]:
    return [each for each in value if isinstance(each, dict)] if isinstance(value, list) else []


def _integer(value: Any) -> int | None:
    is_number = isinstance(value, int) and not isinstance(value, bool)
    return value if is_number and abs(value) <= _LARGEST_NUMBER else None


def _optional(data: Mapping[str, Any], name: str, kind: type[T]) -> T | None:
    value = data.get(name)
    if value is not None and not isinstance(value, kind):
        raise Unreadable(f"{name} is no {kind.__name__}")
    return value


def _is_on(setting: Mapping[str, Any] | None) -> bool:
    return setting is not None and setting.get("disabled") is not True


def _length(value: Any) -> int:
    minutes = _integer(value)
    if minutes is None or not 0 <= minutes <= _MOST_MINUTES:
        raise Unreadable("a length that is none")
    return minutes


def _minutes(value: Any) -> int:
    minutes = max(_integer(value) or 0, 0)
    if minutes > _MOST_MINUTES:
        raise Unreadable("minutes beyond all calendars")
    return minutes


def _optional_instant(value: Any) -> datetime | None:
    try:
        return read_instant(value)
    except Unreadable:
        return None

"""The functions a phone agent can call: from arguments to an outcome. Each is one entry of FUNCTIONS."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from datetime import datetime, timedelta
from functools import cached_property
from typing import Any
from zoneinfo import ZoneInfo

import structlog

from booking import availability, book, breaker, catalogue, event_types, failures, instants
from booking.availability import Window
from booking.calcom.deadline import Deadline
from booking.calcom.errors import CalcomError, CalcomMisconfigured
from booking.connection import client_for
from booking.models import Service, SyncFailure
from booking.outcomes import Code, Outcome
from booking.serializers import BookAppointmentSerializer, CheckAvailabilitySerializer
from booking.slot_ids import OfferedSlot
from calls import call_record
from calls.models import Call
from customers import phone_numbers
from customers.branches import first_number
from customers.models import Branch, Company

LOOK_AHEAD = timedelta(days=7)
LONGEST_WINDOW = timedelta(days=31)
MOST_SLOTS = 20

logger = structlog.get_logger(__name__)


@dataclass(frozen=True)
class Conversation:
    """Who is calling whom, and until when they must have an answer. `now` is aware."""

    company: Company
    branch: Branch
    call: Call
    now: datetime
    deadline: Deadline

    @property
    def zone(self) -> ZoneInfo:
        return ZoneInfo(self.branch.timezone or self.company.timezone)

    @cached_property
    def region(self) -> str:
        """Whose spelling of phone numbers is meant: the called number's country, else that of the branch's
        first number, else the language's.
        """
        ours = call_record.our_number(self.call) or first_number(self.branch)
        region = phone_numbers.region_of(ours) if ours else None
        return region or {"de": "DE"}.get(self.company.language, "US")

    @property
    def context(self) -> dict[str, Any]:
        return {
            "zone": self.zone,
            "now": self.now,
            "region": self.region,
            "company_id": self.company.pk,
        }


def list_services(conversation: Conversation, arguments: Mapping[str, Any]) -> Outcome:
    del arguments
    return Outcome(
        Code.OK, reason="services", extra={"services": catalogue.active_services(conversation.company)}
    )


def check_availability(conversation: Conversation, arguments: Mapping[str, Any]) -> Outcome:
    serializer = CheckAvailabilitySerializer(data=arguments, context=conversation.context)
    if not serializer.is_valid():
        return _invalid(serializer.errors)
    asked = serializer.validated_data
    found = catalogue.find(conversation.company, asked["service"])
    if found.only is None:
        return _which_service(found)
    window = _window(asked, conversation)
    if window is None:
        return Outcome(Code.INVALID_REQUEST, reason="in_the_past", errors={"date": "in the past"})
    slots = _slots(found.only, window, conversation)
    if slots is None:
        return Outcome(Code.UNAVAILABLE, reason="availability", service=found.only)
    part = asked["part_of_day"]
    wanted = [
        slot
        for slot in slots
        if slot > conversation.now and (not part or instants.in_part_of_day(slot, conversation.zone, part))
    ]
    return Outcome(
        Code.OK,
        reason="slots",
        service=found.only,
        wanted=window.start,
        extra={"slots": wanted[:MOST_SLOTS], "one_day": window.end - window.start <= timedelta(hours=25)},
    )


def book_appointment(conversation: Conversation, arguments: Mapping[str, Any]) -> Outcome:
    serializer = BookAppointmentSerializer(data=arguments, context=conversation.context)
    if not serializer.is_valid():
        return _invalid(serializer.errors)
    asked = serializer.validated_data
    slot: OfferedSlot | None = asked["slot_id"] or None
    found = catalogue.find(conversation.company, asked["service"])
    service = _offered_service(slot, found) if slot else found.only
    if service is None:
        return _which_service(found)
    if slot and asked["start"] and slot.starts_at != asked["start"]:
        # The agent says one time and points at another. Whichever we booked could be the wrong day.
        return Outcome(
            Code.AMBIGUOUS,
            reason="two_times",
            service=service,
            alternatives=tuple(sorted((slot.starts_at, asked["start"]))),
        )
    start = slot.starts_at if slot else asked["start"]
    if not start:
        return Outcome(Code.INVALID_REQUEST, reason="start_needed", errors={"start": "required"})
    if not asked["customer_name"]:
        return Outcome(Code.INVALID_REQUEST, reason="name_needed", errors={"customer_name": "required"})
    calling = call_record.callers_number(conversation.call, region=conversation.region)
    phone = asked["customer_phone"] or calling
    return book.book_appointment(
        company=conversation.company,
        branch=conversation.branch,
        call=conversation.call,
        wish=book.Wish(
            service=service,
            starts_at=start,
            name=asked["customer_name"],
            phone=phone or "",
            email=asked["customer_email"],
            notes=asked["notes"],
            is_callers_number=phone == calling,
        ),
        now=conversation.now,
        deadline=conversation.deadline,
    )


FUNCTIONS: dict[str, Callable[[Conversation, Mapping[str, Any]], Outcome]] = {
    "list_services": list_services,
    "check_availability": check_availability,
    "book_appointment": book_appointment,
    "collect_appointment_data": book_appointment,  # the name agents of the former system call it by
}

# A repeat of these is answered from the row of the first. What is only read is read again.
CHANGES = frozenset({"book_appointment", "collect_appointment_data"})


def _offered_service(slot: OfferedSlot, found: catalogue.Found) -> Service | None:
    """The service the slot was offered for, unless another one is named."""
    service = next((service for service in found.offered if service.pk == slot.service_id), None)
    if found.services and service not in found.services:
        return None
    return service


def _which_service(found: catalogue.Found) -> Outcome:
    code = Code.AMBIGUOUS if len(found.services) > 1 else Code.UNKNOWN_SERVICE
    return Outcome(code, reason="service", extra={"services": list(found.services or found.offered)})


def _window(asked: Mapping[str, Any], conversation: Conversation) -> Window | None:
    """From now on at the earliest; None if all of what was asked for is past."""
    zone = conversation.zone
    first = asked["date"] or asked["from"]
    last = asked["date"] or asked["to"] or asked["from"]
    if first:
        start = instants.day_bounds(first, zone)[0]
        end = instants.day_bounds(max(first, last), zone)[1]
    else:
        # A week from the start of today, so that everybody who asks today shares what is cached.
        today = conversation.now.astimezone(zone).date()
        start = instants.day_bounds(today, zone)[0]
        end = instants.day_bounds(last, zone)[1] if last else start + LOOK_AHEAD
    if end <= conversation.now:
        return None
    return Window(start=start, end=min(end, start + LONGEST_WINDOW) - timedelta(microseconds=1))


def _slots(service: Service, window: Window, conversation: Conversation) -> list[datetime] | None:
    """None: it could not be found out. That is not the same as "nothing free"."""
    company = conversation.company
    deadline = conversation.deadline.less(0.3)
    try:
        client = client_for(company)
        if not breaker.allows(company_id=company.pk, client=client, deadline=deadline):
            return None
        if not service.is_learned:
            event_types.learn(service, client=client, deadline=deadline)
        slots = availability.free_slots(service=service, window=window, client=client, deadline=deadline)
    except CalcomMisconfigured as error:
        failures.open_failure(
            company=company,
            failure_type=SyncFailure.Type.CONFIG_ERROR,
            subject=failures.about_configuration(service, status=error.status),
            message=f"Cal.com refuses to show free slots: {error.message}",
            call=conversation.call,
            details={"status": error.status, "service": service.slug},
            needs_person=True,
        )
        return None
    except CalcomError as error:
        breaker.note(error, company_id=company.pk)
        logger.warning("availability.unknown", error=type(error).__name__, service=service.slug)
        return None
    return slots


def _invalid(errors: Mapping[str, Any]) -> Outcome:
    found = {field: str(messages[0]) for field, messages in errors.items()}
    return Outcome(Code.INVALID_REQUEST, reason=_first_reason(found), errors=found)


def _first_reason(errors: Mapping[str, str]) -> str:
    """The most useful thing to ask for first."""
    for field in ("start", "date", "from", "to"):
        if field in errors:
            return f"start_{errors[field]}"
    for field in ("slot_id", "customer_name", "customer_phone", "customer_email"):
        if field in errors:
            return f"{field}_{errors[field]}".replace(" ", "_")
    return ""

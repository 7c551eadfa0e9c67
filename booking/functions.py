"""The functions a phone agent can call: from arguments to an outcome. Each is one entry of FUNCTIONS."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from datetime import date, datetime, timedelta
from typing import Any
from zoneinfo import ZoneInfo

import structlog

from booking import (
    answer_budget,
    availability,
    book,
    breaker,
    catalogue,
    event_types,
    failures,
    function_names,
    horizon,
    instants,
)
from booking.availability import Window
from booking.calcom.errors import CalcomError, CalcomMisconfigured
from booking.connection import client_for
from booking.conversation import Conversation
from booking.existing_appointments import cancel_appointment, list_appointments, reschedule_appointment
from booking.models import Service, SyncFailure
from booking.outcomes import Code, Outcome
from booking.request_callback import request_callback
from booking.serializers import (
    BookAppointmentSerializer,
    CheckAvailabilitySerializer,
    ListServicesSerializer,
)
from booking.slot_ids import OfferedSlot
from booking.validation import invalid
from calls import call_record

LOOK_AHEAD_DAYS = 7
MOST_DAYS = 31
MOMENT = timedelta(microseconds=1)
# A day of quarters of an hour. What a model is not shown, it takes for not free.
MOST_SLOTS = 40

logger = structlog.get_logger(__name__)


def list_services(conversation: Conversation, arguments: Mapping[str, Any]) -> Outcome:
    serializer = ListServicesSerializer(data=arguments, context=conversation.context)
    if not serializer.is_valid():
        return invalid(serializer.errors)
    asked = serializer.validated_data
    if asked["service"]:
        found = _find(asked, conversation)
        if not found.services or found.person_unknown:
            return _which_service(found, asked)
        services = found.services
    else:
        offered = catalogue.active_services(conversation.company, branch=conversation.branch)
        theirs = catalogue.narrow(offered, person=asked["person"])
        if theirs.person_unknown:
            return _which_service(theirs, asked)
        services = theirs.services
    return Outcome(Code.OK, reason="services", extra={"services": list(services)})


def check_availability(conversation: Conversation, arguments: Mapping[str, Any]) -> Outcome:
    serializer = CheckAvailabilitySerializer(data=arguments, context=conversation.context)
    if not serializer.is_valid():
        return invalid(serializer.errors)
    asked = serializer.validated_data
    found = _find(asked, conversation)
    nobody_in_particular = (
        catalogue.is_anybody(asked["person"]) and len(catalogue.things(found.services)) == 1
    )
    if found.only is None and not nobody_in_particular:
        return _which_service(found, asked)
    window = _window(asked, conversation)
    if window is None:
        return Outcome(Code.INVALID_REQUEST, reason="in_the_past", errors={"date": "in the past"})
    if horizon.is_too_far(window.start, now=conversation.now):
        return Outcome(Code.INVALID_REQUEST, reason="too_far_ahead", errors={"date": "too far ahead"})
    free, are_all_known = _free(found.services, window, conversation)
    part = asked["part_of_day"]
    wanted = [
        slot
        for slot in sorted(free)
        if slot > conversation.now
        and not horizon.is_too_far(slot, now=conversation.now)
        and _is_within(slot, asked)
        and (not part or instants.in_part_of_day(slot, conversation.zone, part))
    ]
    if not wanted and not are_all_known:
        # Whoever's calendar could not be looked into may be free.
        return Outcome(Code.UNAVAILABLE, reason="availability", service=found.services[0])
    return Outcome(
        Code.OK,
        reason="slots",
        service=found.services[0],
        wanted=window.start,
        extra={
            "slots": wanted[:MOST_SLOTS],
            "more": max(0, len(wanted) - MOST_SLOTS),
            "services_of_slots": free,
            "looked_until": window.end if _days_in(window, conversation.zone) == MOST_DAYS else None,
        },
    )


def book_appointment(conversation: Conversation, arguments: Mapping[str, Any]) -> Outcome:
    serializer = BookAppointmentSerializer(data=arguments, context=conversation.context)
    if not serializer.is_valid():
        return invalid(serializer.errors)
    asked = serializer.validated_data
    slot: OfferedSlot | None = asked["slot_id"] or None
    found = _find(asked, conversation)
    service = _offered_service(slot, found) if slot else found.only
    if service is None:
        return _which_of_the_two(slot, found) or _which_service(found, asked)
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
    **dict.fromkeys(function_names.BOOKING, book_appointment),
    "list_appointments": list_appointments,
    "reschedule_appointment": reschedule_appointment,
    "cancel_appointment": cancel_appointment,
    "request_callback": request_callback,
}

# A repeat of these is answered from the row of the first. What is only read is read again.
CHANGES = frozenset({*function_names.BOOKING, "reschedule_appointment", "cancel_appointment"})

# A repeat of these is a replay where it has the same answer. (What is free is never the same answer.)
READS = frozenset({"list_services", "list_appointments"})


def _offered_service(slot: OfferedSlot, found: catalogue.Found) -> Service | None:
    """The service the slot was offered for, unless another one is named."""
    service = next((service for service in found.offered if service.pk == slot.service_id), None)
    if found.person_unknown or (found.services and service not in found.services):
        return None
    return service


def _which_of_the_two(slot: OfferedSlot | None, found: catalogue.Found) -> Outcome | None:
    """The slot is one service's, or one person's, and the caller asks for another."""
    offered = [service for service in found.offered if slot and service.pk == slot.service_id]
    if not offered or not found.services or found.person_unknown:
        return None
    choices = [*offered, *found.services]
    reason = "which_person" if len(catalogue.things(choices)) == 1 else "service"
    return Outcome(Code.AMBIGUOUS, reason=reason, extra={"services": choices})


def _find(asked: Mapping[str, Any], conversation: Conversation) -> catalogue.Found:
    return catalogue.find(
        conversation.company, asked["service"], branch=conversation.branch, person=asked["person"]
    )


def _which_service(found: catalogue.Found, asked: Mapping[str, Any]) -> Outcome:
    services = list(found.services or found.offered)
    if found.person_unknown:
        return Outcome(Code.UNKNOWN_SERVICE, reason="person", extra={"services": services})
    if len(found.services) < 2:
        if services and not asked["service"] and not asked.get("slot_id"):
            return Outcome(
                Code.INVALID_REQUEST,
                reason="service_needed",
                errors={"service": "required"},
                extra={"services": services},
            )
        return Outcome(Code.UNKNOWN_SERVICE, reason="service", extra={"services": services})
    reason = "which_person" if len(catalogue.things(services)) == 1 else "service"
    return Outcome(Code.AMBIGUOUS, reason=reason, extra={"services": services})


def _free(
    services: Sequence[Service], window: Window, conversation: Conversation
) -> tuple[dict[datetime, Service], bool]:
    """What is free with whichever of them, and whether that could be found out of all."""
    found = [(service, _slots(service, window, conversation)) for service in services]
    free = {slot: service for service, slots in reversed(found) for slot in slots or ()}
    return free, all(slots is not None for _, slots in found)


def _window(asked: Mapping[str, Any], conversation: Conversation) -> Window | None:
    """From today on at the earliest; None if all of what was asked for is past."""
    zone = conversation.zone
    today = conversation.now.astimezone(zone).date()
    first: date | None = asked["date"] or _day_of(asked["from"], zone)
    last: date | None = asked["date"] or _day_of(asked["to"] or asked["from"], zone)
    if last and max(first or last, last) < today:
        return None
    first = max(first or today, today)
    # Whole days, which are not 24 hours each: on one of which only an hour was seen, nothing could be said.
    farthest = first + timedelta(days=(MOST_DAYS if last else LOOK_AHEAD_DAYS) - 1)
    last = min(max(first, last), farthest) if last else farthest
    # From the start of the day, so that everybody who asks for it shares what is cached.
    start, end = instants.day_bounds(first, zone)[0], instants.day_bounds(last, zone)[1]
    return Window(start=start, end=end - MOMENT)


def _days_in(window: Window, zone: ZoneInfo) -> int:
    return (window.end.astimezone(zone).date() - window.start.astimezone(zone).date()).days + 1


def _day_of(bound: date | datetime | None, zone: ZoneInfo) -> date | None:
    return bound.astimezone(zone).date() if isinstance(bound, datetime) else bound or None


def _is_within(slot: datetime, asked: Mapping[str, Any]) -> bool:
    """Whether it begins between the times that were said. The window has only days, so that many share what
    is cached.
    """
    earliest, latest = asked["from"], asked["to"]
    if asked["date"]:
        return True
    if isinstance(earliest, datetime) and slot < earliest:
        return False
    if not isinstance(latest, datetime) or (isinstance(earliest, datetime) and latest <= earliest):
        return True  # an end that is not after the beginning says nothing
    return slot <= latest


def _slots(service: Service, window: Window, conversation: Conversation) -> list[datetime] | None:
    """None: it could not be found out. That is not the same as "nothing free"."""
    company = conversation.company
    deadline = answer_budget.for_a_look(conversation.deadline)
    try:
        client = client_for(company)
        if not breaker.allows(company_id=company.pk, client=client, deadline=deadline):
            return None
        if not service.is_learned:
            event_types.learn(service, client=client, deadline=deadline)
        slots = availability.free_slots(service=service, window=window, client=client, deadline=deadline)
    except CalcomMisconfigured as error:
        problem = failures.Problem(
            company=company,
            failure_type=SyncFailure.Type.CONFIG_ERROR,
            subject=failures.about_configuration(service, status=error.status),
            message=f"Cal.com refuses to show free slots: {error.message}",
            call=conversation.call,
            details={"status": error.status, "service": service.slug},
        )
        failures.open_failure(problem, needs_person=True)
        return None
    except CalcomError as error:
        breaker.note(error, company_id=company.pk)
        logger.warning("availability.unknown", error=type(error).__name__, service=service.slug)
        return None
    return slots

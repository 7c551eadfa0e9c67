"""What a service's event type is like at Cal.com, read once and kept on the service.

It has to be known before the first booking: `POST /bookings` takes any event type of anybody, so an id that
belongs to another company would be booked there without complaint. Reading it with this company's key is the
proof that it is theirs, and tells at the same time whether a repeated request is harmless.
"""

from __future__ import annotations

from collections.abc import Collection

from django.db.models import F

from booking.calcom.client import CalcomClient
from booking.calcom.deadline import Deadline
from booking.calcom.errors import CalcomMisconfigured
from booking.calcom.messages import ROUTE_UNKNOWN
from booking.calcom.objects import EventType
from booking.models import Service
from customers.models import Company

# That an event type is the company's is told by this key, asked there.
PROVEN_WITH = frozenset({"calcom_api_key", "calcom_base_url"})

_SCHEDULING = {
    "": Service.Scheduling.ONE_HOST,
    "roundrobin": Service.Scheduling.ROUND_ROBIN,
    "collective": Service.Scheduling.COLLECTIVE,
    "managed": Service.Scheduling.MANAGED,
}


def learn(service: Service, *, client: CalcomClient, deadline: Deadline) -> None:
    """Read the event type and store what matters. Raises like `read_fitting`."""
    event_type = read_fitting(service, client=client, deadline=deadline)
    if event_type is None:
        _store(service, scheduling="")  # nothing is known, so nothing is assumed
        return
    _store(service, **facts_of(event_type))


def facts_of(event_type: EventType) -> dict[str, object]:
    """What a service keeps of its event type, by the service's fields."""
    return {
        "scheduling": _SCHEDULING.get(event_type.scheduling, ""),
        "requires_confirmation": event_type.requires_confirmation or event_type.is_paid,
        "has_seats": event_type.has_seats,
        "email_required": event_type.email_required,
        "phone_required": event_type.phone_required,
        "minimum_notice_minutes": event_type.minimum_notice_minutes,
        "buffer_before_minutes": event_type.buffer_before_minutes,
        "buffer_after_minutes": event_type.buffer_after_minutes,
        "has_several_lengths": bool(event_type.lengths_minutes),
        "accepts_notes": event_type.accepts_notes,
    }


def read_fitting(service: Service, *, client: CalcomClient, deadline: Deadline) -> EventType | None:
    """The event type of a service, saved or not; None at a server that cannot show event types. Raises
    CalcomMisconfigured if it is not this company's or does not fit the service, CalcomUnavailable.
    """
    try:
        event_type = client.event_type(service.calcom_event_type_id, deadline=deadline)
    except CalcomMisconfigured as error:
        if says_server_cannot(error):
            return None
        if error.status == 403:
            # "… does not own event type …": a key may be good for its own, so it is not the key's ticket.
            raise CalcomMisconfigured(error.message, request_id=error.request_id) from error
        raise
    _require_fitting(service, event_type)
    return event_type


def is_shown(event_type_id: int, *, client: CalcomClient, deadline: Deadline) -> bool:
    """Whether Cal.com shows this key the event type. If not, that it shows no booking of it either proves
    nothing: the key may be another account's by now. Raises CalcomError if it cannot be asked.
    """
    try:
        client.event_type(event_type_id, deadline=deadline)
    except CalcomMisconfigured as error:
        if says_server_cannot(error):
            return True
        if error.status in (403, 404):
            return False
        raise
    return True


def says_server_cannot(error: CalcomMisconfigured) -> bool:
    """Whether the server, an old one of one's own, has no address for event types: nothing follows."""
    return error.status == 404 and ROUTE_UNKNOWN.match(error.message) is not None


def forget(service: Service | None) -> None:
    """What was learned is not true any more: it is read again before the next booking."""
    if service is not None:
        Service.objects.filter(pk=service.pk).update(learned_event_type_id=None)


def forget_all(company: Company, *, changed: Collection[str]) -> None:
    """What was learned with another key, or at another address, proves nothing: it may be another account's.
    `changed`: the columns of the company that have other values now.
    """
    if not PROVEN_WITH.isdisjoint(changed):
        learned = Service.objects.filter(company=company, learned_event_type_id=F("calcom_event_type_id"))
        learned.update(learned_event_type_id=None)


def why_unfit(event_type: EventType, *, minutes: int) -> str:
    """What keeps it from being booked by phone as something that takes so many minutes; blank if nothing."""
    if event_type.has_seats or event_type.is_recurring:
        # One booking there is several people's, or several dates, and ours is one appointment.
        return "Event types with seats or recurrence cannot be booked by phone."
    lengths = {event_type.length_minutes, *event_type.lengths_minutes} - {0}
    if lengths and minutes not in lengths:
        return f"The service takes {minutes} minutes, its event type {sorted(lengths)}."
    return ""


def _require_fitting(service: Service, event_type: EventType) -> None:
    if problem := why_unfit(event_type, minutes=service.duration_minutes):
        raise CalcomMisconfigured(problem)


def _store(service: Service, **facts: object) -> None:
    facts["learned_event_type_id"] = service.calcom_event_type_id
    for name, value in facts.items():
        setattr(service, name, value)
    # Only if the id is still the one that was read: ops may change it at this moment.
    Service.objects.filter(pk=service.pk, calcom_event_type_id=service.calcom_event_type_id).update(**facts)

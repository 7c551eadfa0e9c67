"""Does an event type suit its service? What is judged here was read from Cal.com just now (pure)."""

from __future__ import annotations

from collections.abc import Iterator

from booking import event_types
from booking.calcom.objects import EventType
from booking.models import Service
from sync.doctor.finding import Finding, failed, ok, warning


def judge(
    service: Service,
    event_type: EventType,
    *,
    attendee_email_domain: str,
    shared_addresses: int,
) -> Iterator[Finding]:
    """`shared_addresses`: how many e-mail addresses several customers have, not all of them with a number."""
    yield _kind(service, event_type)
    yield _duration(service, event_type)
    yield _email_policy(service, event_type, attendee_email_domain)
    yield _handed_back(service, event_type, attendee_email_domain, shared_addresses)
    yield _facts(service, event_type)


def _kind(service: Service, event_type: EventType) -> Finding:
    check, subject = "event type kind", service.slug
    remedy = "Give the service an event type of single, unpaid appointments, or switch it off."
    kinds = {"seats": event_type.has_seats, "recurrence": event_type.is_recurring}
    unsuited = [kind for kind, has in kinds.items() if has]
    if unsuited:
        said = f"Event type {event_type.id} has {' and '.join(unsuited)}: it cannot be booked by phone."
        return failed(check, said, remedy, subject=subject)
    if event_type.is_paid:
        said = (
            f"Event type {event_type.id} has a price, and nobody pays on the phone: no booking is confirmed."
        )
        return failed(check, said, remedy, subject=subject)
    return ok(check, "Single appointments without payment.", subject=subject)


def _duration(service: Service, event_type: EventType) -> Finding:
    check, subject, minutes = "duration", service.slug, service.duration_minutes
    lengths = sorted({event_type.length_minutes, *event_type.lengths_minutes} - {0})
    if lengths and minutes not in lengths:
        return failed(
            check,
            f"The service takes {minutes} minutes, event type {event_type.id} takes "
            f"{' or '.join(map(str, lengths))}: nothing is booked.",
            "Make the two equal, here or at Cal.com.",
            subject=subject,
        )
    return ok(check, f"{minutes} minutes on both sides.", subject=subject)


def _email_policy(service: Service, event_type: EventType, domain: str) -> Finding:
    check, subject = "e-mail policy", service.slug
    if domain:
        return ok(check, "Every customer can be given an address of their own.", subject=subject)
    remedy = (
        "Set the company's attendee e-mail domain to one that you own, "
        "or make the e-mail field of the event type optional at Cal.com."
    )
    if event_type.email_required:
        return failed(
            check,
            f"Event type {event_type.id} demands an e-mail address, and the company has no attendee e-mail "
            "domain: who gives no address on the phone cannot book.",
            remedy,
            subject=subject,
        )
    return warning(
        check,
        "Without an attendee e-mail domain, who calls with a withheld number and gives no address cannot "
        "book.",
        "Set the company's attendee e-mail domain to one that you own.",
        subject=subject,
    )


def _handed_back(service: Service, event_type: EventType, domain: str, shared_addresses: int) -> Finding:
    """Cal.com answers the second booking of one start by the same attendee with the first, where somebody
    is chosen or has to confirm. An address that two callers share makes them the same attendee.
    """
    check, subject = "shared address", service.slug
    facts = event_types.facts_of(event_type)
    if facts["scheduling"] != Service.Scheduling.ROUND_ROBIN and not facts["requires_confirmation"]:
        return ok(check, "Two customers are never taken for one here.", subject=subject)
    if domain:
        return ok(check, "Every customer has an identity of their own at Cal.com.", subject=subject)
    kind = "is a round robin" if facts["scheduling"] == Service.Scheduling.ROUND_ROBIN else "waits for a yes"
    trap = (
        f"Event type {event_type.id} {kind}: there Cal.com takes callers without a number who give the same "
        "address for one, and hands the second the booking of the first"
    )
    remedy = "Set the company's attendee e-mail domain: then nobody shares an address at Cal.com."
    if shared_addresses:
        said = f"{trap}. {shared_addresses} addresses on record are those of several customers."
        return failed(check, said, remedy, subject=subject)
    return warning(check, f"{trap}. So far no two customers share one.", remedy, subject=subject)


def _facts(service: Service, event_type: EventType) -> Finding:
    """What decides which repetition of a booking is harmless is kept on the service."""
    check, subject = "facts on record", service.slug
    remedy = f"Run: manage.py sync_services --company {service.company.slug}"
    if service.vanished_at is not None:
        said = f"Event type {event_type.id} is there, and the service is flagged as if it were not."
        return failed(check, said, remedy, subject=subject)
    if not service.is_learned:
        return ok(check, "They are read before the first booking.", subject=subject)
    old = [name for name, fact in event_types.facts_of(event_type).items() if getattr(service, name) != fact]
    if old:
        said = f"Changed at Cal.com since they were read: {', '.join(sorted(old)).replace('_', ' ')}."
        return warning(check, said, remedy, subject=subject)
    return ok(check, "As they are at Cal.com.", subject=subject)

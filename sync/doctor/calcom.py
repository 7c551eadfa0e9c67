"""What Cal.com says to the company's key: who it belongs to, which event types it may book, which webhooks it
has. Asked in this order, and no further once the key itself is refused.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import replace
from datetime import UTC, datetime, timedelta
from zoneinfo import ZoneInfo, ZoneInfoNotFoundError

from django.conf import settings
from django.db.models import Count, Q
from django.utils import timezone

from booking.calcom.client import BOOKINGS, CalcomClient
from booking.calcom.deadline import Deadline
from booking.calcom.errors import CalcomError, CalcomMisconfigured
from booking.calcom.objects import EventType
from booking.connection import client_for
from booking.event_type_steps import StepOutcome
from booking.event_types import says_server_cannot
from booking.models import Service
from booking.pace import Pace
from booking.webhook_subscriptions import Alignment, Step, Verb, align
from customers.masking import mask_text
from customers.models import Branch, Company, Customer
from sync.doctor import event_types
from sync.doctor.finding import Finding, failed, ok, unchecked, warning

KEY, RECONCILE_KEY, ZONE = "Cal.com key", "Cal.com reconciliation key", "time zone"
EVENT_TYPE, SUBSCRIPTIONS = "event type", "webhook subscriptions"
ASK_SECONDS = 8.0

_KEY_REMEDY = "Make an API key at Cal.com (Settings, Developer, API keys) and store it with the company."
_AWAY_REMEDY = "Run this again when Cal.com answers; see status.cal.com, and the company's base URL."


def look(company: Company) -> Iterator[Finding]:
    pace = Pace()
    if company.calcom_reconcile_api_key:
        yield _key(company, company.calcom_reconcile_api_key, RECONCILE_KEY, pace)[0]
    if not company.calcom_api_key:
        yield failed(KEY, "The company has no Cal.com API key: nothing can be booked.", _KEY_REMEDY)
        return
    finding, zone = _key(company, company.calcom_api_key, KEY, pace)
    yield finding
    if zone is None:
        return
    client = client_for(company)
    yield _zone(company, zone)
    yield from _event_types(company, client, pace)
    yield from _subscriptions(company, pace)


def _key(company: Company, key: str, check: str, pace: Pace) -> tuple[Finding, str | None]:
    """And the time zone of the key's owner: None if the key did not work."""
    try:
        client = CalcomClient(base_url=company.calcom_base_url, api_key=key)
    except CalcomMisconfigured as error:
        return failed(check, error.message, _KEY_REMEDY), None
    pace.wait()
    try:
        zone = client.ask(
            "/me",
            version=BOOKINGS,
            read=lambda body: body["data"].get("timeZone") if isinstance(body["data"], dict) else None,
            deadline=Deadline.after(ASK_SECONDS),
        )
    except CalcomMisconfigured as error:
        if error.status in (401, 403):
            said = f"Cal.com refuses the key: {_in_words(error)}"
            return failed(check, said, _KEY_REMEDY), None
        said = f"There is no Cal.com API at this address: {_in_words(error)}"
        return failed(check, said, "Correct the company's Cal.com base URL; it ends in /v2."), None
    except CalcomError as error:
        said = f"Cal.com could not be asked: {_in_words(error)} Nothing at Cal.com was looked at."
        return unchecked(check, said, _AWAY_REMEDY), None
    return ok(check, "Cal.com accepts the key."), zone if isinstance(zone, str) else ""


def _zone(company: Company, theirs: str) -> Finding:
    try:
        there = ZoneInfo(theirs)
    except (ZoneInfoNotFoundError, ValueError, OSError):
        said = "Cal.com did not say in which time zone the key's owner is."
        return unchecked(ZONE, said, "Compare the owner's time zone at Cal.com with the company's by hand.")
    now = timezone.now()
    if same_all_year(company.zone, there, now=now):
        return ok(ZONE, f"{company.timezone} here, {theirs} at Cal.com.")
    branches = Branch.objects.filter(company=company, is_active=True).select_related("company")
    if any(same_all_year(branch.zone, there, now=now) for branch in branches):
        return ok(ZONE, f"{theirs} at Cal.com, as one of the branches.")
    return warning(
        ZONE,
        f"{company.timezone} here, {theirs} at Cal.com: opening hours that were entered there in another "
        "zone offer the wrong hours.",
        "Make the two equal: the company's time zone here, or the owner's and the schedules' at Cal.com.",
    )


def same_all_year(one: ZoneInfo, other: ZoneInfo, *, now: datetime) -> bool:
    """Whether clocks show the same in both, in each of the next 53 weeks."""
    weeks = (now.astimezone(UTC) + timedelta(weeks=number) for number in range(53))
    return all(week.astimezone(one).utcoffset() == week.astimezone(other).utcoffset() for week in weeks)


def _event_types(company: Company, client: CalcomClient, pace: Pace) -> Iterator[Finding]:
    services = Service.objects.filter(company=company, is_active=True).order_by("slug")
    of_event_type: dict[int, list[Service]] = {}
    for service in services.select_related("company"):
        of_event_type.setdefault(service.calcom_event_type_id, []).append(service)
    if not of_event_type:
        remedy = f"Switch a service on, or run: manage.py sync_services --company {company.slug}"
        yield failed(EVENT_TYPE, "The company has no active service: nothing can be booked.", remedy)
    shared = _shared_addresses(company)
    for event_type_id, using in sorted(of_event_type.items()):
        pace.wait()
        answer = _event_type(client, event_type_id)
        for service in using:
            if isinstance(answer, Finding):
                yield replace(answer, subject=service.slug)
                continue
            yield ok(EVENT_TYPE, f"The key may book event type {event_type_id}.", subject=service.slug)
            yield from event_types.judge(
                service,
                answer,
                attendee_email_domain=company.attendee_email_domain,
                shared_addresses=shared,
            )


def _event_type(client: CalcomClient, event_type_id: int) -> EventType | Finding:
    another = "Point the service at one of the key owner's event types, or switch it off."
    try:
        event_type = client.event_type(event_type_id, deadline=Deadline.after(ASK_SECONDS))
    except CalcomMisconfigured as error:
        if says_server_cannot(error):
            said = "This Cal.com server cannot show an event type."
            return unchecked(EVENT_TYPE, said, "Compare its length, kind and e-mail field by hand.")
        if error.status == 404:
            said = f"Cal.com has no event type {event_type_id}, or not for this key."
            return failed(EVENT_TYPE, said, another)
        said = f"Event type {event_type_id} is not the key's: {_in_words(error)}"
        return failed(EVENT_TYPE, said, another)
    except CalcomError as error:
        said = f"Event type {event_type_id} could not be read: {_in_words(error)}"
        return unchecked(EVENT_TYPE, said, _AWAY_REMEDY)
    return event_type


def _shared_addresses(company: Company) -> int:
    known = Customer.objects.filter(company=company).exclude(email="").order_by()
    # A number of their own tells two of them apart at Cal.com.
    shared = known.values("email").annotate(
        customers=Count("pk"), without_number=Count("pk", filter=Q(phone=None))
    )
    return shared.filter(customers__gt=1, without_number__gt=0).count()


def _subscriptions(company: Company, pace: Pace) -> Iterator[Finding]:
    if not settings.PUBLIC_URL:
        return  # said once, of the installation
    remedy = f"Run: manage.py webhooks --company {company.slug}"
    found = align(company, public_url=settings.PUBLIC_URL, dry_run=True, pace=pace)
    if found.secret_made:
        said = "The company has no webhook secret: deliveries of Cal.com are refused."
        yield failed(SUBSCRIPTIONS, said, remedy)
    for step in found.steps:
        if step.outcome is not StepOutcome.KEPT:
            yield _subscription(step, remedy)
    if found.failed:
        said = f"Not all subscriptions could be looked at: {found.failed}"
        yield unchecked(SUBSCRIPTIONS, said, _AWAY_REMEDY)
    elif _is_aligned(found):
        said = f"Each event type tells us of its bookings ({found.count(StepOutcome.KEPT)} subscriptions)."
        yield ok(SUBSCRIPTIONS, said)


def _is_aligned(found: Alignment) -> bool:
    return not found.secret_made and all(step.outcome is StepOutcome.KEPT for step in found.steps)


def _subscription(step: Step, remedy: str) -> Finding:
    where = "the key's owner" if step.event_type_id is None else f"event type {step.event_type_id}"
    subject = ", ".join(step.services)
    if step.verb is Verb.LOOK:
        said = f"The subscriptions of {where} could not be looked at: {step.problem}"
        if step.unreadable:
            return unchecked(SUBSCRIPTIONS, said, _AWAY_REMEDY, subject=subject)
        return failed(SUBSCRIPTIONS, said, "Mend the event type, then run this again.", subject=subject)
    if step.verb is Verb.CREATE:
        said = f"Nobody tells us of bookings of {where}."
        return failed(SUBSCRIPTIONS, said, remedy, subject=subject)
    why = ", ".join(step.why)
    if step.verb is Verb.DELETE:
        said = f"A subscription of {where} is too much ({why})."
        return warning(SUBSCRIPTIONS, said, remedy, subject=subject)
    said = f"The subscription of {where} is wrong ({why})."
    return failed(SUBSCRIPTIONS, said, remedy, subject=subject)


def _in_words(error: CalcomError) -> str:
    said = mask_text(error.message)
    return f"{said} (HTTP {error.status})" if error.status else said

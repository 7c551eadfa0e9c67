"""Bookings that were made elsewhere, on the web or by a receptionist, become appointments of ours.

They belong to no call and have no idempotency key: nobody here intended them. Whoever made one is found among
the company's own customers, by phone number, then by an address that is theirs alone.

A booking of ours of which every row but the call is gone comes back the same way, with that call, its
customer and the key it had.
"""

from __future__ import annotations

from collections.abc import Callable, Collection, Sequence
from datetime import datetime

import structlog
from django.db import IntegrityError, transaction

from booking import failures, follow, idempotency, known_uids, mirror
from booking.calcom.objects import Attendee, Booking
from booking.models import Appointment, FormerUid, Service
from calls.models import Call
from customers import phone_numbers
from customers.branches import only_branch
from customers.identify import customer_by_address, customer_by_phone
from customers.models import Company, Customer

logger = structlog.get_logger(__name__)


def service_for(company: Company, event_type_id: int | None) -> Service | None:
    """The company's service that books this event type; None if that is not one of theirs."""
    if event_type_id is None:
        return None
    services = Service.objects.filter(company=company, calcom_event_type_id=event_type_id)
    return services.select_related("branch").order_by("-is_active", "pk").first()


def import_booking(
    *,
    company: Company,
    service: Service,
    booking: Booking,
    former_uids: Sequence[str],
    now: datetime,
    webhook_id: str = "",
    call: Call | None = None,
    also: Callable[[Appointment], None] = lambda _appointment: None,
) -> Appointment:
    """Make its appointment. `call`: the one that booked it. `also` is given it in the same transaction.
    Raises IntegrityError if the booking has got its appointment in this moment.
    """
    attendee = booking.attendees[0] if booking.attendees else Attendee(name="", email="", phone="")
    source = Appointment.Source.RETELL if call else Appointment.Source.CALCOM
    before_it = {*former_uids, booking.rescheduled_from_uid} - {"", booking.uid}
    with transaction.atomic():
        _require_unknown({booking.uid, *before_it}, service=service)
        customer = (call and call.customer) or _customer(company, attendee)
        appointment = Appointment.objects.create(
            company=company,
            branch=(call and call.branch) or service.branch or only_branch(company),
            call=call,
            idempotency_key=_key(customer, service, booking, source=source) if call else None,
            customer=customer,
            service=service,
            starts_at=booking.start,
            ends_at=booking.end,
            status=follow.status_of(booking, current=Appointment.Status.SCHEDULED, now=now),
            source=source,
            sync_origin=Appointment.SyncOrigin.SYSTEM if call else Appointment.SyncOrigin.CALCOM,
            calcom_sync_status=Appointment.SyncStatus.SYNCED,
            calcom_booking_uid=booking.uid,
            calcom_booking_id=booking.id,
            calcom_updated_at=booking.updated_at or booking.created_at,
            attendee_name=attendee.name[:200],
            attendee_email=attendee.email[:254],
            webhook_id=webhook_id[:100],
            metadata=dict(booking.metadata),
            last_sync_attempted_at=now,
        )
        FormerUid.objects.bulk_create(
            [FormerUid(appointment=appointment, uid=uid, replaced_at=now) for uid in sorted(before_it)],
            ignore_conflicts=True,
        )
        if call is not None and appointment.is_live:
            mirror.link_call(appointment, now=now)
        failures.close_failures(
            company_id=company.pk,
            subjects=[failures.about_booking(booking.uid)],
            note="The booking has its appointment.",
        )
        also(appointment)
    logger.info("appointment.imported", appointment=appointment.pk, uid=booking.uid, company=company.slug)
    return appointment


def _require_unknown(uids: Collection[str], *, service: Service) -> None:
    """Raises IntegrityError if one of them is, or was, the booking of an appointment of the company. What is
    moved in the moment it is heard of is imported by two at once, under the uid it had and the one it has:
    no constraint would keep them from making two appointments of it, so they wait for each other.
    """
    Service.objects.select_for_update(no_key=True).only("pk").get(pk=service.pk)
    if any(each.company == service.company_id for each in known_uids.holders(uids)):
        raise IntegrityError("The booking has got its appointment in this moment.")


def call_that_booked(company: Company, booking: Booking, *, service: Service | None) -> Call | None:
    """The call named in the booking, if that can be believed although its attempt is not there any more."""
    call_id = booking.metadata.get("call_id")
    if not call_id or service is None:
        return None
    calls = Call.objects.filter(company=company, retell_call_id=call_id).select_related("customer", "branch")
    call = calls.first()
    if call is None:
        return None
    details = call.booking_details
    if isinstance(details, dict) and details.get("uid") == booking.uid:
        return call
    customer = call.customer
    key = booking.metadata.get("idempotency_key")
    if customer and key == _key(customer, service, booking, source=Appointment.Source.RETELL):
        return call
    return None


def _key(customer: Customer, service: Service, booking: Booking, *, source: str) -> str:
    return idempotency.booking_key(
        customer_id=customer.pk, service_id=service.pk, starts_at=booking.start, source=source
    )


def _customer(company: Company, attendee: Attendee) -> Customer:
    phone = phone_numbers.normalise(attendee.phone, region=None) if attendee.phone else None
    name = attendee.name[:200]
    if phone:
        return customer_by_phone(company=company, phone=phone, name=name, email=attendee.email.lower()[:254])
    return customer_by_address(company=company, email=attendee.email.lower()[:254], name=name)

"""Rows for tests. Each factory makes a valid row; what belongs together has the same company.

Times are fixed, so that no test depends on the day it runs: `MOMENT` is a Tuesday in winter, 10:00 in Berlin.
"""

from __future__ import annotations

import datetime as dt
import uuid
from typing import TYPE_CHECKING, Any

from factory.declarations import LazyAttribute, LazyFunction, SelfAttribute, Sequence, SubFactory
from factory.django import DjangoModelFactory

from booking.models import Appointment, BookingAttempt, CallbackRequest, FormerUid, Service, SyncFailure
from calls.models import Call, FunctionCall, RefusedDelivery, WebhookEvent
from customers.models import Branch, Company, Customer, PhoneNumber, RetellAgent

MOMENT = dt.datetime(2026, 12, 1, 9, 0, tzinfo=dt.UTC)


class RowFactory(DjangoModelFactory):
    class Meta:
        abstract = True

    if TYPE_CHECKING:
        # What a factory makes is a row; a type checker would take it for a factory.
        def __new__(cls, **values: Any) -> Any: ...


class CompanyFactory(RowFactory):
    class Meta:
        model = Company

    slug = Sequence(lambda n: f"salon-{n}")
    name = Sequence(lambda n: f"Salon {n}")
    timezone = "Europe/Berlin"
    language = Company.Language.GERMAN
    attendee_email_domain = LazyAttribute(lambda company: f"{company.slug}.example.org")
    # Nobody listens there: no test may reach the real one.
    calcom_base_url = "http://127.0.0.1:9/v2"
    calcom_api_key = Sequence(lambda n: f"cal_live_secret_{n}")
    calcom_webhook_secret = Sequence(lambda n: f"whsec_secret_{n}")
    retell_api_key = Sequence(lambda n: f"key_retell_secret_{n}")


class BranchFactory(RowFactory):
    class Meta:
        model = Branch

    company = SubFactory(CompanyFactory)
    slug = Sequence(lambda n: f"branch-{n}")
    name = Sequence(lambda n: f"Branch {n}")


class PhoneNumberFactory(RowFactory):
    class Meta:
        model = PhoneNumber

    branch = SubFactory(BranchFactory)
    number = Sequence(lambda n: f"+4930{12000000 + n}")


class RetellAgentFactory(RowFactory):
    class Meta:
        model = RetellAgent

    branch = SubFactory(BranchFactory)
    company = SelfAttribute("branch.company")
    agent_id = Sequence(lambda n: f"agent_{n}")


class ServiceFactory(RowFactory):
    class Meta:
        model = Service

    company = SubFactory(CompanyFactory)
    slug = Sequence(lambda n: f"haircut-{n}")
    name = Sequence(lambda n: f"Haarschnitt {n}")
    duration_minutes = 30
    calcom_event_type_id = Sequence(lambda n: 100 + n)


class CustomerFactory(RowFactory):
    class Meta:
        model = Customer

    company = SubFactory(CompanyFactory)
    name = Sequence(lambda n: f"Erika Muster {n}")
    phone = Sequence(lambda n: f"+49151{10000000 + n}")


class CallFactory(RowFactory):
    class Meta:
        model = Call

    branch = SubFactory(BranchFactory)
    company = SelfAttribute("branch.company")
    customer = SubFactory(CustomerFactory, company=SelfAttribute("..company"))
    retell_call_id = Sequence(lambda n: f"call_{n:032x}")
    from_number = LazyAttribute(lambda call: (call.customer and call.customer.phone) or "anonymous")
    to_number = "+493012345678"
    direction = Call.Direction.INBOUND
    started_at = MOMENT
    created_at = MOMENT


class FunctionCallFactory(RowFactory):
    class Meta:
        model = FunctionCall

    call = SubFactory(CallFactory)
    company = SelfAttribute("call.company")
    name = "book_appointment"
    arguments = LazyFunction(lambda: {"service": "haircut", "start": "2026-12-01T10:00:00+01:00"})
    request_key = LazyFunction(lambda: str(uuid.uuid4()))
    answer = LazyFunction(lambda: {"success": True, "code": "booked"})
    code = "booked"
    created_at = MOMENT
    answered_at = MOMENT


class WebhookEventFactory(RowFactory):
    class Meta:
        model = WebhookEvent

    company = SubFactory(CompanyFactory)
    provider = WebhookEvent.Provider.RETELL
    event_type = "call_ended"
    webhook_id = Sequence(lambda n: f"retell:call_ended:call_{n:032x}")
    body = '{"event": "call_ended"}'
    received_at = MOMENT
    due_at = MOMENT


class RefusedDeliveryFactory(RowFactory):
    class Meta:
        model = RefusedDelivery

    company = SubFactory(CompanyFactory)
    provider = WebhookEvent.Provider.RETELL
    reason = "bad_signature"
    hour = MOMENT
    count = 3
    last_at = MOMENT


class AppointmentFactory(RowFactory):
    """Booked by phone and proven at Cal.com; the call points back at it only if the test says so."""

    class Meta:
        model = Appointment

    call = SubFactory(CallFactory)
    company = SelfAttribute("call.company")
    branch = SelfAttribute("call.branch")
    customer = SelfAttribute("call.customer")
    service = SubFactory(ServiceFactory, company=SelfAttribute("..company"))
    starts_at = MOMENT
    ends_at = LazyAttribute(lambda appointment: appointment.starts_at + dt.timedelta(minutes=30))
    status = Appointment.Status.SCHEDULED
    source = Appointment.Source.RETELL
    sync_origin = Appointment.SyncOrigin.RETELL
    calcom_sync_status = Appointment.SyncStatus.SYNCED
    calcom_booking_uid = Sequence(lambda n: f"uid{n:019d}")
    calcom_booking_id = Sequence(lambda n: 5000 + n)
    idempotency_key = LazyFunction(lambda: str(uuid.uuid4()))
    created_at = MOMENT


class FormerUidFactory(RowFactory):
    class Meta:
        model = FormerUid

    appointment = SubFactory(AppointmentFactory)
    uid = Sequence(lambda n: f"former{n:016d}")
    replaced_at = MOMENT


class BookingAttemptFactory(RowFactory):
    class Meta:
        model = BookingAttempt

    appointment = SubFactory(AppointmentFactory)
    company = SelfAttribute("appointment.company")
    call = SelfAttribute("appointment.call")
    kind = BookingAttempt.Kind.CREATE
    state = BookingAttempt.State.SUCCEEDED
    idempotency_key = LazyAttribute(lambda attempt: attempt.appointment.idempotency_key)
    lease_expires_at = MOMENT + dt.timedelta(seconds=30)
    created_at = MOMENT


class SyncFailureFactory(RowFactory):
    class Meta:
        model = SyncFailure

    appointment = SubFactory(AppointmentFactory)
    company = SelfAttribute("appointment.company")
    call = SelfAttribute("appointment.call")
    calcom_booking_id = SelfAttribute("appointment.calcom_booking_uid")
    failure_type = SyncFailure.Type.ORPHANED_CALCOM
    subject = LazyAttribute(lambda failure: f"booking:{failure.calcom_booking_id}")
    error_message = "The booking exists at Cal.com and could not be stored here."
    detected_at = MOMENT
    last_seen_at = MOMENT


class CallbackRequestFactory(RowFactory):
    class Meta:
        model = CallbackRequest

    call = SubFactory(CallFactory)
    company = SelfAttribute("call.company")
    branch = SelfAttribute("call.branch")
    customer = SelfAttribute("call.customer")
    reason = "Wants the balayage and a cut together."
    preferred_time = "tomorrow afternoon"
    created_at = MOMENT

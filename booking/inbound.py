"""What the phone agent knows before it says hello: who is calling, and when they come next.

Retell asks while the caller hears it ringing, waits ten seconds, asks three times more, and then lets the
agent answer without anything, or drops the call where no agent is set. So unless the signature is seen to be
wrong, the answer is 200, and soon. Data is in it only if the signature was seen to be right.

A variable that is not sent is not blank: the agent would read out `{{caller_name}}`. All about the caller is
therefore sent always, blank where it is not known. What concerns the company is left out where it could not
be read, so that the agent's own defaults hold.
"""

from __future__ import annotations

import unicodedata
from collections.abc import Mapping
from dataclasses import dataclass
from datetime import datetime, timedelta
from typing import Any
from uuid import UUID

import orjson
import structlog
from django.db import DatabaseError
from django.http import HttpResponse
from django.utils import timezone
from rest_framework.exceptions import APIException
from rest_framework.request import Request

from booking import doubt, time_limit
from booking.models import PROVEN_STATUSES, Appointment
from booking.spoken_times import spoken, spoken_day, spoken_time
from calls.authentication import RetellSignature, read_body
from calls.hook_view import HookView, parsed
from calls.retell.dynamic_variables import NOBODY
from calls.retell.payloads import read_identifier, read_text
from customers import phone_numbers
from customers.branches import branch_for
from customers.models import Branch, Company, Customer
from customers.placeholders import clean_text, is_placeholder_name

# An answer within two seconds, with what the server and the way there take.
LONGEST_SECONDS = 1.5
LONGEST_NAME = 60
# A day said as from another year is said in full.
_LONG_AGO = timedelta(days=400)

logger = structlog.get_logger(__name__)


class InboundCallView(HookView):
    """`POST /hooks/<endpoint_id>/retell/inbound`"""

    authentication_classes = (RetellSignature,)

    def perform_authentication(self, request: Request) -> None:
        """Not yet: it asks the database, which is done under the time limit."""

    def post(self, request: Request, endpoint_id: UUID) -> HttpResponse:
        body = read_body(request)
        try:
            variables = time_limit.within(
                LONGEST_SECONDS,
                lambda: _variables(company=request.auth, body=body),  # type: ignore[arg-type]
            )
        except APIException:
            raise  # the signature does not hold, nobody has this endpoint, or it is no JSON
        except (TimeoutError, DatabaseError) as error:
            logger.warning("inbound.answered_without_data", error=type(error).__name__)
            variables = dict(NOBODY)
        except Exception:
            logger.exception("inbound.failed")
            variables = dict(NOBODY)
        structlog.contextvars.bind_contextvars(
            caller_known=variables["caller_known"],
            with_data="company_name" in variables,
        )
        return HttpResponse(
            orjson.dumps({"call_inbound": {"dynamic_variables": variables}}), content_type="application/json"
        )


@dataclass(frozen=True, kw_only=True)
class InboundCall:
    """Numbers are as signalled; None: not told. What else the SIP headers tell about a caller who withholds
    the number is not read."""

    from_number: str | None
    to_number: str | None
    agent_id: str | None


def read_inbound_call(payload: object) -> InboundCall:
    """Raises nothing."""
    content = payload.get("call_inbound") if isinstance(payload, dict) else None
    call: Mapping[str, Any] = content if isinstance(content, dict) else {}
    return InboundCall(
        from_number=read_text(call.get("from_number")),
        to_number=read_text(call.get("to_number")),
        agent_id=read_identifier(call.get("agent_id")),
    )


def variables_for(*, company: Company, call: InboundCall, now: datetime) -> dict[str, str]:
    """The dynamic variables of a call that is about to be answered. `now` is aware.

    A called number that is not one of the company's own names no branch, and nobody is recognised there.
    """
    called = phone_numbers.normalise(call.to_number, region="ZZ")
    branch = None
    if called or not call.to_number:
        branch = branch_for(company=company, called_number=called, agent_id=call.agent_id)
    customer = _caller(company, call, called=called) if branch else None
    variables = {**NOBODY, **_about_the_company(company, branch, now=now)}
    if customer is not None:
        variables |= _about_the_caller(company, customer, now=now)
    return variables


def _variables(*, company: Company, body: bytes) -> dict[str, str]:
    return variables_for(company=company, call=read_inbound_call(parsed(body)), now=timezone.now())


def _caller(company: Company, call: InboundCall, *, called: str | None) -> Customer | None:
    """The company's customer with this number, if it is one; a withheld number is nobody's."""
    if phone_numbers.is_withheld(call.from_number):
        return None
    region = phone_numbers.region_of(called) if called else None
    number = phone_numbers.normalise(call.from_number, region=region)
    if number is None or number == called:
        return None
    return Customer.objects.filter(company=company, phone=number).first()


def _about_the_company(company: Company, branch: Branch | None, *, now: datetime) -> dict[str, str]:
    zone = company.zone_at(branch)
    return {
        "company_name": company.name,
        "branch_name": branch.name if branch else "",
        "call_language": company.language,
        "timezone": zone.key,
        # Retell's own `current_time` is the one of Los Angeles.
        "today": spoken_day(
            now.astimezone(zone).date(), zone=zone, language=company.language, now=now - _LONG_AGO
        ),
        "local_time": spoken_time(now, zone=zone, language=company.language),
    }


def _about_the_caller(company: Company, customer: Customer, *, now: datetime) -> dict[str, str]:
    variables = {"caller_known": "true", "caller_name": _name(customer)}
    # One that has begun is still the one a caller who is late means.
    appointment = (
        Appointment.objects.filter(
            doubt.is_beyond_doubt(),  # the rest is asked about and not told
            company=company,
            customer=customer,
            status__in=PROVEN_STATUSES,
            ends_at__gt=now,
        )
        .select_related("service", "branch")
        .order_by("starts_at", "pk")
        .first()
    )
    if appointment is None:
        return variables
    zone = company.zone_at(appointment.branch)
    when = spoken(appointment.starts_at, zone=zone, language=company.language, now=now)
    service = appointment.service.name if appointment.service else ""
    return variables | {
        "next_appointment": f"{service}, {when}" if service else when,
        "next_appointment_id": str(appointment.pk),
        "next_appointment_start": appointment.starts_at.astimezone(zone).isoformat(),
        "next_appointment_service": service,
        "next_appointment_branch": appointment.branch.name if appointment.branch else "",
        "next_appointment_status": str(appointment.status),
    }


def _name(customer: Customer) -> str:
    """Becomes part of the agent's instructions, and anybody can book on the web under any name: so only what
    names are made of."""
    if is_placeholder_name(customer.name):
        return ""
    spelled = "".join(
        character if unicodedata.category(character)[0] in "LM" or character in "'’.-" else " "
        for character in customer.name
    )
    return clean_text(spelled, limit=LONGEST_NAME)

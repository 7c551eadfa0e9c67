"""What the phone agent knows before it says hello: who is calling, and when they come next.

A variable that is not sent is not blank: the agent would read out `{{caller_name}}`. All about the caller is
therefore sent always, blank where it is not known. What concerns the company is left out where it could not
be read, so that the agent's own defaults hold.
"""

from __future__ import annotations

import unicodedata
from datetime import datetime, timedelta

from booking import doubt
from booking.models import PROVEN_STATUSES, Appointment
from booking.sentences import said
from booking.spoken_times import spoken, spoken_day, spoken_time
from calls.retell.dynamic_variables import NOBODY
from calls.retell.payloads import InboundCall
from customers import phone_numbers
from customers.branches import branch_for
from customers.models import Branch, Company, Customer
from customers.placeholders import clean_text, is_placeholder_name

LONGEST_NAME = 60
# A day said as from another year is said in full.
_LONG_AGO = timedelta(days=400)


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
    service = appointment.service
    return variables | {
        "next_appointment": f"{said(service)}, {when}" if service else when,
        "next_appointment_id": str(appointment.pk),
        "next_appointment_start": appointment.starts_at.astimezone(zone).isoformat(),
        "next_appointment_service": service.name if service else "",
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

"""The customer behind a call, and the identity that Cal.com is given for them.

The identity is what Cal.com compares when it decides whether "the same attendee" books again, and hands back
the original booking if so. One address shared by all callers made one attendee of them all; so nobody shares
one here.
"""

from __future__ import annotations

import re
from dataclasses import dataclass

from django.db.models import Q

from customers import statements
from customers.models import Company, Customer
from customers.names import same_person
from customers.statements import Given, Select

MOST_OF_ONE_ADDRESS = 20

_BY_PHONE = Select(lambda: Customer.objects.filter(company=Given("company"), phone=Given("phone")))
_BY_CALL = Select(
    lambda: Customer.objects.filter(company=Given("company"), anonymous_call_id=Given("anonymous_call_id"))
)


@dataclass(frozen=True)
class AttendeeIdentity:
    """What Cal.com gets: an E.164 number, a lower-case address, or both. Never neither."""

    phone: str
    email: str


class NoContact(Exception):
    """Neither a phone number nor an address is known, and the company has no domain to make one up in."""


def customer_by_phone(*, company: Company, phone: str, name: str, email: str) -> Customer:
    """The company's customer with this E.164 number, made if new. What is on record is not overwritten by
    what an agent heard.
    """
    return _find_or_create(_BY_PHONE, company, {"phone": phone}, name=name, email=email)


def anonymous_customer(*, company: Company, call_id: str, name: str, email: str) -> Customer:
    """The customer of one call with a withheld number: the same for every retry in that call."""
    return _find_or_create(_BY_CALL, company, {"anonymous_call_id": call_id}, name=name, email=email)


def customer_by_address(*, company: Company, email: str, name: str) -> Customer:
    """The company's customer who has this address and a name that goes with it, made if there is none. An
    address alone proves nobody: families and front desks share one.
    """
    if email:
        ours = _made_up_address(company, email)
        by = Q(pk=ours) if ours else Q(email=email)
        known = Customer.objects.filter(by, company=company).order_by("pk")
        for customer in known[:MOST_OF_ONE_ADDRESS]:
            if ours or not customer.name or not name or same_person(customer.name, name):
                return customer
    return Customer.objects.create(company=company, name=name, email=email)


def _made_up_address(company: Company, email: str) -> int | None:
    """The id in an address that `attendee_identity` made up for one of its customers."""
    local, _, domain = email.partition("@")
    if not company.attendee_email_domain or domain != company.attendee_email_domain.lower():
        return None
    return int(local[1:]) if re.fullmatch(r"c[0-9]{1,18}", local) else None


def attendee_identity(
    *, company: Company, customer: Customer, email: str, email_required: bool
) -> AttendeeIdentity:
    """The identity of this customer and nobody else. Raises NoContact."""
    phone = customer.phone or ""
    address = (email or customer.email).lower()
    if address and not phone and company.attendee_email_domain and _is_anothers(address, company, customer):
        address = ""  # without a phone number the address alone would make the two of them one
    if not address and (email_required or not phone):
        if not company.attendee_email_domain:
            raise NoContact
        address = f"c{customer.pk}@{company.attendee_email_domain.lower()}"
    return AttendeeIdentity(phone=phone, email=address)


def _is_anothers(address: str, company: Company, customer: Customer) -> bool:
    return Customer.objects.filter(company=company, email=address).exclude(pk=customer.pk).exists()


def _find_or_create(
    select: Select[Customer], company: Company, identity: dict[str, str], *, name: str, email: str
) -> Customer:
    found = select.first(company=company.pk, **identity)
    if found is not None:
        return found
    customer = Customer(company=company, name=name, email=email, **identity)
    # Whatever is built on this row waits for the disk, and takes it along.
    if statements.insert(customer, unless_there=True, may_be_lost=True):
        return customer
    return Customer.objects.get(company=company, **identity)  # the same person's other call was faster

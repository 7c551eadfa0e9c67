"""Calls in which something was booked and which point at no appointment."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from datetime import datetime
from zoneinfo import ZoneInfo

import orjson
from django.db.models import Q, QuerySet, TextField
from django.db.models.functions import Cast, Coalesce

from calls.models import Call
from customers.models import Company, Customer
from sync import links
from sync.booking_details import Details, NoDetails, Problem, read_details
from sync.long_lists import any_of, read_by_index


@dataclass(slots=True)
class LostCall:
    """`customer` is one of the company's own or None; `details` is None where `problem` says why."""

    pk: int
    retell_call_id: str
    branch_id: int | None
    at: datetime
    customer: KnownCustomer | None
    details: Details | None
    problem: Problem | None


@dataclass(slots=True)
class KnownCustomer:
    pk: int
    name: str
    phone: str


def lost_calls(*, company: Company, since: datetime | None) -> QuerySet[Call]:
    """`since`: only calls that began then or later."""
    # Whoever changes anything has let go of these before. A dry run counts them all the same.
    at_nothing = list(links.pointing_at_nothing(company).values_list("pk", flat=True))
    calls = Call.objects.filter(
        Q(appointment=None) | Q(pk__in=at_nothing), company=company, booking_confirmed=True
    )
    if since is None:
        return calls
    return calls.filter(Q(started_at__gte=since) | Q(started_at=None, created_at__gte=since))


def chunks(calls: QuerySet[Call], *, size: int) -> Iterator[QuerySet[Call]]:
    """The same calls in the order of their ids, `size` at a time. Each chunk is looked up when its turn
    comes, so what was done meanwhile, here or elsewhere, is not in it.
    """
    after = 0
    while True:
        ids = list(calls.filter(pk__gt=after).order_by("pk").values_list("pk", flat=True)[:size])
        if not ids:
            return
        yield calls.filter(pk__gt=after, pk__lte=ids[-1])
        after = ids[-1]


def read_calls(calls: QuerySet[Call], *, company: Company) -> list[LostCall]:
    """The first call first."""
    at_that_time = Coalesce("started_at", "created_at")
    written_there = Cast("booking_details", TextField())
    rows = list(
        calls.order_by().values_list(
            "pk",
            "retell_call_id",
            "branch_id",
            "branch__timezone",
            at_that_time,
            "customer_id",
            written_there,
        )
    )
    customers = _known_customers({row[5] for row in rows} - {None}, company=company)
    zone_of_company = company.zone
    read = []
    for pk, retell_call_id, branch_id, timezone, at, customer_id, written in rows:
        zone = ZoneInfo(timezone) if timezone else zone_of_company
        details, problem = None, None
        try:
            details = read_details(_parsed(written), zone=zone, now=at)
        except NoDetails as error:
            problem = error.problem
        read.append(
            LostCall(
                pk=pk,
                retell_call_id=retell_call_id,
                branch_id=branch_id,
                at=at,
                customer=customers.get(customer_id),
                details=details,
                problem=problem,
            )
        )
    read.sort(key=lambda call: (call.at, call.pk))
    return read


def _parsed(text: str | None) -> object:
    """Twice as fast as the standard library does it for a JSONField. What cannot be parsed stays as it is."""
    try:
        return None if text is None else orjson.loads(text)
    except orjson.JSONDecodeError:
        return text


def _known_customers(ids: set[int], *, company: Company) -> dict[int, KnownCustomer]:
    with read_by_index():
        ours = Customer.objects.filter(any_of(Customer, "id", ids), company=company)
        rows = ours.order_by().values_list("pk", "name", "phone")
        return {pk: KnownCustomer(pk, name, phone or "") for pk, name, phone in rows}

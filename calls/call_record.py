"""The call a function request belongs to: found, or recorded. And how the blanks of a call are filled in with
what is told about it, by a request or an event.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from calls.models import Call
from calls.retell.call_snapshot import CallSnapshot
from calls.retell.payloads import FunctionRequest
from customers import phone_numbers, statements
from customers.branches import branch_for, only_branch
from customers.models import Branch, Company
from customers.statements import Given, Select

# What was said in a call can be long, and nobody who answers a function needs it.
_CALL = Select(
    lambda: (
        Call.objects.filter(company=Given("company"), retell_call_id=Given("retell_call_id"))
        .select_related("branch")
        .defer("transcript", "summary", "analysis", "booking_details")
    )
)


def find_or_record(*, company: Company, request: FunctionRequest) -> Call:
    """Whichever of events and functions comes first records the call; the others fill in what it left blank,
    and blank nothing. `request.call_id` must be known."""
    call = _find(company, request)
    if call is None:
        call = Call(company=company, retell_call_id=request.call_id or "")
        _fill_in(call, company, request)
        # Whatever is built on this row waits for the disk, and takes it along.
        if statements.insert(call, unless_there=True, may_be_lost=True):
            return call
        call = _find(company, request)  # two requests of one call at once
        if call is None:
            raise Call.DoesNotExist
    if news := _fill_in(call, company, request):
        Call.objects.filter(pk=call.pk).update(**news)
    return call


def their_number(call: Call) -> str | None:
    """The number at the other end, as signalled; None if it is withheld or there is none (a web call).

    None too if it is the one that was called: a line that is forwarded may signal itself, and then everybody
    who calls has the same number.
    """
    theirs = call.to_number if call.direction == Call.Direction.OUTBOUND else call.from_number
    return None if phone_numbers.is_withheld(theirs) or is_ours(call, theirs) else theirs


def callers_number(call: Call, *, region: str) -> str | None:
    """The same in E.164, None too if it cannot be read."""
    return phone_numbers.normalise(their_number(call), region=region)


def is_from(call: Call, number: str | None) -> bool:
    """Whether the number at the other end is this one, in E.164: it is called from, not merely said."""
    if not number:
        return False
    return callers_number(call, region=phone_numbers.region_of(number) or "ZZ") == number


def callers_own(call: Call, said: str, *, region: str) -> str | None:
    """The number at the other end, in E.164, if that is what was said: a caller from abroad says it as at
    home, where it may be somebody else's number here.
    """
    calling = callers_number(call, region=region)
    home = phone_numbers.region_of(calling) if calling else None
    return calling if home and phone_numbers.normalise(said, region=home) == calling else None


def our_number(call: Call) -> str | None:
    ours = call.from_number if call.direction == Call.Direction.OUTBOUND else call.to_number
    return ours or None


def is_ours(call: Call, number: str | None) -> bool:
    """Whether the number, in any spelling, is the one of ours in this call."""
    ours = phone_numbers.normalise(our_number(call), region="ZZ")
    if ours is None:
        return False
    return phone_numbers.normalise(number, region=phone_numbers.region_of(ours)) == ours


def what_is_new(call: Call, told: Mapping[str, Any]) -> dict[str, Any]:
    """What of this the call does not know yet: nothing is taken back or said anew."""
    return {name: value for name, value in told.items() if value and not getattr(call, name)}


def fill_in(call: Call, company: Company, news: dict[str, Any]) -> dict[str, Any]:
    """Give the call in memory these values, and its branch if that can be told now. Returns all that has
    changed.
    """
    for name, value in news.items():
        setattr(call, name, value)
    if call.branch_id is None:
        call.branch = branch_of(call, company)
        if call.branch is not None:
            return {**news, "branch": call.branch}
    return news


def branch_of(call: Call, company: Company) -> Branch | None:
    """The branch whose number was called, or whose agent answered; None if that cannot be told."""
    ours = our_number(call)
    if not ours and not call.agent_id:
        return only_branch(company)  # arguments only, with nothing but the call's id
    number = phone_numbers.normalise(ours, region="ZZ") if ours else None
    if ours and number is None:
        return None
    return branch_for(company=company, called_number=number, agent_id=call.agent_id)


def direction_of(told: FunctionRequest | CallSnapshot) -> str:
    if told.call_type == "web_call":
        return Call.Direction.WEB
    known = (Call.Direction.INBOUND, Call.Direction.OUTBOUND)
    return told.direction if told.direction in known else ""


def _find(company: Company, request: FunctionRequest) -> Call | None:
    return _CALL.first(company=company.pk, retell_call_id=request.call_id)


def _fill_in(call: Call, company: Company, request: FunctionRequest) -> dict[str, Any]:
    told = {
        "agent_id": request.agent_id,
        "from_number": request.from_number,
        "to_number": request.to_number,
        "direction": direction_of(request),
        "started_at": request.start_timestamp,
    }
    return fill_in(call, company, what_is_new(call, told))

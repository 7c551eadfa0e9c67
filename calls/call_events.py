"""Apply what Retell says about a call to our row of it.

Events come in any order and number, before or after the first function call. Each fills in what was not
known; none blanks a field or takes back an end. What Retell's analysis believes about bookings is kept beside
our own record and never changes it: the flags and the backlink are written with a proven booking and nowhere
else.
"""

from __future__ import annotations

from typing import Any

from django.db import transaction

from calls import call_record, deliveries
from calls.models import Call, WebhookEvent
from calls.retell.call_snapshot import CallSnapshot, read_call
from customers import statements
from customers.database import transaction_that_may_be_lost
from customers.json_values import read_json
from customers.models import Company
from customers.statements import Given, Select

STARTED, ENDED, ANALYZED = "call_started", "call_ended", "call_analyzed"
Status = WebhookEvent.Status

APPLIED = frozenset({STARTED, ENDED, ANALYZED})

_LOCKED = Select(
    lambda: Call.objects.filter(company=Given("company"), retell_call_id=Given("retell_call_id")),
    lock="FOR NO KEY UPDATE",
)


def work(event: WebhookEvent) -> None:
    """Apply a stored delivery; the effect and its being processed are one transaction: should that be lost,
    the delivery waits again.
    """
    payload = read_json(event.body.encode())
    snapshot = read_call(payload.get("call") if isinstance(payload, dict) else None)
    with transaction_that_may_be_lost():
        if event.event_type not in APPLIED:
            deliveries.finish(event, status=Status.IGNORED, note="Nothing is done with this event.")
        elif snapshot.call_id is None:
            deliveries.finish(event, status=Status.IGNORED, note="It names no call.")
        else:
            apply(company=event.company, event=event.event_type, snapshot=snapshot)
            deliveries.finish(event, status=Status.PROCESSED)


def apply(*, company: Company, event: str, snapshot: CallSnapshot) -> Call:
    """Record the call if it is new, and fill in. `snapshot.call_id` must be known."""
    with transaction.atomic(savepoint=False):
        call = _locked(company, snapshot)
        if call is None:
            call = Call(company=company, retell_call_id=snapshot.call_id or "")
            call_record.fill_in(call, company, _news(call, event, snapshot))
            if statements.insert(call, unless_there=True):
                return call
            call = _locked(company, snapshot)  # a function call of it came at the same moment
            if call is None:
                raise Call.DoesNotExist
        if news := call_record.fill_in(call, company, _news(call, event, snapshot)):
            Call.objects.filter(pk=call.pk).update(**news)
    return call


def _locked(company: Company, snapshot: CallSnapshot) -> Call | None:
    return _LOCKED.first(company=company.pk, retell_call_id=snapshot.call_id or "")


def _news(call: Call, event: str, snapshot: CallSnapshot) -> dict[str, Any]:
    told = {
        "agent_id": snapshot.agent_id,
        "from_number": snapshot.from_number,
        "to_number": snapshot.to_number,
        "direction": call_record.direction_of(snapshot),
        "started_at": snapshot.started_at,
        "ended_at": snapshot.ended_at,
        "disconnection_reason": snapshot.disconnection_reason,
        "summary": snapshot.summary,
        "analysis": snapshot.analysis,
    }
    news = call_record.what_is_new(call, told)
    # The transcript grows while the call lasts: what is longer is later.
    if len(snapshot.transcript) > len(call.transcript):
        news["transcript"] = snapshot.transcript
    if call.status == Call.Status.ONGOING and (event in (ENDED, ANALYZED) or snapshot.has_ended):
        news["status"] = _final_status(snapshot)
    return news


def _final_status(snapshot: CallSnapshot) -> Call.Status:
    if snapshot.never_connected:
        return Call.Status.NOT_CONNECTED
    return Call.Status.ERROR if snapshot.has_error else Call.Status.ENDED

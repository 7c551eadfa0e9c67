"""What Retell tells about calls: in any order and number, before and after the functions of the call."""

from __future__ import annotations

import copy
import itertools
import json
import threading
import time
from pathlib import Path

import pytest
from django.db import connection
from django.db.models import F
from django.test import Client

from calls.models import Call, RefusedDelivery, WebhookEvent
from calls.retell import signature
from tests.flows.conftest import make_salon
from tests.flows.database_refusals import refusals
from tests.flows.phone import at

PAYLOADS = Path(__file__).parent.parent / "payloads" / "retell"
EVENTS = {
    name: json.loads((PAYLOADS / f"webhook_{name}.json").read_bytes())
    for name in ("call_started", "call_ended", "call_analyzed")
}


def tell(company, payload, *, key="", header=None):
    body = payload if isinstance(payload, bytes) else json.dumps(payload).encode()
    signed = signature.sign(body, key or company.retell_api_key, now_ms=time.time_ns() // 1_000_000)
    return (
        Client()
        .post(
            f"/hooks/{company.endpoint_id}/retell/events",
            data=body,
            content_type="application/json",
            headers={"X-Retell-Signature": signed if header is None else header},
        )
        .status_code
    )


def about(call_id, event, **changes):
    payload = copy.deepcopy(EVENTS[event])
    payload["call"].update({"call_id": call_id, **changes})
    return payload


def final_state():
    row = Call.objects.values(
        "retell_call_id", "from_number", "to_number", "direction", "status", "started_at", "ended_at",
        "disconnection_reason", "transcript", "summary", "analysis",
    )  # fmt: skip
    return row.get()


@pytest.mark.parametrize("order", list(itertools.permutations(EVENTS)))
def test_the_order_of_events_does_not_matter(salon, work, order):
    for event in order:
        assert tell(salon, EVENTS[event]) == 200
        work()
    call = Call.objects.get()
    told = EVENTS["call_analyzed"]["call"]
    assert call.status == Call.Status.ENDED
    assert call.transcript == told["transcript"]
    assert call.summary == told["call_analysis"]["call_summary"]
    assert call.analysis == told["call_analysis"]
    assert call.from_number == told["from_number"]
    assert Call.objects.filter(started_at__lt=F("ended_at")).exists()
    state = final_state()
    for event in order:
        tell(salon, EVENTS[event])
        work()
    assert final_state() == state
    assert WebhookEvent.objects.count() == 3


def test_an_event_after_a_function_blanks_nothing_and_keeps_the_booking(salon, phone, work, verdict):
    caller = phone()
    assert caller.book(at(10)).code == "booked"
    started = about(caller.call_id, "call_started", from_number=caller.from_number)
    del started["call"]["to_number"]
    tell(salon, started)
    tell(salon, about(caller.call_id, "call_ended", from_number=None, to_number=None))
    work()
    call = Call.objects.get()
    assert (call.from_number, call.to_number) == (caller.from_number, caller.to_number)
    assert call.branch is not None
    assert (call.booking_confirmed, call.appointment_made) == (True, True)
    assert call.appointment is not None
    assert call.status == Call.Status.ENDED
    verdict()


@pytest.mark.parametrize("successful", [True, False])
def test_retells_own_verdict_changes_nothing_of_ours(salon, phone, work, verdict, successful):
    booked, asked = phone(), phone()
    booked.book(at(10))
    asked.ask("list_services")
    for caller in (booked, asked):
        analysis = {"call_successful": successful, "custom_analysis_data": {"appointment_booked": successful}}
        tell(salon, about(caller.call_id, "call_analyzed", call_analysis=analysis))
    work()
    flags = dict(Call.objects.values_list("retell_call_id", "booking_confirmed"))
    assert flags == {booked.call_id: True, asked.call_id: False}
    assert {call.analysis["call_successful"] for call in Call.objects.all()} == {successful}
    verdict()


def test_a_transcript_only_grows(salon, work):
    tell(salon, about("call_long", "call_analyzed", transcript="Agent: Hello. User: Bye."))
    tell(salon, about("call_long", "call_ended", transcript="Agent: Hello."))
    work()
    assert Call.objects.get().transcript == "Agent: Hello. User: Bye."


def test_a_transcript_that_grows_in_this_moment_is_not_cut_short(salon, work, meanwhile):
    tell(salon, about("call_long", "call_started", transcript=""))
    work()
    tell(salon, about("call_long", "call_ended", transcript="Agent: Hello."))
    meanwhile(lambda: Call.objects.update(transcript="Agent: Hello. User: Bye."))
    work()
    assert WebhookEvent.objects.filter(status="processed").count() == 2
    assert Call.objects.get().transcript == "Agent: Hello. User: Bye."


def test_how_a_call_ended_is_not_taken_back_by_an_event_that_does_not_say_so(salon, work):
    tell(salon, about("call_busy", "call_ended", disconnection_reason="dial_busy", transcript=""))
    work()
    tell(salon, about("call_busy", "call_analyzed", disconnection_reason="", transcript=""))
    work()
    assert Call.objects.get().status == "not_connected"


def test_a_call_that_never_connected_is_told_apart(salon, work):
    for number, reason in enumerate(("dial_busy", "user_hangup", "error_llm_websocket_open"), start=1):
        call_id = f"call_{number:032x}"
        tell(salon, about(call_id, "call_ended", disconnection_reason=reason, transcript=""))
    work()
    assert list(Call.objects.order_by("retell_call_id").values_list("status", flat=True)) == [
        "not_connected",
        "ended",
        "error",
    ]


@pytest.mark.parametrize("sample", sorted(PAYLOADS.glob("webhook_*.json")), ids=lambda path: path.stem)
def test_every_sample_is_taken_and_applied(salon, work, sample):
    assert tell(salon, sample.read_bytes()) == 200
    work()
    assert WebhookEvent.objects.get().status == "processed"
    assert Call.objects.count() == 1


def test_copies_at_once_are_all_answered_and_stored_once(salon, work):
    answers = []

    def send():
        try:
            answers.append(tell(salon, EVENTS["call_ended"]))
        finally:
            connection.close()

    threads = [threading.Thread(target=send) for _ in range(8)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert answers == [200] * 8
    assert (
        WebhookEvent.objects.get().webhook_id
        == f"retell:call_ended:{EVENTS['call_ended']['call']['call_id']}"
    )
    work()
    assert Call.objects.count() == 1


def test_one_call_id_in_two_companies_is_two_calls(calcom, salon, work):
    other = make_salon(calcom, slug="other", number="+493087654321")
    for company in (salon, other):
        assert tell(company, EVENTS["call_ended"]) == 200
    work()
    assert set(Call.objects.values_list("company", flat=True)) == {salon.pk, other.pk}


def test_an_event_nobody_here_knows_is_kept_and_ignored(salon, work):
    for call_id in ("call_a1", "call_b2"):
        assert tell(salon, {"event": "transcript_updated", "call": {"call_id": call_id}}) == 200
    assert tell(salon, {"event": "call_ended", "call": {"call_id": "{{call_id}}"}}) == 200
    assert tell(salon, {"event": "call_ended"}) == 200
    assert tell(salon, [1, 2]) == 200
    work()
    assert list(WebhookEvent.objects.values_list("status", flat=True)) == ["ignored"] * 5
    assert not Call.objects.exists()


def test_what_no_database_can_hold_is_made_storable(salon, work):
    assert tell(salon, json.dumps(about("call_x1", "call_ended", transcript="a\x00b")).encode()) == 200
    assert (
        tell(salon, b'{"event":"call_analyzed","call":{"call_id":"call_x1","transcript":"abc\\ud83d"}}')
        == 200
    )
    work()
    assert set(WebhookEvent.objects.values_list("status", flat=True)) == {"processed"}


def test_refused_deliveries_are_counted_and_leave_nothing_else(salon):
    for header in ("", f"v=1,d={'0' * 64}", "nonsense"):
        assert tell(salon, EVENTS["call_ended"], header=header) == 401
    assert tell(salon, EVENTS["call_ended"], key="key_of_somebody_else") == 401
    assert tell(salon, EVENTS["call_ended"], key="key_of_somebody_else") == 401
    counts = {row.reason: row.count for row in RefusedDelivery.objects.all()}
    assert counts == {"missing": 1, "stale": 1, "malformed": 1, "mismatch": 2}
    assert not WebhookEvent.objects.exists()


def test_the_work_of_a_delivery_and_its_being_processed_are_one(salon, work):
    """A failing effect leaves the delivery to be tried again; nothing of it is half there."""
    tell(salon, EVENTS["call_ended"])
    with refusals() as refused:
        refused.add("calls", "INSERT", text="disk full")
        work()
    event = WebhookEvent.objects.get()
    assert (event.status, event.attempts) == ("failed", 1)
    assert not Call.objects.exists()
    work(seconds=60)
    event.refresh_from_db()
    assert event.status == "processed"
    assert Call.objects.count() == 1

"""Reading what Retell says about a call."""

from __future__ import annotations

import datetime as dt
import json
import string
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from calls.retell.call_snapshot import LONGEST_TRANSCRIPT, CallSnapshot, read_call

PAYLOADS = Path(__file__).resolve().parents[1] / "payloads" / "retell"
EVENTS = sorted(PAYLOADS.glob("webhook_*.json"))


def told(name: str) -> CallSnapshot:
    return read_call(json.loads((PAYLOADS / name).read_text())["call"])


@pytest.mark.parametrize("path", EVENTS, ids=lambda path: path.stem)
def test_every_recorded_event_tells_its_call(path: Path):
    payload = json.loads(path.read_text())
    call, snapshot = payload["call"], read_call(payload["call"])
    assert snapshot.call_id == call["call_id"]
    assert snapshot.agent_id == call["agent_id"]
    assert snapshot.call_type == call["call_type"]
    assert snapshot.from_number == call.get("from_number")
    assert snapshot.to_number == call.get("to_number")
    assert snapshot.direction == call.get("direction")
    assert snapshot.transcript == call.get("transcript", "")
    assert snapshot.analysis == call.get("call_analysis", {})
    assert snapshot.started_at is not None
    assert snapshot.started_at.timestamp() * 1000 == call["start_timestamp"]
    assert snapshot.has_ended is (payload["event"] != "call_started")
    assert not snapshot.never_connected
    assert not snapshot.has_error


def test_all_recorded_events_are_looked_at():
    assert {path.stem for path in EVENTS} >= {
        "webhook_call_started",
        "webhook_call_ended",
        "webhook_call_ended_anonymous",
        "webhook_call_analyzed",
        "webhook_call_analyzed_web_call",
    }


def test_the_call_of_a_function_request_is_read_the_same_way():
    snapshot = told("function_book_appointment.json")
    assert snapshot.call_id
    assert snapshot.from_number
    assert not snapshot.has_ended


def test_an_analyzed_call_has_its_summary_and_its_instants():
    snapshot = told("webhook_call_analyzed.json")
    assert snapshot.summary == snapshot.analysis["call_summary"] != ""
    assert snapshot.ended_at == dt.datetime(2026, 11, 16, 15, 6, 22, 600_000, tzinfo=dt.UTC)
    assert snapshot.disconnection_reason == "user_hangup"


def test_a_withheld_number_stays_as_it_was_signalled():
    assert told("webhook_call_ended_anonymous.json").from_number == "anonymous"


def test_a_web_call_has_no_numbers_and_no_direction():
    snapshot = told("webhook_call_analyzed_web_call.json")
    assert (snapshot.from_number, snapshot.to_number, snapshot.direction) == (None, None, None)


def test_the_status_of_an_event_says_nothing_about_its_end():
    snapshot = read_call(
        {"call_id": "call_1abc", "call_status": "registered", "end_timestamp": 1794841582600}
    )
    assert snapshot.has_ended
    assert snapshot.is_over
    assert not read_call({"call_id": "call_1abc", "call_status": "ended"}).has_ended


@pytest.mark.parametrize(
    ("status", "is_over"),
    [
        ("registered", False), ("ongoing", False), (None, False), ("a_new_word", False),
        ("ended", True), ("error", True), ("not_connected", True),
    ],
)  # fmt: skip
def test_the_status_counts_where_retell_was_asked(status, is_over):
    assert read_call({"call_id": "call_1abc", "call_status": status}).is_over is is_over


STARTED = {"start_timestamp": 1794841445120}


@pytest.mark.parametrize(
    ("call", "never_connected", "has_error"),
    [
        ({"disconnection_reason": "dial_no_answer"}, True, False),
        ({"disconnection_reason": "dial_no_answer", **STARTED}, True, False),
        ({"disconnection_reason": "concurrency_limit_reached"}, True, False),
        ({"disconnection_reason": "credit_exhausted", **STARTED}, False, False),
        ({"disconnection_reason": "user_hangup", **STARTED}, False, False),
        ({"disconnection_reason": "voicemail_reached", **STARTED}, False, False),
        ({"disconnection_reason": "error_retell", **STARTED}, False, True),
        ({"disconnection_reason": "a_new_word", **STARTED}, False, False),
        ({"call_status": "not_connected"}, True, False),
        ({"call_status": "error"}, False, True),
        # The reason is the more exact word.
        ({"call_status": "error", "disconnection_reason": "user_hangup"}, False, False),
    ],
)
def test_how_a_call_came_to_its_end(call, never_connected, has_error):
    snapshot = read_call({"call_id": "call_1abc", **call})
    assert snapshot.never_connected is never_connected
    assert snapshot.has_error is has_error


def test_what_no_database_can_hold_is_left_out():
    snapshot = read_call(
        {
            "call_id": "call_1abc",
            "transcript": "Agent: hel\x00lo\ud83d " + "x" * LONGEST_TRANSCRIPT,
            "from_number": "sip:" + "a" * 200 + "@example.org",
            "disconnection_reason": "r" * 200,
            "call_analysis": {"call_summary": "good\x00", "deep": {"score": float("nan"), "big": 2**80}},
        }
    )
    assert snapshot.transcript.startswith("Agent: hello xxx")
    assert len(snapshot.transcript) == LONGEST_TRANSCRIPT
    assert snapshot.from_number is not None
    assert len(snapshot.from_number) == 64
    assert len(snapshot.disconnection_reason) == 64
    assert snapshot.summary == "good"
    assert snapshot.analysis["deep"] == {"score": None, "big": str(2**80)}


@pytest.mark.parametrize("value", [None, [], "call", 7, {}, {"call_id": ["x"]}, {"call_id": "{{call_id}}"}])
def test_what_is_no_call_is_one_without_an_id(value):
    assert read_call(value).call_id is None


_JSON = st.recursive(
    st.none() | st.booleans() | st.floats() | st.integers() | st.text(),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(max_size=5), inner, max_size=3),
    max_leaves=8,
)
_FIELDS = (
    "call_id", "call_type", "call_status", "agent_id", "direction", "from_number", "to_number",
    "start_timestamp", "end_timestamp", "disconnection_reason", "transcript", "call_analysis",
)  # fmt: skip


@given(st.dictionaries(st.sampled_from(_FIELDS), _JSON))
def test_no_json_value_breaks_the_reading(call: dict[str, Any]):
    snapshot = read_call(call)
    assert len(snapshot.disconnection_reason) <= 64
    # It can be stored: as UTF-8, and as JSON without NaN.
    json.dumps(snapshot.analysis, allow_nan=False).encode()
    for text in (snapshot.transcript, snapshot.summary, snapshot.disconnection_reason):
        assert "\x00" not in text
        text.encode()  # raises on half a surrogate pair
    assert set(snapshot.call_id or "") <= set(string.ascii_letters + string.digits + "_.:-")

"""What Retell says about a call: in its events, and when it is asked (`GET /v2/get-call`). It is the same
object both times.

Read leniently: unknown keys and values are usual, and a strict reader would throw away a call for a new word.
`call_status` of an event is not believed (the documented `call_ended` says "registered"): the event's name,
the end and the reason are. What is kept can be stored as it is: no text is longer than its column, and none
holds a character that PostgreSQL refuses.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from datetime import datetime
from typing import Any

from calls.retell.payloads import read_identifier, read_milliseconds, read_number, read_text
from customers.json_values import storable

# Nobody ever picked up, whatever times are given with it: the ringing has a start and an end as well.
UNANSWERED = frozenset(
    {
        "dial_busy",
        "dial_failed",
        "dial_no_answer",
        "user_declined",
        "invalid_destination",
        "error_user_not_joined",
        "registered_call_timeout",
    }
)
# Turned away by Retell or the network. Some of it can also befall a call that is under way: one that had a
# start was a call.
TURNED_AWAY = frozenset(
    {
        "concurrency_limit_reached",
        "no_concurrency_fallback",
        "no_valid_payment",
        "credit_exhausted",
        "budget_reached",
        "scam_detected",
        "telephony_provider_permission_denied",
        "telephony_provider_unavailable",
        "sip_routing_error",
        "marked_as_spam",
        "network_blocked",
    }
)
OVER = frozenset({"ended", "error", "not_connected"})

LONGEST_TRANSCRIPT = 500_000
LONGEST_SUMMARY = 20_000
LONGEST_REASON = 64


@dataclass(frozen=True, kw_only=True)
class CallSnapshot:
    """Instants are UTC; what was not said is None or empty. Numbers are as signalled ("anonymous" included).

    `call_status` can be believed where Retell was asked, not in an event.
    """

    call_id: str | None
    call_type: str | None
    call_status: str | None
    agent_id: str | None
    direction: str | None
    from_number: str | None
    to_number: str | None
    started_at: datetime | None
    ended_at: datetime | None
    disconnection_reason: str
    transcript: str
    summary: str
    analysis: dict[str, Any] = field(default_factory=dict)

    @property
    def never_connected(self) -> bool:
        if not self.disconnection_reason:
            return self.call_status == "not_connected"
        return self.disconnection_reason in UNANSWERED or (
            self.disconnection_reason in TURNED_AWAY and self.started_at is None
        )

    @property
    def has_error(self) -> bool:
        if not self.disconnection_reason:
            return self.call_status == "error"
        return self.disconnection_reason.startswith("error_")

    @property
    def has_ended(self) -> bool:
        """As far as an event can tell."""
        return self.ended_at is not None or bool(self.disconnection_reason)

    @property
    def is_over(self) -> bool:
        """For an answer to `get-call`, whose status counts too."""
        return self.has_ended or self.call_status in OVER


def read_call(value: object) -> CallSnapshot:
    """Raises nothing: whatever is not a call is one without an id."""
    call: Mapping[str, Any] = value if isinstance(value, dict) else {}
    analysis = call.get("call_analysis")
    analysis = storable(analysis) if isinstance(analysis, dict) else {}
    return CallSnapshot(
        call_id=read_identifier(call.get("call_id")),
        call_type=read_text(call.get("call_type")),
        call_status=read_text(call.get("call_status")),
        agent_id=read_identifier(call.get("agent_id")),
        direction=read_text(call.get("direction")),
        from_number=read_number(call.get("from_number")),
        to_number=read_number(call.get("to_number")),
        started_at=read_milliseconds(call.get("start_timestamp")),
        ended_at=read_milliseconds(call.get("end_timestamp")),
        disconnection_reason=(read_text(call.get("disconnection_reason")) or "")[:LONGEST_REASON],
        transcript=_long_text(call.get("transcript"), longest=LONGEST_TRANSCRIPT),
        summary=_long_text(analysis.get("call_summary"), longest=LONGEST_SUMMARY),
        analysis=analysis,
    )


def _long_text(value: object, *, longest: int) -> str:
    return str(storable(value))[:longest] if isinstance(value, str) else ""

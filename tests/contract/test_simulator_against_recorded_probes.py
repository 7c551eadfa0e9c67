"""The simulator against answers recorded from a real Cal.com API v2 server (cal.diy 6.2.0, 2026-11-21).

Every recorded request is replayed in order over HTTP and the answer, and the webhooks it caused, must be
equal in status, keys, texts and values once written down in the recording's words. Nothing is exempt but
what the recording itself names as differing between two runs (`ignored`).
"""

from __future__ import annotations

import json
from datetime import UTC, date, datetime, timedelta
from pathlib import Path
from typing import Any

import pytest

from booking.calcom.simulator.server import Simulator
from booking.calcom.simulator.worlds import DEFAULT_KEY
from tests.contract.probe_replay import Replay, differences
from tests.contract.webhook_sink import WebhookSink

RECORDING = json.loads((Path(__file__).parent / "recordings" / "calcom_probes.json").read_text())
PROBES: dict[str, list[dict[str, Any]]] = {probe["probe"]: probe["steps"] for probe in RECORDING["probes"]}
IGNORED = frozenset(RECORDING["ignored"])

# These saw bookings that an earlier probe had left behind, so many days before.
CONTINUES = {"version_list": ("list_filters", 2)}

VALUE_KEYS = frozenset(
    key
    for steps in PROBES.values()
    for step in steps
    for delivery in step.get("webhooks", ())
    for key in delivery["values"]
)


def a_coming_wednesday() -> date:
    """Far enough to be future all day; three days later is a Saturday, without slots, as recorded."""
    today = datetime.now(UTC).date()
    return today + timedelta(days=(2 - today.weekday()) % 7 + 14)


def comparable(value: Any) -> Any:
    if isinstance(value, dict):
        return {key: comparable(each) for key, each in value.items() if key not in IGNORED}
    return [comparable(each) for each in value] if isinstance(value, list) else value


def replay_of(*, simulator: Simulator, sink: WebhookSink, day: date) -> Replay:
    event_types = {name: simulator.state.event_type(name).id for name in ("single", "roundrobin", "confirm")}
    return Replay(
        base_url=simulator.base_url,
        api_key=DEFAULT_KEY,
        sink=sink,
        event_types=event_types,
        day=day,
        value_keys=VALUE_KEYS,
    )


def recorded_world(simulator: Simulator) -> None:
    """The recorded account had three event types only."""
    account = simulator.state.account()
    for event_type in list(account.event_types.values()):
        if event_type.key not in ("single", "roundrobin", "confirm"):
            del account.event_types[event_type.id]


@pytest.mark.parametrize("probe", PROBES)
def test_the_simulator_answers_as_cal_com_was_recorded(probe: str) -> None:
    day = a_coming_wednesday()
    with WebhookSink() as sink, Simulator() as simulator:
        recorded_world(simulator)
        if any("parallel" in step for step in PROBES[probe]):
            # parallel requests meet between the look for a free slot and the writing, as on the real server
            simulator.state.thinking_seconds = 0.3
        if probe != "webhook_subscription":
            replay_of(simulator=simulator, sink=sink, day=day).step(PROBES["webhook_subscription"][0])
        if probe in CONTINUES:
            earlier, days = CONTINUES[probe]
            before = replay_of(simulator=simulator, sink=sink, day=day - timedelta(days=days))
            for step in PROBES[earlier]:
                before.step(step)
        replay = replay_of(simulator=simulator, sink=sink, day=day)
        for number, step in enumerate(PROBES[probe], start=1):
            answered = replay.step(step)
            where = f"step {number}: {step['method']} {step['path']}"
            assert differences(comparable(answered["answer"]), comparable(step["answer"])) == [], where
            if "parallel" not in step:
                assert answered["status"] == step["status"], where
            if "webhooks" in step:
                assert differences(answered["webhooks"], step["webhooks"]) == [], where


def test_the_recording_is_whole() -> None:
    assert len(PROBES) == 70
    assert sum(len(steps) for steps in PROBES.values()) == 273

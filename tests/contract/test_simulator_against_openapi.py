"""The simulator's answers against Cal.com's own OpenAPI document (trimmed to the calls we make).

The document is wrong in places, where the recorded answers of the real server differ from it. They are named
below, each with what the server really sends; everywhere else the document must hold.
"""

from __future__ import annotations

import copy
import json
from collections.abc import Iterator
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import jsonschema
import pytest
import requests

from booking.calcom.simulator.server import Simulator
from booking.calcom.simulator.worlds import DEFAULT_KEY

DOCUMENT = json.loads((Path(__file__).parent / "recordings" / "calcom-api-v2.openapi.json").read_text())

START = datetime.now(UTC).replace(hour=9, minute=0, second=0, microsecond=0) + timedelta(days=20)
VERSIONS = {"bookings": "2024-08-13", "slots": "2024-09-04", "event-types": "2024-06-14"}

BOOKING_SCHEMAS = [name for name in DOCUMENT["components"]["schemas"] if "BookingOutput_2024_08_13" in name]
EVENT_TYPE_SCHEMAS = ["EventTypeOutput_2024_06_14", "TeamEventTypeOutput_2024_06_14"]
WEBHOOK_SCHEMAS = ["UserWebhookOutputDto", "EventTypeWebhookOutputDto"]

# the document promises a value, the server sends null when there is none
NULLABLE = [
    *((name, key) for name in BOOKING_SCHEMAS for key in ("rating", "rescheduledByEmail")),
    *(("MeOutput", key) for key in ("avatarUrl", "bio", "organizationId")),
    *(
        (name, key)
        for name in EVENT_TYPE_SCHEMAS
        for key in ("interfaceLanguage", "recurrence", "scheduleId", "slotInterval", "successRedirectUrl")
    ),
    *((name, key) for name in WEBHOOK_SCHEMAS for key in ("payloadTemplate", "secret")),
]
# the document names another type than the server sends
OTHERWISE: dict[tuple[str, str], dict[str, Any]] = {
    **{(name, "bookingWindow"): {"type": "object"} for name in EVENT_TYPE_SCHEMAS},
    **{(name, "forwardParamsSuccessRedirect"): {"type": "boolean"} for name in EVENT_TYPE_SCHEMAS},
    **{(name, "id"): {"type": "string", "format": "uuid"} for name in WEBHOOK_SCHEMAS},
    # {"disabled": true} where no seats are sold
    **{(name, "seats"): {"type": "object"} for name in EVENT_TYPE_SCHEMAS},
    ("EventTypeOutput_2024_06_14", "users"): {"type": "array", "items": {"type": "object"}},
    ("TeamEventTypeOutput_2024_06_14", "hosts"): {"type": "array", "items": {"type": "object"}},
    ("TeamEventTypeOutput_2024_06_14", "ownerId"): {"type": "null"},
    ("TeamEventTypeOutput_2024_06_14", "parentEventTypeId"): {"type": "null"},
    # only the id of it is sent
    ("TeamEventTypeOutput_2024_06_14", "team"): {
        "type": "object",
        "required": ["id"],
        "properties": {"id": {"type": "number"}},
    },
}
# the document forgot the envelope, and says that slots are strings
SLOTS = {
    "type": "object",
    "required": ["status", "data"],
    "properties": {
        "status": {"const": "success"},
        "data": {
            "type": "object",
            "additionalProperties": {
                "type": "array",
                "items": {
                    "type": "object",
                    "required": ["start"],
                    "properties": {"start": {"type": "string"}, "end": {"type": "string"}},
                },
            },
        },
    },
}


def repaired_components() -> dict[str, Any]:
    components: dict[str, Any] = copy.deepcopy(DOCUMENT["components"])
    schemas = components["schemas"]
    for name, key in NULLABLE:
        if key in schemas[name].get("properties", {}):
            schemas[name]["properties"][key] = {"anyOf": [schemas[name]["properties"][key], {"type": "null"}]}
    for (name, key), schema in OTHERWISE.items():
        assert key in schemas[name]["properties"], f"nothing to repair: {name}.{key}"
        schemas[name]["properties"][key] = schema
    return components


COMPONENTS = repaired_components()


def problems(method: str, path: str, answer: requests.Response) -> list[str]:
    """What the document has against this answer, one line each."""
    responses = DOCUMENT["paths"][f"/v2{path}"][method.lower()]["responses"]
    assert str(answer.status_code) in responses, answer.text
    schema = responses[str(answer.status_code)]["content"]["application/json"]["schema"]
    root = SLOTS if path == "/slots" else {**schema, "components": COMPONENTS}
    validator = jsonschema.Draft202012Validator(root)
    return [f"{error.json_path}: {error.message[:300]}" for error in validator.iter_errors(answer.json())]


class Client:
    def __init__(self, simulator: Simulator) -> None:
        self.simulator = simulator

    def send(self, method: str, path: str, **options: Any) -> requests.Response:
        version = VERSIONS.get(path.split("/")[1], "2024-08-13")
        headers = {"Authorization": f"Bearer {DEFAULT_KEY}", "cal-api-version": version}
        url = self.simulator.base_url + path
        return requests.request(method, url, headers=headers, timeout=5, **options)

    def create(self, event_type: str) -> requests.Response:
        body = {
            "eventTypeId": self.simulator.state.event_type(event_type).id,
            "start": START.isoformat(),
            "attendee": {"name": "Cara", "timeZone": "Europe/Berlin", "phoneNumber": "+493012345678"},
            "metadata": {"attempt_id": "a"},
        }
        return self.send("POST", "/bookings", json=body)


@pytest.fixture
def client() -> Iterator[Client]:
    with Simulator() as simulator:
        yield Client(simulator)


@pytest.mark.parametrize("event_type", ["open", "roundrobin_open", "confirm_open", "seats", "paid"])
def test_a_booking_has_the_documented_shape_through_its_life(client: Client, event_type: str) -> None:
    created = client.create(event_type)
    assert problems("post", "/bookings", created) == []
    uid = created.json()["data"]["uid"]
    assert problems("get", "/bookings/{bookingUid}", client.send("GET", f"/bookings/{uid}")) == []
    start = (START + timedelta(hours=2)).isoformat()
    moved = client.send("POST", f"/bookings/{uid}/reschedule", json={"start": start})
    assert problems("post", "/bookings/{bookingUid}/reschedule", moved) == []
    uid = moved.json()["data"]["uid"]
    cancelled = client.send("POST", f"/bookings/{uid}/cancel", json={"cancellationReason": "x"})
    assert problems("post", "/bookings/{bookingUid}/cancel", cancelled) == []
    assert problems("get", "/bookings", client.send("GET", "/bookings")) == []


@pytest.mark.parametrize("verb", ["confirm", "decline"])
def test_the_decision_of_the_host_has_the_documented_shape(client: Client, verb: str) -> None:
    uid = client.create("confirm_open").json()["data"]["uid"]
    answer = client.send("POST", f"/bookings/{uid}/{verb}", json={})
    assert problems("post", f"/bookings/{{bookingUid}}/{verb}", answer) == []


def test_an_absence_has_the_documented_shape(client: Client) -> None:
    booking = client.simulator.seed_booking("open", start=datetime.now(UTC) - timedelta(hours=1))
    answer = client.send("POST", f"/bookings/{booking.uid}/mark-absent", json={"host": True})
    assert problems("post", "/bookings/{bookingUid}/mark-absent", answer) == []


@pytest.mark.parametrize("event_type", ["open", "roundrobin", "confirm", "seats", "collective", "notice"])
def test_event_types_have_the_documented_shape(client: Client, event_type: str) -> None:
    number = client.simulator.state.event_type(event_type).id
    one = client.send("GET", f"/event-types/{number}")
    assert problems("get", "/event-types/{eventTypeId}", one) == []
    assert problems("get", "/event-types", client.send("GET", "/event-types")) == []


def test_the_event_types_of_a_team_have_the_documented_shape(client: Client) -> None:
    (team,) = client.send("GET", "/teams").json()["data"]
    headers = {"Authorization": f"Bearer {DEFAULT_KEY}", "cal-api-version": VERSIONS["event-types"]}
    url = f"{client.simulator.base_url}/teams/{team['id']}/event-types"
    listed = requests.get(url, headers=headers, timeout=5).json()["data"]
    assert {each["slug"] for each in listed} == {
        client.simulator.state.event_type(key).slug for key in ("roundrobin", "roundrobin_open", "collective")
    }
    schema = {"$ref": "#/components/schemas/TeamEventTypeOutput_2024_06_14", "components": COMPONENTS}
    validator = jsonschema.Draft202012Validator(schema)
    assert [error.message for each in listed for error in validator.iter_errors(each)] == []


@pytest.mark.parametrize("form", ["time", "range"])
def test_slots_have_the_measured_shape(client: Client, form: str) -> None:
    number = client.simulator.state.event_type("open").id
    day = START.date().isoformat()
    query = {"eventTypeId": number, "start": day, "end": day, "format": form}
    answer = client.send("GET", "/slots", params=query)
    assert problems("get", "/slots", answer) == []
    assert len(answer.json()["data"][day]) == 48


def test_me_reservations_and_webhooks_have_the_documented_shape(client: Client) -> None:
    assert problems("get", "/me", client.send("GET", "/me")) == []
    number = client.simulator.state.event_type("open").id
    slot = {"eventTypeId": number, "slotStart": START.isoformat()}
    reserved = client.send("POST", "/slots/reservations", json=slot)
    assert problems("post", "/slots/reservations", reserved) == []
    hook = {"active": True, "subscriberUrl": "https://example.com/hook", "triggers": ["BOOKING_CREATED"]}
    assert problems("post", "/webhooks", client.send("POST", "/webhooks", json=hook)) == []
    of_type = client.send("POST", f"/event-types/{number}/webhooks", json=hook)
    assert problems("post", "/event-types/{eventTypeId}/webhooks", of_type) == []
    assert problems("get", "/webhooks", client.send("GET", "/webhooks")) == []


def test_the_document_notices_a_wrong_answer(client: Client) -> None:
    client.simulator.faults.add("create", remove=["uid"])
    assert problems("post", "/bookings", client.create("open")) != []

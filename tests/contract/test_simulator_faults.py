"""Each fault of the simulator does what it says, seen from a client; and the control plane does the same."""

from __future__ import annotations

import hashlib
import hmac
import json
import os
import signal
import subprocess
import sys
import threading
import time
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from datetime import UTC, datetime, timedelta
from typing import Any

import pytest
import requests

from booking.calcom.simulator.control import SimulatorControl, SimulatorRefused
from booking.calcom.simulator.server import Exchange, Simulator
from booking.calcom.simulator.worlds import DEFAULT_KEY
from tests.contract.webhook_sink import WebhookSink

START = datetime.now(UTC).replace(hour=9, minute=0, second=0, microsecond=0) + timedelta(days=20)
VERSIONS = {"bookings": "2024-08-13", "slots": "2024-09-04", "event-types": "2024-06-14"}


class Client:
    """A plain client with one kept-alive connection."""

    def __init__(self, base_url: str, key: str = DEFAULT_KEY) -> None:
        self.base_url = base_url
        self.session = requests.Session()
        self.session.headers["Authorization"] = f"Bearer {key}"

    def send(self, method: str, path: str, *, timeout: float = 5, **options: Any) -> requests.Response:
        version = VERSIONS.get(path.split("/")[1].partition("?")[0], "2024-08-13")
        return self.session.request(
            method, self.base_url + path, headers={"cal-api-version": version}, timeout=timeout, **options
        )

    def create(self, event_type: int, *, start: datetime = START, timeout: float = 5, **more: Any) -> Any:
        attendee = {"name": "Cara", "timeZone": "Europe/Berlin", "phoneNumber": "+493012345678"}
        attendee.update(more.pop("attendee", {}))
        body = {"eventTypeId": event_type, "start": start.isoformat(), "attendee": attendee, **more}
        return self.send("POST", "/bookings", json=body, timeout=timeout)

    def list(self, **query: Any) -> Any:
        return self.send("GET", "/bookings", params=query).json()


@pytest.fixture
def calcom() -> Iterator[Simulator]:
    with Simulator() as simulator:
        yield simulator


@pytest.fixture
def client(calcom: Simulator) -> Client:
    return Client(calcom.base_url)


@pytest.fixture
def open_type(calcom: Simulator) -> int:
    return calcom.state.event_type("open").id


# --- the commit point


def test_a_timeout_after_commit_leaves_a_booking(calcom: Simulator, client: Client, open_type: int) -> None:
    calcom.faults.timeout_after_commit()
    with pytest.raises(requests.ReadTimeout):
        client.create(open_type, timeout=0.2, metadata={"attempt_id": "a"})
    [booking] = calcom.active_bookings()
    assert booking.metadata == {"attempt_id": "a"}
    assert calcom.log[-1].status is None


def test_a_timeout_before_commit_leaves_nothing(calcom: Simulator, client: Client, open_type: int) -> None:
    calcom.faults.timeout_before_commit()
    with pytest.raises(requests.ReadTimeout):
        client.create(open_type, timeout=0.2)
    assert calcom.bookings == []
    assert client.create(open_type).status_code == 201


def test_a_hanging_request_is_answered_when_it_is_let_go(
    calcom: Simulator, client: Client, open_type: int
) -> None:
    calcom.faults.timeout_after_commit()
    with ThreadPoolExecutor(1) as pool:
        answer = pool.submit(client.create, open_type)
        wait_until(lambda: calcom.faults.hanging == 1)
        calcom.faults.release_hangs()
        assert answer.result(timeout=5).status_code == 201


def test_a_hang_ends_when_the_client_leaves(calcom: Simulator, client: Client, open_type: int) -> None:
    calcom.faults.timeout_before_commit()
    with pytest.raises(requests.ReadTimeout):
        client.create(open_type, timeout=0.2)
    client.session.close()
    wait_until(lambda: calcom.faults.hanging == 0)


def test_taken_is_answered_although_it_was_booked(calcom: Simulator, client: Client, open_type: int) -> None:
    calcom.faults.taken_after_commit()
    answer = client.create(open_type)
    assert answer.status_code == 400
    assert "User either already has booking" in answer.json()["error"]["message"]
    assert len(calcom.active_bookings()) == 1


@pytest.mark.parametrize("commit", [True, False])
def test_a_server_error_before_or_after_commit(
    calcom: Simulator, client: Client, open_type: int, commit: bool
) -> None:
    calcom.faults.server_error(commit=commit)
    answer = client.create(open_type)
    assert (answer.status_code, answer.json()["statusCode"]) == (500, 500)
    assert len(calcom.bookings) == commit


def test_a_late_commit_books_after_the_error_was_answered(
    calcom: Simulator, client: Client, open_type: int
) -> None:
    calcom.faults.late_commit(0.2)
    assert client.create(open_type).status_code == 504
    assert calcom.bookings == []
    wait_until(lambda: len(calcom.bookings) == 1)


def test_a_late_answer_does_not_block_the_others(calcom: Simulator, client: Client, open_type: int) -> None:
    calcom.faults.answer_late(1.5)
    with ThreadPoolExecutor(1) as pool:
        late = pool.submit(client.create, open_type)
        wait_until(lambda: len(calcom.bookings) == 1)
        began = time.monotonic()
        other = Client(calcom.base_url).create(open_type, start=START + timedelta(hours=1))
        assert (other.status_code, time.monotonic() - began < 1.0) == (201, True)
        assert late.result().status_code == 201


def test_delay_before_acts_before_the_slot_is_looked_at(
    calcom: Simulator, client: Client, open_type: int
) -> None:
    calcom.faults.add("create", delay_before=0.6)
    with ThreadPoolExecutor(1) as pool:
        slow = pool.submit(client.create, open_type)
        wait_until(lambda: len(calcom.log) == 1)
        calcom.web_book("open", start=START)
        assert slow.result().status_code == 400
    assert len(calcom.bookings) == 1


def test_an_older_booking_is_handed_back(calcom: Simulator, client: Client) -> None:
    event_type = calcom.state.event_type("roundrobin_open").id
    created_at = datetime.now(UTC) - timedelta(minutes=35)
    older = calcom.seed_booking(
        "roundrobin_open", start=START, metadata={"attempt_id": "other"}, created_at=created_at
    )
    calcom.faults.hand_back(older.uid)
    answer = client.create(event_type, metadata={"attempt_id": "mine"})
    assert answer.status_code == 201
    assert answer.json()["data"]["uid"] == older.uid
    assert answer.json()["data"]["metadata"] == {"attempt_id": "other"}
    assert answer.json()["data"]["createdAt"] == created_at.strftime("%Y-%m-%dT%H:%M:%S.%f")[:-3] + "Z"
    assert calcom.bookings == [older]


def test_a_shifted_start_is_stored_and_answered(calcom: Simulator, client: Client, open_type: int) -> None:
    calcom.faults.shift_start(60)
    data = client.create(open_type).json()["data"]
    assert data["start"] == (START + timedelta(hours=1)).strftime("%Y-%m-%dT%H:%M:%S.000Z")
    assert calcom.bookings[0].start == START + timedelta(hours=1)
    assert client.create(open_type).status_code == 201, "the time asked for is still free"


def test_answer_and_stored_booking_can_be_patched_apart(
    calcom: Simulator, client: Client, open_type: int
) -> None:
    calcom.faults.add(
        "create",
        patch={"eventTypeId": 999, "metadata": {"note": "shown"}},
        remove=["metadata.attempt_id"],
        patch_stored={"duration": 15, "metadata": {"note": "stored"}},
    )
    data = client.create(open_type, metadata={"attempt_id": "a"}).json()["data"]
    assert (data["eventTypeId"], data["duration"], data["metadata"]) == (999, 15, {"note": "shown"})
    assert calcom.bookings[0].metadata == {"attempt_id": "a", "note": "stored"}
    assert calcom.bookings[0].end == START + timedelta(minutes=15)


def test_a_lagging_replica_hides_a_fresh_booking(calcom: Simulator, client: Client, open_type: int) -> None:
    calcom.faults.add("create", hide_for=60)
    uid = client.create(open_type).json()["data"]["uid"]
    assert client.send("GET", f"/bookings/{uid}").status_code == 404
    assert client.list()["data"] == []
    calcom.clock.advance(61)
    assert client.send("GET", f"/bookings/{uid}").status_code == 200
    assert [each["uid"] for each in client.list()["data"]] == [uid]


# --- the wire


@pytest.mark.parametrize("kind", ["html", "empty", "not_json"])
def test_an_unreadable_answer_hides_a_booking(
    calcom: Simulator, client: Client, open_type: int, kind: str
) -> None:
    calcom.faults.unreadable_answer(kind)
    answer = client.create(open_type)
    assert answer.status_code == 200
    with pytest.raises(ValueError, match=r"line 1 column|Unterminated"):
        answer.json()
    assert len(calcom.active_bookings()) == 1


def test_a_truncated_answer_ends_in_the_middle(calcom: Simulator, client: Client, open_type: int) -> None:
    calcom.faults.unreadable_answer("truncated")
    with pytest.raises((requests.ConnectionError, requests.exceptions.ChunkedEncodingError)):
        client.create(open_type)
    assert len(calcom.active_bookings()) == 1


@pytest.mark.parametrize("how", ["reset", "close"])
def test_the_connection_breaks_without_an_answer(
    calcom: Simulator, client: Client, open_type: int, how: str
) -> None:
    calcom.faults.add("create", commit=True, **{how: True})
    with pytest.raises(requests.ConnectionError):
        client.create(open_type)
    assert len(calcom.requests("create")) == 1
    assert len(calcom.active_bookings()) == 1


def test_a_trickling_answer_defeats_a_read_timeout(calcom: Simulator, client: Client, open_type: int) -> None:
    calcom.faults.add("me", trickle=0.003)
    began = time.monotonic()
    assert client.send("GET", "/me", timeout=0.3).status_code == 200
    assert time.monotonic() - began > 0.5


def test_an_idle_connection_is_dead_when_the_next_request_is_sent(
    calcom: Simulator, client: Client, open_type: int
) -> None:
    client.send("GET", "/me")
    client.send("GET", "/me")
    assert calcom.connections_opened == 1
    wait_until(lambda: calcom.close_idle_connections() == 1)
    client.send("GET", "/me")
    assert calcom.connections_opened == 2


def test_a_rate_limit_says_how_long_to_wait(calcom: Simulator, client: Client, open_type: int) -> None:
    calcom.faults.rate_limited(7)
    answer = client.create(open_type)
    assert answer.status_code == 429
    assert answer.headers["X-RateLimit-Reset-Default"] == "7"
    assert answer.headers["X-RateLimit-Remaining-Default"] == "0"
    assert "Retry-After" not in answer.headers
    assert answer.json()["error"]["code"] == "ThrottlerException"
    assert calcom.bookings == []


def test_the_limiter_blocks_a_key_for_a_minute(calcom: Simulator, client: Client) -> None:
    calcom.state.rate_limit = 3
    calcom.state.add_account("other", api_key="cal_other")
    assert [client.send("GET", "/me").status_code for _ in range(4)] == [200, 200, 200, 429]
    assert Client(calcom.base_url, "cal_other").send("GET", "/me").status_code == 200
    calcom.clock.advance(61)
    assert client.send("GET", "/me").status_code == 200


def test_an_outage_lasts_until_it_is_restored(calcom: Simulator, client: Client, open_type: int) -> None:
    calcom.faults.outage()
    assert client.send("GET", "/me").status_code == 503
    assert client.create(open_type).status_code == 503
    calcom.faults.restore()
    assert client.create(open_type).status_code == 201


# --- which request, and when


def test_skip_and_times_choose_the_request(calcom: Simulator, client: Client) -> None:
    calcom.faults.server_error(commit=False, operation="me", skip=1, times=2)
    assert [client.send("GET", "/me").status_code for _ in range(5)] == [200, 500, 500, 200, 200]


def test_a_fault_can_be_tied_to_a_body_and_to_an_account(
    calcom: Simulator, client: Client, open_type: int
) -> None:
    calcom.faults.refuse("no", body_has={"metadata": {"attempt_id": "b"}})
    calcom.faults.refuse("never", operation="any", account="nobody")
    assert client.create(open_type, metadata={"attempt_id": "a"}).status_code == 201
    later = START + timedelta(hours=1)
    refused = client.create(open_type, start=later, metadata={"attempt_id": "b"})
    assert refused.json()["error"]["message"] == "no"


def test_functions_run_at_the_named_moments(calcom: Simulator, client: Client, open_type: int) -> None:
    seen: list[tuple[str, int]] = []

    def note(moment: str) -> Any:
        return lambda exchange: seen.append((moment, len(exchange.simulator.bookings)))

    moments = ["received", "before_commit", "after_commit", "before_answer"]
    calcom.faults.add("create", call={moment: note(moment) for moment in moments})
    assert client.create(open_type).status_code == 201
    assert seen == [("received", 0), ("before_commit", 0), ("after_commit", 1), ("before_answer", 1)]


def test_who_books_between_look_and_write_loses_the_race(
    calcom: Simulator, client: Client, open_type: int
) -> None:
    def somebody_else(exchange: Exchange) -> None:
        exchange.simulator.web_book("open", start=START)

    calcom.faults.add("create", call={"before_commit": somebody_else})
    answer = client.create(open_type)
    assert answer.json() == {
        "statusCode": 400,
        "message": "An error occurred while querying the database.",
    }
    assert len(calcom.bookings) == 1


# --- lists


def test_faults_on_one_page_of_the_list(calcom: Simulator, client: Client) -> None:
    for hour in range(3):
        calcom.seed_booking("open", start=START + timedelta(hours=hour))
    calcom.faults.empty_page(1)
    assert client.list(take=2)["data"] == []
    calcom.faults.wrong_shape(1)
    assert set(client.list(take=2)["data"]) == {"bookings", "totalCount", "nextCursor"}
    calcom.faults.wrong_has_next_page(True, page=2)
    assert client.list(take=2)["pagination"]["hasNextPage"] is True
    assert client.list(take=2, skip=2)["pagination"]["hasNextPage"] is True
    calcom.faults.list_page(2, hang=True)
    assert len(client.list(take=2)["data"]) == 2
    with pytest.raises(requests.ReadTimeout):
        client.send("GET", "/bookings", params={"take": 2, "skip": 2}, timeout=0.2)
    calcom.faults.list_page(2, status=401, body={"status": "error"})
    assert client.send("GET", "/bookings", params={"take": 2, "skip": 2}).status_code == 401


# --- tenants


def test_a_key_sees_nothing_of_another_account(calcom: Simulator, client: Client, open_type: int) -> None:
    calcom.state.add_account("other", api_key="cal_other")
    calcom.state.add_event_type("cut", account="other", event_type_id=open_type, available="always")
    other = Client(calcom.base_url, "cal_other")
    mine, theirs = (each.create(open_type).json()["data"]["uid"] for each in (client, other))
    assert calcom.booking(theirs).account.name == "other"
    assert client.send("GET", f"/bookings/{theirs}").status_code == 404
    assert [each["uid"] for each in client.list()["data"]] == [mine]
    assert other.send("POST", f"/bookings/{mine}/cancel", json={"cancellationReason": "x"}).status_code == 404


# --- special event types


def test_seats_know_who_already_sits(calcom: Simulator, client: Client) -> None:
    seats = calcom.state.event_type("seats").id
    first = client.create(seats, metadata={"attempt_id": "1"}).json()["data"]
    assert first["attendees"][0]["metadata"] == {"attempt_id": "1"}
    assert "metadata" not in first
    again = client.create(seats)
    assert (again.status_code, again.json()["message"]) == (409, "already_signed_up_for_this_booking_error")
    for digit in "12":
        joined = client.create(seats, attendee={"phoneNumber": f"+4930123456{digit}8"})
        assert joined.json()["data"]["uid"] == first["uid"]
    full = client.create(seats, attendee={"phoneNumber": "+493012345698"})
    assert (full.status_code, full.json()["error"]["message"]) == (
        409,
        "No more seats left at this seated booking.",
    )
    seat = joined.json()["data"]["seatUid"]
    gone = client.send(
        "POST", f"/bookings/{first['uid']}/cancel", json={"cancellationReason": "x", "seatUid": seat}
    )
    assert gone.status_code == 404
    assert len(calcom.booking(first["uid"]).attendees) == 2


@pytest.mark.parametrize(
    ("event_type", "attendee", "message"),
    [
        ("email_required", {}, "responses - {email}error_required_field, "),
        ("phone_required", {"phoneNumber": None, "email": "c@x.test"}, "Missing attendee phone number"),
        ("notice", {}, 'The event type can\'t be booked at the "start" time provided.'),
    ],
)
def test_event_types_refuse_what_they_cannot_use(
    calcom: Simulator, client: Client, event_type: str, attendee: dict[str, Any], message: str
) -> None:
    start = datetime.now(UTC) + timedelta(hours=2) if event_type == "notice" else START
    answer = client.create(calcom.state.event_type(event_type).id, start=start, attendee=attendee)
    assert answer.status_code == 400
    assert answer.json()["error"]["message"].startswith(message)


def test_a_hidden_email_field_overwrites_the_address(calcom: Simulator, client: Client) -> None:
    event_type = calcom.state.event_type("email_hidden").id
    data = client.create(event_type, attendee={"email": "mine@x.test"}).json()["data"]
    assert data["attendees"][0]["email"] == "493012345678@sms.cal.com"


def test_collective_needs_every_host(calcom: Simulator, client: Client) -> None:
    event_type = calcom.state.event_type("collective").id
    calcom.state.add_event_type("cora_alone", hosts=["cora"], available="always")
    calcom.web_book("cora_alone", start=START)
    answer = client.create(event_type)
    assert "One of the hosts either already has booking" in answer.json()["error"]["message"]


# --- webhooks


@pytest.fixture
def sink() -> Iterator[WebhookSink]:
    with WebhookSink() as receiver:
        yield receiver


def triggers(sink: WebhookSink) -> list[str]:
    return [json.loads(each.body)["triggerEvent"] for each in sink.received]


def test_webhooks_are_signed_and_arrive_before_the_answer(
    calcom: Simulator, client: Client, open_type: int, sink: WebhookSink
) -> None:
    calcom.subscribe(sink.url, "s3cret")
    client.create(open_type, attendee={"name": "Jürgen – Ärger"})
    [received] = sink.received
    expected = hmac.new(b"s3cret", received.body, hashlib.sha256).hexdigest()
    assert received.headers["x-cal-signature-256"] == expected
    assert "Jürgen – Ärger".encode() in received.body
    [delivery] = calcom.deliveries
    assert (delivery.body, delivery.status, delivery.outcome) == (received.body, 200, "sent")


def test_a_cancellation_is_announced_before_it_is_written(
    calcom: Simulator, client: Client, open_type: int
) -> None:
    uid = client.create(open_type).json()["data"]["uid"]
    statuses: list[str] = []

    def look(_exchange: Exchange) -> None:
        statuses.append(Client(calcom.base_url).send("GET", f"/bookings/{uid}").json()["data"]["status"])

    calcom.faults.add("cancel", call={"before_commit": look, "after_commit": look})
    client.send("POST", f"/bookings/{uid}/cancel", json={"cancellationReason": "x"})
    assert statuses == ["accepted", "cancelled"]


def test_deliveries_can_be_lost_held_back_repeated_and_replayed(calcom: Simulator, sink: WebhookSink) -> None:
    calcom.subscribe(sink.url, "s3cret", event_type="open")
    calcom.webhooks.drop_next(1)
    booking = calcom.web_book("open", start=START)
    assert sink.received == []
    calcom.webhooks.hold()
    moved = calcom.web_reschedule(booking.uid, START + timedelta(hours=1))
    calcom.web_cancel(moved.uid)
    assert sink.received == []
    calcom.webhooks.release([1, 0])
    assert triggers(sink) == ["BOOKING_CANCELLED", "BOOKING_RESCHEDULED"]
    calcom.webhooks.repeat(3, parallel=True)
    calcom.web_book("open", start=START)
    assert triggers(sink)[2:] == ["BOOKING_CREATED"] * 3
    assert len({each.body for each in sink.received[2:]}) == 1
    calcom.webhooks.resend(calcom.deliveries[0])
    assert json.loads(sink.received[-1].body)["payload"]["uid"] == booking.uid


@pytest.mark.parametrize("forgery", ["missing", "wrong", "no-secret", "changed_body", "secret:other"])
def test_deliveries_can_be_forged(calcom: Simulator, sink: WebhookSink, forgery: str) -> None:
    calcom.subscribe(sink.url, "s3cret", event_type="open")
    calcom.webhooks.forge(forgery)
    calcom.web_book("open", start=START)
    [received] = sink.received
    right = hmac.new(b"s3cret", received.body, hashlib.sha256).hexdigest()
    assert received.headers.get("x-cal-signature-256") != right
    calcom.web_book("open", start=START + timedelta(hours=1))
    honest = sink.received[1]
    right = hmac.new(b"s3cret", honest.body, hashlib.sha256).hexdigest()
    assert honest.headers["x-cal-signature-256"] == right


def test_a_dead_receiver_does_not_fail_the_booking(calcom: Simulator, client: Client, open_type: int) -> None:
    calcom.subscribe("http://127.0.0.1:9/hook", "s3cret", event_type="open")
    assert client.create(open_type).status_code == 201
    assert calcom.deliveries[0].error is not None


def test_people_at_the_web_page_cause_webhooks_unless_silent(calcom: Simulator, sink: WebhookSink) -> None:
    calcom.subscribe(sink.url, "s3cret")
    calcom.web_book("open", start=START, silent=True)
    assert sink.received == []
    asked = calcom.web_book("confirm_open", start=START)
    calcom.web_confirm(asked.uid)
    other = calcom.web_book("confirm_open", start=START + timedelta(hours=1))
    calcom.web_decline(other.uid, reason="no")
    calcom.clock.set(START + timedelta(minutes=40))
    calcom.web_no_show(asked.uid)
    assert triggers(sink) == [
        "BOOKING_REQUESTED",
        "BOOKING_CREATED",
        "BOOKING_REQUESTED",
        "BOOKING_REJECTED",
        "BOOKING_NO_SHOW_UPDATED",
    ]


def test_meeting_events_are_flat_and_show_the_time_of_booking(calcom: Simulator, sink: WebhookSink) -> None:
    calcom.subscribe(sink.url, "s3cret", event_type="open", triggers=["MEETING_ENDED"])
    booking = calcom.web_book("open", start=START)
    calcom.web_cancel(booking.uid)
    calcom.send_meeting_event(booking.uid)
    content = json.loads(sink.received[0].body)
    assert "payload" not in content
    assert (content["uid"], content["status"]) == (booking.uid, "ACCEPTED")


def test_a_lasting_subscription_survives_a_reset(calcom: Simulator, sink: WebhookSink) -> None:
    calcom.subscribe(sink.url, "s3cret", survives_reset=True)
    calcom.reset()
    calcom.web_book("open", start=START)
    assert triggers(sink) == ["BOOKING_CREATED"]


def test_the_simulator_listens_on_the_loopback_only() -> None:
    with pytest.raises(ValueError, match="loopback"):
        Simulator(host="0.0.0.0")


# --- the control plane


def test_the_control_plane_has_the_verbs_of_the_simulator(
    calcom: Simulator, client: Client, open_type: int, sink: WebhookSink
) -> None:
    control = SimulatorControl(calcom.base_url)
    control.subscribe(sink.url, "s3cret")
    booked = control.web_book("open", start=START, metadata={"attempt_id": "w"})
    assert [each["uid"] for each in control.active_bookings()] == [booked["uid"]]
    assert control.deliveries[0]["trigger"] == "BOOKING_CREATED"
    control.webhooks.resend(control.deliveries[0]["number"], times=2)
    assert triggers(sink) == ["BOOKING_CREATED"] * 3
    control.faults.taken_after_commit()
    assert client.create(open_type, start=START + timedelta(hours=1)).status_code == 400
    assert len(control.bookings) == 2
    control.faults.timeout_after_commit()
    with pytest.raises(requests.ReadTimeout):
        client.create(open_type, start=START + timedelta(hours=2), timeout=0.2)
    assert control.requests("create")[-1]["fault"]["hang"] is True
    control.clock.set(START)
    assert abs(control.clock.now() - START) < timedelta(seconds=5)
    control.seed_booking("open", start=START - timedelta(days=1), uid="seeded", created_at=START)
    assert control.booking("seeded")["isActive"] is True
    with pytest.raises(SimulatorRefused, match="User either"):
        control.web_book("open", start=START + timedelta(hours=1))
    control.reset()
    assert (control.bookings, control.log) == ([], [])
    assert client.create(open_type).status_code == 201


def test_the_control_plane_can_be_left_out() -> None:
    with Simulator(control=False) as simulator:
        assert requests.get(f"{simulator.url}/_simulator/state", timeout=5).status_code == 404


def test_the_command_serves_until_it_is_told_to_stop(tmp_path: Any) -> None:
    world = {
        "accounts": [
            {
                "name": "praxis",
                "api_key": "cal_praxis",
                "event_types": [
                    {"key": "visit", "event_type_id": 7, "title": "Färben", "available": "always"}
                ],
                "bookings": [{"event_type": "visit", "start": START.isoformat(), "uid": "seeded"}],
            }
        ]
    }
    path = tmp_path / "world.json"
    path.write_text(json.dumps(world, ensure_ascii=False), encoding="utf-8")
    program = (
        "from django.conf import settings; settings.configure(INSTALLED_APPS=['booking']);"
        "import django; from django.core.management import call_command;"
        "from booking.management.commands.calcom_simulator import Command;"
        f"call_command(Command(), '--port', '0', '--json', '--world', {str(path)!r})"
    )
    environment = {key: value for key, value in os.environ.items() if key != "DJANGO_SETTINGS_MODULE"}
    # A machine whose texts are not UTF-8.
    environment |= {"LC_ALL": "C", "PYTHONUTF8": "0", "PYTHONCOERCECLOCALE": "0"}
    process = subprocess.Popen(
        [sys.executable, "-c", program], stdout=subprocess.PIPE, text=True, env=environment
    )
    try:
        assert process.stdout is not None
        told = json.loads(process.stdout.readline())
        assert told["accounts"][0]["event_types"][0]["id"] == 7
        data = Client(told["base_url"], "cal_praxis").list()["data"]
        assert [each["uid"] for each in data] == ["seeded"]
    finally:
        process.send_signal(signal.SIGTERM)
        assert process.wait(timeout=10) == 0
        if process.stdout is not None:
            process.stdout.close()


def test_stopping_lets_go_of_every_connection() -> None:
    simulator = Simulator()
    simulator.start()
    simulator.faults.outage("timeout")
    with ThreadPoolExecutor(1) as pool:
        hanging = pool.submit(Client(simulator.base_url).send, "GET", "/me")
        wait_until(lambda: simulator.faults.hanging == 1)
        simulator.stop()
        with pytest.raises(requests.ConnectionError):
            hanging.result(timeout=5)


def wait_until(condition: Any, seconds: float = 3.0) -> None:
    deadline = time.monotonic() + seconds
    while not condition():
        assert time.monotonic() < deadline, "it did not happen"
        threading.Event().wait(0.01)

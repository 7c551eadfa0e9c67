"""The real client over real HTTP: what it makes of each thing that can go wrong on the way."""

from __future__ import annotations

import datetime as dt
import time

import pytest

from booking.calcom import transport
from booking.calcom.client import CalcomClient
from booking.calcom.deadline import Deadline
from booking.calcom.errors import (
    BookingNotFound,
    CalcomMisconfigured,
    CalcomRefused,
    CalcomUnavailable,
    OutcomeUnknown,
    RateLimited,
    Refusal,
)
from booking.calcom.simulator.server import Simulator

START = (dt.datetime.now(dt.UTC) + dt.timedelta(days=10)).replace(hour=10, minute=0, second=0, microsecond=0)


@pytest.fixture
def calcom():
    with Simulator() as simulator:
        yield simulator


@pytest.fixture
def client(calcom):
    return CalcomClient(base_url=calcom.base_url, api_key="cal_test_key")


def request(calcom, event_type="open", **changes):
    return {
        "eventTypeId": calcom.state.event_type(event_type).id,
        "start": START.strftime("%Y-%m-%dT%H:%M:%S.000Z"),
        "attendee": {"name": "Anna", "timeZone": "Europe/Berlin", "phoneNumber": "+4915112345678"},
        "metadata": {"attempt_id": "a1"},
        **changes,
    }


def soon(seconds: float = 2.0) -> Deadline:
    return Deadline.after(seconds)


def test_a_booking_is_read_with_the_fields_we_use(calcom, client):
    booking = client.create_booking(request(calcom), deadline=soon())
    assert booking.start == START
    assert booking.end == START + dt.timedelta(minutes=30)
    assert booking.metadata == {"attempt_id": "a1"}
    assert booking.is_active
    assert client.get_booking(booking.uid, deadline=soon()).uid == booking.uid


# In UTC, in another zone or a day later each of these is in a year that no datetime has.
@pytest.mark.parametrize(
    "instant",
    [
        "9999-12-31T23:59:59-23:59",
        "0001-01-01T00:00:00.000+05:00",
        "9999-12-31T23:59:00.000Z",
        "0001-01-01T00:00:00.000Z",
    ],
)
def test_a_time_beyond_all_years_is_as_unreadable_as_no_time(calcom, client, instant):
    calcom.faults.add("create", patch={"start": instant})
    with pytest.raises(OutcomeUnknown):
        client.create_booking(request(calcom), deadline=soon())
    (booking,) = calcom.bookings
    calcom.faults.add("get", patch={"createdAt": instant, "updatedAt": instant})
    shown = client.get_booking(booking.uid, deadline=soon())
    assert (shown.uid, shown.created_at, shown.updated_at) == (booking.uid, None, None)


@pytest.mark.parametrize("kind", ["html", "empty", "not_json", "list", "truncated"])
def test_a_success_that_cannot_be_read_is_an_unknown_outcome(calcom, client, kind):
    calcom.faults.unreadable_answer(kind)
    with pytest.raises(OutcomeUnknown):
        client.create_booking(request(calcom), deadline=soon())
    assert len(calcom.requests("create")) == 1


@pytest.mark.parametrize("error", [{"status": "error"}, {"error": {"message": "Internal server error"}}])
def test_what_says_of_itself_that_it_is_an_error_is_no_empty_list(calcom, client, error):
    """A gateway may put its own status before it."""
    body = {"data": [], "pagination": {}, **error}
    calcom.faults.add("list", commit=False, status=200, body=body, times=None)
    with pytest.raises(CalcomUnavailable):
        list(client.list_bookings(deadline=soon()))


def test_what_says_of_itself_that_it_is_an_error_is_no_day_without_slots(calcom, client):
    calcom.faults.add("slots", commit=False, status=200, body={"status": "error", "data": {}}, times=None)
    with pytest.raises(CalcomUnavailable):
        client.slots(event_type_id=1, start=START, end=START + dt.timedelta(days=1), deadline=soon())


@pytest.mark.parametrize("commit", [True, False])
def test_a_create_that_is_reset_is_unknown_and_never_sent_again(calcom, client, commit):
    calcom.faults.reset_connection(commit=commit)
    with pytest.raises(OutcomeUnknown):
        client.create_booking(request(calcom), deadline=soon())
    assert len(calcom.requests("create")) == 1


def test_a_server_that_is_not_there_was_sent_nothing(calcom, client):
    calcom.stop()
    with pytest.raises(CalcomUnavailable):
        client.create_booking(request(calcom), deadline=soon())


def test_an_answer_that_trickles_in_does_not_outlast_the_deadline(calcom, client):
    calcom.faults.add("create", trickle=0.05)
    started = time.monotonic()
    with pytest.raises(OutcomeUnknown):
        client.create_booking(request(calcom), deadline=soon(0.6))
    assert time.monotonic() - started < 1.0


def test_an_answer_that_never_pauses_does_not_outlast_the_deadline(calcom, client):
    """Every wait begins anew with what comes in, however little time it is given."""
    calcom.faults.add("create", trickle=0.0001, patch={"description": "x" * 100_000})
    started = time.monotonic()
    with pytest.raises(OutcomeUnknown):
        client.create_booking(request(calcom), deadline=soon(0.3))
    assert time.monotonic() - started < 0.7


def test_headers_that_trickle_in_do_not_outlast_the_deadline(calcom, client):
    calcom.faults.add("create", trickle=0.05, trickle_headers=True)
    started = time.monotonic()
    with pytest.raises(OutcomeUnknown):
        client.create_booking(request(calcom), deadline=soon(0.6))
    assert time.monotonic() - started < 1.0


def test_the_answer_to_one_company_is_not_read_by_the_next_one(calcom, client):
    """Hints are sent while the answer is still being made, over a connection that both companies use."""
    calcom.faults.add("create", interim=103)
    assert client.create_booking(request(calcom), deadline=soon()).is_active
    another = CalcomClient(base_url=calcom.base_url, api_key="cal_test_key")
    day = START + dt.timedelta(days=1)
    event_type = calcom.state.event_type("open").id
    later = day + dt.timedelta(hours=1)
    assert day in another.slots(event_type_id=event_type, start=day, end=later, deadline=soon())
    assert calcom.connections_opened == 1


def test_a_connection_that_died_while_idle_is_not_used_for_a_create(calcom, client):
    client.probe(deadline=soon())
    calcom.close_idle_connections()
    assert client.create_booking(request(calcom), deadline=soon()).is_active
    assert len(calcom.requests("create")) == 1


def test_connections_are_kept_alive(calcom, client):
    for _ in range(5):
        client.probe(deadline=soon())
    assert calcom.connections_opened == 1


def test_a_connection_idle_for_almost_as_long_as_node_keeps_it_is_not_trusted(calcom, client, monkeypatch):
    client.probe(deadline=soon())
    monkeypatch.setattr(transport, "IDLE_SECONDS", 0.01)  # a constant of time, not a function of ours
    time.sleep(0.05)
    client.probe(deadline=soon())
    assert calcom.connections_opened == 2


def test_taken_is_a_refusal_with_its_reason(calcom, client):
    client.create_booking(request(calcom), deadline=soon())
    with pytest.raises(CalcomRefused) as refused:
        client.create_booking(request(calcom), deadline=soon())
    assert refused.value.reason is Refusal.SLOT_TAKEN


@pytest.mark.parametrize(
    ("event_type", "attendee", "reason"),
    [
        ("notice", {}, Refusal.OUT_OF_BOUNDS),
        ("email_required", {}, Refusal.EMAIL_REQUIRED),
        ("open", {"phoneNumber": "", "email": ""}, Refusal.CONTACT_REQUIRED),
    ],
)
def test_refusals_are_told_apart(calcom, client, event_type, attendee, reason):
    asked = request(calcom, event_type)
    if event_type == "notice":
        asked["start"] = (dt.datetime.now(dt.UTC) + dt.timedelta(hours=2)).strftime("%Y-%m-%dT%H:00:00.000Z")
    asked["attendee"] = {k: v for k, v in {**asked["attendee"], **attendee}.items() if v}
    with pytest.raises(CalcomRefused) as refused:
        client.create_booking(asked, deadline=soon())
    assert refused.value.reason is reason


def test_a_refusal_nobody_has_seen_before_is_not_taken(calcom, client):
    calcom.faults.refuse("Something entirely new.")
    with pytest.raises(CalcomMisconfigured):
        client.create_booking(request(calcom), deadline=soon())


@pytest.mark.parametrize("status", [301, 500, 502, 503, 504])
def test_what_is_neither_yes_nor_no_is_unknown(calcom, client, status):
    calcom.faults.add("create", status=status, body="<html>", content_type="text/html")
    with pytest.raises(OutcomeUnknown) as unknown:
        client.create_booking(request(calcom), deadline=soon())
    assert not unknown.value.finished


def test_a_lost_race_is_unknown_and_says_that_it_is_a_race(calcom, client):
    calcom.faults.lost_race()
    with pytest.raises(OutcomeUnknown) as unknown:
        client.create_booking(request(calcom), deadline=soon())
    assert unknown.value.race


def test_the_rate_limit_tells_when_to_come_back(calcom, client):
    calcom.faults.rate_limited(37, operation="create")
    with pytest.raises(RateLimited) as limited:
        client.create_booking(request(calcom), deadline=soon())
    assert limited.value.retry_after == 37


def test_a_wrong_key_is_a_matter_of_configuration(calcom):
    stranger = CalcomClient(base_url=calcom.base_url, api_key="cal_wrong")
    with pytest.raises(CalcomMisconfigured):
        stranger.create_booking(request(calcom), deadline=soon())
    with pytest.raises(CalcomMisconfigured):
        stranger.probe(deadline=soon())


def test_a_booking_that_is_not_there_is_said_to_be_not_there(client):
    with pytest.raises(BookingNotFound):
        client.get_booking("nosuchbooking", deadline=soon())


@pytest.mark.parametrize(
    "fault",
    [
        {"status": 500, "body": {"statusCode": 500, "message": "Internal server error"}},
        {"reset": True},
        {"truncate": True},
        {"status": 200, "body": {"status": "success", "data": {}}},
    ],
)
def test_a_listing_that_cannot_be_read_is_never_an_empty_one(calcom, client, fault):
    calcom.faults.add("list", times=None, **fault)
    with pytest.raises(CalcomUnavailable):
        list(client.list_bookings(deadline=soon()))


def test_a_question_is_asked_again_a_change_is_not(calcom, client):
    calcom.faults.add("list", times=2, reset=True)
    assert list(client.list_bookings(deadline=soon())) == []
    assert len(calcom.requests("list")) == 3


def test_a_listing_is_read_until_a_page_is_short_whatever_its_totals_say(calcom, client):
    for number in range(251):
        calcom.seed_booking("open", start=START + dt.timedelta(hours=number))
    calcom.faults.wrong_has_next_page(False)
    uids = {booking.uid for booking in client.list_bookings(deadline=soon(10))}
    assert len(uids) == 251
    assert len(calcom.requests("list")) == 2


def test_the_old_version_that_an_unknown_header_falls_back_to_is_recognised(calcom, client, monkeypatch):
    monkeypatch.setattr("booking.calcom.client.BOOKINGS", "2099-01-01")  # a header's value, not a function
    with pytest.raises(CalcomUnavailable, match="2099"):
        list(client.list_bookings(deadline=soon()))

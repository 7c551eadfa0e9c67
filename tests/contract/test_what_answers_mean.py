"""The table of Cal.com's answers, row by row: what each means of a change, and of a question.

What travels is not the point here, and the simulator is held to the recorded answers elsewhere; so a library
stands in for the network, and every row is tried in both of Cal.com's envelopes.
"""

from __future__ import annotations

from typing import Any

import pytest
import requests
import responses

from booking.calcom.client import CalcomClient
from booking.calcom.deadline import Deadline
from booking.calcom.errors import (
    BookingNotFound,
    CalcomError,
    CalcomMisconfigured,
    CalcomRefused,
    CalcomUnavailable,
    OutcomeUnknown,
    RateLimited,
    Refusal,
)

URL = "https://api.cal.example/v2/bookings"
CLIENT = CalcomClient(base_url="https://api.cal.example/v2", api_key="cal_test")

BUSY = "User either already has booking at this time or is not available"
BARE = "An error occurred while querying the database."
NO_KEY = "ApiAuthStrategy - Invalid API key"

Meaning = tuple[type[CalcomError], dict[str, Any]]
UNKNOWN: Meaning = (OutcomeUnknown, {"finished": False, "race": False})
FINISHED: Meaning = (OutcomeUnknown, {"finished": True, "race": False})
RACE: Meaning = (OutcomeUnknown, {"finished": True, "race": True})
WRONG: Meaning = (CalcomMisconfigured, {})
NOT_ASKED: Meaning = (CalcomUnavailable, {})


def refused(reason: Refusal) -> Meaning:
    return CalcomRefused, {"reason": reason}


# Status, what Cal.com says (None: a page of a proxy's), of a change, of a question.
ANSWERS: list[tuple[int, str | None, Meaning, Meaning]] = [
    (400, BUSY, refused(Refusal.SLOT_TAKEN), WRONG),
    (400, "Attempting to book a meeting in the past.", refused(Refusal.IN_THE_PAST), WRONG),
    (400, 'The event type can\'t be booked at the "start" time provided.', refused(Refusal.OUT_OF_BOUNDS),
     WRONG),
    (400, "responses - {email}error_required_field, ", refused(Refusal.EMAIL_REQUIRED), WRONG),
    (400, "Can't cancel booking with uid=x because it has been cancelled already.",
     refused(Refusal.ALREADY_CANCELLED), WRONG),
    (400, "a sentence that nobody has seen before", WRONG, WRONG),
    (400, BARE, RACE, NOT_ASKED),
    (400, "booking_conflict_error", RACE, NOT_ASKED),
    (409, "Conflict", RACE, WRONG),
    (401, NO_KEY, WRONG, WRONG),
    (403, "Forbidden", WRONG, WRONG),
    (404, "Event type with id 7 not found.", WRONG, WRONG),
    (422, "Unprocessable", WRONG, WRONG),
    (408, "Request Timeout", UNKNOWN, NOT_ASKED),
    (425, "Too Early", UNKNOWN, NOT_ASKED),
    (500, "Internal server error", FINISHED, NOT_ASKED),
    (502, "Bad Gateway", UNKNOWN, NOT_ASKED),
    (503, "Service Unavailable", UNKNOWN, NOT_ASKED),
    (301, "Moved", UNKNOWN, NOT_ASKED),
    (400, None, UNKNOWN, NOT_ASKED),
    (404, None, UNKNOWN, NOT_ASKED),
    (500, None, UNKNOWN, NOT_ASKED),
    (429, "ThrottlerException: Too Many Requests", (RateLimited, {"retry_after": 60.0}),
     (RateLimited, {"retry_after": 60.0})),
]  # fmt: skip


def said(message: str | None, *, envelope: str) -> dict[str, Any]:
    if message is None:
        return {"body": "<html>The gateway is sorry.</html>", "content_type": "text/html"}
    if envelope == "core":
        return {"json": {"statusCode": 0, "message": message, "error": "Error"}}
    return {"json": {"status": "error", "error": {"code": "Error", "message": message}}}


def change() -> None:
    CLIENT.create_booking({}, deadline=Deadline.after(5))


def question() -> None:
    CLIENT.find_booking("uid", deadline=Deadline.after(0.2))


@pytest.mark.parametrize("envelope", ["core", "simple"])
@pytest.mark.parametrize(("status", "message", "of_change", "of_question"), ANSWERS)
@responses.activate
def test_each_answer_means_one_thing(status, message, of_change, of_question, envelope):
    answer = said(message, envelope=envelope)
    responses.post(URL, status=status, **answer)
    responses.get(f"{URL}/uid", status=status, **answer)
    for ask, (kind, facts) in ((change, of_change), (question, of_question)):
        with pytest.raises(CalcomError) as caught:
            ask()
        assert type(caught.value) is kind
        assert caught.value.status == status
        assert {name: getattr(caught.value, name) for name in facts} == facts
    responses.assert_call_count(URL, 1)  # whatever it is answered, a change is sent once


@responses.activate
def test_a_create_that_finds_nothing_has_perhaps_been_made_and_a_question_is_answered():
    """The new booking is read from a replica, which may not have it yet."""
    sentence = "Booking with uid=uid was not found in the database"
    for method, url in (
        (responses.POST, URL),
        (responses.GET, f"{URL}/uid"),
        (responses.POST, f"{URL}/uid/cancel"),
    ):
        responses.add(method, url, status=404, **said(sentence, envelope="core"))
    with pytest.raises(OutcomeUnknown) as caught:
        change()
    assert caught.value.finished
    assert CLIENT.find_booking("uid", deadline=Deadline.after(5)) is None
    with pytest.raises(BookingNotFound):
        CLIENT.cancel_booking("uid", reason="No.", deadline=Deadline.after(5))


@pytest.mark.parametrize(
    "error",
    [requests.exceptions.SSLError, requests.exceptions.ConnectTimeout, requests.exceptions.InvalidURL],
)
@responses.activate
def test_what_never_left_this_machine_was_not_sent(error):
    responses.post(URL, body=error("https://api.cal.example/?attendeeEmail=anna@weber.example"))
    with pytest.raises(CalcomUnavailable) as caught:
        change()
    assert "weber" not in caught.value.message
    responses.assert_call_count(URL, 1)

"""Cal.com API v2, as far as we use it: one method per call.

Changes (create, reschedule, cancel) are sent once and never again by this client: whether it is safe to
repeat one is known only to the booking transaction. Questions (everything else) are repeated within their
deadline, because asking twice changes nothing; one that cannot be answered raises CalcomUnavailable and never
looks like "nothing there".
"""

from __future__ import annotations

import random
import re
import time
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass
from datetime import datetime
from functools import partial
from typing import Any, TypeVar
from urllib.parse import quote

import orjson
import requests

from booking.calcom import messages
from booking.calcom.deadline import Deadline
from booking.calcom.errors import (
    BookingNotFound,
    CalcomError,
    CalcomMisconfigured,
    CalcomRefused,
    CalcomUnavailable,
    OutcomeUnknown,
    RateLimited,
    UnreadableAnswer,
)
from booking.calcom.objects import (
    Booking,
    EventType,
    Unreadable,
    has_seat,
    read_booking,
    read_event_type,
    read_instant,
    write_instant,
)
from booking.calcom.transport import CutOff, NotSent, exchange
from customers.json_values import read_json, storable

BOOKINGS = "2024-08-13"
SLOTS = "2024-09-04"
EVENT_TYPES = "2024-06-14"

PAGE = 250
MAX_PAGES = 2000
READ_TRIES = 3
READ_SECONDS = 5.0
PAGE_SECONDS = 30.0
TIMED_OUT = (408, 425)  # a proxy gave up waiting, or would not wait: the request may have gone on behind it
NOT_THE_WHOLE = (202, 206)  # to come later, or in parts: what does not stand in it is not missing
BLOCK_SECONDS = 60.0  # a key that was blocked for its rate stays so for a minute, if it does not say
# Sentences are some hundred characters long. What is said is kept with the attempt and in a ticket.
LONGEST_MESSAGE = 4000
# With nobody on the phone a question may wait until a key that was blocked is let in again.
PATIENT_SECONDS = 150.0

T = TypeVar("T")

_is_day = re.compile(r"\d{4}-\d{2}-\d{2}").fullmatch


def json_in(content: bytes) -> Any:
    """The JSON value in an answer, in words that a database can hold. Raises ValueError.

    Names and titles are anybody's: half an emoji, where JavaScript has cut one in two, or U+0000 in one
    booking must not hide the others of its page.
    """
    if b"\\u" not in content:
        return orjson.loads(content)
    return storable(read_json(content))


def json_of(response: requests.Response) -> Any:
    """The body of a 2xx answer: an object with `data` in it. Raises Unreadable."""
    if response.status_code in NOT_THE_WHOLE:
        raise Unreadable("not the whole answer")
    try:
        body = json_in(response.content)
    except ValueError:
        raise Unreadable("not JSON") from None
    if not isinstance(body, dict) or "data" not in body:
        raise Unreadable("no data")
    if body.get("status", "success") != "success" or body.get("error"):
        raise Unreadable("it says that it is no success")
    return body


def json_and_bytes(response: requests.Response) -> tuple[Any, bytes]:
    return json_of(response), response.content


Decode = Callable[[requests.Response], Any]


@dataclass(frozen=True, slots=True)
class Page:
    """Some bookings of a listing as Cal.com's objects, and the answer they came in."""

    bookings: list[dict[str, Any]]
    raw: bytes


@dataclass(frozen=True)
class CalcomClient:
    """One company's view of Cal.com. Cheap to build; connections are shared by the process and kept alive.

    Raises CalcomMisconfigured for a key that no request can carry, such as one with the dots that stand for
    what is hidden of it: at the request it would look like a Cal.com that cannot be reached.
    """

    base_url: str
    api_key: str

    def __post_init__(self) -> None:
        try:
            self.api_key.encode("latin-1")
        except UnicodeEncodeError:
            raise CalcomMisconfigured("The API key holds a character that no request can carry.") from None

    def create_booking(self, request: Mapping[str, Any], *, deadline: Deadline) -> Booking:
        """https://cal.com/docs/api-reference/v2/bookings/create-a-booking

        A 201 is no proof that the booking is new, or ours: Cal.com answers with an older one of the same
        attendee. Raises CalcomError.
        """
        try:
            return self._change("/bookings", request, deadline=deadline)
        except BookingNotFound as error:
            # There was none to be found yet: this is the new booking, not visible in the replica it is read
            # from.
            raise OutcomeUnknown(
                error.message, status=error.status, request_id=error.request_id, finished=True
            ) from None

    def cancel_booking(self, uid: str, *, reason: str, deadline: Deadline) -> Booking:
        """https://cal.com/docs/api-reference/v2/bookings/cancel-a-booking

        The reason is required of a host, and our key is the host's. Raises CalcomError; cancelling twice is
        CalcomRefused with ALREADY_CANCELLED.
        """
        return self._change(f"{_path_of(uid)}/cancel", {"cancellationReason": reason}, deadline=deadline)

    def reschedule_booking(self, uid: str, *, start: datetime, reason: str, deadline: Deadline) -> Booking:
        """https://cal.com/docs/api-reference/v2/bookings/reschedule-a-booking

        A move is a new booking with a new uid. Believe it only if `rescheduled_from_uid` and `start` are what
        was asked for: Cal.com has answered 201 with another booking and moved nothing. Raises CalcomError.
        """
        body = {"start": write_instant(start), "reschedulingReason": reason}
        return self._change(f"{_path_of(uid)}/reschedule", body, deadline=deadline)

    def get_booking(self, uid: str, *, deadline: Deadline) -> Booking:
        """https://cal.com/docs/api-reference/v2/bookings/get-a-booking. Raises BookingNotFound,
        CalcomError, also where the answer is another booking.
        """
        return self.ask(_path_of(uid), version=BOOKINGS, read=partial(_booking_of, uid), deadline=deadline)

    def find_booking(self, uid: str, *, deadline: Deadline) -> Booking | None:
        """The same, None where Cal.com says that there is no such booking. Raises CalcomError."""
        try:
            return self.get_booking(uid, deadline=deadline)
        except BookingNotFound:
            return None

    def list_bookings(self, *, deadline: Deadline, **filters: str | int | datetime) -> Iterator[Booking]:
        """https://cal.com/docs/api-reference/v2/bookings/get-all-bookings

        Yields bookings of every status, page after page, until a page is short: the totals Cal.com states are
        wrong under some filters. What cannot be read is left out if it is none of ours. Raises CalcomError;
        what was yielded before is then only a part.
        """
        seen: set[str] = set()
        for page in self.list_pages(deadline=deadline, **filters):
            for booking in _readable(page.bookings):
                if booking.uid not in seen:  # pages move under our feet while we read them
                    seen.add(booking.uid)
                    yield booking

    def list_pages(
        self,
        *,
        deadline: Deadline,
        **filters: str | int | datetime,
    ) -> Iterator[Page]:
        """The same page by page, as Cal.com's objects, for whoever reads more of them than is worth checking
        one by one: each has a uid. Raises CalcomError, also where a page comes again, as from a server that
        does not count the pages our way: it would come until MAX_PAGES, and use up the key's rate. The pages
        before are then only a part.
        """
        query = {
            name: write_instant(value) if isinstance(value, datetime) else str(value)
            for name, value in filters.items()
        }
        before: list[str] = []
        for number in range(MAX_PAGES):
            page = self.ask(
                "/bookings",
                params={**query, "take": str(PAGE), "skip": str(number * PAGE)},
                version=BOOKINGS,
                decode=json_and_bytes,
                read=_page_in,
                seconds_each=PAGE_SECONDS,
                deadline=deadline,
            )
            uids = [booking["uid"] for booking in page.bookings]
            if uids and uids == before:
                raise CalcomUnavailable("The listing gives the same page again.")
            yield page
            if len(page.bookings) < PAGE:
                return
            before = uids
        raise CalcomUnavailable(f"The listing did not end within {MAX_PAGES} pages.")

    def slots(
        self, *, event_type_id: int, start: datetime, end: datetime, deadline: Deadline
    ) -> list[datetime]:
        """https://cal.com/docs/api-reference/v2/slots/get-available-time-slots-for-an-event-type

        Free starts in UTC, ascending. Cal.com may list what it then refuses, and what lies outside the window
        (which is dropped here). Raises CalcomError.
        """
        params = {
            "eventTypeId": str(event_type_id),
            "start": write_instant(start),
            "end": write_instant(end),
        }
        starts = self.ask("/slots", params=params, version=SLOTS, read=_slots_in, deadline=deadline)
        return sorted({instant for instant in starts if start <= instant <= end})

    def event_type(self, event_type_id: int, *, deadline: Deadline) -> EventType:
        """https://cal.com/docs/api-reference/v2/event-types/get-an-event-type. Raises CalcomError, also where
        the answer is another event type.
        """
        return self.ask(
            f"/event-types/{event_type_id}",
            version=EVENT_TYPES,
            read=partial(_event_type_of, event_type_id),
            deadline=deadline,
        )

    def probe(self, *, deadline: Deadline) -> None:
        """The cheapest proof that Cal.com answers this key: https://cal.com/docs/api-reference/v2/me. Raises
        CalcomError.
        """
        self.ask("/me", version=BOOKINGS, read=lambda _: None, deadline=deadline)

    def _change(self, path: str, body: Mapping[str, Any], *, deadline: Deadline) -> Booking:
        return self.change("POST", path, body, version=BOOKINGS, read=_booking_in, deadline=deadline)

    def change(
        self,
        method: str,
        path: str,
        body: Mapping[str, Any] | None = None,
        *,
        version: str,
        read: Callable[[Any], T],
        deadline: Deadline,
    ) -> T:
        """Any change, sent once. `read` makes something of the answer's whole body, or raises Unreadable.
        Raises CalcomError; OutcomeUnknown if it may have been done.
        """
        try:
            response = self._exchange(
                method,
                path,
                version=version,
                body=None if body is None else orjson.dumps(body),
                deadline=deadline,
            )
        except NotSent as error:
            raise CalcomUnavailable(f"Cal.com cannot be reached ({error}); nothing was sent.") from None
        except CutOff as error:
            raise OutcomeUnknown(f"No whole answer from Cal.com ({error}).") from None
        _raise_for_status(response, changing=True)
        try:
            return read(json_of(response))
        except Unreadable as error:
            raise OutcomeUnknown(
                f"Cal.com answered {response.status_code} with something unreadable: {error}.",
                status=response.status_code,
                request_id=_request_id(response),
                finished=True,
            ) from None

    def ask(
        self,
        path: str,
        *,
        version: str,
        read: Callable[[Any], T],
        decode: Decode = json_of,
        params: dict[str, str] | None = None,
        seconds_each: float = READ_SECONDS,
        deadline: Deadline,
    ) -> T:
        """Any question: `read` makes something of the answer's whole body, or raises Unreadable. Asked up to
        three times, for `seconds_each` at most. Raises CalcomError.
        """
        for attempt in range(1, READ_TRIES + 1):
            try:
                return self._ask_once(
                    path,
                    version=version,
                    read=read,
                    decode=decode,
                    params=params,
                    deadline=deadline.at_most(seconds_each),
                )
            except RateLimited as error:
                pause = error.retry_after
                if attempt == READ_TRIES or pause > deadline.remaining / 2:
                    raise
            except CalcomUnavailable:
                pause = random.uniform(0.1, 0.3) * attempt  # noqa: S311 - jitter
                if attempt == READ_TRIES or pause > deadline.remaining:
                    raise
            time.sleep(pause)
        raise AssertionError("unreachable")

    def _ask_once(
        self,
        path: str,
        *,
        version: str,
        read: Callable[[Any], T],
        decode: Decode,
        params: dict[str, str] | None,
        deadline: Deadline,
    ) -> T:
        try:
            response = self._exchange("GET", path, version=version, params=params, deadline=deadline)
        except (NotSent, CutOff) as error:
            raise CalcomUnavailable(f"Cal.com could not be asked ({error}).") from None
        _raise_for_status(response, changing=False)
        kind: type[CalcomUnavailable] = CalcomUnavailable
        try:
            answer = decode(response)
            kind = UnreadableAnswer
            return read(answer)
        except Unreadable as error:
            raise kind(
                f"Cal.com's answer is unreadable: {error}.",
                status=response.status_code,
                request_id=_request_id(response),
            ) from None

    def _exchange(
        self,
        method: str,
        path: str,
        *,
        version: str,
        params: dict[str, str] | None = None,
        body: bytes | None = None,
        deadline: Deadline,
    ) -> requests.Response:
        headers = {"Authorization": f"Bearer {self.api_key}", "cal-api-version": version}
        if body is not None:
            headers["Content-Type"] = "application/json"
        return exchange(
            method=method,
            url=f"{self.base_url.rstrip('/')}{path}",
            headers=headers,
            params=params,
            body=body,
            deadline=deadline,
        )


def _raise_for_status(response: requests.Response, *, changing: bool) -> None:
    if 200 <= response.status_code < 300:
        return
    raise _error_for(response, changing=changing)


def _error_for(response: requests.Response, *, changing: bool) -> CalcomError:
    status = response.status_code
    message, from_calcom = _message_of(response)
    request_id = _request_id(response)
    if status == 429:
        return RateLimited(message, retry_after=_retry_after(response), request_id=request_id)
    refusal = messages.refusal_in(message)
    lost_race = messages.is_lost_race(message)
    if status == 404 and messages.BOOKING_NOT_FOUND.search(message):
        return BookingNotFound(message, status=status, request_id=request_id)
    if not changing:
        if 400 <= status < 500 and from_calcom and not lost_race and status not in TIMED_OUT:
            return CalcomMisconfigured(message, status=status, request_id=request_id)
        return CalcomUnavailable(message, status=status, request_id=request_id)
    if status in TIMED_OUT:
        return OutcomeUnknown(message, status=status, request_id=request_id)
    if 400 <= status < 500 and refusal is not None:
        return CalcomRefused(message, reason=refusal, status=status, request_id=request_id)
    if lost_race or status == 409:
        return OutcomeUnknown(message, status=status, request_id=request_id, finished=True, race=True)
    if 400 <= status < 500 and from_calcom:
        return CalcomMisconfigured(message, status=status, request_id=request_id)
    # Everything else may have been done: an error after the commit, a proxy's page, a redirect.
    finished = status == 500 and from_calcom
    return OutcomeUnknown(message, status=status, request_id=request_id, finished=finished)


def _message_of(response: requests.Response) -> tuple[str, bool]:
    """The sentence in either of Cal.com's two error envelopes, and whether it was Cal.com that spoke."""
    try:
        body = json_in(response.content)
    except ValueError:
        return f"HTTP {response.status_code} without a readable body", False
    if isinstance(body, dict):
        error = body.get("error")
        if isinstance(error, dict) and isinstance(error.get("message"), str):
            return error["message"][:LONGEST_MESSAGE], True
        if isinstance(body.get("message"), str):
            return body["message"][:LONGEST_MESSAGE], True
    return f"HTTP {response.status_code} without a message", False


def _booking_in(body: dict[str, Any]) -> Booking:
    return read_booking(body["data"])


def _booking_of(uid: str, body: dict[str, Any]) -> Booking:
    booking = _booking_in(body)
    # What becomes of one booking is never to be told by another. A seat's uid is answered with its booking.
    if booking.uid != uid and not has_seat(body["data"], uid):
        raise Unreadable("another booking than the one asked for")
    return booking


def _readable(items: list[dict[str, Any]]) -> list[Booking]:
    """One booking that nobody can read hides none of the others, unless it may be what is looked for."""
    bookings = []
    for item in items:
        try:
            bookings.append(read_booking(item))
        except Unreadable as error:
            metadata = item.get("metadata")
            if not isinstance(metadata, dict) or "attempt_id" in metadata:
                raise UnreadableAnswer(f"Cal.com's answer is unreadable: {error}.") from None
    return bookings


def _page_in(answer: tuple[dict[str, Any], bytes]) -> Page:
    body, raw = answer
    # A version header unknown to the server is answered in the form of an old version, filters ignored.
    page = body["data"]
    if not isinstance(page, list) or "pagination" not in body:
        raise Unreadable("not the listing of API version " + BOOKINGS)
    if not all(isinstance(item, dict) and isinstance(item.get("uid"), str) for item in page):
        raise Unreadable("a booking without uid")
    return Page(bookings=page, raw=raw)


def _slots_in(body: dict[str, Any]) -> list[datetime]:
    days = body["data"]
    if not isinstance(days, dict) or not all(
        _is_day(name) and isinstance(day, list) for name, day in days.items()
    ):
        # An empty list under another name would say that nothing is free.
        raise Unreadable("slots are grouped by day")
    return [
        read_instant(slot.get("start") if isinstance(slot, dict) else slot)
        for day in days.values()
        for slot in day
    ]


def _event_type_of(event_type_id: int, body: dict[str, Any]) -> EventType:
    event_type = read_event_type(body["data"])
    if event_type.id != event_type_id:
        raise Unreadable("another event type than the one asked for")
    return event_type


def _path_of(uid: str) -> str:
    return f"/bookings/{quote(uid, safe='')}"


def _retry_after(response: requests.Response) -> float:
    # X-RateLimit-Reset-<name of the limit>: seconds left, not a Unix time. There is no Retry-After.
    for name, value in response.headers.items():
        if name.lower().startswith("x-ratelimit-reset") and value.isdecimal():
            return float(value)
    return BLOCK_SECONDS


def _request_id(response: requests.Response) -> str:
    return response.headers.get("X-Request-Id", "")[:64]

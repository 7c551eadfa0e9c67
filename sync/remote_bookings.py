"""Look at many bookings at Cal.com without spending the rate limit that live bookings share.

Many in one stretch of time are read from a listing, 250 a request; the few that are left, and those a listing
does not show, are asked for by uid. A listing shows what is there and never proves what is not: only the
answer to a uid does that.
"""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Callable, Iterable
from dataclasses import dataclass, field
from datetime import datetime, timedelta
from typing import Any, TypeVar

from booking.calcom.client import PAGE, READ_SECONDS, CalcomClient, Decode, json_of
from booking.calcom.deadline import Deadline
from booking.calcom.errors import (
    BookingNotFound,
    CalcomError,
    CalcomMisconfigured,
    CalcomUnavailable,
    UnreadableAnswer,
)
from booking.calcom.objects import Booking
from booking.connection import client_for
from booking.lookup import LONGEST_CHAIN
from booking.pace import Pace
from customers.encrypted_field import CannotDecrypt
from customers.models import Company

# One request and its repeats, of which one may wait out a blocked key.
PATIENCE_SECONDS = 180.0
MOST_FAILURES = 3  # in a row; then Cal.com is not asked again
FEW = 10  # bookings of one stretch that are asked for one by one
DAY = timedelta(days=1)

T = TypeVar("T")


@dataclass
class Asked:
    """What became of the questions so far."""

    answered: int = 0
    failed_in_a_row: int = 0
    given_up: str = ""


@dataclass(frozen=True)
class PacedClient(CalcomClient):
    """Asks at its pace, and no more once Cal.com is out of reach. `before` is called before each question."""

    pace: Pace
    before: Callable[[], None]
    asked: Asked = field(default_factory=Asked)

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
        """Whatever the deadline, each question has its own: waiting for its turn is no part of it."""
        if self.asked.given_up:
            raise CalcomUnavailable(self.asked.given_up)
        self.before()
        self.pace.wait()
        try:
            answer = super().ask(
                path,
                version=version,
                read=read,
                decode=decode,
                params=params,
                seconds_each=seconds_each,
                deadline=Deadline.after(PATIENCE_SECONDS),
            )
        except (BookingNotFound, UnreadableAnswer):
            self._was_answered()
            raise
        except CalcomError as error:
            self._failed(error)
            raise
        self._was_answered()
        return answer

    def _was_answered(self) -> None:
        self.asked.answered += 1
        self.asked.failed_in_a_row = 0

    def _failed(self, error: CalcomError) -> None:
        self.asked.failed_in_a_row += 1
        refused = isinstance(error, CalcomMisconfigured) and error.status in (401, 403)
        if refused or self.asked.failed_in_a_row >= MOST_FAILURES:
            self.asked.given_up = error.message


def paced_client(company: Company, *, pace: Pace, before: Callable[[], None]) -> PacedClient:
    """For a long run: with a key of its own, if the company has one. Raises CalcomMisconfigured."""
    client = client_for(company)
    try:
        own_key = company.calcom_reconcile_api_key
    except CannotDecrypt:
        raise CalcomMisconfigured("This company's key for reconciling cannot be opened.") from None
    return PacedClient(base_url=client.base_url, api_key=own_key or client.api_key, pace=pace, before=before)


def has_own_key(company: Company) -> bool:
    """Whether it has one for long runs, be it one that nobody can open."""
    try:
        return bool(company.calcom_reconcile_api_key)
    except CannotDecrypt:
        return True


@dataclass(slots=True)
class Found:
    """What a booking is after all its moves, and the uids it had on the way."""

    booking: Booking
    former_uids: tuple[str, ...] = ()


class RemoteBookings:
    """Cal.com's bookings, as far as they were looked at. For one batch; it remembers all it saw."""

    def __init__(self, client: CalcomClient, bookings: Iterable[Booking] = ()) -> None:
        self._client = client
        self._shown: dict[str, Booking] = {}
        self._missing: set[str] = set()
        self._of_call: dict[str, dict[str, Booking]] = defaultdict(dict)
        self._by_number: dict[int, Booking] = {}
        self._read_through: list[tuple[datetime, datetime]] = []
        for booking in bookings:
            self._remember(booking)

    def has(self, uid: str) -> bool:
        """Whether nothing need be asked to tell what this uid is."""
        for _ in range(LONGEST_CHAIN):
            booking = self._shown.get(uid)
            if booking is None:
                return uid in self._missing
            if booking.is_active or not booking.rescheduled_to_uid:
                return True
            uid = booking.rescheduled_to_uid
        return True

    def look_at(self, wanted: Iterable[tuple[str, datetime]]) -> None:
        """List the stretches of time in which many of these (uid, start) lie. What cannot be listed is left
        to be asked for.
        """
        ordered = sorted(((start, uid) for uid, start in wanted if not self.has(uid)))
        stretch: list[tuple[datetime, str]] = []
        for item in ordered:
            if stretch and item[0] - stretch[-1][0] > DAY:
                self._list_stretch(stretch)
                stretch = []
            stretch.append(item)
        self._list_stretch(stretch)

    def read_days_of(self, starts: Iterable[datetime]) -> None:
        """List the day before and after each of these instants to its end: what is in none of these listings
        can be told by `was_read_through`.
        """
        windows: list[tuple[datetime, datetime]] = []
        for start in sorted(starts):
            first, last = start - DAY, start + DAY
            if windows and first <= windows[-1][1]:
                windows[-1] = (windows[-1][0], last)
            else:
                windows.append((first, last))
        for first, last in windows:
            try:
                for booking in self._list(first, last):
                    self._remember(booking)
            except CalcomError:
                continue
            self._read_through.append((first, last))

    def was_read_through(self, start: datetime) -> bool:
        return any(first <= start <= last for first, last in self._read_through)

    def get(self, uid: str) -> Found | None:
        """What has become of it; None if Cal.com says that there is no such booking. Raises CalcomError if it
        could not be asked.
        """
        former: list[str] = []
        for _ in range(LONGEST_CHAIN):
            booking = self._ask(uid)
            if booking is None:
                return None
            if booking.is_active or not booking.rescheduled_to_uid or booking.rescheduled_to_uid in former:
                return Found(booking, tuple(former))
            former.append(uid)
            uid = booking.rescheduled_to_uid
        raise CalcomUnavailable(f"The booking was moved more than {LONGEST_CHAIN} times.")

    def of_call(self, call_id: str, *, number: int | None = None) -> list[Booking]:
        """Those shown that carry this call's id or this number."""
        found = list(self._of_call.get(call_id, {}).values())
        numbered = self._by_number.get(number) if number is not None else None
        return found if numbered is None or numbered in found else [*found, numbered]

    def _ask(self, uid: str) -> Booking | None:
        if uid in self._missing:
            return None
        if uid not in self._shown:
            booking = self._client.find_booking(uid, deadline=Deadline.after(PATIENCE_SECONDS))
            if booking is None:
                self._missing.add(uid)
                return None
            self._remember(booking)
            if booking.uid != uid:  # a seat's uid is answered with its booking
                self._shown[uid] = booking
        return self._shown[uid]

    def _list_stretch(self, stretch: list[tuple[datetime, str]]) -> None:
        if len(stretch) <= FEW:
            return
        open_uids = {uid for _, uid in stretch}
        # Where far more is booked than is wanted, asking one by one is no more requests.
        at_most = PAGE * len(open_uids)
        try:
            for number, booking in enumerate(self._list(stretch[0][0], stretch[-1][0] + DAY), start=1):
                self._remember(booking)
                open_uids.discard(booking.uid)
                if not open_uids or number >= at_most:
                    return
        except CalcomError:
            return

    def _list(self, first: datetime, last: datetime) -> Iterable[Booking]:
        return self._client.list_bookings(
            afterStart=first, beforeEnd=last, sortStart="asc", deadline=Deadline.after(PATIENCE_SECONDS)
        )

    def _remember(self, booking: Booking) -> None:
        self._shown[booking.uid] = booking
        call_id = booking.metadata.get("call_id")
        if call_id:
            self._of_call[call_id][booking.uid] = booking
        if booking.id is not None:
            self._by_number[booking.id] = booking

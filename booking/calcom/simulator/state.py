"""What the simulated Cal.com remembers: accounts, hosts, event types, bookings, reservations, webhooks.

Every reading and writing of more than one field happens under `State.lock`, and nobody sleeps or talks to the
network while holding it: a slow request must not slow the others.
"""

from __future__ import annotations

import itertools
import secrets
import string
import threading
import uuid
from collections import defaultdict
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field
from datetime import date, datetime, time, timedelta
from typing import Any
from zoneinfo import ZoneInfo

from booking.calcom.simulator.clock import SimulatorClock, as_utc

ONE_HOST = "one_host"
ROUND_ROBIN = "round_robin"
COLLECTIVE = "collective"

ACCEPTED = "accepted"
PENDING = "pending"
CANCELLED = "cancelled"
REJECTED = "rejected"

UID_ALPHABET = string.ascii_letters + string.digits

WEEKDAYS_NINE_TO_FIVE = "Mon-Fri 09:00-17:00"
ALWAYS = "always"
ALL_DAY_MINUTES = 24 * 60

DAYS = {name: number for number, name in enumerate(("Mon", "Tue", "Wed", "Thu", "Fri", "Sat", "Sun"))}


@dataclass(frozen=True)
class Schedule:
    """Opening hours: per weekday (0 = Monday) the windows in minutes after local midnight."""

    windows: dict[int, tuple[tuple[int, int], ...]]
    time_zone: str

    @classmethod
    def parse(cls, text: str, time_zone: str) -> Schedule:
        """`always`, or parts like `Mon-Fri 09:00-17:00; Sat 10:00-12:00`."""
        if text == ALWAYS:
            return cls(dict.fromkeys(range(7), ((0, ALL_DAY_MINUTES),)), time_zone)
        windows: dict[int, list[tuple[int, int]]] = defaultdict(list)
        for part in text.split(";"):
            days, hours = part.split()
            first, _, last = days.partition("-")
            opening, closing = (_minutes(clock) for clock in hours.split("-"))
            for day in range(DAYS[first], DAYS[last or first] + 1):
                windows[day].append((opening, closing))
        return cls({day: tuple(sorted(hours)) for day, hours in windows.items()}, time_zone)

    def open_ranges(self, first: date, last: date) -> Iterator[tuple[datetime, datetime]]:
        """The opening hours of the local days from `first` to `last`, as ranges in UTC."""
        zone = ZoneInfo(self.time_zone)
        day = first
        while day <= last:
            for opening, closing in self.windows.get(day.weekday(), ()):
                yield _instant(day, opening, zone), _instant(day, closing, zone)
            day += timedelta(days=1)

    def is_open(self, start: datetime, end: datetime) -> bool:
        """Whether the whole of [start, end] lies within opening hours that touch each other."""
        zone = ZoneInfo(self.time_zone)
        reached = start
        for opening, closing in self.open_ranges(start.astimezone(zone).date(), end.astimezone(zone).date()):
            if opening <= reached < closing:
                reached = closing
        return reached >= end


def _minutes(clock: str) -> int:
    hours, minutes = clock.split(":")
    return int(hours) * 60 + int(minutes)


def _instant(day: date, minutes: int, zone: ZoneInfo) -> datetime:
    if minutes == ALL_DAY_MINUTES:
        day, minutes = day + timedelta(days=1), 0
    return as_utc(datetime.combine(day, time(minutes // 60, minutes % 60), tzinfo=zone))


@dataclass(eq=False)
class Host:
    id: int
    name: str
    email: str
    username: str
    time_zone: str
    schedule_id: int


@dataclass(eq=False)
class Attendee:
    id: int
    name: str
    email: str
    time_zone: str
    language: str = "en"
    phone: str | None = None
    absent: bool = False
    # only where seats are sold
    seat_uid: str | None = None
    metadata: dict[str, Any] = field(default_factory=dict)
    responses: dict[str, Any] = field(default_factory=dict)


@dataclass(eq=False)
class EventType:
    id: int
    key: str
    slug: str
    title: str
    minutes: int
    hosts: list[Host]
    account: Account
    schedule: Schedule
    scheduling: str = ONE_HOST
    requires_confirmation: bool = False
    price: int = 0
    seats: int | None = None
    minimum_notice_minutes: int = 0
    booking_window_days: int | None = None
    lengths: list[int] = field(default_factory=list)
    slot_interval: int | None = None
    buffer_before: int = 0
    buffer_after: int = 0
    email_required: bool = False
    email_hidden: bool = False
    phone_required: bool = False
    booker_limit: int | None = None
    hidden: bool = False
    location: str = "Via 1"

    @property
    def is_team(self) -> bool:
        return self.scheduling != ONE_HOST

    @property
    def needs_confirmation(self) -> bool:
        return self.requires_confirmation or self.price > 0


@dataclass(eq=False)
class Booking:
    """One booking as stored. Times are UTC. `slot_taken` tells whether it holds the unique key of its
    slot.
    """

    id: int
    uid: str
    account: Account
    event_type: EventType
    host: Host
    status: str
    start: datetime
    end: datetime
    title: str
    attendees: list[Attendee]
    metadata: dict[str, Any]
    responses: dict[str, Any]
    created_at: datetime
    updated_at: datetime
    ics_uid: str
    ics_sequence: int = 0
    location: str = "Via 1"
    description: str = ""
    guests: list[str] = field(default_factory=list)
    cancellation_reason: str | None = None
    rejection_reason: str | None = None
    rescheduling_reason: str | None = None
    rescheduled_by: str | None = None
    rescheduled_from_uid: str | None = None
    rescheduled_to_uid: str | None = None
    absent_host: bool = False
    slot_taken: bool = False
    # replica lag: until then neither lists nor reads by uid show it
    hidden_until: datetime | None = None

    @property
    def is_active(self) -> bool:
        return self.status in (ACCEPTED, PENDING)

    @property
    def attendee(self) -> Attendee:
        return self.attendees[0]

    @property
    def minutes(self) -> int:
        return int((self.end - self.start).total_seconds() // 60)

    @property
    def occupied_hosts(self) -> list[Host]:
        return self.event_type.hosts if self.event_type.scheduling == COLLECTIVE else [self.host]


@dataclass(eq=False)
class Reservation:
    uid: str
    event_type: EventType
    start: datetime
    end: datetime
    until: datetime
    duration: int


@dataclass(eq=False)
class Webhook:
    """A subscription: of a user, or of one event type when `event_type_id` is set."""

    id: str
    account: Account
    url: str
    triggers: list[str]
    secret: str | None
    active: bool
    created_at: datetime
    payload_template: str | None = None
    version: str = "2021-10-20"
    event_type_id: int | None = None


class Account:
    """One tenant: the owner of the API keys, their team, and everything that belongs to them."""

    def __init__(self, *, name: str, api_keys: list[str], owner: Host, team_id: int) -> None:
        self.name = name
        self.api_keys = api_keys
        self.owner = owner
        self.team_id = team_id
        self.hosts: dict[str, Host] = {owner.username: owner}
        self.event_types: dict[int, EventType] = {}
        self.bookings: dict[str, Booking] = {}
        self.reservations: dict[str, Reservation] = {}
        self.webhooks: dict[str, Webhook] = {}
        # The community edition does not list round-robin bookings hosted by other members of the team;
        # an administrator at hosted Cal.com does see them. False gives the former.
        self.sees_team_bookings = True

    def event_type(self, key: str | int) -> EventType:
        """By id, name (`single`) or slug. Raises KeyError."""
        for event_type in self.event_types.values():
            if key in (event_type.id, event_type.key, event_type.slug):
                return event_type
        raise KeyError(key)

    def may_see(self, booking: Booking) -> bool:
        if self.sees_team_bookings or not booking.event_type.is_team:
            return True
        return booking.host is self.owner


class State:
    def __init__(self, clock: SimulatorClock) -> None:
        self.clock = clock
        self.lock = threading.RLock()
        self.reset_settings()
        self.clear()

    def reset_settings(self) -> None:
        # Requests per minute and key, then a block of 60 s. None: count and tell, but never refuse.
        self.rate_limit: int | None = None
        # How long a create thinks between looking whether the slot is free and writing. The real server takes
        # around 0.1 s, and that gap is where parallel requests lose the race.
        self.thinking_seconds = 0.0
        # Cancelling one seat was measured to answer 404 although the seat was gone.
        self.seat_cancel_answers_404 = True

    def clear(self) -> None:
        with self.lock:
            self.accounts: dict[str, Account] = {}
            self._by_key: dict[str, Account] = {}
            self._ids = itertools.count(1)
            self._booking_ids = itertools.count(1)
            self._host_ids = itertools.count(1)
            self._event_type_ids = itertools.count(101)
            self._team_ids = itertools.count(1)
            self._busy: dict[int, dict[int, list[Booking]]] = {}
            self._by_start: dict[tuple[int, datetime], list[Booking]] = {}
            self._slot_keys: dict[tuple[int, datetime, datetime], Booking] = {}
            self._last_booked: dict[int, int] = {}
            self._by_uid: dict[str, Booking] = {}

    # --- building the world

    def add_account(
        self,
        name: str,
        *,
        api_key: str,
        owner: str = "ann",
        email: str | None = None,
        time_zone: str = "Europe/Berlin",
    ) -> Account:
        """A further tenant. Its key sees nothing of the others."""
        with self.lock:
            host = self._new_host(owner, email or f"{owner}@{name}.test", time_zone)
            account = Account(name=name, api_keys=[api_key], owner=host, team_id=next(self._team_ids))
            self.accounts[name] = account
            self._by_key[api_key] = account
            return account

    def add_key(self, account: Account | str, api_key: str) -> None:
        """A further key of the same account; rate limits count per key."""
        account = self.account(account)
        with self.lock:
            account.api_keys.append(api_key)
            self._by_key[api_key] = account

    def revoke_key(self, api_key: str) -> None:
        with self.lock:
            self._by_key.pop(api_key).api_keys.remove(api_key)

    def _new_host(self, username: str, email: str, time_zone: str) -> Host:
        number = next(self._host_ids)
        return Host(number, username.capitalize(), email, username, time_zone, number)

    def host(self, username: str, account: Account | str | None = None) -> Host:
        """The host of that name, made when there is none yet."""
        account = self.account(account)
        with self.lock:
            if username not in account.hosts:
                domain = account.owner.email.partition("@")[2]
                account.hosts[username] = self._new_host(
                    username, f"{username}@{domain}", account.owner.time_zone
                )
            return account.hosts[username]

    def add_event_type(
        self,
        key: str,
        *,
        account: Account | str | None = None,
        event_type_id: int | None = None,
        slug: str | None = None,
        title: str | None = None,
        minutes: int = 30,
        hosts: Sequence[str] = (),
        scheduling: str = ONE_HOST,
        available: str = WEEKDAYS_NINE_TO_FIVE,
        **options: Any,
    ) -> EventType:
        """A bookable thing. `hosts` are user names (the owner when empty); `available` as in
        `Schedule.parse`.

        `event_type_id` may equal one of another account. Further options are the fields of `EventType`:
        requires_confirmation, price, seats, minimum_notice_minutes, booking_window_days, lengths,
        slot_interval, buffer_before, buffer_after, email_required, email_hidden, phone_required,
        booker_limit, hidden.
        """
        account = self.account(account)
        with self.lock:
            number = event_type_id or next(self._event_type_ids)
            while event_type_id is None and any(
                number in other.event_types for other in self.accounts.values()
            ):
                number = next(self._event_type_ids)
            event_type = EventType(
                id=number,
                key=key,
                slug=slug or f"et-{number}",
                title=title or key.replace("_", " ").capitalize(),
                minutes=minutes,
                hosts=[self.host(name, account) for name in hosts] or [account.owner],
                account=account,
                schedule=Schedule.parse(available, account.owner.time_zone),
                scheduling=scheduling,
                **options,
            )
            account.event_types[number] = event_type
            return event_type

    def add_webhook(
        self,
        account: Account | str | None,
        *,
        url: str,
        triggers: list[str],
        secret: str | None,
        active: bool = True,
        event_type_id: int | None = None,
    ) -> Webhook:
        account = self.account(account)
        with self.lock:
            webhook = Webhook(
                id=self.new_uuid(),
                account=account,
                url=url,
                triggers=triggers,
                secret=secret,
                active=active,
                created_at=self.clock.now(),
                event_type_id=event_type_id,
            )
            account.webhooks[webhook.id] = webhook
            return webhook

    # --- finding

    def account(self, account: Account | str | None = None) -> Account:
        """That account; the first one when None."""
        if isinstance(account, Account):
            return account
        if account is None:
            return next(iter(self.accounts.values()))
        return self.accounts[account]

    def account_of_key(self, api_key: str) -> Account | None:
        return self._by_key.get(api_key)

    def event_type(self, key: str | int | EventType, account: Account | str | None = None) -> EventType:
        """By id, name or slug, in that account or (None) in the first that has it. Raises KeyError."""
        if isinstance(key, EventType):
            return key
        accounts = list(self.accounts.values()) if account is None else [self.account(account)]
        for candidate in accounts:
            try:
                return candidate.event_type(key)
            except KeyError:
                continue
        raise KeyError(key)

    @property
    def bookings(self) -> list[Booking]:
        """All bookings of all accounts, in the order they were made."""
        with self.lock:
            return sorted(self._by_uid.values(), key=lambda booking: booking.id)

    def booking(self, uid: str) -> Booking | None:
        return self._by_uid.get(uid)

    def visible_booking(self, uid: str, account: Account | None) -> Booking | None:
        """The booking as a reader finds it: not while the replica lags, not with another account's key."""
        booking = self._by_uid.get(uid)
        if booking is None or (account is not None and booking.account is not account):
            return None
        return None if self.is_hidden(booking) else booking

    def is_hidden(self, booking: Booking) -> bool:
        return booking.hidden_until is not None and booking.hidden_until > self.clock.now()

    def same_start(self, event_type: EventType, start: datetime) -> list[Booking]:
        return self._by_start.get((id(event_type), start), [])

    def slot_holder(self, host: Host, start: datetime, end: datetime) -> Booking | None:
        """The booking that holds the unique key: one organizer, one start and end, accepted."""
        return self._slot_keys.get((host.id, start, end))

    def accepted_overlapping(
        self, host: Host, start: datetime, end: datetime, ignoring: Booking | None = None
    ) -> bool:
        days = self._busy.get(host.id)
        if not days:
            return False
        for day in {start.toordinal(), (end - timedelta(microseconds=1)).toordinal()}:
            for booking in days.get(day, ()):
                if booking.start < end and start < booking.end and booking is not ignoring:
                    return True
        return False

    def accepted_of_day(self, host: Host, day: date) -> list[Booking]:
        return self._busy.get(host.id, {}).get(day.toordinal(), [])

    def last_booked(self, host: Host) -> int:
        """When this host was last booked, as a running number; 0 for never. Round robin takes the
        smallest.
        """
        return self._last_booked.get(host.id, 0)

    # --- writing; callers hold the lock

    def next_id(self) -> int:
        return next(self._ids)

    def next_booking_id(self) -> int:
        return next(self._booking_ids)

    @staticmethod
    def new_uid() -> str:
        return "".join(secrets.choice(UID_ALPHABET) for _ in range(22))

    @staticmethod
    def new_uuid() -> str:
        return str(uuid.uuid4())

    def store(self, booking: Booking) -> None:
        account = booking.account
        account.bookings[booking.uid] = booking
        self._by_uid[booking.uid] = booking
        self._by_start.setdefault((id(booking.event_type), booking.start), []).append(booking)
        self._last_booked[booking.host.id] = booking.id
        if booking.status == ACCEPTED:
            self._occupy(booking)
            booking.slot_taken = True
            self._slot_keys.setdefault((booking.host.id, booking.start, booking.end), booking)

    def change_status(self, booking: Booking, status: str) -> None:
        """Confirming occupies the time but, as at Cal.com, takes no unique key."""
        if booking.status == ACCEPTED:
            self._vacate(booking)
        booking.status = status
        if status == ACCEPTED:
            self._occupy(booking)

    def touch(self, booking: Booking) -> None:
        booking.updated_at = self.clock.now()

    def move_in_place(self, booking: Booking, *, start: datetime, end: datetime) -> None:
        """Change the times of a stored booking: no real endpoint does, faults do."""
        accepted = booking.status == ACCEPTED
        if accepted:
            self._vacate(booking)
        self._by_start[(id(booking.event_type), booking.start)].remove(booking)
        booking.start, booking.end = start, end
        self._by_start.setdefault((id(booking.event_type), start), []).append(booking)
        if accepted:
            self._occupy(booking)

    def change_event_type(self, booking: Booking, event_type: EventType) -> None:
        accepted = booking.status == ACCEPTED
        if accepted:
            self._vacate(booking)
        self._by_start[(id(booking.event_type), booking.start)].remove(booking)
        booking.event_type = event_type
        self._by_start.setdefault((id(event_type), booking.start), []).append(booking)
        if accepted:
            self._occupy(booking)

    def erase(self, booking: Booking) -> None:
        """Let it never have been there, as after a restored backup."""
        with self.lock:
            self.change_status(booking, CANCELLED)
            self._by_start[(id(booking.event_type), booking.start)].remove(booking)
            del self._by_uid[booking.uid]
            del booking.account.bookings[booking.uid]

    def _busy_days(self, booking: Booking) -> Iterator[list[Booking]]:
        for host in booking.occupied_hosts:
            days = self._busy.setdefault(host.id, {})
            for day in {booking.start.toordinal(), (booking.end - timedelta(microseconds=1)).toordinal()}:
                yield days.setdefault(day, [])

    def _occupy(self, booking: Booking) -> None:
        for bookings in self._busy_days(booking):
            bookings.append(booking)

    def _vacate(self, booking: Booking) -> None:
        for bookings in self._busy_days(booking):
            bookings.remove(booking)
        if booking.slot_taken:
            booking.slot_taken = False
            key = (booking.host.id, booking.start, booking.end)
            if self._slot_keys.get(key) is booking:
                del self._slot_keys[key]

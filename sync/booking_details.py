"""What `Call.booking_details` says was booked, in whatever shape it was written.

We write it with the booking; older systems wrote it before us, by other names, in German, encoded twice, or
not at all. It is a hint of what to ask Cal.com for and never the truth about a booking.
"""

from __future__ import annotations

import json
from collections.abc import Iterator, Sequence
from contextlib import suppress
from dataclasses import dataclass, field
from datetime import datetime
from enum import StrEnum
from typing import Any
from zoneinfo import ZoneInfo

from booking.calcom.objects import Unreadable, is_uid, read_instant
from booking.instants import InvalidInstant, parse_instant
from customers.placeholders import clean_text, is_placeholder, is_placeholder_name
from customers.row_ids import is_row_id


class Problem(StrEnum):
    MISSING = "missing_details"
    UNREADABLE = "unreadable_details"
    INCOMPLETE = "incomplete_details"  # neither a booking nor a time is named


class NoDetails(Exception):
    def __init__(self, problem: Problem) -> None:
        super().__init__(problem.value)
        self.problem = problem


@dataclass(slots=True)
class Details:
    """`uid` and `number` name the booking at Cal.com; one of them or `starts_at` (UTC) is there. Whoever
    booked is blank where it was not said; `phone` is as it was written.
    """

    uid: str = ""
    number: int | None = None
    starts_at: datetime | None = None
    service_id: int | None = None
    written: tuple[dict[str, Any], ...] = field(default=(), repr=False)

    @property
    def name(self) -> str:
        said = _first(self._people, _NAMES)
        return "" if is_placeholder_name(said) else _text(said, limit=200)

    @property
    def phone(self) -> str:
        return _text(_first(self._people, _PHONES), limit=64)

    @property
    def email(self) -> str:
        return _text(_first(self._people, _EMAILS), limit=254).lower()

    @property
    def _people(self) -> tuple[dict[str, Any], ...]:
        return (*(person for layer in self.written for person in _people(layer)), *self.written)


ENCODED_AT_MOST = 3
DEEPEST = 3

# Ours first. `booking_id` is a number at Cal.com and was a uid in some systems: its form tells.
_UIDS = (
    "uid", "calcom_booking_uid", "booking_uid", "bookingUid", "calcom_uid", "calcom_booking_id", "booking_id",
    "bookingId", "calcom_v2_booking_id", "buchungs_id", "buchungsnummer",
)  # fmt: skip
_STARTS = (
    "start", "starts_at", "start_time", "startTime", "start_at", "appointment_time", "appointment_datetime",
    "appointment_start", "datetime", "date_time", "scheduled_at", "termin", "terminzeit", "beginn",
)  # fmt: skip
_DAYS_AND_TIMES = (
    ("appointment_date", "appointment_time"),
    ("date", "time"),
    ("datum", "uhrzeit"),
    ("datum", "zeit"),
)
_NAMES = ("name", "customer_name", "attendee_name", "client_name", "patient_name", "kundenname", "kunde")
_PHONES = (
    "phone", "customer_phone", "phone_number", "phoneNumber", "attendee_phone", "telefon", "telefonnummer",
    "kundentelefon", "handynummer",
)  # fmt: skip
_EMAILS = ("email", "customer_email", "attendee_email", "e_mail", "e-mail", "mail")
_INSIDE = (
    "booking", "appointment", "data", "calcom", "calcom_booking", "details", "booking_details", "buchung",
)  # fmt: skip
_ANY_INSIDE = frozenset(_INSIDE)
_PERSONS = ("attendee", "attendees", "customer", "kunde", "client", "patient")


def read_details(value: object, *, zone: ZoneInfo, now: datetime) -> Details:
    """`zone` is meant where a time has no offset, `now` is when it was written: a day without a year is the
    next such day. Raises NoDetails, and nothing else, whatever JSON value it is given.
    """
    layers = _read_layers(value)
    uid, number = _named_booking(layers)
    details = Details(
        uid=uid,
        number=number,
        starts_at=_start(layers, zone=zone, now=now),
        service_id=_integer(_first(layers, ("service_id",))),
        written=layers,
    )
    if not (details.uid or details.number or details.starts_at):
        raise NoDetails(Problem.INCOMPLETE)
    return details


def named_uid(value: object) -> str:
    """The booking they name; empty where they name none by its uid. Raises nothing."""
    try:
        return _named_booking(_read_layers(value))[0]
    except NoDetails:
        return ""


def _read_layers(value: object) -> tuple[dict[str, Any], ...]:
    content = _decoded(value)
    if content is None or content in ("", {}, []):
        raise NoDetails(Problem.MISSING)
    if isinstance(content, list) and len(content) == 1:
        content = content[0]
    if not isinstance(content, dict):
        raise NoDetails(Problem.UNREADABLE)
    return tuple(_layers(content))


def _decoded(value: object) -> Any:
    for _ in range(ENCODED_AT_MOST):
        if not isinstance(value, str):
            break
        if not value.strip():
            return None
        try:
            value = json.loads(value)
        except (ValueError, RecursionError):
            raise NoDetails(Problem.UNREADABLE) from None
    return value


def _layers(content: dict[str, Any], depth: int = 1) -> Iterator[dict[str, Any]]:
    yield content
    if depth == DEEPEST or _ANY_INSIDE.isdisjoint(content):
        return
    for name in _INSIDE:
        inner = content.get(name)
        if isinstance(inner, str) and inner[:1] == "{":
            try:
                inner = _decoded(inner)
            except NoDetails:
                continue
        if isinstance(inner, dict):
            yield from _layers(inner, depth + 1)


def _people(layer: dict[str, Any]) -> Iterator[dict[str, Any]]:
    for name in _PERSONS:
        person = layer.get(name)
        if isinstance(person, list) and person:
            person = person[0]
        if isinstance(person, dict):
            yield person


def _first(layers: Sequence[dict[str, Any]], names: tuple[str, ...]) -> Any:
    for layer in layers:
        for name in names:
            value = layer.get(name)
            if value is not None and value != "" and not isinstance(value, (dict, list)):
                return value
    return None


def _named_booking(layers: Sequence[dict[str, Any]]) -> tuple[str, int | None]:
    number = None
    for layer in layers:
        for name in _UIDS:
            value = layer.get(name)
            if isinstance(value, str) and value.strip().isdecimal():
                value = int(value) if len(value) <= 18 else None
            if isinstance(value, str) and is_uid(value.strip()) and not _says_nothing(value):
                return value.strip(), number
            number = number or _integer(value)
    return "", number


def _says_nothing(uid: str) -> bool:
    # No placeholder has a digit, and nearly every uid has one.
    return not any(map(str.isdigit, uid)) and is_placeholder(uid)


def _start(layers: Sequence[dict[str, Any]], *, zone: ZoneInfo, now: datetime) -> datetime | None:
    for layer in layers:
        for name in _STARTS:
            instant = _instant(layer.get(name), zone=zone, now=now)
            if instant is not None:
                return instant
        for day, time in _DAYS_AND_TIMES:
            if isinstance(layer.get(day), str) and isinstance(layer.get(time), str):
                instant = _instant(f"{layer[day].strip()} {layer[time].strip()}", zone=zone, now=now)
                if instant is not None:
                    return instant
    return None


def _instant(value: object, *, zone: ZoneInfo, now: datetime) -> datetime | None:
    if not isinstance(value, str) or not value:
        return None
    with suppress(Unreadable):
        # Most were written by a machine, and reading what a person says takes longer.
        return read_instant(value)
    with suppress(InvalidInstant):
        return parse_instant(value, zone=zone, now=now)
    return None


def _text(value: object, *, limit: int) -> str:
    return "" if value is None or is_placeholder(value) else clean_text(value, limit=limit)


def _integer(value: object) -> int | None:
    if isinstance(value, str) and is_row_id(value):
        value = int(value)
    whole = isinstance(value, int) and not isinstance(value, bool)
    return value if whole and 0 < value < 2**63 else None  # type: ignore[return-value, operator]

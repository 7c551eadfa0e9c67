"""What both sides hold of one time: Cal.com's bookings, and our rows."""

from __future__ import annotations

from dataclasses import asdict, dataclass
from datetime import datetime
from typing import Any
from zoneinfo import ZoneInfo

from django.utils.dateparse import parse_datetime

from booking.models import Appointment, BookingAttempt, SyncFailure
from calls.models import Call
from sync.management.demo.system import RunningSystem

CLOCK = "%d.%m.%Y %H:%M"


@dataclass(frozen=True)
class CalcomBooking:
    uid: str
    status: str
    start: str
    attendee: str
    call_id: str

    def __str__(self) -> str:
        return f"booking {self.uid} {self.status}, {self.start}, for {self.attendee}, {_call(self.call_id)}"


@dataclass(frozen=True)
class LocalRow:
    table: str
    id: int
    status: str
    what: str

    def __str__(self) -> str:
        return f"{self.table} {self.id} {self.status}, {self.what}".rstrip(", ")


@dataclass(frozen=True)
class Observed:
    bookings: tuple[CalcomBooking, ...]
    rows: tuple[LocalRow, ...]

    def as_json(self) -> dict[str, Any]:
        return {
            "calcom": [asdict(booking) for booking in self.bookings],
            "local": [asdict(row) for row in self.rows],
        }


def at(system: RunningSystem, start: datetime) -> Observed:
    """Everything there is about this start, at Cal.com and here."""
    zone = ZoneInfo(system.branch.timezone or system.company.timezone)
    return Observed(bookings=tuple(_bookings(system, start, zone)), rows=tuple(_rows(system, start, zone)))


def active_uids(system: RunningSystem, start: datetime) -> list[str]:
    """What occupies that time at Cal.com."""
    return [
        booking["uid"]
        for booking in system.calcom.active_bookings(system.account)
        if parse_datetime(booking["start"]) == start
    ]


def _bookings(system: RunningSystem, start: datetime, zone: ZoneInfo) -> list[CalcomBooking]:
    return [
        CalcomBooking(
            uid=booking["uid"],
            status=booking["status"],
            start=start.astimezone(zone).strftime(CLOCK),
            attendee=booking["attendees"][0]["name"] if booking["attendees"] else "",
            call_id=booking["metadata"].get("call_id", ""),
        )
        for booking in system.calcom.bookings
        if booking["account"] == system.account and parse_datetime(booking["start"]) == start
    ]


def _rows(system: RunningSystem, start: datetime, zone: ZoneInfo) -> list[LocalRow]:
    rows: list[LocalRow] = []
    appointments = (
        Appointment.objects.filter(company=system.company, starts_at=start)
        .select_related("call")
        .order_by("pk")
    )
    for appointment in appointments:
        uid = f"uid {appointment.calcom_booking_uid}" if appointment.calcom_booking_uid else "no uid"
        when = appointment.starts_at.astimezone(zone).strftime(CLOCK)
        rows.append(
            LocalRow(
                "appointments",
                appointment.pk,
                appointment.status,
                f"{when}, for {appointment.attendee_name}, {uid}",
            )
        )
        rows += [_attempt(attempt) for attempt in appointment.attempts.order_by("pk")]
        if appointment.call:
            rows.append(_call_row(appointment.call))
        failures = SyncFailure.objects.filter(company=system.company, appointment=appointment).order_by("pk")
        rows += [
            LocalRow("sync_failures", failure.pk, failure.status, failure.failure_type)
            for failure in failures
        ]
    return rows


def _attempt(attempt: BookingAttempt) -> LocalRow:
    told = f'told "{attempt.told}"' if attempt.told else "nothing told yet"
    layer = f", refused by {attempt.refused_by}" if attempt.refused_by else ""
    return LocalRow("booking_attempts", attempt.pk, attempt.state, told + layer)


def _call_row(call: Call) -> LocalRow:
    link = f"appointment {call.appointment_id}" if call.appointment_id else "no appointment"
    status = "confirmed" if call.booking_confirmed else "not confirmed"
    return LocalRow("calls", call.pk, status, f"{link}, {_call(call.retell_call_id)}")


def _call(call_id: str) -> str:
    return f"call …{call_id[-6:]}" if call_id else "no call"

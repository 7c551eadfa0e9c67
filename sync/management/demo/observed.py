"""What both sides hold of one time, one call or one booking: Cal.com's bookings, and our rows."""

from __future__ import annotations

import json
from collections.abc import Callable
from dataclasses import asdict, dataclass
from datetime import datetime
from typing import Any

from django.db.models import Q, QuerySet
from django.utils.dateparse import parse_datetime

from booking.calcom.deliveries import read_hint
from booking.models import Appointment, BookingAttempt, CallbackRequest, SyncFailure
from calls.models import Call, WebhookEvent
from sync.management.demo.system import RunningSystem

CLOCK = "%d.%m.%Y %H:%M"


@dataclass(frozen=True)
class CalcomBooking:
    uid: str
    status: str
    start: str
    attendee: str
    call_id: str
    moved_to: str = ""

    def __str__(self) -> str:
        status = f"moved to {self.moved_to}" if self.moved_to else self.status
        return f"booking {self.uid} {status}, {self.start}, for {self.attendee}, {_call(self.call_id)}"


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
    return Observed(
        bookings=_bookings(system, lambda booking: parse_datetime(booking["start"]) == start),
        rows=_rows(system, Q(starts_at=start)),
    )


def of_call(system: RunningSystem, call_id: str) -> Observed:
    """Everything that came of one call. Cal.com's moves keep the call's id."""
    calls = Call.objects.filter(company=system.company, retell_call_id=call_id)
    rows = _rows(system, Q(call__retell_call_id=call_id)) or tuple(_call_row(call) for call in calls)
    callbacks = CallbackRequest.objects.filter(company=system.company, call__retell_call_id=call_id)
    return Observed(
        bookings=_bookings(system, lambda booking: booking["metadata"].get("call_id") == call_id),
        rows=(*rows, *(_callback(system, callback) for callback in callbacks.order_by("pk"))),
    )


def of_bookings(system: RunningSystem, *uids: str) -> Observed:
    """These bookings, and whatever of ours has their uid or once had it, with the deliveries about them."""
    meant = Q(calcom_booking_uid__in=uids) | Q(former_uids__uid__in=uids)
    now = set(_appointments(system, meant).values_list("calcom_booking_uid", flat=True))
    events = deliveries_about(system, *uids)
    return Observed(
        bookings=_bookings(system, lambda booking: booking["uid"] in now.union(uids)),
        rows=(
            *_rows(system, meant),
            *(LocalRow("webhook_events", event.pk, event.status, event.event_type) for event in events),
        ),
    )


def deliveries_about(system: RunningSystem, *uids: str) -> list[WebhookEvent]:
    """The stored deliveries of Cal.com's that name one of these bookings as theirs."""
    stored = WebhookEvent.objects.filter(company=system.company, provider=WebhookEvent.Provider.CALCOM)
    return [
        event
        for event in stored.filter(received_at__gte=system.found_at).order_by("pk")
        if read_hint(json.loads(event.body or "{}")).uid in uids
    ]


def active_uids(system: RunningSystem, start: datetime) -> list[str]:
    """What occupies that time at Cal.com."""
    return [
        booking["uid"]
        for booking in system.calcom.active_bookings(system.account)
        if parse_datetime(booking["start"]) == start
    ]


def _clock(system: RunningSystem, instant: datetime | None) -> str:
    return instant.astimezone(system.branch.zone).strftime(CLOCK) if instant else "?"


def _bookings(system: RunningSystem, is_meant: Callable[[dict[str, Any]], bool]) -> tuple[CalcomBooking, ...]:
    return tuple(
        CalcomBooking(
            uid=booking["uid"],
            status=booking["status"],
            start=_clock(system, parse_datetime(booking["start"])),
            attendee=booking["attendees"][0]["name"] if booking["attendees"] else "",
            call_id=booking["metadata"].get("call_id", ""),
            moved_to=booking.get("rescheduledToUid", ""),
        )
        for booking in system.calcom.bookings
        if booking["account"] == system.account and is_meant(booking)
    )


def _appointments(system: RunningSystem, meant: Q) -> QuerySet[Appointment]:
    # By number: the joins that say what is meant may find a row more than once.
    found = Appointment.objects.filter(meant, company=system.company).values("pk")
    rows = Appointment.objects.filter(pk__in=found).select_related("call", "customer")
    return rows.order_by("pk")


def _rows(system: RunningSystem, meant: Q) -> tuple[LocalRow, ...]:
    rows: list[LocalRow] = []
    for appointment in _appointments(system, meant):
        uid = f"uid {appointment.calcom_booking_uid}" if appointment.calcom_booking_uid else "no uid"
        what = f"{_clock(system, appointment.starts_at)}, for {appointment.attendee_name}, {uid}"
        if appointment.source == Appointment.Source.CALCOM:
            what += ", made on the web"
        rows.append(LocalRow("appointments", appointment.pk, appointment.status, what))
        rows += [_attempt(attempt) for attempt in appointment.attempts.order_by("pk")]
        if appointment.call:
            rows.append(_call_row(appointment.call))
        failures = SyncFailure.objects.filter(company=system.company, appointment=appointment).order_by("pk")
        rows += [
            LocalRow("sync_failures", failure.pk, failure.status, failure.failure_type)
            for failure in failures
        ]
    return tuple(rows)


def _attempt(attempt: BookingAttempt) -> LocalRow:
    told = f'told "{attempt.told}"' if attempt.told else "nothing told yet"
    layer = f", refused by {attempt.refused_by}" if attempt.refused_by else ""
    kind = "" if attempt.kind == BookingAttempt.Kind.CREATE else f"{attempt.kind}, "
    return LocalRow("booking_attempts", attempt.pk, attempt.state, kind + told + layer)


def _callback(system: RunningSystem, callback: CallbackRequest) -> LocalRow:
    due = f"due {_clock(system, callback.due_at)}"
    return LocalRow("callback_requests", callback.pk, callback.status, f"“{callback.reason}”, {due}")


def _call_row(call: Call) -> LocalRow:
    link = f"appointment {call.appointment_id}" if call.appointment_id else "no appointment"
    status = "confirmed" if call.booking_confirmed else "not confirmed"
    return LocalRow("calls", call.pk, status, f"{link}, {_call(call.retell_call_id)}")


def _call(call_id: str) -> str:
    return f"call …{call_id[-6:]}" if call_id else "no call"

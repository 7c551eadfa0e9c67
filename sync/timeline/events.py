"""One row as something that happened. What is about people is masked."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass, field
from datetime import datetime, timedelta, tzinfo
from typing import Any

from django.db import models

from booking.models import (
    OPEN_STATES,
    PROVEN_STATUSES,
    Appointment,
    BookingAttempt,
    CallbackRequest,
    SyncFailure,
)
from calls.models import FunctionCall, WebhookEvent
from customers.masking import MASK, mask_text, mask_value
from sync.models import AuditEntry

GOOD, BAD, PLAIN = "good", "bad", "plain"


@dataclass(frozen=True, kw_only=True)
class Event:
    """`details` are masked, and shown on request. `record` is the row that tells of it."""

    at: datetime
    kind: str
    what: str
    tone: str = PLAIN
    details: dict[str, Any] = field(default_factory=dict)
    record: models.Model | None = None


def of_function_call(row: FunctionCall) -> Iterator[Event]:
    repeated = f", {row.repeats} repeats" if row.repeats else ""
    yield Event(
        # The row is written with the answer.
        at=row.created_at - timedelta(milliseconds=row.duration_ms),
        kind="agent",
        what=f"{row.name} → {row.code} after {row.duration_ms} ms{repeated}",
        tone=GOOD if row.answer.get("success") else BAD if row.code in ("checking", "unavailable") else PLAIN,
        details=_masked({"arguments": row.arguments, "answer": row.answer}),
        record=row,
    )


_SENT = {0: "not known to be sent", 1: "sent once"}


def of_attempt(row: BookingAttempt) -> Iterator[Event]:
    yield Event(
        at=row.sent_at or row.created_at,
        kind="to Cal.com",
        what=f"{row.get_kind_display()}, {_SENT.get(row.posts) or f'sent {row.posts} times'}",
        details=_masked({"request": row.request}),
        record=row,
    )
    if row.finished_at is None and row.state not in OPEN_STATES:
        return
    why = row.refused_by or row.error_class
    yield Event(
        at=row.finished_at or row.updated_at,
        kind="to Cal.com",
        what=f"{row.get_kind_display()} {row.get_state_display()}{f': {why}' if why else ''}",
        tone=GOOD if row.state == BookingAttempt.State.SUCCEEDED else BAD,
        details=_masked(
            {
                "answer": row.answer,
                "error": row.error_message,
                "http_status": row.http_status,
                "told": row.told,
                "looks": row.looks,
            }
        ),
        record=row,
    )


def of_delivery(row: WebhookEvent) -> Event:
    bad = (WebhookEvent.Status.FAILED, WebhookEvent.Status.DEAD)
    return Event(
        at=row.received_at,
        kind=row.get_provider_display(),
        what=f"{row.event_type}: {row.get_status_display()}",
        tone=BAD if row.status in bad else PLAIN,
        details=_masked({"attempts": row.attempts, "note": row.error}),
        record=row,
    )


def of_entry(row: AuditEntry) -> Event:
    who = row.user.get_username() if row.user else "the machine"
    reason = f": {row.reason}" if row.reason else ""
    return Event(
        at=row.created_at,
        kind="person" if row.user else "repair",
        what=mask_text(f"{row.action} by {who}{reason}"),
        details=_masked(row.details),
        record=row,
    )


def of_failure(row: SyncFailure) -> Iterator[Event]:
    times = f", seen {row.occurrences} times" if row.occurrences > 1 else ""
    yield Event(
        at=row.detected_at,
        kind="failure",
        what=f"{row.get_failure_type_display()}{times}: {mask_text(row.error_message)}",
        tone=BAD,
        details=_masked(row.error_details),
        record=row,
    )
    if row.resolved_at and row.resolved_at != row.detected_at:
        who = f" by {row.resolved_by.get_username()}" if row.resolved_by else ""
        note = mask_text(row.resolution_notes)
        yield Event(at=row.resolved_at, kind="failure", what=f"Resolved{who}: {note}", tone=GOOD, record=row)


def of_callback(row: CallbackRequest) -> Iterator[Event]:
    yield Event(
        at=row.created_at, kind="callback", what=f"Promised: {mask_text(row.reason)}", tone=BAD, record=row
    )
    if row.closed_at:
        who = row.closed_by.get_username() if row.closed_by else "the machine"
        what = f"Closed by {who}: {mask_text(row.note)}"
        yield Event(at=row.closed_at, kind="callback", what=what, tone=GOOD, record=row)


def of_appointment(row: Appointment, zone: tzinfo) -> Event:
    service = row.service.name if row.service else "?"
    start = row.starts_at.astimezone(zone)
    return Event(
        at=row.created_at,
        kind="appointment",
        what=f"{service} was intended. Now: {start:%Y-%m-%d %H:%M %Z}, {row.get_status_display()}",
        tone=GOOD if row.status in PROVEN_STATUSES else PLAIN,
        record=row,
    )


_OF_A_PERSON = ("attendee", "attendees")


def _masked(details: dict[str, Any]) -> dict[str, Any]:
    """Without what is empty, and without whom it is about."""
    kept = {name: value for name, value in details.items() if value not in (None, "", {}, [])}
    shown: dict[str, Any] = mask_value(_without_names(kept))
    return shown


def _without_names(value: Any, *, inside_person: bool = False) -> Any:
    """The masks go by a field's own name, and a person's is just "name"."""
    if isinstance(value, dict):
        return {
            key: MASK
            if inside_person and key == "name" and member
            else _without_names(member, inside_person=key in _OF_A_PERSON)
            for key, member in value.items()
        }
    if isinstance(value, list):
        return [_without_names(member, inside_person=inside_person) for member in value]
    return value

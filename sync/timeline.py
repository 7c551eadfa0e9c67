"""Everything that is known about one booking, in the order it happened, and what it comes to.

One call, one failure or one appointment names a handful of rows in eight tables; each is read with one query
(the deliveries with two), however much happened. What is about people is masked: the records' own pages have
it in full.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from dataclasses import dataclass, field
from datetime import datetime, timedelta, tzinfo
from typing import Any

from django.conf import settings
from django.db import models
from django.db.models import Case, Q, When
from django.utils import timezone

from booking import function_names
from booking.models import (
    OPEN_STATES,
    OPEN_STATUSES,
    PROVEN_STATUSES,
    Appointment,
    BookingAttempt,
    CallbackRequest,
    FormerUid,
    SyncFailure,
)
from booking.outcomes import Code
from calls.models import Call, FunctionCall, WebhookEvent
from customers.admin_columns import zone_of
from customers.masking import MASK, mask_text, mask_value
from sync.models import AuditEntry
from sync.roles import MayLook

MOST_OF_A_KIND = 100
BEFORE = timedelta(hours=1)
RETELL_EVENTS = ("call_started", "call_ended", "call_analyzed")
GOOD, BAD, PLAIN = "good", "bad", "plain"
# Without any one of them the answer could be a wrong one.
_TELL: tuple[type[models.Model], ...] = (FunctionCall, BookingAttempt, Appointment, SyncFailure)


@dataclass(frozen=True, kw_only=True)
class Event:
    """`details` are masked, and shown on request. `record` is the row that tells of it."""

    at: datetime
    kind: str
    what: str
    tone: str = PLAIN
    details: dict[str, Any] = field(default_factory=dict)
    record: models.Model | None = None


@dataclass(frozen=True, kw_only=True)
class Verdict:
    """Why it is, or is not, in the calendar: one sentence, and what to do."""

    said: str
    tone: str
    todo: str = ""


@dataclass(frozen=True, kw_only=True)
class Subject:
    """What a timeline is about, as far as it is known."""

    company_id: int
    call: Call | None = None
    appointments: tuple[int, ...] = ()
    failure: SyncFailure | None = None
    uids: tuple[str, ...] = ()
    since: datetime
    zone: tzinfo


def of_call(call: Call, *, user: MayLook) -> tuple[list[Event], Verdict]:
    made = Appointment.objects.filter(
        Q(call=call) | Q(pk__in=_appointments_of_others(call)), company=call.company_id
    )
    subject = _subject(
        company_id=call.company_id,
        call=call,
        appointments=list(made.order_by("pk")[:MOST_OF_A_KIND]),
        since=call.started_at or call.created_at,
        zone=zone_of(call),
    )
    story = _Story(subject, user)
    return story.events(), story.verdict()


def _appointments_of_others(call: Call) -> list[int]:
    """What the call points at, has moved or cancelled, or was told to have already."""
    changed = BookingAttempt.objects.filter(call=call).values_list("appointment", flat=True)
    had = FunctionCall.objects.filter(call=call, code=Code.ALREADY_BOOKED)
    told = had.values_list("answer__appointment__id", flat=True)
    return [pk for pk in (call.appointment_id, *changed, *told) if isinstance(pk, int)]


def of_failure(failure: SyncFailure, *, user: MayLook, uid: str = "") -> list[Event]:
    """`uid`: of the booking that was found to be meant, where the failure itself names none."""
    appointments = [failure.appointment] if failure.appointment else []
    call = failure.call or (failure.appointment.call if failure.appointment else None)
    since = min([failure.detected_at, *(a.created_at for a in appointments)])
    if call is not None:
        since = min(since, call.started_at or call.created_at)
    subject = _subject(
        company_id=failure.company_id,
        call=call,
        appointments=appointments,
        failure=failure,
        uids=[failure.calcom_booking_id, uid],
        since=since,
        zone=zone_of(failure.appointment or failure),
    )
    return _Story(subject, user).events()


def _subject(
    *,
    company_id: int,
    call: Call | None,
    appointments: list[Appointment],
    since: datetime,
    zone: tzinfo,
    failure: SyncFailure | None = None,
    uids: Iterable[str] = (),
) -> Subject:
    ids = tuple(appointment.pk for appointment in appointments)
    named = {*uids, *(appointment.calcom_booking_uid or "" for appointment in appointments)}
    if ids:
        named |= set(FormerUid.objects.filter(appointment__in=ids).values_list("uid", flat=True)[:20])
    details = call.booking_details if call is not None else None
    if isinstance(details, dict) and isinstance(details.get("uid"), str):
        named.add(details["uid"])
    return Subject(
        company_id=company_id,
        call=call,
        appointments=ids,
        failure=failure,
        uids=tuple(sorted(named - {""})),
        since=since,
        zone=zone,
    )


def _may_see(user: MayLook, model: type[models.Model]) -> bool:
    options = model._meta  # noqa: SLF001 - public
    return user.has_perm(f"{options.app_label}.view_{options.model_name}")


class _Story:
    def __init__(self, subject: Subject, user: MayLook) -> None:
        self.subject = subject
        self.user = user
        self.cut: set[str] = set()
        call, about = subject.call, subject.appointments
        self.functions = self._read(FunctionCall, Q(call=call) if call else None)
        of_attempt = Q(appointment__in=about) if about else Q()
        if call:
            of_attempt |= Q(call=call)
        self.attempts = self._read(BookingAttempt, of_attempt)
        of_failure = of_attempt | (Q(calcom_booking_id__in=subject.uids) if subject.uids else Q())
        if subject.failure:
            of_failure |= Q(pk=subject.failure.pk)
        self.failures = self._read(SyncFailure, of_failure, join=("resolved_by",))
        of_entry = of_attempt | (Q(calcom_booking_uid__in=subject.uids) if subject.uids else Q())
        if subject.failure:
            of_entry |= Q(failure=subject.failure)
        self.entries = self._read(AuditEntry, of_entry, join=("user",))
        self.callbacks = self._read(CallbackRequest, Q(call=call) if call else None, join=("closed_by",))
        bulky = ("body", "headers")
        self.deliveries = self._read(WebhookEvent, self._named_for_call(), defer=bulky)
        # By their time, because that is what bounds the search: in the order of another index PostgreSQL may
        # go through all deliveries there are.
        self.deliveries += self._read(WebhookEvent, self._speaks_of_booking(), defer=bulky, by="received_at")
        made = Q(pk__in=about) if about else None
        self.appointments = self._read(Appointment, made, join=("service",))

    def _read(
        self,
        model: Any,
        condition: Q | None,
        *,
        join: tuple[str, ...] = (),
        defer: tuple[str, ...] = (),
        by: str = "pk",
    ) -> list[Any]:
        """The latest rows, if there is a condition and the reader may see them."""
        if not condition or not _may_see(self.user, model):
            return []
        rows = model.objects.filter(condition, company=self.subject.company_id).defer(*defer)
        if join:
            rows = rows.select_related(*join)
        read = list(rows.order_by(f"-{by}")[: MOST_OF_A_KIND + 1])
        if len(read) > MOST_OF_A_KIND:
            self.cut.add(str(model._meta.verbose_name_plural))  # noqa: SLF001 - public
        return read[:MOST_OF_A_KIND]

    def _named_for_call(self) -> Q | None:
        call = self.subject.call
        if call is None:
            return None
        return Q(webhook_id__in=[f"retell:{event}:{call.retell_call_id}" for event in RETELL_EVENTS])

    def _speaks_of_booking(self) -> Q | None:
        if not self.subject.uids:
            return None
        about = Q()
        for uid in self.subject.uids:
            about |= Q(body__contains=uid)
        # No index helps to find a uid in a body, so no more are searched than there are.
        kept = timedelta(days=settings.WEBHOOK_BODY_DAYS)
        since = max(self.subject.since - BEFORE, timezone.now() - kept)
        # Retell's bodies hold whole transcripts, and PostgreSQL would search them first: it takes the search
        # of a text for as cheap as the look at a column.
        of_calcom = Case(
            When(provider=WebhookEvent.Provider.CALCOM, then=about),
            default=False,
            output_field=models.BooleanField(),
        )
        return Q(of_calcom, received_at__gte=since)

    def events(self) -> list[Event]:
        told = [
            *self._of_call(),
            *(event for row in self.functions for event in _function_call(row)),
            *(event for row in self.attempts for event in _attempt(row)),
            *(_delivery(row) for row in self.deliveries),
            *(_entry(row) for row in self.entries),
            *(event for row in self.failures for event in _failure(row)),
            *(event for row in self.callbacks for event in _callback(row)),
            *(_appointment(row, self.subject.zone) for row in self.appointments),
        ]
        told.sort(key=lambda event: event.at)
        if self.cut:
            what = f"Only the latest {MOST_OF_A_KIND} are shown of the {', '.join(sorted(self.cut))}."
            told.insert(0, Event(at=told[0].at, kind="left out", what=what))
        return told

    def _of_call(self) -> Iterator[Event]:
        call = self.subject.call
        if call is None or not self.user.has_perm("calls.view_call"):
            return
        asked = [event.at for row in self.functions for event in _function_call(row)]
        # Retell may never have told, and our row is written with the first answer.
        began = call.started_at or min([call.created_at, *asked])
        yield Event(at=began, kind="call", what=f"The call {call.retell_call_id} began", record=call)
        if call.ended_at:
            why = f": {call.disconnection_reason}" if call.disconnection_reason else ""
            yield Event(at=call.ended_at, kind="call", what=f"The call ended{why}", record=call)

    def verdict(self) -> Verdict:
        """Raises nothing; asks nobody but the rows that were read."""
        if not all(_may_see(self.user, model) for model in _TELL):
            return Verdict(said="What is known of it is more than you may see.", tone=PLAIN)
        call = self.subject.call
        standing = [row for row in self.appointments if row.status in PROVEN_STATUSES]
        creates = [row for row in self.attempts if row.kind == BookingAttempt.Kind.CREATE]
        if call is not None:
            # What was asked for in this very call comes first, then what it only moved, or heard of.
            own = [row for row in standing if row.call_id == call.pk or row.pk == call.appointment_id]
            creates = [row for row in creates if row.call_id == call.pk] or creates
            standing = own or ([] if creates and creates[0].call_id == call.pk else standing)
        open_failures = [row for row in self.failures if row.status in OPEN_STATUSES]
        waiting = any(row.status == CallbackRequest.Status.OPEN for row in self.callbacks)
        todo = "Open the sync failure below." if open_failures else ""
        if not todo and waiting:
            todo = "A callback is promised: ring them."
        if standing:
            row = standing[0]
            state = f"{row.get_status_display()}, booking {row.calcom_booking_uid}"
            if open_failures:
                gap = open_failures[0].get_failure_type_display()
                said = f"Here it is {state}; but an open failure says: {gap}."
                return Verdict(said=said, tone=BAD, todo=todo)
            return Verdict(said=f"It is in the calendar: {state}.", tone=GOOD, todo=todo)
        if any(row.state in OPEN_STATES for row in self.attempts):
            said = "It is not known yet whether Cal.com made it: the attempt is being looked for."
            return Verdict(said=said, tone=BAD, todo=todo)
        if creates:
            return Verdict(said=_why_not(creates[0], self.appointments), tone=BAD, todo=todo)
        booked = [row for row in self.functions if row.name.startswith(function_names.BOOKING)]
        if booked:
            said = f"It never got to Cal.com: the agent was answered {booked[0].code}."
            return Verdict(said=said, tone=BAD, todo=todo)
        if call is not None and call.booking_confirmed:
            said = "The call says that something was booked, and nothing else is known of it."
            return Verdict(said=said, tone=BAD, todo=todo or _SOON)
        return Verdict(said="Nothing was to be booked: the agent never asked for it.", tone=PLAIN, todo=todo)


_SOON = "Within the hour a sync failure is opened about it: its page shows what Cal.com says."


def _why_not(attempt: BookingAttempt, appointments: list[Appointment]) -> str:
    State = BookingAttempt.State  # noqa: N806
    if attempt.state == State.SUCCEEDED:
        row = next((row for row in appointments if row.pk == attempt.appointment_id), None)
        status = row.get_status_display() if row else "gone"
        return f"It was booked, and its appointment is {status} since."
    reasons = {
        State.REFUSED: "Cal.com refused it",
        State.NOT_SENT: "It was never sent to Cal.com",
        State.ABSENT: "It was sent, and Cal.com never made it",
        State.COMPENSATED: "Cal.com made it, and it was cancelled again",
    }
    why = attempt.refused_by or attempt.error_class
    told = f" The caller was told: {attempt.told}." if attempt.told else " The caller was told nothing."
    return f"{reasons[State(attempt.state)]}{f' ({why})' if why else ''}.{told}"


def _function_call(row: FunctionCall) -> Iterator[Event]:
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


def _attempt(row: BookingAttempt) -> Iterator[Event]:
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


def _delivery(row: WebhookEvent) -> Event:
    bad = (WebhookEvent.Status.FAILED, WebhookEvent.Status.DEAD)
    return Event(
        at=row.received_at,
        kind=row.get_provider_display(),
        what=f"{row.event_type}: {row.get_status_display()}",
        tone=BAD if row.status in bad else PLAIN,
        details=_masked({"attempts": row.attempts, "note": row.error}),
        record=row,
    )


def _entry(row: AuditEntry) -> Event:
    who = row.user.get_username() if row.user else "the machine"
    reason = f": {row.reason}" if row.reason else ""
    return Event(
        at=row.created_at,
        kind="person" if row.user else "repair",
        what=mask_text(f"{row.action} by {who}{reason}"),
        details=_masked(row.details),
        record=row,
    )


def _failure(row: SyncFailure) -> Iterator[Event]:
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


def _callback(row: CallbackRequest) -> Iterator[Event]:
    yield Event(
        at=row.created_at, kind="callback", what=f"Promised: {mask_text(row.reason)}", tone=BAD, record=row
    )
    if row.closed_at:
        who = row.closed_by.get_username() if row.closed_by else "the machine"
        what = f"Closed by {who}: {mask_text(row.note)}"
        yield Event(at=row.closed_at, kind="callback", what=what, tone=GOOD, record=row)


def _appointment(row: Appointment, zone: tzinfo) -> Event:
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

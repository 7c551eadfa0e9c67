"""The rows that tell of one booking, each kind read with one query (the deliveries with two), however much
happened; and what they tell, in order.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from datetime import datetime, timedelta, tzinfo
from typing import Any

from django.conf import settings
from django.db import models
from django.db.models import Case, Q, When
from django.utils import timezone

from booking.models import (
    Appointment,
    BookingAttempt,
    CallbackRequest,
    SyncFailure,
)
from calls.models import Call, FunctionCall, WebhookEvent
from sync.models import AuditEntry
from sync.roles import MayLook
from sync.timeline import events
from sync.timeline.events import Event

MOST_OF_A_KIND = 100
BEFORE = timedelta(hours=1)
RETELL_EVENTS = ("call_started", "call_ended", "call_analyzed")


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


def may_see(user: MayLook, model: type[models.Model]) -> bool:
    options = model._meta  # noqa: SLF001 - public
    return user.has_perm(f"{options.app_label}.view_{options.model_name}")


class Story:
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
        if not condition or not may_see(self.user, model):
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
            *(event for row in self.functions for event in events.of_function_call(row)),
            *(event for row in self.attempts for event in events.of_attempt(row)),
            *(events.of_delivery(row) for row in self.deliveries),
            *(events.of_entry(row) for row in self.entries),
            *(event for row in self.failures for event in events.of_failure(row)),
            *(event for row in self.callbacks for event in events.of_callback(row)),
            *(events.of_appointment(row, self.subject.zone) for row in self.appointments),
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
        asked = [event.at for row in self.functions for event in events.of_function_call(row)]
        # Retell may never have told, and our row is written with the first answer.
        began = call.started_at or min([call.created_at, *asked])
        yield Event(at=began, kind="call", what=f"The call {call.retell_call_id} began", record=call)
        if call.ended_at:
            why = f": {call.disconnection_reason}" if call.disconnection_reason else ""
            yield Event(at=call.ended_at, kind="call", what=f"The call ended{why}", record=call)

"""Why it is, or is not, in the calendar: what the rows of a story come to."""

from __future__ import annotations

from dataclasses import dataclass

from django.db import models

from booking import function_names
from booking.models import (
    OPEN_STATES,
    OPEN_STATUSES,
    PROVEN_STATUSES,
    Appointment,
    BookingAttempt,
    CallbackRequest,
    SyncFailure,
)
from calls.models import FunctionCall
from sync.timeline.events import BAD, GOOD, PLAIN
from sync.timeline.story import Story, may_see

# Without any one of them the answer could be a wrong one.
_TELL: tuple[type[models.Model], ...] = (FunctionCall, BookingAttempt, Appointment, SyncFailure)

_SOON = "Within the hour a sync failure is opened about it: its page shows what Cal.com says."


@dataclass(frozen=True, kw_only=True)
class Verdict:
    """Why it is, or is not, in the calendar: one sentence, and what to do."""

    said: str
    tone: str
    todo: str = ""


def verdict_on(story: Story) -> Verdict:
    """Raises nothing; asks nobody but the rows that were read."""
    if not all(may_see(story.user, model) for model in _TELL):
        return Verdict(said="What is known of it is more than you may see.", tone=PLAIN)
    call = story.subject.call
    standing = [row for row in story.appointments if row.status in PROVEN_STATUSES]
    creates = [row for row in story.attempts if row.kind == BookingAttempt.Kind.CREATE]
    if call is not None:
        # What was asked for in this very call comes first, then what it only moved, or heard of.
        own = [row for row in standing if row.call_id == call.pk or row.pk == call.appointment_id]
        creates = [row for row in creates if row.call_id == call.pk] or creates
        standing = own or ([] if creates and creates[0].call_id == call.pk else standing)
    open_failures = [row for row in story.failures if row.status in OPEN_STATUSES]
    waiting = any(row.status == CallbackRequest.Status.OPEN for row in story.callbacks)
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
    if any(row.state in OPEN_STATES for row in story.attempts):
        said = "It is not known yet whether Cal.com made it: the attempt is being looked for."
        return Verdict(said=said, tone=BAD, todo=todo)
    if creates:
        return Verdict(said=_why_not(creates[0], story.appointments), tone=BAD, todo=todo)
    booked = [row for row in story.functions if row.name.startswith(function_names.BOOKING)]
    if booked:
        said = f"It never got to Cal.com: the agent was answered {booked[0].code}."
        return Verdict(said=said, tone=BAD, todo=todo)
    if call is not None and call.booking_confirmed:
        said = "The call says that something was booked, and nothing else is known of it."
        return Verdict(said=said, tone=BAD, todo=todo or _SOON)
    return Verdict(said="Nothing was to be booked: the agent never asked for it.", tone=PLAIN, todo=todo)


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

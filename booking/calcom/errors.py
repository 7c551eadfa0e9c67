"""What an unsuccessful exchange with Cal.com means for us, decided in one place and closed by default.

    CalcomError ── CalcomRefused         a definite no, with a reason                failure_mode "permanent"
                ├─ CalcomMisconfigured   our key, event type or request is wrong     "config": ops must act
                ├─ BookingNotFound       there is no booking with this uid           "permanent"
                ├─ CalcomUnavailable     nothing happened there, or nothing was learned   "transient"
                │    ├─ RateLimited      … and when to come back
                │    └─ UnreadableAnswer of this one thing; it can be asked about others
                └─ OutcomeUnknown        it may have happened: look before acting    "unknown"

Cal.com has no machine-readable code for most of this: only a status and an English sentence. The sentences
stand in `messages.py`. What matches none of them is never taken to mean "slot taken".
"""

from __future__ import annotations

from enum import StrEnum


class CalcomError(Exception):
    failure_mode = "permanent"

    def __init__(self, message: str, *, status: int | None = None, request_id: str = "") -> None:
        super().__init__(message)
        self.message = message
        self.status = status
        self.request_id = request_id


class Refusal(StrEnum):
    SLOT_TAKEN = "slot_taken"
    OUT_OF_BOUNDS = "out_of_bounds"
    IN_THE_PAST = "in_the_past"
    BOOKER_LIMIT = "booker_limit"
    BOOKER_BLOCKED = "booker_blocked"
    NOTICE_PERIOD = "notice_period"
    TOO_LATE_TO_MOVE = "too_late_to_move"
    ALREADY_CANCELLED = "already_cancelled"
    ALREADY_MOVED = "already_moved"
    ALREADY_ENDED = "already_ended"
    ALREADY_SEATED = "already_seated"
    EMAIL_REQUIRED = "email_required"
    PHONE_INVALID = "phone_invalid"
    EMAIL_INVALID = "email_invalid"
    CONTACT_REQUIRED = "contact_required"


class CalcomRefused(CalcomError):
    """Cal.com understood and said no."""

    def __init__(
        self, message: str, *, reason: Refusal, status: int | None = None, request_id: str = ""
    ) -> None:
        super().__init__(message, status=status, request_id=request_id)
        self.reason = reason


class CalcomMisconfigured(CalcomError):
    """A key, an event type or the form of our request is wrong. Repeating it changes nothing; a person must
    act.
    """

    failure_mode = "config"


class BookingNotFound(CalcomError):
    """Cal.com knows no booking with this uid."""


class CalcomUnavailable(CalcomError):
    """A change that was never sent, or a question that could not be asked. It says nothing about any
    booking.
    """

    failure_mode = "transient"


class RateLimited(CalcomUnavailable):
    def __init__(self, message: str, *, retry_after: float, request_id: str = "") -> None:
        super().__init__(message, status=429, request_id=request_id)
        self.retry_after = retry_after


class UnreadableAnswer(CalcomUnavailable):
    """Cal.com has answered, and what it says of the thing asked about cannot be read. It can be asked about
    others all the same.
    """


class OutcomeUnknown(CalcomError):
    """A change was sent and may have happened.

    `finished` tells that Cal.com itself has ended the work on the request (it answered in its own words), so
    that what cannot be found soon afterwards is not still on its way. `race` is the bare 400 of a lost race
    for a slot.
    """

    failure_mode = "unknown"

    def __init__(
        self,
        message: str,
        *,
        status: int | None = None,
        request_id: str = "",
        finished: bool = False,
        race: bool = False,
    ) -> None:
        super().__init__(message, status=status, request_id=request_id)
        self.finished = finished
        self.race = race

"""Send to Cal.com what an attempt intends, once or, where that is safe, once more, while the caller waits.

What is sent, and what an answer or an error means, is for the subclasses to say: a create can happen twice,
a move and a cancel cannot.
"""

from __future__ import annotations

import time
from abc import ABC, abstractmethod
from dataclasses import dataclass

import structlog
from django.db import DatabaseError
from django.utils import timezone

from booking import answer_budget, attempts, breaker
from booking.calcom.client import CalcomClient
from booking.calcom.deadline import Deadline
from booking.calcom.errors import CalcomError, RateLimited
from booking.calcom.objects import Booking
from booking.models import BookingAttempt
from booking.outcomes import Code, Outcome
from customers.database import waiting_at_most

logger = structlog.get_logger(__name__)


@dataclass(kw_only=True)
class Sending(ABC):
    """The requests of one attempt, and what is made of their answers."""

    attempt: BookingAttempt
    client: CalcomClient
    deadline: Deadline
    repeated: bool = False  # after a failure in Cal.com's own words
    waited: bool = False  # for the rate limit

    def run(self) -> Outcome:
        """Send, until there is an outcome. Never raises for anything Cal.com does."""
        if not breaker.allows(company_id=self.attempt.company_id, client=self.client, deadline=self.deadline):
            return self._not_sent(cause="breaker_open")
        if not self._has_slot():
            return self._not_sent(cause="slot_busy")
        while True:
            until = self.deadline.less(answer_budget.reserve())
            if until.remaining < answer_budget.SHORTEST_REQUEST:
                return self._no_time_left()
            self.attempt.posts += 1
            self.attempt.sent_at = timezone.now()
            try:
                booking = self._post(until)
            except CalcomError as error:
                breaker.note(error, company_id=self.attempt.company_id)
                outcome = self._after_error(error)
                if outcome is not None:
                    return outcome
            else:
                breaker.note(None, company_id=self.attempt.company_id)
                return self._after_answer(booking)

    @abstractmethod
    def _slot_lock(self) -> str | None:
        """The lock of the slot that is written to; None: none is, or the attempt holds it already."""

    @abstractmethod
    def _post(self, until: Deadline) -> Booking:
        """Raises CalcomError."""

    @abstractmethod
    def _after_answer(self, booking: Booking) -> Outcome: ...

    @abstractmethod
    def _after_error(self, error: CalcomError) -> Outcome | None:
        """None: send it once more."""

    @abstractmethod
    def _no_time_left(self) -> Outcome: ...

    @abstractmethod
    def _not_sent(self, *, cause: str, error: CalcomError | None = None) -> Outcome:
        """The attempt ends, and nothing of it has reached Cal.com."""

    @abstractmethod
    def _checking(self) -> Outcome:
        """What the caller hears while nobody knows how it went."""

    def _has_slot(self) -> bool:
        """Whether no other attempt of ours is writing to the same slot, or comes to its end in time."""
        lock = self._slot_lock()
        until = self.deadline.less(answer_budget.reserve())
        return lock is None or attempts.take_write_lock(self.attempt, lock=lock, deadline=until)

    def _has_waited(self, limit: RateLimited) -> bool:
        """Wait until Cal.com listens again; False if the caller cannot wait so long, or has done so once."""
        seconds = None if self.waited else answer_budget.pause_for(limit, deadline=self.deadline)
        if seconds is None:
            return False
        self.waited = True
        time.sleep(seconds)
        return True

    def _unknown(self, error: CalcomError | None = None) -> Outcome:
        try:
            # The time is up, mostly. Who waits in vain for what somebody holds only answers late.
            with waiting_at_most(self.deadline.remaining):
                attempts.mark_unknown(
                    self.attempt, told=Code.CHECKING, now=timezone.now(), **attempts.error_fields(error)
                )
        except DatabaseError:  # the claimed row says the same
            logger.exception("attempt.unknown_not_recorded", attempt=str(self.attempt.uuid))
        return self._checking()

"""A sync failure as a person looks at it, with what Cal.com shows at that moment."""

from __future__ import annotations

import hashlib
from dataclasses import dataclass
from datetime import datetime

from django.contrib.auth.models import AbstractBaseUser

from booking import follow
from booking.calcom.deadline import Deadline
from booking.calcom.objects import Booking
from booking.models import OPEN_STATES, Appointment, BookingAttempt, SyncFailure
from customers.company_secrets import without_secrets
from sync import both_sides
from sync.both_sides import Remote, Seen
from sync.triage.verbs import MovedOn

LOOK_SECONDS = 2.5  # a person waits for the page
_AROUND = (
    "company",
    "call",
    "assigned_to",
    "appointment__company",
    "appointment__branch__company",
    "appointment__service",
    "appointment__customer",
    "appointment__call",
)


@dataclass(frozen=True)
class Case:
    """A failure as a person looks at it, with what Cal.com shows."""

    failure: SyncFailure
    user: AbstractBaseUser
    now: datetime
    remote: Remote
    attempt: BookingAttempt | None

    @property
    def appointment(self) -> Appointment | None:
        return both_sides.appointment_of(self.failure, self.remote)

    @property
    def booking(self) -> Booking | None:
        return self.remote.booking

    @property
    def fingerprint(self) -> str:
        return both_sides.fingerprint(self.remote, self.appointment)

    @property
    def differences(self) -> tuple[str, ...]:
        """What our appointment says otherwise than its booking."""
        match = self.remote.match
        if match is None or match.appointment is None:
            return ()
        return follow.differences(match.appointment, match.booking, now=self.now)

    @property
    def attempt_is_open(self) -> bool:
        return self.attempt is not None and self.attempt.state in OPEN_STATES


def read_failure(failure_id: int, *, lock: bool = False) -> SyncFailure:
    """With what stands around it, without anybody's secrets. Raises MovedOn if it is not there any more."""
    rows = without_secrets(SyncFailure.objects.all(), paths=_AROUND)
    if lock:
        rows = rows.select_for_update(of=("self",), no_key=True)
    try:
        failure: SyncFailure = rows.get(pk=failure_id)
    except SyncFailure.DoesNotExist:
        raise MovedOn("The failure is not there any more.") from None
    return failure


def version_of(failure: SyncFailure) -> str:
    """Changes whenever the row does in anything that a person decides upon."""
    told = (
        failure.status,
        failure.occurrences,
        failure.attempt_count,
        failure.last_seen_at.isoformat(),
        failure.assigned_to_id,
        failure.snoozed_until and failure.snoozed_until.isoformat(),
    )
    return hashlib.sha256(repr(told).encode()).hexdigest()[:16]


def open_case(
    failure: SyncFailure,
    *,
    user: AbstractBaseUser,
    now: datetime,
    ask: bool = True,
    seconds: float = LOOK_SECONDS,
) -> Case:
    """`ask`: with the live booking. Raises nothing of Cal.com's."""
    if not ask:
        return Case(failure, user, now, Remote(Seen.NOTHING_TO_ASK), None)
    attempt = both_sides.attempt_of(failure)
    remote = both_sides.look(failure, attempt=attempt, deadline=Deadline.after(seconds))
    return Case(failure, user, now, remote, attempt)

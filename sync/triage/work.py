"""One verb that asks Cal.com, between the decision, which is written down, and what came of it."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Any

import structlog
from django.db import transaction
from django.db.models import F
from django.utils import timezone

from booking import failures, recreate, unknown_attempts
from booking.calcom.client import CalcomClient
from booking.calcom.deadline import Deadline
from booking.calcom.errors import CalcomError
from booking.connection import client_for
from booking.models import OPEN_STATUSES, Appointment, SyncFailure
from customers.encrypted_field import CannotDecrypt
from customers.masking import mask_text
from sync import both_sides, converge
from sync.both_sides import Seen
from sync.converge import Converged, Match
from sync.models import AuditEntry
from sync.triage.case import Case, open_case, read_failure
from sync.triage.decision import PREFIX, Decision, Done, decided, require_version
from sync.triage.verbs import MovedOn, NotLegal, Verb, require_status

ACT_SECONDS = 15.0

logger = structlog.get_logger(__name__)


@dataclass
class Work:
    """One verb, between the decision, which is written down, and what came of it."""

    verb: Verb
    decision: Decision
    case: Case
    changed: dict[str, int] = field(default_factory=dict)
    is_recorded: bool = False

    @classmethod
    def begin(
        cls,
        verb: Verb,
        decision: Decision,
        *,
        preview: Callable[[Case], list[str]],
        seen: str | None = None,
        details: dict[str, Any] | None = None,
    ) -> Work:
        """Look, see that it is legal and as it was shown, and write down that it will be done. `seen` is left
        out by what does the same whatever is there.
        """
        row = read_failure(decision.failure.pk)
        require_version(row, decision.expected)
        case = open_case(row, user=decision.user, now=timezone.now(), seconds=ACT_SECONDS)
        if seen is not None and case.fingerprint != seen:
            if case.remote.seen is Seen.NOT_ASKED:
                raise NotLegal(f"Cal.com could not be asked: {case.remote.why}")
            raise MovedOn("The booking, or our appointment, is not any more what you were shown.")
        require_status(verb, row)
        preview(case)
        told = {"calcom": str(case.remote.seen), **(details or {})}
        if case.booking is not None:
            told |= {"status": case.booking.status, "start": case.booking.start.isoformat()}
        with decided(verb, decision, details=told):
            # It also changes the version: of two people who press at once one is told so.
            SyncFailure.objects.filter(pk=row.pk).update(attempt_count=F("attempt_count") + 1)
        return cls(verb, decision, case)

    def carry_out(self, act: Callable[[Work], Done]) -> Done:
        """Do it, and write down what came of it if that was not part of the effect."""
        try:
            done = act(self)
        except unknown_attempts.InFlight:
            done = Done("The request that makes this booking is still under way.", is_success=False)
        except (recreate.CannotRecreate, NotLegal) as no:
            done = Done(f"Nothing was done: {no}", is_success=False)
        except CalcomError as error:
            done = Done(f"Cal.com could not be asked: {mask_text(error.message)}", is_success=False)
        except CannotDecrypt:
            done = Done("This company's key for Cal.com cannot be opened.", is_success=False)
        done.changed = self.changed
        if not self.is_recorded:
            self.record("done" if done.is_success else "not_done", said=done.said)
        logger.info("triage.acted", verb=self.verb, failure=self.case.failure.pk, success=done.is_success)
        return done

    def record(self, outcome: str, *, said: str = "", appointment: Appointment | None = None) -> None:
        failure = self.case.failure
        booking = self.case.booking
        AuditEntry.objects.create(
            company=failure.company,
            user_id=self.decision.user.pk,
            action=f"{PREFIX}{self.verb}.{outcome}",
            appointment=appointment or self.case.appointment,
            call=failure.call,
            failure=failure,
            calcom_booking_uid=(booking.uid if booking else both_sides.uid_of(failure)),
            reason=mask_text(self.decision.reason),
            details={"said": mask_text(said)} if said else {},
        )
        self.is_recorded = True

    def count(self, what: str, rows: int = 1) -> None:
        if rows:
            self.changed[what] = self.changed.get(what, 0) + rows

    def close(self, note: str) -> None:
        """The gap is gone. Not the person's own resolution: should it come back, it is opened again."""
        failures.resolve(SyncFailure.objects.filter(pk=self.case.failure.pk), note=note)

    def close_and_record(self, note: str, *, appointment: Appointment | None = None) -> None:
        with transaction.atomic():
            self.close(note)
            self.record("done", said=note, appointment=appointment)

    def closed(self, why: str) -> Done:
        """Close it for this reason, and say so."""
        self.close_and_record(why)
        self.count_failure()
        return Done(f"{why} The failure is closed.")

    def count_failure(self) -> bool:
        """Whether the failure is closed by now, by whomever."""
        now_open = SyncFailure.objects.filter(pk=self.case.failure.pk, status__in=OPEN_STATUSES).exists()
        if not now_open:
            self.count("sync failure")
        return not now_open

    def client(self) -> CalcomClient:
        return client_for(self.case.failure.company)

    def make_equal(self, match: Match, *, also: Callable[[Converged], None]) -> Converged:
        """Our side to the booking, which a person has seen just now, or Cal.com has just answered with: no
        worker is in the middle of something newer.
        """
        return converge.converge(
            match,
            client=self.client(),
            deadline=Deadline.after(ACT_SECONDS),
            now=timezone.now(),
            is_newest=True,
            also=also,
        )

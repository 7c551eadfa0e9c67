"""What one run of `reconcile` reports, and the tickets it leaves."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Any

from django.db.models import Q

from booking import failures
from booking.calcom.errors import CalcomError, CalcomMisconfigured
from booking.models import OPEN_STATUSES, Appointment, SyncFailure
from calls.models import Call
from customers.models import Company
from sync import links
from sync.converge import Match
from sync.healing import Repair
from sync.models import ReconciliationRun

# The subject of what is known of a call alone.
CALL = "call:"

Outcome = ReconciliationRun.Outcome


@dataclass
class Report:
    """What one run of one company found. `healed` and `would_heal` count by repair; `left` are the sync
    failures that are open afterwards.
    """

    company: str
    scope: str
    is_dry_run: bool
    outcome: str = Outcome.RUNNING
    error: str = ""
    seen: int = 0
    unreadable: int = 0
    ended: int = 0
    in_flight: int = 0
    requests: int = 0
    opened: int = 0
    closed: int = 0
    left: int = 0
    healed: dict[str, int] = field(default_factory=dict)
    would_heal: dict[str, int] = field(default_factory=dict)
    problems: list[dict[str, Any]] = field(default_factory=list)

    @property
    def is_complete(self) -> bool:
        return self.outcome == Outcome.COMPLETE

    def has_repaired(self, repair: Repair) -> None:
        self.healed[str(repair)] = self.healed.get(str(repair), 0) + 1

    def would_repair(self, repair: Repair) -> None:
        self.would_heal[str(repair)] = self.would_heal.get(str(repair), 0) + 1


@dataclass(frozen=True)
class Tickets:
    """Those of one company. What is opened and closed is counted in `report`, and every problem is written
    down there: all that a dry run does.
    """

    company: Company
    report: Report
    dry_run: bool

    def problem(self, failure_type: SyncFailure.Type, uid: str, what: str) -> None:
        self.report.problems.append({"type": str(failure_type), "uid": uid, "what": what})

    def count(self, failure: SyncFailure | None, *, uid: str) -> None:
        """One that converging has opened, if it has."""
        if failure is not None:
            self.report.opened += failure.occurrences == 1
            self.problem(SyncFailure.Type(failure.failure_type), uid, failure.error_message)

    def open(
        self,
        failure_type: SyncFailure.Type,
        *,
        message: str,
        details: dict[str, Any],
        uid: str = "",
        appointment: Appointment | None = None,
        call: Call | None = None,
    ) -> None:
        self.problem(failure_type, uid, message)
        if self.dry_run:
            return
        problem = failures.Problem(
            company=self.company,
            failure_type=failure_type,
            subject=_subject(uid, call=call, appointment=appointment),
            message=message,
            appointment=appointment,
            call=call or (appointment.call if appointment else None),
            uid=uid,
            details=details,
        )
        failure = failures.open_failure(problem, needs_person=True, is_standing=True)
        self.report.opened += failure.occurrences == 1

    def report_access(self, error: CalcomError, *, own_key: bool) -> None:
        """A key that Cal.com refuses is a ticket; Cal.com being down for an hour is not. `own_key`: it is not
        the one that callers book with, so that these can says nothing of it.
        """
        if self.dry_run or not isinstance(error, CalcomMisconfigured):
            return
        problem = failures.Problem(
            company=self.company,
            failure_type=SyncFailure.Type.CONFIG_ERROR,
            subject=failures.RECONCILE_ACCESS if own_key else failures.ACCESS,
            message=f"Cal.com refuses to show bookings: {error.message}",
            details={"status": error.status, "when_reading": True},
        )
        failure = failures.open_failure(problem, needs_person=True)
        self.report.opened += failure.occurrences == 1

    @staticmethod
    def about_reading(*, own_key: bool) -> Q:
        """The tickets that are gone once the listing is read to its end: those that reading has opened, and
        those about a key that was refused as such. That a key may read is no proof that it may book, so what
        else a booking ran into is not among them.
        """
        about_own_key = Q(subject=failures.RECONCILE_ACCESS)
        is_disproved = Q(error_details__when_reading=True) | Q(error_details__status=401)
        about_the_callers = Q(subject=failures.ACCESS) & is_disproved
        return about_own_key if own_key else about_own_key | about_the_callers

    def close(self, failure: SyncFailure, note: str) -> None:
        self.report.closed += failures.resolve(SyncFailure.objects.filter(pk=failure.pk), note=note)

    def close_linked(self) -> None:
        """Those about calls whose appointment has been found since."""
        rows = SyncFailure.objects.filter(
            company=self.company, status__in=OPEN_STATUSES, subject__startswith=CALL, call__isnull=False
        ).exclude(Q(call__booking_confirmed=True) | Q(call__appointment_made=True), call__appointment=None)
        calls = [pk for pk in rows.values_list("call", flat=True) if pk is not None]
        if not calls:
            return
        still = links.calls_in_disorder(self.company, calls)
        note = "Call and appointment point at each other."
        self.report.closed += failures.resolve(rows.exclude(call__in=still), note=note)


def _subject(uid: str, *, call: Call | None, appointment: Appointment | None) -> str:
    if uid:
        return failures.about_booking(uid)
    if call is None and appointment is not None:
        return failures.about_appointment(appointment)
    return f"{CALL}{call.retell_call_id if call else ''}"


def shown_by(match: Match) -> dict[str, Any]:
    """What Cal.com says of the booking, and our appointment if there is one: a ticket's details."""
    booking, row = match.booking, match.appointment
    theirs = {"status": booking.status, "start": booking.start.isoformat(), "end": booking.end.isoformat()}
    if row is None:
        return {"calcom": theirs}
    ours = {"status": row.status, "start": row.starts_at.isoformat(), "end": row.ends_at.isoformat()}
    return {"calcom": theirs, "local": ours}

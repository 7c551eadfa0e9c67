"""Give past calls the appointment they have lost: they are confirmed and point at none.

First, without asking anybody, calls are linked to appointments that stand: to the one that names the call, to
the one the call's own notes name, to the only one its customer has at that time. For what is left Cal.com is
asked, and the appointment of an active booking is made anew. Everything else is left with a reason.

It goes through the calls chunk by chunk, in the order of their ids, with a transaction for each. Nothing but
the calls themselves says how far it came, so a run that was killed is continued by the next one, and a run
with nothing left to do changes nothing.
"""

from __future__ import annotations

import datetime as dt
from collections import Counter
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from typing import TypeVar

import structlog
from django.db import DatabaseError, InterfaceError, transaction
from django.db.models import Max, Min, QuerySet
from django.utils import timezone

from booking import close_by_own_rows, database_errors, mirror
from booking.calcom.errors import CalcomMisconfigured
from booking.pace import Pace
from calls.models import Call
from customers.models import Company
from sync import backfill_rows, links
from sync.long_lists import join_by_hash, read_by_index
from sync.lost_appointments import (
    CouldNotAsk,
    Create,
    Link,
    LinkToNew,
    LostAppointments,
    Skip,
)
from sync.lost_calls import LostCall, chunks, lost_calls, read_calls
from sync.remote_bookings import RemoteBookings, paced_client
from sync.standing_appointments import Standing, StandingAppointments, best_by_call
from sync.turn import Busy, LostTurn, NoTurn, Turn

LINKED_AT_ONCE = 10_000
READ_AT_ONCE = 10_000  # 40 pages of Cal.com's listing
# Asked for one by one, that many are a minute's work that a kill can lose.
ASKED_AT_ONCE = 60
LEASE = dt.timedelta(minutes=5)
RENEWED_AFTER = dt.timedelta(seconds=30)

AT_ONCE = 20

Progress = Callable[[int, int], None]
T = TypeVar("T")

logger = structlog.get_logger(__name__)


@dataclass(frozen=True, slots=True)
class Left:
    call: int
    retell_call_id: str
    reason: str


@dataclass(slots=True)
class Report:
    """`skipped` is for a person, `errors` is for the next run. `stopped` says why a run ended early, and
    `asked` how many questions Cal.com has answered.
    """

    found: int = 0
    linked: int = 0
    created: int = 0
    skipped: list[Left] = field(default_factory=list)
    errors: list[Left] = field(default_factory=list)
    asked: int = 0
    stopped: str = ""

    @property
    def reasons(self) -> dict[str, int]:
        return dict(sorted(Counter(left.reason for left in self.skipped).items()))

    @property
    def could_not_work(self) -> bool:
        return bool(self.stopped) or (bool(self.errors) and not self.asked)


def backfill(
    *,
    company: Company,
    since: dt.datetime | None = None,
    dry_run: bool = False,
    pace: Pace | None = None,
    progress: Progress | None = None,
) -> Report:
    """`since`: only calls that began then or later. `dry_run` changes nothing, here and at Cal.com.
    `progress` is told how many of how many calls were looked at. Raises DatabaseError when the database is
    out of reach; what was done until then stays.
    """
    if not dry_run:
        links.let_go_of_deleted(company)
    turn = NoTurn() if dry_run else Turn(f"backfill:{company.slug}", lasts=LEASE, renewed_after=RENEWED_AFTER)
    report = Report()
    run = BackfillRun(company, since=since, dry_run=dry_run, turn=turn, report=report, progress=progress)
    try:
        turn.take()
        run.link()
        run.rebuild(pace or Pace(at_once=AT_ONCE))
    except Busy as busy:
        report.stopped = str(busy)
    except LostTurn:
        report.stopped = "Another backfill of this company is running."
    finally:
        turn.give_back()
    if report.linked or report.created:
        logger.info(
            "backfill.done",
            company=company.slug,
            dry_run=dry_run,
            linked=report.linked,
            created=report.created,
            skipped=len(report.skipped),
            errors=len(report.errors),
        )
        if not dry_run:
            close_by_own_rows.close_by_own_rows(company_id=company.pk)
    return report


class BackfillRun:
    """The steps of one run over one company: `link`, then `rebuild`."""

    def __init__(
        self,
        company: Company,
        *,
        since: dt.datetime | None,
        dry_run: bool,
        turn: NoTurn,
        report: Report,
        progress: Progress | None,
    ) -> None:
        self.company = company
        self.calls = lost_calls(company=company, since=since)
        self.dry_run = dry_run
        self.turn = turn
        self.report = report
        self._progress = progress
        self.report.found = self.calls.count()
        # A dry run leaves them lost, and must not count them again.
        self._would_link: set[int] = set()

    # --- Linking what stands

    def link(self) -> None:
        for chunk in chunks(self.calls, size=LINKED_AT_ONCE):
            self.turn.keep()
            pairs, by, claimed = self._standing_for(chunk)
            self._link(pairs, by=by, claimed=claimed)
            self._tell_progress()

    def _standing_for(self, chunk: QuerySet[Call]) -> tuple[dict[int, int], dict[int, str], set[int]]:
        """call → appointment, by what they were recognised, and the calls whose appointment knows of no call
        yet.
        """
        ends = chunk.aggregate(first=Min("pk"), last=Max("pk"))
        if ends["first"] is None:
            return {}, {}, set()
        lost = set(chunk.order_by().values_list("pk", flat=True))
        with read_by_index():
            best = best_by_call(company=self.company, first=ends["first"], last=ends["last"])
        pairs = {call_id: pk for call_id, pk in best.items() if call_id in lost}
        by = dict.fromkeys(pairs, "call")
        claimed: set[int] = set()
        if len(pairs) == len(lost):
            return pairs, by, claimed
        rest = [call for call in read_calls(chunk, company=self.company) if call.pk not in pairs]
        standing = self._load_standing(rest)

        def give(call: LostCall, appointment: Standing, reason: str) -> None:
            pairs[call.pk] = appointment.pk
            by[call.pk] = reason
            if appointment.owner_id is None:
                appointment.owner_id = call.pk
                claimed.add(call.pk)

        for call in rest:
            if call.details is not None:
                named = standing.named(call.details.uid, call.details.number)
                if named and named.company_id == self.company.pk and named.belongs_to(call):
                    give(call, named, "uid")
        for call in rest:
            if call.pk not in pairs:
                at_that_time = standing.at_that_time(call)
                if at_that_time is not None:
                    give(call, at_that_time, "customer_and_time")
        return pairs, by, claimed

    def _load_standing(self, calls: Sequence[LostCall]) -> StandingAppointments:
        details = [call.details for call in calls if call.details is not None]
        standing = StandingAppointments()
        with read_by_index():
            standing.load_named(
                uids={each.uid for each in details if each.uid},
                numbers={each.number for each in details if each.number is not None},
                company=self.company,
            )
            standing.load_of_customers(calls, company=self.company)
        return standing

    def _link(self, pairs: dict[int, int], *, by: dict[int, str], claimed: set[int]) -> None:
        if self.dry_run:
            self._would_link.update(pairs)
            self.report.linked += len(pairs)
            return
        if not pairs:
            return
        now = timezone.now()
        try:
            with transaction.atomic():
                join_by_hash()
                backfill_rows.claim({call_id: pairs[call_id] for call_id in claimed & pairs.keys()}, now=now)
                linked = {call_id: pairs[call_id] for call_id in mirror.link_calls(pairs, now=now)}
                backfill_rows.record(backfill_rows.LINKED, linked, by=by, company=self.company, now=now)
        except (DatabaseError, InterfaceError) as error:
            if database_errors.is_away(error):
                raise
            if len(pairs) > 1:  # find the row that is refused, and link the others
                for half in _halves(list(pairs.items())):
                    self._link(dict(half), by=by, claimed=claimed)
                return
            logger.error("backfill.refused", call=next(iter(pairs)), error=database_errors.describe(error))
            return  # it is still lost, and asked about next
        self.report.linked += len(linked)

    # --- Making anew what is lost

    def rebuild(self, pace: Pace) -> None:
        if not (self.calls.exists() and self.report.found > len(self._would_link)):
            return
        try:
            client = paced_client(self.company, pace=pace, before=self.turn.keep)
        except CalcomMisconfigured as error:
            self._ask_nobody(error.message)
            return
        lost = LostAppointments(company=self.company, now=timezone.now(), dry_run=self.dry_run)
        try:
            for chunk in chunks(self.calls, size=READ_AT_ONCE):
                self.turn.keep()
                calls = [
                    call
                    for call in read_calls(chunk, company=self.company)
                    if call.pk not in self._would_link
                ]
                remote = RemoteBookings(client)
                remote.look_at(
                    (call.details.uid, call.details.starts_at)
                    for call in calls
                    if call.details and call.details.uid and call.details.starts_at
                )
                remote.read_days_of(
                    call.details.starts_at
                    for call in calls
                    if call.details and not call.details.uid and call.details.starts_at
                )
                asked_for = [call for call in calls if _must_be_asked_for(call, remote)]
                one_by_one = {call.pk for call in asked_for}
                self.rebuild_batch([call for call in calls if call.pk not in one_by_one], lost, remote)
                for first in range(0, len(asked_for), ASKED_AT_ONCE):
                    self.rebuild_batch(asked_for[first : first + ASKED_AT_ONCE], lost, remote)
        finally:
            self.report.asked = client.asked.answered

    def _ask_nobody(self, why: str) -> None:
        for chunk in chunks(self.calls, size=READ_AT_ONCE):
            for pk, retell_call_id in chunk.values_list("pk", "retell_call_id"):
                if pk not in self._would_link:
                    self.report.errors.append(Left(pk, retell_call_id, why))

    def rebuild_batch(
        self, calls: Sequence[LostCall], lost: LostAppointments, remote: RemoteBookings
    ) -> None:
        """Decide and carry out, in one transaction if nothing in it is refused."""
        if not calls:
            return
        decisions = lost.decide(calls, remote)
        for decision in decisions:
            if isinstance(decision, (Skip, CouldNotAsk)):
                lists = self.report.skipped if isinstance(decision, Skip) else self.report.errors
                call = decision.call
                lists.append(Left(call.pk, call.retell_call_id, str(decision.reason)))
        work = [each for each in decisions if isinstance(each, (Link, LinkToNew, Create))]
        self._carry_out(work, lost)
        self._tell_progress()

    def _tell_progress(self) -> None:
        if self._progress is not None:
            report = self.report
            done = report.linked + report.created + len(report.skipped) + len(report.errors)
            self._progress(done, report.found)

    def _carry_out(self, work: Sequence[Link | LinkToNew | Create], lost: LostAppointments) -> None:
        if not work:
            return
        if self.dry_run:
            self.report.created += sum(isinstance(each, Create) for each in work)
            self.report.linked += sum(not isinstance(each, Create) for each in work)
            return
        try:
            with transaction.atomic():
                join_by_hash()
                created, linked = self._write(work)
        except (DatabaseError, InterfaceError) as error:
            if database_errors.is_away(error):
                raise
            if len(work) > 1:  # find the row that is refused, and write the others
                for half in _halves(work):
                    self._carry_out(half, lost)
                return
            created, linked = set(), set()
            logger.error("backfill.refused", call=work[0].call.pk, error=database_errors.describe(error))
        self.report.created += len(created)
        self.report.linked += len(linked)
        done = created | linked
        for each in work:
            if each.call.pk not in done:
                # Another process was faster, or the database refuses it: the next run sees what is there.
                self.report.errors.append(Left(each.call.pk, each.call.retell_call_id, "could_not_be_stored"))
        lost.forget(each.call.pk for each in work if each.call.pk not in done)

    def _write(self, work: Sequence[Link | LinkToNew | Create]) -> tuple[set[int], set[int]]:
        """The calls whose appointment was created, and those that were linked. Raises DatabaseError."""
        now = timezone.now()
        rows = [each.row for each in work if isinstance(each, Create)]
        made = backfill_rows.insert_appointments(rows, company=self.company, now=now)
        created = {call_id: made[call_id] for call_id in mirror.link_calls(made, now=now)}
        pairs = {}
        for each in work:
            if isinstance(each, Link):
                pairs[each.call.pk] = each.appointment_id
            elif isinstance(each, LinkToNew) and each.first_call_id in made:
                pairs[each.call.pk] = made[each.first_call_id]
        linked = {call_id: pairs[call_id] for call_id in mirror.link_calls(pairs, now=now)}
        by = dict.fromkeys([*created, *linked], "calcom")
        backfill_rows.record(backfill_rows.CREATED, created, by=by, company=self.company, now=now)
        backfill_rows.record(backfill_rows.LINKED, linked, by=by, company=self.company, now=now)
        return set(created), set(linked)


def _must_be_asked_for(call: LostCall, remote: RemoteBookings) -> bool:
    return bool(call.details and call.details.uid and not remote.has(call.details.uid))


def _halves(items: Sequence[T]) -> tuple[Sequence[T], Sequence[T]]:
    middle = len(items) // 2
    return items[:middle], items[middle:]

"""Make both sides of one company equal, or say what is not.

Cal.com is asked: what changed since the last run, and the whole future once a day (every time, where that is
only a few pages). What it lists is compared with our appointments in the database, and what differs is healed
as far as the company allows, or is an open sync failure. A listing that is empty, broken or partial proves
nothing about what it does not contain: only after a complete one is an appointment that was not in it looked
at, and then its booking is asked for by its uid.

One run at a time per company, whatever the number of machines (`sync.turn`). A run that dies leaves nothing
half done: each repair is its own transaction.
"""

from __future__ import annotations

import time
from collections.abc import Callable
from datetime import datetime, timedelta

import structlog
from django.utils import timezone

from booking import close_by_own_rows, completer, horizon, twins
from booking.calcom.deadline import Deadline
from booking.calcom.errors import CalcomError
from booking.calcom.objects import read_instant
from booking.models import OPEN_STATUSES, SyncFailure
from booking.pace import PER_MINUTE, Pace
from customers.clocks import CLOCKS_DIFFER_BY
from customers.masking import mask_text
from customers.models import Company
from sync import close_by_listing
from sync.asking import ASK_SECONDS, Asking
from sync.compare import Comparison, Gap
from sync.heal_bookings import BookingHealer
from sync.heal_links import heal_links
from sync.healing import Permission
from sync.missing_bookings import look_for_missing
from sync.models import ReconciliationRun
from sync.pages import bookings_in, compared
from sync.reconcile_report import Report, Tickets
from sync.remote_bookings import has_own_key, paced_client
from sync.turn import NoTurn, Turn

LEASE = timedelta(minutes=9)  # one that died is in nobody's way for longer than ten
OVERLAP = timedelta(minutes=10)
FIRST_LOOK_BACK = timedelta(days=30)
PAST = timedelta(days=2)
FUTURE = horizon.FARTHEST
FULL_EVERY = timedelta(hours=23)  # once a day, also where a run begins a little earlier than the last one
# A full sweep of so few pages costs nothing worth saving.
FEW_REQUESTS = 8
PER_MINUTE_OWN = 110  # with a key that no caller waits for
AT_ONCE = 30  # what an hour usually brings need not wait

Scope = ReconciliationRun.Scope
Outcome = ReconciliationRun.Outcome

logger = structlog.get_logger(__name__)


def reconcile(
    company: Company,
    *,
    full: bool = False,
    since: datetime | None = None,
    dry_run: bool = False,
    wait_seconds: float = 0,
    progress: Callable[[int], None] = lambda _seen: None,
) -> Report:
    """`since` replaces the cursor. `progress` is told how many bookings were read. Raises Busy if another run
    does not end within `wait_seconds`, LostTurn if one has begun meanwhile, and what the database raises;
    whatever Cal.com does is in the report.
    """
    now = timezone.now()
    turn = NoTurn() if dry_run else Turn(f"reconcile:{company.slug}", lasts=LEASE)
    run = _Run(company, full=full, since=since, dry_run=dry_run, now=now, turn=turn, progress=progress)
    turn.take(wait_seconds=wait_seconds)
    try:
        return run.carry_out() if dry_run else run.recorded()
    finally:
        turn.give_back()


class _Run:
    def __init__(
        self,
        company: Company,
        *,
        full: bool,
        since: datetime | None,
        dry_run: bool,
        now: datetime,
        turn: NoTurn,
        progress: Callable[[int], None],
    ) -> None:
        self.company = company
        self.now = now
        self.dry_run = dry_run
        self.turn = turn
        self.progress = progress
        before = ReconciliationRun.objects.filter(company=company, outcome=Outcome.COMPLETE, is_dry_run=False)
        last = before.exclude(cursor=None).first()
        last_full = before.filter(scope=Scope.FULL).first()
        self.is_full = (
            full
            or last_full is None
            or not now - FULL_EVERY <= last_full.started_at <= now + CLOCKS_DIFFER_BY
            or (since is None and last_full.requests <= FEW_REQUESTS)
        )
        self.cursor = min(last.cursor, now) if last and last.cursor else None
        self.since = since or (self.cursor - OVERLAP if self.cursor else now - FIRST_LOOK_BACK)
        # Reading from a later time on leaves a stretch unread.
        self.skips_unread = bool(since and self.cursor and since > self.cursor)
        self.report = Report(
            company=company.slug, scope=Scope.FULL if self.is_full else Scope.CHANGES, is_dry_run=dry_run
        )
        self.tickets = Tickets(company, self.report, dry_run=dry_run)
        self.permission = Permission(company, now=now)
        self.own_key = has_own_key(company)
        per_minute = PER_MINUTE_OWN if self.own_key else PER_MINUTE
        self.pace = Pace(per_minute=per_minute, at_once=AT_ONCE)

    def recorded(self) -> Report:
        """Carry it out, with a row that tells of it."""
        # It is our turn, so whoever still says so is running no more.
        ReconciliationRun.objects.filter(company=self.company, outcome=Outcome.RUNNING).update(
            outcome=Outcome.FAILED, error="The process that ran it has died.", finished_at=self.now
        )
        row = ReconciliationRun.objects.create(
            company=self.company,
            scope=self.report.scope,
            started_at=self.now,
            window_start=self.since,
            window_end=self.now,
        )
        began = time.monotonic()
        try:
            completer.settle_unknown(company_id=self.company.pk)
            return self.carry_out()
        except BaseException as error:  # Ctrl-C too: it runs no more
            self.report.outcome = Outcome.FAILED
            self.report.error = type(error).__name__
            raise
        finally:
            report = self.report
            ReconciliationRun.objects.filter(pk=row.pk).update(
                outcome=report.outcome,
                error=report.error,
                cursor=self.cursor if report.is_complete else None,
                seen=report.seen,
                healed=sum(report.healed.values()),
                opened=report.opened,
                closed=report.closed,
                left=report.left,
                requests=report.requests,
                report={
                    "healed": report.healed,
                    "would_heal": report.would_heal,
                    "ended": report.ended,
                    "in_flight": report.in_flight,
                    "unreadable": report.unreadable,
                    "problems": report.problems[:200],
                },
                finished_at=timezone.now(),
                duration_ms=int((time.monotonic() - began) * 1000),
            )
            logger.info(
                "reconcile.ran",
                company=report.company,
                scope=report.scope,
                outcome=report.outcome,
                seen=report.seen,
                healed=report.healed,
                opened=report.opened,
                left=report.left,
            )

    def carry_out(self) -> Report:
        report = self.report
        try:
            asking = Asking(paced_client(self.company, pace=self.pace, before=self._before_asking))
            healer = BookingHealer(
                self.tickets, permission=self.permission, asking=asking, turn=self.turn, now=self.now
            )
            with Comparison(company=self.company, now=self.now) as comparison:
                self._read_and_heal(comparison, healer)
                if self.is_full:
                    look_for_missing(comparison, healer=healer, start=self.now - PAST, end=self.now + FUTURE)
                if not self.dry_run:
                    close_by_listing.close_by_listing(
                        self.tickets,
                        comparison=comparison,
                        asking=asking,
                        own_key=self.own_key,
                        now=self.now,
                    )
            report.outcome = Outcome.COMPLETE
        except CalcomError as error:
            report.error = mask_text(error.message)
            report.outcome = Outcome.PARTIAL if report.seen else Outcome.FAILED
            logger.error("reconcile.could_not_ask", company=report.company, error=type(error).__name__)
            self.tickets.report_access(error, own_key=self.own_key)
        heal_links(self.tickets, permission=self.permission)
        if not self.dry_run:
            twins.report_beside_web_bookings(self.company, now=self.now)
            report.closed += close_by_own_rows.close_by_own_rows(company_id=self.company.pk)
        open_rows = SyncFailure.objects.filter(company=self.company, status__in=OPEN_STATUSES)
        report.left = len(report.problems) if self.dry_run else open_rows.count()
        return report

    # --- asking Cal.com

    def _before_asking(self) -> None:
        self.turn.keep()
        self.report.requests += 1

    def _read_and_heal(self, comparison: Comparison, healer: BookingHealer) -> None:
        self._sweep(comparison, healer, afterUpdatedAt=self.since, sortUpdatedAt="asc")
        last_update = comparison.last_update
        if self.is_full:
            start, end = self.now - PAST, self.now + FUTURE
            self._sweep(comparison, healer, afterStart=start, beforeEnd=end, sortStart="asc")
        if comparison.unreadable:
            self.report.unreadable += comparison.unreadable
            logger.error("reconcile.unreadable", company=self.company.slug, count=comparison.unreadable)
            healer.look_at_unreadable(comparison.unreadable_uids)
        if last_update:
            self._move_cursor(read_instant(last_update))

    def _move_cursor(self, last_update: datetime) -> None:
        # What was changed while the pages were read moves from one to another, and may have been between
        # them.
        if self.skips_unread:
            return
        if self.report.requests <= 2 or last_update < self.now:
            # A clock at Cal.com that went ahead must not hide what is changed until then.
            last_update = min(last_update, self.now)
            self.cursor = max(self.cursor or last_update, last_update)

    def _sweep(self, comparison: Comparison, healer: BookingHealer, **filters: str | datetime) -> None:
        pages = healer.asking.client.list_pages(deadline=Deadline.after(ASK_SECONDS), **filters)
        for differences, kept in compared(pages, comparison):
            self.report.seen = comparison.seen
            wanted = {d.uid for d in differences if d.gap is Gap.WITHOUT_ROW}
            healer.heal(differences, bookings_in(kept, uids=wanted))
            del kept  # no memory is held for it while the next one is read
            self.progress(comparison.seen)

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

import random
import time
from collections.abc import Callable, Collection
from datetime import datetime, timedelta
from functools import partial
from typing import Any

import structlog
from django.db import DatabaseError, transaction
from django.utils import timezone

from booking import (
    attempts,
    close_by_own_rows,
    completer,
    database_errors,
    doubt,
    failures,
    follow,
    twins,
    unknown_attempts,
)
from booking.calcom.deadline import Deadline
from booking.calcom.errors import BookingNotFound, CalcomError, UnreadableAnswer
from booking.calcom.objects import Booking, Unreadable, read_booking, read_instant
from booking.models import OPEN_STATUSES, PROVEN_STATUSES, Appointment, BookingAttempt, SyncFailure
from booking.pace import PER_MINUTE, Pace
from calls.models import Call
from customers.models import Company
from sync import close_by_listing, converge, healing, links
from sync.asking import ASK_SECONDS, MOST_ASKED_FOR, Asking
from sync.compare import Comparison, Difference, Gap
from sync.converge import Converged, Kinship, Match
from sync.healing import Permission, Repair
from sync.lost_calls import lost_calls
from sync.models import ReconciliationRun
from sync.pages import bookings_in, compared
from sync.reconcile_report import Report, Tickets, shown_by
from sync.remote_bookings import has_own_key, paced_client
from sync.turn import NoTurn, Turn

LEASE = timedelta(minutes=9)
OVERLAP = timedelta(minutes=10)
FIRST_LOOK_BACK = timedelta(days=30)
PAST = timedelta(days=2)
FUTURE = timedelta(days=400)
FULL_EVERY = timedelta(hours=23)
# A full sweep of so few pages costs nothing worth saving.
FEW_REQUESTS = 8
PER_MINUTE_OWN = 110  # with a key that no caller waits for
AT_ONCE = 30  # what an hour usually brings need not wait
MOST_LINKED = 300

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
    does not end within `wait_seconds`, and what the database raises; whatever Cal.com does is in the report.
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
            or last_full.started_at < now - FULL_EVERY
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
        self.looked_at: set[str] = set()
        self.would_end: set[int] = set()

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
        except Exception as error:
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
            self.asking = Asking(paced_client(self.company, pace=self.pace, before=self._before_asking))
            with Comparison(company=self.company, now=self.now) as comparison:
                self._read_and_heal(comparison)
                self._look_at_missing(comparison)
                if not self.dry_run:
                    close_by_listing.close_by_listing(
                        self.tickets,
                        comparison=comparison,
                        asking=self.asking,
                        own_key=self.own_key,
                        now=self.now,
                    )
            report.outcome = Outcome.COMPLETE
        except CalcomError as error:
            report.error = error.message
            report.outcome = Outcome.PARTIAL if report.seen else Outcome.FAILED
            logger.error("reconcile.could_not_ask", company=report.company, error=type(error).__name__)
            self.tickets.report_access(error, own_key=self.own_key)
        self._link_calls()
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

    def _read_and_heal(self, comparison: Comparison) -> None:
        self._sweep(comparison, afterUpdatedAt=self.since, sortUpdatedAt="asc")
        last_update = comparison.last_update
        if self.is_full:
            self._sweep(comparison, afterStart=self.now - PAST, beforeEnd=self.now + FUTURE, sortStart="asc")
        if comparison.unreadable:
            self.report.unreadable += comparison.unreadable
            logger.error("reconcile.unreadable", company=self.company.slug, count=comparison.unreadable)
            self._look_at_unreadable(comparison.unreadable_uids)
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

    def _sweep(self, comparison: Comparison, **filters: str | datetime) -> None:
        pages = self.asking.client.list_pages(deadline=Deadline.after(ASK_SECONDS), **filters)
        for differences, kept in compared(pages, comparison):
            self.report.seen = comparison.seen
            wanted = {d.uid for d in differences if d.gap is Gap.WITHOUT_ROW}
            self._heal(differences, bookings_in(kept, uids=wanted))
            del kept  # no memory is held for it while the next one is read
            self.progress(comparison.seen)

    # --- what differs

    def _heal(self, differences: list[Difference], listed: dict[str, dict[str, Any]]) -> None:
        self.turn.keep()
        ended = [d.appointment_id for d in differences if d.gap is Gap.ENDED]
        self._mark_ended([pk for pk in ended if pk is not None])
        for difference in differences:
            if difference.gap is Gap.ENDED or difference.uid in self.looked_at:
                continue
            self.looked_at.add(difference.uid)
            if difference.gap is Gap.WITHOUT_ROW:
                self._alone(difference.uid, partial(self._without_row, listed[difference.uid]))
            else:
                self._alone(difference.uid, partial(self._differs, difference.uid, difference.gap))

    def _alone(self, uid: str, heal: Callable[[], None]) -> None:
        """One booking that cannot be dealt with is a ticket, and no reason not to look at the others."""
        try:
            heal()
        except unknown_attempts.InFlight:
            self.report.in_flight += 1
        except BookingNotFound:
            self.tickets.open(
                SyncFailure.Type.ORPHANED_LOCAL,
                uid=uid,
                message="The booking was moved to one that Cal.com does not know.",
                appointment=Appointment.objects.filter(company=self.company, calcom_booking_uid=uid).first(),
                details={"found": "moved to nowhere"},
            )
        except UnreadableAnswer as error:
            self.report.unreadable += 1
            row = Appointment.objects.filter(company=self.company, calcom_booking_uid=uid).first()
            types = SyncFailure.Type
            self.tickets.open(
                types.STATUS_MISMATCH if row else types.ORPHANED_CALCOM,
                uid=uid,
                message=f"What became of the booking cannot be told. {error.message}",
                appointment=row,
                details={"found": "unreadable"},
            )
        except DatabaseError as error:
            if database_errors.is_away(error):
                raise
            self.tickets.open(
                SyncFailure.Type.SCHEMA_ERROR,
                uid=uid,
                message=f"The booking could not be stored: {database_errors.describe(error)}",
                details={"error": type(error).__name__},
            )

    def _mark_ended(self, ids: list[int]) -> None:
        """Took place as booked: nothing to repair, only to write down."""
        ended = set(ids) - self.would_end
        self.report.ended += len(ended)
        if self.dry_run:
            self.would_end |= ended  # nothing is written down, so the other listing shows it again
        elif ended:
            Appointment.objects.filter(pk__in=ids, status__in=PROVEN_STATUSES).update(
                status=Appointment.Status.COMPLETED, updated_at=timezone.now()
            )

    def _look_at_unreadable(self, uids: Collection[str]) -> None:
        """Listed in words that nobody can read."""
        rows = Appointment.objects.filter(company=self.company, calcom_booking_uid__in=uids)
        with_row = set(rows.values_list("calcom_booking_uid", flat=True))
        for uid in sorted(set(uids) - self.looked_at):
            self.looked_at.add(uid)
            look = (
                partial(self._differs, uid, Gap.STATUS) if uid in with_row else partial(self._unreadable, uid)
            )
            self._alone(uid, look)

    def _without_row(self, booking: dict[str, Any]) -> None:
        try:
            shown = read_booking(booking)
        except Unreadable:
            self._unreadable(booking["uid"])
        else:
            self._bring_here(shown)

    def _unreadable(self, uid: str) -> None:
        """Asked for by its uid it may be told better. Raises UnreadableAnswer."""
        if not self.asking.has_room:
            self.report.unreadable += 1
            return
        booking = self.asking.find_booking(uid)
        if booking is not None and booking.is_active:
            self._bring_here(booking)

    def _bring_here(self, shown: Booking) -> None:
        match = converge.find_out(
            company=self.company,
            booking=shown,
            client=self.asking.client,
            deadline=Deadline.after(ASK_SECONDS),
        )
        if match.kinship is Kinship.MIRRORED:
            self._differs(shown.uid, Gap.MOVED)
        elif match.kinship in converge.TICKETS:
            self._ask_a_person(match)
        elif match.kinship in (Kinship.OF_ATTEMPT, Kinship.LOST):
            self._repair(Repair.ADOPT, match, otherwise=SyncFailure.Type.ORPHANED_CALCOM)
        elif match.kinship is Kinship.ELSEWHERE:
            self._repair(Repair.IMPORT, match, otherwise=None)

    def _ask_a_person(self, match: Match) -> None:
        if self.dry_run:
            self.tickets.problem(
                converge.TICKETS[match.kinship], match.booking.uid, f"would report: {match.kinship}"
            )
            return
        done = self._converge(match)
        self.tickets.count(done.failure, uid=match.booking.uid)

    def _differs(self, uid: str, gap: Gap) -> None:
        """One of our rows says something else. What was listed may be old by now: the booking is fetched."""
        booking = self.asking.find_booking(uid)
        if booking is None:
            return  # listed a moment ago: the next run sees what became of it
        match = converge.find_out(
            company=self.company,
            booking=booking,
            client=self.asking.client,
            deadline=Deadline.after(ASK_SECONDS),
        )
        if match.kinship is Kinship.OVERTAKEN or match.appointment is None:
            return
        # The listing names it once more under each uid that it had, or has got.
        self.looked_at.update((match.booking.uid, *match.former_uids))
        if not follow.differences(match.appointment, match.booking, now=self.now):
            return
        types = SyncFailure.Type
        otherwise = types.STATUS_MISMATCH if gap is Gap.STATUS else types.TIME_MISMATCH
        self._repair(Repair.FOLLOW, match, otherwise=otherwise)

    def _repair(self, repair: Repair, match: Match, *, otherwise: SyncFailure.Type | None) -> None:
        """Heal it if that is allowed, else open a failure of the type given, if any. Raises InFlight."""
        self.turn.keep()
        if match.attempt is not None and unknown_attempts.is_in_flight(match.attempt, now=timezone.now()):
            raise unknown_attempts.InFlight  # also where nothing may be healed: it is no orphan
        if self.dry_run:
            _leave_to_its_request(match)
            self._count(self.report.would_heal, repair)
            if otherwise is not None:
                self.tickets.problem(otherwise, match.booking.uid, f"would {repair}")
            return
        if not self.permission.take(repair):
            _leave_to_its_request(match)
            self._leave(repair, match, otherwise=otherwise)
            return
        before = shown_by(match)

        def record(done: Converged) -> None:
            if done.appointment is not None and (done.changed or repair is not Repair.FOLLOW):
                healing.record(
                    repair,
                    company=self.company,
                    appointment=done.appointment,
                    uid=match.booking.uid,
                    details=before,
                    now=timezone.now(),
                )

        done = self._converge(match, also=record)
        if repair is Repair.FOLLOW and not done.changed and done.failure is None:
            # A worker that was told of it may have followed meanwhile.
            if not follow.is_mirrored(match.booking, company_id=self.company.pk, now=self.now):
                self._leave(repair, match, otherwise=otherwise)
        elif done.appointment is not None:
            self._count(self.report.healed, repair)
        self.tickets.count(done.failure, uid=match.booking.uid)

    def _converge(self, match: Match, *, also: Callable[[Converged], None] = lambda _done: None) -> Converged:
        return converge.converge(
            match,
            client=self.asking.client,
            deadline=Deadline.after(ASK_SECONDS),
            now=timezone.now(),
            also=also,
        )

    def _leave(self, repair: Repair, match: Match, *, otherwise: SyncFailure.Type | None) -> None:
        self._count(self.report.would_heal, repair)
        if otherwise is None:
            return
        row = match.appointment
        self.tickets.open(
            otherwise,
            # The row's own, so that a gap that moves on stays one problem.
            uid=(row and row.calcom_booking_uid) or match.booking.uid,
            message=f"Both sides differ: repairing that ({repair}) is off, at its limit, or did not help.",
            appointment=row or (match.attempt.appointment if match.attempt else None),
            details=shown_by(match),
        )

    # --- what is not listed

    def _look_at_missing(self, comparison: Comparison) -> None:
        if not self.is_full:
            return
        window = comparison.not_listed(
            start=self.now - PAST,
            end=self.now + FUTURE,
            before=self.now,
            limit=MOST_ASKED_FOR,
        )
        overdue = Appointment.objects.filter(
            company=self.company,
            status__in=PROVEN_STATUSES,
            calcom_booking_uid__isnull=False,
            starts_at__lt=self.now - PAST,
        ).order_by("?")[:MOST_ASKED_FOR]
        missing = [*window, *overdue]
        random.shuffle(missing)
        for appointment in missing:
            if not self.asking.has_room:
                self.tickets.problem(SyncFailure.Type.ORPHANED_LOCAL, "", "more than one run may ask for")
                break
            uid = appointment.calcom_booking_uid or ""
            if uid not in self.looked_at:
                self._alone(uid, partial(self._missing, appointment, uid))

    def _missing(self, appointment: Appointment, uid: str) -> None:
        booking = self.asking.find_booking(uid)
        if booking is None and not self._may_be_shown(appointment):
            self.tickets.open(
                SyncFailure.Type.ORPHANED_LOCAL,
                uid=uid,
                message=doubt.NOT_SHOWN_THERE,
                appointment=appointment,
                details={"status": appointment.status, "found": "event type not shown"},
            )
        elif booking is None:
            self._gone(appointment)
        elif follow.differences(appointment, booking, now=self.now):
            self._differs(uid, Gap.STATUS)

    def _may_be_shown(self, appointment: Appointment) -> bool:
        """Whether the key sees what the appointment was booked under; another account's key would not."""
        made = appointment.attempts.filter(kind=BookingAttempt.Kind.CREATE).order_by("-pk").first()
        number = made.request.get("eventTypeId") if made is not None else None
        if number is None and appointment.service is not None:
            number = appointment.service.calcom_event_type_id
        return number is None or self.asking.shows(number)

    def _gone(self, appointment: Appointment) -> None:
        """Cal.com was asked by the uid and says there is none."""
        uid = appointment.calcom_booking_uid or ""
        if appointment.ends_at > self.now:
            self.tickets.open(
                SyncFailure.Type.ORPHANED_LOCAL,
                uid=uid,
                message=doubt.NOT_KNOWN_THERE,
                appointment=appointment,
                details={"status": appointment.status},
            )
            return
        if self.dry_run or not self.permission.take(Repair.FOLLOW):
            self._count(self.report.would_heal, Repair.FOLLOW)
            self.tickets.open(
                SyncFailure.Type.ORPHANED_LOCAL,
                uid=uid,
                message="The appointment is over, and Cal.com does not know its booking any more.",
                appointment=appointment,
                details={"status": appointment.status},
            )
            return
        now = timezone.now()
        with transaction.atomic():
            Appointment.objects.filter(pk=appointment.pk, status__in=PROVEN_STATUSES).update(
                status=Appointment.Status.CANCELLED,
                calcom_sync_status=Appointment.SyncStatus.NOT_SYNCED,
                updated_at=now,
            )
            healing.record(
                Repair.FOLLOW,
                company=self.company,
                appointment=appointment,
                uid=uid,
                details={"was": appointment.status, "found": "past, and unknown to Cal.com"},
                now=now,
            )
            self.report.closed += failures.close_failures(
                company_id=self.company.pk,
                subjects=[failures.about_booking(uid)],
                note="The appointment is over.",
            )
        self._count(self.report.healed, Repair.FOLLOW)

    # --- calls and appointments

    def _link_calls(self) -> None:
        """Calls and appointments that do not point at each other."""
        if not self.dry_run:
            links.let_go_of_deleted(self.company)
        for appointment in links.to_mend(self.company, limit=MOST_LINKED):
            if self.dry_run or not self.permission.take(Repair.LINK):
                self._count(self.report.would_heal, Repair.LINK)
                self._not_linked(appointment)
                continue
            now = timezone.now()
            with transaction.atomic():
                links.mend(appointment, now=now)
                healing.record(
                    Repair.LINK,
                    company=self.company,
                    appointment=appointment,
                    uid=appointment.calcom_booking_uid or "",
                    details={},
                    now=now,
                )
            self._count(self.report.healed, Repair.LINK)
        lost = lost_calls(company=self.company, since=None)
        for call in lost.only("pk", "retell_call_id", "company_id")[:MOST_LINKED]:
            self.tickets.open(
                SyncFailure.Type.CALL_DESYNC,
                message="The call says that something was booked, and its appointment is not there.",
                call=call,
                details={},
            )
        if not self.dry_run:
            self.tickets.close_linked()

    def _not_linked(self, appointment: Appointment) -> None:
        call = appointment.call or Call.objects.filter(appointment=appointment).order_by("-pk").first()
        if self.dry_run or call is None:
            uid = appointment.calcom_booking_uid or ""
            self.tickets.problem(SyncFailure.Type.CALL_DESYNC, uid, "would link")
        elif not (call.booking_confirmed and call.appointment_id is None):  # that is reported anyway
            self.tickets.open(
                SyncFailure.Type.CALL_DESYNC,
                message="A call and its appointment do not say the same, and may not be linked unasked.",
                appointment=appointment,
                call=call,
                details={},
            )

    @staticmethod
    def _count(counts: dict[str, int], repair: Repair) -> None:
        counts[str(repair)] = counts.get(str(repair), 0) + 1


def _leave_to_its_request(match: Match) -> None:
    """What a move or a cancellation of ours, that is just being answered, makes different is no difference
    that lasts. Raises InFlight.
    """
    if match.appointment is None:
        return
    now = timezone.now()
    changes = attempts.still_open(match.appointment.attempts.all())
    if any(unknown_attempts.is_in_flight(change, now=now) for change in changes):
        raise unknown_attempts.InFlight

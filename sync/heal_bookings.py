"""Make our side equal to the bookings that a listing shows otherwise, one by one, as far as that may be done
unasked; what may not, or cannot, becomes a ticket.
"""

from __future__ import annotations

from collections.abc import Callable, Collection
from dataclasses import dataclass, field, replace
from datetime import datetime
from functools import partial
from typing import Any

from django.db import DatabaseError
from django.utils import timezone

from booking import attempts, database_errors, follow, unknown_attempts
from booking.calcom.deadline import Deadline
from booking.calcom.errors import BookingNotFound, UnreadableAnswer
from booking.calcom.objects import Booking, Unreadable, read_booking
from booking.models import PROVEN_STATUSES, Appointment, SyncFailure
from sync import converge, healing
from sync.asking import ASK_SECONDS, Asking
from sync.compare import Difference, Gap
from sync.converge import Converged, Kinship, Match
from sync.healing import Permission, Repair
from sync.reconcile_report import Tickets, shown_by
from sync.turn import NoTurn


@dataclass
class BookingHealer:
    """Of one run of one company; which one, what it counts and whether it is dry stands in `tickets`."""

    tickets: Tickets
    permission: Permission
    asking: Asking
    turn: NoTurn
    now: datetime
    looked_at: set[str] = field(default_factory=set)
    _would_end: set[int] = field(default_factory=set)

    def heal(self, differences: list[Difference], listed: dict[str, dict[str, Any]]) -> None:
        """`listed`: by its uid, as Cal.com sent it, each booking that has no row here. Raises CalcomError,
        LostTurn.
        """
        self.turn.keep()
        ended = [d.appointment_id for d in differences if d.gap is Gap.ENDED]
        self._mark_ended([pk for pk in ended if pk is not None])
        for difference in differences:
            if difference.gap is Gap.ENDED or difference.uid in self.looked_at:
                continue
            self.looked_at.add(difference.uid)
            if difference.gap is Gap.WITHOUT_ROW:
                self.alone(difference.uid, partial(self._without_row, listed[difference.uid]))
            else:
                self.alone(difference.uid, partial(self.fetch_and_follow, difference.uid, difference.gap))

    def alone(self, uid: str, heal: Callable[[], None], *, appointment: Appointment | None = None) -> None:
        """One booking that cannot be dealt with is a ticket, and no reason not to look at the others.
        `appointment`: whose it should be, where there is no uid.
        """
        try:
            heal()
        except unknown_attempts.InFlight:
            self.tickets.report.in_flight += 1
        except BookingNotFound:
            self.tickets.open(
                SyncFailure.Type.ORPHANED_LOCAL,
                uid=uid,
                message="The booking was moved to one that Cal.com does not know.",
                appointment=self._row_of(uid),
                details={"found": "moved to nowhere"},
            )
        except UnreadableAnswer as error:
            self.tickets.report.unreadable += 1
            row = self._row_of(uid)
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
                appointment=appointment,
                details={"error": type(error).__name__},
            )

    def _row_of(self, uid: str) -> Appointment | None:
        return Appointment.objects.filter(company=self.tickets.company, calcom_booking_uid=uid).first()

    def _mark_ended(self, ids: list[int]) -> None:
        """Took place as booked: nothing to repair, only to write down."""
        ended = set(ids) - self._would_end
        self.tickets.report.ended += len(ended)
        if self.tickets.dry_run:
            self._would_end |= ended  # nothing is written down, so the other listing shows it again
        elif ended:
            Appointment.objects.filter(pk__in=ids, status__in=PROVEN_STATUSES).update(
                status=Appointment.Status.COMPLETED, updated_at=timezone.now()
            )

    def look_at_unreadable(self, uids: Collection[str]) -> None:
        """Listed in words that nobody can read."""
        rows = Appointment.objects.filter(company=self.tickets.company, calcom_booking_uid__in=uids)
        with_row = set(rows.values_list("calcom_booking_uid", flat=True))
        for uid in sorted(set(uids) - self.looked_at):
            self.looked_at.add(uid)
            look = (
                partial(self.fetch_and_follow, uid, Gap.STATUS)
                if uid in with_row
                else partial(self._unreadable, uid)
            )
            self.alone(uid, look)

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
            self.tickets.report.unreadable += 1
            return
        booking = self.asking.find_booking(uid)
        if booking is not None and booking.is_active:
            self._bring_here(booking)

    def _bring_here(self, shown: Booking) -> None:
        match = self._find_out(shown)
        if match.kinship is Kinship.MIRRORED and self._stands_beside_ours(match):
            self._ask_a_person(replace(match, kinship=Kinship.TWIN))
        elif match.kinship is Kinship.MIRRORED:
            self.fetch_and_follow(shown.uid, Gap.MOVED)
        elif match.kinship in converge.TICKETS:
            self._ask_a_person(match)
        elif match.kinship in (Kinship.OF_ATTEMPT, Kinship.LOST):
            self._repair(Repair.ADOPT, match, otherwise=SyncFailure.Type.ORPHANED_CALCOM)
        elif match.kinship is Kinship.ELSEWHERE:
            self._repair(Repair.IMPORT, match, otherwise=None)

    def _stands_beside_ours(self, match: Match) -> bool:
        """Whether our row is at a booking that stands although it was moved to this one: a host can confirm
        it again. Raises InFlight.
        """
        uid = match.appointment and match.appointment.calcom_booking_uid
        if not uid or uid == match.booking.uid or not match.booking.is_active:
            return False
        ours = self.asking.find_booking(uid)
        if ours is None or not ours.is_active:
            return False
        _leave_to_its_request(match)
        return True

    def _find_out(self, booking: Booking) -> Match:
        return converge.find_out(
            company=self.tickets.company,
            booking=booking,
            client=self.asking.client,
            deadline=Deadline.after(ASK_SECONDS),
        )

    def _ask_a_person(self, match: Match) -> None:
        if self.tickets.dry_run:
            self.tickets.problem(
                converge.TICKETS[match.kinship], match.booking.uid, f"would report: {match.kinship}"
            )
            return
        done = self._converge(match)
        self.tickets.count(done.failure, uid=match.booking.uid)

    def fetch_and_follow(self, uid: str, gap: Gap) -> None:
        """One of our rows says something else. What was listed may be old by now: the booking is fetched."""
        booking = self.asking.find_booking(uid)
        if booking is None:
            return  # listed a moment ago: the next run sees what became of it
        match = self._find_out(booking)
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
        if self.tickets.dry_run:
            _leave_to_its_request(match)
            self.tickets.report.would_repair(repair)
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
                    company=self.tickets.company,
                    appointment=done.appointment,
                    uid=match.booking.uid,
                    details=before,
                    now=timezone.now(),
                )

        done = self._converge(match, also=record)
        if repair is Repair.FOLLOW and not done.changed and done.failure is None:
            # A worker that was told of it may have followed meanwhile.
            if not follow.is_mirrored(match.booking, company_id=self.tickets.company.pk, now=self.now):
                self._leave(repair, match, otherwise=otherwise)
        elif done.appointment is not None:
            self.tickets.report.has_repaired(repair)
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
        self.tickets.report.would_repair(repair)
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

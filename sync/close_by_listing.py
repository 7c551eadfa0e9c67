"""Close tickets of which Cal.com shows that their gap is gone: its bookings are equal to ours again, or do
not stand any more.

After each run of `reconcile` that has read a whole listing. What our own rows can tell is closed by
`booking.close_by_own_rows`.
"""

from __future__ import annotations

from dataclasses import dataclass, field
from datetime import datetime

from booking import failures, follow
from booking.calcom.errors import BookingNotFound, UnreadableAnswer
from booking.calcom.objects import Booking
from booking.models import OPEN_STATUSES, PROVEN_STATUSES, Appointment, SyncFailure
from sync.asking import MOST_ASKED_FOR, Asking
from sync.compare import Comparison
from sync.reconcile_report import Tickets

Type = SyncFailure.Type

_DIFFERENCES = (Type.STATUS_MISMATCH, Type.TIME_MISMATCH)
# What says that a booking stands which should not; gone there, the gap is gone.
DOUBT_A_BOOKING = (Type.ORPHANED_CALCOM, Type.DUPLICATE_BOOKING, Type.FOREIGN_BOOKING)
_ABOUT_BOOKINGS = (*_DIFFERENCES, Type.ORPHANED_LOCAL, *DOUBT_A_BOOKING)


def close_by_listing(
    tickets: Tickets, *, comparison: Comparison, asking: Asking, own_key: bool, now: datetime
) -> None:
    """After a listing that was read to its end. Raises CalcomError."""
    rows = SyncFailure.objects.filter(company=tickets.company, status__in=OPEN_STATUSES, last_seen_at__lt=now)
    for failure in rows.filter(tickets.about_reading(own_key=own_key)):
        tickets.close(failure, "Cal.com shows its bookings again.")
    about_bookings = rows.filter(failure_type__in=_ABOUT_BOOKINGS).exclude(calcom_booking_id="")
    # Of more than that, any: so that each has its turn in one run or another.
    open_ones = list(about_bookings.order_by("?")[:MOST_ASKED_FOR])
    uids = [failure.calcom_booking_id for failure in open_ones]
    bookings = _Bookings(
        asking=asking,
        now=now,
        equal=comparison.equal_uids(uids),
        inactive=comparison.inactive_uids(uids),
    )
    for failure in open_ones:
        try:
            bookings.look_at(failure)
        except UnreadableAnswer:
            continue  # whatever it has become, nobody can tell that it is gone
        if note := bookings.why_gone(failure):
            tickets.close(failure, note)
    _outdate_resolutions(tickets, comparison=comparison)


@dataclass
class _Bookings:
    """What has become of the bookings that tickets are about: as they are listed, or asked for by uid."""

    asking: Asking
    now: datetime
    equal: set[str]  # as our appointment is
    inactive: set[str]
    unknown: set[str] = field(default_factory=set)  # Cal.com does not know them

    def look_at(self, failure: SyncFailure) -> None:
        """Ask for the booking if the listing does not tell and there is room to. Raises CalcomError."""
        uid = failure.calcom_booking_id
        if uid in self.equal or uid in self.inactive or not self.asking.has_room:
            return
        booking = self.asking.find_booking(uid)
        if booking is None:
            self.unknown.add(uid)
        elif _has_been_followed(booking, failure, asking=self.asking, now=self.now):
            self.equal.add(uid)
        if booking is None or not booking.is_active:
            self.inactive.add(uid)

    def why_gone(self, failure: SyncFailure) -> str:
        """How the gap has closed; blank: it has not, as far as can be told."""
        uid, kind = failure.calcom_booking_id, failure.failure_type
        if uid in self.equal and kind != Type.DUPLICATE_BOOKING:
            return "Both sides are equal again."
        if uid in self.equal and _stands_alone(failure, asking=self.asking):
            return "The other one does not stand any more."
        if uid in self.inactive and kind in DOUBT_A_BOOKING:
            return "The booking does not stand at Cal.com any more."
        if uid in self.unknown and kind in _DIFFERENCES and not _is_live_here(failure):
            return "It stands neither at Cal.com nor here."
        return ""


def _outdate_resolutions(tickets: Tickets, *, comparison: Comparison) -> None:
    """A person has decided about a gap that is listed as gone: about the next one they have not."""
    rows = SyncFailure.objects.filter(
        company=tickets.company,
        status=SyncFailure.Status.RESOLVED,
        failure_type__in=(*_DIFFERENCES, Type.ORPHANED_LOCAL, Type.ORPHANED_CALCOM),
        resolved_by__isnull=False,
    )
    rows = rows.exclude(calcom_booking_id="").exclude(error_details__has_key=failures.SEEN_GONE)
    decided = list(rows.order_by("?")[:MOST_ASKED_FOR])
    equal = comparison.equal_uids([failure.calcom_booking_id for failure in decided])
    failures.outdate(failure for failure in decided if failure.calcom_booking_id in equal)


def _is_live_here(failure: SyncFailure) -> bool:
    return Appointment.objects.filter(
        company=failure.company_id,
        calcom_booking_uid=failure.calcom_booking_id,
        status__in=PROVEN_STATUSES,
    ).exists()


def _stands_alone(failure: SyncFailure, *, asking: Asking) -> bool:
    """Of a booking that stood beside the one it was moved to: whether that one has gone, so that our row went
    back to it.
    """
    other_uid = failure.error_details.get("other_uid")
    if not other_uid or not asking.has_room:
        return False
    try:
        other = asking.find_booking(other_uid)
        if other is None:
            return True
        end = asking.end_of(other)
    except (BookingNotFound, UnreadableAnswer):
        return False
    return not end.is_active or end.uid == failure.calcom_booking_id


def _has_been_followed(booking: Booking, failure: SyncFailure, *, asking: Asking, now: datetime) -> bool:
    """Where it is now, after all its moves, it is here too."""
    try:
        end = asking.end_of(booking)
    except BookingNotFound:
        return False
    return follow.is_mirrored(end, company_id=failure.company_id, now=now)

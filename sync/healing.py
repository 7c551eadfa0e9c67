"""Which differences may be repaired without a person, and how much of that in a day.

Every company says for each kind of repair whether it is on, off, or only to be talked about, and how many a
day there may be: a mistake in a rule, or in Cal.com, must not rewrite a calendar overnight. Nothing in here
cancels or moves anything at Cal.com; the only booking that is ever undone is one an attempt of ours owns, and
that is the completer's work.
"""

from __future__ import annotations

from datetime import datetime, timedelta
from enum import StrEnum
from typing import Any

from booking.models import Appointment
from customers.clocks import CLOCKS_DIFFER_BY
from customers.models import Company
from sync.models import AuditEntry

PREFIX = "heal."


class Repair(StrEnum):
    ADOPT = "adopt"  # an attempt of ours made it: its appointment, its call
    IMPORT = "import"  # made elsewhere: a new appointment
    FOLLOW = "follow"  # another status or time at Cal.com
    LINK = "link"  # call and appointment point at each other


# How sure one can be, and of what; shown with every repair.
CONFIDENCE = {
    Repair.ADOPT: "certain: the booking carries the id of our attempt",
    Repair.IMPORT: "certain: Cal.com lists it with an event type of this company",
    Repair.FOLLOW: "certain: the booking was fetched again by its uid",
    Repair.LINK: "certain: the appointment names its call, and no other does",
}


class Permission:
    """What may be healed in this run for one company. Counts what it allows."""

    def __init__(self, company: Company, *, now: datetime) -> None:
        self._policy = {
            Repair.ADOPT: company.heal_adopt,
            Repair.IMPORT: company.heal_import,
            Repair.FOLLOW: company.heal_follow,
            Repair.LINK: company.heal_link,
        }
        today = AuditEntry.objects.filter(
            company=company,
            action__startswith=PREFIX,
            # What lies further ahead was written by a clock that was wrong.
            created_at__range=(now - timedelta(days=1), now + CLOCKS_DIFFER_BY),
            user=None,
        )
        self._left = max(0, company.heal_daily_limit - today.count())

    def take(self, repair: Repair) -> bool:
        """Whether one more may be made."""
        if self._policy[repair] != Company.Healing.ON or self._left == 0:
            return False
        self._left -= 1
        return True


def record(
    repair: Repair,
    *,
    company: Company,
    appointment: Appointment | None,
    uid: str,
    details: dict[str, Any],
    now: datetime,
) -> None:
    """Write down that the machine has made it: in the transaction of the repair, where it has one."""
    AuditEntry.objects.create(
        company=company,
        action=f"{PREFIX}{repair}",
        appointment=appointment,
        call_id=appointment.call_id if appointment else None,
        calcom_booking_uid=uid,
        reason=CONFIDENCE[repair],
        details=details,
        created_at=now,
    )

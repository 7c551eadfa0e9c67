from __future__ import annotations

from dataclasses import dataclass
from datetime import datetime
from functools import cached_property
from typing import Any
from zoneinfo import ZoneInfo

from booking.calcom.deadline import Deadline
from booking.models import Appointment
from calls import call_record
from calls.models import Call
from customers import phone_numbers
from customers.branches import first_number
from customers.models import Branch, Company


@dataclass(frozen=True)
class Conversation:
    """Who is calling whom, and until when they must have an answer. `now` is aware."""

    company: Company
    branch: Branch
    call: Call
    now: datetime
    deadline: Deadline

    @property
    def zone(self) -> ZoneInfo:
        return self.company.zone_at(self.branch)

    def zone_of(self, appointment: Appointment) -> ZoneInfo:
        """Where it takes place, which need not be where it was rung."""
        is_here = appointment.branch_id in (None, self.branch.pk)
        return self.company.zone_at(self.branch if is_here else appointment.branch)

    @cached_property
    def region(self) -> str:
        """Whose spelling of phone numbers is meant: the called number's country, else that of the branch's
        first number, else the language's.
        """
        ours = call_record.our_number(self.call) or first_number(self.branch)
        region = phone_numbers.region_of(ours) if ours else None
        return region or self.company.region

    @property
    def context(self) -> dict[str, Any]:
        return {
            "zone": self.zone,
            "now": self.now,
            "region": self.region,
            "company_id": self.company.pk,
            "call": self.call,
        }

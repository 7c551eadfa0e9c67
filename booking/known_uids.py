"""Whose booking a uid is, or was before it was moved: in every company, because Cal.com's uids are unique."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass

from booking.models import Appointment, FormerUid


@dataclass(frozen=True)
class Holder:
    appointment: int
    company: int


def holders(uids: Iterable[str]) -> list[Holder]:
    """The appointments that are, or were, one of these bookings."""
    uids = list(uids)
    # Without their order, which SQLite allows in nothing that is united.
    now = Appointment.objects.order_by().filter(calcom_booking_uid__in=uids)
    once = FormerUid.objects.order_by().filter(uid__in=uids)
    rows = now.values_list("pk", "company").union(once.values_list("appointment", "appointment__company"))
    return [Holder(*row) for row in rows]


def is_known(uid: str, *, company_id: int) -> bool:
    """Whether an appointment of the company is, or was, this booking."""
    return any(each.company == company_id for each in holders([uid]))


def is_held_beside(appointment_id: int, uid: str) -> bool:
    """Whether another appointment than this one is, or was, this booking."""
    return any(each.appointment != appointment_id for each in holders([uid]))

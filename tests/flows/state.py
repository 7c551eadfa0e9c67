"""What most flows look at afterwards."""

from __future__ import annotations

from django.db.models import QuerySet

from booking.calcom.simulator.server import Simulator
from booking.models import OPEN_STATUSES, PROVEN_STATUSES, Appointment, SyncFailure


def open_failures() -> QuerySet[SyncFailure]:
    return SyncFailure.objects.filter(status__in=OPEN_STATUSES)


def proven() -> list[Appointment]:
    """What stands, and not what is only intended."""
    return list(Appointment.objects.filter(status__in=PROVEN_STATUSES))


def posts(calcom: Simulator) -> int:
    """How many bookings Cal.com was asked to make."""
    return len(calcom.requests("create"))

"""How a sentence for a person names an appointment and a time."""

from __future__ import annotations

from booking.calcom.objects import Booking
from booking.models import Appointment
from customers.admin_columns import zone_of
from sync.triage.case import Case


def name_of(appointment: Appointment) -> str:
    """An appointment as a sentence names it, in its own place's time."""
    service = appointment.service.name if appointment.service else "?"
    start = appointment.starts_at.astimezone(zone_of(appointment))
    return f"“{service}, {start:%Y-%m-%d %H:%M %Z}, {appointment.get_status_display()}”"


def when(booking: Booking, case: Case) -> str:
    start = booking.start.astimezone(zone_of(case.appointment or case.failure))
    return f"{start:%Y-%m-%d %H:%M %Z}"


def whether_closed(closed: bool) -> str:
    return " The failure is closed." if closed else " The failure stays open."

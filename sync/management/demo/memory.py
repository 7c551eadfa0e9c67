"""The simulator forgets everything when it stops, and our database does not.

A real Cal.com would still hold those bookings. So before anything is played, what our appointments say it
has is put back there where it is missing: the demo then plays against two sides that agree.
"""

from __future__ import annotations

from booking.models import Appointment
from sync.management.demo.system import RunningSystem

AT_CALCOM = {
    Appointment.Status.REQUESTED: "pending",
    Appointment.Status.CANCELLED: "cancelled",
}


def remind(system: RunningSystem) -> int:
    """Put back the bookings the simulator has forgotten, unannounced; returns how many."""
    booked = list(
        Appointment.objects.filter(company=system.company, service__isnull=False)
        .exclude(calcom_booking_uid=None)
        .select_related("service", "customer")
        .order_by("pk")
    )
    # Asked after the rows were read: what is booked meanwhile is then known there, never missing.
    known = {booking["uid"] for booking in system.calcom.bookings}
    forgotten = [appointment for appointment in booked if appointment.calcom_booking_uid not in known]
    for appointment in forgotten:
        assert appointment.service is not None  # noqa: S101 - filtered above
        attempt = appointment.attempts.order_by("pk").first()
        metadata = attempt.request.get("metadata", {}) if attempt else {}
        phone = appointment.customer.phone if appointment.customer else None
        system.calcom.seed_booking(
            appointment.service.calcom_event_type_id,
            account=system.account,
            uid=appointment.calcom_booking_uid,
            start=appointment.starts_at,
            end=appointment.ends_at,
            created_at=appointment.created_at,
            updated_at=appointment.calcom_updated_at or appointment.created_at,
            status=AT_CALCOM.get(Appointment.Status(appointment.status), "accepted"),
            name=appointment.attendee_name,
            email=appointment.attendee_email or None,
            phone=phone or None,
            metadata=metadata,
        )
    return len(forgotten)

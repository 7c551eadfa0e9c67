"""A booking of ours whose attempt no row tells of any more: a backup was restored, or a row deleted."""

from __future__ import annotations

from uuid import UUID

from booking.calcom.objects import Booking
from booking.models import BookingAttempt
from calls import call_record


def made_for_the_same(booking: Booking, *, attempt: BookingAttempt) -> bool:
    """Whether the booking is what this attempt wants, made by a lost attempt of the same person's.

    It carries our key of this very customer, service and time, and is in their name at Cal.com: metadata
    alone anybody could send along with a booking. And it is the same call that asks again, or one from the
    customer's own number: whoever merely says that number is told nothing of it.
    """
    said = booking.metadata
    if said.get("idempotency_key") != attempt.idempotency_key or not attempt.idempotency_key:
        return False
    if said.get("company") != attempt.company.slug or not _is_for(booking, attempt):
        return False
    if not _is_lost(said.get("attempt_id")):
        return False
    return attempt.call is not None and (
        said.get("call_id") == attempt.call.retell_call_id or _calls_from_own_number(attempt)
    )


def _is_for(booking: Booking, attempt: BookingAttempt) -> bool:
    """Whether Cal.com has it under the number, or else the address, that this attempt would give."""
    wanted = attempt.request.get("attendee", {})
    phone, email = wanted.get("phoneNumber"), wanted.get("email", "").lower()
    if phone:
        return any(attendee.phone == phone for attendee in booking.attendees)
    return bool(email) and any(attendee.email.lower() == email for attendee in booking.attendees)


def _is_lost(attempt_id: str | None) -> bool:
    try:
        known = BookingAttempt.objects.filter(uuid=UUID(attempt_id or ""))
    except ValueError:
        return False
    return not known.exists()


def _calls_from_own_number(attempt: BookingAttempt) -> bool:
    customer = attempt.appointment.customer
    if attempt.call is None or customer is None:
        return False
    return call_record.is_from(attempt.call, customer.phone)

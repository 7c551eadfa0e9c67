"""Find at Cal.com what an attempt of ours may have made. It asks; it changes nothing."""

from __future__ import annotations

from datetime import timedelta

from booking import attempts, ownership
from booking.calcom.client import CalcomClient
from booking.calcom.deadline import Deadline
from booking.calcom.objects import Booking
from booking.models import BookingAttempt

# A booking that was made at the wrong hour must be found too, so a day on either side is looked through.
AROUND = timedelta(days=1)


def find_created(attempt: BookingAttempt, *, client: CalcomClient, deadline: Deadline) -> Booking | None:
    """The booking that carries this attempt's id, in any status; else an active one of an earlier attempt of
    the same key. None: Cal.com has shown all it has there, and it is not among it. Raises CalcomError when
    it could not be asked, which is not the same.
    """
    appointment = attempt.appointment
    bookings = list(
        client.list_bookings(
            eventTypeId=attempt.request["eventTypeId"],
            afterStart=appointment.starts_at - AROUND,
            beforeEnd=appointment.ends_at + AROUND,
            deadline=deadline,
        )
    )
    this = str(attempt.uuid)
    own = [booking for booking in bookings if ownership.is_of(booking, attempt_ids={this})]
    if own:
        # A booking that was moved leaves a cancelled one behind with the same metadata.
        return next((booking for booking in own if booking.is_active), own[0])
    active = [booking for booking in bookings if booking.is_active and booking.metadata.get("attempt_id")]
    if not active:
        return None
    earlier = attempts.ids_of_key(attempt.idempotency_key, company_id=attempt.company_id)
    return next((booking for booking in active if ownership.is_of(booking, attempt_ids=earlier)), None)

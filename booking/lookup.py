"""Find at Cal.com what an attempt of ours may have made. It asks; it changes nothing."""

from __future__ import annotations

from datetime import datetime, timedelta

from booking import attempts, event_types, lost_attempts, ownership
from booking.calcom.client import CalcomClient
from booking.calcom.deadline import Deadline
from booking.calcom.errors import CalcomMisconfigured, UnreadableAnswer
from booking.calcom.objects import Booking
from booking.models import BookingAttempt

# A booking that was made at the wrong hour must be found too, so a day on either side is looked through.
AROUND = timedelta(days=1)
LONGEST_CHAIN = 10


def find_created(attempt: BookingAttempt, *, client: CalcomClient, deadline: Deadline) -> list[Booking]:
    """The bookings this attempt has made, the one that counts first: those that carry its id, in any status;
    else an active one of an earlier attempt of the same key, for the same start, also where that attempt's
    row is lost. Usually one.

    Empty: Cal.com has shown all it has there, and it is not among it. Raises CalcomError when it could not be
    asked, which is not the same.
    """
    shown = list_around_attempt(attempt, client=client, deadline=deadline)
    return created_among(shown, attempt=attempt, client=client, deadline=deadline)


def require_shown(attempt: BookingAttempt, *, client: CalcomClient, deadline: Deadline) -> None:
    """Have Cal.com show the event type of an attempt, before it is believed that the attempt has made nothing
    because nothing of it is shown. Raises CalcomMisconfigured if it is not shown either, CalcomError.
    """
    event_type_id = attempt.request["eventTypeId"]
    if not event_types.is_shown(event_type_id, client=client, deadline=deadline):
        raise CalcomMisconfigured(
            f"Cal.com does not show this key event type {event_type_id}, so that it shows no booking of it "
            "proves nothing. The key may be another account's."
        )


def list_around_attempt(
    attempt: BookingAttempt, *, client: CalcomClient, deadline: Deadline
) -> list[Booking]:
    """`list_around` the time it wants."""
    return list_around(
        attempt.appointment.starts_at,
        attempt.appointment.ends_at,
        event_type_id=attempt.request["eventTypeId"],
        client=client,
        deadline=deadline,
    )


def list_around(
    start: datetime, end: datetime, *, event_type_id: int, client: CalcomClient, deadline: Deadline
) -> list[Booking]:
    """All bookings of the event type around that time, in any status and anybody's. Raises CalcomError."""
    return list(
        client.list_bookings(
            eventTypeId=event_type_id, afterStart=start - AROUND, beforeEnd=end + AROUND, deadline=deadline
        )
    )


def created_among(
    bookings: list[Booking], *, attempt: BookingAttempt, client: CalcomClient, deadline: Deadline
) -> list[Booking]:
    """`find_created` among these."""
    appointment = attempt.appointment
    own = [booking for booking in bookings if ownership.is_of(booking, attempt_ids={str(attempt.uuid)})]
    own.sort(key=lambda booking: not booking.is_active)
    if own:
        first = own[0]
        if not first.is_active and first.rescheduled_to_uid:
            # Moved at Cal.com, perhaps out of sight of this listing. Its metadata went with it.
            return [end_of_chain(first, client=client, deadline=deadline)[0]]
        return own
    of_an_attempt = [
        booking for booking in bookings if booking.is_active and "attempt_id" in booking.metadata
    ]
    if not of_an_attempt:
        return []
    earlier = attempts.ids_of_key(attempt)
    # What an earlier attempt made and somebody moved since is another appointment by now.
    return [
        booking
        for booking in of_an_attempt
        if booking.start == appointment.starts_at
        and (
            ownership.is_of(booking, attempt_ids=earlier)
            or lost_attempts.made_for_the_same(booking, attempt=attempt)
        )
    ]


def end_of_chain(booking: Booking, *, client: CalcomClient, deadline: Deadline) -> tuple[Booking, list[str]]:
    """What a booking has become, after all its moves, and the uids it had on the way there. A booking that
    was not moved is its own end. Raises CalcomError, also where the end is out of sight: half way there every
    booking looks cancelled.
    """
    former: list[str] = []
    while not booking.is_active and booking.rescheduled_to_uid and booking.rescheduled_to_uid not in former:
        if len(former) == LONGEST_CHAIN:
            raise UnreadableAnswer(f"The booking was moved more than {LONGEST_CHAIN} times.")
        former.append(booking.uid)
        booking = client.get_booking(booking.rescheduled_to_uid, deadline=deadline)
    return booking, former

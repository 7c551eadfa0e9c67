"""Single bookings that one run asks Cal.com for, which is not without end."""

from __future__ import annotations

from booking import event_types, lookup
from booking.calcom.client import CalcomClient
from booking.calcom.deadline import Deadline
from booking.calcom.objects import Booking
from sync.remote_bookings import PacedClient

ASK_SECONDS = 90.0
MOST_ASKED_FOR = 300


class Asking:
    def __init__(self, client: PacedClient) -> None:
        self.client = client
        self._asked_for = 0
        self._shows: dict[int, bool] = {}

    @property
    def has_room(self) -> bool:
        """Whether one more may be asked for that no difference has named."""
        return self._asked_for < MOST_ASKED_FOR

    def find_booking(self, uid: str) -> Booking | None:
        """None: Cal.com says that there is no such booking. Raises CalcomError."""
        self._asked_for += 1
        return self.client.find_booking(uid, deadline=Deadline.after(ASK_SECONDS))

    def shows(self, event_type_id: int) -> bool:
        """Whether Cal.com shows an event type to this key. Raises CalcomError."""
        if event_type_id not in self._shows:
            client = self.client
            client.before()
            client.pace.wait()
            # Not paced: that this one is refused says nothing of what else may be asked.
            plain = CalcomClient(base_url=client.base_url, api_key=client.api_key)
            self._shows[event_type_id] = event_types.is_shown(
                event_type_id, client=plain, deadline=Deadline.after(ASK_SECONDS)
            )
        return self._shows[event_type_id]

    def end_of(self, booking: Booking) -> Booking:
        """Where it is now, after all its moves. Raises BookingNotFound where they lead to nowhere,
        CalcomError.
        """
        end, _ = lookup.end_of_chain(booking, client=self.client, deadline=Deadline.after(ASK_SECONDS))
        return end

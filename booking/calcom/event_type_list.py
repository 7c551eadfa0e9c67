"""Which event types a key can see: those of its owner, and those of the owner's teams.

https://cal.com/docs/api-reference/v2/event-types/get-all-event-types and …/teams-event-types
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

from booking.calcom.client import EVENT_TYPES, PATIENT_SECONDS, CalcomClient
from booking.calcom.deadline import Deadline
from booking.calcom.errors import CalcomMisconfigured
from booking.calcom.objects import EventType, Unreadable, read_id

NO_ACCESS = (403, 404)


@dataclass(frozen=True)
class EventTypes:
    """The event types that one company's key can see. Every method raises CalcomError.

    `pace` is called before each request: the rate limit of the key is shared with the bookings of callers.
    """

    client: CalcomClient
    pace: Callable[[], None]

    def one(self, event_type_id: int) -> EventType:
        """As it is, with its hidden fields, which no listing shows."""
        self.pace()
        return self.client.event_type(event_type_id, deadline=Deadline.after(PATIENT_SECONDS))

    def personal(self) -> list[int]:
        """The ids of those of the key's owner, hidden ones included; a team's are not among them."""
        return self._listed("/event-types")

    def of_team(self, team_id: int) -> list[int]:
        """The ids of theirs; empty where the key has no access to this team."""
        try:
            return self._listed(f"/teams/{team_id}/event-types")
        except CalcomMisconfigured as error:
            if error.status not in NO_ACCESS:
                raise
            return []

    def teams(self) -> list[int]:
        """The ids of the owner's teams; empty where the key has no access to them, or the server has none."""
        try:
            return self._listed("/teams")
        except CalcomMisconfigured as error:
            if error.status not in NO_ACCESS:
                raise
            return []

    def _listed(self, path: str) -> list[int]:
        self.pace()
        return self.client.ask(
            path, version=EVENT_TYPES, read=_ids_in, deadline=Deadline.after(PATIENT_SECONDS)
        )


def _ids_in(body: dict[str, Any]) -> list[int]:
    # Only the ids: one event type that nobody can read must not hide the others.
    if not isinstance(body["data"], list):
        raise Unreadable("not a list")
    return [read_id(each) for each in body["data"]]

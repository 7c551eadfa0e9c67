"""Cal.com's webhook subscriptions: what we read of one, and the calls that list and change them.

https://cal.com/docs/api-reference/v2/event-types-webhooks/create-a-webhook
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, field
from functools import partial
from typing import Any, TypeVar

from booking.calcom.client import BOOKINGS, PATIENT_SECONDS, CalcomClient
from booking.calcom.deadline import Deadline
from booking.calcom.errors import CalcomUnavailable
from booking.calcom.objects import Unreadable

T = TypeVar("T")

TRIGGERS = (
    "BOOKING_CREATED",
    "BOOKING_REQUESTED",
    "BOOKING_RESCHEDULED",
    "BOOKING_CANCELLED",
    "BOOKING_REJECTED",
    "BOOKING_PAID",
    "BOOKING_PAYMENT_INITIATED",
    "BOOKING_NO_SHOW_UPDATED",
    "MEETING_STARTED",
    "MEETING_ENDED",
)

PAGE = 250
MAX_PAGES = 40
CHANGE_SECONDS = 20.0


@dataclass(frozen=True)
class Place:
    """What subscriptions hang on: an event type, of one person or of a team, or the owner of the key."""

    event_type_id: int | None = None
    team_id: int | None = None

    @property
    def path(self) -> str:
        if self.event_type_id is None:
            return "/webhooks"
        of_team = "" if self.team_id is None else f"/teams/{self.team_id}"
        return f"{of_team}/event-types/{self.event_type_id}/webhooks"


OWNER = Place()


@dataclass(frozen=True)
class Subscription:
    """`secret` is empty where there is none, or where Cal.com does not show it."""

    id: str
    url: str
    triggers: frozenset[str]
    is_active: bool
    has_template: bool
    secret: str = field(repr=False)


@dataclass(frozen=True)
class Subscriptions:
    """The subscriptions that one company's key can see. Every method raises CalcomError.

    `pace` is called before each request: the rate limit of the key is shared with the bookings of callers.
    """

    client: CalcomClient
    pace: Callable[[], None]

    def listed(self, place: Place) -> list[Subscription]:
        found: dict[str, Subscription] = {}
        for page in range(MAX_PAGES):
            self.pace()
            page_of_them = self.client.ask(
                place.path,
                params={"take": str(PAGE), "skip": str(page * PAGE)},
                version=BOOKINGS,
                read=partial(_subscriptions_at, place),
                deadline=Deadline.after(PATIENT_SECONDS),
            )
            found.update((each.id, each) for each in page_of_them)
            if len(page_of_them) < PAGE:
                return list(found.values())
        raise CalcomUnavailable(f"The subscriptions did not end within {MAX_PAGES} pages.")

    def create(self, place: Place, *, url: str, secret: str) -> Subscription:
        """Sent once. Cal.com refuses a second one of the same address with 409, which is OutcomeUnknown:
        list again.
        """
        content = _content(url=url, secret=secret)
        return self._change("POST", place.path, content, read=partial(_subscription_of, place, url))

    def update(self, place: Place, subscription_id: str, *, url: str, secret: str) -> Subscription:
        # An empty template is none to Cal.com, and unlike null it is allowed by the published schema.
        content = {**_content(url=url, secret=secret), "payloadTemplate": ""}
        path = f"{place.path}/{subscription_id}"
        return self._change("PATCH", path, content, read=partial(_subscription_of, place, url))

    def delete(self, place: Place, subscription_id: str) -> None:
        self._change("DELETE", f"{place.path}/{subscription_id}", None, read=lambda _: None)

    def team_of(self, event_type_id: int) -> int | None:
        """The team whose event type it is; None if it is a person's."""
        self.pace()
        return self.client.event_type(event_type_id, deadline=Deadline.after(PATIENT_SECONDS)).team_id

    def _change(self, method: str, path: str, body: Any, *, read: Callable[[Any], T]) -> T:
        self.pace()
        return self.client.change(
            method, path, body, version=BOOKINGS, read=read, deadline=Deadline.after(CHANGE_SECONDS)
        )


def read_subscription(data: Any) -> Subscription:
    """One subscription of an answer; raises Unreadable."""
    if not isinstance(data, dict):
        raise Unreadable(f"a subscription is an object, not {type(data).__name__}")
    number, url = data.get("id"), data.get("subscriberUrl")
    if not isinstance(number, str | int) or not str(number) or not isinstance(url, str):
        raise Unreadable("a subscription without id or address")
    triggers, secret = data.get("triggers"), data.get("secret")
    return Subscription(
        id=str(number),
        url=url,
        triggers=frozenset(each for each in triggers if isinstance(each, str))
        if isinstance(triggers, list)
        else frozenset(),
        is_active=data.get("active") is True,
        has_template=bool(data.get("payloadTemplate")),
        secret=secret if isinstance(secret, str) else "",
    )


def _content(*, url: str, secret: str) -> dict[str, Any]:
    return {"active": True, "subscriberUrl": url, "triggers": list(TRIGGERS), "secret": secret}


def _subscription_of(place: Place, url: str, body: dict[str, Any]) -> Subscription:
    subscription = _subscription_at(place, body["data"])
    if subscription.url != url:
        raise Unreadable("another subscription than the one that was sent")
    return subscription


def _subscriptions_at(place: Place, body: dict[str, Any]) -> list[Subscription]:
    if not isinstance(body["data"], list):
        raise Unreadable("not a list of subscriptions")
    return [_subscription_at(place, each) for each in body["data"]]


def _subscription_at(place: Place, data: Any) -> Subscription:
    subscription = read_subscription(data)
    # What is said of one event type is never to be told by another's. The owner's name none.
    if place.event_type_id is not None and data.get("eventTypeId") not in (None, place.event_type_id):
        raise Unreadable("a subscription of another event type")
    return subscription

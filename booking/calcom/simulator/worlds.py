"""What the simulated Cal.com contains at the start: the default world, or one read from a JSON file."""

from __future__ import annotations

from typing import Any

from booking.calcom.simulator.clock import as_utc
from booking.calcom.simulator.engine import Engine
from booking.calcom.simulator.state import ALWAYS, COLLECTIVE, ROUND_ROBIN, State

DEFAULT_ACCOUNT = "salon"
DEFAULT_KEY = "cal_test_key"


def default_world(state: State) -> None:
    """One account like the recorded one (single, roundrobin, confirm), and one event type per special
    case.
    """
    account = state.add_account(DEFAULT_ACCOUNT, api_key=DEFAULT_KEY, owner="ann")
    add = state.add_event_type
    add("single", account=account)
    add("roundrobin", account=account, minutes=60, hosts=["ann", "bea", "carl"], scheduling=ROUND_ROBIN)
    add("confirm", account=account, requires_confirmation=True)
    add("open", account=account, hosts=["olga"], available=ALWAYS)
    add(
        "roundrobin_open",
        account=account,
        hosts=["rita", "rolf"],
        scheduling=ROUND_ROBIN,
        available=ALWAYS,
    )
    add("collective", account=account, hosts=["cleo", "cora"], scheduling=COLLECTIVE, available=ALWAYS)
    add("seats", account=account, hosts=["sara"], seats=3, available=ALWAYS)
    add("email_required", account=account, hosts=["erik"], email_required=True, available=ALWAYS)
    add("phone_required", account=account, hosts=["paul"], phone_required=True, available=ALWAYS)
    add("email_hidden", account=account, hosts=["hugo"], email_hidden=True, available=ALWAYS)
    add("paid", account=account, hosts=["petra"], price=5000, available=ALWAYS)
    add("notice", account=account, hosts=["nora"], minimum_notice_minutes=24 * 60, available=ALWAYS)
    add("confirm_open", account=account, hosts=["kim"], requires_confirmation=True, available=ALWAYS)


def load_world(state: State, engine: Engine, world: dict[str, Any]) -> None:
    """Build what a JSON object describes: {"accounts": [...]}.

    Each account: name, api_key, owner, email, time_zone, event_types (the arguments of
    `State.add_event_type`), webhooks ({url, secret, triggers, event_type}), bookings (the arguments of
    `Engine.seed`, event_type by id, name or slug). Raises KeyError or TypeError when it is not understood.
    """
    for description in world["accounts"]:
        details = dict(description)
        event_types = details.pop("event_types", [])
        webhooks = details.pop("webhooks", [])
        bookings = details.pop("bookings", [])
        account = state.add_account(details.pop("name"), **details)
        for event_type in event_types:
            options = dict(event_type)
            state.add_event_type(options.pop("key"), account=account, **options)
        for webhook in webhooks:
            subscribe(state, account=account.name, **webhook)
        for booking in bookings:
            options = dict(booking)
            engine.seed(
                event_type=state.event_type(options.pop("event_type"), account),
                start=as_utc(options.pop("start")),
                **options,
            )


BOOKING_TRIGGERS = (
    "BOOKING_CREATED",
    "BOOKING_REQUESTED",
    "BOOKING_RESCHEDULED",
    "BOOKING_CANCELLED",
    "BOOKING_REJECTED",
    "BOOKING_NO_SHOW_UPDATED",
    "BOOKING_PAYMENT_INITIATED",
    "BOOKING_PAID",
)


def subscribe(
    state: State,
    *,
    url: str,
    secret: str | None,
    account: str | None = None,
    event_type: str | int | None = None,
    triggers: list[str] | None = None,
) -> list[str]:
    """Subscribe a receiver to one event type, or (None) to each of the account. Returns the webhook ids."""
    owner = state.account(account)
    chosen = list(owner.event_types.values()) if event_type is None else [owner.event_type(event_type)]
    return [
        state.add_webhook(
            owner,
            url=url,
            secret=secret,
            triggers=list(triggers or BOOKING_TRIGGERS),
            event_type_id=each.id,
        ).id
        for each in chosen
    ]

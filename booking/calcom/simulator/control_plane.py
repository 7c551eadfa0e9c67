"""The simulator's control plane: JSON under /_simulator/, for other processes on this machine.

GET names what is there; POST /_simulator/<verb> calls the verb of `Simulator` with the JSON object as its
arguments. `control.SimulatorControl` is the client.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import TYPE_CHECKING, Any

import orjson

from booking.calcom.simulator.clock import as_utc, millisecond_text
from booking.calcom.simulator.errors import Refusal
from booking.calcom.simulator.http_server import Outgoing
from booking.calcom.simulator.payloads import booking_json, webhook_json
from booking.calcom.simulator.state import Account, Booking, EventType
from booking.calcom.simulator.webhooks import deliveries_json

if TYPE_CHECKING:
    from booking.calcom.simulator.server import Simulator

PREFIX = "/_simulator/"


def control_booking(booking: Booking) -> dict[str, Any]:
    """A booking as the API shows it, and what the API hides: metadata in full, the account, the phone."""
    return {
        **booking_json(booking),
        "metadata": booking.metadata,
        "account": booking.account.name,
        "attendeeEmail": booking.attendee.email,
        "attendeePhoneNumber": booking.attendee.phone,
        "isActive": booking.is_active,
    }


def control_event_type(event_type: EventType) -> dict[str, Any]:
    return {
        "id": event_type.id,
        "key": event_type.key,
        "slug": event_type.slug,
        "title": event_type.title,
        "minutes": event_type.minutes,
        "scheduling": event_type.scheduling,
        "hosts": [host.username for host in event_type.hosts],
        "requires_confirmation": event_type.requires_confirmation,
        "seats": event_type.seats,
        "price": event_type.price,
    }


def control_account(account: Account) -> dict[str, Any]:
    return {
        "name": account.name,
        "api_keys": account.api_keys,
        "owner": account.owner.username,
        "event_types": [control_event_type(each) for each in account.event_types.values()],
        "webhooks": [webhook_json(webhook) for webhook in account.webhooks.values()],
    }


class ControlPlane:
    def __init__(self, simulator: Simulator) -> None:
        self.simulator = simulator
        self._readings: dict[str, Callable[[], Any]] = {
            "state": self._state,
            "bookings": self._bookings,
            "log": lambda: [entry.as_json() for entry in simulator.log],
            "deliveries": lambda: deliveries_json(simulator.deliveries),
            "connections": lambda: {"opened": simulator.connections_opened},
            "clock": self._clock,
            "faults": lambda: [fault.describe() for fault in simulator.faults.planned],
        }
        self._verbs: dict[str, Callable[..., Any]] = {
            "reset": simulator.reset,
            "clear_log": simulator.clear_log,
            "close_idle_connections": simulator.close_idle_connections,
            "add_fault": simulator.faults.add,
            "remove_fault": simulator.faults.remove,
            "clear_faults": simulator.faults.clear,
            "restore": simulator.faults.restore,
            "release_hangs": simulator.faults.release_hangs,
            "advance_clock": simulator.clock.advance,
            "set_clock": lambda moment: simulator.clock.set(as_utc(moment)),
            "settings": self._settings,
            "add_account": simulator.state.add_account,
            "add_event_type": simulator.state.add_event_type,
            "subscribe": simulator.subscribe,
            "web_book": simulator.web_book,
            "web_cancel": simulator.web_cancel,
            "web_reschedule": simulator.web_reschedule,
            "web_confirm": simulator.web_confirm,
            "web_decline": simulator.web_decline,
            "web_no_show": simulator.web_no_show,
            "send_ping": lambda **options: deliveries_json([simulator.send_ping(**options)]),
            "send_event": lambda **options: deliveries_json([simulator.send_event(**options)]),
            "send_meeting_event": simulator.send_meeting_event,
            "seed_booking": simulator.seed_booking,
            "erase": simulator.erase,
            "drop_deliveries": simulator.webhooks.drop_next,
            "hold_deliveries": simulator.webhooks.hold,
            "release_deliveries": lambda **options: len(simulator.webhooks.release(**options)),
            "repeat_deliveries": simulator.webhooks.repeat,
            "forge_deliveries": simulator.webhooks.forge,
            "resend_delivery": self._resend,
        }

    def respond(self, method: str, target: str, body: bytes) -> Outgoing:
        name = target.removeprefix(PREFIX).partition("?")[0].strip("/")
        if method == "GET" and name in self._readings:
            return self._answer(200, self._readings[name]())
        if method != "POST" or name not in self._verbs:
            return self._answer(404, {"error": f"unknown: {method} {name}"})
        try:
            arguments = orjson.loads(body) if body else {}
            result = self._verbs[name](**arguments)
        except Refusal as refusal:
            return self._answer(409, {"error": refusal.message, "status": refusal.status})
        except (TypeError, ValueError, KeyError) as problem:
            return self._answer(400, {"error": f"{type(problem).__name__}: {problem}"})
        return self._answer(200, self._shown(result))

    @staticmethod
    def _answer(status: int, content: Any) -> Outgoing:
        return Outgoing(status, orjson.dumps(content), {"Content-Type": "application/json"})

    def _shown(self, result: Any) -> Any:
        if isinstance(result, Booking):
            return control_booking(result)
        if isinstance(result, EventType):
            return control_event_type(result)
        if isinstance(result, Account):
            return control_account(result)
        return result if result is None or isinstance(result, int | str | list | dict) else str(result)

    def _state(self) -> dict[str, Any]:
        with self.simulator.state.lock:
            return {
                "base_url": self.simulator.base_url,
                "accounts": [control_account(each) for each in self.simulator.state.accounts.values()],
                "hanging": self.simulator.faults.hanging,
                "held_deliveries": len(self.simulator.webhooks.held),
            }

    def _bookings(self) -> list[dict[str, Any]]:
        with self.simulator.state.lock:
            return [control_booking(booking) for booking in self.simulator.bookings]

    def _clock(self) -> dict[str, str]:
        return {"now": millisecond_text(self.simulator.clock.now())}

    def _settings(self, **settings: Any) -> None:
        for name, value in settings.items():
            if name == "webhook_timeout":
                self.simulator.webhooks.timeout = value
            elif name in ("rate_limit", "thinking_seconds", "seat_cancel_answers_404"):
                setattr(self.simulator.state, name, value)
            else:
                raise KeyError(name)

    def _resend(self, number: int, **options: Any) -> list[dict[str, Any]]:
        webhooks = self.simulator.webhooks
        return deliveries_json(webhooks.resend(webhooks.find(number), **options))

"""`SimulatorControl`: the verbs of `server.Simulator` for a simulator that runs in another process."""

from __future__ import annotations

from collections.abc import Iterable
from datetime import datetime
from typing import Any

import requests

from booking.calcom.simulator.control_plane import PREFIX
from booking.calcom.simulator.faults import FaultVerbs


class SimulatorRefused(Exception):
    """The simulator would not do it: as Cal.com would refuse, or the arguments were wrong."""


def _plain(value: Any) -> Any:
    return value.isoformat() if isinstance(value, datetime) else value


class SimulatorControl:
    """`url` is the simulator's address with or without /v2. Bookings, log and deliveries are JSON objects.

    Raises SimulatorRefused, and requests.RequestException when the simulator is not there.
    """

    def __init__(self, url: str, *, timeout: float = 30.0) -> None:
        self.url = url.rstrip("/").removesuffix("/v2")
        self.base_url = f"{self.url}/v2"
        self._timeout = timeout
        self._session = requests.Session()
        # a proxy named in the environment is not meant for this machine
        self._session.trust_env = False
        self.faults = RemoteFaults(self)
        self.clock = RemoteClock(self)
        self.webhooks = RemoteWebhooks(self)

    def read(self, name: str) -> Any:
        return self._content(self._session.get(f"{self.url}{PREFIX}{name}", timeout=self._timeout))

    def call(self, verb: str, **arguments: Any) -> Any:
        sent = {key: _plain(value) for key, value in arguments.items()}
        return self._content(
            self._session.post(f"{self.url}{PREFIX}{verb}", json=sent, timeout=self._timeout)
        )

    @staticmethod
    def _content(response: requests.Response) -> Any:
        content = response.json()
        if response.status_code != 200:
            raise SimulatorRefused(content["error"])
        return content

    @property
    def state(self) -> dict[str, Any]:
        """Accounts with their keys, event types and webhooks; how many requests hang."""
        state: dict[str, Any] = self.read("state")
        return state

    @property
    def bookings(self) -> list[dict[str, Any]]:
        bookings: list[dict[str, Any]] = self.read("bookings")
        return bookings

    def active_bookings(self, account: str | None = None) -> list[dict[str, Any]]:
        return [each for each in self.bookings if each["isActive"] and account in (None, each["account"])]

    def booking(self, uid: str) -> dict[str, Any]:
        """Raises KeyError."""
        for booking in self.bookings:
            if booking["uid"] == uid:
                return booking
        raise KeyError(uid)

    @property
    def log(self) -> list[dict[str, Any]]:
        log: list[dict[str, Any]] = self.read("log")
        return log

    def requests(self, operation: str | None = None, *, account: str | None = None) -> list[dict[str, Any]]:
        return [
            entry
            for entry in self.log
            if operation in (None, entry["operation"]) and account in (None, entry["account"])
        ]

    def clear_log(self) -> None:
        self.call("clear_log")

    @property
    def connections_opened(self) -> int:
        return int(self.read("connections")["opened"])

    def close_idle_connections(self) -> int:
        return int(self.call("close_idle_connections"))

    @property
    def deliveries(self) -> list[dict[str, Any]]:
        deliveries: list[dict[str, Any]] = self.read("deliveries")
        return deliveries

    def reset(self) -> None:
        self.call("reset")

    def settings(self, **settings: Any) -> None:
        """rate_limit, thinking_seconds, seat_cancel_answers_404, webhook_timeout."""
        self.call("settings", **settings)

    def add_account(self, name: str, **options: Any) -> dict[str, Any]:
        account: dict[str, Any] = self.call("add_account", name=name, **options)
        return account

    def add_event_type(self, key: str, **options: Any) -> dict[str, Any]:
        event_type: dict[str, Any] = self.call("add_event_type", key=key, **options)
        return event_type

    def subscribe(self, url: str, secret: str | None, **options: Any) -> list[str]:
        webhooks: list[str] = self.call("subscribe", url=url, secret=secret, **options)
        return webhooks

    def web_book(self, event_type: str | int = "open", **options: Any) -> dict[str, Any]:
        return self._booking("web_book", event_type=event_type, **options)

    def web_cancel(self, uid: str, **options: Any) -> dict[str, Any]:
        return self._booking("web_cancel", uid=uid, **options)

    def web_reschedule(self, uid: str, start: datetime | str, **options: Any) -> dict[str, Any]:
        return self._booking("web_reschedule", uid=uid, start=start, **options)

    def web_confirm(self, uid: str, **options: Any) -> dict[str, Any]:
        return self._booking("web_confirm", uid=uid, **options)

    def web_decline(self, uid: str, **options: Any) -> dict[str, Any]:
        return self._booking("web_decline", uid=uid, **options)

    def web_no_show(self, uid: str, **options: Any) -> dict[str, Any]:
        return self._booking("web_no_show", uid=uid, **options)

    def send_ping(self, url: str, secret: str | None) -> None:
        self.call("send_ping", url=url, secret=secret)

    def send_event(self, url: str, secret: str | None, trigger: str, payload: dict[str, Any]) -> None:
        self.call("send_event", url=url, secret=secret, trigger=trigger, payload=payload)

    def send_meeting_event(self, uid: str, *, trigger: str = "MEETING_ENDED") -> None:
        self.call("send_meeting_event", uid=uid, trigger=trigger)

    def seed_booking(self, event_type: str | int = "open", **fields: Any) -> dict[str, Any]:
        return self._booking("seed_booking", event_type=event_type, **fields)

    def erase(self, uid: str) -> None:
        self.call("erase", uid=uid)

    def _booking(self, verb: str, **arguments: Any) -> dict[str, Any]:
        booking: dict[str, Any] = self.call(verb, **arguments)
        return booking


class RemoteFaults(FaultVerbs):
    """All faults but those with functions (`when`, `call`), which do not travel."""

    def __init__(self, control: SimulatorControl) -> None:
        self._control = control

    def add(self, operation: str = "any", **options: Any) -> int:
        return int(self._control.call("add_fault", operation=operation, **options))

    @property
    def planned(self) -> list[dict[str, Any]]:
        planned: list[dict[str, Any]] = self._control.read("faults")
        return planned

    @property
    def hanging(self) -> int:
        return int(self._control.state["hanging"])

    def remove(self, number: int) -> None:
        self._control.call("remove_fault", number=number)

    def restore(self) -> None:
        self._control.call("restore")

    def clear(self) -> None:
        self._control.call("clear_faults")

    def release_hangs(self) -> None:
        self._control.call("release_hangs")


class RemoteClock:
    def __init__(self, control: SimulatorControl) -> None:
        self._control = control

    def now(self) -> datetime:
        return datetime.fromisoformat(self._control.read("clock")["now"])

    def advance(self, seconds: float) -> None:
        self._control.call("advance_clock", seconds=seconds)

    def set(self, moment: datetime) -> None:
        self._control.call("set_clock", moment=moment)


class RemoteWebhooks:
    """The switches of `webhooks.WebhookSender`."""

    def __init__(self, control: SimulatorControl) -> None:
        self._control = control

    def drop_next(self, count: int = 1) -> None:
        self._control.call("drop_deliveries", count=count)

    def hold(self) -> None:
        self._control.call("hold_deliveries")

    def release(self, order: Iterable[int] | None = None, **options: Any) -> None:
        self._control.call("release_deliveries", order=None if order is None else list(order), **options)

    def repeat(self, times: int, *, parallel: bool = False) -> None:
        self._control.call("repeat_deliveries", times=times, parallel=parallel)

    def forge(self, signature: str) -> None:
        self._control.call("forge_deliveries", signature=signature)

    def resend(self, number: int, **options: Any) -> list[dict[str, Any]]:
        """Send the delivery of that number again."""
        copies: list[dict[str, Any]] = self._control.call("resend_delivery", number=number, **options)
        return copies

"""Sending webhooks the way Cal.com does: signed, awaited before the HTTP answer, errors swallowed, no
retry.
"""

from __future__ import annotations

import hashlib
import hmac
import http.client
import itertools
import json
import threading
import time
from collections.abc import Callable, Iterable
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, field
from typing import Any
from urllib.parse import urlsplit

from booking.calcom.simulator.clock import SimulatorClock, millisecond_text
from booking.calcom.simulator.state import Booking, Webhook

NO_SECRET = "no-secret-provided"  # noqa: S105 - the literal that Cal.com sends in place of a signature

SENT = "sent"
DROPPED = "dropped"
HELD = "held"


def sign(body: bytes, secret: str | None) -> str:
    if not secret:
        return NO_SECRET
    return hmac.new(secret.encode(), body, hashlib.sha256).hexdigest()


@dataclass(eq=False)
class Delivery:
    """One delivery with its exact bytes, so that a test can send it again.

    `outcome` is sent, dropped or held; `status` the receiver's HTTP status, None when there was none; `error`
    what went wrong on the way.
    """

    number: int
    trigger: str
    uid: str | None
    url: str
    secret: str | None
    body: bytes
    signature: str | None
    outcome: str = SENT
    status: int | None = None
    error: str | None = None
    seconds: float | None = None

    @property
    def json(self) -> dict[str, Any]:
        content: dict[str, Any] = json.loads(self.body)
        return content

    @property
    def payload(self) -> dict[str, Any]:
        payload: dict[str, Any] = self.json["payload"]
        return payload


@dataclass
class WebhookSender:
    """Sends, and keeps every delivery in `deliveries`. Each switch below stays until used up or `reset`."""

    clock: SimulatorClock
    timeout: float = 10.0
    deliveries: list[Delivery] = field(default_factory=list)

    def __post_init__(self) -> None:
        self._lock = threading.Lock()
        self.reset()

    def reset(self) -> None:
        with self._lock:
            self.deliveries.clear()
            self._numbers = itertools.count(1)
            self._drop = 0
            self._holding = False
            self._held: list[Delivery] = []
            self._copies = 1
            self._copies_in_parallel = False
            self._forgery = ""

    # --- switches

    def drop_next(self, count: int = 1) -> None:
        """The next `count` deliveries are lost on the way."""
        self._drop = count

    def hold(self) -> None:
        """From now on keep deliveries back (the request is answered without them) until `release`."""
        self._holding = True

    @property
    def held(self) -> list[Delivery]:
        return list(self._held)

    def release(
        self, order: Iterable[int] | None = None, *, parallel: bool = False, keep_holding: bool = False
    ) -> list[Delivery]:
        """Send what was held back. `order` lists positions in `held`; positions left out are lost."""
        with self._lock:
            held, self._held = self._held, []
            self._holding = keep_holding
        positions = range(len(held)) if order is None else list(order)
        chosen = [held[position] for position in positions]
        for delivery in held:
            delivery.outcome = SENT if delivery in chosen else DROPPED
        self._transmit_all(chosen, parallel=parallel)
        return chosen

    def repeat(self, times: int, *, parallel: bool = False) -> None:
        """Send the next delivery `times` times."""
        self._copies, self._copies_in_parallel = times, parallel

    def forge(self, signature: str) -> None:
        """Spoil the next delivery.

        `signature`: `missing` (no header), `wrong`, `no-secret`, `changed_body` (signed, then altered), or
        `secret:TEXT` to sign with another secret.
        """
        self._forgery = signature

    # --- sending

    def announce(
        self,
        trigger: str,
        booking: Booking,
        make_payload: Callable[[], dict[str, Any]],
    ) -> None:
        """Send an event about a booking to every subscription it matches, one after the other."""
        for webhook in self._subscriptions(trigger, booking):
            self.send(webhook.url, webhook.secret, trigger, make_payload(), uid=booking.uid)

    def announce_meeting(self, trigger: str, booking: Booking, content: dict[str, Any]) -> None:
        """Send a flat MEETING_STARTED or MEETING_ENDED to every subscription that asked for it."""
        for webhook in self._subscriptions(trigger, booking):
            self.send_content(webhook.url, webhook.secret, trigger, content, uid=booking.uid)

    @staticmethod
    def _subscriptions(trigger: str, booking: Booking) -> list[Webhook]:
        """As in the community edition: the event type's own subscriptions, and those of the assigned host.

        Other members of a team are not the key's owner, so the owner's subscription stays silent for them.
        """
        account = booking.account
        owner_is_concerned = not booking.event_type.is_team or booking.host is account.owner
        return [
            webhook
            for webhook in list(account.webhooks.values())
            if webhook.active
            and trigger in webhook.triggers
            and (
                owner_is_concerned
                if webhook.event_type_id is None
                else webhook.event_type_id == booking.event_type.id
            )
        ]

    def send(
        self, url: str, secret: str | None, trigger: str, payload: dict[str, Any], uid: str | None = None
    ) -> Delivery:
        """Send one event to one address, under the switches in force. `trigger` may be any word."""
        envelope = {
            "triggerEvent": trigger,
            "createdAt": millisecond_text(self.clock.now()),
            "payload": payload,
        }
        return self.send_content(url, secret, trigger, envelope, uid)

    def send_content(
        self, url: str, secret: str | None, trigger: str, content: dict[str, Any], uid: str | None = None
    ) -> Delivery:
        """Send a body of another build than triggerEvent, createdAt, payload."""
        # UTF-8 and no spaces, as JSON.stringify writes it: the signature covers exactly these bytes
        body = json.dumps(content, ensure_ascii=False, separators=(",", ":")).encode()
        signature, body = self._signed(body, secret)
        with self._lock:
            number = next(self._numbers)
            delivery = Delivery(number, trigger, uid, url, secret, body, signature)
            self.deliveries.append(delivery)
            copies, self._copies = self._copies, 1
            if self._drop > 0:
                self._drop -= 1
                delivery.outcome = DROPPED
            elif self._holding:
                delivery.outcome = HELD
                self._held.append(delivery)
        if delivery.outcome == SENT:
            sent = [delivery, *(self._copy(delivery) for _ in range(copies - 1))]
            self._transmit_all(sent, parallel=self._copies_in_parallel)
        return delivery

    def resend(
        self,
        delivery: Delivery,
        *,
        times: int = 1,
        parallel: bool = False,
        url: str | None = None,
        secret: str | None = None,
    ) -> list[Delivery]:
        """Send the same bytes again: a replay. `secret` signs them anew with another secret."""
        copies = []
        for _ in range(times):
            copy = self._copy(delivery)
            copy.url = url or copy.url
            if secret is not None:
                copy.signature = sign(copy.body, secret)
            copies.append(copy)
        self._transmit_all(copies, parallel=parallel)
        return copies

    def post(self, *, url: str, body: bytes, signature: str | None, trigger: str = "") -> Delivery:
        """Send these bytes with this signature header (None: no header), whatever they are."""
        with self._lock:
            delivery = Delivery(next(self._numbers), trigger, None, url, None, body, signature)
            self.deliveries.append(delivery)
        self._transmit(delivery)
        return delivery

    def find(self, number: int) -> Delivery:
        """Raises KeyError."""
        for delivery in self.deliveries:
            if delivery.number == number:
                return delivery
        raise KeyError(number)

    def _copy(self, delivery: Delivery) -> Delivery:
        with self._lock:
            copy = Delivery(
                next(self._numbers),
                delivery.trigger,
                delivery.uid,
                delivery.url,
                delivery.secret,
                delivery.body,
                delivery.signature,
            )
            self.deliveries.append(copy)
        return copy

    def _signed(self, body: bytes, secret: str | None) -> tuple[str | None, bytes]:
        with self._lock:
            forgery, self._forgery = self._forgery, ""
        kind, _, text = forgery.partition(":")
        if not kind:
            return sign(body, secret), body
        if kind == "missing":
            return None, body
        if kind == "wrong":
            return "0" * 64, body
        if kind == "no-secret":
            return NO_SECRET, body
        if kind == "secret":
            return sign(body, text), body
        if kind == "changed_body":
            return sign(body, secret), body[:-1] + b" }"
        raise ValueError(f"unknown way to forge a delivery: {forgery}")

    def _transmit_all(self, deliveries: list[Delivery], *, parallel: bool) -> None:
        if parallel and len(deliveries) > 1:
            with ThreadPoolExecutor(len(deliveries)) as pool:
                list(pool.map(self._transmit, deliveries))
        else:
            for delivery in deliveries:
                self._transmit(delivery)

    def _transmit(self, delivery: Delivery) -> None:
        began = time.monotonic()
        try:
            delivery.status = self._post(delivery)
        except (OSError, http.client.HTTPException, ValueError) as problem:
            # Cal.com logs it and goes on: a lost webhook never fails the booking
            delivery.error = f"{type(problem).__name__}: {problem}"
        delivery.seconds = time.monotonic() - began

    def _post(self, delivery: Delivery) -> int:
        parts = urlsplit(delivery.url)
        kind = http.client.HTTPSConnection if parts.scheme == "https" else http.client.HTTPConnection
        connection = kind(parts.hostname or "", parts.port, timeout=self.timeout)
        headers = {
            "Connection": "keep-alive",
            "Content-Type": "application/json",
            "X-Cal-Webhook-Version": "2021-10-20",
            "Accept": "*/*",
            "Accept-Language": "*",
            "Accept-Encoding": "gzip, deflate",
            "Sec-Fetch-Mode": "cors",
            "User-Agent": "node",
        }
        if delivery.signature is not None:
            headers["X-Cal-Signature-256"] = delivery.signature
        path = (parts.path or "/") + (f"?{parts.query}" if parts.query else "")
        try:
            connection.request("POST", path, body=delivery.body, headers=headers)
            response = connection.getresponse()
            response.read()
            return response.status
        finally:
            connection.close()


def deliveries_json(deliveries: list[Delivery]) -> list[dict[str, Any]]:
    return [
        {
            "number": delivery.number,
            "trigger": delivery.trigger,
            "uid": delivery.uid,
            "url": delivery.url,
            "body": delivery.body.decode(),
            "signature": delivery.signature,
            "outcome": delivery.outcome,
            "status": delivery.status,
            "error": delivery.error,
            "seconds": delivery.seconds,
        }
        for delivery in deliveries
    ]

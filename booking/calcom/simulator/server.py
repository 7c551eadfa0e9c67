"""`Simulator`: Cal.com API v2 on this machine.

with Simulator() as calcom:
    client = CalcomClient(base_url=calcom.base_url, api_key="cal_test_key")
    calcom.faults.timeout_after_commit()
    ...
    assert [booking.uid for booking in calcom.active_bookings()] == [...]
"""

from __future__ import annotations

import copy
import threading
import time
import uuid
from collections.abc import Callable
from dataclasses import dataclass
from datetime import datetime, timedelta
from email.utils import format_datetime
from types import TracebackType
from typing import Any

from booking.calcom.simulator import payloads, webhook_payloads, worlds
from booking.calcom.simulator.api import Api
from booking.calcom.simulator.clock import SimulatorClock, as_utc
from booking.calcom.simulator.control_plane import PREFIX, ControlPlane
from booking.calcom.simulator.engine import Engine, Moments, Person, Wish
from booking.calcom.simulator.errors import TOO_MANY_REQUESTS, Refusal, refused
from booking.calcom.simulator.faults import Fault, Faults, Hang, core_body
from booking.calcom.simulator.http_server import Connection, HttpServer, Outgoing
from booking.calcom.simulator.patches import patch_booking, patched_answer
from booking.calcom.simulator.rate_limit import Allowance, RateLimiter
from booking.calcom.simulator.request import Answer, Request
from booking.calcom.simulator.request_log import LogEntry, RequestLog
from booking.calcom.simulator.state import Booking, State
from booking.calcom.simulator.webhooks import Delivery, WebhookSender

LOOPBACK = frozenset({"127.0.0.1", "localhost", "::1"})

World = Callable[[State], None] | dict[str, Any]


@dataclass
class Exchange:
    """What a fault's function is given: the request, and the booking once there is one."""

    simulator: Simulator
    request: Request
    fault: Fault
    booking: Booking | None = None
    answer: Answer | None = None

    def fire(self, moment: str) -> None:
        function = self.fault.call.get(moment)
        if function is not None:
            function(self)


class Simulator:
    """A Cal.com server with its own memory, clock and webhooks, listening on a free port of the loopback.

    `world` builds what is there after start and after `reset`: a function of the state, or the JSON object
    that `worlds.load_world` reads; None gives `worlds.default_world`. `control` serves the control plane for
    other processes under /_simulator/.
    """

    def __init__(
        self,
        *,
        host: str = "127.0.0.1",
        port: int = 0,
        world: World | None = None,
        control: bool = True,
    ) -> None:
        if control and host not in LOOPBACK:
            raise ValueError("the control plane has no key: it is served on the loopback only")
        self.clock = SimulatorClock()
        self.state = State(self.clock)
        self.faults = Faults()
        self.webhooks = WebhookSender(self.clock)
        self.engine = Engine(self.state, self.webhooks)
        self._api = Api(self.state, self.engine)
        self._limiter = RateLimiter()
        self._log = RequestLog()
        self._world: World = world or worlds.default_world
        self._control = ControlPlane(self) if control else None
        self._timers: set[threading.Timer] = set()
        self._lasting_subscriptions: list[Callable[[], list[str]]] = []
        self._server = HttpServer(host, port, self._respond)
        self._build_world()

    # --- life

    def __enter__(self) -> Simulator:
        self.start()
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        traceback: TracebackType | None,
    ) -> None:
        self.stop()

    def start(self) -> None:
        self._server.start()

    def stop(self) -> None:
        """Close every connection; what hangs or was to be carried out later is given up."""
        self._server.stopping.set()
        self._cancel_timers()
        self.faults.clear()
        self._server.stop()

    def reset(self) -> None:
        """Back to the world of the start: bookings, faults, webhooks, log, clock. Connections stay."""
        self._cancel_timers()
        self.faults.clear()
        self.webhooks.reset()
        self._log.clear()
        self._limiter.reset()
        self.clock.reset()
        with self.state.lock:
            self.state.reset_settings()
            self.state.clear()
            self._build_world()

    def _build_world(self) -> None:
        if isinstance(self._world, dict):
            worlds.load_world(self.state, self.engine, copy.deepcopy(self._world))
        else:
            self._world(self.state)
        for subscribe in self._lasting_subscriptions:
            subscribe()

    def _cancel_timers(self) -> None:
        for timer in list(self._timers):
            timer.cancel()
        self._timers.clear()

    # --- looking

    @property
    def url(self) -> str:
        return f"http://{self._server.host}:{self._server.port}"

    @property
    def base_url(self) -> str:
        return f"{self.url}/v2"

    @property
    def log(self) -> list[LogEntry]:
        """Every request to /v2 since the start or the last reset."""
        return self._log.entries

    def requests(self, operation: str | None = None, *, account: str | None = None) -> list[LogEntry]:
        """The log, of one operation (`create`, `get`, `list`, ...) and one account where given."""
        return [
            entry
            for entry in self._log.entries
            if operation in (None, entry.operation) and account in (None, entry.account)
        ]

    def clear_log(self) -> None:
        self._log.clear()

    @property
    def connections_opened(self) -> int:
        return self._server.connections_opened

    def close_idle_connections(self) -> int:
        """Close the kept-alive connections that wait for a request; the client learns it when it sends."""
        return self._server.close_idle_connections()

    @property
    def deliveries(self) -> list[Delivery]:
        return self.webhooks.deliveries

    @property
    def bookings(self) -> list[Booking]:
        """All bookings, active or not, in the order they were made."""
        return self.state.bookings

    def active_bookings(self, account: str | None = None) -> list[Booking]:
        return [
            booking
            for booking in self.state.bookings
            if booking.is_active and account in (None, booking.account.name)
        ]

    def booking(self, uid: str) -> Booking:
        """Raises KeyError."""
        booking = self.state.booking(uid)
        if booking is None:
            raise KeyError(uid)
        return booking

    # --- people at the web page; also records that were there before

    def subscribe(
        self,
        url: str,
        secret: str | None,
        *,
        account: str | None = None,
        event_type: str | int | None = None,
        triggers: list[str] | None = None,
        survives_reset: bool = False,
    ) -> list[str]:
        """Have booking webhooks sent to `url`: of one event type, or (None) of each of the account.

        Returns the ids of the subscriptions. `survives_reset`: made again by every `reset`.
        """

        def subscribe() -> list[str]:
            return worlds.subscribe(
                self.state, url=url, secret=secret, account=account, event_type=event_type, triggers=triggers
            )

        if survives_reset:
            self._lasting_subscriptions.append(subscribe)
        return subscribe()

    def web_book(
        self,
        event_type: str | int = "open",
        *,
        start: datetime | str,
        name: str = "Wanda Web",
        email: str | None = "wanda@web.test",
        phone: str | None = None,
        time_zone: str = "Europe/Berlin",
        language: str = "en",
        metadata: dict[str, Any] | None = None,
        length: int | None = None,
        account: str | None = None,
        silent: bool = False,
    ) -> Booking:
        """Somebody books on the booking page. Raises errors.Refusal as the API would answer.

        `silent`: its webhook is never sent.
        """
        person = Person(name=name, time_zone=time_zone, email=email, phone=phone, language=language)
        wish = Wish(
            event_type=self.state.event_type(event_type, account),
            start=as_utc(start),
            person=person,
            metadata=metadata or {},
            length=length,
        )
        return self.engine.create(wish, Moments(announces=not silent)).booking

    def web_cancel(self, uid: str, *, reason: str | None = None, silent: bool = False) -> Booking:
        """Guest or host cancels on the web page."""
        return self.engine.cancel(
            self.booking(uid), reason=reason, by_owner=False, moments=Moments(announces=not silent)
        )

    def web_reschedule(
        self, uid: str, start: datetime | str, *, by_owner: bool = False, silent: bool = False
    ) -> Booking:
        """Guest (or host, `by_owner`) moves it. Returns the new booking."""
        return self.engine.reschedule(
            self.booking(uid), as_utc(start), by_owner=by_owner, moments=Moments(announces=not silent)
        ).booking

    def web_confirm(self, uid: str, *, silent: bool = False) -> Booking:
        return self.engine.confirm(self.booking(uid), moments=Moments(announces=not silent))

    def web_decline(self, uid: str, *, reason: str | None = None, silent: bool = False) -> Booking:
        return self.engine.decline(self.booking(uid), reason=reason, moments=Moments(announces=not silent))

    def web_no_show(self, uid: str, *, absent: bool = True) -> Booking:
        """The host marks everybody who booked as absent, or (False) takes that back."""
        booking = self.booking(uid)
        attendees = [{"email": each.email, "absent": absent} for each in booking.attendees]
        return self.engine.mark_absent(booking, host=None, attendees=attendees)

    def send_ping(self, url: str, secret: str | None) -> Delivery:
        """The "test" button beside a webhook subscription."""
        return self.webhooks.send(url, secret, "PING", webhook_payloads.ping(self.clock.now()))

    def send_event(self, url: str, secret: str | None, trigger: str, payload: dict[str, Any]) -> Delivery:
        """Any event in the usual envelope, for instance one that this simulator does not know."""
        return self.webhooks.send(url, secret, trigger, payload)

    def send_meeting_event(self, uid: str, *, trigger: str = "MEETING_ENDED") -> None:
        """What Cal.com's clock sends when a meeting starts or ends, to subscriptions that ask for it."""
        booking = self.booking(uid)
        self.webhooks.announce_meeting(trigger, booking, webhook_payloads.meeting(trigger, booking))

    def seed_booking(
        self,
        event_type: str | int = "open",
        *,
        start: datetime | str,
        end: datetime | str | None = None,
        created_at: datetime | str | None = None,
        updated_at: datetime | str | None = None,
        host: str | None = None,
        account: str | None = None,
        **fields: Any,
    ) -> Booking:
        """Put a booking there, unchecked and unannounced.

        `fields`: uid, status, name, email, phone, time_zone, language, metadata, and attributes of
        `state.Booking` such as rescheduled_to_uid or cancellation_reason.
        """
        kind = self.state.event_type(event_type, account)
        return self.engine.seed(
            event_type=kind,
            start=as_utc(start),
            end=as_utc(end) if end else None,
            created_at=as_utc(created_at) if created_at else None,
            updated_at=as_utc(updated_at) if updated_at else None,
            host=self.state.host(host, kind.account) if host else None,
            **fields,
        )

    def erase(self, uid: str) -> None:
        """Let a booking never have been there."""
        self.state.erase(self.booking(uid))

    # --- answering

    def _respond(
        self, method: str, target: str, headers: dict[str, str], body: bytes, connection: Connection
    ) -> Outgoing:
        if self._control is not None and target.startswith(PREFIX):
            return self._control.respond(method, target, body)
        began = time.perf_counter()
        request = Request(method, target, headers, body, connection.number)
        authorization = headers.get("authorization")
        if authorization is not None:
            request.api_key = authorization.removeprefix("Bearer ").strip()
            request.account = self.state.account_of_key(request.api_key)
        route, _ = self._api.find(request)
        request.operation = route.operation if route else "any"
        entry = self._log.record(request, self.clock.now())
        allowance = self._limiter.count(
            request.api_key or "127.0.0.1", limit=self.state.rate_limit, now=self.clock.now()
        )
        fault = None
        if allowance.exceeded:
            answer = self._refusal(request, self._too_many_requests())
        else:
            fault = self.faults.take(request)
            if fault is None:
                answer = self._carry_out(request, Moments())
            else:
                entry.fault = fault.describe()
                answer = self._carry_out_with(fault, request)
                if fault.hang and not self._hang(connection):
                    return self._outgoing(answer, allowance, fault, silent=True)
        outgoing = self._outgoing(
            answer,
            allowance,
            fault,
            # a hanging request that was not carried out has nothing to say when it is let go
            silent=fault is not None and fault.hang and fault.status is None and not fault.carries_out,
        )
        if not (outgoing.silent or outgoing.reset or outgoing.close):
            entry.status = answer.status
        entry.seconds = time.perf_counter() - began
        return outgoing

    def _carry_out(self, request: Request, moments: Moments) -> Answer:
        try:
            return self._api.answer(request, moments)
        except Refusal as refusal:
            return self._refusal(request, refusal)

    def _refusal(self, request: Request, refusal: Refusal) -> Answer:
        return Answer(refusal.status, refusal.body(path=request.target, now=self.clock.now()))

    @staticmethod
    def _too_many_requests() -> Refusal:
        return Refusal(
            status=429, code="ThrottlerException", message=TOO_MANY_REQUESTS, details=TOO_MANY_REQUESTS
        )

    # --- faults

    def _carry_out_with(self, fault: Fault, request: Request) -> Answer:
        exchange = Exchange(self, request, fault)
        exchange.fire("received")
        self._wait(fault.delay_before)
        answer = None
        if fault.return_existing is not None:
            answer = self._older_booking(request, fault.return_existing)
        elif fault.late_commit is not None:
            self._carry_out_later(fault.late_commit, request, fault)
        elif fault.carries_out:
            answer = self._carry_out(request, self._moments(exchange))
        answer = self._prescribed(fault, request, answer)
        exchange.answer = answer
        self._wait(fault.delay_after)
        exchange.fire("before_answer")
        return answer

    def _wait(self, seconds: float) -> None:
        if seconds:
            self._server.stopping.wait(seconds)

    def _older_booking(self, request: Request, uid: str) -> Answer:
        booking = self.state.booking(uid)
        if booking is None:
            return self._refusal(
                request, refused(f"Booking with uid={uid} was not found in the database", 404)
            )
        data = payloads.booking_json(booking, made_by_this_request=True)
        return Answer(201, {"status": "success", "data": data})

    def _carry_out_later(self, seconds: float, request: Request, fault: Fault) -> None:
        def carry_out() -> None:
            self._timers.discard(timer)
            self._carry_out(request, self._moments(Exchange(self, request, fault)))

        timer = threading.Timer(seconds, carry_out)
        timer.daemon = True
        self._timers.add(timer)
        timer.start()

    def _moments(self, exchange: Exchange) -> Moments:
        fault = exchange.fault

        def on_commit(booking: Booking) -> None:
            exchange.booking = booking
            self._spoil(booking, fault)

        return Moments(
            before_commit=lambda: exchange.fire("before_commit"),
            on_commit=on_commit,
            after_commit=lambda _booking: exchange.fire("after_commit"),
        )

    def _spoil(self, booking: Booking, fault: Fault) -> None:
        """Change the stored booking as the fault says. Under the lock: nobody saw it unspoilt."""
        if fault.shift_minutes:
            shift = timedelta(minutes=fault.shift_minutes)
            self.state.move_in_place(booking, start=booking.start + shift, end=booking.end + shift)
        if fault.hide_for is not None:
            booking.hidden_until = self.clock.now() + timedelta(seconds=fault.hide_for)
        if fault.patch_stored:
            patch_booking(self.state, booking, fault.patch_stored)

    def _prescribed(self, fault: Fault, request: Request, answer: Answer | None) -> Answer:
        if fault.rate_limited is not None and fault.body is None:
            return self._refusal(request, self._too_many_requests())
        if fault.status is not None or fault.body is not None or answer is None:
            status = fault.status or (200 if fault.body is not None else 500)
            body = core_body(status, "Internal server error") if fault.body is None else fault.body
            answer = Answer(status, body)
            if isinstance(body, str | bytes):
                answer.content_type = "text/plain; charset=utf-8"
        if fault.content_type is not None:
            answer.content_type = fault.content_type
        if isinstance(answer.content, dict):
            answer.content = patched_answer(answer.content, fault)
        return answer

    def _hang(self, connection: Connection) -> bool:
        hang = Hang()
        self.faults.begin_hang(hang)
        try:
            return hang.wait(lambda: connection.client_left() or self._server.stopping.is_set())
        finally:
            self.faults.end_hang(hang)

    def _outgoing(
        self, answer: Answer, allowance: Allowance, fault: Fault | None, *, silent: bool = False
    ) -> Outgoing:
        reset = allowance.reset if fault is None or fault.rate_limited is None else fault.rate_limited
        remaining = allowance.remaining if fault is None or fault.rate_limited is None else 0
        headers = {
            "Date": format_datetime(self.clock.now(), usegmt=True),
            "Content-Type": answer.content_type,
            "X-Request-Id": str(uuid.uuid4()),
            "X-RateLimit-Limit-Default": str(allowance.limit),
            "X-RateLimit-Remaining-Default": str(remaining),
            "X-RateLimit-Reset-Default": str(reset),
            **answer.headers,
        }
        outgoing = Outgoing(answer.status, answer.encoded(), headers, silent=silent)
        if fault is not None:
            outgoing.truncate = fault.truncate
            outgoing.close = fault.close
            outgoing.reset = fault.reset
            # closed or reset without an answer, unless half of one was to be sent first
            outgoing.silent = silent or ((fault.close or fault.reset) and not fault.truncate)
            outgoing.trickle = fault.trickle
            outgoing.trickle_headers = fault.trickle_headers
            outgoing.interim = fault.interim
        return outgoing

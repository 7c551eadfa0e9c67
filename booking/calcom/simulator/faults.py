"""Telling the simulator to be late, full, silent or wrong.

A fault waits for a matching request and then acts on it before or after the moment of commit. In the process
of the simulator use `Simulator.faults`, from another process `control.SimulatorControl.faults`: same verbs.
"""

from __future__ import annotations

import itertools
import threading
from collections.abc import Callable
from dataclasses import dataclass, field, fields
from datetime import UTC, datetime
from typing import Any

from booking.calcom.simulator.errors import HOST_NOT_AVAILABLE, LOST_THE_RACE, core_error, refused

OPERATIONS = frozenset(
    [
        "create",
        "get",
        "list",
        "slots",
        "cancel",
        "reschedule",
        "confirm",
        "decline",
        "mark_absent",
        "event_type",
        "teams",
        "me",
        "reservation",
        "webhooks",
        "any",
    ]
)
MOMENTS = frozenset({"received", "before_commit", "after_commit", "before_answer"})

HTML_PAGE = (
    "<!DOCTYPE html><html><head><title>Just a moment...</title></head><body>Please wait.</body></html>"
)
BAD_GATEWAY_PAGE = "<html><head><title>502 Bad Gateway</title></head><body>nginx</body></html>"
# What a prescribed refusal names: it is written before there is a request.
_PATH, _WHEN = "/v2/bookings", datetime(2026, 1, 1, tzinfo=UTC)


@dataclass(eq=False)
class Fault:
    """One fault. Times are in real seconds.

    Which requests: `operation`, `account` (name), `page` (of a list, from 1), `path_contains`, `body_has` (a
    part of the JSON body, compared deeply), `query_has`, `when` (a predicate on the request; in-process
    only). The first `skip` matching requests pass untouched, the fault then acts `times` times (None: until
    removed).

    What happens on our side of the commit point:
      commit          False: nothing is carried out. True: it is, whatever is answered. None: carried out
                      unless an answer is prescribed (`status`, `rate_limited`).
      late_commit     answer now as told, carry out that many seconds later
      return_existing answer 201 with the booking of that uid, carry out nothing
      patch_stored    fields changed in the stored booking, by API name (start, end, status, metadata, ...)
      shift_minutes   stored and answered start and end are shifted
      hide_for        a booking made stays invisible to list and get for so many seconds: a lagging replica

    What the client gets:
      delay_before, delay_after   seconds before carrying out, and before answering
      hang            no answer until `Faults.release_hangs()` or until the client leaves
      status, body, content_type  the answer instead of the natural one. `body`: JSON value, text or bytes
      patch, remove   deep-merged into, keys dropped from, `data` of the natural answer (each one of a list)
      patch_envelope  deep-merged into the whole natural answer, such as its `pagination`
      truncate        half of the body, then the connection is closed
      reset, close    the connection is reset (RST), or closed, without an answer
      trickle         byte by byte, with that many seconds between; `trickle_headers`: the headers too
      interim         that status first, such as 103, and the answer a moment later
      rate_limited    429, with that many seconds in the reset header

    `call`: {moment: function(exchange)}, in-process only; moments are received, before_commit, after_commit
    and before_answer.
    """

    operation: str = "any"
    account: str | None = None
    page: int | None = None
    path_contains: str | None = None
    body_has: dict[str, Any] | None = None
    query_has: dict[str, str] | None = None
    when: Callable[[Any], bool] | None = None
    times: int | None = 1
    skip: int = 0

    commit: bool | None = None
    late_commit: float | None = None
    return_existing: str | None = None
    patch_stored: dict[str, Any] | None = None
    shift_minutes: int = 0
    hide_for: float | None = None

    delay_before: float = 0.0
    delay_after: float = 0.0
    hang: bool = False
    status: int | None = None
    body: Any = None
    content_type: str | None = None
    patch: dict[str, Any] | None = None
    remove: list[str] | None = None
    patch_envelope: dict[str, Any] | None = None
    truncate: bool = False
    reset: bool = False
    close: bool = False
    trickle: float | None = None
    trickle_headers: bool = False
    interim: int | None = None
    rate_limited: int | None = None

    call: dict[str, Callable[[Any], Any]] = field(default_factory=dict)
    label: str = ""

    id: int = 0
    hits: int = 0

    def __post_init__(self) -> None:
        if self.operation not in OPERATIONS:
            raise ValueError(f"unknown operation: {self.operation}")
        if unknown := set(self.call) - MOMENTS:
            raise ValueError(f"unknown moments: {', '.join(sorted(unknown))}")
        if self.rate_limited is not None and self.status is None:
            self.status = 429

    @property
    def carries_out(self) -> bool:
        """Whether the request is carried out while it is being answered."""
        if self.return_existing is not None or self.late_commit is not None:
            return False
        if self.commit is None:
            return self.status is None
        return self.commit

    def matches(self, request: Any) -> bool:
        if self.operation not in ("any", request.operation):
            return False
        if self.account is not None and (request.account is None or request.account.name != self.account):
            return False
        if self.page is not None and request.page != self.page:
            return False
        if self.path_contains is not None and self.path_contains not in request.target:
            return False
        if self.query_has is not None and not _contains(request.query, self.query_has):
            return False
        if self.body_has is not None and not _contains(request.body, self.body_has):
            return False
        return self.when is None or bool(self.when(request))

    def describe(self) -> dict[str, Any]:
        """What differs from a fault that does nothing, for logs and for the control plane."""
        shown: dict[str, Any] = {"id": self.id, "operation": self.operation, "hits": self.hits}
        for each in fields(self):
            value = getattr(self, each.name)
            if each.name in ("when", "call") or each.name in shown or value == each.default:
                continue
            shown[each.name] = value.decode(errors="replace") if isinstance(value, bytes) else value
        if self.call:
            shown["call"] = sorted(self.call)
        return shown


def _contains(whole: Any, part: Any) -> bool:
    if isinstance(part, dict):
        return isinstance(whole, dict) and all(
            key in whole and _contains(whole[key], value) for key, value in part.items()
        )
    return bool(whole == part)


def core_body(status: int, message: str) -> dict[str, Any]:
    """Envelope B, the booking core's."""
    return core_error(message, status).body(path=_PATH, now=_WHEN)


def api_body(status: int, message: str) -> dict[str, Any]:
    """Envelope A, the API layer's."""
    return refused(message, status).body(path=_PATH, now=_WHEN)


class FaultVerbs:
    """The faults one needs most, by telling names. Each takes the options of `Fault` on top."""

    def add(self, operation: str = "any", **options: Any) -> int:
        """Plan a fault; the options are the fields of `Fault`. Returns its number."""
        raise NotImplementedError

    def remove(self, number: int) -> None:
        raise NotImplementedError

    def answer_late(self, seconds: float = 1.0, *, operation: str = "create", **options: Any) -> int:
        """Carried out at once, answered that many seconds later."""
        return self.add(operation, commit=True, delay_after=seconds, **options)

    def timeout_after_commit(self, *, operation: str = "create", **options: Any) -> int:
        """Carried out, never answered."""
        return self.add(operation, commit=True, hang=True, **options)

    def timeout_before_commit(self, *, operation: str = "create", **options: Any) -> int:
        """Neither carried out nor answered."""
        return self.add(operation, commit=False, hang=True, **options)

    def late_commit(
        self, seconds: float, *, operation: str = "create", status: int = 504, **options: Any
    ) -> int:
        """Answered with an error now, carried out that many seconds later."""
        options.setdefault("body", core_body(status, "Gateway Timeout"))
        return self.add(operation, late_commit=seconds, status=status, **options)

    def server_error(
        self, *, commit: bool, operation: str = "create", status: int = 500, **options: Any
    ) -> int:
        options.setdefault("body", core_body(status, "Internal server error"))
        return self.add(operation, commit=commit, status=status, **options)

    def taken_after_commit(self, *, operation: str = "create", **options: Any) -> int:
        """Carried out, and answered as if the slot were taken."""
        body = api_body(400, HOST_NOT_AVAILABLE)
        return self.add(operation, commit=True, status=400, body=body, **options)

    def lost_race(self, *, commit: bool = False, operation: str = "create", **options: Any) -> int:
        """The bare 400 about the database."""
        return self.add(operation, commit=commit, status=400, body=core_body(400, LOST_THE_RACE), **options)

    def hand_back(self, uid: str, *, operation: str = "create", **options: Any) -> int:
        """A 201 with that other booking; nothing is carried out."""
        return self.add(operation, return_existing=uid, **options)

    def shift_start(self, minutes: int, *, operation: str = "create", **options: Any) -> int:
        """Booked, but at another time than asked."""
        return self.add(operation, commit=True, shift_minutes=minutes, **options)

    def unreadable_answer(self, kind: str = "html", *, operation: str = "create", **options: Any) -> int:
        """Carried out. `kind`: html, empty, not_json, list (JSON of another shape), truncated (whole header,
        half the body).
        """
        if kind == "truncated":
            return self.add(operation, commit=True, truncate=True, **options)
        bodies: dict[str, tuple[Any, str]] = {
            "html": (HTML_PAGE, "text/html; charset=utf-8"),
            "empty": ("", "application/json; charset=utf-8"),
            "not_json": ('{"status":"succ', "application/json; charset=utf-8"),
            "list": ([], "application/json; charset=utf-8"),
        }
        body, content_type = bodies[kind]
        return self.add(operation, commit=True, status=200, body=body, content_type=content_type, **options)

    def refuse(self, text: str, *, operation: str = "create", status: int = 400, **options: Any) -> int:
        """Not carried out; envelope A with that text."""
        return self.add(operation, commit=False, status=status, body=api_body(status, text), **options)

    def rate_limited(self, seconds: int = 60, *, operation: str = "any", **options: Any) -> int:
        """429 with that many seconds to wait."""
        return self.add(operation, commit=False, rate_limited=seconds, **options)

    def reset_connection(self, *, commit: bool, operation: str = "create", **options: Any) -> int:
        return self.add(operation, commit=commit, reset=True, **options)

    def list_page(self, page: int, **options: Any) -> int:
        """A fault on one page of GET /v2/bookings, counted from 1."""
        return self.add("list", page=page, **options)

    def empty_page(self, page: int = 1, **options: Any) -> int:
        """That page comes back without data, though the totals say otherwise."""
        return self.list_page(page, patch_envelope={"data": []}, **options)

    def wrong_shape(self, page: int = 1, **options: Any) -> int:
        """That page comes back in the shape of the API's older version."""
        body = {"status": "success", "data": {"bookings": [], "totalCount": 0, "nextCursor": None}}
        return self.list_page(page, status=200, body=body, **options)

    def wrong_has_next_page(self, has_next_page: bool, page: int = 1, **options: Any) -> int:
        return self.list_page(page, patch_envelope={"pagination": {"hasNextPage": has_next_page}}, **options)

    def outage(self, kind: str = "5xx", **options: Any) -> int:
        """Everything fails until `restore`. `kind`: 5xx, timeout, reset, html."""
        answers: dict[str, dict[str, Any]] = {
            "5xx": {"status": 503, "body": core_body(503, "Service Unavailable")},
            "html": {"status": 502, "body": BAD_GATEWAY_PAGE, "content_type": "text/html"},
            "timeout": {"hang": True},
            "reset": {"reset": True},
        }
        return self.add("any", commit=False, times=None, label="outage", **{**answers[kind], **options})

    def restore(self) -> None:
        """End every outage, and let go what hangs in it."""
        raise NotImplementedError

    def clear(self) -> None:
        """Forget all planned faults and let go what hangs."""
        raise NotImplementedError

    def release_hangs(self) -> None:
        """Answer the hanging requests now (those not carried out are closed without an answer)."""
        raise NotImplementedError


class Faults(FaultVerbs):
    """The planned faults of a simulator in this process."""

    def __init__(self) -> None:
        self._lock = threading.Lock()
        self._planned: list[Fault] = []
        self._numbers = itertools.count(1)
        self._hangs: set[Hang] = set()

    @property
    def planned(self) -> list[Fault]:
        return list(self._planned)

    def add(self, operation: str = "any", **options: Any) -> int:
        fault = Fault(operation=operation, **options)
        with self._lock:
            fault.id = next(self._numbers)
            self._planned.append(fault)
        return fault.id

    def remove(self, number: int) -> None:
        with self._lock:
            self._planned = [fault for fault in self._planned if fault.id != number]

    def clear(self) -> None:
        with self._lock:
            self._planned = []
        self.release_hangs()

    def restore(self) -> None:
        with self._lock:
            self._planned = [fault for fault in self._planned if fault.label != "outage"]
        self.release_hangs()

    def take(self, request: Any) -> Fault | None:
        """The fault to act on this request: the first planned that matches and is due."""
        if not self._planned:
            return None
        with self._lock:
            for fault in self._planned:
                if not fault.matches(request):
                    continue
                if fault.skip > 0:
                    fault.skip -= 1
                    continue
                fault.hits += 1
                if fault.times is not None and fault.hits >= fault.times:
                    self._planned.remove(fault)
                return fault
        return None

    # --- hanging requests

    @property
    def hanging(self) -> int:
        """How many requests hang at this moment."""
        return len(self._hangs)

    def begin_hang(self, hang: Hang) -> None:
        with self._lock:
            self._hangs.add(hang)

    def end_hang(self, hang: Hang) -> None:
        with self._lock:
            self._hangs.discard(hang)

    def release_hangs(self) -> None:
        with self._lock:
            hangs = list(self._hangs)
        for hang in hangs:
            hang.let_go()


class Hang:
    """One hanging request, to be let go from another thread."""

    def __init__(self) -> None:
        self._released = threading.Event()

    def let_go(self) -> None:
        self._released.set()

    def wait(self, client_left: Callable[[], bool]) -> bool:
        """Wait until let go (True) or until the client has left (False)."""
        while not self._released.wait(0.05):
            if client_left():
                return False
        return True

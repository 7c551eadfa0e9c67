from __future__ import annotations

import itertools
import threading
from dataclasses import asdict, dataclass, field
from datetime import datetime
from typing import Any

from booking.calcom.simulator.clock import millisecond_text
from booking.calcom.simulator.request import Request


@dataclass
class LogEntry:
    """One request as it came and what became of it.

    `status` is None while it is being worked on, and for ever when it was never answered. `headers` show the
    name of the key's account in place of the key.
    """

    number: int
    connection: int
    at: datetime
    operation: str
    account: str | None
    method: str
    path: str
    query: dict[str, str]
    body: Any
    headers: dict[str, str]
    status: int | None = None
    fault: dict[str, Any] | None = None
    seconds: float | None = None

    def as_json(self) -> dict[str, Any]:
        return {**asdict(self), "at": millisecond_text(self.at)}


@dataclass
class RequestLog:
    entries: list[LogEntry] = field(default_factory=list)

    def __post_init__(self) -> None:
        self._numbers = itertools.count(1)
        self._lock = threading.Lock()

    def record(self, request: Request, now: datetime) -> LogEntry:
        headers = dict(request.headers)
        if "authorization" in headers:
            headers["authorization"] = request.account.name if request.account else "unknown key"
        with self._lock:
            request.number = next(self._numbers)
            entry = LogEntry(
                number=request.number,
                connection=request.connection,
                at=now,
                operation=request.operation,
                account=request.account.name if request.account else None,
                method=request.method,
                path=request.path,
                query=request.query,
                body=request.body if request.body_is_json else request.raw_body.decode(errors="replace"),
                headers=headers,
            )
            self.entries.append(entry)
        return entry

    def clear(self) -> None:
        """Forget the entries; the numbers go on."""
        with self._lock:
            self.entries.clear()

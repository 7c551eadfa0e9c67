from __future__ import annotations

from dataclasses import dataclass, field
from typing import Any
from urllib.parse import parse_qsl

import orjson

from booking.calcom.simulator.state import Account


@dataclass(eq=False)
class Request:
    """One HTTP request. `headers` have lower-case names, `target` is the path with its query as it came."""

    method: str
    target: str
    headers: dict[str, str]
    raw_body: bytes
    connection: int
    number: int = 0
    operation: str = "any"
    account: Account | None = None
    api_key: str | None = None
    path: str = ""
    query: dict[str, str] = field(default_factory=dict)
    body: Any = None
    body_is_json: bool = True

    def __post_init__(self) -> None:
        self.path, _, query = self.target.partition("?")
        if query:
            self.query = dict(parse_qsl(query, keep_blank_values=True))
        if self.raw_body:
            try:
                self.body = orjson.loads(self.raw_body)
            except orjson.JSONDecodeError:
                self.body_is_json = False

    @property
    def version(self) -> str | None:
        return self.headers.get("cal-api-version")

    @property
    def page(self) -> int:
        """The page of a list this asks for, from 1."""
        take, skip = self.query.get("take", "100"), self.query.get("skip", "0")
        if not take.isdigit() or not skip.isdigit() or take == "0":
            return 1
        return int(skip) // int(take) + 1

    @property
    def fields(self) -> dict[str, Any]:
        """The JSON body as an object; empty when it is something else."""
        return self.body if isinstance(self.body, dict) else {}


@dataclass
class Answer:
    """An HTTP answer. `content` is a JSON value, text or bytes."""

    status: int
    content: Any
    content_type: str = "application/json; charset=utf-8"
    headers: dict[str, str] = field(default_factory=dict)

    def encoded(self) -> bytes:
        if isinstance(self.content, bytes):
            return self.content
        if isinstance(self.content, str):
            return self.content.encode()
        return orjson.dumps(self.content)

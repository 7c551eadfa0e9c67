"""Retell's REST API, as far as we ask it: read only.

Three answers are kept apart because each means something else for the call: Retell does not have it, Retell
does not let us look, Retell could not be asked. Only the first says anything about the call.
"""

from __future__ import annotations

import time
from http.cookiejar import DefaultCookiePolicy
from types import TracebackType
from typing import Any
from urllib.parse import quote

import requests
from urllib3.exceptions import HTTPError

from calls.retell.call_snapshot import CallSnapshot, read_call
from customers.json_values import read_json

CONNECT_SECONDS = 2.0
ANSWER_SECONDS = 8.0
# An hour of words with their times is some megabytes.
LONGEST_ANSWER = 32 * 1024 * 1024
_CHUNK = 64 * 1024
# What the API documentation gives for get-call in place of a 404.
_NOT_FOUND_WORDS = "cannot find requested asset"


class RetellError(Exception):
    """Nothing was learned. The text holds no key and nothing personal."""


class NotFound(RetellError):
    """Retell knows no such call under this key."""


class Unauthorized(RetellError):
    """The key is missing or wrong, or may not read calls."""


class Unavailable(RetellError):
    """Not reached, not answered in time, busy, or answered with something else than a call."""


class RetellClient:
    """One company's view of its workspace. A context manager: it keeps its connection until the end."""

    def __init__(self, *, base_url: str, api_key: str, answer_seconds: float = ANSWER_SECONDS) -> None:
        self._base_url = base_url.rstrip("/")
        self._key = api_key
        self._answer_seconds = answer_seconds
        self._session = requests.Session()
        # No cookies, and no ~/.netrc over the key.
        self._session.cookies.set_policy(DefaultCookiePolicy(allowed_domains=[]))
        self._session.trust_env = False

    def __enter__(self) -> RetellClient:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._session.close()

    def get_call(self, call_id: str) -> CallSnapshot:
        """https://docs.retellai.com/api-references/get-call

        Raises NotFound, Unauthorized or Unavailable; waits some `answer_seconds` at most.
        """
        status, answer = self.ask("GET", f"/v2/get-call/{quote(call_id, safe='')}")
        if status != 200 or answer is None:
            raise Unavailable(f"Retell answered {status}.")
        snapshot = read_call(answer)
        if snapshot.call_id != call_id:
            raise Unavailable("Retell answered with another call.")
        return snapshot

    def ask(
        self, method: str, path: str, *, content: dict[str, Any] | None = None
    ) -> tuple[int, dict[str, Any] | None]:
        """One request, sent once: its status and the JSON object of its answer, None if that is none.

        Raises NotFound, Unauthorized or Unavailable. After Unavailable a change may have been made.
        """
        status, body = self._exchange(method, path, content)
        if status in (401, 403):
            raise Unauthorized(f"Retell answered {status}.")
        answer = _read_object(body)
        if _is_not_found(status, answer):
            raise NotFound(f"Retell answered {status}.")
        return status, answer

    def _exchange(self, method: str, path: str, content: dict[str, Any] | None) -> tuple[int, bytes]:
        until = time.monotonic() + self._answer_seconds
        try:
            with self._session.request(
                method,
                self._base_url + path,
                json=content,
                # Uncompressed, so that the limit is one on what is read into memory.
                headers={
                    "Authorization": f"Bearer {self._key}",
                    "Accept": "application/json",
                    "Accept-Encoding": "identity",
                },
                timeout=(CONNECT_SECONDS, self._answer_seconds),
                # The key belongs to this address and to no other.
                allow_redirects=False,
                stream=True,
            ) as response:
                return response.status_code, _read_all(response, until=until)
        except (requests.RequestException, HTTPError, OSError, ValueError) as error:
            raise Unavailable(type(error).__name__) from None


def _read_all(response: requests.Response, *, until: float) -> bytes:
    """The timeout of `requests` begins again with every byte; this one does not."""
    body = bytearray()
    while chunk := response.raw.read1(_CHUNK):
        body += chunk
        if len(body) > LONGEST_ANSWER:
            raise Unavailable("The answer is too long.")
        if time.monotonic() > until:
            raise Unavailable("The answer takes too long.")
    return bytes(body)


def _read_object(body: bytes) -> dict[str, Any] | None:
    try:
        value = read_json(body)
    except ValueError:
        return None
    return value if isinstance(value, dict) else None


def _is_not_found(status: int, answer: dict[str, Any] | None) -> bool:
    # A page that says 404 comes from a wrong address, and tells nothing about the call.
    if answer is None:
        return False
    return status == 404 or (status == 422 and _NOT_FOUND_WORDS in str(answer.get("message", "")).lower())

"""Retell's request signature: `X-Retell-Signature: v=<unix milliseconds>,d=<64 lower-case hex digits>`.

The digest is HMAC-SHA256 with the workspace's API key over the raw body immediately followed by the decimal
timestamp. It is computed over the bytes as received: a body that was parsed and written again does not
verify. URL, method and other headers are not covered, so a verified request is authentic but may still be a
repeat.
"""

from __future__ import annotations

import hashlib
import hmac
import re
from collections.abc import Sequence
from enum import StrEnum

# Retell's own tolerance for clock difference and transport, in both directions, inclusive.
WINDOW_MS = 300_000

_HEADER = re.compile(r"v=([0-9]+),d=([0-9a-f]{64})")
# A millisecond clock needs 13 digits until the year 2286. Anything much longer is stale without computing
# with it (and Python refuses to convert texts of several thousand digits).
_MOST_DIGITS = 18


class Verdict(StrEnum):
    """Why a signature was accepted or not. Only `VALID` is acceptable; the others are for logs and
    metrics."""

    VALID = "valid"
    MISSING = "missing"  # no header, or an empty one
    MALFORMED = "malformed"  # the header is not exactly v=…,d=…
    STALE = "stale"  # signed more than WINDOW_MS away from now; the digest was not looked at
    MISMATCH = "mismatch"  # another key, another body, or no usable key configured


def sign(body: bytes, key: str, *, now_ms: int) -> str:
    """The header value Retell would send with `body` at `now_ms` (unix milliseconds)."""
    return f"v={now_ms},d={_digest(body=body, key=key, timestamp=str(now_ms))}"


def verify(body: bytes, header: str | None, *, keys: Sequence[str], now_ms: int) -> Verdict:
    """Judge `header` for the raw `body` at `now_ms` (unix milliseconds).

    `keys` holds the current API key and, during a rotation, the former one; blank keys never match. Raises
    nothing.
    """
    if not header:
        return Verdict.MISSING
    match = _HEADER.fullmatch(header)
    if match is None:
        return Verdict.MALFORMED
    timestamp = match.group(1).lstrip("0") or "0"
    if len(timestamp) > _MOST_DIGITS or abs(now_ms - int(timestamp)) > WINDOW_MS:
        return Verdict.STALE
    matched = False
    for key in keys:
        if key.strip():
            expected = _digest(body=body, key=key, timestamp=timestamp)
            # No early exit: the time taken must not tell which key it was.
            matched |= hmac.compare_digest(expected, match.group(2))
    return Verdict.VALID if matched else Verdict.MISMATCH


def _digest(*, body: bytes, key: str, timestamp: str) -> str:
    return hmac.new(key.encode(), body + timestamp.encode(), hashlib.sha256).hexdigest()

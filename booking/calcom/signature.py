"""Cal.com's webhook signature: `X-Cal-Signature-256`, lower-case hex HMAC-SHA256 of the raw body.

Nothing else is signed, no time in particular: an old delivery verifies for ever, and only deduplication and
idempotent effects protect against it. A subscription without a secret sends the literal `no-secret-provided`.
"""

from __future__ import annotations

import hashlib
import hmac
from collections.abc import Sequence

UNSIGNED = "no-secret-provided"


def sign(body: bytes, secret: str) -> str:
    """What Cal.com puts into the header for this body."""
    return hmac.new(secret.encode(), body, hashlib.sha256).hexdigest()


def verify(body: bytes, header: str | None, *, secrets: Sequence[str]) -> bool:
    """Whether one of the secrets signed this body: compared in constant time, never true without secrets."""
    if not header or header == UNSIGNED:
        return False
    given = header.encode("utf-8", "replace")
    matches = [hmac.compare_digest(sign(body, secret).encode(), given) for secret in secrets if secret]
    return any(matches)

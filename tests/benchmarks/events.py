"""What the load generator sends to the intake: the end of one call after the other, as Retell tells it.

Standard library and the signature only, like `callers.py`.
"""

from __future__ import annotations

import json
import time
from pathlib import Path

from calls.retell import signature
from tests.benchmarks.callers import http_request

RECORDED = Path(__file__).parents[1] / "payloads" / "retell" / "webhook_call_ended.json"
_CALL = "<call>"


class Events:
    """Signed `call_ended` events to one endpoint. The same number is the same delivery, sent again."""

    def __init__(self, *, hook: str, key: str, run: str) -> None:
        self.hook = hook
        self.key = key
        self.run = run
        payload = json.loads(RECORDED.read_text(encoding="utf-8"))
        payload["call"]["call_id"] = _CALL
        self.template = json.dumps(payload)

    def ended(self, number: int) -> bytes:
        body = self.template.replace(_CALL, f"call_{self.run}_{number:08d}").encode()
        signed = signature.sign(body, self.key, now_ms=time.time_ns() // 1_000_000)
        return http_request(f"{self.hook}/retell/events", body, {"X-Retell-Signature": signed})

"""Answer a repeated function request from the row of the first, and keep a row of every request.

Retell may send a request again, and the agent may call a function again because the caller spoke into its
result. Both are the same request: same company, call, function and arguments. (The spoken filler that the
language model adds as `execution_message` differs every time and means nothing.)
"""

from __future__ import annotations

import uuid
from datetime import datetime
from typing import Any

import orjson
import structlog
from django.db import DatabaseError

from calls.models import Call, FunctionCall
from calls.retell.payloads import FunctionRequest
from customers import statements
from customers.database import waiting_at_most
from customers.statements import Given, Select

NAMESPACE = uuid.UUID("5a1c9c43-6bb9-5d0e-8a8b-5d9c5b1b0b52")
SPOKEN_FILLER = "execution_message"
REMEMBERED_ANSWERS = 20

_EARLIER = Select(lambda: FunctionCall.objects.filter(request_key=Given("request_key")))

logger = structlog.get_logger(__name__)


def request_key(*, company_id: int, request: FunctionRequest) -> str:
    """One value for all repeats of one request."""
    arguments = {name: value for name, value in request.arguments.items() if name != SPOKEN_FILLER}
    name = orjson.dumps(
        [company_id, request.call_id, request.name, arguments],
        option=orjson.OPT_SORT_KEYS | orjson.OPT_NON_STR_KEYS,
    )
    return str(uuid.uuid5(NAMESPACE, name.decode()))


def earlier(key: str) -> FunctionCall | None:
    return _EARLIER.first(request_key=key)


def record(
    *,
    company_id: int,
    call: Call | None,
    request: FunctionRequest,
    key: str,
    before: FunctionCall | None,
    answer: dict[str, Any],
    code: str,
    duration_ms: int,
    now: datetime,
    waits: float,
) -> None:
    """Keep what was answered. A failure here costs the row, not the answer: what was promised is recorded
    elsewhere. What somebody else holds is waited for so many seconds at most.
    """
    try:
        with waiting_at_most(waits):
            if before is None and statements.insert(
                FunctionCall(
                    company_id=company_id,
                    call=call,
                    name=request.name[:64],
                    arguments=request.arguments,
                    tool_call_id=request.tool_call_id or "",
                    request_key=key,
                    answer=answer,
                    code=code,
                    duration_ms=duration_ms,
                    created_at=now,
                    answered_at=now,
                ),
                # False if the same request was answered in this moment by another thread.
                unless_there=True,
                # Without this row a repeat is worked again, and finds what the first one did.
                may_be_lost=True,
            ):
                return
            before = before or earlier(key)
            if before is None:
                logger.error("function_call.not_recorded", function=request.name, code=code)
                return
            said = {"code": before.code, "at": before.answered_at.isoformat()}
            statements.update(
                FunctionCall,
                {"id": before.pk},
                may_be_lost=True,
                answer=answer,
                code=code,
                duration_ms=duration_ms,
                answered_at=now,
                repeats=before.repeats + 1,
                earlier_answers=[*before.earlier_answers, said][-REMEMBERED_ANSWERS:],
            )
    except DatabaseError:
        logger.exception("function_call.not_recorded", function=request.name, code=code)

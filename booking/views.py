"""The doors the phone agent knocks at. Translate in, make one call, translate out."""

from __future__ import annotations

import time
from typing import Any
from uuid import UUID

import orjson
import structlog
from django.conf import settings
from django.db import DatabaseError
from django.http import HttpResponse
from django.utils import timezone
from rest_framework.exceptions import APIException
from rest_framework.request import Request

from booking import inbound, replays, replies, time_limit
from booking.calcom.deadline import Deadline
from booking.conversation import Conversation
from booking.functions import CHANGES, FUNCTIONS, READS
from booking.outcomes import SUCCESSES, Code
from calls import call_record, function_calls
from calls.authentication import RetellSignature, read_body
from calls.hook_view import HookView, parsed
from calls.models import Call, FunctionCall
from calls.retell.dynamic_variables import NOBODY
from calls.retell.payloads import FunctionRequest, read_function_request, read_inbound_call
from customers.models import Company

# What it takes to write the answer down and send it.
ANSWERING_SECONDS = 0.3
# Of the two in which Retell is told who calls: the rest is for the server and the way there.
INBOUND_SECONDS = 1.5

logger = structlog.get_logger(__name__)


class FunctionView(HookView):
    """`POST /hooks/<endpoint_id>/retell/functions/<name>`

    After the signature holds, every answer is HTTP 200 with a sentence: anything else makes Retell send the
    request again, and leaves the caller with silence.
    """

    authentication_classes = (RetellSignature,)

    def post(self, request: Request, endpoint_id: UUID, name: str) -> HttpResponse:
        started = time.monotonic()
        deadline = Deadline(at=started + settings.ANSWER_BUDGET_SECONDS).less(ANSWERING_SECONDS)
        company: Company = request.auth  # type: ignore[assignment]
        asked = read_function_request(
            parsed(request.body),
            path_name=name,
            call_id_header=request.META.get("HTTP_X_RETELL_CALL_ID"),
        )
        key = function_calls.request_key(company_id=company.pk, request=asked)
        before, answer = _answered_before(key)
        call = None
        if not answer:
            call, answer = _work(company, asked, deadline=deadline)
            if before and _says_it_again(answer, before):
                answer = {**answer, "replayed": True}
            function_calls.record(
                company_id=company.pk,
                call=call,
                request=asked,
                key=key,
                before=before,
                answer={**answer, "replayed": False},
                code=answer["code"],
                duration_ms=int((time.monotonic() - started) * 1000),
                now=timezone.now(),
                waits=deadline.remaining,
            )
        # One telling line per request: these stand in the one that the middleware writes when it is finished.
        structlog.contextvars.bind_contextvars(
            company=company.slug,
            call=asked.call_id,
            function=asked.name,
            code=answer["code"],
            replayed=answer["replayed"],
        )
        return HttpResponse(orjson.dumps(answer), content_type="application/json")


def _answered_before(key: str) -> tuple[FunctionCall | None, dict[str, Any] | None]:
    """The row of the first such request, and its answer if that still is the answer. Raises nothing: worked
    anew, a repeat finds what the first one did.
    """
    before = None
    try:
        before = function_calls.earlier(key)
        if before is not None:
            return before, replays.repeated_answer(before, now=timezone.now())
    except DatabaseError as error:
        logger.error("function_call.not_looked_up", error=type(error).__name__)
    return before, None


def _says_it_again(answer: dict[str, Any], before: FunctionCall) -> bool:
    """Worked anew, it came to the same. What was done stays the same also where another day puts it into
    other words: "tomorrow" is "today".
    """
    if before.name in CHANGES and before.code in SUCCESSES:
        return bool({**answer, "say": ""} == {**before.answer, "say": ""})
    return before.name in READS and bool(answer == before.answer)


def _work(
    company: Company, asked: FunctionRequest, *, deadline: Deadline
) -> tuple[Call | None, dict[str, Any]]:
    """The call this belongs to, as far as it is known, and the answer. Raises nothing."""
    call = None
    try:
        if asked.call_id is None:
            return None, _refusal(company, Code.INVALID_REQUEST, "no_call", errors={"call_id": "required"})
        call = call_record.find_or_record(company=company, request=asked)
        function = FUNCTIONS.get(asked.name)
        if function is None:
            return call, _refusal(company, Code.INVALID_REQUEST, "no_function", errors={"name": "unknown"})
        if call.branch is None or not call.branch.is_active:
            return call, _refusal(company, Code.NOT_ALLOWED, "no_branch")
        conversation = Conversation(
            company=company, branch=call.branch, call=call, now=timezone.now(), deadline=deadline
        )
        return call, replies.for_outcome(function(conversation, asked.arguments), conversation)
    except Exception:
        # A caller is on the line. What was begun is on record, and the completer will see to it.
        logger.exception("function.failed", function=asked.name, call=asked.call_id)
        if call is not None and asked.name in CHANGES:
            return call, _refusal(company, Code.CHECKING, "error_while_changing")
        return call, _refusal(company, Code.UNAVAILABLE, "error")


def _refusal(
    company: Company, code: Code, reason: str, *, errors: dict[str, str] | None = None
) -> dict[str, Any]:
    answer = replies.without_conversation(code, reason=reason, language=company.language)
    if errors:
        answer["errors"] = errors
    return answer


class InboundCallView(HookView):
    """`POST /hooks/<endpoint_id>/retell/inbound`

    Retell asks while the caller hears it ringing, waits ten seconds, asks three times more, and then lets the
    agent answer without anything, or drops the call where no agent is set. So unless the signature is seen to
    be wrong, the answer is 200, and soon. Data is in it only if the signature was seen to be right.
    """

    authentication_classes = (RetellSignature,)

    def perform_authentication(self, request: Request) -> None:
        """Not yet: it asks the database, which is done under the time limit."""

    def post(self, request: Request, endpoint_id: UUID) -> HttpResponse:
        body = read_body(request)
        try:
            variables = time_limit.within(
                INBOUND_SECONDS,
                lambda: _variables(company=request.auth, body=body),  # type: ignore[arg-type]
            )
        except APIException:
            raise  # the signature does not hold, nobody has this endpoint, or it is no JSON
        except (TimeoutError, DatabaseError) as error:
            logger.warning("inbound.answered_without_data", error=type(error).__name__)
            variables = dict(NOBODY)
        except Exception:
            logger.exception("inbound.failed")
            variables = dict(NOBODY)
        structlog.contextvars.bind_contextvars(
            caller_known=variables["caller_known"],
            with_data="company_name" in variables,
        )
        return HttpResponse(
            orjson.dumps({"call_inbound": {"dynamic_variables": variables}}), content_type="application/json"
        )


def _variables(*, company: Company, body: bytes) -> dict[str, str]:
    call = read_inbound_call(parsed(body))
    return inbound.variables_for(company=company, call=call, now=timezone.now())

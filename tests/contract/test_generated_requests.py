"""Requests that Schemathesis makes out of `/api/schema/`: such as it allows, and such as it does not.

What is answered has to be as it says, with nothing in it that it does not name. `test_openapi_schema.py` asks
what somebody has thought of; this asks what nobody has.
"""

from __future__ import annotations

import io
import time
from collections.abc import Callable
from http import HTTPStatus
from typing import Any

import pytest
import schemathesis
from django.core.handlers.wsgi import WSGIHandler
from django.test import Client
from hypothesis import HealthCheck, Phase, given, settings
from hypothesis import strategies as st
from schemathesis import Case, GenerationMode
from schemathesis.schemas import APIOperation
from schemathesis.specs.openapi import checks

from booking.calcom import signature as calcom_signature
from calls.retell import signature as retell_signature
from customers.models import Company
from tests.contract.test_openapi_schema import closed
from tests.flows.conftest import calcom, phone, salon  # noqa: F401 - the salon at its simulator
from tests.flows.phone import Phone, at

EXAMPLES = 10  # of each address and mode, the same ones in every run
AS_DESCRIBED = [
    checks.status_code_conformance,
    checks.content_type_conformance,
    checks.response_headers_conformance,
    checks.response_schema_conformance,
]
# Nothing generated ever names a service or a free time. These lead on to what comes after `invalid_request`.
UNDERSTOOD: dict[str, Any] = {
    "service": "haircut",
    "start": at(10).isoformat(),
    "new_start": at(12).isoformat(),
    "date": at(10).date().isoformat(),
    "customer_name": "Anna Weber",
    **dict.fromkeys(
        (
            "from",
            "to",
            "part_of_day",
            "person",
            "slot_id",
            "appointment",
            "day",
            "customer_phone",
            "customer_email",
        )
    ),
}


@pytest.mark.parametrize("mode", [GenerationMode.POSITIVE, GenerationMode.NEGATIVE], ids=["allowed", "not"])
def test_whatever_is_sent_to_the_hooks_is_answered_as_described(salon, phone, mode):  # noqa: F811
    content = Client().get("/api/schema/").json()
    hooks = {path: item for path, item in content["paths"].items() if path.startswith("/hooks/")}
    for item in hooks.values():
        # Endpoint and signature are not generated: nearly all would be 404 and 401.
        item["post"]["parameters"] = []
    document = schemathesis.openapi.from_dict(
        {**content, "paths": hooks, "components": closed(content["components"])}
    )
    codes: set[str] = set()
    for path in hooks:
        codes |= _codes_of(document[path]["POST"], mode=mode, line=phone(), company=salon)
    # Neither only the refusals of what cannot be understood, nor only those.
    assert {"booked", "ok", "invalid_request"} <= codes


def _codes_of(hook: APIOperation, *, mode: GenerationMode, line: Phone, company: Company) -> set[str]:
    """What the hook answers to a few requests; fails where that is not what is described."""
    codes = set()
    application = _signing(company)
    is_function = "/functions/" in hook.path

    @settings(
        max_examples=EXAMPLES,
        derandomize=True,
        database=None,
        phases=[Phase.generate],
        suppress_health_check=list(HealthCheck),
    )
    @given(case=hook.as_strategy(generation_mode=mode), is_understood=st.booleans())
    def ask(case: Case, is_understood: bool) -> None:
        case.path_parameters = {"endpoint_id": str(company.endpoint_id)}
        if is_function and isinstance(case.body, dict):
            case.headers["X-Retell-Call-Id"] = line.call_id
            _lay_over(case.body, line=line, arguments=UNDERSTOOD if is_understood else {})
        answer = case.call(app=application)
        case.validate_response(answer, checks=AS_DESCRIBED)
        if mode is GenerationMode.POSITIVE:
            assert answer.status_code == HTTPStatus.OK
        if is_function and answer.status_code == HTTPStatus.OK:
            codes.add(answer.json()["code"])

    ask()
    return codes


def _lay_over(body: dict[str, Any], *, line: Phone, arguments: dict[str, Any]) -> None:
    call, args = body.get("call"), body.get("args")
    if isinstance(call, dict) and isinstance(args, dict):
        call |= line.call()
        args |= arguments
    else:
        body |= arguments


def _signing(company: Company) -> Callable[..., Any]:
    """Our WSGI application, behind a line that signs what goes through it as Retell and Cal.com do."""
    application = WSGIHandler()

    def answer(environ: dict[str, Any], start_response: Any) -> Any:
        body = environ["wsgi.input"].read(int(environ.get("CONTENT_LENGTH") or 0))
        by_retell = retell_signature.sign(body, company.retell_api_key, now_ms=time.time_ns() // 1_000_000)
        by_calcom = calcom_signature.sign(body, company.calcom_webhook_secret)
        signed = {"HTTP_X_RETELL_SIGNATURE": by_retell, "HTTP_X_CAL_SIGNATURE_256": by_calcom}
        return application({**environ, **signed, "wsgi.input": io.BytesIO(body)}, start_response)

    return answer

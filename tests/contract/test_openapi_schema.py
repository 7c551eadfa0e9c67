"""`/api/schema/` against what is really answered, and against the addresses that really exist."""

from __future__ import annotations

import json
import re
import uuid
from collections.abc import Iterator
from typing import Any

import pytest
from django.core.management import call_command
from django.test import Client, override_settings
from django.urls import URLPattern, URLResolver, get_resolver
from jsonschema import Draft202012Validator, FormatChecker

from booking.functions import FUNCTIONS
from booking.outcomes import Code
from booking.schema import ARGUMENTS
from tests.flows.conftest import calcom, phone, salon  # noqa: F401 - the salon at its simulator
from tests.flows.phone import Phone, at

# Not for Retell, Cal.com or Prometheus: people and the document itself.
NOT_DESCRIBED = ("admin", "api/schema/")


@pytest.fixture(scope="module")
def document() -> dict[str, Any]:
    response = Client().get("/api/schema/")
    assert response.status_code == 200
    content: dict[str, Any] = json.loads(response.content)
    return content


def closed(schema: Any) -> Any:
    """The same schema, refusing keys it does not name: an answer must not carry what nobody described."""
    if isinstance(schema, dict):
        content = {key: closed(value) for key, value in schema.items()}
        if "properties" in content and content.get("type") == "object":
            content.setdefault("additionalProperties", False)
        return content
    if isinstance(schema, list):
        return [closed(item) for item in schema]
    return schema


def check(document: dict[str, Any], path: str, *, status: int, body: Any, method: str = "post") -> None:
    """Fails unless `path` is described to answer `status` with such a body."""
    described = document["paths"][path][method]["responses"][str(status)]
    schema = described["content"]["application/json"]["schema"]
    validator = Draft202012Validator(
        {**schema, "components": closed(document["components"])}, format_checker=FormatChecker()
    )
    problems = [f"{error.json_path}: {error.message}" for error in validator.iter_errors(body)]
    assert not problems, problems


def function_path(name: str) -> str:
    return f"/hooks/{{endpoint_id}}/retell/functions/{name}"


def routes(resolver: URLResolver | None = None, before: str = "") -> Iterator[str]:
    for entry in (resolver or get_resolver()).url_patterns:
        path = before + str(entry.pattern)
        if path.removeprefix("^").startswith(NOT_DESCRIBED) or path.startswith("^api/schema/?"):
            continue
        if isinstance(entry, URLPattern):
            if path:  # the bare address only leads people to the admin
                yield path
        else:
            yield from routes(entry, path)


def test_the_document_is_valid_openapi_and_made_without_a_warning(tmp_path):
    call_command("spectacular", "--validate", "--fail-on-warn", "--file", str(tmp_path / "schema.yaml"))


def test_every_address_of_ours_is_described_and_nothing_else(document):
    unmatched = [re.compile(route) for route in routes()]
    for path in document["paths"]:
        plain = path.replace("{endpoint_id}", str(uuid.uuid4())).removeprefix("/")
        matching = [route for route in unmatched if route.fullmatch(plain)]
        assert matching, f"{path} is described and does not exist"
    described = [
        path.replace("{endpoint_id}", str(uuid.uuid4())).removeprefix("/") for path in document["paths"]
    ]
    missing = [route.pattern for route in unmatched if not any(route.fullmatch(path) for path in described)]
    assert not missing, f"describe in the schema.py of its app, or with extend_schema: {missing}"


def test_every_function_is_described_with_its_arguments(document):
    assert set(ARGUMENTS) == set(FUNCTIONS)
    described = {path.rpartition("/")[2] for path in document["paths"] if "/retell/functions/" in path}
    assert described == set(FUNCTIONS)
    arguments = document["components"]["schemas"]["BookAppointmentArguments"]["properties"]
    assert {"service", "start", "slot_id", "customer_name", "customer_phone", "customer_email"} <= set(
        arguments
    )
    assert {"from", "to", "date"} <= set(
        document["components"]["schemas"]["CheckAvailabilityArguments"]["properties"]
    )


def test_every_code_is_in_the_document_and_says_whether_it_is_a_success(document):
    answer = document["components"]["schemas"]["FunctionAnswer"]
    assert answer["properties"]["code"]["enum"] == [str(code) for code in Code]
    for code in Code:
        body = {
            "success": code.is_success,
            "code": str(code),
            "say": "…",
            "replayed": False,
            "appointment": None,
            "alternatives": [],
        }
        check(document, function_path("book_appointment"), status=200, body=body)
        with pytest.raises(AssertionError, match="success"):
            check(
                document,
                function_path("book_appointment"),
                status=200,
                body={**body, "success": not code.is_success},
            )


def test_both_forms_of_the_body_are_described(document, phone):  # noqa: F811
    line: Phone = phone()
    content = document["paths"][function_path("book_appointment")]["post"]["requestBody"]["content"]
    validator = Draft202012Validator(
        {**content["application/json"]["schema"], "components": document["components"]}
    )
    arguments = {"service": "haircut", "start": at(10).isoformat(), "execution_message": "One moment."}
    assert validator.is_valid({"name": "book_appointment", "call": line.call(), "args": arguments})
    assert validator.is_valid(arguments)
    assert not validator.is_valid({"service": 7})


def test_what_functions_answer_is_what_is_described(document, phone, calcom):  # noqa: F811
    line: Phone = phone()
    taken = at(14)
    calcom.web_book("open", start=taken)
    seen = set()

    def answered(function: str, answer: Any, *codes: str) -> None:
        assert answer.status == 200
        assert answer.code in codes, answer.body
        check(document, function_path(function), status=200, body=answer.body)
        seen.add(answer.code)

    answered("list_services", line.ask("list_services"), "ok")
    day = at(10).date().isoformat()
    available = line.ask("check_availability", service="haircut", date=day)
    answered("check_availability", available, "ok")
    assert available.body["slots"]
    answered("check_availability", line.ask("check_availability", service="sauna"), "unknown_service")
    answered("book_appointment", line.book(at(10)), "booked")
    replayed = line.book(at(10))
    answered("book_appointment", replayed, "booked")
    assert replayed.body["replayed"] is True
    answered("book_appointment", phone().book(at(10)), "already_booked")
    other = phone(from_number="+4915112345679")
    refused = other.book(taken)
    answered("book_appointment", refused, "slot_taken")
    assert refused.body["alternatives"]
    answered("book_appointment", other.book("yesterday"), "too_soon", "invalid_request")
    answered("book_appointment", other.book("when pigs fly"), "invalid_request")
    answered("book_appointment", other.book(at(11), service="advice"), "requested")
    answered("book_appointment", other.ask("book_appointment", nonsense=[1, None]), "invalid_request")
    answered("collect_appointment_data", other.ask("collect_appointment_data"), "invalid_request")
    answered("book_appointment", other.ask("cancel_the_world"), "invalid_request")
    answered("list_appointments", line.ask("list_appointments"), "ok")
    line.book(at(12))
    listed = line.ask("list_appointments")
    answered("list_appointments", listed, "ok")
    assert len(listed.body["appointments"]) == 2
    answered("cancel_appointment", line.ask("cancel_appointment"), "ambiguous")
    first = listed.body["appointments"][0]["id"]
    taken_by = Draft202012Validator(document["components"]["schemas"]["RescheduleAppointmentArguments"])
    assert taken_by.is_valid({"appointment": first}), "an id goes as it came"
    moved = line.ask("reschedule_appointment", appointment=first, new_start=at(13).isoformat())
    answered("reschedule_appointment", moved, "rescheduled")
    answered("cancel_appointment", line.ask("cancel_appointment", appointment=first), "cancelled")
    answered("cancel_appointment", line.ask("cancel_appointment", appointment=999), "not_found")
    answered("request_callback", line.ask("request_callback", reason="The bill"), "callback_noted")
    calcom.faults.server_error(commit=False, status=503, times=None)
    answered("book_appointment", other.book(at(15)), "checking", "unavailable")
    calcom.faults.restore()
    calcom.faults.clear()
    calcom.faults.refuse("No such event type", status=403)
    answered("book_appointment", other.book(at(16)), "unavailable", "checking")
    assert {"ok", "booked", "already_booked", "slot_taken", "invalid_request", "requested"} <= seen


@pytest.mark.parametrize(
    ("body", "signature", "status"),
    [
        (b"{}", "v=1,d=" + "0" * 64, 401),
        (b"{}", "", 401),
        (b"not json", None, 400),
        (b"[" * 20 + b" " * 1_100_000, None, 413),
    ],
    ids=["signed wrongly", "not signed", "not JSON", "too large"],
)
def test_what_is_refused_is_refused_as_described(document, phone, body, signature, status):  # noqa: F811
    headers = {} if signature is None else {"signature": signature or "none"}
    answer = phone().send("book_appointment", body, **headers)
    assert answer.status == status
    check(document, function_path("book_appointment"), status=status, body=answer.body)


@pytest.mark.django_db
def test_an_unknown_endpoint_is_answered_404_as_described(document):
    response = Client().post(
        f"/hooks/{uuid.uuid4()}/retell/functions/book_appointment",
        data=b"{}",
        content_type="application/json",
    )
    assert response.status_code == 404
    check(document, function_path("book_appointment"), status=404, body=response.json())


@pytest.mark.django_db(transaction=True)
def test_the_probes_answer_as_described(document):
    alive = Client().get("/healthz")
    assert str(alive.status_code) in document["paths"]["/healthz"]["get"]["responses"]
    assert alive["Content-Type"].startswith("text/plain")
    ready = Client().get("/readyz")
    check(document, "/readyz", status=ready.status_code, body=ready.json(), method="get")


@pytest.mark.django_db
def test_the_metrics_answer_as_described(document):
    described = document["paths"]["/metrics"]["get"]["responses"]
    with override_settings(METRICS_TOKEN="metrics-token"):
        refused = Client().get("/metrics")
        given = Client().get("/metrics", headers={"Authorization": "Bearer metrics-token"})
    with override_settings(METRICS_TOKEN=""):
        absent = Client().get("/metrics")
    assert (refused.status_code, given.status_code, absent.status_code) == (401, 200, 404)
    assert set(described) == {"200", "401", "404"}
    assert given["Content-Type"].startswith("text/plain")

"""Every door has the same lock: one suite for all endpoints that Retell and Cal.com call."""

from __future__ import annotations

import datetime as dt
import json
import logging
import threading
import time
import uuid
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest
import time_machine
from django.db import connection
from django.test import Client
from django.urls import get_resolver
from django.utils import timezone

from booking.calcom import signature as calcom_signature
from booking.models import Appointment
from calls.authentication import LONGEST_BODY
from calls.models import Call, FunctionCall, RefusedDelivery, WebhookEvent
from calls.retell import signature as retell_signature
from calls.retell.signature import WINDOW_MS
from customers.models import Company, Customer
from tests.flows.conftest import make_salon

PAYLOADS = Path(__file__).parent.parent / "payloads" / "retell"
FAR_TOO_DEEP = b"[" * 100_000


def _sign_as_retell(body: bytes, key: str, *, seconds: float = 0) -> str:
    return retell_signature.sign(body, key, now_ms=int((time.time() + seconds) * 1000))


def _sign_as_calcom(body: bytes, secret: str, *, seconds: float = 0) -> str:
    return calcom_signature.sign(body, secret)


@dataclass(frozen=True, kw_only=True)
class Endpoint:
    """One address below /hooks/<endpoint id>/ and how what comes there is signed."""

    path: str
    provider: WebhookEvent.Provider
    header: str
    secret_field: str
    sign: Callable[..., str]
    body: bytes

    def secret_of(self, company: Company) -> str:
        return str(getattr(company, self.secret_field))

    def give(self, company: Company, *, secret: str, previous: str = "") -> None:
        setattr(company, self.secret_field, secret)
        setattr(company, f"{self.secret_field}_previous", previous)
        company.save()


def _retell(path: str, body: bytes) -> Endpoint:
    return Endpoint(
        path=path,
        provider=WebhookEvent.Provider.RETELL,
        header="X-Retell-Signature",
        secret_field="retell_api_key",
        sign=_sign_as_retell,
        body=body,
    )


def _body(**content: Any) -> bytes:
    return json.dumps(content).encode()


EVENTS = _retell("/retell/events", (PAYLOADS / "webhook_call_ended.json").read_bytes())
INBOUND = _retell("/retell/inbound", (PAYLOADS / "inbound_request.json").read_bytes())
FUNCTIONS = _retell(
    "/retell/functions/list_services",
    _body(name="list_services", args={}, call={"call_id": "call_signed", "to_number": "+493012345678"}),
)
CALCOM = Endpoint(
    path="/calcom",
    provider=WebhookEvent.Provider.CALCOM,
    header="X-Cal-Signature-256",
    secret_field="calcom_webhook_secret",
    sign=_sign_as_calcom,
    body=_body(triggerEvent="BOOKING_CREATED", payload={"uid": "abc123"}),
)
ENDPOINTS = (EVENTS, INBOUND, FUNCTIONS, CALCOM)
OF_RETELL = (EVENTS, INBOUND, FUNCTIONS)
STORING = (EVENTS, CALCOM)


def at_each(*endpoints: Endpoint) -> pytest.MarkDecorator:
    return pytest.mark.parametrize("endpoint", endpoints, ids=lambda endpoint: endpoint.path)


def knock(
    endpoint: Endpoint,
    company: Company,
    *,
    body: bytes | None = None,
    header: str | None = "",
    endpoint_id: object = None,
    slash: str = "",
    accept: str | None = None,
) -> Any:
    """Rightly signed, unless a header is given; None sends none."""
    body = endpoint.body if body is None else body
    if header == "":
        header = endpoint.sign(body, endpoint.secret_of(company))
    return Client().post(
        f"/hooks/{endpoint_id or company.endpoint_id}{endpoint.path}{slash}",
        data=body,
        content_type="application/json",
        headers={
            **({} if header is None else {endpoint.header: header}),
            **({} if accept is None else {"Accept": accept}),
        },
    )


def was_let_in(endpoint: Endpoint, response: Any) -> bool:
    """Not only answered 200: what only a right signature brings about has happened."""
    if response.status_code != 200:
        return False
    if endpoint is INBOUND:
        return "company_name" in response.json()["call_inbound"]["dynamic_variables"]
    return (WebhookEvent if endpoint in STORING else FunctionCall).objects.exists()


def assert_nothing_is_stored(calcom: Any) -> None:
    for model in (WebhookEvent, Call, FunctionCall, Appointment, Customer):
        assert not model.objects.exists(), model
    assert not calcom.log


def refused_for(reason: str) -> int:
    return sum(RefusedDelivery.objects.filter(reason=reason).values_list("count", flat=True))


@pytest.fixture
def other(calcom, salon) -> Company:
    """Another tenant, with keys of its own."""
    company = make_salon(calcom, slug="studio", number="+493099999999")
    CALCOM.give(company, secret="whsec_studio")
    return company


# --- Who is let in ------------------------------------------------------------------------------------------


@at_each(*ENDPOINTS)
@pytest.mark.parametrize("slash", ["", "/"])
def test_what_is_rightly_signed_is_let_in_with_and_without_a_trailing_slash(salon, endpoint, slash):
    assert was_let_in(endpoint, knock(endpoint, salon, slash=slash))
    assert not RefusedDelivery.objects.exists()


@at_each(*ENDPOINTS)
def test_both_secrets_hold_while_one_is_rotated_and_only_the_new_one_afterwards(calcom, salon, endpoint):
    former = endpoint.secret_of(salon)
    endpoint.give(salon, secret="the-new-secret-9876543210", previous=former)
    for secret in (former, "the-new-secret-9876543210"):
        header = endpoint.sign(endpoint.body, secret)
        assert was_let_in(endpoint, knock(endpoint, salon, header=header))
        WebhookEvent.objects.all().delete()
        FunctionCall.objects.all().delete()
    endpoint.give(salon, secret="the-new-secret-9876543210")
    assert knock(endpoint, salon, header=endpoint.sign(endpoint.body, former)).status_code == 401
    assert not WebhookEvent.objects.exists()
    assert not FunctionCall.objects.exists()
    assert was_let_in(endpoint, knock(endpoint, salon))


# --- Who is not ---------------------------------------------------------------------------------------------

Forge = Callable[[Endpoint, Company], "str | None"]


def _right(endpoint: Endpoint, company: Company) -> str:
    return endpoint.sign(endpoint.body, endpoint.secret_of(company))


def _of_another_kind(endpoint: Endpoint, company: Company) -> str:
    stranger = CALCOM if endpoint in OF_RETELL else EVENTS
    return stranger.sign(endpoint.body, endpoint.secret_of(company))


FORGERIES: dict[str, tuple[Forge, str, str]] = {
    # What is sent; why Retell's is refused; why Cal.com's is.
    "missing": (lambda e, c: None, "missing", "missing"),
    "wrong": (lambda e, c: e.sign(e.body, "of somebody else"), "mismatch", "mismatch"),
    "changed body": (lambda e, c: e.sign(e.body + b" ", e.secret_of(c)), "mismatch", "mismatch"),
    "cut short": (lambda e, c: _right(e, c)[:-1], "malformed", "mismatch"),
    "longer": (lambda e, c: _right(e, c) + "0", "malformed", "mismatch"),
    "upper case": (lambda e, c: _right(e, c).upper(), "malformed", "mismatch"),
    "the secret itself": (lambda e, c: e.secret_of(c), "malformed", "mismatch"),
    "no ASCII": (lambda e, c: "ä" * 64, "malformed", "mismatch"),
    "of the other sender's kind": (_of_another_kind, "malformed", "mismatch"),
    "unsigned": (lambda e, c: calcom_signature.UNSIGNED, "malformed", "unsigned"),
}


@at_each(*ENDPOINTS)
@pytest.mark.parametrize("kind", FORGERIES)
def test_a_signature_that_does_not_hold_is_refused_counted_and_leaves_nothing(calcom, salon, endpoint, kind):
    forge, reason_of_retell, reason_of_calcom = FORGERIES[kind]
    response = knock(endpoint, salon, header=forge(endpoint, salon))
    assert response.status_code == 401
    assert response["WWW-Authenticate"] == endpoint.header
    assert endpoint.secret_of(salon) not in response.content.decode()
    assert_nothing_is_stored(calcom)
    counted = RefusedDelivery.objects.get()
    reason = reason_of_retell if endpoint in OF_RETELL else reason_of_calcom
    assert (counted.company, counted.provider, counted.reason) == (salon, endpoint.provider, reason)
    assert counted.count == 1


@at_each(*ENDPOINTS)
def test_another_tenants_signature_does_not_open_this_tenants_door(calcom, salon, other, endpoint):
    header = endpoint.sign(endpoint.body, endpoint.secret_of(other))
    assert knock(endpoint, salon, header=header).status_code == 401
    assert_nothing_is_stored(calcom)
    assert RefusedDelivery.objects.get().company == salon
    assert was_let_in(endpoint, knock(endpoint, other, header=header))


@at_each(*OF_RETELL)
@pytest.mark.parametrize("seconds", [-WINDOW_MS / 1000 - 1, WINDOW_MS / 1000 + 10], ids=["old", "future"])
def test_a_signature_of_another_time_is_refused_by_retells_doors(calcom, salon, endpoint, seconds):
    header = endpoint.sign(endpoint.body, endpoint.secret_of(salon), seconds=seconds)
    assert knock(endpoint, salon, header=header).status_code == 401
    assert_nothing_is_stored(calcom)
    assert refused_for("stale") == 1


@at_each(*OF_RETELL)
def test_an_old_signature_with_a_new_time_written_over_it_is_refused(calcom, salon, endpoint):
    old = endpoint.sign(endpoint.body, endpoint.secret_of(salon), seconds=-3600)
    header = f"v={int(time.time() * 1000)},{old.partition(',')[2]}"
    assert knock(endpoint, salon, header=header).status_code == 401
    assert_nothing_is_stored(calcom)
    assert refused_for("mismatch") == 1


def test_an_old_delivery_of_cal_coms_still_verifies_and_is_stored_once(salon):
    """Its signature has no time in it: only that it is known already protects."""
    assert knock(CALCOM, salon).status_code == 200
    with time_machine.travel(timezone.now() + dt.timedelta(days=30), tick=True):
        assert knock(CALCOM, salon).status_code == 200
    assert WebhookEvent.objects.count() == 1


@at_each(*ENDPOINTS)
def test_a_company_without_any_secret_lets_nobody_in(calcom, salon, endpoint):
    former = endpoint.secret_of(salon)
    endpoint.give(salon, secret="", previous="")
    headers = [endpoint.sign(endpoint.body, secret) for secret in (former, "", " ")]
    for header in (*headers, calcom_signature.UNSIGNED, None):
        assert knock(endpoint, salon, header=header).status_code == 401
    assert_nothing_is_stored(calcom)


# --- Where nobody is ----------------------------------------------------------------------------------------


@at_each(*ENDPOINTS)
def test_an_endpoint_nobody_has_is_not_there(calcom, salon, endpoint):
    for endpoint_id in (uuid.uuid4(), uuid.UUID(int=0), "salon", "1"):
        assert knock(endpoint, salon, endpoint_id=endpoint_id).status_code == 404
    assert_nothing_is_stored(calcom)
    assert not RefusedDelivery.objects.exists()


@at_each(*ENDPOINTS)
def test_a_company_that_is_no_longer_active_is_not_there(calcom, salon, endpoint):
    salon.is_active = False
    salon.save()
    assert knock(endpoint, salon).status_code == 404
    assert_nothing_is_stored(calcom)
    assert not RefusedDelivery.objects.exists()


# --- What is said behind a right signature ------------------------------------------------------------------

NO_JSON = [b"", b"{", b"\xff\xfe", b'{"event": "call_ended"} x', FAR_TOO_DEEP]


@at_each(*ENDPOINTS)
@pytest.mark.parametrize("body", NO_JSON, ids=["empty", "broken", "no text", "more behind", "too deep"])
def test_a_signed_body_that_is_no_json_is_a_bad_request(calcom, salon, endpoint, body):
    assert knock(endpoint, salon, body=body).status_code == 400
    assert_nothing_is_stored(calcom)
    assert not RefusedDelivery.objects.exists()


@at_each(*ENDPOINTS)
@pytest.mark.parametrize("body", NO_JSON, ids=["empty", "broken", "no text", "more behind", "too deep"])
def test_what_is_not_signed_is_refused_before_it_is_read(calcom, salon, endpoint, body):
    assert knock(endpoint, salon, body=body, header=None).status_code == 401
    assert_nothing_is_stored(calcom)


def _padded(endpoint: Endpoint, length: int) -> bytes:
    return endpoint.body + b" " * (length - len(endpoint.body))


@at_each(*ENDPOINTS)
def test_a_body_of_a_mebibyte_is_taken_and_a_longer_one_is_too_large(calcom, salon, endpoint):
    assert knock(endpoint, salon, body=_padded(endpoint, LONGEST_BODY + 1)).status_code == 413
    assert_nothing_is_stored(calcom)
    assert LONGEST_BODY == 1024 * 1024
    assert was_let_in(endpoint, knock(endpoint, salon, body=_padded(endpoint, LONGEST_BODY)))


@at_each(*ENDPOINTS)
def test_nobody_can_make_us_read_a_large_body_by_leaving_out_the_signature(calcom, salon, endpoint):
    body = _padded(endpoint, LONGEST_BODY + 1)
    assert knock(endpoint, salon, body=body, header=None).status_code == 413
    assert_nothing_is_stored(calcom)


@at_each(*STORING)
def test_what_is_stored_is_what_was_signed_byte_for_byte(salon, endpoint):
    body = endpoint.body.replace(b"{", b'{ "note":"Caf\xc3\xa9 \\u00e9",', 1)
    assert was_let_in(endpoint, knock(endpoint, salon, body=body))
    event = WebhookEvent.objects.get()
    assert event.body.encode() == body
    kept = json.dumps(event.headers).lower()
    assert "signature" not in kept


# --- Whatever form the sender would like to be answered in --------------------------------------------------


@at_each(*ENDPOINTS)
@pytest.mark.parametrize(
    "accept", ["text/html", "application/xml", "application/json;q=0, text/*", "", "/", "text/html;;", "é"]
)
def test_nothing_is_lost_for_the_form_the_sender_would_like(salon, endpoint, accept):
    """An answer in another form, or a 406, is none to a machine that reads JSON."""
    refused = [
        (knock(endpoint, salon, header=None, accept=accept), 401),
        (knock(endpoint, salon, body=b"{", accept=accept), 400),
        (knock(endpoint, salon, body=_padded(endpoint, LONGEST_BODY + 1), accept=accept), 413),
        (knock(endpoint, salon, endpoint_id=uuid.uuid4(), accept=accept), 404),
    ]
    for response, status in refused:
        assert response.status_code == status
        assert response["Content-Type"] == "application/json"
        assert response.json()["detail"]
    response = knock(endpoint, salon, accept=accept)
    assert was_let_in(endpoint, response)
    if endpoint in STORING:
        assert response.content == b""
        assert "Content-Type" not in response, "nothing is no text/html"
    else:
        assert response["Content-Type"] == "application/json"
        assert response.json()


# --- What our own log says of it ----------------------------------------------------------------------------


@at_each(*ENDPOINTS)
def test_the_line_about_a_refused_request_says_why_and_nothing_of_what_was_sent(salon, endpoint, caplog):
    caplog.set_level(logging.INFO)

    def reason(**options: Any) -> object:
        caplog.clear()
        knock(endpoint, salon, **options)
        lines = [record.msg for record in caplog.records if isinstance(record.msg, dict)]
        (line,) = [line for line in lines if line["event"] == "request_finished"]
        assert "Anna Weber" not in str(line)
        return line.get("reason")

    assert reason(header=None) == "signature_missing"
    assert reason(header=endpoint.sign(endpoint.body, "of somebody else")) == "signature_mismatch"
    assert reason(body=b'{"name": "Anna Weber"') == "not_json"
    assert reason(body=_padded(endpoint, LONGEST_BODY + 1)) == "too_large"
    assert reason(endpoint_id=uuid.uuid4()) == "not_found"
    assert reason() is None


# --- Refusals are counted -----------------------------------------------------------------------------------


@pytest.fixture
def on_the_hour() -> Iterator[time_machine.Traveller]:
    hour = timezone.now().replace(minute=0, second=0, microsecond=0)
    with time_machine.travel(hour + dt.timedelta(minutes=58), tick=True) as traveller:
        yield traveller


@at_each(*ENDPOINTS)
def test_refusals_are_one_row_an_hour(salon, endpoint, on_the_hour):
    for _ in range(3):
        knock(endpoint, salon, header=None)
    on_the_hour.shift(dt.timedelta(minutes=5))
    knock(endpoint, salon, header=None)
    rows = list(RefusedDelivery.objects.order_by("hour"))
    assert [row.count for row in rows] == [3, 1]
    assert rows[1].hour - rows[0].hour == dt.timedelta(hours=1)
    for row in rows:
        assert (row.hour.minute, row.hour.second, row.hour.microsecond) == (0, 0, 0)
        assert row.hour <= row.last_at < row.hour + dt.timedelta(hours=1)


def test_each_company_sender_and_reason_is_counted_by_itself(salon, other):
    for company, endpoint, header in (
        (salon, EVENTS, None),
        (salon, INBOUND, None),
        (salon, CALCOM, None),
        (salon, CALCOM, calcom_signature.UNSIGNED),
        (other, FUNCTIONS, None),
    ):
        knock(endpoint, company, header=header)
    counts = {
        (row.company.slug, row.provider, row.reason): row.count
        for row in RefusedDelivery.objects.select_related("company")
    }
    assert counts == {
        ("salon", "retell", "missing"): 2,
        ("salon", "calcom", "missing"): 1,
        ("salon", "calcom", "unsigned"): 1,
        ("studio", "retell", "missing"): 1,
    }


@at_each(*ENDPOINTS)
def test_refusals_at_the_same_moment_are_all_counted(salon, endpoint, on_the_hour):
    together, answers = threading.Barrier(8), []

    def refused() -> None:
        try:
            together.wait(10)
            for _ in range(3):
                answers.append(knock(endpoint, salon, header=None).status_code)
        finally:
            connection.close()

    threads = [threading.Thread(target=refused) for _ in range(8)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert answers == [401] * 24
    assert RefusedDelivery.objects.get().count == 24


def test_no_endpoint_is_left_out_of_this_suite():
    resolver = get_resolver()
    addresses = {
        template.rstrip("/")
        for name in resolver.reverse_dict
        if isinstance(name, str)
        for possibilities, *_ in resolver.reverse_dict.getlist(name)
        for template, _parameters in possibilities
        if template.startswith("hooks/")
    }
    here = "hooks/%(endpoint_id)s"
    assert addresses == {
        here + endpoint.path.replace("/list_services", "/%(name)s") for endpoint in ENDPOINTS
    }

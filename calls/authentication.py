"""Who sent this? Raw bytes and signature → Company. Nothing of the request is trusted before it holds.

The endpoint id in the URL says whose key to check with; it is an address, not a secret.
"""

from __future__ import annotations

import time
from typing import NoReturn
from uuid import UUID

from django.core.exceptions import RequestDataTooBig
from django.db import OperationalError
from django.http import UnreadablePostError
from rest_framework.authentication import BaseAuthentication
from rest_framework.exceptions import APIException, AuthenticationFailed, NotFound, ParseError
from rest_framework.request import Request

from calls import refusals
from calls.models import WebhookEvent
from calls.retell import signature
from customers.company_secrets import without_secrets
from customers.database import drop_dead_connections
from customers.encrypted_field import CannotDecrypt
from customers.models import Company
from customers.statements import Given, Select

LONGEST_BODY = 1024 * 1024
UNREADABLE_KEY = "unreadable_key"  # ours: nobody can tell who has signed it

_ACTIVE = Select(lambda: Company.objects.filter(endpoint_id=Given("endpoint_id"), is_active=True))


class TooLarge(APIException):
    status_code = 413
    default_detail = "The body is larger than 1 MiB."
    default_code = "too_large"


def read_body(request: Request) -> bytes:
    """The body as it was sent. Raises TooLarge (413), or ParseError (400) if the client went away."""
    try:
        length = int(request.META.get("CONTENT_LENGTH") or 0)
    except ValueError:
        raise ParseError("Content-Length is not a number.", code="no_length") from None
    if length > LONGEST_BODY:
        raise TooLarge
    try:
        body: bytes = request.body
    except RequestDataTooBig:
        raise TooLarge from None
    except UnreadablePostError:
        raise ParseError("The body broke off.", code="broke_off") from None
    if len(body) > LONGEST_BODY:
        raise TooLarge
    return body


def company_at(endpoint_id: UUID) -> Company:
    """Raises NotFound (404): nobody is there, or not any more."""
    try:
        company = _active(endpoint_id)
    except OperationalError:
        # The first query of every request: here a database that was restarted is noticed.
        drop_dead_connections()
        company = _active(endpoint_id)
    if company is None:
        raise NotFound("There is no such endpoint.")
    return company


def _active(endpoint_id: UUID) -> Company | None:
    try:
        return _ACTIVE.first(endpoint_id=endpoint_id)
    except CannotDecrypt:
        # Each of its secrets is opened where it is needed: of one that is lost, only that is out of reach.
        rows = Company.objects.filter(endpoint_id=endpoint_id, is_active=True)
        return without_secrets(rows).first()


class RetellSignature(BaseAuthentication):
    """`X-Retell-Signature` over the raw body with the company's Retell key, or its previous one.

    https://docs.retellai.com/features/secure-webhook. Sets `request.auth` to the Company.
    """

    def authenticate(self, request: Request) -> tuple[None, Company]:
        body = read_body(request)
        company = company_at(request.parser_context["kwargs"]["endpoint_id"])
        try:
            keys = company.retell_keys
        except CannotDecrypt:
            refuse(company, provider=WebhookEvent.Provider.RETELL, reason=UNREADABLE_KEY)
        verdict = signature.verify(
            body,
            request.META.get("HTTP_X_RETELL_SIGNATURE"),
            keys=keys,
            now_ms=time.time_ns() // 1_000_000,
        )
        if verdict is not signature.Verdict.VALID:
            refuse(company, provider=WebhookEvent.Provider.RETELL, reason=str(verdict))
        return None, company

    def authenticate_header(self, request: Request) -> str:
        # Without it DRF would answer 403; Retell is told 401, "your signature does not hold".
        return "X-Retell-Signature"


def refuse(company: Company, *, provider: WebhookEvent.Provider, reason: str) -> NoReturn:
    """Raises AuthenticationFailed (401), after the refusal was counted."""
    refusals.count(company=company, provider=provider, reason=reason)
    raise AuthenticationFailed("The signature does not hold.", code=f"signature_{reason}")

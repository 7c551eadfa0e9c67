"""Who sent this? Raw bytes and signature → Company. Nothing of the request is trusted before it holds.

The endpoint id in the URL says whose key to check with; it is an address, not a secret.
"""

from __future__ import annotations

import time
from abc import ABC, abstractmethod
from uuid import UUID

from django.core.exceptions import RequestDataTooBig
from django.db import OperationalError
from django.http import UnreadablePostError
from rest_framework.authentication import BaseAuthentication
from rest_framework.exceptions import APIException, AuthenticationFailed, NotFound, ParseError
from rest_framework.request import Request

from calls import refusals
from calls.models import WebhookEvent
from calls.retell import signature as retell_signature
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
        company = _ACTIVE.first(endpoint_id=endpoint_id)
    except OperationalError:
        # The first query of every request: here a database that was restarted is noticed.
        drop_dead_connections()
        company = _ACTIVE.first(endpoint_id=endpoint_id)
    if company is None:
        raise NotFound("There is no such endpoint.")
    return company


class CompanySignature(BaseAuthentication, ABC):
    """A signature over the raw body with a secret of the company whose endpoint it is sent to. Sets
    `request.auth` to the Company.
    """

    provider: WebhookEvent.Provider
    header: str

    @abstractmethod
    def why_refused(self, company: Company, *, body: bytes, signature: str | None) -> str:
        """What is the matter with the signature, in one word; blank if it holds. Raises CannotDecrypt."""

    def authenticate(self, request: Request) -> tuple[None, Company]:
        body = read_body(request)
        company = company_at(request.parser_context["kwargs"]["endpoint_id"])
        try:
            reason = self.why_refused(company, body=body, signature=request.headers.get(self.header))
        except CannotDecrypt:
            reason = UNREADABLE_KEY
        if reason:
            refusals.count(company=company, provider=self.provider, reason=reason)
            raise AuthenticationFailed("The signature does not hold.", code=f"signature_{reason}")
        return None, company

    def authenticate_header(self, request: Request) -> str:
        # Without it DRF would answer 403; a sender is told 401, "your signature does not hold".
        return self.header


class RetellSignature(CompanySignature):
    """With the company's Retell key, or its previous one.

    https://docs.retellai.com/features/secure-webhook
    """

    provider = WebhookEvent.Provider.RETELL
    header = "X-Retell-Signature"

    def why_refused(self, company: Company, *, body: bytes, signature: str | None) -> str:
        now_ms = time.time_ns() // 1_000_000
        verdict = retell_signature.verify(body, signature, keys=company.retell_keys, now_ms=now_ms)
        return "" if verdict is retell_signature.Verdict.VALID else str(verdict)

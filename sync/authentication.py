"""Who sent this delivery? Raw bytes and Cal.com's signature → Company."""

from __future__ import annotations

from rest_framework.authentication import BaseAuthentication
from rest_framework.request import Request

from booking.calcom import signature
from calls.authentication import UNREADABLE_KEY, company_at, read_body, refuse
from calls.models import WebhookEvent
from customers.encrypted_field import CannotDecrypt
from customers.models import Company


class CalcomSignature(BaseAuthentication):
    """`X-Cal-Signature-256` over the raw body with the company's webhook secret, or its previous one.

    https://cal.com/docs/developing/guides/automation/webhooks. Sets `request.auth` to the Company.
    """

    def authenticate(self, request: Request) -> tuple[None, Company]:
        body = read_body(request)
        company = company_at(request.parser_context["kwargs"]["endpoint_id"])
        header = request.META.get("HTTP_X_CAL_SIGNATURE_256")
        try:
            secrets = company.calcom_webhook_secrets
        except CannotDecrypt:
            refuse(company, provider=WebhookEvent.Provider.CALCOM, reason=UNREADABLE_KEY)
        if not signature.verify(body, header, secrets=secrets):
            reason = {None: "missing", "": "missing", signature.UNSIGNED: "unsigned"}.get(header, "mismatch")
            refuse(company, provider=WebhookEvent.Provider.CALCOM, reason=reason)
        return None, company

    def authenticate_header(self, request: Request) -> str:
        # Without it DRF would answer 403.
        return "X-Cal-Signature-256"

"""Who sent this delivery? Raw bytes and Cal.com's signature → Company."""

from __future__ import annotations

from booking.calcom import signature as calcom_signature
from calls.authentication import CompanySignature
from calls.models import WebhookEvent
from customers.models import Company


class CalcomSignature(CompanySignature):
    """With the company's webhook secret, or its previous one.

    https://cal.com/docs/developing/guides/automation/webhooks
    """

    provider = WebhookEvent.Provider.CALCOM
    header = "X-Cal-Signature-256"

    def why_refused(self, company: Company, *, body: bytes, signature: str | None) -> str:
        if calcom_signature.verify(body, signature, secrets=company.calcom_webhook_secrets):
            return ""
        if not signature:
            return "missing"
        return "unsigned" if signature == calcom_signature.UNSIGNED else "mismatch"

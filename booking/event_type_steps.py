"""What `webhooks` and `sync_services`, which go through the event types of a company, say alike."""

from __future__ import annotations

from enum import StrEnum

from booking.calcom.errors import CalcomError
from customers.masking import mask_text
from customers.models import Company

GONE = "The event type is gone at Cal.com: point the service at another, or switch it off."


class StepOutcome(StrEnum):
    """What became of one step."""

    KEPT = "kept"  # it was as it should be
    DONE = "done"
    PLANNED = "planned"  # a dry run
    LEFT = "left"  # for a person


def in_words(error: CalcomError, company: Company) -> str:
    """What Cal.com said, without people and without the secrets that it was sent. Raises CannotDecrypt."""
    said = error.message
    for secret in (company.calcom_api_key, *company.calcom_webhook_secrets):
        if secret:
            said = said.replace(secret, "…")
    said = mask_text(said)
    return f"{said} (HTTP {error.status})" if error.status else said

"""What was not understood, as an outcome that asks for it again."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from booking.outcomes import Code, Outcome


def invalid(errors: Mapping[str, Any]) -> Outcome:
    """From the errors of a serializer."""
    found = {field: str(messages[0]) for field, messages in errors.items()}
    return Outcome(Code.INVALID_REQUEST, reason=_first_reason(found), errors=found)


def _first_reason(errors: Mapping[str, str]) -> str:
    """The most useful thing to ask for first."""
    for field in ("start", "new_start", "date", "from", "to"):
        if field in errors:
            return f"start_{errors[field]}"
    for field in ("day", "slot_id", "customer_name", "customer_phone", "customer_email"):
        if field in errors:
            return f"{field}_{errors[field]}".replace(" ", "_")
    return ""

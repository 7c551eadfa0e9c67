"""Whoever guesses a password at the admin's door is kept waiting.

Counted by account and by the address that asks: guessing locks out the guesser, and not whoever has the
account. Behind a proxy the address is the right one only if TRUSTED_PROXIES names it.
"""

from __future__ import annotations

import hashlib
from typing import Any

import structlog
from django.contrib.admin.forms import AdminAuthenticationForm
from django.core.exceptions import ValidationError
from django.utils.translation import gettext_lazy as _

from booking import best_effort_cache

MOST_FAILURES = 10
WITHIN_SECONDS = 15 * 60

logger = structlog.get_logger(__name__)


class LoginForm(AdminAuthenticationForm):
    def clean(self) -> dict[str, Any]:
        guesses = self._guesses()
        if (best_effort_cache.read(guesses) or 0) >= MOST_FAILURES:
            logger.warning("login.kept_waiting")
            raise ValidationError(_("Too many attempts. Try again in a quarter of an hour."), code="too_many")
        try:
            return super().clean()
        except ValidationError:
            best_effort_cache.count_up(guesses, WITHIN_SECONDS)
            raise

    def _guesses(self) -> str:
        address = self.request.META.get("REMOTE_ADDR", "") if self.request else ""
        asked = f"{address} {self.cleaned_data.get('username', '').casefold()}"
        # Hashed: what people type there by mistake is their password.
        return f"login:{hashlib.sha256(asked.encode()).hexdigest()}"

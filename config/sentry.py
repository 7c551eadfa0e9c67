"""Error reports to Sentry: optional, off without SENTRY_DSN.

The SDK is not among our requirements; whoever wants it installs `sentry-sdk` beside them. A DSN without the
SDK is said in the log and otherwise does no harm: a booking system must not stop over its error reporter.
"""

import importlib
from typing import Any

import structlog
from django.conf import settings

from customers.masking import mask_value

logger = structlog.get_logger(__name__)


def _mask_event(event: dict[str, Any], _hint: dict[str, Any]) -> Any:
    return mask_value(event)


def start() -> bool:
    """Start reporting. True when it runs."""
    if not settings.SENTRY_DSN:
        return False
    try:
        sentry_sdk = importlib.import_module("sentry_sdk")
    except ModuleNotFoundError:
        logger.warning("sentry.not_installed", hint="pip install sentry-sdk, or unset SENTRY_DSN")
        return False
    sentry_sdk.init(
        dsn=settings.SENTRY_DSN,
        environment=settings.ENVIRONMENT,
        send_default_pii=False,
        include_local_variables=False,
        max_request_body_size="never",
        before_send=_mask_event,
    )
    return True

"""One telling line per request, and an id that stands in every line written on its way.

What a view binds to structlog's context variables stands in that line too. The query string does not: it
is where people's names end up when somebody searches.
"""

import logging
import re
import time
import uuid
from collections.abc import Callable
from typing import Any

import structlog
from django.http import HttpRequest, HttpResponse

_REQUEST_ID = re.compile(r"[A-Za-z0-9_.:\-]{1,64}")

logger = structlog.get_logger(__name__)


class RequestLineMiddleware:
    def __init__(self, get_response: Callable[[HttpRequest], HttpResponse]) -> None:
        self.get_response = get_response

    def __call__(self, request: HttpRequest) -> HttpResponse:
        started = time.monotonic()
        structlog.contextvars.clear_contextvars()
        structlog.contextvars.bind_contextvars(request_id=_request_id(request))
        try:
            response = self.get_response(request)
            logger.log(
                _level(response.status_code),
                "request_finished",
                request=f"{request.method} {request.path}",
                status=response.status_code,
                duration_ms=int((time.monotonic() - started) * 1000),
                **_who(request),
            )
            return response
        finally:
            structlog.contextvars.clear_contextvars()


def _request_id(request: HttpRequest) -> str:
    """The proxy's, so that its log and ours can be held side by side; otherwise a new one."""
    given = request.META.get("HTTP_X_REQUEST_ID", "")
    return given if _REQUEST_ID.fullmatch(given) else str(uuid.uuid4())


def _who(request: HttpRequest) -> dict[str, Any]:
    """Whose session it was, where somebody has looked: looking is a query, and makes a page uncacheable."""
    session = getattr(request, "session", None)
    if session is None or not session.accessed:
        return {}
    return {"user_id": request.user.pk}


def _level(status: int) -> int:
    if status >= 500:
        return logging.ERROR
    return logging.WARNING if status >= 400 else logging.INFO

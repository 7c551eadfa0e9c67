"""What the endpoints of `/hooks/` have in common: machines knock there, with a signature over raw bytes."""

from __future__ import annotations

from collections.abc import Iterable
from typing import Any

import structlog
from django.db import DatabaseError, InterfaceError
from django.http import HttpResponse
from rest_framework.exceptions import APIException, ParseError
from rest_framework.negotiation import BaseContentNegotiation
from rest_framework.renderers import BaseRenderer
from rest_framework.request import Request
from rest_framework.response import Response
from rest_framework.views import APIView

from customers.json_values import read_json

logger = structlog.get_logger(__name__)


class DatabaseAway(APIException):
    """Nothing was taken. Retell sends it again; what Cal.com does not, the next reconciliation finds."""

    status_code = 503
    default_detail = "It could not be stored. Send it again."
    default_code = "database_away"


class _OnlyJSON(BaseContentNegotiation):
    """Whatever `Accept` says: what cannot be answered in another form would be answered 406, and lost."""

    def select_renderer(
        self, request: Request, renderers: Iterable[BaseRenderer], format_suffix: str | None = None
    ) -> tuple[BaseRenderer, str]:
        renderer = next(iter(renderers))
        return renderer, str(renderer.media_type)


class HookView(APIView):
    """Subclasses say by `authentication_classes` whose signature they want; `request.auth` is the Company."""

    permission_classes = ()
    parser_classes = ()
    content_negotiation_class = _OnlyJSON

    def handle_exception(self, exc: Exception) -> Response:
        if isinstance(exc, (DatabaseError, InterfaceError)):
            logger.error("hook.not_taken", exc_info=exc)
            exc = DatabaseAway()
        if isinstance(exc, APIException):
            # Stands in the line that the middleware writes about the request.
            structlog.contextvars.bind_contextvars(reason=exc.get_codes())
        return super().handle_exception(exc)


def taken() -> HttpResponse:
    """200 with nothing in it: a delivery is stored."""
    response = HttpResponse()
    del response["Content-Type"]
    return response


def parsed(body: bytes) -> Any:
    """The JSON value in `body`. Raises ParseError (400)."""
    try:
        return read_json(body)
    except ValueError:
        raise ParseError("The body is not JSON.", code="not_json") from None

"""The short way to the hooks.

What Retell and Cal.com send is signed, and carries neither cookies nor forms: sessions, CSRF, users, messages
and framing mean nothing there, and cost each delivery time that a caller waits. So what comes after this
middleware in MIDDLEWARE is left out for `/hooks/`; what comes before it holds for every address.
"""

from collections.abc import Callable

from django.core.handlers.base import BaseHandler
from django.core.handlers.exception import convert_exception_to_response
from django.http import HttpRequest
from django.http.response import HttpResponseBase

HOOKS = "/hooks/"


class _Views(BaseHandler):
    """Django's innermost step (resolve the address, call the view, render), with no middleware around it."""

    _view_middleware = _template_response_middleware = _exception_middleware = ()

    def answer(self, request: HttpRequest) -> HttpResponseBase:
        response: HttpResponseBase = self._get_response(request)  # type: ignore[attr-defined]
        return response


class HooksLaneMiddleware:
    def __init__(self, get_response: Callable[[HttpRequest], HttpResponseBase]) -> None:
        self.get_response = get_response
        self.answer = convert_exception_to_response(_Views().answer)

    def __call__(self, request: HttpRequest) -> HttpResponseBase:
        if request.path_info.startswith(HOOKS):
            return self.answer(request)  # type: ignore[return-value]
        return self.get_response(request)

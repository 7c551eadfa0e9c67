"""What the endpoints of `/hooks/` have in common: machines knock there, with a signature over raw bytes."""

from __future__ import annotations

from collections.abc import Iterable

from rest_framework.negotiation import BaseContentNegotiation
from rest_framework.renderers import BaseRenderer
from rest_framework.request import Request
from rest_framework.views import APIView


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

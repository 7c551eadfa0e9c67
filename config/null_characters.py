"""No address of ours holds U+0000.

Forms refuse it field by field. What stands in an address is compared with columns by filters and searches,
and PostgreSQL takes no text with it: that would be an error of ours instead of a wrong request.
"""

from collections.abc import Callable

from django.http import HttpRequest, HttpResponse, HttpResponseBadRequest


class NullCharactersMiddleware:
    def __init__(self, get_response: Callable[[HttpRequest], HttpResponse]) -> None:
        self.get_response = get_response

    def __call__(self, request: HttpRequest) -> HttpResponse:
        if "\0" in request.path_info or "%00" in request.META.get("QUERY_STRING", ""):
            return HttpResponseBadRequest("U+0000 in the address.", content_type="text/plain")
        return self.get_response(request)

"""Bodies that come in chunks, without their length: what a proxy sends that does not buffer.

Django reads as many bytes as Content-Length says, and without one none at all: every signature over such a
body would be refused. A server that says where a body ends (`wsgi.input_terminated`) can be read to its end.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable
from io import BytesIO
from typing import Any

from django.conf import settings

Application = Callable[[dict[str, Any], Any], Iterable[bytes]]


def with_chunked_bodies(application: Application) -> Application:
    def answer(environ: dict[str, Any], start_response: Any) -> Iterable[bytes]:
        comes_in_chunks = "HTTP_TRANSFER_ENCODING" in environ and not environ.get("CONTENT_LENGTH")
        if comes_in_chunks and environ.get("wsgi.input_terminated"):
            # One byte more than is taken, by which it is seen to be too large.
            body = environ["wsgi.input"].read(settings.DATA_UPLOAD_MAX_MEMORY_SIZE + 1)
            environ = {**environ, "wsgi.input": BytesIO(body), "CONTENT_LENGTH": str(len(body))}
        return application(environ, start_response)

    return answer

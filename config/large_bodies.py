"""Bodies larger than is taken, read to their end all the same.

Such a request is refused by its Content-Length, before its body has come. A server that answers then and
closes resets the connection under whoever is still sending: they learn of a broken pipe, and not of the 413.
So what they still send is read and thrown away, within a bound.
"""

from __future__ import annotations

import contextlib
from collections.abc import Iterable
from typing import Any

from django.conf import settings

from config.chunked_bodies import Application

MOST_THROWN_AWAY = 4 * 1024 * 1024
PIECE = 64 * 1024


def with_large_bodies_read(application: Application) -> Application:
    def answer(environ: dict[str, Any], start_response: Any) -> Iterable[bytes]:
        response = application(environ, start_response)
        length = environ.get("CONTENT_LENGTH") or ""
        if length.isdecimal() and settings.DATA_UPLOAD_MAX_MEMORY_SIZE < int(length) <= MOST_THROWN_AWAY:
            with contextlib.suppress(OSError):  # they have gone
                while environ["wsgi.input"].read(PIECE):
                    pass
        return response

    return answer

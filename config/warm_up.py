"""What a web worker does before its first request: refuse unsafe settings, then pay the first-time costs.

A caller would otherwise wait for imports, tables and connections that every later request finds there.
Nothing here may keep the server from starting: a database that is away now may be back when the first call
comes.
"""

import contextlib
import contextvars
import gc
import io
import time
import uuid
from collections.abc import Callable

import structlog
from django.conf import settings
from django.core.cache import cache
from django.core.handlers.wsgi import WSGIRequest
from django.core.management.base import SystemCheckError
from django.db import connection
from django.db.models import Model, QuerySet
from django.urls import get_resolver, resolve, reverse
from django.utils import translation

from booking.models import Appointment, BookingAttempt, Service
from calls.models import Call, FunctionCall
from customers import phone_numbers, statements
from customers.models import Branch, Company, Customer, PhoneNumber, RetellAgent
from sync import deployment_checks

# A step that could wait (for a connection, for a lock) has a limit of its own; none begins later than this.
LONGEST_SECONDS = 3.0
# What a request asks for in a hurry. Not the archives, nor what only the staff and the worker read.
HOT_MODELS: tuple[type[Model], ...] = (
    Company, Branch, PhoneNumber, RetellAgent, Customer, Call, FunctionCall, Service, BookingAttempt,
    Appointment,
)  # fmt: skip
POOLED_CONNECTIONS = 3
POOL_SECONDS = 3.0
MOST_NUMBERS = 50

logger = structlog.get_logger(__name__)


def refuse_unsafe_deployment() -> None:
    """Raises SystemCheckError, naming every unsafe setting with its remedy. Nothing secret stands in it."""
    if why := deployment_checks.refusal():
        raise SystemCheckError(why)


def warm_up() -> None:
    """Do once what the first requests would otherwise wait for. Raises nothing; what fails is logged."""
    until = time.monotonic() + LONGEST_SECONDS
    try:
        for step in STEPS:
            if time.monotonic() > until:
                logger.warning("warm_up.out_of_time", left_out=step.__name__)
                break
            _try(step)
    finally:
        # Back to the pool: this thread serves no request.
        connection.close()
    # What was loaded until now stays for good: no later collection has to look through it again.
    gc.collect()
    gc.freeze()


def _try(step: Callable[[], None]) -> None:
    try:
        step()
    except Exception as error:  # noqa: BLE001  (a caller who waits a little is better than no server)
        logger.warning("warm_up.failed", step=step.__name__, error=repr(error))


def _addresses() -> None:
    resolver = get_resolver(settings.ROOT_URLCONF)
    _ = resolver.url_patterns
    resolver._populate()  # noqa: SLF001  (what the first reverse() would do)


def _translations() -> None:
    for language, _name in settings.LANGUAGES:
        with translation.override(language):
            translation.gettext("warm-up")


def _cache() -> None:
    cache.get("warm-up")


def _connections() -> None:
    """A few, for the callers who come at the same moment."""
    pool = getattr(connection, "pool", None)
    if pool is None:
        return
    pool.open()
    pool.wait(timeout=POOL_SECONDS)
    connection.ensure_connection()
    with contextlib.ExitStack() as held:
        for _ in range(min(POOLED_CONNECTIONS, pool.max_size) - 1):
            held.enter_context(pool.connection(timeout=POOL_SECONDS))
        connection.close()


def _models() -> None:
    """One row of each, on the connection that has rested longest: the pool hands them out in turn, and each
    is a server process that has yet to learn the tables.
    """
    for model in HOT_MODELS:
        QuerySet(model).order_by("pk").first()
    connection.close()


def _statements() -> None:
    statements.compile_all()


def _numbers() -> None:
    """The number plans of the countries we are called in. Each is a file of its own."""
    for number in PhoneNumber.objects.values_list("number", flat=True)[:MOST_NUMBERS]:
        phone_numbers.normalise(number, region=phone_numbers.region_of(number))


def _hook() -> None:
    """One delivery to an endpoint that cannot exist: the view looks for its company and says 404."""
    path = reverse("retell-function", kwargs={"endpoint_id": uuid.UUID(int=0), "name": "warm-up"})
    match = resolve(path)
    request = WSGIRequest(
        {
            "REQUEST_METHOD": "POST",
            "PATH_INFO": path,
            "SERVER_NAME": "localhost",
            "SERVER_PORT": "80",
            "CONTENT_LENGTH": "2",
            "CONTENT_TYPE": "application/json",
            "wsgi.input": io.BytesIO(b"{}"),
            "wsgi.url_scheme": "http",
        }
    )
    # What the view has to say for the line about its request is in no other line.
    contextvars.copy_context().run(match.func, request, *match.args, **match.kwargs)


STEPS = (
    _addresses,
    _translations,
    _cache,
    _connections,
    *[_models] * POOLED_CONNECTIONS,
    _statements,
    _numbers,
    _hook,
)

"""Liveness and readiness.

`alive` says that this process answers, and asks nobody: an orchestrator restarts what fails it, and
restarting web servers does not bring a database back. `ready` says whether work would succeed now.
"""

import concurrent.futures
import datetime as dt
import secrets
from collections.abc import Callable
from typing import Any, TypeVar

import structlog
from django.conf import settings
from django.core.cache import cache
from django.db import InterfaceError, OperationalError, connection
from django.http import HttpRequest, HttpResponse, JsonResponse
from django.utils import timezone
from django.views.decorators.cache import never_cache
from kombu import Connection
from redis.exceptions import ResponseError

from customers.clocks import CLOCKS_DIFFER_BY
from customers.database import drop_dead_connections
from sync.models import BEAT_LEASE, Lease

T = TypeVar("T")

logger = structlog.get_logger(__name__)

# Beat ticks at least every 5 s and renews its lease each time: 90 s is dead, not slow.
HEARTBEAT_MAX_AGE = dt.timedelta(seconds=90)
# What probes wait for an answer is usually 1 to 5 s; a check that is slower has failed.
CHECK_TIMEOUT_SECONDS = 2.0


class NotReady(Exception):
    """A check's verdict, in words fit for an outsider: no address, no credentials."""


def check_database() -> None:
    if not _asked(_takes_writes):
        raise NotReady("takes no writes: it is a standby, or read-only by default")


def _asked(question: Callable[[], T]) -> T:
    """The answer of the database as it is now: a connection from before its restart says nothing about it."""
    connection.ensure_connection()  # with none to be had it is out of reach, and asking again takes too long
    try:
        return question()
    except (OperationalError, InterfaceError):
        drop_dead_connections()
        return question()


def _takes_writes() -> bool:
    with connection.cursor() as cursor:
        if connection.vendor == "sqlite":
            cursor.execute("SELECT 1")
            return cursor.fetchone() is not None
        cursor.execute("SHOW transaction_read_only")
        return bool(cursor.fetchone() == ("off",))


def check_cache() -> None:
    token = secrets.token_hex(8)
    cache.set(f"ready:{token}", token, timeout=10)
    if cache.get(f"ready:{token}") != token:
        raise NotReady("what was written could not be read back")
    cache.delete(f"ready:{token}")


def check_broker() -> None:
    if settings.CELERY_BROKER_URL == "memory://":
        raise NotReady("no broker is configured")
    with Connection(
        settings.CELERY_BROKER_URL,
        connect_timeout=1,
        transport_options={"socket_connect_timeout": 1, "socket_timeout": 1, "max_retries": 0},
    ) as broker:
        channel: Any = broker.default_channel  # its Redis client is not in the type stubs
        try:
            channel.client.set("slotkeeper:ready", "", ex=10)
        except ResponseError as error:
            # Full, a replica, or not ours to write: it answers, and no task can be queued.
            raise NotReady("takes no writes") from error


def check_beat() -> None:
    leases = Lease.objects.filter(name=BEAT_LEASE).values_list("renewed_at", flat=True)
    renewed_at = _asked(leases.first)
    if renewed_at is None:
        raise NotReady("has never run")
    age = timezone.now() - renewed_at
    if age > HEARTBEAT_MAX_AGE:
        raise NotReady(f"last heartbeat {int(age.total_seconds())} s ago")
    if -age > CLOCKS_DIFFER_BY:
        raise NotReady(f"last heartbeat {int(-age.total_seconds())} s in the future: a clock was wrong")


# Each raises NotReady, or what its driver raises where nothing answers at all.
CHECKS: dict[str, Callable[[], None]] = {
    "database": check_database,
    "cache": check_cache,
    "broker": check_broker,
    "beat": check_beat,
}


def _verdict(name: str, check: Callable[[], None]) -> str:
    try:
        check()
    except NotReady as verdict:
        return str(verdict)
    except Exception as error:  # noqa: BLE001  (whatever is wrong is the answer, not a 500)
        logger.warning("health.not_ready", check=name, error=repr(error))
        return "unreachable"
    finally:
        connection.close()  # each check runs in a thread of its own; the connection goes back to the pool
    return "ok"


# Threads, because not every driver below honours a timeout. One that hangs keeps its thread; the next probe
# then finds none free and fails as well, which is the truth.
_checkers = concurrent.futures.ThreadPoolExecutor(max_workers=2 * len(CHECKS), thread_name_prefix="ready")


@never_cache
def alive(_request: HttpRequest) -> HttpResponse:
    return HttpResponse("ok\n", content_type="text/plain")


@never_cache
def ready(_request: HttpRequest) -> JsonResponse:
    running = {name: _checkers.submit(_verdict, name, check) for name, check in CHECKS.items()}
    concurrent.futures.wait(running.values(), timeout=CHECK_TIMEOUT_SECONDS)
    verdicts = {
        name: future.result() if future.done() else f"no answer within {CHECK_TIMEOUT_SECONDS:g} s"
        for name, future in running.items()
    }
    is_ready = all(verdict == "ok" for verdict in verdicts.values())
    return JsonResponse({"ready": is_ready, "checks": verdicts}, status=200 if is_ready else 503)

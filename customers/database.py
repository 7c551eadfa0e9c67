from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager, suppress
from typing import Any

from django.conf import settings
from django.db import DatabaseError, InterfaceError, connection, transaction

SHORTEST_WAIT = 0.3


def drop_dead_connections() -> None:
    """After an error that may mean a restarted database: the next query is made on a new connection.

    Every connection in the pool is as dead as the one that failed. Having the pool check each one it hands
    out would cost every request a round trip, and a second of backing off for each dead one; so they go all
    at once, when the first of them is found out.
    """
    connection.close()
    pool = getattr(connection, "pool", None)
    if pool is not None:
        pool.drain()


@contextmanager
def transaction_that_may_be_lost() -> Iterator[None]:
    """A transaction that commits without waiting for the disk: for what is done again if it was not done.

    Everybody sees it at once and a crash of ours does not touch it; a power cut within the second can take it
    along, as a whole. Inside of another transaction that one decides.
    """
    if connection.in_atomic_block:
        with transaction.atomic():
            yield
    elif connection.vendor == "sqlite":
        _set("PRAGMA synchronous=NORMAL")
        try:
            with transaction.atomic():
                yield
        finally:
            _set("PRAGMA synchronous=FULL")
    else:
        with transaction.atomic():
            _set("SET LOCAL synchronous_commit TO off")
            yield


@contextmanager
def waiting_at_most(seconds: float) -> Iterator[None]:
    """Wait no longer than that, if it is less than usual, for what somebody else holds: for whoever has
    waited for it before, with a caller on the line. Not for use inside of a transaction. Raises what the
    database raises.
    """
    if seconds >= settings.DATABASE_WAIT_SECONDS:
        yield
        return
    seconds = max(seconds, SHORTEST_WAIT)
    connection.ensure_connection()
    driver: Any = connection.connection
    if connection.vendor == "sqlite":
        driver.wait_seconds = seconds
    else:
        _set(f"SET lock_timeout TO {int(seconds * 1000)}")
    try:
        yield
    finally:
        if connection.vendor == "sqlite":
            driver.wait_seconds = settings.DATABASE_WAIT_SECONDS
        elif connection.connection is not None:  # a new one waits as usual anyway
            with suppress(DatabaseError, InterfaceError):
                _set("RESET lock_timeout")


def _set(what: str) -> None:
    with connection.cursor() as cursor:
        cursor.execute(what)

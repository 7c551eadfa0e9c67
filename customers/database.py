from __future__ import annotations

from django.db import connection


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

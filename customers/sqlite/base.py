"""Django's SQLite with another way of waiting for the lock: `ENGINE = "customers.sqlite"`.

One connection at a time can write. SQLite's own way to wait for the others is to look again after longer and
longer pauses, of a tenth of a second at last: with many callers at once somebody is never there at the right
moment, and is told that the database is locked while others have been served in between. Here whoever waits
looks again every few milliseconds, and the more often the longer they have waited. The option `timeout` says
for how long, in seconds, as it does with Django's.
"""

from __future__ import annotations

import sqlite3
import time
from collections.abc import Callable
from typing import Any, TypeVar

from django.db.backends.sqlite3 import base

T = TypeVar("T")

_PAUSE_SECONDS = 0.003
# After so many seconds twice as often, after two of them three times, and so on.
_GROWS_IMPATIENT_SECONDS = 0.1
# Not what is busy for good: a snapshot that is read from and no longer the newest (SQLITE_BUSY_SNAPSHOT).
_PASSES = (sqlite3.SQLITE_BUSY, sqlite3.SQLITE_BUSY_RECOVERY)


class Connection(sqlite3.Connection):
    wait_seconds: float

    def when_free(self, run: Callable[[], T]) -> T:
        """Run a statement that is a transaction of its own, or begins one. If it finds the database busy it
        has done nothing, so it is run again.
        """
        self.execute("PRAGMA busy_timeout=0")
        try:
            begun = time.monotonic()
            while True:
                try:
                    return run()
                except sqlite3.OperationalError as error:
                    waited = time.monotonic() - begun
                    if getattr(error, "sqlite_errorcode", 0) not in _PASSES or waited >= self.wait_seconds:
                        raise
                time.sleep(_PAUSE_SECONDS / (1 + waited / _GROWS_IMPATIENT_SECONDS))
        finally:
            self.execute(f"PRAGMA busy_timeout={int(self.wait_seconds * 1000)}")


class Cursor(base.SQLiteCursorWrapper):
    connection: Connection

    def execute(self, query: str, params: Any = None) -> Any:
        if self.connection.in_transaction:  # begun with the lock (IMMEDIATE): nobody to wait for
            return super().execute(query, params)
        return self.connection.when_free(lambda: super(Cursor, self).execute(query, params))


class DatabaseWrapper(base.DatabaseWrapper):
    def get_new_connection(self, conn_params: dict[str, Any]) -> Connection:
        connection: Connection = super().get_new_connection({**conn_params, "factory": Connection})
        connection.wait_seconds = conn_params.get("timeout", 5.0)  # sqlite3's own default
        return connection

    def create_cursor(self, name: str | None = None) -> Any:
        return self.connection.cursor(factory=Cursor)

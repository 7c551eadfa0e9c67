"""A database that refuses a row, by a trigger: what a botched migration or a full disk looks like."""

from __future__ import annotations

import itertools
from collections.abc import Iterator
from contextlib import contextmanager

from django.db import connection

_numbers = itertools.count(1)


class Refusals:
    """The triggers of one test. `add` makes one, `drop` takes all away again."""

    def __init__(self) -> None:
        self._made: list[tuple[str, str]] = []

    def add(
        self, table: str, event: str, *, text: str, when: str = "", error: str = "raise_exception"
    ) -> None:
        """Refuse each row of `table` on INSERT or UPDATE. `when` is a condition on NEW, `error` the name of
        PostgreSQL's error (on SQLite it is always a failed constraint)."""
        name = f"refusal_{next(_numbers)}"
        condition = f"WHEN ({when})" if when else ""
        with connection.cursor() as cursor:
            if connection.vendor == "sqlite":
                cursor.execute(
                    f"CREATE TRIGGER {name} BEFORE {event} ON {table} FOR EACH ROW {condition} "
                    f"BEGIN SELECT RAISE(ABORT, '{text}'); END"
                )
            else:
                cursor.execute(
                    f"CREATE FUNCTION {name}() RETURNS trigger LANGUAGE plpgsql AS "
                    f"$$ BEGIN RAISE EXCEPTION USING MESSAGE = '{text}', ERRCODE = '{error}'; END $$"
                )
                cursor.execute(
                    f"CREATE TRIGGER {name} BEFORE {event} ON {table} FOR EACH ROW {condition} "
                    f"EXECUTE FUNCTION {name}()"
                )
        self._made.append((name, table))

    def drop(self) -> None:
        with connection.cursor() as cursor:
            while self._made:
                name, table = self._made.pop()
                if connection.vendor == "sqlite":
                    cursor.execute(f"DROP TRIGGER {name}")
                else:
                    cursor.execute(f"DROP TRIGGER {name} ON {table}")
                    cursor.execute(f"DROP FUNCTION {name}()")


@contextmanager
def refusals() -> Iterator[Refusals]:
    made = Refusals()
    try:
        yield made
    finally:
        made.drop()

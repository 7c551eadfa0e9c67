"""Empty the tables after a test by deleting what it wrote.

Django empties all of them and has content types, permissions and groups made anew. That is a fifth of a
second after each of more than a thousand tests; deleting a few rows is some milliseconds. Where a test has
written a great many, or has touched what is kept, Django's way is taken.
"""

from __future__ import annotations

from typing import Any

from django.db import connections, transaction
from django.db.backends.base.base import BaseDatabaseWrapper
from django.test import TransactionTestCase

# What stands there after the migrations, for every test alike.
KEPT = ("django_content_type", "auth_permission", "auth_group", "auth_group_permissions")
# More rows than this are sooner gone with their whole table.
MANY_ROWS = 2000

Fingerprint = tuple[tuple[int, int | None], ...]

_as_migrated: dict[str, Fingerprint] = {}
_django_teardown = TransactionTestCase._fixture_teardown  # type: ignore[attr-defined]


def install() -> None:
    """From now on, for every test that commits what it does."""
    TransactionTestCase._fixture_teardown = _empty  # type: ignore[attr-defined]


def _empty(test: Any) -> None:
    names = test._databases_names(include_mirrors=False)
    if not all(_delete_rows(connections[name]) for name in names):
        _django_teardown(test)
        _as_migrated.update({name: _fingerprint(connections[name]) for name in names})


def _fingerprint(connection: BaseDatabaseWrapper) -> Fingerprint:
    quote = connection.ops.quote_name
    counted = (f"SELECT COUNT(*), MAX(id) FROM {quote(table)}" for table in KEPT)
    with connection.cursor() as cursor:
        cursor.execute(" UNION ALL ".join(counted))
        return tuple(cursor.fetchall())


def _delete_rows(connection: BaseDatabaseWrapper) -> bool:
    """Whether it was done: False if Django has to."""
    tables = connection.introspection.django_table_names(only_existing=True, include_views=False)
    written = sorted({*tables} - {*KEPT})
    quote = connection.ops.quote_name
    with transaction.atomic(using=connection.alias), connection.cursor() as cursor:
        if connection.vendor == "postgresql":
            # As TRUNCATE does: whoever still writes is waited for.
            cursor.execute(f"LOCK TABLE {', '.join(map(quote, written))} IN SHARE ROW EXCLUSIVE MODE")
        if _fingerprint(connection) != _as_migrated.get(connection.alias):
            return False
        some = (
            f"SELECT {number}, COUNT(*) FROM (SELECT 1 FROM {quote(table)} LIMIT {MANY_ROWS + 1}) AS t"
            for number, table in enumerate(written)
        )
        cursor.execute(" UNION ALL ".join(some))
        rows = {written[number]: count for number, count in cursor.fetchall() if count}
        if max(rows.values(), default=0) > MANY_ROWS:
            return False
        # References are checked at the end of the transaction, so the order does not matter.
        for table in rows:
            cursor.execute(f"DELETE FROM {quote(table)}")
    return True

"""Comparing a column with thousands of values, and joining with as many, on PostgreSQL.

Both must not depend on what it has last counted in a table: one that was filled a moment ago it takes for an
empty one, and goes through it once for every value.
"""

from __future__ import annotations

from collections.abc import Collection, Iterable, Iterator
from contextlib import contextmanager
from typing import Any

from django.db import connection, transaction
from django.db.models import BooleanField, Field, Model, Q
from django.db.models.expressions import RawSQL


def any_of(model: type[Model], name: str, values: Collection[Any]) -> Q | RawSQL:
    """The condition that a column of the model is one of these: one array on PostgreSQL, because taking apart
    a parameter for each costs more than the look-up.
    """
    if connection.vendor != "postgresql":
        return Q(**{f"{name}__in": values})
    options = model._meta  # noqa: SLF001 - the documented way to a model's columns
    field = options.get_field(name)
    if not isinstance(field, Field):
        raise TypeError(f"{name} is no column")
    quote = connection.ops.quote_name
    column = f"{quote(options.db_table)}.{quote(str(field.column))}"
    condition = f"{column} = ANY(%s::{field.db_type(connection)}[])"
    return RawSQL(condition, [array(values)], output_field=BooleanField())  # noqa: S611 - no value in the text


def array(values: Iterable[object]) -> str:
    """Whole numbers, or texts, as PostgreSQL spells an array. The driver takes a list apart value by value,
    which costs ten times as much.
    """
    each = list(values)
    texts = list(map(str, each))
    plain = ",".join(texts)
    if set(map(type, each)) <= {int}:
        return f"{{{plain}}}"
    if "\\" in plain or '"' in plain:
        texts = [text.replace("\\", "\\\\").replace('"', '\\"') for text in texts]
    return '{"' + '","'.join(texts) + '"}'


@contextmanager
def read_by_index() -> Iterator[None]:
    """Reading with long lists. On PostgreSQL it is a transaction, and must be short.

    A statement is planned each time for the list it is given. After a few rounds PostgreSQL would rather plan
    it once for all, and a list that it does not know beforehand is gone through for every row. (For writing
    that must not be said: each check of a foreign key would be planned anew, too.)
    """
    if connection.vendor != "postgresql":
        yield
        return
    with transaction.atomic():
        join_by_hash()
        with connection.cursor() as cursor:
            cursor.execute("SET LOCAL plan_cache_mode = force_custom_plan")
        yield


def join_by_hash() -> None:
    """For the rest of this transaction: rows are looked up by index and joined by hash, as many as they
    are.
    """
    if connection.vendor == "postgresql":
        with connection.cursor() as cursor:
            cursor.execute("SET LOCAL enable_seqscan = off; SET LOCAL enable_nestloop = off")

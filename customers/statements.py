"""The statements that every call runs, put into words once per process.

Django needs longer to build the text of a statement (about a millisecond of processor time, each time) than
the database needs to run it, and a caller waits for some twenty of them. Here the text is built once; what
remains per request is converting the values, by the fields' own rules, and the round trip. What is not run
while somebody waits stays with the ORM.

A `Select` is written as the queryset it stands for, and Django itself compiles it. `insert` and `update` send
no signals and know neither expressions nor lookups other than equality.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from functools import cached_property, lru_cache
from typing import Any, Generic, TypeVar

from django.db import DEFAULT_DB_ALIAS, connections
from django.db.backends.base.base import BaseDatabaseWrapper
from django.db.models import Expression, Field, Model, QuerySet
from django.db.models.query import get_related_populators

M = TypeVar("M", bound=Model)

# PostgreSQL's word for it, until the end of the transaction: outside of one, that is of its statement.
_NOT_SYNCED = "set_config('synchronous_commit', 'off', true)"


_SELECTS: list[Select[Any]] = []


def compile_all() -> None:
    """What each Select would otherwise do when it is run for the first time."""
    for select in _SELECTS:
        _ = select._compiled  # noqa: SLF001


class Given(Expression):
    """Stands in the queryset of a `Select` for a value that comes with the request. It is converted as a
    value of the model's field `of`, by default the field of the same name; of a foreign key that is the id.
    """

    def __init__(self, name: str, *, of: str = "") -> None:
        super().__init__()
        self.name = name
        self.of = of or name

    def as_sql(self, compiler: Any, connection: Any) -> Any:
        return "%s", [self]


@dataclass(frozen=True)
class _Compiled:
    sql: str
    parameters: list[tuple[str | None, Any]]  # the name of a given value and its field, or None and the value
    converters: list[tuple[int, list[Callable[..., Any]], Any]]
    model: type[Model]
    names: list[str]
    columns: slice
    populators: list[Any]


class Select(Generic[M]):
    """A queryset with gaps, compiled when it is run for the first time.

        CALL = Select(lambda: Call.objects.filter(company=Given("company"), ...).select_related("branch"))
        call = CALL.first(company=company.pk, ...)
    """  # fmt: skip

    def __init__(self, build: Callable[[], QuerySet[M, Any]]) -> None:
        self.build = build
        _SELECTS.append(self)

    def all(self, **given: Any) -> list[M]:
        compiled = self._compiled
        found = []
        for row in self._rows(given):
            instance: Any = compiled.model.from_db(DEFAULT_DB_ALIAS, compiled.names, row[compiled.columns])
            for populator in compiled.populators:
                populator.populate(row, instance)
            found.append(instance)
        return found

    def first(self, **given: Any) -> M | None:
        found = self.all(**given)
        return found[0] if found else None

    def exists(self, **given: Any) -> bool:
        return bool(self._rows(given))

    def _rows(self, given: dict[str, Any]) -> list[Any]:
        compiled = self._compiled
        connection = connections[DEFAULT_DB_ALIAS]
        parameters = [
            value if name is None else value.get_db_prep_value(given[name], connection)
            for name, value in compiled.parameters
        ]
        with connection.cursor() as cursor:
            cursor.execute(compiled.sql, parameters)
            rows: list[Any] = cursor.fetchall()
        if not compiled.converters:
            return rows
        return [_converted(row, compiled.converters, connection) for row in rows]

    @cached_property
    def _compiled(self) -> _Compiled:
        queryset = self.build()
        # A connection that is never opened: what is compiled outlives the thread that happens to be first.
        connection = connections.create_connection(DEFAULT_DB_ALIAS)
        compiler: Any = queryset.query.get_compiler(connection=connection)
        sql, parameters = compiler.as_sql()
        fields = compiler.klass_info["select_fields"]
        populators: Any = get_related_populators  # the stubs are of a later Django
        columns = slice(fields[0], fields[-1] + 1)
        return _Compiled(
            sql=sql,
            parameters=[
                (p.name, _field(queryset.model, p.of)) if isinstance(p, Given) else (None, p)
                for p in parameters
            ],
            converters=[
                (index, *found)
                for index, found in compiler.get_converters([s[0] for s in compiler.select]).items()
            ],
            model=queryset.model,
            names=[selected[0].target.attname for selected in compiler.select[columns]],
            columns=columns,
            populators=populators(compiler.klass_info, compiler.select, DEFAULT_DB_ALIAS),
        )


def _field(model: type[Model], path: str) -> Any:
    *relations, name = path.split("__")
    for relation in relations:
        model = _options(model).get_field(relation).related_model
    return _options(model).get_field(name)


def _options(model: type[Model]) -> Any:
    return model._meta  # noqa: SLF001  (public in all but its name)


def _converted(row: Any, converters: list[Any], connection: BaseDatabaseWrapper) -> list[Any]:
    values = list(row)
    for index, convert, expression in converters:
        for one in convert:
            values[index] = one(values[index], expression, connection)
    return values


def insert(row: Model, *, unless_there: bool = False, may_be_lost: bool = False) -> bool:
    """Store a new row and set its primary key.

    `unless_there`: where a unique constraint is in the way nothing is stored and False returned, instead of
    IntegrityError raised. `may_be_lost`: outside of a transaction this is committed without waiting for the
    disk. Everybody sees the row at once and a crash of ours does not touch it; a power cut within the second
    can take it along, unless anything that was committed later, waiting for the disk, has carried it there.
    """
    connection = connections[DEFAULT_DB_ALIAS]
    in_a_hurry = may_be_lost and not connection.in_atomic_block
    sql, fields = _insert(type(row), connection.vendor, unless_there, in_a_hurry)
    values = [field.get_db_prep_save(field.pre_save(row, True), connection) for field in fields]
    with connection.cursor() as cursor, _unsynced(cursor, connection.vendor if in_a_hurry else ""):
        cursor.execute(sql, values)
        returned = cursor.fetchall()
    if not returned:
        return False
    row.pk = returned[0][0]
    row._state.adding = False  # noqa: SLF001  (as Model.save does)
    row._state.db = DEFAULT_DB_ALIAS  # noqa: SLF001
    return True


def update(model: type[Model], where: dict[str, Any], /, *, may_be_lost: bool = False, **values: Any) -> int:
    """Change the rows whose fields equal those of `where` (a tuple: one of them), and say how many that
    were. `may_be_lost`: as for an insert.
    """
    if () in where.values():
        return 0  # one of none
    connection = connections[DEFAULT_DB_ALIAS]
    in_a_hurry = may_be_lost and not connection.in_atomic_block
    shape = tuple((name, len(asked) if isinstance(asked, tuple) else 0) for name, asked in where.items())
    sql, changed, compared = _update(model, shape, tuple(values))
    if in_a_hurry and connection.vendor == "postgresql":
        sql += f" RETURNING {_NOT_SYNCED}"
    parameters = [
        field.get_db_prep_save(_plain(value), connection)
        for field, value in zip(changed, values.values(), strict=True)
    ]
    for field, asked in zip(compared, where.values(), strict=True):
        parts = asked if isinstance(asked, tuple) else (asked,)
        parameters += [field.get_db_prep_value(_plain(part), connection) for part in parts]
    with connection.cursor() as cursor, _unsynced(cursor, connection.vendor if in_a_hurry else ""):
        cursor.execute(sql, parameters)
        return int(cursor.rowcount)


def _plain(value: Any) -> Any:
    return value.pk if isinstance(value, Model) else value


@contextmanager
def _unsynced(cursor: Any, vendor: str) -> Iterator[None]:
    if vendor != "sqlite":
        yield
        return
    cursor.execute("PRAGMA synchronous=NORMAL")
    try:
        yield
    finally:
        cursor.execute("PRAGMA synchronous=FULL")


@lru_cache(maxsize=64)
def _insert(
    model: type[Model], vendor: str, unless_there: bool, in_a_hurry: bool
) -> tuple[str, list[Field[Any, Any]]]:
    quote = connections[DEFAULT_DB_ALIAS].ops.quote_name
    options = _options(model)
    fields = [field for field in options.concrete_fields if not field.primary_key]
    returning = quote(options.pk.column)
    if in_a_hurry and vendor == "postgresql":
        returning += f", {_NOT_SYNCED}"
    columns = ", ".join(quote(field.column) for field in fields)
    values = ", ".join(["%s"] * len(fields))
    conflict = "ON CONFLICT DO NOTHING " if unless_there else ""
    sql = f"INSERT INTO {quote(options.db_table)} ({columns}) VALUES ({values}) {conflict}"  # noqa: S608
    return f"{sql}RETURNING {returning}", fields


@lru_cache(maxsize=256)
def _update(
    model: type[Model], where: tuple[tuple[str, int], ...], names: tuple[str, ...]
) -> tuple[str, list[Field[Any, Any]], list[Field[Any, Any]]]:
    quote = connections[DEFAULT_DB_ALIAS].ops.quote_name
    changed = [_field(model, name) for name in names]
    compared = [_field(model, name) for name, _ in where]
    assigned = ", ".join(f"{quote(field.column)} = %s" for field in changed)
    conditions = " AND ".join(
        f"{quote(field.column)} " + (f"IN ({', '.join(['%s'] * count)})" if count else "= %s")
        for field, (_, count) in zip(compared, where, strict=True)
    )
    table = quote(_options(model).db_table)
    return f"UPDATE {table} SET {assigned} WHERE {conditions}", changed, compared  # noqa: S608  (names, no values)

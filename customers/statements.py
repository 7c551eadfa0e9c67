"""The statements that every call runs, put into words once per process.

Django needs longer to build the text of a statement (about a millisecond of processor time, each time) than
the database needs to run it, and a caller waits for a dozen of them. Here the text is built once; what
remains per request is converting the values, by the fields' own rules, and the round trip. What is not run
while somebody waits stays with the ORM.

A `Select` is written as the queryset it stands for, and Django itself compiles it. What inserts and updates
sends no signals and knows neither expressions nor lookups other than equality.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from contextlib import suppress
from dataclasses import dataclass
from functools import cached_property, lru_cache
from typing import Any, Generic, TypeVar

from django.db import DEFAULT_DB_ALIAS, connections, models, transaction
from django.db.backends.base.base import BaseDatabaseWrapper
from django.db.models import Expression, Field, Model, QuerySet
from django.db.models.query import get_related_populators

M = TypeVar("M", bound=Model)
T = TypeVar("T")

# PostgreSQL's word for it, until the end of the transaction: outside of one, that is of its statement.
_NOT_SYNCED = "set_config('synchronous_commit', 'off', true)"


# Values that both databases take as they are, if they are of this very type (or None). The field converts any
# other.
_AS_IT_IS: dict[type[Field[Any, Any]], type] = {
    models.BigAutoField: int,
    models.BooleanField: bool,
    models.CharField: str,
    models.EmailField: str,
    models.ForeignKey: int,
    models.IntegerField: int,
    models.BigIntegerField: int,
    models.PositiveIntegerField: int,
    models.PositiveSmallIntegerField: int,
    models.SlugField: str,
    models.TextField: str,
}

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


class _Column:
    """A field that is written or compared: how its values get to the database."""

    def __init__(self, field: Any) -> None:
        self.field = field
        self.attname = field.attname
        self.fills_in = type(field).pre_save is not Field.pre_save  # a moment of its own, for instance
        self.as_it_is = _AS_IT_IS.get(type(field))

    def of(self, row: Model, connection: BaseDatabaseWrapper) -> Any:
        """What is stored of a new row."""
        if self.fills_in:
            return self.to_store(self.field.pre_save(row, True), connection)
        return self.to_store(getattr(row, self.attname), connection)

    def to_store(self, value: Any, connection: BaseDatabaseWrapper) -> Any:
        if value is None or type(value) is self.as_it_is:
            return value
        if isinstance(value, Model):
            value = value.pk
        return self.field.get_db_prep_save(value, connection)

    def to_compare(self, value: Any, connection: BaseDatabaseWrapper) -> Any:
        if value is None or type(value) is self.as_it_is:
            return value
        if isinstance(value, Model):
            value = value.pk
        return self.field.get_db_prep_value(value, connection)


@dataclass(frozen=True)
class _Compiled:
    sql: str
    parameters: list[tuple[str | None, Any]]  # a given one's name and column, or None and the value
    converters: list[tuple[int, list[Callable[..., Any]], Any]]
    model: type[Model]
    names: list[str]
    columns: slice
    populators: list[Any]


class Select(Generic[M]):
    """A queryset with gaps, compiled when it is run for the first time.

        CALL = Select(lambda: Call.objects.filter(company=Given("company"), ...).select_related("branch"))
        call = CALL.first(company=company.pk, ...)

    `lock`: what is held until the end of the transaction, in PostgreSQL's words ("FOR NO KEY UPDATE"). In
    SQLite a write transaction is alone.
    """  # fmt: skip

    def __init__(self, build: Callable[[], QuerySet[M, Any]], *, lock: str = "") -> None:
        self.build = build
        self.lock = lock
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
            value if name is None else value.to_compare(given[name], connection)
            for name, value in compiled.parameters
        ]
        rows = _run(connection, compiled.sql, parameters, _fetch)
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
        if self.lock and connection.features.has_select_for_update:
            sql += f" {self.lock}"
        return _Compiled(
            sql=sql,
            parameters=[
                (p.name, _Column(_field(queryset.model, p.of))) if isinstance(p, Given) else (None, p)
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
    sql, columns = _insert(type(row), connection.vendor, unless_there, in_a_hurry)
    values = [column.of(row, connection) for column in columns]
    returned = _run(connection, sql, values, _fetch, in_a_hurry=in_a_hurry)
    if not returned:
        return False
    _is_stored(row, returned[0][0])
    return True


def insert_both(parent: Model, child: Model, *, link: str) -> None:
    """Store two new rows, the second with its foreign key `link` to the first. Both or none."""
    connection = connections[DEFAULT_DB_ALIAS]
    if connection.vendor != "postgresql":
        with transaction.atomic():
            insert(parent)
            setattr(child, link, parent)
            insert(child)
        return
    sql, columns, linked = _insert_both(type(parent), type(child), link)
    values = [column.of(parent, connection) for column in columns]
    values += [column.of(child, connection) for column in linked]
    ((child_pk, parent_pk),) = _run(connection, sql, values, _fetch)
    _is_stored(parent, parent_pk)
    setattr(child, link, parent)
    _is_stored(child, child_pk)


def _is_stored(row: Model, pk: Any) -> None:
    row.pk = pk
    row._state.adding = False  # noqa: SLF001  (as Model.save does)
    row._state.db = DEFAULT_DB_ALIAS  # noqa: SLF001


def rows(sql: str, parameters: list[Any]) -> list[Any]:
    """What a statement finds that the ORM has no words for. The parameters stand for its `%s`."""
    return _run(connections[DEFAULT_DB_ALIAS], sql, parameters, _fetch)


@dataclass(frozen=True)
class Update:
    """An update that may be made: of the rows whose fields equal those of `where` (a tuple: one of them)."""

    model: type[Model]
    where: dict[str, Any]
    values: dict[str, Any]

    def make(self, *, may_be_lost: bool = False) -> int:
        """Returns how many rows that were. `may_be_lost`: as for an insert."""
        if self.is_of_none:
            return 0
        connection = connections[DEFAULT_DB_ALIAS]
        in_a_hurry = may_be_lost and not connection.in_atomic_block
        sql, columns = _update(*self.shape)
        if in_a_hurry and connection.vendor == "postgresql":
            sql += f" RETURNING {_NOT_SYNCED}"
        return _run(connection, sql, self.parameters(columns, connection), _count, in_a_hurry=in_a_hurry)

    @property
    def is_of_none(self) -> bool:
        return () in self.where.values()  # one of none

    @property
    def shape(self) -> _Shape:
        """What decides about the text of the statement."""
        compared = tuple(
            (name, len(asked) if isinstance(asked, tuple) else 0) for name, asked in self.where.items()
        )
        return self.model, compared, tuple(self.values)

    def parameters(self, columns: list[_Column], connection: BaseDatabaseWrapper) -> list[Any]:
        changed, compared = columns[: len(self.values)], columns[len(self.values) :]
        parameters = [
            column.to_store(value, connection)
            for column, value in zip(changed, self.values.values(), strict=True)
        ]
        for column, asked in zip(compared, self.where.values(), strict=True):
            parts = asked if isinstance(asked, tuple) else (asked,)
            parameters += [column.to_compare(part, connection) for part in parts]
        return parameters


_Shape = tuple[type[Model], tuple[tuple[str, int], ...], tuple[str, ...]]


def update(model: type[Model], where: dict[str, Any], /, *, may_be_lost: bool = False, **values: Any) -> int:
    """Make one change, and say how many rows it was of."""
    return Update(model, where, values).make(may_be_lost=may_be_lost)


def update_all_or_none(deciding: Sequence[Update], following: Sequence[Update]) -> bool:
    """Make all of these changes, if there is a row for each of the deciding ones; otherwise none, and False.
    Each is of another table. The rows that decide are locked first, in the order given.
    """
    if any(change.is_of_none for change in deciding):
        return False
    connection = connections[DEFAULT_DB_ALIAS]
    following = [change for change in following if not change.is_of_none]
    if connection.vendor != "postgresql":
        with suppress(_NoRow), transaction.atomic():
            for change in deciding:
                if not change.make():
                    raise _NoRow
            for change in following:
                change.make()
            return True
        return False
    # In one statement: a caller waits for one way there and back, and it needs no transaction around it.
    sql, columns = _update_all_or_none(
        tuple(change.shape for change in deciding), tuple(change.shape for change in following)
    )
    to_hold: list[Any] = []
    to_change: list[Any] = []
    for number, (change, its) in enumerate(zip([*deciding, *following], columns, strict=True)):
        parameters = change.parameters(its, connection)
        to_change += parameters
        if number < len(deciding):
            to_hold += parameters[len(change.values) :]
    ((decided,),) = _run(connection, sql, to_hold + to_change, _fetch)
    return bool(decided)


class _NoRow(Exception):
    """There is none for a deciding change: roll back."""


# Where psycopg's own cursor stands in each of its connections: what it has learned of the values it keeps.
_CURSOR = "slotkeeper_cursor"


def _fetch(cursor: Any) -> list[Any]:
    rows: list[Any] = cursor.fetchall()
    return rows


def _count(cursor: Any) -> int:
    return int(cursor.rowcount)


def _run(
    connection: BaseDatabaseWrapper,
    sql: str,
    parameters: list[Any],
    read: Callable[[Any], T],
    *,
    in_a_hurry: bool = False,
) -> T:
    """What `read` makes of the cursor that has run the statement. Raises Django's DatabaseError."""
    connection.ensure_connection()  # whoever listens may begin to when it is made
    if connection.vendor == "postgresql" and not (connection.execute_wrappers or connection.queries_logged):
        # Nobody listens. What Django's cursor does beside that costs as much as the statement's own way
        # there and back.
        connection.validate_no_broken_transaction()
        driver: Any = connection.connection
        with connection.wrap_database_errors:
            cursor = vars(driver).get(_CURSOR)
            if cursor is None:
                cursor = vars(driver)[_CURSOR] = driver.cursor()
            return read(cursor.execute(sql, parameters))
    unsynced = in_a_hurry and connection.vendor == "sqlite"
    with connection.cursor() as cursor:
        if unsynced:
            cursor.execute("PRAGMA synchronous=NORMAL")
        try:
            cursor.execute(sql, parameters)
            return read(cursor)
        finally:
            if unsynced:
                cursor.execute("PRAGMA synchronous=FULL")


@lru_cache(maxsize=64)
def _insert(
    model: type[Model], vendor: str, unless_there: bool, in_a_hurry: bool
) -> tuple[str, list[_Column]]:
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
    return f"{sql}RETURNING {returning}", [_Column(field) for field in fields]


@lru_cache(maxsize=8)
def _insert_both(
    parent: type[Model], child: type[Model], link: str
) -> tuple[str, list[_Column], list[_Column]]:
    quote = connections[DEFAULT_DB_ALIAS].ops.quote_name
    first, columns = _insert(parent, "postgresql", False, False)
    options = _options(child)
    fields = [field for field in options.concrete_fields if not field.primary_key]
    to_parent = options.get_field(link)
    key = f"(SELECT {quote(_options(parent).pk.column)} FROM parent)"  # noqa: S608  (names, no values)
    names = ", ".join(quote(field.column) for field in fields)
    values = ", ".join(key if field is to_parent else "%s" for field in fields)
    sql = (
        f"WITH parent AS ({first}) INSERT INTO {quote(options.db_table)} ({names}) VALUES ({values})"  # noqa: S608
        f" RETURNING {quote(options.pk.column)}, {quote(to_parent.column)}"
    )
    return sql, columns, [_Column(field) for field in fields if field is not to_parent]


@lru_cache(maxsize=256)
def _update(
    model: type[Model], where: tuple[tuple[str, int], ...], names: tuple[str, ...]
) -> tuple[str, list[_Column]]:
    """Its text, and the columns of its parameters: those that are changed, then those that are compared."""
    quote = connections[DEFAULT_DB_ALIAS].ops.quote_name
    changed = [_Column(_field(model, name)) for name in names]
    compared = [_Column(_field(model, name)) for name, _ in where]
    assigned = ", ".join(f"{quote(column.field.column)} = %s" for column in changed)
    conditions = " AND ".join(
        f"{quote(column.field.column)} " + (f"IN ({', '.join(['%s'] * count)})" if count else "= %s")
        for column, (_, count) in zip(compared, where, strict=True)
    )
    table = quote(_options(model).db_table)
    return f"UPDATE {table} SET {assigned} WHERE {conditions}", [*changed, *compared]  # noqa: S608


@lru_cache(maxsize=32)
def _update_all_or_none(
    deciding: tuple[_Shape, ...], following: tuple[_Shape, ...]
) -> tuple[str, list[list[_Column]]]:
    """The rows that decide are locked one after the other, each only if the one before it was there. When
    the last of them is held all is changed.
    """
    quote = connections[DEFAULT_DB_ALIAS].ops.quote_name
    locked, changed, columns = [], [], []
    all_held = f"EXISTS (SELECT 1 FROM held_{len(deciding) - 1})"  # noqa: S608
    for number, shape in enumerate((*deciding, *following)):
        update, its = _update(*shape)
        columns.append(its)
        changed.append(f"change_{number} AS ({update} AND {all_held})")
        if number < len(deciding):
            found = (
                f"SELECT 1 FROM {quote(_options(shape[0]).db_table)} WHERE {update.split(' WHERE ', 1)[1]}"  # noqa: S608
            )
            if number:
                found += f" AND EXISTS (SELECT 1 FROM held_{number - 1})"  # noqa: S608
            locked.append(f"held_{number} AS ({found} FOR NO KEY UPDATE)")
    return f"WITH {', '.join([*locked, *changed])} SELECT {all_held}", columns

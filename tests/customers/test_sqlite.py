"""How SQLite's lock is waited for, by connections of threads of our own."""

from __future__ import annotations

import sqlite3
import statistics
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import closing, contextmanager
from pathlib import Path

import pytest
from django.db import OperationalError, connection, transaction
from django.db.utils import ConnectionHandler

from customers.models import Company
from customers.sqlite.base import DatabaseWrapper
from tests import factories

pytestmark = pytest.mark.django_db(transaction=True)

# SQLite itself would look 328 and 428 ms after it has begun to wait.
HELD_SECONDS = 0.34


@pytest.fixture
def file(tmp_path: Path) -> str:
    """A database of one table."""
    path = str(tmp_path / "lite")
    with closing(sqlite3.connect(path)) as there:
        there.execute("PRAGMA journal_mode=WAL")
        there.execute("CREATE TABLE line (word text)")
    return path


@pytest.fixture
def connect(file: str) -> Iterator[Callable[..., DatabaseWrapper]]:
    made: list[DatabaseWrapper] = []

    def another(*, waits: float = 3.0) -> DatabaseWrapper:
        database = {"ENGINE": "customers.sqlite", "NAME": file, "OPTIONS": {"timeout": waits}}
        made.append(ConnectionHandler({"default": database})["default"])  # type: ignore[arg-type]
        return made[-1]

    yield another
    for each in made:
        each.close()


@contextmanager
def held(file: str, seconds: float = HELD_SECONDS) -> Iterator[list[float]]:
    """The lock, from before the block until so many seconds after its begin; when that was stands in it."""
    given_back: list[float] = []
    begun = threading.Event()

    def hold() -> None:
        with closing(sqlite3.connect(file, isolation_level=None)) as holder:
            holder.execute("BEGIN IMMEDIATE")
            begun.set()
            time.sleep(seconds)
            holder.execute("COMMIT")
            given_back.append(time.monotonic())

    thread = threading.Thread(target=hold)
    thread.start()
    assert begun.wait(5)
    try:
        yield given_back
    finally:
        thread.join()


def write(there: DatabaseWrapper, word: str = "word") -> None:
    there.cursor().execute("INSERT INTO line VALUES (%s)", [word])


def words(there: DatabaseWrapper) -> list[str]:
    return [word for (word,) in there.cursor().execute("SELECT word FROM line ORDER BY rowid")]


def begin_and_write(there: DatabaseWrapper) -> None:
    there.cursor().execute("BEGIN IMMEDIATE")
    write(there)
    there.cursor().execute("COMMIT")


@pytest.mark.parametrize("act", [write, begin_and_write])
def test_whoever_waits_has_the_lock_as_soon_as_it_is_given_back(file, connect, act):
    late = []
    for _ in range(5):
        waiting = connect()
        waiting.ensure_connection()
        with held(file) as given_back:
            act(waiting)
            written = time.monotonic()
        late.append(written - given_back[0])
    assert statistics.median(late) < 0.05
    assert words(connect()) == ["word"] * 5


def test_nobody_waits_longer_than_they_want_to(file, connect):
    patient, in_a_hurry = connect(waits=5), connect(waits=5)
    in_a_hurry.ensure_connection()
    in_a_hurry.connection.wait_seconds = 0.2
    with held(file, seconds=1.0):
        started = time.monotonic()
        with pytest.raises(OperationalError, match="locked"):
            write(in_a_hurry)
        assert 0.2 <= time.monotonic() - started < 0.8
        write(patient, "patient")
    assert words(connect()) == ["patient"]


def test_many_rows_at_once_wait_too_and_none_is_stored_twice(file, connect):
    rows = [(str(number),) for number in range(3)]
    waiting = connect()
    with held(file):
        waiting.cursor().executemany("INSERT INTO line VALUES (%s)", rows)
    assert words(waiting) == ["0", "1", "2"]
    in_a_hurry = connect(waits=0.1)
    in_a_hurry.ensure_connection()
    with held(file), pytest.raises(OperationalError, match="locked"):
        in_a_hurry.cursor().executemany("INSERT INTO line VALUES (%s)", rows)


def test_what_will_never_be_free_is_not_waited_for(connect):
    """A snapshot that is read from, and is no longer the newest, stays locked as long as it is read."""
    reader = connect(waits=30)
    for word in "abc":
        write(reader, word)
    reading = reader.cursor().execute("SELECT word FROM line")
    reading.fetchone()
    write(connect(), "d")
    started = time.monotonic()
    with pytest.raises(OperationalError, match="locked"):
        write(reader, "e")
    assert time.monotonic() - started < 5
    assert [word for (word,) in reading] == ["b", "c"]


@pytest.mark.skipif(connection.vendor != "sqlite", reason="what the program does on SQLite")
def test_the_program_waits_in_this_way():
    company = factories.CompanyFactory()
    late = []
    for number in range(5):
        with held(str(connection.settings_dict["NAME"])) as given_back:
            with transaction.atomic():
                Company.objects.filter(pk=company.pk).update(name=f"Salon {number}")
            written = time.monotonic()
        late.append(written - given_back[0])
    assert statistics.median(late) < 0.05

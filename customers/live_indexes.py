"""For migrations: indexes of tables that calls are written to meanwhile.

A plain CREATE INDEX stops whoever writes for as long as the table takes to be read. On PostgreSQL these do
not; but they run in no transaction, so the migration has `atomic = False`, and what is broken off leaves an
index that is never used: to migrate once more begins it anew. SQLite has one writer anyway.
"""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

from django.db.migrations import AddIndex, RemoveIndex


class AddIndexToLiveTable(AddIndex):
    atomic = False

    def database_forwards(self, app_label: str, schema_editor: Any, from_state: Any, to_state: Any) -> None:
        if schema_editor.connection.vendor != "postgresql":
            super().database_forwards(app_label, schema_editor, from_state, to_state)
            return
        model = to_state.apps.get_model(app_label, self.model_name)
        with _patience(schema_editor):
            _drop(self.index.name, schema_editor)
            schema_editor.add_index(model, self.index, concurrently=True)

    def database_backwards(self, app_label: str, schema_editor: Any, from_state: Any, to_state: Any) -> None:
        if schema_editor.connection.vendor != "postgresql":
            super().database_backwards(app_label, schema_editor, from_state, to_state)
            return
        with _patience(schema_editor):
            _drop(self.index.name, schema_editor)


class RemoveIndexFromLiveTable(RemoveIndex):
    atomic = False

    def database_forwards(self, app_label: str, schema_editor: Any, from_state: Any, to_state: Any) -> None:
        if schema_editor.connection.vendor != "postgresql":
            super().database_forwards(app_label, schema_editor, from_state, to_state)
            return
        with _patience(schema_editor):
            _drop(self.name, schema_editor)

    def database_backwards(self, app_label: str, schema_editor: Any, from_state: Any, to_state: Any) -> None:
        if schema_editor.connection.vendor != "postgresql":
            super().database_backwards(app_label, schema_editor, from_state, to_state)
            return
        model = to_state.apps.get_model(app_label, self.model_name)
        index = to_state.models[app_label, self.model_name_lower].get_index_by_name(self.name)
        with _patience(schema_editor):
            _drop(self.name, schema_editor)
            schema_editor.add_index(model, index, concurrently=True)


@contextmanager
def _patience(schema_editor: Any) -> Iterator[None]:
    """It waits for every transaction that is open, and nobody waits for it: callers' few seconds
    (`DATABASE_WAIT_SECONDS`) are not meant for that.
    """
    schema_editor.execute("SET lock_timeout = 0")
    try:
        yield
    finally:
        schema_editor.execute("RESET lock_timeout")


def _drop(name: Any, schema_editor: Any) -> None:
    schema_editor.execute(f"DROP INDEX CONCURRENTLY IF EXISTS {schema_editor.quote_name(name)}")

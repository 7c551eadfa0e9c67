"""Write only some columns of a row that is there: somebody else may be changing the others in this moment."""

from __future__ import annotations

from collections.abc import Iterable

from django.db.models import Model


def save_only(row: Model, names: Iterable[str]) -> None:
    """Save these fields, and those that a save fills in by itself."""
    columns = row._meta.concrete_fields  # noqa: SLF001 - the documented way to them
    filled_in = (column.name for column in columns if getattr(column, "auto_now", False))
    row.save(update_fields={*names, *filled_in})

"""Ids of rows, as they come in an address or a form (pure)."""

from __future__ import annotations

# What Django's "Show all" shows of a list, and what there is room for in an address.
MOST_AT_ONCE = 200
# What fits into the column on every database, and into an int() whatever is typed.
_MOST_DIGITS = 18


def is_row_id(text: str) -> bool:
    return text.isdecimal() and len(text) <= _MOST_DIGITS


def read_ids(text: str) -> list[int]:
    """The ids in "1,2,3", as many as may be worked at once; what is none is left out."""
    return [int(word) for word in text.split(",")[:MOST_AT_ONCE] if is_row_id(word)]

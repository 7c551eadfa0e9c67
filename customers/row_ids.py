"""Ids of rows, as they come in an address or a form (pure)."""

from __future__ import annotations

# What fits into the column on every database, and into an int() whatever is typed.
_MOST_DIGITS = 18


def is_row_id(text: str) -> bool:
    return text.isdecimal() and len(text) <= _MOST_DIGITS

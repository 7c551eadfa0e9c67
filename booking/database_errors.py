"""Two kinds of database error: one that passes, and one that will be the same next time."""

from __future__ import annotations

from django.db import DatabaseError, InterfaceError, InternalError, OperationalError

# A standby that was not promoted yet, or a primary that was demoted while we talked to it.
READ_ONLY = "25006"
# After which what was refused is stored once more, with a caller on the line.
RETRY_PAUSE_SECONDS = 0.25


def is_away(error: Exception) -> bool:
    """Whether the database is out of reach, blocked or full for the moment, rather than refusing this row."""
    if isinstance(error, (OperationalError, InterfaceError)):
        return True
    return isinstance(error, InternalError) and getattr(error.__cause__, "sqlstate", None) == READ_ONLY


def describe(error: DatabaseError | InterfaceError) -> str:
    """What the database said, without the row: PostgreSQL's DETAIL repeats every value in it."""
    diagnosis = getattr(error.__cause__, "diag", None)
    said = getattr(diagnosis, "message_primary", None)
    return f"{type(error).__name__}: {said or error}"

"""What a listing says of each booking, as lines that the database copies and compares.

It runs for every booking, so a page is looked at column by column as long as everything in it is spelled the
way Cal.com spells it; only a page with anything else is read booking by booking. A booking's own words are
kept as they came: that two instants are equal is for the database to say.
"""

from __future__ import annotations

import re
from collections.abc import Collection, Iterable, Sequence
from datetime import datetime
from functools import lru_cache
from itertools import repeat
from operator import itemgetter
from typing import Any

from booking.calcom.objects import (
    LONGEST_UID,
    STATUSES,
    Unreadable,
    is_uid,
    read_event_type_id,
    read_instant,
    read_status,
)

MOST_REMEMBERED = 300
COLUMNS = "batch, uid, status, starts_at, ends_at, is_absent, was_moved, is_ours"
_ATTEMPT = re.compile(r"[0-9a-fA-F-]{36}").fullmatch
# Cal.com's own spelling, in this century; anything else is read the long way.
_USUAL_INSTANT = re.compile(r"20[0-9-]{8}T[0-9:]{8}\.[0-9]{3}Z").fullmatch
_USUAL_INSTANTS = re.compile(r"(?:20[0-9-]{8}T[0-9:]{8}\.[0-9]{3}Z\n)+").fullmatch
_ALWAYS = itemgetter("uid", "status", "start", "end", "eventTypeId", "attendees", "updatedAt")


class ListedLines:
    """`seen` were put down, `unreadable` were not; `unreadable_uids` are this company's among the latter, as
    many as are worth asking for. `last_update` is the latest `updatedAt` of those seen.
    """

    def __init__(self, *, event_types: Collection[int]) -> None:
        self.seen = 0
        self.unreadable = 0
        self.unreadable_uids: set[str] = set()
        self.last_update = ""
        self._event_types = frozenset(event_types)
        self._batch = 0
        self._lines: list[str] = []

    def add(self, page: Sequence[dict[str, Any]]) -> None:
        """Put Cal.com's objects down. One that cannot be read is counted and left out."""
        if not page:
            return
        try:
            lines = self._of_usual_page(page)
        except (ValueError, TypeError, LookupError, AttributeError):
            self._add_one_by_one(page)
        else:
            self._lines.append(lines)
            self.seen += len(page)

    def take(self) -> tuple[int, str]:
        """What was put down since it was taken last, as COPY reads it, and the number it goes by."""
        batch, lines = self._batch, "".join(self._lines)
        self._batch, self._lines = batch + 1, []
        return batch, lines

    def _of_usual_page(self, page: Sequence[dict[str, Any]]) -> str:
        """The lines of all of them if all are as Cal.com spells them; else it raises, and nothing is kept."""
        uids, statuses, starts, ends, event_types, attendees, updates = zip(*map(_ALWAYS, page), strict=True)
        _check_uids(uids)
        kinds = {*statuses}
        if not kinds <= STATUSES:
            raise Unreadable("another status")
        _check_instants({*starts, *ends})
        last_update = max(updates)
        if last_update > self.last_update and not _is_usual(last_update):
            raise Unreadable("another time of update")
        absent = ["t" if people and people[0]["absent"] is True else "f" for people in attendees]
        moved: Iterable[str] = repeat("f")
        if "cancelled" in kinds:
            moved = [_flag(_was_moved(booking, status=booking["status"])) for booking in page]
        ours: Iterable[str] = repeat("t")
        if not self._event_types.issuperset(event_types):
            ours = [_flag(self._is_ours(booking)) for booking in page]
        self.last_update = max(self.last_update, last_update)
        batch = self._batch
        return "".join(
            [
                f"{batch}\t{uid}\t{status}\t{start}\t{end}\t{is_absent}\t{was_moved}\t{is_ours}\n"
                for uid, status, start, end, is_absent, was_moved, is_ours in zip(
                    uids, statuses, starts, ends, absent, moved, ours, strict=False
                )
            ]
        )

    def _add_one_by_one(self, page: Sequence[dict[str, Any]]) -> None:
        for booking in page:
            try:
                line = self._line(booking)
            except (ValueError, TypeError):  # the last: a list or an object for a word
                self.unreadable += 1
                self._remember(booking)
            else:
                self._lines.append(line)
                self.seen += 1

    def _remember(self, booking: dict[str, Any]) -> None:
        uid = booking.get("uid")
        if not isinstance(uid, str) or not is_uid(uid) or len(self.unreadable_uids) >= MOST_REMEMBERED:
            return
        if self._is_ours(booking):
            self.unreadable_uids.add(uid)

    def _line(self, booking: dict[str, Any]) -> str:
        get = booking.get
        uid, status = get("uid"), read_status(get("status"))
        start, end = _spelled(get("start")), _spelled(get("end"))
        if not is_uid(uid):  # type: ignore[arg-type]
            raise Unreadable("a uid that cannot be compared")
        flags = (_is_absent(get("attendees")), _was_moved(booking, status=status), self._is_ours(booking))
        updated = get("updatedAt")
        if isinstance(updated, str) and updated > self.last_update and _is_usual(updated):
            self.last_update = updated
        return "\t".join((str(self._batch), str(uid), status, start, end, *map(_flag, flags))) + "\n"

    def _is_ours(self, booking: dict[str, Any]) -> bool:
        event_type = booking.get("eventTypeId")
        if type(event_type) is not int:  # as good as never: this is done for every booking there is
            event_type = read_event_type_id(booking)
        return event_type in self._event_types or _has_attempt(booking.get("metadata"))


def _check_uids(uids: Sequence[str]) -> None:
    together = "".join(uids)
    lengths = {*map(len, uids)}
    if not (together.isalnum() and together.isascii() and min(lengths) > 0 and max(lengths) <= LONGEST_UID):
        raise Unreadable("another uid")


def _check_instants(texts: Collection[str]) -> None:
    if not _USUAL_INSTANTS("\n".join(texts) + "\n"):
        raise Unreadable("another time")
    for _ in map(datetime.fromisoformat, texts):  # there is no 30 February
        pass


def _was_moved(booking: dict[str, Any], *, status: str) -> bool:
    return status == "cancelled" and bool(booking.get("rescheduledToUid"))


def _flag(value: bool) -> str:
    return "t" if value else "f"


def _is_absent(attendees: object) -> bool:
    """The first is whoever booked."""
    first = attendees[0] if attendees and isinstance(attendees, list) else None
    return isinstance(first, dict) and first.get("absent") is True


def _has_attempt(metadata: object) -> bool:
    attempt = metadata.get("attempt_id") if isinstance(metadata, dict) else None
    return isinstance(attempt, str) and _ATTEMPT(attempt) is not None


def _is_usual(text: str) -> bool:
    try:
        return bool(_USUAL_INSTANT(text) and _spelled(text))
    except ValueError:
        return False


# Appointments begin when others end, and those of several people at the same times.
@lru_cache(maxsize=4096)
def _spelled(text: str) -> str:
    """This instant in a spelling that the database reads too. Raises ValueError, TypeError."""
    if _USUAL_INSTANT(text):
        datetime.fromisoformat(text)  # there is no 30 February
        return text
    return read_instant(text).isoformat()

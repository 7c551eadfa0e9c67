"""Compare what Cal.com lists with our appointments, both ways, in the database.

What is listed is copied into a temporary table, a batch at a time, and joined with our rows: one statement
per batch says what differs, whatever the number of rows. Only what differs is looked at one by one. Whatever
runs once per booking is kept to a few dictionary look-ups; a booking's own words are kept as they came, and
that two instants are equal is for the database to say.

Nothing in here changes a row of ours, and nothing in here believes that a booking that is not listed is gone.
"""

from __future__ import annotations

import re
from collections.abc import Iterable, Sequence
from dataclasses import dataclass, field
from datetime import UTC, datetime
from enum import StrEnum
from functools import lru_cache
from typing import Any

from django.db import connection

from booking.calcom.objects import Unreadable, read_instant
from booking.models import PROVEN_STATUSES, Appointment, Service
from customers.models import Company

_TABLE = "listed_bookings"
_COLUMNS = "batch, uid, status, starts_at, ends_at, is_absent, was_moved, is_ours"
_UID = re.compile(r"[A-Za-z0-9_-]{1,128}").fullmatch
_WORD = re.compile(r"[A-Za-z_]{1,32}").fullmatch
_STATUSES = frozenset(("accepted", "pending", "awaiting_host", "cancelled", "rejected"))
_ATTEMPT = re.compile(r"[0-9a-fA-F-]{36}").fullmatch

# What the appointment of a booking like this one should be. The same as `booking.follow.status_of`, which a
# test holds it to.
_EXPECTED = """
    CASE
        WHEN b.status IN ('pending', 'awaiting_host') THEN 'requested'
        WHEN b.status IN ('cancelled', 'rejected') THEN 'cancelled'
        WHEN b.status <> 'accepted' THEN a.status
        WHEN b.is_absent THEN 'no_show'
        WHEN b.ends_at <= {now} THEN 'completed'
        WHEN a.status IN ('requested', 'confirmed') THEN 'confirmed'
        ELSE 'scheduled'
    END
"""


class Gap(StrEnum):
    """What differs between a booking and our rows."""

    ENDED = "ended"  # it took place as booked, and our row does not say so yet
    STATUS = "status"
    TIME = "time"
    MOVED = "moved"  # our row is at a uid that was replaced
    WITHOUT_ROW = "without_row"


@dataclass(frozen=True)
class Difference:
    gap: Gap
    uid: str
    appointment_id: int | None = None


@dataclass
class Comparison:
    """One company's listing while it is read. Its temporary table lives on this thread's connection: use it
    as a context manager, without a transaction open, and close no connection in between.
    """

    company: Company
    now: datetime
    seen: int = 0
    unreadable: int = 0
    last_update: str = ""
    _batch: int = field(default=0, init=False)
    _lines: list[str] = field(default_factory=list, init=False)
    _event_types: frozenset[int] = field(default=frozenset(), init=False)

    def __enter__(self) -> Comparison:
        services = Service.objects.filter(company=self.company)
        self._event_types = frozenset(services.values_list("calcom_event_type_id", flat=True))
        on_postgres = connection.vendor == "postgresql"
        instant = "timestamptz" if on_postgres else "text"
        with connection.cursor() as cursor:
            cursor.execute(f"DROP TABLE IF EXISTS {_TABLE}")
            cursor.execute(
                f"CREATE TEMPORARY TABLE {_TABLE} (batch integer, uid varchar(128), status varchar(32), "
                f"starts_at {instant}, ends_at {instant}, is_absent boolean, was_moved boolean, "
                f"is_ours boolean)"
            )
            cursor.execute(f"CREATE INDEX listed_batch ON {_TABLE} (batch)")
            if not on_postgres:
                cursor.execute(f"CREATE INDEX listed_uid ON {_TABLE} (uid)")
        return self

    def __exit__(self, *_error: object) -> None:
        with connection.cursor() as cursor:
            cursor.execute(f"DROP TABLE IF EXISTS {_TABLE}")

    def add(self, page: Iterable[dict[str, Any]]) -> None:
        """Put listed bookings down, as Cal.com's objects. One that cannot be read is counted and left out: it
        proves nothing.
        """
        for booking in page:
            try:
                self._lines.append(self._line(booking))
            except (ValueError, OverflowError, TypeError):  # the last: a list or an object for a word
                self.unreadable += 1
            else:
                self.seen += 1

    def differences(self) -> list[Difference]:
        """What differs in what was added since it was asked last: bookings whose appointment says something
        else, and active ones that have none although they are this company's, by their event type or by an
        attempt's id.
        """
        if connection.vendor == "postgresql":
            _copy(self._lines)
        else:
            _insert(self._lines)
        self._lines = []
        batch, self._batch = self._batch, self._batch + 1
        expected = _EXPECTED.format(now="%s")
        sql = f"""
            SELECT uid, id, expected, status, same_time, was_moved FROM (
                SELECT b.uid, a.id, {expected} AS expected, a.status, b.was_moved,
                       a.starts_at = b.starts_at AND a.ends_at = b.ends_at AS same_time,
                       b.status IN ('accepted', 'pending', 'awaiting_host') AND b.is_ours AS wants_row
                FROM {_TABLE} b
                LEFT JOIN appointments a ON a.calcom_booking_uid = b.uid AND a.company_id = %s
                WHERE b.batch = %s
            ) AS compared
            WHERE (id IS NULL AND wants_row)
               OR (id IS NOT NULL AND (expected <> status OR NOT same_time OR was_moved))
            ORDER BY uid
        """  # noqa: S608 - nothing in it comes from outside
        parameters = [_instant(self.now), self.company.pk, batch]
        with connection.cursor() as cursor:
            cursor.execute(sql, parameters)
            return [_difference(row) for row in cursor.fetchall()]

    def equal_uids(self, uids: Sequence[str]) -> set[str]:
        """Those of these uids that are listed and whose appointment says the same."""
        if not uids:
            return set()
        marks = ", ".join(["%s"] * len(uids))
        expected = _EXPECTED.format(now="%s")
        sql = f"""
            SELECT b.uid FROM {_TABLE} b
            JOIN appointments a ON a.calcom_booking_uid = b.uid AND a.company_id = %s
            WHERE b.uid IN ({marks}) AND NOT b.was_moved AND a.status = {expected}
              AND a.starts_at = b.starts_at AND a.ends_at = b.ends_at
        """  # noqa: S608
        with connection.cursor() as cursor:
            cursor.execute(sql, [self.company.pk, *uids, _instant(self.now)])
            return {uid for (uid,) in cursor.fetchall()}

    def inactive_uids(self, uids: Sequence[str]) -> set[str]:
        """Those of these uids that are listed as cancelled or declined, and not moved."""
        if not uids:
            return set()
        marks = ", ".join(["%s"] * len(uids))
        sql = f"""
            SELECT uid FROM {_TABLE} WHERE uid IN ({marks}) AND NOT was_moved
               AND status NOT IN ('accepted', 'pending', 'awaiting_host')
        """  # noqa: S608 - see above
        with connection.cursor() as cursor:
            cursor.execute(sql, list(uids))
            return {uid for (uid,) in cursor.fetchall()}

    def not_listed(
        self, *, start: datetime, end: datetime, before: datetime, limit: int
    ) -> list[Appointment]:
        """Live, proven appointments that start in the window and were not listed, `before` being when the
        reading began: what was booked since cannot have been listed. Believed only after a complete listing,
        and even then it is no more than a reason to ask for each.
        """
        listed = f"SELECT 1 FROM {_TABLE} b WHERE b.uid = appointments.calcom_booking_uid"  # noqa: S608
        rows = Appointment.objects.filter(
            company=self.company,
            status__in=PROVEN_STATUSES,
            calcom_booking_uid__isnull=False,
            starts_at__gte=start,
            starts_at__lt=end,
            updated_at__lt=before,
        ).extra(where=[f"NOT EXISTS ({listed})"])  # noqa: S610 - nothing in it comes from outside
        return list(rows.order_by("starts_at")[:limit])

    def _line(self, booking: dict[str, Any]) -> str:
        """As COPY reads it. It runs for every booking, so the usual is looked at before the possible."""
        get = booking.get
        uid, status = get("uid"), get("status")
        start, end = _spelled(get("start")), _spelled(get("end"))
        if status not in _STATUSES:
            status = _word(status)
        if not _UID(uid):  # type: ignore[arg-type]
            raise Unreadable("a uid that cannot be compared")
        attendees = get("attendees")
        is_absent = bool(attendees) and _is_absent(attendees)
        was_moved = status == "cancelled" and bool(get("rescheduledToUid"))
        is_ours = get("eventTypeId") in self._event_types or _has_attempt(get("metadata"))
        updated = get("updatedAt")
        if isinstance(updated, str) and updated > self.last_update and _is_usual(updated):
            self.last_update = updated
        return f"{self._batch}\t{uid}\t{status}\t{start}\t{end}\t{is_absent}\t{was_moved}\t{is_ours}\n"


def _word(status: Any) -> str:
    if not _WORD(status):
        raise Unreadable("a status that cannot be compared")
    return str(status).lower()


def _is_absent(attendees: object) -> bool:
    """The first is whoever booked."""
    first = attendees[0] if isinstance(attendees, list) else None
    return isinstance(first, dict) and first.get("absent") is True


def _has_attempt(metadata: object) -> bool:
    attempt = metadata.get("attempt_id") if isinstance(metadata, dict) else None
    return isinstance(attempt, str) and _ATTEMPT(attempt) is not None


# Cal.com's own spelling; anything else is read the long way.
_USUAL_INSTANT = re.compile(r"[0-9-]{10}T[0-9:]{8}\.[0-9]{3}Z").fullmatch


def _is_usual(text: str) -> bool:
    try:
        return bool(_USUAL_INSTANT(text) and _spelled(text))
    except ValueError:
        return False


# Appointments begin when others end, and those of several people at the same times.
@lru_cache(maxsize=4096)
def _spelled(text: str) -> str:
    """This instant in a spelling that the database reads too. Raises ValueError, TypeError, OverflowError."""
    if _USUAL_INSTANT(text):
        datetime.fromisoformat(text)  # there is no 30 February
        return text
    return read_instant(text).isoformat()


def _copy(lines: list[str]) -> None:
    with connection.cursor() as cursor, cursor.cursor.copy(f"COPY {_TABLE} ({_COLUMNS}) FROM STDIN") as copy:
        copy.write("".join(lines))


def _insert(lines: list[str]) -> None:
    rows = []
    for line in lines:
        batch, uid, status, start, end, *flags = line.rstrip("\n").split("\t")
        instants = (_instant(read_instant(text)) for text in (start, end))
        rows.append((int(batch), uid, status, *instants, *(flag == "True" for flag in flags)))
    with connection.cursor() as cursor:
        cursor.executemany(
            f"INSERT INTO {_TABLE} ({_COLUMNS}) VALUES (%s, %s, %s, %s, %s, %s, %s, %s)",  # noqa: S608
            rows,
        )


def _instant(moment: datetime) -> Any:
    """As the database stores it, so that it can be compared with a column."""
    if connection.vendor == "postgresql":
        return moment
    return str(moment.astimezone(UTC).replace(tzinfo=None))


def _difference(row: tuple[Any, ...]) -> Difference:
    uid, appointment_id, expected, status, same_time, was_moved = row
    if appointment_id is None:
        gap = Gap.WITHOUT_ROW
    elif was_moved:
        gap = Gap.MOVED
    elif not same_time:
        gap = Gap.TIME
    elif expected == "completed" and status in PROVEN_STATUSES:
        gap = Gap.ENDED
    else:
        gap = Gap.STATUS
    return Difference(gap=gap, uid=uid, appointment_id=appointment_id)

"""Compare what Cal.com lists with our appointments, both ways, in the database.

What is listed is copied into a temporary table, some thousand bookings at a time, and joined with our rows:
one statement per batch says what differs, whatever the number of rows. Only what differs is looked at one by
one. A booking's own words are kept as they came; that two instants are equal is for the database to say.

Nothing in here changes a row of ours, and nothing in here believes that a booking that is not listed is gone.
"""

from __future__ import annotations

import re
from collections.abc import Iterable, Sequence
from dataclasses import dataclass, field
from datetime import UTC, datetime
from enum import StrEnum
from typing import Any

from django.db import connection

from booking.calcom.objects import Unreadable, read_instant
from booking.models import PROVEN_STATUSES, Appointment, Service
from customers.models import Company

_TABLE = "listed_bookings"
_COLUMNS = (
    "batch", "uid", "status", "starts_at", "ends_at", "is_absent", "was_moved", "attempt_id", "from_uid",
    "event_type_id",
)  # fmt: skip
_UID = re.compile(r"[A-Za-z0-9_-]{1,128}").fullmatch
_STATUS = re.compile(r"[A-Za-z_]{1,32}").fullmatch
_ATTEMPT = re.compile(r"[0-9a-fA-F-]{36}").fullmatch

# What the appointment of a booking like this one should be. The same as `booking.follow.status_of`, which a
# test holds it to.
_EXPECTED = """
    CASE
        WHEN b.status IN ('pending', 'awaiting_host') THEN 'requested'
        WHEN b.status <> 'accepted' THEN 'cancelled'
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

    def __enter__(self) -> Comparison:
        on_postgres = connection.vendor == "postgresql"
        instant = "timestamptz" if on_postgres else "text"
        with connection.cursor() as cursor:
            cursor.execute(f"DROP TABLE IF EXISTS {_TABLE}")
            cursor.execute(
                f"CREATE TEMPORARY TABLE {_TABLE} (batch integer, uid varchar(128), status varchar(32), "
                f"starts_at {instant}, ends_at {instant}, is_absent boolean, was_moved boolean, "
                f"attempt_id varchar(36), from_uid varchar(128), event_type_id bigint)"
            )
            if not on_postgres:
                cursor.execute(f"CREATE INDEX listed_uid ON {_TABLE} (uid)")
        return self

    def __exit__(self, *_error: object) -> None:
        with connection.cursor() as cursor:
            cursor.execute(f"DROP TABLE IF EXISTS {_TABLE}")

    def add(self, bookings: Iterable[dict[str, Any]]) -> int:
        """Put listed bookings down, as Cal.com's objects; returns the number of the batch. One that cannot be
        read is counted and left out: it proves nothing.
        """
        self._batch += 1
        rows = [row for row in (self._row(booking) for booking in bookings) if row is not None]
        self.seen += len(rows)
        if connection.vendor == "postgresql":
            _copy(rows)
        else:
            _insert(rows)
        return self._batch

    def differences(self, batch: int) -> list[Difference]:
        """What differs in this batch: bookings whose appointment says something else, and active ones that
        have none although they are this company's, by their event type or by an attempt's id.
        """
        event_types = list(
            Service.objects.filter(company=self.company).values_list("calcom_event_type_id", flat=True)
        ) or [-1]
        marks = ", ".join(["%s"] * len(event_types))
        expected = _EXPECTED.format(now="%s")
        sql = f"""
            SELECT uid, id, expected, status, same_time, was_moved FROM (
                SELECT b.uid, a.id, {expected} AS expected, a.status, b.was_moved,
                       a.starts_at = b.starts_at AND a.ends_at = b.ends_at AS same_time,
                       b.status IN ('accepted', 'pending', 'awaiting_host')
                           AND (b.attempt_id IS NOT NULL OR b.event_type_id IN ({marks})) AS wants_row
                FROM {_TABLE} b
                LEFT JOIN appointments a ON a.calcom_booking_uid = b.uid AND a.company_id = %s
                WHERE b.batch = %s
            ) AS compared
            WHERE (id IS NULL AND wants_row)
               OR (id IS NOT NULL AND (expected <> status OR NOT same_time OR was_moved))
            ORDER BY uid
        """  # noqa: S608 - nothing in it comes from outside
        parameters = [_instant(self.now), *event_types, self.company.pk, batch]
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

    def _row(self, booking: dict[str, Any]) -> tuple[Any, ...] | None:
        get = booking.get
        metadata = get("metadata")
        attempt = metadata.get("attempt_id") if isinstance(metadata, dict) else None
        uid, start, end, status = get("uid"), get("start"), get("end"), get("status")
        readable = (
            isinstance(uid, str)
            and _UID(uid)
            and isinstance(status, str)
            and _STATUS(status)
            and _is_instant(start)
            and _is_instant(end)
        )
        if not readable:
            self.unreadable += 1
            return None
        updated = get("updatedAt")
        if isinstance(updated, str) and updated > self.last_update and _USUAL_INSTANT(updated):
            self.last_update = updated
        attendees = get("attendees")
        first = attendees[0] if isinstance(attendees, list) and attendees else None
        origin, number = get("rescheduledFromUid"), get("eventTypeId")
        return (
            self._batch,
            uid,
            str(status).lower(),
            start,
            end,
            isinstance(first, dict) and first.get("absent") is True,
            bool(get("rescheduledToUid")) and status == "cancelled",
            attempt if isinstance(attempt, str) and _ATTEMPT(attempt) else None,
            origin if isinstance(origin, str) and _UID(origin) else None,
            number if isinstance(number, int) else None,
        )


# Cal.com's own spelling; anything else is read the long way.
_USUAL_INSTANT = re.compile(r"\d{4}-\d\d-\d\dT\d\d:\d\d:\d\d\.\d{3}Z").fullmatch


def _is_instant(text: object) -> bool:
    if isinstance(text, str) and _USUAL_INSTANT(text):
        return True
    try:
        read_instant(text)
    except Unreadable:
        return False
    return True


def _copy(rows: list[tuple[Any, ...]]) -> None:
    lines = [
        f"{batch}\t{uid}\t{status}\t{start}\t{end}\t{absent}\t{moved}\t"
        f"{attempt or _NULL}\t{origin or _NULL}\t{_NULL if number is None else number}\n"
        for batch, uid, status, start, end, absent, moved, attempt, origin, number in rows
    ]
    with (
        connection.cursor() as cursor,
        cursor.cursor.copy(f"COPY {_TABLE} ({', '.join(_COLUMNS)}) FROM STDIN") as copy,
    ):
        copy.write("".join(lines))


_NULL = r"\N"


def _insert(rows: list[tuple[Any, ...]]) -> None:
    marks = ", ".join(["%s"] * len(_COLUMNS))
    with connection.cursor() as cursor:
        cursor.executemany(
            f"INSERT INTO {_TABLE} ({', '.join(_COLUMNS)}) VALUES ({marks})",  # noqa: S608
            [
                (*row[:3], _instant(read_instant(row[3])), _instant(read_instant(row[4])), *row[5:])
                for row in rows
            ],
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

"""Compare what Cal.com lists with our appointments, both ways, in the database.

What is listed is copied into a temporary table, a batch at a time, and joined with our rows: one statement
per batch says what differs, whatever the number of rows. Only what differs is looked at one by one. While the
database is at work on a batch, the next one is read.

Nothing in here changes a row of ours, and nothing in here believes that a booking that is not listed is gone.
"""

from __future__ import annotations

from collections.abc import Callable, Collection, Sequence
from concurrent.futures import Future, ThreadPoolExecutor
from contextlib import suppress
from dataclasses import dataclass
from datetime import UTC, datetime
from enum import StrEnum
from types import TracebackType
from typing import Any, ParamSpec, TypeVar

from django.db import DatabaseError, InterfaceError, connection

from booking.calcom.objects import read_instant
from booking.models import PROVEN_STATUSES, Appointment, Service
from customers.models import Company
from sync.listed_lines import COLUMNS, ListedLines

_TABLE = "listed_bookings"
# What the appointment of a booking like this one should be. The same as `booking.follow.status_of`, which a
# test holds it to; a status that nobody knows is not put down (`ListedLines`).
_EXPECTED = """
    CASE
        WHEN b.status IN ('pending', 'awaiting_host') THEN 'requested'
        WHEN b.status IN ('cancelled', 'rejected') THEN 'cancelled'
        WHEN b.is_absent THEN 'no_show'
        WHEN b.ends_at <= {now} THEN 'completed'
        WHEN a.status IN ('requested', 'confirmed') THEN 'confirmed'
        ELSE 'scheduled'
    END
"""

P = ParamSpec("P")
T = TypeVar("T")


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


class Comparison:
    """One company's listing while it is read. Use it as a context manager, in one thread.

    Its temporary table has a thread and a connection of its own. So the database may compare one batch while
    the next is read, and whoever repairs what differs may do as they like with theirs.
    """

    def __init__(self, *, company: Company, now: datetime) -> None:
        self.company = company
        self.now = now
        services = Service.objects.filter(company=company)
        self._lines = ListedLines(event_types=services.values_list("calcom_event_type_id", flat=True))
        self._thread = ThreadPoolExecutor(max_workers=1, thread_name_prefix="comparison")

    def __enter__(self) -> Comparison:
        try:
            self._there(_make_table)
        except BaseException:
            with self._thread:
                self._there(_close)
            raise
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        with self._thread:
            self._there(_drop_table)

    @property
    def seen(self) -> int:
        return self._lines.seen

    @property
    def unreadable(self) -> int:
        return self._lines.unreadable

    @property
    def unreadable_uids(self) -> Collection[str]:
        """Those of this company's bookings that could not be read, as many as are worth asking for."""
        return self._lines.unreadable_uids

    @property
    def last_update(self) -> str:
        """The latest `updatedAt` of what was seen, as Cal.com spells it."""
        return self._lines.last_update

    def add(self, page: Sequence[dict[str, Any]]) -> None:
        """Put listed bookings down, as Cal.com's objects. One that cannot be read is counted and left out: it
        proves nothing.
        """
        self._lines.add(page)

    def compare(self) -> Future[list[Difference]]:
        """What differs in what was added since it was asked last, to be waited for: bookings whose
        appointment says something else, and active ones that have none although they are this company's, by
        their event type or by an attempt's id.
        """
        batch, lines = self._lines.take()
        return self._thread.submit(self._compare, batch, lines)

    def _compare(self, batch: int, lines: str) -> list[Difference]:
        if connection.vendor == "postgresql":
            _copy(lines)
        else:
            _insert(lines)
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
        return [_difference(row) for row in _rows(sql, [_instant(self.now), self.company.pk, batch])]

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
        rows = self._there(_rows, sql, [self.company.pk, *uids, _instant(self.now)])
        return {uid for (uid,) in rows}

    def inactive_uids(self, uids: Sequence[str]) -> set[str]:
        """Those of these uids that are listed as cancelled or declined, and not moved."""
        if not uids:
            return set()
        marks = ", ".join(["%s"] * len(uids))
        sql = f"""
            SELECT uid FROM {_TABLE} WHERE uid IN ({marks}) AND NOT was_moved
               AND status NOT IN ('accepted', 'pending', 'awaiting_host')
        """  # noqa: S608 - see above
        return {uid for (uid,) in self._there(_rows, sql, list(uids))}

    def not_listed(
        self, *, start: datetime, end: datetime, before: datetime, limit: int
    ) -> list[Appointment]:
        """Live, proven appointments that start in the window and were not listed, `before` being when the
        reading began: what was booked since cannot have been listed. Believed only after a complete listing,
        and even then it is no more than a reason to ask for each. Of more than `limit`, any: so that each has
        its turn in one run or another.
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
        # Their ids first: a hash of whole rows does not fit into memory.
        ids = self._there(list, rows.order_by("?").values_list("pk", flat=True)[:limit])
        return list(Appointment.objects.filter(pk__in=ids))

    def _there(self, run: Callable[P, T], *arguments: P.args, **named: P.kwargs) -> T:
        """Where the temporary table is."""
        return self._thread.submit(run, *arguments, **named).result()


def _make_table() -> None:
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


def _close() -> None:
    # A function of its own: `connection.close`, looked up by whoever hands it over, would be that thread's.
    connection.close()


def _drop_table() -> None:
    # Without its connection it is gone as well; a pool would keep both.
    with suppress(DatabaseError, InterfaceError), connection.cursor() as cursor:
        cursor.execute(f"DROP TABLE IF EXISTS {_TABLE}")
    connection.close()


def _rows(sql: str, parameters: Sequence[Any]) -> list[tuple[Any, ...]]:
    with connection.cursor() as cursor:
        cursor.execute(sql, parameters)
        rows: list[tuple[Any, ...]] = cursor.fetchall()
        return rows


def _copy(lines: str) -> None:
    # The driver's own verb, whose errors Django does not make its own by itself.
    with (
        connection.wrap_database_errors,
        connection.cursor() as cursor,
        cursor.cursor.copy(f"COPY {_TABLE} ({COLUMNS}) FROM STDIN") as copy,
    ):
        copy.write(lines)


def _insert(lines: str) -> None:
    rows = []
    for line in lines.splitlines():
        batch, uid, status, start, end, *flags = line.split("\t")
        instants = (_instant(read_instant(text)) for text in (start, end))
        rows.append((int(batch), uid, status, *instants, *(flag == "t" for flag in flags)))
    with connection.cursor() as cursor:
        cursor.executemany(
            f"INSERT INTO {_TABLE} ({COLUMNS}) VALUES (%s, %s, %s, %s, %s, %s, %s, %s)",  # noqa: S608
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

"""Some thousand bookings against as many appointments: each difference is found where it is, and nowhere
else.
"""

from __future__ import annotations

import datetime as dt
import itertools
from collections.abc import Iterator
from typing import Any

import orjson
import pytest
from django.utils import timezone

from booking import follow
from booking.calcom.client import Page
from booking.calcom.objects import read_booking
from booking.models import Appointment
from customers.models import Company
from sync import reconcile
from sync.compare import Comparison, Difference, Gap
from sync.pages import compared
from tests.benchmarks.listing import EVENT_TYPE, LENGTH, Listing, ListingServer, uid
from tests.factories import AppointmentFactory, CompanyFactory, ServiceFactory

pytestmark = pytest.mark.django_db(transaction=True)

Status = Appointment.Status
BOOKINGS = 5_300  # more than one batch
NOW = timezone.now().replace(minute=0, second=0, microsecond=0)
FIRST = NOW + dt.timedelta(days=1)
ATTEMPT = {"attempt_id": "00000000-0000-4000-8000-000000000001"}
FOREIGN = {"eventTypeId": EVENT_TYPE + 1, "eventType": {"id": EVENT_TYPE + 1}, "metadata": {}}
ENDED = {"start": "2026-01-05T09:00:00.000Z", "end": "2026-01-05T09:30:00.000Z"}

# What the booking says, and what differs then. The appointment of each is scheduled, at the listed time.
MIRRORED: dict[int, tuple[dict[str, Any], Gap | None]] = {
    1: ({"status": "cancelled"}, Gap.STATUS),
    17: ({"status": "rejected"}, Gap.STATUS),
    250: ({"status": "pending"}, Gap.STATUS),
    251: ({"status": "CANCELLED"}, Gap.STATUS),
    600: ({"status": "cancelled", "rescheduledToUid": "elsewhere"}, Gap.MOVED),
    601: ({"status": "cancelled", "rescheduledByEmail": "ann@salon.test"}, Gap.STATUS),
    1_000: ({"attendees": [{"name": "Dana", "absent": True}]}, Gap.STATUS),
    1_001: ({"attendees": [{"name": "Dana"}, {"name": "Guest", "absent": True}]}, None),
    1_002: ({"attendees": []}, None),
    2_000: ({"start": "2026-11-30T10:00:00.000Z"}, Gap.TIME),
    2_001: ({"end": "2033-11-30T10:00:00+01:00"}, Gap.TIME),
    3_000: ({"status": "something new"}, None),
    3_001: ({"status": "something_new"}, None),
    4_999: (FOREIGN, None),  # with a row, whatever its event type is now
    5_001: ({"status": "cancelled"}, Gap.STATUS),
    5_300: ({"status": "awaiting_host"}, Gap.STATUS),
}
WITHOUT_ROW: dict[int, tuple[dict[str, Any], Gap | None]] = {
    30: ({}, Gap.WITHOUT_ROW),
    31: ({"status": "cancelled"}, None),
    32: (FOREIGN, None),
    33: ({**FOREIGN, "metadata": ATTEMPT}, Gap.WITHOUT_ROW),
    34: ({**FOREIGN, "metadata": {"attempt_id": "nobody's"}}, None),
    35: ({"status": "pending", "metadata": None}, Gap.WITHOUT_ROW),
    5_290: ({}, Gap.WITHOUT_ROW),
}
OF_ANOTHER_COMPANY = 5_291
ENDED_ONES = (40, 5_280)
UNREADABLE = (3_000, 3_001)
NOT_LISTED = 7


@pytest.fixture
def company() -> Company:
    company: Company = CompanyFactory(slug="bench", calcom_reconcile_api_key="cal_own_key_0123456789")
    ServiceFactory(company=company, calcom_event_type_id=EVENT_TYPE)
    return company


def listed(count: int = BOOKINGS) -> Iterator[list[dict[str, Any]]]:
    for page in Listing(count=count, first=FIRST).pages():
        yield orjson.loads(page)["data"]


def mirror(company: Company, *, numbers: Iterator[int], **values: Any) -> None:
    listing = Listing(count=BOOKINGS, first=FIRST)
    rows = [
        Appointment(
            company=company, starts_at=listing.starts_at(n), ends_at=listing.starts_at(n) + LENGTH,
            calcom_booking_uid=uid(n), source="calcom", sync_origin="calcom",
            **{"status": Status.SCHEDULED, "calcom_sync_status": "synced", **values},
        )
        for n in numbers
    ]  # fmt: skip
    Appointment.objects.bulk_create(rows, batch_size=500)


def found_in(comparison: Comparison, pages: Iterator[Page]) -> list[Difference]:
    return [each for differences, _kept in compared(pages, comparison) for each in differences]


def test_every_difference_is_found_where_it_is_and_nowhere_else(company):
    alone = {*WITHOUT_ROW, OF_ANOTHER_COMPANY}
    mirror(company, numbers=(n for n in range(1, BOOKINGS + 1) if n not in alone))
    mirror(CompanyFactory(slug="other"), numbers=iter([OF_ANOTHER_COMPANY]))
    ends = {uid(n): dt.datetime.fromisoformat(ENDED["end"]) for n in ENDED_ONES}
    for which, end in ends.items():
        Appointment.objects.filter(calcom_booking_uid=which).update(starts_at=end - LENGTH, ends_at=end)
    lost = [
        AppointmentFactory(
            company=company, call=None, branch=None, customer=None, service=None, starts_at=FIRST,
            calcom_booking_uid=f"lost{n}",
        )
        for n in range(NOT_LISTED)
    ]  # fmt: skip
    changed = {
        **{uid(n): words for n, (words, _gap) in (MIRRORED | WITHOUT_ROW).items()},
        **dict.fromkeys(ends, ENDED),
    }

    def pages() -> Iterator[Page]:
        for page in listed():
            bookings = [{**booking, **changed.get(booking["uid"], {})} for booking in page]
            yield Page(bookings=bookings, raw=orjson.dumps({"data": bookings}))

    with Comparison(company=company, now=NOW) as comparison:
        found = found_in(comparison, pages())
        assert (comparison.seen, comparison.unreadable) == (BOOKINGS - len(UNREADABLE), len(UNREADABLE))
        expected = {uid(n): gap for n, (_words, gap) in (MIRRORED | WITHOUT_ROW).items() if gap}
        expected |= {uid(OF_ANOTHER_COMPANY): Gap.WITHOUT_ROW, **dict.fromkeys(ends, Gap.ENDED)}
        assert {difference.uid: difference.gap for difference in found} == expected
        assert len(found) == len(expected)
        ids = dict(Appointment.objects.filter(company=company).values_list("calcom_booking_uid", "pk"))
        assert all(difference.appointment_id == ids.get(difference.uid) for difference in found)
        equal = [uid(n) for n in (2, 249, 252, 1_001, 4_999, 5_299)]
        assert comparison.equal_uids([*equal, *expected, uid(BOOKINGS + 1)]) == set(equal)
        inactive = {uid(n) for n in (1, 17, 251, 601, 31, 5_001)}
        assert comparison.inactive_uids([*equal, *expected, uid(31)]) == inactive
        missing = comparison.not_listed(
            start=FIRST, end=FIRST + dt.timedelta(days=400), before=timezone.now(), limit=300
        )
        # The unreadable ones were listed, but nobody could tell.
        assert {row.calcom_booking_uid for row in missing} == {
            *map(uid, UNREADABLE), *(row.calcom_booking_uid for row in lost)
        }  # fmt: skip


def test_the_database_expects_the_status_that_following_would_write(company):
    """For every status of both sides, and around the moment at which a booking ends."""
    template = next(listed(1))[0]
    statuses = ("accepted", "pending", "awaiting_host", "cancelled", "rejected", "ACCEPTED")
    moments = [NOW + dt.timedelta(milliseconds=ms) for ms in (-86_400_000, -1, 0, 1, 86_400_000)]
    cases = itertools.product(statuses, (False, True), moments, Status.values)
    shown: list[dict[str, Any]] = []
    rows: dict[str, Appointment] = {}
    for number, (status, absent, end, current) in enumerate(cases, start=1):
        start = end - LENGTH
        times = {"start": start.isoformat(), "end": end.isoformat()}
        attendees = [{**template["attendees"][0], "absent": absent}]
        shown.append({**template, **times, "uid": uid(number), "status": status, "attendees": attendees})
        rows[uid(number)] = Appointment(
            company=company, starts_at=start, ends_at=end, status=current, calcom_booking_uid=uid(number),
            source="calcom", sync_origin="calcom",
        )  # fmt: skip
    Appointment.objects.bulk_create(rows.values(), batch_size=500)
    with Comparison(company=company, now=NOW) as comparison:
        comparison.add(shown)
        found = {difference.uid: difference.gap for difference in comparison.compare().result()}
        equal = {
            which for n in range(0, len(rows), 250) for which in comparison.equal_uids([*rows][n : n + 250])
        }
    assert comparison.unreadable == 0
    for booking, (which, row) in zip(shown, rows.items(), strict=True):
        due = follow.status_of(read_booking(booking), current=row.status, now=NOW)
        ended = due == Status.COMPLETED and row.status in ("requested", "scheduled", "confirmed")
        expected = None if due == row.status else Gap.ENDED if ended else Gap.STATUS
        assert found.get(which) == expected, (booking["status"], row.status, due)
        assert (which in equal) == (expected is None)


NO_WORDS: tuple[Any, ...] = (
    None, True, 0, 10**18, -1, 0.5, [], ["accepted"], {}, {"id": 1}, "", " ", "\t", "a\tb", "a\n", "\\N",
    "\x00", "é", "x" * 500, "2026-02-30T10:00:00.000Z", "2026-13-45T99:99:99.000Z", "2026-12-01T10:00:00",
    "2026-W49-2T10:00:00.000Z", "9999-12-31T23:59:59.999-23:59", "0001-01-01T00:00:00.000+05:00", "now",
    "9999-12-31T23:59:00.000Z", "0001-01-01T00:00:00.000Z", "infinity", "\\.",
)  # fmt: skip
FIELDS = ("uid", "status", "start", "end", "updatedAt", "attendees", "metadata", "eventTypeId",
          "rescheduledToUid", "rescheduledFromUid")  # fmt: skip


def test_what_cannot_be_read_is_counted_and_stops_nothing(company):
    mirror(company, numbers=iter(range(1, 4)))
    plain = next(listed(3))
    spoilt = [
        {**plain[0], "uid": f"spoilt{number}", **FOREIGN, field: value}
        for number, (field, value) in enumerate(itertools.product(FIELDS, NO_WORDS))
    ]
    gone = [{name: value for name, value in plain[0].items() if name != field}
            for field in ("uid", "status", "start", "end")]  # fmt: skip
    with Comparison(company=company, now=NOW) as comparison:
        comparison.add([*spoilt, *gone, *plain])
        found = comparison.compare().result()
    assert found == []
    assert comparison.seen + comparison.unreadable == len(spoilt) + len(gone) + len(plain)
    # A uid and a status can be other words than we know; a time is a time.
    assert comparison.unreadable >= len(gone) + 2 * len(NO_WORDS)
    assert comparison.last_update == plain[0]["updatedAt"]


def test_other_spellings_of_the_same_instant_are_equal(company):
    mirror(company, numbers=iter(range(1, 4)))
    plain = next(listed(3))
    spellings = ("%Y-%m-%dT%H:%M:%SZ", "%Y-%m-%dT%H:%M:%S+00:00", "%G-W%V-%uT%H:%M:%S.000Z")
    for booking, spelling in zip(plain, spellings, strict=True):
        for name in ("start", "end"):
            booking[name] = dt.datetime.fromisoformat(booking[name]).strftime(spelling)
    with Comparison(company=company, now=NOW) as comparison:
        comparison.add(plain)
        assert comparison.compare().result() == []
    assert comparison.seen == 3


def test_of_more_missing_than_one_run_asks_about_each_has_its_turn(company):
    mirror(company, numbers=iter(range(1, 7)))
    seen: set[str | None] = set()
    with Comparison(company=company, now=NOW) as comparison:
        for _run in range(80):
            missing = comparison.not_listed(
                start=FIRST, end=FIRST + dt.timedelta(days=1), before=timezone.now(), limit=2
            )
            assert len({row.pk for row in missing}) == 2
            seen.update(row.calcom_booking_uid for row in missing)
    assert seen == {uid(n) for n in range(1, 7)}


def test_a_run_reads_whole_pages_and_repairs_what_is_deep_inside_them(company):
    count = 1_900
    alone = (1, 700, 1_900)
    mirror(company, numbers=(n for n in range(1, count + 1) if n not in alone))
    pages = list(Listing(count=count, first=FIRST).pages())
    with ListingServer(pages) as calcom:
        Company.objects.filter(pk=company.pk).update(calcom_base_url=calcom.base_url)
        company.refresh_from_db()
        report = reconcile.reconcile(company, full=True, dry_run=True)
    assert (report.outcome, report.seen) == ("complete", count)
    assert {problem["uid"] for problem in report.problems} == {uid(n) for n in alone}
    assert {query["take"] for query in calcom.asked} == {"250"}
    assert report.requests == len(calcom.asked) == len(pages) + 1

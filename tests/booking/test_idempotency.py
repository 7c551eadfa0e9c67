from __future__ import annotations

import datetime as dt
import uuid
from zoneinfo import ZoneInfo

import pytest
from hypothesis import given
from hypothesis import strategies as st

from booking.idempotency import booking_key

ZONES = st.sampled_from(
    [ZoneInfo(name) for name in ("UTC", "Europe/Berlin", "America/New_York", "Asia/Kolkata")]
)
# Hypothesis wants naive bounds and adds the zone itself.
FIRST, LAST = dt.datetime(2020, 1, 1), dt.datetime(2040, 1, 1)  # noqa: DTZ001
INSTANTS = st.datetimes(min_value=FIRST, max_value=LAST, timezones=st.just(dt.UTC))
IDS = st.integers(min_value=1, max_value=2**31)


def key(**changes) -> str:
    asked = {
        "customer_id": 1,
        "service_id": 2,
        "starts_at": dt.datetime(2025, 10, 20, 14, tzinfo=dt.UTC),
        "source": "retell",
    }
    return booking_key(**{**asked, **changes})


def test_the_documented_request_gives_the_documented_key():
    assert key() == "5ef7ba92-83f9-5d11-96e6-22c66c87030b"


@given(instant=INSTANTS, zone=ZONES)
def test_the_same_instant_gives_the_same_key_in_whatever_zone_it_is_written(instant, zone):
    assert key(starts_at=instant) == key(starts_at=instant.astimezone(zone))


@given(a=st.tuples(IDS, IDS, INSTANTS), b=st.tuples(IDS, IDS, INSTANTS))
def test_different_bookings_have_different_keys(a, b):
    def of(asked):
        customer, service, start = asked
        return booking_key(customer_id=customer, service_id=service, starts_at=start, source="retell")

    same = (a[0], a[1], a[2].replace(microsecond=0)) == (b[0], b[1], b[2].replace(microsecond=0))
    assert (of(a) == of(b)) == same


def test_the_source_is_part_of_the_key():
    assert key() != key(source="calcom")


def test_the_key_is_a_version_5_uuid():
    assert uuid.UUID(key()).version == 5


def test_a_time_without_a_zone_has_no_key():
    with pytest.raises(ValueError, match="aware"):
        key(starts_at=dt.datetime(2025, 10, 20, 14))  # noqa: DTZ001 - that is the point

import datetime as dt

import pytest

from sync.models import Lease

pytestmark = pytest.mark.django_db

NOW = dt.datetime(2026, 11, 21, 12, 0, tzinfo=dt.UTC)
HALF_MINUTE = dt.timedelta(seconds=30)


def hold(holder: str, *, seconds: float = 0) -> bool:
    return Lease.objects.hold(
        name="job", holder=holder, now=NOW + dt.timedelta(seconds=seconds), duration=HALF_MINUTE
    )


def test_a_free_lease_is_taken_and_nobody_else_gets_it():
    assert hold("one")
    assert not hold("two")
    assert not hold("two", seconds=29)
    lease = Lease.objects.get()
    assert (lease.holder, lease.acquired_at, lease.expires_at) == ("one", NOW, NOW + HALF_MINUTE)


def test_the_holder_renews_and_keeps_it_past_its_first_end():
    assert hold("one")
    assert hold("one", seconds=20)
    assert not hold("two", seconds=40)
    lease = Lease.objects.get()
    assert lease.acquired_at == NOW
    assert lease.renewed_at == NOW + dt.timedelta(seconds=20)


def test_a_lease_that_ran_out_goes_to_the_next_and_not_back():
    assert hold("one")
    assert hold("two", seconds=30)
    assert not hold("one", seconds=31)
    assert Lease.objects.get().holder == "two"


def test_a_released_lease_is_free_at_once_and_only_its_holder_can_release_it():
    assert hold("one")
    assert not Lease.objects.release(name="job", holder="two", now=NOW)
    assert Lease.objects.release(name="job", holder="one", now=NOW + dt.timedelta(seconds=1))
    assert hold("two", seconds=1)


def test_a_lease_written_by_a_clock_that_was_ahead_is_free_once_that_is_set_right():
    assert hold("one", seconds=24 * 3600)
    assert hold("two")
    assert Lease.objects.get().renewed_at == NOW


def test_a_lease_of_a_machine_whose_clock_is_a_little_ahead_is_not_taken_from_it():
    assert hold("one", seconds=120)
    assert not hold("two")

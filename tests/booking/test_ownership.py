from __future__ import annotations

import dataclasses
import datetime as dt

import pytest
from hypothesis import given
from hypothesis import strategies as st

from booking.calcom.objects import Booking
from booking.ownership import Asked, Judgement, Layer, Verdict, judge

START = dt.datetime(2026, 12, 1, 9, tzinfo=dt.UTC)
SENT = dt.datetime(2026, 11, 21, 12, tzinfo=dt.UTC)
ASKED = Asked(
    call_id="call_ours",
    starts_at=START,
    ends_at=START + dt.timedelta(minutes=30),
    event_type_id=101,
    sent_at=SENT,
)
FRESH = Booking(
    id=1,
    uid="uid1",
    status="accepted",
    start=START,
    end=START + dt.timedelta(minutes=30),
    event_type_id=101,
    created_at=SENT + dt.timedelta(seconds=1),
    updated_at=None,
    metadata={"attempt_id": "ours", "call_id": "call_ours"},
)


def verdict_on(
    booking: Booking, *, ours: bool = False, known: bool = False, layers: bool = True
) -> Judgement:
    return judge(booking, asked=ASKED, attempt_is_ours=ours, uid_is_known=known, layers_enabled=layers)


@given(age=st.timedeltas(min_value=dt.timedelta(), max_value=dt.timedelta(days=30)))
def test_our_own_booking_is_ours_whatever_its_age(age):
    old = dataclasses.replace(FRESH, created_at=SENT - age)
    assert verdict_on(old, ours=True).verdict is Verdict.OURS


@pytest.mark.parametrize(
    "change",
    [
        {"start": START + dt.timedelta(minutes=15)},
        {"start": START - dt.timedelta(hours=2), "end": START},
        {"end": START + dt.timedelta(minutes=15)},
        {"event_type_id": 102},
    ],
)
def test_our_own_booking_of_something_else_is_wrong(change):
    judgement = verdict_on(dataclasses.replace(FRESH, **change), ours=True)
    assert judgement.verdict is Verdict.WRONG
    assert judgement.differs


@pytest.mark.parametrize(
    ("booking", "known", "layer"),
    [
        (
            dataclasses.replace(FRESH, metadata={}, created_at=SENT - dt.timedelta(minutes=35)),
            False,
            Layer.FRESHNESS,
        ),
        (dataclasses.replace(FRESH, metadata={"call_id": "call_other"}), False, Layer.CALL),
        (dataclasses.replace(FRESH, metadata={}), True, Layer.KNOWN_UID),
    ],
)
def test_each_layer_refuses_what_the_others_cannot_see(booking, known, layer):
    judgement = verdict_on(booking, known=known)
    assert judgement == Judgement(Verdict.FOREIGN, refused_by=(layer,))


def test_thirty_seconds_are_still_fresh_and_more_are_not():
    edge = dataclasses.replace(FRESH, metadata={}, created_at=SENT - dt.timedelta(seconds=30))
    assert Layer.FRESHNESS not in verdict_on(edge).refused_by
    older = dataclasses.replace(edge, created_at=SENT - dt.timedelta(seconds=31))
    assert verdict_on(older).refused_by == (Layer.FRESHNESS,)


def test_another_attempt_is_foreign_even_if_no_layer_sees_it():
    other = dataclasses.replace(FRESH, metadata={"attempt_id": "somebody's", "call_id": "call_ours"})
    assert verdict_on(other).verdict is Verdict.FOREIGN


def test_what_nothing_proves_and_nothing_refutes_is_neither_ours_nor_foreign():
    assert verdict_on(dataclasses.replace(FRESH, metadata={})).verdict is Verdict.UNPROVEN


@given(
    metadata=st.dictionaries(st.sampled_from(["attempt_id", "call_id"]), st.text(min_size=1)),
    age=st.integers(min_value=-10, max_value=10_000),
    known=st.booleans(),
    layers=st.booleans(),
)
def test_without_an_attempt_of_ours_nothing_is_ever_ours(metadata, age, known, layers):
    booking = dataclasses.replace(FRESH, metadata=metadata, created_at=SENT - dt.timedelta(seconds=age))
    assert verdict_on(booking, known=known, layers=layers).verdict in (Verdict.FOREIGN, Verdict.UNPROVEN)


def test_switched_off_layers_still_tell_what_they_would_have_refused():
    old = dataclasses.replace(FRESH, metadata={}, created_at=SENT - dt.timedelta(minutes=35))
    judgement = verdict_on(old, layers=False)
    assert judgement == Judgement(Verdict.UNPROVEN, refused_by=(Layer.FRESHNESS,))

from __future__ import annotations

import datetime as dt

import pytest
from hypothesis import given
from hypothesis import strategies as st

from booking import slot_ids

NOW = dt.datetime(2026, 11, 21, 12, tzinfo=dt.UTC)
START = dt.datetime(2026, 12, 1, 9, tzinfo=dt.UTC)
SLOT = slot_ids.make(company_id=1, service_id=7, starts_at=START, now=NOW)


def test_what_was_offered_can_be_read_back():
    assert slot_ids.read(SLOT, company_id=1, now=NOW) == slot_ids.OfferedSlot(7, START)
    assert slot_ids.read(f" {SLOT.upper()} ", company_id=1, now=NOW).starts_at == START


def test_an_offer_of_another_company_is_none():
    with pytest.raises(slot_ids.InvalidSlotId) as refused:
        slot_ids.read(SLOT, company_id=2, now=NOW)
    assert not refused.value.expired


def test_an_old_offer_says_that_it_is_old():
    with pytest.raises(slot_ids.InvalidSlotId) as refused:
        slot_ids.read(SLOT, company_id=1, now=NOW + dt.timedelta(minutes=31))
    assert refused.value.expired


@given(place=st.integers(0, len(SLOT) - 1), character=st.sampled_from("0123456789abcdef-"))
def test_changing_any_character_makes_it_invalid(place, character):
    forged = SLOT[:place] + character + SLOT[place + 1 :]
    if forged != SLOT:
        with pytest.raises(slot_ids.InvalidSlotId):
            slot_ids.read(forged, company_id=1, now=NOW)


@given(text=st.text(max_size=200))
def test_whatever_an_agent_sends_it_is_a_slot_or_refused(text):
    with pytest.raises(slot_ids.InvalidSlotId):
        slot_ids.read(text, company_id=1, now=NOW)

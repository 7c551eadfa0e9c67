from __future__ import annotations

import time
import uuid
from datetime import UTC, datetime

import pytest
from hypothesis import given
from hypothesis import strategies as st

from customers.masking import MASK, mask_text, mask_value

DIGITS = "0123456789"
words = st.sampled_from(["caller", "Termin am", "(", '"', "from=", "tel:", "an ", "error: ", "x"])


@pytest.mark.parametrize(
    ("text", "masked"),
    [
        ("call from +4915112345678 ended", "call from ***78 ended"),
        ("+49 151 1234-56 78", "***78"),
        ("tel:+49(0)30/1234567", "tel:***67"),
        ("from_number=%2B4930123456", "from_number=***56"),
        ("ring (030) -/12345", "ring ***45"),
        ("0049 30 123456", "***56"),
        ("Rückruf 030 1234567 bitte", "Rückruf ***67 bitte"),
        ("Rückruf 0151/12345678.", "Rückruf ***78."),
        ("Rückruf 0151.23.45.67", "Rückruf ***67"),
        ("Rückruf +49 151–2345‑678", "Rückruf ***78"),
        ("an Jörg.Müller@web.de und 'o'brien@müller.de'", "an [email] und '[email]'"),
        ("an ann.lee+x@mail.example.org gesendet", "an [email] gesendet"),
        ("attendee=ann%40example.org", "attendee=[email]"),
        ("key cal_live_0a1b2c3d4e5f failed", "key cal_*** failed"),
        ("key_0123456789abcdef", "key_***"),
        ("Authorization: Bearer cal_live_0a1b2c3d", "Authorization: Bearer ***"),
        ("redis://user:hunter2@redis:6379/0", "redis://***@redis:6379/0"),
        ("x\nDETAIL:  Failing row contains (7, Anna\nWeber).\n\nThe above", "x\nDETAIL:  ***\n\nThe above"),
        ('x\nCONTEXT:  COPY listed, line 1: "Anna Weber"', "x\nCONTEXT:  COPY ***"),
    ],
)
def test_what_is_personal_or_secret_is_masked_in_running_text(text, masked):
    assert mask_text(text) == masked


@pytest.mark.parametrize(
    "text",
    [
        "2026-11-21T14:21:25.123456+00:00", "2026-11-21 14:21:25+0100", "2026-12-01T10:00:00Z", "14:21:25",
        "2026-11-21T00:00:00+01:00 2026-11-22T00:00:00+01:00",
        "550e8400-e29b-41d4-a716-446655440000", "01234567-0123-0123-0123-012345678901",
        "uid 5PcXvxzAaSQbqkGpQ5mJ7M", "booking 12345678901", "appointment 1", "120.5 ms", "0.0123456789",
        "http://127.0.0.1:8000/healthz", "POST /hooks/5b0c8400-e29b-41d4-a716-446655440000/calcom",
        "calcom.create", "booking.refused", "10 of 12", "HTTP/1.1 200", "key of the row",
    ],
)  # fmt: skip
def test_what_a_person_needs_to_follow_a_case_stays_as_it_was(text):
    assert mask_text(text) == text


@given(words, st.text(DIGITS, min_size=9, max_size=13), st.sampled_from(["", " ", "-", "/"]), words)
def test_no_international_number_survives_and_two_digits_stay(before, digits, separator, after):
    number = f"+4{digits[:3]}{separator}{digits[3:]}"
    masked = mask_text(f"{before} {number} {after}")
    assert number not in masked
    assert digits[3:] not in masked
    assert f"{MASK}{digits[-2:]}" in masked


@given(st.emails(), words)
def test_no_plain_e_mail_address_survives(address, before):
    local, _, domain = address.partition("@")
    if not all(character.isalnum() or character in "._+-" for character in local):
        return  # quoted and exotic local parts are no address a caller dictates
    if "." not in domain:
        return
    assert address not in mask_text(f"{before} {address} ")


@given(st.uuids(), st.datetimes(timezones=st.just(UTC)), st.integers(min_value=1, max_value=10**15))
def test_identifiers_and_instants_are_never_mangled(identifier, instant, number):
    for harmless in (str(identifier), instant.isoformat(), str(number)):
        assert mask_text(f"row {harmless} changed") == f"row {harmless} changed"


@given(
    st.text(
        st.sampled_from("abcdefghijkmnopqrstuvwxyzABCDEFGHJKLMNPQRSTUVWXYZ123456789"),
        min_size=20,
        max_size=22,
    )
)
def test_a_cal_com_uid_is_never_mangled(uid):
    assert mask_text(f"booking {uid} moved") == f"booking {uid} moved"


def test_containers_are_walked_and_fields_are_masked_by_their_names():
    masked = mask_value(
        {
            "call": {"from_number": "+4930123456", "names": ["ann@example.org", 7]},
            "to_number": "4930123456",
            "from": "call_0123456789",
            "+4930123456": "rang",
            "customer_name": "Ann Lee",
            "Authorization": "anything at all",
            "api_key": "anything at all",
            "phone": 4930123456,
            "count": 4930123456,
            "calcom_booking_id": "4930123456",
            "when": datetime(2026, 1, 2, tzinfo=UTC),
            "id": uuid.UUID(int=0),
            "error": ValueError("no answer for +4930123456"),
            "raw": b"to +4930123456",
            "flag": True,
            "none": None,
        }
    )
    assert masked == {
        "call": {"from_number": "***56", "names": ["[email]", 7]},
        "to_number": "***56",
        "from": "call_0123456789",
        "***56": "rang",
        "customer_name": "***",
        "Authorization": "***",
        "api_key": "***",
        "phone": "***56",
        "count": 4930123456,
        "calcom_booking_id": "4930123456",
        "when": "2026-01-02T00:00:00+00:00",
        "id": "00000000-0000-0000-0000-000000000000",
        "error": "ValueError('no answer for ***56')",
        "raw": "to ***56",
        "flag": True,
        "none": None,
    }


def test_masking_costs_little():
    event = {
        "event": "function.answered",
        "call": "call_" + "0" * 30,
        "duration_ms": 12.5,
        "text": "Termin " * 40,
    }
    started = time.process_time()
    for _ in range(200):
        mask_value(event)
    # Measured at some 30 microseconds; ten times that would be felt by a caller's request.
    assert (time.process_time() - started) / 200 < 0.001

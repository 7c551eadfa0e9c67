from __future__ import annotations

import hashlib
import hmac

import pytest
from hypothesis import given
from hypothesis import strategies as st

from calls.retell.signature import WINDOW_MS, Verdict, sign, verify

KEY = "key_0123456789abcdef0123456789ab"
NOW = 1_795_255_200_000
BODY = b'{"event":"call_started"}'
HEADER = sign(BODY, KEY, now_ms=NOW)
DIGEST = HEADER.partition(",d=")[2]


def test_what_was_signed_verifies():
    assert verify(BODY, HEADER, keys=[KEY], now_ms=NOW) is Verdict.VALID


def test_the_digest_is_over_the_body_followed_by_the_decimal_time():
    expected = hmac.new(KEY.encode(), BODY + b"1795255200000", hashlib.sha256).hexdigest()
    assert HEADER.split(",d=") == ["v=1795255200000", expected]


@pytest.mark.parametrize("header", [None, ""])
def test_no_header_is_missing(header):
    assert verify(BODY, header, keys=[KEY], now_ms=NOW) is Verdict.MISSING


@pytest.mark.parametrize(
    "header",
    [
        "v=", " " + HEADER, HEADER + " ", HEADER + "\n", HEADER + ",x=1", HEADER.replace(",", ", "),
        HEADER.upper(), f"v={NOW},d={DIGEST.upper()}", f"v={NOW},d={DIGEST[:-1]}", f"v={NOW},d={DIGEST}0",
        f"d={DIGEST},v={NOW}", f"v=-{NOW},d={DIGEST}", f"v=+{NOW},d={DIGEST}", f"v={NOW}.0,d={DIGEST}",
        f"v=,d={DIGEST}", DIGEST, f"v=١٧٩٥٢٥٥٢٠٠٠٠٠,d={DIGEST}", f"v={NOW},d={DIGEST[:-1]}０",
        HEADER + "," + HEADER, "no-secret-provided", "é", "\ud800", "\x00",
    ],
)  # fmt: skip
def test_a_header_of_any_other_form_is_malformed(header):
    assert verify(BODY, header, keys=[KEY], now_ms=NOW) is Verdict.MALFORMED


@pytest.mark.parametrize("distance", [0, 1, -1, WINDOW_MS, -WINDOW_MS])
def test_the_window_includes_both_ends(distance):
    assert verify(BODY, HEADER, keys=[KEY], now_ms=NOW + distance) is Verdict.VALID


@pytest.mark.parametrize("distance", [WINDOW_MS + 1, -WINDOW_MS - 1, 10**9, -NOW])
def test_outside_the_window_it_is_stale_although_the_digest_is_right(distance):
    assert verify(BODY, HEADER, keys=[KEY], now_ms=NOW + distance) is Verdict.STALE


@pytest.mark.parametrize("digits", [1, 13, 19, 400, 5000, 100_000])
def test_a_huge_timestamp_is_stale_and_costs_nothing(digits):
    assert verify(BODY, f"v={'9' * digits},d={DIGEST}", keys=[KEY], now_ms=NOW) is Verdict.STALE


@pytest.mark.parametrize(
    "body", [b"", BODY + b"\n", BODY.replace(b":", b": "), b"\xff\xfe", BODY[:-1], BODY + b"1"]
)
def test_another_body_is_a_mismatch(body):
    assert verify(body, HEADER, keys=[KEY], now_ms=NOW) is Verdict.MISMATCH


@pytest.mark.parametrize("keys", [[], [""], ["  "], ["", "wrong"], [KEY + " "], [KEY.upper()]])
def test_without_the_right_key_it_is_a_mismatch(keys):
    assert verify(BODY, HEADER, keys=keys, now_ms=NOW) is Verdict.MISMATCH


def test_a_signature_made_with_an_empty_key_does_not_open_an_unconfigured_endpoint():
    assert verify(BODY, sign(BODY, "", now_ms=NOW), keys=[""], now_ms=NOW) is Verdict.MISMATCH
    assert verify(BODY, sign(BODY, " ", now_ms=NOW), keys=[" ", ""], now_ms=NOW) is Verdict.MISMATCH


@pytest.mark.parametrize("keys", [[KEY, "old"], ["old", KEY], ["", KEY, "older"]])
def test_during_a_rotation_any_of_the_keys_may_have_signed(keys):
    assert verify(BODY, HEADER, keys=keys, now_ms=NOW) is Verdict.VALID


@given(
    st.binary(max_size=200),
    st.text(st.characters(codec="utf-8"), min_size=1).filter(str.strip),
    st.integers(0, 10**17),
)
def test_any_body_key_and_time_make_a_round_trip(body, key, now):
    header = sign(body, key, now_ms=now)
    assert verify(body, header, keys=["other", key], now_ms=now) is Verdict.VALID
    assert verify(body + b"x", header, keys=[key], now_ms=now) is Verdict.MISMATCH
    assert verify(body, header, keys=[key + "x"], now_ms=now) is Verdict.MISMATCH


@given(
    st.binary(max_size=50),
    st.text(),
    st.lists(st.text(st.characters(codec="utf-8")), max_size=3),
    st.integers(),
)
def test_arbitrary_headers_never_verify_and_never_raise(body, header, keys, now):
    assert verify(body, header, keys=keys, now_ms=now) is not Verdict.VALID


@given(st.integers(0, len(HEADER) - 1), st.characters(codec="ascii"))
def test_changing_any_one_character_of_the_header_spoils_it(position, character):
    changed = HEADER[:position] + character + HEADER[position + 1 :]
    verdict = verify(BODY, changed, keys=[KEY], now_ms=NOW)
    assert (verdict is Verdict.VALID) == (changed == HEADER)

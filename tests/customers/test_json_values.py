from __future__ import annotations

import math

import orjson
import pytest
from hypothesis import given
from hypothesis import strategies as st

from customers.json_values import read_json, storable
from tests.nested import depth_of, nested


@pytest.mark.parametrize(
    ("value", "stored"),
    [
        ("a\x00b", "ab"), ("\ud83d half", " half"), ("half \ude00", "half "), ("😀 ä", "😀 ä"),
        ({"a\x00": {"\udfff": ["\x00"]}}, {"a": {"": [""]}}), (None, None), (True, True), (1.5, 1.5),
        (2**64 - 1, 2**64 - 1), (2**64, "18446744073709551616"), (-(2**63), -(2**63)),
        (-(2**63) - 1, "-9223372036854775809"), (10**4000, "1" + "0" * 4000),
        (math.nan, None), (math.inf, None), (-math.inf, None), ([math.nan, [1]], [None, [1]]),
    ],
)  # fmt: skip
def test_a_value_is_made_storable(value, stored):
    assert storable(value) == stored


def test_an_integer_too_long_to_write_out_is_cut():
    assert storable({"a": 10**400_000, "b": -(10**5000)}) == {"a": "…", "b": "…"}


def test_what_is_nested_deeper_than_thirty_two_is_cut():
    assert storable(nested(32)) == nested(32)
    for depth in (33, 100, 100_000):
        cut = storable(nested(depth))
        assert depth_of(cut) == 32
        assert "…" in str(cut)
        assert "core" not in str(cut)


@pytest.mark.parametrize(
    ("body", "value"),
    [
        (b"{}", {}), (b' {"a": [1, "\xc3\xa4", null]}\n', {"a": [1, "ä", None]}), (b'"\\ud83d"', "\ud83d"),
        (b'{"\\ude00": "\\u0000"}', {"\ude00": "\x00"}), (b'"\\ud83d\\ude00"', "😀"), (b"1e400", math.inf),
        (b"[-1e400, 7]", [-math.inf, 7]), (b"1" * 5000, "1" * 5000), (b"-" + b"1" * 5000, "-" + "1" * 5000),
        (b"[1e400, 18446744073709551615]", [math.inf, 2**64 - 1]),
    ],
)  # fmt: skip
def test_what_the_grammar_of_json_allows_is_read(body, value):
    assert read_json(body) == value


@pytest.mark.parametrize(
    "body",
    [
        b"", b" ", b"{", b"hello", b"{'a': 1}", b"NaN", b"[NaN]", b"Infinity", b'{"a": -Infinity}',
        b"[1e400, NaN]",
        b"\xff\xfe", b"\xff\xfe{\x00}\x00", b'"\xed\xa0\x80"', b'"\xff"', b"\xef\xbb\xbf{}", b"[" * 100_000,
        b"[" * 100_000 + b"]" * 100_000, b'{"a":' * 50_000, b'"a\x00"', b"[1]\x00", b"01", b"[1,]", b"1 2",
    ],
)  # fmt: skip
def test_what_is_no_json_raises_value_error(body):
    with pytest.raises(ValueError):  # noqa: PT011
        read_json(body)


@given(st.one_of(st.binary(), st.text('[]{}",:01e.-\\ud8 ').map(str.encode)))
def test_any_bytes_are_read_or_raise_value_error(body):
    try:
        value = read_json(body)
    except ValueError:
        return
    orjson.dumps(storable(value))

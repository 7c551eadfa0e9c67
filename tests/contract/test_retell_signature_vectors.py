"""Our signature check against recorded vectors, and against the vendor's own SDK where that is installed."""

from __future__ import annotations

import functools
import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from calls.retell.signature import Verdict, sign, verify

RECORDED = json.loads(
    (Path(__file__).parent / "recordings" / "retell_signature_vectors.json").read_text("utf-8")
)
PAYLOADS = Path(__file__).parent.parent / "payloads" / "retell"
KEY = RECORDED["key"]
CASES: list[dict[str, Any]] = RECORDED["cases"]


def by_name(case: dict[str, Any]) -> str:
    return str(case.get("body_file") or case["name"])


def body_of(case: dict[str, Any]) -> bytes:
    if "body_file" in case:
        return (PAYLOADS / str(case["body_file"])).read_bytes()
    return str(case["body"]).encode()


def test_all_fifteen_vectors_are_there():
    assert len(CASES) == 15
    assert sum(case["valid"] for case in CASES) == 6


@pytest.mark.parametrize("case", CASES, ids=by_name)
def test_a_recorded_vector_is_judged_as_retell_judges_it(case):
    verdict = verify(body_of(case), case["header"], keys=[KEY], now_ms=case["now_ms"])
    assert (verdict is Verdict.VALID) == case["valid"]


@pytest.mark.parametrize(
    ("name", "verdict"),
    [
        ("stale at +300001 ms", Verdict.STALE),
        ("future at -300001 ms", Verdict.STALE),
        ("timestamp in seconds rejected", Verdict.STALE),
        ("re-serialised body (spaces added)", Verdict.MISMATCH),
        ("wrong digest", Verdict.MISMATCH),
        ("upper-case digest rejected", Verdict.MALFORMED),
        ("extra text after digest rejected", Verdict.MALFORMED),
        ("empty header", Verdict.MISSING),
    ],
)
def test_the_reason_of_a_refusal_is_told(name, verdict):
    (case,) = (case for case in CASES if case["name"] == name)
    assert verify(body_of(case), case["header"], keys=[KEY], now_ms=case["now_ms"]) is verdict


@pytest.mark.parametrize("case", [case for case in CASES if case["valid"]], ids=by_name)
def test_we_sign_as_retell_signed_the_recorded_vectors(case):
    assert sign(body_of(case), KEY, now_ms=RECORDED["timestamp_ms"]) == case["header"]


@functools.cache
def sdk() -> dict[str, Callable[..., Any]]:
    """The SDK's signer and verifier with a clock. Imported on use: it costs two seconds and a hundred
    megabytes."""
    symmetric: dict[str, Callable[..., Any]] = pytest.importorskip("retell.lib.webhook_auth").symmetric
    return symmetric


@pytest.mark.parametrize("case", [case for case in CASES if case["header"] is not None], ids=by_name)
def test_the_sdk_judges_the_recorded_vectors_the_same(case):
    case_ok = sdk()["verify"](body_of(case).decode(), KEY, case["header"], {"timestamp": case["now_ms"]})
    assert bool(case_ok) == case["valid"]


TEXTS = st.text(st.characters(codec="utf-8"))
KEYS = TEXTS.filter(str.strip)


@given(body=TEXTS, key=KEYS, now=st.integers(0, 4 * 10**12))
def test_our_signature_and_the_sdks_are_the_same_text(body, key, now):
    assert sign(body.encode(), key, now_ms=now) == sdk()["sign"](body, key, now)


HEADERS = st.one_of(
    st.text(),
    st.from_regex(r"v=[0-9]{1,20},d=[0-9a-f]{64}", fullmatch=True),
    st.from_regex(r"v=0*1795255[0-9]{6},d=[0-9a-fA-F]{63,65}", fullmatch=True),
)


@given(body=TEXTS, key=KEYS, header=HEADERS, distance=st.integers(-300_002, 300_002))
def test_we_and_the_sdk_agree_on_headers_right_and_wrong(body, key, header, distance):
    now = RECORDED["timestamp_ms"]
    right = sdk()["sign"](body, key, now)
    padded = right.replace("v=", "v=" + "0" * 25)
    for candidate in (header, right, padded, right + "\n"):
        ours = verify(body.encode(), candidate, keys=[key], now_ms=now + distance) is Verdict.VALID
        assert ours == bool(sdk()["verify"](body, key, candidate, {"timestamp": now + distance}))

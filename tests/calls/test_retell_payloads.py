from __future__ import annotations

import json
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import orjson
import pytest
from hypothesis import given
from hypothesis import strategies as st

from calls.retell.payloads import (
    FunctionRequest,
    base_name,
    read_function_request,
    read_identifier,
    read_milliseconds,
    read_text,
)
from tests.nested import depth_of, nested

PAYLOADS = Path(__file__).parent.parent / "payloads" / "retell"
CALL_ID = "call_3b7c9e1f5a2d4860b1c7d9e2f40"


def payload(name: str) -> Any:
    return json.loads((PAYLOADS / f"{name}.json").read_text("utf-8"))


def read(body: object, *, path_name: str = "book_appointment", header: str | None = None) -> FunctionRequest:
    return read_function_request(body, path_name=path_name, call_id_header=header)


def test_the_normal_form_is_read_whole():
    arguments = payload("function_book_appointment_args_only")
    assert read(payload("function_book_appointment")) == FunctionRequest(
        name="book_appointment",
        call_id=CALL_ID,
        agent_id="agent_6f1d0c2b9a7e4d35b8c1f20e77",
        call_type="phone_call",
        direction="inbound",
        from_number="+17735550123",
        to_number="+13125550142",
        start_timestamp=datetime(2026, 11, 16, 15, 4, 5, 120_000, tzinfo=UTC),
        tool_call_id="9d20b7716fae4c83",
        arguments=arguments,
    )


def test_the_arguments_only_form_takes_the_call_from_the_header_and_the_name_from_the_url():
    arguments = payload("function_book_appointment_args_only")
    request = read(arguments, path_name="book_appointment_v2", header=CALL_ID)
    assert request == FunctionRequest(
        name="book_appointment",
        call_id=CALL_ID,
        agent_id=None,
        call_type=None,
        direction=None,
        from_number=None,
        to_number=None,
        start_timestamp=None,
        tool_call_id=None,
        arguments=arguments,
    )


def test_a_web_call_has_no_numbers():
    call = payload("webhook_call_analyzed_web_call")["call"]
    request = read({"name": "book_appointment", "call": call, "args": {}})
    assert (request.call_type, request.from_number, request.to_number, request.direction) == (
        "web_call",
        None,
        None,
        None,
    )
    assert request.call_id == call["call_id"]


def test_a_withheld_number_is_handed_on_as_signalled():
    request = read({"name": "x", "call": {"call_id": "c_1", "from_number": "anonymous"}, "args": {}})
    assert request.from_number == "anonymous"


def test_the_call_of_the_body_wins_over_the_header():
    assert read({"name": "x", "call": {"call_id": "call_a"}, "args": {}}, header="call_b").call_id == "call_a"


@pytest.mark.parametrize(
    "call", [{}, {"call_id": None}, {"call_id": "None"}, {"call_id": 7}, None, [], "call_a"]
)
def test_without_a_usable_id_in_the_body_the_header_counts(call):
    assert read({"name": "x", "call": call, "args": {}}, header="call_b").call_id == "call_b"


UNUSABLE = [
    "", " ", "None", "null", "NULL", "undefined", "unknown", "12345", "123", "1234567890", "0", "000",
    "{{call_id}}", "<call_id>", "[call_id]", "call_id", "call 1", "call/1", "call_\u00e4", "call_\x00",
    "c" * 129, "call_1\ncall_2",
]  # fmt: skip


@pytest.mark.parametrize("call_id", [*UNUSABLE, None, 5, 1.5, True, [], {}, ["call_a"]])
def test_a_placeholder_is_no_call_id(call_id):
    assert read({"name": "x", "call": {"call_id": call_id}, "args": {}}).call_id is None


@pytest.mark.parametrize("call_id", [*UNUSABLE, None])
def test_a_placeholder_in_the_header_is_no_call_id(call_id):
    assert read({"service": "haircut"}, header=call_id).call_id is None


@pytest.mark.parametrize("call_id", ["call_1", "c", "CA.1:2-3_4", "c" * 128, "987654321", " call_1 "])
def test_a_real_call_id_is_taken(call_id):
    assert read({"name": "x", "call": {"call_id": call_id}, "args": {}}).call_id == call_id.strip()
    assert read({}, header=call_id).call_id == call_id.strip()


@pytest.mark.parametrize(
    "body",
    [
        {"call_id": "call_invented", "service": "haircut"},
        {"call": {"call_id": "call_invented"}, "service": "haircut"},
        {"name": "Anna", "call_id": "call_invented"},
        {"name": "x", "call": {}, "args": {"call_id": "call_invented", "call": {"call_id": "call_invented"}}},
        {"name": "x", "call": None, "args": '{"call_id": "call_invented"}'},
    ],
)
def test_a_call_id_among_the_arguments_is_never_used(body):
    assert read(body).call_id is None
    assert read(body, header="call_real").call_id == "call_real"


@pytest.mark.parametrize(
    "body",
    [
        {"name": "Anna", "service": "haircut"}, {"args": "x"}, {"call": {"call_id": "c_1"}},
        {"call": "me back"}, {"name": 5, "call": {"call_id": "c_1"}}, {"name": "Anna", "call": "c_1"},
        {"call": [], "args": {}},
    ],
)  # fmt: skip
@pytest.mark.parametrize("header", [None, "call_real"])
def test_an_argument_named_like_a_part_of_the_envelope_stays_an_argument(body, header):
    request = read(body, header=header)
    assert (request.arguments, request.call_id) == (body, header)


@pytest.mark.parametrize("header", [None, "None", "{{call_id}}", "12345"])
def test_a_request_without_arguments_may_come_without_args(header):
    request = read({"name": "list_services", "call": {"call_id": "call_a"}, "x": 1}, header=header)
    assert (request.call_id, request.arguments) == ("call_a", {})


def test_where_the_header_names_the_call_a_name_and_a_call_without_args_are_arguments():
    body = {"name": "Anna", "call": {"call_id": "call_invented"}, "service": "haircut"}
    request = read(body, header="call_real")
    assert (request.call_id, request.arguments) == ("call_real", body)


@pytest.mark.parametrize("envelope", [{"name": "x"}, {"call": {"call_id": "call_a"}}])
def test_args_beside_a_name_or_a_call_are_the_normal_form(envelope):
    request = read({**envelope, "args": {"a": 1}})
    assert request.arguments == {"a": 1}
    assert request.call_id == envelope.get("call", {}).get("call_id")


@pytest.mark.parametrize(
    ("args", "arguments"),
    [
        ({"a": 1}, {"a": 1}), ('{"a": 1}', {"a": 1}), (None, {}), ("", {}), ("garbage", {}), ("[1]", {}),
        ("null", {}), ('{"a": NaN}', {}), ("[" * 100_000, {}), ("1" * 10_000, {}), ([], {}), ([{"a": 1}], {}),
        (5, {}), (True, {}), ('"{}"', {}), ('{"a": "\\ud83d!"}', {"a": "!"}),
        ('{"a": "\ud83d!\x00"}', {"a": "!"}),
        ('{"a": 1e400, "b": -1e400}', {"a": None, "b": None}), ('{"a": "\\u0000!"}', {"a": "!"}),
        ('{"a": 1e400, "b": ' + "1" * 5000 + "}", {"a": None, "b": "1" * 5000}),
    ],
)  # fmt: skip
def test_arguments_of_any_shape(args, arguments):
    assert read({"name": "x", "call": {}, "args": args}).arguments == arguments


@pytest.mark.parametrize("body", [{"name": "x", "call": {}, "args": {"a": nested(500)}}, {"a": nested(500)}])
def test_arguments_are_storable_in_both_forms(body):
    assert depth_of(read(body).arguments["a"]) == 31


def test_arguments_in_a_text_are_storable_too():
    args = json.dumps({"a": nested(500)})
    assert depth_of(read({"name": "x", "call": {}, "args": args}).arguments["a"]) == 31


def test_the_readers_of_single_values_are_lenient():
    assert read_identifier(" agent_1 ") == "agent_1"
    assert read_identifier("{{agent_id}}") is None
    assert read_text(" ended ") == "ended"
    assert read_text("x" * 257) is None
    assert read_text("a\x00b") is None
    assert read_milliseconds(1_795_255_200_000) == datetime(2026, 11, 21, 10, tzinfo=UTC)
    assert read_milliseconds("1795255200000") is None


@pytest.mark.parametrize(
    "body", [None, [], "text", 5, 1.5, True, {}, [{"name": "x", "call": {}, "args": {}}]]
)
def test_a_body_that_is_no_object_has_no_arguments(body):
    request = read(body, header="call_b")
    assert (request.arguments, request.call_id, request.name) == ({}, "call_b", "book_appointment")


@pytest.mark.parametrize(
    ("milliseconds", "instant"),
    [
        (1_795_255_200_000, datetime(2026, 11, 21, 10, tzinfo=UTC)),
        (1_795_255_200_500.0, datetime(2026, 11, 21, 10, 0, 0, 500_000, tzinfo=UTC)),
        (1_795_255_200, None), (1_795_255_200_000_000, None), (0, None), (-1, None), (10**400, None),
        (True, None), (float("nan"), None), (float("inf"), None), ("1795255200000", None), (None, None),
        ([], None),
    ],
)  # fmt: skip
def test_the_start_of_the_call(milliseconds, instant):
    request = read({"name": "x", "call": {"start_timestamp": milliseconds}, "args": {}})
    assert request.start_timestamp == instant


@pytest.mark.parametrize(
    "name",
    [
        "book_appointment", "book_appointment_v2", "book_appointment-v2", "book_appointment_V3",
        "Book_Appointment", "BOOK_APPOINTMENT_V10", " book_appointment ", "book-appointment",
        "book-appointment-v2", "book_appointment_v1.2",
    ],
)  # fmt: skip
def test_a_version_suffix_and_case_do_not_matter(name):
    assert base_name(name) == "book_appointment"
    assert read({}, path_name=name).name == "book_appointment"


@pytest.mark.parametrize(
    "name", ["", "v2", "book", "bookv2", "book_v", "book_v2_now", "collect_appointment_data"]
)
def test_other_names_are_left_alone(name):
    assert base_name(name) == name


@pytest.mark.parametrize(
    ("path_name", "name"),
    [
        ("book\x00x", "bookx"), ("\x00", ""), (" ", ""), ("book\n_appointment\u200b", "book_appointment"),
        ("book_appointment_v2\x00", "book_appointment"), ("x" * 80, "x" * 64), ("\ud83d", ""), ("💇", "💇"),
    ],
)  # fmt: skip
def test_the_name_out_of_the_path_is_short_and_printable(path_name, name):
    assert read({}, path_name=path_name).name == name


@given(st.text())
def test_the_base_name_of_any_text_is_found_without_an_exception(name):
    assert isinstance(base_name(name), str)


def invocation(
    tool_call_id: object, *, name: str = "book", arguments: object = '{"a": 1}'
) -> dict[str, object]:
    return {
        "role": "tool_call_invocation",
        "tool_call_id": tool_call_id,
        "name": name,
        "arguments": arguments,
    }


def result(tool_call_id: str) -> dict[str, object]:
    return {"role": "tool_call_result", "tool_call_id": tool_call_id, "content": "{}"}


@pytest.mark.parametrize(
    ("transcript", "tool_call_id"),
    [
        ([invocation("t1")], "t1"),
        ([invocation("t1"), {"role": "agent", "content": "One moment"}], "t1"),
        ([invocation("t1"), invocation("t2")], "t2"),
        ([invocation("t1"), result("t1"), invocation("t2")], "t2"),
        ([invocation("t1"), invocation("t2"), result("t2")], "t1"),
        ([invocation("t1", arguments={"a": 1})], "t1"),
        ([invocation("t1", name="book_v2")], "t1"),
        ([invocation("t1"), result("t1")], None),
        ([invocation("t1", name="cancel")], None),
        ([invocation("t1", arguments='{"a": 2}')], None),
        ([invocation("t1", arguments="garbage")], None),
        ([invocation("t1"), invocation("t2", arguments='{"a": 2}')], "t1"),
        ([invocation(None), invocation(5), invocation("None")], None),
        ([invocation("{{id}}"), invocation("t" * 129)], None),
        ([None, "text", 5, {}, {"role": "tool_call_invocation"}, invocation("t1")], "t1"),
        ([{"role": "tool_call_result", "tool_call_id": ["t1"]}, invocation("t1")], "t1"),
        ([], None), ({}, None), (None, None), ("text", None),
    ],
)  # fmt: skip
def test_the_invocation_of_this_request_is_found_in_the_running_transcript(transcript, tool_call_id):
    body = {"name": "book", "call": {"transcript_with_tool_calls": transcript}, "args": {"a": 1}}
    assert read(body, path_name="book_appointment").tool_call_id == tool_call_id


def test_deeply_nested_arguments_do_not_raise():
    deep: dict[str, Any] = {}
    for _ in range(5000):
        deep = {"a": deep}
    other: dict[str, Any] = {}
    for _ in range(5000):
        other = {"a": other}
    call = {"transcript_with_tool_calls": [invocation("t1", arguments=other)]}
    request = read({"name": "book", "call": call, "args": deep}, path_name="book")
    assert request.tool_call_id == "t1"  # alike as far as they are kept
    assert len(json.dumps(request.arguments)) < 500


JSON = st.recursive(
    st.one_of(st.none(), st.booleans(), st.integers(), st.floats(), st.text()),
    lambda inner: st.one_of(st.lists(inner, max_size=4), st.dictionaries(st.text(), inner, max_size=4)),
    max_leaves=8,
)
CALL_KEYS = st.sampled_from(
    ["call_id", "agent_id", "call_type", "direction", "from_number", "to_number", "start_timestamp"]
)
ENTRIES = st.fixed_dictionaries(
    {
        "role": st.sampled_from(["tool_call_invocation", "tool_call_result", "agent"]),
        "tool_call_id": JSON,
        "name": st.one_of(JSON, st.just("book_appointment")),
        "arguments": JSON,
    }
)
BODIES = st.one_of(
    JSON,
    st.fixed_dictionaries(
        {},
        optional={
            "name": JSON,
            "args": JSON,
            "call": st.one_of(
                JSON,
                st.builds(
                    lambda call, entries: {**call, "transcript_with_tool_calls": entries},
                    st.dictionaries(CALL_KEYS, JSON),
                    st.one_of(JSON, st.lists(ENTRIES, max_size=3)),
                ),
            ),
        },
    ),
)


@given(BODIES, st.text(), st.one_of(st.none(), st.text()))
def test_any_json_body_is_read_without_an_exception(body, path_name, header):
    request = read(body, path_name=path_name, header=header)
    assert json.loads(orjson.dumps(request.arguments)) == request.arguments
    assert "\x00" not in orjson.dumps(request.arguments).decode()
    assert len(request.name) <= 64
    assert not request.name or request.name.isprintable()
    for identifier in (request.call_id, request.agent_id, request.tool_call_id):
        assert identifier is None or (identifier.isascii() and 0 < len(identifier) <= 128)
    for text in (
        request.from_number,
        request.to_number,
        request.direction,
        request.call_type,
    ):
        assert text is None or (text.isprintable() and text)

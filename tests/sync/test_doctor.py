"""What the doctor concludes from what it saw; nothing here asks anybody."""

from __future__ import annotations

import datetime as dt
import threading
import time
from email.utils import format_datetime
from typing import Any
from zoneinfo import ZoneInfo

import pytest

from booking import event_types as bookable
from booking.calcom.objects import EventType
from booking.models import Service
from customers.models import Company
from sync.doctor import clock, event_types
from sync.doctor.calcom import same_all_year
from sync.doctor.finding import Finding, Verdict, count, failed, ok, warning
from sync.doctor.installation import judge_public_url
from sync.doctor.retell import Ours, judge_tools
from sync.doctor.run import Check, run

NOW = dt.datetime(2026, 12, 1, 9, 0, tzinfo=dt.UTC)
OURS = Ours("https://slots.example.org/hooks/5b0c")


# --- Findings


def test_a_secret_that_others_repeat_is_blotted_out_of_text_and_remedy():
    finding = failed("key", "The key cal_1 is wrong", "Replace cal_1").without(["", "cal_1"])
    assert (finding.said, finding.remedy) == ("The key … is wrong", "Replace …")


def test_every_verdict_is_counted_also_those_that_did_not_occur():
    counts = count([ok("a", "x"), ok("b", "x"), warning("c", "x", "y")])
    assert counts == {Verdict.OK: 2, Verdict.WARNING: 1, Verdict.FAILED: 0, Verdict.UNCHECKED: 0}


# --- Checks, each within its time


def test_a_check_that_hangs_is_given_up_and_what_it_found_before_is_kept():
    released = threading.Event()

    def hang() -> Any:
        yield ok("first", "Well.")
        released.wait(30)

    began = time.monotonic()
    found = run([Check("slow", hang, seconds=0.2), Check("quick", lambda: [ok("quick", "Well.")])])
    released.set()
    assert time.monotonic() - began < 5
    assert [(each.check, each.verdict) for each in found] == [
        ("first", Verdict.OK),
        ("slow", Verdict.UNCHECKED),
        ("quick", Verdict.OK),
    ]
    assert found[1].said == "Not done within 0.2 s."


def test_a_check_that_breaks_hides_no_other_and_tells_no_address():
    def break_off() -> Any:
        raise ConnectionError("redis://:hunter2@redis:6379 refused")

    found = run([Check("broken", break_off), Check("well", lambda: [ok("well", "Well.")])])
    assert [each.verdict for each in found] == [Verdict.UNCHECKED, Verdict.OK]
    assert "ConnectionError" in found[0].said
    assert "hunter2" not in str(found)


def test_secrets_are_blotted_out_of_every_finding():
    found = run([Check("a", lambda: [ok("a", "key_1 works")])], secrets=["key_1"])
    assert found[0].said == "… works"


# --- Clocks


@pytest.mark.parametrize(
    ("offset", "verdict"),
    [
        (0.4, Verdict.OK),
        (-59, Verdict.OK),
        (61, Verdict.WARNING),
        (-300, Verdict.WARNING),
        (301, Verdict.FAILED),
        (-4000, Verdict.FAILED),
    ],
)
def test_a_clock_may_be_a_minute_off_and_must_not_be_five(offset, verdict):
    finding = clock.judge({"Cal.com": 0.0, "Retell": offset})
    assert finding.verdict is verdict
    if verdict is not Verdict.OK:
        assert "Retell" in finding.said
        assert ("ahead of" if offset > 0 else "behind") in finding.said
        assert "NTP" in finding.remedy


def test_without_any_date_the_clock_could_not_be_checked():
    assert clock.judge({}).verdict is Verdict.UNCHECKED


def test_the_date_header_is_compared_with_the_middle_of_the_exchange():
    answered = NOW + dt.timedelta(seconds=4)
    said = format_datetime(NOW + dt.timedelta(seconds=32), usegmt=True)
    assert clock.offset_of(said, sent=NOW, answered=answered) == pytest.approx(-30.5)


@pytest.mark.parametrize("date", [None, "", "yesterday", "Tue, 01 Dec 2026 09:00:00 -0000"])
def test_a_date_that_says_nothing_is_no_offset(date):
    assert clock.offset_of(date, sent=NOW, answered=NOW) is None


# --- Time zones


@pytest.mark.parametrize(
    ("one", "other", "same"),
    [
        ("Europe/Berlin", "Europe/Vienna", True),
        ("Europe/Berlin", "Africa/Lagos", False),  # the same in winter only
        ("Europe/Berlin", "Europe/London", False),
    ],
)
def test_two_zones_are_the_same_if_their_clocks_agree_all_year(one, other, same):
    assert same_all_year(ZoneInfo(one), ZoneInfo(other), now=NOW) is same


# --- Event types


def service(**values: Any) -> Service:
    company = Company(slug="salon")
    options = {"slug": "cut", "duration_minutes": 30, "calcom_event_type_id": 7, **values}
    return Service(company=company, **options)


def event_type(**values: Any) -> EventType:
    return EventType(
        **{
            "id": 7,
            "length_minutes": 30,
            "lengths_minutes": (),
            "scheduling": "",
            "requires_confirmation": False,
            "has_seats": False,
            "is_paid": False,
            "email_required": False,
            "accepts_notes": True,
            "is_recurring": False,
            **values,
        }
    )


def judged(
    kind: EventType, *, of: Service | None = None, domain: str = "a.example", shared: int = 0
) -> dict[str, Finding]:
    found = event_types.judge(of or service(), kind, attendee_email_domain=domain, shared_addresses=shared)
    return {each.check: each for each in found}


def test_an_ordinary_event_type_suits_its_service():
    assert {each.verdict for each in judged(event_type()).values()} == {Verdict.OK}


@pytest.mark.parametrize("kind", [{"has_seats": True}, {"is_recurring": True}, {"length_minutes": 45}])
def test_what_the_doctor_calls_unsuited_is_what_a_booking_refuses(kind):
    unsuited = event_type(**kind)
    assert bookable.why_unfit(unsuited, minutes=30)
    failures = [each for each in judged(unsuited).values() if each.verdict is Verdict.FAILED]
    assert len(failures) == 1
    assert failures[0].remedy


def test_one_of_several_lengths_is_enough():
    assert judged(event_type(length_minutes=60, lengths_minutes=(30, 60)))["duration"].verdict is Verdict.OK


def test_an_address_that_is_demanded_has_to_come_from_somewhere():
    finding = judged(event_type(email_required=True), domain="")["e-mail policy"]
    assert finding.verdict is Verdict.FAILED
    assert "attendee e-mail domain" in finding.remedy
    assert judged(event_type(email_required=True))["e-mail policy"].verdict is Verdict.OK
    assert judged(event_type(), domain="")["e-mail policy"].verdict is Verdict.WARNING


@pytest.mark.parametrize(
    "kind", [{"scheduling": "roundrobin"}, {"requires_confirmation": True}], ids=["round robin", "confirm"]
)
def test_where_cal_com_hands_back_bookings_a_shared_address_is_a_trap(kind):
    assert judged(event_type(**kind))["shared address"].verdict is Verdict.OK
    assert judged(event_type(**kind), domain="")["shared address"].verdict is Verdict.WARNING
    trap = judged(event_type(**kind), domain="", shared=2)["shared address"]
    assert trap.verdict is Verdict.FAILED
    assert "2 addresses" in trap.said
    assert judged(event_type(), domain="", shared=2)["shared address"].verdict is Verdict.OK


def test_facts_that_changed_since_they_were_read_are_named():
    learned = service(learned_event_type_id=7, scheduling="one_host", accepts_notes=True)
    assert judged(event_type(), of=learned)["facts on record"].verdict is Verdict.OK
    finding = judged(event_type(requires_confirmation=True), of=learned)["facts on record"]
    assert finding.verdict is Verdict.WARNING
    assert "requires confirmation" in finding.said
    assert finding.remedy == "Run: manage.py sync_services --company salon"


# --- The public address


@pytest.mark.parametrize(
    ("address", "verdict"),
    [
        ("", Verdict.FAILED),
        ("http://slots.example.org", Verdict.WARNING),
        ("https://localhost:8000", Verdict.WARNING),
        ("https://10.0.0.7", Verdict.WARNING),
        ("https://slots.example.org", Verdict.OK),
    ],
)
def test_a_public_address_is_public_and_https(address, verdict):
    assert judge_public_url(address).verdict is verdict


# --- The tools of an agent


def tool(name: str, **values: Any) -> dict[str, Any]:
    return {"type": "custom", "name": name, "url": OURS.functions + name, "timeout_ms": 10_000, **values}


def judged_tools(*tools: dict[str, Any], **llm: Any) -> Finding:
    return judge_tools(
        {"general_tools": list(tools), **llm}, OURS, budget=8.0, push="push it", subject="agent_1"
    )


def test_tools_that_call_us_are_fine_under_their_old_and_versioned_names_too():
    assert judged_tools(tool("check_availability"), tool("book_appointment")).verdict is Verdict.OK
    assert judged_tools(tool("check_availability_v2"), tool("collect_appointment_data")).verdict is Verdict.OK


def test_tools_of_others_are_their_business():
    theirs = tool("ask_crm", url="https://crm.example.org/x?key=1")
    assert judged_tools(tool("check_availability"), tool("book_appointment"), theirs).verdict is Verdict.OK


def test_a_tool_of_ours_that_calls_somebody_else_is_told_by_its_host_only():
    stray = tool("book_appointment", url="https://old.example.org/hooks/5b0c?key=secret")
    finding = judged_tools(tool("check_availability"), stray)
    assert finding.verdict is Verdict.FAILED
    assert "book_appointment (old.example.org)" in finding.said
    assert "secret" not in str(finding)


def test_the_tools_of_a_state_count_as_well():
    state = {"name": "booking", "tools": [tool("book_appointment", url="https://old.example.org/x")]}
    assert judged_tools(tool("check_availability"), states=[state]).verdict is Verdict.FAILED


def test_an_agent_that_cannot_book_is_useless():
    finding = judged_tools(tool("list_services"))
    assert finding.verdict is Verdict.FAILED
    assert "book_appointment" in finding.said


def test_a_tool_that_gives_up_before_we_answer_is_too_impatient():
    finding = judged_tools(tool("check_availability"), tool("book_appointment", timeout_ms=5_000))
    assert finding.verdict is Verdict.WARNING
    assert "book_appointment" in finding.said

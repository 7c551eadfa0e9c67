"""Calls whose end was never told: Retell is asked, and only what it says is believed."""

from __future__ import annotations

import datetime as dt
import time
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from typing import Any

import pytest
from django.db import connection
from django.utils import timezone

from calls import never_ended
from calls.models import Call
from calls.retell.client import NotFound, RetellClient, Unauthorized, Unavailable
from customers.models import Company
from tests import factories as make
from tests.flows.phone import at
from tests.servers.retell_api import RetellApi

HOUR = dt.timedelta(hours=1)
TWO_HOURS_LATER = 2 * HOUR
START_MS, END_MS = 1794841445120, 1794841582600


@pytest.fixture
def retell(settings: Any) -> Iterator[RetellApi]:
    with RetellApi() as api:
        settings.RETELL_BASE_URL = api.origin
        yield api


@pytest.fixture
def left_open(transactional_db: None, retell: RetellApi) -> Callable[..., Call]:
    """A call that began some hours ago and has never ended here, of a company whose key Retell knows."""

    def begin(*, hours: float = 2, company: Company | None = None, **values: Any) -> Call:
        company = company or make.CompanyFactory()
        retell.keys.add(company.retell_api_key)
        call: Call = make.CallFactory(
            branch=make.BranchFactory(company=company),
            created_at=timezone.now() - hours * HOUR,
            **values,
        )
        return call

    return begin


def told(call: Call, **content: Any) -> dict[str, Any]:
    return {"call_id": call.retell_call_id, "call_type": "phone_call", "call_status": "ended", **content}


ENDED = {
    "start_timestamp": START_MS,
    "end_timestamp": END_MS,
    "disconnection_reason": "user_hangup",
    "transcript": "Agent: Hello.\nUser: Bye.",
    "call_analysis": {"call_summary": "Said hello.", "call_successful": False},
}


def sweep(*, later: dt.timedelta = dt.timedelta(0), **options: Any) -> never_ended.Report:
    return never_ended.close_never_ended(now=timezone.now() + later, **options)


def status_of(call: Call) -> str:
    return str(Call.objects.values_list("status", flat=True).get(pk=call.pk))


def test_a_call_retell_says_has_ended_is_ended_with_all_it_tells(left_open, retell):
    call = left_open(started_at=None)
    retell.calls[call.retell_call_id] = told(call, **ENDED)
    report = sweep()
    assert (report.asked, report.ended) == (1, 1)
    call.refresh_from_db()
    assert call.status == "ended"
    assert call.ended_at == dt.datetime.fromtimestamp(END_MS / 1000, tz=dt.UTC)
    assert call.disconnection_reason == "user_hangup"
    assert call.transcript == "Agent: Hello.\nUser: Bye."
    assert call.summary == "Said hello."
    assert retell.asked == [(call.company.retell_api_key, call.retell_call_id)]
    assert sweep(later=HOUR).asked == 0


@pytest.mark.parametrize(
    ("content", "status"),
    [
        ({"call_status": "ended"}, "ended"),
        ({"call_status": "error", "disconnection_reason": "error_retell"}, "error"),
        ({"call_status": "not_connected"}, "not_connected"),
        ({"call_status": "not_connected", "disconnection_reason": "dial_no_answer"}, "not_connected"),
    ],
)
def test_how_it_ended_is_told_too(left_open, retell, content, status):
    call = left_open()
    retell.calls[call.retell_call_id] = told(call, **content)
    sweep()
    assert status_of(call) == status


@pytest.mark.parametrize("word", ["ongoing", "registered", "a_new_word"])
def test_a_call_that_goes_on_is_asked_about_again_later(left_open, retell, word):
    call = left_open()
    retell.calls[call.retell_call_id] = told(call, call_status=word)
    assert sweep().still_ongoing == 1
    assert status_of(call) == "ongoing"
    assert sweep(later=dt.timedelta(minutes=29)).asked == 0
    retell.calls[call.retell_call_id] = told(call, **ENDED)
    assert sweep(later=dt.timedelta(minutes=31)).ended == 1


def test_only_calls_are_asked_about_that_should_have_ended_long_ago(left_open, retell):
    young, ended = left_open(hours=1.4), left_open(status="ended")
    company = make.CompanyFactory(is_active=False)
    left_open(company=company)
    assert sweep().asked == 0
    assert not retell.asked
    assert sweep(later=HOUR).asked == 1
    assert [call_id for _key, call_id in retell.asked] == [young.retell_call_id]
    assert status_of(ended) == "ended"


@pytest.mark.parametrize("answer", [None, (404, {"status": "error", "message": "Not Found"})])
def test_a_call_retell_does_not_know_is_given_up_after_a_day(left_open, retell, answer):
    if answer:
        retell.not_found = answer
    young, old = left_open(hours=23), left_open(hours=25)
    report = sweep()
    assert (report.not_found, report.given_up) == (2, 1)
    assert (status_of(young), status_of(old)) == ("ongoing", "error")


@pytest.mark.parametrize(
    ("status", "body"),
    [
        (500, ""),
        (503, {"status": "error"}),
        (429, {"status": "error", "message": "Too many requests"}),
        (400, {"status": "error"}),
        (422, {"status": "error", "message": "call_id is malformed"}),
        (404, "<html>Cannot GET /v2/get-call</html>"),
        (302, ""),
        (200, "not json"),
        (200, []),
        (200, {"call_id": "call_of_somebody_else", "call_status": "ended"}),
        (200, {}),
    ],
)
def test_nothing_is_concluded_where_retell_could_not_be_asked(left_open, retell, status, body):
    call = left_open(hours=48)
    retell.answer_with(status, body)
    report = sweep()
    assert (report.not_answered, report.companies_left_out) == (1, 1)
    assert status_of(call) == "ongoing"
    retell.recover()
    retell.calls[call.retell_call_id] = told(call, **ENDED)
    assert sweep(later=HOUR).ended == 1


def test_nothing_is_concluded_from_a_server_that_is_not_there(left_open, settings):
    call = left_open(hours=48)
    settings.RETELL_BASE_URL = "http://127.0.0.1:1"
    assert sweep().not_answered == 1
    assert status_of(call) == "ongoing"


@pytest.mark.parametrize("trouble", ["hang", "trickle"])
def test_an_answer_that_does_not_come_is_waited_for_only_so_long(retell, trouble):
    retell.keys.add("key_1")
    if trouble == "hang":
        retell.hang()
    else:
        retell.trickle(pause=0.05)
    began = time.monotonic()
    with (
        RetellClient(base_url=retell.origin, api_key="key_1", answer_seconds=0.5) as client,
        pytest.raises(Unavailable),
    ):
        client.get_call("call_1abc")
    assert time.monotonic() - began < 2


def test_a_company_without_a_key_or_with_a_wrong_one_does_not_stop_the_others(left_open, retell):
    good = left_open()
    retell.calls[good.retell_call_id] = told(good, **ENDED)
    without = left_open(company=make.CompanyFactory(retell_api_key=""))
    wrong = make.CompanyFactory()
    of_wrong = [left_open(company=wrong, hours=48) for _ in range(3)]
    unreadable = left_open()
    with connection.cursor() as cursor:
        cursor.execute(
            "UPDATE companies SET retell_api_key = 'enc1:nonsense' WHERE id = %s", [unreadable.company_id]
        )
    retell.keys = {good.company.retell_api_key}
    report = sweep()
    assert status_of(good) == "ended"
    assert report.companies_left_out == 3
    # One refusal is enough to know, and without a key nothing is asked.
    assert sorted(key for key, _call in retell.asked) == sorted(
        (good.company.retell_api_key, wrong.retell_api_key)
    )
    assert {status_of(call) for call in (without, unreadable, *of_wrong)} == {"ongoing"}


def test_each_company_is_asked_for_with_its_own_key(left_open, retell):
    calls = [left_open() for _ in range(3)]
    for call in calls:
        retell.calls[call.retell_call_id] = told(call, **ENDED)
    assert sweep().ended == 3
    assert sorted(retell.asked) == sorted(
        (call.company.retell_api_key, call.retell_call_id) for call in calls
    )


def test_the_same_call_id_at_two_companies_is_two_calls(left_open, retell):
    one = left_open(retell_call_id="call_shared_1")
    other = left_open(retell_call_id="call_shared_1", status="ended", transcript="its own")
    retell.calls["call_shared_1"] = told(one, **ENDED)
    sweep()
    assert status_of(one) == "ended"
    other.refresh_from_db()
    assert other.transcript == "its own"


def test_a_run_asks_about_so_many_calls_and_the_next_one_goes_on(left_open, retell):
    company = make.CompanyFactory()
    many = never_ended.MOST_CALLS_PER_COMPANY + 3
    for _ in range(many):
        call = left_open(company=company)
        retell.calls[call.retell_call_id] = told(call, call_status="ongoing")
    assert sweep().asked == never_ended.MOST_CALLS_PER_COMPANY
    # Those of the first run are due again, and come after the ones that were never asked about.
    assert sweep(later=dt.timedelta(minutes=31)).asked == never_ended.MOST_CALLS_PER_COMPANY
    assert len(set(retell.asked)) == many


def test_calls_that_have_ended_take_no_room_from_those_that_have_not(left_open, retell):
    company = make.CompanyFactory()
    for _ in range(never_ended.MOST_CALLS_PER_COMPANY):
        left_open(company=company, hours=5, status="ended")
    call = left_open(company=company)
    retell.calls[call.retell_call_id] = told(call, **ENDED)
    assert sweep().ended == 1
    assert status_of(call) == "ended"


def test_a_run_that_has_used_up_its_time_begins_no_further_question(left_open, retell):
    company = make.CompanyFactory()
    for _ in range(40):
        left_open(company=company)
    assert sweep(run_seconds=-1).asked == 0
    assert not retell.asked
    asked = sweep(run_seconds=0.005).asked
    assert asked < 40
    assert sweep().asked == 40 - asked


def test_two_runs_at_once_ask_about_each_call_once(left_open, retell):
    company = make.CompanyFactory()
    for _ in range(12):
        call = left_open(company=company)
        retell.calls[call.retell_call_id] = told(call, **ENDED)
    now = timezone.now()

    def run(_number: int) -> int:
        try:
            return never_ended.close_never_ended(now=now).ended
        finally:
            connection.close()

    with ThreadPoolExecutor(max_workers=3) as together:
        assert sum(together.map(run, range(3))) == 12
    assert len(retell.asked) == 12


def test_a_call_that_cannot_be_stored_does_not_stop_the_others(left_open, retell, refusing):
    company = make.CompanyFactory()
    bad = left_open(company=company, hours=5)
    good = left_open(company=company, hours=4)
    for call in (bad, good):
        retell.calls[call.retell_call_id] = told(call, **ENDED)
    refusing.add("calls", "UPDATE", text="refused", when=f"NEW.id = {bad.pk} AND NEW.status <> 'ongoing'")
    report = sweep()
    assert (report.ended, report.not_stored) == (1, 1)
    assert (status_of(bad), status_of(good)) == ("ongoing", "ended")


def test_what_was_proven_in_the_call_is_not_touched(phone, retell, salon, verdict):
    caller = phone()
    assert caller.book(at(10)).code == "booked"
    retell.keys.add(salon.retell_api_key)
    retell.calls[caller.call_id] = told(
        Call.objects.get(),
        **{**ENDED, "call_analysis": {"call_successful": False, "custom_analysis_data": {"booked": False}}},
    )
    before = Call.objects.get()
    assert sweep(later=TWO_HOURS_LATER).ended == 1
    call = Call.objects.get()
    assert call.status == "ended"
    for name in ("booking_confirmed", "appointment_made", "appointment_id", "booking_details", "customer_id"):
        assert getattr(call, name) == getattr(before, name), name
    assert call.booking_confirmed
    assert call.appointment_made
    verdict()


def test_a_call_that_never_ended_and_booked_nothing_is_not_made_a_booking(left_open, retell):
    call = left_open()
    retell.calls[call.retell_call_id] = told(
        call,
        **{**ENDED, "call_analysis": {"call_successful": True, "custom_analysis_data": {"booked": True}}},
    )
    sweep()
    call.refresh_from_db()
    assert (call.booking_confirmed, call.appointment_made, call.appointment_id) == (False, False, None)


def test_the_client_tells_apart_what_it_could_not_learn(retell):
    retell.keys.add("key_1")
    with RetellClient(base_url=retell.origin, api_key="key_1") as client:
        with pytest.raises(NotFound):
            client.get_call("call_1abc")
        retell.answer_with(302)
        with pytest.raises(Unavailable):
            client.get_call("call_1abc")
    # The key went to no other address.
    assert [call_id for _key, call_id in retell.asked] == ["call_1abc", "call_1abc"]
    retell.recover()
    with RetellClient(base_url=retell.origin, api_key="key_secret_2") as client:
        with pytest.raises(Unauthorized) as refused:
            client.get_call("call_1abc")
        assert "key_secret_2" not in str(refused.value)

"""What Cal.com answers is JSON and nearly right: a word nobody has heard of, a field of another type, a text
that cannot be stored. Nothing is concluded from what cannot be read, and it hides nothing beside it.
"""

from __future__ import annotations

from collections.abc import Callable
from functools import partial
from typing import Any

import pytest
from django.utils import timezone

from booking.models import Appointment, BookingAttempt, SyncFailure
from booking.models.sync_failure import OPEN_STATUSES
from sync.models import ReconciliationRun
from tests.flows.phone import at, cancel, move

NO_STATUS: tuple[Any, ...] = (None, 7, "", "confirmed", "canceled", ["accepted"])
STRANGE: tuple[dict[str, Any], ...] = (
    {"attendees": 5},
    {"attendees": True},
    {"attendees": "Anna"},
    {"id": 2**63},
    {"id": 2**64 - 1},
    {"eventType": [1]},
    {"hosts": None},
    {"status": " ACCEPTED "},
)


def with_half_an_emoji(exchange: Any) -> None:
    """As JavaScript writes a text that was cut in the middle of one."""
    answer = exchange.answer
    answer.content = answer.encoded().replace(b"EMOJI", rb"\ud83d")


def spoil(exchange: Any, *, uid: str, odd: dict[str, Any]) -> None:
    """Of one booking of the listing."""
    for booking in exchange.answer.content["data"]:
        if booking["uid"] == uid:
            booking.update(odd)


def open_types() -> list[str]:
    return list(SyncFailure.objects.filter(status__in=OPEN_STATUSES).values_list("failure_type", flat=True))


@pytest.mark.parametrize("status", NO_STATUS, ids=repr)
def test_a_booking_answered_with_a_status_nobody_knows_is_looked_up_and_not_taken_for_cancelled(
    calcom, phone, verdict, status
):
    calcom.faults.add("create", patch={"status": status})
    assert phone().book(at(10)).code == "booked"
    assert len(calcom.requests("create")) == 1
    verdict()


@pytest.mark.parametrize("status", NO_STATUS, ids=repr)
def test_where_nobody_can_tell_whether_it_stands_it_stays_open_and_somebody_is_told(
    calcom, phone, verdict, settle_later, status, settings
):
    settings.ANSWER_BUDGET_SECONDS = 3
    for operation in ("create", "list", "get"):
        calcom.faults.add(operation, patch={"status": status}, times=None)
    caller = phone()
    assert caller.book(at(10)).code == "checking"
    settle_later()
    assert open_types() == ["network_timeout"]
    assert caller.book(at(10)).code == "checking"
    assert len(calcom.requests("create")) == 1
    assert not calcom.requests("cancel")
    calcom.faults.clear()
    settle_later(seconds=3600)
    assert Appointment.objects.get().status == "scheduled"
    assert open_types() == []
    verdict()


@pytest.mark.parametrize("which", ["the earlier", "the later"])
@pytest.mark.parametrize("who_looks", ["the completer", "the caller"])
def test_what_cannot_be_read_of_one_booking_keeps_no_other_one_unknown(
    calcom, phone, salon, settings, verdict, settle_later, who_looks, which
):
    settings.ANSWER_BUDGET_SECONDS = 3
    unreadable = salon.services.get(slug="advice")
    services = [unreadable.slug, "haircut"] if which == "the earlier" else ["haircut", unreadable.slug]
    for service, hour in zip(services, (9, 12), strict=True):
        calcom.faults.timeout_after_commit()
        assert phone().book(at(hour), service=service).code == "checking"
    query = f"eventTypeId={unreadable.calcom_event_type_id}"
    calcom.faults.add("list", path_contains=query, patch={"status": "dreamt"}, times=None)
    if who_looks == "the completer":
        settle_later()
    else:
        BookingAttempt.objects.update(lease_expires_at=timezone.now())
        assert phone().ask("list_appointments").code == "checking"
    left = BookingAttempt.objects.filter(state="unknown")
    assert [attempt.appointment.service for attempt in left] == [unreadable]
    verdict()


@pytest.mark.parametrize("odd", STRANGE, ids=repr)
def test_a_booking_with_something_strange_in_it_is_booked_all_the_same(calcom, phone, verdict, run, odd):
    for operation in ("create", "list", "get"):
        calcom.faults.add(operation, patch=odd, times=None)
    assert phone().book(at(10)).code == "booked"
    assert run()[0] == 0
    calcom.faults.clear()
    verdict()


@pytest.mark.parametrize("change", [cancel, lambda caller: move(caller, at(15))], ids=["cancel", "move"])
def test_a_change_answered_with_a_status_nobody_knows_is_said_to_be_made_only_once_that_is_seen(
    calcom, booked, verdict, settle_later, change: Callable[..., Any]
):
    for operation in ("cancel", "reschedule", "get"):
        calcom.faults.add(operation, patch={"status": "void"}, times=None)
    assert change(booked).code == "checking"
    calcom.faults.clear()
    settle_later()
    assert BookingAttempt.objects.latest("pk").state == "succeeded"
    verdict()


def test_an_odd_booking_of_somebody_elses_hides_nothing_from_a_look(calcom, phone, verdict):
    odd = calcom.web_book("open", start=at(9), silent=True)
    taken = calcom.web_book("open", start=at(11), silent=True)
    calcom.faults.add("list", patch={"status": "dreamt"}, times=None)
    assert phone().book(at(11), customer_name="Ben Kurz").code == "slot_taken"
    assert {booking.uid for booking in calcom.active_bookings()} == {odd.uid, taken.uid}


def test_a_character_no_database_holds_does_not_keep_a_booking_from_being_stored(calcom, phone, verdict):
    calcom.faults.add("create", patch={"metadata": {"note": "a\x00b"}})
    assert phone().book(at(10)).code == "booked"
    assert not calcom.requests("cancel")
    verdict()


def test_half_an_emoji_in_one_title_hides_none_of_the_bookings(calcom, salon, phone, run, verdict):
    calcom.web_book("open", start=at(9), metadata={"note": "a\x00b"}, silent=True)
    calcom.web_book("open", start=at(11), silent=True)
    odd = {"title": "Cut EMOJI", "description": "a\x00b"}
    calcom.faults.add("list", patch=odd, call={"before_answer": with_half_an_emoji}, times=None)
    calcom.faults.server_error(commit=True)
    assert phone().book(at(10)).code == "booked"
    code, report = run()
    assert (code, report["companies"]["salon"]["outcome"]) == (0, "complete")
    assert Appointment.objects.filter(status="scheduled").count() == 3
    calcom.faults.clear()
    verdict()


def test_one_booking_nobody_can_read_is_a_ticket_and_does_not_stop_the_hourly_run(
    calcom, salon, booked, run, verdict
):
    (odd,) = calcom.active_bookings()
    fine = calcom.web_book("open", start=at(12), silent=True)
    calcom.web_cancel(odd.uid, silent=True)
    number = calcom.faults.add("get", path_contains=odd.uid, patch={"status": "dreamt"}, times=None)
    for _ in range(2):
        code, report = run("--full")
        salons = report["companies"]["salon"]
        assert (code, salons["outcome"], salons["unreadable"]) == (1, "complete", 1)
        assert open_types() == ["status_mismatch"]
    assert Appointment.objects.filter(calcom_booking_uid=fine.uid).exists()
    calcom.faults.remove(number)
    assert run("--full")[0] == 0
    assert Appointment.objects.get(calcom_booking_uid=odd.uid).status == "cancelled"
    assert open_types() == []
    verdict()


def test_a_listed_status_nobody_knows_is_a_ticket_that_stays_as_long_as_nobody_can_tell(
    calcom, booked, run, verdict
):
    for operation in ("list", "get"):
        calcom.faults.add(operation, patch={"status": "dreamt"}, times=None)
    for _ in range(2):
        code, report = run("--full")
        assert (code, report["companies"]["salon"]["outcome"]) == (1, "complete")
        assert open_types() == ["status_mismatch"]
    calcom.faults.clear()
    assert run("--full")[0] == 0
    assert open_types() == []
    verdict()


IN_NO_WORDS = [{"status": "dreamt"}, {"start": "soon"}, {"rescheduledFromUid": "x" * 200}]


@pytest.mark.parametrize("odd", IN_NO_WORDS, ids=str)
def test_what_is_listed_in_words_nobody_can_read_is_asked_for_by_its_uid(calcom, salon, run, verdict, odd):
    uid = calcom.web_book("open", start=at(9), silent=True).uid
    calcom.faults.add("list", times=None, call={"before_answer": partial(spoil, uid=uid, odd=odd)})
    code, report = run("--full")
    assert (code, report["companies"]["salon"]["outcome"]) == (0, "complete")
    assert Appointment.objects.get().calcom_booking_uid == uid
    verdict()


@pytest.mark.parametrize("odd", IN_NO_WORDS, ids=str)
def test_a_booking_made_elsewhere_that_nobody_can_read_is_a_ticket_and_hides_nothing_beside_it(
    calcom, salon, run, verdict, odd
):
    one, two = (calcom.web_book("open", start=at(hour), silent=True).uid for hour in (9, 11))
    calcom.faults.add("list", times=None, call={"before_answer": partial(spoil, uid=one, odd=odd)})
    calcom.faults.add("get", path_contains=one, patch=odd, times=None)
    for _ in range(2):
        code, report = run("--full")
        salons = report["companies"]["salon"]
        assert (code, salons["outcome"]) == (1, "complete")
        assert salons["unreadable"] > 0
        assert open_types() == ["orphaned_calcom"]
        assert Appointment.objects.get().calcom_booking_uid == two
    calcom.faults.clear()
    code, report = run("--full")
    assert (code, report["companies"]["salon"]["unreadable"]) == (0, 0)
    assert Appointment.objects.count() == 2
    assert open_types() == []
    verdict()


def test_a_change_that_nobody_can_read_is_asked_for_within_the_hour(calcom, salon, booked, run, verdict):
    run("--full")
    ReconciliationRun.objects.update(
        requests=100
    )  # of the whole future, which is long: it is read once a day
    (moved,) = calcom.active_bookings()
    calcom.web_cancel(moved.uid, silent=True)
    odd = {"start": "soon"}
    calcom.faults.add("list", times=None, call={"before_answer": partial(spoil, uid=moved.uid, odd=odd)})
    code, report = run()
    assert (code, report["companies"]["salon"]["scope"]) == (0, "changes")
    assert Appointment.objects.get().status == "cancelled"
    verdict()


def test_what_of_another_team_nobody_can_read_is_no_ticket(calcom, salon, run):
    calcom.state.add_event_type("other-teams", available="always")
    uid = calcom.web_book("other-teams", start=at(9), silent=True).uid
    calcom.faults.add("list", times=None, call={"before_answer": partial(spoil, uid=uid, odd={"status": 7})})
    assert run("--full")[0] == 0
    assert open_types() == []
    assert not Appointment.objects.exists()


def test_a_listed_status_nobody_knows_closes_no_ticket(calcom, salon, run):
    claim = {"attempt_id": "0f8fad5b-d9cb-469f-a165-70867728950e", "company": salon.slug}
    calcom.web_book("open", start=at(10), metadata=claim, silent=True)
    run("--full")
    assert open_types() == ["orphaned_calcom"]
    for operation in ("list", "get"):
        calcom.faults.add(operation, patch={"status": "dreamt"}, times=None)
    code, report = run("--full")
    assert (code, report["companies"]["salon"]["outcome"]) == (1, "complete")
    assert open_types() == ["orphaned_calcom"]


def test_a_ticket_about_what_was_moved_to_nowhere_closes_and_does_not_stop_the_run(calcom, salon, run):
    claim = {"attempt_id": "0f8fad5b-d9cb-469f-a165-70867728950e", "company": salon.slug}
    uid = calcom.web_book("open", start=at(10), metadata=claim, silent=True).uid
    run("--full")
    assert open_types() == ["orphaned_calcom"]
    calcom.faults.add("list", patch={"status": "dreamt"}, times=None)
    gone = {"status": "cancelled", "rescheduledToUid": "nowhere"}
    calcom.faults.add("get", path_contains=uid, patch=gone, times=None)
    code, report = run("--full")
    assert (code, report["companies"]["salon"]["outcome"]) == (0, "complete")
    assert open_types() == []


@pytest.mark.parametrize("day", [None, {}, "free", {"slots": []}], ids=repr)
def test_days_that_cannot_be_read_are_not_days_without_a_free_slot(calcom, phone, day):
    body = {"status": "success", "data": {at(10).date().isoformat(): day}}
    calcom.faults.add("slots", status=200, body=body, times=None)
    assert phone().ask("check_availability", service="haircut").code == "unavailable"


def test_what_cannot_be_read_is_an_answer_and_keeps_nobody_from_booking(calcom, phone, verdict):
    body = {"status": "success", "data": {at(10).date().isoformat(): "free"}}
    calcom.faults.add("slots", status=200, body=body, times=None)
    caller = phone()
    for _ in range(6):
        assert caller.ask("check_availability", service="haircut").code == "unavailable"
    assert caller.book(at(10)).code == "booked"
    verdict()

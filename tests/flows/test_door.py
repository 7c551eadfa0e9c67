"""The door: who is let in, which call and function a request means, and what is answered from memory."""

from __future__ import annotations

import copy
import datetime as dt
import json
import time
import uuid
from typing import Any

import pytest
import time_machine
from django.test import Client
from django.utils import timezone

from booking.models import Appointment, Service
from calls import function_calls
from calls.models import Call, FunctionCall
from calls.retell import signature
from customers.models import Branch, Company, Customer, RetellAgent
from tests.factories import BranchFactory
from tests.flows.conftest import make_salon
from tests.flows.phone import Phone, at
from tests.flows.state import posts

SECOND_CALLER = "+4915187654321"


def assert_nothing_happened(calcom) -> None:
    assert not calcom.log
    assert not Call.objects.exists()
    assert not FunctionCall.objects.exists()
    assert not Appointment.objects.exists()


def wish(**more: Any) -> dict[str, Any]:
    return {"service": "haircut", "customer_name": "Anna Weber", "start": at(10).isoformat(), **more}


def sign(body: bytes, key: str, *, seconds: float = 0) -> str:
    return signature.sign(body, key, now_ms=int((time.time() + seconds) * 1000))


# --- The signature


def _signatures(body: bytes, company: Company) -> dict[str, str]:
    right = sign(body, company.retell_api_key)
    return {
        "empty": " ",
        "no form": "nonsense",
        "digest only": right.partition("d=")[2],
        "another key": sign(body, "key_of_somebody_else"),
        "another body": sign(body + b" ", company.retell_api_key),
        "too old": sign(body, company.retell_api_key, seconds=-301),
        "from the future": sign(body, company.retell_api_key, seconds=310),
        "changed time": right.replace("v=1", "v=2", 1),
        "upper case": right.upper(),
        "bearer": f"Bearer {company.retell_api_key}",
    }


def test_a_signature_that_does_not_hold_is_401_and_nothing_is_touched(calcom, phone, salon, caplog):
    caller = phone()
    payload = {"name": "book_appointment", "call": caller.call(), "args": wish()}
    body = json.dumps(payload).encode()
    answered = {
        kind: caller.send("book_appointment", body, signature=value).status
        for kind, value in _signatures(body, salon).items()
    }
    assert set(answered.values()) == {401}, answered
    assert_nothing_happened(calcom)
    assert len([record for record in caplog.records if "signature.refused" in str(record.msg)]) == len(
        answered
    )


def test_a_request_without_a_signature_is_401(calcom, phone, salon):
    response = Client().post(
        f"/hooks/{salon.endpoint_id}/retell/functions/book_appointment",
        data=json.dumps({"name": "book_appointment", "call": phone().call(), "args": wish()}),
        content_type="application/json",
    )
    assert response.status_code == 401
    assert_nothing_happened(calcom)


def test_what_is_not_signed_is_401_before_it_is_read(calcom, phone):
    for body in (b"{", b"", b"\xff\xfe", b"[" * 100_000):
        assert phone().send("book_appointment", body, signature="v=1,d=" + "0" * 64).status == 401
    assert_nothing_happened(calcom)


def test_a_company_without_a_key_lets_nobody_in(calcom, phone, salon):
    Company.objects.filter(pk=salon.pk).update(retell_api_key="", retell_api_key_previous="")
    for key in ("", " ", salon.retell_api_key):
        assert phone().send("book_appointment", b"{}", signature=sign(b"{}", key)).status == 401
    assert_nothing_happened(calcom)


def test_the_former_key_holds_while_it_is_rotated_and_not_afterwards(calcom, phone, salon, verdict):
    former = salon.retell_api_key
    salon.retell_api_key, salon.retell_api_key_previous = "key_new_9876543210", former
    salon.save()
    caller = phone()
    payload = {"name": "book_appointment", "call": caller.call(), "args": wish()}
    assert caller.send("book_appointment", payload, key=former).code == "booked"
    assert caller.send("book_appointment", payload, key="key_new_9876543210").code == "booked"
    salon.retell_api_key_previous = ""
    salon.save()
    assert caller.send("book_appointment", payload, key=former).status == 401
    assert caller.send("book_appointment", payload, key="key_new_9876543210").status == 200
    verdict()


def test_another_tenants_signature_does_not_open_this_tenants_door(calcom, phone, salon):
    other = make_salon(calcom, slug="studio", number="+493099999999")
    caller = phone()
    payload = {"name": "book_appointment", "call": caller.call(), "args": wish()}
    assert caller.send("book_appointment", payload, key=other.retell_api_key).status == 401
    assert_nothing_happened(calcom)


# --- Addresses and bodies


@pytest.mark.parametrize("kind", ["unknown", "switched off"])
def test_an_endpoint_that_does_not_exist_is_404(calcom, phone, salon, kind):
    elsewhere = copy.copy(salon)
    if kind == "unknown":
        elsewhere.endpoint_id = uuid.uuid4()
    else:
        Company.objects.filter(pk=salon.pk).update(is_active=False)
    assert phone(company=elsewhere).ask("book_appointment", **wish()).status == 404
    assert_nothing_happened(calcom)


def test_a_body_that_is_no_json_is_400(calcom, phone):
    for body in (b"{", b"", b"\xff\xfe", b"hello", b"[" * 100_000, b"{'a': 1}"):
        assert phone().send("book_appointment", body).status == 400, body[:20]
    assert_nothing_happened(calcom)


@pytest.mark.parametrize("accept", ["text/html", "application/xml;q=0.1", "nonsense"])
def test_what_the_sender_would_like_to_be_answered_in_does_not_matter(calcom, phone, verdict, accept):
    caller = phone()
    asked = {"name": "book_appointment", "call": caller.call(), "args": wish()}
    answer = caller.send("book_appointment", asked, Accept=accept)
    assert (answer.status, answer.code) == (200, "booked")
    verdict()


def test_a_body_of_more_than_a_mebibyte_is_413(calcom, phone):
    caller = phone()
    payload = {"name": "book_appointment", "call": caller.call(), "args": wish(notes="x" * 1024 * 1024)}
    assert caller.send("book_appointment", payload).status == 413
    assert_nothing_happened(calcom)


def test_a_body_of_almost_a_mebibyte_is_read(calcom, phone, verdict):
    caller = phone()
    payload = {"name": "book_appointment", "call": caller.call(), "args": wish(), "x": "y" * 1_000_000}
    assert caller.send("book_appointment", payload).code == "booked"
    verdict()


def test_json_of_any_shape_is_answered_in_words(calcom, phone, verdict):
    for body in (
        b"[]",
        b"null",
        b'"book"',
        b"1",
        b"true",
        b"{}",
        b'{"args": {}}',
        b'{"call": [], "args": {}}',
    ):
        answer = phone().send("book_appointment", body)
        assert (answer.status, answer.code) == (200, "invalid_request"), body
        assert answer.body["say"]
    assert not calcom.log
    assert not Call.objects.exists()
    verdict()


def test_only_post_is_answered(phone, salon, verdict):
    path = f"/hooks/{salon.endpoint_id}/retell/functions/book_appointment"
    for method in ("get", "put", "delete"):
        assert getattr(Client(), method)(path).status_code in (401, 405)
    assert not FunctionCall.objects.exists()
    verdict()


# --- Which function


def test_the_name_is_understood_with_a_slash_a_version_and_in_any_case(calcom, phone, verdict):
    names = (
        "book_appointment",
        "book_appointment/",
        "book_appointment_v2",
        "book_appointment_v17/",
        "book-appointment",
        "Book_Appointment",
        "BOOK_APPOINTMENT_V3",
        "collect_appointment_data",
        "collect_appointment_data_v2",
    )
    caller = phone()
    for name in names:
        answer = caller.ask(name, **wish())
        assert (answer.status, answer.code) == (200, "booked"), name
    assert posts(calcom) == 1
    assert {row.name for row in FunctionCall.objects.all()} == {
        "book_appointment",
        "collect_appointment_data",
    }
    verdict()


def test_an_unknown_function_is_a_refusal_with_a_row_and_never_a_success(calcom, phone, verdict):
    names = (
        "book",
        "delete_everything",
        "book_appointment2",
        "v2",
        "__class__",
        "book%00x",
        "x" * 80,
        "%F0%9F%92%87",
    )
    for count, name in enumerate(names, start=1):
        answer = phone().ask(name, **wish())
        assert (answer.status, answer.code, answer.body["success"]) == (200, "invalid_request", False), name
        assert answer.body["say"]
        assert FunctionCall.objects.filter(code="invalid_request").count() == count, name
    assert not calcom.log
    verdict()


def test_the_name_in_the_address_counts_and_not_the_one_in_the_body(calcom, phone, verdict):
    caller = phone()
    answer = caller.send("list_services", {"name": "book_appointment", "call": caller.call(), "args": wish()})
    assert answer.code == "ok"
    assert "services" in answer.body
    assert not posts(calcom)
    verdict()


# --- Which call


def test_arguments_only_with_the_calls_id_in_the_header(calcom, phone, verdict):
    caller = phone()
    answer = caller.send(
        "book_appointment", wish(customer_phone="+49 151 12345678"), **{"X-Retell-Call-Id": caller.call_id}
    )
    assert answer.code == "booked", answer.body
    call = Call.objects.get()
    assert call.retell_call_id == caller.call_id
    assert call.appointment == Appointment.objects.get()
    again = caller.send(
        "book_appointment", wish(customer_phone="+49 151 12345678"), **{"X-Retell-Call-Id": caller.call_id}
    )
    assert again.body["replayed"] is True
    verdict()


def test_arguments_only_read_a_number_as_it_is_spelt_where_the_branch_is(calcom, phone, verdict):
    """No called number comes along in this form; the branch has one, and it is German."""
    caller = phone()
    answer = caller.send(
        "book_appointment", wish(customer_phone="0151 12345678"), **{"X-Retell-Call-Id": caller.call_id}
    )
    assert answer.code == "booked", answer.body
    assert calcom.active_bookings()[0].attendee.phone == "+4915112345678"
    verdict()


def test_both_forms_of_one_request_are_one_request(calcom, phone, verdict):
    caller = phone()
    first = caller.ask("book_appointment", **wish())
    second = caller.send("book_appointment", wish(), **{"X-Retell-Call-Id": caller.call_id})
    assert second.body == {**first.body, "replayed": True}
    assert posts(calcom) == 1
    verdict()


PLACEHOLDERS = (
    "None",
    "null",
    "",
    " ",
    "12345",
    "{{call_id}}",
    "{{call.call_id}}",
    "call_id",
    "unknown",
    "0",
)


def test_without_a_calls_id_it_is_refused_and_never_booked_into_the_latest_call(calcom, phone, verdict):
    earlier = phone()
    assert earlier.book(at(9)).code == "booked"
    before = Call.objects.values().get()
    headers: list[dict[str, str]] = [{}, *[{"X-Retell-Call-Id": value} for value in PLACEHOLDERS]]
    for header in headers:
        answer = phone(from_number=SECOND_CALLER).send("book_appointment", wish(), **header)
        assert (answer.status, answer.code) == (200, "invalid_request"), header
        assert "call_id" in answer.body["errors"]
    invented: list[Any] = [*PLACEHOLDERS, None, 12345, [], {"a": 1}, "x" * 200, "call with spaces"]
    for value in invented:
        caller = phone(from_number=SECOND_CALLER)
        payload = {"name": "book_appointment", "call": {**caller.call(), "call_id": value}, "args": wish()}
        answer = caller.send("book_appointment", payload)
        assert (answer.status, answer.code) == (200, "invalid_request"), value
    assert posts(calcom) == 1
    assert Call.objects.values().get() == before
    assert FunctionCall.objects.filter(call=None).exists()
    verdict()


def test_the_calls_own_id_wins_over_any_the_model_wrote(calcom, phone, verdict):
    stranger = phone()
    assert stranger.book(at(9)).code == "booked"
    for hour, invented in enumerate(
        (*PLACEHOLDERS[:5], stranger.call_id, stranger.call_id[:-3], None), start=10
    ):
        caller = phone(from_number=f"+49151123456{hour}")
        answer = caller.book(
            at(hour),
            call_id=invented,
            retell_call_id=invented,
            call={"call_id": invented},
            customer_name="Ben",
        )
        assert answer.code == "booked", answer.body
        call: Any = Call.objects.get(retell_call_id=caller.call_id)
        assert call.appointment.calcom_booking_uid == answer.uid
        assert calcom.booking(answer.uid).metadata["call_id"] == caller.call_id
    assert Call.objects.get(retell_call_id=stranger.call_id).appointments.count() == 1
    verdict()


def test_the_header_wins_over_a_call_the_model_wrote_into_arguments_only(calcom, phone, verdict):
    stranger, caller = phone(), phone(from_number=SECOND_CALLER)
    assert stranger.book(at(9)).code == "booked"
    forged = wish(name="Anna", call={"call_id": stranger.call_id}, customer_phone=SECOND_CALLER)
    caller.send("book_appointment", forged, **{"X-Retell-Call-Id": caller.call_id})
    assert Call.objects.get(retell_call_id=stranger.call_id).function_calls.count() == 1
    assert Call.objects.get(retell_call_id=caller.call_id).function_calls.count() == 1
    verdict()


# --- Which branch


def test_a_number_nobody_entered_is_refused_politely(calcom, phone, verdict):
    for number in ("+493000000000", "+15005550006", "sip:somebody@example.org", "nonsense"):
        answer = phone(to_number=number).book(at(10))
        assert (answer.status, answer.code, answer.body["success"]) == (200, "not_allowed", False), number
        assert answer.body["say"]
    assert not calcom.log
    assert FunctionCall.objects.filter(code="not_allowed").count() == 4
    verdict()


def test_another_tenants_number_is_not_this_tenants_branch(calcom, phone, verdict):
    make_salon(calcom, slug="studio", number="+493099999999")
    assert phone(to_number="+493099999999").book(at(10)).code == "not_allowed"
    assert not calcom.log
    verdict()


def test_a_branch_that_is_switched_off_is_refused_politely(calcom, phone, verdict, salon):
    salon.branches.update(is_active=False)
    for function in ("book_appointment", "check_availability", "list_services"):
        assert phone().ask(function, **wish()).code == "not_allowed"
    assert not calcom.log
    verdict()


def test_a_web_call_belongs_to_the_branch_of_its_agent(calcom, phone, verdict):
    caller = phone()
    web = {"call_id": caller.call_id, "call_type": "web_call", "agent_id": "agent_1"}
    answer = caller.send("book_appointment", {"name": "book_appointment", "call": web, "args": wish()})
    assert answer.code == "booked", answer.body
    call: Any = Call.objects.get()
    assert (call.direction, call.from_number, call.branch.slug) == ("web", "", "mitte")
    assert calcom.active_bookings()[0].attendee.phone is None
    stray = phone()
    unknown = {"call_id": stray.call_id, "call_type": "web_call", "agent_id": "agent_of_nobody"}
    answer = stray.send("book_appointment", {"name": "book_appointment", "call": unknown, "args": wish()})
    assert answer.code == "not_allowed"
    assert posts(calcom) == 1
    verdict()


def test_an_agent_of_another_tenant_names_no_branch_here(calcom, phone, salon):
    other = make_salon(calcom, slug="other", number="+493087654321")
    RetellAgent.objects.filter(company=salon).delete()
    assert RetellAgent.objects.filter(company=other, agent_id="agent_1").exists()
    caller = phone()
    web = {"call_id": caller.call_id, "call_type": "web_call", "agent_id": "agent_1"}
    answer = caller.send("list_services", {"name": "list_services", "call": web, "args": {}})
    assert answer.code == "not_allowed"
    assert Call.objects.get().branch is None


def test_where_neither_number_nor_agent_comes_along_the_only_open_branch_is_meant(calcom, phone, salon):
    make_salon(calcom, slug="other", number="+493087654321")
    second = BranchFactory(company=salon, is_active=False)

    def ask() -> tuple[str, Any]:
        caller = phone()
        answer = caller.send("list_services", {}, **{"X-Retell-Call-Id": caller.call_id})
        branch = Call.objects.get(retell_call_id=caller.call_id).branch
        return answer.code, branch and branch.slug

    assert ask() == ("ok", "mitte")
    Branch.objects.filter(pk=second.pk).update(is_active=True)
    assert ask() == ("not_allowed", None)


def test_of_an_outbound_call_the_customer_is_the_one_who_was_called(calcom, phone, verdict):
    caller = phone()
    call = {
        **caller.call(),
        "direction": "outbound",
        "from_number": "+493012345678",
        "to_number": "+4915187654321",
    }
    answer = caller.send("book_appointment", {"name": "book_appointment", "call": call, "args": wish()})
    assert answer.code == "booked", answer.body
    assert Customer.objects.get() == Appointment.objects.get().customer
    assert Customer.objects.get().phone == "+4915187654321"
    verdict()


def test_a_later_function_of_the_same_call_blanks_nothing_of_it(calcom, phone, verdict):
    caller = phone()
    assert caller.book(at(10)).code == "booked"
    before = Call.objects.values("from_number", "to_number", "agent_id", "direction", "branch_id").get()
    bare = {"call_id": caller.call_id}
    for call in (bare, {**bare, "from_number": "", "to_number": None, "agent_id": "{{agent_id}}"}):
        answer = caller.send("list_services", {"name": "list_services", "call": call, "args": {}})
        assert answer.code == "ok"
    assert (
        Call.objects.values("from_number", "to_number", "agent_id", "direction", "branch_id").get() == before
    )
    verdict()


# --- What is answered from memory


def _grow_old(seconds: int) -> None:
    moment = timezone.now() - dt.timedelta(seconds=seconds)
    assert FunctionCall.objects.update(answered_at=moment, created_at=moment) == 1


def test_a_refusal_is_repeated_for_a_minute_and_then_asked_anew(calcom, phone, verdict):
    web = calcom.web_book("open", start=at(10), silent=True)
    caller = phone()
    first = caller.book(at(10))
    assert first.code == "slot_taken"
    asked = len(calcom.log)
    calcom.web_cancel(web.uid, silent=True)
    _grow_old(55)
    assert caller.book(at(10)).body == {**first.body, "replayed": True}
    assert len(calcom.log) == asked
    _grow_old(61)
    again = caller.book(at(10))
    assert (again.code, again.body["replayed"]) == ("booked", False)
    row = FunctionCall.objects.get()
    assert (row.code, row.earlier_answers[0]["code"]) == ("booked", "slot_taken")
    verdict()


def test_a_question_asked_back_is_repeated_for_a_minute(calcom, phone, verdict):
    caller = phone()
    first = caller.book("irgendwann")
    assert caller.book("irgendwann").body == {**first.body, "replayed": True}
    assert FunctionCall.objects.count() == 1
    verdict()


def test_a_failure_is_never_repeated_from_memory(calcom, phone, verdict):
    calcom.faults.refuse("title property is wrong,title should not be empty ")
    caller = phone()
    assert caller.book(at(10)).code == "unavailable"
    again = caller.book(at(10))
    assert (again.code, again.body["replayed"]) == ("booked", False)
    verdict()


def test_what_is_free_is_never_answered_from_an_earlier_answer(calcom, phone, verdict):
    caller = phone()
    day = at(10).date().isoformat()
    first = caller.ask("check_availability", service="haircut", date=day)
    assert phone(from_number=SECOND_CALLER).book(at(10)).code == "booked"
    second = caller.ask("check_availability", service="haircut", date=day)
    assert second.body["replayed"] is False
    starts = [[slot["start"] for slot in answer.body["slots"]] for answer in (first, second)]
    assert at(0).isoformat() in starts[0]
    assert starts[0] != starts[1] or at(10).isoformat() not in starts[0]
    verdict()


def test_of_what_one_request_was_answered_before_the_last_few_are_kept(calcom, phone):
    caller = phone()
    many = function_calls.REMEMBERED_ANSWERS + 3
    for _ in range(many):
        caller.ask("check_availability", service="haircut", date=at(10).date().isoformat())
    row = FunctionCall.objects.get()
    assert (row.repeats, len(row.earlier_answers)) == (many - 1, function_calls.REMEMBERED_ANSWERS)
    times = [said["at"] for said in row.earlier_answers]
    assert times == sorted(times)


def test_another_call_is_not_answered_from_this_calls_memory(calcom, phone, verdict):
    assert phone().book(at(10)).code == "booked"
    other = phone(from_number=SECOND_CALLER).book(at(10))
    assert other.code == "slot_taken"
    assert other.body["appointment"] is None
    verdict()


# --- Slot ids


def _slot(caller: Phone) -> dict[str, str]:
    answer = caller.ask("check_availability", service="haircut", date=at(10).date().isoformat())
    slot: dict[str, str] = answer.body["slots"][-1]
    return slot


def _book_slot(caller: Phone, slot_id: Any):
    return caller.ask("book_appointment", service="haircut", slot_id=slot_id, customer_name="Anna Weber")


def test_a_forged_or_damaged_slot_is_refused(calcom, phone, verdict):
    slot_id = _slot(phone())["slot_id"]
    service, start, expires, mac = slot_id.split("-")
    forged = (
        f"{service}-{int(start, 16) + 1800:x}-{expires}-{mac}",
        f"{int(service, 16) + 1:x}-{start}-{expires}-{mac}",
        f"{service}-{start}-{int(expires, 16) + 3600:x}-{mac}",
        f"{service}-{start}-{expires}-{'0' * len(mac)}",
        f"{service}-{start}-{expires}-",
        f"{service}-{start}-{expires}",
        slot_id[:-1],
        slot_id + "0",
        "slot_1",
        "1",
        "-",
        "----",
        "é" * 10,
        "x" * 5000,
        7,
        True,
        [slot_id],
        {"slot_id": slot_id},
    )
    for text in forged:
        answer = _book_slot(phone(), text)
        assert answer.code == "invalid_request", text
        assert answer.body["say"]
    assert not posts(calcom)
    assert _book_slot(phone(), f" {slot_id.upper()} ").code == "booked"
    verdict()


def test_an_expired_slot_is_refused(calcom, phone, verdict):
    slot = _slot(phone())
    with time_machine.travel(dt.datetime.now(dt.UTC) + dt.timedelta(minutes=31), tick=True):
        answer = _book_slot(phone(), slot["slot_id"])
        assert answer.code == "invalid_request"
        assert answer.body["errors"] == {"slot_id": "expired"}
        assert not posts(calcom)
        verdict()


def test_another_tenants_slot_is_refused(calcom, phone, verdict, salon):
    studio = make_salon(calcom, slug="studio", number="+493099999999")
    theirs = _slot(Phone(company=studio, to_number="+493099999999"))
    answer = _book_slot(phone(), theirs["slot_id"])
    assert answer.code == "invalid_request"
    assert not posts(calcom)
    verdict()


def test_a_slot_of_another_service_than_the_one_named_is_not_booked(calcom, phone, verdict):
    slot = _slot(phone())
    answer = phone().ask(
        "book_appointment", service="colour", slot_id=slot["slot_id"], customer_name="Anna Weber"
    )
    assert answer.body["success"] is False
    assert not posts(calcom)
    verdict()


def test_a_slot_of_a_service_that_was_switched_off_since_is_not_booked(calcom, phone, verdict, haircut):
    slot = _slot(phone())
    haircut.is_active = False
    haircut.save()
    answer = phone().ask("book_appointment", slot_id=slot["slot_id"], customer_name="Anna Weber")
    assert answer.body["success"] is False
    assert not posts(calcom)
    verdict()


@pytest.mark.parametrize("function", ["list_services", "list_appointments"])
def test_what_is_read_again_and_has_not_changed_is_a_replay(phone, verdict, function):
    caller = phone()
    assert caller.book(at(10)).code == "booked"
    first, second, third = (caller.ask(function) for _ in range(3))
    assert first.code == "ok"
    assert first.body["replayed"] is False
    assert second.body == third.body == {**first.body, "replayed": True}
    assert phone().ask(function).body == first.body  # another call's question is no repetition
    verdict()


def test_what_is_read_again_and_has_changed_is_told_as_it_is_now(phone, salon, verdict):
    caller = phone()
    assert caller.book(at(10)).code == "booked"
    services, theirs = caller.ask("list_services"), caller.ask("list_appointments")
    Service.objects.filter(company=salon, slug="shave").update(is_active=False)
    assert caller.ask("cancel_appointment").code == "cancelled"
    fewer, nothing = caller.ask("list_services"), caller.ask("list_appointments")
    assert [fewer.body["replayed"], nothing.body["replayed"]] == [False, False]
    gone = {service["slug"] for service in services.body["services"]} - {
        service["slug"] for service in fewer.body["services"]
    }
    assert gone == {"shave"}
    assert len(theirs.body["appointments"]) == 1
    assert nothing.body["appointments"] == []
    assert caller.ask("list_appointments").body == {**nothing.body, "replayed": True}
    verdict()


def test_a_name_of_any_length_is_answered_once_the_signature_holds(calcom, phone, verdict):
    """Anything but a 2xx would have Retell send the request again."""
    for name in ("x" * 81, "book_appointment" * 20):
        answer = phone().ask(name, service="haircut")
        assert (answer.status, answer.code, answer.body["errors"]) == (
            200,
            "invalid_request",
            {"name": "unknown"},
        )
    assert FunctionCall.objects.count() == 2
    verdict()


def test_every_address_answers_without_its_last_slash_too(client, db):
    assert client.get("/admin", follow=True).redirect_chain[0] == ("/admin/", 302)
    for address in ("/healthz", "/readyz", "/metrics", "/api/schema", "/admin"):
        assert (
            client.get(address, follow=True).status_code == client.get(f"{address}/", follow=True).status_code
        )

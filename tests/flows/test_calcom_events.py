"""What is changed at Cal.com, on the web or by ourselves, arrives here once and in whatever order."""

from __future__ import annotations

import datetime as dt
import itertools
import json
import threading

import pytest
from django.db import connection
from django.utils import timezone

from booking.calcom import signature
from booking.calcom.simulator import webhooks as simulated
from booking.calcom.simulator.server import Simulator
from booking.models import Appointment, FormerUid, SyncFailure
from calls import deliveries
from calls.models import Call, WebhookEvent
from customers.models import Customer
from tests.factories import (
    AppointmentFactory,
    BookingAttemptFactory,
    CompanyFactory,
    CustomerFactory,
    ServiceFactory,
)
from tests.flows.conftest import make_salon
from tests.flows.database_refusals import refusals
from tests.flows.phone import at
from tests.flows.test_promises import deliver_raw

Status = Appointment.Status
pytestmark = pytest.mark.usefixtures("announced")


@pytest.fixture
def states():
    """What became of each delivery, oldest first."""

    def read():
        return list(WebhookEvent.objects.order_by("pk").values_list("event_type", "status"))

    return read


def test_a_booking_on_the_web_becomes_an_appointment_with_its_customer(calcom, salon, work, verdict):
    booking = calcom.web_book(
        "open",
        start=at(10),
        name="Wanda Web",
        email="Wanda@web.test",
        phone="+4915112345678",
        metadata={"campaign": "spring"},
    )
    work()
    appointment = Appointment.objects.get()
    assert appointment.metadata == {"campaign": "spring"}
    assert appointment.calcom_booking_uid == booking.uid
    assert (appointment.status, appointment.source, appointment.sync_origin) == (
        "scheduled",
        "calcom",
        "calcom",
    )
    assert appointment.call is None
    assert appointment.starts_at == at(10)
    assert appointment.service == salon.services.get(slug="haircut")
    assert appointment.customer == salon.customers.get(phone="+4915112345678")
    assert not SyncFailure.objects.exists()
    verdict()


def test_a_web_booking_finds_the_customer_by_number_and_then_by_address(calcom, salon, work):
    anna = Customer.objects.create(company=salon, name="Anna Weber", phone="+4915112345678")
    Customer.objects.create(company=CompanyFactory(), name="Bert Maier", email="bert@web.test")
    bert = Customer.objects.create(company=salon, name="Bert Maier", email="bert@web.test")
    calcom.web_book("open", start=at(9), name="Anna W.", email="new@web.test", phone="+49 151 12345678")
    calcom.web_book("open", start=at(10), name="Bert Maier", email="BERT@web.test")
    calcom.web_book("open", start=at(11), name="Clara Maier", email="bert@web.test")
    work()
    by_start = {row.starts_at: row.customer for row in Appointment.objects.all()}
    assert by_start[at(9)] == anna
    assert by_start[at(10)] == bert
    assert by_start[at(11)] not in (anna, bert), "an address shared by two people is not one person"


def test_a_web_booking_finds_the_customer_whose_address_ops_have_typed_in_capitals(
    calcom, salon, work, admin_client
):
    bert = Customer.objects.create(company=salon, name="Bert Maier")
    page = f"/admin/customers/customer/{bert.pk}/change/"
    assert admin_client.post(page, {"name": "Bert Maier", "email": "Bert@Web.test"}).status_code == 302
    calcom.web_book("open", start=at(10), name="Bert Maier", email="bert@web.test")
    work()
    assert Appointment.objects.get().customer == bert


def test_an_address_that_cal_com_made_up_is_nobodys(calcom, salon, work, phone, verdict):
    calcom.web_book("open", start=at(9), name="Anna Weber", email=None, phone="+4915112345678")
    work()
    assert calcom.bookings[0].attendee.email == "4915112345678@sms.cal.com"
    customer = Customer.objects.get()
    assert (customer.phone, customer.email) == ("+4915112345678", "")
    # Where one is demanded they get one of their own, and not that one.
    assert phone().book(at(12), service="massage").code == "booked"
    assert calcom.bookings[1].attendee.email == f"c{customer.pk}@callers.salon.example"
    verdict()


def test_an_address_we_made_up_ourselves_leads_back_to_its_customer(calcom, salon, work, phone):
    phone(from_number="anonymous").book(at(9), customer_name="Nina Niemand")
    customer = Customer.objects.get()
    address = Appointment.objects.get().attendee_email
    calcom.web_book("open", start=at(12), name="Office Booking", email=address)
    work()
    assert {row.customer for row in Appointment.objects.all()} == {customer}


def test_an_address_that_only_looks_like_one_of_ours_leads_to_nobody(calcom, salon, work):
    ours, foreign = CustomerFactory(company=salon), CustomerFactory()
    domain = salon.attendee_email_domain
    addresses = (f"c{ours.pk}@elsewhere.example", f"x{ours.pk}@{domain}", f"c{foreign.pk}@{domain}")
    for hour, address in enumerate(addresses, start=9):
        calcom.web_book("open", start=at(hour), name="N. N.", email=address)
    work()
    customers = {row.customer for row in Appointment.objects.all()}
    assert len(customers) == 3
    assert not customers & {ours, foreign}


def test_our_own_echo_arrives_before_the_answer_and_makes_no_second_row(
    calcom, salon, phone, work, verdict, states
):
    caller = phone()
    answer = caller.book(at(10))
    assert answer.code == "booked"
    work()
    appointment = Appointment.objects.get()
    assert states() == [("BOOKING_CREATED", "processed")]
    assert (appointment.source, appointment.sync_origin) == ("retell", "retell")
    assert appointment.call == Call.objects.get(retell_call_id=caller.call_id)
    assert appointment.attendee_name == "Anna Weber"
    verdict()


def test_an_echo_that_is_worked_while_our_request_is_in_flight_is_left_to_it(
    calcom, salon, phone, work, verdict, states
):
    seen = []

    def work_meanwhile(*_args):
        work()
        seen.extend(states())
        connection.close()

    calcom.faults.add("create", call={"before_answer": work_meanwhile})
    assert phone().book(at(10)).code == "booked"
    assert seen == [("BOOKING_CREATED", "received")]
    work(seconds=10)
    assert states() == [("BOOKING_CREATED", "processed")]
    assert Appointment.objects.get().status == Status.SCHEDULED
    verdict()


def test_an_echo_settles_an_attempt_whose_outcome_was_unknown(calcom, salon, phone, work, verdict, settings):
    settings.ANSWER_BUDGET_SECONDS = 3
    calcom.faults.answer_late(seconds=30)
    caller = phone()
    assert caller.book(at(10)).code == "checking"
    assert Appointment.objects.get().status == Status.PENDING
    work()
    appointment = Appointment.objects.get()
    assert appointment.status == Status.SCHEDULED
    call = Call.objects.get()
    assert (call.appointment, call.booking_confirmed, call.appointment_made) == (appointment, True, True)
    assert caller.book(at(10)).code == "booked"
    verdict()


def test_a_move_on_the_web_keeps_the_row_and_remembers_the_uid(calcom, salon, phone, work, verdict):
    phone().book(at(10))
    appointment = Appointment.objects.get()
    old = appointment.calcom_booking_uid
    moved = calcom.web_reschedule(old, at(14))
    work()
    appointment.refresh_from_db()
    assert appointment.calcom_booking_uid == moved.uid
    assert appointment.starts_at == at(14)
    assert appointment.status == Status.SCHEDULED
    assert [former.uid for former in FormerUid.objects.all()] == [old]
    assert Call.objects.get(booking_details__uid=moved.uid).appointment == appointment
    verdict()


@pytest.mark.parametrize("order", list(itertools.permutations(range(3))))
def test_a_chain_of_moves_ends_at_its_end_in_any_order(calcom, salon, work, verdict, order):
    calcom.webhooks.hold()
    first = calcom.web_book("open", start=at(9))
    second = calcom.web_reschedule(first.uid, at(10))
    third = calcom.web_reschedule(second.uid, at(11))
    calcom.webhooks.release(order)
    work()
    appointment = Appointment.objects.get()
    assert (appointment.calcom_booking_uid, appointment.starts_at) == (third.uid, at(11))
    verdict()


@pytest.mark.parametrize("kept", [[0], [1], [2], [0, 2], [2, 0]])
def test_a_chain_of_moves_survives_lost_deliveries(calcom, salon, phone, work, verdict, kept):
    phone().book(at(9))
    uid = Appointment.objects.get().calcom_booking_uid
    work()
    calcom.webhooks.hold()
    for hour in (10, 11, 12):
        uid = calcom.web_reschedule(uid, at(hour)).uid
    calcom.webhooks.release(kept)
    work()
    appointment = Appointment.objects.get()
    assert (appointment.calcom_booking_uid, appointment.starts_at) == (uid, at(12))
    verdict()


def test_a_cancellation_is_believed_once_cal_com_has_written_it(calcom, salon, phone, work, verdict, states):
    phone().book(at(10))
    work()
    uid = Appointment.objects.get().calcom_booking_uid
    # The delivery as it is sent, and worked, before the status is written.
    calcom.webhooks.hold()
    calcom.web_cancel(uid)
    (delivery,) = calcom.webhooks.held
    calcom.booking(uid).status = "accepted"
    calcom.webhooks.release()
    work()
    assert states()[-1] == ("BOOKING_CANCELLED", "received")
    assert Appointment.objects.get().status == Status.SCHEDULED
    calcom.booking(uid).status = "cancelled"
    work(seconds=5)
    assert states()[-1] == ("BOOKING_CANCELLED", "processed")
    assert Appointment.objects.get().status == Status.CANCELLED
    assert delivery.status == 200
    verdict()


def test_a_cancellation_that_never_comes_true_is_not_believed(calcom, salon, phone, work, verdict, states):
    phone().book(at(10))
    work()
    uid = Appointment.objects.get().calcom_booking_uid
    calcom.web_cancel(uid)
    calcom.booking(uid).status = "accepted"
    work(seconds=60)
    assert states()[-1] == ("BOOKING_CANCELLED", "processed")
    assert Appointment.objects.get().status == Status.SCHEDULED
    verdict()


def test_a_creation_sent_again_after_the_cancellation_reverts_nothing(calcom, salon, work, verdict):
    booking = calcom.web_book("open", start=at(10))
    (created,) = calcom.webhooks.deliveries
    calcom.web_cancel(booking.uid)
    work()
    WebhookEvent.objects.all().delete()
    calcom.webhooks.resend(created)
    work()
    assert Appointment.objects.get().status == Status.CANCELLED
    verdict()


def test_cancelled_before_created_stays_cancelled(calcom, salon, work, verdict):
    calcom.webhooks.hold()
    booking = calcom.web_book("open", start=at(10))
    calcom.web_cancel(booking.uid)
    calcom.webhooks.release([1], keep_holding=True)
    work()
    assert [row.status for row in Appointment.objects.all()] == ["cancelled"]
    created = calcom.webhooks.deliveries[0]
    calcom.webhooks.resend(created)
    work()
    assert [row.status for row in Appointment.objects.all()] == ["cancelled"]
    verdict()


def test_an_old_move_does_not_revert_a_newer_one(calcom, salon, work, verdict):
    first = calcom.web_book("open", start=at(9))
    second = calcom.web_reschedule(first.uid, at(10))
    move = calcom.webhooks.deliveries[-1]
    third = calcom.web_reschedule(second.uid, at(11))
    work()
    WebhookEvent.objects.all().delete()
    calcom.webhooks.resend(move)
    work()
    assert Appointment.objects.get().calcom_booking_uid == third.uid
    verdict()


def test_requested_confirmed_and_declined_are_followed(calcom, salon, phone, work, verdict):
    assert phone().book(at(10), service="advice").code == "requested"
    work()
    appointment = Appointment.objects.get()
    assert appointment.status == Status.REQUESTED
    calcom.web_confirm(appointment.calcom_booking_uid)
    work()
    appointment.refresh_from_db()
    assert appointment.status == Status.CONFIRMED
    other = calcom.web_book("confirm_open", start=at(12))
    work()
    calcom.web_decline(other.uid, reason="no")
    work()
    assert Appointment.objects.get(calcom_booking_uid=other.uid).status == Status.CANCELLED
    verdict()


def test_the_one_time_password_of_a_request_is_never_stored(calcom, salon, phone, work):
    phone().book(at(10), service="advice")
    (delivery,) = calcom.webhooks.deliveries
    secret = delivery.payload["oneTimePassword"]
    assert secret
    stored = WebhookEvent.objects.get()
    assert secret not in stored.body
    assert json.loads(stored.body)["payload"]["oneTimePassword"] == "[redacted]"
    work()
    stored.refresh_from_db()
    assert stored.status == "processed"


@pytest.mark.parametrize(
    "beside",
    ['"title": "Cut \\ud83d"', '"title": "a\\u0000b"', f'"x": {"[" * 900}{"]" * 900}', f'"x": 1{"0" * 400}'],
    ids=["half an emoji", "NUL", "deep", "huge"],
)
@pytest.mark.parametrize("name", ["oneTimePassword", "\\u006fneTimePassword"])
def test_whatever_stands_beside_it_and_however_it_is_written_the_one_time_password_is_never_stored(
    salon, work, name, beside
):
    body = (
        f'{{"triggerEvent": "BOOKING_REQUESTED", "payload": {{"uid": "u1", "{name}": "s3cret", {beside}}}}}'
    )
    deliver_raw(salon, body.encode())
    stored = WebhookEvent.objects.get()
    assert "s3cret" not in stored.body
    assert json.loads(stored.body)["payload"]["uid"] == "u1"
    work(seconds=60)
    stored.refresh_from_db()
    assert stored.status == "ignored"


def test_a_no_show_and_the_end_of_a_meeting_are_followed(calcom, salon, phone, work):
    phone().book(at(10))
    work()
    uid = Appointment.objects.get().calcom_booking_uid
    booking = calcom.booking(uid)
    length = booking.end - booking.start
    booking.start = calcom.clock.now() - 2 * length
    booking.end = booking.start + length
    calcom.send_meeting_event(uid, trigger="MEETING_STARTED")
    calcom.send_meeting_event(uid)
    work()
    assert Appointment.objects.get().status == Status.COMPLETED
    calcom.web_no_show(uid)
    work()
    assert Appointment.objects.get().status == Status.NO_SHOW
    calcom.web_no_show(uid, absent=False)
    work()
    assert Appointment.objects.get().status == Status.COMPLETED


def test_five_copies_at_once_are_all_answered_and_have_one_effect(calcom, salon, work, states):
    calcom.webhooks.repeat(5, parallel=True)
    calcom.web_book("open", start=at(10))
    assert [delivery.status for delivery in calcom.webhooks.deliveries] == [200] * 5
    assert states() == [("BOOKING_CREATED", "received")]
    work()
    assert Appointment.objects.count() == 1


def test_several_workers_at_once_make_one_row_of_different_deliveries(calcom, salon, work, verdict):
    calcom.webhooks.hold()
    for hour in (9, 10, 11):
        booking = calcom.web_book("open", start=at(hour))
        calcom.web_reschedule(booking.uid, at(hour + 4))
    calcom.webhooks.release(parallel=True)

    def run():
        try:
            work()
        finally:
            connection.close()

    workers = [threading.Thread(target=run) for _ in range(4)]
    for worker in workers:
        worker.start()
    for worker in workers:
        worker.join()
    work(seconds=120)
    assert sorted(row.starts_at for row in Appointment.objects.all()) == [at(13), at(14), at(15)]
    assert set(WebhookEvent.objects.values_list("status", flat=True)) == {"processed"}
    verdict()


def test_what_another_process_has_imported_in_this_moment_is_followed(calcom, salon, work, run, states):
    first = calcom.web_book("open", start=at(10), silent=True)
    moved = calcom.web_reschedule(first.uid, at(12))

    def import_it(_exchange: object) -> None:
        run()
        connection.close()

    calcom.faults.add("get", path_contains=first.uid, call={"before_answer": import_it})
    work()
    assert states() == [("BOOKING_RESCHEDULED", "processed")]
    assert Appointment.objects.get().calcom_booking_uid == moved.uid


def test_a_dotted_name_is_understood_and_an_unknown_event_is_kept_and_ignored(
    calcom, salon, announced, work, states
):
    booking = calcom.web_book("open", start=at(10), silent=True)
    secret = salon.calcom_webhook_secret
    calcom.send_event(announced, secret, "booking.created", {"uid": booking.uid})
    calcom.send_event(announced, secret, "OOO_CREATED", {"uid": booking.uid})
    calcom.send_ping(announced, secret)
    work()
    assert [delivery.status for delivery in calcom.webhooks.deliveries] == [200, 200, 200]
    assert states() == [("BOOKING_CREATED", "processed"), ("OOO_CREATED", "ignored"), ("PING", "ignored")]
    assert Appointment.objects.get().calcom_booking_uid == booking.uid


def test_an_event_type_of_nobody_here_is_stored_as_unassigned(calcom, salon, announced, work, states):
    ServiceFactory(calcom_event_type_id=calcom.state.event_type("collective").id)  # another tenant's
    booking = calcom.web_book("collective", start=at(10), silent=True)
    calcom.send_event(announced, salon.calcom_webhook_secret, "BOOKING_CREATED", {"uid": booking.uid})
    work()
    assert states() == [("BOOKING_CREATED", "ignored")]
    assert "Unassigned" in WebhookEvent.objects.get().error
    assert not Appointment.objects.exists()


def test_a_delivery_touches_no_other_tenant(calcom, salon, announced, phone, work):
    phone().book(at(10))
    work()
    theirs = make_salon(calcom, slug="other", number="+493087654321")
    uid = Appointment.objects.get().calcom_booking_uid
    url = announced.replace(str(salon.endpoint_id), str(theirs.endpoint_id))
    calcom.web_cancel(uid, silent=True)
    calcom.send_event(url, theirs.calcom_webhook_secret, "BOOKING_CANCELLED", {"uid": uid})
    work(seconds=60)
    assert Appointment.objects.get(company=salon).status == Status.SCHEDULED


def deliver(company, trigger, **payload):
    deliver_raw(company, json.dumps({"triggerEvent": trigger, "payload": payload}).encode())


def test_a_booking_that_is_named_by_its_number_alone_is_that_of_this_company(
    calcom, salon, phone, work, states
):
    """Numbers are those of one Cal.com, and companies may have several."""
    theirs = AppointmentFactory()
    for hour in (9, 10, 11):
        phone(from_number=f"+49151000000{hour:02}").book(at(hour))
    work()
    row = Appointment.objects.get(company=salon, starts_at=at(10))
    Appointment.objects.filter(pk=theirs.pk).update(calcom_booking_id=row.calcom_booking_id)
    calcom.web_cancel(row.calcom_booking_uid, silent=True)
    deliver(salon, "BOOKING_CANCELLED", bookingId=row.calcom_booking_id)
    work()
    assert states()[-1] == ("BOOKING_CANCELLED", "processed")
    row.refresh_from_db()
    assert row.status == Status.CANCELLED


def test_a_number_that_nobody_knows_names_no_booking(salon, work, states):
    deliver(salon, "BOOKING_CANCELLED", bookingId=4711)
    work()
    assert states() == [("BOOKING_CANCELLED", "ignored")]


def test_what_cal_com_does_not_know_yet_is_asked_for_again_and_then_given_up(calcom, salon, work, states):
    """A delivery may come before a lagging replica has the booking."""
    booking = calcom.web_book("open", start=at(10), silent=True)
    calcom.faults.refuse(
        f"Booking with uid={booking.uid} was not found in the database", status=404, operation="get", times=1
    )
    deliver(salon, "BOOKING_CREATED", uid=booking.uid)
    deliver(salon, "BOOKING_CREATED", uid="neverWasThere")
    work()
    assert states() == [("BOOKING_CREATED", "received")] * 2
    assert not Appointment.objects.exists()
    work(seconds=10)
    assert Appointment.objects.get().calcom_booking_uid == booking.uid
    work(seconds=60)
    assert states() == [("BOOKING_CREATED", "processed"), ("BOOKING_CREATED", "ignored")]


def test_what_another_company_has_waiting_is_worked_while_ones_cal_com_is_away(calcom, salon, work, states):
    """And of the one that is away only the first delivery is waited for."""
    theirs = make_salon(calcom, slug="other", number="+493087654321")
    theirs.calcom_base_url = "http://127.0.0.1:9/v2"
    theirs.save()
    booking = calcom.web_book("open", start=at(10), silent=True)
    for number in range(3):
        deliver(theirs, "BOOKING_CREATED", uid=f"theirs{number}")
    deliver(salon, "BOOKING_CREATED", uid=booking.uid)
    report = work()
    assert (report.failed, report.put_back, report.worked) == (1, 2, 1)
    assert Appointment.objects.get().company == salon
    waiting = WebhookEvent.objects.filter(company=theirs, status="received", attempts=0)
    assert waiting.filter(due_at__gt=timezone.now()).count() == 2


def moved_to_nowhere(calcom: Simulator) -> str:
    first = calcom.web_book("open", start=at(9), silent=True)
    calcom.erase(calcom.web_reschedule(first.uid, at(12), silent=True).uid)
    return first.uid


def cannot_be_read(calcom: Simulator) -> str:
    first = calcom.web_book("open", start=at(9), silent=True)
    calcom.faults.add("get", path_contains=first.uid, patch={"status": "dreamt"}, times=None)
    return first.uid


@pytest.mark.parametrize("make", [moved_to_nowhere, cannot_be_read])
def test_of_one_booking_nothing_can_be_found_out_and_the_next_is_worked_all_the_same(
    calcom, salon, work, make
):
    deliver(salon, "BOOKING_CREATED", uid=make(calcom))
    later = calcom.web_book("open", start=at(10), silent=True)
    deliver(salon, "BOOKING_CREATED", uid=later.uid)
    report = work()
    assert (report.failed, report.put_back, report.worked) == (1, 0, 1)
    assert Appointment.objects.get().calcom_booking_uid == later.uid


def test_a_booking_that_claims_to_be_ours_and_is_not_known_is_a_ticket(calcom, salon, work, verdict):
    metadata = {"attempt_id": "0f8fad5b-d9cb-469f-a165-70867728950e", "company": salon.slug}
    booking = calcom.web_book("open", start=at(10), metadata=metadata)
    work()
    failure = SyncFailure.objects.get()
    assert (failure.failure_type, failure.status) == ("orphaned_calcom", "manual_review")
    assert failure.calcom_booking_id == booking.uid
    assert not Appointment.objects.exists()
    verdict()
    calcom.web_cancel(booking.uid)
    work()
    failure.refresh_from_db()
    assert failure.status == "resolved"


@pytest.mark.parametrize("whose", ["another company's", "a change's"])
def test_an_attempt_that_made_no_booking_here_proves_nothing(calcom, salon, work, whose):
    change = {"company": salon, "kind": "cancel"} if whose == "a change's" else {}
    attempt = BookingAttemptFactory(state="unknown", **change)
    calcom.web_book("open", start=at(10), metadata={"attempt_id": str(attempt.uuid), "company": salon.slug})
    work()
    attempt.refresh_from_db()
    assert attempt.state == "unknown"
    assert SyncFailure.objects.get().company == salon


def test_a_moved_booking_that_is_confirmed_again_does_not_take_the_row_back(calcom, salon, work, verdict):
    first = calcom.web_book("open", start=at(9))
    second = calcom.web_reschedule(first.uid, at(10))
    work()
    calcom.web_confirm(first.uid)
    work()
    row = Appointment.objects.get()
    assert (row.calcom_booking_uid, row.starts_at) == (second.uid, at(10))
    failure = SyncFailure.objects.get()
    assert (failure.failure_type, failure.calcom_booking_id) == ("duplicate_booking", first.uid)
    verdict()


def test_cal_com_being_away_is_no_statement_about_the_booking(calcom, salon, phone, work, states):
    phone().book(at(10))
    work()
    calcom.web_cancel(Appointment.objects.get().calcom_booking_uid)
    calcom.faults.server_error(commit=False, status=503, operation="get", times=None)
    work()
    event = WebhookEvent.objects.latest("pk")
    assert (event.status, event.attempts) == ("failed", 1)
    assert Appointment.objects.get().status == Status.SCHEDULED
    calcom.faults.clear()
    work(seconds=60)
    assert states()[-1] == ("BOOKING_CANCELLED", "processed")
    assert Appointment.objects.get().status == Status.CANCELLED


def test_a_delivery_that_always_fails_is_given_up_and_can_be_replayed(calcom, salon, work, verdict):
    calcom.web_book("open", start=at(10))
    calcom.faults.server_error(commit=False, status=503, operation="get", times=None)
    for hours in range(14):
        work(seconds=hours * 4000)
    event = WebhookEvent.objects.get()
    assert (event.status, event.attempts) == ("dead", 12)
    calcom.faults.clear()
    assert deliveries.replay(WebhookEvent.objects.all()) == 1
    event.refresh_from_db()
    assert (event.status, event.error, event.processed_at) == ("received", "", None)
    work()
    event.refresh_from_db()
    assert event.status == "processed"
    assert deliveries.replay(WebhookEvent.objects.all()) == 1
    assert WebhookEvent.objects.get().processed_at is None
    work()
    assert Appointment.objects.count() == 1
    verdict()


def test_a_delivery_that_kills_its_workers_is_given_up(calcom, salon, work, states):
    calcom.web_book("open", start=at(10))
    now = timezone.now()
    for number in range(deliveries.MOST_ATTEMPTS + 2):
        deliveries.take_due(now=now + number * dt.timedelta(seconds=61))  # and dies
    event = WebhookEvent.objects.get()
    assert (event.status, event.attempts) == ("dead", deliveries.MOST_ATTEMPTS)
    assert "did not come back" in event.error


def test_an_import_that_fails_leaves_no_customer_behind(calcom, salon, work):
    calcom.web_book("open", start=at(10))
    with refusals() as refused:
        refused.add("appointments", "INSERT", text="disk full")
        work()
    assert not Customer.objects.exists()
    work(seconds=60)
    assert Appointment.objects.count() == Customer.objects.count() == 1


@pytest.fixture
def offered(phone):
    """The free starts of a day, as a caller is told them; asked twice they come out of the cache."""

    def ask(service: str = "haircut") -> list[str]:
        answer = phone().ask("check_availability", service=service, date=at(10).date().isoformat())
        return [slot["start"] for slot in answer.body["slots"]]

    return ask


def test_what_the_web_took_is_not_offered_any_more(calcom, salon, offered, work):
    before = offered()
    calcom.web_book("open", start=before[2])
    assert offered() == before
    work()
    assert before[2] not in offered()


def test_what_the_web_gave_back_is_offered_again(calcom, salon, offered, work):
    free = offered()
    booking = calcom.web_book("open", start=free[2])
    work()
    taken = offered()
    assert free[2] not in taken
    calcom.web_cancel(booking.uid)
    assert offered() == taken
    work()
    assert Appointment.objects.get().status == Status.CANCELLED
    assert offered() == free


def test_what_a_cancellation_gave_back_is_offered_before_it_is_written(calcom, salon, offered, work):
    free = offered()
    booking = calcom.web_book("open", start=free[2])
    work()
    assert free[2] not in offered()
    calcom.web_cancel(booking.uid)
    calcom.faults.add("get", patch={"status": "accepted"})  # which is what a replica may still show
    work()
    assert Appointment.objects.get().status == Status.SCHEDULED
    assert offered() == free


def test_what_was_moved_on_the_web_changes_places_in_what_is_offered(calcom, salon, offered, work):
    free = offered()
    booking = calcom.web_book("open", start=free[2])
    work()
    taken = offered()
    calcom.web_reschedule(booking.uid, free[4])
    assert offered() == taken
    work()
    assert (free[2] in offered(), free[4] in offered()) == (True, False)


def test_what_the_host_declined_is_looked_up_anew(calcom, salon, offered, work):
    request = calcom.web_book("confirm_open", start=offered("advice")[2])
    work()
    before = offered("advice")
    # A request takes no time from anybody, so that something else must show it: a booking nobody told us of.
    calcom.web_book("confirm_open", start=before[4], silent=True)
    calcom.web_confirm(calcom.bookings[-1].uid, silent=True)
    assert offered("advice") == before
    calcom.web_decline(request.uid, reason="no")
    work()
    assert before[4] not in offered("advice")


def test_the_cancel_of_our_own_compensation_is_no_news(calcom, salon, phone, work, verdict):
    calcom.faults.shift_start(60)
    assert phone().book(at(10)).code == "unavailable"
    work()
    work(seconds=60)
    assert [row.status for row in Appointment.objects.all()] == ["failed"]
    assert set(WebhookEvent.objects.values_list("status", flat=True)) == {"processed"}
    verdict()


def test_the_signature_is_that_of_the_simulator():
    body = '{"title":"Visita – Caffè"}'.encode()
    assert signature.sign(body, "s3cret") == simulated.sign(body, "s3cret")

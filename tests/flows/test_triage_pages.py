"""Every button of the admin about a sync failure, posted as a browser posts it."""

from __future__ import annotations

import datetime as dt
import re
from functools import partial
from html.parser import HTMLParser
from typing import Any

import pytest
from django.contrib.auth.models import Group, Permission, User
from django.core.management import call_command
from django.db import connection
from django.test import Client
from django.test.utils import CaptureQueriesContext
from django.urls import reverse
from django.utils import timezone

from booking.models import Appointment, BookingAttempt, SyncFailure
from calls import deliveries
from calls.models import Call, WebhookEvent
from customers.admin_columns import page_of
from customers.models import Company
from sync import roles
from sync.audit_alerts import audit_and_alert
from sync.models import AuditEntry, ReconciliationRun
from tests import factories as make
from tests.flows.phone import BERLIN, at, cancel, move
from tests.flows.triage import tickets

LIST = "admin:booking_syncfailure_changelist"
DIFFERS = '<span class="badge bad">differs</span>'


class _Form(HTMLParser):
    """What a browser would send of the form that posts: hidden, chosen and typed fields."""

    def __init__(self, page: str) -> None:
        super().__init__()
        self.fields: dict[str, str] = {}
        self.buttons: list[str] = []
        self._open = self._textarea = False
        self._name = ""
        self.feed(page)

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        given = {name: value or "" for name, value in attrs}
        if tag == "form":
            self._open = given.get("method") == "post" and "closing" in given.get("class", "")
        if not self._open:
            return
        if tag == "input" and given.get("type") == "submit":
            self.buttons.append(given["value"])
        elif tag == "input" and given.get("type") != "radio" and "name" in given:
            self.fields[given["name"]] = given.get("value", "")
        elif tag == "textarea":
            self._name, self._textarea = given["name"], True
            self.fields[self._name] = ""
        elif tag == "option" and "selected" in given:
            self.fields["hours"] = given["value"]

    def handle_data(self, data: str) -> None:
        if self._textarea:
            self.fields[self._name] += data.removeprefix("\n")

    def handle_endtag(self, tag: str) -> None:
        self._textarea = self._textarea and tag != "textarea"
        self._open = self._open and tag != "form"


class Desk:
    """Somebody of ops at a browser."""

    def __init__(self, role: str) -> None:
        self.user = User.objects.create_user(f"a-{role}", is_staff=True)
        self.user.groups.add(Group.objects.get(name=role))
        self.client = Client()
        self.client.force_login(self.user)

    def open(self, failure: SyncFailure) -> str:
        return self._page(reverse("admin:booking_syncfailure_change", args=[failure.pk]))

    def buttons(self, failure: SyncFailure) -> set[str]:
        return set(re.findall(r"/triage/(\w+)/\"", self.open(failure)))

    def preview(self, failure: SyncFailure, verb: str) -> str:
        return self._page(triage_url(failure, verb))

    def press(self, failure: SyncFailure, verb: str, *, page: str = "", **typed: Any) -> list[str]:
        """Fill in the form of the preview and send it; the messages that follow."""
        form = _Form(page or self.preview(failure, verb))
        assert form.buttons, "the page has no form"
        sent = form.fields | {"reason": "Because."} | {name: str(value) for name, value in typed.items()}
        return messages_of(self.client.post(triage_url(failure, verb), sent, follow=True))

    def _page(self, url: str) -> str:
        response = self.client.get(url)
        assert response.status_code == 200
        return response.content.decode()


def triage_url(failure: SyncFailure, verb: str) -> str:
    return reverse("admin:booking_syncfailure_triage", args=[failure.pk, verb])


def messages_of(response: Any) -> list[str]:
    assert response.status_code == 200
    return [str(message) for message in response.context["messages"]]


@pytest.fixture
def operator(salon):
    return Desk(roles.OPERATOR)


@pytest.fixture
def viewer(salon):
    return Desk(roles.VIEWER)


@pytest.fixture
def ticket(salon):
    return partial(tickets.ticket, salon)


# --- Who may do what


def test_there_are_three_groups_and_each_holds_what_its_name_says(salon):
    def of(role: str) -> set[str]:
        return set(Group.objects.get(name=role).permissions.values_list("codename", flat=True))

    own = {name.partition(".")[2] for name in roles.OWN}
    viewer, operator, admin = (of(role) for role in roles.ROLES)
    assert {codename for codename in viewer if not codename.startswith("view_")} == set()
    assert operator - viewer == own | {"change_callbackrequest"}
    assert admin > operator
    assert "change_company" in admin
    assert not {codename for codename in admin if codename.endswith(("_user", "_group"))}


def test_what_an_administrator_took_out_of_a_group_stays_out(salon):
    group = Group.objects.get(name=roles.OPERATOR)
    group.permissions.remove(Permission.objects.get(codename="act_at_calcom"))
    call_command("migrate", verbosity=0)
    assert not group.permissions.filter(codename="act_at_calcom").exists()


def test_a_viewer_sees_everything_and_is_offered_nothing(calcom, viewer, ticket):
    booking = calcom.web_book("open", start=at(10))
    failure = ticket(uid=booking.uid)
    page = viewer.open(failure)
    assert booking.uid in page
    assert viewer.buttons(failure) == set()
    assert "Work it again" not in page


@pytest.mark.parametrize(
    "verb",
    ["try_again", "adopt", "link", "recreate", "cancel", "resolve", "review", "snooze", "assign"],
)
def test_a_viewer_who_posts_all_the_same_is_refused(calcom, viewer, operator, ticket, verb):
    booking = calcom.web_book("open", start=at(10))
    failure = ticket(uid=booking.uid)
    calcom.clear_log()
    sent = {"reason": "x", "expected": "x", "seen": "x", "message": "x", "hours": "4"}
    for client in (viewer.client, Client()):
        assert client.get(triage_url(failure, verb)).status_code in (302, 403)
        assert client.post(triage_url(failure, verb), sent).status_code in (302, 403)
    bulk = reverse("admin:booking_syncfailure_bulk", args=[verb])
    assert viewer.client.post(bulk, sent).status_code in (403, 404)
    assert not calcom.log
    assert not AuditEntry.objects.exists()


def test_each_button_asks_for_its_own_permission(calcom, operator, ticket):
    failure = ticket(uid=calcom.web_book("open", start=at(10)).uid)
    assert operator.buttons(failure) >= {"adopt", "cancel", "resolve"}
    Group.objects.get(name=roles.OPERATOR).permissions.remove(
        Permission.objects.get(codename="act_at_calcom")
    )
    assert operator.buttons(failure) == {"try_again", "adopt", "resolve", "review", "snooze", "assign"}
    assert operator.client.get(triage_url(failure, "cancel")).status_code == 403
    assert "try_again_selected" in operator.client.get(reverse(LIST)).content.decode()
    Group.objects.get(name=roles.OPERATOR).permissions.remove(
        Permission.objects.get(codename="repair_syncfailure")
    )
    assert operator.buttons(failure) == {"resolve", "review", "snooze", "assign"}
    listed = operator.client.get(reverse(LIST)).content.decode()
    assert "try_again_selected" not in listed
    assert "resolve_selected" in listed


# --- The page of a failure


def test_both_sides_stand_beside_each_other_and_what_differs_is_marked(calcom, phone, operator, ticket):
    phone().book(at(10))
    row = Appointment.objects.get()
    failure = ticket(SyncFailure.Type.STATUS_MISMATCH, uid=row.calcom_booking_uid, appointment=row)
    assert DIFFERS not in operator.open(failure)
    calcom.web_cancel(row.calcom_booking_uid, silent=True)
    page = operator.open(failure)
    assert "Fetched from Cal.com just now." in page
    assert re.search(r'class="differs"><th scope="row">Status</th><td>scheduled</td><td>cancelled</td>', page)
    assert page.count(DIFFERS) == 1
    assert f"{calcom.url}/booking/{row.calcom_booking_uid}" in page
    assert reverse("admin:calls_call_change", args=[row.call_id]) in page


def test_rows_that_a_failure_names_by_their_ids_are_a_click_away(calcom, phone, operator, salon, ticket):
    phone().book(at(10))
    phone().book(at(12))
    first, second = Appointment.objects.order_by("pk")
    Call.objects.update(appointment=None)
    audit_and_alert(company=salon, now=timezone.now())
    page = operator.open(SyncFailure.objects.get(subject="audit:appointment_without_backlink"))
    for row in (first, second):
        assert reverse("admin:booking_appointment_change", args=[row.pk]) in page
    details = {"other_appointment": first.pk}
    twin = ticket(SyncFailure.Type.DUPLICATE_BOOKING, uid="x", appointment=second, details=details)
    assert reverse("admin:booking_appointment_change", args=[first.pk]) in operator.open(twin)


def test_cal_com_that_cannot_be_asked_is_not_taken_for_a_missing_booking(calcom, phone, operator, ticket):
    phone().book(at(10))
    row = Appointment.objects.get()
    failure = ticket(uid=row.calcom_booking_uid, appointment=row)
    calcom.faults.outage()
    page = operator.open(failure)
    assert "what stands there is not known" in page
    assert "there is no such booking" not in page
    assert operator.buttons(failure) == {"try_again", "resolve", "review", "snooze", "assign"}
    calcom.faults.restore()
    calcom.erase(row.calcom_booking_uid)
    assert "there is no such booking" in operator.open(failure)


def test_a_cal_com_that_hangs_costs_a_few_seconds(calcom, phone, operator, ticket):
    phone().book(at(10))
    failure = ticket(uid=calcom.bookings[0].uid)
    calcom.faults.outage("timeout")
    began = timezone.now()
    assert "what stands there is not known" in operator.open(failure)
    assert timezone.now() - began < dt.timedelta(seconds=6)


def test_a_lost_encryption_key_locks_nobody_out(phone, operator, ticket, settings, calcom):
    phone().book(at(10))
    row = Appointment.objects.get()
    failure = ticket(uid=row.calcom_booking_uid, appointment=row)
    settings.FIELD_ENCRYPTION_KEY = "b3RoZXIga2V5LCB3aGljaCBvcGVucyBub3RoaW5nISE="
    assert "cannot be opened" in operator.open(failure)
    assert operator.press(failure, "assign") == ["Assigned to you. Changed: 1 sync failure."]


def test_the_timeline_tells_everything_in_order_and_names_nobody(
    calcom, phone, operator, run, announced, work, salon
):
    caller = phone()
    caller.book(at(10), customer_name="Rosalinde Quaas")
    work()
    Company.objects.update(heal_follow="off")
    row = Appointment.objects.get()
    calcom.web_cancel(row.calcom_booking_uid, silent=True)
    run()
    failure = SyncFailure.objects.get()
    operator.press(failure, "assign")
    page = operator.open(failure)
    told = page[page.index('<ol class="timeline">') : page.index("</ol>")]
    order = ["book_appointment → booked", "BOOKING_CREATED", "status differs", "triage.assign by a-operator"]
    places = [told.index(words) for words in order]
    assert places == sorted(places)
    assert "create succeeded" in told
    assert "Quaas" not in told
    assert caller.from_number not in told


def test_the_timeline_knows_every_delivery_whose_body_is_kept(calcom, operator, ticket, salon, settings):
    settings.WEBHOOK_BODY_DAYS = 90
    booking = calcom.web_book("open", start=at(10), silent=True)
    failure = ticket(uid=booking.uid)
    then = timezone.now() - dt.timedelta(days=60)
    SyncFailure.objects.update(detected_at=then)
    make.WebhookEventFactory(
        company=salon,
        provider="calcom",
        event_type="BOOKING_REQUESTED",
        body=f'{{"payload": {{"uid": "{booking.uid}"}}}}',
        received_at=then,
    )
    assert "BOOKING_REQUESTED" in operator.open(failure)


@pytest.mark.parametrize(("number", "is_said"), [(100, False), (101, True)])
def test_a_timeline_that_leaves_something_out_says_so(calcom, operator, ticket, salon, number, is_said):
    booking = calcom.web_book("open", start=at(10), silent=True)
    failure = ticket(uid=booking.uid)
    now = timezone.now()
    told = make.WebhookEventFactory.build_batch(
        number, company=salon, provider="calcom", event_type="BOOKING_PAID", body=booking.uid, received_at=now
    )
    WebhookEvent.objects.bulk_create(told)
    page = operator.open(failure)
    assert page.count("BOOKING_PAID: ") == 100
    assert ("Only the latest 100 are shown of the webhook events." in page) is is_said


def test_the_timeline_searches_what_cal_com_said_at_that_time_and_nothing_else(
    calcom, operator, ticket, salon
):
    """Retell's bodies hold whole transcripts: thousands of them take longer to search than anybody waits."""
    booking = calcom.web_book("open", start=at(10), silent=True)
    failure = ticket(uid=booking.uid)
    now = timezone.now()
    WebhookEvent.objects.bulk_create(
        make.WebhookEventFactory.build_batch(
            3000, company=salon, body="", received_at=now - dt.timedelta(days=60)
        )
    )
    for provider, event in (("retell", "call_analyzed"), ("calcom", "BOOKING_CREATED")):
        make.WebhookEventFactory(
            company=salon, provider=provider, event_type=event, body=booking.uid, received_at=now,
            webhook_id=f"{provider}:{event}:x",
        )  # fmt: skip
    with CaptureQueriesContext(connection) as captured:
        page = operator.open(failure)
    assert "BOOKING_CREATED" in page
    assert "call_analyzed" not in page
    [search] = [query["sql"] for query in captured if booking.uid in query["sql"] and "LIKE" in query["sql"]]
    if connection.vendor == "postgresql":
        with connection.cursor() as cursor:
            cursor.execute("ANALYZE webhook_events")  # a plan is made for the rows that are known of
            cursor.execute("EXPLAIN " + search)
            search = "\n".join(row[0] for row in cursor.fetchall())
        assert "webhook_received" in search, search
    # Which of two conditions is looked at first is for the database to say, but not here.
    assert re.search(r"CASE WHEN .*provider.* THEN .*body.* ELSE", search), search


def test_the_page_of_a_failure_takes_the_same_queries_however_much_happened(calcom, phone, operator, ticket):
    phone().book(at(10))
    row = Appointment.objects.get()
    failure = ticket(uid=row.calcom_booking_uid, appointment=row, call=row.call)

    def queries() -> int:
        with CaptureQueriesContext(connection) as captured:
            operator.open(failure)
        return len(captured)

    def happen(times: int) -> None:
        for number in range(times):
            make.FunctionCallFactory(call=row.call)
            make.BookingAttemptFactory(
                appointment=row, call=row.call, idempotency_key="x", kind="cancel", company=row.company
            )
            AuditEntry.objects.create(
                company=row.company, action="x", appointment=row, user=operator.user, failure=failure
            )
            SyncFailure.objects.create(
                company=row.company, appointment=row, subject=f"{number}", failure_type="call_desync",
                status="resolved", resolved_at=timezone.now(), resolved_by=operator.user,
            )  # fmt: skip
            make.CallbackRequestFactory(call=row.call, status="done", closed_by=operator.user)
            make.WebhookEventFactory(
                company=row.company, provider="calcom", body=row.calcom_booking_uid,
                received_at=timezone.now(), webhook_id=f"calcom:x:{number}-{times}",
            )  # fmt: skip

    happen(1)
    operator.open(failure)
    few = queries()
    SyncFailure.objects.filter(subject="0").delete()
    happen(15)
    assert queries() == few
    assert few <= 40


def test_the_inbox_takes_the_same_queries_at_any_length(operator, ticket):
    def queries() -> int:
        with CaptureQueriesContext(connection) as captured:
            assert operator.client.get(reverse(LIST)).status_code == 200
        return len(captured)

    ticket(uid="a")
    queries()
    few = queries()
    for number in range(30):
        ticket(uid=f"b{number}")
    SyncFailure.objects.update(assigned_to=operator.user)
    assert queries() == few
    assert few <= 14


def test_no_page_of_triage_holds_inline_script_or_style(calcom, phone, operator, ticket):
    phone().book(at(10))
    row = Appointment.objects.get()
    failure = ticket(uid=row.calcom_booking_uid, appointment=row, call=row.call)
    event = make.WebhookEventFactory(company=row.company)
    addresses = [
        reverse(LIST),
        reverse("admin:booking_syncfailure_change", args=[failure.pk]),
        triage_url(failure, "cancel"),
        triage_url(failure, "snooze"),
        triage_url(failure, "recreate"),
        f"{reverse('admin:booking_syncfailure_bulk', args=['resolve'])}?ids={failure.pk}",
        reverse("admin:calls_call_change", args=[row.call_id]),
        reverse("admin:calls_webhookevent_replay", args=[event.pk]),
    ]
    for address in addresses:
        page = operator.client.get(address).content.decode()
        assert not re.search(r"<script(?![^>]*\bsrc=)(?![^>]*application/json)", page), address
        assert not re.search(r"<style|\sstyle=|\son[a-z]+=", page), address
        for field in re.findall(r'<(?:textarea|select)[^>]* id="([^"]+)"', page):
            assert f'for="{field}"' in page, (address, field)


# --- Every button


def test_assign_and_snooze_and_review_and_resolve(calcom, operator, ticket):
    failure = ticket(uid="gone")
    assert operator.press(failure, "assign") == ["Assigned to you. Changed: 1 sync failure."]
    assert "assign" not in operator.buttons(failure)
    assert operator.press(failure, "review") == ["Marked as waiting for a person. Changed: 1 sync failure."]
    [said] = operator.press(failure, "snooze", hours=24)
    assert said.startswith("Snoozed until")
    failure.refresh_from_db()
    assert failure.snoozed_until - timezone.now() > dt.timedelta(hours=23)
    assert f"{failure.snoozed_until.astimezone(BERLIN):%Y-%m-%d %H:%M %Z}" in said
    assert operator.press(failure, "resolve") == ["Resolved. Changed: 1 sync failure."]
    failure.refresh_from_db()
    assert (failure.status, failure.resolved_by, failure.assigned_to) == (
        "resolved",
        operator.user,
        operator.user,
    )
    assert operator.buttons(failure) == set()
    assert "Resolved by a-operator: Because." in operator.open(failure)
    assert AuditEntry.objects.filter(user=operator.user, failure=failure).count() == 4


def test_a_reason_is_demanded_and_looking_changes_nothing(calcom, operator, ticket):
    failure = ticket(uid=calcom.web_book("open", start=at(10)).uid)
    for verb in ("resolve", "adopt", "cancel", "snooze", "review", "try_again"):
        assert operator.press(failure, verb, reason=" ") == []
    failure.refresh_from_db()
    assert failure.status == "pending"
    assert not AuditEntry.objects.exists()
    assert not calcom.requests("cancel")


def test_try_again(calcom, phone, operator, run, verdict):
    phone().book(at(10))
    Company.objects.update(heal_follow="off")
    calcom.web_cancel(Appointment.objects.get().calcom_booking_uid, silent=True)
    run()
    failure = SyncFailure.objects.get()
    assert "Our appointment follows it: status." in operator.preview(failure, "try_again")
    assert operator.press(failure, "try_again") == [
        "Our side was made equal to the booking. The failure is closed. "
        "Changed: 1 appointment, 1 sync failure."
    ]
    assert Appointment.objects.get().status == "cancelled"
    verdict()


def test_adopt(calcom, operator, ticket, verdict):
    booking = calcom.web_book("open", start=at(10))
    failure = ticket(uid=booking.uid)
    assert "A new appointment is made from the booking" in operator.preview(failure, "adopt")
    [said] = operator.press(failure, "adopt")
    assert said.endswith("The failure is closed. Changed: 1 appointment, 1 sync failure.")
    assert Appointment.objects.get().calcom_booking_uid == booking.uid
    verdict()


def test_link(calcom, phone, operator, ticket, verdict):
    phone().book(at(10))
    call, row = Call.objects.get(), Appointment.objects.get()
    Call.objects.update(appointment=None)
    failure = ticket(SyncFailure.Type.CALL_DESYNC, subject=f"call:{call.retell_call_id}", call=call)
    page = operator.preview(failure, "link")
    assert f'value="{row.pk}"' in page
    assert operator.press(failure, "link") == []  # nothing was chosen
    [said] = operator.press(failure, "link", appointment=row.pk)
    assert "Linked to appointment" in said
    assert Call.objects.get().appointment == row
    verdict()


@pytest.fixture
def vanished(calcom, phone, run):
    """The ticket about an appointment whose booking Cal.com has lost."""
    phone().book(at(10))
    calcom.erase(Appointment.objects.get().calcom_booking_uid)
    run()
    return SyncFailure.objects.get()


def test_book_again_at_cal_com(calcom, operator, vanished):
    failure = vanished
    page = operator.preview(failure, "recreate")
    assert "The guest gets an e-mail" in page
    assert not calcom.active_bookings()
    [said] = operator.press(failure, "recreate", page=page)
    [booking] = calcom.active_bookings()
    assert booking.uid in said
    assert Appointment.objects.get().calcom_booking_uid == booking.uid
    # The same page once more, as after the browser's "back".
    [said] = operator.press(failure, "recreate", page=page)
    assert "Nothing was done." in said
    assert len(calcom.active_bookings()) == 1


def test_cancel_at_cal_com(calcom, phone, operator, ticket, verdict):
    phone().book(at(10))
    row = Appointment.objects.get()
    failure = ticket(SyncFailure.Type.TIME_MISMATCH, uid=row.calcom_booking_uid, appointment=row)
    page = operator.preview(failure, "cancel")
    assert "The guest and the host get an e-mail" in page
    assert "Salon Mitte has cancelled this booking." in page
    [said] = operator.press(failure, "cancel", page=page)
    assert said.startswith("The booking is cancelled at Cal.com. The failure is closed.")
    booking = calcom.booking(row.calcom_booking_uid)
    assert (booking.status, booking.cancellation_reason) == (
        "cancelled",
        "Salon Mitte has cancelled this booking.",
    )
    verdict()


def test_the_message_to_the_guest_is_proposed_in_the_companys_language(calcom, phone, operator, ticket):
    Company.objects.update(language="de")
    phone().book(at(10))
    row = Appointment.objects.get()
    page = operator.preview(
        ticket(SyncFailure.Type.TIME_MISMATCH, uid=row.calcom_booking_uid, appointment=row), "cancel"
    )
    assert "Salon Mitte hat diesen Termin abgesagt." in page


def test_cancel_ours_only(operator, vanished):
    failure = vanished
    page = operator.preview(failure, "end")
    assert "nothing is changed there" in page
    assert "Nobody is told" in page
    [said] = operator.press(failure, "end", page=page)
    assert said.startswith("The appointment is cancelled here. The failure is closed.")
    assert Appointment.objects.get().status == "cancelled"


def test_nothing_was_booked_in_what_an_older_system_confirmed(calcom, salon, operator, run, verdict):
    """Some by a button, the rest of them at once; what stands at Cal.com is not among them."""
    stands = calcom.web_book("open", start=at(10))
    calls = [
        make.CallFactory(
            branch__company=salon, booking_confirmed=True, appointment_made=True, booking_details={"uid": uid}
        )
        for uid in ("gone-1", "gone-2", "gone-3", stands.uid)
    ]
    run()
    of = {failure.call_id: failure for failure in SyncFailure.objects.all()}
    first, *others = (of[call.pk] for call in calls)
    page = operator.preview(first, "take_back")
    assert "Cal.com knows no such booking" in page
    [said] = operator.press(first, "take_back", page=page)
    assert said.endswith("The failure is closed. Changed: 1 call, 1 sync failure.")
    assert bulk(operator, "take_back", others)[1] == [
        "Nothing was booked: 1 not possible in their state, 2 done. Changed: 2 calls, 2 sync failures."
    ]
    assert [call.pk for call in Call.objects.filter(booking_confirmed=True)] == [calls[-1].pk]


@pytest.mark.parametrize("verb", ["try_again", "adopt", "cancel", "resolve", "review", "snooze", "assign"])
def test_when_the_row_moved_on_meanwhile_it_says_so(calcom, operator, ticket, verb):
    booking = calcom.web_book("open", start=at(10))
    failure = ticket(uid=booking.uid)
    page = operator.preview(failure, verb)
    ticket(uid=booking.uid)
    [said] = operator.press(failure, verb, page=page)
    assert "has changed since you looked" in said
    assert "Nothing was done." in said
    failure.refresh_from_db()
    assert (failure.status, failure.assigned_to, failure.snoozed_until) == ("pending", None, None)
    assert calcom.booking(booking.uid).is_active
    assert not AuditEntry.objects.exists()


def test_when_the_booking_moved_on_meanwhile_it_says_so(calcom, operator, ticket):
    booking = calcom.web_book("open", start=at(10))
    failure = ticket(uid=booking.uid)
    page = operator.preview(failure, "cancel")
    calcom.web_reschedule(booking.uid, at(12))
    [said] = operator.press(failure, "cancel", page=page)
    assert "not any more what you were shown" in said
    assert not calcom.requests("cancel")


def test_of_two_that_one_person_had_the_last_is_not_cancelled_by_whoever_was_shown_both(
    calcom, phone, operator, run
):
    """One is booked on the web and unheard; the caller cancels it while ops look at the page."""
    caller = phone()
    calcom.web_book(
        "roundrobin_open", start=at(10), name="Anna Weber", email="anna@web.test", phone=caller.from_number
    )
    by_phone = caller.book(at(10), service="colour").uid
    run()
    failure = SyncFailure.objects.get(status="manual_review")
    page = operator.preview(failure, "cancel")
    assert "The other one" in page
    on_the_web = Appointment.objects.get(source="calcom")
    assert cancel(phone(), appointment=str(on_the_web.pk)).code == "cancelled"
    said = operator.press(failure, "cancel", page=page, message="Sorry.")
    assert "Nothing was done" in said[0]
    assert [booking.uid for booking in calcom.active_bookings()] == [by_phone]


def test_when_cal_com_went_away_meanwhile_nothing_is_done_and_it_says_so(calcom, operator, ticket):
    failure = ticket(uid=calcom.web_book("open", start=at(10)).uid)
    pages = {verb: operator.preview(failure, verb) for verb in ("cancel", "adopt", "try_again")}
    calcom.faults.outage()
    for verb in ("cancel", "adopt"):
        [said] = operator.press(failure, verb, page=pages[verb])
        assert said.startswith("Nothing was done: Cal.com could not be asked")
    assert not AuditEntry.objects.exists()
    [said] = operator.press(failure, "try_again", page=pages["try_again"])
    assert "could not be asked" in said
    assert said.endswith("No row was changed.")
    assert not calcom.requests("cancel")
    assert not Appointment.objects.exists()


def test_what_nobody_knows_has_no_page(operator):
    assert (
        operator.client.get(reverse("admin:booking_syncfailure_triage", args=[1, "resolve"])).status_code
        == 404
    )


def test_a_page_of_what_is_not_possible_has_no_form_and_says_why(calcom, operator, ticket):
    failure = ticket(uid="gone")
    page = operator.preview(failure, "cancel")
    assert "Cal.com shows no booking." in page
    assert not _Form(page).buttons


# --- Many at once


def bulk(desk: Desk, verb: str, failures_: list[SyncFailure], **typed: str) -> tuple[str, list[str]]:
    """Choose rows in the list and an action, then confirm: the page shown, and the messages."""
    chosen = {"action": f"{verb}_selected", "_selected_action": [failure.pk for failure in failures_]}
    page = desk.client.post(reverse(LIST), chosen, follow=True)
    assert page.status_code == 200
    shown = page.content.decode()
    sent = _Form(shown).fields | {"reason": "All of them."} | typed
    address = reverse("admin:booking_syncfailure_bulk", args=[verb])
    return shown, messages_of(desk.client.post(address, sent, follow=True))


def test_many_are_assigned_snoozed_reviewed_and_resolved_at_once(operator, ticket):
    rows = [ticket(uid=f"u{number}") for number in range(3)]
    other = ticket(uid="other")
    shown, said = bulk(operator, "assign", rows)
    assert "3 sync failures" in shown
    assert "More were selected" not in shown
    assert said == ["Assign to me: 3 done. Changed: 3 sync failures."]
    assert bulk(operator, "review", rows)[1] == ["Send to manual review: 3 done. Changed: 3 sync failures."]
    assert bulk(operator, "snooze", rows, hours="24")[1] == ["Snooze: 3 done. Changed: 3 sync failures."]
    # Snoozed ones are out of the list, so they are asked for by their page.
    SyncFailure.objects.update(snoozed_until=None)
    assert bulk(operator, "resolve", rows)[1] == ["Mark as resolved: 3 done. Changed: 3 sync failures."]
    other.refresh_from_db()
    assert (other.status, other.assigned_to) == ("pending", None)
    assert AuditEntry.objects.count() == 12


def test_of_many_those_that_moved_on_are_counted_and_left(operator, ticket):
    rows = [ticket(uid=f"u{number}") for number in range(3)]
    address = reverse("admin:booking_syncfailure_bulk", args=["resolve"])
    page = operator.client.get(f"{address}?ids={','.join(str(row.pk) for row in rows)}").content.decode()
    ticket(uid="u1")
    SyncFailure.objects.filter(pk=rows[2].pk).update(status="resolved")
    sent = _Form(page).fields | {"reason": "x"}
    assert messages_of(operator.client.post(address, sent, follow=True)) == [
        "Mark as resolved: 1 done, 2 had moved on meanwhile. Changed: 1 sync failure."
    ]
    assert SyncFailure.objects.get(pk=rows[1].pk).is_open


def test_of_many_those_that_cannot_be_done_are_counted_and_nothing_is_called_well(
    calcom, phone, operator, ticket
):
    mine, other = (ticket(uid=f"u{number}") for number in range(2))
    operator.press(mine, "assign")
    address = reverse("admin:booking_syncfailure_bulk", args=["assign"])
    shown = operator.client.get(f"{address}?ids={mine.pk},{other.pk}").content.decode()
    assert shown.count("left as it is") == 1
    said = "Assign to me: 1 not possible in their state, 1 done. Changed: 1 sync failure."
    assert bulk(operator, "assign", [mine, other])[1] == [said]
    both_stand = ticket(SyncFailure.Type.DUPLICATE_BOOKING, uid=phone().book(at(10)).uid)
    address = reverse("admin:booking_syncfailure_bulk", args=["try_again"])
    page = operator.client.get(f"{address}?ids={other.pk},{both_stand.pk}").content.decode()
    answer = operator.client.post(address, _Form(page).fields | {"reason": "x"}, follow=True)
    assert [(message.level_tag, str(message)) for message in answer.context["messages"]] == [
        ("warning", "Try again: 1 done, 1 tried, and still open. Changed: 1 sync failure.")
    ]


def test_of_more_than_can_be_done_at_once_the_person_is_told_so(operator, salon):
    rows = [
        SyncFailure(company=salon, failure_type="orphaned_calcom", subject=f"booking:u{number}")
        for number in range(201)
    ]
    first, *_others = SyncFailure.objects.bulk_create(rows)
    chosen = {"action": "resolve_selected", "_selected_action": [first.pk], "select_across": "1"}
    page = operator.client.post(reverse(LIST), chosen, follow=True)
    assert "These are the first 200." in messages_of(page)[0]
    sent = _Form(page.content.decode()).fields | {"reason": "All of them."}
    address = reverse("admin:booking_syncfailure_bulk", args=["resolve"])
    assert messages_of(operator.client.post(address, sent, follow=True))[-1].startswith(
        "Mark as resolved: 200 done."
    )
    assert SyncFailure.objects.filter(status="pending").count() == 1


def test_many_are_tried_again_at_once(calcom, phone, operator, run, verdict):
    for hour in (9, 10, 11):
        phone().book(at(hour))
    Company.objects.update(heal_follow="off")
    for booking in list(calcom.active_bookings()):
        calcom.web_cancel(booking.uid, silent=True)
    run()
    _shown, said = bulk(operator, "try_again", list(SyncFailure.objects.all()))
    assert said == ["Try again: 3 done. Changed: 3 appointments, 3 sync failures."]
    assert set(Appointment.objects.values_list("status", flat=True)) == {"cancelled"}
    verdict()


@pytest.mark.parametrize("verb", ["adopt", "cancel", "recreate", "link"])
def test_what_needs_a_look_at_each_is_not_done_to_many(operator, ticket, verb):
    ticket(uid="gone")
    assert f"{verb}_selected" not in operator.client.get(reverse(LIST)).content.decode()
    address = reverse("admin:booking_syncfailure_bulk", args=[verb])
    assert operator.client.post(address, {"reason": "x", "expected": ""}).status_code == 404


# --- The inbox


def inbox(desk: Desk, **query: Any) -> set[int]:
    response = desk.client.get(reverse(LIST), query)
    return {row.pk for row in response.context["cl"].result_list}


def test_snoozed_ones_are_hidden_and_owners_can_be_asked_for(operator, ticket):
    colleague = User.objects.create_user("colleague")
    mine, theirs, free, asleep, woken = (ticket(uid=f"u{number}") for number in range(5))
    SyncFailure.objects.filter(pk=mine.pk).update(assigned_to=operator.user)
    SyncFailure.objects.filter(pk=theirs.pk).update(assigned_to=colleague)
    now = timezone.now()
    SyncFailure.objects.filter(pk=asleep.pk).update(snoozed_until=now + dt.timedelta(hours=1))
    SyncFailure.objects.filter(pk=woken.pk).update(snoozed_until=now - dt.timedelta(hours=1))
    assert inbox(operator) == {mine.pk, theirs.pk, free.pk, woken.pk}
    assert inbox(operator, snoozed="only") == {asleep.pk}
    assert inbox(operator, snoozed="too") == set(SyncFailure.objects.values_list("pk", flat=True))
    assert inbox(operator, owner="mine") == {mine.pk}
    assert inbox(operator, owner="others") == {theirs.pk}
    assert inbox(operator, owner="nobody") == {free.pk, woken.pk}
    counts = operator.client.get(reverse(LIST)).context["inbox_counts"]
    assert [count for _name, count, _url in counts] == [4, 0, 1, 2, 1]
    for _name, _count, url in counts:
        assert operator.client.get(url).status_code == 200


@pytest.mark.parametrize("term", ["+4915112345678", "0151 12345678", "uid", "call"])
def test_a_failure_is_found_by_what_a_person_has_in_hand(calcom, phone, operator, ticket, term):
    caller = phone()
    caller.book(at(10))
    row = Appointment.objects.get()
    uid = row.calcom_booking_uid
    wanted = ticket(SyncFailure.Type.CALL_DESYNC, subject=f"call:{caller.call_id}", call=row.call, uid=uid)
    ticket(uid="another")
    spelled = {"uid": uid, "call": caller.call_id}.get(term, term)
    assert inbox(operator, q=spelled) == {wanted.pk}


# --- Why is it not in the calendar?


def why(desk: Desk, call: Call) -> str:
    page = desk.client.get(reverse("admin:calls_call_change", args=[call.pk])).content.decode()
    found = re.search(r'<p class="verdict \w+">(.*?)</p>', page, re.DOTALL)
    assert found
    return found.group(1)


def test_the_page_of_a_call_says_why_it_is_or_is_not_in_the_calendar(
    calcom, phone, viewer, settle_later, settings
):
    settings.ANSWER_BUDGET_SECONDS = 1.5
    phone().book(at(10))
    assert "It is in the calendar" in why(viewer, Call.objects.latest("pk"))
    phone(from_number="+4915112345679").book(at(10))
    assert "Cal.com refused it" in why(viewer, Call.objects.latest("pk"))
    assert "slot_taken" in why(viewer, Call.objects.latest("pk"))
    phone().ask("list_services")
    assert "never asked for it" in why(viewer, Call.objects.latest("pk"))
    phone().book("not a time")
    assert "never got to Cal.com" in why(viewer, Call.objects.latest("pk"))
    calcom.faults.timeout_before_commit()
    phone().book(at(14))
    assert "not known yet" in why(viewer, Call.objects.latest("pk"))
    calcom.faults.clear()
    settle_later()
    assert "Cal.com never made it" in why(viewer, Call.objects.latest("pk"))
    assert "Open the sync failure" in why(viewer, Call.objects.latest("pk"))


def test_a_call_about_what_another_call_has_booked_says_where_that_is(calcom, phone, viewer):
    phone().book(at(10))
    assert phone().book(at(10)).code == "already_booked"
    assert "It is in the calendar: scheduled" in why(viewer, Call.objects.latest("pk"))
    assert move(phone(), at(14)).code == "rescheduled"
    assert "It is in the calendar: scheduled" in why(viewer, Call.objects.latest("pk"))
    caller = phone()
    assert move(caller, at(15)).code == "rescheduled"
    calcom.faults.refuse("User either already has booking at this time or is not available")
    assert caller.book(at(9), service="massage").code == "slot_taken"
    assert "Cal.com refused it" in why(viewer, Call.objects.latest("pk"))
    assert cancel(phone()).code == "cancelled"
    assert "its appointment is cancelled since" in why(viewer, Call.objects.latest("pk"))


def test_the_times_in_the_timeline_are_the_places_own_and_a_call_begins_before_it_asks(calcom, phone, viewer):
    phone().book(at(10))
    call = Call.objects.get()
    assert call.started_at is None
    page = viewer.client.get(reverse("admin:calls_call_change", args=[call.pk])).content.decode()
    told = page[page.index('<ol class="timeline">') : page.index("</ol>")]
    assert f"{at(10):%Y-%m-%d %H:%M %Z}, scheduled" in told
    assert " UTC" not in told.partition("<details>")[0]
    assert told.index("began") < told.index("book_appointment")


def test_the_timeline_shows_nobody_what_they_may_not_see(calcom, phone, salon):
    phone().book(at(10))
    clerk = User.objects.create_user("clerk", is_staff=True)
    clerk.user_permissions.add(Permission.objects.get(codename="view_call"))
    client = Client()
    client.force_login(clerk)
    page = client.get(reverse("admin:calls_call_change", args=[Call.objects.get().pk])).content.decode()
    assert "book_appointment" not in page
    assert "more than you may see" in page
    assert reverse("admin:booking_bookingattempt_change", args=[BookingAttempt.objects.get().pk]) not in page


# --- Deliveries


def select(desk: Desk, events: list[WebhookEvent], *, across: bool = False, **query: str) -> Any:
    chosen = {
        "action": "replay_selected",
        "_selected_action": [event.pk for event in events],
        "select_across": "1" if across else "0",
        "index": "0",
    }
    address = reverse("admin:calls_webhookevent_changelist", query=query or None)
    return address, desk.client.post(address, chosen)


def test_a_delivery_is_worked_again_with_a_reason(operator, salon, work):
    event = make.WebhookEventFactory(company=salon, status="dead", attempts=12, body='{"event": "x"}')
    address = reverse("admin:calls_webhookevent_replay", args=[event.pk])
    assert address in operator.client.get(page_of(event)).content.decode()
    page = operator.client.get(address).content.decode()
    assert "1 delivery is worked again" in page
    event.refresh_from_db()
    assert event.status == "dead"
    sent = _Form(page).fields | {"reason": "Fixed."}
    assert messages_of(operator.client.post(address, sent, follow=True)) == ["1 delivery is worked again."]
    event.refresh_from_db()
    assert (event.status, event.attempts) == ("received", 0)
    entry = AuditEntry.objects.get()
    assert (entry.action, entry.user, entry.reason) == ("replay", operator.user, "Fixed.")
    assert entry.details == {"deliveries": 1, "purged": 0, "last": event.pk}
    work()
    event.refresh_from_db()
    assert event.status != "received"


def test_what_is_purged_or_unknown_cannot_be_worked_again_by_itself(operator, salon):
    purged = make.WebhookEventFactory(company=salon, status="dead", body="")
    address = reverse("admin:calls_webhookevent_replay", args=[purged.pk])
    assert address not in operator.client.get(page_of(purged)).content.decode()
    purged.delete()
    assert operator.client.get(address).status_code == 404


def test_everything_a_filter_shows_is_worked_again_but_what_is_purged(operator, salon):
    dead = make.WebhookEventFactory.create_batch(3, company=salon, status="dead")
    purged = make.WebhookEventFactory(company=salon, status="dead", body="")
    done = make.WebhookEventFactory(company=salon, status="processed")
    address, shown = select(operator, dead[:1], across=True, status__exact="dead")
    page = shown.content.decode()
    assert "3 deliveries are worked again" in page
    assert "1 is left out: its body has been purged" in page
    assert set(WebhookEvent.objects.values_list("status", flat=True)) == {"dead", "processed"}
    late = make.WebhookEventFactory(company=salon, status="dead")  # not what the person was shown
    sent = _Form(page).fields | {"reason": "Fixed."}
    assert messages_of(operator.client.post(address, sent, follow=True)) == ["3 deliveries are worked again."]
    statuses = dict(WebhookEvent.objects.values_list("pk", "status"))
    assert [statuses[event.pk] for event in dead] == ["received"] * 3
    assert (statuses[purged.pk], statuses[done.pk], statuses[late.pk]) == ("dead", "processed", "dead")
    assert AuditEntry.objects.get().details["purged"] == 1


def test_a_selection_that_changed_since_it_was_shown_is_left_alone(operator, salon):
    events = make.WebhookEventFactory.create_batch(2, company=salon, status="dead")
    address, shown = select(operator, events)
    sent: dict[str, Any] = {**_Form(shown.content.decode()).fields, "reason": "Fixed."}
    sent["_selected_action"] = [event.pk for event in events]
    deliveries.purge(before=timezone.now() + dt.timedelta(days=99), limit=1)
    [said] = messages_of(operator.client.post(address, sent, follow=True))
    assert "Nothing was done." in said
    assert not AuditEntry.objects.exists()
    assert not WebhookEvent.objects.filter(status="received").exists()


def test_a_viewer_cannot_have_anything_worked_again(viewer, salon):
    event = make.WebhookEventFactory(company=salon, status="dead")
    address = reverse("admin:calls_webhookevent_replay", args=[event.pk])
    assert viewer.client.get(address).status_code == 403
    assert viewer.client.post(address, {"reason": "x"}).status_code == 403
    select(viewer, [event])
    event.refresh_from_db()
    assert event.status == "dead"
    page = viewer.client.get(reverse("admin:calls_webhookevent_change", args=[event.pk])).content.decode()
    assert address not in page


# --- Lists that are only read


def test_the_history_of_a_failure_is_what_was_done_with_it(calcom, viewer, operator, ticket):
    failure, other = (ticket(uid=calcom.web_book("open", start=at(hour)).uid) for hour in (10, 11))
    for each in (failure, other):
        operator.press(each, "snooze")
    operator.press(failure, "review")
    page = viewer.open(failure)
    [history] = re.findall(r'href="([^"]+)" class="historylink"', page)
    shown = viewer.client.get(history, follow=True).context["cl"].result_list
    assert {entry.action for entry in shown} == {"triage.snooze", "triage.review"}
    assert {entry.failure_id for entry in shown} == {failure.pk}
    for odd in ("9" * 30, "x"):
        assert viewer.client.get(f"/admin/booking/syncfailure/{odd}/history/").status_code in (302, 404)


def test_runs_entries_and_refused_deliveries_can_be_read_and_not_changed(viewer, salon):
    run = ReconciliationRun.objects.create(company=salon, scope="full")
    entry = AuditEntry.objects.create(company=salon, action="heal.adopt", user=viewer.user)
    refused = make.RefusedDeliveryFactory(company=salon)
    for row in (run, entry, refused):
        label = row._meta.label_lower.replace(".", "_")
        page = reverse(f"admin:{label}_change", args=[row.pk])
        listed = viewer.client.get(reverse(f"admin:{label}_changelist"))
        assert page in listed.content.decode()
        assert viewer.client.get(page).status_code == 200
        assert viewer.client.post(page, {"reason": "x"}).status_code == 403
        assert viewer.client.post(reverse(f"admin:{label}_delete", args=[row.pk])).status_code == 403


def test_whoever_decided_something_is_switched_off_and_never_deleted(admin_client, operator, ticket):
    row = ticket()
    SyncFailure.objects.filter(pk=row.pk).update(resolved_by=operator.user)
    assert admin_client.get(reverse("admin:auth_user_change", args=[operator.user.pk])).status_code == 200
    deletes = {"action": "delete_selected", "_selected_action": [operator.user.pk], "post": "yes"}
    admin_client.post(reverse("admin:auth_user_changelist"), deletes)
    page = reverse("admin:auth_user_delete", args=[operator.user.pk])
    assert admin_client.post(page, {"post": "yes"}).status_code == 403
    row.refresh_from_db()
    assert row.resolved_by == operator.user

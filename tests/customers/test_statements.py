"""What is compiled once must do what the ORM does: the same rows found, stored and changed."""

from __future__ import annotations

import threading
import uuid
from collections.abc import Mapping
from concurrent.futures import ThreadPoolExecutor
from datetime import UTC, datetime, timedelta
from typing import Any

import pytest
from django.core.exceptions import FieldError
from django.db import IntegrityError, OperationalError, connection, connections, transaction
from django.db.models import Q
from django.forms.models import model_to_dict
from django.test.utils import CaptureQueriesContext
from django.utils import timezone

from booking.models import LIVE_STATUSES, Appointment, BookingAttempt, SyncFailure
from calls.models import Call, FunctionCall
from customers import statements
from customers.models import Company, Customer
from customers.statements import Given, Select
from tests import factories

pytestmark = pytest.mark.django_db(transaction=True)

NOW = datetime(2026, 3, 29, 1, 30, 15, 123456, tzinfo=UTC)


def stored(row: FunctionCall) -> Mapping[str, object]:
    """Every column, as the ORM reads it."""
    return FunctionCall.objects.values().get(pk=row.pk)


# --- Select


def test_a_select_finds_what_its_queryset_finds():
    company = factories.CompanyFactory()
    factories.CompanyFactory()
    select = Select(lambda: Company.objects.filter(endpoint_id=Given("endpoint_id"), is_active=True))

    found = select.first(endpoint_id=company.endpoint_id)

    assert found == company
    assert found is not None
    assert model_to_dict(found) == model_to_dict(Company.objects.get(pk=company.pk))
    assert select.first(endpoint_id=uuid.uuid4()) is None


def test_a_select_is_the_statement_that_django_would_send():
    select = Select(
        lambda: (
            Appointment.objects.filter(
                Q(customer=Given("customer")) | Q(call=Given("call")),
                starts_at__gte=Given("earliest", of="starts_at"),
                status__in=LIVE_STATUSES,
            )
            .select_related("service")
            .order_by("starts_at")
        )
    )
    with CaptureQueriesContext(connection) as ours:
        select.all(customer=7, call=8, earliest=NOW)
    with CaptureQueriesContext(connection) as theirs:
        list(
            Appointment.objects.filter(
                Q(customer=7) | Q(call=8), starts_at__gte=NOW, status__in=LIVE_STATUSES
            )
            .select_related("service")
            .order_by("starts_at")
        )
    # Django puts a value that might be an expression into parentheses.
    bare = str.maketrans("", "", "()")
    assert ours[0]["sql"].translate(bare) == theirs[0]["sql"].translate(bare)


def test_a_select_converts_what_it_is_given_and_what_it_finds():
    appointment = factories.AppointmentFactory(starts_at=NOW, ends_at=NOW + timedelta(hours=1))
    appointment.metadata = {"ä": [1, None, "two"]}
    appointment.save()
    select = Select(
        lambda: Appointment.objects.filter(starts_at=Given("starts_at"), company=Given("company"))
    )

    found = select.all(starts_at=NOW, company=appointment.company_id)

    assert found == [appointment]
    assert found[0].starts_at == NOW
    assert found[0].metadata == {"ä": [1, None, "two"]}
    assert select.all(starts_at=NOW + timedelta(microseconds=1), company=appointment.company_id) == []


def test_a_select_loads_related_rows_and_leaves_out_what_is_deferred():
    call = factories.CallFactory(branch=factories.BranchFactory(), transcript="a long story")
    select = Select(
        lambda: (
            Call.objects.filter(retell_call_id=Given("call_id", of="retell_call_id"))
            .select_related("branch")
            .defer("transcript")
        )
    )
    with CaptureQueriesContext(connection) as queries:
        found = select.first(call_id=call.retell_call_id)
        assert found is not None
        assert found.branch == call.branch
    assert len(queries) == 1
    assert found.get_deferred_fields() == {"transcript"}


def test_a_missing_related_row_is_none():
    call = factories.CallFactory()
    Call.objects.update(branch=None)
    select = Select(lambda: Call.objects.filter(pk=Given("id")).select_related("branch"))
    found = select.first(id=call.pk)
    assert found is not None
    assert found.branch is None


def test_a_select_reaches_across_a_relation():
    number = factories.PhoneNumberFactory()
    select = Select(
        lambda: type(number).objects.filter(branch__company=Given("company", of="branch__company"))
    )
    assert select.all(company=number.branch.company_id) == [number]
    assert not select.exists(company=number.branch.company_id + 1)
    assert select.exists(company=number.branch.company_id)


def test_threads_share_one_compiled_select_and_each_uses_its_own_connection():
    customers = [factories.CustomerFactory() for _ in range(8)]
    select = Select(lambda: Customer.objects.filter(pk=Given("id")))

    def find(customer: Customer) -> Customer | None:
        try:
            return select.first(id=customer.pk)
        finally:
            connection.close()

    with ThreadPoolExecutor(8) as pool:
        assert list(pool.map(find, customers)) == customers


def test_selects_can_be_compiled_before_anybody_waits_for_them():
    customer = factories.CustomerFactory()
    built = []

    def build():
        built.append(1)
        return Customer.objects.filter(pk=Given("id"))

    select = Select(build)
    statements.compile_all()
    assert built == [1]
    assert select.first(id=customer.pk) == customer
    assert built == [1]


# --- insert


@pytest.mark.parametrize("may_be_lost", [False, True])
def test_an_inserted_row_is_the_one_the_orm_stores(may_be_lost):
    call = factories.CallFactory()

    def row(key: str) -> FunctionCall:
        return FunctionCall(
            company_id=call.company_id,
            call=call,
            name="book_appointment",
            arguments={"start": "2026-03-29T03:30", "none": None},
            request_key=key,
            answer={"say": "Für Sie gebucht.", "at": [1, 2.5]},
            code="booked",
            duration_ms=12,
            created_at=NOW,
            answered_at=NOW,
        )

    ours, theirs = row("ours"), row("theirs")
    assert statements.insert(ours, may_be_lost=may_be_lost)
    theirs.save()

    left_out = {"id", "request_key"}
    assert {k: v for k, v in stored(ours).items() if k not in left_out} == {
        k: v for k, v in stored(theirs).items() if k not in left_out
    }
    assert ours.pk == theirs.pk - 1
    ours.code = "changed"
    ours.save()  # an update: the row knows that it is stored
    assert FunctionCall.objects.get(pk=ours.pk).code == "changed"


def test_an_insert_sets_the_times_that_django_sets():
    attempt = factories.BookingAttemptFactory()
    fresh = BookingAttempt(
        company=attempt.company,
        appointment=attempt.appointment,
        idempotency_key="k",
        lease_expires_at=NOW,
        request={"a": 1},
    )
    statements.insert(fresh)
    fresh.refresh_from_db()
    assert fresh.updated_at is not None
    assert fresh.created_at is not None
    assert fresh.state == BookingAttempt.State.CLAIMED


def test_a_secret_is_stored_encrypted():
    company = Company(slug="s", name="S", retell_api_key="key_clear")
    statements.insert(company)
    with connection.cursor() as cursor:
        cursor.execute("SELECT retell_api_key FROM companies WHERE id = %s", [company.pk])
        assert "key_clear" not in cursor.fetchone()[0]
    assert Company.objects.get(pk=company.pk).retell_api_key == "key_clear"


def test_a_secret_cannot_be_searched_for():
    """Two encryptions of one text differ: it would never be found."""
    with pytest.raises(FieldError):
        Company.objects.filter(retell_api_key="key_clear").exists()


def test_a_row_that_is_there_is_left_alone_or_refused():
    there = factories.CallFactory()

    def again() -> Call:
        return Call(company=there.company, retell_call_id=there.retell_call_id, agent_id="other")

    assert not statements.insert(again(), unless_there=True, may_be_lost=True)
    with pytest.raises(IntegrityError), transaction.atomic():
        statements.insert(again())
    assert Call.objects.get().agent_id == there.agent_id


@pytest.mark.parametrize("commits", ["inside", "outside"])
def test_what_may_not_be_lost_waits_for_the_disk(commits):
    """After, or around, an insert that may be lost."""

    def durability() -> object:
        with connection.cursor() as cursor:
            sqlite = connection.vendor == "sqlite"
            cursor.execute("PRAGMA synchronous" if sqlite else "SHOW synchronous_commit")
            return cursor.fetchone()[0]

    before = durability()
    company = factories.CompanyFactory()
    customer = Customer(company=company, phone="+4915112345678")
    if commits == "inside":
        with transaction.atomic():
            assert statements.insert(customer, may_be_lost=True)
            assert durability() == before
    else:
        assert statements.insert(customer, may_be_lost=True)
        assert statements.update(Customer, {"id": customer.pk}, may_be_lost=True, name="Anna") == 1
        assert Customer.objects.get().name == "Anna"
    assert durability() == before


# --- update


def test_an_update_changes_what_the_orm_changes():
    ours, theirs = factories.AppointmentFactory(), factories.AppointmentFactory()
    values: dict[str, Any] = {
        "status": Appointment.Status.SCHEDULED,
        "starts_at": NOW,
        "ends_at": NOW + timedelta(hours=1),
        "calcom_booking_id": 2**40,
        "calcom_booking_uid": None,
        "metadata": {"ä": [None, True]},
        "branch": None,
        "updated_at": NOW,
    }
    assert statements.update(Appointment, {"id": ours.pk}, **values) == 1
    assert Appointment.objects.filter(pk=theirs.pk).update(**values) == 1
    ours.refresh_from_db()
    theirs.refresh_from_db()
    for name in values:
        assert getattr(ours, name) == getattr(theirs, name)


def test_an_update_touches_only_rows_that_meet_every_condition():
    attempt = factories.BookingAttemptFactory(state=BookingAttempt.State.SUCCEEDED)
    open_states = (BookingAttempt.State.CLAIMED, BookingAttempt.State.UNKNOWN)
    assert statements.update(BookingAttempt, {"id": attempt.pk, "state": open_states}, told="no") == 0
    BookingAttempt.objects.update(state=BookingAttempt.State.UNKNOWN)
    assert statements.update(BookingAttempt, {"id": attempt.pk + 1, "state": open_states}, told="no") == 0
    assert statements.update(BookingAttempt, {"id": attempt.pk, "state": open_states}, told="yes") == 1
    attempt.refresh_from_db()
    assert attempt.told == "yes"


def test_an_update_takes_rows_for_their_ids():
    call, appointment = factories.CallFactory(), factories.AppointmentFactory()
    assert statements.update(Call, {"id": call.pk}, appointment=appointment) == 1
    assert statements.update(SyncFailure, {"company": call.company, "subject": ("a", "b")}, subject="c") == 0
    call.refresh_from_db()
    assert call.appointment_id == appointment.pk


def test_one_of_none_is_nobody():
    factories.CompanyFactory()
    assert statements.update(Company, {"slug": ()}, name="Nobody") == 0


# --- Two rows, and several changes


def new_claim() -> tuple[Appointment, BookingAttempt]:
    template = factories.BookingAttemptFactory()
    appointment = template.appointment
    BookingAttempt.objects.all().delete()
    Appointment.objects.all().delete()
    appointment.pk = template.pk = None
    template.appointment = None
    return appointment, template


def test_two_rows_are_stored_as_the_orm_stores_them():
    appointment, attempt = new_claim()
    statements.insert_both(appointment, attempt, link="appointment")

    assert BookingAttempt.objects.select_related("appointment").get() == attempt
    assert Appointment.objects.get() == appointment
    assert attempt.appointment == appointment
    assert attempt.appointment_id == appointment.pk
    for row, stored_row in (
        (appointment, Appointment.objects.get()),
        (attempt, BookingAttempt.objects.get()),
    ):
        assert model_to_dict(row) == model_to_dict(stored_row)
    appointment.save()  # it knows that it is stored
    assert Appointment.objects.count() == 1


@pytest.mark.parametrize("at_fault", ["parent", "child"])
def test_of_two_rows_both_are_stored_or_none(at_fault):
    other = factories.BookingAttemptFactory(write_lock="held")
    Appointment.objects.filter(pk=other.appointment_id).update(calcom_booking_uid="bk_1")
    appointment = Appointment.objects.get()
    appointment.pk, appointment.idempotency_key = None, str(uuid.uuid4())
    appointment.calcom_booking_uid = "bk_1" if at_fault == "parent" else "bk_2"
    attempt = BookingAttempt.objects.get()
    attempt.pk, attempt.uuid = None, uuid.uuid4()
    attempt.write_lock = "held" if at_fault == "child" else None

    with pytest.raises(IntegrityError):
        statements.insert_both(appointment, attempt, link="appointment")

    assert Appointment.objects.count() == 1
    assert BookingAttempt.objects.count() == 1


@pytest.mark.parametrize("missing", [None, 0, 1])
def test_of_several_changes_all_are_made_or_none(missing):
    attempt = factories.BookingAttemptFactory()
    appointment = attempt.appointment
    call = factories.CallFactory(company=attempt.company)
    deciding = [
        statements.Update(BookingAttempt, {"id": 0 if missing == 0 else attempt.pk}, {"told": "yes"}),
        statements.Update(Appointment, {"id": 0 if missing == 1 else appointment.pk}, {"notes": "new"}),
    ]
    following = [
        statements.Update(Company, {"slug": ()}, {"name": "Nobody"}),
        statements.Update(SyncFailure, {"company": attempt.company, "subject": ("a", "b")}, {"subject": "c"}),
        statements.Update(Call, {"id": call.pk}, {"appointment_made": True}),
    ]

    assert statements.update_all_or_none(deciding, following) == (missing is None)

    for row in (attempt, appointment, call):
        row.refresh_from_db()
    assert attempt.told == ("yes" if missing is None else "")
    assert appointment.notes == ("new" if missing is None else "")
    assert call.appointment_made == (missing is None)


def test_a_deciding_change_of_none_decides_against_the_others():
    call = factories.CallFactory()
    nobody = statements.Update(Company, {"slug": ()}, {"name": "Nobody"})
    made = statements.Update(Call, {"id": call.pk}, {"appointment_made": True})
    assert not statements.update_all_or_none([nobody], [made])
    call.refresh_from_db()
    assert not call.appointment_made


def test_a_change_that_is_refused_takes_the_others_back():
    attempt = factories.BookingAttemptFactory()
    factories.AppointmentFactory(company=attempt.company, calcom_booking_uid="bk_1")
    deciding = [
        statements.Update(BookingAttempt, {"id": attempt.pk}, {"told": "yes"}),
        statements.Update(Appointment, {"id": attempt.appointment_id}, {"calcom_booking_uid": "bk_1"}),
    ]
    with pytest.raises(IntegrityError):
        statements.update_all_or_none(deciding, [])
    attempt.refresh_from_db()
    assert attempt.told == ""


@pytest.mark.skipif(connection.vendor == "sqlite", reason="SQLite has one writer at a time")
@pytest.mark.parametrize("still_right", [True, False])
@pytest.mark.parametrize("table", [BookingAttempt, Appointment, Call])
def test_changes_wait_for_whoever_holds_a_row_and_see_what_became_of_it(table, still_right):
    attempt = factories.BookingAttemptFactory()
    call = factories.CallFactory(company=attempt.company)
    row = {BookingAttempt: attempt, Appointment: attempt.appointment, Call: call}[table]
    column, value = {
        BookingAttempt: ("told", "asked"),
        Appointment: ("notes", "old"),
        Call: ("agent_id", "other"),
    }[table]
    is_held, may_end = threading.Event(), threading.Event()

    def hold() -> None:
        try:
            with transaction.atomic():
                # The same column that is compared, or another one.
                values = {column: value} if not still_right else {"updated_at": timezone.now()}
                table.objects.filter(pk=row.pk).update(**values)
                is_held.set()
                may_end.wait(5)
        finally:
            connections.close_all()

    holder = threading.Thread(target=hold)
    holder.start()
    assert is_held.wait(5)
    threading.Timer(0.3, may_end.set).start()

    made = statements.update_all_or_none(
        [
            statements.Update(BookingAttempt, {"id": attempt.pk, "told": ""}, {"looks": 7}),
            statements.Update(
                Appointment, {"id": attempt.appointment_id, "notes": ""}, {"metadata": {"a": 1}}
            ),
        ],
        [statements.Update(Call, {"id": call.pk}, {"summary": "new"})],
    )

    holder.join()
    assert made == (still_right or table is Call)
    attempt.refresh_from_db()
    call.refresh_from_db()
    appointment = Appointment.objects.get(pk=attempt.appointment_id)
    assert (attempt.looks, appointment.metadata, call.summary) == (
        (7, {"a": 1}, "new") if made else (0, {}, "")
    )


# --- With and without a listener


def test_a_statement_says_the_same_whether_or_not_somebody_listens():
    company = factories.CompanyFactory()
    select = Select(lambda: Company.objects.filter(endpoint_id=Given("endpoint_id")))
    unheard = select.first(endpoint_id=company.endpoint_id)
    with CaptureQueriesContext(connection) as heard_by:
        heard = select.first(endpoint_id=company.endpoint_id)
    assert len(heard_by) == 1
    assert unheard is not None
    assert heard is not None
    assert model_to_dict(unheard) == model_to_dict(heard) == model_to_dict(company)


def test_a_broken_transaction_runs_nothing_more():
    company = factories.CompanyFactory()
    select = Select(lambda: Company.objects.filter(endpoint_id=Given("endpoint_id")))
    with transaction.atomic():
        transaction.set_rollback(True)
        with pytest.raises(transaction.TransactionManagementError):
            select.first(endpoint_id=company.endpoint_id)


def test_a_database_that_hangs_up_is_an_error_of_djangos():
    select = Select(lambda: Company.objects.filter(endpoint_id=Given("endpoint_id")))
    if connection.vendor != "postgresql":
        pytest.skip("there is nobody to hang up")
    with connection.cursor() as cursor:
        cursor.execute("SELECT pg_backend_pid()")
        (process,) = cursor.fetchone()
    other = connection.copy()
    with other.cursor() as cursor:
        cursor.execute("SELECT pg_terminate_backend(%s)", [process])
    other.close()
    with pytest.raises(OperationalError):
        select.first(endpoint_id=uuid.uuid4())
    connection.close()
    assert select.first(endpoint_id=uuid.uuid4()) is None

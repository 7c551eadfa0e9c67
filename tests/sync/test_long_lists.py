"""Thousands of values in one statement: what PostgreSQL makes of them, and how it plans for them."""

import pytest
from django.db import connection, transaction

from customers.models import Customer
from sync.long_lists import any_of, array, join_by_hash, read_by_index
from tests.factories import CustomerFactory

pytestmark = pytest.mark.django_db(transaction=True)


@pytest.fixture
def postgresql():
    if connection.vendor != "postgresql":
        pytest.skip("SQLite has neither arrays nor a planner to be told")


def answer(sql, *parameters):
    with connection.cursor() as cursor:
        cursor.execute(sql, parameters)
        return cursor.fetchone()[0]


@pytest.mark.parametrize(
    "texts",
    [
        ["uid1", "uid2"],
        ['say "yes"', "back\\slash", '\\"', "\\"],
        ["a,b", "{c}", "", " ", "NULL", "null"],
        ["Jürgen", "李", "line\nbreak", "'"],
        ["plain", 'the only "one"'],
        [],
    ],
)
def test_texts_arrive_as_they_are(postgresql, texts):
    assert answer("SELECT %s::text[]", array(texts)) == texts


@pytest.mark.parametrize("numbers", [[1, 2, 2**62], [-7], []])
def test_numbers_arrive_as_they_are(postgresql, numbers):
    assert answer("SELECT %s::bigint[]", array(numbers)) == numbers


def test_a_column_is_one_of_the_values_or_not():
    first, second, _ = CustomerFactory.create_batch(3)
    with read_by_index():
        found = Customer.objects.filter(any_of(Customer, "id", {first.pk, second.pk, 10**9}))
        assert set(found) == {first, second}
        assert not Customer.objects.filter(any_of(Customer, "id", set())).exists()


def test_reading_is_planned_for_each_list_and_nothing_of_it_stays(postgresql):
    def plans():
        return [answer(f"SHOW {name}") for name in ("plan_cache_mode", "enable_seqscan", "enable_nestloop")]

    before = plans()
    with read_by_index():
        assert plans() == ["force_custom_plan", "off", "off"]
    assert plans() == before == ["auto", "on", "on"]


def test_a_long_list_is_looked_up_by_index_however_often(postgresql):
    """A plan for any list, made after five rounds, may compare each row with each value."""
    for round_ in range(12):
        wanted = [f"uid{round_}_{number}" for number in range(5_000)]
        with read_by_index():
            # What is prepared by name is planned by the same rules as what the driver prepares.
            rows = plan_of("SELECT id FROM appointments WHERE calcom_booking_uid = ANY($1)", wanted)
        assert "Index" in rows
        assert "Seq Scan" not in rows
        assert "$1" not in rows, "planned without knowing the list"


def plan_of(sql, values):
    with connection.cursor() as cursor:
        cursor.execute("SELECT 1 FROM pg_prepared_statements WHERE name = 'looked_up'")
        if cursor.fetchone() is None:
            cursor.execute(f"PREPARE looked_up (text[]) AS {sql}")
        cursor.execute(f"EXPLAIN EXECUTE looked_up ('{array(values)}')")
        return "\n".join(row[0] for row in cursor.fetchall())


def test_for_writing_foreign_keys_are_checked_by_the_plans_that_are_there(postgresql):
    with transaction.atomic():
        join_by_hash()
        assert answer("SHOW plan_cache_mode") == "auto"
        assert answer("SHOW enable_nestloop") == "off"

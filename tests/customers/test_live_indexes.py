"""An index is made and dropped while calls are written to its table."""

from __future__ import annotations

import threading
import time

import pytest
from django.core.management import call_command
from django.db import connection, transaction

from calls.models import Call
from tests import factories

pytestmark = [pytest.mark.django_db(transaction=True), pytest.mark.usefixtures("migrated_again")]

BEFORE, AFTER = "0004_fewer_indexes", "0005_lost_calls_in_order"


def indexes() -> set[str]:
    with connection.cursor() as cursor:
        found = connection.introspection.get_constraints(cursor, Call._meta.db_table)
    return {name for name in found if name.startswith("call_confirmed")}


@pytest.fixture
def migrated_again():
    yield
    call_command("migrate", verbosity=0)


def test_an_index_is_made_and_dropped_again():
    assert indexes() == {"call_confirmed_lost"}
    call_command("migrate", "calls", BEFORE, verbosity=0)
    assert indexes() == {"call_confirmed_unlinked"}
    call_command("migrate", "calls", AFTER, verbosity=0)
    assert indexes() == {"call_confirmed_lost"}


def test_it_waits_for_who_writes_and_begins_anew_what_was_broken_off():
    if connection.vendor == "sqlite":
        pytest.skip("whoever writes is alone")
    call = factories.CallFactory()
    call_command("migrate", "calls", BEFORE, verbosity=0)
    with connection.cursor() as cursor:
        cursor.execute("CREATE INDEX call_confirmed_lost ON calls (id)")
        cursor.execute("SET lock_timeout = '100ms'")
    writes, wrote = threading.Event(), []

    def write() -> None:
        with transaction.atomic():
            Call.objects.filter(pk=call.pk).update(summary="first")
            writes.set()
            time.sleep(0.6)
        # The index is being made by now, and stops nobody.
        wrote.append(Call.objects.filter(pk=call.pk).update(summary="second"))
        connection.close()

    thread = threading.Thread(target=write)
    thread.start()
    assert writes.wait(5)
    call_command("migrate", "calls", AFTER, verbosity=0)
    thread.join()
    assert wrote == [1]
    assert indexes() == {"call_confirmed_lost"}
    with connection.cursor() as cursor:
        cursor.execute("SELECT pg_get_indexdef('call_confirmed_lost'::regclass)")
        assert "(company_id, id) WHERE" in cursor.fetchone()[0]
    connection.close()  # and with it what was set

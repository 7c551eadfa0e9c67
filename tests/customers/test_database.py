"""A commit that need not wait for the disk is for what is done again; nothing else may be infected by it."""

from __future__ import annotations

import pytest
from django.db import connection, transaction
from django.test.utils import CaptureQueriesContext
from django.utils import timezone

from calls import call_events, deliveries
from calls.models import WebhookEvent
from customers.database import transaction_that_may_be_lost
from customers.models import Company
from tests import factories

pytestmark = pytest.mark.django_db(transaction=True)


@pytest.fixture(autouse=True)
def _durable():
    """The server of the tests waits for no disk by itself."""
    if connection.vendor == "postgresql":
        with connection.cursor() as cursor:
            cursor.execute("SET synchronous_commit TO on")
    yield
    connection.close()


def waits_for_the_disk() -> bool:
    with connection.cursor() as cursor:
        cursor.execute("PRAGMA synchronous" if connection.vendor == "sqlite" else "SHOW synchronous_commit")
        (answer,) = cursor.fetchone()
    return answer in (2, "on")


def store_and_fail() -> None:
    factories.CompanyFactory()
    raise LookupError


def test_only_this_transaction_does_not_wait_for_the_disk():
    assert waits_for_the_disk()
    with transaction_that_may_be_lost():
        assert not waits_for_the_disk()
        factories.CompanyFactory()
    assert waits_for_the_disk()
    assert Company.objects.count() == 1


def test_it_is_undone_as_a_whole_and_waits_again_after_an_error():
    with pytest.raises(LookupError), transaction_that_may_be_lost():
        store_and_fail()
    assert waits_for_the_disk()
    assert not Company.objects.exists()


def test_inside_of_another_transaction_that_one_decides():
    with transaction.atomic():
        with transaction_that_may_be_lost():
            factories.CompanyFactory()
            assert waits_for_the_disk()
        with pytest.raises(LookupError), transaction_that_may_be_lost():
            store_and_fail()
    assert Company.objects.count() == 1


def test_what_a_worker_does_with_a_call_waits_for_no_disk():
    """Each commit that does holds up the callers' own."""
    event = factories.WebhookEventFactory(event_type="call_ended", body='{"call":{"call_id":"call_1"}}')
    for work in (lambda: deliveries.take_due(now=timezone.now()), lambda: call_events.work(event)):
        with CaptureQueriesContext(connection) as queries:
            work()
            event.refresh_from_db()
        assert [query for query in queries if "synchronous" in query["sql"]]
    assert event.status == WebhookEvent.Status.PROCESSED

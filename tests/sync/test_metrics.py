from __future__ import annotations

import pytest

from tests import factories

pytestmark = pytest.mark.django_db


@pytest.fixture(autouse=True)
def _token(settings):
    settings.METRICS_TOKEN = "metrics-token"


def read(client, token="metrics-token"):
    return client.get("/metrics", headers={"Authorization": f"Bearer {token}"})


def test_the_figures_of_every_company_are_read_from_the_tables(client):
    attempt = factories.BookingAttemptFactory(state="refused", refused_by="layer_1_freshness")
    slug = attempt.company.slug
    text = read(client).content.decode()
    assert f'slotkeeper_duplicates_refused_total{{company="{slug}",layer="layer_1_freshness"}} 1.0' in text
    assert f'slotkeeper_attempts_total{{company="{slug}",kind="create",state="refused"}} 1.0' in text


def test_the_number_of_queries_does_not_grow_with_the_rows(client, django_assert_num_queries):
    factories.BookingAttemptFactory.create_batch(5, state="refused", refused_by="layer_2_call")
    with django_assert_num_queries(7):
        read(client)


def test_without_the_token_there_is_nothing_to_read(client, settings):
    assert read(client, token="wrong").status_code == 401
    assert client.get("/metrics").status_code == 401
    settings.METRICS_TOKEN = ""
    assert read(client, token="").status_code == 404

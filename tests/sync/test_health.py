import datetime as dt

import pytest
from django.test import override_settings
from django.utils import timezone

from sync.models import BEAT_LEASE, Lease

READY = {"database": "ok", "cache": "ok", "broker": "ok", "beat": "ok"}


@pytest.fixture
def heartbeat(transactional_db) -> Lease:
    now = timezone.now()
    return Lease.objects.create(
        name=BEAT_LEASE,
        holder="h",
        acquired_at=now,
        renewed_at=now,
        expires_at=now + dt.timedelta(seconds=30),
    )


@pytest.mark.parametrize("path", ["/healthz", "/healthz/"])
def test_alive_answers_without_asking_the_database(client, path):
    # No `db` mark: pytest-django would fail the test at the first query.
    response = client.get(path)
    assert (response.status_code, response.content) == (200, b"ok\n")


@pytest.mark.parametrize("path", ["/readyz", "/readyz/"])
def test_ready_gives_a_verdict_each(client, heartbeat, path):
    response = client.get(path)
    assert response.status_code == 200
    assert response.json() == {"ready": True, "checks": READY}
    assert "no-cache" in response["Cache-Control"]


@pytest.mark.django_db(transaction=True)
def test_without_a_beat_it_is_not_ready(client):
    response = client.get("/readyz")
    assert response.status_code == 503
    assert response.json() == {"ready": False, "checks": READY | {"beat": "has never run"}}


def test_a_beat_that_fell_silent_makes_it_not_ready(client, heartbeat):
    Lease.objects.update(renewed_at=timezone.now() - dt.timedelta(seconds=95))
    response = client.get("/readyz")
    assert response.status_code == 503
    assert response.json()["checks"]["beat"].startswith("last heartbeat 9")


def test_a_heartbeat_of_tomorrow_makes_it_not_ready(client, heartbeat):
    Lease.objects.update(renewed_at=timezone.now() + dt.timedelta(days=1))
    response = client.get("/readyz")
    assert response.status_code == 503
    assert response.json()["checks"]["beat"].endswith("s in the future: a clock was wrong")


@override_settings(CELERY_BROKER_URL="redis://:hunter2@127.0.0.1:1/0")
def test_an_unreachable_broker_makes_it_not_ready_and_tells_no_address(client, heartbeat):
    response = client.get("/readyz")
    assert response.status_code == 503
    assert response.json()["checks"] == READY | {"broker": "unreachable"}
    assert b"hunter2" not in response.content


@override_settings(
    CACHES={
        "default": {
            "BACKEND": "django_redis.cache.RedisCache",
            "LOCATION": "redis://127.0.0.1:1/1",
            "OPTIONS": {"IGNORE_EXCEPTIONS": True},
        }
    }
)
def test_a_cache_that_forgets_makes_it_not_ready(client, heartbeat):
    response = client.get("/readyz")
    assert response.status_code == 503
    assert response.json()["checks"] == READY | {"cache": "what was written could not be read back"}

import datetime as dt
import threading
from contextlib import closing
from pathlib import Path

import psycopg
import pytest
from django.db import connection
from django.test import override_settings
from django.utils import timezone

from sync import embedded_valkey
from sync.models import BEAT_LEASE, Lease
from sync.process_tree import ProcessTree
from tests.servers.postgres import free_port
from tests.servers.processes import database_url

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


@override_settings(CELERY_BROKER_URL="memory://")
def test_without_a_broker_it_is_not_ready(client, heartbeat):
    response = client.get("/readyz")
    assert response.status_code == 503
    assert response.json()["checks"] == READY | {"broker": "no broker is configured"}


def test_a_table_that_is_locked_keeps_nobody_waiting_for_an_answer(client, heartbeat):
    if connection.vendor == "sqlite":
        pytest.skip("whoever reads waits for nobody")
    with closing(psycopg.connect(database_url())) as aside:
        aside.execute("LOCK TABLE leases IN ACCESS EXCLUSIVE MODE")
        response = client.get("/readyz")
    assert response.status_code == 503
    assert response.json()["checks"] == READY | {"beat": "no answer within 2 s"}


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


def test_a_broker_that_is_full_makes_it_not_ready(client, heartbeat, tmp_path):
    port = free_port()
    command = embedded_valkey.command(
        program=embedded_valkey.server_program(),
        socket_path=Path("valkey.sock"),
        data_dir=tmp_path,
        durable=False,
    )
    with ProcessTree(log_dir=tmp_path / "log") as tree:
        child = tree.start("valkey", [*command, "--port", str(port), "--maxmemory", "1"])
        tree.wait_until(
            lambda: "Ready to accept connections tcp" in child.log.read_text(), child=child, seconds=10
        )
        with override_settings(CELERY_BROKER_URL=f"redis://127.0.0.1:{port}/0"):
            response = client.get("/readyz")
    assert response.status_code == 503
    assert response.json()["checks"] == READY | {"broker": "takes no writes"}


def end_other_connections() -> None:
    with connection.cursor() as cursor:
        cursor.execute(
            "SELECT pg_terminate_backend(pid) FROM pg_stat_activity"
            " WHERE datname = current_database() AND pid <> pg_backend_pid()"
        )


def test_a_database_that_was_restarted_is_ready_at_once(client, heartbeat):
    if connection.vendor == "sqlite":
        pytest.skip("nothing to restart")
    all_connected = threading.Barrier(6)

    def connect() -> None:
        connection.ensure_connection()
        all_connected.wait(timeout=10)
        connection.close()  # back to the pool

    threads = [threading.Thread(target=connect) for _ in range(6)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    end_other_connections()
    assert client.get("/readyz").json() == {"ready": True, "checks": READY}


def test_a_database_that_takes_no_writes_makes_it_not_ready(client, heartbeat):
    if connection.vendor == "sqlite":
        pytest.skip("it has no standby")
    name = connection.settings_dict["NAME"]
    with closing(psycopg.connect(database_url(), autocommit=True)) as aside:
        aside.execute(f'ALTER DATABASE "{name}" SET default_transaction_read_only = on')
        try:
            end_other_connections()
            response = client.get("/readyz")
        finally:
            with closing(psycopg.connect(database_url(), autocommit=True)) as again:
                again.execute("SET default_transaction_read_only = off")
                again.execute(f'ALTER DATABASE "{name}" RESET default_transaction_read_only')
            # The pool replaces what was ended in its own time: one of those could come to the next test.
            connection.close()
            connection.close_pool()  # type: ignore[attr-defined]
    assert response.status_code == 503
    assert response.json()["checks"]["database"].startswith("takes no writes")

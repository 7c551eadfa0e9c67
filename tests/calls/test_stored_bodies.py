"""How a delivery's body is kept: what a sender waits for while PostgreSQL stores it."""

from __future__ import annotations

import pytest
from django.core.management import call_command
from django.db import connection

pytestmark = pytest.mark.django_db(transaction=True)

BEFORE, AFTER = "0005_lost_calls_in_order", "0006_deliveries_cheap_to_store"


def storage() -> tuple[str, str]:
    """PostgreSQL's letters: x is extended (compressed), e external; l is lz4, empty the server's default."""
    with connection.cursor() as cursor:
        cursor.execute(
            "SELECT attstorage, attcompression FROM pg_attribute"
            " WHERE attrelid = 'webhook_events'::regclass AND attname = 'body'"
        )
        ((kept, compressed),) = cursor.fetchall()
        return kept, compressed


def test_a_body_is_not_compressed_slowly():
    if connection.vendor != "postgresql":
        pytest.skip("SQLite compresses nothing")
    with connection.cursor() as cursor:
        cursor.execute(
            "SELECT 'lz4' = ANY(enumvals) FROM pg_settings WHERE name = 'default_toast_compression'"
        )
        (has_lz4,) = cursor.fetchone()
    expected = ("x", "l") if has_lz4 else ("e", "")
    assert storage() == expected
    try:
        call_command("migrate", "calls", BEFORE, verbosity=0)
        assert storage() == ("x", "")
    finally:
        call_command("migrate", verbosity=0)
    assert storage() == expected

import base64
from typing import Any

import pytest
from django.core import checks
from django.test import override_settings

from sync.deployment_checks import Tags

POSTGRES = {"default": {"ENGINE": "django.db.backends.postgresql"}}
SAFE_KEY = base64.urlsafe_b64encode(b"k" * 32).decode()
SAFE: dict[str, Any] = {
    "ENVIRONMENT": "production",
    "SECRET_KEY": "s" * 50,
    "FIELD_ENCRYPTION_KEY": SAFE_KEY,
    "DEBUG": False,
    "ALLOWED_HOSTS": ["slots.example.org"],
    "REDIS_URL": "redis://redis:6379/0",
    "PUBLIC_URL": "https://slots.example.org",
    "DATABASES": POSTGRES,
}


def found(**changes) -> list[checks.CheckMessage]:
    # DATABASES is only read here; nothing connects.
    with pytest.warns(UserWarning, match="DATABASES"), override_settings(**(SAFE | changes)):
        return checks.run_checks(tags=[Tags.DEPLOYMENT])


def test_a_safe_production_passes():
    assert found() == []


@pytest.mark.parametrize(
    ("identifier", "changes"),
    [
        ("config.E001", {"SECRET_KEY": ""}),
        ("config.E001", {"SECRET_KEY": "short"}),
        ("config.E001", {"SECRET_KEY": "generated-for-development-" + "x" * 50}),
        ("config.E001", {"SECRET_KEY": "django-insecure-" + "x" * 50}),
        ("config.E002", {"FIELD_ENCRYPTION_KEY": ""}),
        ("config.E002", {"FIELD_ENCRYPTION_KEY": " , "}),
        ("config.E003", {"FIELD_ENCRYPTION_KEY": "not a key"}),
        ("config.E003", {"FIELD_ENCRYPTION_KEY": SAFE_KEY + ",ü"}),
        ("config.E004", {"DEBUG": True}),
        ("config.E004", {"DEBUG": True, "ALLOWED_HOSTS": ["localhost"], "PUBLIC_URL": "http://localhost"}),
        ("config.E004", {"DEBUG": True, "ENVIRONMENT": "development", "ALLOWED_HOSTS": ["*"]}),
        ("config.E005", {"ALLOWED_HOSTS": []}),
        ("config.E005", {"ALLOWED_HOSTS": ["slots.example.org", "*"]}),
        ("config.E005", {"ALLOWED_HOSTS": ["https://slots.example.org"]}),
        ("config.E005", {"ALLOWED_HOSTS": ["slots.example.org:443"]}),
        ("config.E005", {"ALLOWED_HOSTS": ["slots.example.org", "[::1]:8000"]}),
        ("config.E005", {"ALLOWED_HOSTS": ["slots.example.org www.example.org"]}),
        ("config.E005", {"ALLOWED_HOSTS": ["*.example.org"]}),
        ("config.E006", {"REDIS_URL": ""}),
        ("config.E007", {"PUBLIC_URL": "http://slots.example.org"}),
    ],
)
def test_an_unsafe_setting_is_an_error_with_a_hint_and_without_its_secret(identifier, changes):
    (error,) = found(**changes)
    assert error.id == identifier
    assert error.is_serious()
    assert error.hint
    for secret in ("SECRET_KEY", "FIELD_ENCRYPTION_KEY"):
        if value := changes.get(secret, "").strip(" ,"):
            assert value not in f"{error.msg} {error.hint}"


@pytest.mark.parametrize("address", ["http://127.0.0.1:8000", "http://[::1]:8000", "http://localhost"])
def test_what_does_not_leave_this_machine_needs_no_tls(address):
    assert found(PUBLIC_URL=address) == []


def test_a_production_may_start_before_it_says_where_it_is_reached():
    (warning,) = found(PUBLIC_URL="")
    assert (warning.id, warning.is_serious()) == ("config.W007", False)


def test_a_production_that_does_not_answer_to_its_own_public_name_is_told_so():
    (warning,) = found(ALLOWED_HOSTS=["localhost", "127.0.0.1", "[::1]"])
    assert (warning.id, warning.is_serious()) == ("config.W008", False)
    assert found(ALLOWED_HOSTS=[".example.org"]) == []


def test_addresses_and_whole_domains_may_be_allowed():
    assert found(ALLOWED_HOSTS=[".example.org", "[::1]", "[2001:db8::1]", "127.0.0.1", "slot_keeper"]) == []


def test_two_keys_are_fine_while_rotating():
    other = base64.urlsafe_b64encode(b"o" * 32).decode()
    assert found(FIELD_ENCRYPTION_KEY=f"{SAFE_KEY}, {other}") == []


def test_on_sqlite_serve_brings_its_own_valkey_so_redis_may_be_missing():
    assert found(REDIS_URL="", DATABASES={"default": {"ENGINE": "django.db.backends.sqlite3"}}) == []


def test_the_embedded_set_up_may_use_keys_made_for_it():
    unsafe = {"SECRET_KEY": "generated-for-development-x", "PUBLIC_URL": "", "REDIS_URL": ""}
    assert found(ENVIRONMENT="embedded", ALLOWED_HOSTS=["localhost", "127.0.0.1", "[::1]"], **unsafe) == []


def test_debugging_on_this_machine_only_is_allowed():
    assert found(ENVIRONMENT="development", DEBUG=True, ALLOWED_HOSTS=["localhost", "127.0.0.1"]) == []

from __future__ import annotations

import json

import pytest
from cryptography.fernet import Fernet
from django.db import connection

from customers.models import Company

pytestmark = pytest.mark.django_db(transaction=True)

SECRETS = {
    "calcom_api_key": "cal_live_1",
    "calcom_reconcile_api_key": "cal_live_2",
    "calcom_webhook_secret": "whsec_1",
    "calcom_webhook_secret_previous": "",
    "retell_api_key": "key_retell_1",
    "retell_api_key_previous": "key_retell_0",
}


@pytest.fixture
def old(settings) -> str:
    key = Fernet.generate_key().decode()
    settings.FIELD_ENCRYPTION_KEY = key
    return key


@pytest.fixture
def salon(old: str) -> Company:
    return Company.objects.create(slug="salon", name="Salon", **SECRETS)


def read(slug: str) -> dict[str, str]:
    company = Company.objects.get(slug=slug)
    return {name: getattr(company, name) for name in SECRETS}


def reencrypt(manage_here) -> tuple[int, dict]:
    done = manage_here("reencrypt", "--json")
    return done.returncode, json.loads(done.stdout)


def test_afterwards_the_old_key_can_go(old, salon, settings, manage_here):
    Company.objects.create(slug="former", name="Former", is_active=False, **SECRETS)
    new = Fernet.generate_key().decode()
    settings.FIELD_ENCRYPTION_KEY = f"{new},{old}"
    assert reencrypt(manage_here) == (0, {"reencrypted": 10, "unchanged": 0, "unreadable": []})
    settings.FIELD_ENCRYPTION_KEY = new
    assert read("salon") == read("former") == SECRETS
    assert reencrypt(manage_here) == (0, {"reencrypted": 0, "unchanged": 10, "unreadable": []})


def test_a_secret_that_no_key_opens_is_named_and_left_as_it_is(old, salon, settings, manage_here):
    with connection.cursor() as cursor:
        cursor.execute("UPDATE companies SET calcom_api_key = 'lost'")
    settings.FIELD_ENCRYPTION_KEY = f"{Fernet.generate_key().decode()},{old}"
    left = ["salon.calcom_api_key"]
    assert reencrypt(manage_here) == (1, {"reencrypted": 4, "unchanged": 0, "unreadable": left})
    with connection.cursor() as cursor:
        cursor.execute("SELECT calcom_api_key FROM companies")
        assert cursor.fetchone() == ("lost",)

"""The door of the admin."""

from __future__ import annotations

from typing import Any

import pytest
from django.contrib.auth.models import User
from django.core.cache import cache
from django.test import Client
from django.urls import reverse

from sync.admin.login import MOST_FAILURES, WITHIN_SECONDS

pytestmark = pytest.mark.django_db

PASSWORD = "a long password"


@pytest.fixture
def log_in(settings):
    """Whether that let them in."""
    settings.PASSWORD_HASHERS = [
        "django.contrib.auth.hashers.MD5PasswordHasher"
    ]  # the others are slow on purpose
    User.objects.create_superuser("ops", "ops@example.org", PASSWORD)

    def ask(password: str = PASSWORD, *, username: str = "ops", address: str = "198.51.100.7") -> bool:
        form = {"username": username, "password": password}
        return Client(REMOTE_ADDR=address).post(reverse("admin:login"), form).status_code == 302

    return ask


def test_whoever_guesses_is_kept_waiting_even_with_the_right_password(log_in):
    for number in range(MOST_FAILURES):
        assert not log_in(f"guess {number}")
    assert not log_in()


def test_the_page_says_how_long(log_in):
    for _ in range(MOST_FAILURES):
        log_in("guess")
    page = Client(REMOTE_ADDR="198.51.100.7").post(
        reverse("admin:login"), {"username": "ops", "password": PASSWORD}
    )
    assert "a quarter of an hour" in page.content.decode()


def test_they_are_let_in_once_the_time_is_over(log_in):
    for _ in range(MOST_FAILURES):
        log_in("guess")
    kept: Any = cache  # django-redis knows more than Django's caches do
    (guesses,) = kept.keys("login:*")
    assert 0 < kept.ttl(guesses) <= WITHIN_SECONDS
    cache.delete(guesses)
    assert log_in()


def test_the_owner_of_the_account_is_not_locked_out_by_a_stranger(log_in):
    for _ in range(MOST_FAILURES):
        log_in("guess", address="203.0.113.9")
    assert not log_in(address="203.0.113.9")
    assert log_in()


def test_a_few_slips_are_nothing(log_in):
    for _ in range(MOST_FAILURES - 1):
        log_in("slip")
    assert log_in()


def test_with_the_cache_away_ops_get_in_all_the_same(log_in, settings):
    broken = {**settings.CACHES["default"], "LOCATION": "redis://127.0.0.1:1/0"}
    settings.CACHES = {"default": broken}
    assert not log_in("guess")
    assert log_in()

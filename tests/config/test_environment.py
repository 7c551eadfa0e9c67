"""Whether it is production is told by the database, if nobody says it outright."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

import pytest

from tests.servers.processes import ROOT


def read(name: str, *, folder: Path, given: dict[str, str]) -> subprocess.CompletedProcess[str]:
    return subprocess.run(
        [sys.executable, "-c", f"from config import settings; print(settings.{name})"],
        cwd=ROOT,
        env={"PATH": os.environ["PATH"], "VAR_DIR": str(folder), **given},
        capture_output=True,
        text=True,
        timeout=60,
        check=False,
    )


def told_by_the_settings(name: str, *, folder: Path, given: dict[str, str]) -> str:
    done = read(name, folder=folder, given=given)
    assert done.returncode == 0, done.stderr
    return done.stdout.strip()


@pytest.mark.parametrize(
    ("given", "environment"),
    [
        ({}, "embedded"),
        ({"DATABASE_URL": "sqlite:///{folder}/elsewhere.sqlite3"}, "embedded"),
        ({"DATABASE_URL": "postgres://nobody@127.0.0.1:9/gone"}, "production"),
        ({"DATABASE_URL": "postgresql://nobody@127.0.0.1:9/gone"}, "production"),
        ({"DATABASE_URL": "POSTGRES://nobody@127.0.0.1:9/gone"}, "production"),
        ({"DATABASE_URL": "postgres://nobody@127.0.0.1:9/gone", "DEBUG": "true"}, "development"),
        ({"DATABASE_URL": "sqlite:///{folder}/x.sqlite3", "ENVIRONMENT": "production"}, "production"),
    ],
)
def test_what_it_is_without_being_told(tmp_path, given, environment):
    told = {name: value.replace("{folder}", str(tmp_path)) for name, value in given.items()}
    assert told_by_the_settings("ENVIRONMENT", folder=tmp_path, given=told) == environment


@pytest.mark.parametrize(
    ("url", "how"),
    [
        (
            "smtp://ops%40example.org:p%40ss%2Fword@mail.example.org:587",
            "True False ops@example.org p@ss/word",
        ),
        ("smtps://ops:word@mail.example.org", "False True ops word"),
        ("smtp://127.0.0.1:25", "False False  "),
    ],
)
def test_no_password_goes_to_a_mail_server_in_the_clear(tmp_path, url, how):
    names = ("EMAIL_USE_TLS", "EMAIL_USE_SSL", "EMAIL_HOST_USER", "EMAIL_HOST_PASSWORD")
    told = [told_by_the_settings(name, folder=tmp_path, given={"EMAIL_URL": url}) for name in names]
    assert " ".join(told) == how


@pytest.mark.parametrize(
    ("given", "for_https_only"),
    [
        ({"ENVIRONMENT": "production"}, "True"),
        ({"ENVIRONMENT": "production", "PUBLIC_URL": "https://slots.example.org"}, "True"),
        ({"ENVIRONMENT": "production", "PUBLIC_URL": "HTTPS://slots.example.org"}, "True"),
        ({"ENVIRONMENT": "production", "PUBLIC_URL": "http://127.0.0.1:8000"}, "False"),
        ({}, "False"),
    ],
)
def test_cookies_of_a_production_are_for_https_unless_it_is_reached_otherwise(
    tmp_path, given, for_https_only
):
    assert told_by_the_settings("SESSION_COOKIE_SECURE", folder=tmp_path, given=given) == for_https_only


@pytest.mark.parametrize(
    ("query", "options"),
    [
        ("", "-c lock_timeout=3s"),
        ("?currentSchema=slots", "-c lock_timeout=3s -c search_path=slots"),
        ("?options=-c%20statement_timeout%3D9s", "-c lock_timeout=3s -c statement_timeout=9s"),
        ("?options=-c%20lock_timeout%3D1s", "-c lock_timeout=3s -c lock_timeout=1s"),
    ],
)
def test_no_caller_waits_for_ever_for_a_row_because_the_url_says_something_else(tmp_path, query, options):
    url = {"DATABASE_URL": f"postgres://nobody@127.0.0.1:9/gone{query}"}
    told = told_by_the_settings("DATABASES['default']['OPTIONS']['options']", folder=tmp_path, given=url)
    assert told == options


@pytest.mark.parametrize(
    "name",
    [
        "ANSWER_BUDGET_SECONDS",
        "WEBHOOK_BODY_DAYS",
        "LATE_COMMIT_GRACE_SECONDS",
        "ATTEMPT_LEASE_SECONDS",
        "BEAT_LEASE_SECONDS",
    ],
)
def test_a_time_that_no_calendar_holds_stops_start_up(tmp_path, name):
    """It is how `for ever` is written where there is no word for it, and the first use of it is at night."""
    done = read(name, folder=tmp_path, given={name: "999999"})
    assert done.returncode == 1
    assert f"{name} must be at most" in done.stderr


@pytest.mark.parametrize(
    ("url", "why"),
    [
        ("postgres://salon:hunter2@127.0.0.1:9", "it names no database"),
        ("postgres://salon:hunter2@127.0.0.1:9/salon?conn_max_age=60", "conn_max_age"),
        ("postgres://salon:hunter2@127.0.0.1:9/salon?sslmode=disable&application_name=slots", ""),
    ],
)
def test_a_database_url_that_no_connection_could_be_made_with_stops_start_up(tmp_path, url, why):
    given = {"DATABASE_URL": url, "ENVIRONMENT": "development", "VAR_DIR": str(tmp_path)}
    done = subprocess.run(
        [sys.executable, "manage.py", "check"],
        cwd=ROOT,
        env={"PATH": os.environ["PATH"], **given},
        capture_output=True,
        text=True,
        timeout=60,
        check=False,
    )
    assert done.returncode == (1 if why else 0), done.stderr
    assert why in done.stderr
    assert ("DATABASE_URL cannot be used" in done.stderr) == bool(why)
    assert "hunter2" not in done.stdout + done.stderr

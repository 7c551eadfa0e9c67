"""What the settings make of an environment, and what stops the start.

They are read anew in this process: to start another one for each case takes half a second. What a command
says of a wrong setting is in tests/sync/test_exit_status.py.
"""

from __future__ import annotations

import os
import runpy
import subprocess
import sys
from pathlib import Path
from typing import Any
from unittest import mock

import pytest

from config.env import WrongSetting
from tests.servers.processes import ROOT


def settings_of(given: dict[str, str], *, folder: Path) -> dict[str, Any]:
    with mock.patch.dict(os.environ, {"VAR_DIR": str(folder), **given}, clear=True):
        return runpy.run_path(str(ROOT / "config" / "settings.py"))


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
    assert settings_of(told, folder=tmp_path)["ENVIRONMENT"] == environment


def test_a_database_named_in_a_file(tmp_path):
    file = tmp_path / "database-url"
    file.write_text(f"sqlite:///{tmp_path / 'in-a-file.sqlite3'}\n")
    settings = settings_of({"DATABASE_URL": "", "DATABASE_URL_FILE": str(file)}, folder=tmp_path)
    assert settings["DATABASES"]["default"]["NAME"] == str(tmp_path / "in-a-file.sqlite3")


@pytest.mark.parametrize(
    ("url", "how"),
    [
        (
            "smtp://ops%40example.org:p%40ss%2Fword@mail.example.org:587",
            (True, False, "ops@example.org", "p@ss/word"),
        ),
        ("smtps://ops:word@mail.example.org", (False, True, "ops", "word")),
        ("smtp://127.0.0.1:25", (False, False, "", "")),
    ],
)
def test_no_password_goes_to_a_mail_server_in_the_clear(tmp_path, url, how):
    names = ("EMAIL_USE_TLS", "EMAIL_USE_SSL", "EMAIL_HOST_USER", "EMAIL_HOST_PASSWORD")
    settings = settings_of({"EMAIL_URL": url}, folder=tmp_path)
    assert tuple(settings[name] for name in names) == how


@pytest.mark.parametrize(
    ("given", "for_https_only"),
    [
        ({"ENVIRONMENT": "production"}, True),
        ({"ENVIRONMENT": "production", "PUBLIC_URL": "https://slots.example.org"}, True),
        ({"ENVIRONMENT": "production", "PUBLIC_URL": "HTTPS://slots.example.org"}, True),
        ({"ENVIRONMENT": "production", "PUBLIC_URL": "http://127.0.0.1:8000"}, False),
        ({}, False),
    ],
)
def test_cookies_of_a_production_are_for_https_unless_it_is_reached_otherwise(
    tmp_path, given, for_https_only
):
    assert settings_of(given, folder=tmp_path)["SESSION_COOKIE_SECURE"] is for_https_only


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
    assert settings_of(url, folder=tmp_path)["DATABASES"]["default"]["OPTIONS"]["options"] == options


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
    with pytest.raises(WrongSetting, match=f"^{name} must be at most"):
        settings_of({name: "999999"}, folder=tmp_path)


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

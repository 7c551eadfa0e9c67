"""2 is "could not do its work", whatever kept it from that; 1 says that something is left for a person."""

from __future__ import annotations

import json
import socket
from io import StringIO

import pytest
from django.core.management import call_command

from customers.json_command import JsonCommand

named = pytest.mark.parametrize("command", [["reconcile"], ["audit"]], ids=" ".join)


@named
def test_a_database_that_is_away(run_manage, command):
    gone = {"DATABASE_URL": "postgres://nobody@127.0.0.1:9/gone", "ENVIRONMENT": "test"}
    done = run_manage(*command, "--json", env=gone)
    assert done.returncode == 2, done.stdout + done.stderr
    assert "The database cannot be used" in json.loads(done.stdout)["error"]
    assert "migrate" not in done.stderr
    assert "Traceback" not in done.stderr
    assert "The database cannot be used" in done.stderr


@named
def test_a_database_without_tables(run_manage, tmp_path, command):
    done = run_manage(*command, env={"DATABASE_URL": f"sqlite:///{tmp_path / 'empty.sqlite3'}"})
    assert done.returncode == 2, done.stdout + done.stderr
    assert "no such table" in done.stderr
    assert "Run `migrate` first." in done.stderr


def test_a_setting_that_cannot_be(run_manage):
    done = run_manage("audit", env={"ANSWER_BUDGET_SECONDS": "eight"})
    assert (done.returncode, done.stderr) == (2, "ANSWER_BUDGET_SECONDS must be a number, not 'eight'.\n")


every_command = pytest.mark.parametrize(
    "command",
    [
        ["reconcile", "--since", "2026-02-30"],
        ["backfill", "--since", "2026-02-30"],
        ["audit", "--bogus"],
        ["provision"],
        ["webhooks", "--company"],
        ["demo", "--only", "nothing"],
        ["serve", "--port", "many"],
        ["calcom_simulator", "--port", "many"],
        ["calcom_simulator", "--host", "0.0.0.0"],
    ],
    ids=" ".join,
)


@every_command
def test_with_json_wrong_options_are_one_object_too(manage_here, command):
    done = manage_here(*command, "--json")
    assert done.returncode == 2
    assert json.loads(done.stdout)["error"]
    assert done.stderr


@pytest.mark.parametrize("command", ["backfill", "reconcile"])
@pytest.mark.parametrize(
    "time", ["9999-12-31T23:59", "9999-12-31T23:59-01:00", "0001-01-01T00:00+05:00", "2026-11-01T08:00+24:00"]
)
def test_a_time_in_which_nobody_called_is_refused_with_a_sentence(manage_here, command, time):
    done = manage_here(command, "--since", time, "--json")
    assert done.returncode == 2
    assert f"'{time}' is not a time such as 2026-12-01" in json.loads(done.stdout)["error"]


def test_without_json_wrong_options_show_what_is_right(manage_here):
    done = manage_here("backfill", "--since", "2026-02-30")
    assert (done.returncode, done.stdout) == (2, "")
    assert "usage:" in done.stderr


@pytest.mark.parametrize("command", ["audit", "reconcile", "backfill", "doctor"])
def test_settings_that_are_unfit_for_production(run_manage, tmp_path, command):
    done = run_manage(
        command,
        "--json",
        env={"ENVIRONMENT": "production", "SECRET_KEY": "", "VAR_DIR": str(tmp_path), "PUBLIC_URL": ""},
    )
    assert done.returncode == 2, "1 would say that something is left for a person"
    assert "SECRET_KEY is missing" in json.loads(done.stdout)["error"]


def test_with_json_a_setting_that_cannot_be_is_one_object_too(run_manage):
    done = run_manage("audit", "--json", env={"ANSWER_BUDGET_SECONDS": "eight"})
    assert done.returncode == 2
    assert json.loads(done.stdout)["error"] == "ANSWER_BUDGET_SECONDS must be a number, not 'eight'."


@pytest.mark.parametrize("command", ["serve", "calcom_simulator"])
def test_a_port_that_cannot_be(manage_here, command):
    done = manage_here(command, "--port", "99999", "--json")
    assert done.returncode == 2
    assert "port must be 0-65535" in json.loads(done.stdout)["error"]


@pytest.mark.parametrize("place", ["/proc/nowhere", "/etc/passwd"])
def test_a_place_where_nothing_can_be_kept(run_manage, place):
    done = run_manage("audit", "--json", env={"VAR_DIR": place, "SECRET_KEY": "", "ENVIRONMENT": "embedded"})
    assert done.returncode == 2
    assert json.loads(done.stdout)["error"].startswith(f"VAR_DIR: {place}/")
    assert "Traceback" not in done.stderr


class Surprised(JsonCommand):
    requires_system_checks: list[str] = []

    def add_arguments(self, parser):
        parser.add_argument("--json", action="store_true", dest="as_json")

    def handle(self, **_options):
        raise RuntimeError("of Anna Weber, +4915112345678")


def test_with_json_what_nobody_foresaw_is_one_object_that_names_nobody():
    out = StringIO()
    with pytest.raises(RuntimeError):
        call_command(Surprised(stdout=out), "--json")
    assert json.loads(out.getvalue()) == {"error": "RuntimeError"}


@pytest.mark.parametrize("command", [["serve", "--port"], ["calcom_simulator", "--port"]], ids=" ".join)
def test_a_port_that_somebody_else_has(run_manage, tmp_path, command):
    with socket.create_server(("127.0.0.1", 0)) as taken:
        port = str(taken.getsockname()[1])
        done = run_manage(*command, port, "--json", env={"VAR_DIR": str(tmp_path)})
    assert done.returncode == 2, done.stderr
    assert json.loads(done.stdout)["error"]
    assert "Traceback" not in done.stderr

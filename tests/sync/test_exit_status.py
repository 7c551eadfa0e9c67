"""2 is "could not do its work", whatever kept it from that; 1 says that something is left for a person."""

from __future__ import annotations

import json

import pytest

named = pytest.mark.parametrize("command", [["reconcile"], ["audit"]], ids=" ".join)


@named
def test_a_database_that_is_away(run_manage, command):
    gone = {"DATABASE_URL": "postgres://nobody@127.0.0.1:9/gone", "ENVIRONMENT": "test"}
    done = run_manage(*command, "--json", env=gone)
    assert done.returncode == 2, done.stdout + done.stderr
    assert "The database cannot be used" in json.loads(done.stdout)["error"]
    assert "Traceback" not in done.stderr
    assert "The database cannot be used" in done.stderr


@named
def test_a_database_without_tables(run_manage, tmp_path, command):
    done = run_manage(*command, env={"DATABASE_URL": f"sqlite:///{tmp_path / 'empty.sqlite3'}"})
    assert done.returncode == 2, done.stdout + done.stderr
    assert "no such table" in done.stderr


def test_a_setting_that_cannot_be(run_manage):
    done = run_manage("audit", env={"ANSWER_BUDGET_SECONDS": "eight"})
    assert (done.returncode, done.stderr) == (2, "ANSWER_BUDGET_SECONDS must be a number, not 'eight'.\n")


def test_a_database_named_in_a_file(run_manage, tmp_path):
    file = tmp_path / "database-url"
    file.write_text(f"sqlite:///{tmp_path / 'in-a-file.sqlite3'}")
    without = {"DATABASE_URL": "", "DATABASE_URL_FILE": str(file)}
    assert run_manage("migrate", "--verbosity", "0", env=without).returncode == 0
    assert (tmp_path / "in-a-file.sqlite3").exists()
    assert run_manage("audit", env=without).returncode == 0

"""`manage.py demo` against the real process tree, as the README has a developer run it."""

from __future__ import annotations

import json
import signal
import subprocess
import sys
import time
from pathlib import Path
from typing import Any

import pytest
from django.db import connection

from booking.calcom.simulator.control import SimulatorControl
from sync.management.demo.scenarios import SCENARIOS
from tests.servers.processes import ROOT
from tests.sync.test_serve import Serving, clean_environment, start_serve, var_dir  # noqa: F401

# One serve tree takes both cores while it starts: not beside another one.
pytestmark = pytest.mark.xdist_group("serve")

PLAYED_WITHIN_SECONDS = 150


class Demo:
    def __init__(self, serving: Serving, **environment: str) -> None:
        self.serving = serving
        self.environment = clean_environment(serving.var_dir, **environment)
        self.control = SimulatorControl(serving.told["simulator_url"])

    def command(self, *arguments: str) -> list[str]:
        return [sys.executable, "manage.py", "demo", *arguments]

    def play(self, *arguments: str) -> subprocess.CompletedProcess[str]:
        return subprocess.run(
            self.command(*arguments),
            cwd=ROOT,
            env=self.environment,
            stdin=subprocess.DEVNULL,
            capture_output=True,
            text=True,
            timeout=PLAYED_WITHIN_SECONDS,
            check=False,
        )

    def report(self, *arguments: str, expect: int = 0) -> dict[str, Any]:
        done = self.play("--json", *arguments)
        assert done.returncode == expect, done.stdout + done.stderr
        report: dict[str, Any] = json.loads(done.stdout)
        return report


@pytest.fixture
def demo(start_serve) -> Demo:  # noqa: F811
    serving = start_serve("--demo", "--simulator-port", "0")
    serving.wait_until_ready()
    return Demo(serving)


def codes(report: dict[str, Any], name: str) -> list[str]:
    (scenario,) = [scenario for scenario in report["scenarios"] if scenario["name"] == name]
    return [step["heard"]["code"] for step in scenario["steps"] if "heard" in step]


@pytest.mark.timeout(400)
def test_the_demo_plays_every_scenario_twice_in_a_row_and_its_verdict_is_clean(demo):
    report = demo.report()
    assert [scenario["name"] for scenario in report["scenarios"]] == [scenario.name for scenario in SCENARIOS]
    assert codes(report, "booking") == ["ok", "ok", "booked", "booked", "already_booked"]
    assert sorted(codes(report, "race")) == ["booked", "slot_taken"]
    assert codes(report, "handed_back") == ["booked", "slot_taken"]
    assert codes(report, "late_answer") == ["checking", "booked"]
    assert codes(report, "crash") == ["", "booked"]
    assert (report["breaches"], report["failed_checks"]) == ([], [])
    assert all(scenario["checks"] for scenario in report["scenarios"])
    assert report["seconds"] < 90
    assert demo.control.faults.planned == []
    # One booking each: repeats, losers and refused ones made none.
    assert len(demo.control.active_bookings()) == len(SCENARIOS)

    # For people: every scenario is told, and nothing but plain text where nobody watches.
    told = demo.play("--only", "booking", "--only", "race")
    assert told.returncode == 0, told.stdout + told.stderr
    assert "\x1b" not in told.stdout
    assert "Ihr Termin ist gebucht: Haarschnitt" in told.stdout
    assert "no invariant is broken" in told.stdout

    # The next start of the system has a simulator that remembers nothing.
    demo.control.reset()
    assert demo.control.bookings == []
    again = demo.report("--only", "booking")
    assert again["bookings_put_back"] == len(SCENARIOS) + 2
    assert again["breaches"] == []


@pytest.mark.timeout(240)
@pytest.mark.django_db(transaction=True)
def test_the_race_and_the_crash_end_well_on_postgresql_too(start_serve, subprocess_environment):  # noqa: F811
    if connection.vendor != "postgresql":
        pytest.skip("the other tests play on SQLite")
    environment = {"DATABASE_URL": subprocess_environment["DATABASE_URL"], "ENVIRONMENT": "test"}
    serving = start_serve("--demo", "--simulator-port", "0", **environment)
    serving.wait_until_ready()
    report = Demo(serving, **environment).report("--only", "race", "--only", "crash")
    assert (report["breaches"], report["failed_checks"]) == ([], [])
    assert sorted(codes(report, "race")) == ["booked", "slot_taken"]
    assert codes(report, "crash") == ["", "booked"]


@pytest.mark.timeout(240)
def test_a_booking_that_vanishes_at_cal_com_is_found_by_the_verdict(demo):
    demo.report("--only", "booking")
    (booking,) = demo.control.active_bookings()
    demo.control.web_cancel(booking["uid"], silent=True)
    report = demo.report("--only", "race", expect=1)
    assert report["failed_checks"] == []
    assert any("has no active booking" in breach for breach in report["breaches"])


@pytest.mark.timeout(240)
def test_ctrl_c_leaves_no_fault_behind(demo):
    process = subprocess.Popen(
        demo.command("--only", "late_answer"),
        cwd=ROOT,
        env=demo.environment,
        stdin=subprocess.DEVNULL,
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
        start_new_session=True,
    )
    until = time.monotonic() + 60
    while not demo.control.faults.hanging and time.monotonic() < until and process.poll() is None:
        time.sleep(0.05)
    assert demo.control.faults.hanging == 1
    process.send_signal(signal.SIGINT)
    errors = process.communicate(timeout=30)[1]
    assert process.returncode == 2
    assert "Stopped before its end" in errors
    assert "Traceback" not in errors
    assert (demo.control.faults.planned, demo.control.faults.hanging) == ([], 0)


def test_without_a_running_system_it_says_what_to_start(tmp_path: Path):
    done = subprocess.run(
        [sys.executable, "manage.py", "demo"],
        cwd=ROOT,
        env=clean_environment(tmp_path),
        stdin=subprocess.DEVNULL,
        capture_output=True,
        text=True,
        timeout=60,
        check=False,
    )
    assert done.returncode == 2
    assert "./dev up" in done.stderr
    assert "Traceback" not in done.stderr

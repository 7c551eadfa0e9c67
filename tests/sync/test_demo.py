"""`manage.py demo` against the real process tree, as the README has a developer run it."""

from __future__ import annotations

import json
import signal
import subprocess
import sys
import time
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit

import pytest
from django.db import connection

from booking.calcom.simulator.control import SimulatorControl
from sync.management.demo.scenarios import SCENARIOS
from tests.servers.processes import ROOT
from tests.sync.test_serve import Serving, clean_environment, start_serve, var_dir  # noqa: F401
from tests.waiting import wait_until

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
        if "--only" not in arguments or "orphans" in arguments:
            stay_clear_of_the_hourly_run()
        return self.manage("demo", *arguments)

    def manage(self, *arguments: str) -> subprocess.CompletedProcess[str]:
        return subprocess.run(
            [sys.executable, "manage.py", *arguments],
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


def stay_clear_of_the_hourly_run() -> None:
    """Beat's own, at seven minutes past, would heal what the demo lets its own run heal."""
    into_the_hour = time.time() % 3600
    if 6 * 60 <= into_the_hour < 7 * 60 + 20:
        time.sleep(7 * 60 + 20 - into_the_hour)


@pytest.fixture
def demo(start_serve) -> Demo:  # noqa: F811
    serving = start_serve("--demo", "--simulator-port", "0")
    serving.wait_until_ready()
    return Demo(serving)


def scenario(report: dict[str, Any], name: str) -> dict[str, Any]:
    (found,) = [each for each in report["scenarios"] if each["name"] == name]
    return dict(found)


def codes(report: dict[str, Any], name: str) -> list[str]:
    return [step["heard"]["code"] for step in scenario(report, name)["steps"] if "heard" in step]


def seen(report: dict[str, Any], name: str) -> list[tuple[list[str], list[str]]]:
    """The statuses of the bookings and of the appointments, each time both sides were looked at."""
    return [
        (
            [booking["status"] for booking in step["calcom"]],
            [row["status"] for row in step["local"] if row["table"] == "appointments"],
        )
        for step in scenario(report, name)["steps"]
        if "calcom" in step
    ]


def rows(report: dict[str, Any], name: str, table: str) -> list[list[str]]:
    """What the rows of a table said, each time both sides were looked at."""
    return [
        [f"{row['status']} {row['what']}".strip() for row in step["local"] if row["table"] == table]
        for step in scenario(report, name)["steps"]
        if "calcom" in step
    ]


def pages(report: dict[str, Any], name: str) -> list[tuple[str, list[str]]]:
    return [(step["page"], step["lines"]) for step in scenario(report, name)["steps"] if "page" in step]


@pytest.mark.timeout(400)
def test_the_demo_plays_every_scenario_its_verdict_is_clean_and_its_keys_are_kept(demo, start_serve):  # noqa: F811
    told = demo.serving.told
    assert set(told["pids"]) == {"serve", "valkey", "simulator", "web", "worker", "long-runs", "beat"}
    assert (told["company"], told["admin_user"]) == ("demo-salon", "admin")
    assert len(told["admin_password"]) >= 12

    report = demo.report()
    assert (report["breaches"], report["failed_checks"]) == ([], [])
    assert [each["name"] for each in report["scenarios"]] == [each.name for each in SCENARIOS]
    assert all(each["checks"] for each in report["scenarios"])
    assert report["seconds"] < 60
    assert codes(report, "booking") == ["ok", "ok", "booked", "booked", "already_booked"]
    assert sorted(codes(report, "race")) == ["booked", "slot_taken"]
    assert codes(report, "handed_back") == ["booked", "slot_taken"]
    assert codes(report, "late_answer") == ["checking", "booked"]
    assert codes(report, "crash") == ["", "booked"]
    told_one_conversation(report)
    told_what_a_guest_does_on_the_web(report)
    told_a_duplicate_and_an_out_of_order_delivery(report)
    told_both_orphans(report)

    assert demo.control.faults.planned == []
    assert demo.control.state["held_deliveries"] == 0
    # One booking each in the first five; none is left of the conversation; one caller got what the web guest
    # gave back; one guest's was delivered four times; three of the orphans stand.
    assert len(demo.control.active_bookings()) == 5 + 0 + 1 + 1 + 3

    # For people: every scene is told, and nothing but plain text where nobody watches.
    played = demo.play("--only", "booking", "--only", "conversation", "--only", "orphans")
    assert played.returncode == 0, played.stdout + played.stderr
    assert "\x1b" not in played.stdout
    for said in (
        "Ihr Termin ist gebucht: Haarschnitt",
        "Ihr Termin ist verlegt: Haarschnitt",
        "Ihr Termin ist abgesagt: Haarschnitt",
        "manage.py reconcile:",
        "healed: 1 import, 1 link",
        "What would happen:",
        "no invariant is broken",
    ):
        assert said in played.stdout, said
    assert "✗" not in played.stdout

    no_key_is_shown(demo.serving)
    demo.serving.process.terminate()
    demo.serving.process.communicate(timeout=40)
    assert demo.serving.process.returncode == 0
    again = start_serve("--demo", "--simulator-port", "0")
    again.wait_until_ready()
    assert again.told["admin_password"] == told["admin_password"]
    assert urlsplit(again.told["webhook_url"]).path == urlsplit(told["webhook_url"]).path


def no_key_is_shown(serving: Serving) -> None:
    folder, logs = serving.var_dir / "demo", serving.logs()
    for private in ("keys.json", "company.json", "calcom-world.json"):
        assert (folder / private).stat().st_mode & 0o077 == 0, private
    keys = json.loads((folder / "keys.json").read_text())
    assert "demo-salon" in logs
    for secret in keys.keys() - {"endpoint_id"}:
        assert keys[secret] not in logs, secret


def told_one_conversation(report: dict[str, Any]) -> None:
    name = "conversation"
    assert codes(report, name) == [
        "ok", "ok", "booked", "ok", "rescheduled", "cancelled", "callback_noted",
    ]  # fmt: skip
    after_the_move = (["cancelled", "accepted"], ["scheduled"])
    after_the_end = (["cancelled", "cancelled"], ["cancelled"])
    assert seen(report, name) == [
        ([], []),
        ([], []),
        (["accepted"], ["scheduled"]),
        (["accepted"], ["scheduled"]),
        after_the_move,
        after_the_end,
        after_the_end,
    ]
    assert [len(said) for said in rows(report, name, "callback_requests")] == [0, 0, 0, 0, 0, 0, 1]


def told_what_a_guest_does_on_the_web(report: dict[str, Any]) -> None:
    name = "web_page"
    assert seen(report, name) == [
        (["accepted"], ["scheduled"]),
        (["cancelled", "accepted"], ["scheduled"]),
        (["cancelled", "cancelled"], ["cancelled"]),
    ]
    arrived = [event.split()[-1] for event in rows(report, name, "webhook_events")[-1]]
    assert arrived == ["BOOKING_CREATED", "BOOKING_RESCHEDULED", "BOOKING_CANCELLED"]
    assert codes(report, name) == ["booked"]


def told_a_duplicate_and_an_out_of_order_delivery(report: dict[str, Any]) -> None:
    name = "deliveries"
    assert seen(report, name) == [
        (["accepted"], ["scheduled"]),
        (["cancelled"], ["cancelled"]),
        (["cancelled"], ["cancelled"]),
    ]
    assert rows(report, name, "webhook_events") == [
        ["processed BOOKING_CREATED"],
        ["processed BOOKING_CANCELLED"],
        ["processed BOOKING_CANCELLED", "processed BOOKING_CREATED"],
    ]


def told_both_orphans(report: dict[str, Any]) -> None:
    name = "orphans"
    before, healed, _call, resolved = seen(report, name)
    assert before == (["accepted"], ["scheduled"]), "a booking without row, and a row without booking"
    assert healed == (["accepted"], ["scheduled", "scheduled"])
    assert resolved == (["accepted"], ["scheduled"])
    assert [said for said in rows(report, name, "sync_failures") if said] == [
        ["manual_review orphaned_local"],
        ["resolved orphaned_local"],
    ]
    run, inbox, sides, preview, done, again = [lines for _page, lines in pages(report, name)]
    assert run[1:] == ["healed: 1 import, 1 link", "failures: 1 opened, 0 closed, 1 open now"]
    assert "appointment without booking at Cal.com" in inbox[0]
    assert "Attendee | Nils Kremer | –" in sides
    assert any("is booked again at Cal.com" in effect for effect in preview)
    assert done[0].startswith("Booked again as")
    assert again[1:] == ["healed: nothing", "failures: 0 opened, 0 closed, 0 open now"]


@pytest.mark.timeout(400)
@pytest.mark.soak
def test_after_a_restart_the_simulator_knows_again_what_the_tables_remember(demo, start_serve):  # noqa: F811
    demo.report("--only", "conversation", "--only", "web_page", "--only", "orphans")
    before = demo.control.bookings
    demo.serving.process.terminate()
    demo.serving.process.communicate(timeout=40)

    serving = start_serve("--demo", "--simulator-port", "0")
    serving.wait_until_ready()
    again = Demo(serving)
    remembered = {booking["uid"]: booking for booking in again.control.bookings}
    for booking in before:
        # A move on the web was promised to nobody on the phone: of that only where it went is remembered.
        if booking["isActive"] or booking["metadata"]:
            now = remembered[booking["uid"]]
            for name in ("id", "status", "start", "end", "metadata", "rescheduledToUid"):
                assert now.get(name) == booking.get(name), name
    reconciled = again.manage("reconcile", "--json")
    assert reconciled.returncode == 0, reconciled.stdout + reconciled.stderr
    found = json.loads(reconciled.stdout)
    assert (found["healed"], found["opened"], found["left"]) == (0, 0, 0)
    # New bookings get numbers that no appointment of ours has.
    report = again.report("--only", "web_page")
    assert (report["bookings_put_back"], report["breaches"]) == (0, [])

    # And a simulator that forgets while everything else runs on is reminded by the demo itself.
    again.control.reset()
    assert again.control.bookings == []
    report = again.report("--only", "booking")
    assert report["bookings_put_back"] > 0
    assert report["breaches"] == []

    changed = again.manage(
        "shell",
        "-c",
        "from django.contrib.auth.models import User; u = User.objects.get(); u.set_password('x'); u.save()",
    )
    assert changed.returncode == 0, changed.stderr
    refused = again.play("--only", "orphans")
    assert refused.returncode == 2
    assert "does not let admin in" in refused.stderr
    assert "Traceback" not in refused.stderr


@pytest.mark.timeout(240)
@pytest.mark.django_db(transaction=True)
@pytest.mark.soak
def test_races_crashes_deliveries_and_orphans_end_well_on_postgresql_too(start_serve, subprocess_environment):  # noqa: F811
    if connection.vendor != "postgresql":
        pytest.skip("the other tests play on SQLite")
    environment = {"DATABASE_URL": subprocess_environment["DATABASE_URL"], "ENVIRONMENT": "test"}
    serving = start_serve("--demo", "--simulator-port", "0", **environment)
    serving.wait_until_ready()
    report = Demo(serving, **environment).report(
        "--only", "race", "--only", "crash", "--only", "conversation", "--only", "deliveries",
        "--only", "orphans",
    )  # fmt: skip
    assert (report["breaches"], report["failed_checks"]) == ([], [])
    assert sorted(codes(report, "race")) == ["booked", "slot_taken"]
    assert codes(report, "crash") == ["", "booked"]
    told_one_conversation(report)
    told_a_duplicate_and_an_out_of_order_delivery(report)
    told_both_orphans(report)


@pytest.mark.timeout(240)
@pytest.mark.soak
def test_a_booking_that_vanishes_at_cal_com_is_found_by_the_verdict(demo):
    demo.report("--only", "booking")
    (booking,) = demo.control.active_bookings()
    demo.control.web_cancel(booking["uid"], silent=True)
    report = demo.report("--only", "race", expect=1)
    assert report["failed_checks"] == []
    assert any("has no active booking" in breach for breach in report["breaches"])


@pytest.mark.timeout(240)
@pytest.mark.soak
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
        # A shell gives what it runs in the background a SIGINT that is ignored, and that is inherited.
        preexec_fn=lambda: signal.signal(signal.SIGINT, signal.SIG_DFL),
    )
    wait_until(lambda: demo.control.faults.hanging or process.poll() is not None, seconds=60)
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

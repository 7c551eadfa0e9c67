"""Whoever answers a phone has the processor first: workers and long commands give way."""

from __future__ import annotations

import os
from pathlib import Path

import pytest

from tests.waiting import wait_until

NICENESS = {"BACKGROUND_NICENESS": "7"}


def niceness(pid: int) -> int:
    return os.getpriority(os.PRIO_PROCESS, pid)


def children(pid: int) -> list[int]:
    return [int(child) for child in Path(f"/proc/{pid}/task/{pid}/children").read_text("ascii").split()]


def test_a_worker_and_its_processes_give_way(celery_worker_process):
    worker = celery_worker_process
    if worker.is_running:
        worker.kill()
    worker.environment = {**worker.environment, **NICENESS}
    worker.start()
    try:
        assert len(children(worker.pid)) >= 2
        assert {niceness(pid) for pid in (worker.pid, *children(worker.pid))} == {7}
    finally:
        worker.kill()  # the tests that follow wait for one that does not


@pytest.mark.parametrize("command", [["reconcile", "--full"], ["backfill"]])
def test_a_long_command_gives_way(calcom, salon, start_manage, command):
    mine = niceness(0)
    child = start_manage(*command, "--json", env=NICENESS)
    wait_until(lambda: niceness(child.pid) == 7, why_not=child.log.read_text)
    assert child.process.wait(timeout=60) == 0, child.log.read_text()
    assert niceness(0) == mine

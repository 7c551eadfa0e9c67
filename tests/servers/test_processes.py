import json
import os
import signal
import subprocess
import sys
import time
import uuid

import pytest
from django.core.cache import cache

from sync.models import Lease
from sync.process_tree import ProcessTree
from tests.servers.celery_jobs import count, fail
from tests.servers.processes import ROOT
from tests.waiting import wait_until


@pytest.mark.django_db(transaction=True)
def test_a_command_in_its_own_process_sees_what_this_test_has_committed(run_manage):
    instant = "2026-01-01T00:00:00Z"
    Lease.objects.create(
        name="job", holder="seen from outside", acquired_at=instant, renewed_at=instant, expires_at=instant
    )
    done = run_manage("shell", "-c", "from sync.models import Lease; print(Lease.objects.get().holder)")
    assert done.returncode == 0, done.stderr
    assert done.stdout.splitlines()[-1] == "seen from outside"


@pytest.mark.django_db(transaction=True)
def test_a_task_queued_while_the_worker_is_dead_is_run_by_the_next_worker(celery_worker_process):
    first, key = celery_worker_process.pid, uuid.uuid4().hex
    celery_worker_process.kill()
    count.delay(key=key)
    assert celery_worker_process.queue_length() == 1
    celery_worker_process.start()
    celery_worker_process.wait_until_idle()
    assert celery_worker_process.pid != first
    assert cache.get(key) == 1


@pytest.mark.django_db(transaction=True)
def test_what_a_task_fails_with_stands_masked_in_the_workers_log(celery_worker_process):
    mark = uuid.uuid4().hex
    fail.delay(why=f"{mark}: nobody answers +49 30 1234567")
    celery_worker_process.wait_until_idle()
    written = celery_worker_process.child.log.read_text().splitlines()
    lines = [line for line in written if mark in line]
    assert lines
    for line in lines:
        assert json.loads(line)["level"] == "error"
        assert "1234567" not in line


@pytest.mark.skipif("TEST_DATABASE_URL" in os.environ, reason="uses servers of somebody else")
def test_a_killed_test_run_takes_its_servers_with_it(tmp_path):
    """A run of its own, killed in the middle: pytest must leave no PostgreSQL and no Valkey behind."""
    (tmp_path / "test_waits.py").write_text(
        "import time\ndef test_waits():\n    print('WAITING', flush=True)\n    time.sleep(60)\n"
    )
    environment = {name: value for name, value in os.environ.items() if not name.startswith("PYTEST_")}
    environment.pop("DATABASE_URL", None)
    run = subprocess.Popen(
        [sys.executable, "-m", "pytest", "-s", "-q", "-p", "no:cacheprovider", "-c", "pyproject.toml",
         "--rootdir", str(ROOT), str(tmp_path / "test_waits.py")],
        cwd=ROOT, env=environment, stdin=subprocess.DEVNULL, stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT, text=True,
    )  # fmt: skip
    try:
        assert run.stdout
        seen = []
        for line in run.stdout:
            seen.append(line)
            if "WAITING" in line:
                break
        else:
            pytest.fail("".join(seen))
        servers = _processes_mentioning(f"slotkeeper-test-{run.pid}-")
        assert len(servers) >= 2, "a PostgreSQL and a Valkey should run"
    finally:
        run.kill()
        run.communicate()
    deadline = time.monotonic() + 10
    while left := _processes_mentioning(f"slotkeeper-test-{run.pid}-"):
        assert time.monotonic() < deadline, f"still running: {left}"
        time.sleep(0.05)


def test_a_log_that_has_grown_too_long_is_begun_anew(tmp_path):
    """Those who serve run for years, and write into the same file for as long."""
    goes_on = tmp_path / "goes_on"
    writes = (
        "import sys, time\n"
        "from pathlib import Path\n"
        "print('x' * 5000, flush=True)\n"
        "while not Path(sys.argv[1]).exists():\n"
        "    time.sleep(0.01)\n"
        "print('afterwards', flush=True)\n"
        "time.sleep(60)"
    )
    with ProcessTree(log_dir=tmp_path, longest_log=4000) as tree:
        log = tree.start("writer", [sys.executable, "-c", writes, str(goes_on)]).log
        wait_until(lambda: log.stat().st_size == 5001)
        tree.check()
        assert log.with_suffix(".log.1").read_text() == "x" * 5000 + "\n"
        goes_on.touch()
        wait_until(lambda: log.read_bytes().endswith(b"afterwards\n"))
        tree.check()
        assert log.read_bytes() == b"afterwards\n", "the writer goes on where the file begins"


STARTER = """
import sys
from pathlib import Path
from sync.process_tree import ProcessTree

with ProcessTree(log_dir=Path(sys.argv[1])) as tree:
    tree.start("child", sys.argv[2:])
    print(tree._guardian.pid, flush=True)
    sys.stdin.read()
"""


@pytest.mark.parametrize(
    "net",
    [
        "the stopping",
        "the guardian",
        pytest.param(
            "the kernel", marks=pytest.mark.skipif(sys.platform != "linux", reason="PR_SET_PDEATHSIG")
        ),
    ],
)
def test_each_net_below_a_process_tree_leaves_nothing_behind_by_itself(tmp_path, net):
    """What the child has started itself is reached by its group only, which somebody has to signal;
    should even the guardian be killed, the kernel ends the child.
    """
    sleep = f"sleep 600.{uuid.uuid4().int}"
    child = sleep.split() if net == "the kernel" else ["sh", "-c", f"{sleep} & wait"]
    starter = subprocess.Popen(
        [sys.executable, "-c", STARTER, str(tmp_path), *child],
        cwd=ROOT, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True,
    )  # fmt: skip
    assert starter.stdin
    assert starter.stdout
    guardian = int(starter.stdout.readline())
    wait_until(lambda: any(line.split()[1] == "sleep" for line in _processes_mentioning(sleep)))
    if net == "the kernel":
        os.kill(guardian, signal.SIGKILL)
    if net != "the stopping":
        starter.kill()
    starter.communicate()
    wait_until(lambda: not _processes_mentioning(sleep), why_not=lambda: _processes_mentioning(sleep))


def _processes_mentioning(words: str) -> list[str]:
    listed = subprocess.run(["ps", "-wweo", "pid=,args="], capture_output=True, text=True, check=True).stdout
    return [line for line in listed.splitlines() if words in line]


@pytest.mark.xdist_group("a-group")
def test_groups_are_told_to_xdist(request):
    if not getattr(request.config.option, "loadgroup", False):
        pytest.skip("nothing is spread over processes")
    assert request.node.nodeid.endswith("::test_groups_are_told_to_xdist@a-group")

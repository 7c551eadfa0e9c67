"""Fixtures that run this program in processes of its own, on the test's database, cache and queue.

Another process sees only what is committed: tests that use these need
`@pytest.mark.django_db(transaction=True)`. On SQLite the transaction of a plain `django_db` test would even
keep the other process from writing.
"""

import json
import os
import signal
import subprocess
import sys
import time
import uuid
from collections.abc import Callable, Iterator, Mapping
from contextlib import redirect_stderr, redirect_stdout
from io import StringIO
from pathlib import Path
from typing import Any
from urllib.parse import quote

import pytest
import redis
from django.conf import settings
from django.core.cache import cache
from django.core.management import get_commands, load_command_class
from django.db import connection

from sync.process_tree import Child, ProcessTree, last_lines
from tests.servers.celery_jobs import count

ROOT = Path(__file__).resolve().parents[2]
QUEUES = ("celery", "long")

RunManage = Callable[..., subprocess.CompletedProcess[str]]
StartManage = Callable[..., Child]


def database_url() -> str:
    """The test database of this run, as DATABASE_URL wants it."""
    database = connection.settings_dict
    if connection.vendor == "sqlite":
        return f"sqlite:///{database['NAME']}"
    user, password = quote(database["USER"], safe=""), quote(database["PASSWORD"] or "", safe="")
    credentials = f"{user}:{password}" if password else user
    return f"postgresql://{credentials}@{database['HOST']}:{database['PORT']}/{database['NAME']}"


@pytest.fixture
def subprocess_environment(db) -> dict[str, str]:
    """The environment that makes another process use this test's database, cache and queue."""
    return {**os.environ, "DATABASE_URL": database_url(), "PYTHONUNBUFFERED": "1"}


@pytest.fixture
def run_manage(subprocess_environment: dict[str, str]) -> RunManage:
    """`run_manage("audit", "--json")` runs manage.py to its end: a CompletedProcess with text output.

    Keyword arguments: `env` (added to the environment), `timeout` in seconds (60), `input` (text).
    """

    def run(
        *arguments: str, env: Mapping[str, str] | None = None, timeout: float = 60, input: str | None = None
    ) -> subprocess.CompletedProcess[str]:
        return subprocess.run(
            [sys.executable, "manage.py", *arguments],
            cwd=ROOT,
            env={**subprocess_environment, **(env or {})},
            input=input,
            stdin=subprocess.DEVNULL if input is None else None,
            capture_output=True,
            text=True,
            timeout=timeout,
            check=False,
        )

    return run


@pytest.fixture
def manage_here(db) -> RunManage:
    """`run_manage` without the seconds that a process takes to start, for a command whose words and exit
    status are looked at, and neither its environment nor what it logs.
    """

    def run(*arguments: str) -> subprocess.CompletedProcess[str]:
        out, errors, status = StringIO(), StringIO(), 0
        with redirect_stdout(out), redirect_stderr(errors):
            command = load_command_class(get_commands()[arguments[0]], arguments[0])
            try:
                command.run_from_argv(["manage.py", *arguments])
            except SystemExit as end:
                status = end.code if isinstance(end.code, int) else 1
        return subprocess.CompletedProcess(arguments, status, out.getvalue(), errors.getvalue())

    return run


@pytest.fixture
def start_manage(subprocess_environment: dict[str, str], tmp_path: Path) -> Iterator[StartManage]:
    """`start_manage("serve", "--port", "0")` starts manage.py; the Child has `.pid`, `.process`, `.log`.

    Its output goes to `.log`. What still runs at the end of the test is stopped with everything it started.
    """
    with ProcessTree(log_dir=tmp_path / "log") as tree:

        def start(*arguments: str, env: Mapping[str, str] | None = None, name: str = "") -> Child:
            return tree.start(
                name or f"{arguments[0]}-{len(tree.children)}",
                [sys.executable, "manage.py", *arguments],
                env={**subprocess_environment, **(env or {})},
                cwd=ROOT,
            )

        yield start


class CeleryWorkerProcess:
    """A real Celery worker (prefork, two processes) in its own process, without Beat."""

    def __init__(self, *, tree: ProcessTree) -> None:
        self.tree = tree
        self.environment: dict[str, str] = {}
        self.settings: dict[str, str] = {}
        self.child: Child | None = None
        self._broker = redis.Redis.from_url(
            settings.CELERY_BROKER_URL.replace("redis+socket://", "unix://").replace("virtual_host=", "db=")
        )

    @property
    def is_running(self) -> bool:
        return self.child is not None and self.child.process.poll() is None

    @property
    def pid(self) -> int:
        assert self.child is not None, "the worker was never started"
        return self.child.pid

    def start(self) -> None:
        """Start the worker unless it runs, and wait until it takes tasks."""
        if self.is_running:
            return
        name = f"worker@{os.getpid()}-{time.monotonic_ns()}"
        self.child = self.tree.start(
            "celery-worker",
            [
                sys.executable, "-m", "celery", "--app", "config", "worker", "--hostname", name,
                "--include", "tests.servers.celery_jobs", "--concurrency", "2",
                "--without-gossip", "--without-mingle",
                "--loglevel", "INFO",
            ],
            env=self.environment, cwd=ROOT, stop_seconds=5,
        )  # fmt: skip
        log = self.child.log
        # Celery writes this line when its consumer listens to the queue. The name is new for each start.
        self.tree.wait_until(
            lambda: f"{name} ready." in log.read_text(errors="replace"), child=self.child, seconds=30
        )

    def kill(self) -> None:
        """SIGKILL to the worker and its pool at one moment, as when the machine loses power."""
        assert self.child is not None
        os.killpg(self.child.pid, signal.SIGKILL)
        self.child.process.wait()
        self.tree.stop_child(self.child)
        self.child = None

    def restart(self) -> None:
        if self.child is not None:
            self.kill()
        self.start()

    def queue_length(self) -> int:
        """Tasks that wait, and tasks that were fetched and are not finished."""
        return sum(map(self._broker.llen, QUEUES)) + int(self._broker.hlen("unacked"))

    def queued(self, queue: str) -> list[dict[str, Any]]:
        """The headers of what waits there: of a worker that was killed, all that was sent since."""
        return [json.loads(message)["headers"] for message in self._broker.lrange(queue, 0, -1)]

    def wait_until_idle(self, *, seconds: float = 20) -> None:
        """Wait until nothing is queued or running. Raises TimeoutError with the end of the worker's log.

        An empty queue is not enough: a message that the worker is just fetching stands in neither of Redis'
        lists. A task of our own behind it, in each queue, settles that, because one consumer fetches in
        order. Twice, for what the last tasks have queued themselves.
        """
        deadline = time.monotonic() + seconds
        rounds_idle = 0
        while rounds_idle < 2:
            key = f"idle:{uuid.uuid4().hex}"
            for queue in QUEUES:
                count.apply_async(kwargs={"key": key}, queue=queue)
            while cache.get(key) != len(QUEUES) or self.queue_length():
                if time.monotonic() > deadline:
                    log = last_lines(self.child.log) if self.child else ""
                    raise TimeoutError(f"{self.queue_length()} tasks left after {seconds:g} s.\n{log}")
                time.sleep(0.01)
            rounds_idle += 1

    def forget_tasks(self) -> None:
        """Drop what waits. The bindings stay: publishers declare them once and then rely on them."""
        self._broker.delete(*QUEUES, "unacked", "unacked_index")


@pytest.fixture(scope="session")
def _worker_of_this_run() -> Iterator[CeleryWorkerProcess]:
    with ProcessTree(log_dir=settings.VAR_DIR / "log") as tree:
        yield CeleryWorkerProcess(tree=tree)


@pytest.fixture
def worker_settings() -> dict[str, str]:
    """What else the worker finds in its environment: to be overridden where a test needs something there."""
    return {}


@pytest.fixture
def celery_worker_process(
    _worker_of_this_run: CeleryWorkerProcess,
    subprocess_environment: dict[str, str],
    worker_settings: dict[str, str],
    transactional_db,
) -> Iterator[CeleryWorkerProcess]:
    """A running worker on this test's database and queue; `.kill()`, `.start()`, `.restart()`,
    `.wait_until_idle()`. It is started at first use and kept for the tests that follow, unless they want
    other `worker_settings`.

    A test ends with an idle worker: emptying the tables under a running task would dead-lock, or let the task
    write into the next test.
    """
    worker = _worker_of_this_run
    if worker.is_running and worker.settings != worker_settings:
        worker.kill()
    worker.settings = worker_settings
    worker.environment = {**subprocess_environment, **worker_settings}
    if not worker.is_running:
        worker.forget_tasks()
    worker.start()
    yield worker
    try:
        if worker.is_running:
            worker.wait_until_idle()
    except TimeoutError:
        worker.kill()
        raise
    finally:
        worker.forget_tasks()

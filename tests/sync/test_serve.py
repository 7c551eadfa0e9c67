"""`manage.py serve` as it is used: a process of its own, with nothing set but a folder."""

import json
import os
import select
import signal
import socket
import subprocess
import sys
import tempfile
import urllib.request
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, field
from pathlib import Path
from urllib.parse import urlsplit

import pytest
from django.db import connection

from sync.embedded_server import Address, answers_healthz
from tests.servers.processes import ROOT
from tests.waiting import wait_until

# One serve tree takes both cores while it starts: not beside another one.
pytestmark = pytest.mark.xdist_group("serve")

OURS = (
    "ALLOWED_HOSTS", "CACHE_URL", "DATABASE_POOL_SIZE", "DATABASE_URL", "DEBUG", "ENVIRONMENT",
    "FIELD_ENCRYPTION_KEY", "LOG_FORMAT",
    "PUBLIC_URL", "REDIS_URL", "SECRET_KEY", "TASK_VISIBILITY_TIMEOUT_SECONDS", "VAR_DIR",
)  # fmt: skip


@dataclass
class Serving:
    process: subprocess.Popen[str]
    var_dir: Path
    told: dict = field(default_factory=dict)

    def wait_until_ready(self) -> None:
        assert self.process.stdout
        readable, _, _ = select.select([self.process.stdout], [], [], 60)
        line = self.process.stdout.readline() if readable else ""
        if not line:
            self.process.kill()
            pytest.fail(f"serve did not get ready:\n{self.process.communicate()[1]}\n{self.logs()}")
        self.told = json.loads(line)

    def logs(self) -> str:
        return "\n".join(f"{log.name}:\n{log.read_text()}" for log in self.var_dir.glob("log/*.log"))

    def processes(self) -> list[str]:
        """Every process of the tree: each carries VAR_DIR in its environment, however deep it stands."""
        return [
            f"{process.name} {(process / 'cmdline').read_bytes()!r}"
            for process in Path("/proc").iterdir()
            if process.name.isdigit() and f"VAR_DIR={self.var_dir}\0".encode() in _environment(process)
        ]


def _environment(process: Path) -> bytes:
    try:
        state = (process / "stat").read_text().rpartition(")")[2].split()[0]
        return b"" if state == "Z" else (process / "environ").read_bytes() + b"\0"
    except OSError:
        return b""


def clean_environment(var_dir: Path, **more: str) -> dict[str, str]:
    kept = {name: value for name, value in os.environ.items() if name not in OURS}
    return {**kept, "VAR_DIR": str(var_dir), **more}


@pytest.fixture
def var_dir() -> Iterator[Path]:
    with tempfile.TemporaryDirectory(prefix="serve-", ignore_cleanup_errors=True) as folder:
        yield Path(folder)


@pytest.fixture
def start_serve(var_dir: Path) -> Iterator:
    started: list[Serving] = []

    def start(*arguments: str, **environment: str) -> Serving:
        process = subprocess.Popen(
            [sys.executable, "manage.py", "serve", "--json", "--port", "0", *arguments],
            cwd=ROOT, env=clean_environment(var_dir, **environment), stdin=subprocess.DEVNULL,
            stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True, start_new_session=True,
        )  # fmt: skip
        started.append(Serving(process=process, var_dir=var_dir))
        return started[-1]

    yield start
    for serving in started:
        serving.process.terminate()
        try:
            serving.process.communicate(timeout=40)
        except subprocess.TimeoutExpired:
            serving.process.kill()
            serving.process.communicate()


def is_complete(serving: Serving) -> bool:
    """Two web workers and their parent, two of Celery's pool with their parent, one with its parent for long
    runs, Beat, Valkey, guardian, serve. Who is ready to answer need not have all of Celery's beside it yet.
    """
    return len(serving.processes()) >= 11


def get(url: str) -> tuple[int, bytes]:
    with urllib.request.urlopen(url, timeout=10) as response:
        return response.status, response.read()


@pytest.mark.timeout(240)
@pytest.mark.skipif(not Path("/proc/self/environ").exists(), reason="looks for processes in /proc")
def test_serve_needs_no_environment_answers_leaves_nothing_to_kill_9_and_ends_cleanly_on_ctrl_c(
    start_serve, var_dir
):
    serving = start_serve()
    serving.wait_until_ready()
    assert serving.told["seconds"] < 60
    assert set(serving.told["pids"]) == {"serve", "valkey", "web", "worker", "long-runs", "beat"}
    assert get(serving.told["url"] + "/healthz") == (200, b"ok\n")
    status, body = get(serving.told["url"] + "/readyz")
    assert status == 200
    assert json.loads(body) == {
        "ready": True,
        "checks": {"database": "ok", "cache": "ok", "broker": "ok", "beat": "ok"},
    }
    assert b"csrfmiddlewaretoken" in get(serving.told["admin_url"])[1]
    wait_until(lambda: is_complete(serving), seconds=15, why_not=serving.processes)
    for private in ("secret_key", "field_encryption_key", "slotkeeper.sqlite3", "log/web.log"):
        assert (var_dir / private).stat().st_mode & 0o077 == 0, private

    second = subprocess.run(
        [sys.executable, "manage.py", "serve", "--port", "0"],
        cwd=ROOT, env=clean_environment(var_dir), capture_output=True, text=True, timeout=30, check=False,
    )  # fmt: skip
    assert second.returncode == 2
    assert "Another serve is running" in second.stderr
    assert str(serving.process.pid) in second.stderr
    assert "Traceback" not in second.stderr

    serving.process.kill()
    serving.process.wait()
    wait_until(lambda: not serving.processes(), seconds=15, why_not=serving.processes)

    again = start_serve()
    again.wait_until_ready()
    assert get(again.told["url"] + "/healthz")[0] == 200
    wait_until(lambda: is_complete(again), seconds=15, why_not=again.processes)
    os.killpg(again.process.pid, signal.SIGINT)  # as a terminal sends it: to the whole foreground group
    output, errors = again.process.communicate(timeout=40)
    assert again.process.returncode == 0, errors
    assert output == "", "only one object may stand on standard output"
    assert "Traceback" not in errors
    assert again.processes() == []


@pytest.mark.parametrize("child", ["worker", "long-runs", "beat", "web", "valkey"])
@pytest.mark.soak
def test_a_child_that_dies_ends_the_tree_and_names_its_log(start_serve, child):
    serving = start_serve()
    serving.wait_until_ready()
    os.kill(serving.told["pids"][child], signal.SIGKILL)
    _, errors = serving.process.communicate(timeout=60)
    assert serving.process.returncode == 2
    assert f"{child} was killed by SIGKILL" in errors
    assert f"{serving.var_dir}/log/{child}.log" in errors
    wait_until(lambda: not serving.processes(), seconds=15, why_not=serving.processes)


@pytest.mark.django_db(transaction=True)
def test_each_request_gives_its_database_connection_back(start_serve, subprocess_environment):
    """With fewer connections than threads, connections kept by idle threads would starve the others."""
    if connection.vendor != "postgresql":
        pytest.skip("SQLite has no pool")
    serving = start_serve(
        "--workers", "1", "--threads", "8",
        DATABASE_URL=subprocess_environment["DATABASE_URL"], ENVIRONMENT="test", DATABASE_POOL_SIZE="2",
    )  # fmt: skip
    serving.wait_until_ready()

    def with_unknown_session(number: int) -> int:
        # The session is looked up in the cache, then in the database.
        request = urllib.request.Request(
            serving.told["admin_url"] + "login/", headers={"Cookie": f"sessionid={number:032d}"}
        )
        with urllib.request.urlopen(request, timeout=20) as response:
            return int(response.status)

    with ThreadPoolExecutor(max_workers=8) as threads:
        assert list(threads.map(with_unknown_session, range(48))) == [200] * 48
    assert "PoolTimeout" not in serving.logs()


@pytest.mark.parametrize("name", ["slots.example.org", ".example.org", "*"])
def test_a_server_that_answers_to_no_localhost_is_seen_to_be_ready(live_server, settings, name):
    settings.ALLOWED_HOSTS = [name]
    where = urlsplit(live_server.url)
    assert answers_healthz(Address(host=where.hostname, port=where.port))


def run_serve(var_dir: Path, *arguments: str, **environment: str) -> subprocess.CompletedProcess[str]:
    return subprocess.run(
        [sys.executable, "manage.py", "serve", *arguments],
        cwd=ROOT, env=clean_environment(var_dir, **environment), capture_output=True, text=True,
        timeout=60, check=False,
    )  # fmt: skip


def test_a_port_in_use_is_said_in_one_sentence(var_dir):
    with socket.socket() as taken:
        taken.bind(("127.0.0.1", 0))
        taken.listen()
        port = taken.getsockname()[1]
        done = run_serve(var_dir, "--port", str(port))
    assert done.returncode == 2
    assert f"127.0.0.1:{port} cannot be used" in done.stderr
    assert "--port" in done.stderr
    assert "Traceback" not in done.stderr


def test_serve_refuses_unsafe_production_settings_with_hints(var_dir):
    done = run_serve(var_dir, "--port", "0", ENVIRONMENT="production")
    assert done.returncode == 2
    for identifier in ("config.E001", "config.E002"):
        assert identifier in done.stderr
    assert "token_urlsafe" in done.stderr
    assert not (var_dir / "secret_key").exists(), "production must not make a key for itself"
    assert not (var_dir / "log").exists(), "nothing may be started before"


@pytest.mark.parametrize(
    "started",
    [
        ["-c", "import config.wsgi"],
        ["-c", "import config.asgi"],
        ["-m", "celery", "--app", "config", "worker"],
        ["-m", "celery", "--app", "config", "beat", "--pidfile="],
    ],
    ids=["wsgi", "asgi", "worker", "beat"],
)
def test_whatever_else_is_started_refuses_unsafe_production_settings_too(var_dir, started):
    done = subprocess.run(
        [sys.executable, *started],
        cwd=ROOT, env=clean_environment(var_dir, ENVIRONMENT="production"), capture_output=True, text=True,
        timeout=60, check=False,
    )  # fmt: skip
    assert done.returncode != 0
    assert "Slotkeeper refuses to start" in done.stderr
    assert "config.E001" in done.stderr

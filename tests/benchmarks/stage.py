"""Everything a benchmark needs, in processes of its own, as a production machine has it.

Two stages: `postgres` (PostgreSQL and Valkey over its socket) and `embedded` (what `manage.py serve` starts:
SQLite and a durable Valkey over its socket). On each the program and the floors run behind the same web
server, two workers of sixteen threads, and talk to one Cal.com simulator.
"""

from __future__ import annotations

import json
import os
import secrets
import socket
import subprocess
import sys
import uuid
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit, urlunsplit

import psycopg
from cryptography.fernet import Fernet

from booking.calcom.simulator.control import SimulatorControl
from sync import embedded_server
from sync.embedded_server import Address
from sync.process_tree import Child, ProcessTree
from tests.benchmarks.callers import AGENT, CALLED_NUMBER, SLOT
from tests.benchmarks.load import Plan, Result
from tests.servers.postgres import free_port

ROOT = Path(__file__).resolve().parents[2]
WORKERS = 2
THREADS = 16
CALCOM_KEY = "cal_bench_key_0123456789"
RETELL_KEY = "key_bench_0123456789abcdef"
# One event type each, so that the floor and the program never ask for the same slot.
EVENT_TYPES = {"ours": 101, "floor": 102, "direct": 103}
START_SECONDS = 40


@dataclass
class Web:
    """One running web server; `hook` is the path that our requests go below."""

    child: Child
    address: Address
    hook: str


def granian(application: str, address: Address) -> list[str]:
    return embedded_server.web_command(
        address=address, workers=WORKERS, threads=THREADS, application=application
    )


def gunicorn(application: str, address: Address) -> list[str]:
    return [
        sys.executable, "-m", "gunicorn", "--worker-class", "gthread",
        "--bind", f"{address.host}:{address.port}", "--workers", str(WORKERS), "--threads", str(THREADS),
        "--keep-alive", "75", "--log-level", "warning", application,
    ]  # fmt: skip


SERVERS = {"granian": granian, "gunicorn": gunicorn}


class Stage:
    def __init__(self, *, name: str, tree: ProcessTree, folder: Path, environment: dict[str, str]) -> None:
        self.name = name
        self.tree = tree
        self.folder = folder
        self.environment = environment
        self.run = uuid.uuid4().hex[:8]
        self.endpoint = str(uuid.uuid4())
        self._next_slot = dict.fromkeys(EVENT_TYPES, 0)
        self.calcom = self._start_simulator()
        self.manage("migrate", "--verbosity", "0")
        self._provision()
        self.floor_environment = {
            **environment,
            "FLOOR_KEY": RETELL_KEY,
            "FLOOR_CALCOM_URL": self.calcom.url,
            "FLOOR_CALCOM_KEY": CALCOM_KEY,
            "FLOOR_EVENT_TYPE": str(EVENT_TYPES["floor"]),
            "FLOOR_DATABASE": environment.get("DATABASE_URL") or str(folder / "floor.sqlite3"),
            "FLOOR_REDIS": environment["REDIS_URL"] + "?db=9",
        }
        self._python("-c", "from tests.benchmarks import floor; floor.make_tables()", self.floor_environment)

    # --- processes

    def start_web(self, server: str = "granian", *, floor: str = "") -> Web:
        """Start the program, or the floor named `/book` or `/read`, and wait until its port answers."""
        address = Address(host="127.0.0.1", port=free_port())
        application = "tests.benchmarks.floor:application" if floor else "config.wsgi:application"
        child = self.tree.start(
            f"{server}-{'floor' if floor else 'ours'}-{address.port}",
            SERVERS[server](application, address),
            env=self.floor_environment if floor else self.environment,
            cwd=ROOT,
            stop_seconds=15,
        )
        ready = _connects if floor else embedded_server.answers_healthz
        self.tree.wait_until(lambda: ready(address), child=child, seconds=START_SECONDS)
        return Web(child=child, address=address, hook=floor or f"/hooks/{self.endpoint}")

    def start_cold_web(self) -> Web:
        """Start the program and wait until both its workers listen, without sending them anything."""
        address = Address(host="127.0.0.1", port=free_port())
        command = granian("config.wsgi:application", address)
        command[command.index("--log-level") + 1] = "info"
        child = self.tree.start(
            f"cold-{address.port}", command, env=self.environment, cwd=ROOT, stop_seconds=15
        )
        listening = [f"Started worker-{number}\n" for number in range(1, WORKERS + 1)]

        def is_ready() -> bool:
            said = child.log.read_text(errors="replace")
            return all(line in said for line in listening)

        self.tree.wait_until(is_ready, child=child, seconds=START_SECONDS)
        return Web(child=child, address=address, hook=f"/hooks/{self.endpoint}")

    def stop_web(self, web: Web) -> None:
        self.tree.stop_child(web.child)

    def manage(self, *arguments: str) -> str:
        return self._python("manage.py", *arguments, self.environment)

    def _python(self, *words: Any) -> str:
        *arguments, environment = words
        done = subprocess.run(
            [sys.executable, *arguments], cwd=ROOT, env=environment, stdin=subprocess.DEVNULL,
            capture_output=True, text=True, timeout=90, check=False,
        )  # fmt: skip
        assert done.returncode == 0, f"{arguments}\n{done.stdout}{done.stderr}"
        return done.stdout

    def _start_simulator(self) -> SimulatorControl:
        world = self.folder / "world.json"
        event_types = [
            {"key": key, "event_type_id": number, "minutes": int(SLOT.total_seconds() // 60),
             "hosts": [f"host_{key}"], "available": "always"}
            for key, number in EVENT_TYPES.items()
        ]  # fmt: skip
        account = {"name": "bench", "api_key": CALCOM_KEY, "owner": "ann", "event_types": event_types}
        world.write_text(json.dumps({"accounts": [account]}))
        child = self.tree.start(
            "simulator",
            [sys.executable, "manage.py", "calcom_simulator", "--port", "0", "--world", str(world), "--json"],
            env=self.environment,
            cwd=ROOT,
        )

        def said() -> str:
            return next((line for line in child.log.read_text().splitlines() if line.startswith("{")), "")

        self.tree.wait_until(lambda: bool(said()), child=child, seconds=START_SECONDS)
        return SimulatorControl(json.loads(said())["base_url"])

    def _provision(self) -> None:
        company = {
            "slug": "bench",
            "name": "Salon Mitte",
            "timezone": "Europe/Berlin",
            "language": "de",
            "endpoint_id": self.endpoint,
            "attendee_email_domain": "callers.bench.example",
            "calcom": {
                "base_url": self.calcom.base_url,
                "api_key": CALCOM_KEY,
                "webhook_secret": "whsec_bench",
            },
            "retell": {"api_key": RETELL_KEY},
            "branches": [
                {
                    "slug": "mitte",
                    "name": "Mitte",
                    "phone_numbers": [CALLED_NUMBER],
                    "retell_agent_ids": [AGENT],
                }
            ],
            "services": [
                {
                    "slug": slug,
                    "name": slug.title(),
                    "aliases": [],
                    "duration_minutes": int(SLOT.total_seconds() // 60),
                    "calcom_event_type_id": number,
                }
                for slug, number in (("haircut", EVENT_TYPES["ours"]), ("other", EVENT_TYPES["direct"]))
            ],
        }
        file = self.folder / "company.json"
        file.write_text(json.dumps({"companies": [company]}))
        self.manage("provision", str(file))

    # --- requests

    def upstream_takes(self, seconds: float) -> None:
        self.calcom.settings(thinking_seconds=seconds)

    def take_slots(self, whose: str, count: int) -> int:
        """The first of `count` slots that nobody has asked for yet."""
        first = self._next_slot[whose]
        self._next_slot[whose] += count
        return first

    def load(
        self, web: Web, what: str, *, concurrency: int, count: int, first: int | None = None,
        expected: str = '"code":"booked"',
    ) -> Result:  # fmt: skip
        """Send `count` requests to the program or a floor. Fails unless every answer holds `expected`."""
        whose = "ours" if web.hook.startswith("/hooks") else "floor"
        if first is None:
            first = self.take_slots(whose, count) if what == "book" else 0
        return self._generate(
            Plan(
                what=what, host=web.address.host, port=web.address.port, concurrency=concurrency,
                count=count, first=first, hook=web.hook, key=RETELL_KEY, run=self.run, expected=expected,
            )
        )  # fmt: skip

    def load_simulator(self, *, concurrency: int, count: int) -> Result:
        """The same creates, straight at the simulator: what the upstream itself takes."""
        parts = urlsplit(self.calcom.url)
        return self._generate(
            Plan(
                what="simulator", host=parts.hostname or "", port=parts.port or 0, concurrency=concurrency,
                count=count, first=self.take_slots("direct", count), key=CALCOM_KEY,
                event_type_id=EVENT_TYPES["direct"], expected="HTTP/1.1 201",
            )
        )  # fmt: skip

    def _generate(self, plan: Plan) -> Result:
        done = subprocess.run(
            [sys.executable, "-m", "tests.benchmarks.load"], cwd=ROOT, input=json.dumps(asdict(plan)),
            capture_output=True, text=True, timeout=120, check=False,
        )  # fmt: skip
        assert done.returncode == 0, done.stderr
        result = Result(**json.loads(done.stdout))
        assert not result.unexpected, f"{plan.what}: {result.unexpected} of {plan.count}\n{result.example}"
        return result


def _connects(address: Address) -> bool:
    try:
        socket.create_connection((address.host, address.port), timeout=1).close()
    except OSError:
        return False
    return True


@contextmanager
def set_stage(name: str, *, folder: Path) -> Iterator[Stage]:
    """`postgres` or `embedded`, from nothing; everything it started is stopped at the end."""
    database_url = os.environ.get("DATABASE_URL", "")
    with ProcessTree(log_dir=folder / "log") as tree:
        redis_url = embedded_server.start_valkey(
            tree, socket_path=folder / "valkey.sock", data_dir=folder / "valkey"
        )
        environment = _environment(folder=folder, redis_url=redis_url)
        if name == "embedded":
            yield Stage(name=name, tree=tree, folder=folder, environment=environment)
            return
        with _database_of_our_own(database_url) as url:
            # What a deployment must set, so that its settings are the ones measured.
            environment |= {
                "DATABASE_URL": url,
                "ENVIRONMENT": "production",
                "PUBLIC_URL": "https://bench.example",
                "ALLOWED_HOSTS": "localhost,127.0.0.1",
            }
            try:
                yield Stage(name=name, tree=tree, folder=folder, environment=environment)
            finally:
                tree.stop()


def _environment(*, folder: Path, redis_url: str) -> dict[str, str]:
    inherited = {name: os.environ[name] for name in ("PATH", "HOME", "LANG", "TMPDIR") if name in os.environ}
    return {
        **inherited,
        "VAR_DIR": str(folder),
        "REDIS_URL": redis_url,
        "SECRET_KEY": secrets.token_hex(32),
        "FIELD_ENCRYPTION_KEY": Fernet.generate_key().decode(),
        "LOG_FORMAT": "json",
        "PYTHONUNBUFFERED": "1",
    }


@contextmanager
def _database_of_our_own(url: str) -> Iterator[str]:
    name = f"bench_{uuid.uuid4().hex[:8]}"
    with psycopg.connect(url, autocommit=True) as server:
        server.execute(f'CREATE DATABASE "{name}"')
    try:
        yield urlunsplit(urlsplit(url)._replace(path=f"/{name}"))
    finally:
        with psycopg.connect(url, autocommit=True) as server:
            server.execute(f'DROP DATABASE "{name}" WITH (FORCE)')

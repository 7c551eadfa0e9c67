"""One REDIS_URL, and what Django's cache and Celery's broker each want to be told.

The two take different spellings of a Unix socket, and different database numbers: `cache.clear()` empties a
whole database, and the queue must not be in it.
"""

import hashlib
import os
import socket
import stat
import tempfile
from dataclasses import dataclass
from pathlib import Path
from urllib.parse import parse_qsl, urlencode, urlsplit, urlunsplit

SCHEMES = ("redis", "rediss", "valkey", "valkeys", "unix")

# sockaddr_un holds 104 bytes on macOS and 108 on Linux, with the closing zero.
_LONGEST_SOCKET_PATH = 100


@dataclass(frozen=True)
class RedisUrls:
    broker: str
    cache: str


def split(url: str) -> RedisUrls:
    """The broker in the database the URL names (0 by default), the cache in the one after it.

    A server that has only one database is used through CACHE_URL, which then names it.
    """
    parts = urlsplit(url)
    if parts.scheme == "unix":
        query = dict(parse_qsl(parts.query))
        number = int(query.pop("db", "0"))
        rest = "&" + urlencode(query) if query else ""
        return RedisUrls(
            broker=f"redis+socket://{parts.path}?virtual_host={number}{rest}",
            cache=f"unix://{parts.path}?db={number + 1}{rest}",
        )
    scheme = {"valkey": "redis", "valkeys": "rediss"}.get(parts.scheme, parts.scheme)
    number = int(parts.path.strip("/") or "0")
    broker, cache = (
        urlunsplit((scheme, parts.netloc, f"/{database}", parts.query, ""))
        for database in (number, number + 1)
    )
    return RedisUrls(broker=broker, cache=cache)


def embedded_socket(var_dir: Path) -> Path:
    """Where the embedded Valkey of this VAR_DIR listens: in a folder only its owner may enter.

    A path too long for a socket address moves to the temporary folder, under a name of its own.
    """
    inside = var_dir / "valkey" / "valkey.sock"
    if len(os.fsencode(inside)) <= _LONGEST_SOCKET_PATH:
        return inside
    digest = hashlib.sha256(os.fsencode(var_dir)).hexdigest()[:16]
    return Path(tempfile.gettempdir()) / f"slotkeeper-{os.getuid()}-{digest}" / "valkey.sock"


def running_embedded_server(var_dir: Path) -> str:
    """The URL of the Valkey that a running `serve` with this VAR_DIR has started, else ''.

    Asked by connecting: a socket file is left behind by a killed server. A socket in somebody else's folder
    is not believed.
    """
    if not hasattr(socket, "AF_UNIX"):
        return ""
    path = embedded_socket(var_dir)
    try:
        folder = path.parent.lstat()
    except OSError:
        return ""
    if not stat.S_ISDIR(folder.st_mode) or folder.st_uid != os.getuid() or folder.st_mode & 0o077:
        return ""
    with socket.socket(socket.AF_UNIX, socket.SOCK_STREAM) as probe:
        probe.settimeout(0.5)
        try:
            probe.connect(os.fspath(path))
        except OSError:
            return ""
    return f"unix://{path}"

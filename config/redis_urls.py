"""One REDIS_URL, and what Django's cache and Celery's broker each want to be told.

The two take different spellings of a Unix socket, and different database numbers: `cache.clear()` empties a
whole database, and the queue must not be in it.
"""

import hashlib
import os
import socket
import stat
import tempfile
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from urllib.parse import parse_qsl, urlencode, urlsplit, urlunsplit

import redis

from config import env

SCHEMES = ("redis", "rediss", "valkey", "valkeys", "unix")

# sockaddr_un holds 104 bytes on macOS and 108 on Linux, with the closing zero.
_LONGEST_SOCKET_PATH = 100


# As Celery's documentation and many providers write it, and as the cache's driver wants it.
_CERTIFICATES = {"CERT_NONE": "none", "CERT_OPTIONAL": "optional", "CERT_REQUIRED": "required"}


class WrongRedisUrl(ValueError):
    """It cannot be used. The text says why and repeats nothing of it: it may hold a password."""


@dataclass(frozen=True)
class RedisUrls:
    broker: str
    cache: str


def setting(name: str) -> str:
    """The URL in that environment variable, '' when it is not set. Raises WrongSetting."""
    url = env.url(name, schemes=SCHEMES)
    try:
        if url and name == "REDIS_URL":
            split(url)
        if url:
            redis.ConnectionPool.from_url(cache_alone(url)).make_connection()  # which does not connect yet
    except (ValueError, TypeError, redis.RedisError) as error:
        raise env.WrongSetting(f"{name} cannot be used: {error}.") from None
    return url


def split(url: str) -> RedisUrls:
    """The broker in the database the URL names (0 by default), the cache in the one after it.

    A server that has only one database is used through CACHE_URL, which then names it. Raises WrongRedisUrl.
    """
    scheme, place, number, query = _read(url)
    if others := [name for name in query if not name.startswith("ssl_")]:
        raise WrongRedisUrl(f"Celery's broker does not know the option {', '.join(others)}")
    if scheme == "unix":
        broker = f"redis+socket://{place}?{urlencode({'virtual_host': number} | query)}"
    else:
        broker = _joined(scheme, place, number, query)
    return RedisUrls(broker=broker, cache=_joined(scheme, place, number + 1, query))


def cache_alone(url: str) -> str:
    """The same in the words of the cache's driver. Raises WrongRedisUrl."""
    return _joined(*_read(url))


def _read(url: str) -> tuple[str, str, int, dict[str, str]]:
    """Scheme, whereabouts with name and password, number of the database, options."""
    parts = urlsplit(url)
    scheme = {"valkey": "redis", "valkeys": "rediss"}.get(parts.scheme, parts.scheme)
    query = dict(parse_qsl(parts.query))
    named = query.pop("db", "")
    if scheme == "unix":
        if parts.hostname or not parts.path.strip("/"):
            raise WrongRedisUrl("it names no socket, as in unix:///run/valkey.sock")
        place = parts.netloc + parts.path
    else:
        named = named or parts.path.strip("/")
        place = parts.netloc
    if named and not (named.isascii() and named.isdecimal()):
        raise WrongRedisUrl("behind the host stands the number of a database, as in redis://host:6379/0")
    if scheme == "rediss":
        # Celery's broker would believe any certificate if it is not told.
        asked = query.get("ssl_cert_reqs", "required")
        query["ssl_cert_reqs"] = _CERTIFICATES.get(asked.upper(), asked)
    return scheme, place, int(named or 0), query


def _joined(scheme: str, place: str, number: int, query: Mapping[str, str]) -> str:
    if scheme == "unix":
        return f"unix://{place}?{urlencode({'db': number} | dict(query))}"
    return urlunsplit((scheme, place, f"/{number}", urlencode(query), ""))


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

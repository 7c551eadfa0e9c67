"""A small TCP proxy on the loopback, to stand before PostgreSQL or Redis and take them away.

    with TcpProxy(to=("127.0.0.1", 5432)) as proxy:
        proxy.cut()              # what is open is reset, whoever comes is refused
        proxy.restore()          # on the same port
        proxy.delay = 0.2        # every chunk, in both directions, takes that much longer
        proxy.stall()            # connections stay and say nothing any more, until `restore`
        proxy.lose_answer_to(b"COMMIT")   # carried out behind it; the answer is lost in a cut

The server behind it stays up all the time, so a test can go on looking at it through its real address.
"""

from __future__ import annotations

import contextlib
import select
import socket
import struct
import threading
from types import TracebackType
from urllib.parse import urlsplit

Target = tuple[str, int] | str

_RESET = struct.pack("ii", 1, 0)  # SO_LINGER: closing sends RST, as when a machine goes down
_CHUNK = 65_536
_LOOK_SECONDS = 0.05


def target_of(url: str) -> Target:
    """Where a database or Redis URL points: (host, port), or the path of a Unix socket."""
    parts = urlsplit(url)
    if parts.scheme in ("unix", "redis+socket"):
        return parts.path
    default = {"redis": 6379, "rediss": 6379}.get(parts.scheme, 5432)
    return parts.hostname or "127.0.0.1", parts.port or default


class TcpProxy:
    """Start it with `with`. `port` stays the same over `cut` and `restore`."""

    def __init__(self, *, to: Target) -> None:
        self.delay = 0.0
        self.connections_made = 0
        self._to = to
        self._lock = threading.Lock()
        self._listener: socket.socket | None = None
        self._links: set[_Link] = set()
        self._stalled = threading.Event()
        self._timers: list[threading.Timer] = []
        self._fatal = b""
        self._away_seconds: float | None = None
        # Never listens: it keeps the port from being given to somebody else while the proxy is cut.
        self._reserved = self._bound(port=0)
        self.port = int(self._reserved.getsockname()[1])

    def __enter__(self) -> TcpProxy:
        self._listen()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        for timer in self._timers:
            timer.cancel()
        self.cut()
        self._reserved.close()

    @property
    def is_cut(self) -> bool:
        return self._listener is None

    def cut(self, *, seconds: float | None = None) -> None:
        """Reset every connection and refuse new ones; with `seconds`, restore by itself after that time."""
        with self._lock:
            listener, self._listener = self._listener, None
            links, self._links = list(self._links), set()
        if listener is not None:
            with contextlib.suppress(OSError):
                listener.shutdown(socket.SHUT_RDWR)
            listener.close()
        for link in links:
            link.reset()
        if seconds is not None:
            timer = threading.Timer(seconds, self.restore)
            timer.daemon = True
            self._timers.append(timer)
            timer.start()

    def stall(self) -> None:
        """Nothing gets through any more, and nobody is told: a machine that hangs."""
        self._stalled.set()

    def lose_answer_to(self, words: bytes, *, seconds: float | None = None) -> None:
        """Once: let the next chunk of a client that holds `words` through, and cut when it is answered."""
        self._away_seconds = seconds
        self._fatal = words

    def restore(self) -> None:
        self._stalled.clear()
        if self.is_cut:
            self._listen()

    def _listen(self) -> None:
        listener = self._bound(port=self.port)
        listener.listen(64)
        self._listener = listener
        threading.Thread(target=self._accept, args=(listener,), name="tcp-proxy", daemon=True).start()

    @staticmethod
    def _bound(*, port: int) -> socket.socket:
        bound = socket.socket(socket.AF_INET, socket.SOCK_STREAM)
        for option in (socket.SO_REUSEADDR, socket.SO_REUSEPORT):
            bound.setsockopt(socket.SOL_SOCKET, option, 1)
        bound.bind(("127.0.0.1", port))
        return bound

    def _accept(self, listener: socket.socket) -> None:
        while True:
            try:
                client, _ = listener.accept()
            except OSError:
                return
            try:
                server = self._connect()
            except OSError:
                client.close()
                continue
            link = _Link(self, client, server)
            with self._lock:
                taken = self._listener is listener
                if taken:
                    self._links.add(link)
                    self.connections_made += 1
            if taken:
                threading.Thread(target=link.run, name="tcp-proxy-link", daemon=True).start()
            else:
                link.reset()

    def _connect(self) -> socket.socket:
        if isinstance(self._to, str):
            server = socket.socket(socket.AF_UNIX, socket.SOCK_STREAM)
            server.connect(self._to)
            return server
        return socket.create_connection(self._to, timeout=5)

    def _is_fatal(self, chunk: bytes) -> bool:
        with self._lock:
            found = bool(self._fatal) and self._fatal in chunk
            if found:
                self._fatal = b""
            return found

    def _forget(self, link: _Link) -> None:
        with self._lock:
            self._links.discard(link)


class _Link:
    """One client's connection and ours to the server behind."""

    def __init__(self, proxy: TcpProxy, client: socket.socket, server: socket.socket) -> None:
        self.proxy = proxy
        self.client = client
        self.server = server
        self._gone = threading.Event()

    def run(self) -> None:
        other = {self.client: self.server, self.server: self.client}
        try:
            while not self._gone.is_set():
                if self.proxy._stalled.is_set():
                    self._gone.wait(_LOOK_SECONDS)
                    continue
                readable, _, _ = select.select(list(other), [], [], _LOOK_SECONDS)
                for source in readable:
                    chunk = source.recv(_CHUNK)
                    if not chunk:
                        return
                    if self.proxy.delay:
                        self._gone.wait(self.proxy.delay)
                    if source is self.client and self.proxy._is_fatal(chunk):
                        self.server.sendall(chunk)
                        self.server.recv(_CHUNK)
                        self.proxy.cut(seconds=self.proxy._away_seconds)
                        return
                    other[source].sendall(chunk)
        except (OSError, ValueError):
            return
        finally:
            # Here and nowhere else: a number that is closed under `select` may already be somebody else's.
            self.proxy._forget(self)
            self.client.close()
            self.server.close()

    def reset(self) -> None:
        """The client sees a reset at its next read, the server a client that has left."""
        self._gone.set()
        with contextlib.suppress(OSError):
            self.client.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, _RESET)
        for side in (self.server, self.client):
            with contextlib.suppress(OSError):
                side.shutdown(socket.SHUT_RDWR)

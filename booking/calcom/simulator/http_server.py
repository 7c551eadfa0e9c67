"""A lean HTTP/1.1 server: one thread per connection, kept alive, one send per answer.

The standard library's server writes headers and body apart and parses with the e-mail package; here a request
must cost far less than what a benchmark wants to measure.
"""

from __future__ import annotations

import contextlib
import socket
import struct
import threading
import time
from collections.abc import Callable
from dataclasses import dataclass
from http import HTTPStatus

REASONS = {status.value: status.phrase for status in HTTPStatus}
CHUNK = 65536
INTERIM_SECONDS = 0.2  # long enough for a client that takes it for the answer to ask for something else
# SO_LINGER on with a timeout of 0: closing sends RST and throws away what was not yet sent
RESET = struct.pack("ii", 1, 0)


@dataclass
class Outgoing:
    """What goes back on the wire, and how it is spoilt on the way."""

    status: int
    body: bytes
    headers: dict[str, str]
    silent: bool = False
    truncate: bool = False
    reset: bool = False
    close: bool = False
    trickle: float | None = None
    trickle_headers: bool = False
    interim: int | None = None

    @property
    def ends_connection(self) -> bool:
        return self.silent or self.truncate or self.reset or self.close

    def head(self) -> bytes:
        lines = [f"HTTP/1.1 {self.status} {REASONS.get(self.status, 'Unknown')}"]
        lines.extend(f"{name}: {value}" for name, value in self.headers.items())
        lines.append(f"Content-Length: {len(self.body)}\r\n\r\n")
        return "\r\n".join(lines).encode("latin-1")


class ClientLeft(Exception):
    """The client closed the connection, or sent something that is not HTTP."""


Respond = Callable[[str, str, dict[str, str], bytes, "Connection"], Outgoing]


class Connection:
    def __init__(self, server: HttpServer, sock: socket.socket, number: int) -> None:
        self.server = server
        self.sock = sock
        self.number = number
        self.is_idle = True
        self._buffer = b""

    def serve(self) -> None:
        try:
            while not self.server.stopping.is_set():
                self.is_idle = not self._buffer
                method, target, headers, body = self._read()
                outgoing = self.server.respond(method, target, headers, body, self)
                if not self._write(outgoing) or headers.get("connection", "").lower() == "close":
                    break
        except (OSError, ClientLeft):
            pass
        finally:
            self.end()
            self.server.forget(self)

    def end(self) -> None:
        with contextlib.suppress(OSError):
            self.sock.shutdown(socket.SHUT_RDWR)
        with contextlib.suppress(OSError):
            self.sock.close()

    def client_left(self) -> bool:
        """Whether the other side has closed. Never blocks."""
        try:
            return self.sock.recv(1, socket.MSG_PEEK | socket.MSG_DONTWAIT) == b""
        except BlockingIOError:
            return False
        except OSError:
            return True

    def _more(self) -> None:
        data = self.sock.recv(CHUNK)
        if not data:
            raise ClientLeft
        self.is_idle = False
        self._buffer += data

    def _read(self) -> tuple[str, str, dict[str, str], bytes]:
        while (end := self._buffer.find(b"\r\n\r\n")) < 0:
            self._more()
        lines = self._buffer[:end].decode("latin-1").split("\r\n")
        self._buffer = self._buffer[end + 4 :]
        try:
            method, target, _ = lines[0].split(" ")
        except ValueError:
            raise ClientLeft from None
        headers = {}
        for line in lines[1:]:
            name, _, value = line.partition(":")
            headers[name.lower()] = value.strip()
        if headers.get("expect", "").lower() == "100-continue":
            self.sock.sendall(b"HTTP/1.1 100 Continue\r\n\r\n")
        if headers.get("transfer-encoding", "").lower() == "chunked":
            return method, target, headers, self._read_chunks()
        return method, target, headers, self._read_exactly(int(headers.get("content-length") or 0))

    def _read_exactly(self, length: int) -> bytes:
        while len(self._buffer) < length:
            self._more()
        body, self._buffer = self._buffer[:length], self._buffer[length:]
        return body

    def _read_line(self) -> bytes:
        while (end := self._buffer.find(b"\r\n")) < 0:
            self._more()
        line, self._buffer = self._buffer[:end], self._buffer[end + 2 :]
        return line

    def _read_chunks(self) -> bytes:
        parts = []
        while length := int(self._read_line().split(b";")[0], 16):
            parts.append(self._read_exactly(length))
            self._read_line()
        self._read_line()
        return b"".join(parts)

    def _write(self, outgoing: Outgoing) -> bool:
        """Returns whether the connection goes on."""
        if not outgoing.silent:
            self._send(outgoing)
        if outgoing.reset:
            with contextlib.suppress(OSError):
                self.sock.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, RESET)
                self.sock.close()
        return not outgoing.ends_connection

    def _send(self, outgoing: Outgoing) -> None:
        head, body = outgoing.head(), outgoing.body
        if outgoing.truncate:
            body = body[: len(body) // 2]
        if outgoing.interim is not None:
            self.sock.sendall(f"HTTP/1.1 {outgoing.interim} Not yet\r\n\r\n".encode())
            self.server.stopping.wait(INTERIM_SECONDS)
        if outgoing.trickle is None:
            self.sock.sendall(head + body)
            return
        if not outgoing.trickle_headers:
            self.sock.sendall(head)
            head = b""
        for byte in head + body:
            self.sock.sendall(bytes((byte,)))
            if self.server.stopping.wait(outgoing.trickle):
                return


class HttpServer:
    """Listens from construction on; `start` begins to accept."""

    def __init__(self, host: str, port: int, respond: Respond) -> None:
        self.respond = respond
        self.stopping = threading.Event()
        self.connections_opened = 0
        self._connections: set[Connection] = set()
        self._lock = threading.Lock()
        self._listener = socket.create_server((host, port), backlog=1024, reuse_port=False)
        self.host, self.port = self._listener.getsockname()[:2]
        self._thread = threading.Thread(target=self._accept, name="calcom-simulator", daemon=True)

    def start(self) -> None:
        self._thread.start()

    def _accept(self) -> None:
        while not self.stopping.is_set():
            try:
                sock, _ = self._listener.accept()
            except OSError:
                if not self.stopping.is_set():
                    # out of file descriptors: the next moment may have some
                    time.sleep(0.01)
                continue
            sock.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
            with self._lock:
                self.connections_opened += 1
                connection = Connection(self, sock, self.connections_opened)
                self._connections.add(connection)
            threading.Thread(target=connection.serve, daemon=True).start()

    def forget(self, connection: Connection) -> None:
        with self._lock:
            self._connections.discard(connection)

    @property
    def connections(self) -> list[Connection]:
        with self._lock:
            return list(self._connections)

    def close_idle_connections(self) -> int:
        """Close the kept-alive connections that wait for a request, as a proxy does. Returns how many."""
        idle = [connection for connection in self.connections if connection.is_idle]
        for connection in idle:
            connection.end()
        return len(idle)

    def stop(self) -> None:
        self.stopping.set()
        with contextlib.suppress(OSError):
            self._listener.shutdown(socket.SHUT_RDWR)
        self._listener.close()
        for connection in self.connections:
            connection.end()
        if self._thread.is_alive():
            self._thread.join(timeout=5)

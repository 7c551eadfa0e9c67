"""HTTP to Cal.com: kept-alive, bounded in time as a whole, and honest about whether anything was sent.

`requests` alone gives neither of the last two: its read timeout starts again with every byte received, so
that an answer which trickles in can hold a caller on the line for ever, and its exceptions do not tell a
request that never left from one that was cut off half way. Both are decided at the socket, so both are
settled here, in two small subclasses of urllib3's connections.
"""

from __future__ import annotations

import http.client
import os
import socket
import ssl
import threading
import time
from http.cookiejar import DefaultCookiePolicy
from typing import Any

import requests
from requests.adapters import HTTPAdapter
from urllib3 import HTTPConnectionPool, HTTPSConnectionPool, PoolManager
from urllib3.connection import HTTPConnection, HTTPSConnection
from urllib3.util.ssl_ import create_urllib3_context

from booking.calcom.deadline import Deadline
from booking.calcom.host_names import HostNames

CONNECT_SECONDS = 2.0
# Node closes a kept-alive connection after 5 idle seconds. A POST that meets the closing is neither sent nor
# not sent, so a connection that has been idle for almost that long is not used again.
IDLE_SECONDS = 4.0
# A page of bookings is some megabytes. What is packed counts as it is unpacked: one company's server could
# otherwise fill, with some hundred kilobytes, the memory that all companies are served from.
LONGEST_ANSWER = 32 * 1024 * 1024
_PIECE = 64 * 1024


class _Exchange(threading.local):
    """The request this thread is making: until when, and whether its first byte has left."""

    deadline: Deadline | None = None
    sent = False


_exchange = _Exchange()


class _FinalAnswer(http.client.HTTPResponse):
    """The answer, and not what is said before it, such as 102 Processing or 103 Early Hints.

    The standard library skips 100 only. Any other one would be taken for the answer, and the connection kept:
    the real answer would be read by whoever asks next over it, another company perhaps, and so on for good.
    """

    def begin(self) -> None:
        super().begin()
        while 100 <= self.status < 200:
            self.headers = self.msg = None  # type: ignore[assignment]
            super().begin()


def _limit(sock: socket.socket) -> None:
    if _exchange.deadline is not None:
        remaining = _exchange.deadline.remaining
        if remaining == 0:
            # However short the timeout, it never passes while something comes in without a pause.
            raise TimeoutError("No time is left to read this in.")
        sock.settimeout(remaining)


class _BoundedSocket(socket.socket):
    def recv_into(self, *args: Any, **kwargs: Any) -> int:
        _limit(self)
        return super().recv_into(*args, **kwargs)


class _BoundedTLSSocket(ssl.SSLSocket):
    def recv_into(self, *args: Any, **kwargs: Any) -> int:
        _limit(self)
        return super().recv_into(*args, **kwargs)


class _TellsWhetherSent:
    sock: socket.socket | None
    _last_used = 0.0

    def send(self, data: Any) -> None:
        if self.sock is None:
            self.connect()  # type: ignore[attr-defined]
        if _exchange.deadline is not None and _exchange.deadline.remaining == 0:
            raise TimeoutError("No time is left to send this in.")
        _exchange.sent = True
        super().send(data)  # type: ignore[misc]

    def getresponse(self) -> Any:
        response = super().getresponse()  # type: ignore[misc]
        self._last_used = time.monotonic()
        return response

    @property
    def is_connected(self) -> bool:
        if self._last_used and time.monotonic() - self._last_used > IDLE_SECONDS:
            return False
        return bool(super().is_connected)  # type: ignore[misc]


_host_names = HostNames()


def _connect(host: str, port: int, options: Any) -> socket.socket:
    """Find the host's addresses and try them in turn, all within CONNECT_SECONDS; the standard library would
    take as long for each of them, and for ever to find them. Raises OSError.
    """
    until = (_exchange.deadline or Deadline.after(CONNECT_SECONDS)).at_most(CONNECT_SECONDS)
    error: OSError = TimeoutError("No time is left to connect in.")
    for family, kind, protocol, _, address in _host_names.addresses(host, port, seconds=until.remaining):
        sock = _BoundedSocket(family, kind, protocol)
        try:
            for option in options or ():
                sock.setsockopt(*option)
            sock.settimeout(max(0.001, until.remaining))
            sock.connect(address)
        except OSError as failed:
            sock.close()
            error = failed
        else:
            return sock
    raise error


class _Connection(_TellsWhetherSent, HTTPConnection):
    response_class = _FinalAnswer

    def _new_conn(self) -> socket.socket:
        return _connect(self.host, self.port or 80, self.socket_options)


class _TLSConnection(_TellsWhetherSent, HTTPSConnection):
    response_class = _FinalAnswer

    def _new_conn(self) -> socket.socket:
        return _connect(self.host, self.port or 443, self.socket_options)

    def __init__(self, *args: Any, **kwargs: Any) -> None:
        super().__init__(*args, **kwargs)
        if self.ssl_context is None:
            self.ssl_context = create_urllib3_context()
            self.ssl_context.sslsocket_class = _BoundedTLSSocket


class _Pool(HTTPConnectionPool):
    ConnectionCls = _Connection


class _TLSPool(HTTPSConnectionPool):
    ConnectionCls = _TLSConnection


class _Adapter(HTTPAdapter):
    def init_poolmanager(self, *args: Any, **kwargs: Any) -> None:
        super().init_poolmanager(*args, **kwargs)
        manager: PoolManager = self.poolmanager
        manager.pool_classes_by_scheme = {"http": _Pool, "https": _TLSPool}


class NotSent(Exception):
    """The request never left this machine."""


class CutOff(Exception):
    """The request left, and no whole answer came back in time, or one without end."""


def _new_session() -> requests.Session:
    session = requests.Session()
    # One session serves all companies: it keeps no cookies, and reads no ~/.netrc over their keys.
    session.cookies.set_policy(DefaultCookiePolicy(allowed_domains=[]))
    session.trust_env = False
    # max_retries=0: urllib3 must never send anything twice. Whether to repeat is the client's decision.
    adapter = _Adapter(pool_connections=32, pool_maxsize=64, max_retries=0)
    session.mount("http://", adapter)
    session.mount("https://", adapter)
    return session


_session = _new_session()


def _after_fork() -> None:
    global _session, _host_names
    _session = _new_session()
    _host_names = HostNames()  # the threads of the other one are not here


os.register_at_fork(after_in_child=_after_fork)


def _prepared(
    method: str, url: str, *, headers: dict[str, str], params: dict[str, str] | None, body: bytes | None
) -> requests.PreparedRequest:
    """What `Session.request` would prepare, without its merging of cookies, proxies, redirects and hooks that
    we do not have: it costs a waiting caller more than the sending.
    """
    prepared = requests.PreparedRequest()
    prepared.prepare(
        method=method, url=url, headers={**_session.headers, **headers}, params=params, data=body, hooks={}
    )
    return prepared


def _read_whole(response: requests.Response) -> None:
    body = bytearray()
    for piece in response.iter_content(_PIECE):
        body += piece
        if len(body) > LONGEST_ANSWER:
            response.close()
            raise CutOff("The answer is too long.")
    response._content = bytes(body)  # noqa: SLF001 - where `content` keeps it; it knows no limit


def exchange(
    *,
    method: str,
    url: str,
    headers: dict[str, str],
    params: dict[str, str] | None = None,
    body: bytes | None = None,
    deadline: Deadline,
) -> requests.Response:
    """Send one request and read its whole answer before the deadline.

    Raises NotSent or CutOff, never anything else; a status of any kind is an answer.
    """
    _exchange.deadline = deadline
    _exchange.sent = False
    try:
        response = _session.get_adapter(url).send(
            _prepared(method, url, headers=headers, params=params, body=body),
            timeout=(min(CONNECT_SECONDS, max(0.05, deadline.remaining)), max(0.05, deadline.remaining)),
            verify=_session.verify,  # type: ignore[arg-type]
        )
        _read_whole(response)
        return response
    except (requests.RequestException, OSError, ValueError) as error:
        # Only the class: the text of these errors repeats the URL, which may hold an attendee's address.
        if _exchange.sent:
            raise CutOff(type(error).__name__) from None
        raise NotSent(type(error).__name__) from None
    finally:
        _exchange.deadline = None

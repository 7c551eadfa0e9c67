"""The addresses of a host, found within a time.

The system's look-up can neither be given a limit nor be interrupted: a resolver that hangs would hold a
caller on the line for half a minute. So it is made in a thread of its own, one for all who wait for the same
host. Where it takes too long, or the resolver is away, the addresses that it found last are good enough: TLS
proves that the right host answers there.
"""

from __future__ import annotations

import socket
import threading
import time
from collections.abc import Callable, Sequence
from typing import Any

# socket.getaddrinfo's: family, kind, protocol, canonical name, socket address.
Address = tuple[int, int, int, str, Any]
LookUp = Callable[[str, int], Sequence[Address]]

REMEMBERED_SECONDS = 3600.0
# With addresses at hand no caller waits longer than this for newer ones.
PATIENCE_SECONDS = 0.5


def ask_the_system(host: str, port: int) -> Sequence[Address]:
    return socket.getaddrinfo(host, port, type=socket.SOCK_STREAM)


class HostNames:
    """Safe to use from any thread."""

    def __init__(self, look_up: LookUp = ask_the_system) -> None:
        self._look_up = look_up
        self._lock = threading.Lock()
        self._asking: dict[tuple[str, int], _Asking] = {}
        self._known: dict[tuple[str, int], tuple[float, Sequence[Address]]] = {}

    def addresses(self, host: str, port: int, *, seconds: float) -> Sequence[Address]:
        """Within so many seconds. Raises OSError: TimeoutError, or what the resolver says."""
        asking = self._ask(host, port)
        known = self._remembered(host, port)
        asking.is_over.wait(min(seconds, PATIENCE_SECONDS) if known else seconds)
        if asking.found:
            return asking.found
        error = asking.error or TimeoutError("The host's address was not found in time.")
        if known and not _does_not_exist(error):
            return known
        raise error

    def _ask(self, host: str, port: int) -> _Asking:
        with self._lock:
            asking = self._asking.get((host, port))
            if asking is None:
                asking = _Asking()
                # Not waited for when the process ends.
                thread = threading.Thread(target=self._find, args=(host, port, asking), daemon=True)
                try:
                    thread.start()
                except RuntimeError as error:
                    raise OSError("No thread could be started to find the host's address.") from error
                self._asking[host, port] = asking
            return asking

    def _find(self, host: str, port: int, asking: _Asking) -> None:
        try:
            asking.found = self._look_up(host, port)
        except OSError as error:
            asking.error = error
        except UnicodeError:  # no host has such a name
            asking.error = socket.gaierror(socket.EAI_NONAME, "This is not a host's name.")
        except Exception as error:  # noqa: BLE001 - there is nobody above who would hear of it
            asking.error = OSError(f"The look-up broke: {type(error).__name__}.")
            asking.error.__cause__ = error
        # However it went: who comes next asks anew.
        with self._lock:
            del self._asking[host, port]
            if asking.found:
                self._known[host, port] = time.monotonic(), asking.found
        asking.is_over.set()

    def _remembered(self, host: str, port: int) -> Sequence[Address]:
        found_at, addresses = self._known.get((host, port), (0.0, []))
        return addresses if time.monotonic() - found_at < REMEMBERED_SECONDS else []


class _Asking:
    """A look-up that is under way."""

    def __init__(self) -> None:
        self.is_over = threading.Event()
        self.found: Sequence[Address] = []
        self.error: OSError | None = None


def _does_not_exist(error: OSError) -> bool:
    return isinstance(error, socket.gaierror) and error.errno != socket.EAI_AGAIN

"""One at a time, on all machines: whoever works on a company holds a lease and renews it while it does.

A run that dies leaves a turn that runs out by itself; on the machine it ran on, the next one sees that it is
gone and need not wait. One that stood still for so long that another may have begun finds that out before it
does anything more.
"""

from __future__ import annotations

import datetime as dt
import hashlib
import os
import secrets
import socket
import time
from contextlib import suppress
from functools import cache
from pathlib import Path

from django.db import DatabaseError, InterfaceError
from django.utils import timezone

from customers.database import drop_dead_connections
from sync.models import Lease

LOOKS_AGAIN_SECONDS = 0.5


class Busy(Exception):
    """Another run is under way. The text is for whoever waits for it: whose it is, and when it ends at the
    latest if it has died.
    """


class LostTurn(Exception):
    """Another run may have begun: this one must stop."""


def unique_holder() -> str:
    """A name no other process has, also when a process id is used again."""
    return f"{socket.gethostname()}:{os.getpid()}:{secrets.token_hex(4)}:{_process_space()}"


@cache
def _process_space() -> str:
    """Where a process id means the same process: one start of one machine, and there one container. Empty
    where that is not to be had.
    """
    try:
        boot = Path("/proc/sys/kernel/random/boot_id").read_text().strip()
        space = Path("/proc/self/ns/pid").readlink()
    except OSError:
        return ""
    return hashlib.sha256(f"{boot} {space}".encode()).hexdigest()[:12]


def _has_died(holder: str) -> bool:
    """Whether that process is known to be gone. One elsewhere never is."""
    parts = holder.split(":")
    if len(parts) != 4 or not parts[3] or parts[3] != _process_space():
        return False
    try:
        os.kill(int(parts[1]), 0)
    except ProcessLookupError:
        return True
    except OSError:
        pass  # somebody else's, so it is there
    return False


class NoTurn:
    """For what changes nothing, such as a dry run: nobody need wait for it."""

    def take(self, *, wait_seconds: float = 0) -> None: ...

    def keep(self) -> None: ...

    def give_back(self) -> None: ...


class Turn(NoTurn):
    """It runs out when it was not renewed for as long as it `lasts`, and is renewed no more often than
    `renewed_after`.
    """

    def __init__(
        self, name: str, *, lasts: dt.timedelta, renewed_after: dt.timedelta = dt.timedelta(0)
    ) -> None:
        self._name = name
        self._holder = unique_holder()
        self._lasts = lasts
        self._renewed_after = renewed_after
        self._renewed = timezone.now()

    def take(self, *, wait_seconds: float = 0) -> None:
        """Raises Busy if it does not become free within that time."""
        give_up = time.monotonic() + wait_seconds
        while not (self._hold() or (self._end_of_the_dead() and self._hold())):
            if time.monotonic() >= give_up:
                raise Busy(self._whose())
            time.sleep(LOOKS_AGAIN_SECONDS)

    def keep(self) -> None:
        """To be called again and again, and before anything is changed. Raises LostTurn."""
        if timezone.now() - self._renewed >= self._renewed_after and not self._hold():
            raise LostTurn

    def give_back(self) -> None:
        """On a new connection if the run has lost its own: what is not given back is in the next one's way
        until it runs out, for this process is alive.
        """
        try:
            self._release()
        except (DatabaseError, InterfaceError):
            drop_dead_connections()
            with suppress(DatabaseError, InterfaceError):
                self._release()

    def _release(self) -> None:
        Lease.objects.release(name=self._name, holder=self._holder, now=timezone.now())

    def _end_of_the_dead(self) -> bool:
        lease = Lease.objects.filter(name=self._name).first()
        if lease is None or not _has_died(lease.holder):
            return False
        return Lease.objects.release(name=self._name, holder=lease.holder, now=timezone.now())

    def _whose(self) -> str:
        lease = Lease.objects.filter(name=self._name).first()
        if lease is None:
            return "Another run is under way."
        return (
            f"Another run is under way (by {lease.holder}, last heard of at {lease.renewed_at:%H:%M:%S} UTC)."
            f" If that has died, its turn ends by itself at {lease.expires_at:%H:%M:%S} UTC."
        )

    def _hold(self) -> bool:
        now = timezone.now()
        held = Lease.objects.hold(name=self._name, holder=self._holder, now=now, duration=self._lasts)
        if held:
            self._renewed = now
        return held

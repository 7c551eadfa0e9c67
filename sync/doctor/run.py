"""Make several checks at once, each within its own time, none at another's cost.

Threads, because not every driver below honours a time limit. They are daemons: one that hangs is reported and
left behind, and does not keep the command from ending.
"""

from __future__ import annotations

import threading
import time
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass

import structlog
from django.db import connections

from sync.doctor.finding import Finding, unchecked

logger = structlog.get_logger(__name__)


@dataclass(frozen=True)
class Check:
    """`look` yields what it finds as it finds it: what was found before the time ran out is kept."""

    name: str
    look: Callable[[], Iterable[Finding]]
    seconds: float = 20.0


def run(checks: Sequence[Check], *, secrets: Sequence[str] = ()) -> list[Finding]:
    """The findings in the order of the checks. Takes as long as the longest check may; raises nothing."""
    started = time.monotonic()
    running = [_Running(check) for check in checks]
    findings: list[Finding] = []
    for each in running:
        findings += each.result(until=started + each.check.seconds)
    return [finding.without(secrets) for finding in findings]


class _Running:
    def __init__(self, check: Check) -> None:
        self.check = check
        self._found: list[Finding] = []
        self._thread = threading.Thread(target=self._look, name=f"doctor-{check.name}", daemon=True)
        self._thread.start()

    def result(self, *, until: float) -> list[Finding]:
        self._thread.join(timeout=max(0.0, until - time.monotonic()))
        found = list(self._found)
        if self._thread.is_alive():
            said = f"Not done within {self.check.seconds:g} s."
            found.append(unchecked(self.check.name, said, "Run this again; if it stays so, see what hangs."))
        return found

    def _look(self) -> None:
        try:
            for finding in self.check.look():
                self._found.append(finding)
        except Exception as error:  # noqa: BLE001  (one check that breaks must not hide the others)
            # Only the class: a driver's text may hold an address with its password.
            kind = type(error).__name__
            logger.warning("doctor.check_broke", check=self.check.name, error=kind)
            said = f"The check broke off ({kind})."
            self._found.append(
                unchecked(self.check.name, said, "Mend what else is found, then run it again.")
            )
        finally:
            connections.close_all()

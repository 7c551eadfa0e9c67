"""Wake a worker after something was stored, without making anybody wait for the broker.

One thread in each process does it, a few times a second at most: ten deliveries that arrive together need one
wake-up, and are worked for less together than one by one. If the broker is down nothing is lost, and nothing
is later than the next sweep.
"""

from __future__ import annotations

import os
import threading
import time

import structlog
from celery import current_app

PAUSE_SECONDS = 0.2
FORGOTTEN_AFTER_SECONDS = 30

logger = structlog.get_logger(__name__)


class WakeUp:
    """Sends one task, named by a string because it belongs to an app that this one must not import."""

    def __init__(self, task: str) -> None:
        self._task = task
        self._wanted = threading.Event()
        self._lock = threading.Lock()
        self._thread: threading.Thread | None = None
        self._process = 0

    def wake(self) -> None:
        """Returns at once and raises nothing."""
        self._wanted.set()
        if self._thread is None or self._process != os.getpid():
            self._start()

    def _start(self) -> None:
        with self._lock:
            # A forked process has the object and not the thread.
            if self._thread is not None and self._process == os.getpid():
                return
            self._process = os.getpid()
            self._thread = threading.Thread(target=self._run, name=f"wake-up {self._task}", daemon=True)
            self._thread.start()

    def _run(self) -> None:
        while True:
            self._wanted.wait()
            self._wanted.clear()
            try:
                current_app.send_task(self._task, retry=False, expires=FORGOTTEN_AFTER_SECONDS)
            except Exception as error:  # noqa: BLE001 - whatever a broker may raise
                # The row is stored, and the sweep comes by: not worth a stack trace.
                logger.warning("wake_up.not_sent", task=self._task, error=type(error).__name__)
            time.sleep(PAUSE_SECONDS)


deliveries = WakeUp("sync.tasks.work_deliveries")

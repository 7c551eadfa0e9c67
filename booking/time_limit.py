"""Ask the database with somebody on the line, and go on without an answer when it takes too long.

A server that hangs cannot be timed out from the thread that waits for it: no setting of PostgreSQL's counts
while nothing comes through at all. So the work is done in a thread of its own, and left there.
"""

from __future__ import annotations

import contextvars
import threading
import time
from collections.abc import Callable
from concurrent.futures import Future
from typing import TypeVar

from django.db import connection

# What hangs keeps its connection. The pool must hold some for the others all the same.
MOST_AT_ONCE = 8

_room = threading.BoundedSemaphore(MOST_AT_ONCE)
_Result = TypeVar("_Result")


def within(seconds: float, work: Callable[[], _Result]) -> _Result:
    """What `work` returns. Raises what it raises, and TimeoutError after so many seconds; it then goes on
    unheard, so it must only read.
    """
    until = time.monotonic() + seconds
    if not _room.acquire(timeout=max(0.0, seconds)):
        raise TimeoutError
    future: Future[_Result] = Future()
    context = contextvars.copy_context()
    thread = threading.Thread(
        # Not one of an executor's: the interpreter would wait for it at its end.
        target=_run,
        args=(context, work, future),
        name="time-limit",
        daemon=True,
    )
    try:
        thread.start()
    except RuntimeError:  # no more threads can be had
        _room.release()
        raise
    return future.result(timeout=max(0.0, until - time.monotonic()))


def _run(context: contextvars.Context, work: Callable[[], _Result], future: Future[_Result]) -> None:
    try:
        try:
            result = context.run(work)
        finally:
            connection.close()  # back to the pool: this thread ends
    except BaseException as error:  # noqa: BLE001  (raised where the result is waited for)
        future.set_exception(error)
    else:
        future.set_result(result)
    finally:
        _room.release()

"""The process that outlives a killed `serve`, for the few seconds it takes to leave nothing behind.

PR_SET_PDEATHSIG reaches a child and not what the child has started: web workers, Celery's pool, Beat. This
small program holds the reading end of a pipe whose writing end only its starter has. Lines on it name the
process groups to look after (`add 4711`, `drop 4711`). When the pipe closes, however its starter ended,
every group still named is told to stop, and killed a little later.

Standard library only, no imports of ours: it runs as `python -I -S guardian.py` and needs 8 MB.
"""

import contextlib
import os
import signal
import sys
import time

GRACE_SECONDS = 3.0


def _is_alive(group: int) -> bool:
    try:
        os.killpg(group, 0)
    except ProcessLookupError:
        return False
    except PermissionError:
        return True
    return True


def _signal_all(groups: set[int], number: int) -> None:
    for group in groups:
        with contextlib.suppress(ProcessLookupError, PermissionError):
            os.killpg(group, number)


def main() -> None:
    # Ctrl-C and a service manager's stop go to the starter, which stops its children in order.
    signal.signal(signal.SIGINT, signal.SIG_IGN)
    signal.signal(signal.SIGTERM, signal.SIG_IGN)
    signal.signal(signal.SIGHUP, signal.SIG_IGN)
    groups: set[int] = set()
    for line in sys.stdin:
        verb, _, group = line.partition(" ")
        if verb == "add":
            groups.add(int(group))
        elif verb == "drop":
            groups.discard(int(group))
    _signal_all(groups, signal.SIGTERM)
    deadline = time.monotonic() + GRACE_SECONDS
    while time.monotonic() < deadline and any(map(_is_alive, groups)):
        time.sleep(0.05)
    _signal_all(groups, signal.SIGKILL)


if __name__ == "__main__":
    main()

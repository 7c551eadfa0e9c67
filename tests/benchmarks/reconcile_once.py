"""One whole `reconcile --full` of a company in a process of its own, without the pauses that Cal.com's rate
limit asks for: `python -m tests.benchmarks.reconcile_once SLUG` prints what it took as JSON.

Its highest memory is read from the kernel: the resident set of this process, nothing inherited.
"""

from __future__ import annotations

import json
import math
import re
import sys
import time
from pathlib import Path

import django
from django.utils import timezone

django.setup()

from booking.pace import Pace  # noqa: E402
from customers.models import Company  # noqa: E402 - models need Django set up
from sync import reconcile  # noqa: E402
from sync.turn import NoTurn  # noqa: E402


def megabytes(what: str) -> float:
    """`VmRSS`: the resident set now; `VmHWM`: its peak so far."""
    found = re.search(rf"^{what}:\s+(\d+) kB$", Path("/proc/self/status").read_text("ascii"), re.MULTILINE)
    assert found, f"this system does not tell {what}"
    return int(found[1]) / 1024


def main(slug: str) -> None:
    run = reconcile._Run(
        Company.objects.get(slug=slug), full=True, since=None, dry_run=False, now=timezone.now(),
        turn=NoTurn(), progress=lambda _seen: None,
    )  # fmt: skip
    run.pace = Pace(per_minute=math.inf)
    before = megabytes("VmRSS")
    began, worked = time.perf_counter(), time.process_time()
    report = run.recorded()
    taken = {
        "seconds": time.perf_counter() - began,
        "processor_seconds": time.process_time() - worked,
        "before_mb": before,
        "peak_mb": megabytes("VmHWM"),
        "outcome": report.outcome,
        "seen": report.seen,
        "requests": report.requests,
        "left": report.left,
        "ended": report.ended,
        "healed": report.healed,
    }
    sys.stdout.write(json.dumps(taken) + "\n")


if __name__ == "__main__":
    main(sys.argv[1])

"""Our own process dies between Cal.com's yes and the local commit.

The process that dies is one of ours, started here for this one call: a web server on a free port against the
same database, with a short lease, killed with SIGKILL in the moment Cal.com holds the booking.
"""

from __future__ import annotations

import os
import tempfile
import time
from concurrent.futures import ThreadPoolExecutor
from datetime import datetime
from pathlib import Path

from django.conf import settings
from django.utils import timezone

from booking.models import BookingAttempt
from sync import embedded_server
from sync.management.demo.caller import Caller
from sync.management.demo.late_answer import SETTLED_WITHIN_SECONDS, still_open, wake_the_completer
from sync.management.demo.stage import CannotPlay, Scenario, Stage
from sync.process_tree import ChildDied, ProcessTree, kill_group

# The lease is at least the budget and five seconds. Within the budget the process must be caught and killed.
BUDGET_SECONDS = 6
STARTED_WITHIN_SECONDS = 45.0


class Crash(Scenario):
    name = "crash"
    title = "Our process is killed between Cal.com's yes and the local commit"
    why = "Nobody is left to notice: such a booking used to be an orphan nobody saw."

    def play(self, stage: Stage) -> None:
        record, calcom = stage.record, stage.system.calcom
        start = stage.free_start()
        gerda = stage.caller("Gerda Huber")
        calcom.webhooks.drop_next()
        calcom.faults.answer_late(BUDGET_SECONDS + 1, body_has={"metadata": {"call_id": gerda.call_id}})
        with tempfile.TemporaryDirectory(prefix="slotkeeper-demo-") as folder:
            _book_and_die(stage, caller=gerda, start=start, log_dir=Path(folder))
        stage.look(start)
        uids = stage.active_uids(start)
        attempt = BookingAttempt.objects.filter(call__retell_call_id=gerda.call_id).first()
        record.check("Cal.com holds a booking that nobody here knows", len(uids) == 1)
        record.check(
            "what is stored is the intention, claimed before Cal.com was asked",
            attempt is not None and attempt.state == BookingAttempt.State.CLAIMED,
        )
        if attempt is None:
            return
        left = max(0.0, (attempt.lease_expires_at - timezone.now()).total_seconds())
        record.happens(f"Its lease runs for {left:.0f} s more. Then the completer may look for it.")
        time.sleep(left + 0.1)
        wake_the_completer()
        settled = stage.wait_until(lambda: not still_open(gerda.call_id), seconds=SETTLED_WITHIN_SECONDS)
        stage.look(start)
        record.check("it was found and settled", settled)
        again = stage.asks_for(gerda, start)
        record.check(
            "asked again, the caller hears booked, and it is that booking",
            again.code == "booked" and [again.uid] == uids == stage.active_uids(start),
        )


def _book_and_die(stage: Stage, *, caller: Caller, start: datetime, log_dir: Path) -> None:
    address = embedded_server.free_address(host="127.0.0.1", port=0)
    environment = {
        **os.environ,
        "VAR_DIR": str(settings.VAR_DIR),
        "ANSWER_BUDGET_SECONDS": str(BUDGET_SECONDS),
        "ATTEMPT_LEASE_SECONDS": "1",
        "LOG_FORMAT": "json",
    }
    try:
        with ProcessTree(log_dir=log_dir) as tree, ThreadPoolExecutor(1) as line:
            web = embedded_server.start_web(tree, address=address, workers=1, threads=2, env=environment)
            tree.wait_until(
                lambda: embedded_server.answers_healthz(address), child=web, seconds=STARTED_WITHIN_SECONDS
            )
            stage.record.happens(f"A web process of its own takes this call (pid {web.pid}).")
            answer = line.submit(caller.reaching(address.url).book, stage.service.slug, stage.spelled(start))
            booked = stage.wait_until(
                lambda: bool(stage.active_uids(start)) or answer.done(), seconds=BUDGET_SECONDS, pause=0.02
            )
            kill_group(web.pid)
            seen = "has booked, its answer is on its way" if booked else "has not booked in time"
            stage.record.happens(f"Cal.com {seen}: kill -9.")
            stage.says(caller, start, answer.result())
    except (ChildDied, TimeoutError, embedded_server.CannotServe) as error:
        raise CannotPlay(f"The web process of this scenario did not start. {error}") from None

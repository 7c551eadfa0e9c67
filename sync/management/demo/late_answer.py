"""Cal.com books, and its answer never comes."""

from __future__ import annotations

import structlog
from kombu.exceptions import OperationalError

from booking.models import OPEN_STATES, BookingAttempt
from booking.tasks import settle_unknown_attempts
from sync.management.demo.stage import Scenario, Stage

# Beat comes by every 30 seconds, whatever becomes of the task sent here.
SETTLED_WITHIN_SECONDS = 45.0

logger = structlog.get_logger(__name__)


class LateAnswer(Scenario):
    name = "late_answer"
    title = "Cal.com books, and its answer never comes"
    why = "The caller must hear neither “booked”, which nothing proves, nor “taken” about their own booking."

    def play(self, stage: Stage) -> None:
        record, calcom = stage.record, stage.system.calcom
        start = stage.free_start()
        frieda = stage.caller("Frieda Sommer")
        record.happens("The line between Cal.com and us falls silent after the booking is made.")
        calcom.webhooks.drop_next()
        calcom.faults.timeout_after_commit(body_has={"metadata": {"call_id": frieda.call_id}})
        heard = stage.asks_for(frieda, start)
        stage.look(start)
        uids = stage.active_uids(start)
        record.check("the caller hears that it is being checked", heard.code == "checking")
        record.check("Cal.com holds the booking all the same", len(uids) == 1)
        record.happens("The completer looks for it: a task now, and Beat every 30 seconds.")
        wake_the_completer()
        settled = stage.wait_until(lambda: not still_open(frieda.call_id), seconds=SETTLED_WITHIN_SECONDS)
        stage.look(start)
        record.check("it was found and settled", settled)
        again = stage.asks_for(frieda, start)
        record.check(
            "asked again, the caller hears booked, and it is that booking",
            again.code == "booked" and [again.uid] == uids == stage.active_uids(start),
        )


def wake_the_completer() -> None:
    """Put the completer's task into the running worker's queue."""
    try:
        settle_unknown_attempts.delay()
    except (OperationalError, OSError) as error:
        logger.warning("demo.no_queue", error=type(error).__name__)


def still_open(call_id: str) -> bool:
    return BookingAttempt.objects.filter(call__retell_call_id=call_id, state__in=OPEN_STATES).exists()

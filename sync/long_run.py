"""A task that may take longer than the broker waits for its end.

Redis gives out anew what nobody has acknowledged for TASK_VISIBILITY_TIMEOUT_SECONDS: so the task of a killed
worker comes back. One that still runs comes back as well, and its copy is fetched when it has ended. That
takes as long again, and leaves a copy again: one hourly comparison with a slow Cal.com would never end, and
each hour brings another one. A copy has the id of the first, so who has ended is not carried out again.
"""

from __future__ import annotations

from typing import Any

import structlog
from celery import Task
from celery.exceptions import Ignore

from booking import best_effort_cache

# Longer than a copy waits in the queue.
REMEMBERED_SECONDS = 24 * 3600

logger = structlog.get_logger(__name__)


class LongRun(Task):
    def before_start(self, task_id: str, args: Any, kwargs: Any) -> None:
        if best_effort_cache.read(_key(task_id)):
            logger.info("task.has_ended_before", task=self.name, task_id=task_id)
            raise Ignore

    def after_return(
        self, status: str, retval: Any, task_id: str, args: Any, kwargs: Any, einfo: Any
    ) -> None:
        """It succeeded or failed. Nobody calls this for one that was killed: that must come back."""
        best_effort_cache.write(_key(task_id), True, REMEMBERED_SECONDS)


def _key(task_id: str) -> str:
    return f"task-ended:{task_id}"

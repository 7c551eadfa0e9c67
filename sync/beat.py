"""Celery Beat that may be started on every machine and runs on one.

django-celery-beat's scheduler ticks in every process that runs it: two of them run each job twice. This one
ticks only while it holds the lease row, renewed at every tick. The holder's death costs
BEAT_LEASE_SECONDS of silence at most, then another takes over with the schedule as the database has it.
"""

import datetime as dt
from typing import Any

import structlog
from django.conf import settings
from django.db import DatabaseError, InterfaceError, close_old_connections, connection
from django.utils import timezone
from django_celery_beat.schedulers import DatabaseScheduler

from sync.models import BEAT_LEASE, Lease
from sync.turn import unique_holder

logger = structlog.get_logger(__name__)

# Stands with each entry of the timetable, for whoever finds it in the admin and for the next version.
FROM_THE_TIMETABLE = "Stands in config/celery.py, and is made as it is there whenever Beat starts."


class LeasedScheduler(DatabaseScheduler):
    max_interval: float

    def __init__(self, *args: Any, **kwargs: Any) -> None:
        self.holder = unique_holder()
        self.holds_lease = False
        self.ticked_at = timezone.now()
        super().__init__(*args, **kwargs)
        self.lease = dt.timedelta(seconds=settings.BEAT_LEASE_SECONDS)
        # A tick sleeps this long at most, so the lease is renewed several times before it could run out.
        self.max_interval = min(self.max_interval, settings.BEAT_LEASE_SECONDS / 6)
        # Written after every job, so that whoever takes over knows what has run.
        self.sync_every_tasks = 1

    def setup_schedule(self) -> None:
        """Nothing yet: the timetable is written and read by whoever holds the lease, see `_take_over`.

        So a second Beat disturbs nobody, and one that starts before its database waits for it.
        """

    def tick(self, *args: Any, **kwargs: Any) -> float:
        """Seconds until the next tick. Sends what is due only while this process holds the lease."""
        try:
            close_old_connections()
            now = timezone.now()
            was_set_back, self.ticked_at = now < self.ticked_at, now
            held = Lease.objects.hold(name=BEAT_LEASE, holder=self.holder, now=now, duration=self.lease)
            if held and (was_set_back or not self.holds_lease):
                self._take_over()
            if held != self.holds_lease:
                logger.info("beat.lease_taken" if held else "beat.lease_lost", holder=self.holder)
            self.holds_lease = held
            if not held:
                return self.max_interval
            until_next: float = super().tick(*args, **kwargs)
            return min(until_next, self.max_interval)
        except (DatabaseError, InterfaceError) as error:
            # Not knowing whether the lease is ours, do not tick. A fresh connection is tried next time.
            self.holds_lease = False
            logger.warning("beat.database_unreachable", error=repr(error))
            connection.close()
            return self.max_interval

    def _take_over(self) -> None:
        """Read the schedule as the database has it now, whatever was read before: the last holder has run
        jobs since, and wrote when. Raises DatabaseError when the timetable could not be stored."""
        self._dirty.clear()
        self._schedule = None
        self._initial_read = True
        self._heap = None
        # A clock that was ahead has written when each ran last: nothing would run until that time has come.
        now = timezone.now()
        self.Model.objects.filter(last_run_at__gt=now).update(last_run_at=now)
        timetable = set(self.app.conf.beat_schedule)
        # What a version before this one has put there, and nobody else, would be sent for ever.
        gone = self.Model.objects.filter(description=FROM_THE_TIMETABLE).exclude(name__in=timetable)
        gone.delete()
        super().setup_schedule()
        self.Model.objects.filter(name__in=timetable).update(description=FROM_THE_TIMETABLE)
        stored = set(self.Model.objects.values_list("name", flat=True))
        if missing := timetable - stored:
            # The parent class logs a failed entry and goes on without it, until the next restart.
            raise DatabaseError(f"could not store the timetable entries {sorted(missing)}")

    def close(self) -> None:
        super().close()
        if not self.holds_lease:
            return
        try:
            Lease.objects.release(name=BEAT_LEASE, holder=self.holder, now=timezone.now())
        except (DatabaseError, InterfaceError) as error:
            logger.warning("beat.lease_not_released", error=repr(error))
        self.holds_lease = False

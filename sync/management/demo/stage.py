"""What a scenario is given to play with, and what a scenario is."""

from __future__ import annotations

import random
import time
from abc import ABC, abstractmethod
from collections.abc import Callable
from dataclasses import dataclass, field
from datetime import datetime, timedelta
from typing import ClassVar
from zoneinfo import ZoneInfo

from django.utils import timezone

from booking.calcom.deadline import Deadline
from booking.connection import client_for
from booking.models import Service
from sync.management.demo import observed
from sync.management.demo.caller import Caller, Heard
from sync.management.demo.narrator import Recorder
from sync.management.demo.system import RunningSystem

# The Federal Network Agency keeps these hundred mobile numbers for films: they ring nowhere.
NOBODYS_NUMBERS = "+49176040690{:02}"
LOOK_AHEAD = timedelta(days=28)
FIRST_DAY = timedelta(days=1)
POLL_SECONDS = 0.1


class CannotPlay(Exception):
    """The demo cannot go on. The message says why."""


@dataclass
class Stage:
    system: RunningSystem
    service: Service
    record: Recorder
    numbers: list[str] = field(default_factory=list)
    starts: list[datetime] = field(default_factory=list)

    def caller(self, name: str) -> Caller:
        """A new caller with a number nobody else has in this run."""
        if not self.numbers:
            self.numbers = [NOBODYS_NUMBERS.format(number) for number in range(100)]
            random.shuffle(self.numbers)
        return Caller(
            name=name,
            number=self.numbers.pop(),
            company=self.system.company,
            called_number=self.system.called_number,
            url=self.system.url,
        )

    def free_start(self) -> datetime:
        """A free time that no other scenario of this run is given. Raises CannotPlay, CalcomError."""
        if not self.starts:
            self.starts = self._free_starts()
        return self.starts.pop()

    def spelled(self, start: datetime) -> str:
        """The time as an agent writes it: ISO 8601 with the branch's offset."""
        zone = ZoneInfo(self.system.branch.timezone or self.system.company.timezone)
        return start.astimezone(zone).isoformat()

    def asks_for(self, caller: Caller, start: datetime) -> Heard:
        """Let the caller ask for that time, and say what they hear."""
        heard = caller.book(self.service.slug, self.spelled(start))
        self.says(caller, start, heard)
        return heard

    def says(self, caller: Caller, start: datetime, heard: Heard) -> None:
        self.record.heard(caller.name, f"“{self.service.name}, {self.spelled(start)[:16]}”", heard)

    def look(self, start: datetime) -> None:
        """Show what both sides hold of that time."""
        self.record.holds(observed.at(self.system, start))

    def active_uids(self, start: datetime) -> list[str]:
        return observed.active_uids(self.system, start)

    @staticmethod
    def wait_until(is_so: Callable[[], bool], *, seconds: float, pause: float = POLL_SECONDS) -> bool:
        until = time.monotonic() + seconds
        while not is_so():
            if time.monotonic() > until:
                return False
            time.sleep(pause)
        return True

    def _free_starts(self) -> list[datetime]:
        first = timezone.now() + FIRST_DAY
        found = client_for(self.system.company).slots(
            event_type_id=self.service.calcom_event_type_id,
            start=first,
            end=first + LOOK_AHEAD,
            deadline=Deadline.after(10),
        )
        # At random, so that two demos at once rarely want the same time.
        chosen: list[datetime] = []
        apart = max(self.service.duration, timedelta(minutes=30))
        for start in random.sample(found, len(found)):
            if all(abs(start - other) >= apart for other in chosen):
                chosen.append(start)
            if len(chosen) == 20:
                break
        if not chosen:
            raise CannotPlay(f"{self.service.name} has no free time within {LOOK_AHEAD.days} days.")
        return chosen


class Scenario(ABC):
    """One thing that happens to salons. `name` is for machines; `why` says what used to go wrong."""

    name: ClassVar[str]
    title: ClassVar[str]
    why: ClassVar[str]

    @abstractmethod
    def play(self, stage: Stage) -> None:
        """Play it and check how it ends, with `stage.record.check`. Plans faults for its own calls only."""

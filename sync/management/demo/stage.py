"""What a scenario is given to play with, and what a scenario is."""

from __future__ import annotations

import random
import time
from abc import ABC, abstractmethod
from collections.abc import Callable
from dataclasses import dataclass, field
from datetime import datetime, timedelta
from typing import ClassVar

from django.utils import timezone

from booking.calcom.deadline import Deadline
from booking.connection import client_for
from booking.models import Appointment, Service
from calls.models import WebhookEvent
from customers.models import Customer
from sync.management.demo import observed
from sync.management.demo.caller import Caller, Heard
from sync.management.demo.narrator import Recorder
from sync.management.demo.system import RunningSystem

# The Federal Network Agency keeps these hundred mobile numbers for films: they ring nowhere.
NOBODYS_NUMBERS = "+49176040690{:02}"
LOOK_AHEAD = timedelta(days=28)
FIRST_DAY = timedelta(days=1)
POLL_SECONDS = 0.1
# A delivery is worked within a second, and within five by Beat if nobody was woken. A cancellation may come
# before it is written, and is then looked at again after a few seconds.
WORKED_WITHIN_SECONDS = 15.0
WORKED = (WebhookEvent.Status.PROCESSED, WebhookEvent.Status.IGNORED)


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
            # At random, and first those of nobody who has been here before.
            known = set(Customer.objects.filter(company=self.system.company).values_list("phone", flat=True))
            random.shuffle(self.numbers)
            self.numbers.sort(key=lambda number: number not in known)
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

    def guest(self, name: str) -> Guest:
        """Somebody who books on the web page, with a number nobody else has in this run."""
        return Guest(name=name, number=self.caller(name).number, stage=self)

    def spelled(self, start: datetime) -> str:
        """The time as an agent writes it: ISO 8601 with the branch's offset."""
        return start.astimezone(self.system.branch.zone).isoformat()

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

    def look_at_call(self, call_id: str) -> None:
        self.record.holds(observed.of_call(self.system, call_id))

    def look_at_bookings(self, *uids: str) -> None:
        self.record.holds(observed.of_bookings(self.system, *uids))

    def appointment_of(self, uid: str) -> Appointment | None:
        return Appointment.objects.filter(company=self.system.company, calcom_booking_uid=uid).first()

    def active_uids(self, start: datetime) -> list[str]:
        return observed.active_uids(self.system, start)

    def wait_until_worked(self, uid: str, *, deliveries: int = 1) -> bool:
        """Whether the worker gets done with so many deliveries about this booking."""

        def all_worked() -> bool:
            events = observed.deliveries_about(self.system, uid)
            return len(events) == deliveries and all(event.status in WORKED for event in events)

        return self.wait_until(all_worked, seconds=WORKED_WITHIN_SECONDS)

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


@dataclass(frozen=True)
class Guest:
    """Somebody at the salon's booking page. What they do there reaches us only by a webhook."""

    name: str
    number: str
    stage: Stage

    def books(self, start: datetime, *, silent: bool = False) -> str:
        """The uid. `silent`: its webhook is never sent. Raises SimulatorRefused."""
        booking = self.stage.system.calcom.web_book(
            self.stage.service.calcom_event_type_id,
            account=self.stage.system.account,
            start=start,
            name=self.name,
            email=f"{self.name.replace(' ', '.').lower()}@example.org",
            phone=self.number,
            language=self.stage.system.company.language,
            silent=silent,
        )
        lost = " Its webhook is lost on the way." if silent else ""
        when = self.stage.spelled(start)[:16]
        self.stage.record.happens(f"{self.name} books {when} on the web page.{lost}")
        return str(booking["uid"])

    def moves(self, uid: str, start: datetime) -> str:
        """The new uid."""
        self.stage.record.happens(f"{self.name} moves it to {self.stage.spelled(start)[:16]}.")
        return str(self.stage.system.calcom.web_reschedule(uid, start)["uid"])

    def cancels(self, uid: str) -> None:
        self.stage.record.happens(f"{self.name} cancels it on the web page.")
        self.stage.system.calcom.web_cancel(uid, reason="Cancelled by the guest")


class Scenario(ABC):
    """One thing that happens to salons. `name` is for machines; `why` says what used to go wrong."""

    name: ClassVar[str]
    title: ClassVar[str]
    why: ClassVar[str]

    @abstractmethod
    def play(self, stage: Stage) -> None:
        """Play it and check how it ends, with `stage.record.check`. Plans faults for its own calls only."""

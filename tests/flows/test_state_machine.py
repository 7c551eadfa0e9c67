"""Random histories: callers, repeats, faults, crashes, the completer and time, in any order.

What must hold is asked after every single answer (no yes without a proven booking, no no beside one) and
after every step (never two active bookings of one intention); at the end of a history, once the grace time is
over and the completer has run, the oracle is asked in full. A failure prints the history, to be run again.

Time passes by making everything older, here and at Cal.com alike: nobody's clock is set.
"""

from __future__ import annotations

import datetime as dt
import itertools
import os
import signal
import time
from collections import Counter
from collections.abc import Callable
from contextlib import suppress
from dataclasses import dataclass
from typing import Any

import pytest
from django.core.cache import cache
from django.db import connection, connections
from django.db.models import F
from django.utils import timezone
from hypothesis import HealthCheck, Phase, settings
from hypothesis import strategies as st
from hypothesis.stateful import (
    RuleBasedStateMachine,
    invariant,
    precondition,
    rule,
    run_state_machine_as_test,
)

from booking import completer
from booking.calcom.objects import read_booking
from booking.calcom.simulator.errors import Refusal
from booking.calcom.simulator.payloads import booking_json
from booking.calcom.simulator.server import Simulator
from booking.calcom.simulator.state import Booking
from booking.models import LIVE_STATUSES, OPEN_STATES, Appointment, BookingAttempt
from calls.models import FunctionCall
from customers.models import Company
from sync import oracle, reconcile
from tests.flows.conftest import make_salon
from tests.flows.phone import Answer, Phone, at

YES = {"booked", "already_booked", "requested"}
NO = {"slot_taken", "too_soon", "unavailable"}
KNOWN = YES | NO | {"checking", "ambiguous"}

PEOPLE = (("+4915112345678", "Anna Weber"), ("+4915187654321", "Ben Kurz"), ("+4917612345678", "Cem Aydin"))
SLOTS = (at(10), at(10, 30), at(12))
SERVICES = {"haircut": "open", "colour": "roundrobin_open", "advice": "confirm_open"}

# Small, so that a request that hangs costs a history a third of a second; a look-up still fits.
BUDGET_SECONDS = 1.6
# On SQLite each of the three to five commits in an answer waits for the disk: half a second each, on one that
# others keep busy. (Nobody holds a lock here. Who waited for one in vain would take three seconds more.)
LONGEST_SECONDS = BUDGET_SECONDS + (2.0 if connection.vendor == "sqlite" else 0.5)
LEASE_SECONDS = 31
GRACE_SECONDS = 180
# A commit that comes late comes in any case before this much time has gone by …
LATEST_SECONDS = 60
# … and never by itself: see `_late_commits_land`.
NEVER = 3600.0

# Which one of those that are there, counted round. What Hypothesis draws must not depend on how fast Cal.com
# was this time, or it takes the history for a flaky one.
WHICH = st.integers(0, 11)

Plan = Callable[[Simulator], Any]


def _hand_back(calcom: Simulator, which: int) -> None:
    if active := calcom.active_bookings():
        calcom.faults.hand_back(active[which].uid)


FAULTS: dict[str, Plan] = {
    "time-out after commit": lambda c: c.faults.timeout_after_commit(),
    "time-out before commit": lambda c: c.faults.timeout_before_commit(),
    "500 after commit": lambda c: c.faults.server_error(commit=True),
    "500 before commit": lambda c: c.faults.server_error(commit=False),
    "500 after commit, and a replica that lags": lambda c: c.faults.server_error(commit=True, hide_for=20),
    "taken after commit": lambda c: c.faults.taken_after_commit(),
    "lost race": lambda c: c.faults.lost_race(),
    "lost race after commit": lambda c: c.faults.lost_race(commit=True),
    "lost race after commit, and a replica that lags": lambda c: c.faults.lost_race(commit=True, hide_for=20),
    "HTML": lambda c: c.faults.unreadable_answer("html"),
    "nothing in the answer": lambda c: c.faults.unreadable_answer("empty"),
    "half an answer": lambda c: c.faults.unreadable_answer("truncated"),
    "reset after commit": lambda c: c.faults.reset_connection(commit=True),
    "reset before commit": lambda c: c.faults.reset_connection(commit=False),
    "late commit": lambda c: c.faults.late_commit(NEVER),
    "late answer": lambda c: c.faults.answer_late(0.1),
    "another slot": lambda c: c.faults.shift_start(15),
    "another slot that cannot be cancelled": lambda c: (
        c.faults.shift_start(15), c.faults.server_error(commit=False, operation="cancel")
    ),
    "metadata lost in the answer": lambda c: c.faults.add("create", remove=["metadata.attempt_id"]),
    "an older booking is handed back": lambda c: _hand_back(c, -1),
    "the oldest booking is handed back": lambda c: _hand_back(c, 0),
    "the host is not available": lambda c: c.faults.refuse(
        "User either already has booking at this time or is not available"
    ),
    "rate limited": lambda c: c.faults.rate_limited(60, operation="create"),
    "cannot be looked up": lambda c: (
        c.faults.server_error(commit=True), c.faults.server_error(commit=False, operation="list", times=4)
    ),
}  # fmt: skip

# The same for moves and cancellations: at which request is said when it is planned.
CHANGE_FAULTS: dict[str, Callable[[Simulator, str], Any]] = {
    "nothing": lambda c, op: None,
    "time-out after commit": lambda c, op: c.faults.timeout_after_commit(operation=op),
    "time-out before commit": lambda c, op: c.faults.timeout_before_commit(operation=op),
    "500 after commit": lambda c, op: c.faults.server_error(commit=True, operation=op),
    "500 before commit": lambda c, op: c.faults.server_error(commit=False, operation=op),
    "taken after commit": lambda c, op: c.faults.taken_after_commit(operation=op),
    "lost race": lambda c, op: c.faults.lost_race(operation=op),
    "lost race after commit": lambda c, op: c.faults.lost_race(commit=True, operation=op),
    "HTML": lambda c, op: c.faults.unreadable_answer("html", operation=op),
    "reset after commit": lambda c, op: c.faults.reset_connection(commit=True, operation=op),
    "reset before commit": lambda c, op: c.faults.reset_connection(commit=False, operation=op),
    "rate limited": lambda c, op: c.faults.rate_limited(60, operation=op),
    "cannot be looked up": lambda c, op: (
        c.faults.server_error(commit=True, operation=op),
        c.faults.server_error(commit=False, operation="get", times=4),
    ),
}

CRASHES: dict[str, dict[str, Any]] = {
    "before it is sent": {"moment": "received", "commit": False},
    "while Cal.com works": {"moment": "received", "commit": True},
    "after the commit": {"moment": "after_commit", "commit": True},
    "before the answer": {"moment": "before_answer", "commit": True},
}


@dataclass(frozen=True)
class Asked:
    """One request as it can be sent again."""

    phone: Phone
    person: int
    start: dt.datetime
    service: str

    def send(self) -> Answer:
        name = PEOPLE[self.person][1]
        return self.phone.book(self.start, service=self.service, customer_name=name)


class Salon(RuleBasedStateMachine):
    """A salon with few slots at a Cal.com that breaks. One company per history."""

    calcom: Simulator
    numbers = itertools.count(1)

    def __init__(self) -> None:
        super().__init__()
        number = next(self.numbers)
        cache.clear()
        self.calcom.reset()
        called = f"+4930{20_000_000 + number}"
        self.company: Company = make_salon(self.calcom, slug=f"salon-{number}", number=called)
        self.called = called
        self.asked: list[Asked] = []
        self.unsettled: list[Asked] = []
        self.waited = 0.0  # seconds, since what comes late has last come
        self.unheard: set[str] = set()  # what these have become on the web nobody has told us of yet
        self.moved_on_the_web: set[str] = set()  # what bookings have become there, heard of or not

    # --- what callers do

    @rule(
        person=st.integers(0, len(PEOPLE) - 1),
        slot=st.sampled_from(range(len(SLOTS))),
        service=st.sampled_from(sorted(SERVICES)),
    )
    def book(self, person: int, slot: int, service: str) -> None:
        asked = self._new_call(person, slot, service)
        self.asked.append(asked)
        self._check(asked, asked.send())

    @precondition(lambda self: self.asked)
    @rule(which=WHICH)
    def repeat(self, which: int) -> None:
        """In the same call, the very same words."""
        asked = self.asked[which % len(self.asked)]
        self._check(asked, asked.send())

    @precondition(lambda self: self.asked)
    @rule(which=WHICH)
    def redial(self, which: int) -> None:
        """The same wish in a new call."""
        before = self.asked[which % len(self.asked)]
        asked = self._new_call(before.person, SLOTS.index(before.start), before.service)
        self.asked.append(asked)
        self._check(asked, asked.send())

    # --- what goes wrong -----------------------------------------------------------------------------------

    @rule(
        person=st.integers(0, len(PEOPLE) - 1),
        slot=st.sampled_from(range(len(SLOTS))),
        service=st.sampled_from(sorted(SERVICES)),
        kinds=st.lists(st.sampled_from(sorted(FAULTS)), min_size=1, max_size=2),
    )
    def book_while_calcom_breaks(self, person: int, slot: int, service: str, kinds: list[str]) -> None:
        for kind in kinds:
            FAULTS[kind](self.calcom)
        asked = self._new_call(person, slot, service)
        self.asked.append(asked)
        self._check(asked, asked.send())
        self.calcom.faults.clear()

    @precondition(lambda self: self.asked)
    @rule(which=WHICH, kind=st.sampled_from(sorted(FAULTS)))
    def repeat_while_calcom_breaks(self, which: int, kind: str) -> None:
        FAULTS[kind](self.calcom)
        asked = self.asked[which % len(self.asked)]
        self._check(asked, asked.send())
        self.calcom.faults.clear()

    @rule(
        person=st.integers(0, len(PEOPLE) - 1),
        slot=st.sampled_from(range(len(SLOTS))),
        service=st.sampled_from(sorted(SERVICES)),
        when=st.sampled_from(sorted(CRASHES)),
    )
    def crash(self, person: int, slot: int, service: str, when: str) -> None:
        """The process that answers the request is killed. If it never comes to the POST, it just answers."""
        asked = self._new_call(person, slot, service)
        self.asked.append(asked)
        _answered_by_a_process_that_dies(self.calcom, asked, **CRASHES[when])

    # --- what callers do with what they have

    @precondition(lambda self: self.asked)
    @rule(which=WHICH, slot=st.sampled_from(range(len(SLOTS))), kind=st.sampled_from(sorted(CHANGE_FAULTS)))
    def move(self, which: int, slot: int, kind: str) -> None:
        asked = self.asked[which % len(self.asked)]
        CHANGE_FAULTS[kind](self.calcom, "reschedule")
        answer = self._change(asked, "reschedule_appointment", new_start=SLOTS[slot].isoformat())
        self.calcom.faults.clear()
        if answer.code == "rescheduled":
            booking = self.calcom.booking(answer.uid or "")
            row = Appointment.objects.get(company=self.company, calcom_booking_uid=booking.uid)
            assert booking.is_active or booking.uid in self.unheard
            assert booking.start == row.starts_at == SLOTS[slot]

    @precondition(lambda self: self.asked)
    @rule(which=WHICH, kind=st.sampled_from(sorted(CHANGE_FAULTS)))
    def cancel(self, which: int, kind: str) -> None:
        asked = self.asked[which % len(self.asked)]
        CHANGE_FAULTS[kind](self.calcom, "cancel")
        answer = self._change(asked, "cancel_appointment")
        self.calcom.faults.clear()
        if answer.code == "cancelled":
            assert not self.calcom.booking(answer.uid or "").is_active

    def _change(self, asked: Asked, function: str, **arguments: str) -> Answer:
        caller = self._new_call(asked.person, SLOTS.index(asked.start), asked.service).phone
        day = asked.start.date().isoformat()
        answer = caller.ask(function, service=asked.service, day=day, **arguments)
        assert answer.status == 200
        assert answer.code in KNOWN | {"rescheduled", "cancelled", "not_found"}, answer.body
        assert answer.seconds < LONGEST_SECONDS, f"{answer.code} after {answer.seconds:.2f} s"
        return answer

    # --- what others do

    @rule(slot=st.sampled_from(range(len(SLOTS))), service=st.sampled_from(sorted(SERVICES)))
    def book_on_the_web(self, slot: int, service: str) -> None:
        start = SLOTS[slot]
        wanted = self.calcom.state.event_type(SERVICES[service])
        if any(b.start == start and b.event_type is wanted for b in self.calcom.active_bookings()):
            return
        self.calcom.web_book(SERVICES[service], start=start, silent=True)

    @rule(which=WHICH)
    def cancel_on_the_web(self, which: int) -> None:
        """… and mirrored here, as its webhook would do."""
        active = self.calcom.active_bookings()
        if not active:
            return
        uid = active[which % len(active)].uid
        self.calcom.web_cancel(uid, silent=True)
        Appointment.objects.filter(company=self.company, calcom_booking_uid=uid).update(status="cancelled")

    @rule(which=WHICH, slot=st.sampled_from(range(len(SLOTS))), owner=st.booleans())
    def move_on_the_web(self, which: int, slot: int, owner: bool) -> None:
        """… and nobody tells us, until the two sides are compared."""
        active = self.calcom.active_bookings()
        if not active:
            return
        uid = active[which % len(active)].uid
        with suppress(Refusal):
            successor = self.calcom.web_reschedule(uid, SLOTS[slot], by_owner=owner, silent=True)
            self.moved_on_the_web.add(successor.uid)
            self.unheard.add(uid)

    @rule()
    def reconcile(self) -> None:
        reconcile.reconcile(self.company)
        self.unheard.clear()

    # --- time and the completer

    @rule(seconds=st.sampled_from([0, LEASE_SECONDS, LEASE_SECONDS, GRACE_SECONDS]))
    def complete(self, seconds: int) -> None:
        self._let_pass(seconds)
        completer.settle_unknown(company_id=self.company.pk)

    @rule(seconds=st.sampled_from([20, 70, GRACE_SECONDS]))
    def let_time_pass(self, seconds: int) -> None:
        self._let_pass(seconds)

    # --- what must hold

    @invariant()
    def no_intention_has_two_active_bookings(self) -> None:
        creates = self._attempts().filter(kind="create")
        keys = {str(uuid): key for uuid, key in creates.values_list("uuid", "idempotency_key")}
        # What was moved is another intention by now, and has its key.
        rows = Appointment.objects.filter(company=self.company, calcom_booking_uid__isnull=False)
        now = dict(rows.values_list("calcom_booking_uid", "idempotency_key"))
        made = Counter(
            now.get(booking.uid) or f"{keys[booking.metadata['attempt_id']]} at {booking.start}"
            for booking in self.calcom.active_bookings()
            if booking.metadata.get("attempt_id") in keys
        )
        twice = {key: count for key, count in made.items() if count > 1}
        assert not twice, f"booked twice at Cal.com: {twice}"

    @invariant()
    def nothing_is_called_booked_that_is_not_there(self) -> None:
        proven = [status for status in LIVE_STATUSES if status != Appointment.Status.PENDING]
        active = {booking.uid for booking in self.calcom.active_bookings()}
        rows = Appointment.objects.filter(company=self.company, status__in=proven)
        # Until it is known what became of a change, our side is as it was before.
        rows = rows.exclude(attempts__state__in=OPEN_STATES)
        missing = set(rows.values_list("calcom_booking_uid", flat=True)) - active - self.unheard
        assert not missing, f"live here, not there: {missing}"

    @invariant()
    def nothing_is_called_absent_that_is_there(self) -> None:
        gone = self._attempts().filter(state__in=("absent", "not_sent", "compensated"))
        names = {str(uuid) for uuid in gone.filter(kind="create").values_list("uuid", flat=True)}
        there = [b.uid for b in self.calcom.active_bookings() if b.metadata.get("attempt_id") in names]
        assert not there, f"given up, and there: {there}"

    def teardown(self) -> None:
        for _ in range(3):
            self._let_pass(GRACE_SECONDS + 600)
            completer.settle_unknown(company_id=self.company.pk)
        self.reconcile()
        open_attempts = list(self._attempts().filter(state__in=OPEN_STATES))
        bookings = [read_booking(booking_json(booking)) for booking in self.calcom.bookings]
        broken = [str(each) for each in oracle.breaches(company=self.company, bookings=bookings)]
        assert not broken, "\n".join(broken)
        assert not open_attempts, f"Cal.com answers and they are still open: {open_attempts}"
        self.no_intention_has_two_active_bookings()
        self.nothing_is_called_absent_that_is_there()
        # Whoever was left in doubt asks again, and now there is an answer.
        for asked in self.unsettled[-2:]:
            answer = asked.send()
            assert answer.code != "checking", "asked again after everything was settled"
            self._check(asked, answer)

    # --- how it is done

    def _new_call(self, person: int, slot: int, service: str) -> Asked:
        phone = Phone(company=self.company, from_number=PEOPLE[person][0], to_number=self.called)
        return Asked(phone=phone, person=person, start=SLOTS[slot], service=service)

    def _check(self, asked: Asked, answer: Answer) -> None:
        assert answer.status == 200
        assert answer.code in KNOWN, answer.body
        assert answer.seconds < LONGEST_SECONDS, f"{answer.code} after {answer.seconds:.2f} s"
        mine = self._bookings_of(asked)
        if answer.code in YES:
            # A lagging replica hides it from a listing; Cal.com's answer to a create may name it all the
            # same.
            there = self._bookings_of(asked, hidden_too=True)
            booking = next((each for each in there if each.uid == answer.uid), None)
            if answer.uid in self.unheard:
                return  # true as far as it can be known: a repeat is answered from our side
            booking = booking or self._moved_before_it_was_heard_of(answer)
            assert booking is not None, f"{answer.code} of {answer.uid}, and there is: {there}"
            row = Appointment.objects.get(company=self.company, calcom_booking_uid=answer.uid)
            assert row.is_live
            assert row.starts_at == booking.start
            assert row.call
            assert row.call.booking_confirmed
        elif answer.code in NO:
            # Where Cal.com refuses to talk nobody knows what was moved there on the web: somebody calls back.
            if answer.code == "unavailable" and self.unheard:
                return
            assert not mine, f"{answer.code} said beside {mine}"
        if answer.code == "checking":
            self.unsettled.append(asked)

    def _bookings_of(self, asked: Asked, *, hidden_too: bool = False) -> list[Booking]:
        """The active bookings of this caller for this service at this time, whichever call made them."""
        event_type = self.calcom.state.event_type(SERVICES[asked.service])
        return [
            booking
            for booking in self.calcom.active_bookings()
            if booking.start == asked.start
            and booking.event_type is event_type
            and booking.attendee.phone == PEOPLE[asked.person][0]
            and (hidden_too or not booking.hidden_until)
        ]

    def _moved_before_it_was_heard_of(self, answer: Answer) -> Booking | None:
        """Booked without an answer, and moved on the web: the caller is told where it is now."""
        booking = self.calcom.booking(answer.uid or "")
        told = dt.datetime.fromisoformat(answer.body["appointment"]["start"])
        is_true = booking.is_active and booking.start == told
        return booking if is_true and booking.uid in self.moved_on_the_web else None

    def _attempts(self) -> Any:
        return BookingAttempt.objects.filter(company=self.company)

    def _let_pass(self, seconds: float) -> None:
        self.waited += seconds
        if self.waited > LATEST_SECONDS:
            self._late_commits_land()
            self.waited = 0
        passed = dt.timedelta(seconds=seconds)
        self._attempts().update(
            created_at=F("created_at") - passed,
            sent_at=F("sent_at") - passed,
            lease_expires_at=F("lease_expires_at") - passed,
            look_again_at=F("look_again_at") - passed,
        )
        FunctionCall.objects.filter(company=self.company).update(answered_at=F("answered_at") - passed)
        with self.calcom.state.lock:
            for booking in self.calcom.bookings:
                booking.created_at -= passed
                if booking.hidden_until and booking.hidden_until - passed < timezone.now():
                    booking.hidden_until = None
        cache.delete_many([f"breaker:{self.company.pk}:{name}" for name in ("pause", "failures")])

    def _late_commits_land(self) -> None:
        for timer in list(self.calcom._timers):
            timer.cancel()
            timer.function()


def _answered_by_a_process_that_dies(calcom: Simulator, asked: Asked, *, moment: str, commit: bool) -> None:
    """Fork, let the child send the request, and kill it (SIGKILL) at that moment of the create."""
    child = 0

    def kill(_exchange: object) -> None:
        os.kill(child, signal.SIGKILL)

    fault = calcom.faults.add("create", commit=commit, call={moment: kill})
    connections.close_all()
    close_pool = getattr(connection, "close_pool", None)
    if close_pool:
        close_pool()  # its threads would not be in the child
    child = os.fork()
    if not child:
        try:
            asked.send()
        finally:
            os._exit(0)
    until = time.monotonic() + 15
    while os.waitpid(child, os.WNOHANG) == (0, 0):
        assert time.monotonic() < until, "the child neither answered nor died"
        time.sleep(0.005)
    calcom.faults.remove(fault)


def _run(calcom: Simulator, *, examples: int, steps: int, repeatable: bool) -> None:
    Salon.calcom = calcom
    calcom.state.rate_limit = 100_000
    run_state_machine_as_test(
        Salon,
        settings=settings(
            max_examples=examples,
            stateful_step_count=steps,
            derandomize=repeatable,
            database=None,
            print_blob=False,
            report_multiple_bugs=False,
            suppress_health_check=list(HealthCheck),
            phases=[Phase.generate, Phase.shrink] if not repeatable else [Phase.generate],
        ),
    )


def test_whatever_happens_in_whatever_order_everybody_agrees_in_the_end(transactional_db, calcom, settings):
    settings.ANSWER_BUDGET_SECONDS = BUDGET_SECONDS
    _run(calcom, examples=20, steps=12, repeatable=True)


@pytest.mark.soak
@pytest.mark.timeout(1800)
def test_many_long_histories_end_in_agreement(transactional_db, calcom, settings):
    settings.ANSWER_BUDGET_SECONDS = BUDGET_SECONDS
    _run(calcom, examples=int(os.environ.get("SOAK_EXAMPLES", "400")), steps=30, repeatable=False)

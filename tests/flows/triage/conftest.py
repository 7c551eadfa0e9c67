"""A person before the page of a sync failure, against the simulator."""

from __future__ import annotations

from typing import Any

import pytest
from django.contrib.auth.models import User
from django.utils import timezone

from booking.models import Appointment, SyncFailure
from calls.models import FunctionCall
from sync import triage
from tests.flows.phone import at

TAKE_WHAT_IS_THERE = (
    triage.try_again,
    triage.take_back,
    triage.assign,
    triage.snooze,
    triage.review,
    triage.resolve,
)


@pytest.fixture
def person(salon):
    return User.objects.create_user("ops", is_staff=True)


@pytest.fixture
def look(person):
    """The failure, as its page shows it at this moment."""

    def open_page(failure: SyncFailure | None = None, *, ask: bool = True) -> triage.Case:
        pk = failure.pk if failure else SyncFailure.objects.get(status__in=("pending", "manual_review")).pk
        return triage.open_case(triage.read_failure(pk), user=person, now=timezone.now(), ask=ask)

    return open_page


@pytest.fixture
def decide(person):
    """Somebody's decision, who was shown that case."""

    def upon(case: triage.Case, *, reason: str = "Because.") -> triage.Decision:
        return triage.Decision(
            failure=case.failure, user=person, expected=triage.version_of(case.failure), reason=reason
        )

    return upon


@pytest.fixture
def press(decide):
    """A button, by somebody who was shown that case."""

    def act(verb, case: triage.Case, **arguments: Any) -> triage.Done:
        if verb not in TAKE_WHAT_IS_THERE:
            arguments["seen"] = case.fingerprint
        done: triage.Done = verb(decide(case), **arguments)
        return done

    return act


@pytest.fixture
def vanished(calcom, salon, phone, run):
    """An appointment whose booking Cal.com has lost; what it was called."""
    phone().book(at(10))
    FunctionCall.objects.all().delete()  # what it promised cannot be true any more
    uid = Appointment.objects.get().calcom_booking_uid
    calcom.erase(uid)
    run()
    calcom.clear_log()
    return uid

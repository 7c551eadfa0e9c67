"""When a verb is legal."""

from __future__ import annotations

import pytest

from booking.models import Appointment, SyncFailure
from sync import triage
from sync.triage import NotLegal, Verb
from tests.flows.phone import at
from tests.flows.triage.tickets import Type, snapshot, ticket


@pytest.mark.parametrize("verb", Verb)
def test_nothing_is_legal_on_what_is_resolved(calcom, salon, phone, look, verb):
    phone().book(at(10))
    failure = ticket(salon, uid=calcom.bookings[0].uid)
    SyncFailure.objects.update(status="resolved")
    with pytest.raises(NotLegal):
        triage.preview(verb, look(failure))


@pytest.mark.parametrize("status", ["pending", "manual_review"])
def test_the_verbs_that_are_legal_on_an_open_orphan_from_elsewhere(calcom, salon, look, status):
    booking = calcom.web_book("open", start=at(10))
    failure = ticket(salon, uid=booking.uid)
    SyncFailure.objects.update(status=status)
    legal = {verb for verb, why in triage.legal_verbs(look(failure)).items() if not why}
    expected = {Verb.TRY_AGAIN, Verb.ADOPT, Verb.CANCEL, Verb.RESOLVE, Verb.SNOOZE, Verb.ASSIGN}
    assert legal == (expected | {Verb.REVIEW} if status == "pending" else expected)


def test_while_cal_com_cannot_be_asked_nothing_is_offered_that_relies_on_it(calcom, salon, phone, look):
    phone().book(at(10))
    failure = ticket(salon, uid=calcom.bookings[0].uid, appointment=Appointment.objects.get())
    calcom.faults.outage()
    case = look(failure)
    assert case.remote.seen == "not_asked"
    assert case.remote.why
    reasons = triage.legal_verbs(case)
    assert reasons[Verb.ADOPT] == reasons[Verb.CANCEL] == "Cal.com could not be asked."
    legal = {verb for verb, why in reasons.items() if not why}
    assert legal == {Verb.TRY_AGAIN, Verb.RESOLVE, Verb.SNOOZE, Verb.ASSIGN, Verb.REVIEW}


def test_what_is_cancelled_there_is_neither_adopted_nor_cancelled_again(calcom, salon, phone, look):
    uid = phone().book(at(10)).uid
    ticket(salon, Type.STATUS_MISMATCH, uid=uid, appointment=Appointment.objects.get())
    reasons = triage.legal_verbs(look())
    assert reasons[Verb.ADOPT] == "Our appointment says the same as the booking."
    assert not reasons[Verb.CANCEL]
    calcom.web_cancel(uid, silent=True)
    reasons = triage.legal_verbs(look())
    assert reasons[Verb.ADOPT] == reasons[Verb.CANCEL] == "The booking is cancelled at Cal.com."


def test_looking_and_previewing_changes_nothing_anywhere(calcom, salon, phone, look):
    phone().book(at(10))
    failure = ticket(salon, uid=calcom.bookings[0].uid, appointment=Appointment.objects.get())
    before = snapshot()
    calcom.clear_log()
    triage.legal_verbs(look(failure))
    assert snapshot() == before
    assert {entry.method for entry in calcom.log} == {"GET"}

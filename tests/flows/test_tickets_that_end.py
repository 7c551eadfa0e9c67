"""Tickets and promised calls whose reason goes away by another way than the one that brought it."""

from __future__ import annotations

import pytest

from booking.models import CallbackRequest, Service, SyncFailure
from tests.flows.phone import at

OPEN = ("pending", "manual_review")


def open_failures():
    return SyncFailure.objects.filter(status__in=OPEN)


# --- A ticket about an event type


@pytest.mark.parametrize("remedy", ["another event type", "switched off"])
def test_a_ticket_about_an_event_type_that_nobody_books_any_more_closes(
    calcom, phone, haircut, settle_later, run, remedy
):
    right = haircut.calcom_event_type_id
    Service.objects.filter(pk=haircut.pk).update(calcom_event_type_id=999_999)
    assert phone().book(at(10)).code == "unavailable"
    settle_later(seconds=1)
    assert open_failures().get().failure_type == "config_error", "it is still booked"
    if remedy == "switched off":
        Service.objects.filter(pk=haircut.pk).update(is_active=False)
    else:
        Service.objects.filter(pk=haircut.pk).update(calcom_event_type_id=right)
    assert run()[0] == 0
    assert not open_failures().exists()
    assert CallbackRequest.objects.get().status == "open", "the caller still waits"

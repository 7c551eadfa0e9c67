"""The sentence an agent reads out says what is so, and nothing that nobody asked or has."""

from __future__ import annotations

import pytest

from booking.models import Appointment
from customers.models import Company
from tests.flows.phone import at


@pytest.fixture(params=["de", "en"])
def language(salon, request):
    Company.objects.update(language=request.param)
    salon.refresh_from_db()
    return request.param


def test_what_is_spoken_is_the_very_instant_that_is_booked(calcom, phone, verdict):
    """Nobody is told of seconds, so nobody is booked at any."""
    answer = phone().book(at(10).isoformat().replace("10:00:00", "10:00:30"))
    assert answer.code == "booked"
    assert "10 AM" in answer.body["say"]
    assert Appointment.objects.get().starts_at == at(10)
    assert calcom.booking(answer.uid).start == at(10)
    verdict()

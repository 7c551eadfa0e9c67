"""Outcome → the JSON an agent reads, with the sentence it says in it."""

from __future__ import annotations

from datetime import datetime
from typing import Any

from django.utils import translation

from booking import sentences, slot_ids
from booking.conversation import Conversation
from booking.models import Appointment, Service
from booking.outcomes import Code, Outcome


def for_outcome(outcome: Outcome, conversation: Conversation) -> dict[str, Any]:
    speaker = sentences.Speaker(conversation, zone=outcome.zone)
    with translation.override(speaker.language):
        say = sentences.for_outcome(outcome, speaker)
    body = bare(code=outcome.code, say=say)
    body["alternatives"] = [_slot(at, outcome.service, speaker) for at in outcome.alternatives]
    if outcome.appointment is not None:
        body["appointment"] = _appointment(outcome.appointment, conversation)
    if outcome.errors:
        body["errors"] = dict(outcome.errors)
    if "slots" in outcome.extra:
        theirs = outcome.extra.get("services_of_slots", {})
        body["slots"] = [_slot(at, theirs.get(at, outcome.service), speaker) for at in outcome.extra["slots"]]
        body["more"] = outcome.extra["more"]
    if "appointments" in outcome.extra:
        body["appointments"] = [
            {**_appointment(row, conversation), "spoken": speaker.start_of(row)}
            for row in outcome.extra["appointments"]
        ]
    if "services" in outcome.extra:
        body["services"] = [_service(service) for service in outcome.extra["services"]]
    return body


def bare(*, code: Code, say: str) -> dict[str, Any]:
    """An answer with nothing but its code and sentence."""
    return {
        "success": code.is_success,
        "code": str(code),
        "say": say,
        "replayed": False,
        "appointment": None,
        "alternatives": [],
    }


def without_conversation(code: Code, *, reason: str, language: str) -> dict[str, Any]:
    """For a request that cannot be worked at all: no call, no branch, no such function, or an error of
    ours.
    """
    with translation.override(language):
        return bare(code=code, say=sentences.without_conversation(reason))


def _slot(instant: datetime, service: Service | None, speaker: sentences.Speaker) -> dict[str, Any]:
    slot = {
        "slot_id": slot_ids.make(
            company_id=speaker.conversation.company.pk,
            service_id=service.pk if service else 0,
            starts_at=instant,
            now=speaker.now,
        ),
        "start": instant.astimezone(speaker.zone).isoformat(),
        "spoken": speaker.when(instant),
    }
    return {**slot, "person": service.person} if service and service.person else slot


def _appointment(appointment: Appointment, conversation: Conversation) -> dict[str, Any]:
    zone = conversation.zone_of(appointment)
    return {
        "id": appointment.pk,
        "status": str(appointment.status),
        "service": appointment.service.slug if appointment.service else None,
        "start": appointment.starts_at.astimezone(zone).isoformat(),
        "end": appointment.ends_at.astimezone(zone).isoformat(),
        "calcom_booking_uid": appointment.calcom_booking_uid,
    }


def _service(service: Service) -> dict[str, Any]:
    return {
        "slug": service.slug,
        "name": service.name,
        "spoken": sentences.said(service),
        "duration_minutes": service.duration_minutes,
        "price": service.price_text,
        "person": service.person,
    }

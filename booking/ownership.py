"""Is the booking that Cal.com just answered with ours?

A 201 does not say so. For round-robin and unconfirmed event types Cal.com answers with an *older* booking of
the same attendee and start: once, 35 minutes old and another call's, it was stored here as a second
appointment.

Ownership comes first and is proven by one thing only: the attempt id in the metadata, which we chose and
stored before we asked. A booking with an attempt of this key is ours whatever its age: it is our own slow or
repeated request. Everything else is refused, and the layers name the reason:

    layer 1  freshness   it was created long before we asked
    layer 2  call        it carries another call's id
    layer 3  known uid   an appointment of ours already is this booking
    layer 4  constraint  the same, decided by the database at the moment of saving (see `settle.py`)

What no layer refuses and no attempt id proves is `unproven`: it may be ours with its metadata lost on the
way, so it is neither stored nor cancelled nor called "taken". With the layers switched to log-only that
verdict takes their place; ownership itself cannot be switched off.
"""

from __future__ import annotations

from collections.abc import Collection
from dataclasses import dataclass
from datetime import datetime, timedelta
from enum import StrEnum

from booking.calcom.objects import Booking

FRESH = timedelta(seconds=30)


class Verdict(StrEnum):
    OURS = "ours"
    WRONG = "wrong"  # ours, but not the slot or the event type that was asked for
    FOREIGN = "foreign"
    UNPROVEN = "unproven"


class Layer(StrEnum):
    FRESHNESS = "layer_1_freshness"
    CALL = "layer_2_call"
    KNOWN_UID = "layer_3_known_uid"
    CONSTRAINT = "layer_4_constraint"


# What is written where no layer refuses, and no attempt id proves.
NO_PROOF = "ownership"
REFUSED_BY = (*Layer, NO_PROOF)


@dataclass(frozen=True)
class Asked:
    """What we asked Cal.com for. Instants are aware; `sent_at` is when the request was sent."""

    call_id: str
    starts_at: datetime
    ends_at: datetime
    event_type_id: int
    sent_at: datetime


@dataclass(frozen=True)
class Judgement:
    verdict: Verdict
    refused_by: tuple[Layer, ...] = ()
    differs: tuple[str, ...] = ()


def judge(
    booking: Booking,
    *,
    asked: Asked,
    attempt_is_ours: bool,
    uid_is_known: bool,
    layers_enabled: bool,
) -> Judgement:
    """`attempt_is_ours`: its metadata names an attempt of this key. `refused_by` of the answer tells what
    the layers found, also while they only log.
    """
    if attempt_is_ours:
        differs = what_differs(booking, asked=asked)
        return Judgement(Verdict.WRONG if differs else Verdict.OURS, differs=differs)
    layers = tuple(_layers(booking, asked=asked, uid_is_known=uid_is_known))
    # Another attempt's id is proof by itself that it is not ours, with or without the layers.
    foreign = bool(booking.metadata.get("attempt_id")) or (layers_enabled and bool(layers))
    return Judgement(Verdict.FOREIGN if foreign else Verdict.UNPROVEN, refused_by=layers)


def what_differs(booking: Booking, *, asked: Asked) -> tuple[str, ...]:
    """Which of start, end and event type are not what was asked for."""
    differs = []
    if booking.start != asked.starts_at:
        differs.append("start")
    if booking.end != asked.ends_at:
        differs.append("end")
    if booking.event_type_id is not None and booking.event_type_id != asked.event_type_id:
        differs.append("event_type")
    return tuple(differs)


def is_of(booking: Booking, *, attempt_ids: Collection[str]) -> bool:
    """Whether the booking carries one of these attempts' ids."""
    return booking.metadata.get("attempt_id") in attempt_ids


def _layers(booking: Booking, *, asked: Asked, uid_is_known: bool) -> list[Layer]:
    found = []
    if booking.created_at is not None and booking.created_at < asked.sent_at - FRESH:
        found.append(Layer.FRESHNESS)
    call_id = booking.metadata.get("call_id")
    if call_id and call_id != asked.call_id:
        found.append(Layer.CALL)
    if uid_is_known:
        found.append(Layer.KNOWN_UID)
    return found

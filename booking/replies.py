"""Outcome → the JSON an agent reads and the one sentence it says.

The sentence is in the company's language and names days and times as people do, in the branch's zone. A
callback is promised only when one is on record. Nothing in here is said about a person who is not known to be
the one calling.
"""

from __future__ import annotations

from collections.abc import Sequence
from datetime import datetime
from typing import Any

from django.utils import translation
from django.utils.translation import gettext as _

from booking import slot_ids
from booking.functions import Conversation
from booking.models import Appointment, Service
from booking.outcomes import Code, Outcome
from booking.spoken_times import spoken, spoken_day, spoken_list, spoken_time

SPOKEN_SLOTS = 4


def for_outcome(outcome: Outcome, conversation: Conversation) -> dict[str, Any]:
    language = conversation.company.language
    with translation.override(language):
        say = _sentence(outcome, _Speaker(conversation))
    body = bare(code=outcome.code, say=say)
    body["alternatives"] = [_slot(at, outcome.service, conversation) for at in outcome.alternatives]
    if outcome.appointment is not None:
        body["appointment"] = _appointment(outcome.appointment, conversation)
    if outcome.errors:
        body["errors"] = dict(outcome.errors)
    if "slots" in outcome.extra:
        body["slots"] = [_slot(at, outcome.service, conversation) for at in outcome.extra["slots"]]
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
        sentences = {
            "no_call": _("I cannot tell which call this is, so I can't do that right now."),
            "no_branch": _("I'm sorry, bookings are not possible on this line."),
            "no_function": _("I'm sorry, I can't do that."),
            "error": _("I'm sorry, something went wrong. Please try again later."),
            "error_while_changing": _("I'm still checking whether that worked. One moment, please."),
        }
        return bare(code=code, say=sentences[reason])


class _Speaker:
    """Times as this company says them."""

    def __init__(self, conversation: Conversation) -> None:
        self.zone = conversation.zone
        self.language = conversation.company.language
        self.now = conversation.now

    def when(self, instant: datetime) -> str:
        return spoken(instant, zone=self.zone, language=self.language, now=self.now)

    def day(self, instant: datetime) -> str:
        return spoken_day(
            instant.astimezone(self.zone).date(), zone=self.zone, language=self.language, now=self.now
        )

    def choice(self, instants: Sequence[datetime]) -> str:
        """Several times; the day only once if they share it."""
        days = {instant.astimezone(self.zone).date() for instant in instants}
        if len(days) == 1 and len(instants) > 1:
            times = [spoken_time(at, zone=self.zone, language=self.language) for at in instants]
            return _("%(day)s at %(times)s") % {
                "day": self.day(instants[0]),
                "times": spoken_list(times, self.language),
            }
        return spoken_list([self.when(at) for at in instants], self.language)

    def names(self, services: Sequence[Service]) -> str:
        return spoken_list([service.name for service in services], self.language)


def _sentence(outcome: Outcome, speaker: _Speaker) -> str:
    if outcome.code in (Code.BOOKED, Code.ALREADY_BOOKED, Code.REQUESTED):
        return _booked(outcome, speaker)
    if outcome.code in (Code.SLOT_TAKEN, Code.TOO_SOON):
        return _not_at_that_time(outcome, speaker)
    if outcome.code is Code.CHECKING:
        return _("I'm still checking whether that worked. One moment, please.")
    if outcome.code is Code.UNAVAILABLE:
        return _unavailable(outcome)
    if outcome.code is Code.INVALID_REQUEST:
        return _asking_again(outcome.reason)
    if outcome.code is Code.UNKNOWN_SERVICE:
        return _unknown_service(outcome.extra["services"], speaker)
    if outcome.code is Code.AMBIGUOUS:
        return _ambiguous(outcome, speaker)
    if outcome.code is Code.NOT_ALLOWED:
        return _("I'm sorry, no further appointment can be booked for you by phone.")
    return _found(outcome, speaker)


def _booked(outcome: Outcome, speaker: _Speaker) -> str:
    if outcome.appointment is None:
        return _("That appointment is booked already.")
    words = {
        "service": outcome.service.name if outcome.service else "",
        "when": speaker.when(outcome.appointment.starts_at),
    }
    if outcome.code is Code.ALREADY_BOOKED and outcome.appointment.status == Appointment.Status.REQUESTED:
        return _("You have already requested %(service)s: %(when)s. It still has to be confirmed.") % words
    if outcome.code is Code.REQUESTED:
        return _("I have requested %(service)s for you: %(when)s. It still has to be confirmed.") % words
    if outcome.code is Code.ALREADY_BOOKED:
        return _("You already have this appointment: %(service)s, %(when)s.") % words
    return _("Your appointment is booked: %(service)s, %(when)s.") % words


def _not_at_that_time(outcome: Outcome, speaker: _Speaker) -> str:
    if outcome.reason == "in_the_past":
        if not outcome.alternatives:
            return _("That time is already past. When would you like to come?")
        return _("That time is already past. The first possible time is %(when)s.") % {
            "when": speaker.when(outcome.alternatives[0])
        }
    if outcome.reason == "too_far":
        return _("That is too far ahead. The nearest time I have is %(when)s.") % {
            "when": speaker.when(outcome.alternatives[-1])
        }
    if outcome.reason == "far_too_far":
        return _("That is too far ahead. Which earlier date would suit you?")
    if outcome.code is Code.TOO_SOON:
        if not outcome.alternatives:
            return _("That is too soon. Would a later day suit you?")
        return _("That is too soon. The first possible time is %(when)s.") % {
            "when": speaker.when(outcome.alternatives[0])
        }
    if not outcome.alternatives:
        return _("That time is not free. Would another day suit you?")
    return _("That time is not free. I could offer %(choice)s.") % {
        "choice": speaker.choice(outcome.alternatives)
    }


def _unavailable(outcome: Outcome) -> str:
    if outcome.callback:
        return _("I could not book that just now. We will call you back.")
    if outcome.reason == "ask_again":
        return _(
            "That did not work, and nothing is booked. Shall I try again, or would another time suit you?"
        )
    if outcome.reason == "availability":
        return _("I cannot look into the calendar right now. Please try again in a moment.")
    return _("I could not book that just now. Please try again later.")


def _asking_again(reason: str) -> str:
    sentences = {
        "start_unreadable": _("I did not understand the date and time. When would you like to come?"),
        "start_no_time": _("What time would suit you?"),
        "start_needed": _("When would you like to come?"),
        "start_does_not_exist": _("The clocks change that night, so that time does not exist. Which other?"),
        "start_weekday_contradicts": _("The weekday and the date don't match. Which day do you mean?"),
        "too_far_ahead": _("That is too far ahead. Which earlier date would suit you?"),
        "in_the_past": _("That day is over. Which day do you mean?"),
        "slot_id_expired": _("That offer is too old. Let me look again what is free."),
        "slot_id_invalid": _("I lost track of that offer. Let me look again what is free."),
        "name_needed": _("What name may I book it under?"),
        "customer_name_too_long": _("What name may I book it under?"),
        "phone_needed": _("What phone number can we reach you at?"),
        "other_phone": _("I cannot use that phone number for this. Could you give me another one?"),
        "customer_phone_unreadable": _("I did not get the phone number right. Could you repeat it?"),
        "customer_email_unreadable": _("I did not get the e-mail address right. Could you repeat it?"),
    }
    return sentences.get(reason) or _("I did not understand that. Could you say it again?")


def _ambiguous(outcome: Outcome, speaker: _Speaker) -> str:
    if outcome.reason == "second_person":
        return _(
            "There already is an appointment at that time under this phone number, in another name. "
            "For a second person, which phone number may I use?"
        )
    if outcome.reason == "two_times":
        return _("Which do you mean: %(choice)s?") % {"choice": speaker.choice(outcome.alternatives)}
    return _("Which of these do you mean: %(services)s?") % {
        "services": speaker.names(outcome.extra["services"])
    }


def _unknown_service(offered: Sequence[Service], speaker: _Speaker) -> str:
    if not offered:
        return _("At the moment nothing can be booked by phone.")
    return _("I don't know that service. You can book %(services)s with us.") % {
        "services": speaker.names(offered)
    }


def _found(outcome: Outcome, speaker: _Speaker) -> str:
    if outcome.reason == "services":
        services = outcome.extra["services"]
        if not services:
            return _("At the moment nothing can be booked by phone.")
        return _("You can book %(services)s with us.") % {"services": speaker.names(services)}
    slots = outcome.extra["slots"]
    if not slots:
        return _("Nothing is free then. Would another day suit you?")
    return _("I have %(choice)s free.") % {"choice": speaker.choice(slots[:SPOKEN_SLOTS])}


def _slot(instant: datetime, service: Service | None, conversation: Conversation) -> dict[str, Any]:
    return {
        "slot_id": slot_ids.make(
            company_id=conversation.company.pk,
            service_id=service.pk if service else 0,
            starts_at=instant,
            now=conversation.now,
        ),
        "start": instant.astimezone(conversation.zone).isoformat(),
        "spoken": spoken(
            instant,
            zone=conversation.zone,
            language=conversation.company.language,
            now=conversation.now,
        ),
    }


def _appointment(appointment: Appointment, conversation: Conversation) -> dict[str, Any]:
    return {
        "id": appointment.pk,
        "status": str(appointment.status),
        "service": appointment.service.slug if appointment.service else None,
        "start": appointment.starts_at.astimezone(conversation.zone).isoformat(),
        "end": appointment.ends_at.astimezone(conversation.zone).isoformat(),
        "calcom_booking_uid": appointment.calcom_booking_uid,
    }


def _service(service: Service) -> dict[str, Any]:
    return {"slug": service.slug, "name": service.name, "duration_minutes": service.duration_minutes}

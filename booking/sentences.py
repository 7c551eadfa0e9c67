"""The one sentence an agent says: in the company's language, with days and times as people say them; and the
few that Cal.com writes to a guest for us.

Times are in the branch's zone; those of an appointment, and those it could be moved to, in the zone of the
branch where it is. A callback is promised only when one is on record. Nothing in here is said about a person
who is not known to be the one calling.
"""

from __future__ import annotations

import re
from collections.abc import Iterable, Sequence
from datetime import datetime, timedelta
from zoneinfo import ZoneInfo

from django.utils import translation
from django.utils.translation import gettext as _

from booking import catalogue
from booking.conversation import Conversation
from booking.models import Appointment, Service
from booking.outcomes import Code, Outcome
from booking.spoken_times import spoken, spoken_day, spoken_duration, spoken_list, spoken_time
from customers.models import Company

SPOKEN_SLOTS = 4
_STOPS = re.compile(r"\.{2,}")


class Speaker:
    """Times as this company says them, in the branch's zone unless it is told another."""

    def __init__(self, conversation: Conversation, *, zone: ZoneInfo | None = None) -> None:
        self.conversation = conversation
        self.zone = zone or conversation.zone
        self.language = conversation.company.language
        self.now = conversation.now

    def when(self, instant: datetime) -> str:
        return spoken(instant, zone=self.zone, language=self.language, now=self.now)

    def start_of(self, appointment: Appointment) -> str:
        zone = self.conversation.zone_of(appointment)
        return spoken(appointment.starts_at, zone=zone, language=self.language, now=self.now)

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

    def duration(self, minutes: int) -> str:
        return spoken_duration(minutes, language=self.language)

    def names(self, services: Sequence[Service]) -> str:
        """Each thing once, whoever does it."""
        return self.list(said(service) for service in catalogue.things(services))

    def persons(self, services: Sequence[Service]) -> str:
        return self.list(service.person for service in services if service.person)

    def list(self, words: Iterable[str], *, is_choice: bool = True) -> str:
        return spoken_list([*dict.fromkeys(words)], self.language, is_choice=is_choice)


def without_conversation(reason: str) -> str:
    """For a request that cannot be worked at all: no call, no branch, no such function, or an error of
    ours.
    """
    sentences = {
        "no_call": _("I cannot tell which call this is, so I can't do that right now."),
        "no_branch": _("I'm sorry, bookings are not possible on this line."),
        "no_function": _("I'm sorry, I can't do that."),
        "error": _("I'm sorry, something went wrong. Please try again later."),
        "error_while_changing": _("I'm still checking whether that worked. One moment, please."),
    }
    return sentences[reason]


def to_the_guest(why: str, *, company: Company) -> str:
    """What Cal.com writes into its mail about a change where nobody has given a reason."""
    with translation.override(company.language):
        sentences = {
            "moved": _("Moved by phone."),
            "cancelled": _("Cancelled by phone."),
            "cancelled_by_us": _("%(company)s has cancelled this booking.") % {"company": company.name},
        }
    return sentences[why]


def for_outcome(outcome: Outcome, speaker: Speaker) -> str:
    # "Anna W." and "25 Fr." at the end of a sentence bring its full stop along.
    return _STOPS.sub(".", _for_outcome(outcome, speaker))


def _for_outcome(outcome: Outcome, speaker: Speaker) -> str:
    if outcome.code in (Code.BOOKED, Code.ALREADY_BOOKED, Code.REQUESTED):
        return _booked(outcome, speaker)
    if outcome.code in (Code.SLOT_TAKEN, Code.TOO_SOON):
        return _not_at_that_time(outcome, speaker)
    if outcome.code is Code.CHECKING and outcome.reason == "earlier_change":
        return _("I'm still checking whether your last booking or change went through. One moment, please.")
    if outcome.code is Code.CHECKING:
        return _("I'm still checking whether that worked. One moment, please.")
    if outcome.code is Code.UNAVAILABLE:
        return _unavailable(outcome)
    if outcome.code is Code.UNKNOWN_SERVICE:
        return _unknown_service(outcome, speaker)
    if outcome.code is Code.INVALID_REQUEST:
        return _asking_again(outcome, speaker)
    if outcome.code is Code.AMBIGUOUS:
        return _ambiguous(outcome, speaker)
    if outcome.code is Code.NOT_ALLOWED:
        return _not_allowed(outcome, speaker)
    if outcome.code in (Code.RESCHEDULED, Code.CANCELLED):
        return _changed(outcome, speaker)
    if outcome.code is Code.NOT_FOUND:
        return _not_found(outcome, speaker)
    if outcome.code is Code.CALLBACK_NOTED:
        return _callback_noted(outcome, speaker)
    return _found(outcome, speaker)


def _booked(outcome: Outcome, speaker: Speaker) -> str:
    if outcome.appointment is None:
        return _("That appointment is booked already.")
    words = {
        "service": said(outcome.service) if outcome.service else "",
        "when": speaker.start_of(outcome.appointment),
    }
    if outcome.code is Code.ALREADY_BOOKED and _is_requested(outcome.appointment):
        return _("You have already requested %(service)s: %(when)s. It still has to be confirmed.") % words
    if outcome.code is Code.REQUESTED:
        return _("I have requested %(service)s for you: %(when)s. It still has to be confirmed.") % words
    if outcome.code is Code.ALREADY_BOOKED:
        return _("You already have this appointment: %(service)s, %(when)s.") % words
    return _("Your appointment is booked: %(service)s, %(when)s.") % words


def _changed(outcome: Outcome, speaker: Speaker) -> str:
    words = _words_of(outcome.appointment, speaker)
    if outcome.code is Code.CANCELLED:
        return _("Your appointment has been cancelled: %(service)s, %(when)s.") % words
    if _is_requested(outcome.appointment):
        return (
            _("Your appointment has been moved: %(service)s, %(when)s. It still has to be confirmed.") % words
        )
    return _("Your appointment has been moved: %(service)s, %(when)s.") % words


def _words_of(appointment: Appointment | None, speaker: Speaker) -> dict[str, str]:
    if appointment is None:
        return {"service": "", "when": ""}
    service = appointment.service
    return {
        "service": said(service) if service else _("appointment"),
        "when": speaker.start_of(appointment),
    }


def _is_requested(appointment: Appointment | None) -> bool:
    return appointment is not None and appointment.status == Appointment.Status.REQUESTED


def _named(appointment: Appointment, speaker: Speaker, *, with_whom_and_where: bool = False) -> str:
    words = _words_of(appointment, speaker)
    parts = [words["service"], words["when"]]
    if with_whom_and_where:
        parts[0] = _with_person(appointment.service) if appointment.service else parts[0]
        parts += [appointment.branch.name] if appointment.branch else []
    name = ", ".join(parts)
    if _is_requested(appointment):
        return _("%(appointment)s, not confirmed yet") % {"appointment": name}
    return name


def _told_apart(rows: Sequence[Appointment], speaker: Speaker) -> list[str]:
    """All of them; where two are of one thing at one time, with whom and where they are too, and for whom if
    that is the same.
    """
    short = [_named(row, speaker) for row in rows]
    named = [
        _named(row, speaker, with_whom_and_where=True) if short.count(name) > 1 else name
        for row, name in zip(rows, short, strict=True)
    ]
    return [
        f"{name}, {row.attendee_name}" if named.count(name) > 1 and row.attendee_name else name
        for row, name in zip(rows, named, strict=True)
    ]


def _not_allowed(outcome: Outcome, speaker: Speaker) -> str:
    if outcome.reason == "no_moves":
        return _("I'm sorry, I can't move appointments over the phone.")
    if outcome.reason == "no_cancels":
        return _("I'm sorry, I can't cancel appointments over the phone.")
    if outcome.reason == "begun":
        return _("That appointment has already begun, so I can't change it any more.")
    if outcome.reason == "notice":
        return _("It is too late for that: by phone it was possible up to %(time)s before the start.") % {
            "time": speaker.duration(outcome.extra["minutes"])
        }
    if outcome.reason == "too_late":
        return _("I'm sorry, it is too late for that: the appointment cannot be moved any more.")
    if outcome.reason == "other_service":
        return _(
            "That time is for a different service. Your appointment, %(service)s, %(when)s, can only be "
            "moved with the same one."
        ) % _words_of(outcome.appointment, speaker)
    return _("I'm sorry, no further appointment can be booked for you by phone.")


def _not_found(outcome: Outcome, speaker: Speaker) -> str:
    if outcome.reason == "number_withheld":
        return _("Your number is withheld, so I cannot look up appointments. Shall we call you back?")
    if outcome.reason == "changed_meanwhile":
        if outcome.appointment is None:
            return _("That appointment has been cancelled in the meantime.")
        return _("That appointment has been changed in the meantime. The new time is %(when)s.") % _words_of(
            outcome.appointment, speaker
        )
    if outcome.reason == "not_standing":
        return _("That appointment no longer exists.")
    if outcome.reason == "which_appointment":
        return f"{_('I cannot find that appointment.')} {_which_appointment(outcome, speaker)}"
    return _("I cannot find such an appointment under your number.")


def _which_appointment(outcome: Outcome, speaker: Speaker) -> str:
    named = _told_apart(outcome.extra["appointments"], speaker)
    if len(named) == 1:
        return _("Do you mean this appointment: %(appointments)s?") % {"appointments": named[0]}
    return _("Which of your appointments do you mean: %(appointments)s?") % {
        "appointments": spoken_list(named, speaker.language)
    }


def _appointments(outcome: Outcome, speaker: Speaker) -> str:
    rows = outcome.extra["appointments"]
    if not rows:
        return _("I can't see any upcoming appointment under your number.")
    named = _told_apart(rows, speaker)
    if outcome.extra.get("more"):
        return _("You have %(number)s appointments. The next ones are: %(appointments)s.") % {
            "number": len(rows) + outcome.extra["more"],
            "appointments": spoken_list(named, speaker.language, is_choice=False),
        }
    if len(rows) == 1:
        return _("You have one appointment: %(appointments)s.") % {"appointments": named[0]}
    return _("You have these appointments: %(appointments)s.") % {
        "appointments": spoken_list(named, speaker.language, is_choice=False)
    }


def _not_at_that_time(outcome: Outcome, speaker: Speaker) -> str:
    if outcome.reason == "in_the_past":
        if not outcome.alternatives:
            return _("That time has already passed. When would you like to come?")
        return _("That time has already passed. The first possible time is %(when)s.") % {
            "when": speaker.when(outcome.alternatives[0])
        }
    if outcome.reason == "too_far":
        return _("That is too far ahead. The nearest time I have is %(when)s.") % {
            "when": speaker.when(outcome.alternatives[-1])
        }
    if outcome.reason == "far_too_far":
        return _("That is too far ahead. Which earlier date would suit you?")
    if outcome.reason == "out_of_bounds":
        return _("That time cannot be booked. Would another day suit you?")
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
    if outcome.reason == "change":
        if outcome.callback:
            return _("I could not change that just now. Your appointment stays as it was. We will call you.")
        return _("I could not change that just now. Your appointment stays as it was.")
    if outcome.reason == "change_unclear":
        if outcome.callback:
            return _("I could not change that just now. We will call you back.")
        return _("I could not change that just now. Please try again later.")
    if outcome.reason == "appointment_missing":
        if outcome.callback:
            return _("I can see your appointment, but something about it is unclear. We will call you back.")
        return _("I can see your appointment, but something about it is unclear. Please call us again later.")
    if outcome.callback:
        return _("I could not book that just now. We will call you back.")
    if outcome.reason == "ask_again":
        return _(
            "That did not work, and nothing is booked. Shall I try again, or would another time suit you?"
        )
    if outcome.reason == "not_noted":
        return _("I'm sorry, something went wrong. Please try again later.")
    if outcome.reason == "availability":
        return _("I cannot look into the calendar right now. Please try again in a moment.")
    return _("I could not book that just now. Please try again later.")


def _asking_again(outcome: Outcome, speaker: Speaker) -> str:
    if outcome.reason == "service_needed":
        return _("What would you like? You can book %(services)s with us.") % {
            "services": speaker.names(outcome.extra["services"])
        }
    sentences = {
        "start_unreadable": _("I did not understand the date and time. When would you like to come?"),
        "start_no_time": _("What time would suit you?"),
        "start_needed": _("When would you like to come?"),
        "start_does_not_exist": _(
            "The clocks change that night, so that time does not exist. Which other time would suit you?"
        ),
        "start_weekday_contradicts": _("The weekday and the date don't match. Which day do you mean?"),
        "day_unreadable": _("I did not understand the day. Which day is your appointment on?"),
        "day_weekday_contradicts": _("The weekday and the date don't match. Which day do you mean?"),
        "too_far_ahead": _("That is too far ahead. Which earlier date would suit you?"),
        "in_the_past": _("That day has already passed. Which day do you mean?"),
        "slot_id_expired": _("That offer is too old. Let me look again what is free."),
        "slot_id_invalid": _("I lost track of that offer. Let me look again what is free."),
        "name_needed": _("What name may I book it under?"),
        "customer_name_too_long": _("What name may I book it under?"),
        "callback_phone_needed": _("I have noted that. What phone number can we reach you at?"),
        "phone_needed": _("What phone number can we reach you at?"),
        "other_phone": _("I cannot use that phone number for this. Could you give me another one?"),
        "phone_unreadable": _("I did not get the phone number right. Could you repeat it?"),
        "customer_phone_unreadable": _("I did not get the phone number right. Could you repeat it?"),
        "customer_email_unreadable": _("I did not get the e-mail address right. Could you repeat it?"),
    }
    return sentences.get(outcome.reason) or _("I did not understand that. Could you say it again?")


def _ambiguous(outcome: Outcome, speaker: Speaker) -> str:
    if outcome.reason == "second_person":
        return _(
            "There is already an appointment at that time under this phone number, in a different name. "
            "Which phone number may I use for a second person?"
        )
    if outcome.reason == "two_times":
        return _("Which do you mean: %(choice)s?") % {"choice": speaker.choice(outcome.alternatives)}
    if outcome.reason == "which_appointment":
        return _which_appointment(outcome, speaker)
    services = outcome.extra["services"]
    if outcome.reason == "which_person":
        if len({service.person for service in services if service.person}) > 1:
            return _("Who would you like to see: %(persons)s?") % {"persons": speaker.persons(services)}
        return _("Which of these do you mean: %(services)s?") % {
            "services": speaker.list(_in_full(service, speaker) for service in services)
        }
    return _("Which of these do you mean: %(services)s?") % {"services": speaker.names(services)}


def _in_full(service: Service, speaker: Speaker) -> str:
    return f"{_with_person(service)}, {speaker.duration(service.duration_minutes)}"


def _with_person(service: Service) -> str:
    words = {"service": said(service), "person": service.person}
    return _("%(service)s with %(person)s") % words if service.person else words["service"]


def _unknown_service(outcome: Outcome, speaker: Speaker) -> str:
    offered = outcome.extra["services"]
    if not offered:
        return _("At the moment nothing can be booked by phone.")
    if outcome.reason == "person":
        persons = speaker.persons(offered)
        if not persons:
            return _("You cannot choose anybody in particular for that. Shall I look anyway?")
        return _("I can't find anybody by that name for that. You can book it with %(persons)s.") % {
            "persons": persons
        }
    return _("I don't know that service. You can book %(services)s with us.") % {
        "services": speaker.names(offered)
    }


def _found(outcome: Outcome, speaker: Speaker) -> str:
    if outcome.reason == "appointments":
        return _appointments(outcome, speaker)
    if outcome.reason == "services":
        services = outcome.extra["services"]
        if not services:
            return _("At the moment nothing can be booked by phone.")
        offer = _("You can book %(services)s with us.") % {"services": speaker.names(services)}
        if len(catalogue.things(services)) == 1:
            return " ".join([offer, *_details(services, speaker)])
        return offer
    slots = outcome.extra["slots"]
    if not slots and outcome.extra["looked_until"]:
        return _("Until %(day)s nothing is free. Shall I look at the days after that?") % {
            "day": speaker.day(outcome.extra["looked_until"])
        }
    if not slots:
        return _("Nothing is free then. Would another day suit you?")
    return _("I have %(choice)s free.") % {"choice": speaker.choice(slots[:SPOKEN_SLOTS])}


def _details(services: Sequence[Service], speaker: Speaker) -> list[str]:
    """About one thing: what is the same with everybody, and who does it."""
    details = []
    if len({service.duration_minutes for service in services}) == 1:
        details.append(_("It takes %(time)s.") % {"time": speaker.duration(services[0].duration_minutes)})
    if services[0].price_text and len({service.price_text for service in services}) == 1:
        details.append(_("The price is %(price)s.") % {"price": services[0].price_text})
    if persons := speaker.persons(services):
        details.append(_("You can book it with %(persons)s.") % {"persons": persons})
    return details


def _callback_noted(outcome: Outcome, speaker: Speaker) -> str:
    if not outcome.callback:
        return _("I have noted that, but without a phone number we cannot call you back.")
    if outcome.wanted is None:
        return _("I have noted that. We will call you back, at the time you asked for if we can.")
    return _("I have noted that. We will call you back, %(when)s at the latest.") % {
        "when": speaker.when(_next_quarter(outcome.wanted))
    }


def _next_quarter(instant: datetime) -> datetime:
    """Nobody promises a call by nine minutes to four."""
    past = timedelta(minutes=instant.minute % 15, seconds=instant.second, microseconds=instant.microsecond)
    return instant + (timedelta(minutes=15) - past if past else timedelta(0))


def said(service: Service) -> str:
    """What a service is called in a sentence."""
    return service.spoken_name or service.name

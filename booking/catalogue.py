"""What a caller can mean: several services, people and branches behind one agent.

A service is one event type at Cal.com. Services of one name that differ in person or branch are one thing to
a caller. The branch is the one that was called; the person is whom the caller asks for, and nobody else is
ever put in their place: where more than one service is left, or nobody of that name, the caller is asked.
"""

from __future__ import annotations

import re
import unicodedata
from collections.abc import Iterable
from dataclasses import dataclass

from django.db.models import Q

from booking.models import Service
from customers.models import Branch, Company
from customers.names import APOSTROPHES
from customers.statements import Given, Select

_OFFERED = Select(
    lambda: Service.objects.filter(
        Q(branch=None) | Q(branch=Given("branch")),
        company=Given("company"),
        is_active=True,
        vanished_at=None,
    ).order_by("name", "person", "slug")
)

# What a model puts around a word, or a transcript behind it. (A "+" or brackets can make another service.)
_AROUND = " \"'`´„“”‚‘’«».,;:!?"

# Said in front of a name, or for it.
_NO_NAMES = frozenset(
    {
        "bei", "mit", "von", "zu", "with", "by", "at", "herr", "frau", "mr", "mrs", "ms", "miss", "dr",
        "doktor", "doctor",
    }
)  # fmt: skip
_NO_WISH = frozenset(
    {
        "egal", "beliebig", "irgendwer", "irgendjemand", "keine", "praeferenz",
        "anyone", "anybody", "any", "whoever", "someone", "somebody", "no", "preference",
    }
)  # fmt: skip
# The same in a sentence. (Word by word it would not do: there are people called Free.)
_ANYBODY_WILL_DO = re.compile(
    r"(?:who|which|any|some)(?:ever|one|body)(?: is)? (?:free|available)"
    r"|wer (?:gerade )?(?:frei ist|zeit hat)"
    r"|(?:the )?(?:first|next|earliest|soonest) available(?: one| person)?"
    r"|either(?: one| of them)?|(?:the )?first one(?: available)?"
    r"|(?:i |it )?(?:dont|doesnt|do not|does not) (?:mind|care|matter)(?: who)?"
)
# O'Brien is also heard as OBrien and O Brien, McDonald as Mc Donald.
_BEGINS_A_NAME = re.compile(r"\b(o|mc|mac) (?=\w)")


@dataclass(frozen=True)
class Found:
    """The services a text can mean: one, none (unknown), or several (ask). `offered` is all there is at this
    branch. `person_unknown`: the service is one of ours, but not with the person that was asked for; then
    `services` are those to choose from instead.
    """

    services: tuple[Service, ...]
    offered: tuple[Service, ...]
    person_unknown: bool = False

    @property
    def only(self) -> Service | None:
        return self.services[0] if len(self.services) == 1 and not self.person_unknown else None


def active_services(company: Company, *, branch: Branch | None) -> list[Service]:
    """What can be booked at a branch by phone; services without a branch are offered in every one."""
    return _OFFERED.all(company=company.pk, branch=branch.pk if branch else None)


def find(company: Company, text: str, *, branch: Branch | None, person: str = "") -> Found:
    """By slug, name, spoken name or alias, whatever the case and spelling of umlauts. Without a text, the
    only thing there is. A slug means this service and no other of its name, unless a person is asked for.
    """
    offered = tuple(active_services(company, branch=branch))
    found = narrow(_named(offered, text, person=person), person=person)
    return Found(found.services, offered, person_unknown=found.person_unknown)


def among(services: Iterable[Service], text: str) -> tuple[Service, ...]:
    """Those of these services that a text means, whether they can be booked any more or not."""
    return _named(tuple(services), text, person="")


def narrow(services: Iterable[Service], *, person: str) -> Found:
    """Those of the person that is asked for; all of them where nobody is."""
    services = tuple(services)
    wanted = _words(person)
    if not wanted or not services:
        return Found(services, services)
    exactly = tuple(service for service in services if _words(service.person) == wanted)
    theirs = exactly or tuple(service for service in services if _is_named(person, service.person))
    return Found(theirs or services, services, person_unknown=not theirs)


def is_anybody(person: str) -> bool:
    """Whether the caller has said that they do not mind who it is."""
    return bool(person) and not _words(person)


def things(services: Iterable[Service]) -> list[Service]:
    """One service for each thing a caller can ask for: those of one name are the same one."""
    return list({folded(service.name): service for service in reversed(list(services))}.values())[::-1]


def folded(text: str) -> str:
    """For comparing what is said with what is written."""
    text = text.casefold().replace("ä", "ae").replace("ö", "oe").replace("ü", "ue").replace("ß", "ss")
    plain = unicodedata.normalize("NFKD", text)
    # Models write hyphens that look like "-" and are none: U+2011, which does not break, is a favourite.
    kept = (
        " " if c in "_/" or unicodedata.category(c) == "Pd" else c
        for c in plain
        if not unicodedata.combining(c)
    )
    return " ".join("".join(kept).split()).strip(_AROUND)


def _as_heard(text: str) -> str:
    """Nobody hears whether it is a check-up, a check up or a checkup."""
    return folded(text).replace(" ", "")


def _named(offered: tuple[Service, ...], text: str, *, person: str) -> tuple[Service, ...]:
    if not text:
        # With a person and without a service: whatever that person does.
        return offered if len(things(offered)) == 1 or _words(person) else ()
    wanted = _as_heard(text)
    by_slug = [service for service in offered if _as_heard(service.slug) == wanted]
    names = {_as_heard(service.name) for service in by_slug}
    if by_slug and not _words(person) and wanted not in names:
        return tuple(by_slug)
    return tuple(
        service
        for service in offered
        if (_as_heard(service.name) in names if by_slug else wanted in _names(service))
    )


def _names(service: Service) -> set[str]:
    aliases = service.aliases if isinstance(service.aliases, list) else []
    said = [service.name, service.spoken_name, *(alias for alias in aliases if isinstance(alias, str))]
    return {_as_heard(name) for name in said if name}


def _words(person: str) -> tuple[str, ...]:
    """The words that name somebody; none where anybody will do."""
    plain = "".join(c if c.isalnum() else " " for c in folded(person))
    words = tuple(word for word in plain.split() if word not in _NO_NAMES)
    if all(word in _NO_WISH for word in words) or _ANYBODY_WILL_DO.fullmatch(_without_apostrophes(person)):
        return ()
    return words


def _without_apostrophes(person: str) -> str:
    plain = "".join(c if c.isalnum() else " " for c in folded(person.translate(APOSTROPHES)))
    return " ".join(word for word in plain.split() if word not in _NO_NAMES)


def _in_one_piece(person: str) -> tuple[str, ...]:
    return tuple(_BEGINS_A_NAME.sub(r"\1", _without_apostrophes(person)).split())


def _is_named(person: str, name: str) -> bool:
    return _is_part(_words(person), _words(name)) or _is_part(_in_one_piece(person), _in_one_piece(name))


def _is_part(wanted: tuple[str, ...], name: tuple[str, ...]) -> bool:
    """Whether one is the other in part: "Bea" of "Bea Müller", and "Bea Müller" where only "Bea" is on
    record. All of the words, or none: an "Anna Weber" is not the "Anna Schulz" we have.
    """
    return bool(wanted and name) and (set(wanted) <= set(name) or set(name) <= set(wanted))

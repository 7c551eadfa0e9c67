from __future__ import annotations

import unicodedata
from dataclasses import dataclass

from booking.models import Service
from customers.models import Company
from customers.statements import Given, Select

_ACTIVE = Select(lambda: Service.objects.filter(company=Given("company"), is_active=True).order_by("name"))


@dataclass(frozen=True)
class Found:
    """The services a text can mean: one, none (unknown), or several (ask)."""

    services: tuple[Service, ...]
    offered: tuple[Service, ...]

    @property
    def only(self) -> Service | None:
        return self.services[0] if len(self.services) == 1 else None


def active_services(company: Company) -> list[Service]:
    return _ACTIVE.all(company=company.pk)


def find(company: Company, text: str) -> Found:
    """By slug, name or alias, whatever the case and spelling of umlauts. Without a text, the only one there
    is.
    """
    offered = tuple(active_services(company))
    if not text:
        return Found(offered if len(offered) == 1 else (), offered)
    wanted = _folded(text)
    by_slug = tuple(service for service in offered if _folded(service.slug) == wanted)
    matches = by_slug or tuple(service for service in offered if wanted in _names(service))
    return Found(matches, offered)


def _names(service: Service) -> set[str]:
    aliases = service.aliases if isinstance(service.aliases, list) else []
    return {_folded(service.name), *(_folded(alias) for alias in aliases if isinstance(alias, str))}


def _folded(text: str) -> str:
    text = text.casefold().replace("ä", "ae").replace("ö", "oe").replace("ü", "ue").replace("ß", "ss")
    plain = unicodedata.normalize("NFKD", text)
    kept = (" " if c in "-_/" else c for c in plain if not unicodedata.combining(c))
    return " ".join("".join(kept).split())

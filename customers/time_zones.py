"""Which time zones there are (pure)."""

from __future__ import annotations

from functools import cache
from zoneinfo import available_timezones

# Two files beside the zones: what each machine is set to, which PostgreSQL knows no zone by, and the zone of
# a machine that was never set up.
_NO_PLACES = {"localtime", "Factory"}


@cache  # the library opens each zone's file to find them
def zone_names() -> frozenset[str]:
    """The names of IANA's zones, which mean the same on every machine and to the database."""
    return frozenset(available_timezones() - _NO_PLACES)

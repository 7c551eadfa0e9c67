from __future__ import annotations

from typing import Any

from django import forms

from customers.time_zones import zone_names


def zone_choice(blank: Any = None) -> forms.Select:
    """A time zone is chosen, never typed. `blank`: what none means, where there may be none."""
    first = [("", blank)] if blank else []
    return forms.Select(choices=[*first, *((name, name) for name in sorted(zone_names()))])

from __future__ import annotations

import datetime as dt
import json
from dataclasses import dataclass
from typing import Any

from django import template
from django.db import models
from django.utils.safestring import SafeString

from calls.models import Call
from customers.admin_columns import page_of, show_instant, zone_of
from sync import timeline

register = template.Library()


@dataclass(frozen=True)
class Story:
    events: list[timeline.Event]
    verdict: timeline.Verdict


@register.simple_tag(takes_context=True)
def call_story(context: dict[str, Any], call: Call) -> Story:
    """What happened in and after a call, as far as the reader may see it."""
    events, verdict = timeline.of_call(call, user=context["user"])
    return Story(events=events, verdict=verdict)


@register.simple_tag
def moment(instant: dt.datetime, record: Any) -> SafeString:
    """In the zone of the record's branch or company."""
    return show_instant(instant, zone=zone_of(record), seconds=True)


@register.simple_tag
def page_url(record: models.Model | None) -> str:
    return page_of(record) if record is not None else ""


@register.filter
def as_json(details: dict[str, Any]) -> str:
    return json.dumps(details, indent=2, ensure_ascii=False, default=str)

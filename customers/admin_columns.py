"""Columns of admin pages: how an instant, JSON, a phone number and a link to another record are shown.

A column made here is a function of the row. It works in `list_display`, `fieldsets` and a `RelatedTable`.
"""

from __future__ import annotations

import datetime as dt
import json
from collections.abc import Callable
from typing import Any

from django.contrib import admin
from django.db import models
from django.urls import reverse
from django.utils.html import format_html
from django.utils.safestring import SafeString
from django.utils.translation import ngettext

from customers import phone_numbers

# A function of the row. Any, because Django takes one in `fieldsets` too and its type stubs do not know.
Column = Any
# A lazy translation is no str to a type checker.
Text = Any

EMPTY = "–"
_LONGEST_JSON = 200_000


def local_time(path: str, header: Text, *, seconds: bool = False) -> Column:
    """The instant at `path`, in the zone of the row's branch or company; the cell says which zone."""

    def column(record: Any) -> SafeString | str:
        instant = _follow(record, path)
        return EMPTY if instant is None else show_instant(instant, zone=zone_of(record), seconds=seconds)

    return named(column, path=path, header=header, ordering=path.replace(".", "__"))


def link_to(path: str, header: Text, *, text: Callable[[Any], Any] = str) -> Column:
    """A link to the admin page of the record at `path` ("call", "appointment.customer")."""

    def column(record: Any) -> SafeString | str:
        target = _follow(record, path)
        if target is None:
            return EMPTY
        return format_html('<a href="{}">{}</a>', page_of(target), text(target))

    return named(column, path=f"{path}_link", header=header)


def pretty_json(path: str, header: Text) -> Column:
    """A JSON value, or text that is JSON, over several lines."""

    def column(record: Any) -> SafeString | str:
        value = _follow(record, path)
        return EMPTY if value in (None, "", {}, []) else format_html("<pre>{}</pre>", _pretty(value))

    return named(column, path=f"{path}_pretty", header=header)


def long_text(path: str, header: Text) -> Column:
    """Text whose own line breaks count: a transcript, a message of an error."""

    def column(record: Any) -> SafeString | str:
        value = _follow(record, path)
        return format_html('<pre class="prose">{}</pre>', value) if value else EMPTY

    return named(column, path=f"{path}_text", header=header)


def masked_phone(path: str, header: Text) -> Column:
    """A phone number as lists show it; the record's own page has it in full."""

    def column(record: Any) -> str:
        number = _follow(record, path)
        return phone_numbers.mask(number) if number else EMPTY

    return named(column, path=f"{path}_masked", header=header)


def badge(path: str, header: Text, *, good: tuple[str, ...] = (), bad: tuple[str, ...] = ()) -> Column:
    """A status in colour. `good` and `bad` are stored values; the words stand beside the colour, always."""

    def column(record: Any) -> SafeString:
        value = _follow(record, path)
        tone = "good" if value in good else "bad" if value in bad else "plain"
        words = str(getattr(record, f"get_{path}_display", lambda: value)())
        # Some choices explain themselves after a colon; a list has no room for that.
        return format_html(
            '<span class="badge {}" title="{}">{}</span>', tone, words, words.partition(":")[0]
        )

    return named(column, path=path, header=header, ordering=path)


def age(path: str, header: Text, *, now: Callable[[], dt.datetime]) -> Column:
    """How long ago something happened, in the largest unit that fits."""

    def column(record: Any) -> str:
        instant = _follow(record, path)
        return EMPTY if instant is None else show_age(now() - instant)

    return named(column, path=f"{path}_age", header=header, ordering=path)


def named(column: Column, *, path: str, header: Text, ordering: str | None = None) -> Column:
    """A function of the row as a column. Django uses its name as a CSS class and in messages."""
    column.__name__ = path.replace(".", "_")
    display: Column = admin.display(description=header, ordering=ordering, empty_value=EMPTY)(column)
    return display


def show_age(elapsed: dt.timedelta) -> str:
    minutes = max(int(elapsed.total_seconds() // 60), 0)
    if minutes < 60:
        return ngettext("%(count)d minute", "%(count)d minutes", minutes) % {"count": minutes}
    if minutes < 48 * 60:
        return ngettext("%(count)d hour", "%(count)d hours", minutes // 60) % {"count": minutes // 60}
    return ngettext("%(count)d day", "%(count)d days", minutes // 1440) % {"count": minutes // 1440}


def show_instant(instant: dt.datetime, *, zone: dt.tzinfo, seconds: bool = False) -> SafeString:
    there = instant.astimezone(zone)
    return format_html(
        '<time datetime="{}">{} <span class="zone">{}</span></time>',
        instant.astimezone(dt.UTC).isoformat(),
        there.strftime("%Y-%m-%d %H:%M:%S" if seconds else "%Y-%m-%d %H:%M"),
        there.strftime("%Z"),
    )


def zone_of(record: Any) -> dt.tzinfo:
    """The zone a row's times are read in: its branch's, else its company's, else UTC."""
    company = getattr(record, "company", None)
    return company.zone_at(getattr(record, "branch", None)) if company is not None else dt.UTC


def page_of(record: models.Model) -> str:
    """The address of a record's admin page."""
    # The label is the model's name in the URL patterns of the admin.
    return reverse(f"admin:{record._meta.label_lower.replace('.', '_')}_change", args=(record.pk,))  # noqa: SLF001 - public


def outside_link(url: str, text: Text) -> SafeString:
    return format_html('<a href="{}" rel="noopener noreferrer" target="_blank">{} ↗</a>', url, text)


def _pretty(value: Any) -> str:
    if isinstance(value, str):
        text = value
        try:
            value = json.loads(text) if len(text) <= _LONGEST_JSON else text
        except ValueError:
            return text
        if isinstance(value, str):
            return text
    return json.dumps(value, indent=2, ensure_ascii=False, default=str)


def _follow(record: Any, path: str) -> Any:
    for name in path.split("."):
        if record is None:
            return None
        record = getattr(record, name)
    return record

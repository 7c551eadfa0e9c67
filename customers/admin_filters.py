"""Filters of the record lists."""

from __future__ import annotations

import datetime as dt
from collections.abc import Iterable, Iterator
from typing import Any, ClassVar

from django.contrib import admin
from django.db.models import QuerySet
from django.utils import timezone
from django.utils.translation import gettext_lazy as _

from customers.models import Company
from customers.row_ids import is_row_id


class CompanyFilter(admin.SimpleListFilter):
    """Not the stock filter for foreign keys: that one loads the companies whole, with their secrets."""

    title = _("company")
    parameter_name = "company"
    path: ClassVar[str] = "company"

    def lookups(self, request: Any, model_admin: Any) -> list[tuple[str, str]]:
        return [(str(pk), name) for pk, name in Company.objects.order_by("name").values_list("pk", "name")]

    def queryset(self, request: Any, queryset: QuerySet[Any]) -> QuerySet[Any]:
        value = self.value() or ""
        return queryset.filter(**{self.path: int(value)}) if is_row_id(value) else queryset


class BranchCompanyFilter(CompanyFilter):
    path = "branch__company"


_SPANS = (
    ("1h", _("in the last hour"), dt.timedelta(hours=1)),
    ("24h", _("in the last 24 hours"), dt.timedelta(hours=24)),
    ("7d", _("in the last 7 days"), dt.timedelta(days=7)),
    ("30d", _("in the last 30 days"), dt.timedelta(days=30)),
)


def since_filter(column: str, name: Any) -> type[admin.SimpleListFilter]:
    """A filter on what happened lately, by the instant in `column`."""

    class SinceFilter(admin.SimpleListFilter):
        title = name
        parameter_name = f"{column}_since"

        def lookups(self, request: Any, model_admin: Any) -> list[tuple[str, Any]]:
            return [(key, words) for key, words, _span in _SPANS]

        def queryset(self, request: Any, queryset: QuerySet[Any]) -> QuerySet[Any]:
            span = {key: span for key, _words, span in _SPANS}.get(self.value() or "")
            return queryset.filter(**{f"{column}__gte": timezone.now() - span}) if span else queryset

    return SinceFilter


def value_filter(column: str, name: Any, values: Iterable[str]) -> type[admin.SimpleListFilter]:
    """A filter on a column without choices, by the values that are written there. Django's own asks the
    table which ones it holds, twice for every page, and so reads it whole.
    """
    offered = [(str(value), str(value)) for value in values]

    class ValueFilter(admin.SimpleListFilter):
        title = name
        parameter_name = column

        def lookups(self, request: Any, model_admin: Any) -> list[tuple[str, str]]:
            return offered

        def queryset(self, request: Any, queryset: QuerySet[Any]) -> QuerySet[Any]:
            return queryset.filter(**{column: self.value()}) if self.value() else queryset

    return ValueFilter


def age_filter(column: str) -> type[admin.SimpleListFilter]:
    """A filter on what has been lying for long, by the instant in `column`."""

    class AgeFilter(admin.SimpleListFilter):
        title = _("age")
        parameter_name = "older_than"

        def lookups(self, request: Any, model_admin: Any) -> list[tuple[str, Any]]:
            return [
                ("1", _("more than an hour")),
                ("24", _("more than a day")),
                ("168", _("more than a week")),
            ]

        def queryset(self, request: Any, queryset: QuerySet[Any]) -> QuerySet[Any]:
            value = self.value()
            if value not in ("1", "24", "168"):
                return queryset
            return queryset.filter(**{f"{column}__lt": timezone.now() - dt.timedelta(hours=int(value))})

    return AgeFilter


def inbox_filter(open_statuses: tuple[str, ...]) -> type[admin.SimpleListFilter]:
    """What is open unless something else is asked for: an inbox shows the work, not the archive."""

    class InboxFilter(admin.SimpleListFilter):
        title = _("status")
        parameter_name = "inbox"
        _all_open = _("open") if len(open_statuses) == 1 else _("all open")

        def lookups(self, request: Any, model_admin: Any) -> list[tuple[str, Any]]:
            # A single open status is the same as "open" itself.
            only = open_statuses[0] if len(open_statuses) == 1 else None
            statuses = [(value, words) for value, words in model_admin.model.Status.choices if value != only]
            return [*statuses, ("all", _("all"))]

        def queryset(self, request: Any, queryset: QuerySet[Any]) -> QuerySet[Any]:
            if self.value() is None:
                return queryset.filter(status__in=open_statuses)
            return queryset if self.value() == "all" else queryset.filter(status=self.value())

        def choices(self, changelist: Any) -> Iterator[Any]:
            first, *others = super().choices(changelist)
            yield {**first, "display": self._all_open}
            yield from others

    return InboxFilter

# ruff: noqa: SLF001 - the signatures are Django's; _meta is its public way to ask about a model
"""What the admin pages of all our records have in common.

The lists stay fast at any size: related rows come in one query, the total is counted once, large columns are
not read for a list, a company's secrets are never read at all, and a search is a handful of index look-ups.

An app above adds its table to the page of a record below with `related_tables`, so that the page of a call
shows what was booked in it although calls know nothing about booking.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, ClassVar

from django.contrib import admin, messages
from django.contrib.admin.helpers import ACTION_CHECKBOX_NAME
from django.contrib.admin.utils import (
    display_for_field,
    display_for_value,
    get_fields_from_path,
    label_for_field,
    lookup_field,
)
from django.contrib.admin.views.main import ChangeList
from django.core.exceptions import SuspiciousOperation, ValidationError
from django.db import models
from django.db.models import Q, QuerySet
from django.http import HttpRequest, HttpResponse
from django.urls import reverse
from django.utils.http import urlencode
from django.utils.translation import gettext_lazy as _

from customers import phone_numbers
from customers.admin_columns import EMPTY, Column, page_of
from customers.as_shown_form import AsShownAdminMixin, AsShownForm
from customers.company_secrets import without_secrets
from customers.models import Company, PhoneNumber
from customers.partial_save import save_only
from customers.row_ids import MOST_AT_ONCE, is_row_id

if TYPE_CHECKING:
    ModelAdmin = admin.ModelAdmin[Any]
else:
    ModelAdmin = admin.ModelAdmin

_MOST_FOUND = 200
# After the name of a column in the address of a list.
_LOOKUPS = ("", "exact", "isnull", "isempty")


@dataclass(frozen=True, kw_only=True)
class RelatedTable:
    """Rows that point at a record, on the record's page: `relation` is the related name.

    The columns are those of the rows' own admin. The newest rows are shown up to `limit`, in time order
    unless `newest_first`; a link leads to all of them.
    """

    relation: str
    title: Any
    columns: Sequence[str | Column]
    newest_first: bool = False
    limit: int = 30


@dataclass(frozen=True, kw_only=True)
class PageLink:
    """A button beside "History" on a record's page."""

    text: Any
    url: str
    outside: bool = False


class RecordChangeList(ChangeList):
    model_admin: RecordAdmin

    def get_queryset(self, request: HttpRequest, exclude_parameters: Any = None) -> QuerySet[Any]:
        queryset = super().get_queryset(request, exclude_parameters)
        return queryset.defer(*self.model_admin.list_defer)


class RecordAdmin(AsShownAdminMixin, ModelAdmin):
    change_form_template = "admin/record_change_form.html"
    show_full_result_count = False
    show_facets = admin.ShowFacets.NEVER
    list_per_page = 50
    empty_value_display = EMPTY
    # Also joined on a record's own page: its links and its time zone come from these rows.
    list_select_related: ClassVar[tuple[str, ...]] = ()
    # Columns too large to be read for every row of a list.
    list_defer: ClassVar[tuple[str, ...]] = ()
    related_tables: ClassVar[list[RelatedTable]] = []
    # What a list that shows only some rows, unless it is asked for others, is asked for to show all of them.
    asked_for_all: ClassVar[dict[str, str]] = {}

    def get_queryset(self, request: HttpRequest) -> QuerySet[Any]:
        return without_secrets(super().get_queryset(request), paths=self.list_select_related)

    def get_changelist(self, request: HttpRequest, **kwargs: Any) -> type[ChangeList]:
        return RecordChangeList

    def get_search_results(
        self, request: HttpRequest, queryset: QuerySet[Any], search_term: str
    ) -> tuple[QuerySet[Any], bool]:
        """One indexed query per search field. Joined with OR in one query, no index would be used."""
        term = search_term.strip()
        if not term:
            return queryset, False
        found: set[Any] = set()
        for path in self.get_search_fields(request):
            try:
                # Among what the filters have left: the cut must not hide what they ask for.
                rows = queryset.filter(_search_condition(self.model, path, term))
                found.update(rows.order_by("-pk").values_list("pk", flat=True)[:_MOST_FOUND])
            except (ValueError, ValidationError):
                continue  # not a number, not a UUID: not in this column
        return queryset.filter(pk__in=found), False

    def lookup_allowed(self, lookup: str, value: str, request: HttpRequest) -> bool:
        """What our filters and links ask for. Django's own also takes every transform of a column, and fails
        where it is given a year that no calendar has, or (on SQLite) a number that no row has.
        """
        is_known = lookup.partition("__")[2] in _LOOKUPS and not _is_beyond_every_row(value)
        return is_known and super().lookup_allowed(lookup, value, request)

    def response_action(self, request: HttpRequest, *args: Any, **options: Any) -> HttpResponse | None:
        if not all(map(is_row_id, request.POST.getlist(ACTION_CHECKBOX_NAME))):
            raise SuspiciousOperation("Something was ticked that is no row.")
        return super().response_action(request, *args, **options)

    def ids_selected(self, request: HttpRequest, queryset: QuerySet[Any]) -> str:
        """Of an action's rows, for the address of the page that asks about them. Says so if they are too
        many.
        """
        ids = list(queryset.values_list("pk", flat=True)[: MOST_AT_ONCE + 1])
        if len(ids) > MOST_AT_ONCE:
            said = _("More were selected than can be done at once. These are the first %(count)d.")
            messages.warning(request, said % {"count": MOST_AT_ONCE})
        return urlencode({"ids": ",".join(map(str, ids[:MOST_AT_ONCE]))})

    def save_model(self, request: HttpRequest, obj: Any, form: Any, change: bool) -> None:
        if change and isinstance(form, AsShownForm):
            save_only(obj, form.changed_columns())
        else:
            super().save_model(request, obj, form, change)

    def page_links(self, request: HttpRequest, record: Any) -> list[PageLink]:
        return []

    def render_change_form(
        self,
        request: HttpRequest,
        context: dict[str, Any],
        add: bool = False,
        change: bool = False,
        form_url: str = "",
        obj: Any = None,
    ) -> HttpResponse:
        if obj is not None:
            context["page_links"] = self.page_links(request, obj)
            context["related_tables"] = [
                shown for table in self.related_tables if (shown := self._show_table(request, obj, table))
            ]
        return super().render_change_form(
            request, context, add=add, change=change, form_url=form_url, obj=obj
        )

    def _show_table(
        self, request: HttpRequest, record: models.Model, table: RelatedTable
    ) -> dict[str, Any] | None:
        relation: Any = record._meta.get_field(table.relation)
        model: Any = relation.related_model
        rows_admin = self.admin_site.get_model_admin(model)
        if not rows_admin.has_view_permission(request):
            return None
        key = relation.remote_field.name
        found = list(
            rows_admin.get_queryset(request)
            .filter(**{key: record.pk})
            .defer(*getattr(rows_admin, "list_defer", ()))
            .order_by("-pk")[: table.limit + 1]
        )
        rows = found[: table.limit]
        if not table.newest_first:
            rows.reverse()
        opts = model._meta
        everything = urlencode({key: record.pk, **getattr(rows_admin, "asked_for_all", {})})
        return {
            "title": table.title,
            "headers": [label_for_field(name, model, rows_admin) for name in table.columns],
            "rows": [
                {"url": page_of(row), "cells": [_cell(name, row, rows_admin) for name in table.columns]}
                for row in rows
            ],
            "all_url": f"{reverse(f'admin:{opts.app_label}_{opts.model_name}_changelist')}?{everything}"
            if len(found) > table.limit
            else "",
        }


class ReadOnlyAdmin(RecordAdmin):
    """A record of what happened. A person may look at it; the machines that wrote it rely on it."""

    def has_add_permission(self, request: HttpRequest, obj: Any = None) -> bool:
        return False

    def has_change_permission(self, request: HttpRequest, obj: Any = None) -> bool:
        return False

    def has_delete_permission(self, request: HttpRequest, obj: Any = None) -> bool:
        return False


def _is_beyond_every_row(text: str) -> bool:
    try:
        return abs(int(text)) >= 2**63
    except ValueError:  # no number, or one of thousands of digits, which Django says of it too
        return False


def _search_condition(model: type[models.Model], path: str, term: str) -> Q:
    """The lookup for one search field. Plain names are compared exactly, which the indexes can answer."""
    if path.endswith("__icontains"):
        # SQLite, like a PostgreSQL of the locale C, knows small and capital letters of ASCII only.
        spellings = (term,) if term.isascii() else (term, term.lower(), term.upper(), term.title())
        return Q(*((path, spelling) for spelling in dict.fromkeys(spellings)), _connector=Q.OR)
    field = get_fields_from_path(model, path)[-1]
    prefix = path.rpartition("__")[0]
    condition: dict[str, Any] = {path: term}
    if field.name == "email":
        condition = {path: term.lower()}
    elif field.name == "phone":
        condition = {f"{path}__in": _phones_meant(term)}
    owner = field.model
    if not getattr(field, "unique", False) and any(other.name == "company" for other in owner._meta.fields):
        # The index starts with the company; naming all of them keeps it usable.
        companies = list(Company.objects.order_by().values_list("pk", flat=True))
        condition[f"{prefix}__company__in" if prefix else "company__in"] = companies
    return Q(**condition)


def _phones_meant(term: str) -> list[str]:
    """The E.164 numbers a typed one may be: as it stands, or as a local number of a country we answer in."""
    regions = {
        phone_numbers.region_of(number)
        for number in PhoneNumber.objects.values_list("number", flat=True)[:500]
    }
    # A company that answers web calls only has no number: then its language tells, as it does on the phone.
    languages = Company.objects.order_by().values_list("language", flat=True).distinct()
    regions |= {Company(language=language).region for language in languages}
    meant = {phone_numbers.normalise(term, region=region) for region in (regions | {None})}
    return sorted(number for number in meant if number)


def _cell(name: str | Column, row: models.Model, rows_admin: Any) -> Any:
    field, attribute, value = lookup_field(name, row, rows_admin)
    if field is not None:
        return display_for_field(value, field, EMPTY)
    return display_for_value(value, EMPTY, boolean=getattr(attribute, "boolean", False))

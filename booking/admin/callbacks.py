from __future__ import annotations

from typing import Any

from django import forms
from django.contrib import admin, messages
from django.contrib.admin.models import CHANGE, LogEntry
from django.core.exceptions import PermissionDenied
from django.db.models import QuerySet
from django.db.models.functions import Coalesce
from django.http import HttpRequest, HttpResponse, HttpResponseRedirect
from django.template.response import TemplateResponse
from django.urls import URLPattern, path, reverse
from django.utils import timezone
from django.utils.html import format_html
from django.utils.safestring import SafeString
from django.utils.translation import gettext_lazy as _
from django.utils.translation import ngettext

from booking.callbacks import number_of, overdue_callbacks
from booking.close_callback import close_callbacks
from booking.models import CallbackRequest
from calls.admin import CALL_TEXTS, CallAdmin
from customers.admin_columns import (
    EMPTY,
    badge,
    link_to,
    local_time,
    long_text,
    page_of,
    show_instant,
    zone_of,
)
from customers.admin_filters import CompanyFilter, inbox_filter, since_filter
from customers.record_admin import PageLink, ReadOnlyAdmin, RelatedTable
from customers.row_ids import read_ids

callback_status = badge(
    "status", _("status"), good=(CallbackRequest.Status.DONE,), bad=(CallbackRequest.Status.OPEN,)
)


class CloseForm(forms.Form):
    note = forms.CharField(
        label=_("What came of it"),
        max_length=2000,
        widget=forms.Textarea(attrs={"rows": 4, "class": "vLargeTextField"}),
    )


class OverdueFilter(admin.SimpleListFilter):
    title = _("due")
    parameter_name = "due"

    def lookups(self, request: Any, model_admin: Any) -> list[tuple[str, Any]]:
        return [("overdue", _("overdue"))]

    def queryset(self, request: Any, queryset: QuerySet[Any]) -> QuerySet[Any]:
        if self.value() != "overdue":
            return queryset
        return queryset.filter(pk__in=overdue_callbacks(now=timezone.now()))


@admin.register(CallbackRequest)
class CallbackRequestAdmin(ReadOnlyAdmin):
    """The calls somebody was promised. A page of its own closes them, with a note, and records who did it."""

    list_display = (
        "reason",
        "due",
        "number_to_call",
        "preferred_time",
        callback_status,
        "kind",
        local_time("created_at", _("promised")),
        link_to("company", _("company")),
        link_to("branch", _("branch")),
        link_to("customer", _("customer")),
        link_to("call", _("call")),
    )
    list_filter = (
        inbox_filter(("open",)),
        OverdueFilter,
        "kind",
        CompanyFilter,
        since_filter("created_at", _("promised")),
    )
    asked_for_all = {"inbox": "all"}
    list_select_related = ("company", "branch", "customer", "call", "closed_by")
    list_defer = ("note", *CALL_TEXTS)
    search_fields = ("call__retell_call_id", "customer__phone")
    search_help_text = _("Retell's call id, or the customer's phone number, in full.")
    # What is overdue comes first: it was due before everything else.
    ordering = (Coalesce("due_at", "created_at").asc(), "pk")
    actions = ("close_selected",)
    fieldsets = (
        (
            None,
            {
                "fields": (
                    "reason",
                    "kind",
                    "due",
                    "number_to_call",
                    "preferred_time",
                    local_time("created_at", _("promised")),
                    "company",
                    "branch",
                    "customer",
                    "call",
                )
            },
        ),
        (
            _("Closing"),
            {
                "fields": (
                    callback_status,
                    long_text("note", _("what came of it")),
                    "closed_by",
                    local_time("closed_at", _("closed")),
                )
            },
        ),
    )

    @admin.display(description=_("number to call"))
    def number_to_call(self, callback: CallbackRequest) -> str:
        return number_of(callback) or EMPTY

    @admin.display(description=_("due"), ordering="due_at")
    def due(self, callback: CallbackRequest) -> SafeString | str:
        if callback.due_at is None:
            return EMPTY
        shown = show_instant(callback.due_at, zone=zone_of(callback))
        if callback.status != CallbackRequest.Status.OPEN or callback.due_at >= timezone.now():
            return shown
        return format_html('{} <span class="badge bad">{}</span>', shown, _("overdue"))

    def page_links(self, request: HttpRequest, record: CallbackRequest) -> list[PageLink]:
        if record.status != CallbackRequest.Status.OPEN or not self.may_close(request):
            return []
        return [
            PageLink(
                text=_("Mark as done"),
                url=f"{reverse('admin:booking_callbackrequest_close')}?ids={record.pk}",
            )
        ]

    def may_close(self, request: HttpRequest) -> bool:
        return request.user.has_perm("booking.change_callbackrequest")

    # Django asks has_close_permission whether to offer the action.
    has_close_permission = may_close

    @admin.action(description=_("Mark the selected requests as done"), permissions=["close"])
    def close_selected(self, request: HttpRequest, queryset: QuerySet[CallbackRequest]) -> HttpResponse:
        address = reverse("admin:booking_callbackrequest_close")
        return HttpResponseRedirect(f"{address}?{self.ids_selected(request, queryset)}")

    def get_urls(self) -> list[URLPattern]:
        return [
            path("close/", self.admin_site.admin_view(self.close_view), name="booking_callbackrequest_close"),
            *super().get_urls(),
        ]

    def close_view(self, request: HttpRequest) -> HttpResponse:
        """Show what will be closed, ask for a note, close it, and say how many they were."""
        if not self.may_close(request):
            raise PermissionDenied
        given = (request.POST if request.method == "POST" else request.GET).get("ids", "")
        rows = list(self.get_queryset(request).filter(pk__in=read_ids(given)))
        form = CloseForm(request.POST if request.method == "POST" else None)
        if request.method == "POST" and form.is_valid():
            closed = self._close(request, rows, note=form.cleaned_data["note"])
            if closed:
                said = ngettext("%(count)d request closed.", "%(count)d requests closed.", closed)
                messages.success(request, said % {"count": closed})
            if late := len(rows) - closed:
                said = ngettext(
                    "%(count)d had been closed by somebody else.",
                    "%(count)d had been closed by somebody else.",
                    late,
                )
                messages.warning(request, said % {"count": late})
            return HttpResponseRedirect(reverse("admin:booking_callbackrequest_changelist"))
        context = {
            **self.admin_site.each_context(request),
            "title": _("Mark callback requests as done"),
            "opts": self.opts,
            "rows": [
                {
                    "url": page_of(row),
                    "reason": row.reason,
                    "number": self.number_to_call(row),
                    "preferred_time": row.preferred_time,
                    "promised": show_instant(row.created_at, zone=zone_of(row)),
                    "is_open": row.status == CallbackRequest.Status.OPEN,
                }
                for row in rows
            ],
            "ids": ",".join(str(row.pk) for row in rows),
            "form": form,
        }
        return TemplateResponse(request, "admin/booking/callbackrequest/close.html", context)

    def _close(self, request: HttpRequest, rows: list[CallbackRequest], *, note: str) -> int:
        assert request.user.is_authenticated  # noqa: S101 - admin_view lets nobody else in
        closed = close_callbacks(ids=[row.pk for row in rows], note=note, by=request.user, now=timezone.now())
        LogEntry.objects.log_actions(
            request.user.pk,
            [row for row in rows if row.pk in closed],
            CHANGE,
            change_message=str(_("Closed.")),
        )
        return len(closed)


CallAdmin.related_tables.append(
    RelatedTable(
        relation="callback_requests",
        title=_("Callbacks promised"),
        columns=("reason", local_time("created_at", _("promised")), callback_status),
    )
)

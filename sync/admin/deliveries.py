from __future__ import annotations

from typing import Any

from django import forms
from django.contrib import admin, messages
from django.core.exceptions import PermissionDenied
from django.db.models import QuerySet
from django.http import Http404, HttpRequest, HttpResponse, HttpResponseRedirect
from django.template.response import TemplateResponse
from django.urls import URLPattern, path, reverse
from django.utils.translation import gettext_lazy as _
from django.utils.translation import ngettext

from calls.models import RefusedDelivery, WebhookEvent
from customers.admin_columns import badge, link_to, local_time, long_text, pretty_json
from customers.admin_filters import CompanyFilter, since_filter
from customers.record_admin import PageLink, ReadOnlyAdmin
from sync import replay, roles
from sync.replay import Selection

event_status = badge(
    "status",
    _("status"),
    good=(WebhookEvent.Status.PROCESSED,),
    bad=(WebhookEvent.Status.FAILED, WebhookEvent.Status.DEAD),
)
ACTION = "replay_selected"


class ReplayForm(forms.Form):
    reason = forms.CharField(
        label=_("Reason"),
        max_length=2000,
        widget=forms.Textarea(attrs={"rows": 3, "class": "vLargeTextField"}),
    )
    replayable = forms.IntegerField(widget=forms.HiddenInput)
    purged = forms.IntegerField(widget=forms.HiddenInput)
    up_to = forms.IntegerField(widget=forms.HiddenInput)

    def shown(self) -> Selection:
        """What the person was shown."""
        data = self.cleaned_data
        return Selection(data["replayable"], data["purged"], data["up_to"])


@admin.register(WebhookEvent)
class WebhookEventAdmin(ReadOnlyAdmin):
    list_display = (
        "webhook_id",
        local_time("received_at", _("received"), seconds=True),
        "provider",
        "event_type",
        event_status,
        "attempts",
        link_to("company", _("company")),
    )
    list_filter = (
        CompanyFilter,
        "provider",
        "status",
        since_filter("received_at", _("received")),
    )
    list_select_related = ("company",)
    list_defer = ("body", "headers", "error")
    search_fields = ("webhook_id",)
    search_help_text = _("The deduplication key in full, such as retell:call_ended:call_….")
    ordering = ("-pk",)
    actions = (ACTION,)
    fieldsets = (
        (None, {"fields": ("webhook_id", "company", "provider", "event_type", event_status)}),
        (
            _("Working on it"),
            {
                "fields": (
                    local_time("received_at", _("received"), seconds=True),
                    local_time("due_at", _("due"), seconds=True),
                    local_time("processed_at", _("processed"), seconds=True),
                    "attempts",
                    long_text("error", _("error")),
                )
            },
        ),
        (
            _("What was delivered"),
            {"fields": (pretty_json("body", _("body")), pretty_json("headers", _("headers")))},
        ),
    )

    def has_replay_permission(self, request: HttpRequest) -> bool:
        return self.has_view_permission(request) and request.user.has_perm(roles.REPLAY)

    def page_links(self, request: HttpRequest, record: WebhookEvent) -> list[PageLink]:
        if not record.body or not self.has_replay_permission(request):
            return []
        url = reverse("admin:calls_webhookevent_replay", args=[record.pk])
        return [PageLink(text=_("Work it again"), url=url)]

    def get_urls(self) -> list[URLPattern]:
        view = self.admin_site.admin_view(self.replay_view)
        return [
            path("<int:event_id>/replay/", view, name="calls_webhookevent_replay"),
            *super().get_urls(),
        ]

    def replay_view(self, request: HttpRequest, event_id: int) -> HttpResponse:
        if not self.has_replay_permission(request):
            raise PermissionDenied
        event = WebhookEvent.objects.filter(pk=event_id)
        if not event.exists():
            raise Http404
        return self._confirm(request, event, hidden=[], back=f"../../{event_id}/change/") or (
            HttpResponseRedirect(reverse("admin:calls_webhookevent_change", args=[event_id]))
        )

    @admin.action(description=_("Work the selected deliveries again"), permissions=["replay"])
    def replay_selected(self, request: HttpRequest, queryset: QuerySet[WebhookEvent]) -> HttpResponse | None:
        """Also of everything a filter shows: the same form comes back with what was selected."""
        names = ("action", "select_across", "index", "_selected_action")
        hidden = [(name, value) for name in names for value in request.POST.getlist(name)]
        return self._confirm(request, queryset, hidden=hidden, back=request.get_full_path())

    def _confirm(
        self,
        request: HttpRequest,
        events: QuerySet[WebhookEvent],
        *,
        hidden: list[tuple[str, str]],
        back: str,
    ) -> HttpResponse | None:
        """Show how many it will be, or do it; None when that is settled."""
        is_sent = request.method == "POST" and "replayable" in request.POST
        form = ReplayForm(request.POST) if is_sent else None
        if form is not None and form.is_valid():
            assert request.user.is_authenticated  # noqa: S101 - admin_view lets nobody else in
            try:
                number = replay.replay(
                    events,
                    expected=form.shown(),
                    user=request.user,
                    reason=form.cleaned_data["reason"],
                )
            except replay.MovedOn:
                messages.warning(request, _("The selection has changed since you looked. Nothing was done."))
            else:
                said = ngettext(
                    "%(count)d delivery is worked again.", "%(count)d deliveries are worked again.", number
                )
                messages.success(request, said % {"count": number})
            return None
        counted = replay.count(events)
        if form is None:
            form = ReplayForm(initial=vars(counted))
        context: dict[str, Any] = {
            **self.admin_site.each_context(request),
            "title": _("Work deliveries again"),
            "opts": self.opts,
            "counted": counted,
            "hidden": hidden,
            "form": form,
            "back": back,
        }
        return TemplateResponse(request, "admin/calls/webhookevent/replay.html", context)


@admin.register(RefusedDelivery)
class RefusedDeliveryAdmin(ReadOnlyAdmin):
    """Requests that were turned away, counted by hour."""

    list_display = (
        local_time("hour", _("hour")),
        link_to("company", _("company")),
        "provider",
        "reason",
        "count",
        local_time("last_at", _("last"), seconds=True),
    )
    fields = list_display
    list_filter = (CompanyFilter, "provider", "reason", since_filter("hour", _("hour")))
    list_select_related = ("company",)
    ordering = ("-pk",)

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
from django.utils.http import urlencode
from django.utils.safestring import SafeString
from django.utils.translation import gettext_lazy as _
from django.utils.translation import ngettext

from booking.calcom_pages import booking_page
from booking.callbacks import number_of, overdue_callbacks
from booking.close_callback import close_callbacks
from booking.models import Appointment, BookingAttempt, CallbackRequest, FormerUid, Service
from booking.service_form import ServiceForm
from calls.admin import CallAdmin, appointment_link
from customers.admin import CompanyChoiceMixin, CustomerAdmin, NoDeleteMixin
from customers.admin_columns import (
    EMPTY,
    Column,
    badge,
    link_to,
    local_time,
    long_text,
    named,
    outside_link,
    page_of,
    pretty_json,
    show_instant,
    zone_of,
)
from customers.admin_filters import CompanyFilter, inbox_filter, since_filter
from customers.record_admin import PageLink, ReadOnlyAdmin, RecordAdmin, RelatedTable
from customers.row_ids import is_row_id

# A page of the list; more than that is not read before a button is pressed.
_MOST_CLOSED = 200
# What a call carries and a list of other things does not need.
CALL_TEXTS = ("call__transcript", "call__summary", "call__analysis", "call__booking_details")


def calcom_link(uid_column: str, header: Any = "Cal.com") -> Column:
    """The booking's uid, leading to its page at Cal.com."""

    def column(record: Any) -> SafeString | str:
        uid = getattr(record, uid_column)
        if not uid:
            return EMPTY
        company = record.appointment.company if isinstance(record, FormerUid) else record.company
        page = booking_page(base_url=company.calcom_base_url, uid=uid)
        return outside_link(page, uid) if page else str(uid)

    return named(column, path=f"{uid_column}_at_calcom", header=header)


_Status, _Sync, _State = Appointment.Status, Appointment.SyncStatus, BookingAttempt.State
appointment_status = badge(
    "status",
    _("status"),
    good=(_Status.SCHEDULED, _Status.CONFIRMED, _Status.COMPLETED),
    bad=(_Status.FAILED, _Status.NO_SHOW),
)
appointment_sync = badge("calcom_sync_status", _("sync"), good=(_Sync.SYNCED,), bad=(_Sync.FAILED,))
attempt_state = badge("state", _("state"), good=(_State.SUCCEEDED,), bad=(_State.UNKNOWN, _State.ABSENT))
starts = local_time("starts_at", _("starts"))
attempted = local_time("created_at", _("intended"), seconds=True)
callback_status = badge(
    "status", _("status"), good=(CallbackRequest.Status.DONE,), bad=(CallbackRequest.Status.OPEN,)
)


# What booking.event_types reads from Cal.com.
LEARNED = (
    "is_learned",
    "vanished_at",
    "scheduling",
    "requires_confirmation",
    "has_seats",
    "email_required",
    "phone_required",
    "minimum_notice_minutes",
    "buffer_before_minutes",
    "buffer_after_minutes",
    "has_several_lengths",
    "accepts_notes",
)


@admin.register(Service)
class ServiceAdmin(CompanyChoiceMixin, NoDeleteMixin, RecordAdmin):
    form = ServiceForm
    list_display = (
        "name",
        "person",
        link_to("company", _("company")),
        link_to("branch", _("branch")),
        "slug",
        "duration_minutes",
        "calcom_event_type_id",
        "scheduling",
        "is_active",
        "is_there",
    )
    list_filter = (
        CompanyFilter,
        "is_active",
        ("vanished_at", admin.EmptyFieldListFilter),
        "scheduling",
    )
    list_select_related = ("company", "branch")
    search_fields = ("slug", "calcom_event_type_id", "name__icontains")
    autocomplete_fields = ("company", "branch")
    prepopulated_fields = {"slug": ("name",)}
    readonly_fields = LEARNED
    fieldsets = (
        (
            None,
            {
                "fields": (
                    "company",
                    "name",
                    "slug",
                    "person",
                    "branch",
                    "duration_minutes",
                    "is_active",
                )
            },
        ),
        ("Cal.com", {"fields": ("calcom_event_type_id",)}),
        (_("On the phone"), {"fields": ("spoken_name", "aliases", "price_text")}),
        (
            _("Changes by phone"),
            {"fields": ("may_reschedule", "may_cancel", "change_notice_minutes")},
        ),
        (
            _("Learned from Cal.com"),
            {
                "description": _(
                    "Read from the event type when the service is first used, and every day; not set by hand."
                ),
                "fields": LEARNED,
            },
        ),
    )

    def get_readonly_fields(self, request: HttpRequest, obj: Any = None) -> tuple[str, ...]:
        return (*self.readonly_fields, "company") if obj is not None else self.readonly_fields

    def changeform_view(
        self,
        request: HttpRequest,
        object_id: str | None = None,
        form_url: str = "",
        extra_context: dict[str, Any] | None = None,
    ) -> HttpResponse:
        """Django's own, without its transaction: the form asks Cal.com, and on SQLite whoever books would
        have to wait for the answer.
        """
        return self._changeform_view(request, object_id, form_url, extra_context)  # type: ignore[attr-defined, no-any-return]

    @admin.display(description=_("read"), boolean=True)
    def is_learned(self, service: Service) -> bool:
        return service.pk is not None and service.is_learned

    @admin.display(description=_("at Cal.com"), boolean=True, ordering="vanished_at")
    def is_there(self, service: Service) -> bool:
        return service.vanished_at is None


@admin.register(Appointment)
class AppointmentAdmin(ReadOnlyAdmin):
    list_display = (
        starts,
        link_to("company", _("company")),
        link_to("branch", _("branch")),
        link_to("service", _("service")),
        link_to("customer", _("customer")),
        appointment_status,
        appointment_sync,
        "source",
        link_to("call", _("call"), text=lambda call: call.retell_call_id),
        calcom_link("calcom_booking_uid"),
    )
    list_filter = (
        CompanyFilter,
        "status",
        "calcom_sync_status",
        "source",
        since_filter("created_at", _("created")),
    )
    list_select_related = ("company", "branch", "service", "customer", "call")
    list_defer = ("metadata", "notes", *CALL_TEXTS)
    search_fields = (
        "calcom_booking_uid",
        "calcom_booking_id",
        "former_uids__uid",
        "call__retell_call_id",
        "customer__phone",
        "idempotency_key",
    )
    search_help_text = _(
        "Cal.com's uid (also a former one) or id, Retell's call id, a phone number: in full."
    )
    # The latest made first: the column is an index over all companies, the start is not.
    ordering = ("-pk",)
    fieldsets = (
        (
            None,
            {
                "fields": (
                    starts,
                    local_time("ends_at", _("ends")),
                    "company",
                    "branch",
                    "service",
                    "customer",
                    "call",
                    appointment_status,
                    "source",
                    "notes",
                )
            },
        ),
        (
            "Cal.com",
            {
                "fields": (
                    calcom_link("calcom_booking_uid", _("booking uid")),
                    "calcom_booking_id",
                    appointment_sync,
                    "sync_origin",
                    "attendee_name",
                    "attendee_email",
                    local_time("calcom_updated_at", _("changed at Cal.com"), seconds=True),
                    "sync_attempt_count",
                    local_time("last_sync_attempted_at", _("last asked"), seconds=True),
                )
            },
        ),
        (
            _("For the machines"),
            {
                "classes": ("collapse",),
                "fields": (
                    "idempotency_key",
                    "webhook_id",
                    pretty_json("metadata", _("metadata")),
                    local_time("created_at", _("created"), seconds=True),
                    local_time("updated_at", _("last change"), seconds=True),
                ),
            },
        ),
    )
    related_tables = [
        RelatedTable(
            relation="attempts",
            title=_("Attempts at Cal.com"),
            columns=(attempted, "kind", attempt_state, "http_status", "error_class", "told"),
        ),
        RelatedTable(
            relation="former_uids",
            title=_("Uids before it was moved"),
            columns=(local_time("replaced_at", _("replaced")), calcom_link("uid", _("uid"))),
        ),
        RelatedTable(
            relation="backlinked_calls",
            title=_("Calls that point here"),
            columns=(
                "retell_call_id",
                local_time("created_at", _("time")),
                "booking_confirmed",
                "appointment_made",
            ),
        ),
    ]

    def page_links(self, request: HttpRequest, record: Appointment) -> list[PageLink]:
        uid = record.calcom_booking_uid or ""
        page = booking_page(base_url=record.company.calcom_base_url, uid=uid)
        return [PageLink(text=_("Open at Cal.com"), url=page, outside=True)] if page else []


@admin.register(FormerUid)
class FormerUidAdmin(ReadOnlyAdmin):
    list_display = ("uid", link_to("appointment", _("appointment")), local_time("replaced_at", _("replaced")))
    list_select_related = ("appointment", "appointment__company")
    list_defer = ("appointment__metadata",)
    search_fields = ("uid",)
    ordering = ("-pk",)

    def has_module_permission(self, request: HttpRequest) -> bool:
        return False  # found on its appointment's page


@admin.register(BookingAttempt)
class BookingAttemptAdmin(ReadOnlyAdmin):
    list_display = (
        attempted,
        "kind",
        attempt_state,
        link_to("company", _("company")),
        appointment_link,
        link_to("call", _("call")),
        "http_status",
        "error_class",
        "told",
        "looks",
    )
    list_filter = (CompanyFilter, "state", "kind", "refused_by", since_filter("created_at", _("intended")))
    list_select_related = ("company", "appointment", "call")
    list_defer = (
        "request",
        "answer",
        "error_message",
        "appointment__metadata",
        "appointment__notes",
        *CALL_TEXTS,
    )
    search_fields = ("uuid", "idempotency_key", "call__retell_call_id", "appointment__calcom_booking_uid")
    search_help_text = _("The attempt's or key's UUID, Retell's call id or Cal.com's uid, in full.")
    ordering = ("-pk",)
    fieldsets = (
        (None, {"fields": ("kind", attempt_state, "company", appointment_link, "call", "told")}),
        (
            _("What happened"),
            {
                "fields": (
                    "http_status",
                    "error_class",
                    long_text("error_message", _("error")),
                    "refused_by",
                    "posts",
                    "looks",
                )
            },
        ),
        (
            _("Request and answer"),
            {"fields": (pretty_json("request", _("request")), pretty_json("answer", _("answer")))},
        ),
        (
            _("Times"),
            {
                "fields": (
                    attempted,
                    local_time("sent_at", _("sent"), seconds=True),
                    local_time("lease_expires_at", _("lease runs out"), seconds=True),
                    local_time("look_again_at", _("looks again"), seconds=True),
                    local_time("finished_at", _("finished"), seconds=True),
                )
            },
        ),
        (
            _("For the machines"),
            {"classes": ("collapse",), "fields": ("uuid", "idempotency_key", "write_lock")},
        ),
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
        ids = ",".join(str(pk) for pk in queryset.values_list("pk", flat=True)[:_MOST_CLOSED])
        return HttpResponseRedirect(
            f"{reverse('admin:booking_callbackrequest_close')}?{urlencode({'ids': ids})}"
        )

    def get_urls(self) -> list[URLPattern]:
        return [
            path("close/", self.admin_site.admin_view(self.close_view), name="booking_callbackrequest_close"),
            *super().get_urls(),
        ]

    def close_view(self, request: HttpRequest) -> HttpResponse:
        """Show what will be closed, ask for a note, close it, and say how many it were."""
        if not self.may_close(request):
            raise PermissionDenied
        given = (request.POST if request.method == "POST" else request.GET).get("ids", "")
        ids = [int(word) for word in given.split(",")[:_MOST_CLOSED] if is_row_id(word)]
        rows = list(self.get_queryset(request).filter(pk__in=ids))
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


CallAdmin.related_tables += [
    RelatedTable(
        relation="booking_attempts",
        title=_("Attempts at Cal.com"),
        columns=(attempted, "kind", attempt_state, "http_status", "error_class", "told"),
    ),
    RelatedTable(
        relation="appointments",
        title=_("Appointments made in this call"),
        columns=(
            starts,
            link_to("service", _("service")),
            appointment_status,
            calcom_link("calcom_booking_uid"),
        ),
    ),
    RelatedTable(
        relation="callback_requests",
        title=_("Callbacks promised"),
        columns=("reason", local_time("created_at", _("promised")), callback_status),
    ),
]
CustomerAdmin.related_tables.append(
    RelatedTable(
        relation="appointments",
        title=_("Appointments"),
        columns=(
            starts,
            link_to("service", _("service")),
            appointment_status,
            calcom_link("calcom_booking_uid"),
        ),
        newest_first=True,
        limit=20,
    )
)

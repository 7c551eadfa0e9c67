from __future__ import annotations

from typing import Any

from django.contrib import admin
from django.http import HttpRequest
from django.utils import timezone
from django.utils.translation import gettext_lazy as _

from booking.admin import CALL_TEXTS, AppointmentAdmin, calcom_link
from booking.calcom_pages import booking_page
from booking.models import OPEN_STATUSES, SyncFailure
from calls.admin import CallAdmin, appointment_link
from calls.models import WebhookEvent
from customers.admin_columns import age, badge, link_to, local_time, long_text, pretty_json
from customers.admin_filters import CompanyFilter, age_filter, inbox_filter, since_filter
from customers.record_admin import PageLink, ReadOnlyAdmin, RelatedTable
from sync.models import Lease

admin.site.site_header = admin.site.site_title = "Slotkeeper"
admin.site.index_title = _("Overview")
admin.site.site_url = None  # there is no site beside the admin

failure_status = badge("status", _("status"), good=("resolved",), bad=("pending", "manual_review"))
failure_type = badge("failure_type", _("type"))
event_status = badge("status", _("status"), good=("processed",), bad=("failed", "dead"))
detected = local_time("detected_at", _("detected"))


@admin.register(SyncFailure)
class SyncFailureAdmin(ReadOnlyAdmin):
    """The inbox: what no machine may put right."""

    list_display = (
        failure_type,
        "subject",
        age("detected_at", _("age"), now=timezone.now),
        failure_status,
        "occurrences",
        "attempt_count",
        link_to("company", _("company")),
        appointment_link,
        link_to("call", _("call")),
        calcom_link("calcom_booking_id"),
    )
    list_filter = (
        inbox_filter(OPEN_STATUSES),
        "failure_type",
        CompanyFilter,
        age_filter("detected_at"),
    )
    list_select_related = ("company", "appointment", "call", "resolved_by")
    list_defer = (
        "error_message",
        "request_payload",
        "error_details",
        "resolution_notes",
        "appointment__metadata",
        "appointment__notes",
        *CALL_TEXTS,
    )
    search_fields = (
        "calcom_booking_id",
        "subject",
        "call__retell_call_id",
        "appointment__calcom_booking_uid",
        "appointment__customer__phone",
    )
    search_help_text = _("Cal.com's uid, Retell's call id, a phone number or the subject, in full.")
    ordering = ("-pk",)
    fieldsets = (
        (None, {"fields": (failure_type, "subject", failure_status, "company")}),
        (
            _("What it is about"),
            {
                "fields": (
                    appointment_link,
                    "call",
                    calcom_link("calcom_booking_id", _("booking at Cal.com")),
                )
            },
        ),
        (
            _("What happened"),
            {
                "fields": (
                    long_text("error_message", _("error")),
                    pretty_json("error_details", _("details")),
                    pretty_json("request_payload", _("request")),
                    "attempt_count",
                    "occurrences",
                    local_time("detected_at", _("detected"), seconds=True),
                    local_time("last_seen_at", _("last seen"), seconds=True),
                )
            },
        ),
        (
            _("What was done"),
            {
                "fields": (
                    long_text("resolution_notes", _("notes")),
                    "resolved_by",
                    local_time("resolved_at", _("resolved"), seconds=True),
                    local_time("snoozed_until", _("snoozed until")),
                )
            },
        ),
    )

    def page_links(self, request: HttpRequest, record: SyncFailure) -> list[PageLink]:
        page = booking_page(base_url=record.company.calcom_base_url, uid=record.calcom_booking_id)
        return [PageLink(text=_("Open at Cal.com"), url=page, outside=True)] if page else []


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


@admin.register(Lease)
class LeaseAdmin(ReadOnlyAdmin):
    """Which process does a job that only one may do; the renewals are its heartbeat."""

    list_display = (
        "name",
        "holder",
        local_time("acquired_at", _("taken"), seconds=True),
        local_time("renewed_at", _("renewed"), seconds=True),
        local_time("expires_at", _("runs out"), seconds=True),
    )
    fields = list_display


def _failures(**options: Any) -> RelatedTable:
    return RelatedTable(
        relation="sync_failures",
        title=_("Sync failures"),
        columns=("subject", failure_type, failure_status, detected, "occurrences"),
        **options,
    )


AppointmentAdmin.related_tables.append(_failures())
CallAdmin.related_tables.append(_failures())

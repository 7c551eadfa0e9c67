from __future__ import annotations

from django.contrib import admin
from django.utils.translation import gettext_lazy as _

from booking.admin.appointments import calcom_link
from calls.admin import CALL_TEXTS, appointment_link
from customers.admin_columns import badge, link_to, local_time, long_text, pretty_json
from customers.admin_filters import CompanyFilter, since_filter
from customers.record_admin import ReadOnlyAdmin
from sync.models import AuditEntry, Lease, ReconciliationRun

Outcome = ReconciliationRun.Outcome

started = local_time("started_at", _("started"), seconds=True)
done_at = local_time("created_at", _("time"), seconds=True)


@admin.register(ReconciliationRun)
class ReconciliationRunAdmin(ReadOnlyAdmin):
    list_display = (
        started,
        link_to("company", _("company")),
        "scope",
        badge("outcome", _("outcome"), good=(Outcome.COMPLETE,), bad=(Outcome.PARTIAL, Outcome.FAILED)),
        "seen",
        "healed",
        "opened",
        "closed",
        "left",
        "requests",
        "duration_ms",
    )
    list_filter = (CompanyFilter, "outcome", "scope", since_filter("started_at", _("started")))
    list_select_related = ("company",)
    list_defer = ("report", "error")
    ordering = ("-pk",)
    fieldsets = (
        (None, {"fields": (started, "company", "scope", "outcome", long_text("error", _("error")))}),
        (
            _("What was found"),
            {
                "fields": (
                    "seen",
                    "healed",
                    "opened",
                    "closed",
                    "left",
                    pretty_json("report", _("report")),
                )
            },
        ),
        (
            _("How"),
            {
                "fields": (
                    local_time("window_start", _("changed since")),
                    local_time("window_end", _("until")),
                    local_time("cursor", _("read up to"), seconds=True),
                    "requests",
                    local_time("finished_at", _("finished"), seconds=True),
                    "duration_ms",
                )
            },
        ),
    )


@admin.register(AuditEntry)
class AuditEntryAdmin(ReadOnlyAdmin):
    """Who changed what, and why."""

    list_display = (
        done_at,
        "action",
        "who",
        link_to("company", _("company")),
        link_to("failure", _("failure")),
        appointment_link,
        link_to("call", _("call")),
        calcom_link("calcom_booking_uid"),
    )
    list_filter = (CompanyFilter, "action", since_filter("created_at", _("time")))
    list_select_related = ("company", "user", "failure", "appointment", "call")
    list_defer = (
        "details",
        "reason",
        "failure__error_message",
        "failure__request_payload",
        "failure__error_details",
        "failure__resolution_notes",
        "appointment__metadata",
        "appointment__notes",
        *CALL_TEXTS,
    )
    search_fields = ("calcom_booking_uid", "call__retell_call_id", "user__username")
    search_help_text = _("Cal.com's uid, Retell's call id or a user's name, in full.")
    ordering = ("-pk",)
    fieldsets = (
        (None, {"fields": (done_at, "action", "who", long_text("reason", _("reason")))}),
        (
            _("What it was about"),
            {
                "fields": (
                    "company",
                    link_to("failure", _("failure")),
                    appointment_link,
                    "call",
                    calcom_link("calcom_booking_uid", _("booking at Cal.com")),
                    pretty_json("details", _("details")),
                )
            },
        ),
    )

    @admin.display(description=_("who"), ordering="user")
    def who(self, entry: AuditEntry) -> str:
        return entry.user.get_username() if entry.user else str(_("the machine"))


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

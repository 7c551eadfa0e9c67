from __future__ import annotations

from django.contrib import admin
from django.utils.translation import gettext_lazy as _

from booking.models import BookingAttempt
from booking.ownership import REFUSED_BY
from calls.admin import CALL_TEXTS, CallAdmin, appointment_link
from customers.admin_columns import badge, link_to, local_time, long_text, pretty_json
from customers.admin_filters import CompanyFilter, since_filter, value_filter
from customers.record_admin import ReadOnlyAdmin, RelatedTable

_State = BookingAttempt.State
attempt_state = badge("state", _("state"), good=(_State.SUCCEEDED,), bad=(_State.UNKNOWN, _State.ABSENT))
attempted = local_time("created_at", _("intended"), seconds=True)


def attempts_table(relation: str) -> RelatedTable:
    return RelatedTable(
        relation=relation,
        title=_("Attempts at Cal.com"),
        columns=(attempted, "kind", attempt_state, "http_status", "error_class", "told"),
    )


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
    list_filter = (
        CompanyFilter,
        "state",
        "kind",
        value_filter("refused_by", _("refused by"), REFUSED_BY),
        since_filter("created_at", _("intended")),
    )
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


CallAdmin.related_tables.append(attempts_table("booking_attempts"))

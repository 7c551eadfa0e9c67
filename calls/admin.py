from __future__ import annotations

import datetime as dt
from typing import Any, ClassVar

from django.contrib import admin
from django.utils.html import format_html
from django.utils.safestring import SafeString
from django.utils.translation import gettext_lazy as _

from calls.models import Call, FunctionCall
from customers.admin import CustomerAdmin
from customers.admin_columns import (
    EMPTY,
    Column,
    badge,
    link_to,
    local_time,
    long_text,
    masked_phone,
    page_of,
    pretty_json,
    show_instant,
    zone_of,
)
from customers.admin_filters import CompanyFilter, since_filter
from customers.record_admin import ReadOnlyAdmin, RelatedTable

GOOD_CODES = ("ok", "booked", "already_booked", "requested", "rescheduled", "cancelled", "callback_noted")
BAD_CODES = ("checking", "unavailable")
# What a call carries and a list of other things does not need.
CALL_TEXTS = ("call__transcript", "call__summary", "call__analysis", "call__booking_details")


def _duration(call: Call) -> str:
    if call.started_at is None or call.ended_at is None:
        return EMPTY
    # Whole seconds: what is shorter is noise of two clocks.
    return str(dt.timedelta(seconds=round((call.ended_at - call.started_at).total_seconds())))


def _appointment_link(record: Any) -> SafeString | str:
    """The appointment a row belongs to, named by its start, in the place the row is for."""
    appointment = record.appointment
    if appointment is None:
        return EMPTY
    start = show_instant(appointment.starts_at, zone=zone_of(record))
    return format_html('<a href="{}">{}</a>', page_of(appointment), start)


duration: Column = admin.display(description=_("duration"))(_duration)
appointment_link: Column = admin.display(description=_("appointment"))(_appointment_link)
asked = local_time("created_at", _("asked"), seconds=True)
code = badge("code", _("answer code"), good=GOOD_CODES, bad=BAD_CODES)
call_status = badge("status", _("status"), good=(Call.Status.ENDED,), bad=(Call.Status.ERROR,))


@admin.register(Call)
class CallAdmin(ReadOnlyAdmin):
    list_display = (
        "retell_call_id",
        local_time("created_at", _("first heard of")),
        link_to("company", _("company")),
        link_to("branch", _("branch")),
        masked_phone("from_number", _("caller")),
        link_to("customer", _("customer")),
        call_status,
        "booking_confirmed",
        appointment_link,
    )
    list_filter = (
        CompanyFilter,
        "status",
        "direction",
        "booking_confirmed",
        "appointment_made",
        since_filter("created_at", _("created")),
    )
    list_select_related = ("company", "branch", "customer", "appointment")
    list_defer = ("transcript", "summary", "analysis", "booking_details", "appointment__metadata")
    search_fields = ("retell_call_id", "customer__phone")
    search_help_text = _("Retell's call id, or the caller's phone number, in full.")
    ordering = ("-pk",)
    fieldsets = (
        (None, {"fields": ("retell_call_id", "company", "branch", "customer", "direction", call_status)}),
        (_("Numbers"), {"fields": ("from_number", "to_number", "agent_id")}),
        (
            _("Times"),
            {
                "fields": (
                    local_time("started_at", _("started"), seconds=True),
                    local_time("ended_at", _("ended"), seconds=True),
                    duration,
                    "disconnection_reason",
                    local_time("created_at", _("first heard of"), seconds=True),
                    local_time("updated_at", _("last change"), seconds=True),
                )
            },
        ),
        (
            _("Booking"),
            {
                "fields": (
                    "booking_confirmed",
                    "appointment_made",
                    appointment_link,
                    pretty_json("booking_details", _("what was booked")),
                )
            },
        ),
        (
            _("What was said"),
            {
                "fields": (
                    long_text("summary", _("summary")),
                    long_text("transcript", _("transcript")),
                    pretty_json("analysis", _("analysis")),
                )
            },
        ),
    )
    related_tables = [
        RelatedTable(
            relation="function_calls",
            title=_("Functions the agent called"),
            columns=(asked, "name", code, "duration_ms", "repeats"),
        ),
    ]


@admin.register(FunctionCall)
class FunctionCallAdmin(ReadOnlyAdmin):
    list_display = (
        asked,
        "name",
        code,
        link_to("call", _("call")),
        link_to("company", _("company")),
        "duration_ms",
        "repeats",
    )
    # A list, because what the functions are called and what they answer is known above.
    list_filter: ClassVar[list[Any]] = [CompanyFilter, since_filter("created_at", _("created"))]
    list_select_related = ("company", "call")
    list_defer = ("arguments", "answer", "earlier_answers", *CALL_TEXTS)
    search_fields = ("call__retell_call_id", "request_key")
    search_help_text = _("Retell's call id, in full.")
    ordering = ("-pk",)
    fieldsets = (
        (None, {"fields": ("name", code, "call", "company")}),
        (
            _("Request and answer"),
            {"fields": (pretty_json("arguments", _("arguments")), pretty_json("answer", _("answer")))},
        ),
        (
            _("Repeats"),
            {
                "fields": (
                    "repeats",
                    pretty_json("earlier_answers", _("earlier answers")),
                    "request_key",
                    "tool_call_id",
                )
            },
        ),
        (
            _("Times"),
            {
                "fields": (
                    asked,
                    local_time("answered_at", _("answered"), seconds=True),
                    "duration_ms",
                )
            },
        ),
    )


CustomerAdmin.related_tables.append(
    RelatedTable(
        relation="calls",
        title=_("Calls"),
        columns=(
            "retell_call_id",
            local_time("created_at", _("time")),
            "direction",
            call_status,
            "booking_confirmed",
        ),
        newest_first=True,
        limit=20,
    )
)

from __future__ import annotations

from typing import Any

from django.contrib import admin
from django.db.models import QuerySet
from django.http import HttpRequest
from django.utils import timezone
from django.utils.safestring import SafeString
from django.utils.translation import gettext_lazy as _

from booking import takes_place
from booking.admin.attempts import attempts_table
from booking.calcom_pages import booking_page
from booking.models import Appointment, FormerUid
from calls.admin import CALL_TEXTS, CallAdmin
from customers.admin import CustomerAdmin
from customers.admin_columns import (
    EMPTY,
    Column,
    badge,
    link_to,
    local_time,
    named,
    outside_link,
    pretty_json,
)
from customers.admin_filters import CompanyFilter, since_filter
from customers.models import Company
from customers.record_admin import PageLink, ReadOnlyAdmin, RelatedTable


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


_Status, _Sync = Appointment.Status, Appointment.SyncStatus
appointment_status = badge(
    "status",
    _("status"),
    good=(_Status.SCHEDULED, _Status.CONFIRMED, _Status.COMPLETED),
    bad=(_Status.FAILED, _Status.NO_SHOW),
)
appointment_sync = badge("calcom_sync_status", _("sync"), good=(_Sync.SYNCED,), bad=(_Sync.FAILED,))
starts = local_time("starts_at", _("starts"))
appointment_columns = (
    starts,
    link_to("service", _("service")),
    appointment_status,
    calcom_link("calcom_booking_uid"),
)


class TakesPlaceFilter(admin.SimpleListFilter):
    title = _("takes place")
    parameter_name = "takes_place"

    def lookups(self, request: Any, model_admin: Any) -> list[tuple[str, Any]]:
        return [("today", _("today"))]

    def queryset(self, request: Any, queryset: QuerySet[Any]) -> QuerySet[Any]:
        if self.value() != "today":
            return queryset
        companies = dict(Company.objects.order_by().values_list("pk", "timezone"))
        return queryset.filter(pk__in=takes_place.today(companies, now=timezone.now()))


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
        TakesPlaceFilter,
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
        # Its own is in an index only while it is live; the attempts know it for ever.
        "attempts__idempotency_key",
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
        attempts_table("attempts"),
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


CallAdmin.related_tables.append(
    RelatedTable(
        relation="appointments", title=_("Appointments made in this call"), columns=appointment_columns
    )
)
CustomerAdmin.related_tables.append(
    RelatedTable(
        relation="appointments",
        title=_("Appointments"),
        columns=appointment_columns,
        newest_first=True,
        limit=20,
    )
)

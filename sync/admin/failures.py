from __future__ import annotations

import datetime as dt
from collections.abc import Iterator
from typing import Any

from django.contrib import admin
from django.db import models
from django.db.models import Count, Q, QuerySet
from django.http import HttpRequest, HttpResponse, HttpResponseRedirect
from django.urls import URLPattern, path, reverse
from django.utils import timezone
from django.utils.html import format_html_join
from django.utils.safestring import SafeString
from django.utils.translation import gettext_lazy as _

from booking.admin.appointments import AppointmentAdmin, calcom_link
from booking.calcom_pages import booking_page
from booking.models import OPEN_STATUSES, Appointment, BookingAttempt, SyncFailure
from calls.admin import CALL_TEXTS, CallAdmin, appointment_link
from calls.models import Call
from customers.admin_columns import (
    EMPTY,
    age,
    badge,
    link_to,
    local_time,
    long_text,
    page_of,
    pretty_json,
    show_instant,
    zone_of,
)
from customers.admin_filters import CompanyFilter, age_filter, inbox_filter
from customers.record_admin import PageLink, ReadOnlyAdmin, RelatedTable
from customers.row_ids import is_row_id
from sync import both_sides, roles, timeline, triage
from sync.admin.triage_pages import LABELS, TriagePages
from sync.both_sides import Line, Seen
from sync.triage import IN_BULK, PERMISSION, Verb

failure_status = badge("status", _("status"), good=(SyncFailure.Status.RESOLVED,), bad=OPEN_STATUSES)
failure_type = badge("failure_type", _("type"))
detected = local_time("detected_at", _("detected"))


class OwnerFilter(admin.SimpleListFilter):
    title = _("owner")
    parameter_name = "owner"

    def lookups(self, request: Any, model_admin: Any) -> list[tuple[str, Any]]:
        return [("mine", _("me")), ("nobody", _("nobody")), ("others", _("others"))]

    def queryset(self, request: Any, queryset: QuerySet[Any]) -> QuerySet[Any]:
        if self.value() == "mine":
            return queryset.filter(assigned_to=request.user.pk)
        if self.value() == "nobody":
            return queryset.filter(assigned_to=None)
        if self.value() == "others":
            return queryset.exclude(assigned_to=None).exclude(assigned_to=request.user.pk)
        return queryset


class SnoozedFilter(admin.SimpleListFilter):
    """What is snoozed is out of the way unless it is asked for."""

    title = _("snoozed")
    parameter_name = "snoozed"

    def lookups(self, request: Any, model_admin: Any) -> list[tuple[str, Any]]:
        return [("only", _("only snoozed")), ("too", _("shown too"))]

    def queryset(self, request: Any, queryset: QuerySet[Any]) -> QuerySet[Any]:
        # What is closed is no work any more, snoozed or not.
        snoozed = Q(snoozed_until__gt=timezone.now(), status__in=OPEN_STATUSES)
        if self.value() == "only":
            return queryset.filter(snoozed)
        return queryset if self.value() == "too" else queryset.exclude(snoozed)

    def choices(self, changelist: Any) -> Iterator[Any]:
        first, *others = super().choices(changelist)
        yield {**first, "display": _("hidden")}
        yield from others


@admin.register(SyncFailure)
class SyncFailureAdmin(TriagePages, ReadOnlyAdmin):
    """The inbox: what no machine may put right."""

    change_form_template = "admin/booking/syncfailure/change_form.html"
    change_list_template = "admin/booking/syncfailure/change_list.html"
    list_display = (
        failure_type,
        "subject",
        age("detected_at", _("age"), now=timezone.now),
        failure_status,
        "owner",
        "occurrences",
        "attempt_count",
        link_to("company", _("company")),
        appointment_link,
        link_to("call", _("call")),
        calcom_link("calcom_booking_id"),
    )
    list_display_links = (failure_type, "subject")
    list_filter = (
        inbox_filter(OPEN_STATUSES),
        "failure_type",
        CompanyFilter,
        age_filter("detected_at"),
        OwnerFilter,
        SnoozedFilter,
    )
    asked_for_all = {"inbox": "all", "snoozed": "too"}
    list_select_related = ("company", "appointment", "call", "resolved_by", "assigned_to")
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
        "call__customer__phone",
        "appointment__calcom_booking_uid",
        "appointment__former_uids__uid",
        "appointment__customer__phone",
    )
    search_help_text = _("Cal.com's uid, Retell's call id, a phone number or the subject, in full.")
    ordering = ("-pk",)
    actions = tuple(f"{verb}_selected" for verb in IN_BULK)
    fieldsets = (
        (None, {"fields": (failure_type, "subject", failure_status, "company")}),
        (
            _("What it is about"),
            {
                "fields": (
                    appointment_link,
                    "call",
                    calcom_link("calcom_booking_id", _("booking at Cal.com")),
                    "also_named",
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
                    "owner",
                    long_text("resolution_notes", _("notes")),
                    "resolved_by",
                    local_time("resolved_at", _("resolved"), seconds=True),
                    local_time("snoozed_until", _("snoozed until")),
                )
            },
        ),
    )

    @admin.display(description=_("owner"), ordering="assigned_to")
    def owner(self, failure: SyncFailure) -> str:
        return failure.assigned_to.get_username() if failure.assigned_to else EMPTY

    @admin.display(description=_("also named"))
    def also_named(self, failure: SyncFailure) -> SafeString | str:
        """What an audit has found, and the other one of two, stands in the details by its id."""
        links = [(page_of(row), row._meta.verbose_name, row.pk) for row in _named(failure.error_details)]  # noqa: SLF001 - public
        return format_html_join(", ", '<a href="{}">{} {}</a>', links) or EMPTY

    def has_work_permission(self, request: HttpRequest) -> bool:
        return self.has_view_permission(request) and request.user.has_perm(roles.WORK)

    def has_repair_permission(self, request: HttpRequest) -> bool:
        return self.has_view_permission(request) and request.user.has_perm(roles.REPAIR)

    def get_urls(self) -> list[URLPattern]:
        return [
            path(
                "triage/<slug:verb>/",
                self.admin_site.admin_view(self.bulk_view),
                name="booking_syncfailure_bulk",
            ),
            path(
                "<int:failure_id>/triage/<slug:verb>/",
                self.admin_site.admin_view(self.triage_view),
                name="booking_syncfailure_triage",
            ),
            *super().get_urls(),
        ]

    # --- the inbox

    def changelist_view(
        self, request: HttpRequest, extra_context: dict[str, Any] | None = None
    ) -> HttpResponse:
        counts = _counts(request) if self.has_view_permission(request) else []
        return super().changelist_view(request, {**(extra_context or {}), "inbox_counts": counts})

    @admin.action(description=LABELS[Verb.ASSIGN], permissions=["work"])
    def assign_selected(self, request: HttpRequest, queryset: QuerySet[SyncFailure]) -> HttpResponse:
        return self.to_bulk_page(request, Verb.ASSIGN, queryset)

    @admin.action(description=LABELS[Verb.SNOOZE], permissions=["work"])
    def snooze_selected(self, request: HttpRequest, queryset: QuerySet[SyncFailure]) -> HttpResponse:
        return self.to_bulk_page(request, Verb.SNOOZE, queryset)

    @admin.action(description=LABELS[Verb.REVIEW], permissions=["work"])
    def review_selected(self, request: HttpRequest, queryset: QuerySet[SyncFailure]) -> HttpResponse:
        return self.to_bulk_page(request, Verb.REVIEW, queryset)

    @admin.action(description=LABELS[Verb.RESOLVE], permissions=["work"])
    def resolve_selected(self, request: HttpRequest, queryset: QuerySet[SyncFailure]) -> HttpResponse:
        return self.to_bulk_page(request, Verb.RESOLVE, queryset)

    @admin.action(description=LABELS[Verb.TRY_AGAIN], permissions=["repair"])
    def try_again_selected(self, request: HttpRequest, queryset: QuerySet[SyncFailure]) -> HttpResponse:
        return self.to_bulk_page(request, Verb.TRY_AGAIN, queryset)

    @admin.action(description=LABELS[Verb.TAKE_BACK], permissions=["repair"])
    def take_back_selected(self, request: HttpRequest, queryset: QuerySet[SyncFailure]) -> HttpResponse:
        return self.to_bulk_page(request, Verb.TAKE_BACK, queryset)

    # --- one failure

    def history_view(
        self, request: HttpRequest, object_id: str, extra_context: dict[str, Any] | None = None
    ) -> HttpResponse:
        """What people and machines did with it is in the audit log; Django's own history knows none of it."""
        if not is_row_id(object_id) or not request.user.has_perm("sync.view_auditentry"):
            return super().history_view(request, object_id, extra_context)
        return HttpResponseRedirect(f"{reverse('admin:sync_auditentry_changelist')}?failure={object_id}")

    def page_links(self, request: HttpRequest, record: SyncFailure) -> list[PageLink]:
        uid = both_sides.uid_of(record)
        page = booking_page(base_url=record.company.calcom_base_url, uid=uid)
        links = [PageLink(text=_("Open at Cal.com"), url=page, outside=True)] if page else []
        call = record.call or (record.appointment.call if record.appointment else None)
        if call is not None and request.user.has_perm("calls.view_call"):
            links.insert(0, PageLink(text=_("The call"), url=page_of(call)))
        return links

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
            context |= self._both_sides(request, triage.read_failure(obj.pk))
        return super().render_change_form(
            request, context, add=add, change=change, form_url=form_url, obj=obj
        )

    def _both_sides(self, request: HttpRequest, failure: SyncFailure) -> dict[str, Any]:
        assert request.user.is_authenticated  # noqa: S101 - admin_view lets nobody else in
        case = triage.open_case(failure, user=request.user, now=timezone.now())
        lines = both_sides.compare(case.appointment, case.booking, now=case.now)
        zone = zone_of(failure.appointment or failure)
        uid = case.booking.uid if case.booking else ""
        reasons = triage.legal_verbs(case)
        mine = [verb for verb in Verb if request.user.has_perm(PERMISSION[verb])]
        return {
            "case": case,
            "asked": _ASKED[case.remote.seen],
            "sides": [_shown(line, zone) for line in lines if line.here or line.there],
            "events": timeline.of_failure(failure, user=request.user, uid=uid),
            "zone_record": failure,
            "buttons": [
                (LABELS[verb], reverse("admin:booking_syncfailure_triage", args=[failure.pk, verb]))
                for verb in mine
                if not reasons[verb]
            ],
            "not_legal": [(LABELS[verb], reasons[verb]) for verb in mine if reasons[verb]],
        }


_ASKED = {
    Seen.SHOWN: _("Fetched from Cal.com just now."),
    Seen.NOT_THERE: _("Cal.com was asked just now: there is no such booking."),
    Seen.NOTHING_TO_ASK: _("This is about no booking that Cal.com could be asked for."),
    Seen.NOT_ASKED: _("Cal.com could not be asked, so what stands there is not known."),
}


_TABLES: dict[str, type[models.Model]] = {
    "appointments": Appointment,
    "booking_attempts": BookingAttempt,
    "calls": Call,
}


def _named(details: dict[str, Any]) -> list[models.Model]:
    """Not read from the database: only what leads to them."""
    model = _TABLES.get(details.get("table", ""))
    found = [model(pk=pk) for pk in details.get("ids", ())] if model is not None else []
    other = details.get("other_appointment")
    return [*found, Appointment(pk=other)] if other else found


def _shown(line: Line, zone: dt.tzinfo) -> dict[str, Any]:
    return {
        "name": line.name,
        "here": _cell(line.here, zone),
        "there": _cell(line.there, zone),
        "differs": line.differs,
    }


def _cell(value: Any, zone: dt.tzinfo) -> Any:
    if isinstance(value, dt.datetime):
        return show_instant(value, zone=zone)
    return EMPTY if value in (None, "") else value


def _counts(request: HttpRequest) -> list[tuple[Any, int, str]]:
    """What is in the inbox, and where to see it: one query."""
    now = timezone.now()
    awake = ~Q(snoozed_until__gt=now) | Q(snoozed_until=None)
    counted = SyncFailure.objects.filter(status__in=OPEN_STATUSES).aggregate(
        all=Count("pk", filter=awake),
        review=Count("pk", filter=awake & Q(status=SyncFailure.Status.MANUAL_REVIEW)),
        mine=Count("pk", filter=awake & Q(assigned_to=request.user.pk)),
        nobody=Count("pk", filter=awake & Q(assigned_to=None)),
        snoozed=Count("pk", filter=Q(snoozed_until__gt=now)),
    )
    url = reverse("admin:booking_syncfailure_changelist")
    return [
        (_("open"), counted["all"], url),
        (_("for a person"), counted["review"], f"{url}?inbox=manual_review"),
        (_("mine"), counted["mine"], f"{url}?owner=mine"),
        (_("nobody's"), counted["nobody"], f"{url}?owner=nobody"),
        (_("snoozed"), counted["snoozed"], f"{url}?snoozed=only"),
    ]


def _failures(**options: Any) -> RelatedTable:
    return RelatedTable(
        relation="sync_failures",
        title=_("Sync failures"),
        columns=("subject", failure_type, failure_status, detected, "occurrences"),
        **options,
    )


AppointmentAdmin.related_tables.append(_failures())
CallAdmin.related_tables.append(_failures())
# The call's page tells why something is, or is not, in the calendar.
CallAdmin.change_form_template = "admin/calls/call/change_form.html"

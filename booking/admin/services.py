from __future__ import annotations

from typing import Any

from django.contrib import admin
from django.http import HttpRequest, HttpResponse
from django.utils.translation import gettext_lazy as _

from booking import event_types
from booking.models import Service
from booking.service_form import ServiceForm
from customers.admin import CompanyAdmin, CompanyChoiceMixin, NoDeleteMixin
from customers.admin_columns import link_to
from customers.admin_filters import CompanyFilter
from customers.record_admin import RecordAdmin

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
                    "as_shown",
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


CompanyAdmin.after_change.append(event_types.forget_all)

from __future__ import annotations

from collections.abc import Collection, Iterable
from typing import Any, ClassVar, Protocol

from django.contrib import admin
from django.contrib.admin.widgets import AutocompleteSelect
from django.db.models import QuerySet
from django.db.models.functions import Length
from django.http import HttpRequest
from django.utils.html import format_html_join
from django.utils.safestring import SafeString
from django.utils.translation import gettext_lazy as _

from customers.admin_columns import EMPTY, Column, link_to, local_time, masked_phone, named
from customers.admin_filters import BranchCompanyFilter, CompanyFilter, since_filter
from customers.as_shown_form import AsShownAdminMixin
from customers.branch_forms import BranchForm, PhoneNumberForm, RetellAgentForm
from customers.company_form import CompanyForm
from customers.company_secrets import SECRET_COLUMNS, without_secrets
from customers.customer_form import CustomerForm
from customers.models import Branch, Company, Customer, PhoneNumber, RetellAgent
from customers.record_admin import RecordAdmin, RelatedTable
from customers.row_ids import is_row_id


class CompanyChanged(Protocol):
    def __call__(self, company: Company, *, changed: Collection[str]) -> None: ...


class NoDeleteMixin:
    """Switched off with `is_active`, never deleted: what happened refers to it for ever."""

    def has_delete_permission(self, request: HttpRequest, obj: Any = None) -> bool:
        return False


def is_set(secret: str, header: Any) -> Column:
    """Whether a secret is stored. Told by its length, which needs no key."""

    def column(company: Company) -> Any:
        return _("set") if getattr(company, f"{secret}_length", None) else _("not set")

    return named(column, path=f"{secret}_is_set", header=header)


def _webhook_addresses(company: Company) -> SafeString | str:
    if company._state.adding:  # noqa: SLF001
        return EMPTY
    names = (
        ("Retell events", "retell/events"),
        ("Retell inbound call", "retell/inbound"),
        ("Retell functions", "retell/functions/<name>"),
        ("Cal.com", "calcom"),
    )
    return format_html_join(
        "\n",
        "<div>{}: <code>{}</code></div>",
        ((name, f"{company.hooks_url}/{path}") for name, path in names),
    )


webhook_addresses: Column = admin.display(description=_("addresses to enter at Retell and Cal.com"))(
    _webhook_addresses
)
_calcom_key = is_set("calcom_api_key", _("Cal.com API key"))
_calcom_reconcile = is_set("calcom_reconcile_api_key", _("Cal.com API key for reconciling"))
_calcom_secret = is_set("calcom_webhook_secret", _("Cal.com webhook secret"))
_calcom_previous = is_set("calcom_webhook_secret_previous", _("previous Cal.com webhook secret"))
_retell_key = is_set("retell_api_key", _("Retell API key"))
_retell_previous = is_set("retell_api_key_previous", _("previous Retell API key"))


@admin.register(Company)
class CompanyAdmin(NoDeleteMixin, RecordAdmin):
    form = CompanyForm
    list_display = (
        "name",
        "slug",
        "timezone",
        "language",
        "is_active",
        _calcom_key,
        _calcom_secret,
        _retell_key,
    )
    list_filter = ("is_active", "language")
    search_fields = ("slug", "name__icontains")
    ordering = ("name",)
    prepopulated_fields = {"slug": ("name",)}
    readonly_fields = (
        webhook_addresses,
        _calcom_key,
        _calcom_reconcile,
        _calcom_secret,
        _calcom_previous,
        _retell_key,
        _retell_previous,
    )
    fieldsets = (
        (None, {"fields": ("name", "slug", "timezone", "language", "is_active", "as_shown")}),
        (_("Addresses"), {"fields": (webhook_addresses,)}),
        (
            "Cal.com",
            {
                "fields": (
                    "calcom_base_url",
                    "attendee_email_domain",
                    (_calcom_key, "new_calcom_api_key"),
                    (_calcom_reconcile, "new_calcom_reconcile_api_key"),
                    (_calcom_secret, "new_calcom_webhook_secret"),
                    "keep_calcom_webhook_secret",
                    (_calcom_previous, "forget_calcom_webhook_secret_previous"),
                )
            },
        ),
        (
            "Retell",
            {
                "fields": (
                    (_retell_key, "new_retell_api_key"),
                    "keep_retell_api_key",
                    (_retell_previous, "forget_retell_api_key_previous"),
                )
            },
        ),
        (
            _("On the phone"),
            {
                "fields": (
                    "may_reschedule",
                    "may_cancel",
                    "change_notice_minutes",
                    "callback_within_minutes",
                    "opening_hours",
                )
            },
        ),
        (
            _("Healing"),
            {
                "description": _("What the reconciliation repairs without a person."),
                "fields": ("heal_adopt", "heal_import", "heal_follow", "heal_link", "heal_daily_limit"),
            },
        ),
    )
    related_tables = [
        RelatedTable(
            relation="branches", title=_("Branches"), columns=("name", "slug", "timezone", "is_active")
        ),
    ]
    # What an app above does when a company was changed: it is told which columns.
    after_change: ClassVar[list[CompanyChanged]] = []

    def get_queryset(self, request: HttpRequest) -> QuerySet[Any]:
        # Deferred: a save writes only what was typed, and no page holds a secret.
        lengths: dict[str, Any] = {f"{name}_length": Length(name) for name in SECRET_COLUMNS}
        queryset: QuerySet[Any] = super().get_queryset(request).annotate(**lengths)
        return queryset

    def save_model(self, request: HttpRequest, obj: Company, form: Any, change: bool) -> None:
        super().save_model(request, obj, form, change)
        if change:
            for act in self.after_change:
                act(obj, changed=form.changed_columns())

    def get_readonly_fields(self, request: HttpRequest, obj: Any = None) -> tuple[Any, ...]:
        # The slug is written on every booking at Cal.com, and tells ours from those of others.
        return (*self.readonly_fields, "slug") if obj is not None else self.readonly_fields

    def get_prepopulated_fields(self, request: HttpRequest, obj: Any = None) -> dict[str, Any]:
        return {} if obj is not None else dict(self.prepopulated_fields)


class PhoneNumberInline(AsShownAdminMixin, admin.TabularInline):
    model = PhoneNumber
    form = PhoneNumberForm
    extra = 0


class RetellAgentInline(AsShownAdminMixin, admin.TabularInline):
    model = RetellAgent
    form = RetellAgentForm
    fields = ("agent_id", "as_shown")
    extra = 0


class RowSelect(AutocompleteSelect):
    """Django's own asks the database for whatever an address or a form names, and fails where it is no id."""

    def optgroups(self, name: str, value: Iterable[Any], attrs: Any = None) -> Any:
        return super().optgroups(name, [each for each in value if is_row_id(str(each))], attrs)


class CompanyChoiceMixin:
    """A company, or a branch of one, is chosen without the company's secrets being read."""

    def formfield_for_foreignkey(self, db_field: Any, request: HttpRequest, **kwargs: Any) -> Any:
        if db_field.related_model is Company:
            kwargs["queryset"] = without_secrets(Company.objects.all())
        elif db_field.related_model is Branch:
            kwargs["queryset"] = without_secrets(Branch.objects.all(), paths=("company",))
        if db_field.name in self.autocomplete_fields:  # type: ignore[attr-defined]
            kwargs["widget"] = RowSelect(db_field, self.admin_site)  # type: ignore[attr-defined]
        return super().formfield_for_foreignkey(db_field, request, **kwargs)  # type: ignore[misc]


@admin.register(Branch)
class BranchAdmin(CompanyChoiceMixin, NoDeleteMixin, RecordAdmin):
    form = BranchForm
    list_display = ("name", "company", "slug", "timezone", "is_active")
    list_filter = (CompanyFilter, "is_active")
    list_select_related = ("company",)
    search_fields = ("slug", "name__icontains")
    ordering = ("company__name", "name")
    autocomplete_fields = ("company",)
    prepopulated_fields = {"slug": ("name",)}
    inlines = (PhoneNumberInline, RetellAgentInline)

    def get_readonly_fields(self, request: HttpRequest, obj: Any = None) -> tuple[str, ...]:
        return ("company",) if obj is not None else ()


@admin.register(PhoneNumber)
class PhoneNumberAdmin(CompanyChoiceMixin, RecordAdmin):
    form = PhoneNumberForm
    list_display = ("number", link_to("branch", _("branch")), link_to("branch.company", _("company")))
    list_filter = (BranchCompanyFilter,)
    list_select_related = ("branch", "branch__company")
    search_fields = ("number",)
    autocomplete_fields = ("branch",)


@admin.register(RetellAgent)
class RetellAgentAdmin(CompanyChoiceMixin, RecordAdmin):
    form = RetellAgentForm
    list_display = ("agent_id", link_to("branch", _("branch")), link_to("company", _("company")))
    list_filter = (CompanyFilter,)
    list_select_related = ("branch", "company")
    search_fields = ("agent_id",)
    autocomplete_fields = ("branch",)


@admin.register(Customer)
class CustomerAdmin(NoDeleteMixin, RecordAdmin):
    """What somebody is called may be corrected. Their phone number may not: it says who they are."""

    form = CustomerForm
    list_display = (
        "__str__",
        masked_phone("phone", _("phone")),
        link_to("company", _("company")),
        local_time("created_at", _("known since")),
    )
    list_filter = (CompanyFilter, since_filter("created_at", _("known since")))
    list_select_related = ("company",)
    # The name is the one search that reads the whole table: people who call back give their name.
    search_fields = ("phone", "email", "name__icontains")
    search_help_text = _("Phone number or e-mail address in full, or part of the name.")
    ordering = ("-pk",)
    readonly_fields = (
        "company",
        "phone",
        "anonymous_call_id",
        local_time("created_at", _("known since"), seconds=True),
        local_time("updated_at", _("last change"), seconds=True),
    )
    fields = ("name", "email", "as_shown", *readonly_fields)
    related_tables: ClassVar[list[RelatedTable]] = []

    def has_add_permission(self, request: HttpRequest) -> bool:
        return False

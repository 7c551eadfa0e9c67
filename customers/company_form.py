"""The form of a company. Its secrets go in and never come out.

A secret is typed into an empty box: left empty, what is stored stays, unread. So the page neither shows a
secret nor decrypts one, and a company whose secrets cannot be decrypted any more can be given new ones here.
Nor does one come out by way of another address: a stored key is sent to the one it was stored for.
"""

from __future__ import annotations

from typing import Any
from urllib.parse import urlsplit

from django import forms
from django.utils.translation import gettext_lazy as _

from customers.as_shown_form import AsShownForm
from customers.encrypted_field import CannotDecrypt
from customers.models import Company
from customers.zone_choice import zone_choice

# The secrets that can be rotated: while senders are moved to the new one, the previous one is accepted too.
ROTATED = {
    "calcom_webhook_secret": "calcom_webhook_secret_previous",
    "retell_api_key": "retell_api_key_previous",
}
# What is sent along with every question to `calcom_base_url`.
SENT_TO_CALCOM = ("calcom_api_key", "calcom_reconcile_api_key")
# Made by Cal.com and Retell; a webhook secret is whatever somebody thought of.
KEYS = (*SENT_TO_CALCOM, "retell_api_key")


class SecretInput(forms.PasswordInput):
    def __init__(self) -> None:
        # new-password: no browser fills in what it remembers of another form.
        super().__init__(attrs={"autocomplete": "new-password", "class": "vTextField"}, render_value=False)


def secret_field(label: Any) -> forms.CharField:
    return forms.CharField(
        label=label, required=False, widget=SecretInput(), help_text=_("Leave empty to keep what is stored.")
    )


class CompanyForm(AsShownForm):
    new_calcom_api_key = secret_field(_("New Cal.com API key"))
    new_calcom_reconcile_api_key = secret_field(_("New Cal.com API key for reconciling"))
    new_calcom_webhook_secret = secret_field(_("New Cal.com webhook secret"))
    keep_calcom_webhook_secret = forms.BooleanField(
        label=_("Go on accepting the present webhook secret beside the new one"), required=False, initial=True
    )
    forget_calcom_webhook_secret_previous = forms.BooleanField(
        label=_("Stop accepting the previous webhook secret"), required=False
    )
    new_retell_api_key = secret_field(_("New Retell API key"))
    keep_retell_api_key = forms.BooleanField(
        label=_("Go on accepting the present Retell key beside the new one"), required=False, initial=True
    )
    forget_retell_api_key_previous = forms.BooleanField(
        label=_("Stop accepting the previous Retell key"), required=False
    )

    class Meta:
        model = Company
        fields = (
            "name",
            "slug",
            "timezone",
            "language",
            "is_active",
            "attendee_email_domain",
            "calcom_base_url",
            "may_reschedule",
            "may_cancel",
            "change_notice_minutes",
            "callback_within_minutes",
            "opening_hours",
            "heal_adopt",
            "heal_import",
            "heal_follow",
            "heal_link",
            "heal_daily_limit",
        )
        widgets = {"timezone": zone_choice()}

    def clean_opening_hours(self) -> Any:
        return self.cleaned_data["opening_hours"] or {}

    def clean(self) -> dict[str, Any]:
        cleaned = super().clean()
        for name in KEYS:
            if new := cleaned.get(f"new_{name}"):
                self._check_key(f"new_{name}", new)
        if _host(cleaned.get("calcom_base_url", "")) != _host(self.instance.calcom_base_url):
            for name in SENT_TO_CALCOM:
                if self._is_stored(name) and not cleaned.get(f"new_{name}"):
                    self.add_error(
                        f"new_{name}", _("What is stored is not sent to another address: enter it anew.")
                    )
        for name, previous in ROTATED.items():
            if not (cleaned.get(f"new_{name}") and cleaned.get(f"keep_{name}") and self.instance.pk):
                continue
            if cleaned.get(f"forget_{previous}"):
                self.add_error(
                    f"forget_{previous}", _("Either keep the present one or forget the previous one.")
                )
                continue
            try:
                present = getattr(self.instance, name)
            except CannotDecrypt:
                self.add_error(f"keep_{name}", _("What is stored cannot be decrypted, so it cannot be kept."))
                continue
            if present != cleaned[f"new_{name}"]:
                # The same page sent twice, as by a double click: senders still sign with the one before.
                cleaned[f"present_{name}"] = present
        return cleaned

    def _check_key(self, field: str, key: str) -> None:
        """What was copied with something around it would be found out by callers."""
        if not all("!" <= character <= "~" for character in key):
            self.add_error(field, _("A key has no spaces and no special letters: copy it once more."))

    def _is_stored(self, name: str) -> bool:
        try:
            return bool(getattr(self.instance, name))
        except CannotDecrypt:
            return True

    def save(self, commit: bool = True) -> Company:
        company: Company = self.instance
        for name in (*SENT_TO_CALCOM, *ROTATED):
            if new := self.cleaned_data.get(f"new_{name}"):
                setattr(company, name, new)
        for name, previous in ROTATED.items():
            if self.cleaned_data.get(f"forget_{previous}"):
                setattr(company, previous, "")
            elif present := self.cleaned_data.get(f"present_{name}"):
                setattr(company, previous, present)
        saved: Company = super().save(commit=commit)
        return saved


def _host(address: str) -> tuple[str, str]:
    """With its scheme: a key that went encrypted does not go in the clear."""
    try:
        parts = urlsplit(address)
    except ValueError:  # no address; the model says so
        return "", ""
    return parts.scheme, parts.netloc

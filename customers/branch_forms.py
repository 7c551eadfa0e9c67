"""Forms of a branch and of what names it: the numbers that are called and the Retell agents that answer."""

from __future__ import annotations

from typing import Any

from django import forms
from django.utils.translation import gettext_lazy as _

from customers import phone_numbers
from customers.as_shown_form import AsShownForm
from customers.models import Branch, PhoneNumber, RetellAgent
from customers.zone_choice import zone_choice


class BranchForm(AsShownForm):
    class Meta:
        model = Branch
        fields = ("company", "name", "slug", "timezone", "is_active")
        widgets = {"timezone": zone_choice(blank=_("the company's"))}


class PhoneNumberForm(AsShownForm):
    # Longer than the column: people type spaces and brackets.
    number = forms.CharField(
        max_length=40, label=_("Number"), help_text=_("With the country code, such as +49 30 12345678.")
    )

    class Meta:
        model = PhoneNumber
        fields = ("branch", "number")

    def clean_number(self) -> str:
        # No country is assumed: a company's language does not say where its telephone stands.
        number = phone_numbers.normalise(self.cleaned_data["number"], region=None)
        if number is None:
            raise forms.ValidationError(_("This is not a telephone number with its country code."))
        return number


class RetellAgentForm(AsShownForm):
    class Meta:
        model = RetellAgent
        fields = ("branch", "agent_id")

    def clean(self) -> dict[str, Any]:
        cleaned = super().clean()
        branch = cleaned.get("branch")
        if branch is not None and branch.company_id is not None:
            # An agent belongs to its branch's company, always.
            self.instance.company_id = branch.company_id
        return cleaned

    def _get_validation_exclusions(self) -> set[str]:
        # The company is not on the form, but "once per company" has to be checked.
        excluded: set[str] = super()._get_validation_exclusions()  # type: ignore[misc]
        return excluded - {"company"} if self.instance.company_id is not None else excluded

"""The form of a customer: what they are called, and where they get mail."""

from __future__ import annotations

from customers.as_shown_form import AsShownForm
from customers.models import Customer


class CustomerForm(AsShownForm):
    class Meta:
        model = Customer
        fields = ("name", "email")

    def clean_email(self) -> str:
        """In small letters, as every other entrance stores it: by that they are known again."""
        return str(self.cleaned_data["email"]).lower()

"""The form of a record that several people, and the machines, may change at the same time.

Django writes every column of a row that is saved, as it was when the page was opened or the row was read. So
whoever corrects a name would switch a company on again that somebody has switched off meanwhile. Here a save
writes only what it changes, and not at all where the row is not any more what the person was shown.
"""

from __future__ import annotations

import hashlib
from typing import Any

from django import forms
from django.forms.models import model_to_dict
from django.http import HttpRequest
from django.utils.translation import gettext_lazy as _


class AsShownAdminMixin:
    """Whoever may only look is shown no form, and so nothing of what it takes along."""

    def get_fieldsets(self, request: HttpRequest, obj: Any = None) -> Any:
        fieldsets = super().get_fieldsets(request, obj)  # type: ignore[misc]
        if obj is None or self.has_change_permission(request, obj):  # type: ignore[attr-defined]
            return fieldsets
        return [
            (title, {**options, "fields": [name for name in options["fields"] if name != "as_shown"]})
            for title, options in fieldsets
        ]


class AsShownForm(forms.ModelForm):
    as_shown = forms.CharField(max_length=16, required=False, widget=forms.HiddenInput)

    def __init__(self, *args: Any, **options: Any) -> None:
        super().__init__(*args, **options)
        values = model_to_dict(self.instance, fields=list(self.fields))
        self._shown = hashlib.sha256(repr(sorted(values.items())).encode()).hexdigest()[:16]
        self._stored = dict(vars(self.instance))
        self.initial["as_shown"] = self._shown

    def clean(self) -> dict[str, Any]:
        cleaned: dict[str, Any] = super().clean() or self.cleaned_data
        if self.instance.pk and cleaned.get("as_shown", self._shown) not in ("", self._shown):
            raise forms.ValidationError(
                _("Somebody has changed this since you opened the page. Open it again, and then change it.")
            )
        return cleaned

    def changed_columns(self) -> list[str]:
        """What differs from what was read."""
        columns = self.instance._meta.concrete_fields  # noqa: SLF001 - the documented way to them
        missing = object()
        return [
            column.name
            for column in columns
            if vars(self.instance).get(column.attname, missing) != self._stored.get(column.attname, missing)
        ]

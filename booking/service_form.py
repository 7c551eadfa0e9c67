from __future__ import annotations

from typing import Any

from django import forms
from django.utils.translation import gettext_lazy as _

from booking import event_types
from booking.calcom.deadline import Deadline
from booking.calcom.errors import CalcomError, CalcomMisconfigured
from booking.connection import client_for
from booking.models import Service
from customers.as_shown_form import AsShownForm
from customers.masking import mask_text

SECONDS = 5.0


class LinesField(forms.CharField):
    """A list of short texts, one a line."""

    widget = forms.Textarea(attrs={"rows": 4, "class": "vLargeTextField"})

    def prepare_value(self, value: Any) -> Any:
        return "\n".join(str(line) for line in value) if isinstance(value, list) else value

    def clean(self, value: Any) -> Any:
        lines = (" ".join(line.split()) for line in str(super().clean(value)).splitlines())
        # A dict keeps the order and drops what was said twice.
        return list(dict.fromkeys(line for line in lines if line))

    def has_changed(self, initial: Any, data: Any) -> bool:
        return bool(self.clean(data) != (initial or []))


class ServiceForm(AsShownForm):
    aliases = LinesField(
        required=False, label=_("Aliases"), help_text=_("Other names callers use, one a line.")
    )

    class Meta:
        model = Service
        fields = (
            "company",
            "name",
            "slug",
            "person",
            "branch",
            "spoken_name",
            "aliases",
            "price_text",
            "duration_minutes",
            "calcom_event_type_id",
            "may_reschedule",
            "may_cancel",
            "change_notice_minutes",
            "is_active",
        )

    def clean(self) -> dict[str, Any]:
        """Refuse an event type that Cal.com does not show to this company: a booking made there would land in
        somebody else's calendar. Where Cal.com cannot be asked, the first booking asks again. Nor is it asked
        about what cannot be booked.
        """
        cleaned = super().clean()
        company = cleaned.get("company") or (self.instance.company if self.instance.pk else None)
        branch = cleaned.get("branch")
        if company is not None and branch is not None and branch.company_id != company.pk:
            self.add_error("branch", _("This branch is another company's."))
        if "calcom_event_type_id" in self.changed_data:
            self.instance.vanished_at = None  # the former one; this one is asked for before it is booked
        if "duration_minutes" in self.changed_data:
            self.instance.learned_event_type_id = None  # and so is whether it lasts as long
        if self.errors or company is None or not cleaned["is_active"]:
            return cleaned  # whoever switches off what is gone there need not make it right before
        try:
            client = client_for(company)
        except CalcomMisconfigured:
            return cleaned  # without a key, or with one that cannot be opened, nobody can be asked
        wanted = Service(
            company=company,
            duration_minutes=cleaned["duration_minutes"],
            calcom_event_type_id=cleaned["calcom_event_type_id"],
        )
        try:
            event_types.read_fitting(wanted, client=client, deadline=Deadline.after(SECONDS))
            self.instance.vanished_at = None
        except CalcomMisconfigured as error:
            if error.status != 401:  # that is said of the key
                self.add_error(
                    "calcom_event_type_id", _("Cal.com: %(said)s") % {"said": mask_text(error.message)}
                )
        except CalcomError:
            pass
        return cleaned

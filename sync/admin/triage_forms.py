"""What a person enters to act on a sync failure, beside the version of what they were shown."""

from __future__ import annotations

from typing import Any

from django import forms
from django.utils.translation import gettext_lazy as _

from booking import sentences
from sync import triage
from sync.triage import Case, Verb

HOURS = (
    (1, _("one hour")),
    (4, _("four hours")),
    (24, _("a day")),
    (72, _("three days")),
    (168, _("a week")),
)


class ReasonForm(forms.Form):
    """`expected` and `seen` come back as they were shown."""

    reason = forms.CharField(
        label=_("Reason"),
        help_text=_("For your colleagues; kept in the audit log. No names or numbers of customers."),
        max_length=2000,
        widget=forms.Textarea(attrs={"rows": 3, "class": "vLargeTextField"}),
    )
    expected = forms.CharField(max_length=10_000, widget=forms.HiddenInput)
    seen = forms.CharField(max_length=32, required=False, widget=forms.HiddenInput)

    def arguments(self) -> dict[str, Any]:
        """What the verb takes beside the decision."""
        return {}


class SeenForm(ReasonForm):
    def arguments(self) -> dict[str, Any]:
        return {"seen": self.cleaned_data["seen"]}


class AssignForm(ReasonForm):
    def __init__(self, *args: Any, **options: Any) -> None:
        super().__init__(*args, **options)
        self.fields["reason"].required = False


class SnoozeForm(ReasonForm):
    hours = forms.TypedChoiceField(label=_("For how long"), choices=HOURS, coerce=int, initial=4)
    field_order = ("hours", "reason")

    def arguments(self) -> dict[str, Any]:
        return {"hours": self.cleaned_data["hours"]}


class CancelForm(SeenForm):
    message = forms.CharField(
        label=_("Message to guest and host"),
        help_text=_("Cal.com sends it to both as the reason."),
        max_length=500,
        widget=forms.Textarea(attrs={"rows": 2, "class": "vLargeTextField"}),
    )
    field_order = ("message", "reason")

    def arguments(self) -> dict[str, Any]:
        return {**super().arguments(), "message": self.cleaned_data["message"]}


class LinkForm(SeenForm):
    """Which appointments may be chosen is looked up again by the verb itself."""

    appointment = forms.IntegerField(label=_("Appointment"), widget=forms.RadioSelect)
    field_order = ("appointment", "reason")

    def arguments(self) -> dict[str, Any]:
        return {**super().arguments(), "appointment_id": self.cleaned_data["appointment"]}


_FORMS: dict[Verb, type[ReasonForm]] = {
    Verb.ADOPT: SeenForm,
    Verb.RECREATE: SeenForm,
    Verb.LINK: LinkForm,
    Verb.CANCEL: CancelForm,
    Verb.END: SeenForm,
    Verb.SNOOZE: SnoozeForm,
    Verb.ASSIGN: AssignForm,
}


def form_class(verb: Verb) -> type[ReasonForm]:
    return _FORMS.get(verb, ReasonForm)


def shown(verb: Verb, case: Case, *, sent: ReasonForm | None = None) -> ReasonForm:
    """The form of a page that shows this case. What was typed into `sent` is kept; the version is new."""
    initial: dict[str, Any] = {
        "expected": triage.version_of(case.failure),
        "seen": case.fingerprint,
    }
    if verb is Verb.CANCEL:
        initial["message"] = sentences.to_the_guest("cancelled_by_us", company=case.failure.company)
    if sent is not None:
        typed = dict(sent.data.items())
        for name in ("expected", "seen"):
            typed[name] = initial[name]
        sent.data = typed
        form = sent
    else:
        form = form_class(verb)(initial=initial)
    if isinstance(form, LinkForm):
        form.fields["appointment"].widget.choices = [
            (row.pk, f"{triage.name_of(row)} {row.attendee_name or '?'}") for row in triage.candidates(case)
        ]
    return form

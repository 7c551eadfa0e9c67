"""The pages behind the buttons of a sync failure: what will happen, why it is done, and then doing it.

A button is a link to a page that shows; only the form on that page changes anything.
"""

from __future__ import annotations

import time
from collections import Counter
from collections.abc import Callable
from datetime import timedelta
from typing import Any

from django.contrib import messages
from django.contrib.auth.models import AbstractBaseUser
from django.core.exceptions import PermissionDenied
from django.db.models import QuerySet
from django.http import Http404, HttpRequest, HttpResponse, HttpResponseRedirect
from django.template.response import TemplateResponse
from django.urls import reverse
from django.utils import timezone
from django.utils.translation import gettext_lazy as _

from booking.models import SyncFailure
from customers.admin_columns import page_of, show_age
from customers.record_admin import RecordAdmin
from customers.row_ids import MOST_AT_ONCE, is_row_id, read_ids
from sync import triage
from sync.admin import triage_forms
from sync.triage import ASK_CALCOM, IN_BULK, PERMISSION, Case, Decision, Done, MovedOn, NotLegal, Verb

LABELS: dict[Verb, Any] = {
    Verb.TRY_AGAIN: _("Try again"),
    Verb.ADOPT: _("Adopt the booking"),
    Verb.LINK: _("Link to an appointment"),
    Verb.RECREATE: _("Book again at Cal.com"),
    Verb.CANCEL: _("Cancel at Cal.com"),
    Verb.END: _("Cancel ours only"),
    Verb.TAKE_BACK: _("Nothing was booked"),
    Verb.RESOLVE: _("Mark as resolved"),
    Verb.REVIEW: _("Send to manual review"),
    Verb.SNOOZE: _("Snooze"),
    Verb.ASSIGN: _("Assign to me"),
}
CHANGES_CALCOM = (Verb.RECREATE, Verb.CANCEL)
# What asks Cal.com is done for as long as a browser waits.
LONGEST_SECONDS = 25.0


class TriagePages(RecordAdmin):
    """Mixed into the admin of sync failures."""

    def triage_view(self, request: HttpRequest, failure_id: int, verb: str) -> HttpResponse:
        which = self._permitted(request, verb, among=tuple(Verb))
        try:
            failure = triage.read_failure(failure_id)
        except MovedOn:
            raise Http404 from None
        back = HttpResponseRedirect(reverse("admin:booking_syncfailure_change", args=[failure_id]))
        form = None
        if request.method == "POST":
            form = triage_forms.form_class(which)(request.POST)
            if form.is_valid():
                self._act(request, which, failure, form)
                return back
        return self._show(request, which, failure, sent=form)

    def _act(
        self, request: HttpRequest, verb: Verb, failure: SyncFailure, form: triage_forms.ReasonForm
    ) -> None:
        decision = Decision(
            failure=failure,
            user=_user(request),
            expected=form.cleaned_data["expected"],
            reason=form.cleaned_data["reason"],
        )
        try:
            done = act(verb, decision, **form.arguments())
        except MovedOn as moved:
            messages.warning(request, f"{moved} Nothing was done. Look again before you decide.")
        except NotLegal as no:
            messages.error(request, f"Nothing was done: {_sentence(str(no))}")
        else:
            level = messages.SUCCESS if done.is_success else messages.WARNING
            messages.add_message(request, level, f"{_sentence(done.said)} {_rows(done.changed)}")

    def _show(
        self,
        request: HttpRequest,
        verb: Verb,
        failure: SyncFailure,
        *,
        sent: triage_forms.ReasonForm | None,
    ) -> HttpResponse:
        case = triage.open_case(failure, user=_user(request), now=timezone.now(), ask=verb in ASK_CALCOM)
        effects, why_not = _preview(verb, case)
        context = {
            **self.admin_site.each_context(request),
            "title": LABELS[verb],
            "opts": self.opts,
            "failure": failure,
            "failure_url": page_of(failure),
            "verb": verb,
            "effects": effects,
            "why_not": why_not,
            "changes_calcom": verb in CHANGES_CALCOM,
            "form": None if why_not else triage_forms.shown(verb, case, sent=sent),
        }
        return TemplateResponse(request, "admin/booking/syncfailure/triage.html", context)

    # --- many at once

    def to_bulk_page(self, request: HttpRequest, verb: Verb, queryset: QuerySet[SyncFailure]) -> HttpResponse:
        address = reverse("admin:booking_syncfailure_bulk", args=[verb])
        return HttpResponseRedirect(f"{address}?{self.ids_selected(request, queryset)}")

    def bulk_view(self, request: HttpRequest, verb: str) -> HttpResponse:
        which = self._permitted(request, verb, among=IN_BULK)
        form = None
        if request.method == "POST":
            form = triage_forms.form_class(which)(request.POST)
            versions = _read_versions(request.POST.get("expected", ""))
            if form.is_valid():
                self._act_on_all(request, which, versions, form)
                return HttpResponseRedirect(reverse("admin:booking_syncfailure_changelist"))
            ids = list(versions)
        else:
            ids = read_ids(request.GET.get("ids", ""))
        return self._show_all(request, which, ids, sent=form)

    def _act_on_all(
        self, request: HttpRequest, verb: Verb, versions: dict[int, str], form: triage_forms.ReasonForm
    ) -> None:
        outcomes: Counter[str] = Counter()
        changed: Counter[str] = Counter()
        until = time.monotonic() + LONGEST_SECONDS
        for failure in SyncFailure.objects.filter(pk__in=list(versions)).order_by("pk"):
            if time.monotonic() > until:
                outcomes["not reached in time"] += 1
                continue
            decision = Decision(
                failure=failure,
                user=_user(request),
                expected=versions[failure.pk],
                reason=form.cleaned_data["reason"],
            )
            try:
                done = act(verb, decision, **form.arguments())
            except MovedOn:
                outcomes["had moved on meanwhile"] += 1
            except NotLegal:
                outcomes["not possible in their state"] += 1
            else:
                outcomes["done" if done.is_success else "tried, and still open"] += 1
                changed.update(done.changed)
        said = ", ".join(f"{number} {words}" for words, number in outcomes.items())
        level = messages.SUCCESS if set(outcomes) == {"done"} else messages.WARNING
        messages.add_message(request, level, f"{LABELS[verb]}: {said or 'none'}. {_rows(changed)}")

    def _show_all(
        self,
        request: HttpRequest,
        verb: Verb,
        ids: list[int],
        *,
        sent: triage_forms.ReasonForm | None,
    ) -> HttpResponse:
        now = timezone.now()
        rows = list(
            SyncFailure.objects.filter(pk__in=ids).select_related("assigned_to").order_by("pk")[:MOST_AT_ONCE]
        )
        versions = ",".join(f"{row.pk}:{triage.version_of(row)}" for row in rows)
        form = sent or triage_forms.form_class(verb)()
        context = {
            **self.admin_site.each_context(request),
            "title": LABELS[verb],
            "opts": self.opts,
            "rows": [
                {
                    "url": page_of(row),
                    "subject": row.subject,
                    "type": row.get_failure_type_display(),
                    "status": row.get_status_display(),
                    "age": show_age(now - row.detected_at),
                    "owner": row.assigned_to,
                    "is_legal": row.status in triage.LEGAL_WHILE[verb]
                    and not (verb is Verb.ASSIGN and row.assigned_to_id == request.user.pk),
                }
                for row in rows
            ],
            "effect": _IN_BULK[verb],
            "versions": versions,
            "form": form,
        }
        return TemplateResponse(request, "admin/booking/syncfailure/bulk.html", context)

    def _permitted(self, request: HttpRequest, verb: str, *, among: tuple[Verb, ...]) -> Verb:
        if verb not in among:
            raise Http404
        which = Verb(verb)
        if not self.has_view_permission(request) or not request.user.has_perm(PERMISSION[which]):
            raise PermissionDenied
        return which


_IN_BULK = {
    Verb.ASSIGN: _("Each of them is assigned to you."),
    Verb.SNOOZE: _("Each of them is hidden from the inbox until then, and stays open."),
    Verb.REVIEW: _("Each of them is marked as waiting for a person."),
    Verb.RESOLVE: _("Each of them is closed with your note. No appointment and no booking is changed."),
    Verb.TRY_AGAIN: _(
        "Cal.com is asked about each of them, and our side is made equal to what it shows, as the machines "
        "do it. An attempt of unknown outcome is settled."
    ),
    Verb.TAKE_BACK: _(
        "Cal.com is asked about each of them. Where no booking stands and no appointment is there, the call "
        "does not say any more that something was booked. Nothing is changed at Cal.com, and nobody is told."
    ),
}

_VERBS: dict[Verb, Callable[..., Done]] = {
    Verb.TRY_AGAIN: triage.try_again,
    Verb.ADOPT: triage.adopt,
    Verb.LINK: triage.link,
    Verb.RECREATE: triage.recreate_at_calcom,
    Verb.CANCEL: triage.cancel_at_calcom,
    Verb.END: triage.end_here,
    Verb.TAKE_BACK: triage.take_back,
    Verb.RESOLVE: triage.resolve,
    Verb.REVIEW: triage.review,
    Verb.ASSIGN: triage.assign,
}


def act(verb: Verb, decision: Decision, **arguments: Any) -> Done:
    """Raises MovedOn, NotLegal."""
    if verb is Verb.SNOOZE:
        return triage.snooze(decision, until=timezone.now() + timedelta(hours=arguments["hours"]))
    return _VERBS[verb](decision, **arguments)


def _preview(verb: Verb, case: Case) -> tuple[list[str], str]:
    try:
        return triage.preview(verb, case), ""
    except NotLegal as no:
        return [], str(no)


def _sentence(text: str) -> str:
    """What Cal.com has said may end without a full stop."""
    return text if text.endswith((".", "!", "?")) else f"{text}."


def _rows(changed: dict[str, int]) -> str:
    if not changed:
        return "No row was changed."
    counted = (f"{number} {name}{'s' if number > 1 else ''}" for name, number in changed.items())
    return f"Changed: {', '.join(counted)}."


def _user(request: HttpRequest) -> AbstractBaseUser:
    assert request.user.is_authenticated  # noqa: S101 - admin_view lets nobody else in
    return request.user


def _read_versions(text: str) -> dict[int, str]:
    pairs = (pair.partition(":") for pair in text.split(",")[:MOST_AT_ONCE])
    return {int(pk): version for pk, _, version in pairs if is_row_id(pk)}

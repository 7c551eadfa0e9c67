"""Requests are refused, and none is taken any more: a secret was changed on one side only, mostly.

Whoever sent them gets a 401 and tells nobody, and our own side is quiet because nothing comes in. So it is a
ticket, which alerts, and which closes itself with the next request that is taken.
"""

from __future__ import annotations

from datetime import datetime, timedelta

from django.db.models import Max, Q, Sum

from booking import failures
from booking.models import OPEN_STATUSES, SyncFailure
from calls.models import FunctionCall, RefusedDelivery, WebhookEvent
from calls.retell.signature import Verdict
from customers.company_secrets import without_secrets
from customers.models import Company

Provider = WebhookEvent.Provider

SUBJECT = "refused:"
LATELY = timedelta(hours=1)
# One or two may be a stranger's, or were under way while a secret was changed.
FEWEST = 3
UNSIGNED = "unsigned"  # by Cal.com, whose subscription has no secret
# What can be put right in a setting. Without any signature it was not sent by either of them.
OURS = (str(Verdict.MISMATCH), str(Verdict.STALE), UNSIGNED)

_CONSEQUENCE = {
    Provider.RETELL: "Callers are told nothing and can book nothing.",
    Provider.CALCOM: "What happens on the web is heard of an hour later.",
}
_REMEDY = {
    Provider.RETELL: "Put Retell's API key, the one with the webhook badge, on the company's page.",
    Provider.CALCOM: "Put the secret of the webhook at Cal.com on the company's page, or run `webhooks`.",
}


def report_refused_requests(*, now: datetime) -> None:
    """Open a ticket for each company that takes nothing any more of what one of the two sends, and close
    those of the others.
    """
    companies = {row.pk: row for row in without_secrets(Company.objects.filter(is_active=True))}
    lately = RefusedDelivery.objects.filter(company__in=companies, reason__in=OURS, last_at__gte=now - LATELY)
    grouped = lately.order_by().values("company", "provider")
    for row in grouped.annotate(times=Sum("count"), last=Max("last_at")).filter(times__gte=FEWEST):
        company, provider, last = companies[row["company"]], Provider(row["provider"]), row["last"]
        if _was_taken(company.pk, provider, since=last) or _was_told(company.pk, provider, since=last):
            continue
        reasons = set(lately.filter(company=company, provider=provider).values_list("reason", flat=True))
        problem = failures.Problem(
            company=company,
            failure_type=SyncFailure.Type.CONFIG_ERROR,
            subject=f"{SUBJECT}{provider}",
            message=_message(provider, reasons=reasons),
            details={"reasons": sorted(reasons)},
        )
        failures.open_failure(problem, needs_person=True)
    _close()


def _message(provider: WebhookEvent.Provider, *, reasons: set[str]) -> str:
    said = f"What {provider.label} sends is refused, and nothing of it has been taken since."
    remedy = _REMEDY[provider]
    if reasons == {str(Verdict.STALE)}:
        remedy = "It is signed minutes away from our time: set the clock of the web servers (NTP)."
    return f"{said} {_CONSEQUENCE[provider]} {remedy}"


def _close() -> None:
    still_open = SyncFailure.objects.filter(
        failure_type=SyncFailure.Type.CONFIG_ERROR, subject__startswith=SUBJECT, status__in=OPEN_STATUSES
    )
    for failure in still_open.only("pk", "company_id", "subject"):
        provider = Provider(failure.subject.removeprefix(SUBJECT))
        refused = RefusedDelivery.objects.filter(
            company=failure.company_id, provider=provider, reason__in=OURS
        )
        last = refused.aggregate(last=Max("last_at"))["last"]
        if last is None or _was_taken(failure.company_id, provider, since=last):
            failures.resolve(
                SyncFailure.objects.filter(pk=failure.pk), note=f"What {provider.label} sends is taken again."
            )


def _was_told(company_id: int, provider: WebhookEvent.Provider, *, since: datetime) -> bool:
    """Of all that was refused, and it may be put right by now: the next call may come in the morning."""
    rows = SyncFailure.objects.filter(company=company_id, subject=f"{SUBJECT}{provider}")
    return rows.filter(Q(last_seen_at__gt=since) | Q(resolved_at__gt=since)).exists()


def _was_taken(company_id: int, provider: WebhookEvent.Provider, *, since: datetime) -> bool:
    deliveries = WebhookEvent.objects.filter(company=company_id, provider=provider, received_at__gt=since)
    if provider is Provider.RETELL:
        functions = FunctionCall.objects.filter(company=company_id, created_at__gt=since)
        return functions.exists() or deliveries.exists()
    return deliveries.exists()

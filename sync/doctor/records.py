"""What our own tables say of the last hours: runs that did not come, deliveries turned away, open tickets."""

from __future__ import annotations

import datetime as dt
from collections.abc import Iterator

from django.db.models import Max, Q, Sum

from booking.models import OPEN_STATUSES, SyncFailure
from calls.authentication import UNREADABLE_KEY
from calls.deliveries import WAITING
from calls.models import RefusedDelivery, WebhookEvent
from customers.models import Company
from sync.doctor.finding import Finding, failed, ok, warning
from sync.models import ReconciliationRun

RECONCILIATION, REFUSED, DEAD, WAITING_LONG, FAILURES = (
    "reconciliation",
    "refused deliveries",
    "dead deliveries",
    "waiting deliveries",
    "sync failures",
)
# It runs every hour, and may take a part of one.
RECENT = dt.timedelta(hours=2)
HOUR, DAY, WEEK = dt.timedelta(hours=1), dt.timedelta(days=1), dt.timedelta(days=7)
LATE = dt.timedelta(minutes=5)

Outcome = ReconciliationRun.Outcome
Provider = WebhookEvent.Provider

_REFUSED_REMEDIES = {
    Provider.CALCOM: "Another secret at Cal.com than here, most likely. Run: manage.py webhooks --company {}",
    Provider.RETELL: "Store the Retell API key that has the webhook badge in Retell's dashboard with {}.",
}


def look(company: Company, *, now: dt.datetime) -> Iterator[Finding]:
    yield _reconciliation(company, now)
    yield from _refused(company, now)
    yield _dead(company, now)
    yield _waiting(company, now)
    yield _failures(company, now)


def _reconciliation(company: Company, now: dt.datetime) -> Finding:
    remedy = f"See Beat and the workers, then run: manage.py reconcile --company {company.slug}"
    runs = ReconciliationRun.objects.filter(company=company, is_dry_run=False)
    complete = runs.filter(outcome=Outcome.COMPLETE).aggregate(last=Max("finished_at"))["last"]
    ended = runs.exclude(outcome=Outcome.RUNNING).order_by("-started_at", "-pk").first()
    if complete is None and ended is None:
        if company.created_at < now - RECENT:
            said = "It has never run: differences to Cal.com are not found."
            return failed(RECONCILIATION, said, remedy)
        return warning(RECONCILIATION, "It has not run yet; it runs every hour.", remedy)
    if complete is None or complete < now - RECENT:
        since = "never" if complete is None else f"last {_ago(now - complete)} ago"
        return failed(RECONCILIATION, f"It was {since} complete.", remedy)
    if ended is not None and ended.outcome != Outcome.COMPLETE:
        said = f"The last run did not read all of Cal.com ({ended.outcome}); the one before was complete."
        return warning(RECONCILIATION, said, remedy)
    return ok(RECONCILIATION, f"Complete {_ago(now - complete)} ago.")


def _refused(company: Company, now: dt.datetime) -> Iterator[Finding]:
    """Who sends nonsense can be anybody; a signature that is there and does not hold is mostly a wrong
    secret of ours.
    """
    lately = RefusedDelivery.objects.filter(company=company, last_at__gte=now - DAY).order_by()
    grouped = lately.values("provider", "reason").annotate(times=Sum("count"), last=Max("last_at"))
    groups = list(grouped.order_by("provider", "reason"))
    for group in groups:
        provider, reason = Provider(group["provider"]), group["reason"]
        said = (
            f"{group['times']} of {provider.label} in the last day ({reason}), "
            f"the last {_ago(now - group['last'])} ago."
        )
        remedy = _REFUSED_REMEDIES[provider].format(company.slug)
        if reason == "stale":
            remedy = "Set this machine's clock (NTP), and see that no proxy holds requests back."
        elif reason == UNREADABLE_KEY:
            # Here it can be opened, or nothing more would have been looked at.
            remedy = "Restart the web servers with the FIELD_ENCRYPTION_KEY under which it is stored."
        is_ours = reason not in ("missing", "malformed") and group["last"] >= now - HOUR
        yield (failed if is_ours else warning)(REFUSED, said, remedy)
    if not groups:
        yield ok(REFUSED, "None in the last day.")


def _dead(company: Company, now: dt.datetime) -> Finding:
    dead = WebhookEvent.objects.filter(
        company=company, status=WebhookEvent.Status.DEAD, received_at__gte=now - WEEK
    ).count()
    if dead:
        said = f"{dead} of the last week were given up."
        return failed(DEAD, said, "Read their errors in the admin, mend the cause, and replay them there.")
    return ok(DEAD, "None in the last week.")


def _waiting(company: Company, now: dt.datetime) -> Finding:
    late = WebhookEvent.objects.filter(company=company, status__in=WAITING, due_at__lt=now - LATE).count()
    if late:
        said = f"{late} have been due for more than {_ago(LATE)}, and nobody works them."
        return failed(WAITING_LONG, said, "See that workers run and are not all busy.")
    return ok(WAITING_LONG, "None waits for long.")


def _failures(company: Company, now: dt.datetime) -> Finding:
    awake = SyncFailure.objects.filter(company=company, status__in=OPEN_STATUSES).filter(
        Q(snoozed_until=None) | Q(snoozed_until__lte=now)
    )
    count = awake.count()
    if not count:
        return ok(FAILURES, "None is open.")
    for_a_person = awake.filter(status=SyncFailure.Status.MANUAL_REVIEW).count()
    remedy = "Work them in the admin, oldest first."
    if for_a_person:
        return failed(FAILURES, f"{count} are open, {for_a_person} of them need a person.", remedy)
    return warning(FAILURES, f"{count} are open; they close themselves when the gap is gone.", remedy)


def _ago(age: dt.timedelta) -> str:
    minutes = int(age.total_seconds() // 60)
    if minutes < 120:
        return f"{minutes} min"
    return f"{minutes // 60} h" if minutes < 48 * 60 else f"{minutes // (24 * 60)} days"

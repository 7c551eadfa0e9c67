from __future__ import annotations

from typing import Any

from django.utils import timezone

from customers.encrypted_field import CannotDecrypt
from customers.models import Company
from customers.ops_command import companies
from sync.event_type_sync import Synced, Verb, sync_services
from sync.management.steps_command import StepsCommand
from sync.management.table import table

HEADER = ("company", "event type", "service", "action", "outcome", "what")


class Command(StepsCommand):
    help = (
        "Read Cal.com's event types and write on our services what they are like. An event type without a "
        "service gets one that is switched off; a service whose event type is gone is flagged and cannot be "
        "booked. Nothing is deleted, and running it twice changes nothing. Exit status 1 if something is "
        "left for a person (after --dry-run: if anything would be changed), 2 if a company could not be "
        "worked."
    )

    def work(self, **options: Any) -> tuple[dict[str, Any], int]:
        dry_run = options["dry_run"]
        slugs = companies(options["company"]).values_list("slug", flat=True)
        return self.summed_up({slug: _sync(slug, dry_run=dry_run) for slug in slugs}, dry_run=dry_run)

    def show(self, report: dict[str, Any]) -> None:
        rows = [
            (
                slug,
                str(step["event_type_id"]),
                step["service"],
                str(step["verb"]),
                str(step["outcome"]),
                _what(step),
            )
            for slug, company in report["companies"].items()
            for step in company["steps"]
            if step["verb"] != Verb.KEEP or step["problem"]
        ]
        if rows:
            self.stdout.write(table(HEADER, rows))
        self.show_totals(report)


def _what(step: dict[str, Any]) -> str:
    changes = (f"{each['field']}: {each['before']} → {each['after']}" for each in step["differences"])
    return "; ".join([*changes, *filter(None, [step["problem"]])])


def _sync(slug: str, *, dry_run: bool) -> Synced:
    try:
        return sync_services(Company.objects.get(slug=slug), now=timezone.now(), dry_run=dry_run)
    except CannotDecrypt as error:
        return Synced(failed=str(error))

from __future__ import annotations

from argparse import ArgumentParser
from dataclasses import asdict
from typing import Any

from django.utils import timezone

from booking.upkeep import StepOutcome
from customers.encrypted_field import CannotDecrypt
from customers.models import Company
from customers.ops_command import CLEAN, FAILED, LEFT_FOR_A_PERSON, OpsCommand, companies, counted
from sync.event_type_sync import Synced, Verb, sync_services
from sync.management.table import table

HEADER = ("company", "event type", "service", "action", "outcome", "what")


class Command(OpsCommand):
    help = (
        "Read Cal.com's event types and write on our services what they are like. An event type without a "
        "service gets one that is switched off; a service whose event type is gone is flagged and cannot be "
        "booked. Nothing is deleted, and running it twice changes nothing. Exit status 1 if something is "
        "left for a person (after --dry-run: if anything would be changed), 2 if a company could not be "
        "worked."
    )

    def add_arguments(self, parser: ArgumentParser) -> None:
        super().add_arguments(parser)
        parser.add_argument("--dry-run", action="store_true", help="say what would be done, change nothing")

    def work(self, **options: Any) -> tuple[dict[str, Any], int]:
        dry_run = options["dry_run"]
        slugs = companies(options["company"]).values_list("slug", flat=True)
        reports = {slug: _sync(slug, dry_run=dry_run) for slug in slugs}
        totals = {
            "changed": sum(each.count(StepOutcome.DONE) for each in reports.values()),
            "planned": sum(each.count(StepOutcome.PLANNED) for each in reports.values()),
            "left": sum(each.for_a_person for each in reports.values()),
            "failed": sum(bool(each.failed) for each in reports.values()),
        }
        report = {
            "dry_run": dry_run,
            "companies": {slug: asdict(each) for slug, each in reports.items()},
            **totals,
        }
        if totals["failed"]:
            return report, FAILED
        return report, LEFT_FOR_A_PERSON if totals["left"] or totals["planned"] else CLEAN

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
        for slug, company in report["companies"].items():
            if company["failed"]:
                self.stdout.write(f"{slug}: could not be worked to the end: {company['failed']}")
        done = f"{report['planned']} to do" if report["dry_run"] else f"{report['changed']} changed"
        self.stdout.write(
            f"{counted(report['companies'])}: {done}, {report['left']} left for a person, "
            f"{report['failed']} failed."
        )


def _what(step: dict[str, Any]) -> str:
    changes = (f"{each['field']}: {each['before']} → {each['after']}" for each in step["differences"])
    return "; ".join([*changes, *filter(None, [step["problem"]])])


def _sync(slug: str, *, dry_run: bool) -> Synced:
    try:
        return sync_services(Company.objects.get(slug=slug), now=timezone.now(), dry_run=dry_run)
    except CannotDecrypt as error:
        return Synced(failed=str(error))

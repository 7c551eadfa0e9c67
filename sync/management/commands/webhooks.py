from __future__ import annotations

from argparse import ArgumentParser
from typing import Any

from django.conf import settings
from django.db.models import QuerySet

from booking.webhook_subscriptions import Alignment, align
from customers.encrypted_field import CannotDecrypt
from customers.models import Company
from customers.ops_command import CannotWork, companies
from sync.management.steps_command import StepsCommand
from sync.management.table import table

HEADER = ("company", "event type", "services", "action", "outcome", "remarks")


class Command(StepsCommand):
    help = (
        "Have Cal.com tell us about every booking: one webhook subscription for each event type of an active "
        "service, with our address and the company's secret. What is missing is created, what is wrong is "
        "repaired, what is ours and not wanted is removed; subscriptions of others are not touched. Running "
        "it twice changes nothing. Exit status 1 if something is left to do (after --dry-run: if anything "
        "would be changed), 2 if a company could not be worked."
    )

    def add_arguments(self, parser: ArgumentParser) -> None:
        super().add_arguments(parser)
        parser.add_argument(
            "--remove",
            action="store_true",
            help="remove all of ours at the company named, also if it is switched off",
        )

    def work(self, **options: Any) -> tuple[dict[str, Any], int]:
        dry_run, remove = options["dry_run"], options["remove"]
        if not settings.PUBLIC_URL and not remove:
            raise CannotWork(
                "PUBLIC_URL is not set. Set it to the address under which Cal.com reaches this server, such "
                "as https://bookings.example.org"
            )
        if remove and not options["company"]:
            raise CannotWork("Say whose subscriptions are to be removed: --remove --company SLUG.")
        chosen = _chosen(options["company"], even_inactive=remove)
        slugs = chosen.values_list("slug", flat=True)
        aligned = {slug: _align(slug, remove=remove, dry_run=dry_run) for slug in slugs}
        return self.summed_up(aligned, dry_run=dry_run)

    def show(self, report: dict[str, Any]) -> None:
        rows = [
            (
                slug,
                "owner" if step["event_type_id"] is None else str(step["event_type_id"]),
                ", ".join(step["services"]) or "-",
                str(step["verb"]),
                str(step["outcome"]),
                "; ".join(filter(None, (", ".join(step["why"]), step["problem"]))),
            )
            for slug, company in report["companies"].items()
            for step in company["steps"]
        ]
        if rows:
            self.stdout.write(table(HEADER, rows))
        for slug, company in report["companies"].items():
            if company["secret_made"]:
                made = "would be given" if report["dry_run"] else "was given"
                self.stdout.write(f"{slug}: had no webhook secret and {made} one.")
        self.show_totals(report)


def _chosen(slug: str | None, *, even_inactive: bool) -> QuerySet[Company]:
    if even_inactive and slug is not None:
        named = Company.objects.filter(slug=slug)
        if named.exists():
            return named
    return companies(slug)


def _align(slug: str, *, remove: bool, dry_run: bool) -> Alignment:
    company = Company.objects.get(slug=slug)
    try:
        return align(company, public_url=settings.PUBLIC_URL, remove=remove, dry_run=dry_run)
    except CannotDecrypt as error:
        return Alignment(url="", failed=str(error))

from __future__ import annotations

from argparse import ArgumentParser
from collections.abc import Iterator
from contextlib import contextmanager
from datetime import datetime
from typing import Any

from django.db import DatabaseError, InterfaceError
from rich.console import Console
from rich.progress import BarColumn, MofNCompleteColumn, TextColumn, TimeRemainingColumn
from rich.progress import Progress as ProgressBar

from booking import database_errors
from customers.models import Company
from customers.ops_command import CLEAN, FAILED, LEFT_FOR_A_PERSON, CannotWork, OpsCommand, companies, instant
from sync.backfill import Left, Progress, Report, backfill
from sync.management.table import table

SHOWN = 50


class Command(OpsCommand):
    help = (
        "Give past calls with a confirmed booking the appointment they have lost: link the one that stands, "
        "or make it anew after asking Cal.com. Running it twice changes nothing; a run that was killed is "
        "continued by the next. Exit status 1 if a call was left for a person, 2 if a company could not be "
        "worked."
    )
    works_long = True

    def add_arguments(self, parser: ArgumentParser) -> None:
        super().add_arguments(parser)
        parser.add_argument("--dry-run", action="store_true", help="say what would be done, change nothing")
        parser.add_argument(
            "--since",
            type=instant,
            metavar="DATE",
            help="only calls that began then or later: 2026-11-01, 2026-11-01T08:00+01:00 (else UTC)",
        )

    def work(self, **options: Any) -> tuple[dict[str, Any], int]:
        dry_run, since = options["dry_run"], options["since"]
        reports: dict[str, Report] = {}
        for slug in list(companies(options["company"]).values_list("slug", flat=True)):
            with self._progress(slug) as progress:
                reports[slug] = _backfill(slug, since=since, dry_run=dry_run, progress=progress)
        by_company = {slug: _of_company(each) for slug, each in reports.items()}
        report = {
            "dry_run": dry_run,
            "since": since,
            **{name: sum(each[name] for each in by_company.values()) for name in COUNTS},
            "companies": by_company,
        }
        if any(each.could_not_work for each in reports.values()):
            return report, FAILED
        left = any(each.skipped or each.errors for each in reports.values())
        return report, LEFT_FOR_A_PERSON if left else CLEAN

    @contextmanager
    def _progress(self, slug: str) -> Iterator[Progress | None]:
        console = Console(stderr=True)
        if not console.is_terminal:
            yield None
            return
        columns = (TextColumn("{task.description}"), BarColumn(), MofNCompleteColumn(), TimeRemainingColumn())
        with ProgressBar(*columns, console=console, transient=True) as bar:
            task = bar.add_task(slug, total=None)
            yield lambda done, total: bar.update(task, completed=done, total=total)

    def show(self, report: dict[str, Any]) -> None:
        rows = [
            (slug, *(str(company[name]) for name in COUNTS), company["stopped"])
            for slug, company in report["companies"].items()
        ]
        self.stdout.write(table(("company", *COUNTS, ""), rows))
        for slug, company in report["companies"].items():
            for kind in ("skips", "failures"):
                left = company[kind]
                if left:
                    shown = [
                        (slug, str(each["call"]), each["call_id"], each["reason"]) for each in left[:SHOWN]
                    ]
                    self.stdout.write("")
                    title = "left for a person" if kind == "skips" else "left for the next run"
                    self.stdout.write(table(("company", "call", "Retell's id", title), shown))
                if len(left) > SHOWN:
                    self.stdout.write(f"… and {len(left) - SHOWN} more (all of them with --json)")
        if report["dry_run"]:
            self.stdout.write("Dry run: nothing was changed.")


COUNTS = ("found", "linked", "created", "skipped", "errors")


def _backfill(slug: str, *, since: datetime | None, dry_run: bool, progress: Progress | None) -> Report:
    try:
        return backfill(
            company=Company.objects.get(slug=slug), since=since, dry_run=dry_run, progress=progress
        )
    except (DatabaseError, InterfaceError) as error:
        raise CannotWork(
            f"The database failed ({database_errors.describe(error)}). What was done stays; run it again."
        ) from None


def _of_company(report: Report) -> dict[str, Any]:
    return {
        "found": report.found,
        "linked": report.linked,
        "created": report.created,
        "skipped": len(report.skipped),
        "errors": len(report.errors),
        "reasons": report.reasons,
        "skips": [_left(each) for each in report.skipped],
        "failures": [_left(each) for each in report.errors],
        "answers_of_calcom": report.asked,
        "stopped": report.stopped,
    }


def _left(left: Left) -> dict[str, Any]:
    return {"call": left.call, "call_id": left.retell_call_id, "reason": left.reason}

from __future__ import annotations

import sys
from argparse import ArgumentParser
from dataclasses import asdict
from functools import partial
from typing import Any

import structlog
from django.db import DatabaseError, InterfaceError

from booking import database_errors
from customers.masking import mask_text
from customers.models import Company
from customers.ops_command import CLEAN, FAILED, LEFT_FOR_A_PERSON, OpsCommand, companies, instant
from sync import reconcile
from sync.reconcile_report import Outcome, Report
from sync.turn import Busy

WAIT_SECONDS = 60
MOST_SHOWN = 20  # problems of a company, to a person

logger = structlog.get_logger(__name__)


class Command(OpsCommand):
    help = (
        "Compare our appointments with Cal.com's bookings, both ways; repair what may be repaired and open "
        "sync failures for the rest. Exit status 1 if something is left for a person, 2 if a company could "
        "not be read."
    )
    works_long = True

    def add_arguments(self, parser: ArgumentParser) -> None:
        super().add_arguments(parser)
        parser.add_argument(
            "--since", type=instant, metavar="TIME", help="read what changed since then (ISO 8601, UTC)"
        )
        parser.add_argument("--full", action="store_true", help="read the whole future too")
        parser.add_argument(
            "--dry-run", action="store_true", help="say what would be done, and change nothing"
        )

    def work(self, **options: Any) -> tuple[dict[str, Any], int]:
        report: dict[str, Any] = {"dry_run": options["dry_run"], "companies": {}}
        for company in companies(options["company"]):
            found = Report(
                company=company.slug, scope="", is_dry_run=options["dry_run"], outcome=Outcome.FAILED
            )
            try:
                found = reconcile.reconcile(
                    company,
                    full=options["full"],
                    since=options["since"],
                    dry_run=options["dry_run"],
                    wait_seconds=WAIT_SECONDS,
                    progress=partial(self._progress, company),
                )
            except Busy as busy:
                found.error = str(busy)
            except Exception as error:
                # One company's trouble is not the others'.
                logger.exception("reconcile.failed", company=company.slug)
                found.error = _describe(error)
            report["companies"][company.slug] = asdict(found)
        self._end_of_progress()
        for name in ("seen", "opened", "closed", "left"):
            report[name] = sum(each[name] for each in report["companies"].values())
        report["healed"] = sum(sum(each["healed"].values()) for each in report["companies"].values())
        unread = [each for each in report["companies"].values() if each["outcome"] != "complete"]
        if unread:
            return report, FAILED
        return report, LEFT_FOR_A_PERSON if report["left"] else CLEAN

    def show(self, report: dict[str, Any]) -> None:
        row = "{:<24} {:<9} {:<8} {:>7} {:>7} {:>7} {:>7} {:>6}"
        self.stdout.write(
            row.format("company", "outcome", "scope", "seen", "healed", "opened", "closed", "left")
        )
        for slug, found in report["companies"].items():
            healed = found["would_heal" if report["dry_run"] else "healed"]
            counts = [found[name] for name in ("opened", "closed", "left")]
            self.stdout.write(
                row.format(
                    slug, found["outcome"], found["scope"], found["seen"], sum(healed.values()), *counts
                )
            )
            for problem in found["problems"][:MOST_SHOWN]:
                self.stdout.write(f"  {problem['type']} {problem['uid']}: {problem['what']}")
            if (more := len(found["problems"]) - MOST_SHOWN) > 0:
                self.stdout.write(f"  … and {more} more: --json tells all of them")
            if found["error"]:
                self.stdout.write(f"  {found['error']}")
        if report["dry_run"]:
            self.stdout.write("A dry run: nothing was changed, here or at Cal.com.")

    def _progress(self, company: Company, seen: int) -> None:
        if sys.stderr.isatty():
            self.stderr.write(f"\r{company.slug}: {seen} bookings read", ending="")

    def _end_of_progress(self) -> None:
        if sys.stderr.isatty():
            self.stderr.write("")


def _describe(error: Exception) -> str:
    if isinstance(error, (DatabaseError, InterfaceError)):
        return mask_text(database_errors.describe(error).strip().partition("\n")[0])
    return type(error).__name__

"""What `webhooks` and `sync_services` have in common: going through the event types of companies in steps."""

from __future__ import annotations

from argparse import ArgumentParser
from collections.abc import Mapping
from dataclasses import asdict
from typing import Any

from booking.event_type_steps import StepOutcome
from booking.webhook_subscriptions import Alignment
from customers.ops_command import CLEAN, FAILED, LEFT_FOR_A_PERSON, OpsCommand, counted
from sync.event_type_sync import Synced


class StepsCommand(OpsCommand):
    def add_arguments(self, parser: ArgumentParser) -> None:
        super().add_arguments(parser)
        parser.add_argument("--dry-run", action="store_true", help="say what would be done, change nothing")

    def summed_up(
        self, worked: Mapping[str, Alignment | Synced], *, dry_run: bool
    ) -> tuple[dict[str, Any], int]:
        """The report about the companies (by slug), and the exit status."""
        report = {
            "dry_run": dry_run,
            "companies": {slug: asdict(each) for slug, each in worked.items()},
            "changed": sum(each.count(StepOutcome.DONE) for each in worked.values()),
            "planned": sum(each.count(StepOutcome.PLANNED) for each in worked.values()),
            "left": sum(each.for_a_person for each in worked.values()),
            "failed": sum(bool(each.failed) for each in worked.values()),
        }
        if report["failed"]:
            return report, FAILED
        return report, LEFT_FOR_A_PERSON if report["left"] or report["planned"] else CLEAN

    def show_totals(self, report: dict[str, Any]) -> None:
        for slug, company in report["companies"].items():
            if company["failed"]:
                self.stdout.write(f"{slug}: could not be worked to the end: {company['failed']}")
        done = f"{report['planned']} to do" if report["dry_run"] else f"{report['changed']} changed"
        self.stdout.write(
            f"{counted(report['companies'])}: {done}, {report['left']} left for a person, "
            f"{report['failed']} failed."
        )

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import asdict
from typing import Any

from django.db import DatabaseError, InterfaceError
from django.utils import timezone

from customers.ops_command import CLEAN, FAILED, LEFT_FOR_A_PERSON, OpsCommand, companies, counted
from sync.doctor.examine import examine_company, examine_installation
from sync.doctor.finding import Finding, Verdict, count, unchecked

MARKS = {
    Verdict.OK: "ok      ",
    Verdict.WARNING: "WARNING ",
    Verdict.FAILED: "FAILED  ",
    Verdict.UNCHECKED: "UNKNOWN ",
}


class Command(OpsCommand):
    help = (
        "Look at everything a company needs to work, live: this installation, Cal.com, Retell, and the way "
        "from our public address to our tables. Each thing has a verdict (ok, warning, failed, could not "
        "check), and a remedy if it is not ok. Nothing is changed; one signed PING for each company comes in "
        "by our public address and stays among the deliveries. Exit status 1 if something failed, 2 if "
        "something could not be checked."
    )

    def work(self, **options: Any) -> tuple[dict[str, Any], int]:
        unread = []
        try:
            slugs = list(companies(options["company"]).values_list("slug", flat=True))
        except (DatabaseError, InterfaceError) as error:
            slugs = []
            said = f"They could not be read ({type(error).__name__}); none was looked at."
            unread.append(unchecked("companies", said, "See what is found about the database."))
        installation = [*examine_installation(), *unread]
        by_company = {slug: _examine(slug) for slug in slugs}
        counts = count([*installation, *(each for found in by_company.values() for each in found)])
        report = {
            "installation": [asdict(finding) for finding in installation],
            "companies": {slug: [asdict(each) for each in found] for slug, found in by_company.items()},
            **{verdict.replace(" ", "_"): number for verdict, number in counts.items()},
        }
        return report, _status(counts)

    def show(self, report: dict[str, Any]) -> None:
        self._show_findings("installation", report["installation"])
        for slug, findings in report["companies"].items():
            self._show_findings(slug, findings)
        self.stdout.write(
            f"{counted(report['companies'])}: "
            f"{report['ok']} ok, {report['warning']} warnings, {report['failed']} failed, "
            f"{report['could_not_check']} could not be checked."
        )

    def _show_findings(self, whose: str, findings: Iterable[dict[str, Any]]) -> None:
        self.stdout.write(f"{whose}:")
        for finding in findings:
            about = f" ({finding['subject']})" if finding["subject"] else ""
            self.stdout.write(f"  {MARKS[finding['verdict']]}{finding['check']}{about}: {finding['said']}")
            if finding["remedy"]:
                self.stdout.write(f"          → {finding['remedy']}")


def _examine(slug: str) -> list[Finding]:
    try:
        return examine_company(slug, now=timezone.now())
    except Exception as error:  # noqa: BLE001  (one company's trouble must not hide the others')
        said = f"The company could not be read ({type(error).__name__})."
        return [unchecked("company", said, "Mend what is found about the installation, then run this again.")]


def _status(counts: dict[Verdict, int]) -> int:
    if counts[Verdict.UNCHECKED]:
        return FAILED
    return LEFT_FOR_A_PERSON if counts[Verdict.FAILED] else CLEAN

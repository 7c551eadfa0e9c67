from __future__ import annotations

from dataclasses import asdict
from typing import Any

from django.utils import timezone

from customers.ops_command import CLEAN, LEFT_FOR_A_PERSON, OpsCommand, companies, counted
from sync.audit import CHECKS, audit


class Command(OpsCommand):
    help = "Check the integrity of what is recorded. Exit status 1 if anything is wrong."

    def work(self, **options: Any) -> tuple[dict[str, Any], int]:
        now = timezone.now()
        report: dict[str, Any] = {"checks": list(CHECKS), "companies": {}, "findings": 0}
        for company in companies(options["company"]):
            findings = audit(company=company, now=now)
            report["companies"][company.slug] = [asdict(finding) for finding in findings]
            report["findings"] += sum(finding.count for finding in findings)
        return report, LEFT_FOR_A_PERSON if report["findings"] else CLEAN

    def show(self, report: dict[str, Any]) -> None:
        for slug, findings in report["companies"].items():
            for finding in findings:
                ids = ", ".join(map(str, finding["ids"]))
                more = " …" if finding["count"] > len(finding["ids"]) else ""
                self.stdout.write(
                    f"{slug}: {finding['check']}: {finding['count']} in {finding['table']} (ids {ids}{more})"
                )
        checked = f"{len(report['checks'])} checks, {counted(report['companies'])}"
        self.stdout.write(f"{checked}: {report['findings'] or 'nothing'} found.")

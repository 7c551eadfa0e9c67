"""What the audit finds becomes a ticket that alerts, and that closes itself when the finding is gone.

One for each check and company, however many rows: its page leads whoever is woken by it to the first of them,
and `manage.py audit` counts them all.
"""

from __future__ import annotations

from datetime import datetime

from booking import failures
from customers.models import Company
from sync.audit import CHECKS, audit

SUBJECT = "audit:"


def audit_and_alert(*, company: Company, now: datetime) -> int:
    """How many checks found something."""
    findings = {finding.check: finding for finding in audit(company=company, now=now)}
    for check, finding in findings.items():
        problem = failures.Problem(
            company=company,
            failure_type=CHECKS[check].failure_type,
            subject=f"{SUBJECT}{check}",
            message=f"The audit found rows that must not be: {check} in {finding.table}. The failure's own "
            "page leads to the first of them.",
            details={"count": finding.count, "ids": list(finding.ids), "table": finding.table},
        )
        failures.open_failure(problem, needs_person=True, is_standing=True)
    failures.close_failures(
        company_id=company.pk,
        subjects=[f"{SUBJECT}{check}" for check in CHECKS if check not in findings],
        note="The audit finds nothing of the kind any more.",
    )
    return len(findings)

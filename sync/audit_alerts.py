"""What the audit finds becomes a ticket that alerts, and that closes itself when the finding is gone.

One for each check and company, however many rows: a person who is woken by it runs `manage.py audit` for the
list.
"""

from __future__ import annotations

from datetime import datetime

from booking import failures
from booking.models import SyncFailure
from customers.models import Company
from sync.audit import CHECKS, audit

SUBJECT = "audit:"

Type = SyncFailure.Type

TYPES = {
    "confirmed_call_without_appointment": Type.CALL_DESYNC,
    "call_flags_disagree": Type.CALL_DESYNC,
    "call_points_at_nothing": Type.CALL_DESYNC,
    "appointment_without_backlink": Type.CALL_DESYNC,
    "appointment_without_call": Type.CALL_DESYNC,
    "live_appointment_without_uid": Type.ORPHANED_LOCAL,
    "duplicate_idempotency_key": Type.DUPLICATE_BOOKING,
    "duplicate_calcom_uid": Type.DUPLICATE_BOOKING,
    "attempt_unknown_for_too_long": Type.NETWORK_TIMEOUT,
    "row_of_another_company": Type.SCHEMA_ERROR,
}


def audit_and_alert(*, company: Company, now: datetime) -> int:
    """How many checks found something."""
    findings = {finding.check: finding for finding in audit(company=company, now=now)}
    for check, finding in findings.items():
        failures.open_failure(
            company=company,
            failure_type=TYPES[check],
            subject=f"{SUBJECT}{check}",
            message=f"The audit found rows that must not be: {check} in {finding.table}.",
            details={"count": finding.count, "ids": list(finding.ids), "table": finding.table},
            needs_person=True,
            is_standing=True,
        )
    failures.close_failures(
        company_id=company.pk,
        subjects=[f"{SUBJECT}{check}" for check in CHECKS if check not in findings],
        note="The audit finds nothing of the kind any more.",
    )
    return len(findings)

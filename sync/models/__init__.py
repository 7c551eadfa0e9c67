from sync.models.audit_entry import AuditEntry
from sync.models.lease import BEAT_LEASE, Lease
from sync.models.reconciliation_run import ReconciliationRun

__all__ = ["BEAT_LEASE", "AuditEntry", "Lease", "ReconciliationRun"]

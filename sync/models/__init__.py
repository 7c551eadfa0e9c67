from sync.models.lease import BEAT_LEASE, Lease

__all__ = ["BEAT_LEASE", "Lease"]

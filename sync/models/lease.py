from __future__ import annotations

import datetime as dt

from django.db import IntegrityError, models, transaction

from customers.clocks import CLOCKS_DIFFER_BY

# Held by the one Celery Beat that ticks; its renewals are Beat's heartbeat.
BEAT_LEASE = "celery-beat"


class LeaseManager(models.Manager["Lease"]):
    def hold(self, *, name: str, holder: str, now: dt.datetime, duration: dt.timedelta) -> bool:
        """Take the lease or renew it; True while `holder` has it, until `now + duration`.

        A compare-and-swap: one UPDATE that matches only while the lease is ours or has run out, so of two
        holders asking at once one row count is 1 and the other 0, on SQLite and PostgreSQL alike. `now` comes
        from the caller's clock; machines must agree within a small part of `duration`. What lies far ahead
        of it was written by a clock that was wrong, and counts as run out. Raises DatabaseError.
        """
        renewed = self.filter(name=name, holder=holder, expires_at__gt=now).update(
            renewed_at=now, expires_at=now + duration
        )
        if renewed:
            return True
        is_free = models.Q(expires_at__lte=now) | models.Q(renewed_at__gt=now + CLOCKS_DIFFER_BY)
        taken = self.filter(is_free, name=name).update(
            holder=holder, acquired_at=now, renewed_at=now, expires_at=now + duration
        )
        if taken:
            return True
        if self.filter(name=name).exists():
            return False
        try:
            with transaction.atomic():
                self.create(
                    name=name, holder=holder, acquired_at=now, renewed_at=now, expires_at=now + duration
                )
        except IntegrityError:
            return False  # another holder made the row first
        return True

    def release(self, *, name: str, holder: str, now: dt.datetime) -> bool:
        """Give the lease back before it runs out, so that nobody need wait for that. False if not ours."""
        return bool(self.filter(name=name, holder=holder, expires_at__gt=now).update(expires_at=now))


class Lease(models.Model):
    """Who may do a job that must be done by one process at a time, and until when.

    A holder that dies leaves a row that runs out by itself; nobody has to clean up after it.
    """

    name = models.CharField(max_length=100, unique=True)
    holder = models.CharField(max_length=200, help_text="host, process id and a random part")
    acquired_at = models.DateTimeField()
    renewed_at = models.DateTimeField()
    expires_at = models.DateTimeField()

    objects = LeaseManager()

    class Meta:
        db_table = "leases"

    def __str__(self) -> str:
        return f"{self.name} held by {self.holder} until {self.expires_at:%Y-%m-%d %H:%M:%S}Z"

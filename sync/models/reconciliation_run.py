from __future__ import annotations

from django.db import models
from django.utils import timezone
from django.utils.translation import gettext_lazy as _

from customers.models import Company


class ReconciliationRun(models.Model):
    """One comparison of a company's two sides, with what it found.

    `cursor` is the `updatedAt` up to which everything was read; only a complete run has one, and the next
    one starts a little before it. What a broken listing did not show proves nothing.
    """

    class Scope(models.TextChoices):
        CHANGES = "changes", _("changed since the last run")
        FULL = "full", _("the whole future")

    class Outcome(models.TextChoices):
        RUNNING = "running", _("running")
        COMPLETE = "complete", _("complete")
        PARTIAL = "partial", _("Cal.com was read in part")
        FAILED = "failed", _("failed")

    company = models.ForeignKey(Company, on_delete=models.CASCADE, related_name="reconciliation_runs")
    scope = models.CharField(max_length=16, choices=Scope.choices)
    is_dry_run = models.BooleanField(default=False)
    window_start = models.DateTimeField(null=True, blank=True)
    window_end = models.DateTimeField(null=True, blank=True)
    cursor = models.DateTimeField(null=True, blank=True)
    seen = models.PositiveIntegerField(default=0, help_text=_("Bookings that Cal.com showed."))
    healed = models.PositiveIntegerField(default=0)
    opened = models.PositiveIntegerField(default=0, help_text=_("Sync failures opened."))
    closed = models.PositiveIntegerField(default=0, help_text=_("Sync failures whose gap was gone."))
    left = models.PositiveIntegerField(default=0, help_text=_("Differences left for a person."))
    requests = models.PositiveIntegerField(default=0, help_text=_("Requests to Cal.com."))
    outcome = models.CharField(max_length=16, choices=Outcome.choices, default=Outcome.RUNNING)
    error = models.TextField(blank=True)
    report = models.JSONField(default=dict, blank=True)
    started_at = models.DateTimeField(default=timezone.now)
    finished_at = models.DateTimeField(null=True, blank=True)
    duration_ms = models.PositiveIntegerField(default=0)

    class Meta:
        db_table = "reconciliation_runs"
        ordering = ("-id",)
        indexes = (models.Index(fields=("company", "started_at"), name="reconciliation_recent"),)

    def __str__(self) -> str:
        return f"{self.started_at:%Y-%m-%d %H:%M} UTC ({self.get_outcome_display()})"

from __future__ import annotations

from django.db import models
from django.utils import timezone
from django.utils.translation import gettext_lazy as _

from customers.models import Company


class WebhookEvent(models.Model):
    """One delivery from Retell or Cal.com, stored before it is worked. `webhook_id` makes a repeat
    harmless.
    """

    class Provider(models.TextChoices):
        RETELL = "retell", "Retell"
        CALCOM = "calcom", "Cal.com"

    class Status(models.TextChoices):
        RECEIVED = "received", _("received")
        PROCESSED = "processed", _("processed")
        IGNORED = "ignored", _("ignored")
        FAILED = "failed", _("failed, will be tried again")
        DEAD = "dead", _("given up")

    # No index of its own: others begin with it.
    company = models.ForeignKey(
        Company, on_delete=models.PROTECT, db_index=False, related_name="webhook_events"
    )
    provider = models.CharField(max_length=16, choices=Provider.choices)
    event_type = models.CharField(max_length=64)
    webhook_id = models.CharField(
        max_length=200, help_text=_("Deduplication key: provider:event type:event id (or hash of the body).")
    )
    # Text, not JSON: this is what was signed, byte for byte, and parsing it again on every read would cost.
    body = models.TextField(blank=True)
    headers = models.JSONField(default=dict, blank=True)
    status = models.CharField(max_length=16, choices=Status.choices, default=Status.RECEIVED)
    attempts = models.PositiveIntegerField(default=0)
    error = models.TextField(blank=True)
    received_at = models.DateTimeField(default=timezone.now)
    due_at = models.DateTimeField(default=timezone.now)
    processed_at = models.DateTimeField(null=True, blank=True)

    class Meta:
        db_table = "webhook_events"
        ordering = ("-id",)
        constraints = (
            models.UniqueConstraint(fields=("company", "webhook_id"), name="webhook_once_per_company"),
        )
        indexes = (
            models.Index(
                fields=("due_at",),
                condition=models.Q(status__in=("received", "failed")),
                name="webhook_due",
            ),
            models.Index(fields=("company", "received_at"), name="webhook_received"),
        )

    def __str__(self) -> str:
        return self.webhook_id

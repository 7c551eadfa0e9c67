from __future__ import annotations

from django.db import models
from django.utils.translation import gettext_lazy as _

from calls.models.webhook_event import WebhookEvent
from customers.models import Company


class RefusedDelivery(models.Model):
    """How often requests were turned away in an hour, and why. Nothing of the requests is kept: whoever can
    send them could fill the table, and what they say is not proven.
    """

    company = models.ForeignKey(Company, on_delete=models.CASCADE, related_name="refused_deliveries")
    provider = models.CharField(max_length=16, choices=WebhookEvent.Provider.choices)
    reason = models.CharField(max_length=32)
    hour = models.DateTimeField(help_text=_("Start of the hour, UTC."))
    count = models.PositiveIntegerField(default=0)
    last_at = models.DateTimeField()

    class Meta:
        db_table = "refused_deliveries"
        verbose_name_plural = "refused deliveries"
        ordering = ("-hour",)
        constraints = (
            models.UniqueConstraint(
                fields=("company", "provider", "reason", "hour"), name="one_count_per_hour"
            ),
        )

    def __str__(self) -> str:
        return f"{self.provider}: {self.reason} × {self.count}"

from __future__ import annotations

from django.conf import settings
from django.db import models
from django.utils import timezone
from django.utils.translation import gettext_lazy as _

from booking.models import Appointment, SyncFailure
from calls.models import Call
from customers.models import Company


class AuditEntry(models.Model):
    """Who changed what, and why: a person in the admin, or the machine that healed a difference. Written in
    the transaction of the change, never changed afterwards, and without personal data.
    """

    company = models.ForeignKey(Company, on_delete=models.CASCADE, related_name="audit_entries")
    user = models.ForeignKey(
        settings.AUTH_USER_MODEL,
        on_delete=models.SET_NULL,
        null=True,
        blank=True,
        related_name="+",
        help_text=_("Empty: the machine."),
    )
    action = models.CharField(max_length=64)
    appointment = models.ForeignKey(
        Appointment, on_delete=models.SET_NULL, null=True, blank=True, related_name="audit_entries"
    )
    call = models.ForeignKey(
        Call, on_delete=models.SET_NULL, null=True, blank=True, related_name="audit_entries"
    )
    failure = models.ForeignKey(
        SyncFailure, on_delete=models.SET_NULL, null=True, blank=True, related_name="audit_entries"
    )
    calcom_booking_uid = models.CharField(max_length=128, blank=True)
    reason = models.TextField(blank=True)
    details = models.JSONField(default=dict, blank=True)
    created_at = models.DateTimeField(default=timezone.now)

    class Meta:
        db_table = "audit_entries"
        verbose_name_plural = "audit entries"
        ordering = ("-id",)
        indexes = (
            models.Index(fields=("company", "created_at"), name="audit_recent"),
            models.Index(fields=("calcom_booking_uid",), name="audit_booking"),
        )

    def __str__(self) -> str:
        return self.action

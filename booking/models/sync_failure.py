from __future__ import annotations

from django.conf import settings
from django.db import models
from django.utils import timezone
from django.utils.translation import gettext_lazy as _

from booking.models.appointment import Appointment
from calls.models import Call
from customers.models import Company


class SyncFailure(models.Model):
    """A gap between caller, database and Cal.com that no machine may close. One open row per problem."""

    class Type(models.TextChoices):
        ORPHANED_CALCOM = "orphaned_calcom", _("booking at Cal.com without appointment")
        ORPHANED_LOCAL = "orphaned_local", _("appointment without booking at Cal.com")
        SCHEMA_ERROR = "schema_error", _("could not be stored")
        NETWORK_TIMEOUT = "network_timeout", _("outcome unknown, Cal.com cannot be asked")
        RATE_LIMIT = "rate_limit", _("Cal.com's rate limit")
        STATUS_MISMATCH = "status_mismatch", _("status differs")
        TIME_MISMATCH = "time_mismatch", _("time differs")
        DUPLICATE_BOOKING = "duplicate_booking", _("two bookings for one intention")
        FOREIGN_BOOKING = "foreign_booking", _("Cal.com handed back a booking that is not provably ours")
        CALL_DESYNC = "call_desync", _("call and appointment disagree")
        CONFIG_ERROR = "config_error", _("configuration")

    class Status(models.TextChoices):
        PENDING = "pending", _("open")
        RESOLVED = "resolved", _("resolved")
        MANUAL_REVIEW = "manual_review", _("needs a person")

    # No index of its own: others begin with it.
    company = models.ForeignKey(
        Company, on_delete=models.PROTECT, db_index=False, related_name="sync_failures"
    )
    appointment = models.ForeignKey(
        Appointment, on_delete=models.SET_NULL, null=True, blank=True, related_name="sync_failures"
    )
    call = models.ForeignKey(
        Call, on_delete=models.SET_NULL, null=True, blank=True, related_name="sync_failures"
    )
    calcom_booking_id = models.CharField(
        max_length=128, blank=True, help_text=_("The booking's uid at Cal.com.")
    )
    failure_type = models.CharField(max_length=32, choices=Type.choices)
    subject = models.CharField(
        max_length=200, help_text=_("What the problem is about; one open row per company, type and subject.")
    )
    error_message = models.TextField(blank=True)
    request_payload = models.JSONField(default=dict, blank=True)
    error_details = models.JSONField(default=dict, blank=True)
    status = models.CharField(max_length=16, choices=Status.choices, default=Status.PENDING)
    attempt_count = models.PositiveIntegerField(default=0, help_text=_("How often a repair was tried."))
    occurrences = models.PositiveIntegerField(default=1, help_text=_("How often the problem was seen."))
    detected_at = models.DateTimeField(default=timezone.now)
    last_seen_at = models.DateTimeField(default=timezone.now)
    resolved_at = models.DateTimeField(null=True, blank=True)
    resolution_notes = models.TextField(blank=True)
    resolved_by = models.ForeignKey(
        settings.AUTH_USER_MODEL, on_delete=models.SET_NULL, null=True, blank=True, related_name="+"
    )
    assigned_to = models.ForeignKey(
        settings.AUTH_USER_MODEL, on_delete=models.SET_NULL, null=True, blank=True, related_name="+"
    )
    snoozed_until = models.DateTimeField(null=True, blank=True)

    class Meta:
        db_table = "sync_failures"
        ordering = ("-detected_at",)
        constraints = (
            models.UniqueConstraint(
                fields=("company", "failure_type", "subject"),
                condition=models.Q(status__in=("pending", "manual_review")),
                name="one_open_failure_per_problem",
            ),
        )
        indexes = (
            models.Index(fields=("company", "status", "detected_at"), name="failure_inbox"),
            models.Index(fields=("calcom_booking_id",), name="failure_booking"),
        )

    def __str__(self) -> str:
        return f"{self.get_failure_type_display()}: {self.subject}"

    @property
    def is_open(self) -> bool:
        return self.status in OPEN_STATUSES


OPEN_STATUSES = (SyncFailure.Status.PENDING, SyncFailure.Status.MANUAL_REVIEW)
